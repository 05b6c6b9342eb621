"""Signs of life for streams that wait long for their first content: status 200, then SSE comments.

Calls that wait stand in one ordered dict, and one ticker looks at the oldest of them, so that a call which never waits
long costs an insertion and a removal.
"""

import asyncio
import time

from fairlead.call import Call
from fairlead.http.asgi import Header
from fairlead.http.client import Client
from fairlead.http.identity import identity

STREAM_HEADERS: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_COMMENT = b": the model has not begun to answer\n\n"


class Heartbeats:
    """All the calls that wait. `run` is the ticker; `app.py` starts and stops it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Call, tuple[float, Client]] = {}  # → when it is due; the first due first
        self._beating: dict[Call, asyncio.Task[None]] = {}

    def listen(self, call: Call, client: Client) -> None:
        """`call` has begun to wait."""
        self._waiting[call] = call.started + self.seconds, client

    def stopped(self, call: Call) -> bool:
        """It waits no more; False: it has heard beats, and `stop` has to be awaited."""
        return self._waiting.pop(call, None) is not None

    async def stop(self, call: Call) -> None:
        """No beat is sent after this."""
        beats = self._beating.pop(call, None)
        if beats is not None:
            beats.cancel()
            await asyncio.wait([beats])

    async def run(self) -> None:
        """Begin the beats of streams that have waited `seconds`."""
        while True:
            await asyncio.sleep(min(1.0, self.seconds / 4))
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        while self._waiting:
            call, (due, client) = next(iter(self._waiting.items()))
            if due > now:
                return
            del self._waiting[call]
            if call.envelope is None:  # its request is still coming in
                self._waiting[call] = now + self.seconds, client
            elif call.envelope.stream:
                self._beating[call] = asyncio.create_task(self._beat(call, client))

    async def _beat(self, call: Call, client: Client) -> None:
        client.begin(200, [*STREAM_HEADERS, *identity(call)])
        call.told, call.status = True, 200
        while True:
            waiting = client.write(_COMMENT)
            if waiting is not None:
                await waiting
            await asyncio.sleep(self.seconds)
