"""Usage told late, twice or oddly, and clients that would rather not be counted: what the record says of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import both_ways, gateway, raw, request, split  # noqa: F401
from misbehaving import Misbehaving, nothing, ok

ROW = """
[providers.up]
base_url = "{url}/v1"
protocols = ["{protocol}"]
signing = "none"
models_path = ""
quirks = [{quirks}]
"""
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-completions": "/v1/completions",
    "anthropic-messages": "/v1/messages",
}
COUNTED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "estimated", "outcome")
SAID = {"index": 0, "delta": {"content": "x"}, "text": "x"}
DELTA = {"id": "c", "model": "n", "choices": [SAID]}
FINISH = {"id": "c", "model": "n", "choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
USED = {
    "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 20},
}  # fmt: skip
LATE = {"id": "c", "model": "n", "choices": [], "usage": USED}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
END = b"data: [DONE]\n\n"


def event(content: dict[str, Any]) -> bytes:
    named = f"event: {content['type']}\n" if "type" in content else ""
    return f"{named}data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()


def sse(*events: dict[str, Any] | bytes) -> bytes:
    body = b"".join(each if isinstance(each, bytes) else event(each) for each in events)
    return ok(body, b"content-type: text/event-stream")


def asking(protocol: str, options: str = "", *, stream: bool = True) -> bytes:
    """What a client of this protocol asks. `options`: more fields, as they are spelt."""
    asked = '"prompt":"a"' if protocol == "openai-completions" else '"messages":[{"role":"user","content":"a"}]'
    text = f'{{"model":"up/m","max_tokens":9,"stream":{json.dumps(stream)},{asked}{"," * bool(options)}{options}}}'
    return request(PATHS[protocol], text.encode())


async def ask(
    folder: Path, provider: Misbehaving, client: str, options: str = "", *, speaks: str | None = None, quirks: str = ""
) -> tuple[int, bytes, list[dict[str, Any]]]:
    """Status and body that the client gets, and the attempts that were written down."""
    row = ROW.format(url=provider.url, protocol=speaks or client, quirks=quirks)
    async with gateway(folder, row) as running:
        status, _, body = split(await raw(running.port, asking(client, options)))
        return status, body, await running.rows("attempts")


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (attempt,) = rows
    return {name: attempt[name] for name in COUNTED}


TOLD = dict(zip(COUNTED, (100, 50, 30, 20, 0, "ok"), strict=True))


@pytest.mark.parametrize("client", ["openai-chat", "openai-completions", "anthropic-messages"])
@pytest.mark.parametrize(
    "content",
    [
        [DELTA, FINISH, LATE, END],
        [DELTA, FINISH, LATE],
        [DELTA, FINISH, {"usage": USED}, END],
        [DELTA, {**FINISH, "usage": USED}],
        [{**DELTA, "usage": USED}, FINISH, END],
        [{**DELTA, "usage": {**ZERO, "prompt_tokens": 100}}, DELTA, {**FINISH, "usage": None}, LATE, END],
        [DELTA, FINISH, LATE, {**LATE, "usage": ZERO}, END],
        [DELTA, FINISH, {**LATE, "usage": None, "x_groq": {"usage": USED}}, END],
        [DELTA, FINISH, LATE, b"data: [DONE]"],
        [DELTA, FINISH, event(LATE).rstrip()],
    ],
)
async def test_late_usage_is_written_down(tmp_path: Path, client: str, content: list[dict[str, Any] | bytes]) -> None:
    speaks = "openai-chat" if client == "anthropic-messages" else client
    async with Misbehaving(sse(*content)) as provider:
        status, body, rows = await ask(tmp_path, provider, client, speaks=speaks)
    assert status == 200, body
    assert counted(rows) == TOLD


def message(*usages: Any, stop: bool = True) -> bytes:
    first, *rest = usages
    return sse(
        {"type": "message_start", "message": {"id": "m", "model": "n", "content": [], "usage": first}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        *[{"type": "message_delta", "delta": {}, "usage": each} for each in rest],
        *([{"type": "message_stop"}] if stop else []),
    )


OPENED = {"input_tokens": 70, "cache_read_input_tokens": 30, "output_tokens": 1}
CLOSED = {"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 20}}


@pytest.mark.parametrize("client", ["anthropic-messages", "openai-chat"])
@pytest.mark.parametrize(
    "answer",
    [
        message(OPENED, CLOSED),
        message(OPENED, CLOSED, stop=False),
        message(OPENED, {"output_tokens": 25}, CLOSED),
        message(OPENED, {**CLOSED, "input_tokens": 0, "cache_read_input_tokens": 0}),
        message(None, {**OPENED, **CLOSED}),
        message({"input_tokens": "many", "output_tokens": -1}, {**OPENED, "input_tokens": 70.0}, CLOSED),
    ],
)
async def test_the_last_usage_of_a_message_is_written_down(tmp_path: Path, client: str, answer: bytes) -> None:
    async with Misbehaving(answer) as provider:
        status, body, rows = await ask(tmp_path, provider, client, speaks="anthropic-messages")
    assert status == 200, body
    assert counted(rows) == TOLD


@pytest.mark.parametrize("client", ["openai-chat", "anthropic-messages"])
async def test_usage_told_before_a_stream_broke_is_written_down(tmp_path: Path, client: str) -> None:
    told = sse({**DELTA, "usage": USED})
    cut = told.replace(b"content-length: ", b"content-length: 9")  # more was promised than comes
    async with Misbehaving([cut], close=True) as provider:
        status, body, rows = await ask(tmp_path, provider, client, speaks="openai-chat")
    assert status == 200
    assert b"error" in body
    assert counted(rows)["outcome"] == "failed"
    assert (counted(rows)["input_tokens"], counted(rows)["cached_tokens"]) == (100, 30)
    assert counted(rows)["output_tokens"] >= 50


@pytest.mark.parametrize("used", ["", "null", "{}", "[]", '"x"', "7", '{"prompt_tokens":null,"completion_tokens":"x"}'])
@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_says_nothing_is_estimated(tmp_path: Path, used: str, stream: bool) -> None:
    more = f',"usage":{used}' if used else ""
    choice = '{"index":0,"delta":{"content":"x"},"message":{"content":"x"},"finish_reason":"stop"}'
    answer = f'{{"id":"c","model":"n","choices":[{choice}]{more}}}'.encode()
    reply = sse(b"data: %b\n\n" % answer, END) if stream else ok(answer, b"content-type: application/json")
    async with Misbehaving(reply) as provider:
        async with gateway(tmp_path, ROW.format(url=provider.url, protocol="openai-chat", quirks="")) as running:
            status, _, body = split(await raw(running.port, asking("openai-chat", stream=stream)))
            (attempt,) = await running.rows("attempts")
    assert status == 200, body
    assert attempt["estimated"]
    assert attempt["input_tokens"] > 0


EVASIONS = [
    "",
    '"stream_options":null',
    '"stream_options":{}',
    '"stream_options":{"include_usage":false}',
    '"stream_options":{"include_usage":null}',
    '"stream_options":{"include_usage":false,"continuous_usage_stats":true}',
    '"stream_options":{"include_usage":false},"stream_options":{}',
    '"stream_options":{"include_usage":true},"stream_options":{"include_usage":false}',
    '"stream_options":{"include_usage":true,"include_usage":false}',
    '"stream_options":{"include_usage":false,"include_usage":true}',
    '"stream_options":{"include_\\u0075sage":false}',
    '"stream_opti\\u006fns":{"include_usage":false}',
]


@pytest.mark.parametrize("client", ["openai-chat", "openai-completions", "anthropic-messages"])
@pytest.mark.parametrize("options", EVASIONS)
async def test_a_client_is_counted_whatever_it_asks(tmp_path: Path, client: str, options: str) -> None:
    speaks = "openai-chat" if client == "anthropic-messages" else client
    async with Misbehaving(sse(DELTA, FINISH, LATE, END)) as provider:
        status, body, rows = await ask(tmp_path, provider, client, options, speaks=speaks)
        asked = json.loads(provider.requests[0].partition(b"\r\n\r\n")[2], object_pairs_hook=list)
    assert status == 200, body
    assert counted(rows) == TOLD
    (told,) = [value for name, value in asked if name == "stream_options"]
    assert [value for name, value in told if name == "include_usage"] == [True]
    assert ("continuous_usage_stats", True) in map(tuple, told) or "continuous" not in options or client != speaks
    wants = options.endswith('"include_usage":true}')
    if client == speaks:
        assert (b'"usage":{' in body) is wants


@pytest.mark.parametrize("client", ["openai-chat", "openai-completions"])
@pytest.mark.parametrize(
    "options",
    [
        '"stream_options":[]',
        '"stream_options":[{"include_usage":false}]',
        '"stream_options":"include_usage"',
        '"stream_options":{"include_usage":0}',
        '"stream_options":{"include_usage":true,"INCLUDE_USAGE":false}',
        '"Stream_Options":{"include_usage":false}',
        '"stream_options":{"include_usage":true},"STREAM_OPTIONS":{"include_usage":false}',
        '"\\u017ftream_options":{"include_usage":false}',
    ],
)
async def test_what_a_provider_might_read_otherwise_never_goes_up(tmp_path: Path, client: str, options: str) -> None:
    async with Misbehaving(nothing) as provider:
        status, body, rows = await ask(tmp_path, provider, client, options)
        assert provider.requests == []
    assert status == 400, body
    assert rows == []


async def test_a_row_that_refuses_the_question_is_not_asked(tmp_path: Path) -> None:
    async with Misbehaving(sse(DELTA, {**FINISH, "usage": USED}, END)) as provider:
        status, body, rows = await ask(tmp_path, provider, "openai-chat", quirks='"no_stream_options"')
        assert b"stream_options" not in provider.requests[0]
    assert status == 200, body
    assert counted(rows) == TOLD
