"""What a translated stream holds back counts against what the gateway may hold, and ends a stream that wants more."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway, both_ways, gateway, raw, request, split  # noqa: F401
from misbehaving import Misbehaving

MAY_HOLD = 100_000
UP = '[providers.up]\nbase_url = "{url}/v1"\nprotocols = ["{protocol}"]\nsigning = "none"\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def data(told: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def call(index: int, **function: str) -> bytes:
    """Of OpenAI: what is added to a tool's call."""
    delta = {"tool_calls": [{"index": index, "function": function}]}
    return data({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]})


def openai(size: int) -> Iterator[bytes]:
    """Two calls at once; the second, of `size` bytes, has to wait for the end of the first."""
    yield HEAD + call(0, name="f", arguments="{}") + call(1, name="g", arguments='{"a":"')
    for _ in range(size // 1000):
        yield call(1, arguments="x" * 1000)
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    yield call(1, arguments='"}') + data(end) + b"data: [DONE]\n\n"


def anthropic(size: int) -> Iterator[bytes]:
    """A block that only Anthropic knows, of `size` bytes, before anything else."""
    begin = {"type": "content_block_start", "index": 0, "content_block": {"type": "new", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 1000}}
    yield HEAD + data({"type": "message_start", "message": {"id": "m", "model": "m"}}) + data(begin)
    for _ in range(size // 1000):
        yield data(delta)
    yield data({"type": "content_block_stop", "index": 0})
    yield data({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}) + data({"type": "message_stop"})


async def ask(running: Gateway, path: str) -> tuple[int, bytes]:
    body = {"model": "up/m", "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    status, _, told = split(await raw(running.port, request(path, json.dumps(body).encode())))
    return status, told


@pytest.mark.parametrize("size", [10_000, 1_000_000])
async def test_a_part_that_waits_for_another_counts_until_it_is_told(tmp_path: Path, size: int) -> None:
    async with Misbehaving(list(openai(size)), close=True) as upstream:
        config = UP.format(url=upstream.url, protocol="openai-chat")
        async with gateway(tmp_path, config, server=f"max_buffered_bytes = {MAY_HOLD}") as running:
            status, told = await ask(running, "/v1/messages")
            assert status == 200
            assert (b"event: message_stop" in told, b"holds as much as it may" in told) == (
                size < MAY_HOLD,
                size > MAY_HOLD,
            )
            assert told.count(b"x" * 1000) == (10 if size < MAY_HOLD else 0)
            (row,) = await running.rows("calls")
            assert (row["outcome"], row["error_code"]) == (
                ("ok", None) if size < MAY_HOLD else ("failed", "service_unavailable")
            )
            assert running.house.pipeline.buffers.held == 0


@pytest.mark.parametrize("size", [10_000, 1_000_000])
async def test_what_is_gathered_before_any_content_counts_too(tmp_path: Path, size: int) -> None:
    async with Misbehaving(list(anthropic(size)), close=True) as upstream:
        config = UP.format(url=upstream.url, protocol="anthropic-messages")
        async with gateway(tmp_path, config, server=f"max_buffered_bytes = {MAY_HOLD}") as running:
            status, told = await ask(running, "/v1/chat/completions")
            assert (status, b"holds as much as it may" in told) == ((200, False) if size < MAY_HOLD else (503, True))
            assert running.house.pipeline.buffers.held == 0
