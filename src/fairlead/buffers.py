"""What all calls together hold in memory."""

from fairlead.errors import Unavailable


class Buffers:
    """The bytes that requests and answers hold in memory, in all; beyond `limit` new calls are turned away."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def hold(self, size: int) -> None:
        """Count `size` bytes more. Raises Unavailable, counting nothing, when there is no room for them."""
        if self.held + size > self.limit:
            raise Unavailable("The gateway holds as much as it may in memory. Try again shortly.")
        self.held += size

    def release(self, size: int) -> None:
        self.held -= size

    def recount(self, before: int, now: int) -> int:
        """Count `now` bytes where `before` were counted, and give `now`. Raises as `hold`."""
        self.hold(now - before)
        return now
