"""Chunks of a stream that go to the client framed as they came: whatever the upstream's framing and the client's, the
client gets chunks that can be read, and in them every event once and in its order."""

import asyncio
import json
import random
import socket
import zlib
from collections.abc import Coroutine
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme

from fairlead.http.exchange import Exchange
from gateway import both_ways, gateway, raw, request
from misbehaving import Misbehaving

__all__ = ["both_ways"]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%btransfer-encoding: chunked\r\n\r\n"
UP = '[providers.up]\nbase_url = "{url}/v1"\nprotocols = ["{protocol}"]\nsigning = "none"\nmodels_path = ""\n'
CHAT = [
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text
    for text in (b"One", b" two", b" three", b"\\n", b"", b" four", b"5" * 4100, "ü".encode(), b" six")
] + [
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n',
    b"data: [DONE]\n\n",
]
MESSAGES = [
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
    *(
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n' % text
        for text in (b"One", b" two", b" three", b"\\n", b"5" * 4100, b" six")
    ),
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":9}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
STREAMS = {
    "openai-chat": ("/v1/chat/completions", CHAT),
    "anthropic-messages": ("/v1/messages", MESSAGES),
}


def chunk(content: bytes, size: bytes = b"%x") -> bytes:
    return size % len(content) + b"\r\n" + content + b"\r\n"


def chunks(body: bytes) -> list[bytes]:
    """What is in the chunks of `body`, which is nothing else but them."""
    found, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        assert body[at:end] == b"%x" % size
        at = end + 2 + size
        assert body[at : at + 2] == b"\r\n"
        if not size:
            assert at + 2 == len(body)
            return found
        found.append(body[end + 2 : at])
        at += 2


def asking(path: str, **more: Any) -> bytes:
    body = {"model": "up/m", "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}
    return request(path, json.dumps(body).encode())


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What came to a client's connection with its framing."""
    came = []

    def watched(self: Exchange, data: bytes, framed: bytes = b"") -> Coroutine[Any, Any, None] | None:
        if framed:
            assert framed == chunk(data)
            came.append(data)
        return write(self, data, framed)

    write = Exchange.write
    monkeypatch.setattr(Exchange, "write", watched)
    return came


@pytest.mark.parametrize("protocol", STREAMS)
async def test_a_chunk_that_came_alone_goes_on_as_it_came(
    tmp_path: Path, protocol: str, framed: list[bytes], both_ways: str
) -> None:
    path, events = STREAMS[protocol]
    more: Any = {"stream_options": {"include_usage": True}} if protocol == "openai-chat" else {}
    async with Misbehaving([HEAD % b"", *map(chunk, events), b"0\r\n\r\n"]) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol=protocol)) as running:
            for _ in range(2):  # the second comes with a head that is known, over a connection that was used
                answer = await raw(running.port, asking(path, **more))
                head, _, body = answer.partition(b"\r\n\r\n")
                assert b"transfer-encoding: chunked" in head
                assert b"".join(chunks(body)) == b"".join(events)
    if both_ways == "direct":
        assert len(framed) >= 4
        assert set(framed) <= set(events)
    else:
        assert not framed


async def test_a_client_of_http_1_0_gets_no_chunks(tmp_path: Path) -> None:
    """https://www.rfc-editor.org/rfc/rfc9112#section-6.1"""
    async with Misbehaving([HEAD % b"", *map(chunk, CHAT), b"0\r\n\r\n"]) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol="openai-chat")) as running:
            asked = asking("/v1/chat/completions", stream_options={"include_usage": True})
            answer = await raw(running.port, asked.replace(b" HTTP/1.1", b" HTTP/1.0"))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert body == b"".join(CHAT)


async def test_usage_that_only_the_gateway_asked_for_is_in_no_chunk(tmp_path: Path) -> None:
    async with Misbehaving([HEAD % b"", *map(chunk, CHAT), b"0\r\n\r\n"]) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol="openai-chat")) as running:
            _, _, body = (await raw(running.port, asking("/v1/chat/completions"))).partition(b"\r\n\r\n")
            assert b"".join(chunks(body)) == b"".join(event for event in CHAT if b'"usage"' not in event)
            (attempt,) = await running.rows("attempts")
            assert (attempt["input_tokens"], attempt["output_tokens"]) == (3, 5)


async def test_of_a_translated_stream_nothing_goes_on_as_it_came(tmp_path: Path, framed: list[bytes]) -> None:
    async with Misbehaving([HEAD % b"", *map(chunk, CHAT), b"0\r\n\r\n"]) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol="openai-chat")) as running:
            _, _, body = (await raw(running.port, asking("/v1/messages"))).partition(b"\r\n\r\n")
            assert b"".join(chunks(body)).rstrip().endswith(b'data: {"type":"message_stop"}')
    assert not framed


async def test_a_compressed_stream_is_framed_anew(tmp_path: Path, framed: list[bytes]) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in CHAT] + [packer.flush()]
    async with Misbehaving([HEAD % b"content-encoding: gzip\r\n", *map(chunk, packed), b"0\r\n\r\n"]) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol="openai-chat")) as running:
            asked = asking("/v1/chat/completions", stream_options={"include_usage": True})
            _, _, body = (await raw(running.port, asked)).partition(b"\r\n\r\n")
            assert b"".join(chunks(body)) == b"".join(CHAT)
    assert not framed


