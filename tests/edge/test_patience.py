"""Clients that take their time: to speak, to finish, to read, to go away. None of them keeps anything for long.

RFC 9112 §9.5 lets a server close what is idle; RFC 9110 §15.5.9 is the status for a request that does not come.
"""

import asyncio
import socket
from contextlib import closing, suppress

import pytest

from edge.attack import GOOD, Door, Wire, anonymous_mb, chunk, head, said, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHORT = 0.8
SERVER = f"""header_seconds = {SHORT}
body_seconds = {SHORT}
idle_seconds = 0.3
max_body_bytes = {128 << 20}
"""
ENOUGH = 20.0  # seconds in which a deadline of `SHORT` has to act, on a machine that is busy

CHUNKED = "transfer-encoding: chunked"
LARGE = f"content-length: {100 << 20}"
ALL = len(GOOD)
OPEN = head(CHUNKED) + chunk(GOOD[:20])  # a call whose body has begun


async def ends(wire: Wire) -> bytes:
    """All that is answered to a connection that has to end soon."""
    began = asyncio.get_running_loop().time()
    got = await wire.rest()
    assert asyncio.get_running_loop().time() - began < ENOUGH
    return got


# What is said at once, and the statuses that may follow; None: the connection is closed without a word.
SILENT: dict[str, tuple[bytes, set[int | None]]] = {
    "nothing": (b"", {None, 408}),
    "an empty line": (b"\r\n", {None, 408}),
    "half a method": (b"PO", {None, 408}),
    "half a first line": (b"POST /v1/ch", {None, 408}),
    "half a head": (head(LARGE)[:-2], {None, 408}),
    "a head but its last byte": (head(LARGE)[:-1], {None, 408}),
    "no body": (head(f"content-length: {ALL}"), {408}),
    "no body of a hundred MB": (head(LARGE), {408}),
    "no body but its promise": (head(f"content-length: {ALL}", "expect: 100-continue"), {408}),
    "half a body": (head(f"content-length: {ALL}") + GOOD[:20], {408}),
    "a body but its last byte": (head(f"content-length: {ALL}") + GOOD[:-1], {408}),
    "no chunk": (head(CHUNKED), {408}),
    "half a size": (head(CHUNKED) + b"f", {408}),
    "half an extension": (head(CHUNKED) + b"f;x=", {408}),
    "half a chunk": (head(CHUNKED) + b"%x\r\n" % ALL + GOOD[:20], {408}),
    "a chunk without its end": (head(CHUNKED) + b"%x\r\n" % ALL + GOOD, {408}),
    "no last chunk": (head(CHUNKED) + chunk(GOOD), {408}),
    "half a last chunk": (head(CHUNKED) + chunk(GOOD) + b"0\r\n", {408}),
    "half a trailer": (head(CHUNKED) + chunk(GOOD) + b"0\r\nx: ", {408}),
    "a chunk of 64 bits": (head(CHUNKED) + b"ffffffffffffffff\r\n", {400, 408, 413}),
    "no body, without a key": (head(LARGE, key=None), {401}),
    "no chunk, without a key": (head(CHUNKED, key=None), {401}),
    "no body, nothing there": (head(LARGE, to="/nothing"), {404}),
    "no body of a GET": (head(LARGE, method="GET", to="/livez"), {200}),
}


async def let_go(door: Door, sent: bytes, *, then_ends: bool = False) -> int | None:
    """The status of what is answered to `sent` before the connection ends; None if nothing is."""
    wire = await door.connect()
    wire.say(sent)
    if then_ends:
        wire.transport.write_eof()
    got = (await ends(wire)).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    await door.is_served()
    return int(got.split(b" ")[1]) if got else None


async def test_who_falls_silent_is_let_go(door: Door) -> None:
    statuses = await asyncio.gather(*(let_go(door, sent) for sent, _ in SILENT.values()))
    found = dict(zip(SILENT, statuses, strict=True))
    assert not {name: status for name, status in found.items() if status not in SILENT[name][1]}


