"""The simulator over HTTP, with the official SDKs as its clients."""

import asyncio
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from jsonschema import validate

from fairlead.providers.simulator.server import SimulatorServer
from serving import serving, serving_process

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("one", "two")]
ANTHROPIC_TOOLS: Any = [{"name": name, "input_schema": SCHEMA} for name in ("one", "two")]
HELLO: Any = [{"role": "user", "content": "hello, wörld 🙂"}]


def openai_client(url: str, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def anthropic_client(url: str, key: str = "none") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)


async def test_the_openai_client_gets_a_whole_answer():
    async with serving("openai-chat") as url, openai_client(url) as client:
        answer = await client.chat.completions.create(model="sim/echo", messages=HELLO)
    assert answer.choices[0].message.content == "hello, wörld 🙂"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 5)


async def test_the_openai_client_gets_a_stream_with_usage():
    async with serving("openai-chat") as url, openai_client(url) as client:
        stream = await client.chat.completions.create(
            model="echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hello, wörld 🙂"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


@pytest.mark.parametrize("stream", [False, True])
async def test_the_openai_client_gets_parallel_calls_and_a_text_for_their_results(stream: bool):
    async with serving("openai-chat") as url, openai_client(url) as client:
        if stream:
            async with client.chat.completions.stream(model="tools", messages=HELLO, tools=OPENAI_TOOLS) as events:
                message: Any = (await events.get_final_completion()).choices[0].message
        else:
            answer = await client.chat.completions.create(model="tools", messages=HELLO, tools=OPENAI_TOOLS)
            message = answer.choices[0].message
        for call in message.tool_calls:
            validate(msgspec.json.decode(call.function.arguments), SCHEMA)
        results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
        calls = message.model_dump(include={"role", "tool_calls"}, exclude_none=True)
        told: Any = [*HELLO, calls, *results]
        summed = await client.chat.completions.create(model="tools", messages=told, tools=OPENAI_TOOLS)
    assert [call.function.name for call in message.tool_calls] == ["one", "two"]
    assert summed.choices[0].message.content == "The tools say: sunny; sunny"


async def test_the_openai_client_gets_json_by_its_schema():
    form: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    async with serving("openai-chat") as url, openai_client(url) as client:
        answer = await client.chat.completions.create(model="json", messages=HELLO, response_format=form)
    assert answer.choices[0].message.content is not None
    validate(msgspec.json.decode(answer.choices[0].message.content), SCHEMA)


async def test_the_openai_client_sees_thoughts():
    async with serving("openai-chat") as url, openai_client(url) as client:
        answer = await client.chat.completions.create(model="thinking", messages=HELLO)
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens
    assert answer.choices[0].message.model_extra["reasoning_content"].startswith("I was sent 3 words.")  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_openai_client_gets_older_completions(stream: bool):
    async with serving("openai-completions") as url, openai_client(url) as client:
        if stream:
            chunks = await client.completions.create(
                model="echo", prompt="a b c d e f", max_tokens=2, stream=True, stream_options={"include_usage": True}
            )
            told = [chunk async for chunk in chunks]
            assert "".join(chunk.choices[0].text for chunk in told if chunk.choices) == "a b c d "
            assert told[-2].choices[0].finish_reason == "length"
            assert told[-1].usage is not None
            assert told[-1].usage.completion_tokens == 2
        else:
            answer = await client.completions.create(model="echo", prompt=[[1, 2], [3]], stop="3")
            assert answer.choices[0].text == "1 2 "
            assert answer.choices[0].finish_reason == "stop"


async def test_the_anthropic_client_gets_a_whole_answer():
    async with serving("anthropic-messages") as url, anthropic_client(url) as client:
        answer = await client.messages.create(model="echo", max_tokens=100, messages=HELLO)
    assert answer.content[0].text == "hello, wörld 🙂"  # type: ignore[union-attr]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 5)


async def test_the_anthropic_client_gets_a_stream_of_thinking_and_text():
    async with serving("anthropic-messages") as url, anthropic_client(url) as client:
        async with client.messages.stream(model="thinking", max_tokens=100, messages=HELLO) as stream:
            answer = await stream.get_final_message()
        thinking = await client.messages.create(model="thinking", max_tokens=100, messages=HELLO)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].signature.startswith("sim-")  # type: ignore[union-attr]
    assert answer.usage.output_tokens == thinking.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_the_anthropic_client_gets_parallel_calls_and_a_text_for_their_results(stream: bool):
    async with serving("anthropic-messages") as url, anthropic_client(url) as client:
        facts: Any = {"model": "tools", "max_tokens": 100, "tools": ANTHROPIC_TOOLS}
        if stream:
            async with client.messages.stream(messages=HELLO, **facts) as events:
                answer: Any = await events.get_final_message()
        else:
            answer = await client.messages.create(messages=HELLO, **facts)
        calls = [block for block in answer.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
        told = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
        summed = await client.messages.create(messages=told, **facts)
    assert [call.name for call in calls] == ["one", "two"]
    for call in calls:
        validate(call.input, SCHEMA)
    assert answer.stop_reason == "tool_use"
    assert summed.content[0].text == "The tools say: sunny; sunny"


async def test_the_anthropic_client_gets_one_call_where_parallel_calls_are_off():
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    async with serving("anthropic-messages") as url, anthropic_client(url) as client:
        answer = await client.messages.create(
            model="tools", max_tokens=99, messages=HELLO, tools=ANTHROPIC_TOOLS, tool_choice=choice
        )
    assert len(answer.content) == 1


async def test_the_anthropic_client_sees_what_was_cached():
    system: Any = [{"type": "text", "text": "abcdefgh", "cache_control": {"type": "ephemeral"}}]
    async with serving("anthropic-messages") as url, anthropic_client(url) as client:
        answer = await client.messages.create(model="echo", max_tokens=9, messages=HELLO, system=system)
    assert (answer.usage.cache_read_input_tokens, answer.usage.input_tokens) == (6, 9)


async def test_a_stop_sequence_ends_an_answer_in_both_formats():
    async with serving() as url, openai_client(url) as one, anthropic_client(url) as other:
        chat = await one.chat.completions.create(model="echo", messages=HELLO, stop=["wör"])
        message = await other.messages.create(model="echo", max_tokens=9, messages=HELLO, stop_sequences=["wör"])
    assert chat.choices[0].message.content == "hello, "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "wör")