async def test_over_tls_it_is_the_same(tmp_path: Path, framed: list[bytes], both_ways: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    async with Misbehaving([HEAD % b"", *map(chunk, CHAT), b"0\r\n\r\n"], certificate=certificate) as upstream:
        url = upstream.url.replace("http:", "https:")
        async with gateway(tmp_path, UP.format(url=url, protocol="openai-chat") + 'ca_file = "ca.pem"\n') as running:
            asked = asking("/v1/chat/completions", stream_options={"include_usage": True})
            _, _, body = (await raw(running.port, asked)).partition(b"\r\n\r\n")
            assert b"".join(chunks(body)) == b"".join(CHAT)
    assert bool(framed) == (both_ways == "direct")


async def test_signs_of_life_stand_between_chunks(tmp_path: Path) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await life.wait()
        for piece in (HEAD % b"", *map(chunk, CHAT), b"0\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    def lives(got: bytes) -> bool:
        if b": the model" in got:
            life.set()
        return got.endswith(b"\r\n0\r\n\r\n")

    life = asyncio.Event()
    async with Misbehaving(late) as upstream:
        config = UP.format(url=upstream.url, protocol="openai-chat")
        async with gateway(tmp_path, config, server="heartbeat_seconds = 0.1") as running:
            asked = asking("/v1/chat/completions", stream_options={"include_usage": True})
            _, _, body = (await raw(running.port, asked, until=lives)).partition(b"\r\n\r\n")
            told = [each for each in chunks(body) if not each.startswith(b": ")]
            assert len(told) < len(chunks(body))
            assert b"".join(told) == b"".join(CHAT)


@pytest.mark.parametrize("seed", range(4))
async def test_however_it_is_framed_and_cut_the_client_gets_chunks(
    tmp_path: Path, seed: int, framed: list[bytes], both_ways: str
) -> None:
    chance = random.Random(seed)
    protocol = chance.choice(list(STREAMS))
    path, events = STREAMS[protocol]
    more: Any = {"stream_options": {"include_usage": True}} if protocol == "openai-chat" else {}
    answers = [[HEAD % b"", *pieces(events, chance), b"0\r\n\r\n"] for _ in range(25)]
    async with Misbehaving(*answers) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol=protocol)) as running:
            for _ in answers:
                _, _, body = (await raw(running.port, asking(path, **more))).partition(b"\r\n\r\n")
                assert b"".join(chunks(body)) == b"".join(events)
    assert bool(framed) == (both_ways == "direct")


def pieces(events: list[bytes], chance: random.Random) -> list[bytes]:
    """`events`, mostly one in a chunk and a chunk in a piece; some chunks are spelt oddly, joined or torn."""
    whole, ends = b"", [0]
    for event in events:
        at = chance.choice([0] * 9 + [chance.randrange(len(event))])
        for content in filter(None, (event[:at], event[at:])):
            whole += chunk(content, chance.choice([b"%x"] * 7 + [b"%X", b"0%x", b"%x;a=b"]))
            ends.append(len(whole))
    cuts = {end for end in ends if chance.random() < 0.9} | {0, len(whole)}
    cuts |= {chance.randrange(len(whole)) for _ in range(chance.choice([0, 0, 1, 3]))}
    return [whole[begin:end] for begin, end in pairwise(sorted(cuts))]


async def test_a_stream_that_the_gateway_ends_has_no_gap(tmp_path: Path, framed: list[bytes], both_ways: str) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % b"")
        for number in count():
            writer.write(chunk(CHAT[0].replace(b"One", b"%d," % number)))
            await writer.drain()
            for _ in range(3):  # turns of the loop, in which the other side reads it
                await asyncio.sleep(0)

    def enough(got: bytes) -> bool:
        if b'"content":"20,"' in got and not stopped:
            stopped.append(True)
            running.server.drain()
            running.server.drain()
        return got.endswith(b"\r\n0\r\n\r\n")

    stopped: list[bool] = []
    async with Misbehaving(endless) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol="openai-chat")) as running:
            answer = await raw(running.port, asking("/v1/chat/completions"), until=enough)
            *told, last = [
                json.loads(each[6:]) for each in b"".join(chunks(answer.partition(b"\r\n\r\n")[2])).split(b"\n\n")[:-1]
            ]
            assert [each["choices"][0]["delta"]["content"] for each in told] == [f"{n}," for n in range(len(told))]
            assert last["error"]["code"] == "shutting_down"
            assert running.house.pipeline.buffers.held == 0
    assert bool(framed) == (both_ways == "direct")


async def test_a_client_that_reads_late_gets_all_in_order(tmp_path: Path, framed: list[bytes], both_ways: str) -> None:
    events = [CHAT[0].replace(b"One", b"%d," % number * 150) for number in range(6000)] + CHAT[-3:]
    async with Misbehaving([HEAD % b"", *map(chunk, events), b"0\r\n\r\n"]) as upstream:
        async with gateway(tmp_path, UP.format(url=upstream.url, protocol="openai-chat")) as running:
            with closing(socket.socket()) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", running.port))
                client.setblocking(False)
                reader, writer = await asyncio.open_connection(sock=client, limit=4096)
                writer.write(asking("/v1/chat/completions", stream_options={"include_usage": True}))
                async with asyncio.timeout(20):
                    await reader.readuntil(b"\r\n\r\n")
                    while not any(each.flow.write_paused for each in running.server._state.connections):  # noqa: ASYNC110  # nobody tells
                        await asyncio.sleep(0)
                    body = await reader.read(-1)
                writer.close()
    assert b"".join(chunks(body)) == b"".join(events)
    assert bool(framed) == (both_ways == "direct")
