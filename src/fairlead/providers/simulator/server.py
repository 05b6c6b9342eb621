"""The simulator over HTTP/1.1: quick, so that it can stand behind a benchmark, and as faulty as it is asked to be.

With a `tally_file` it writes down what it served; `tally.py` says how.

Besides the vendors' paths (with and without /v1) it serves `GET /__tally`, what it was asked so far, as JSON:
`requests`, `connections` (open now, the asking one left out), `closed_early` (the client went before its answer was
whole), `tallied` (entries in the tally file, all of them written by then), and `last`, the last request's `head` and
`body`. `GET /__requests` tells the last 100 requests, oldest first: `method`, `path` (as it was spelt), `query`,
`headers` (names in lower case, without credentials), `bytes` of the body, and `body`: JSON as such, other bytes as
`{"base64": ...}`, null where it is larger than 256 KiB. `POST /__reset` forgets them and begins the count anew.
"""

import asyncio
import socket
import struct
from base64 import b64encode
from collections import deque
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import httptools
import msgspec
from msgspec import Raw, Struct, field

from fairlead.providers.simulator.replies import Chunk, Reply, Simulator, joined
from fairlead.providers.simulator.tally import CALL_HEADER, Entry, TallyFile, begun

_REASONS = {
    200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 402: b"Payment Required", 403: b"Forbidden",
    404: b"Not Found", 405: b"Method Not Allowed", 413: b"Content Too Large", 429: b"Too Many Requests",
    500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable", 529: b"Overloaded",
}  # fmt: skip
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
_HIGH_WATER = 256 << 10
_KEPT_REQUESTS = 100
_KEPT_BODY = 256 << 10
_SECRET = frozenset(
    b"authorization proxy-authorization cookie x-api-key api-key x-goog-api-key x-amz-security-token".split()
)


class Request(Struct):
    """One request, as it came in."""

    method: str = ""
    target: str = ""
    headers: list[tuple[bytes, bytes]] = []
    body: bytes = b""
    keep_alive: bool = True

    def head(self) -> bytes:
        """Request line and headers, as they were spelt."""
        first = f"{self.method} {self.target} HTTP/1.1".encode("latin-1")
        return b"\r\n".join([first, *(name + b": " + value for name, value in self.headers), b""])


class Kept(Struct):
    """One request, as it is kept for whoever wants to see what came."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    size: int
    body: bytes | None  # None: too large to be kept

    def told(self) -> dict[str, Any]:
        path, _, query = self.target.partition("?")
        lowered = ((name.lower(), value.decode("latin-1")) for name, value in self.headers)
        headers = {name.decode("latin-1"): value for name, value in lowered if name not in _SECRET}
        shown = "&".join(part for part in query.split("&") if not part.startswith("key="))
        facts = {"method": self.method, "path": path, "query": shown, "headers": headers, "bytes": self.size}
        return {**facts, "body": None if self.body is None else _shown(self.body)}


def _shown(body: bytes) -> object:
    try:
        return Raw(msgspec.json.format(body, indent=-1)) if body else {"base64": ""}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"base64": b64encode(body).decode()}


class Tally(Struct):
    """What the server was asked so far."""

    requests: int = 0
    closed_early: int = 0
    tallied: int = 0
    last: Request | None = None
    kept: deque[Kept] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))

    def asked(self, request: Request) -> None:
        self.requests += 1
        self.last = request
        size = len(request.body)
        body = request.body if size <= _KEPT_BODY else None
        self.kept.append(Kept(request.method, request.target, request.headers, size, body))


class SimulatorServer:
    """An HTTP server. `await listen()`, then `base_url`; `aclose()` ends what is open."""

    def __init__(
        self,
        *,
        protocols: Iterable[str] | None = None,
        credential: str | None = None,
        any_model: bool = True,
        pace: float = 1.0,
        tally_file: Path | None = None,
    ) -> None:
        """`pace` makes all pauses longer or shorter; 0 leaves none. `tally_file`: where each request that says which
        call it is leaves a line (`tally.py`). The rest as `Simulator` has it. Raises OSError for a file that cannot
        be written."""
        self.simulator = Simulator(protocols=protocols, credential=credential, any_model=any_model)
        self.pace = pace
        self.tally = Tally()
        self.tally_file = None if tally_file is None else TallyFile(tally_file)
        self.connections: set[_Connection] = set()
        self.telling: set[asyncio.Task[None]] = set()  # replies that take their time
        self.base_url = ""
        self._server: asyncio.Server | None = None

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Raises OSError where the port cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=4096)
        bound = self._server.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.base_url = f"http://{shown}:{bound[1]}"

    async def aclose(self) -> None:
        """Stop listening and close every connection, and the tally file behind them."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                await connection.aclose()
            await self._server.wait_closed()
        if self.telling:
            await asyncio.wait(self.telling)
        if self.tally_file is not None:
            self.tally_file.close()
            self.tally_file = None

    def entered(self, entry: Entry) -> None:
        """The reply that `entry` tells of has ended."""
        if self.tally_file is not None:
            self.tally.tallied += 1
            self.tally_file.append(entry)

    def counted(self, asking: "_Connection") -> Reply:
        """The tally, as a reply."""
        if self.tally_file is not None:
            self.tally_file.flush()
        last = self.tally.last
        told = {
            "requests": self.tally.requests,
            "connections": len(self.connections - {asking}),
            "closed_early": self.tally.closed_early,
            "tallied": self.tally.tallied,
            "last": last and {"head": last.head().decode("latin-1"), "body": last.body.decode(errors="replace")},
        }
        return _own(told)

    def reset(self) -> Reply:
        self.tally = Tally()
        return _own({})


