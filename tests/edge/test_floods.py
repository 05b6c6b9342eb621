"""Much of everything: connections, wrong keys, bytes nobody asked for. Memory is bounded, and others are served."""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edge.attack import (
    GOOD,
    LAST,
    LAST_WORDS,
    Door,
    Wire,
    anonymous_mb,
    answers,
    chunk,
    head,
    opened,
    said,
    until,
    whole,
)
from fairlead.auth import Auth
from gateway import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1 << 20


# ---- connections


async def nothing(wire: Wire) -> None:
    wire.reset()


async def politely(wire: Wire) -> None:
    wire.transport.close()


async def half_a_head(wire: Wire) -> None:
    wire.say(head()[:-2])
    await wire.turns()
    wire.reset()


async def half_a_body(wire: Wire) -> None:
    wire.say(head("content-length: 100000") + b"x" * 1000)
    await wire.turns()
    wire.reset()


async def garbage(wire: Wire) -> None:
    wire.say(random.Random(0).randbytes(500) + b"\r\n\r\n")
    await wire.rest()


async def a_call(wire: Wire) -> None:
    wire.say(whole(GOOD))
    await wire.turns(random.Random(id(wire)).randrange(8))
    wire.reset()


async def no_key(wire: Wire) -> None:
    wire.say(whole(GOOD, "connection: close", key=None))
    await wire.rest()


@pytest.mark.parametrize("visit", [nothing, politely, half_a_head, half_a_body, garbage, a_call, no_key])
async def test_thousands_of_connections_leave_nothing(door: Door, visit: Callable[[Wire], Awaitable[None]]) -> None:
    before = anonymous_mb()
    for _ in range(5):
        wires = [await door.connect() for _ in range(100)]
        await asyncio.gather(*(visit(wire) for wire in wires))
        door.forget()
    await until(lambda: not door.left(), door.left)
    assert anonymous_mb() - before < 8


async def test_hundreds_of_connections_that_stay_keep_nobody_out(door: Door) -> None:
    for number in range(1000):
        wire = await door.connect()
        wire.say([b"", b"POST", head()[:-2], head("content-length: 9")][number % 4])
    await door.is_served()
    assert door.left()["connections"] >= 1000


async def test_heads_that_never_end_are_given_back(door: Door) -> None:
    before = anonymous_mb()
    wires = [await door.connect() for _ in range(200)]
    for wire in wires:
        wire.say(head("x: " + "y" * 60_000)[:-2])
        await wire.turns()
    await door.is_served()
    assert anonymous_mb(now=True) - before < 100  # 64 KiB each, and what the heap makes of it
    door.leave()
    await until(lambda: not door.left(), door.left)
    assert anonymous_mb() - before < 8


# ---- what nobody asked for


@pytest.mark.parametrize(
    "framing", ["content-length: 104857600", "transfer-encoding: chunked"], ids=["told", "in chunks"]
)
@pytest.mark.parametrize(
    ("to", "key", "status"),
    [
        ("/v1/chat/completions", None, 401),
        ("/v1/chat/completions", "fl-" + "w" * 43, 401),
        ("/v1/messages", "wrong", 401),
        ("/nothing", None, 404),
        ("/v1/models", None, 405),
    ],
)
async def test_a_hundred_mb_that_nobody_reads_are_refused_before_they_come(
    door: Door, framing: str, to: str, key: str | None, status: int
) -> None:
    """RFC 9112 §9.6: the answer does not wait for the body, and reaches a client that still sends."""
    before = most = anonymous_mb(now=True)
    wire = await door.connect()
    wire.say(head(framing, to=to, key=key))
    piece = b" " * 65536
    while wire.said < 100 * MIB and not wire.received:
        wire.say(chunk(piece) if framing.endswith("chunked") else piece)
        await wire.taken()
    assert wire.said < 8 * MIB  # what fits into the sockets' buffers
    got = await wire.until(lambda got: b"\r\n\r\n" in got and got.endswith(b"}"))
    assert got.startswith(b"HTTP/1.1 %d " % status)
    for _ in range(100):  # and goes on
        wire.say(piece)
        await wire.turns(2)
        most = max(most, anonymous_mb(now=True))
    assert most - before < 16


STALLED = whole(said("hi", "sim/echo+stall"))  # a call that its model never answers
SLOW = whole(said("hi", "sim/echo+delay=1.5"))
BEHIND = whole(b" " * 60_000)  # what nobody reads as long as the request before it is not answered


async def pile_up(wire: Wire) -> None:
    """Say more and more behind a request that is not answered, as long as the gateway takes it."""
    for _ in range(100):
        wire.say(BEHIND)
        await wire.turns(8)
        if not wire.writable.is_set() or wire.ended:
            return


