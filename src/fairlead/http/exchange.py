"""One request and its answer, as an ASGI application sees them; the connection they come over is `server.Edge`."""

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from fairlead.errors import FairleadError, RequestTimeout
from fairlead.http.asgi import App, Message, Scope

if TYPE_CHECKING:
    from fairlead.http.server import Edge

log = logging.getLogger("fairlead.server")

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {code: f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\n".encode() for code in range(200, 600)}


class Exchange:
    """One request and its answer: what an ASGI application is called with."""

    __slots__ = (
        "_bodiless", "_chunked", "_expects", "_flowing", "_head", "_late", "_length", "_more", "_pieces", "_protocol",
        "_read", "_scope", "_unread", "_waiter", "complete", "gone", "keep_alive", "started", "task",
    )  # fmt: skip

    def __init__(self, protocol: "Edge", scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self._protocol, self._scope = protocol, scope
        self.keep_alive = keep_alive
        self._expects = expects  # 100 Continue, before it sends the body
        self._pieces: list[bytes] = []
        self._unread = 0
        self._more = True  # of the body
        self._read = False  # all of it was given to the application
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None  # waits for the first of the answer's body
        self._chunked = self._bodiless = False
        self._length: int | None = None  # still owed
        self._flowing = False  # its head is out, and pieces of a stream follow
        self.started = False  # something of the answer is out
        self.complete = False  # all of it is out
        self._late = False  # the rest of the body is
        self.gone = False  # the client is
        self.task: asyncio.Task[None] | None = None

    # ---- the request

    def feed(self, piece: bytes) -> int:
        """Add to the body; how much of it is unread."""
        self._pieces.append(piece)
        self._unread += len(piece)
        self._wake()
        return self._unread

    def end_of_body(self) -> None:
        self._more = False
        self._wake()

    def time_out(self) -> None:
        """The body does not come: whoever waits for it is told."""
        self._late = True
        self._wake()

    def hang_up(self) -> None:
        """The client is gone: cancel the call, unless all has been said."""
        self.gone = True
        self._wake()
        if self.task is not None and not self.complete:
            self.task.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """ASGI's receive. Raises RequestTimeout if the body does not come."""
        if self._expects and not self.started and self._more and not self._pieces:
            self._expects = False
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._read or (self._more and not self._pieces and not self.gone):
            await self._wait()
        if self._late:
            raise RequestTimeout("The rest of the request did not come in time.")
        if self.gone or self._read:
            return {"type": "http.disconnect"}
        pieces, self._pieces = self._pieces, []
        self._unread, self._read = 0, not self._more
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self._more}

    async def _wait(self) -> None:
        """For more of the body; for the end of the connection, once it was read."""
        self._waiter = self._protocol.loop.create_future()
        if not self._read:
            self._protocol.wait_for_body()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._protocol.body_came()

    # ---- the answer

    async def run(self, app: App) -> None:
        """Call the application, and make an end of what it left open."""
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            pass
        except ConnectionError:
            pass
        except FairleadError as error:  # an application that does not tell its errors itself
            self._protocol.refuse(error.status, error.code, str(error))
        except Exception:
            log.exception("the application failed")
        if self.complete or self._protocol.refused:
            return
        if self.started or self.gone or self._protocol.edge.draining:
            self._protocol.transport.close()
        else:
            log.error("%s %r was not answered", self._scope["method"], self._scope["path"])
            self._protocol.refuse(500, "internal_error", "The gateway failed to handle this request.")

    async def send(self, message: Message) -> None:
        """ASGI's send. Waits while the client does not read."""
        if self._flowing and message.get("more_body") and not self._protocol.flow.write_paused and not self.gone:
            data = message["body"]  # the next piece of a stream, to a client that reads
            if data:
                self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if message["type"] == "http.response.start":
            if not self.gone:
                self._begin(message)
            return
        protocol = self._protocol
        if protocol.flow.write_paused and not self.gone:
            await protocol.flow.drain()
        if self.gone or self.complete:
            return
        if self._head is None and not self.started:
            raise RuntimeError("the answer has no beginning")
        data, more = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head, None
        if self._bodiless:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if not more:
                data += b"0\r\n\r\n"
        elif self._length is not None:
            self._length -= len(data)
            if self._length < 0 or (self._length and not more):
                raise RuntimeError("the answer is not as long as its content-length")
        if head is not None:
            self.started = True
            self._flowing = self._chunked and not self._bodiless
            data = head + data
        if data:
            protocol.transport.write(data)
        if not more:
            self._finish()

    def _begin(self, message: Message) -> None:
        """Spell the head; it leaves with the first of the body."""
        status: int = message["status"]
        lines = [STATUS_LINES[status], self._protocol.edge.date]
        self._bodiless = status in (204, 304) or self._scope["method"] == "HEAD"
        for name, value in message.get("headers", ()):
            if name == b"content-length":
                self._length = int(value)
            elif name == b"connection":  # it is the edge that knows
                self.keep_alive &= value.lower() != b"close"
                continue
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._length is None and not self._bodiless:
            if self._scope["http_version"] == "1.0":
                self.keep_alive = False
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if self._more or self._protocol.edge.draining:
            self.keep_alive = False  # what is still coming of the request is not read
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header of the answer breaks its line")
        self._head = head

    def _finish(self) -> None:
        self.complete, self._flowing = True, False
        protocol = self._protocol
        if self.keep_alive:
            protocol.next()
        elif self._more:
            protocol.refused = True
            protocol.linger()
        else:
            protocol.transport.close()
