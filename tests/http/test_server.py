"""The edge, tried with sockets: what a client may do to it, and what it gets."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from fairlead.errors import RequestTimeout
from fairlead.http.asgi import App, Receive, Scope, Send
from fairlead.http.connection import MAX_HEAD_BYTES
from fairlead.http.server import EdgeServer
from gateway import environment, split

GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: test\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


async def body_of(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with method, path and body."""
    body = await body_of(receive)
    await answer(send, b"%b %b %b" % (scope["method"].encode(), scope["path"].encode(), body))


class Waiting:
    """An application that reads its request, says `first` as the beginning of a stream, and waits."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.entered, self.go = asyncio.Event(), asyncio.Event()
        self.ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await body_of(receive)
            if self.first:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": self.first, "more_body": True})
            self.entered.set()
            await self.go.wait()
            if self.first:
                await send({"type": "http.response.body", "body": b"last"})
            else:
                await answer(send, b"done")
        except BaseException as error:
            if not self.ended.done():
                self.ended.set_result(error)
            raise
        if not self.ended.done():
            self.ended.set_result(None)


class Serving:
    """A server that runs, and whether it was told to drain."""

    def __init__(self, app: App, **bounds: float) -> None:
        self.drains = 0
        settings: dict[str, float] = {
            "header_seconds": 60,
            "body_seconds": 60,
            "idle_seconds": 60,
            "drain_notice_seconds": 0,
            "drain_seconds": 0,
            "max_connections": 100,
        }
        self.server = EdgeServer(
            app, host="127.0.0.1", port=0, on_drain=self._drained, interrupted="interrupted", **{**settings, **bounds}
        )  # type: ignore[arg-type]
        self.task: asyncio.Task[None]

    def _drained(self) -> None:
        self.drains += 1

    async def connect(self) -> "Client":
        return Client(*await asyncio.open_connection("127.0.0.1", self.server.port))

    async def ask(self, *pieces: bytes) -> bytes:
        """All that is answered to `pieces`, up to the end of the connection."""
        client = await self.connect()
        for piece in pieces:
            client.say(piece)
            await turns()
        return await client.rest()


class Client:
    """One connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """Up to the end of the connection, which the server has to close."""
        try:
            async with asyncio.timeout(20):
                return await self.reader.read()
        finally:
            self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def serving(app: App, **bounds: float) -> AsyncIterator[Serving]:
    running = Serving(app, **bounds)
    await running.server.listen()
    running.task = asyncio.create_task(running.server.serve())
    try:
        async with asyncio.timeout(40):
            yield running
    finally:
        running.server.drain()
        running.server.drain()
        async with asyncio.timeout(20):
            await running.task


async def turns(count: int = 20) -> None:
    """Let the loop turn, so that what was written is read."""
    for _ in range(count):
        await asyncio.sleep(0)


