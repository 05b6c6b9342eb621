"""The rim, over raw sockets: heads and bodies that do not come, smuggling shapes, trailers, pipelines, hang-ups."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fairlead.http.asgi import App, Receive, Scope, Send
from fairlead.http.server import EdgeServer
from gateway import free_port, raw, split


@asynccontextmanager
async def serving(app: App, **options: Any) -> AsyncIterator[EdgeServer]:
    """`app` behind a server with short deadlines."""
    chosen: dict[str, Any] = {
        "host": "127.0.0.1", "port": free_port(), "header_seconds": 0.3, "body_seconds": 0.3, "idle_seconds": 0.4,
        "drain_notice_seconds": 0, "drain_seconds": 0.3, "max_connections": None, "on_drain": lambda: None,
        "interrupted": "going",
    }  # fmt: skip
    server = EdgeServer(app, **{**chosen, **options})
    await server.listen()
    task = asyncio.create_task(server.serve())
    try:
        yield server
    finally:
        server.drain()
        server.drain()
        await task


async def body_of(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with method, path, names of headers and body."""
    body = await body_of(receive)
    names = [name.decode() for name, _ in scope["headers"]]
    told = {"method": scope["method"], "path": scope["path"], "headers": names, "body": body.decode("latin-1")}
    await answer(send, json.dumps(told).encode())


def head(*lines: str, line: str = "POST /x HTTP/1.1") -> bytes:
    return "\r\n".join([line, "host: a", *lines]).encode() + b"\r\n\r\n"


CLOSE = "connection: close"
SECURITY = {
    "x-content-type-options", "x-frame-options", "referrer-policy", "permissions-policy", "content-security-policy",
}  # fmt: skip


async def test_a_request_is_answered_with_its_length_a_date_and_no_name_of_the_server() -> None:
    async with serving(echo) as server:
        status, headers, body = split(await raw(server.port, head("content-length: 2", CLOSE) + b"hi"))
        assert status == 200
        assert json.loads(body)["body"] == "hi"
        assert set(headers) == {"date", "content-length", "connection", *SECURITY}


async def test_a_chunked_body_arrives_and_its_trailers_are_no_headers() -> None:
    async with serving(echo) as server:
        sent = head("transfer-encoding: chunked", CLOSE) + b"2\r\nhi\r\n0\r\nauthorization: Bearer x\r\n\r\n"
        _, _, body = split(await raw(server.port, sent))
        told = json.loads(body)
        assert told["body"] == "hi"
        assert "authorization" not in told["headers"]


async def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    async with serving(echo) as server:
        many = b"".join(
            head("content-length: 1", line=f"POST /{number} HTTP/1.1") + b"%d" % number for number in range(5)
        )
        answers = await raw(server.port, many + head(CLOSE, "content-length: 0", line="POST /last HTTP/1.1"))
        places = [answers.index(f'"path": "/{number}"'.encode()) for number in [*range(5), "last"]]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (head("content-length: 1", "transfer-encoding: chunked"), 400),
        (head("content-length: 1", "content-length: 2"), 400),
        (head("content-length: -1"), 400),
        (head("transfer-encoding: chunked") + b"zz\r\n", 400),
        (head("bad header: x\x01"), 400),
        (b"GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (head("x: " + "a" * 70_000), 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, 431),
    ],
)
async def test_a_shape_that_is_wrong_is_refused_and_the_connection_closed(sent: bytes, status: int) -> None:
    async with serving(echo) as server:
        got, headers, body = split(await raw(server.port, sent))
        assert got == status
        assert headers["connection"] == "close"
        assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_a_head_that_does_not_come_closes_the_connection() -> None:
    async with serving(echo) as server:
        async with asyncio.timeout(20):
            assert await raw(server.port, b"") == b""
            assert await raw(server.port, b"POST / HTTP/1.1\r\nhost: a\r\n") == b""


async def test_a_body_that_does_not_come_is_408() -> None:
    async with serving(echo) as server:
        status, headers, body = split(await raw(server.port, head("content-length: 10") + b"half"))
        assert (status, headers["x-should-retry"]) == (408, "false")
        assert json.loads(body)["error"]["code"] == "request_timeout"


async def test_a_connection_that_is_idle_is_closed() -> None:
    async with serving(echo) as server:
        async with asyncio.timeout(20):
            answers = await raw(server.port, head("content-length: 0"))
        assert answers.startswith(b"HTTP/1.1 200")


async def test_chunks_that_are_mostly_framing_are_refused() -> None:
    async with serving(echo) as server:
        sent = head("transfer-encoding: chunked") + b"1;" + b"x" * 700_000
        status, _, _ = split(await raw(server.port, sent))
        assert status == 400


