"""What an answer may look like, what is refused, and how time runs out."""

import asyncio
import gzip
import os
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import UpstreamBroken, UpstreamTimeout
from fairlead.upstream import Timeouts
from fairlead.upstream.pool import Pool
from misbehaving import Misbehaving, asked, asking, byte_by_byte, nothing, ok, whole

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

GOOD = {
    "a length": (ok(), b"hello"),
    "no body": (ok(b""), b""),
    "chunks": (CHUNKED + b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\n\r\n", b"hello"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-Late: 1\r\nSet-Cookie: a\r\n\r\n", b"hello"),
    "interim answers": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + ok(), b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "nothing to say": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    "gzip": (ok(gzip.compress(b"hello"), b"content-encoding: gzip"), b"hello"),
    "gzip members": (ok(gzip.compress(b"hel") + gzip.compress(b"lo"), b"content-encoding: x-gzip"), b"hello"),
    "identity": (ok(b"hello", b"content-encoding: identity"), b"hello"),
    "empty gzip": (ok(b"", b"content-encoding: gzip"), b""),
    "an empty header": (ok(b"hello", b"x-empty:", b"x-more: 1"), b"hello"),
}

REFUSED = {
    "not HTTP": b"<html>Bad gateway</html>",
    "another protocol": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a later HTTP": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a short status": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": HEAD + b"Content-Length: 5, 6\r\n\r\nhello!",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "a signed length": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "a length beyond 64 bits": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a length beyond belief": HEAD + b"Content-Length: 9999999999999999\r\n\r\n",
    "an empty length": HEAD + b"Content-Length:\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a lookalike coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an unknown content-encoding": ok(b"hello", b"content-encoding: br"),
    "a folded header": HEAD + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a bare line feed": HEAD + b"X-A: b\nContent-Length: 0\r\n\r\n",
    "a bare carriage return": HEAD + b"X-A: b\rX-C: d\r\nContent-Length: 0\r\n\r\n",
    "line feeds only": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a zero byte": HEAD + b"X-A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "a header without colon": HEAD + b"nonsense\r\n\r\n",
    "a header without name": HEAD + b": nonsense\r\n\r\n",
    "a long header": HEAD + b"X-A: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "many headers": HEAD + b"X-A: b\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n",
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
    "a negative chunk": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk with bare line feeds": CHUNKED + b"3\nabc\n0\n\n",
    "a length after the body": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\nhello",
    "endless extensions": CHUNKED + b"3;" + b"e" * 1_000_000,
    "endless trailers": CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 100_000,
    "broken gzip": ok(b"hello", b"content-encoding: gzip"),
    "half a gzip": ok(gzip.compress(b"hello")[:-3], b"content-encoding: gzip"),
    "gzip and more": ok(gzip.compress(b"hello") + b"more", b"content-encoding: gzip"),
}

CUT = {
    "the length": (HEAD + b"Content-Length: 9\r\n\r\nhello", b"hello"),
    "the chunks": (CHUNKED + b"5\r\nhello\r\n", b"hello"),
    "a chunk": (CHUNKED + b"9\r\nhello", b"hello"),
    "the trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-A: b\r\n", b"hello"),
    "the head": (HEAD + b"Content-Le", b""),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("cut", [list, byte_by_byte], ids=["whole", "byte by byte"])
async def test_an_answer_is_the_same_however_it_comes(pool, name, cut):
    raw, body = GOOD[name]
    async with Misbehaving(cut(raw) if cut is byte_by_byte else raw) as server:
        for _ in range(3):
            response, got = await asked(pool, asking(server.url))
            assert got == body
            assert b"x-late" not in response.headers
            assert b"link" not in response.headers
            assert await response.read() == b""
        assert server.connections == (3 if "1.0" in name else 1)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("cut", [list, byte_by_byte], ids=["whole", "byte by byte"])
async def test_a_shape_that_could_smuggle_or_flood_is_refused_and_the_connection_closed(pool, name, cut):
    raw = REFUSED[name]
    if cut is byte_by_byte and len(raw) > 1000:
        pieces = [raw[at : at + 1000] for at in range(0, len(raw), 1000)]
    else:
        pieces = byte_by_byte(raw) if cut is byte_by_byte else [raw]
    async with Misbehaving(pieces) as server:
        with pytest.raises(UpstreamBroken) as caught:
            await asked(pool, asking(server.url))
        assert caught.value.message
        assert caught.value.outcome_unknown
        if "gzip" not in name:
            assert pool.open_connections == 0
            await server.until(lambda server: server.open == 0)


