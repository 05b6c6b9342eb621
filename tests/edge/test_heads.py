"""Heads: how much of them, in how many pieces, and what comes twice in them; and what frames the body behind them.

RFC 9112 §3 and §5, RFC 9110 §5.3 and §5.4. However the bytes come the same is answered, and no way to send them costs
more than another or holds more than its bound. What has to come in one read is given to the gateway's end of a
connection as one.
"""

import json
from pathlib import Path

import pytest

from edge.attack import (
    CHAT,
    GOOD,
    LAST,
    LAST_WORDS,
    SMUGGLED,
    SMUGGLED_WORDS,
    Answer,
    Door,
    Wire,
    answers,
    chunk,
    head,
    opened,
    said,
    until,
    whole,
)
from fairlead.http.connection import MAX_HEAD_BYTES, MAX_HEAD_LINES
from gateway import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNKED = "transfer-encoding: chunked"
END = b"0\r\n\r\n"
SLOW = whole(said("hi", "sim/echo+delay=0.3"))
PATHS = (CHAT, "/v1/messages", "/api/v1/chat/completions", "/v1/models", "/nothing")


def read(door: Door, wire: Wire, *pieces: bytes) -> None:
    """Let the gateway read `pieces`, each at once and nothing else with it."""
    connection = door.of(wire)
    for piece in pieces:
        connection.data_received(piece)


async def reading(door: Door, *pieces: bytes, method: str = "POST") -> list[Answer]:
    """What is answered to `pieces`, which are each read at once, up to the end of the connection."""
    wire = await door.connect()
    await until(lambda: is_met(door, wire))
    read(door, wire, *pieces)
    return answers(await wire.rest(), method)


def is_met(door: Door, wire: Wire) -> bool:
    """Whether the gateway has taken the connection."""
    port = wire.transport.get_extra_info("sockname")[1]
    return any(end.client[1] == port for end in door.gateway.server._state.connections)  # type: ignore[union-attr,index]


def statuses(found: list[Answer]) -> list[int]:
    return [answer.status for answer in found]


