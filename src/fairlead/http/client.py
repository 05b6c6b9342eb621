"""Who asked: a request as it comes in, and the way its answer goes out. The paths that take calls know no more of HTTP.

`exchange.Exchange` is one, straight on a connection; `AsgiClient` is one behind any ASGI server.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from fairlead.call import Arrival
from fairlead.http.asgi import Header, Receive, Scope, Send

CANCELS = "fairlead.cancels"  # scope extension: this server cancels our task when the client goes away


class ClientGone(ConnectionAbortedError):
    """The client went away before its request was whole."""


class Client(Protocol):
    """One request and the way its answer goes. When the client goes away, the task that serves it is cancelled."""

    headers: list[Header]  # names in lower case
    fields: dict[bytes, bytes] | None  # the same by name, the last of each, where that is known already; to be kept

    @property
    def arrival(self) -> Arrival:
        """What else is told before the body."""
        ...

    def whole(self) -> bytes | None:
        """The body, if all of it is here."""
        ...

    async def piece(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more follow. Raises ClientGone, RequestTimeout."""
        ...

    def answer(self, status: int, headers: list[Header], body: bytes) -> Coroutine[Any, Any, None] | None:
        """All of the answer; its length is another header."""
        ...

    def begin(self, status: int, headers: list[Header], length: int | None = None) -> None:
        """Status and headers of the answer; they leave with its first piece. `length`: of all of it, if it is known:
        that is another header."""
        ...

    def write(self, data: bytes, framed: bytes = b"") -> Coroutine[Any, Any, None] | None:
        """A piece of the answer; see `call.Write`."""
        ...

    def end(self, data: bytes = b"") -> Coroutine[Any, Any, None] | None:
        """The last piece."""
        ...


class AsgiClient:
    """Behind an ASGI server. Of one that only tells of a hang-up, a task asks for it."""

    fields: dict[bytes, bytes] | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = scope["client"][0] if scope.get("client") else ""
        self.arrival = Arrival(scope["method"], scope["path"], address, b"")
        self.headers = scope["headers"]
        self._receive, self._send = receive, send
        self._watches = CANCELS not in scope.get("extensions", ())
        self._watcher: asyncio.Task[None] | None = None
        self._head: tuple[int, list[Header]] | None = None

    def whole(self) -> bytes | None:
        return None

    async def piece(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        if self._watches and not more:
            self._watcher = _cancelling_on_disconnect(self._receive)
        return message.get("body", b""), more

    def answer(self, status: int, headers: list[Header], body: bytes) -> Coroutine[Any, Any, None]:
        self.begin(status, headers, len(body))
        return self.end(body)

    def begin(self, status: int, headers: list[Header], length: int | None = None) -> None:
        self._head = status, headers if length is None else [*headers, (b"content-length", b"%d" % length)]

    def write(self, data: bytes, framed: bytes = b"") -> Coroutine[Any, Any, None]:
        return self._out(data, more=True)

    def end(self, data: bytes = b"") -> Coroutine[Any, Any, None]:
        return self._out(data, more=False)

    async def _out(self, data: bytes, *, more: bool) -> None:
        if self._head is not None:
            (status, headers), self._head = self._head, None
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()


def _cancelling_on_disconnect(receive: Receive) -> asyncio.Task[None]:
    """A task that cancels this one when the client goes away."""
    serving = asyncio.current_task()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if serving is not None:
            serving.cancel()

    return asyncio.create_task(watch())
