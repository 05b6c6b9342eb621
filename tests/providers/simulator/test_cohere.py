"""Cohere's chat in both versions, with Cohere's own SDK as its client."""

from typing import Any

import cohere
import msgspec
import pytest
from cohere.core import ApiError
from jsonschema import validate

from fairlead.providers.simulator.replies import Simulator
from serving import serving

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
}
TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("one", "two")]
TOOLS_V1: Any = [
    {
        "name": name,
        "description": "a tool",
        "parameter_definitions": {
            "city": {"type": "str", "required": True},
            "days": {"type": "List[int]", "required": True},
        },
    }
    for name in ("one", "two")
]
HELLO: Any = [{"role": "user", "content": "hello, wörld 🙂"}]


def client(url: str, key: str = "none") -> cohere.AsyncClientV2:
    return cohere.AsyncClientV2(api_key=key, base_url=url)


def client_v1(url: str) -> cohere.AsyncClient:
    return cohere.AsyncClient(api_key="none", base_url=url)


async def answered(url: str, *, stream: bool, **asked: Any) -> dict[str, Any]:
    """A whole answer of version 2, put together if it came in events."""
    async with client(url) as asking:
        if not stream:
            return (await asking.chat(**asked)).model_dump(exclude_none=True)
        events = [event.model_dump(exclude_none=True) async for event in asking.chat_stream(**asked)]
    message: dict[str, Any] = {"content": [], "tool_calls": []}
    for event in events:
        told = event.get("delta", {}).get("message", {})
        match event["type"]:
            case "content-start":
                message["content"].append(told["content"])
            case "content-delta":
                for name, text in told["content"].items():
                    message["content"][event["index"]][name] += text
            case "tool-call-start":
                message["tool_calls"].append(told["tool_calls"])
            case "tool-call-delta":
                function = told["tool_calls"]["function"]
                message["tool_calls"][event["index"]]["function"]["arguments"] += function["arguments"]
    assert events[0]["type"] == "message-start"
    return {"id": events[0]["id"], "message": message, **events[-1]["delta"]}


@pytest.mark.parametrize("stream", [False, True])
async def test_words_come_back(stream: bool):
    async with serving("cohere-chat") as url:
        told = await answered(url, stream=stream, model="echo", messages=HELLO)
    assert told["message"]["content"] == [{"type": "text", "text": "hello, wörld 🙂"}]
    assert told["finish_reason"] == "COMPLETE"
    assert told["usage"]["tokens"] == {"input_tokens": 9, "output_tokens": 5}


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_come_and_their_results_are_summed_up(stream: bool):
    async with serving() as url:
        told = await answered(url, stream=stream, model="tools", messages=HELLO, tools=TOOLS)
        calls = told["message"]["tool_calls"]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
        talk = [*HELLO, {"role": "assistant", "tool_calls": calls}, *results]
        summed = await answered(url, stream=stream, model="tools", messages=talk, tools=TOOLS)
        with pytest.raises(ApiError, match="not found in previous tool calls"):
            await answered(url, stream=False, model="tools", messages=[*HELLO, *results], tools=TOOLS)
    assert told["finish_reason"] == "TOOL_CALL"
    assert [call["function"]["name"] for call in calls] == ["one", "two"]
    for call in calls:
        validate(msgspec.json.decode(call["function"]["arguments"]), SCHEMA)
    assert summed["message"]["content"][0]["text"] == "The tools say: sunny; sunny"


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_come_first_unless_they_are_declined(stream: bool):
    off: Any = {"type": "disabled"}
    async with serving() as url:
        told = await answered(url, stream=stream, model="thinking", messages=HELLO)
        silent = await answered(url, stream=stream, model="thinking", messages=HELLO, thinking=off)
    assert [content["type"] for content in told["message"]["content"]] == ["thinking", "text"]
    assert told["message"]["content"][0]["thinking"].startswith("I was sent 3 words.")
    assert [content["type"] for content in silent["message"]["content"]] == ["text"]


