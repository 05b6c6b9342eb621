"""Paths that take calls, over sockets: responses, messages as Anthropic's SDK sends them, and who asks with HEAD."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import KEY, SIMULATOR, Gateway, both_ways, gateway, raw, request, split
from misbehaving import Misbehaving, ok

__all__ = ["both_ways"]

RESPONSES = ("/v1/responses", "/api/v1/responses")
WHOLE = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m-2026",
    "output": [
        {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}, "a_field_of_tomorrow": 1,
}  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as started:
        yield started


@asynccontextmanager
async def passing(folder: Path, protocol: str, answer: bytes) -> AsyncIterator[tuple[Gateway, Misbehaving]]:
    """A gateway before a provider that speaks `protocol` and always answers with `answer`."""
    async with Misbehaving(answer) as upstream:
        lab = f'[providers.lab]\nbase_url = "{upstream.url}/v1"\nprotocols = ["{protocol}"]\nsigning = "none"\n'
        async with gateway(folder, SIMULATOR + lab) as house:
            yield house, upstream


async def ask(house: Gateway, path: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    return split(await raw(house.port, request(path, json.dumps(fields).encode())))


def posted(upstream: Misbehaving) -> list[bytes]:
    """The calls among what was asked: models are listed, too."""
    return [sent for sent in upstream.requests if sent.startswith(b"POST ")]


def events_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(part.partition(b"data: ")[2]) for part in body.split(b"\n\n") if b"data: " in part]


# ---- responses


@pytest.mark.parametrize("path", RESPONSES)
async def test_a_response_passes_as_it_is(tmp_path: Path, path: str) -> None:
    told = json.dumps(WHOLE).encode()
    async with passing(tmp_path, "openai-responses", ok(told)) as (house, upstream):
        kept = {"previous_response_id": "resp_0", "store": True}
        status, _, body = await ask(house, path, model="lab/m", input="hi", **kept)
        assert (status, body) == (200, told)
        (sent,) = posted(upstream)
        assert sent.startswith(b"POST /v1/responses HTTP/1.1\r\n")
        assert json.loads(sent.partition(b"\r\n\r\n")[2]) == {"model": "m", "input": "hi", **kept}


async def test_a_stream_of_a_response_passes_as_it_is(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "sequence_number": 0, "response": {**WHOLE, "output": []}},
        {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0,
         "content_index": 0, "delta": "hello"},
        {"type": "response.something_of_tomorrow", "sequence_number": 2},
        {"type": "response.completed", "sequence_number": 3, "response": WHOLE},
    ]  # fmt: skip
    told = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    answer = ok(told, b"content-type: text/event-stream")
    async with passing(tmp_path, "openai-responses", answer) as (house, _):
        status, headers, body = await ask(house, "/v1/responses", model="lab/m", input="hi", stream=True)
        assert (status, headers["content-type"], body) == (200, "text/event-stream; charset=utf-8", told)
        (call,) = await house.rows("calls")
        assert (call["operation"], call["status"]) == ("responses", 200)


@pytest.mark.parametrize("path", RESPONSES)
async def test_a_response_of_another_format_is_translated(house: Gateway, path: str) -> None:
    status, _, body = await ask(house, path, model="sim/echo", input="hello there", instructions="Be brief.")
    whole = json.loads(body)
    assert (status, whole["object"], whole["status"]) == (200, "response", "completed")
    assert whole["output"][0]["content"][0]["text"] == "hello there"
    status, _, body = await ask(house, path, model="sim/echo", input="hello there", stream=True)
    events = events_of(body)
    assert (status, events[0]["type"], events[-1]["type"]) == (200, "response.created", "response.completed")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == "hello there"
    assert events[-1]["response"]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("path", RESPONSES)
async def test_errors_of_responses_are_told_as_openai_does(house: Gateway, path: str) -> None:
    for fields, expected, param in (
        ({"model": "sim/echo"}, 400, "input"),
        ({"model": "sim/echo", "input": 5}, 400, "input"),
        ({"model": "sim/echo", "input": [{"role": "robot", "content": "hi"}]}, 400, "input[0].role"),
        ({"model": "sim/echo", "input": "hi", "previous_response_id": "resp_0"}, 400, "previous_response_id"),
        ({"model": "nobody", "input": "hi"}, 404, "model"),
        ({"model": "sim/echo+status=429", "input": "hi"}, 429, None),
    ):
        for stream in (False, True):
            status, headers, body = await ask(house, path, **fields, stream=stream)
            error = json.loads(body)["error"]
            assert (status, error["param"], headers["content-type"]) == (expected, param, "application/json"), fields


async def test_a_response_that_fails_in_its_stream_says_so(house: Gateway) -> None:
    status, _, body = await ask(house, "/v1/responses", model="sim/echo+error=2", input="hello there", stream=True)
    *_, error, failed = events_of(body)
    assert (status, error["type"], failed["type"]) == (200, "error", "response.failed")
    assert failed["response"]["status"] == "failed"
    assert error["error"]["retryable"] in (True, False)


async def test_the_tokens_of_an_input_are_counted(house: Gateway) -> None:
    for path in RESPONSES:
        status, headers, body = await ask(house, f"{path}/input_tokens", model="sim/echo", input="hello there")
        told = json.loads(body)
        assert (status, told["object"]) == (200, "response.input_tokens")
        assert told["input_tokens"] > 0
        assert "x-fairlead-estimated" not in headers


async def test_where_no_provider_counts_the_number_is_an_estimate(tmp_path: Path) -> None:
    async with passing(tmp_path, "openai-chat", ok()) as (house, upstream):
        status, headers, body = await ask(house, "/v1/responses/input_tokens", model="lab/m", input="hello there")
        assert (status, headers["x-fairlead-estimated"]) == (200, "input_tokens")
        assert json.loads(body)["input_tokens"] > 0
        assert posted(upstream) == []


# ---- messages


async def test_messages_come_with_a_query_and_betas_as_the_sdk_sends_them(tmp_path: Path) -> None:
    told = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1},
    }  # fmt: skip
    body = json.dumps({"model": "lab/m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = (
        f"x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\nanthropic-beta: one,two\r\nanthropic-beta: three\r\n"
    )
    async with passing(tmp_path, "anthropic-messages", ok(json.dumps(told).encode())) as (house, upstream):
        asked = request("/v1/messages?beta=true", body, key=None, headers=headers)
        status, got, answer = split(await raw(house.port, asked))
        assert (status, json.loads(answer)) == (200, told)
        assert got["request-id"] == got["x-request-id"]
        (sent,) = posted(upstream)
        assert sent.startswith(b"POST /v1/messages HTTP/1.1\r\n")
        assert b"\r\nanthropic-beta: one,two, three\r\n" in sent
        assert b"\r\nanthropic-version: 2023-06-01\r\n" in sent


async def test_a_message_without_any_turn_has_no_tokens_to_count(house: Gateway) -> None:
    status, headers, body = await ask(house, "/v1/messages/count_tokens", model="sim/echo", messages=[])
    assert (status, json.loads(body)["error"]["param"]) == (400, "messages")
    assert headers["request-id"] == headers["x-request-id"]
    asked = [{"role": "user", "content": "hello there"}]
    status, _, body = await ask(house, "/v1/messages/count_tokens", model="sim/echo", messages=asked)
    assert status == 200
    assert json.loads(body)["input_tokens"] > 0


# ---- who is here


async def test_who_asks_with_head_is_told_that_somebody_is_here(house: Gateway) -> None:
    status, headers, body = split(await raw(house.port, request("/", method="HEAD", key=None)))
    assert (status, body) == (200, b"")
    whole = split(await raw(house.port, request("/", method="GET", key=None)))[2]
    assert headers["content-length"] == str(len(whole))


# ---- whole answers


async def test_a_whole_answer_ends_when_it_is_here(tmp_path: Path) -> None:
    async with gateway(tmp_path) as house:
        status, *_ = await ask(
            house, "/v1/chat/completions", model="sim/echo", messages=[{"role": "user", "content": "a"}]
        )
        (call,), (attempt,) = await house.rows("calls"), await house.rows("attempts")
        assert (status, call["outcome"], attempt["outcome"]) == (200, "ok", "ok")
        assert call["started_us"] <= attempt["started_us"] <= attempt["first_content_us"]
        ends = {row[name] for row in (call, attempt) for name in ("first_content_us", "ended_us")}
        assert len(ends) == 1


@pytest.mark.parametrize(("size", "status"), [(100, 200), (10_000, 200), (70_000, 503)])
async def test_a_small_answer_needs_no_room_of_all_that_is_held(tmp_path: Path, size: int, status: int) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x" * size}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    answer = ok(json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}).encode())

    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffers.limit = buffers.held
        writer.write(answer)

    async with Misbehaving(full) as upstream:
        up = f'[providers.up]\nbase_url = "{upstream.url}/v1"\nprotocols = ["openai-chat"]\nsigning = "none"\n'
        async with gateway(tmp_path, up + 'models_path = ""\n') as house:
            buffers = house.house.pipeline.buffers
            messages = [{"role": "user", "content": "a"}]
            found, _, body = await ask(house, "/v1/chat/completions", model="up/m", messages=messages)
            assert found == status
            assert (len(body) > size) == (status == 200)
            assert buffers.held == 0