def error_of(answered: bytes) -> tuple[int, str]:
    """Status and code, of an error in OpenAI's spelling."""
    status, headers, body = split(answered)
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    error = msgspec.json.decode(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error["code"]


# ---- requests


async def test_a_request_is_answered_and_the_connection_kept():
    async with serving(echo) as running:
        client = await running.connect()
        for body in (b"one", b"two"):
            client.say(POST + b"content-length: 3\r\n\r\n" + body)
            answered = await client.until(b"POST / " + body)
        status, headers, _ = split(answered)
        assert status == 200
        assert {"date", "content-length", "x-content-type-options"} <= set(headers)
        client.reset()


async def test_pipelined_requests_are_answered_in_order():
    async with serving(echo) as running:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nhost: test\r\n\r\n" % n for n in range(20))
        client = await running.connect()
        client.say(requests)
        for number in range(20):
            await client.until(b"GET /%d " % number)
        client.reset()


async def test_a_pipelined_request_leaves_the_running_call_its_time():
    app = Waiting()
    async with serving(app, header_seconds=0.05, idle_seconds=0.05) as running:
        client = await running.connect()
        client.say(GET)
        await app.entered.wait()
        client.say(GET + b"GET /par")
        await asyncio.wait({app.ended}, timeout=0.2)
        assert not app.ended.done()
        app.go.set()
        assert (await client.rest()).count(b"done") == 2


async def test_of_more_pipelined_requests_than_are_kept_the_first_are_answered():
    async with serving(echo) as running:
        answered = await running.ask(GET * 200)
        assert 64 <= answered.count(b"HTTP/1.1 200 OK") < 200
        assert answered.count(b"connection: close") == 1


async def test_http_1_0_is_answered_and_closed():
    async with serving(echo) as running:
        status, headers, body = split(await running.ask(b"GET /old HTTP/1.0\r\n\r\n"))
        assert (status, headers["connection"], body) == (200, "close", b"GET /old ")


async def test_a_stream_to_http_1_0_ends_with_the_connection():
    app = Waiting(b"first ")
    app.go.set()
    async with serving(app) as running:
        _, headers, body = split(await running.ask(b"GET / HTTP/1.0\r\n\r\n"))
        assert "transfer-encoding" not in headers
        assert body == b"first last"


async def test_a_request_may_come_byte_by_byte():
    async with serving(echo) as running:
        raw = POST + b"connection: close\r\ncontent-length: 5\r\n\r\nhello"
        answered = await running.ask(*(raw[at : at + 1] for at in range(len(raw))))
        assert split(answered)[2] == b"POST / hello"


async def test_expect_100_is_answered_before_the_body():
    async with serving(echo) as running:
        client = await running.connect()
        client.say(POST + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.say(b"ok")
        assert (await client.rest()).endswith(b"POST / ok")


@pytest.mark.parametrize(
    "framing", [b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
async def test_an_upgrade_is_not_taken_and_its_request_is_answered_body_included(upgrade: bytes, framing: bytes):
    async with serving(echo) as running:
        head = POST + b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAM\r\nupgrade: %b\r\n" % upgrade
        whole = head + framing
        last = b"GET /next HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        for pieces in ((whole + last,), (whole[:40], whole[40:] + last), (head + framing[:-3], framing[-3:] + last)):
            answered = await running.ask(*pieces)
            assert b"POST / hello" in answered
            assert answered.endswith(b"GET /next ")


async def test_what_follows_the_body_is_no_header():
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        seen.extend(scope["headers"])
        await answer(send, b"")

    async with serving(app) as running:
        client = await running.connect()
        client.say(CHUNKED + b"0\r\nauthorization: Bearer stolen\r\n\r\n")
        await client.until(b"\r\n\r\n")
        client.reset()
    assert [name for name, _ in seen] == [b"host", b"transfer-encoding"]


# ---- requests that are refused


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        POST + b"content-length: 5, 5\r\n\r\nhello",
        POST + b"content-length: +5\r\n\r\nhello",
        POST + b"content-length: -5\r\n\r\nhello",
        POST + b"content-length : 5\r\n\r\nhello",
        POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: identity\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nhost: test\n\n",
        b"GET / HTTP/1.1\r\nhost: a\rx-smuggled: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n: nameless\r\n\r\n",
        b"CONNECT provider:443 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(request_: bytes):
    called = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope)
        await answer(send, b"")

    async with serving(app) as running:
        assert error_of(await running.ask(request_ + GET)) == (400, "invalid_request")
    assert not called


@pytest.mark.parametrize("chunk", [b"-5\r\nhello", b"5\nhello\n", b"fffffffffffffffff\r\nhello", b"5\r\nhelloo\r\n"])
async def test_a_malformed_chunk_is_refused(chunk: bytes):
    async with serving(echo) as running:
        assert error_of(await running.ask(CHUNKED + chunk + b"\r\n0\r\n\r\n")) == (400, "invalid_request")


@pytest.mark.parametrize("version", [b"0.9", b"2.0"])
async def test_another_version_of_http_is_refused(version: bytes):
    async with serving(echo) as running:
        answered = await running.ask(b"GET / HTTP/%b\r\nhost: test\r\n\r\n" % version)
        assert error_of(answered) == (400, "invalid_request")


async def test_a_malformed_request_behind_a_good_one_leaves_it_its_answer():
    app = Waiting()
    async with serving(app) as running:
        client = await running.connect()
        client.say(GET + b"garbage\r\n\r\n")
        await app.entered.wait()
        await turns()
        app.go.set()
        assert split(await client.rest())[::2] == (200, b"done")


def many_headers() -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEAD_BYTES // 6 + 1)


@pytest.mark.parametrize(
    "head",
    [
        many_headers(),
        b"GET / HTTP/1.1\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1),
        b"GET /" + b"y" * (MAX_HEAD_BYTES + 1),
    ],
    ids=["many", "long", "address"],
)
async def test_a_head_that_is_too_long_is_refused_at_the_limit(head: bytes):
    async with serving(echo) as running:
        assert error_of(await running.ask(head)) == (431, "headers_too_large")


async def test_a_head_as_long_as_allowed_passes():
    async with serving(echo) as running:
        head = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx: " + b"y" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
        assert split(await running.ask(head))[0] == 200


async def test_chunks_that_are_mostly_framing_are_refused():
    async with serving(echo) as running:
        extended = b"1;" + b"e" * 1000 + b"\r\nx\r\n"
        assert error_of(await running.ask(CHUNKED, *[extended * 50] * 8)) == (400, "invalid_request")


async def test_small_chunks_pass():
    async with serving(echo) as running:
        body = b"2\r\nab\r\n" * 5000
        request = POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
        assert split(await running.ask(request))[2] == b"POST / " + b"ab" * 5000


async def test_a_connection_too_many_is_refused():
    async with serving(echo, max_connections=1) as running:
        first = await running.connect()
        first.say(GET)
        await first.until(b"GET / ")
        answered = await running.ask(GET)
        assert error_of(answered) == (503, "service_unavailable")
        assert split(answered)[1]["retry-after"] == "1"
        assert split(answered)[1]["x-should-retry"] == "true"
        first.reset()


# ---- time


async def test_a_head_that_does_not_come_closes_the_connection():
    async with serving(echo, header_seconds=0.05) as running:
        assert await running.ask() == b""
        assert await running.ask(b"GET / HTTP/1.1\r\n") == b""


async def test_an_idle_connection_is_closed():
    async with serving(echo, idle_seconds=0.05) as running:
        assert (await running.ask(GET)).endswith(b"GET / ")


async def test_a_connection_whose_application_watched_for_its_end_is_closed_when_idle():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        watching = asyncio.create_task(receive())
        await turns(1)
        await answer(send, b"done")
        assert (await watching)["type"] == "http.disconnect"

    async with serving(app, idle_seconds=0.05) as running:
        assert (await running.ask(GET)).endswith(b"done")


@pytest.mark.parametrize("head", [POST + b"content-length: 5\r\n\r\nhell", CHUNKED + b"5\r\nhell"])
async def test_who_waits_for_a_body_that_does_not_come_is_told(head: bytes):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RequestTimeout):
            await body_of(receive)
        await answer(send, b"late", status=408)

    async with serving(app, body_seconds=0.05) as running:
        status, headers, body = split(await running.ask(head))
        assert (status, headers["connection"], body) == (408, "close", b"late")


async def test_a_client_that_was_refused_and_stays_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.http.connection._LINGER_SECONDS", 0.05)
    async with serving(echo) as running:
        client = await running.connect()
        client.say(POST + b"content-length: 5, 5\r\n\r\n")
        assert error_of(await client.reader.read()) == (400, "invalid_request")
        await until(lambda: not running.server._state.connections)
        client.reset()


async def test_a_client_that_does_not_take_its_answer_is_let_go():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * (16 << 20))

    async with serving(app, idle_seconds=0.05) as running:
        client = await running.connect()
        client.say(GET)
        await client.until(b"\r\n\r\n")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: not running.server._state.connections)
        client.reset()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # nothing tells of what is asked here
            await asyncio.sleep(0.005)


