"""The official openai SDK as a client, over real sockets, of providers of both protocols."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from gateway import KEY, Gateway, gateway
from protocols_recordings import openai_spec
from serving import serving

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Looks something up.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "news")
]
PROVIDERS = pytest.mark.parametrize("provider", ["oa", "an"])


@pytest.fixture
async def client(both: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{both.url}/v1", api_key=KEY) as made:
        yield made


async def gather(stream: Any, got: list[str]) -> None:
    """Add what the stream says to `got`, until it ends or fails."""
    async for chunk in stream:
        got += [choice.delta.content or "" for choice in chunk.choices]


def tally(both: Gateway, provider: str) -> Any:
    with urlopen(f"{both.upstreams[provider]}/__tally") as answer:
        return json.load(answer)


@PROVIDERS
async def test_a_whole_answer_arrives_and_is_valid(client: AsyncOpenAI, provider: str) -> None:
    answer = await client.chat.completions.create(model=f"{provider}/echo", messages=HELLO)
    assert answer.choices[0].message.content == "hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert openai_spec().errors("CreateChatCompletionResponse", answer.model_dump(exclude_unset=True)) == []


@PROVIDERS
async def test_a_streamed_answer_is_the_same_as_the_whole_one(client: AsyncOpenAI, provider: str) -> None:
    whole = await client.chat.completions.create(model=f"{provider}/fast", messages=HELLO)
    stream = await client.chat.completions.create(
        model=f"{provider}/fast", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    for chunk in chunks:
        told = chunk.model_dump(exclude_unset=True)
        assert openai_spec().errors("CreateChatCompletionStreamResponse", told) == []


@PROVIDERS
async def test_usage_that_was_not_asked_for_does_not_arrive_but_is_recorded(both: Gateway, provider: str) -> None:
    async with AsyncOpenAI(base_url=f"{both.url}/v1", api_key=KEY) as client:
        stream = await client.chat.completions.create(model=f"{provider}/fast", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    (attempt,) = await both.rows("attempts")
    assert attempt["output_tokens"] > 0
    assert not attempt["estimated"]


@PROVIDERS
async def test_a_sync_client_streams_in_a_thread(both: Gateway, provider: str) -> None:
    def ask() -> str:
        with OpenAI(base_url=f"{both.url}/v1", api_key=KEY) as client:
            stream = client.chat.completions.create(model=f"{provider}/echo", messages=HELLO, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    assert await asyncio.to_thread(ask) == "hello there"


@PROVIDERS
@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_tools_are_called_and_answered(client: AsyncOpenAI, provider: str, streamed: bool) -> None:
    async def ask(messages: list[Any]) -> Any:
        if not streamed:
            answer = await client.chat.completions.create(model=f"{provider}/tools", messages=messages, tools=TOOLS)
            return answer.choices[0]
        async with client.chat.completions.stream(model=f"{provider}/tools", messages=messages, tools=TOOLS) as stream:
            return (await stream.get_final_completion()).choices[0]

    first = await ask(HELLO)
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "news"]
    assert all(set(json.loads(call.function.arguments)) == {"city", "days"} for call in calls)
    said = {
        "role": "assistant",
        "content": first.message.content,
        "tool_calls": [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in calls
        ],
    }
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"result {n}"} for n, call in enumerate(calls)]
    second = await ask([*HELLO, said, *results])
    assert second.finish_reason == "stop"
    assert second.message.content


@PROVIDERS
async def test_parallel_calls_can_be_switched_off(client: AsyncOpenAI, provider: str) -> None:
    answer = await client.chat.completions.create(
        model=f"{provider}/tools", messages=HELLO, tools=TOOLS, parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls or ()) == 1


@PROVIDERS
async def test_images_and_documents_reach_the_provider(client: AsyncOpenAI, provider: str) -> None:
    content: Any = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    answer = await client.chat.completions.create(
        model=f"{provider}/echo", messages=[{"role": "user", "content": content}]
    )
    assert "image" in (answer.choices[0].message.content or "")
    assert "document" in (answer.choices[0].message.content or "")


@PROVIDERS
async def test_json_by_a_schema_is_obeyed(client: AsyncOpenAI, provider: str) -> None:
    schema: Any = {
        "type": "json_schema",
        "json_schema": {
            "name": "place",
            "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    answer = await client.chat.completions.create(model=f"{provider}/json", messages=HELLO, response_format=schema)
    assert isinstance(json.loads(answer.choices[0].message.content or "")["city"], str)


async def test_a_thought_of_the_other_protocol_comes_with_its_signature_and_can_be_sent_back(
    client: AsyncOpenAI, both: Gateway
) -> None:
    answer = await client.chat.completions.create(model="an/thinking", messages=HELLO, reasoning_effort="low")
    message = answer.choices[0].message.model_dump(exclude_none=True)
    assert message["reasoning_content"]
    (detail,) = message["reasoning_details"]
    assert detail["signature"]
    await client.chat.completions.create(model="an/echo", messages=[*HELLO, message, *HELLO], reasoning_effort="low")
    sent = json.dumps((await asyncio.to_thread(tally, both, "an"))["last"])
    assert detail["signature"] in sent


class Reply(BaseModel):
    """What `parse` makes of an answer that is none."""

    text: str


async def test_parse_finds_a_refusal_of_the_other_api(tmp_path: Path) -> None:
    async with serving("openai-chat") as chats, serving("openai-responses") as responses:
        rows = "".join(
            f"[providers.{name}]\nbase_url = '{url}/v1'\nprotocols = ['openai-{name}']\nsigning = 'none'\n"
            for name, url in (("chat", chats), ("responses", responses))
        )
        async with (
            gateway(tmp_path, rows) as started,
            AsyncOpenAI(base_url=f"{started.url}/v1", api_key=KEY) as client,
        ):
            chat = await client.chat.completions.parse(model="responses/refuse", messages=HELLO, response_format=Reply)
            async with client.chat.completions.stream(
                model="responses/refuse", messages=HELLO, response_format=Reply
            ) as events:
                kinds = [event.type async for event in events]
                streamed = await events.get_final_completion()
            response = await client.responses.parse(model="chat/refuse", input="hello", text_format=Reply)
    for completion in (chat, streamed):
        assert completion.choices[0].message.refusal == "I will not help with that."
        assert completion.choices[0].message.parsed is None
    assert "refusal.done" in kinds
    assert response.output_parsed is None
    (item,) = response.output
    assert item.type == "message"
    assert item.content[0].type == "refusal"
    assert item.content[0].refusal == "I will not help with that."


@PROVIDERS
async def test_max_tokens_ends_an_answer_by_length(client: AsyncOpenAI, provider: str) -> None:
    answer = await client.chat.completions.create(model=f"{provider}/long", messages=HELLO, max_completion_tokens=20)
    assert answer.choices[0].finish_reason == "length"


async def test_completions_pass_and_stream(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model="oa/echo", prompt="hello there")
    assert answer.choices[0].text == "hello there"
    stream = await client.completions.create(model="oa/echo", prompt="hello there", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream if chunk.choices]) == "hello there"


async def test_completions_of_a_provider_without_them_are_said_to_its_chat(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model="an/echo", prompt="hello there")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("hello there", "stop")
    assert answer.usage is not None
    assert openai_spec().errors("CreateCompletionResponse", answer.model_dump(exclude_unset=True)) == []
    options = {"include_usage": True}
    stream = await client.completions.create(
        model="an/echo", prompt=["hello there"], stream=True, stream_options=options
    )  # type: ignore[call-overload]
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "hello there"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], answer.usage)


@pytest.mark.parametrize("prompt", [[1, 2], ["once", "twice"]], ids=["tokens", "two"])
async def test_a_chat_takes_no_prompt_but_one_text(client: AsyncOpenAI, prompt: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="must be one text") as raised:
        await client.completions.create(model="an/echo", prompt=prompt)
    assert (raised.value.param, raised.value.code) == ("prompt", "not_supported")


async def test_models_are_listed_and_found(client: AsyncOpenAI, both: Gateway) -> None:
    await both.house.listings.refresh()
    names = [model.id async for model in client.models.list()]
    assert "both" in names
    assert "oa/echo" in names
    assert (await client.models.retrieve("oa/echo")).owned_by == "oa"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody/echo")


@pytest.mark.parametrize(
    ("key", "model", "error"),
    [
        ("wrong", "oa/echo", openai.AuthenticationError),
        (KEY, "nobody", openai.NotFoundError),
        (KEY, "oa/echo+status=400", openai.BadRequestError),
        (KEY, "oa/echo+status=429", openai.RateLimitError),
        (KEY, "an/echo+status=429", openai.RateLimitError),
        (KEY, "an/echo+status=500", openai.InternalServerError),
        (KEY, "gpt-4o", openai.InternalServerError),
    ],
)
async def test_errors_are_those_the_sdk_knows(both: Gateway, key: str, model: str, error: type[Exception]) -> None:
    async with AsyncOpenAI(base_url=f"{both.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(error) as raised:
            await client.chat.completions.create(model=model, messages=HELLO)
    assert isinstance(raised.value, openai.APIStatusError)
    assert raised.value.body is not None
    assert raised.value.request_id is not None
    assert raised.value.request_id.startswith("gen-")


async def test_an_outcome_that_is_unknown_is_not_sent_three_times(both: Gateway) -> None:
    async with AsyncOpenAI(base_url=f"{both.url}/v1", api_key=KEY) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="oa/echo+status=500", messages=HELLO)
    assert len(await both.rows("calls")) == 1


@pytest.mark.parametrize("provider", ["oa", "an"])
async def test_an_error_in_the_middle_of_a_stream_is_raised(both: Gateway, provider: str) -> None:
    async with AsyncOpenAI(base_url=f"{both.url}/v1", api_key=KEY) as client:
        stream = await client.chat.completions.create(model=f"{provider}/long+cut=20", messages=HELLO, stream=True)
        got: list[str] = []
        with pytest.raises(openai.APIError, match="cut off"):
            await gather(stream, got)
    assert "".join(got)


async def test_a_model_with_two_endpoints_answers_from_the_second(client: AsyncOpenAI, both: Gateway) -> None:
    answer = await client.chat.completions.create(model="both", messages=HELLO)
    assert answer.choices[0].message.content == "hello there"
    assert [(row["provider"], row["outcome"]) for row in await both.rows("attempts")] == [
        ("oa", "failed"),
        ("an", "ok"),
    ]
