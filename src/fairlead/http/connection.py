"""One connection of a client: uvicorn's HTTP protocol, hardened.

What no ASGI application can do is done here. Headers are bounded, in size, number and time, and those of all
connections together; what follows the body is no header; a body that does not come is 408; a client that goes away
cancels its call at once, end of file included; an answer leaves in one write. What is refused here is told in the
dialect of the path that was asked for, as far as it is known.
"""

import asyncio
import math
import re
import select
import urllib.parse
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fairlead.call import new_id
from fairlead.errors import FairleadError, HeadersTooLarge, InvalidRequest, TlsRequired, Unavailable
from fairlead.http.asgi import App, Header, Scope
from fairlead.http.browsers import preflight
from fairlead.http.client import CANCELS
from fairlead.http.exchange import STATUS_LINES, Exchange, Head, Serve
from fairlead.http.identity import request_id
from fairlead.http.known import MAX_KNOWN_BYTES, KnownHead

if TYPE_CHECKING:
    from fairlead.http.server import EdgeServer

MAX_HEAD_BYTES = 64 << 10
MAX_HEAD_LINES = 1000
_FEW_HEAD_BYTES = 4 * MAX_HEAD_LINES  # not worth a refusal if there is more to come, and too few for too many lines
_AT_ONCE_BYTES = 64 << 10  # of a read that may have more than one request in it
_MAX_UNREAD_BYTES = 64 << 10  # of a request's body; beyond it the socket is left alone
_MAX_OVERHEAD_BYTES = 64 << 10  # of framing, beyond the size of the body itself
_MAX_PIPELINED = 64
_LEARNS = 2  # heads in a row that never came again
_MAX_BEHIND_BYTES = 256 << 10  # of bodies behind the request that is being answered
_SLOWEST_BYTES_A_SECOND = 1024  # at which a body may come, once `body_seconds` are over
_HOST = re.compile(rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_UPGRADE = re.compile(rb"(?i)(\r\n)upgrade(?=[ \t]*:)")
_LINGER_SECONDS = 5.0  # for a client that still sends what nobody wants to read
_NEVER = float("inf")
_GONE = getattr(select, "POLLRDHUP", select.POLLHUP)  # Linux only; elsewhere a hang-up is seen when it is read
_LOOKED_AT = frozenset({b"host", b"expect", b"transfer-encoding"})
_TOO_MUCH = "The gateway has as much to read as it may hold."
_OPEN_PATHS = frozenset({"/livez", "/readyz"})  # for probes, which come plain and tell nothing


class Edge(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, edge: "EdgeServer", config: Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config=config, server_state=state, app_state={}, _loop=loop)
        self.edge = edge
        self.current: Exchange | None = None  # being answered
        self.parsed: Exchange | None = None  # whose body is coming in
        self.queued: deque[Exchange] = deque()  # pipelined
        self.deadline = loop.time() + edge.header_seconds
        self.waits = False  # the application waits for the request's body, until the deadline
        self.unsent, self.unsent_since = 0, 0.0  # bytes that the client has not taken
        self.head_open = True
        self.host = b""  # the last one that was looked at
        self.partial: bytes | bytearray = b""  # of a head; of one that is `begun`, what came since, and 3 bytes before
        self.begun = False  # a head, by the parser itself: it came behind another request
        self.held = 0  # bytes of a head that is not whole
        self.url, self.headers = b"", []  # of what comes in, as far as it came
        self.body_bytes = self.raw_bytes = 0
        self.seen = self.headers, 0, 0  # `body_bytes` and `raw_bytes` when the last of a body came
        self.ahead = 0  # bytes of the read that follow on the head in it
        self.body_began = 0.0
        self.known: KnownHead | None = None  # of the call before
        self.learns = _LEARNS
        self.raw_head = b""  # the one that is being read, if it may be known
        self.owed = 0  # of a body behind a known head
        self.unwritten = b""  # until the turn of the loop ends
        self.deaf = False  # what still comes in is thrown away
        self.refused = False  # ... and nothing more is answered

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        edge, self.address = self.edge, self.client[0] if self.client else ""
        self.secure = edge.certificate is not None
        self.trusted = edge.guard.trusts(self.address)
        alone = edge.guard.enter(self.address) or self.trusted
        count, most = len(self.connections), edge.max_connections
        if count > (2 * most if alone else most):
            transport.abort()  # not even words for it
        elif not alone:
            self.refuse(Unavailable("Your address has as many connections as it may have."))
        elif count > most:
            self.refuse(Unavailable("The gateway has as many connections as it may have."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.edge.guard.leave(self.address)
        self.unwritten = b""
        self.hang_up()
        self._forget_head()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]
        self.current = self.parsed = None  # they know us
        self.edge.left()

    def eof_received(self) -> None:
        """End of file is a hang-up: TCP cannot tell a client that is gone from one that only will not say more."""
        self.hang_up()

    def hang_up(self) -> None:
        """The client is gone."""
        for exchange in (*self.queued, self.current):
            if exchange is not None:
                exchange.drop()
        self.queued.clear()
        current = self.current
        if current is not None:
            current.hang_up()
            if current.task is not None and not current.task.done():
                self.edge.leaving(current.task)

    def look_at(self, now: float) -> None:
        """Called by the ticker."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self.unsent:
            self.unsent, self.unsent_since = unsent, now
        elif now - self.unsent_since > self.edge.idle_seconds:
            self.transport.abort()  # the client reads nothing, and holds what it was sent
            return
        if self.flow.read_paused and self._is_gone():
            self.hang_up()
            self.transport.abort()
            return
        if now < self.deadline:
            return
        if self.waits and self.current is not None:
            self.current.time_out()
        elif self.transport.is_closing():
            self.transport.abort()
        else:
            self.close()

    def _is_gone(self) -> bool:
        """Whether the client has hung up behind bytes that we do not read, where no read would tell us."""
        wire = self.transport.get_extra_info("socket")
        poll = select.poll()
        poll.register(wire.fileno(), _GONE)
        return bool(poll.poll(0))

    def shutdown(self) -> None:
        """Close when there is nothing more to answer."""
        if self.refused or (self.current is None and not self.queued and not self.partial and not self.begun):
            self.close()

    def close(self) -> None:
        """Close when all is out."""
        self.flush()
        self.transport.close()

    # ---- what goes out

    def write(self, data: bytes) -> None:
        """Write at once."""
        self.edge.writes.skip()
        if self.unwritten:
            self.flush()
        self.transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Write together with others."""
        self.unwritten += data
        self.edge.writes.add(self)

    def flush(self) -> None:
        if self.unwritten:
            data, self.unwritten = self.unwritten, b""
            self.transport.write(data)

    def refuse(self, error: FairleadError, *, line: bytes = b"") -> None:
        """Answer for the application, if nothing is out yet, and close. `line`: that of a request that nobody has
        looked at."""
        if self.refused:
            return
        self.refused = True
        current = self.current
        if current is None or not current.started:
            method, path, headers = self._asked(line)
            body = self.edge.spelling(path, headers)(error)
            told = next((value for name, value in headers if name == b"x-request-id"), None)
            head = (
                b"content-type: application/json\r\ncontent-length: %d\r\nx-should-retry: %b\r\nx-request-id: %b\r\n"
                % (
                    len(body),
                    b"true" if error.retryable else b"false",
                    (request_id(told) or new_id()).encode(),
                )
            )
            if error.retry_after is not None:
                head += b"retry-after: %d\r\n" % math.ceil(error.retry_after)
            head = STATUS_LINES[error.status] + self.edge.head(secure=self.secure) + head + b"connection: close\r\n\r\n"
            self.write(head if method == b"HEAD" else head + body)
        self.hang_up()
        self._forget_head()
        self.linger()

    def _asked(self, line: bytes) -> tuple[bytes, str, Sequence[Header]]:
        """Method, path and headers of what is refused, as far as they are known."""
        if self.current is not None:
            head = self.current.arrival
            return head.method.encode(), head.path, self.current.headers
        method, target, headers = b"", self.url, self.headers
        if line:
            headers = []
            method, target, _ = line.split(b" ") if line.count(b" ") == 2 else (b"", b"", b"")
        elif target and self.parser is not None:
            method = self.parser.get_method()
        try:
            path = (httptools.parse_url(target).path or b"").decode("ascii") if target else ""
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            path = ""
        return method, path, headers

    def linger(self) -> None:
        """Read on for a moment and throw it away: closing at once would reset the answer on its way."""
        self.deadline, self.waits = self.loop.time() + _LINGER_SECONDS, False
        self.flow.resume_reading()
        self.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # ---- what comes in

    def data_received(self, data: bytes) -> None:
        if self.refused or self.deaf or self.parser is None:
            return
        if self.owed:
            self._more_of_body(data)
            return
        if self.known is not None and self.head_open and self.current is None and not (self.partial or self.begun):
            digits, begin = self.known.length(data)
            if begin:
                self._read_again(self.known, digits, data[begin:])
                return
        if len(data) > _AT_ONCE_BYTES and (self.head_open or self.coded or self._left() < len(data)):
            self._in_pieces(data)
            return
        if self.head_open:
            data = self._head(data)
            if not data:
                return
        else:
            self.raw_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.deaf = True
        except httptools.HttpParserError as error:
            if not self.refused and not self.deaf:
                self._refuse_last(InvalidRequest(f"The request is not HTTP/1.1 ({_reason(error)})."))
            return
        if self.begun:
            self._parser_has_begun(data)
        elif self.raw_bytes > _MAX_OVERHEAD_BYTES and self.coded and self._is_framing():
            self.parsed = self.queued[-1] if self.queued else self.current  # though it may have come whole
            self._refuse_last(InvalidRequest("The request's chunks are mostly framing."))

    def _read_again(self, known: KnownHead, digits: bytes, data: bytes) -> None:
        """A known head came, and `data` behind it. The parser is not told."""
        self.learns = _LEARNS
        self.headers, self.body_bytes = known.headers(digits), 0
        self.body_began = self.loop.time()
        exchange = Exchange(self, known.told, self.headers, known.fields(digits))
        self._start(exchange)
        length = int(digits)
        if length == len(data) <= _MAX_UNREAD_BYTES:
            self.body_bytes = length
            exchange.come(data)
            return
        self.parsed, self.coded, self.head_open = exchange, False, False
        self.owed = length
        self._more_of_body(data)

    def _more_of_body(self, data: bytes) -> None:
        """Of a body behind a known head, and perhaps what follows it."""
        owed = self.owed
        body, rest = (data[:owed], data[owed:]) if len(data) > owed else (data, b"")
        self.owed = owed - len(body)
        if body:
            try:
                self.on_body(body)
            except ValueError:  # it was refused
                return
        if not self.owed:
            self.on_message_complete()
            if rest:
                self.data_received(rest)

    def _in_pieces(self, data: bytes) -> None:
        """A large read, as if it had come in several: the parser does not tell where in it a request begins or ends, so
        that of what frames a body it is only the first piece and the last that may escape the count."""
        begin = 0
        while begin < len(data) and not (self.refused or self.deaf):
            size = _AT_ONCE_BYTES
            if self.owed:  # not the parser's
                self.data_received(data[begin:])
                return
            if not self.head_open:
                size = size if self.coded else max(1, self._left())
                self.data_received(memoryview(data)[begin : begin + size])  # type: ignore[arg-type]  # nobody searches it
                begin += size
                continue
            if not self.partial and not self.begun:
                if data[begin] in b"\r\n":
                    data, begin = data[begin:].lstrip(b"\r\n"), 0
                end = data.find(b"\r\n\r\n", begin, begin + size)
                size = end + 4 - begin if end >= 0 else size
            self.data_received(data[begin : begin + size])
            begin += size

    def _is_framing(self) -> bool:
        """Whether too much of what came of a body frames it, or of what came last: the parser keeps trailers."""
        seen_in, seen, raw_bytes = self.seen
        if seen_in is not self.headers or seen != self.body_bytes:
            raw_bytes = self.raw_bytes
            self.seen = self.headers, self.body_bytes, raw_bytes
        return (
            self.raw_bytes > 2 * self.body_bytes + _MAX_OVERHEAD_BYTES
            or self.raw_bytes - raw_bytes > _MAX_OVERHEAD_BYTES
        )

    def _left(self) -> int:
        """How much is still to come of a body whose length was told."""
        told = next((value for name, value in self.headers if name == b"content-length"), b"0")
        return int(told) - self.body_bytes

    def _refuse_last(self, error: FairleadError, *, line: bytes = b"") -> None:
        """Refuse what came last; a call that came whole before it keeps its answer, and the connection ends there."""
        if self.queued and self.queued[-1] is self.parsed:  # it waits behind others
            self.queued.pop().drop()
            self.parsed = None
        before = self.queued[-1] if self.queued else self.current
        if before is None or before is self.parsed or before.complete:
            self.refuse(error, line=line)
            return
        before.keep_alive = False
        self.deaf = True
        self._forget_head()

    def _head(self, data: bytes) -> bytes:
        """What to parse of a head that comes in: nothing until it is whole.

        A wish to upgrade is hidden from the parser, which would stop there and take the request's body for the other
        protocol's: https://www.rfc-editor.org/rfc/rfc9110#section-7.8 lets a server ignore it.
        """
        if self.begun:
            return self._rest_of_head(data)
        if self.partial:
            data, end = self._joined(data)
        else:
            data = data.lstrip(b"\r\n")  # https://www.rfc-editor.org/rfc/rfc9112#section-2.2
            if not data:
                return b""
            if self.current is None:
                self.deadline = self.loop.time() + self.edge.header_seconds
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.partial = bytearray(data)
                self._hold(len(data))
        if end < 0:
            return b""
        line = data.find(b"\r\n")
        if end > _FEW_HEAD_BYTES and (end > MAX_HEAD_BYTES or data.count(b"\n", 0, end) > MAX_HEAD_LINES):
            self._refuse_last(_too_long(), line=data[:line])
            return b""
        if data.find(b" HTTP/", 0, line) < 0:  # the parser knows RTSP, too
            self._refuse_last(InvalidRequest("The request is not HTTP/1.1."), line=b"?")
            return b""
        self.ahead = len(data) - end - 4
        self.raw_head = data[: end + 4] if self.learns and end < MAX_KNOWN_BYTES else b""
        if b"upgrade" in data[:end].lower():
            data = _UPGRADE.sub(rb"\1x-upgrade", data[:end]) + data[end:]
        return data

    def _joined(self, data: bytes) -> tuple[bytes, int]:
        """A head that has come, and where it ends in what has come; -1 if it has not. What was looked at before is not
        looked at again: it may come byte by byte."""
        held = self.partial
        assert isinstance(held, bytearray)
        seen = len(held) - 3
        held += data
        end = held.find(b"\r\n\r\n", max(0, seen))
        if end < 0:
            self._hold(len(held))
            return b"", -1
        self._forget_head()
        return bytes(held), end

    def _hold(self, size: int) -> None:
        """`size` bytes of a head are here, and more has to come."""
        edge = self.edge
        edge.head_bytes += size - self.held
        self.held = size
        too_long = len(self.partial) - 3 > MAX_HEAD_BYTES  # without what may be of its end
        if too_long or (size > _FEW_HEAD_BYTES and edge.head_bytes > edge.max_unread_bytes):
            line = b"" if self.begun else bytes(self.partial.partition(b"\r\n")[0])
            self._refuse_last(_too_long() if too_long else Unavailable(_TOO_MUCH), line=line)

    def _forget_head(self) -> None:
        """What is here of a head that is not whole is given away."""
        self.partial = b""
        self.edge.head_bytes -= self.held
        self.held = 0

    def _parser_has_begun(self, data: bytes) -> None:
        """In `data`, the parser has come to a head that is not whole. It gets the rest at once: piece by piece it would
        copy again and again."""
        self.partial = bytearray(bytes(data[-3:]).rjust(3))  # the end of the head may have begun
        if len(self.headers) > MAX_HEAD_LINES:
            self._refuse_last(_too_long())
        else:
            self._hold(len(data))
        if self.refused or self.deaf:
            self.parser = None  # type: ignore[assignment]  # with what it has of the head

    def _rest_of_head(self, data: bytes) -> bytes:
        """What to parse of a head that the parser has begun."""
        held = self.partial
        assert isinstance(held, bytearray)
        seen = len(held) - 3
        held += data
        end = held.find(b"\r\n\r\n", seen)
        if end < 0:
            self._hold(self.held + len(data))
            return b""
        self._forget_head()
        if end - 3 > MAX_HEAD_BYTES or len(self.headers) + held.count(b"\n", 3, end) > MAX_HEAD_LINES:
            self._refuse_last(_too_long())
            return b""
        self.ahead = len(held) - end - 4
        return bytes(held[3:])

    def on_message_begin(self) -> None:
        self.begun = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.head_open = True
        self.hosts = 0
        self.coded = False  # it has a transfer-encoding

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_open:
            return  # a trailer
        name = name.lower()
        self.headers.append((name, value))
        if name not in _LOOKED_AT:
            return
        if name == b"host":
            self.hosts += 1
            if value != self.host:
                if not _HOST.fullmatch(value):  # https://www.rfc-editor.org/rfc/rfc9112#section-3.2
                    self._malformed("Its Host is none.")
                self.host = value
        elif name == b"transfer-encoding":
            self.coded = True
            if value.strip().lower() != b"chunked":
                self._malformed("Its transfer-encoding is not chunked.")
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def _malformed(self, why: str) -> NoReturn:
        self._refuse_last(InvalidRequest(f"The request is malformed. {why}"))
        raise ValueError(why)

    def on_headers_complete(self) -> None:
        self.head_open = self.begun = False
        self.raw_bytes, self.ahead, self.body_bytes = self.ahead, 0, 0
        self.body_began = self.loop.time()
        version = self.parser.get_http_version()
        if version != "1.1" or self.hosts != 1:
            if version != "1.0" or self.hosts > 1:
                self._malformed("It is not HTTP/1.1 with one Host.")
            if self.coded:
                self._malformed("HTTP/1.0 knows no chunks.")  # whoever stands before us may take them for a request
        if self.parser.should_upgrade():  # behind another request, where it was not hidden
            self._malformed("It wants to speak another protocol.")
        method = self.parser.get_method().decode("ascii")
        address, secure = self.edge.guard.told(self.headers, self.address) if self.trusted else (self.address, False)
        secure = secure or self.secure
        path, serve = self.edge.calls.get(self.url) or self._target(method, version, address, secure=secure)
        cors = b""
        if self.edge.require_tls and not secure and path not in _OPEN_PATHS:
            self._refuse_last(TlsRequired())
            raise ValueError("not over TLS")
        if self.edge.origins:
            cors = self.edge.origins.lines(self.headers)
            if self.edge.origins.is_preflight(method, self.headers):
                serve = preflight
        if self.current is not None:
            self._check_behind()
        keep = version != "1.0" and self.parser.should_keep_alive()
        head = Head(method, path, address, b"", version, serve, secure, cors, keep, self.expect_100_continue)
        exchange = self.parsed = Exchange(self, head, self.headers)
        if self.raw_head:
            self._learn(head)
        if self.current is None:
            self._start(exchange)
            return
        self.queued.append(exchange)

    def _learn(self, told: Head) -> None:
        """Remember the head that was just read, if it is one of a call and says nothing unusual."""
        head, self.raw_head = self.raw_head, b""
        if self.url not in self.edge.calls or told.method != "POST" or self.coded or told.expects:
            return
        if told.keep_alive:
            self.learns -= 1
            self.known = KnownHead.of(head, self.headers, told)

    def _check_behind(self) -> None:
        """What comes behind a request that is being answered is within its limits."""
        if len(self.headers) > MAX_HEAD_LINES:  # the parser came to it by itself
            self._refuse_last(_too_long())
            raise ValueError("too many lines")
        if len(self.queued) >= _MAX_PIPELINED:
            self._enough()

    def _target(self, method: str, version: str, address: str, *, secure: bool) -> tuple[str, Serve]:
        """The path that is asked for, and what serves it."""
        try:
            url = httptools.parse_url(self.url)
            raw_path = url.path or b"/"
            path = raw_path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._malformed("Its address cannot be read.")
        if url.fragment is not None or b"#" in self.url:  # https://www.rfc-editor.org/rfc/rfc9112#section-3.2.1
            self._malformed("Its address has a fragment.")
        if url.schema is not None and url.schema.lower() not in (b"http", b"https" if secure else b"http"):
            self._malformed("Its address is of another scheme.")
        call = self.edge.calls.get(raw_path)
        if call is not None:
            return call
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": version,
            "method": method,
            "scheme": "https" if secure else "http",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
            "client": (address, self.client[1] if self.client and address == self.address else 0),
            "server": self.server,
            "extensions": {CANCELS: {}},
        }
        return scope["path"], partial(_over_asgi, self.app, scope)

    def _start(self, exchange: Exchange) -> None:
        self.current = exchange
        self.deadline, self.waits = _NEVER, False
        exchange.task = self.loop.create_task(exchange.run())
        self.edge.writes.expect()

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        exchange = self.parsed
        if exchange is None or exchange.complete:
            return
        unread = exchange.feed(body)
        if exchange is not self.current:
            unread += sum(queued.unread for queued in self.queued if queued is not exchange)
            if unread > _MAX_BEHIND_BYTES:
                self.parsed = None
                exchange.drop()
                self.queued.pop()
                self._enough()
        elif unread > _MAX_UNREAD_BYTES:
            self.flow.pause_reading()
        if unread > _MAX_UNREAD_BYTES and self.edge.unread_bytes > self.edge.max_unread_bytes:
            self._refuse_last(Unavailable(_TOO_MUCH))
            raise ValueError("too much to read")

    def _enough(self) -> NoReturn:
        """What has come is answered; what follows is not heard, and has to be sent again. It is still read: nothing
        else tells of a hang-up."""
        last = self.queued[-1] if self.queued else self.current
        if last is not None:
            last.keep_alive = False
        self.deaf = True
        raise ValueError("too many requests at once")

    def on_message_complete(self) -> None:
        exchange, self.parsed = self.parsed, None
        self.head_open = True  # the next bytes begin another head
        if exchange is not None:
            if self.coded and not self.parser.should_keep_alive():  # a trailer said so, and the parser believes it
                exchange.keep_alive = False
            exchange.end_of_body()

    # ---- told by the exchange

    def wait_for_body(self) -> None:
        """The application waits for more of the body."""
        if not self.refused:
            self.flow.resume_reading()
            self.deadline = self.body_began + self.edge.body_seconds + self.body_bytes / _SLOWEST_BYTES_A_SECOND
            self.waits = True

    def body_came(self) -> None:
        """The application waits no more."""
        if not self.refused:
            self.deadline, self.waits = _NEVER, False

    def next(self) -> None:
        """The current exchange is over, its request read and its answer out."""
        self.current = None
        if self.queued:
            self._start(self.queued.popleft())
            self.flow.resume_reading()
        elif self.edge.draining:
            self.close()
        else:
            self.flow.resume_reading()
            patience = self.edge.header_seconds if self.partial or self.begun else self.edge.idle_seconds
            self.deadline = self.loop.time() + patience


def _too_long() -> HeadersTooLarge:
    return HeadersTooLarge(
        f"The headers are longer than {MAX_HEAD_BYTES} bytes, or have more than {MAX_HEAD_LINES} lines."
    )


async def _over_asgi(app: App, scope: Scope, exchange: Exchange) -> None:
    await app(scope, exchange.receive, exchange.send)


def _reason(error: Exception) -> str:
    return type(error).__name__.removeprefix("HttpParser").removesuffix("Error") or "malformed"
