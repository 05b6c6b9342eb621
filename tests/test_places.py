"""What is wrong with a request is named as the client spelt it, whatever format its provider speaks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway, gateway, raw, request, split
from misbehaving import Misbehaving, ok

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/{model}:generateContent"
PROVIDERS = {
    "chat": "openai-chat", "claude": "anthropic-messages", "cohere": "cohere-chat", "ollama": "ollama-chat",
    "prompts": "openai-completions", "google": "gemini", "bedrock": "bedrock-converse",
}  # fmt: skip
CONFIG = "".join(
    f'[providers.{name}]\nbase_url = "URL"\nprotocols = ["{protocol}"]\nsigning = "none"\nmodels_path = ""\n'
    for name, protocol in PROVIDERS.items()
)
HI = "hi"
WAV, PNG = "UklGRg==", "iVBORw0KGgo="


def said(path: str, *turns: Any, **fields: Any) -> dict[str, Any]:
    name = {CHAT: "messages", RESPONSES: "input", MESSAGES: "messages", GEMINI: "contents"}[path]
    return {name: list(turns), **({"max_tokens": 9} if path == MESSAGES else {}), **fields}


def user(path: str, *parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts" if path == GEMINI else "content": list(parts)}


def text(path: str) -> dict[str, Any]:
    return {"text": HI} if path == GEMINI else {"type": "input_text" if path == RESPONSES else "text", "text": HI}


def sound(path: str) -> dict[str, Any]:
    if path == GEMINI:
        return {"inlineData": {"mimeType": "audio/wav", "data": WAV}}
    return {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}


def image(path: str, url: str) -> dict[str, Any]:
    match path:
        case "/v1/chat/completions":
            return {"type": "image_url", "image_url": {"url": url}}
        case "/v1/responses":
            return {"type": "input_image", "image_url": url}
        case "/v1/messages":
            return {"type": "image", "source": {"type": "url", "url": url}}
    return {"fileData": {"mimeType": "image/png", "fileUri": url}}


def answered(path: str, arguments: str) -> list[dict[str, Any]]:
    """A call of a tool, and its result, as items."""
    if path == CHAT:
        function = {"name": "f", "arguments": arguments}
        call = {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": function}]}
        return [call, {"role": "tool", "tool_call_id": "a", "content": HI}]
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": arguments}
    return [call, {"type": "function_call_output", "call_id": "a", "output": HI}]


def told_by_providers() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Path, provider, body and place: of what the provider's format cannot say."""
    items = {CHAT: "messages", RESPONSES: "input", GEMINI: "contents"}
    for path, name in items.items():
        turns = [user(path, text(path)), user(path, text(path), sound(path))]
        for provider in ("claude", "cohere", "ollama", "prompts"):
            yield path, provider, said(path, *turns), f"{name}[1]"
    for path in (CHAT, RESPONSES):
        for provider in ("claude", "google", "ollama", "bedrock"):
            turns = [user(path, text(path)), *answered(path, "none"), user(path, text(path))]
            yield path, provider, said(path, *turns), f"{items[path]}[1]"
    for path in (CHAT, RESPONSES, MESSAGES, GEMINI):
        name = items.get(path, "messages")
        turns = [user(path, text(path)), user(path, image(path, "http://127.0.0.1/a.png"))]
        yield path, "ollama", said(path, *turns), f"{name}[1]"
    many = [{"role": "assistant", "content": HI}, {"role": "assistant", "content": HI}]
    image_last = user(RESPONSES, image(RESPONSES, "http://127.0.0.1/a.png"))
    yield RESPONSES, "ollama", said(RESPONSES, user(RESPONSES, text(RESPONSES)), *many, image_last), "input[3]"
    result = {"type": "tool_result", "tool_use_id": "a", "content": [image(MESSAGES, "http://127.0.0.1/a.png")]}
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}
    yield MESSAGES, "ollama", said(MESSAGES, user(MESSAGES, text(MESSAGES)), use, user(MESSAGES, result)), "messages[2]"
    yield MESSAGES, "prompts", said(MESSAGES, user(MESSAGES, text(MESSAGES)), use), "messages[1]"
    system = {"parts": [text(GEMINI), sound(GEMINI)]}
    yield GEMINI, "cohere", said(GEMINI, user(GEMINI, text(GEMINI)), systemInstruction=system), "systemInstruction"


