"""What an endpoint of another format is told: limits of tokens, and large requests, over real sockets."""

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from gateway import both_ways, gateway, raw, request, split  # noqa: F401
from misbehaving import Misbehaving, ok

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/up/m:generateContent"
CLAUDE = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "seen"}],
    "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
OPENAI = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "seen"}, "finish_reason": "stop"}],
}  # fmt: skip
ANSWERS: dict[str, Any] = {"anthropic-messages": CLAUDE, "openai-chat": OPENAI}
PROVIDER = '[providers.up]\nbase_url = "{url}"\nprotocols = ["{protocol}"]\nsigning = "none"\nmodels_path = ""\n'


async def told(folder: Path, path: str, protocol: str, body: dict[str, Any], config: str = "") -> dict[str, Any]:
    """What a provider that speaks `protocol` is told of `body`; it answers, and so does the gateway."""
    async with Misbehaving(ok(json.dumps(ANSWERS[protocol]).encode(), b"content-type: application/json")) as server:
        async with gateway(folder, PROVIDER.format(url=server.url, protocol=protocol) + config) as running:
            sent = {"model": "up/m", **body} if path != GEMINI else body
            status, _, answer = split(await raw(running.port, request(path, json.dumps(sent).encode())))
            assert (status, b"seen" in answer) == (200, True), answer[:300]
            assert running.house.pipeline.buffers.held == 0
        (asked,) = server.requests
        found: dict[str, Any] = json.loads(asked.partition(b"\r\n\r\n")[2])
        return found


HI = [{"role": "user", "content": "hi"}]
SAID: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HI}, RESPONSES: {"input": "hi"}, MESSAGES: {"messages": HI, "max_tokens": 50},
    GEMINI: {"contents": [{"parts": [{"text": "hi"}]}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "protocol", "fields", "config", "limit"),
    [
        (CHAT, "anthropic-messages", {}, "", 4096),
        (CHAT, "anthropic-messages", {}, "[defaults]\nmax_tokens = 70\n", 70),
        (CHAT, "anthropic-messages", {}, "[policy]\nmax_tokens = 100\n", 100),
        (CHAT, "anthropic-messages", {"max_tokens": 60}, "[policy]\nmax_tokens = 100\n", 60),
        # It stands in for a limit wherever the client set none: a default is only for formats that want a number.
        (CHAT, "anthropic-messages", {}, "[policy]\nmax_tokens = 100\n[defaults]\nmax_tokens = 70\n", 100),
        (RESPONSES, "openai-chat", {}, "", None),
        (RESPONSES, "openai-chat", {}, "[defaults]\nmax_tokens = 70\n", None),
        (RESPONSES, "openai-chat", {}, "[policy]\nmax_tokens = 100\n", 100),
        (GEMINI, "openai-chat", {}, "[policy]\nmax_tokens = 100\n", 100),
        (GEMINI, "anthropic-messages", {}, "[policy]\nmax_tokens = 9000\n", 9000),
        (MESSAGES, "openai-chat", {}, "[policy]\nmax_tokens = 100\n", 50),
    ],
)
async def test_a_policys_limit_of_tokens_reaches_the_provider(
    tmp_path: Path, path: str, protocol: str, fields: dict[str, Any], config: str, limit: int | None
) -> None:
    assert (await told(tmp_path, path, protocol, {**SAID[path], **fields}, config)).get("max_tokens") == limit


@pytest.mark.parametrize(("most", "limit"), [("", 4096), ("[policy]\nmax_tokens = 100\n", 100)])
async def test_where_bytes_pass_a_format_that_wants_a_number_gets_no_more_than_the_policys(
    tmp_path: Path, most: str, limit: int
) -> None:
    assert (await told(tmp_path, MESSAGES, "anthropic-messages", {"messages": HI}, most))["max_tokens"] == limit
    assert "max_tokens" not in await told(tmp_path, CHAT, "openai-chat", {"messages": HI}, most)


PICTURE = base64.b64encode(bytes(range(256)) * 13_000).decode()  # 4.4 MB
LONG = "Why is the sky blue? " * 20_000  # 420 kB


def large(path: str, size: str) -> dict[str, Any]:
    """A request with a large picture or a long text."""
    image: dict[str, Any] | None = None
    text = {"type": "input_text" if path == RESPONSES else "text", "text": LONG if size == "text" else "hi"}
    match path:
        case "/v1/chat/completions":
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
        case "/v1/responses":
            image = {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}
        case "/v1/messages":
            image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
        case _:
            image = {"inlineData": {"mimeType": "image/png", "data": PICTURE}}
            parts = [{"text": text["text"]}, *([image] if size == "picture" else [])]
            return {"contents": [{"role": "user", "parts": parts}]}
    content = [text, *([image] if size == "picture" else [])]
    field = "input" if path == RESPONSES else "messages"
    return {**SAID[path], field: [{"role": "user", "content": content}]}


@pytest.mark.parametrize("size", ["picture", "text"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GEMINI])
async def test_large_requests_are_told_whole_and_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, size: str
) -> None:
    """More than 256 KiB is decoded and spelt in a thread, more than 4 MiB also looked at in one."""
    protocol = "openai-chat" if path == MESSAGES else "anthropic-messages"
    kind = OpenAIChat if path == MESSAGES else AnthropicMessages
    spell, main = kind.encode_request, []

    def spelling(*args: Any, **named: Any) -> Any:
        main.append(threading.current_thread() is threading.main_thread())
        return spell(*args, **named)

    monkeypatch.setattr(kind, "encode_request", spelling)
    asked = json.dumps(await told(tmp_path, path, protocol, large(path, size)))
    assert (PICTURE if size == "picture" else LONG) in asked
    assert main == [False]


@pytest.mark.parametrize(("path", "protocol"), [(CHAT, "openai-chat"), (MESSAGES, "anthropic-messages")])
async def test_a_large_request_that_passes_is_looked_at_in_a_thread_and_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, protocol: str
) -> None:
    kind = OpenAIChat if path == CHAT else AnthropicMessages
    peek, main = kind.peek, []

    def peeking(*args: Any) -> Any:
        main.append(threading.current_thread() is threading.main_thread())
        return peek(*args)

    monkeypatch.setattr(kind, "peek", peeking)
    body = large(path, "picture")
    assert (await told(tmp_path, path, protocol, body))["messages"] == body["messages"]
    assert main == [False]
    await told(tmp_path, path, protocol, SAID[path])
    assert main == [False, True]


async def test_a_fault_of_a_large_request_is_named(tmp_path: Path) -> None:
    async with gateway(tmp_path, PROVIDER.format(url="http://127.0.0.1:9", protocol="anthropic-messages")) as running:
        body = large(CHAT, "picture")
        for messages, place in (
            ([*body["messages"], {"role": "wizard", "content": ""}], "messages[1].role"),
            ([*body["messages"], {"role": "user", "content": 7}], "messages[1].content"),
        ):
            sent = json.dumps({"model": "up/m", "messages": messages}).encode()
            status, _, answer = split(await raw(running.port, request(CHAT, sent)))
            assert (status, json.loads(answer)["error"]["param"]) == (400, place)
        assert running.house.pipeline.buffers.held == 0