def test_clients_that_do_not_await_are_served_by_a_process_of_its_own():
    async def main() -> None:
        async with serving_process("openai-chat", "anthropic-messages") as url:
            await asyncio.to_thread(ask, url)

    def ask(url: str) -> None:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            assert client.chat.completions.create(model="echo", messages=HELLO).choices[0].message.content
            chunks = list(client.chat.completions.create(model="slow", messages=HELLO, stream=True))
            assert chunks[-1].choices[0].finish_reason == "stop"
        with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as other:
            assert other.messages.create(model="fast", max_tokens=99, messages=HELLO).stop_reason == "end_turn"
            told = other.messages.create(model="fast", max_tokens=99, messages=HELLO, stream=True)
            assert [event.type for event in told][-1] == "message_stop"

    asyncio.run(main())


async def test_a_credential_is_asked_for_in_both_spellings():
    async with serving(credential="secret") as url:
        async with openai_client(url, "wrong") as client:
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                await client.chat.completions.create(model="echo", messages=HELLO)
        async with openai_client(url, "secret") as client:
            assert await client.chat.completions.create(model="echo", messages=HELLO)
        async with anthropic_client(url, "wrong") as other:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                await other.messages.create(model="echo", max_tokens=9, messages=HELLO)
            assert caught.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
        async with anthropic_client(url, "secret") as other:
            assert await other.messages.create(model="echo", max_tokens=9, messages=HELLO)


async def test_models_are_listed_as_each_client_expects():
    async with serving() as url, openai_client(url) as one, anthropic_client(url) as other:
        names = [model.id async for model in one.models.list()]
        assert names == [model.id async for model in other.models.list()]
    assert names == "echo fast slow flaky tools thinking json long refuse".split()


async def test_bad_requests_are_refused_in_the_vendors_words():
    async with serving() as url, openai_client(url) as one, anthropic_client(url) as other:
        with pytest.raises(openai.BadRequestError) as refused:
            await one.chat.completions.create(model="echo", messages=[])
        assert refused.value.param == "messages"
        with pytest.raises(openai.BadRequestError, match="you must provide a model"):
            await one.chat.completions.create(model="", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="one choice"):
            await one.completions.create(model="echo", prompt="a", n=2)
        with pytest.raises(anthropic.BadRequestError, match="model: Field required"):
            await other.messages.create(model="", max_tokens=9, messages=HELLO)
        with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
            await other.post("/v1/messages", body={"model": "echo", "messages": HELLO}, cast_to=object)


async def test_only_the_wanted_protocols_are_served():
    async with serving("anthropic-messages") as url, openai_client(url) as client:
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="echo", messages=HELLO)


async def test_any_model_is_echo_unless_that_is_not_wanted():
    async with serving() as url, openai_client(url) as client:
        answer = await client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
        assert answer.model == "gpt-5-mini"
    async with serving(any_model=False) as url, openai_client(url) as client:
        with pytest.raises(openai.NotFoundError, match="there are echo, fast"):
            await client.chat.completions.create(model="sim/ecko", messages=HELLO)