@pytest.mark.parametrize("name", CUT)
async def test_a_truncated_answer_gives_what_came_and_then_says_that_it_was_cut_off(pool, name):
    raw, came = CUT[name]
    async with Misbehaving(raw, close=True) as server:
        got: list[bytes] = []
        with pytest.raises(UpstreamBroken, match="cut off") as caught:
            await read_into(got, pool, asking(server.url))
        assert b"".join(got) == came
        assert caught.value.outcome_unknown
        assert pool.open_connections == 0


async def read_into(chunks, pool, request):
    response = await pool.send(request)
    while chunk := await response.read():
        chunks.append(chunk)


async def test_a_body_without_length_ends_with_the_connection(pool):
    async with Misbehaving(HEAD + b"\r\nhello", close=True) as server:
        _, body = await asked(pool, asking(server.url))
        assert body == b"hello"
        assert pool.open_connections == 0


async def test_a_body_without_length_that_is_reset_was_cut_off(pool):
    async def half(reader, writer):
        writer.write(HEAD + b"\r\nhello")
        await writer.drain()
        await server.until(lambda _: seen.is_set())
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(1, 13, linger)  # SO_LINGER: close with a reset
        writer.transport.abort()

    seen = asyncio.Event()
    async with Misbehaving(half) as server:
        response = await pool.send(asking(server.url))
        assert await response.read() == b"hello"
        seen.set()
        async with server.changed:
            server.changed.notify_all()
        with pytest.raises(UpstreamBroken, match="cut off"):
            await response.read()


async def test_an_answer_to_HEAD_has_no_body_whatever_its_length_says(pool):
    async with Misbehaving(HEAD + b"Content-Length: 5\r\n\r\n") as server:
        response, body = await asked(pool, asking(server.url, b"", start=b"HEAD /"))
        assert (response.headers[b"content-length"], body) == (b"5", b"")
        assert server.requests[0].startswith(b"HEAD / HTTP/1.1\r\n")
        assert b"content-length" not in server.requests[0]


async def test_header_names_are_lower_case_and_of_equal_ones_the_first_counts(pool):
    async with Misbehaving(ok(b"", b"X-Request-ID: one", b"x-request-id: two")) as server:
        response = await pool.send(asking(server.url))
        assert response.headers == {b"x-request-id": b"one", b"content-length": b"0"}


async def test_what_follows_an_answer_is_never_taken_for_the_next_one(pool):
    split = ok() + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    async with Misbehaving(split) as server:
        for expected in (1, 2):
            _, body = await asked(pool, asking(server.url))
            assert body == b"hello"
            assert server.connections == expected


async def test_bytes_on_an_idle_connection_close_it(pool):
    async def late(reader, writer):
        writer.write(ok())
        await writer.drain()
        await server.until(lambda _: pool.idle_connections == 1)
        writer.write(ok(b"forged"))

    async with Misbehaving(late) as server:
        _, body = await asked(pool, asking(server.url))
        async with server.changed:
            server.changed.notify_all()
        await server.until(lambda server: server.open == 0)
        assert body == b"hello"
        assert pool.open_connections == 0


async def test_a_swelling_body_is_inflated_a_piece_at_a_time(pool):
    async with Misbehaving(ok(gzip.compress(b"\0" * 50_000_000), b"content-encoding: gzip")) as server:
        response = await pool.send(asking(server.url))
        pieces = [await response.read() for _ in range(100)]
        assert max(map(len, pieces)) <= 65536
        response.close()


async def test_a_compressed_stream_is_inflated_as_it_comes(pool):
    stream = zlib.compressobj(wbits=31)
    first = stream.compress(b"one") + stream.flush(zlib.Z_SYNC_FLUSH)
    last = stream.compress(b"two") + stream.flush()
    more = asyncio.Event()

    async def by_parts(reader, writer):
        writer.write(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(first + last) + first)
        await more.wait()
        writer.write(last)

    async with Misbehaving(by_parts) as server:
        response = await pool.send(asking(server.url))
        assert await response.read() == b"one"
        more.set()
        assert await whole(response) == b"two"


