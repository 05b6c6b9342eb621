"""Requests and answers that are made of very many tiny things: they are refused before anything is built of them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import gateway, process, raw, request, split
from misbehaving import Misbehaving, nothing, ok
from serving import serving

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/up/m:generateContent"
PROVIDER = '[providers.up]\nbase_url = "{url}"\nprotocols = ["{protocol}"]\nsigning = "none"\nmodels_path = ""\n'
SIZE = 4_000_000
MOST_MEGABYTES = 60  # for all of them, one after the other; without a bound one takes up to 270

# Per client format: the field, what stands before the items, an item, what stands after them.
MANY = [
    (CHAT, "messages", b'{"model":"up/m","messages":[', b'{"role":"user"}', b"]}"),
    (CHAT, "messages", b'{"model":"up/m","messages":[{"role":"user","content":[', b'{"type":""}', b"]}]}"),
    (CHAT, "messages", b'{"model":"up/m","messages":[{"role":"assistant","tool_calls":[', b"{}", b"]}]}"),
    (CHAT, "tools", b'{"model":"up/m","messages":[{"role":"user"}],"tools":[', b'{"function":{"name":""}}', b"]}"),
    (CHAT, "stop", b'{"model":"up/m","messages":[{"role":"user"}],"stop":[', b'"a"', b"]}"),
    (RESPONSES, "input", b'{"model":"up/m","input":[', b"{}", b"]}"),
    (RESPONSES, "input", b'{"model":"up/m","input":[{"role":"user","content":[', b'{"type":""}', b"]}]}"),
    (RESPONSES, "tools", b'{"model":"up/m","input":"x","tools":[', b'{"name":"a"}', b"]}"),
    (MESSAGES, "messages", b'{"model":"up/m","max_tokens":5,"messages":[', b'{"role":"user","content":""}', b"]}"),
    (MESSAGES, "messages", b'{"model":"up/m","messages":[{"role":"user","content":[', b'{"type":""}', b"]}]}"),
    (MESSAGES, "tools", b'{"model":"up/m","messages":[{"role":"user"}],"tools":[', b'{"name":"a"}', b"]}"),
    (f"{MESSAGES}/count_tokens", "messages", b'{"model":"up/m","messages":[', b'{"role":"user","content":""}', b"]}"),
    (GEMINI, "contents", b'{"contents":[', b"{}", b"]}"),
    (GEMINI, "contents", b'{"contents":[{"parts":[', b"{}", b"]}]}"),
    (GEMINI, "tools", b'{"contents":[{}],"tools":[{"functionDeclarations":[', b'{"name":"a"}', b"]}]}"),
]


def filled(before: bytes, item: bytes, after: bytes, size: int = SIZE) -> bytes:
    return before + b",".join([item] * (size // (len(item) + 1))) + after


def peak(pid: int) -> float:
    """MB of memory, at most until now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def test_a_million_tiny_things_in_a_request_are_refused_by_name_and_cost_little(tmp_path: Path) -> None:
    async with serving() as url:
        config = PROVIDER.format(url=f"{url}/v2", protocol="cohere-chat")
        with process(tmp_path, config) as (started, address):
            port = int(address.rpartition(":")[2])
            few = b'{"model":"up/echo","messages":[{"role":"user","content":"x"}]}'
            assert split(await raw(port, request(CHAT, few)))[0] == 200
            before = peak(started.pid)
            for path, field, *spelt in MANY:
                status, _, body = split(await raw(port, request(path, filled(*spelt))))
                assert (status, f"'{field}' has too many items" in body.decode()) == (400, True), (path, body)
            assert peak(started.pid) - before < MOST_MEGABYTES


