"""One request and its answer, over the connection `server.Edge`: a `client.Client` for the paths that take calls, and
`receive` and `send` for ASGI applications."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fairlead.call import Arrival
from fairlead.errors import FairleadError, InternalError, RequestTimeout
from fairlead.http.asgi import Header, Message
from fairlead.http.client import ClientGone

if TYPE_CHECKING:
    from fairlead.http.connection import Edge

log = logging.getLogger("fairlead.server")

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {code: f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\n".encode() for code in range(200, 600)}
_BODILESS = frozenset({204, 304})
_CR, _LF = b"\r\n"
Serve = Callable[["Exchange"], Awaitable[None]]


class Head(Arrival, frozen=True):
    """What the head of a request comes to; not its lines."""

    version: str  # of HTTP: "1.1"
    serve: Serve
    secure: bool
    cors: bytes
    keep_alive: bool
    expects: bool  # 100 Continue, before it sends the body


class Exchange:
    """One request and its answer."""

    # As it begins, for most of them: what never changes costs nothing.
    unread = 0  # bytes of the body
    _more = True  # of the body
    _read = False  # all of the body was given away
    _late = False  # the rest of the body is
    _invited = False  # to send it
    _waiter: asyncio.Future[None] | None = None
    _head: bytes | None = None  # waits for the first of the answer's body
    _own_policy = False  # the answer brings a content-security-policy
    _chunked = _bodiless = False
    _length: int | None = None  # still owed
    _flowing = False  # its head is out, the client is there, and pieces of a stream follow
    started = False  # something of the answer is out
    complete = False  # all of it is out
    gone = False  # the client is
    task: asyncio.Task[None] | None = None

    def __init__(
        self, protocol: "Edge", head: Head, headers: list[Header], fields: dict[bytes, bytes] | None = None
    ) -> None:
        """`fields`: see `client.Client`."""
        self._protocol = protocol
        self.arrival, self.headers, self.fields = head, headers, fields
        self.keep_alive = head.keep_alive
        self._pieces: list[bytes] = []

    # ---- told by the connection

    def feed(self, piece: bytes) -> int:
        """Add to the body; how much of it is unread."""
        self._pieces.append(piece)
        self.unread += len(piece)
        self._protocol.edge.unread_bytes += len(piece)
        self._wake()
        return self.unread

    def come(self, body: bytes) -> None:
        """All of the body is here, before anybody has asked for it."""
        self._pieces.append(body)
        self.unread = len(body)
        self._protocol.edge.unread_bytes += len(body)
        self._more = False

    def drop(self) -> None:
        """Nobody will read what came of the body."""
        self._protocol.edge.unread_bytes -= self.unread
        self.unread, self._pieces = 0, []

    def end_of_body(self) -> None:
        self._more = False
        self._wake()

    def time_out(self) -> None:
        """The body does not come: whoever waits for it is told."""
        self._late = True
        self._wake()

    def hang_up(self) -> None:
        """The client is gone: cancel the call, unless all has been said."""
        self.gone, self._flowing = True, False
        self._wake()
        if self.task is not None and not self.complete:
            self.task.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def run(self) -> None:
        """Have it answered, and make an end of what was left open."""
        try:
            if self._protocol.flow.write_paused:  # by the answer before this one
                await self._protocol.flow.drain()
            await self.arrival.serve(self)
        except asyncio.CancelledError:
            pass
        except ConnectionError:
            pass
        except FairleadError as error:  # an application that does not tell its errors itself
            self._protocol.refuse(error)
        except Exception:
            log.exception("the application failed")
        if self.unread:
            self.drop()
        if self.complete or self._protocol.refused:
            return
        if self.started or self.gone or self._protocol.edge.draining:
            self._protocol.close()
        else:
            log.error("%s %r was not answered", self.arrival.method, self.arrival.path)
            self._protocol.refuse(InternalError())

    # ---- the request

    def whole(self) -> bytes | None:
        """The body, if all of it is here, and it was not asked for before."""
        if self._more or self._read:
            return None
        self._read = True
        return self._taken()

    async def piece(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more follow. Raises ClientGone, RequestTimeout."""
        if self.arrival.expects and not (self._invited or self.started or self._pieces) and self._more:
            self._invited = True
            self._protocol.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._read or (self._more and not self._pieces and not self.gone):
            await self._wait()
        if self._late:
            raise RequestTimeout("The rest of the request did not come in time.")
        if self.gone or self._read:
            raise ClientGone
        self._read = not self._more
        return self._taken(), self._more

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        self._protocol.edge.unread_bytes -= self.unread
        self.unread = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

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

    async def receive(self) -> Message:
        """ASGI's receive. Raises RequestTimeout if the body does not come."""
        try:
            body, more = await self.piece()
        except ClientGone:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": more}

    # ---- the answer

    def begin(self, status: int, headers: list[Header], length: int | None = None) -> None:
        """Spell the head; it leaves with the first of the body."""
        asked = self.arrival
        self._bodiless = status in _BODILESS or asked.method == "HEAD"
        lines = list(map(b": ".join, headers))
        if length is not None:
            self._length = length
            lines.append(b"content-length: %d" % length)
        elif not self._bodiless:
            if asked.version == "1.0":
                self.keep_alive = False
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked")
        self._head = self._spelt(status, lines)

    def _spelt(self, status: int, lines: list[bytes]) -> bytes:
        """The head of the answer: `lines`, and what each has."""
        edge, asked = self._protocol.edge, self.arrival
        if self._more or edge.draining:
            self.keep_alive = False  # what is still coming of the request is not read
        if not self.keep_alive:
            lines.append(b"connection: close")
        told = b"".join(lines)
        if _CR in told or _LF in told:
            raise RuntimeError("a header of the answer breaks its line")
        always = STATUS_LINES[status] + edge.heads[2 * self._own_policy + asked.secure] + asked.cors
        return always + b"\r\n".join((*lines, b"", b""))

    def answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """All of the answer: what `begin` and `end` do, in fewer steps."""
        if self.gone or self.complete:
            return
        lines = list(map(b": ".join, headers))
        lines.append(b"content-length: %d" % len(body))
        head = self._spelt(status, lines)
        if status in _BODILESS or self.arrival.method == "HEAD":
            body = b""
        self.started = True
        if self.keep_alive:
            self._protocol.write_soon(head + body)
        else:
            self._protocol.write(head + body)
        self._finish()

    def write(self, data: bytes, framed: bytes = b"") -> Coroutine[Any, Any, None] | None:
        """A piece of the answer; gives something to wait for while the client does not read. See `call.Write`."""
        protocol = self._protocol
        if self._flowing:  # the next piece of a stream
            if data:
                protocol.transport.write(framed or b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._out(data, more=True)
        if protocol.flow.write_paused and not self.gone:
            return protocol.flow.drain()
        return None

    def end(self, data: bytes = b"") -> None:
        """The last piece. Nobody has to wait: what follows on this connection does."""
        self._out(data, more=False)

    def _out(self, data: bytes, *, more: bool) -> None:
        if self.gone or self.complete:
            return
        head, self._head = self._head, None
        if head is None and not self.started:
            raise RuntimeError("the answer has no beginning")
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
        protocol = self._protocol
        if more or self._flowing or not self.keep_alive:
            if data:
                protocol.write(data)
        else:
            protocol.write_soon(data)
        if not more:
            self._finish()

    def _finish(self) -> None:
        self.complete, self._flowing = True, False
        protocol = self._protocol
        if self.keep_alive:
            protocol.next()
        elif self._more:
            protocol.refused = True
            protocol.linger()
        else:
            protocol.close()

    async def send(self, message: Message) -> None:
        """ASGI's send. Waits while the client does not read."""
        if message["type"] == "http.response.start":
            if not self.gone:
                headers, length = [], None
                for name, value in message.get("headers", ()):
                    if name == b"connection":  # it is the edge that knows
                        self.keep_alive &= value.lower() != b"close"
                    elif name == b"content-length":
                        length = int(value)
                    else:
                        self._own_policy = self._own_policy or name == b"content-security-policy"
                        headers.append((name, value))
                self.begin(message["status"], headers, length)
            return
        data = message.get("body", b"")
        if not message.get("more_body", False):
            self.end(data)
            return
        waiting = self.write(data)
        if waiting is not None:
            await waiting
