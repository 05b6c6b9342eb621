"""What follows the body is no header: RFC 9110 §6.5.1 lets nobody merge a trailer that frames, routes or authenticates.

A trailer may be thrown away, and its request be refused; nothing else may come of it, neither for its own request nor
for the connection. An answer that leaves the connection open means that the next request is answered, RFC 9112 §9.3.
"""

import pytest

from edge.attack import GOOD, LAST, LAST_WORDS, SMUGGLED, SMUGGLED_WORDS, Door, chunk, head
from gateway import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVER = "header_seconds = 2\nbody_seconds = 2\nidle_seconds = 2\n"

TRAILERS = [
    f"authorization: Bearer {KEY}",
    f"Authorization: bearer {KEY}",
    f"x-api-key: {KEY}",
    f"host: test\r\nauthorization: Bearer {KEY}",
    "content-length: 0",
    f"content-length: {len(SMUGGLED)}",
    "transfer-encoding: chunked",
    "transfer-encoding: identity",
    "host: other",
    "host: a\r\nhost: b",
    "content-type: text/plain",
    "content-encoding: gzip",
    "connection: close",
    "connection: keep-alive",
    "connection: upgrade\r\nupgrade: h2c",
    "upgrade: websocket",
    "expect: 100-continue",
    "expect: something",
    "x-request-id: told-in-a-trailer",
    "anthropic-version: 2023-06-01",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "x-forwarded-for: 10.0.0.1",
    "origin: https://elsewhere.example",
    "x:",
    "x: " + "y" * 1000,
    "\r\n".join(f"x-{number}: y" for number in range(100)),
]
MALFORMED = [" folded: x", "no name", ": x", "x : y", "x: a\x00b", "x: a\rb", "x: a\nb", "x\x00: y", "x\n: y", "\nx: y"]


@pytest.mark.parametrize("trailer", TRAILERS + MALFORMED, ids=lambda trailer: repr(trailer[:40])[1:-1])
@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
async def test_a_trailer_is_no_header(door: Door, trailer: str, keyed: bool) -> None:
    start = head("transfer-encoding: chunked", "connection: keep-alive", key=KEY if keyed else None)
    sent = start + chunk(GOOD) + b"0\r\n" + trailer.encode("latin-1") + b"\r\n\r\n" + LAST
    for apart in (False, True):
        found = await door.ask(sent, apart=apart)
        first, *others = found
        if keyed:
            assert (first.status, first.said) in {(200, "hello"), (400, "")} - (
                {(200, "hello")} if trailer in MALFORMED else set()
            )
        else:
            assert first.status in {401, 400}
        assert not (keyed and first.status != 200 and others)
        assert [(answer.status, answer.said) for answer in others] in ([], [(200, LAST_WORDS)])
        assert found[-1].headers.get("connection") == "close", "an open connection on which nobody is answered"
        assert first.headers.get("x-request-id") != "told-in-a-trailer"


async def test_trailers_of_a_request_are_no_headers_of_the_next(door: Door) -> None:
    for trailer in (f"authorization: Bearer {KEY}", f"x-api-key: {KEY}"):
        sent = head("transfer-encoding: chunked") + chunk(GOOD) + f"0\r\n{trailer}\r\n\r\n".encode()
        following = head("content-length: 0", "connection: close", key=None)
        for apart in (False, True):
            first, second = await door.ask(sent + following, apart=apart)
            assert (first.status, second.status) == (200, 401)


async def test_a_request_in_a_trailer_is_not_served(door: Door) -> None:
    hidden = SMUGGLED.replace(b"\r\n\r\n", b"\r\nx: y\r\n")
    for sent in (b"0\r\n" + SMUGGLED, b"0\r\nx: y\r\n" + SMUGGLED, b"0\r\nx: y\n\n" + SMUGGLED, b"0\r\nx: " + hidden):
        for apart in (False, True):
            found = await door.ask(head("transfer-encoding: chunked") + chunk(GOOD) + sent + b"\r\n\r\n", apart=apart)
            assert [answer.status for answer in found] == [400]
            assert SMUGGLED_WORDS not in found[0].body.decode()
    assert not await door.smuggled()
