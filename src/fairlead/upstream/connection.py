"""One HTTP/1.1 connection to an upstream, and the answers that come over it.

httptools reads the answers, strictly: folded headers, bare line ends, two lengths, a length beside chunks are errors
there. What it lets pass and we do not is refused here. The hot path has no task, event or queue: bytes are kept as
they come, and whoever reads waits for one future at most.
"""

import asyncio
import os
import ssl
import zlib
from math import inf
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from fairlead.errors import FairleadError, UpstreamBroken, UpstreamTimeout
from fairlead.upstream import Take, Timeouts, UpstreamRequest
from fairlead.upstream.secure import Secured
from fairlead.writes import Writes

MAX_HEAD_BYTES = 64 << 10  # of all headers; also of framing (extensions, trailers) without content between
HIGH_WATER_BYTES = 64 << 10  # unread: beyond it nothing more is taken from the socket
SMALL_BODY_BYTES = 64 << 10  # up to here head and body leave in one write
_PIECE_BYTES = 256 << 10  # of a larger body, given to the transport at once
_MAX_DRAINED_BYTES = 64 << 10
_MAX_DRAIN_SECONDS = 1.0
_STALE_SECONDS = 1.0  # a reused connection that closes so soon after the request had been given up before it came
_MAX_SALVAGED_BYTES = 256 << 10
_LINE_BYTES = 4  # of a header besides name and value
_MAX_LENGTH_DIGITS = 15
_MAX_INFLATED_BYTES = 64 << 10  # at once
_H, _CR, _LF = b"H\r\n"
_MAX_SHORT_CHUNK = 0xFFF + 7  # with head and end
_CHUNK_HEADS: dict[int, bytes] = {}  # those that were needed, by the length of the whole


class Home(Protocol):
    """Where a connection belongs."""

    def release(self, connection: "Connection") -> None:
        """It has done its work and may do more."""
        ...

    def forget(self, connection: "Connection") -> None:
        """It is gone; its place is free. Called once."""
        ...