async def test_who_will_say_no_more_in_the_middle_is_let_go_at_once(door: Door) -> None:
    """A connection half closed, RFC 9112 §8: a message that is cut off is incomplete, and not taken for whole."""
    statuses = await asyncio.gather(*(let_go(door, sent, then_ends=True) for sent, _ in SILENT.values()))
    found = dict(zip(SILENT, statuses, strict=True))
    assert not {name: status for name, status in found.items() if status not in {None, 400, *SILENT[name][1]}}


async def test_a_whole_request_of_who_will_say_no_more_ends_well_or_at_once(door: Door) -> None:
    for sent in (whole(GOOD), head(CHUNKED) + chunk(GOOD) + b"0\r\n\r\n", head(method="GET", to="/livez")):
        wire = await door.connect()
        wire.say(sent)
        wire.transport.write_eof()
        got = await ends(wire)
        assert got == b"" or got.startswith(b"HTTP/1.1 200 ")


# What is said at once, and what then comes in single pieces, each long before it has to.
DRIPS = {
    "empty lines": (b"", b"\r\n" * 10_000),
    "a head": (b"", head("x: " + "y" * 10_000)),
    "headers": (head()[:-2], b"x: y\r\n" * 10_000),
    "a head behind a good request": (whole(GOOD), head("x: " + "y" * 10_000)),
    "empty lines behind a good request": (whole(GOOD), b"\r\n" * 10_000),
    "a body": (head(LARGE), b" " * 10_000),
    "chunks": (head(CHUNKED), b"1\r\n \r\n" * 10_000),
    "a chunk": (head(CHUNKED) + b"fffff\r\n", b" " * 10_000),
    "zeros of a size": (head(CHUNKED), b"0" * 10_000),
    "an extension": (head(CHUNKED) + b"1;", b"x" * 10_000),
    "a trailer": (OPEN + chunk(GOOD[20:]) + b"0\r\n", b"x: y\r\n" * 10_000),
    "a body behind a good request": (whole(GOOD) + head(LARGE), b" " * 10_000),
    "a body without a key": (head(LARGE, key=None), b" " * 10_000),
    "a body that nobody reads": (head(LARGE, method="GET", to="/livez"), b" " * 10_000),
}


async def dripped(door: Door, sent: bytes, drips: bytes) -> str:
    """What is wrong with how a connection ends on which `sent` is said at once and `drips` slowly; "" if nothing is."""
    wire = await door.connect()
    wire.say(sent)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for at in range(len(drips)):
        if wire.ended or loop.time() - began > ENOUGH:
            break
        wire.say(drips[at : at + 1])
        wire.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):  # so slow it is
                await wire.news.wait()
    if not wire.ended:
        return f"still open: {bytes(wire.received[:100])!r}"
    return "" if wire.received.count(b"HTTP/1.1 200") <= 1 else "answered more than once"


