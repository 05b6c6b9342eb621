"""A stream on its way from the provider to the client, once it has come to content.

Each chunk is looked at, counted and written in the turn of the event loop in which it came, and wakes nobody. Only
what has to wait does: for the end, for an error, for a client that does not read.
"""

from collections.abc import Coroutine
from typing import Any

from fairlead.buffers import Buffers
from fairlead.call import Attempt, Write
from fairlead.protocols import Cutter
from fairlead.translation import Stream
from fairlead.upstream import UpstreamResponse
from fairlead.usage.journal import Journal


class Relay:
    """One stream. `rest` is what the client has still to get when `run` is back: its record is made before that."""

    __slots__ = ("_attempt", "_buffers", "_cut", "_cutter", "_feed", "_journal", "_ordinary", "_room", "_stream",
                 "_waiting", "_write", "rest")  # fmt: skip

    def __init__(
        self, attempt: Attempt, stream: Stream, cutter: Cutter, journal: Journal, buffers: Buffers, write: Write
    ) -> None:
        self._attempt, self._stream, self._cutter, self._buffers = attempt, stream, cutter, buffers
        self._cut, self._feed, self._journal, self._write = cutter.feed, stream.feed, journal, write
        self._ordinary, self._room = stream.ordinary, cutter.room
        self._waiting: Coroutine[Any, Any, None] | None = None  # for the client
        self.rest = b""

    async def begin(self, held: bytes) -> None:
        """Write what came before it was known that there is content."""
        waiting = self._write(held)
        if waiting is not None:
            await waiting

    async def run(self, response: UpstreamResponse) -> None:
        """Relay until the stream's end. Raises UpstreamError, also where it says so itself; Unavailable."""
        stream = self._stream
        try:
            while await response.pour(self._take):
                if stream.done:
                    return
                if self._waiting is not None:
                    waiting, self._waiting = self._waiting, None
                    await waiting
                if stream.failed is not None:
                    raise stream.failed
            self.rest = ended(stream, self._cutter)
        finally:
            if self._waiting is not None:
                self._waiting.close()

    def _take(self, chunk: bytes, framed: bytes) -> bool:
        """Pass `chunk` on; False if that is not all there is to do."""
        attempt, size = self._attempt, len(chunk)
        came = attempt.content_bytes = attempt.content_bytes + size
        cell = attempt.cell
        if cell:
            self._journal.count(cell, came)
        if size <= self._room and self._ordinary(chunk):
            if attempt.held:  # what came before the content, or an end of a line
                attempt.held = self._buffers.recount(attempt.held, 0)
            waiting = self._write(chunk, framed)
            if waiting is None:
                return True
            self._waiting = waiting
            return False
        events = self._cut(chunk)
        self._room = self._cutter.room
        if not events:
            attempt.held = self._buffers.recount(attempt.held, attempt.held + len(chunk))
            return True
        if attempt.held and attempt.held + len(chunk) >= self._buffers.large_bytes:  # among them is a large event
            self._buffers.bound(events, passes=self._stream.passes)
        out = self._feed(events)
        stream = self._stream
        if stream.done:
            self.rest = out
            return False
        if stream.held != attempt.held:
            attempt.held = self._buffers.recount(attempt.held, stream.held)
        if out:
            self._waiting = self._write(out)
        return self._waiting is None and stream.failed is None


def ended(stream: Stream, cutter: Cutter) -> bytes:
    """What the client still gets when the upstream's body has ended. Raises UpstreamError if it ended badly."""
    rest = cutter.finish()
    told = stream.feed([rest]) if rest else b""
    if stream.failed is not None:
        raise stream.failed
    return told if stream.done else told + stream.end()
