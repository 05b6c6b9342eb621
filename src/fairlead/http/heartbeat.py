"""Signs of life for streams that wait long for their first content: status 200, then SSE comments.

Calls that wait stand in one ordered dict, and one ticker looks at the oldest of them, so that a call which never waits
long costs an insertion and a removal.
"""

import asyncio
import time

from fairlead.call import Call
from fairlead.http.asgi import Header, Send

STREAM_HEADERS: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_COMMENT = b": the model has not begun to answer\n\n"


class Heart:
    """Watches over one waiting call, until it is stopped."""

    __slots__ = ("beats", "call", "due", "send", "waiting")

    def __init__(self, call: Call, send: Send, due: float, waiting: "dict[Heart, None]") -> None:
        self.call, self.send, self.due, self.waiting = call, send, due, waiting
        self.beats: asyncio.Task[None] | None = None
        waiting[self] = None

    async def stop(self) -> None:
        """No beat is sent after this."""
        if self.beats is None:
            self.waiting.pop(self, None)
            return
        self.beats.cancel()
        await asyncio.wait([self.beats])

    async def beat(self, seconds: float, headers: list[Header]) -> None:
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        self.call.told, self.call.status = True, 200
        while True:
            await self.send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
            await asyncio.sleep(seconds)


class Heartbeats:
    """All the calls that wait. `run` is the ticker; `app.py` starts and stops it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Heart, None] = {}

    def listen(self, call: Call, send: Send) -> Heart:
        return Heart(call, send, call.started + self.seconds, self._waiting)

    async def run(self) -> None:
        """Begin the beats of streams that have waited `seconds`."""
        while True:
            await asyncio.sleep(min(1.0, self.seconds / 4))
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        while self._waiting:
            heart = next(iter(self._waiting))
            if heart.due > now:
                return
            del self._waiting[heart]
            envelope = heart.call.envelope
            if envelope is None:  # its request is still coming in
                heart.due = now + self.seconds
                self._waiting[heart] = None
            elif envelope.stream:
                headers = [*STREAM_HEADERS, (b"x-request-id", heart.call.id.encode())]
                heart.beats = asyncio.create_task(heart.beat(self.seconds, headers))