async def test_the_tally_tells_what_was_asked_and_can_begin_anew():
    async with serving() as url, openai_client(url) as client:
        await client.chat.completions.create(model="echo", messages=HELLO)
        answer: Any = await client.get("/../__tally", cast_to=object)
        assert (answer["requests"], answer["connections"], answer["closed_early"]) == (1, 0, 0)
        assert answer["last"]["head"].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
        assert msgspec.json.decode(answer["last"]["body"])["model"] == "echo"
        await client.post("/../__reset", cast_to=object)
        answer = await client.get("/../__tally", cast_to=object)
        assert (answer["requests"], answer["last"]) == (0, None)


async def test_what_was_asked_is_kept_without_credentials():
    async with serving() as url, openai_client(url, "secret") as client:
        await client.chat.completions.create(model="echo", messages=HELLO, extra_query={"key": "secret", "a": "b"})
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"POST /x HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n\xff\x00")
        await reader.read()
        writer.close()
        answer: Any = await client.get("/../__requests", cast_to=object)
        first, second = answer["requests"]
        assert (first["method"], first["path"], first["query"]) == ("POST", "/v1/chat/completions", "a=b")
        assert first["body"]["messages"] == HELLO
        assert first["headers"]["content-type"] == "application/json"
        assert "secret" not in msgspec.json.encode(answer).decode()
        assert (second["body"], second["bytes"]) == ({"base64": "/wA="}, 2)
        await client.post("/../__reset", cast_to=object)
        answer = await client.get("/../__requests", cast_to=object)
        assert answer["requests"] == []


async def test_the_last_requests_are_kept_and_no_large_bodies():
    async with serving() as url, openai_client(url) as client:
        long: Any = [{"role": "user", "content": "x" * (300 << 10)}]
        await client.chat.completions.create(model="fast", messages=long)
        large: Any = await client.get("/../__requests", cast_to=object)
        for number in range(100):
            await client.chat.completions.create(model="fast", messages=[{"role": "user", "content": str(number)}])
        answer: Any = await client.get("/../__requests", cast_to=object)
    assert large["requests"][0]["body"] is None
    assert large["requests"][0]["bytes"] > 300 << 10
    assert len(answer["requests"]) == 100
    assert answer["requests"][0]["body"]["messages"][0]["content"] == "0"


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_older_completions_are_there(stream: bool):
    asked: Any = {"model": "echo", "prompt": "\n\nHuman: one two\n\nAssistant:", "max_tokens_to_sample": 99}
    async with serving("anthropic-completions") as url, anthropic_client(url) as client:
        raw: Any = await client.post("/v1/complete", body={**asked, "stream": stream}, cast_to=str)
        with pytest.raises(anthropic.BadRequestError, match="Human"):
            await client.post("/v1/complete", body={**asked, "prompt": "one"}, cast_to=object)
    pieces = [line.removeprefix("data: ") for line in raw.split("\n") if line.startswith("data: ")] or [raw]
    told = [msgspec.json.decode(piece) for piece in pieces]
    assert "".join(piece["completion"] for piece in told) == "one two"
    assert (told[-1]["stop_reason"], told[-1]["stop"]) == ("stop_sequence", "\n\nHuman:")


async def test_the_anthropic_client_counts_tokens():
    async with serving() as url, anthropic_client(url) as client:
        counted = await client.messages.count_tokens(model="echo", messages=HELLO)
    assert counted.input_tokens == 9


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_told_in_both_formats(stream: bool):
    async with serving() as url, openai_client(url) as one, anthropic_client(url) as other:
        if stream:
            async with one.chat.completions.stream(model="refuse", messages=HELLO) as events:
                chat: Any = await events.get_final_completion()
            async with other.messages.stream(model="refuse", max_tokens=99, messages=HELLO) as told:
                message: Any = await told.get_final_message()
        else:
            chat = await one.chat.completions.create(model="refuse", messages=HELLO)
            message = await other.messages.create(model="refuse", max_tokens=99, messages=HELLO)
    assert chat.choices[0].message.refusal == "I will not help with that."
    assert chat.choices[0].message.content == ("" if stream else None)  # a stream begins before anything is known
    assert message.stop_reason == "refusal"


async def test_a_port_that_is_taken_is_told():
    server = SimulatorServer()
    async with serving() as url:
        with pytest.raises(OSError, match="in use"):
            await server.listen("127.0.0.1", int(url.rpartition(":")[2]))
    await server.aclose()
