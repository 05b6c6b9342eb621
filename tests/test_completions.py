"""Older completions through a gateway: onto models that chat, and chats onto models that only complete a prompt."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.app import DIALECTS, WIRES
from fairlead.protocols import is_inbound, is_outbound, takes_prompts
from gateway import Gateway, both_ways, gateway, raw, request, split  # noqa: F401
from misbehaving import Misbehaving, ok
from serving import serving

ROWS = """
[providers.claude]
base_url = "{simulator}/v1"
protocols = ["anthropic-messages"]
signing = "none"

[providers.open]
base_url = "{simulator}/v1"
protocols = ["openai-completions", "openai-chat"]
signing = "none"

[providers.texts]
base_url = "{simulator}/v1"
protocols = ["openai-completions"]
signing = "none"

[providers.older]
base_url = "{simulator}/v1"
protocols = ["anthropic-completions"]
signing = "none"

[providers.old]
base_url = "{old}/v1"
protocols = ["anthropic-completions"]
signing = {{header = "x-api-key"}}
headers = {{anthropic-version = "2023-06-01"}}
credential = "an-old-key"
models_path = ""
"""
HUMAN, HELLO = "\n\nHuman:", "\n\nHuman: hello there\n\nAssistant:"
PATHS = pytest.mark.parametrize("root", ["/v1", "/api/v1"])


def event(content: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (content["type"].encode(), json.dumps(content).encode())


OLD = {"type": "completion", "id": "compl_1", "model": "claude-2.1", "log_id": "compl_1"}
WHOLE = {**OLD, "completion": " hello there", "stop_reason": "stop_sequence", "stop": HUMAN}
STREAM = [
    {**OLD, "completion": " hello", "stop_reason": None, "stop": None}, {"type": "ping"},
    {**OLD, "completion": " there", "stop_reason": None, "stop": None},
    {**OLD, "completion": "", "stop_reason": "stop_sequence", "stop": HUMAN},
]  # fmt: skip


class Old(Misbehaving):
    """A provider of Anthropic's older completions: a whole answer, then a stream."""

    def __init__(self) -> None:
        streamed = ok(b"".join(map(event, STREAM)), b"content-type: text/event-stream")
        super().__init__(ok(json.dumps(WHOLE).encode(), b"content-type: application/json"), streamed)

    def asked(self, number: int) -> tuple[bytes, Any]:
        """Head and body of a request."""
        head, _, body = self.requests[number].partition(b"\r\n\r\n")
        return head, json.loads(body)


@pytest.fixture
async def old() -> AsyncIterator[Old]:
    async with Old() as server:
        yield server


@pytest.fixture
async def running(tmp_path: Path, old: Old) -> AsyncIterator[Gateway]:
    async with serving() as simulator, gateway(tmp_path, ROWS.format(simulator=simulator, old=old.url)) as started:
        yield started