async def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head("content-length: 2", "expect: 100-continue", CLOSE))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert b'"body": "hi"' in await reader.read()
        writer.close()


async def test_an_answer_without_length_is_chunked_or_ends_with_the_connection() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"a", b"", b"b"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(stream) as server:
        answer = await raw(server.port, head("content-length: 0", CLOSE))
        assert answer.endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        answer = await raw(server.port, head("content-length: 0", line="GET / HTTP/1.0"))
        assert answer.endswith(b"\r\n\r\nab")


async def test_head_has_no_body_and_an_upgrade_is_answered_plainly() -> None:
    async with serving(echo) as server:
        assert split(await raw(server.port, head(CLOSE, line="HEAD / HTTP/1.1")))[2] == b""
        sent = head("upgrade: websocket", "connection: upgrade", line="GET / HTTP/1.1")
        assert (await raw(server.port, sent)).startswith(b"HTTP/1.1 200")


async def test_an_answer_given_before_the_body_was_read_still_arrives() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    async with serving(refuse) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head("content-length: 3000000") + b"x" * 3_000_000)
        async with asyncio.timeout(20):
            got = await reader.read()
        assert got.startswith(b"HTTP/1.1 413")
        assert got.endswith(b"no")
        writer.close()


async def test_a_failing_application_is_500_or_a_broken_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ZeroDivisionError

    async with serving(fail) as server:
        status, _, body = split(await raw(server.port, head("content-length: 0")))
        assert (status, json.loads(body)["error"]["code"]) == (500, "internal_error")
        answer = await raw(server.port, head("content-length: 0", line="POST /late HTTP/1.1"))
        assert answer.endswith(b"1\r\na\r\n")
        assert "ZeroDivisionError" in caplog.text


async def test_a_header_of_the_answer_that_breaks_its_line_is_not_sent() -> None:
    async def split_response(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(split_response) as server:
        assert b"set-cookie" not in await raw(server.port, head("content-length: 0"))


@pytest.mark.parametrize("how", ["close", "eof"])
async def test_a_client_that_goes_away_cancels_its_call_at_once(how: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(wait) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head("content-length: 0"))
        await begun.wait()
        if how == "eof":
            writer.write_eof()
        else:
            writer.close()
        async with asyncio.timeout(20):
            await ended.wait()
        writer.close()


async def test_a_call_that_asks_hears_of_the_end_of_its_connection() -> None:
    heard = asyncio.Event()

    async def ask(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        try:
            await receive()
        finally:
            heard.set()

    async with serving(ask) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head("content-length: 0"))
        await asyncio.sleep(0)
        writer.close()
        async with asyncio.timeout(20):
            await heard.wait()


async def test_a_connection_too_many_is_503() -> None:
    async with serving(echo, max_connections=1) as server:
        _, first = await asyncio.open_connection("127.0.0.1", server.port)
        status, headers, _ = split(await raw(server.port, b""))
        assert (status, headers["retry-after"], headers["x-should-retry"]) == (503, "1", "true")
        first.close()


async def test_a_body_nobody_reads_is_left_in_the_socket() -> None:
    release = asyncio.Event()

    async def sleep(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await answer(send, b"%d" % len(await body_of(receive)))

    async with serving(sleep, body_seconds=5) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        size = 32 << 20
        writer.write(head(f"content-length: {size}", CLOSE))
        writer.write(b"x" * size)
        await asyncio.sleep(0.2)
        assert writer.transport.get_write_buffer_size() > 16 << 20
        release.set()
        async with asyncio.timeout(10):
            assert (await reader.read()).endswith(b"%d" % size)
        writer.close()


async def test_draining_lets_open_calls_end_and_interrupts_those_that_do_not() -> None:
    told: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        try:
            await asyncio.sleep(0.1 if scope["path"] == "/short" else 60)
        except asyncio.CancelledError as cancelled:
            told.append(cancelled.args[0])
            await send({"type": "http.response.body", "body": b"last words"})
            raise
        await send({"type": "http.response.body", "body": b"b"})

    drained: list[bool] = []
    async with serving(wait, on_drain=lambda: drained.append(True)) as server:
        short = asyncio.create_task(raw(server.port, head("content-length: 0", line="POST /short HTTP/1.1")))
        long = asyncio.create_task(raw(server.port, head("content-length: 0", line="POST /long HTTP/1.1")))
        _, idle = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.sleep(0.05)
        server.drain()
        assert drained == [True]
        assert (await short).endswith(b"1\r\nb\r\n0\r\n\r\n")
        assert b"last words" in await long
        assert told == ["going"]
        idle.close()
