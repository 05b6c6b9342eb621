"""Ollama's two formats, with Ollama's own SDK as its client."""

from typing import Any

import msgspec
import ollama
import pytest
from jsonschema import validate

from fairlead.providers.simulator.replies import Simulator
from serving import serving

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
}
TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("one", "two")]
HELLO: Any = [{"role": "user", "content": "hello, wörld 🙂"}]


async def chatted(url: str, *, stream: bool, **asked: Any) -> tuple[dict[str, Any], Any]:
    """The message of an answer, and its last line."""
    async with ollama.AsyncClient(host=url) as client:
        if not stream:
            whole = await client.chat(**asked)
            return whole.message.model_dump(exclude_none=True), whole
        message: dict[str, Any] = {}
        async for line in await client.chat(**asked, stream=True):
            for name, value in line.message.model_dump(exclude_none=True, exclude={"role"}).items():
                message[name] = message[name] + value if name in message else value
        return message, line


@pytest.mark.parametrize("stream", [False, True])
async def test_words_come_back(stream: bool):
    async with serving("ollama-chat") as url:
        message, last = await chatted(url, stream=stream, model="echo", messages=HELLO)
    assert message["content"] == "hello, wörld 🙂"
    assert (last.done, last.done_reason, last.prompt_eval_count, last.eval_count) == (True, "stop", 9, 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_come_and_their_results_are_summed_up(stream: bool):
    async with serving() as url:
        message, _ = await chatted(url, stream=stream, model="tools", messages=HELLO, tools=TOOLS)
        calls = message["tool_calls"]
        results = [{"role": "tool", "tool_name": call["function"]["name"], "content": "sunny"} for call in calls]
        talk = [*HELLO, {"role": "assistant", "tool_calls": calls}, *results]
        summed, _ = await chatted(url, stream=stream, model="tools", messages=talk, tools=TOOLS)
    assert [call["function"]["name"] for call in calls] == ["one", "two"]
    for call in calls:
        validate(call["function"]["arguments"], SCHEMA)
    assert summed["content"] == "The tools say: sunny; sunny"


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_stand_by_themselves(stream: bool):
    async with serving() as url:
        told, _ = await chatted(url, stream=stream, model="thinking", messages=HELLO, think=True)
        silent, _ = await chatted(url, stream=stream, model="thinking", messages=HELLO, think=False)
    assert told["thinking"].startswith("I was sent 3 words.")
    assert told["content"] == "Having thought about it: hello, wörld 🙂"
    assert not silent.get("thinking")


@pytest.mark.parametrize("stream", [False, True])
async def test_json_comes_by_its_schema_and_options_hold(stream: bool):
    async with serving() as url:
        told, _ = await chatted(url, stream=stream, model="json", messages=HELLO, format=SCHEMA)
        _, last = await chatted(url, stream=stream, model="long", messages=HELLO, options={"num_predict": 20})
        stopped, _ = await chatted(url, stream=stream, model="echo", messages=HELLO, options={"stop": ["wörld"]})
    validate(msgspec.json.decode(told["content"]), SCHEMA)
    assert (last.done_reason, last.eval_count) == ("length", 20)
    assert stopped["content"] == "hello, "


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_is_answered(stream: bool):
    async with serving("ollama-generate") as url, ollama.AsyncClient(host=url) as client:
        asked: dict[str, Any] = {"model": "thinking", "prompt": "hello", "system": "be brief"}
        if stream:
            lines = [line async for line in await client.generate(**asked, stream=True)]
        else:
            lines = [await client.generate(**asked)]
    assert "".join(line.response for line in lines) == "Having thought about it: hello"
    assert "".join(line.thinking or "" for line in lines).startswith("I was sent 1 words.")
    assert lines[-1].prompt_eval_count == 12


async def test_errors_are_told_in_the_vendors_words():
    async with serving(any_model=False) as url:
        with pytest.raises(ollama.ResponseError, match="does not exist") as unknown:
            await chatted(url, stream=False, model="ecko", messages=HELLO)
        assert unknown.value.status_code == 404
        with pytest.raises(ollama.ResponseError, match="unexpected EOF"):
            await chatted(url, stream=True, model="echo+error=2", messages=HELLO)
        async with ollama.AsyncClient(host=url) as client:
            listed = await client.list()
    assert "thinking" in [model.model for model in listed.models]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": ""}, "model is required"),
        ({"messages": [{"role": "bot", "content": "a"}]}, "invalid role"),
        ({"messages": [{"role": "user", "content": "a", "images": ["?"]}]}, "illegal base64"),
        ({"format": "yaml"}, "invalid format"),
        ({"think": "much"}, "invalid think value"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]}, "cannot unmarshal"),
    ],
)
def test_what_ollama_would_refuse_is_refused(more: dict[str, Any], message: str):
    body = msgspec.json.encode({"model": "echo", "messages": HELLO, **more})
    reply = Simulator().reply("POST", "/api/chat", {}, body)
    assert reply.status == 400
    assert message in msgspec.json.decode(next(iter(reply.chunks)).data)["error"]
