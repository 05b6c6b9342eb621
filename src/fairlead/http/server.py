"""The server at the rim: uvicorn's HTTP protocol, hardened, and a way to stop that loses nothing.

What no ASGI application can do is done here. Headers are bounded, in size and in time; what follows the body is no
header; a body that does not come is 408; a client that goes away cancels its call at once, end of file included; a
connection too many is 503; an answer leaves in one write. One ticker looks after all deadlines.
"""

import asyncio
import logging
import resource
import time
import urllib.parse
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fairlead.http.asgi import App, Message, Scope
from fairlead.http.inference import CANCELS

log = logging.getLogger("fairlead.server")

MAX_HEAD_BYTES = 64 << 10
_MAX_UNREAD_BYTES = 64 << 10  # of a request's body; beyond it the socket is left alone
_MAX_OVERHEAD_BYTES = 64 << 10  # of framing, beyond the size of the body itself
_MAX_PIPELINED = 64
_LINGER_SECONDS = 5.0  # for a client that still sends what nobody wants to read
_LAST_WORDS_SECONDS = 1.0  # for calls that are interrupted
_BACKLOG = 4096
_RESERVED_DESCRIPTORS = 64

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def raise_descriptor_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


class EdgeServer:
    """Listens, serves, and drains."""

    def __init__(
        self,
        app: App,
        *,
        host: str,
        port: int,
        header_seconds: float,
        body_seconds: float,
        idle_seconds: float,
        drain_notice_seconds: float,
        drain_seconds: float,
        max_connections: int | None,
        on_drain: Callable[[], None],
        interrupted: str,
    ) -> None:
        """`on_drain` is called as soon as draining begins; `interrupted` is the message of the cancellation that calls
        get which are still open at its end."""
        self.header_seconds, self.body_seconds, self.idle_seconds = header_seconds, body_seconds, idle_seconds
        self.drain_notice_seconds, self.drain_seconds = drain_notice_seconds, drain_seconds
        self.max_connections = max_connections or max(64, (raise_descriptor_limit() - _RESERVED_DESCRIPTORS) // 2)
        self.date = b""
        self.draining = False
        self._host, self._port = host, port
        self._on_drain, self._interrupted = on_drain, interrupted
        self._config = Config(
            app, http=Edge, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._hurry = asyncio.Event()
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def listen(self) -> None:
        """Accept connections from now on. Raises OSError if the port cannot be had."""
        loop = asyncio.get_running_loop()
        self._tell_time()

        def protocol() -> Edge:
            return Edge(self, self._config, self._state, loop)

        self._server = await loop.create_server(protocol, self._host, self._port, backlog=_BACKLOG)

    async def serve(self) -> None:
        """Serve until drained."""
        ticker = asyncio.create_task(self._tick())
        try:
            await self._stopped.wait()
        finally:
            ticker.cancel()
            if self._server is not None:
                self._server.close()
            for connection in list(self._state.connections):
                connection.transport.abort()

    def drain(self) -> None:
        """Begin to stop; told a second time, stop without waiting."""
        if self._drainer is not None:
            self._hurry.set()
            return
        self._on_drain()
        self._drainer = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        log.info("draining: accepting for %g s more", self.drain_notice_seconds)
        await self._wait(self._hurry, self.drain_notice_seconds)
        assert self._server is not None
        self._server.close()
        self.draining = True
        for connection in list(self._state.connections):
            connection.shutdown()
        self.left()
        if not self._hurry.is_set():
            hurry = asyncio.ensure_future(self._hurry.wait())
            empty = asyncio.ensure_future(self._empty.wait())
            await asyncio.wait({hurry, empty}, timeout=self.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            empty.cancel()
        if not self._empty.is_set():
            log.warning("interrupting %d open calls", len(self._state.tasks))
            for task in list(self._state.tasks):
                task.cancel(self._interrupted)
            await self._wait(self._empty, _LAST_WORDS_SECONDS)
        self._stopped.set()

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass

    def left(self) -> None:
        """A connection is gone."""
        if self.draining and not self._state.connections:
            self._empty.set()

    async def _tick(self) -> None:
        pause = min(1.0, self.header_seconds / 4, self.body_seconds / 4, self.idle_seconds / 4)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause)
            self._tell_time()
            now = loop.time()
            for connection in list(self._state.connections):
                connection.look_at(now)  # type: ignore[union-attr]  # all of them are ours

    def _tell_time(self) -> None:
        self.date = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"


class Edge(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, edge: EdgeServer, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config=config, server_state=state, app_state={}, _loop=loop)
        self.edge = edge
        self.current: Exchange | None = None  # being answered
        self.parsed: Exchange | None = None  # whose body is coming in
        self.queued: deque[Exchange] = deque()  # pipelined
        self.deadline = loop.time() + edge.header_seconds
        self.expired: tuple[int, str, str] | None = None  # what to say at the deadline; None: just close
        self.head_open = True
        self.head_bytes = 0
        self.body_bytes = self.raw_bytes = 0
        self.refused = False

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.edge.max_connections:
            self.refuse(503, "service_unavailable", "The gateway has as many connections as it may have.")

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._hang_up()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]
        self.edge.left()

    def eof_received(self) -> None:
        """End of file is a hang-up: TCP cannot tell a client that is gone from one that only will not say more."""
        self._hang_up()

    def _hang_up(self) -> None:
        self.queued.clear()
        if self.current is not None:
            self.current.hang_up()

    def look_at(self, now: float) -> None:
        """Called by the ticker."""
        if now < self.deadline:
            return
        if self.expired is not None and self.current is not None:
            self.refuse(*self.expired)
        elif not self.transport.is_closing():
            self.transport.close()

    def shutdown(self) -> None:
        """Close when there is nothing more to answer."""
        if self.current is None and not self.queued:
            self.transport.close()

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer for the application, if nothing is out yet, and close."""
        if self.refused:
            return
        self.refused = True
        current = self.current
        if current is None or not current.started:
            retry = b"true" if status == 503 else b"false"
            kind = "api_error" if status >= 500 else "invalid_request_error"
            body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nx-should-retry: %b\r\n" % (
                len(body),
                retry,
            )
            if status == 503:
                head += b"retry-after: 1\r\n"
            line = _STATUS_LINES[status]
            self.transport.write(line + self.edge.date + head + b"connection: close\r\n\r\n" + body)
        self._hang_up()
        self._linger()

    def _linger(self) -> None:
        """Read on for a moment and throw it away: closing at once would reset the answer on its way."""
        self.deadline, self.expired = self.loop.time() + _LINGER_SECONDS, None
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # ---- what comes in

    def data_received(self, data: bytes) -> None:
        if self.refused or self.parser is None:
            return
        if self.head_open:
            if not self.head_bytes:
                self.deadline = self.loop.time() + self.edge.header_seconds
            self.head_bytes += len(data)
        else:
            self.raw_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._answer_upgrade()
        except httptools.HttpParserError as error:
            if not self.refused:
                self.refuse(400, "invalid_request", f"The request is not HTTP/1.1 ({_reason(error)}).")
            return
        if self.head_open and self.head_bytes > MAX_HEAD_BYTES:
            self._too_long()
        elif self.raw_bytes > 2 * self.body_bytes + _MAX_OVERHEAD_BYTES:
            self.refuse(400, "invalid_request", "The request's chunks are mostly framing.")

    def _too_long(self) -> None:
        self.refuse(431, "headers_too_large", f"The headers are longer than {MAX_HEAD_BYTES} bytes.")

    def _answer_upgrade(self) -> None:
        """Nothing is upgraded to: the application answers what was asked, and nothing can follow it."""
        if self.parsed is not None:
            self.parsed.keep_alive = False

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.expect_100_continue = False
        self.head_open = True
        self.head_size = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_open:
            return  # a trailer
        self._count_head(len(name) + len(value) + 4)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _count_head(self, size: int) -> None:
        self.head_size += size
        if self.head_size > MAX_HEAD_BYTES:
            self._too_long()
            raise ValueError("the head is too long")

    def on_headers_complete(self) -> None:
        self.head_open = False
        self.head_bytes = 0
        self.raw_bytes = self.body_bytes = 0
        version = self.parser.get_http_version()
        try:
            url = httptools.parse_url(self.url)
            raw_path = url.path or b"/"
            path = raw_path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self.refuse(400, "invalid_request", "The address of the request cannot be read.")
            raise ValueError("bad address") from None
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "extensions": {CANCELS: {}},
        }
        keep = version != "1.0" and self.parser.should_keep_alive()
        exchange = self.parsed = Exchange(self, scope, keep_alive=keep, expects=self.expect_100_continue)
        if self.current is None:
            self._start(exchange)
            return
        self.queued.append(exchange)
        self.flow.pause_reading()
        if len(self.queued) > _MAX_PIPELINED:
            self.transport.abort()

    def _start(self, exchange: "Exchange") -> None:
        self.current = exchange
        self.deadline, self.expired = float("inf"), None
        task = exchange.task = self.loop.create_task(exchange.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        exchange = self.parsed
        if exchange is not None and not exchange.complete and exchange.feed(body) > _MAX_UNREAD_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        exchange, self.parsed = self.parsed, None
        self.head_open = True  # the next bytes begin another head
        self.head_bytes = 0
        if exchange is not None:
            exchange.end_of_body()

    # ---- told by the exchange

    def wait_for_body(self) -> None:
        """The application waits for more of the body."""
        self.flow.resume_reading()
        self.deadline = self.loop.time() + self.edge.body_seconds
        self.expired = 408, "request_timeout", f"The request's body did not come within {self.edge.body_seconds:g} s."

    def body_came(self) -> None:
        """The application waits no more."""
        self.deadline, self.expired = float("inf"), None

    def next(self) -> None:
        """The current exchange is over, its request read and its answer out."""
        self.current = None
        if self.queued:
            self._start(self.queued.popleft())
            if not self.queued:
                self.flow.resume_reading()
        elif self.edge.draining:
            self.transport.close()
        else:
            self.flow.resume_reading()
            self.deadline = self.loop.time() + self.edge.idle_seconds


class Exchange:
    """One request and its answer: what an ASGI application is called with."""

    __slots__ = (
        "_chunked", "_expects", "_head", "_length", "_more", "_pieces", "_protocol", "_read", "_scope", "_unread",
        "_waiter", "complete", "gone", "keep_alive", "started", "task",
    )  # fmt: skip

    def __init__(self, protocol: Edge, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self._protocol, self._scope = protocol, scope
        self.keep_alive = keep_alive
        self._expects = expects  # 100 Continue, before it sends the body
        self._pieces: list[bytes] = []
        self._unread = 0
        self._more = True  # of the body
        self._read = False  # all of it was given to the application
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None  # waits for the first of the answer's body
        self._chunked = False
        self._length: int | None = None  # still owed
        self.started = False  # something of the answer is out, or about to be
        self.complete = False  # all of it is out
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
        """ASGI's receive."""
        if self._expects and not self.started and self._more and not self._pieces:
            self._expects = False
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._read or (self._more and not self._pieces and not self.gone):
            await self._wait()
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
        except Exception:
            log.exception("the application failed")
            if not self.started:
                self._protocol.refuse(500, "internal_error", "The gateway failed to handle this request.")
        if not self.complete and not self._protocol.refused:
            self._protocol.transport.close()

    async def send(self, message: Message) -> None:
        """ASGI's send. Waits while the client does not read."""
        protocol = self._protocol
        if protocol.flow.write_paused and not self.gone:
            await protocol.flow.drain()
        if self.gone or self.complete:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
            return
        data, more = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head, None
        if self._scope["method"] == "HEAD":
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
            data = head + data
        if data:
            protocol.transport.write(data)
        if not more:
            self._finish()

    def _begin(self, message: Message) -> None:
        """Spell the head; it leaves with the first of the body."""
        self.started = True
        status: int = message["status"]
        lines = [_STATUS_LINES[status], self._protocol.edge.date]
        bodiless = status in (204, 304) or self._scope["method"] == "HEAD"
        for name, value in message.get("headers", ()):
            if name == b"content-length":
                self._length = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._length is None and not bodiless:
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
        self._head = head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header of the answer breaks its line")

    def _finish(self) -> None:
        self.complete = True
        protocol = self._protocol
        if self.keep_alive:
            protocol.next()
        elif self._more:
            protocol.refused = True
            protocol._linger()
        else:
            protocol.transport.close()


def _reason(error: Exception) -> str:
    return type(error).__name__.removeprefix("HttpParser").removesuffix("Error") or "malformed"