def singly(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# ---- what frames a body


MUCH = "x" * 400_000
FRAMING = {
    "an extension": ("§7.1.1", chunk(GOOD, ";" + MUCH) + END),
    "an extension of the last chunk": ("§7.1.1", chunk(GOOD) + b"0;" + MUCH.encode() + b"\r\n\r\n"),
    "many extensions": ("§7.1.1", chunk(b" ", ";" + "x" * 100) * 4000 + chunk(GOOD) + END),
    "a trailer": ("§7.1.2", chunk(GOOD) + b"0\r\nx: " + MUCH.encode() + b"\r\n\r\n"),
    "many trailers": ("§7.1.2", chunk(GOOD) + b"0\r\n" + b"x: y\r\n" * 70_000 + b"\r\n"),
    "zeros before a size": ("§7.1", b"0" * 400_000 + chunk(GOOD) + END),
}


@pytest.mark.parametrize(("section", "body"), FRAMING.values(), ids=FRAMING)
async def test_framing_counts_in_the_read_that_brings_the_head_too(door: Door, section: str, body: bytes) -> None:
    sent = head(CHUNKED) + body + LAST
    for pieces in ([sent], [sent[:1000], sent[1000:]], [sent[:60_000], sent[60_000:]]):
        assert statuses(await reading(door, *pieces)) == [400], f"RFC 9112 {section}"


async def test_framing_counts_from_the_end_of_the_head(door: Door) -> None:
    """RFC 9112 §7.1.1: not only from the read after it."""
    sent = head(CHUNKED) + chunk(GOOD, ";" + "x" * 70_000) + END
    for at in (60_000, 30_000, 5_000, sent.index(b"\r\n\r\n") + 4, 10):
        assert statuses(await reading(door, sent[:at], sent[at:], LAST)) == [400], at


@pytest.mark.parametrize(("section", "body"), FRAMING.values(), ids=FRAMING)
async def test_framing_counts_behind_another_request_too(door: Door, section: str, body: bytes) -> None:
    """Which keeps its answer, RFC 9112 §9.3.2; whether the connection or the bad one ends it."""
    for first in (whole(GOOD), whole(b" " * 70_000 + GOOD), head(CHUNKED) + chunk(GOOD) + END):
        sent = first + head(CHUNKED) + body + LAST
        for pieces in ([sent], [sent[:-250_000], sent[-250_000:]], [sent[:50], sent[50:]]):
            found = await reading(door, *pieces)
            assert statuses(found) == [200], f"RFC 9112 {section}"
            assert found[0].headers["connection"] == "close"


async def test_a_large_body_allows_no_large_trailer(door: Door) -> None:
    """RFC 9112 §7.1.2: trailers are kept until they end, so that a body is no credit for them."""
    body = chunk(b" " * 1_000_000 + GOOD)
    for trailer in (b"0\r\nx: " + b"y" * 400_000 + b"\r\n\r\n", b"0;" + b"x" * 400_000 + b"\r\n\r\n"):
        sent = head(CHUNKED) + body + trailer + LAST
        for size in (len(sent), 256_000, 60_000, 5_000):
            pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
            assert statuses(await reading(door, *pieces)) == [400], size
    good = head(CHUNKED) + body + b"0\r\nx: " + b"y" * 60_000 + b"\r\n\r\n"
    assert statuses(await reading(door, good + LAST)) == [200, 200]


async def test_framing_just_below_its_bound_is_taken_however_it_comes(door: Door) -> None:
    """RFC 9112 §7.1.1: whoever receives chunk extensions limits their length."""
    sent = head(CHUNKED, "x: " + "y" * 60_000) + chunk(GOOD, ";" + "x" * 65_000) + END + LAST
    for pieces in ([sent], [sent[:90_000], sent[90_000:]], [sent[:1], sent[1:]]):
        assert [answer.said for answer in await reading(door, *pieces)] == ["hello", LAST_WORDS]


async def test_a_large_read_is_many_requests_or_a_part_of_one(door: Door) -> None:
    """RFC 9112 §9.3.2."""
    big = b" " * 100_000 + GOOD
    sent = [
        b"\r\n\r\n".join([b"", whole(GOOD), whole(big), whole(GOOD)]),
        head(CHUNKED) + chunk(big) + chunk(b" " * 90_000) + END + whole(GOOD) + whole(big, "x: " + "y" * 60_000),
        whole(GOOD) * 7
        + head(CHUNKED)
        + chunk(GOOD[:1]) * 1
        + chunk(GOOD[1:], ";x=y")
        + b"0\r\nx: y\r\n\r\n"
        + b"\r\n" * 70_000,
    ]
    for requests in sent:
        data = requests + LAST
        count = data.count(b"HTTP/1.1\r\n")
        for cuts in ([], [1], [70_000], [100_300], [66_000, 140_000], [len(data) - len(LAST) + 3], [len(data) - 1]):
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            found = await reading(door, *pieces)
            assert [answer.said for answer in found] == ["hello"] * (count - 1) + [LAST_WORDS], cuts


async def test_a_bad_chunk_behind_a_call_leaves_it_its_answer(door: Door) -> None:
    """RFC 9112 §9.3.2: answers come in the order of requests, so that the first is not the second's."""
    for bad in (chunk(GOOD) + b"zz\r\n", chunk(b"a", ";" + MUCH), b"5\r\nhelloX" + SMUGGLED):
        wire = await door.connect()
        wire.say(SLOW + head(CHUNKED))
        await until(lambda: "calls" in door.left(), door.left)
        wire.say(bad + LAST)
        (found,) = answers(await wire.rest())
        assert (found.status, found.said, found.headers["connection"]) == (200, "hi", "close")
    assert not await door.smuggled()


# ---- how long a head may be


def long_head(size: int, *lines: str, body: bytes = GOOD) -> bytes:
    """A request whose head is as long as that, without the empty line that ends it."""
    begun = head(f"content-length: {len(body)}", *lines)[:-4] + b"\r\nx: "
    return begun + b"y" * (size - len(begun)) + b"\r\n\r\n" + body


def many_lines(count: int) -> bytes:
    """A request with as many lines as that, its first one not counted."""
    few = head(f"content-length: {len(GOOD)}")
    return few[:-2] + b"a:\r\n" * (count - few.count(b"\r\n") + 2) + b"\r\n" + GOOD


SIZES = {
    "as long as it may be": (long_head(MAX_HEAD_BYTES), 200),
    "too long by one": (long_head(MAX_HEAD_BYTES + 1), 431),
    "as many lines as there may be": (many_lines(MAX_HEAD_LINES), 200),
    "too many lines by one": (many_lines(MAX_HEAD_LINES + 1), 431),
    "very many lines": (head("\r\n".join(["a:"] * 15_000)), 431),
    "very long": (long_head(300_000), 431),
}


@pytest.mark.parametrize(("sent", "status"), SIZES.values(), ids=SIZES)
async def test_a_head_at_its_limit_is_taken_and_one_beyond_it_is_not(door: Door, sent: bytes, status: int) -> None:
    """RFC 6585 §5 and RFC 9110 §5.4, however it comes."""
    end = sent.index(b"\r\n\r\n")
    for cuts in ([], [1], [end], [end + 1], [end + 2], [end + 3], [end + 4], [end // 2], [2, end // 2, end + 2]):
        pieces = [(sent + LAST)[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        found = await reading(door, *pieces)
        assert statuses(found) == ([200, 200] if status == 200 else [431]), cuts
    assert statuses(await reading(door, *singly(sent[: end + 4]), sent[end + 4 :] + LAST))[0] == status


@pytest.mark.parametrize(("sent", "status"), SIZES.values(), ids=SIZES)
async def test_a_head_behind_another_request_has_the_same_limits(door: Door, sent: bytes, status: int) -> None:
    """RFC 6585 §5. What the parser has begun by itself may be longer: as much again comes later."""
    if status == 431 and sent.index(b"\r\n\r\n") < 2 * MAX_HEAD_BYTES and "a:" not in sent.decode():
        sent = long_head(3 * MAX_HEAD_BYTES)
    end = len(whole(GOOD)) + sent.index(b"\r\n\r\n")
    data = whole(GOOD) + sent + LAST
    begun = len(whole(GOOD))
    lines = [begun + at for at in range(200, 208)] + [end - at for at in range(8)]
    for cuts in (
        [],
        *([cut] for cut in (begun + 1, begun + 9, begun + 30_000, end + 1, end + 2, end + 3, end + 4, *lines)),
    ):
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        found = await reading(door, *pieces)
        assert statuses(found) == ([200, 200, 200] if status == 200 else [200]), cuts
        assert found[-1].headers["connection"] == "close"


# ---- how it comes


class Counted(bytearray):
    """Counts the bytes that are looked at when it is searched."""

    searched = 0

    def find(self, sub: bytes, start: int = 0) -> int:  # type: ignore[override]
        Counted.searched += len(self) - start
        return super().find(sub, start)


@pytest.mark.parametrize("before", [b"", whole(GOOD)], ids=["first", "behind another"])
async def test_a_head_that_comes_byte_by_byte_is_searched_once(door: Door, before: bytes) -> None:
    """RFC 9112 §2.2 and RFC 9293 §3.8."""
    sent = long_head(MAX_HEAD_BYTES, "connection: close")
    wire = await door.connect()
    await until(lambda: is_met(door, wire))
    read(door, wire, before + sent[:100])
    connection = door.of(wire)
    Counted.searched = 0
    connection.partial = Counted(connection.partial)
    read(door, wire, *singly(sent[100:]))
    assert statuses(answers(await wire.rest())) == [200] * (2 if before else 1)
    assert MAX_HEAD_BYTES - 200 < Counted.searched < 5 * MAX_HEAD_BYTES


async def test_a_head_behind_another_may_be_cut_anywhere_and_come_byte_by_byte(door: Door) -> None:
    """RFC 9293 §3.8 and RFC 9112 §9.3.2."""
    second = whole(said(LAST_WORDS), "x-some: header", "connection: close")
    for cut in range(1, second.index(b"\r\n\r\n") + 4):
        found = await reading(door, whole(GOOD) + second[:cut], *singly(second[cut:]))
        assert [answer.said for answer in found] == ["hello", LAST_WORDS], second[:cut]


# ---- how much of them all


async def test_heads_that_are_not_whole_are_bounded_in_all(tmp_path: Path, protocol: str) -> None:
    """RFC 6585 §5 says what one may have; what they have together is refused as the gateway's own, RFC 9110 §15.6.4."""
    async with opened(tmp_path, protocol, "max_unread_bytes = 1_048_576") as door:
        large = long_head(60_000, "connection: close")
        part = large[:50_000]
        held = [await door.connect() for _ in range(20)]
        for wire in held:
            wire.say(part)
        await until(lambda: door.gateway.server.head_bytes == 20 * len(part))
        over = [await door.connect() for _ in range(20)]
        for number, wire in enumerate(over):
            wire.say((part, b"POST /v1/messages HTTP/1.1\r\n" + part)[number % 2])
        for wire in over:
            (found,) = answers(await wire.rest())
            assert (found.status, found.headers["retry-after"]) == (503, "1")
            assert found.error["code"] == "service_unavailable"
        assert door.gateway.server.head_bytes <= 1_048_576
        # Who sends a head of ordinary size is served, in pieces or not, and so is who holds much and goes on.
        (found,) = await door.ask(whole(GOOD, "connection: close"), apart=True)
        assert found.said == "hello"
        await door.is_served()
        held[0].say(large[50_000:])
        (found,) = answers(await held[0].rest())
        assert found.said == "hello"
        (found,) = await reading(door, large)
        assert found.said == "hello"
        door.leave()
        await until(lambda: not door.left(), door.left)


async def test_heads_behind_calls_are_bounded_in_all_and_calls_keep_their_answers(
    tmp_path: Path, protocol: str
) -> None:
    """RFC 9112 §9.3.2."""
    async with opened(tmp_path, protocol, "max_unread_bytes = 524_288") as door:
        part = long_head(60_000)[:50_000]
        wires = [await door.connect() for _ in range(20)]
        for number, wire in enumerate(wires):
            await until(lambda wire=wire: is_met(door, wire))  # type: ignore[misc]
            read(door, wire, SLOW + part, b"z" * (number % 3))
        assert door.gateway.server.head_bytes <= 524_288 + 60_000
        for wire in wires[11:]:
            (found,) = answers(await wire.rest())
            assert (found.said, found.headers["connection"]) == ("hi", "close")
        await door.is_served()


@pytest.mark.parametrize(
    "part", [head()[:-2], b"POST", long_head(50_000)[:40_000], b"\r\n\r\n", b"x" * 65_000, b"\x00"]
)
async def test_half_a_head_is_counted_until_it_is_gone(door: Door, part: bytes) -> None:
    """RFC 9112 §9.5: a connection ends in whatever way, in whatever state."""
    for before in (b"", whole(GOOD), SLOW, whole(GOOD, key=None), head(CHUNKED) + chunk(GOOD) + END):
        for behind in (b"", b"\r\n\r\n", b"\x00", b"x" * 70_000):
            for leave in (Wire.reset, lambda wire: wire.transport.close(), lambda wire: wire.transport.write_eof()):
                wire = await door.connect()
                wire.say(before + part)
                await wire.turns()
                wire.say(behind)
                await wire.turns()
                if not wire.transport.is_closing():
                    leave(wire)
    await until(lambda: not door.left(), door.left)


# ---- what comes twice


TWICE = {
    "authorization": (f"Bearer {KEY}", "Bearer wrong"),
    "x-api-key": (KEY, "wrong"),
    "content-type": ("application/json", "text/plain"),
    "content-encoding": ("identity", "gzip"),
    "anthropic-version": ("2023-06-01", "2099-01-01"),
    "origin": ("https://a.example", "https://b.example"),
}


@pytest.mark.parametrize("name", TWICE)
async def test_what_may_come_once_and_comes_twice_is_refused_by_its_name(door: Door, name: str) -> None:
    """RFC 9110 §5.3: of two servers one reads the first line, the other the last."""
    one, other = TWICE[name]
    for path in PATHS:
        for first, second in ((one, other), (other, one), (one, one)):
            lines = f"{name}: {first}", "x: y", f"{name.title()}: {second}"
            sent = whole(GOOD, *lines, to=path, key=None if name == "authorization" else KEY)
            found = await door.ask(sent + LAST)
            assert [(answer.status, answer.said) for answer in found] == [(400, ""), (200, LAST_WORDS)]
            assert found[0].error["message"] == f"The header '{name}' came 2 times. Send it once."
            as_anthropic = path == "/v1/messages" or (
                name == "anthropic-version" and path in ("/v1/models", "/nothing")
            )
            assert ("type" in json.loads(found[0].body)) == as_anthropic


async def test_what_is_a_list_or_decides_nothing_may_come_in_many_lines(door: Door) -> None:
    """RFC 9110 §5.3, and RFC 9113 §8.2.3 of cookies."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    lines = [
        "cookie: a=b", "accept: text/html", "via: 1.1 a", "x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https",
        "accept-encoding: gzip", "cache-control: no-cache", "forwarded: for=a", "x-request-id: a", "user-agent: a",
        "anthropic-beta: a", "openai-beta: a", f"traceparent: {trace}", "tracestate: a=b", "connection: keep-alive",
        "if-none-match: a", "x-stainless-lang: a", "content-language: en", "expect: 100-continue",
    ]  # fmt: skip
    for path in PATHS[:3]:
        found = await door.ask(whole(GOOD[:-1] + b',"max_tokens":99}', *lines, *lines, to=path) + LAST)
        assert statuses(found) == [200, 200]


# ---- what a refusal is told in


REFUSALS = {
    400: lambda path, method: head("host: another", to=path, method=method),
    431: lambda path, method: head("x: " + "y" * 70_000, to=path, method=method),
}


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("path", [*PATHS, "/v1/messages?beta=true", "http://test/api/v1/messages"])
async def test_a_refusal_is_told_in_the_dialect_of_its_path(door: Door, path: str, status: int) -> None:
    """RFC 9110 §15.5: the answer explains the error, to whoever asks at that path."""
    sent = REFUSALS[status](path, "POST")
    for before in (b"", head("content-length: 0", to=CHAT, key=None), head(to="/v1/messages", method="GET")):
        wire = await door.connect()
        if before:
            wire.say(before)
            await wire.until(lambda got: got.endswith(b"}}"))
        wire.say(sent)
        found = answers(await wire.rest())[-1]
        assert (found.status, found.headers["connection"]) == (status, "close")
        told = json.loads(found.body)
        if "/messages" in path:
            assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
        elif path.startswith("/api/v1"):
            assert told["error"]["code"] == status
        else:
            assert set(told) == {"error"}
            assert set(told["error"]) == {"message", "type", "param", "code"}
    (found,) = await door.ask(REFUSALS[status](path, "HEAD"), method="HEAD")  # RFC 9110 §9.3.2
    assert (found.status, found.body) == (status, b"")


NO_LINES = [
    b"/v1/messages", b"POST /v1/messages", b"\x00 /v1/messages HTTP/1.1", b"POST /v1/messages RTSP/1.0",
    b"POST " + b"/v1/messages" * 9000, b"POST /v1/messages?" + b"x" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("sent", NO_LINES, ids=lambda sent: repr(sent[:30])[2:-1])
async def test_a_request_line_that_is_none_is_told_as_openai_does(door: Door, sent: bytes) -> None:
    """RFC 9112 §3, also when another path was asked for before it on the connection."""
    for before in (b"", head(to="/v1/messages", method="GET")):
        wire = await door.connect()
        if before:
            wire.say(before)
            await wire.until(lambda got: got.endswith(b"}}"))
        wire.say(sent + b"\r\n\r\n")
        found = answers(await wire.rest())[-1]
        assert found.status in (400, 431)
        if found.status == 400:
            assert "type" not in json.loads(found.body)


async def test_a_refusal_has_the_id_its_client_gave(door: Door) -> None:
    """RFC 9112 §3.2, two hosts; the id is the client's if it came before what is wrong."""
    (found,) = await door.ask(head("x-request-id: mine-1", "host: b"))
    assert found.headers["x-request-id"] == "mine-1"
    (found,) = await door.ask(head("x-request-id: no id", "host: b"))
    assert found.headers["x-request-id"].startswith("gen-")
    assert SMUGGLED_WORDS not in found.body.decode()