# ---- hanging up


@pytest.mark.parametrize("first", [b"", b"first"], ids=["before the answer", "in the stream"])
@pytest.mark.parametrize("how", ["reset", "end of file"])
async def test_a_client_that_hangs_up_cancels_its_call_at_once(how: str, first: bytes):
    app = Waiting(first)
    async with serving(app) as running:
        client = await running.connect()
        client.say(GET)
        await app.entered.wait()
        if how == "reset":
            client.reset()
        else:
            client.writer.write_eof()
        error = await app.ended
        assert isinstance(error, asyncio.CancelledError)
        assert error.args == ()
        client.reset()


async def test_a_client_that_hangs_up_in_its_body_cancels_its_call():
    app = Waiting()
    async with serving(app) as running:
        client = await running.connect()
        client.say(POST + b"content-length: 5\r\n\r\nhe")
        await turns()
        client.reset()
        assert isinstance(await app.ended, asyncio.CancelledError)


async def test_a_client_that_hangs_up_behind_a_pipelined_request_cancels_its_call():
    app = Waiting()
    async with serving(app) as running:
        client = await running.connect()
        client.say(GET + GET)
        await app.entered.wait()
        client.reset()
        assert isinstance(await app.ended, asyncio.CancelledError)


async def test_a_call_whose_client_does_not_read_is_cancelled_when_it_hangs_up():
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                sent += 65536
        except BaseException as error:
            ended.set_result(error)
            raise

    async with serving(app) as running:
        client = await running.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.say(GET)
        await until(lambda: sent > 0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.02)
        client.reset()
        assert isinstance(await ended, asyncio.CancelledError)
    assert sent < 32 << 20