async def ask(running: Gateway, path: str, **body: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and answer; of a stream the events' data."""
    status, headers, told = split(await raw(running.port, request(path, json.dumps(body).encode())))
    if not headers["content-type"].startswith("text/event-stream"):
        return status, headers, json.loads(told)
    lines = [line[6:] for line in told.decode().splitlines() if line.startswith("data: {")]
    return status, headers, list(map(json.loads, lines))


def words(told: Any) -> Iterator[str]:
    """What an answer, or the events of one, says."""
    if isinstance(told, list):
        for item in told:
            yield from words(item)
    elif isinstance(told, dict):
        for name, value in told.items():
            yield from [value] if name in ("content", "text", "delta") and isinstance(value, str) else words(value)


def test_any_format_of_clients_reaches_any_of_providers() -> None:
    """So that there is no model which a path does not serve."""
    assert all(map(is_inbound, DIALECTS.values()))
    assert all(map(is_outbound, WIRES.values()))
    prompted = {name for name, wire in WIRES.items() if takes_prompts(wire)}
    assert prompted == {"openai-completions", "anthropic-completions", "ollama-generate"}


@PATHS
@pytest.mark.parametrize("model", ["claude/echo", "open/echo", "texts/echo", "older/echo"])
async def test_a_client_of_anthropics_completions_is_served(running: Gateway, root: str, model: str) -> None:
    wishes = {"model": model, "prompt": HELLO, "max_tokens_to_sample": 50}
    status, headers, answer = await ask(running, f"{root}/complete", **wishes)
    assert (status, answer["type"], answer["completion"]) == (200, "completion", "hello there")
    assert (answer["stop_reason"], answer["stop"]) == ("stop_sequence", HUMAN)
    assert answer["id"]
    assert headers["request-id"] == headers["x-request-id"]
    _, _, events = await ask(running, f"{root}/complete", **wishes, stream=True)
    assert "".join(each["completion"] for each in events) == "hello there"
    assert {each["type"] for each in events} == {"completion"}
    assert [each["stop_reason"] for each in events if each["stop_reason"]] == ["stop_sequence"]
    assert [row["operation"] for row in await running.rows("calls")] == ["complete"] * 2


@PATHS
@pytest.mark.parametrize("model", ["claude/echo", "older/echo", "old/claude-2.1"])
async def test_a_client_of_openais_completions_is_served(running: Gateway, root: str, model: str) -> None:
    wishes = {"model": model, "prompt": "hello there", "suffix": "x", "max_tokens": 50}
    status, headers, answer = await ask(running, f"{root}/completions", **wishes)
    (choice,) = answer["choices"]
    assert (status, answer["object"], choice["text"].strip()) == (200, "text_completion", "hello there")
    assert headers["x-fairlead-dropped"] == "suffix"
    assert ("system_fingerprint" in answer) is (root == "/api/v1")
    _, _, events = await ask(running, f"{root}/completions", **wishes, stream=True)
    assert "".join(each["choices"][0]["text"] for each in events).strip() == "hello there"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_provider_of_both_is_told_a_conversation_as_one(running: Gateway) -> None:
    messages = [{"role": "user", "content": "hello there"}]
    await ask(running, "/v1/messages", model="open/echo", max_tokens=50, messages=messages)
    await ask(running, "/v1/complete", model="open/echo", max_tokens_to_sample=50, prompt=HELLO)
    await ask(running, "/v1/completions", model="open/echo", prompt="hello there")
    asked = [row["protocol"] for row in await running.rows("attempts")]
    assert asked == ["openai-chat", "openai-chat", "openai-completions"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_chat_reaches_a_model_that_only_completes(running: Gateway, path: str, stream: bool) -> None:
    said = (
        {"input": "hello there"} if "responses" in path else {"messages": [{"role": "user", "content": "hello there"}]}
    )
    tool = {"name": "f", "input_schema": {"type": "object"}}
    tools = {"tools": [tool], "max_tokens": 50} if "messages" in path else {}
    status, headers, answer = await ask(running, path, model="texts/echo", stream=stream, **said, **tools)
    assert status == 200
    assert headers.get("x-fairlead-dropped") == ("tools" if tools else None)
    assert "hello there" in "".join(words(answer))
    (row,) = await running.rows("attempts")
    assert (row["protocol"], row["outcome"]) == ("openai-completions", "ok")
    assert row["output_tokens"] > 0


async def test_a_chat_reaches_anthropics_older_models(running: Gateway, old: Old) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "and?"},
    ]
    wishes = {"model": "old/claude-2.1", "messages": talk, "max_tokens": 50, "stop": ["END"]}
    status, _, answer = await ask(running, "/v1/chat/completions", **wishes)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, " hello there")
    _, _, events = await ask(running, "/v1/chat/completions", **wishes, stream=True)
    assert "".join(each["choices"][0]["delta"].get("content") or "" for each in events) == " hello there"
    head, body = old.asked(0)
    assert head.startswith(b"POST /v1/complete HTTP/1.1\r\n")
    assert b"\r\nx-api-key: an-old-key\r\n" in head + b"\r\n"
    assert b"\r\nanthropic-version: 2023-06-01\r\n" in head + b"\r\n"
    assert body == {
        "model": "claude-2.1", "max_tokens_to_sample": 50, "stop_sequences": ["END"],
        "prompt": "Be brief.\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant:",
    }  # fmt: skip
    assert old.asked(1)[1] == {**body, "stream": True}
    estimated = [row["estimated"] for row in await running.rows("attempts")]
    assert all(estimated)  # it tells no usage


async def test_bytes_of_anthropics_completions_pass(running: Gateway, old: Old) -> None:
    wishes = {"prompt": HELLO, "max_tokens_to_sample": 50, "new": [1]}
    _, _, answer = await ask(running, "/v1/complete", model="old/claude-2.1", **wishes)
    assert answer == WHOLE
    _, _, events = await ask(running, "/v1/complete", model="old/claude-2.1", **wishes, stream=True)
    assert events == STREAM
    assert old.asked(0)[1] == {**wishes, "model": "claude-2.1"}


async def test_refusals_are_spelt_as_the_path_wants_them(running: Gateway) -> None:
    status, _, answer = await ask(running, "/v1/complete", model="claude/echo")
    assert (status, answer["type"], answer["error"]["param"]) == (400, "error", "prompt")
    status, _, answer = await ask(running, "/v1/complete", model="nobody/echo", prompt=HELLO)
    assert (status, answer["error"]["type"]) == (404, "not_found_error")
    status, _, answer = await ask(running, "/v1/completions", model="claude/echo", prompt=["a", "b"])
    assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, "prompt", "not_supported")


async def test_a_prompt_that_one_provider_cannot_be_told_another_is(tmp_path: Path) -> None:
    models = '[models.m]\nendpoints = ["claude/echo", "texts/echo"]\n'
    async with (
        serving() as simulator,
        gateway(tmp_path, ROWS.format(simulator=simulator, old=simulator) + models) as run,
    ):
        status, _, _ = await ask(run, "/v1/completions", model="m", prompt=[1, 2])
        assert (status, [row["provider"] for row in await run.rows("attempts")]) == (200, ["texts"])