class Response:
    """An answer, as `upstream.UpstreamResponse`. Its connection leaves it for the pool as soon as the whole answer is
    here, read or not."""

    # As it begins, for most of them: what never changes costs nothing.
    _ended = False
    _error: FairleadError | None = None
    _waiter: asyncio.Future[bool] | None = None
    take: Take | None = None  # gets what comes, and nobody is woken; while it is there nothing waits to be read
    gzip: "Gunzip | None" = None
    sends = 1
    stale = False  # failed in such a way that the request may be sent again
    status = 0  # until the head is here

    def __init__(self, connection: "Connection") -> None:
        self._connection: Connection | None = connection
        self._writes = connection.writes
        self.chunks: list[bytes] = []  # not yet read
        self.headers: dict[bytes, bytes] = {}

    async def head(self) -> None:
        """Wait for status and headers. Raises UpstreamTimeout, UpstreamBroken."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._news()

    def whole(self) -> bytes | None:
        """See `UpstreamResponse.whole`."""
        chunks = self.chunks
        if not self._ended or self._error is not None or self.gzip is not None or not chunks:
            return None
        chunk = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return chunk

    async def read(self) -> bytes:
        """The next chunk: all that came since the last. b"" at the end of the body."""
        chunks = self.chunks
        if self.gzip is not None:
            return await self._inflated(self.gzip)
        while not chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._news()
        return self._taken()

    async def pour(self, take: Take) -> bool:
        """See `UpstreamResponse.pour`: in the turn of the loop in which a chunk comes."""
        chunks = self.chunks
        while self.gzip is not None:
            chunk = await self._inflated(self.gzip)
            if not chunk or not take(chunk, b""):
                return bool(chunk)
        while True:
            if chunks:
                if not take(self._taken(), b""):
                    return True
            elif self._error is not None:
                raise self._error
            elif self._ended:
                return False
            else:
                self.take = take
                try:
                    if not await self._news():
                        return True
                finally:
                    self.take = self._waiter = None  # what it tells may know who waited

    def _taken(self) -> bytes:
        chunks = self.chunks
        chunk = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self._connection is not None:
            self._connection.was_read()
        return chunk

    async def _inflated(self, gzip: "Gunzip") -> bytes:
        """The next chunk of a body that came compressed: a bounded piece, however far it swells."""
        while True:
            chunk = gzip.next()
            if chunk:
                return chunk
            if self.chunks:
                gzip.feed(self._taken())
            elif self._error is not None:
                raise self._error
            elif self._ended:
                gzip.end()
                return b""
            else:
                await self._news()

    def _news(self) -> asyncio.Future[bool]:
        """What tells that something came; False: it was taken, and the taker has enough."""
        connection = self._connection
        assert connection is not None
        self._waiter = connection.loop.create_future()
        return self._waiter

    def close(self, *, ended: bool = False) -> None:
        """Done with it; see `UpstreamResponse.close`."""
        connection = self._connection
        if connection is None:
            return
        if ended:
            connection.drain()
            self._connection, self._ended = None, True
        else:
            connection.fail(UpstreamBroken("its answer was closed before it was read"))

    # ---- told by the connection

    def wake(self) -> None:
        """Something came."""
        waiter, take = self._waiter, self.take
        if waiter is None or waiter.done():
            self.take = None  # what came waits from here on
            return
        if take is None or not self.chunks:
            waiter.set_result(True)
            self._writes.expect()
            return
        try:
            if not take(self._taken(), b""):
                self.enough()
            elif self._ended and not waiter.done():
                waiter.set_result(True)
        except Exception as error:
            self.enough(error)

    def enough(self, error: Exception | None = None) -> None:
        """Who takes what comes has said so, or failed: wake who waits."""
        self.take, waiter = None, self._waiter
        if waiter is None or waiter.done():  # it was cancelled
            return
        if error is None:
            waiter.set_result(False)
        else:
            waiter.set_exception(error)

    def end(self, error: FairleadError | None = None) -> None:
        """Nothing more comes: the body is whole, or `error` says why it is not."""
        self._connection, self._ended, self._error = None, True, error
        self.wake()


class Gunzip:
    """Inflates a gzip body bit by bit."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(31)
        self._rest = b""  # compressed, not yet inflated
        self._begun = False

    def feed(self, data: bytes) -> None:
        self._begun = True
        self._rest += data

    def next(self) -> bytes:
        """At most 64 KiB, b"" when more has to be fed. Raises UpstreamBroken."""
        while self._rest:
            if self._member.eof:  # a body may be several members
                self._member = zlib.decompressobj(31)
            try:
                chunk = self._member.decompress(self._rest, _MAX_INFLATED_BYTES)
            except zlib.error as error:
                raise UpstreamBroken("its gzip body is broken", outcome_unknown=True) from error
            self._rest = self._member.unused_data or self._member.unconsumed_tail
            if chunk:
                return chunk
        return b""

    def end(self) -> None:
        """Raises UpstreamBroken if the body ended too early."""
        if self._begun and not self._member.eof:
            raise UpstreamBroken("cut off in the middle of its gzip body", outcome_unknown=True)