async def test_who_speaks_a_byte_at_a_time_is_let_go(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the answer is out, what still comes is thrown away for so long: RFC 9112 §9.6.
    monkeypatch.setattr("fairlead.http.connection._LINGER_SECONDS", SHORT)
    told = await asyncio.gather(*(dripped(door, sent, drips) for sent, drips in DRIPS.values()))
    assert not {name: wrong for name, wrong in zip(DRIPS, told, strict=True) if wrong}


async def test_many_who_speak_a_byte_at_a_time_keep_nobody_waiting(door: Door) -> None:
    wires = [await door.connect() for _ in range(300)]
    for number, wire in enumerate(wires):
        wire.say([b"POST", head(LARGE)[:-2], head(LARGE), OPEN][number % 4])
    await door.is_served()
    for at in range(5):
        for wire in wires:
            wire.say(b"x"[at:])
        await door.is_served()
    for wire in wires:
        await ends(wire)
    await until(lambda: not door.left(), door.left)


# ---- who does not read


def streaming(size: int, event: int = 65536) -> bytes:
    return whole(said("hi", f"sim/echo+bytes={size}+event={event}", stream=True))


async def unread(door: Door, *, port: int) -> socket.socket:
    """A connection that takes almost nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return client


NEVER_READ = {
    "a stream of a gibibyte": (streaming(1 << 30), 8),
    "a stream in large events": (streaming(1 << 30, 4 << 20), 48),
    "a whole answer of 32 MB": (whole(said("hi", f"sim/echo+bytes={32 << 20}")), 200),
    "many answers behind each other": (whole(said("x" * 100_000)) * 60, 48),
    "many streams behind each other": (streaming(1 << 24) * 30, 16),
    "many lists of models": (head(method="GET", to="/v1/models") * 2000, 16),
}


@pytest.mark.parametrize(("sent", "most_mb"), NEVER_READ.values(), ids=NEVER_READ)
async def test_who_never_reads_is_let_go_and_costs_little(door: Door, sent: bytes, most_mb: int) -> None:
    before = most = anonymous_mb()
    with closing(await unread(door, port=door.gateway.port)) as client:
        loop = asyncio.get_running_loop()
        saying = asyncio.ensure_future(loop.sock_sendall(client, sent))
        await until(lambda: bool(door.left()), door.left)
        began = loop.time()
        while door.left():
            assert loop.time() - began < 2 * ENOUGH, door.left()
            most = max(most, anonymous_mb(now=True))
            await asyncio.sleep(0.01)
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
    assert most - before < most_mb
    open_calls = [row for row in await door.gateway.rows("calls") if row["ended_us"] is None]
    assert not open_calls


async def test_many_who_never_read_are_let_go(door: Door) -> None:
    before = most = anonymous_mb()
    clients = [await unread(door, port=door.gateway.port) for _ in range(40)]
    try:
        loop = asyncio.get_running_loop()
        for client in clients:
            await loop.sock_sendall(client, streaming(1 << 30))
        await until(lambda: door.left().get("calls") == len(clients), door.left)
        await door.is_served()
        began = loop.time()
        while door.left():
            assert loop.time() - began < 2 * ENOUGH, door.left()
            most = max(most, anonymous_mb(now=True))
            await asyncio.sleep(0.01)
    finally:
        for client in clients:
            client.close()
    assert most - before < 80  # 2 MB for each


async def test_the_call_of_who_does_not_read_is_on_record_as_given_up(door: Door) -> None:
    known = {row["id"] for row in await door.gateway.rows("calls")}
    with closing(await unread(door, port=door.gateway.port)) as client:
        await asyncio.get_running_loop().sock_sendall(client, streaming(1 << 30))
        await until(lambda: "calls" in door.left(), door.left)
        await until(lambda: not door.left(), door.left)
    (row,) = [row for row in await door.gateway.rows("calls") if row["id"] not in known]
    assert (row["outcome"], row["status"]) == ("cancelled", 200)


# ---- who goes away


AWAY = {
    "before a word": b"",
    "in the first line": b"POST /v1/ch",
    "in the head": head(LARGE)[:-2],
    "before the body": head(LARGE),
    "in the body": head(f"content-length: {ALL}") + GOOD[:20],
    "in a chunk": OPEN + b"fff\r\nhalf",
    "behind the request": whole(GOOD),
    "in a stream": streaming(1 << 30),
    "behind many": whole(GOOD) * 50,
    "in a slow stream": whole(said("hi", "sim/slow", stream=True)),
    "before a slow answer": whole(said("hi", "sim/slow")),
    "before a silent one": whole(said("hi", "sim/echo+stall")),
    "in a silent stream": whole(said("hi", "sim/echo+stall=1", stream=True)),
    "behind what is refused": head("content-length: x"),
    "behind a wrong key": whole(GOOD, key="fl-" + "a" * 43),
}


@pytest.mark.parametrize("sent", AWAY.values(), ids=AWAY)
@pytest.mark.parametrize("how", ["reset", "end of file", "close"])
async def test_who_goes_away_leaves_nothing(door: Door, sent: bytes, how: str) -> None:
    for turns in (0, 1, 5, 50):
        wire = await door.connect()
        wire.say(sent)
        await wire.turns(turns)
        if how == "reset":
            wire.reset()
        elif wire.transport.is_closing():
            continue
        elif how == "close":
            wire.transport.close()
        else:
            wire.transport.write_eof()
    await until(lambda: not door.left(), door.left)