async def test_the_application_is_told_that_hang_ups_cancel_it():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"yes" if "fairlead.cancels" in scope["extensions"] else b"no")

    async with serving(app) as running:
        assert (await running.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"yes")


async def test_what_runs_after_the_answer_survives_the_client():
    go, done = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"answered")
        await go.wait()
        done.set()

    async with serving(app, drain_seconds=5) as running:
        client = await running.connect()
        client.say(GET)
        await client.until(b"answered")
        client.reset()
        await turns()
        go.set()
        await done.wait()


# ---- bodies nobody reads


async def test_a_body_that_nobody_reads_does_not_grow():
    app = Waiting()
    entered = asyncio.Event()

    async def unread(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await app.go.wait()

    async with serving(unread) as running:
        client = await running.connect()
        client.say(POST + b"content-length: 67108864\r\n\r\n")
        await entered.wait()
        taken, before = 0, -1
        while before != taken:
            before = taken
            client.say(b"x" * (1 << 20))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.writer.drain()
                    taken += 1
        (connection,) = running.server._state.connections
        assert connection.current.unread < 1 << 20  # type: ignore[union-attr]
        client.reset()
        app.go.set()


async def test_an_answer_before_the_body_was_read_reaches_a_client_that_still_sends():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", status=413)

    async with serving(app) as running:
        client = await running.connect()
        client.say(POST + b"content-length: 8388608\r\n\r\n")
        for _ in range(8):
            client.say(b"x" * (1 << 20))
            await client.writer.drain()
        status, headers, body = split(await client.rest())
        assert (status, headers["connection"], body) == (413, "close", b"too large")


# ---- answers


async def test_a_stream_leaves_chunk_by_chunk():
    app = Waiting(b"first")
    async with serving(app) as running:
        client = await running.connect()
        client.say(GET)
        assert (await client.until(b"first\r\n")).endswith(b"transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        app.go.set()
        assert await client.until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"
        client.reset()


async def test_head_and_body_leave_in_one_write_without_delay():
    writes: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        (connection,) = running.server._state.connections
        socket_ = connection.transport.get_extra_info("socket")
        assert socket_.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        transport = connection.transport

        class Counting:
            def write(self, data: bytes) -> None:
                writes.append(data)
                transport.write(data)

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

        connection.transport = Counting()  # type: ignore[assignment]
        await answer(send, b"hello")

    async with serving(app) as running:
        client = await running.connect()
        client.say(GET)
        await client.until(b"hello")
        client.reset()
    assert len(writes) == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_is_sent_without_one(status: int):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"ignored"})

    async with serving(app) as running:
        client = await running.connect()
        client.say(GET)
        first = await client.until(b"\r\n\r\n")
        client.say(GET)
        assert await client.until(b"\r\n\r\n") == first
        assert b"transfer-encoding" not in first
        client.reset()