async def test_the_bound_is_the_configurations(tmp_path: Path) -> None:
    async with serving() as url:
        config = PROVIDER.format(url=f"{url}/v1", protocol="openai-chat")
        async with gateway(tmp_path, config, server="max_objects = 1000") as running:
            for count, expected in ((900, 200), (1001, 400)):
                turns = [{"role": "user", "content": "x"}] * count
                body = json.dumps({"model": "up/echo", "max_tokens": 5, "messages": turns}).encode()
                for path in (CHAT, MESSAGES):
                    status, _, told = split(await raw(running.port, request(path, body)))
                    assert status == expected, told
                    assert expected == 200 or b"at most 1000 objects and arrays and 10000 values" in told


async def test_what_requests_in_our_words_hold_counts_against_the_memory_of_all_calls(tmp_path: Path) -> None:
    """Many that are each within the bound wait for a provider: what is too much is 503, and all is given back."""
    turns = [{"role": "user", "content": "x"}] * 5000
    body = json.dumps({"model": "up/m", "max_tokens": 5, "messages": turns}).encode()
    async with Misbehaving(nothing) as server:
        config = PROVIDER.format(url=server.url, protocol="openai-chat")
        async with gateway(tmp_path, config, server="max_buffered_bytes = 10_000_000") as running:
            buffers = running.house.pipeline.buffers
            waiting = asyncio.create_task(raw(running.port, request(MESSAGES, body)))
            await server.until(lambda server: len(server.requests) == 1)
            assert buffers.held > 7_000_000 > 10 * len(body)
            status, _, told = split(await raw(running.port, request(MESSAGES, body)))
            assert status == 503, told
            waiting.cancel()
            await server.until(lambda server: server.open == 0)
            assert buffers.held == 0


def answers() -> Iterator[tuple[str, bytes]]:
    count = 1_000_000
    yield "openai-chat", filled(b'{"id":"c","choices":[{"message":{"tool_calls":[', b"{}", b"]}}]}", count)
    yield "openai-chat", filled(b'{"id":"c","choices":[', b"{}", b"]}", count)
    yield "anthropic-messages", filled(b'{"id":"m","content":[', b'{"type":"a"}', b"]}", 3 * count)
    yield "openai-responses", filled(b'{"id":"m","object":"response","output":[', b"{}", b"]}", count)
    yield "gemini", filled(b'{"candidates":[{"content":{"parts":[', b"{}", b"]}}]}", count)
    yield "cohere-chat", filled(b'{"id":"c","message":{"content":[', b"{}", b"]}}", count)


@pytest.mark.parametrize(("protocol", "answer"), list(answers()))
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_very_many_items_is_none(tmp_path: Path, protocol: str, answer: bytes, stream: bool) -> None:
    """Whole, or as one event."""
    kind = b"text/event-stream" if stream else b"application/json"
    sent = b"data: %b\n\n" % answer if stream else answer
    path = CHAT if protocol == "anthropic-messages" else MESSAGES
    asked = {"model": "up/m", "max_tokens": 5, "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    async with Misbehaving(ok(sent, b"content-type: " + kind)) as server:
        async with gateway(tmp_path, PROVIDER.format(url=server.url, protocol=protocol)) as running:
            status, _, told = split(await raw(running.port, request(path, json.dumps(asked).encode())))
            assert (status, b"up failed: its answer has too many items" in told) == (502, True), told[:300]
            assert running.house.pipeline.buffers.held == 0


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
async def test_a_stream_of_very_many_parts_ends_with_an_error(tmp_path: Path, path: str) -> None:
    chunk = (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"a","function":{"name":"b"}}]}}]}\n\n'
    )
    sent = b"".join(chunk % index for index in range(10_001))
    asked = {"model": "up/m", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    asked |= {"input": "x", "max_output_tokens": 5} if path == RESPONSES else {}
    async with Misbehaving(ok(sent, b"content-type: text/event-stream")) as server:
        async with gateway(tmp_path, PROVIDER.format(url=server.url, protocol="openai-chat")) as running:
            status, _, told = split(await raw(running.port, request(path, json.dumps(asked).encode())))
    assert status == 200
    assert b"up failed: its answer has more than 10000 parts" in told[-1000:]
