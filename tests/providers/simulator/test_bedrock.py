"""Bedrock, with AWS's own SDK as its client, which checks each message of an event stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import cache
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from jsonschema import validate

from fairlead.providers.simulator.replies import Simulator
from serving import serving

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"],
}
TOOLS = {
    "tools": [
        {"toolSpec": {"name": "one", "description": "the first", "inputSchema": {"json": SCHEMA}}},
        {"toolSpec": {"name": "two", "inputSchema": {"json": SCHEMA}}},
    ]
}


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text} for text in texts]}


HELLO = [user("hello, wörld 🙂")]


@cache
def session() -> Any:
    return botocore.session.Session()


@asynccontextmanager
async def asking(
    *protocols: str, credential: str | None = None, key: str = "AKID"
) -> AsyncIterator[Callable[..., Any]]:
    """Calls the named operation of a client, in a thread of its own."""
    async with serving(*protocols, credential=credential) as url:
        client = await asyncio.to_thread(
            session().create_client,
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 1}),
        )

        async def call(operation: str, **asked: Any) -> Any:
            return await asyncio.to_thread(lambda: collected(getattr(client, operation)(**asked)))

        yield call
        client.close()


def collected(answer: Any) -> Any:
    """An answer with its stream read to the end."""
    for name in ("stream", "body"):
        if name in answer:
            with closing(answer[name]) as stream:
                answer[name] = stream.read() if hasattr(stream, "read") else list(stream)
    return answer


async def answered(call: Callable[..., Any], *, stream: bool, **asked: Any) -> dict[str, Any]:
    """A whole answer, put together if it came in events."""
    asked = {"messages": HELLO, **asked}
    if not stream:
        told: dict[str, Any] = await call("converse", **asked)
        return told
    blocks: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": []}}}
    for event in (await call("converse_stream", **asked))["stream"]:
        for name, fields in event.items():
            block = blocks.setdefault(fields.get("contentBlockIndex", -1), {})
            if name == "contentBlockStart":
                block["toolUse"] = {**fields["start"]["toolUse"], "input": ""}
            elif name == "contentBlockDelta":
                _add(block, fields["delta"])
            elif name in ("messageStop", "metadata"):
                whole |= fields
    blocks.pop(-1)
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = msgspec.json.decode(block["toolUse"]["input"])
    whole["output"]["message"]["content"] = list(blocks.values())
    return whole


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    else:
        thought = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
        told = delta["reasoningContent"]
        thought["text"] += told.get("text", "")
        thought |= {"signature": told["signature"]} if "signature" in told else {}


def content_of(told: dict[str, Any]) -> list[Any]:
    content: list[Any] = told["output"]["message"]["content"]
    return content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["echo", "us.anthropic.claude-echo", "arn:aws:bedrock:us-east-1:1:profile/sim"])
async def test_words_come_back(stream: bool, model: str):
    async with asking("bedrock-converse") as call:
        told = await answered(call, stream=stream, modelId=model)
    assert content_of(told) == [{"text": "hello, wörld 🙂"}]
    assert told["stopReason"] == "end_turn"
    usage = told["usage"]
    assert (usage["inputTokens"], usage["outputTokens"], usage["totalTokens"]) == (9, 5, 14)


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_come_and_their_results_are_summed_up(stream: bool):
    async with asking() as call:
        told = await answered(call, stream=stream, modelId="tools", toolConfig=TOOLS)
        uses = [block["toolUse"] for block in content_of(told)]
        results = [
            {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "sunny"}], "status": "success"}}
            for use in uses
        ]
        talk = [*HELLO, told["output"]["message"], {"role": "user", "content": results}]
        summed = await answered(call, stream=stream, modelId="tools", toolConfig=TOOLS, messages=talk)
        talk[-1] = {"role": "user", "content": results[:1]}
        with pytest.raises(ClientError, match="Expected toolResult blocks at"):
            await answered(call, stream=stream, modelId="tools", toolConfig=TOOLS, messages=talk)
    assert told["stopReason"] == "tool_use"
    assert [use["name"] for use in uses] == ["one", "two"]
    for use in uses:
        validate(use["input"], SCHEMA)
    assert content_of(summed) == [{"text": "The tools say: sunny; sunny"}]


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_are_signed_and_known_again(stream: bool):
    async with asking() as call:
        told = await answered(call, stream=stream, modelId="thinking")
        talk = [*HELLO, told["output"]["message"], user("again")]
        again = await answered(call, stream=stream, modelId="echo", messages=talk)
        content_of(told)[0]["reasoningContent"]["reasoningText"]["signature"] = "of somebody else"
        with pytest.raises(ClientError, match="Invalid `signature`"):
            await answered(call, stream=stream, modelId="echo", messages=talk)
    assert content_of(again) == [{"text": "again"}]
    assert content_of(told)[1] == {"text": "Having thought about it: hello, wörld 🙂"}


@pytest.mark.parametrize("stream", [False, True])
async def test_json_comes_by_its_schema(stream: bool):
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": msgspec.json.encode(SCHEMA).decode()}}}
    async with asking() as call:
        told = await answered(call, stream=stream, modelId="json", outputConfig={"textFormat": form})
    validate(msgspec.json.decode(content_of(told)[0]["text"]), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "settings", "reason"),
    [
        ("refuse", {}, "content_filtered"),
        ("long", {"maxTokens": 20}, "max_tokens"),
        ("echo", {"stopSequences": ["wörld"]}, "stop_sequence"),
    ],
)
async def test_why_it_ends_is_told(stream: bool, model: str, settings: dict[str, Any], reason: str):
    async with asking() as call:
        told = await answered(
            call,
            stream=stream,
            modelId=model,
            inferenceConfig=settings,
            additionalModelResponseFieldPaths=["/stop_sequence"],
        )
    assert told["stopReason"] == reason
    assert told["additionalModelResponseFields"]["stop_sequence"] == settings.get("stopSequences", [None])[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_cached_stands_beside_the_input(stream: bool):
    system = [{"text": "abcdefgh"}, {"cachePoint": {"type": "default"}}]
    written = [{"role": "user", "content": [{"text": "abcd"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]}]
    async with asking() as call:
        read = await answered(call, stream=stream, modelId="echo", system=system)
        wrote = await answered(call, stream=stream, modelId="echo", system=system, messages=written)
    assert (read["usage"]["cacheReadInputTokens"], read["usage"]["inputTokens"]) == (6, 9)
    assert (wrote["usage"]["cacheWriteInputTokens"], wrote["usage"]["inputTokens"]) == (5, 0)
    assert wrote["usage"]["cacheDetails"] == [{"inputTokens": 5, "ttl": "1h"}]


async def test_parallel_calls_can_be_off():
    more = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    async with asking() as call:
        told = await answered(call, stream=False, modelId="tools", toolConfig=TOOLS, additionalModelRequestFields=more)
    assert len(content_of(told)) == 1


async def test_errors_have_their_names():
    async with asking(credential="AKID", key="wrong") as call:
        with pytest.raises(ClientError) as refused:
            await answered(call, stream=False, modelId="echo")
        assert refused.value.response["Error"]["Code"] == "UnrecognizedClientException"
    async with asking(credential="AKID") as call:
        with pytest.raises(ClientError) as slow:
            await answered(call, stream=True, modelId="echo+status=429")
        assert slow.value.response["Error"]["Code"] == "ThrottlingException"
        with pytest.raises(EventStreamError, match="modelStreamErrorException"):
            await answered(call, stream=True, modelId="echo+error=2")


# ---- models that are invoked in their own format

WORDS = "hello, wörld 🙂"
CHAT = {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 500}
CLAUDE = {**CHAT, "anthropic_version": "bedrock-2023-05-31"}
NOVA = {"schemaVersion": "messages-v1", "messages": HELLO, "inferenceConfig": {"max_new_tokens": 500}}
LLAMA3 = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant"
FAMILIES: dict[str, dict[str, Any]] = {
    "anthropic.claude": CLAUDE,
    "us.anthropic.claude": CLAUDE,
    "anthropic.claude-v2": {"prompt": f"\n\nHuman: {WORDS}\n\nAssistant:", "max_tokens_to_sample": 500},
    "amazon.nova": NOVA,
    "amazon.titan-text": {"inputText": f"User: {WORDS}\nBot:", "textGenerationConfig": {"maxTokenCount": 500}},
    "meta.llama2": {"prompt": f"<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n{WORDS} [/INST]", "max_gen_len": 500},
    "meta.llama3": {"prompt": LLAMA3.format(WORDS), "max_gen_len": 500},
    "cohere.command": {"prompt": WORDS, "max_tokens": 500},
    "cohere.command-r": {"message": WORDS, "max_tokens": 500},
    "mistral.mixtral": {"prompt": f"<s>[INST] {WORDS} [/INST]", "max_tokens": 500},
    "mistral.mistral-large": CHAT,
    "openai.gpt-oss": CHAT,
}


def words_of(told: Any) -> str:
    """The texts of an answer, or of a piece of one, wherever its family has them."""
    if isinstance(told, list):
        return "".join(map(words_of, told))
    if not isinstance(told, dict) or "response" in told:
        return ""
    names = ("text", "completion", "outputText", "generation", "content")
    own = "".join(told[name] for name in names if isinstance(told.get(name), str))
    return own or "".join(map(words_of, told.values()))


async def invoked(call: Callable[..., Any], model: str, asked: dict[str, Any]) -> Any:
    return await call("invoke_model", modelId=model, body=msgspec.json.encode(asked))


async def pieces(call: Callable[..., Any], model: str, asked: dict[str, Any]) -> list[Any]:
    answer = await call("invoke_model_with_response_stream", modelId=model, body=msgspec.json.encode(asked))
    return [msgspec.json.decode(event["chunk"]["bytes"]) for event in answer["body"]]


@pytest.mark.parametrize("family", FAMILIES)
async def test_each_family_is_answered_in_its_own_format(family: str):
    async with asking("bedrock-invoke") as call:
        whole = await invoked(call, f"{family}-echo", FAMILIES[family])
        told = await pieces(call, f"{family}-echo", FAMILIES[family])
    body = msgspec.json.decode(whole["body"])
    body.pop("chat_history", None)
    assert words_of(body) == words_of(told) == WORDS
    headers = whole["ResponseMetadata"]["HTTPHeaders"]
    metrics = told[-1]["amazon-bedrock-invocationMetrics"]
    assert headers["x-amzn-bedrock-output-token-count"] == str(metrics["outputTokenCount"]) == "5"
    assert headers["x-amzn-bedrock-input-token-count"] == str(metrics["inputTokenCount"])


@pytest.mark.parametrize("family", FAMILIES)
async def test_each_family_says_why_it_ends(family: str):
    short = msgspec.json.decode(msgspec.json.encode(FAMILIES[family]).replace(b":500", b":20"))
    async with asking() as call:
        whole = await invoked(call, f"{family}-long", short)
        told = await pieces(call, f"{family}-long", short)
    for said in (whole["body"], msgspec.json.encode(told)):
        assert any(reason in said for reason in (b'"max_tokens"', b'"length"', b'"LENGTH"', b'"MAX_TOKENS"'))


async def test_anthropics_messages_have_thoughts_and_tools_there_too():
    tools = [{"name": name, "input_schema": SCHEMA} for name in ("one", "two")]
    async with asking() as call:
        called = msgspec.json.decode(
            (await invoked(call, "anthropic.claude-tools", {**CLAUDE, "tools": tools}))["body"]
        )
        thought = await pieces(call, "anthropic.claude-thinking", CLAUDE)
        with pytest.raises(ClientError, match="extraneous key"):
            await invoked(call, "anthropic.claude-echo", {**CLAUDE, "stream": True})
        with pytest.raises(ClientError, match="anthropic_version"):
            await invoked(call, "anthropic.claude-echo", CHAT)
        with pytest.raises(ClientError, match="model identifier is invalid"):
            await invoked(call, "claude-echo", CLAUDE)
        with pytest.raises(EventStreamError, match="modelStreamErrorException"):
            await pieces(call, "anthropic.claude-echo+error=2", CLAUDE)
    assert [block["name"] for block in called["content"]] == ["one", "two"]
    signatures = [event["delta"]["signature"] for event in thought if "signature" in event.get("delta", {})]
    assert signatures[0].startswith("sim-")


async def test_tokens_are_counted_in_either_format():
    async with asking() as call:
        one = await call("count_tokens", modelId="anthropic.claude", input={"converse": {"messages": HELLO}})
        body = msgspec.json.encode(CLAUDE)
        other = await call("count_tokens", modelId="anthropic.claude", input={"invokeModel": {"body": body}})
    assert one["inputTokens"] == other["inputTokens"] == 9


# ---- what is refused


def told(target: str, asked: object) -> tuple[int, Any]:
    """Status and body of the reply to `asked`."""
    reply = Simulator().reply("POST", target, {}, msgspec.json.encode(asked))
    return reply.status, msgspec.json.decode(b"".join(chunk.data for chunk in reply.chunks))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"messages": []}, "must start with a user message"),
        ({"messages": [user(" ")]}, "is blank"),
        ({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}, "exactly one member"),
        ({"messages": [{"role": "user", "content": [{"image": {"format": "bmp"}}]}]}, "'messages.0.content.0.image"),
        ({"messages": [{"role": "user", "content": [{"cachePoint": {"type": "default"}}]}]}, "cannot be the first"),
        ({"toolConfig": {"tools": []}}, "length >= 1"),
        ({"inferenceConfig": {"maxTokens": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_bedrock_would_refuse_is_refused(more: dict[str, Any], message: str):
    status, body = told("/model/echo/converse", {"messages": HELLO, **more})
    assert status == 400
    assert message in body["message"]