class Connection(asyncio.Protocol):
    """One connection, one request at a time. Whoever has it calls `start`; the rest follows from what comes."""

    __slots__ = (
        "_between",
        "_chunks",
        "_complete",
        "_discard",
        "_drain",
        "_framing",
        "_head_only",
        "_headers",
        "_in_body",
        "_parser",
        "_patience",
        "_paused",
        "_refusal",
        "_repeated",
        "_reusable",
        "_since",
        "_started",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_to_end",
        "_transport",
        "_unread",
        "_unsent",
        "_unwritten",
        "_writable",
        "born",
        "expires",
        "home",
        "keep_seconds",
        "loop",
        "response",
        "served",
        "writes",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, writes: Writes) -> None:
        self.loop, self.writes = loop, writes
        self.home: Home | None = None
        self.response: Response | None = None
        self.served = 0  # answers
        self.born = self.expires = loop.time()
        self.keep_seconds: float | None = None  # idle, as the upstream announced
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        # Of the request under way:
        self._unwritten = b""
        self._unsent = memoryview(b"")
        self._writable = True
        self._started = self._since = 0.0  # sent first; last progress
        self._timeouts: Timeouts | None = None
        self._patience = inf  # the shortest of them
        self._timer: asyncio.TimerHandle | None = None  # stays over many requests; moved only when it is too late
        self._timer_at = inf
        # Of the answer under way:
        self._chunks: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._in_body = self._complete = self._to_end = self._head_only = False
        self._between = False  # what comes next is the head of a chunk
        self._reusable = False
        self._framing = 0  # bytes since the last content
        self._repeated = 0  # bytes of headers that came before under the same name
        self._unread = 0
        self._paused = False
        self._discard: int | None = None  # bytes that may still be drained, when nobody reads any more
        self._drain: asyncio.TimerHandle | None = None
        self._refusal = ""

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on, with whoever proves to be `host`. Raises OSError."""
        plain = self._transport
        if plain is None:
            raise ConnectionResetError
        secured = self._transport = Secured(plain, self, context, host)
        try:
            await secured.handshake()
        except BaseException:
            plain.abort()
            raise

    # ---- a request

    @property
    def alive(self) -> bool:
        """Whether a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def start(self, request: UpstreamRequest, now: float, started: float) -> Response:
        """Send `request`, first sent at `started`, and give the answer to be."""
        transport = self._transport
        assert transport is not None
        response = self.response = Response(self)
        self._chunks, self._headers = response.chunks, response.headers
        self._in_body = self._between = self._complete = self._to_end = False
        self._framing = self._unread = self._repeated = 0
        self._since, self._started = now, started
        timeouts = request.timeouts
        if timeouts is not self._timeouts:
            self._timeouts = timeouts
            self._patience = min(timeouts.first_byte, timeouts.silence, timeouts.total)
        if self._timer is None or self._timer_at > started + self._patience:
            self._watch(started + self._patience)
        head, body = request.head, request.body
        self._head_only = not body and head.startswith(b"HEAD ")
        if len(body) <= SMALL_BODY_BYTES:
            if body or not head.startswith((b"GET ", b"HEAD ")):
                self._unwritten = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
            else:
                self._unwritten = head + b"\r\n"
            self.writes.add(self)
        else:
            self.writes.skip()
            transport.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
            self._unsent = memoryview(body)
            self._send_on()
        return response

    def flush(self) -> None:
        """Write the small request that waits for the end of the loop's turn."""
        data, self._unwritten = self._unwritten, b""
        if data and self._transport is not None:
            self._transport.write(data)

    def _send_on(self) -> None:
        """Give the transport more of a large body, as long as it takes it: TLS would copy the whole at once."""
        transport = cast(asyncio.Transport, self._transport)
        while self._unsent and self._writable:
            piece, self._unsent = self._unsent[:_PIECE_BYTES], self._unsent[_PIECE_BYTES:]
            transport.write(piece)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._since = self.loop.time()
        response = self.response
        if response is None or response.status >= 400:  # it has heard enough
            return
        self._send_on()

    # ---- its answer

    def data_received(self, data: bytes) -> None:
        response = self.response
        if response is None:  # nobody asked
            self.abort()
            return
        if self._between and (take := response.take) is not None:
            chunk = _only_chunk(data)
            if chunk:  # that came whole: it is no business of the parser's
                self._framing = 0
                self._since = self.loop.time()
                try:
                    if not take(chunk, data):
                        response.enough()
                except Exception as error:
                    response.enough(error)
                return
        if self._in_body:
            self._body_data(response, data)
        else:
            self._head_data(response, data)

    def _head_data(self, response: Response, data: bytes) -> None:
        if not self._framing and data[0] != _H:  # the parser knows RTSP, too
            self._refuse("it did not answer in HTTP")
            return
        self._framing += len(data)
        if not self._parsed(data):
            return
        if self._framing > MAX_HEAD_BYTES and not (self._in_body and self._head_bytes() <= MAX_HEAD_BYTES):
            self._refuse(f"the head of its answer is larger than {MAX_HEAD_BYTES} bytes")
            return
        if self._in_body:
            self._framing = 0
            self._since = self.loop.time()
            response.status = self._parser.get_status_code()
            self._received(response, len(data))

    def _head_bytes(self) -> int:
        lines = self._headers.items()
        return self._repeated + sum(len(name) + len(value) + _LINE_BYTES for name, value in lines)

    def _body_data(self, response: Response, data: bytes) -> None:
        before = len(self._chunks)
        if not self._parsed(data):
            return
        if len(self._chunks) != before:
            self._framing = 0
            self._since = self.loop.time()
            self._received(response, len(data))
        elif self._complete:
            self._finish(response)
        else:
            self._framing += len(data)
            if self._framing > MAX_HEAD_BYTES:
                self._refuse("it sends framing without content")

    def _received(self, response: Response, size: int) -> None:
        if self._complete:
            self._finish(response)
            return
        if self._discard is not None:
            self._chunks.clear()
            self._discard -= size
            if self._discard < 0:
                self.abort()
            return
        self._unread += size
        if self._unread > HIGH_WATER_BYTES and self._chunks and not self._paused and self.alive:
            self._paused = True
            cast(asyncio.Transport, self._transport).pause_reading()
        response.wake()

    def was_read(self) -> None:
        """All that came has been taken."""
        self._unread = 0
        if self._paused:
            self._paused = False
            self._since = self.loop.time()  # the silence was ours
            cast(asyncio.Transport, self._transport).resume_reading()

    def _parsed(self, data: bytes) -> bool:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if self._complete:  # the answer is good, what follows it is not
                self._reusable = False
                return True
            where = "the body of its answer is not framed as HTTP" if self._in_body else "its answer is not valid HTTP"
            self._refuse(self._refusal or where)
            return False
        if self._between and not data.endswith(b"\r\n"):  # the head of the next chunk has begun
            self._between = False
        return True

    def _finish(self, response: Response) -> None:
        """The answer is whole."""
        self.response = None
        self.served += 1
        if self._discard is not None:
            self._stop_draining()
        if self._paused:
            self._paused = False
            cast(asyncio.Transport, self._transport).resume_reading()
        if self._reusable and not self._unsent and self._writable and self.home is not None and self.alive:
            self.home.release(self)
        else:
            self.abort()
        response.end()

    # ---- called by the parser

    def on_message_begin(self) -> None:
        if self._complete:
            self._raise("it answered what nobody asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # a trailer, or what follows the answer
            return
        name = name.lower()
        headers = self._headers
        if name not in headers:
            headers[name] = value
        elif name == b"transfer-encoding":
            self._raise("its answer is framed twice")
        else:
            self._repeated += len(name) + len(value) + _LINE_BYTES

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                self._raise(f"it answered status {status}")
            self._headers.clear()
            return
        if not parser.get_http_version().startswith("1."):
            self._raise("it answered in an unknown version of HTTP")
        self._in_body = True
        self._reusable = parser.should_keep_alive()
        headers = self._headers
        length = headers.get(b"content-length")
        if length is not None:
            if len(length.rstrip()) > _MAX_LENGTH_DIGITS:
                self._raise("its answer has an impossible length")
        else:
            coding = headers.get(b"transfer-encoding")
            if coding is None:
                self._to_end = status not in (204, 304)
            elif coding.strip().lower() != b"chunked":
                self._raise("its answer has an unknown transfer-encoding")
        if b"content-encoding" in headers:
            self._decode(headers[b"content-encoding"])
        if b"keep-alive" in headers:
            self.keep_seconds = _announced(headers[b"keep-alive"])
        if self._head_only:  # the parser waits for a body that never comes
            self._complete = True
            self._raise("")

    def _decode(self, coding: bytes) -> None:
        coding = coding.strip().lower()
        if coding in (b"gzip", b"x-gzip"):
            cast(Response, self.response).gzip = Gunzip()
        elif coding not in (b"", b"identity"):
            self._raise("its answer has an unknown content-encoding")

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_chunk_header(self) -> None:
        self._between = False

    def on_chunk_complete(self) -> None:
        self._between = True

    def on_message_complete(self) -> None:
        if self._in_body:  # else it was a 1xx
            self._complete = True

    def _raise(self, refusal: str) -> None:
        self._refusal = refusal
        raise HttpParserError(refusal)

    # ---- time

    def _watch(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self.loop.call_at(at, self._check), at

    def _check(self) -> None:
        """The timer went off: has a time-out passed, and when must we look again?"""
        self._timer, response, timeouts = None, self.response, self._timeouts
        if response is None or timeouts is None:
            return
        now = self.loop.time()
        end = self._started + timeouts.total
        if now >= end:
            self.fail(UpstreamTimeout("total", timeouts.total, outcome_unknown=True))
        elif self._paused:
            self._watch(min(now + timeouts.silence, end))
        elif response.status:
            due = self._since + timeouts.silence
            if now >= due:
                self.fail(UpstreamTimeout("silence", timeouts.silence, outcome_unknown=True))
            else:
                self._watch(min(due, end))
        else:
            due = self._since + timeouts.first_byte
            if now >= due:
                self.fail(UpstreamTimeout("first_byte", timeouts.first_byte, outcome_unknown=True))
            else:  # once the head is here the next time-out may be shorter
                self._watch(min(due, now + timeouts.silence, end))

    # ---- the end

    def drain(self) -> None:
        """Nobody reads any more, but the answer is about to end: let it."""
        self._chunks.clear()
        self._discard = _MAX_DRAINED_BYTES
        self._drain = self.loop.call_later(_MAX_DRAIN_SECONDS, self.abort)
        if self._paused:
            self.was_read()

    def _stop_draining(self) -> None:
        self._discard = None
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None

    def _refuse(self, finding: str) -> None:
        self.fail(UpstreamBroken(finding, outcome_unknown=True))

    def fail(self, error: FairleadError) -> None:
        """The answer under way ends with `error`, and the connection with it."""
        response, self.response = self.response, None
        self.abort()
        if response is not None:
            response.end(error)

    def abort(self) -> None:
        """Close at once, without waiting for anything; the second time does nothing."""
        home, self.home = self.home, None
        self.response, self._unwritten, self._unsent = None, b"", memoryview(b"")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._discard is not None:
            self._stop_draining()
        if self._transport is not None:
            self._transport.abort()
        if home is not None:
            home.forget(self)

    # ---- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def eof_received(self) -> None:
        self._closed()

    def connection_lost(self, exc: Exception | None) -> None:
        response = self.response
        if response is not None and exc is not None and (self._unsent or not self._writable):
            self._salvage()
        self._closed(broken=exc is not None)
        self._transport = None
        self._parser = cast(HttpResponseParser, None)  # it knows us

    def _salvage(self) -> None:
        """An upstream that refuses a large request answers and closes while we still write. The write fails first,
        the answer is still in the socket."""
        wire = cast(asyncio.Transport, self._transport).get_extra_info("socket")
        if wire is None or cast(asyncio.Transport, self._transport).get_extra_info("ssl_object") is not None:
            return
        for _ in range(_MAX_SALVAGED_BYTES // (64 << 10)):
            try:
                data = os.read(wire.fileno(), 64 << 10)
            except OSError:
                return
            if not data or self.response is None:
                return
            self.data_received(data)

    def _closed(self, *, broken: bool = False) -> None:
        response = self.response
        if response is None:
            self.abort()
        elif self._in_body and self._to_end and not broken:
            self._reusable = False
            self._finish(response)
        elif response.status:
            self._refuse("cut off in the middle of its answer")
        elif self._framing:
            self._refuse("cut off in the head of its answer")
        else:
            response.stale = self.served > 0 and self.loop.time() - self._since <= _STALE_SECONDS
            self._refuse("it closed the connection without an answer")


def _only_chunk(data: bytes) -> bytes:
    """What is in `data`, if that is one chunk of less than 4 KiB and nothing else: so most events come. Else b""."""
    length = len(data)
    head = _CHUNK_HEADS.get(length)
    if head is None:
        if length > _MAX_SHORT_CHUNK:
            return b""
        head = _CHUNK_HEADS[length] = _chunk_head(length)
    if head and data[-1] == _LF and data[-2] == _CR and data.startswith(head):
        return data[len(head) : -2]
    return b""


def _chunk_head(length: int) -> bytes:
    """The only head with which `length` bytes are one chunk with its end, if it says nothing besides; b"": none."""
    for digits in (1, 2, 3):
        size = length - digits - 4
        head = b"%x\r\n" % max(size, 0)
        if size > 0 and len(head) == digits + 2:
            return head
    return b""


def _announced(value: bytes) -> float | None:
    """Seconds an idle connection may be kept: one less than `Keep-Alive: timeout=…` says, 0 if no request is left.
    None if it does not say."""
    seconds = None
    for part in value.lower().split(b","):
        name, _, number = part.strip().partition(b"=")
        number = number.strip(b' "')
        if not number.isdigit():
            continue
        if name == b"timeout":
            seconds = max(0.0, float(number[:9]) - 1)
        elif name == b"max" and int(number[:9]) == 0:
            return 0.0
    return seconds
