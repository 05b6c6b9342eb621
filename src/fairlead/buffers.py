"""What all calls together hold in memory, and of how much a request or an answer may be made."""

import sys
from collections.abc import Iterable

from fairlead import tally
from fairlead.call import Call
from fairlead.chat import Request, Text, ToolResult
from fairlead.errors import InvalidRequest, Unavailable, UpstreamBroken

_OBJECT_BYTES = 700  # that a message, a part or a tool takes at most: as it came, in our words and spelt again
_PASSING = 10
_COPIES = 2  # of a request's texts, besides its body: in our words, and spelt again


class Buffers:
    """The bytes that requests and answers hold in memory, in all; beyond `limit` new calls are turned away.

    `most_objects`: objects and arrays that one request or answer may have. `large_bytes`: how many bytes one has at
    least that has more, so that it must be looked through before it is read.
    """

    def __init__(self, limit: int, most_objects: int = tally.MOST) -> None:
        self.limit, self.most_objects, self.large_bytes = limit, most_objects, tally.least(most_objects)
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

    def hold_words(self, call: Call) -> None:
        """Count what `call` holds besides its body from now on until it is over: its request is in our words."""
        assert call.request is not None
        size = _COPIES * len(call.body) + _OBJECT_BYTES * _objects(call.request)
        if len(call.body) >= self.large_bytes:
            size += _wide(call.request)
        self.hold(size)
        call.held += size

    def admit(self, body: bytes) -> None:
        """Raises InvalidRequest if `body`, a request, is made of too much. Takes long."""
        field = tally.exceeded(body, self.most_objects)
        if field is not None:
            told = f"{repr(field) if field else 'The body'} has too many items: a request may have at most"
            raise InvalidRequest(f"{told} {_bounds(self.most_objects)}.", param=field or None)

    def bound(self, answers: Iterable[bytes], *, passes: bool) -> None:
        """Raises UpstreamBroken if one of `answers`, or events of one, is made of too much. Takes long.

        What `passes` is hardly read, and may have ten times as much: probabilities of tokens are many.
        """
        most = _PASSING * self.most_objects if passes else self.most_objects
        for answer in answers:
            if len(answer) >= tally.least(most) and tally.exceeded(answer, most) is not None:
                raise UpstreamBroken(f"its answer has too many items: one may have at most {_bounds(most)}")


def _bounds(most: int) -> str:
    return f"{most} objects and arrays and {tally.VALUES * most} values"


def _objects(request: Request) -> int:
    """How many messages, parts and tools there are, which are what words are made of."""
    found = len(request.messages) + len(request.tools) + len(request.stop)
    for message in request.messages:
        found += len(message.parts)
        if message.role == "tool":
            for part in message.parts:
                if type(part) is ToolResult:
                    found += len(part.content)
    return found


def _wide(request: Request) -> int:
    """Bytes of texts that need up to four for each character, however many they have in a body."""
    texts = [part.text for message in request.messages for part in message.parts if isinstance(part, Text)]
    return sum([sys.getsizeof(text) for text in texts if not text.isascii()])
