"""The official anthropic SDK as a client, over real sockets, of providers of both protocols."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from gateway import KEY, Gateway

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
TOOLS: list[Any] = [
    {
        "name": name,
        "description": "Looks something up.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
    for name in ("weather", "news")
]
PROVIDERS = pytest.mark.parametrize("provider", ["oa", "an"])


@pytest.fixture
async def client(both: Gateway) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=both.url, api_key=KEY) as made:
        yield made


@PROVIDERS
async def test_a_whole_answer_arrives(client: AsyncAnthropic, provider: str) -> None:
    answer = await client.messages.create(model=f"{provider}/echo", max_tokens=100, messages=HELLO, system="Be brief.")
    assert [block.text for block in answer.content if block.type == "text"] == ["hello there"]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


@PROVIDERS
async def test_a_streamed_answer_is_the_same_as_the_whole_one(client: AsyncAnthropic, provider: str) -> None:
    whole = await client.messages.create(model=f"{provider}/fast", max_tokens=100, messages=HELLO)
    async with client.messages.stream(model=f"{provider}/fast", max_tokens=100, messages=HELLO) as stream:
        text = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert [text] == [block.text for block in whole.content if block.type == "text"]
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == whole.stop_reason


@PROVIDERS
async def test_a_sync_client_streams_in_a_thread(both: Gateway, provider: str) -> None:
    def ask() -> str:
        with Anthropic(base_url=both.url, api_key=KEY) as client:
            with client.messages.stream(model=f"{provider}/echo", max_tokens=100, messages=HELLO) as stream:
                return stream.get_final_text()

    assert await asyncio.to_thread(ask) == "hello there"


@PROVIDERS
@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_tools_are_called_and_answered(client: AsyncAnthropic, provider: str, streamed: bool) -> None:
    async def ask(messages: list[Any]) -> Any:
        if not streamed:
            return await client.messages.create(
                model=f"{provider}/tools", max_tokens=1000, messages=messages, tools=TOOLS
            )
        async with client.messages.stream(
            model=f"{provider}/tools", max_tokens=1000, messages=messages, tools=TOOLS
        ) as stream:
            return await stream.get_final_message()

    first = await ask(HELLO)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["weather", "news"]
    assert all(isinstance(call.input["city"], str) for call in calls)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    said = [block.model_dump(exclude_none=True) for block in first.content]
    for block in said:
        block.pop("parsed_output", None)
    second = await ask([*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": results}])
    assert second.stop_reason == "end_turn"
    assert second.content[0].text


@PROVIDERS
async def test_thinking_arrives_as_a_block(client: AsyncAnthropic, provider: str) -> None:
    async with client.messages.stream(
        model=f"{provider}/thinking",
        max_tokens=3000,
        messages=HELLO,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]


@PROVIDERS
async def test_images_and_documents_reach_the_provider(client: AsyncAnthropic, provider: str) -> None:
    content: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "text", "text": "what is this"},
    ]
    answer = await client.messages.create(
        model=f"{provider}/echo", max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    text = "".join(block.text for block in answer.content if block.type == "text")
    assert "image" in text
    assert "document" in text


@PROVIDERS
async def test_the_cache_is_told_where_the_provider_has_one(client: AsyncAnthropic, provider: str) -> None:
    system: Any = [{"type": "text", "text": "Be brief. " * 50, "cache_control": {"type": "ephemeral"}}]
    answer = await client.messages.create(model=f"{provider}/echo", max_tokens=100, messages=HELLO, system=system)
    cached = (answer.usage.cache_read_input_tokens or 0) + (answer.usage.cache_creation_input_tokens or 0)
    assert (cached > 0) == (provider == "an")


@PROVIDERS
async def test_stop_reasons_are_anthropics(client: AsyncAnthropic, provider: str) -> None:
    cut = await client.messages.create(model=f"{provider}/long", max_tokens=20, messages=HELLO)
    assert cut.stop_reason == "max_tokens"


async def test_models_are_listed_in_anthropics_shape(client: AsyncAnthropic) -> None:
    listed = await client.models.list()
    assert "both" in [model.id for model in listed.data]
    assert (await client.models.retrieve("both")).type == "model"


@pytest.mark.parametrize(
    ("key", "model", "error", "kind"),
    [
        ("wrong", "an/echo", anthropic.AuthenticationError, "authentication_error"),
        (KEY, "nobody", anthropic.NotFoundError, "not_found_error"),
        (KEY, "oa/echo+status=429", anthropic.RateLimitError, "rate_limit_error"),
        (KEY, "oa/echo+status=529", anthropic.APIStatusError, "overloaded_error"),
        (KEY, "an/echo+status=400", anthropic.BadRequestError, "invalid_request_error"),
    ],
)
async def test_errors_are_those_the_sdk_knows(
    both: Gateway, key: str, model: str, error: type[Exception], kind: str
) -> None:
    async with AsyncAnthropic(base_url=both.url, api_key=key, max_retries=0) as client:
        with pytest.raises(error) as raised:
            await client.messages.create(model=model, max_tokens=100, messages=HELLO)
    assert isinstance(raised.value, anthropic.APIStatusError)
    assert raised.value.body["error"]["type"] == kind  # type: ignore[index]
    assert raised.value.request_id is not None


@PROVIDERS
async def test_an_error_in_the_middle_of_a_stream_is_raised(both: Gateway, provider: str) -> None:
    async with AsyncAnthropic(base_url=both.url, api_key=KEY, max_retries=0) as client:
        async with client.messages.stream(model=f"{provider}/long+error=30", max_tokens=1000, messages=HELLO) as stream:
            with pytest.raises(anthropic.APIStatusError):
                await stream.get_final_message()


async def test_a_client_that_names_no_max_tokens_is_served(both: Gateway) -> None:
    async with AsyncAnthropic(base_url=both.url, api_key=KEY) as client:
        answer: Any = await client.post("/v1/messages", body={"model": "an/echo", "messages": HELLO}, cast_to=object)
    assert answer["content"][0]["text"] == "hello there"