def _own(told: object) -> Reply:
    body = msgspec.json.encode(told)
    return Reply(200, ((b"content-type", b"application/json"),), (Chunk(0.0, body),), len(body))


class _Connection(asyncio.Protocol):
    """One client. Requests are answered one after the other; a reply with pauses is told by a task."""

    def __init__(self, server: SimulatorServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._waiting: deque[Request] = deque()
        self._telling: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()

    # ---- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:  # not the client's fault
            self._transport.abort()
            raise
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._lost.set()
        self._writable.set()
        self._waiting.clear()
        if self._telling is not None:
            self._server.tally.closed_early += 1
            self._telling.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def aclose(self) -> None:
        """Drop the connection, whatever it is saying."""
        self._transport.abort()
        await self._lost.wait()

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", [], []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if any(name.lower() == b"expect" for name, _ in self._headers):
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            body,
            self._parser.should_keep_alive(),
        )
        self._waiting.append(request)
        if self._telling is None:
            self._next()

    # ---- answering

    def _next(self) -> None:
        """Answer what waits, up to a reply that takes its time."""
        while self._waiting and self._telling is None and not self._transport.is_closing():
            request = self._waiting.popleft()
            reply = self._reply(request)
            entry = self._entry(request, reply)
            at_once = _at_once(reply)
            if at_once is None:
                self._telling = asyncio.create_task(self._tell(request, reply, entry))
                self._telling.add_done_callback(partial(self._told, entry))
                self._server.telling.add(self._telling)
                return
            self._transport.write(at_once)
            if entry is not None:
                self._written(reply, entry)
            if not request.keep_alive or reply.closes:
                self._transport.close()

    def _reply(self, request: Request) -> Reply:
        server = self._server
        if request.target == "/__tally":
            return server.counted(self)
        if request.target == "/__requests":
            return _own({"requests": [kept.told() for kept in server.tally.kept]})
        if request.target == "/__reset" and request.method == "POST":
            return server.reset()
        server.tally.asked(request)
        headers = {name.lower(): value for name, value in request.headers}
        return server.simulator.reply(request.method, request.target, headers, request.body)

    def _entry(self, request: Request, reply: Reply) -> Entry | None:
        """The beginning of what the tally file says of this request, if it says something."""
        if self._server.tally_file is None:
            return None
        told = next((value for name, value in request.headers if name.lower() == CALL_HEADER), None)
        return None if told is None else begun(told, reply)

    def _written(self, reply: Reply, entry: Entry) -> None:
        """The reply was written at once."""
        if not self._transport.is_closing():
            entry.status = reply.status
            for chunk in reply.chunks:
                entry.tell(chunk, reply)
        self._server.entered(entry)

    async def _tell(self, request: Request, reply: Reply, entry: Entry | None) -> None:
        """The reply in its own time, until its end or the client's."""
        await self._pause(reply.wait)
        if not reply.headless:
            await self._write(_head(reply), reply)
            if entry is not None:
                entry.status = reply.status
            await self._drained()
            chunked = reply.length is None and not reply.closes
            for chunk in joined(reply):
                if chunk.pause:
                    await self._pause(chunk.pause)
                data = chunk.data
                await self._write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data, reply)
                if entry is not None and not self._transport.is_closing():
                    entry.tell(chunk, reply)
                await self._drained()
            if chunked and reply.ending == "whole":
                await self._write(_LAST_CHUNK, reply)
                await self._drained()
        await self._end(request, reply)

    async def _end(self, request: Request, reply: Reply) -> None:
        match reply.ending:
            case "silent":
                await self._lost.wait()
            case "reset":
                linger = self._transport.get_extra_info("socket")
                linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self._transport.abort()
            case "cut":
                self._transport.close()
            case "whole":
                if reply.closes or not request.keep_alive:
                    self._transport.close()

    def _told(self, entry: Entry | None, task: "asyncio.Task[None]") -> None:
        self._telling = None
        self._server.telling.discard(task)
        if entry is not None:
            self._server.entered(entry)
        if task.cancelled():
            return
        if task.exception() is not None:
            self._transport.abort()
        task.result()
        self._next()

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._server.pace)

    async def _write(self, data: bytes, reply: Reply) -> None:
        """Write, byte by byte where the reply drips; else without giving way to anyone."""
        if reply.drip is None:
            self._transport.write(data)
        else:
            for place in range(len(data)):
                self._transport.write(data[place : place + 1])
                await self._pause(reply.drip)

    async def _drained(self) -> None:
        """Wait while the client does not read."""
        if not self._writable.is_set():
            await self._writable.wait()


def _at_once(reply: Reply) -> bytes | None:
    """Head and body of a reply that takes no time, in one."""
    if reply.wire is not None:
        return reply.wire
    if reply.wait or reply.ending != "whole" or reply.drip is not None or not isinstance(reply.chunks, tuple):
        return None
    if any(chunk.pause for chunk in reply.chunks):
        return None
    body = b"".join([chunk.data for chunk in reply.chunks])
    if reply.length is None and not reply.closes:
        body = b"%x\r\n%b\r\n%b" % (len(body), body, _LAST_CHUNK) if body else _LAST_CHUNK
    reply.wire = _head(reply) + body
    return reply.wire


def _head(reply: Reply) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (reply.status, _REASONS.get(reply.status, b"Simulated"))]
    lines += [name + b": " + value for name, value in reply.headers]
    if reply.length is not None:
        lines.append(b"content-length: %d" % reply.length)
    elif not reply.closes:
        lines.append(b"transfer-encoding: chunked")
    if reply.closes:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