async def test_what_comes_behind_a_slow_call_is_not_kept(tmp_path: Path, protocol: str) -> None:
    async with opened(tmp_path, protocol) as door:
        before = anonymous_mb()
        wire = await door.connect()
        wire.say(SLOW)
        await until(lambda: "calls" in door.left(), door.left)
        await pile_up(wire)
        assert anonymous_mb(now=True) - before < 16
        await door.is_served()


async def test_who_goes_away_behind_many_requests_leaves_nothing(tmp_path: Path, protocol: str) -> None:
    """A hang-up cancels its call at once, however much was said behind it."""
    async with opened(tmp_path, protocol) as door:
        wire = await door.connect()
        wire.say(STALLED)
        await until(lambda: "calls" in door.left(), door.left)
        await pile_up(wire)
        wire.reset()
        await until(lambda: not door.left(), door.left)


async def test_bodies_of_who_hangs_up_are_not_counted_for_ever(tmp_path: Path, protocol: str) -> None:
    """All of it, the end included, is there before the gateway looks: it must forget what it never came to."""
    async with opened(tmp_path, protocol, "max_unread_bytes = 2097152") as door:
        for key in (KEY, None):
            for behind in (b"", b"content-length: x\r\n\r\n", b"POST"):
                for _ in range(12):
                    with socket.create_connection(("127.0.0.1", door.gateway.port)) as client:
                        client.sendall(whole(b" " * 60_000, key=key) * 4 + behind)
                        client.shutdown(socket.SHUT_WR)
                        for _ in range(20):
                            await asyncio.sleep(0)
                await until(lambda: not door.left(), door.left)
                await door.is_served()


async def test_bodies_behind_slow_calls_keep_nobody_out(tmp_path: Path, protocol: str) -> None:
    """What some let wait unread is theirs to be refused for, not everybody's."""
    async with opened(tmp_path, protocol, "max_unread_bytes = 2097152") as door:
        for _ in range(6):
            wire = await door.connect()
            wire.say(SLOW)
            await wire.turns(20)
            await pile_up(wire)
            await door.is_served()


async def test_bodies_behind_answers_that_nobody_reads_keep_nobody_out(tmp_path: Path, protocol: str) -> None:
    """The same without a key: who does not read what was answered holds what comes behind it."""
    async with opened(tmp_path, protocol, "max_unread_bytes = 2097152") as door:
        for _ in range(20):
            wire = await door.connect(receives=4096)
            wire.transport.pause_reading()
            connection = door.of(wire)
            for _ in range(50):
                if connection.flow.write_paused:
                    break
                wire.say(head(method="GET", to="/openapi.json", key=None) * 12)
                await wire.turns(200)
            await pile_up(wire)
            await door.is_served()


@pytest.mark.parametrize("count", [64, 65, 500])
async def test_of_many_requests_at_once_the_first_are_answered_and_the_others_not_taken(door: Door, count: int) -> None:
    """RFC 9112 §9.3.2: who sends requests behind each other has to send those again that got no answer."""
    found = await door.ask(whole(GOOD) * count + LAST)
    assert {answer.status for answer in found} == {200}
    assert {answer.said for answer in found} <= {"hello", LAST_WORDS}
    assert 64 <= len(found) <= count + 1
    assert found[-1].headers["connection"] == "close"


# ---- keys


KEYS = {
    "none": (),
    "an empty header": ("authorization:",),
    "no token": ("authorization: Bearer",),
    "an empty token": ("authorization: Bearer ",),
    "another scheme": (f"authorization: Basic {KEY}",),
    "no scheme": (f"authorization: {KEY}",),
    "a scheme that is longer": (f"authorization: Bearerx {KEY}",),
    "two tokens": (f"authorization: Bearer {KEY} {KEY}",),
    "a comma": (f"authorization: Bearer {KEY},",),
    "in quotes": (f'authorization: Bearer "{KEY}"',),
    "shorter": (f"authorization: Bearer {KEY[:-1]}",),
    "longer": (f"authorization: Bearer {KEY}x",),
    "in capitals": (f"authorization: Bearer {KEY.upper()}",),
    "with another byte": (f"authorization: Bearer {KEY}\xff",),
    "with a no-break space": (f"authorization: Bearer {KEY}\xa0",),
    "latin-1": ("authorization: Bearer \xe4\xf6\xfc",),
    "a wildcard": ("authorization: Bearer *",),
    "a percent": ("authorization: Bearer %",),
    "SQL": ("authorization: Bearer fl-' OR '1'='1",),
    "a hash": ("authorization: Bearer " + "0" * 64,),
    "4 KiB": ("authorization: Bearer fl-" + "a" * 4096,),
    "60 KiB": ("authorization: Bearer fl-" + "a" * 60_000,),
    "proxy-authorization": (f"proxy-authorization: Bearer {KEY}",),
    "cookie": (f"cookie: authorization=Bearer {KEY}; x-api-key={KEY}",),
    "a name with an underscore": (f"x_api_key: {KEY}",),
    "x-api-key, empty": ("x-api-key:",),
    "x-api-key, wrong": ("x-api-key: wrong",),
    "x-api-key with a scheme": (f"x-api-key: Bearer {KEY}",),
    "two x-api-keys in a line": (f"x-api-key: wrong, {KEY}",),
    "in a query": (),
}


