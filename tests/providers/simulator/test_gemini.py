"""Gemini, with Google's own SDK as its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from google import genai
from google.genai import errors, types
from jsonschema import validate

from fairlead.providers.simulator.replies import Simulator
from serving import serving

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
}
TOOLS = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="one", parameters_json_schema=SCHEMA),
        types.FunctionDeclaration(name="two", parameters=types.Schema.model_validate({**SCHEMA, "type": "OBJECT"})),
    ]
)


@asynccontextmanager
async def asking(*protocols: str, credential: str | None = None, key: str = "none") -> AsyncIterator[Any]:
    """A client's models."""
    async with serving(*protocols, credential=credential) as url:
        client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url))
        async with client.aio as models:
            yield models.models


async def answered(models: Any, *, stream: bool, **asked: Any) -> list[Any]:
    """The pieces of an answer; a whole one is one piece."""
    if not stream:
        return [await models.generate_content(**asked)]
    return [piece async for piece in await models.generate_content_stream(**asked)]


def text_of(pieces: list[Any]) -> str:
    return "".join(part.text or "" for piece in pieces for part in parts_of([piece]) if not part.thought)


def parts_of(pieces: list[Any]) -> list[Any]:
    return [part for piece in pieces for part in piece.candidates[0].content.parts or []]


@pytest.mark.parametrize("stream", [False, True])
async def test_words_come_back(stream: bool):
    async with asking("gemini") as models:
        told = await answered(models, stream=stream, model="echo", contents="hello, wörld 🙂")
    assert text_of(told) == "hello, wörld 🙂"
    assert told[-1].candidates[0].finish_reason == types.FinishReason.STOP
    usage = told[-1].usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (9, 5, 14)


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_come_and_their_results_are_summed_up(stream: bool):
    config = types.GenerateContentConfig(
        tools=[TOOLS], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    async with asking() as models:
        told = await answered(models, stream=stream, model="tools", contents="hello", config=config)
        said = [part for part in parts_of(told) if part.function_call]
        results = [
            types.Part.from_function_response(name=part.function_call.name, response={"result": "sunny"})
            for part in said
        ]
        talk = [types.UserContent("hello"), types.ModelContent(said), types.UserContent(results)]
        summed = await answered(models, stream=stream, model="tools", contents=talk, config=config)
        talk[2] = types.UserContent(results[:1])
        with pytest.raises(errors.ClientError, match="number of function response parts"):
            await answered(models, stream=stream, model="tools", contents=talk, config=config)
    assert [part.function_call.name for part in said] == ["one", "two"]
    for part in said:
        validate(part.function_call.args, SCHEMA)
    assert said[0].thought_signature.startswith(b"sim-")
    assert text_of(summed) == "The tools say: sunny; sunny"


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_are_told_where_they_are_wanted(stream: bool):
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    async with asking() as models:
        told = await answered(models, stream=stream, model="thinking", contents="hello", config=config)
        bare = await answered(models, stream=stream, model="thinking", contents="hello")
        signed = next(part for part in parts_of(told) if part.thought_signature)
        talk = [types.UserContent("hello"), types.ModelContent([signed]), types.UserContent("again")]
        assert text_of(await answered(models, stream=stream, model="echo", contents=talk)) == "again"
        signed.thought_signature = b"of somebody else"
        with pytest.raises(errors.ClientError, match="Corrupted thought signature"):
            await answered(models, stream=stream, model="echo", contents=talk)
    assert "".join(part.text for part in parts_of(told) if part.thought).startswith("I was sent 1 words.")
    assert not any(part.thought for part in parts_of(bare))
    assert text_of(bare) == "Having thought about it: hello"
    assert bare[-1].usage_metadata.thoughts_token_count > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", ["response_schema", "response_json_schema"])
async def test_json_comes_by_its_schema(stream: bool, field: str):
    config = {"response_mime_type": "application/json", field: SCHEMA}
    async with asking() as models:
        told = await answered(models, stream=stream, model="json", contents="hello", config=config)
    validate(msgspec.json.decode(text_of(told)), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_for_safety_and_has_no_words(stream: bool):
    async with asking() as models:
        told = await answered(models, stream=stream, model="refuse", contents="hello")
    assert told[-1].candidates[0].finish_reason == types.FinishReason.SAFETY
    assert text_of(told) == ""


@pytest.mark.parametrize("stream", [False, True])
async def test_too_long_an_answer_is_cut(stream: bool):
    async with asking() as models:
        told = await answered(models, stream=stream, model="long", contents="hello", config={"max_output_tokens": 20})
        stopped = await answered(
            models, stream=stream, model="echo", contents="one two", config={"stop_sequences": ["two"]}
        )
    assert told[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert told[-1].usage_metadata.candidates_token_count == 20
    assert text_of(stopped) == "one "


async def test_what_a_cached_content_stands_for_was_read_from_the_cache():
    async with asking() as models:
        told = await models.generate_content(
            model="echo", contents="hello", config={"cached_content": "cachedContents/1"}
        )
    assert told.usage_metadata.cached_content_token_count == 8


async def test_tokens_are_counted_and_models_listed():
    async with asking() as models:
        assert (await models.count_tokens(model="echo", contents="hello, wörld 🙂")).total_tokens == 9
        listed = [model.name async for model in await models.list()]
    assert "models/thinking" in listed


async def test_errors_are_told_in_the_vendors_words():
    async with asking(credential="secret", key="wrong") as models:
        with pytest.raises(errors.ClientError, match="API_KEY_INVALID"):
            await models.generate_content(model="echo", contents="hello")
    async with asking(credential="secret", key="secret") as models:
        with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
            await models.generate_content(model="echo+status=429", contents="hello")
        with pytest.raises(errors.ServerError, match="UNAVAILABLE"):
            await answered(models, stream=True, model="echo+error=1", contents="hello, you")


def told(target: str, asked: object) -> tuple[int, bytes]:
    """Status and body of the reply to `asked`."""
    reply = Simulator().reply("POST", target, {}, msgspec.json.encode(asked))
    return reply.status, b"".join(chunk.data for chunk in reply.chunks)


def test_a_stream_is_an_array_unless_events_are_wanted():
    asked = {"contents": [{"role": "user", "parts": [{"text": "one two three"}]}]}
    _, body = told("/v1beta/models/echo:streamGenerateContent", asked)
    pieces = msgspec.json.decode(body)
    said = [part["text"] for piece in pieces for part in piece["candidates"][0]["content"]["parts"]]
    assert "".join(said) == "one two three"
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"stop": []}, "Unknown name"),
        ({"generation_config": {"max_tokens": 1}}, "Unknown name"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, "valid role"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"tools": [{"function_declarations": [{"name": "a b"}]}]}, "Invalid function name"),
        ({"generation_config": {"response_schema": {}}, "x": 1}, "Unknown name"),
    ],
)
def test_what_google_would_refuse_is_refused(more: dict[str, Any], message: str):
    status, body = told("/models/echo:generateContent", {"contents": [{"parts": [{"text": "a"}]}], **more})
    error = msgspec.json.decode(body)["error"]
    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