async def test_head_is_answered_with_the_length_alone():
    async with serving(echo) as running:
        status, headers, body = split(await running.ask(b"HEAD / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"))
        assert (status, headers["content-length"], body) == (200, "7", b"")


async def test_a_status_without_a_name_is_sent():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", status=529)

    async with serving(app) as running:
        assert (await running.ask(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 529 \r\n")


async def test_an_application_may_close_the_connection():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"bye", (b"connection", b"close"))

    async with serving(app) as running:
        answered = await running.ask(GET)
        assert answered.count(b"connection: close\r\n") == 1


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\ny", b"z")])
async def test_a_header_cannot_break_its_line(header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", header)

    async with serving(app) as running:
        assert error_of(await running.ask(GET)) == (500, "internal_error")
    assert "breaks its line" in caplog.text


async def test_an_application_that_fails_is_a_500_and_a_traceback(caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a fault of ours")

    async with serving(app) as running:
        answered = await running.ask(GET)
    assert error_of(answered) == (500, "internal_error")
    assert b"a fault of ours" not in answered
    assert "ValueError: a fault of ours" in caplog.text


async def test_an_application_that_fails_before_its_first_byte_is_a_500(caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("a fault of ours")

    async with serving(app) as running:
        assert error_of(await running.ask(GET)) == (500, "internal_error")
    assert "a fault of ours" in caplog.text


async def test_an_application_that_fails_in_a_stream_leaves_it_without_an_end(caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        raise ValueError("a fault of ours")

    async with serving(app) as running:
        assert (await running.ask(GET)).endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert "a fault of ours" in caplog.text


async def test_an_application_that_says_nothing_is_a_500(caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)

    async with serving(app) as running:
        assert error_of(await running.ask(GET)) == (500, "internal_error")
    assert "was not answered" in caplog.text


@pytest.mark.parametrize("body", [b"short", b"longer than it said"])
async def test_an_answer_of_another_length_than_it_says_is_a_fault(body: bytes, caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": body})

    async with serving(app) as running:
        assert error_of(await running.ask(GET)) == (500, "internal_error")
    assert "content-length" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ConnectionAbortedError()])
async def test_what_ends_a_call_quietly_is_not_logged(error: BaseException, caplog: pytest.LogCaptureFixture):
    app = Waiting(b"first")

    async def ending(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            raise error from None

    async with serving(ending) as running:
        client = await running.connect()
        client.say(GET)
        await app.entered.wait()
        client.reset()
        await app.ended
        await until(lambda: not running.server._state.tasks)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_fault_after_the_client_has_gone_is_logged_and_writes_nothing(caplog: pytest.LogCaptureFixture):
    app = Waiting()

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            raise ValueError("a fault of ours")

    async with serving(failing) as running:
        client = await running.connect()
        client.say(GET)
        await app.entered.wait()
        client.reset()
        await until(lambda: not running.server._state.tasks)
    assert "a fault of ours" in caplog.text
    assert "socket.send() raised exception" not in caplog.text


# ---- draining


async def test_draining_says_so_at_once_and_accepts_for_a_while():
    async with serving(echo, drain_notice_seconds=30) as running:
        running.server.drain()
        assert running.drains == 1
        assert (await running.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"GET / ")
        running.server.drain()
        assert running.drains == 1
        await running.task


async def test_draining_closes_idle_connections_and_the_listener():
    async with serving(echo, drain_seconds=30) as running:
        port = running.server.port
        idle, silent = await running.connect(), await running.connect()
        idle.say(GET)
        await idle.until(b"GET / ")
        running.server.drain()
        await running.task
        assert await idle.rest() == b""
        assert await silent.rest() == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_draining_lets_open_calls_end_and_closes_their_connections():
    app = Waiting()
    async with serving(app, drain_seconds=30) as running:
        client = await running.connect()
        client.say(GET)
        await app.entered.wait()
        running.server.drain()
        await until(lambda: running.server.draining)
        app.go.set()
        status, headers, body = split(await client.rest())
        assert (status, headers["connection"], body) == (200, "close", b"done")
        await running.task


async def test_draining_answers_a_request_whose_head_has_begun():
    async with serving(echo, drain_seconds=30) as running:
        client = await running.connect()
        client.say(b"GET / HTTP/1.1\r\n")
        await turns()
        running.server.drain()
        await until(lambda: running.server.draining)
        client.say(b"\r\n")
        assert split(await client.rest())[1]["connection"] == "close"
        await running.task


async def test_calls_still_open_at_the_end_are_interrupted_and_may_say_so():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            await send({"type": "http.response.body", "body": str(cancelled).encode()})

    async with serving(app, drain_seconds=0.05) as running:
        client = await running.connect()
        client.say(GET)
        await client.until(b"first\r\n")
        running.server.drain()
        assert (await client.rest()) == b"b\r\ninterrupted\r\n0\r\n\r\n"
        await running.task


async def test_calls_that_go_on_after_their_interruption_are_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.http.server._LAST_WORDS_SECONDS", 0.05)
    cancelled: list[tuple[object, ...]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while len(cancelled) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                cancelled.append(error.args)

    async with serving(app) as running:
        client = await running.connect()
        client.say(GET)
        await until(lambda: any(each.current is not None for each in running.server._connections()))
        await turns()
        running.server.drain()
        await running.task
        assert not running.server._state.tasks
        client.reset()
    assert cancelled == [("interrupted",), ()]


async def test_a_second_word_skips_the_waiting():
    app = Waiting()
    async with serving(app, drain_seconds=30) as running:
        client = await running.connect()
        client.say(GET)
        await app.entered.wait()
        running.server.drain()
        running.server.drain()
        assert isinstance(error := await app.ended, asyncio.CancelledError)
        assert error.args == ("interrupted",)
        await running.task
        client.reset()


# ---- too few descriptors


WITH_TWENTY_DESCRIPTORS = """
import asyncio, resource, socket, time, uvloop
from fairlead.http.server import EdgeServer, raise_descriptor_limit

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

async def main():
    server = EdgeServer(
        app, host="127.0.0.1", port=0, header_seconds=30, body_seconds=30, idle_seconds=30, drain_notice_seconds=0,
        drain_seconds=0, max_connections=1000, on_drain=lambda: None, interrupted="",
    )
    await server.listen()
    serving = asyncio.create_task(server.serve())
    clients = [socket.socket() for _ in range(40)]
    used = len(__import__("os").listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for client in clients:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", server.port))
    shares = []
    for _ in range(3):
        began, before = time.monotonic(), time.process_time()
        await asyncio.sleep(0.2)
        shares.append((time.process_time() - before) / (time.monotonic() - began))
    print("at work", min(shares))
    for client in clients:
        client.close()
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print((await reader.read())[:15])
    assert raise_descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server.drain()
    await serving

uvloop.run(main())
"""


def test_running_out_of_descriptors_neither_spins_nor_ends_the_service():
    ran = subprocess.run(
        [sys.executable, "-c", WITH_TWENTY_DESCRIPTORS],
        capture_output=True, text=True, env=environment(), timeout=30,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    at_work, served = ran.stdout.splitlines()
    assert float(at_work.split()[-1]) < 0.5  # of the quietest while: spinning is work all the time
    assert served == "b'HTTP/1.1 200 OK'"
