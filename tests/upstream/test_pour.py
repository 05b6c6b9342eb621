"""Chunks on their way to who takes them as they come: with the parser and past it the same arrives."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import FairleadError
from fairlead.upstream import connection
from fairlead.writes import Writes
from misbehaving import asking

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CONTENTS = st.binary(min_size=1, max_size=40) | st.sampled_from(
    [b"\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"a" * 15, b"a" * 16, b"a" * 255, b"a" * 256, b"a" * 4095, b"a" * 4096]
)
SIZES = [b"%x", b"%X", b"0%x", b"%x;a=b"]


class Wire(asyncio.Transport):
    """A socket that takes all."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


def chunk(content: bytes, size: bytes = b"%x") -> bytes:
    return size % len(content) + b"\r\n" + content + b"\r\n"


async def streaming() -> tuple[connection.Connection, connection.Response]:
    """A connection whose answer has begun, and which is between two chunks of it."""
    loop = asyncio.get_running_loop()
    up = connection.Connection(loop, Writes())
    up.connection_made(Wire())
    now = loop.time()
    response = up.start(asking("http://127.0.0.1", b"{}"), now, now)
    up.data_received(HEAD)
    await response.head()
    up.data_received(chunk(b"first"))
    assert await response.read() == b"first"
    return up, response


async def poured(pieces: list[bytes], monkeypatch: pytest.MonkeyPatch, *, parsed: bool) -> tuple[bytes, str, int]:
    """What arrived, how it ended, and how many of `pieces` were taken past the parser."""
    loop, came, past = asyncio.get_running_loop(), [], 0
    only = connection._only_chunk

    def counted(data: bytes) -> bytes:
        nonlocal past
        found = b"" if parsed else only(data)
        past += bool(found)
        return found

    def take(content: bytes, framed: bytes) -> bool:
        assert framed in (b"", chunk(content))
        came.append(content)
        return True

    monkeypatch.setattr(connection, "_only_chunk", counted)
    up = connection.Connection(loop, Writes())
    up.connection_made(Wire())
    now = loop.time()
    response = up.start(asking("http://127.0.0.1", b"{}"), now, now)
    up.data_received(HEAD)
    await response.head()
    pouring = asyncio.ensure_future(response.pour(take))
    await asyncio.sleep(0)
    for piece in pieces:
        up.data_received(piece)
        if up.response is None:
            break
    up.connection_lost(None)
    try:
        ended = str(await pouring)
    except FairleadError as error:
        ended = repr(error)
    monkeypatch.undo()
    return b"".join(came), ended, past


async def both(pieces: list[bytes]) -> tuple[bytes, str, int]:
    monkeypatch = pytest.MonkeyPatch()
    told = await poured(pieces, monkeypatch, parsed=True)
    found = await poured(pieces, monkeypatch, parsed=False)
    assert found[:2] == told[:2]
    return found


async def test_no_chunk_overtakes_one_that_waits_when_nobody_takes_any_more() -> None:
    loop, came = asyncio.get_running_loop(), []

    def take(content: bytes, framed: bytes) -> bool:
        came.append(content)
        return True

    up = connection.Connection(loop, Writes())
    up.connection_made(Wire())
    response = up.start(asking("http://127.0.0.1", b"{}"), loop.time(), loop.time())
    up.data_received(HEAD)
    await response.head()
    pouring = asyncio.ensure_future(response.pour(take))
    await asyncio.sleep(0)
    up.data_received(chunk(b"zero"))
    pouring.cancel()
    up.data_received(chunk(b"one") + chunk(b"two"))
    up.data_received(chunk(b"three"))
    assert [*came, *response.chunks] == [b"zero", b"one", b"two", b"three"]
    with pytest.raises(asyncio.CancelledError):
        await pouring
    up.connection_lost(None)


async def test_whole_chunks_pass_the_parser_by() -> None:
    contents = [b"a" * size for size in (1, 15, 16, 255, 256, 4095, 4096)]
    came, ended, past = await both([chunk(content) for content in [b"first", *contents]] + [b"0\r\n\r\n"])
    assert came == b"first" + b"".join(contents)
    assert ended == "False"
    assert past == len(contents) - 1  # the first tells where chunks begin, and the last is too long


@pytest.mark.parametrize(
    "pieces",
    [
        [b"5\r\nhello\r\n5", b"\r\nhello\r\n"],  # the next one's head has begun
        [b"5\r\nhello\r\n10\r\n", b"6\r\nabcdef\r\n\r\n\r\n\r\n\r\n"],  # what looks like a chunk lies in one
        [b"3\r\nabc\r\n", b"3\r\nabcd\r\n"],
        [b"3\r\nabc\r\n", b"2\r\nab\r\n\r\n"],
        [b"3\r\nabc\r\n", b"-1\r\nab\r\n"],
        [b"3\r\nabc\r\n", b"\r\n"],
        [b"3\r\nabc\r\n", b"\n"],
        [b"3\r\nabc\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n"],  # it is over
        [b"3\r\nabc\r\n", b"0\r\n", b"3\r\nabc\r\n"],  # a trailer that is none
    ],
)
async def test_what_is_no_chunk_is_refused_as_ever(pieces: list[bytes]) -> None:
    await both(pieces)


