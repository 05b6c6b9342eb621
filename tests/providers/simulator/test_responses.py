"""OpenAI's responses, with the official SDK as its client."""

from typing import Any

import msgspec
import openai
import pytest
from jsonschema import validate

from serving import serving

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: Any = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": True} for name in ("one", "two")]


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


async def answered(url: str, *, stream: bool, **asked: Any) -> Any:
    """The whole response, whichever way it came."""
    async with client(url) as asking:
        if not stream:
            return await asking.responses.create(**asked)
        events = [event async for event in await asking.responses.create(**asked, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == events[-1].response.output_text
    return events[-1].response


@pytest.mark.parametrize("stream", [False, True])
async def test_words_come_back(stream: bool):
    async with serving("openai-responses") as url:
        told = await answered(url, stream=stream, model="sim/echo", input="hello, wörld 🙂")
    assert told.output_text == "hello, wörld 🙂"
    assert told.status == "completed"
    assert (told.usage.input_tokens, told.usage.output_tokens) == (9, 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_come_and_their_results_are_summed_up(stream: bool):
    async with serving() as url:
        told = await answered(url, stream=stream, model="tools", input="hello", tools=TOOLS)
        calls = [item for item in told.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
        known = [item.model_dump(exclude_none=True) for item in told.output]
        talk: Any = [{"role": "user", "content": "hello"}, *known, *results]
        summed = await answered(url, stream=stream, model="tools", input=talk, tools=TOOLS)
    assert [call.name for call in calls] == ["one", "two"]
    for call in calls:
        validate(msgspec.json.decode(call.arguments), SCHEMA)
    assert summed.output_text == "The tools say: sunny; sunny"


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_are_summed_up_and_sealed_as_asked(stream: bool):
    wish: Any = {"summary": "auto"}
    sealed: Any = ["reasoning.encrypted_content"]
    async with serving() as url:
        told = await answered(url, stream=stream, model="thinking", input="hello", reasoning=wish, include=sealed)
        bare = await answered(url, stream=stream, model="thinking", input="hello")
        again: Any = [{"role": "user", "content": "hello"}, told.output[0].model_dump(exclude_none=True)]
        assert (await answered(url, stream=stream, model="echo", input=again)).output_text == "hello"
        again[1]["encrypted_content"] = "gAAAAA of somebody else"
        with pytest.raises(openai.BadRequestError, match="could not be verified"):
            await answered(url, stream=stream, model="echo", input=again)
    assert told.output[0].summary[0].text.startswith("I was sent 1 words.")
    assert told.output[0].encrypted_content.startswith("gAAAAAsim-")
    assert (bare.output[0].summary, bare.output[0].encrypted_content) == ([], None)
    assert told.usage.output_tokens_details.reasoning_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_json_comes_by_its_schema(stream: bool):
    form: Any = {"format": {"type": "json_schema", "name": "weather", "schema": SCHEMA, "strict": True}}
    async with serving() as url:
        told = await answered(url, stream=stream, model="json", input="hello", text=form)
    validate(msgspec.json.decode(told.output_text), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_a_content_of_its_own(stream: bool):
    async with serving() as url:
        told = await answered(url, stream=stream, model="refuse", input="hello")
    assert told.output[0].content[0].refusal == "I will not help with that."


@pytest.mark.parametrize("stream", [False, True])
async def test_too_long_an_answer_is_incomplete(stream: bool):
    async with serving() as url:
        told = await answered(url, stream=stream, model="long", input="hello", max_output_tokens=20)
    assert (told.status, told.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert told.usage.output_tokens == 20


async def test_what_a_cache_key_stands_for_was_there_before():
    async with serving() as url:
        told = await answered(
            url, stream=False, model="echo", input="hello", instructions="abcdefgh", prompt_cache_key="k"
        )
    assert told.usage.input_tokens_details.cached_tokens == 6


async def test_tokens_are_counted():
    async with serving() as url, client(url) as asking:
        counted = await asking.responses.input_tokens.count(model="echo", input="hello, wörld 🙂")
    assert counted.input_tokens == 9


async def test_bad_requests_are_refused_in_the_vendors_words():
    async with serving() as url, client(url) as asking:
        with pytest.raises(openai.BadRequestError, match="Unknown parameter") as refused:
            await asking.responses.create(model="echo", input="hello", extra_body={"stop": ["x"]})
        assert (refused.value.param, refused.value.code) == ("stop", "unknown_parameter")
        result: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}]
        with pytest.raises(openai.BadRequestError, match="No tool call found"):
            await asking.responses.create(model="echo", input=result)
        with pytest.raises(openai.BadRequestError, match="not found"):
            await asking.responses.create(model="echo", input="hello", previous_response_id="resp_1")


async def test_an_error_inside_a_stream_is_told_in_the_vendors_way():
    async with serving() as url, client(url) as asking:
        stream = await asking.responses.create(model="echo+error=4", input="hello, you", stream=True)
        with pytest.raises(openai.APIError, match="The server had an error"):
            [event async for event in stream]
