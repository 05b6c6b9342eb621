"""How connections are shared, waited for, given back and given up."""

import asyncio
import multiprocessing
import socket
from contextlib import suppress

import pytest
from msgspec import structs

from fairlead.errors import ConnectFailed, ShuttingDown, UpstreamBroken, UpstreamTimeout
from fairlead.upstream import Timeouts
from fairlead.upstream.pool import Pool
from misbehaving import Misbehaving, asked, asking, flood, never_reading, nothing, ok, reset, whole

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def opened(pool, server):
    """`pool` with one idle connection to `server`."""
    await asked(pool, asking(server.url))
    assert pool.idle_connections == 1


async def test_a_connection_whose_answer_was_read_serves_the_next_request(pool):
    async with Misbehaving(ok()) as server:
        for _ in range(5):
            response, _ = await asked(pool, asking(server.url))
            assert response.sends == 1
        assert (server.connections, pool.open_connections, pool.idle_connections) == (1, 1, 1)


async def test_the_connection_used_last_is_used_next(pool):
    async with Misbehaving(ok()) as server:
        await asyncio.gather(*(asked(pool, asking(server.url)) for _ in range(3)))
        idle = next(iter(pool._origins.values())).idle
        last = idle[-1]
        for _ in range(3):
            await asked(pool, asking(server.url))
            assert idle[-1] is last


@pytest.mark.parametrize(
    "headers", [[b"connection: close"], [b"keep-alive: timeout=1"], [b"keep-alive: timeout=9, max=0"]]
)
async def test_a_connection_that_upstream_will_not_keep_is_not_reused(pool, headers):
    async with Misbehaving(ok(b"hello", *headers)) as server:
        await asked(pool, asking(server.url))
        assert pool.open_connections == 0
        await asked(pool, asking(server.url))
        assert server.connections == 2


@pytest.mark.parametrize("limits", [{"idle_seconds": 0.1}, {"max_age_seconds": 0.1}])
async def test_an_idle_connection_is_closed_when_its_time_is_over(limits):
    pool = Pool(**limits)
    async with Misbehaving(ok()) as server:
        await opened(pool, server)
        await server.until(lambda server: server.open == 0)
        assert pool.open_connections == 0
    await pool.aclose()


async def test_an_announced_keep_alive_replaces_our_own():
    pool = Pool(idle_seconds=0)
    async with Misbehaving(ok(b"hello", b"keep-alive: timeout=60")) as server:
        await opened(pool, server)
        await asked(pool, asking(server.url))
        assert server.connections == 1
    await pool.aclose()


async def test_whoever_waits_is_served_in_order():
    pool, order, gate = Pool(max_connections_per_origin=2), [], asyncio.Event()

    async def gated(reader, writer):
        await gate.wait()
        writer.write(ok())

    async def one(number):
        await asked(pool, asking(server.url, b"%d" % number))
        order.append(number)

    async with Misbehaving(gated) as server:
        tasks = []
        for number in range(12):
            tasks.append(asyncio.create_task(one(number)))
            await asyncio.sleep(0)
        await server.until(lambda server: len(server.requests) == 2)
        gate.set()
        await asyncio.gather(*tasks)
        sent = [int(request.rpartition(b"\r\n\r\n")[2]) for request in server.requests]
        assert sorted(order) == list(range(12))
        assert all(abs(number - place) <= 1 for place, number in enumerate(sent))
        assert server.connections == 2
    await pool.aclose()


async def test_waiting_in_line_counts_as_connecting_and_loses_no_place():
    pool = Pool(max_connections_per_origin=1)
    async with Misbehaving(nothing, ok()) as server:
        first = asyncio.create_task(pool.send(asking(server.url)))
        await server.until(lambda server: len(server.requests) == 1)
        with pytest.raises(UpstreamTimeout) as caught:
            await pool.send(asking(server.url, timeouts=Timeouts(connect=0.1)))
        assert caught.value.phase == "connect"
        assert not caught.value.outcome_unknown
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        await asked(pool, asking(server.url))
        assert pool.open_connections == 1
    await pool.aclose()