def told_by_values() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """What is wrong in any format."""
    hello = {path: user(path, text(path)) for path in (CHAT, RESPONSES, MESSAGES, GEMINI)}
    formats = (
        (CHAT, "messages", "max_tokens"),
        (RESPONSES, "input", "max_output_tokens"),
        (MESSAGES, "messages", "max_tokens"),
    )
    for path, name, limit in formats:
        provider = "claude" if path != MESSAGES else "chat"
        yield path, provider, said(path), name
        yield path, provider, {**said(path, hello[path]), limit: -1}, limit
        yield path, provider, {**said(path, hello[path]), limit: "many"}, limit
        yield path, provider, said(path, hello[path], {"role": "wizard", "content": HI}), f"{name}[1].role"
        yield path, provider, said(path, hello[path], {"role": "user", "content": 7}), f"{name}[1].content"
        broken = {**text(path), "text": 7}
        yield path, provider, said(path, hello[path], user(path, text(path), broken)), f"{name}[1].content[1].text"
        nameless = "tools[0].function" if path == CHAT else "tools[0].name"
        yield path, provider, said(path, hello[path], tools=[{"type": "function", "name": 7}]), nameless
        yield path, provider, said(path, hello[path], tool_choice=7), "tool_choice"
        yield path, provider, said(path, hello[path], temperature="hot"), "temperature"
    yield CHAT, "claude", {**said(CHAT, hello[CHAT]), "max_completion_tokens": -1}, "max_completion_tokens"
    yield CHAT, "claude", said(CHAT, hello[CHAT], {"role": "tool", "content": HI}), "messages[1].tool_call_id"
    yield RESPONSES, "claude", said(RESPONSES, hello[RESPONSES], {"type": "function_call"}), "input[1].name"
    yield RESPONSES, "claude", said(RESPONSES, {"type": "function_call_output", "output": ""}), "input[0].call_id"
    yield RESPONSES, "claude", said(RESPONSES, hello[RESPONSES], text={"format": {"type": "x"}}), "text.format"
    yield MESSAGES, "chat", said(MESSAGES, hello[MESSAGES], user(MESSAGES, {"type": "text"})), "messages[1].content[0]"
    yield GEMINI, "claude", said(GEMINI), "contents"
    yield GEMINI, "claude", said(GEMINI, hello[GEMINI], {"role": "wizard"}), "contents[1].role"
    yield GEMINI, "claude", said(GEMINI, hello[GEMINI], user(GEMINI, {"text": 7})), "contents[1].parts[0].text"
    yield GEMINI, "claude", said(GEMINI, hello[GEMINI], {"parts": 7}), "contents[1].parts"
    call = user(GEMINI, {"functionCall": {"args": {}}})
    yield GEMINI, "claude", said(GEMINI, hello[GEMINI], call), "contents[1].parts[0].functionCall.name"
    for value, place in (
        ({"maxOutputTokens": -1}, "generationConfig.maxOutputTokens"),
        ({"maxOutputTokens": "x"}, "generationConfig.maxOutputTokens"),
        ({"temperature": "hot"}, "generationConfig.temperature"),
        ({"responseSchema": 7}, "generationConfig.responseSchema"),
    ):
        yield GEMINI, "claude", said(GEMINI, hello[GEMINI], generationConfig=value), place
    config = {"functionCallingConfig": {"mode": "SOMETIMES"}}
    place = "toolConfig.functionCallingConfig.mode"
    yield GEMINI, "claude", said(GEMINI, hello[GEMINI], toolConfig=config), place
    tools = [{"functionDeclarations": [{"name": "f"}, {}]}]
    yield GEMINI, "claude", said(GEMINI, hello[GEMINI], tools=tools), "tools[0].functionDeclarations[1].name"


async def fault(running: Gateway, path: str, provider: str, body: dict[str, Any]) -> tuple[int, str, str]:
    """Status, message and place of what is told."""
    model = f"{provider}/m"
    sent = {**body, **({"model": model} if path != GEMINI else {})}
    status, _, told = split(await raw(running.port, request(path.format(model=model), json.dumps(sent).encode())))
    error = json.loads(told).get("error", {})
    beside = [detail["metadata"].get("param") for detail in error.get("details", []) if "metadata" in detail]
    return status, error.get("message", ""), error.get("param") or next(filter(None, beside), "")


async def test_a_fault_is_named_as_the_client_spelt_what_is_wrong(tmp_path: Path) -> None:
    wrong = []
    async with Misbehaving(ok(b'{"error":{"message":"it came here"}}')) as server:
        async with gateway(tmp_path, CONFIG.replace("URL", server.url)) as running:
            for path, provider, body, place in (*told_by_providers(), *told_by_values()):
                status, message, param = await fault(running, path, provider, body)
                if (status, param) != (400, place) or server.requests:
                    wrong.append((path, provider, place, status, message, param))
                server.requests.clear()
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    ("path", "field", "limit"),
    [
        (CHAT, "messages", "max_tokens"),
        (RESPONSES, "input", "max_output_tokens"),
        (MESSAGES, "messages", "max_tokens"),
        (GEMINI, "contents", "generationConfig.maxOutputTokens"),
    ],
)
async def test_a_policy_names_the_clients_fields(tmp_path: Path, path: str, field: str, limit: str) -> None:
    policy = "[policy]\nmax_messages = 1\nmax_tokens = 5\n"
    turn = user(path, text(path))
    many = {"generationConfig": {"maxOutputTokens": 6}} if path == GEMINI else {limit: 6}
    async with gateway(tmp_path, CONFIG.replace("URL", "http://127.0.0.1:9") + policy) as running:
        for body, place in ((said(path, turn, turn), field), ({**said(path, turn), **many}, limit)):
            status, message, param = await fault(running, path, "claude", body)
            assert (status, param) == (400, place), message


async def test_a_providers_place_in_what_it_was_told_is_none_of_the_clients(tmp_path: Path) -> None:
    error = b'{"error":{"message":"messages[1] is odd","param":"%b"}}'
    answers = [ok(error % place).replace(b"200 OK", b"400 Bad Request") for place in (b"messages[1]", b"temperature")]
    async with Misbehaving(*answers) as server:
        async with gateway(tmp_path, CONFIG.replace("URL", server.url)) as running:
            body = said(RESPONSES, user(RESPONSES, text(RESPONSES)), temperature=9)
            assert await fault(running, RESPONSES, "chat", body) == (400, "messages[1] is odd", "")
            assert await fault(running, RESPONSES, "chat", body) == (400, "messages[1] is odd", "temperature")