@pytest.mark.parametrize(
    ("phase", "timeouts", "answer"),
    [
        ("first_byte", Timeouts(first_byte=0.1), nothing),
        ("first_byte", Timeouts(first_byte=0.1), [HEAD]),
        ("first_byte", Timeouts(first_byte=0.1), [b"HTTP/1.1 100 Continue\r\n\r\n"]),
        ("silence", Timeouts(silence=0.1), [HEAD + b"content-length: 9\r\n\r\nhello"]),
        ("silence", Timeouts(first_byte=60, silence=0.1), [CHUNKED + b"5\r\nhello\r\n"]),
        ("total", Timeouts(total=0.1), nothing),
        ("total", Timeouts(total=0.1), [CHUNKED + b"5\r\nhello\r\n"]),
    ],
)
async def test_each_time_out_has_its_name(pool, phase, timeouts, answer):
    silent = [answer, nothing] if callable(answer) else [b"".join(answer)]
    async with Misbehaving(*silent) as server:
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout) as caught:
            await asked(pool, asking(server.url, timeouts=timeouts))
        assert (caught.value.phase, caught.value.seconds) == (phase, 0.1)
        assert caught.value.outcome_unknown
        assert time.monotonic() - began > 0.09
        assert pool.open_connections == 0


async def test_a_short_time_out_acts_on_a_connection_that_had_a_long_one(pool):
    async with Misbehaving(ok(), nothing) as server:
        await asked(pool, asking(server.url, timeouts=Timeouts(first_byte=60, silence=30)))
        async with asyncio.timeout(20):
            with pytest.raises(UpstreamTimeout) as caught:
                await asked(pool, asking(server.url, timeouts=Timeouts(first_byte=0.1, silence=30)))
        assert caught.value.phase == "first_byte"


async def test_a_stream_that_keeps_talking_outlives_the_time_out_for_silence(pool):
    async def talking(reader, writer):
        writer.write(CHUNKED)
        for _ in range(8):
            await asyncio.sleep(0.05)
            writer.write(b"1\r\nx\r\n")
        writer.write(b"0\r\n\r\n")

    async with Misbehaving(talking) as server:
        _, body = await asked(pool, asking(server.url, timeouts=Timeouts(silence=0.2)))
        assert body == b"x" * 8


async def test_a_reader_that_pauses_is_not_taken_for_a_silent_upstream(pool):
    size = 8_000_000
    async with Misbehaving(ok(b"x" * size)) as server:
        response = await pool.send(asking(server.url, timeouts=Timeouts(silence=0.1)))
        await asyncio.sleep(0.3)
        assert len(await whole(response)) == size


async def test_a_large_body_goes_up_whole(pool):
    body = os.urandom(5_000_000)
    async with Misbehaving(ok()) as server:
        await asked(pool, asking(server.url, body))
        assert server.requests[0].endswith(b"content-length: 5000000\r\n\r\n" + body)
        await asked(pool, asking(server.url, b""))
        assert server.requests[1].endswith(b"content-length: 0\r\n\r\n")
        assert server.connections == 1


@pytest.mark.parametrize("size", [100, 60_000, 5_000_000])
async def test_an_error_that_comes_before_the_request_is_wholly_sent_is_delivered(pool, size):
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with Misbehaving(refuse, read_request=False, close=True) as server:
        response, body = await asked(pool, asking(server.url, b"x" * size))
        assert (response.status, body) == (413, b"big")
        assert pool.open_connections == 0


@given(name=st.sampled_from(sorted(GOOD)), cuts=st.lists(st.integers(1, 400), max_size=8))
@settings(max_examples=60)
def test_any_split_of_an_answer_gives_the_same(name, cuts):
    raw, body = GOOD[name]
    places = sorted({cut for cut in cuts if cut < len(raw)})
    pieces = [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]

    async def exchange():
        pool = Pool()
        async with Misbehaving(pieces) as server:
            response, got = await asked(pool, asking(server.url))
        await pool.aclose()
        return response, got

    response, got = asyncio.run(exchange())
    assert got == body
    assert response.status == int(raw.rpartition(b"HTTP/1.")[2][2:5])
    assert all(name == name.lower() for name in response.headers)