@pytest.mark.parametrize("lines", KEYS.values(), ids=KEYS)
async def test_what_is_no_key_opens_nothing(door: Door, lines: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    query = f"?key={KEY}&api_key={KEY}&access_token={KEY}&authorization=Bearer%20{KEY}" if not lines else ""
    for to in ("/v1/chat/completions", "/v1/messages", "/api/v1/chat/completions", "/v1/completions"):
        first, last = await door.ask(whole(GOOD, *lines, to=to + query, key=None) + LAST)
        assert (first.status, last.said) == (401, LAST_WORDS)
    for to in ("/v1/models", "/v1/models/sim/echo", "/v1/usage", "/v1/generation", "/api/v1/models"):
        first, last = await door.ask(head(*lines, method="GET", to=to + query, key=None) + LAST)
        assert (first.status, last.said) == (401, LAST_WORDS)


async def wrong(door: Door, keys: list[str], *, source: str = "") -> list[int]:
    """The statuses of calls with `keys`, over connections of 32 each; between them a good request is answered."""
    found: list[int] = []
    for begin in range(0, len(keys), 32):
        part = keys[begin : begin + 32]
        wire = await door.connect(source=source)
        wire.say(b"".join(whole(GOOD, key=key) for key in part[:-1]) + whole(GOOD, "connection: close", key=part[-1]))
        statuses = [answer.status for answer in answers(await wire.rest())]
        assert len(statuses) == len(part)
        found += statuses
        if begin % 1024 == 0:
            await door.is_served()
            door.forget()
    return found


async def test_thousands_of_wrong_keys_are_401_and_keep_nobody_out(door: Door) -> None:
    auth: Auth = door.gateway.house.auth
    before = anonymous_mb()
    chance = random.Random(1)
    keys = [f"fl-{chance.getrandbits(256):064x}"[:46] for _ in range(2000)]
    assert set(await wrong(door, keys)) == {401}
    assert set(await wrong(door, keys[:100])) == {401}
    assert set(await wrong(door, [keys[0]] * 1000)) == {401}
    assert set(await wrong(door, ["x" * (number % 4000 + 1) for number in range(1000)])) == {401}
    assert len(auth._unknown) <= 10_000
    assert not auth._asking
    assert anonymous_mb() - before < 8


async def test_who_keeps_guessing_has_to_wait_and_others_do_not(tmp_path: Path, protocol: str) -> None:
    """RFC 6585 §4, as it is by default: after 20 wrong keys an address waits, but for keys that are known."""
    async with opened(tmp_path, protocol) as door:
        found = await wrong(door, [f"fl-{number:043}" for number in range(300)])
        assert set(found[:20]) == {401}
        assert set(found) <= {401, 429}
        assert found[-1] == 429
        (answer,) = await door.ask(whole(GOOD, "connection: close", key="fl-" + "a" * 43))
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        await door.is_served()
        assert await wrong(door, ["fl-" + "b" * 43], source="127.0.0.2") == [401]
        await known_keys_are_served(door)


async def known_keys_are_served(door: Door) -> None:
    """A key of the database that was used before, from an address that waits."""
    secret, _ = door.gateway.house.keys.create("known")
    wire = await door.connect(source="127.0.0.3")
    wire.say(whole(GOOD, "connection: close", key=secret))
    assert (await wire.rest()).startswith(b"HTTP/1.1 200 ")
    (answer,) = await door.ask(whole(GOOD, "connection: close", key=secret))
    assert answer.status == 200


async def test_wrong_keys_from_everywhere_are_forgotten_in_the_end(door: Door) -> None:
    penalties = door.gateway.house.auth._penalties
    before = anonymous_mb()
    for number in range(2, 250):
        assert set(await wrong(door, ["wrong"] * 4, source=f"127.0.{number % 5}.{number}")) == {401}
    assert len(penalties._wrong) <= 10_000
    assert anonymous_mb() - before < 8
