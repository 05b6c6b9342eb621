"""One connection to a provider, and one answer on it: HTTP/1.1 on `asyncio.Protocol` and `httptools`.

A connection parses; a `Response` holds what was parsed and not yet read, so that a connection is free again with the
last byte of its answer, however slow the reader is. Nothing is created for a wait but one future, and one timer a
connection is moved only when a deadline comes before it.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools

from fairlead.errors import Phase, UpstreamBroken, UpstreamError, UpstreamTimeout
from fairlead.upstream import Timeouts, UpstreamRequest

MAX_HEAD_BYTES = 64 << 10
_MAX_UNREAD_BYTES = 64 << 10  # beyond it the socket is left alone
_MAX_INFLATED_BYTES = 256 << 10  # given to a reader at once
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 10, 1.0
_STALE_SECONDS = 1.0
_IDLE_SECONDS = 4.0  # many servers close at 5


class Stale(Exception):
    """A reused connection was closed before a byte of an answer: the request may be sent once more."""


class Response:
    """An answer on its way: status and headers are here, the body comes chunk by chunk."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_error",
        "_inflate",
        "_unread",
        "_waiter",
        "complete",
        "headers",
        "sends",
        "status",
    )

    def __init__(self, connection: "Connection", status: int, headers: dict[bytes, bytes]) -> None:
        self.status, self.headers, self.sends = status, headers, 1
        self.complete = False  # the last byte is here
        self._connection: Connection | None = connection
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None
        self._inflate = _inflater(headers)

    async def read(self) -> bytes:
        """The next chunk of the body, b"" at its end. Raises UpstreamTimeout, UpstreamBroken."""
        while True:
            if self._chunks:
                chunk = self._taken()
                if self._inflate is None:
                    return chunk
                chunk = self._inflated(chunk)
                if chunk:
                    return chunk
                continue
            if self._error is not None:
                raise self._error
            if self.complete or self._connection is None:
                return b""
            await self._more()

    def close(self, *, ended: bool = False) -> None:
        """See `upstream.UpstreamResponse`."""
        connection, self._connection = self._connection, None
        self._chunks.clear()
        if connection is not None and not self.complete:
            if ended:
                connection.drain()
            else:
                connection.abort()

    def _taken(self) -> bytes:
        chunk = self._chunks.popleft()
        self._unread -= len(chunk)
        if self._unread <= _MAX_UNREAD_BYTES and self._connection is not None and not self.complete:
            self._connection.resume()
        return chunk

    async def _more(self) -> None:
        connection = self._connection
        assert connection is not None
        self._waiter = connection.loop.create_future()
        connection.expect("silence")
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _inflated(self, chunk: bytes) -> bytes:
        """A bounded piece of what `chunk` unpacks to; what is left of it goes back to the front."""
        assert self._inflate is not None
        try:
            told: bytes = self._inflate.decompress(chunk, _MAX_INFLATED_BYTES)
        except zlib.error:
            self.close()
            raise UpstreamBroken("its answer is said to be compressed and is not", outcome_unknown=True) from None
        rest = self._inflate.unconsumed_tail
        if rest:
            self._chunks.appendleft(rest)
            self._unread += len(rest)
        return told

    # ---- called by the connection

    def fill(self, chunk: bytes) -> int:
        """Add a chunk; how much is unread."""
        self._chunks.append(chunk)
        self._unread += len(chunk)
        self._wake()
        return self._unread

    def end(self, error: UpstreamError | None = None) -> None:
        """Nothing follows."""
        self.complete, self._error = True, error
        self._connection = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One socket. Busy from `exchange` until its answer is whole; then `released` is told."""

    __slots__ = (
        "_answered",
        "_awaited",
        "_chunked",
        "_close_delimited",
        "_deadline",
        "_draining",
        "_error",
        "_head_bytes",
        "_headers",
        "_informational",
        "_keep_alive_seconds",
        "_length",
        "_parser",
        "_paused",
        "_phase",
        "_released",
        "_response",
        "_seconds",
        "_sent_at",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_total_at",
        "_transport",
        "born",
        "expires",
        "loop",
        "lost",
        "reused",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, released: "Callable[[Connection], None]") -> None:
        """`released` is called when the connection is free for another request, and when it is lost."""
        self.loop = loop
        self.born = loop.time()
        self.expires = 0.0  # while idle
        self.lost = False
        self.reused = False
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._paused = False
        self._draining = 0
        self._reset()

    def _reset(self) -> None:
        self._awaited: asyncio.Future[Response] | None = None  # the head of an answer
        self._response: Response | None = None
        self._timeouts: Timeouts | None = None
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._answered = False
        self._informational = False
        self._chunked = False
        self._close_delimited = False
        self._length: int | None = None
        self._keep_alive_seconds = _IDLE_SECONDS
        self._error: UpstreamError | None = None
        self._deadline = 0.0
        self._phase: Phase = "first_byte"
        self._seconds = 0.0
        self._total_at = 0.0
        self._sent_at = 0.0

    # ---- one request, one answer

    async def exchange(self, request: UpstreamRequest) -> Response:
        """Send `request`; its answer once status and headers are here. Raises UpstreamError, Stale."""
        assert self._transport is not None
        if self.lost or self._transport.is_closing():
            raise Stale
        awaited = self._awaited = self.loop.create_future()
        self._timeouts = request.timeouts
        self._sent_at = self.loop.time()
        self._total_at = self._sent_at + request.timeouts.total
        if request.body or not request.head.startswith(b"GET "):
            head = b"%bcontent-length: %d\r\n\r\n" % (request.head, len(request.body))
        else:
            head = request.head + b"\r\n"
        self._transport.write(head + request.body)
        self.expect("first_byte")
        try:
            return await awaited
        except BaseException:
            if awaited.done() and not awaited.cancelled() and awaited.exception() is None:
                awaited.result().close()  # the answer came just before we were cancelled
            elif self._awaited is awaited:
                self.abort()
            raise
        finally:
            if self._awaited is awaited:  # else the connection is somebody else's already
                self._awaited = None

    def expect(self, phase: Phase) -> None:
        """Something has to come before the deadline of `phase`, or of the whole exchange."""
        timeouts = self._timeouts
        assert timeouts is not None
        seconds = timeouts.first_byte if phase == "first_byte" else timeouts.silence
        deadline = self.loop.time() + seconds
        if self._total_at < deadline:
            phase, seconds, deadline = "total", timeouts.total, self._total_at
        self._phase, self._seconds, self._deadline = phase, seconds, deadline
        if self._timer is None or deadline < self._timer_at:
            self._arm(deadline)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        """The timer is only moved forward when it fires: deadlines move much more often."""
        self._timer = None
        if self._draining:
            self.abort()
        elif self._waiting():
            if self.loop.time() >= self._deadline - 0.001:
                self._fail(UpstreamTimeout(self._phase, self._seconds, outcome_unknown=True))
            else:
                self._arm(self._deadline)

    def _waiting(self) -> bool:
        """Whether somebody waits for the other side: a reader that is slow itself may take its time."""
        response = self._response
        return self._awaited is not None or (response is not None and response._waiter is not None)

    def drain(self) -> None:
        """Let the end of the answer come, quietly and for a moment, and be free again."""
        self._response = None
        self._draining = 1
        self.resume()
        self._arm(self.loop.time() + _DRAIN_SECONDS)

    def abort(self) -> None:
        """Close at once. Whoever waits has been told, or does not wait any more."""
        self._response = None
        if self._transport is not None:
            self._transport.abort()
        self._gone()

    def close(self) -> None:
        """Close an idle connection."""
        self.abort()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _fail(self, error: UpstreamError) -> None:
        """The exchange is over, and so is the connection."""
        response, awaited = self._response, self._awaited
        if response is not None:
            response.end(error)
        elif awaited is not None and not awaited.done():
            awaited.set_exception(error)
        self.abort()

    def _gone(self) -> None:
        if not self.lost:
            self.lost = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._released(self)

    @property
    def idle(self) -> bool:
        """Free for another request."""
        return not self.lost and self._awaited is None and self._response is None and not self._draining

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._timeouts is None:  # nobody asked
            self.abort()
            return
        self._answered = True
        if self._response is None and not self._draining:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(
                self._error or UpstreamBroken(f"its answer is not HTTP ({_reason(error)})", outcome_unknown=True)
            )
            return
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamBroken("it wants to speak another protocol", outcome_unknown=True))
            return
        if self._response is None and self._awaited is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(UpstreamBroken(f"its headers are longer than {MAX_HEAD_BYTES} bytes", outcome_unknown=True))

    def connection_lost(self, exc: Exception | None) -> None:
        response, awaited = self._response, self._awaited
        if response is not None:
            whole = self._close_delimited and exc is None
            response.end(None if whole else UpstreamBroken("its answer was cut off", outcome_unknown=True))
        elif awaited is not None and not awaited.done():
            soon = self.loop.time() - self._sent_at < _STALE_SECONDS
            if self.reused and soon and not self._answered:
                awaited.set_exception(Stale())
            else:
                awaited.set_exception(
                    UpstreamBroken("it closed the connection before it answered", outcome_unknown=True)
                )
        self._response = None
        self._gone()

    # ---- httptools

    def on_message_begin(self) -> None:
        if self._awaited is None or self._awaited.done():
            raise ValueError("an answer that nobody asked for")
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None or self._draining:
            return  # trailers: what comes after the body is no header
        name = name.lower()
        if name == b"content-length":
            self._length = self._checked_length(value)
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                self._refuse("its transfer-encoding is not chunked")
            self._chunked = True
        elif name == b"keep-alive":
            self._keep_alive_seconds = _keep_alive(value)
        self._headers.setdefault(name, value)

    def _checked_length(self, value: bytes) -> int:
        if not value.isdigit() or len(value) > 18 or self._length is not None:
            self._refuse("its content-length is not one number")
        return int(value)

    def _refuse(self, finding: str) -> None:
        self._error = UpstreamBroken(finding, outcome_unknown=True)
        raise ValueError(finding)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._informational = 100 <= status < 200
        if self._informational:
            if status == 101:
                self._refuse("it wants to speak another protocol")
            return
        if self._head_bytes > MAX_HEAD_BYTES and not _fits(self._headers):
            self._refuse(f"its headers are longer than {MAX_HEAD_BYTES} bytes")
        if self._chunked and self._length is not None:
            self._refuse("it has both a content-length and a transfer-encoding")
        encoding = self._headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"gzip", b"x-gzip", b"deflate", b""):
            self._refuse("it used a content-encoding that was not asked for")
        self._close_delimited = not self._chunked and self._length is None and status not in (204, 304)
        response = self._response = Response(self, status, self._headers)
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(response)

    def on_body(self, chunk: bytes) -> None:
        if self._draining:
            self._draining += len(chunk)
            if self._draining > _DRAIN_BYTES:
                self.abort()
            return
        response = self._response
        if response is not None and response.fill(chunk) > _MAX_UNREAD_BYTES and not self._paused:
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
            return
        response = self._response
        if response is None and not self._draining:
            return
        if response is not None:
            response.end()
        keep = self._parser.should_keep_alive() and not self._close_delimited
        self.resume()
        self.expires = self.loop.time() + self._keep_alive_seconds
        self._draining = 0
        self._reset()
        self.reused = True
        if keep and self._keep_alive_seconds > 0:
            self._released(self)
        else:
            self.abort()


def _reason(error: Exception) -> str:
    return type(error).__name__.removeprefix("HttpParser")


def _fits(headers: dict[bytes, bytes]) -> bool:
    return sum(len(name) + len(value) + 4 for name, value in headers.items()) <= MAX_HEAD_BYTES


def _keep_alive(value: bytes) -> float:
    """`Keep-Alive: timeout=5, max=100` → how long to trust it, a second less than said."""
    for field in value.lower().split(b","):
        name, _, seconds = field.strip().partition(b"=")
        if name == b"timeout" and seconds.isdigit():
            return float(min(int(seconds[:6]), 60) - 1)
    return _IDLE_SECONDS


def _inflater(headers: dict[bytes, bytes]) -> Any:
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding in (b"", b"identity"):
        return None
    return zlib.decompressobj(47)  # gzip or zlib, whichever it is