@pytest.mark.parametrize("turns", range(12))
async def test_a_call_cancelled_at_any_point_leaves_no_place_taken(turns):
    pool = Pool(max_connections_per_origin=1)
    async with Misbehaving(ok()) as server:
        for _ in range(3):
            tasks = [asyncio.create_task(asked(pool, asking(server.url))) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert tasks[2].exception() is None
            assert pool.open_connections == pool.idle_connections <= 1
        await pool.aclose()
        await server.until(lambda server: server.open == 0)


async def test_a_hang_up_reaches_the_upstream_at_once(pool, monkeypatch):
    monkeypatch.setattr("fairlead.upstream.connection._MAX_DRAIN_SECONDS", 60.0)

    async def talking(reader, writer):
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await reader.read()

    async with Misbehaving(talking, talking, nothing) as server:
        for _ in range(2):
            response = await pool.send(asking(server.url))
            assert await response.read() == b"hello"
            response.close()
            response.close()
            assert pool.open_connections == 0
            await server.until(lambda server: server.open == 0)
        waiting = asyncio.create_task(pool.send(asking(server.url)))
        await server.until(lambda server: len(server.requests) == 3)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert pool.open_connections == 0
        await server.until(lambda server: server.open == 0)


async def test_an_answer_whose_end_mark_was_seen_drains_and_its_connection_serves_again(pool):
    more = asyncio.Event()

    async def late_end(reader, writer):
        writer.write(CHUNKED + b"6\r\n[DONE]\r\n")
        await more.wait()
        writer.write(b"2\r\n\n\n\r\n0\r\n\r\n")

    async with Misbehaving(late_end) as server:
        response = await pool.send(asking(server.url))
        assert await response.read() == b"[DONE]"
        response.close(ended=True)
        assert pool.idle_connections == 0
        more.set()
        async with asyncio.timeout(20):
            while not pool.idle_connections:  # noqa: ASYNC110  # there is no event, and no task of ours
                await asyncio.sleep(0)
        await asked(pool, asking(server.url))
        assert server.connections == 1


@pytest.mark.parametrize(("rest", "seconds"), [(b"", 0.1), (b"20000\r\n" + b"x" * 0x20000, 60.0)])
async def test_an_answer_that_does_not_end_after_its_end_mark_is_closed(pool, monkeypatch, rest, seconds):
    monkeypatch.setattr("fairlead.upstream.connection._MAX_DRAIN_SECONDS", seconds)

    async def endless(reader, writer):
        writer.write(CHUNKED + b"6\r\n[DONE]\r\n")
        await writer.drain()
        await draining.wait()
        writer.write(rest)
        await reader.read()

    draining = asyncio.Event()
    async with Misbehaving(endless) as server:
        response = await pool.send(asking(server.url))
        assert await response.read() == b"[DONE]"
        response.close(ended=True)
        draining.set()
        await server.until(lambda server: server.open == 0)
        assert pool.open_connections == 0


async def test_a_request_on_a_connection_gone_stale_is_sent_once_more(pool):
    async with Misbehaving(ok(), reset, ok(b"again")) as server:
        await opened(pool, server)
        response, body = await asked(pool, asking(server.url))
        assert (body, response.sends, server.connections) == (b"again", 2, 2)


async def test_a_request_that_is_sent_once_more_may_have_another_head(pool):
    async with Misbehaving(ok(), reset, ok(b"again")) as server:
        await opened(pool, server)
        request = asking(server.url)
        await asked(pool, structs.replace(request, resent_head=request.head + b"x-send: 2\r\n"))
        assert [b"x-send: 2\r\n" in told for told in server.requests] == [False, False, True]


async def test_a_request_is_not_sent_a_third_time(pool):
    async with Misbehaving(ok(), reset, reset, ok()) as server:
        await opened(pool, server)
        with pytest.raises(UpstreamBroken) as caught:
            await pool.send(asking(server.url))
        assert caught.value.outcome_unknown
        assert len(server.requests) == 3
        assert pool.open_connections == 0


async def test_a_new_connection_that_closes_is_not_tried_again(pool):
    async with Misbehaving(reset) as server:
        with pytest.raises(UpstreamBroken) as caught:
            await pool.send(asking(server.url))
        assert caught.value.outcome_unknown
        assert len(server.requests) == 1


async def test_nothing_is_sent_again_once_a_byte_of_an_answer_came(pool):
    async def one_byte(reader, writer):
        writer.write(b"H")
        await writer.drain()
        writer.close()

    async with Misbehaving(ok(), one_byte, ok()) as server:
        await opened(pool, server)
        with pytest.raises(UpstreamBroken, match="cut off"):
            await pool.send(asking(server.url))
        assert len(server.requests) == 2


async def test_nothing_is_sent_again_when_the_close_comes_late(pool):
    async def late(reader, writer):
        await asyncio.sleep(1.1)
        writer.transport.abort()

    async with Misbehaving(ok(), late, ok()) as server:
        await opened(pool, server)
        with pytest.raises(UpstreamBroken) as caught:
            await pool.send(asking(server.url))
        assert caught.value.outcome_unknown
        assert len(server.requests) == 2


async def test_a_refused_connection_says_so(pool):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            await pool.send(asking(f"http://127.0.0.1:{bound.getsockname()[1]}"))
    assert caught.value.retryable
    assert pool.open_connections == 0


async def test_after_closing_nothing_is_sent_and_what_waits_hears_of_it():
    pool = Pool(max_connections_per_origin=1)
    async with Misbehaving(nothing) as server:
        first = asyncio.create_task(pool.send(asking(server.url)))
        await server.until(lambda server: len(server.requests) == 1)
        second = asyncio.create_task(pool.send(asking(server.url)))
        await asyncio.sleep(0)
        await pool.aclose()
        sent, unsent = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(sent, ShuttingDown)
        assert not sent.retryable
        assert isinstance(unsent, ShuttingDown)
        assert unsent.retryable
        with pytest.raises(ShuttingDown):
            await pool.send(asking(server.url))
        await server.until(lambda server: server.open == 0)


def test_a_gibibyte_that_nobody_reads_stays_where_it_is():
    spawn = multiprocessing.get_context("spawn")
    upstream, there = spawn.Pipe()
    server = spawn.Process(target=flood, args=(there,), daemon=True)
    server.start()
    there.close()
    client, there = spawn.Pipe()
    reader = spawn.Process(target=never_reading, args=(there, upstream.recv()), daemon=True)
    reader.start()
    there.close()  # should the process die, `recv` says so instead of waiting
    assert client.recv() < 2 << 20
    upstream.send("how much")
    assert upstream.recv() < 64 << 20  # what fits into the buffers of two sockets
    for process in (reader, server):
        process.join(5)


async def test_a_reader_that_comes_back_gets_every_byte(pool):
    body = bytes(range(256)) * 40_000
    async with Misbehaving(ok(body)) as server:
        response = await pool.send(asking(server.url))
        first = await response.read()
        await asyncio.sleep(0.05)
        assert first + await whole(response) == body
        assert pool.idle_connections == 1
