"""The simulator where the upstream client is: base URLs of scheme "simulator", no socket, the same bytes."""

import asyncio
from collections.abc import Iterator

from fairlead.errors import ConnectFailed, UpstreamBroken, UpstreamTimeout
from fairlead.providers.simulator.replies import Chunk, Ending, Reply, Simulator, joined
from fairlead.upstream import Take, Timeouts, UpstreamRequest


class SimulatorTransport:
    """A `Transport`. It keeps time with the loop's clock; `pace` makes it slower or faster, 0 leaves no pauses."""

    def __init__(self, *, pace: float = 1.0) -> None:
        self._pace = pace
        self._simulator = Simulator(any_model=False)
        self._closed = False

    async def send(self, request: UpstreamRequest) -> "SimulatedResponse":
        """Raises UpstreamTimeout, UpstreamBroken, and ConnectFailed once the transport is closed."""
        if self._closed:
            raise ConnectFailed("the simulator is closed")
        request.sends = 1
        method, target, headers = _read_head(request.head)
        reply = self._simulator.reply(method, target, headers, request.body)
        clock = _Clock(request.timeouts, self._pace)
        await clock.wait(reply.wait, "first_byte")
        if reply.headless:
            raise await clock.broken(reply.ending, "first_byte")
        return SimulatedResponse(reply, clock)

    async def aclose(self) -> None:
        self._closed = True


class SimulatedResponse:
    """An `UpstreamResponse`."""

    sends = 1

    def __init__(self, reply: Reply, clock: "_Clock") -> None:
        self.status = reply.status
        self.headers = dict(reply.headers)
        self._ending: Ending = reply.ending
        self._clock = clock
        self._chunks: Iterator[Chunk] = joined(reply)

    def whole(self) -> None:
        """It comes in its time."""

    async def read(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is not None:
            await self._clock.wait(chunk.pause, "silence")
            return chunk.data
        if self._ending != "whole":
            raise await self._clock.broken(self._ending, "silence")
        return b""

    async def pour(self, take: Take) -> bool:
        while chunk := await self.read():
            if not take(chunk, b""):
                return True
        return False

    def close(self, *, ended: bool = False) -> None:
        self._chunks = iter(())
        self._ending = "whole"


class _Clock:
    """The time one exchange takes, and what it may take."""

    def __init__(self, timeouts: Timeouts, pace: float) -> None:
        self._timeouts, self._pace = timeouts, pace
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + timeouts.total

    async def wait(self, seconds: float, phase: str) -> None:
        """Wait for what comes after `seconds` (a turn of the loop at least). Raises UpstreamTimeout."""
        seconds *= self._pace
        error, patience = self._patience(phase)
        await asyncio.sleep(min(seconds, patience))
        if seconds > patience:
            raise error

    async def broken(self, ending: Ending, phase: str) -> UpstreamBroken | UpstreamTimeout:
        """How an answer that breaks off ends: at once, or with the patience of whoever waits."""
        if ending != "silent":
            what = "its answer was cut off" if ending == "cut" else "it reset the connection"
            return UpstreamBroken(what, outcome_unknown=True)
        error, patience = self._patience(phase)
        await asyncio.sleep(patience)
        return error

    def _patience(self, phase: str) -> tuple[UpstreamTimeout, float]:
        """The time-out that comes first, and the seconds until then."""
        limits = self._timeouts
        left = max(self._deadline - self._loop.time(), 0.0)
        if phase == "first_byte" and limits.first_byte <= left:
            return UpstreamTimeout("first_byte", limits.first_byte, outcome_unknown=True), limits.first_byte
        if phase == "silence" and limits.silence <= left:
            return UpstreamTimeout("silence", limits.silence, outcome_unknown=True), limits.silence
        return UpstreamTimeout("total", limits.total, outcome_unknown=True), left


def _read_head(head: bytes) -> tuple[str, str, dict[bytes, bytes]]:
    """Method, target and headers (names in lower case) of a request's head."""
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.decode("latin-1").split(" ", 2)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.lower()] = value.strip()
    return method, target, headers