@pytest.mark.parametrize("stream", [False, True])
async def test_json_comes_by_its_schema(stream: bool):
    form: Any = {"type": "json_object", "json_schema": SCHEMA}
    async with serving() as url:
        told = await answered(url, stream=stream, model="json", messages=HELLO, response_format=form)
    validate(msgspec.json.decode(told["message"]["content"][0]["text"]), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
async def test_why_it_ends_is_told(stream: bool):
    async with serving() as url:
        long = await answered(url, stream=stream, model="long", messages=HELLO, max_tokens=20)
        stopped = await answered(url, stream=stream, model="echo", messages=HELLO, stop_sequences=["wörld"])
    assert (long["finish_reason"], long["usage"]["tokens"]["output_tokens"]) == ("MAX_TOKENS", 20)
    assert (stopped["finish_reason"], stopped["message"]["content"][0]["text"]) == ("STOP_SEQUENCE", "hello, ")


async def test_errors_are_told_in_the_vendors_words():
    async with serving(credential="secret") as url:
        async with client(url, "wrong") as asking:
            with pytest.raises(cohere.UnauthorizedError, match="Incorrect API key"):
                await asking.chat(model="echo", messages=HELLO)
        async with client(url, "secret") as asking:
            with pytest.raises(cohere.TooManyRequestsError):
                await asking.chat(model="echo+status=429", messages=HELLO, request_options={"max_retries": 0})
    async with serving() as url:
        assert (await answered(url, stream=True, model="echo+error=3", messages=HELLO))["finish_reason"] == "ERROR"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"messages": []}, "must not be empty"),
        ({"messages": [{"role": "bot", "content": "a"}]}, "invalid role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_text"}]}]}, "is no content"),
        ({"tool_choice": "ANY"}, "REQUIRED or NONE"),
        ({"tools": TOOLS, "response_format": {"type": "json_object", "json_schema": {}}}, "cannot specify both"),
    ],
)
def test_what_cohere_would_refuse_is_refused(more: dict[str, Any], message: str):
    body = msgspec.json.encode({"model": "echo", "messages": HELLO, **more})
    reply = Simulator().reply("POST", "/v2/chat", {}, body)
    assert reply.status == 400
    assert message in msgspec.json.decode(next(iter(reply.chunks)).data)["message"]


# ---- version 1


async def answered_v1(url: str, *, stream: bool, **asked: Any) -> Any:
    """A whole answer of version 1, which is also the end of its stream."""
    async with client_v1(url) as asking:
        if not stream:
            return await asking.chat(**asked)
        events: list[Any] = [event async for event in asking.chat_stream(**asked)]
    told = "".join(event.text for event in events if event.event_type == "text-generation")
    answer = events[-1].response
    assert told == (answer.text if not answer.tool_calls else "")
    assert events[-1].finish_reason == answer.finish_reason
    return answer


@pytest.mark.parametrize("stream", [False, True])
async def test_words_come_back_in_version_1(stream: bool):
    history: Any = [{"role": "USER", "message": "a"}, {"role": "CHATBOT", "message": "b"}]
    async with serving("cohere-chat-v1") as url:
        told = await answered_v1(url, stream=stream, model="echo", message="hello", chat_history=history)
        long = await answered_v1(url, stream=stream, model="long", message="hello", max_tokens=20)
        refused = await answered_v1(url, stream=stream, model="refuse", message="hello")
    assert (told.text, told.finish_reason) == ("hello", "COMPLETE")
    assert (told.meta.tokens.input_tokens, told.meta.tokens.output_tokens) == (16, 2)
    assert (long.finish_reason, refused.finish_reason) == ("MAX_TOKENS", "ERROR_TOXIC")


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_come_and_their_results_are_summed_up_in_version_1(stream: bool):
    async with serving() as url:
        told = await answered_v1(url, stream=stream, model="tools", message="hello", tools=TOOLS_V1)
        results: Any = [{"call": call.model_dump(), "outputs": [{"text": "sunny"}]} for call in told.tool_calls]
        turn: Any = {"role": "CHATBOT", "message": "", "tool_calls": [call.model_dump() for call in told.tool_calls]}
        summed = await answered_v1(
            url,
            stream=stream,
            model="tools",
            message="",
            tools=TOOLS_V1,
            tool_results=results,
            chat_history=[{"role": "USER", "message": "hello"}, turn],
        )
    assert [call.name for call in told.tool_calls] == ["one", "two"]
    assert isinstance(told.tool_calls[0].parameters["city"], str)
    assert isinstance(told.tool_calls[0].parameters["days"], list)
    assert summed.text == "The tools say: sunny; sunny"


async def test_models_are_listed():
    async with serving() as url, client_v1(url) as asking:
        listed = await asking.models.list(endpoint="chat")
    assert "thinking" in [model.name for model in listed.models]