@given(st.data(), st.lists(st.tuples(CONTENTS, st.sampled_from(SIZES)), min_size=1, max_size=12))
def test_however_it_is_cut_and_spelt_the_same_arrives(data: st.DataObject, chunks: list[tuple[bytes, bytes]]) -> None:
    raw = [chunk(*each) for each in chunks] + [b"0\r\n\r\n"]
    whole = b"".join(raw)
    ends = {sum(map(len, raw[:number])) for number in range(len(raw) + 1)}
    cuts = sorted(ends | data.draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[begin:end] for begin, end in pairwise(cuts)]
    came, ended, _ = asyncio.run(both(pieces))
    assert (came, ended) == (b"".join(content for content, _ in chunks), "False")


@given(st.data(), st.lists(CONTENTS, min_size=2, max_size=8))
def test_whatever_is_broken_is_seen_as_the_parser_sees_it(data: st.DataObject, contents: list[bytes]) -> None:
    pieces = [chunk(content) for content in contents]
    at = data.draw(st.integers(0, len(pieces) - 1))
    piece = bytearray(pieces[at])
    where = data.draw(st.integers(0, len(piece) - 1))
    piece[where : where + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"0", b"f", b";", b" ", b"\0"])
    )
    pieces[at] = bytes(piece)
    asyncio.run(both([each for each in pieces if each]))


async def test_a_chunk_that_is_the_whole_read_comes_with_its_framing() -> None:
    up, response = await streaming()
    came: list[tuple[bytes, bytes]] = []

    def take(content: bytes, framed: bytes) -> bool:
        came.append((content, framed))
        return True

    pouring = asyncio.ensure_future(response.pour(take))
    await asyncio.sleep(0)
    for size in (b"%x", b"%X", b"0%x", b"%x;a=b"):
        up.data_received(chunk(b"fifteen bytes..", size))
    up.data_received(chunk(b"a") + chunk(b"b"))
    up.data_received(chunk(b"c")[:-1])
    up.data_received(b"\n")
    for content in (b"d", b"e"):  # the first of them tells where chunks begin again
        up.data_received(chunk(content))
    up.data_received(b"0\r\n\r\n")
    assert await pouring is False
    assert came == [
        (b"fifteen bytes..", chunk(b"fifteen bytes..")),
        *[(b"fifteen bytes..", b"")] * 3,
        (b"ab", b""),
        (b"c", b""),
        (b"d", b""),
        (b"e", chunk(b"e")),
    ]


@pytest.mark.parametrize("between", [b"", b"6", b"6\r\nsecond", b"6\r\nsecond\r\n6\r\nse"])
async def test_who_has_enough_gets_the_rest_when_he_asks_again(between: bytes) -> None:
    up, response = await streaming()
    came: list[bytes] = []

    def take(content: bytes, framed: bytes) -> bool:
        came.append(content)
        return False

    whole = chunk(b"first") + chunk(b"second") + chunk(b"second") + chunk(b"third")
    at = len(chunk(b"first"))
    pouring = asyncio.ensure_future(response.pour(take))
    await asyncio.sleep(0)
    up.data_received(whole[:at])
    rest = at + len(between)
    for piece in (whole[at:rest], whole[rest:]):  # in the same turn
        if piece:
            up.data_received(piece)
    assert await pouring is True
    assert came == [b"first"]
    assert await response.pour(take) is True
    assert came == [b"first", b"secondsecondthird"]
    pouring = asyncio.ensure_future(response.pour(take))
    await asyncio.sleep(0)
    up.data_received(b"0\r\n\r\n")
    assert await pouring is False


@pytest.mark.parametrize("joined", [False, True])
async def test_what_the_taker_raises_is_raised_to_who_pours_and_nothing_is_lost(joined: bool) -> None:
    up, response = await streaming()

    def take(content: bytes, framed: bytes) -> bool:
        raise ZeroDivisionError(content)

    pouring = asyncio.ensure_future(response.pour(take))
    await asyncio.sleep(0)
    up.data_received(chunk(b"a") + chunk(b"b") if joined else chunk(b"ab"))
    up.data_received(chunk(b"c"))
    with pytest.raises(ZeroDivisionError, match="ab"):
        await pouring
    assert await response.read() == b"c"


async def test_a_chunk_that_comes_while_its_taker_is_being_cancelled_breaks_nothing() -> None:
    up, response = await streaming()
    came: list[bytes] = []

    def take(content: bytes, framed: bytes) -> bool:
        came.append(content)
        return len(came) < 2

    for enough in (False, True):
        pouring = asyncio.ensure_future(response.pour(take))
        await asyncio.sleep(0)
        pouring.cancel()
        up.data_received(chunk(b"again" if enough else b"once"))
        with pytest.raises(asyncio.CancelledError):
            await pouring
    up.data_received(chunk(b"after"))
    left = await response.read()
    assert (b"".join(came) + left) == b"onceagainafter"
