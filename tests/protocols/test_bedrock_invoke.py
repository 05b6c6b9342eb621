"""Bedrock's InvokeModel: each family's requests by its documentation, and every recorded answer."""

import json
from base64 import b64decode, b64encode
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from fairlead import errors
from fairlead.chat import (
    Event,
    Finish,
    Media,
    Message,
    Opaque,
    PartDelta,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    fold,
)
from fairlead.errors import InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import aws_eventstream, is_inbound, is_outbound
from fairlead.protocols.aws_eventstream import EventCutter
from fairlead.protocols.bedrock_invoke import BedrockInvoke
from fairlead.protocols.codecs import bedrock_models
from protocols_recordings import Recording, recordings

FORMAT = BedrockInvoke()
CLAUDE, LEGACY = "anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-v2:1"
NOVA, TITAN = "us.amazon.nova-lite-v1:0", "amazon.titan-text-express-v1"
LLAMA2, LLAMA3, LLAMA4 = "meta.llama2-13b-chat-v1", "us.meta.llama3-1-8b-instruct-v1:0", "meta.llama4-scout-17b"
COMMAND, COMMAND_R = "cohere.command-text-v14", "cohere.command-r-plus-v1:0"
MISTRAL, MISTRAL_CHAT = "mistral.mistral-7b-instruct-v0:2", "mistral.mistral-large-2407-v1:0"
USER = Message("user", (Text("hi"),))
TALK = (
    Message("system", (Text("Be brief."),)), USER, Message("assistant", (Text("hello"),)),
    Message("user", (Text("and?"),)),
)  # fmt: skip
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2, "invocationLatency": 1}}


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def chunk(told: Any) -> bytes:
    data = told if isinstance(told, bytes) else msgspec.json.encode(told)
    payload = msgspec.json.encode({"bytes": b64encode(data).decode(), "p": "abc"})
    return aws_eventstream.event([(":event-type", "chunk"), (":message-type", "event")], payload)


def heard(events: list[bytes]) -> list[Event]:
    decode = FORMAT.event_decoder()
    return [each for event in [*events, b""] for each in decode(event)]


def streamed(*chunks: Any) -> Response:
    return fold(heard([chunk(each) for each in chunks]))


def decoded(told: Any) -> Response:
    return FORMAT.decode_response(msgspec.json.encode(told))


def asked(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = FORMAT.encode_request(request, default_max_tokens=4096)
    return json.loads(encoded.body), encoded.dropped


# ---- every recording


def chats(operations: tuple[str, ...]) -> list[Any]:
    """But those that embed."""
    return [each for each in recordings("bedrock", operations) if "embed" not in str(each.id)]


def texts(told: dict[str, Any]) -> str:
    """What an answer or a chunk of any family says, found without knowing which it is."""
    if told.get("index") and "event_type" not in told and "delta" not in told:
        return ""
    found: list[Any] = [told.get(name) for name in ("completion", "generation", "outputText")]
    found += [told["text"] if "type" not in told and "text" in told else None]
    for several in ("generations", "results", "outputs"):
        found += [each.get("text", each.get("outputText")) for each in told.get(several, [])[:1]]
    if isinstance(told.get("content"), list):
        found += [block.get("text") for block in told["content"]]
    found += [told.get("delta", {}).get("text"), told.get("contentBlockDelta", {}).get("delta", {}).get("text")]
    return "".join(text for text in found if isinstance(text, str))


REASONS = {
    "end_turn": "stop", "max_tokens": "length", "stop_sequence": "stop", "length": "length", "stop": "stop",
    "FINISH": "stop", "COMPLETE": "stop", "MAX_TOKENS": "length",
}  # fmt: skip


def why(told: Any) -> Any:
    """The last reason that stands anywhere in `told`."""
    found = None
    for each in told if isinstance(told, list) else told.values() if isinstance(told, dict) else ():
        found = why(each) or found
    for name in ("stop_reason", "finish_reason", "completionReason", "stopReason"):
        found = (isinstance(told, dict) and told.get(name)) or found
    return found


@pytest.mark.parametrize("recording", chats(("invoke",)))
def test_a_recorded_answer_is_read(recording: Recording) -> None:
    body = recording.whole["response"]["body"]
    headers = {name.lower().encode(): value.encode() for name, value in recording.whole["response"]["headers"].items()}
    found = FORMAT.decode_response(recording.response, headers)
    assert "".join(part.text for part in found.parts if isinstance(part, Text)) == texts(body)
    assert (found.raw_reason, found.finish_reason) == (why(body), REASONS[why(body)])
    count = {name: int(headers.get(b"x-amzn-bedrock-%b-token-count" % name, 0)) for name in
             (b"input", b"output", b"cache-read-input", b"cache-write-input")}  # fmt: skip
    read, written = count[b"cache-read-input"], count[b"cache-write-input"]
    expected = Usage(count[b"input"] + read + written, count[b"output"], read, written)
    assert found.usage == expected
    told = FORMAT.decode_response(recording.response).usage
    assert told == (None if "completion" in body or "generations" in body else expected)  # some tell it in headers only


@pytest.mark.parametrize("recording", chats(("invoke_stream",)))
def test_a_recorded_stream_is_read(recording: Recording) -> None:
    whole = b64decode(recording.whole["response"]["eventstream_b64"])
    events = EventCutter(1 << 24).feed(whole)
    cutter = EventCutter(1 << 24)
    assert [event for at in range(0, len(whole), 9) for event in cutter.feed(whole[at : at + 9])] == events
    chunks = [json.loads(b64decode(json.loads(aws_eventstream.message(each).payload)["bytes"])) for each in events]
    found = fold(heard(events))
    assert "".join(part.text for part in found.parts if isinstance(part, Text)) == "".join(map(texts, chunks))
    assert (found.raw_reason, found.finish_reason) == (why(chunks), REASONS[why(chunks)])
    metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
    assert found.usage == Usage(metrics["inputTokenCount"], metrics["outputTokenCount"])


# ---- models


@pytest.mark.parametrize(
    ("model", "bare"),
    [
        (CLAUDE, CLAUDE), (NOVA, "amazon.nova-lite-v1:0"), ("eu." + CLAUDE, CLAUDE), ("apac." + CLAUDE, CLAUDE),
        ("global." + CLAUDE, CLAUDE), ("us-gov." + CLAUDE, CLAUDE),
        ("arn:aws:bedrock:us-east-1::foundation-model/" + CLAUDE, CLAUDE),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us." + CLAUDE, CLAUDE),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", "abc"), ("us.", "us."),
    ],
)  # fmt: skip
def test_what_model_it_is(model: str, bare: str) -> None:
    assert bedrock_models.bare(model) == bare


@pytest.mark.parametrize(
    "model", ["amazon.titan-embed-text-v2:0", "arn:aws:bedrock:x:1:application-inference-profile/y"]
)
def test_a_model_whose_format_is_not_known_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequest, match="bedrock-converse") as caught:
        asked(Request(model, (USER,)))
    assert caught.value.param == "model"


def test_the_path_and_the_roles() -> None:
    assert FORMAT.path(LEGACY, False) == "/model/anthropic.claude-v2%3A1/invoke"
    assert FORMAT.path(LEGACY, True) == "/model/anthropic.claude-v2%3A1/invoke-with-response-stream"
    assert is_outbound(FORMAT)
    assert not is_inbound(FORMAT)


# ---- requests


def test_anthropics_messages_have_their_version_in_the_body() -> None:
    for model in (CLAUDE, "us." + CLAUDE, "arn:aws:bedrock:us-east-1::foundation-model/" + CLAUDE):
        body, dropped = asked(Request(model, TALK, stream=True, service_tier="auto", temperature=0.5))
        assert body == {
            "anthropic_version": "bedrock-2023-05-31", "max_tokens": 4096, "system": "Be brief.", "temperature": 0.5,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "hello"}]},
                {"role": "user", "content": [{"type": "text", "text": "and?"}]},
            ],
        }  # fmt: skip
        assert dropped == ()
    assert asked(Request(CLAUDE, TALK, service_tier="standard_only", seed=1))[1] == ("seed", "service_tier")
    with pytest.raises(InvalidRequest):
        asked(Request(CLAUDE, (Message("user", (Media("image", url="https://a.example/b.png"),)),)))


def test_nova_takes_almost_what_converse_does() -> None:
    request = Request(
        NOVA, TALK, max_tokens=9, top_k=3, stop=("END",), tools=(Tool("get"),), tool_choice=ToolChoice("required"),
        response_format=ResponseFormat("json_schema", schema=Raw(b"{}")), user="me", temperature=0.1,
    )  # fmt: skip
    body, dropped = asked(request)
    tool = {"toolSpec": {"name": "get", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    assert body == {
        "schemaVersion": "messages-v1", "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [{"text": "hello"}]},
            {"role": "user", "content": [{"text": "and?"}]},
        ],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.1, "stopSequences": ["END"], "topK": 3},
        "toolConfig": {"tools": [tool], "toolChoice": {"any": {}}},
    }  # fmt: skip
    assert dropped == ("response_format", "user")
    body, _ = asked(Request("amazon.nova-2-lite-v1:0", (USER,), thinking=Thinking(effort="low")))
    assert body["inferenceConfig"] == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}
    with pytest.raises(InvalidRequest):
        asked(Request(NOVA, (Message("user", (Media("document", "text/plain", text="x"),)),)))


SETTINGS: dict[str, Any] = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ("END",)}


@pytest.mark.parametrize(
    ("model", "body", "dropped"),
    [
        (
            LEGACY,
            {
                "prompt": "Be brief.\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant:",
                "max_tokens_to_sample": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["END"],
            },
            (),
        ),
        (
            TITAN,
            {
                "inputText": "Be brief.\nUser: hi\nBot: hello\nUser: and?\nBot:",
                "textGenerationConfig": {"maxTokenCount": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
            },
            ("top_k",),
        ),
        (
            LLAMA2,
            {
                "prompt": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nhi [/INST] hello </s><s>[INST] and? [/INST]",
                "max_gen_len": 9, "temperature": 0.5, "top_p": 0.9,
            },
            ("stop", "top_k"),
        ),
        (
            LLAMA3,
            {
                "prompt": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\nhello<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nand?<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
                "max_gen_len": 9, "temperature": 0.5, "top_p": 0.9,
            },
            ("stop", "top_k"),
        ),
        (
            LLAMA4,
            {
                "prompt": "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
                "<|header_start|>user<|header_end|>\n\nhi<|eot|><|header_start|>assistant<|header_end|>\n\nhello<|eot|>"
                "<|header_start|>user<|header_end|>\n\nand?<|eot|><|header_start|>assistant<|header_end|>\n\n",
                "max_gen_len": 9, "temperature": 0.5, "top_p": 0.9,
            },
            ("stop", "top_k"),
        ),
        (
            COMMAND,
            {
                "prompt": "Be brief.\n\nUser: hi\nChatbot: hello\nUser: and?\nChatbot:", "max_tokens": 9,
                "temperature": 0.5, "p": 0.9, "k": 3, "stop_sequences": ["END"],
            },
            (),
        ),
        (
            MISTRAL,
            {
                "prompt": "<s>[INST] Be brief.\n\nhi [/INST] hello</s> [INST] and? [/INST]", "max_tokens": 9,
                "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ["END"],
            },
            (),
        ),
    ],
)  # fmt: skip
def test_models_that_go_on_with_a_text(model: str, body: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert asked(Request(model, TALK, **SETTINGS)) == (body, dropped)


def test_what_a_text_cannot_say() -> None:
    thought = Message("assistant", (Reasoning("hm"), Text("x", cache=Raw(b"{}"))))
    request = Request(
        TITAN, (USER, thought, USER), tools=(Tool("get"),), tool_choice=ToolChoice("auto"), seed=1, user="me",
        extra={"logit_bias": Opaque("openai-chat", raw({"1": 1}))}, thinking=Thinking(effort="low"), temperature=1.5,
    )  # fmt: skip
    body, dropped = asked(request)
    assert body["textGenerationConfig"] == {"temperature": 1.0}
    names = "cache_control logit_bias reasoning seed temperature thinking tool_choice tools user"
    assert dropped == tuple(names.split())
    assert asked(Request(LEGACY, (USER,)))[0]["max_tokens_to_sample"] == 4096
    assert asked(Request(COMMAND, (USER,)))[0] == {"prompt": "hi"}
    begun = (USER, Message("assistant", (Text("It is"),)))
    assert asked(Request(LEGACY, begun))[0]["prompt"] == "\n\nHuman: hi\n\nAssistant: It is"
    assert asked(Request(LLAMA3, begun))[0]["prompt"].endswith("\n\nIt is")
    assert asked(Request(MISTRAL, begun))[0]["prompt"] == "<s>[INST] hi [/INST] It is"
    for part in (Media("image", data="aGk="), ToolUse("a", "b"), ToolResult("a")):
        with pytest.raises(InvalidRequest) as caught:
            asked(Request(TITAN, (Message("user", (part,)),)))
        assert caught.value.param == "messages"


def test_command_r_has_a_message_and_a_history() -> None:
    body, _ = asked(Request(COMMAND_R, TALK, stream=True, top_p=0.9, max_tokens=9))
    assert (body["message"], body["preamble"], body["p"], body["max_tokens"]) == ("and?", "Be brief.", 0.9, 9)
    assert [turn["role"] for turn in body["chat_history"]] == ["USER", "CHATBOT"]
    assert not body.keys() & {"model", "stream"}


@pytest.mark.parametrize("model", [MISTRAL_CHAT, "openai.gpt-oss-20b-1:0", "qwen.qwen3-32b-v1:0", "deepseek.v3-v1:0"])
def test_open_models_take_chat_completions(model: str) -> None:
    body, dropped = asked(Request(model, TALK, stream=True, max_tokens=9))
    assert body == {
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and?"},
        ],
        "max_tokens": 9,
    }  # fmt: skip
    assert dropped == ()


# ---- answers


ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip
NOVA_ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}}, "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cacheReadInputTokenCount": 0},
}  # fmt: skip
COMMAND_R_ANSWER = {
    "response_id": "r", "generation_id": "g", "text": "hello", "finish_reason": "COMPLETE",
    "chat_history": [{"role": "USER", "message": "hi"}],
}  # fmt: skip
MISTRAL_ANSWER = {
    "id": "m", "object": "chat.completion", "model": "mistral", "created": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "stop_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "messages": ANTHROPIC,
    "completion": {"type": "completion", "completion": "hello", "stop_reason": "stop_sequence", "stop": "\n\nHuman:"},
    "nova": NOVA_ANSWER,
    "titan": {
        "inputTextTokenCount": 3,
        "results": [{"tokenCount": 2, "outputText": "hello", "completionReason": "FINISH"}],
    },
    "llama": {"generation": "hello", "prompt_token_count": 3, "generation_token_count": 2, "stop_reason": "stop"},
    "command": {"id": "c", "generations": [{"id": "g", "text": "hello", "finish_reason": "COMPLETE"}], "prompt": "hi"},
    "command-r": COMMAND_R_ANSWER,
    "mistral": {"outputs": [{"text": "hello", "stop_reason": "stop"}]},
    "mistral-chat": MISTRAL_ANSWER,
    "deepseek": {"choices": [{"text": "hello", "stop_reason": "stop"}]},
}


@pytest.mark.parametrize("family", ANSWERS)
def test_an_answer_is_known_by_its_shape(family: str) -> None:
    found = decoded(ANSWERS[family])
    assert found.parts == (Text("hello"),)
    assert found.finish_reason == "stop"
    assert found.usage in (Usage(3, 2), None)
    assert (found.usage is None) == (family in ("completion", "command", "command-r", "mistral", "deepseek"))


STREAMS: dict[str, list[Any]] = {
    "messages": [
        {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop", **METRICS},
    ],
    "completion": [
        {"type": "completion", "completion": "hel", "stop_reason": None, "stop": None},
        {"type": "completion", "completion": "lo", "stop_reason": "stop_sequence", "stop": "\n\nHuman:", **METRICS},
    ],
    "nova": [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "hello"}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2}, "metrics": {}}, **METRICS},
    ],
    "titan": [
        {"outputText": "hel", "index": 0.0, "inputTextTokenCount": 3.0},
        {"outputText": "lo", "index": 0, "totalOutputTextTokenCount": 2, "completionReason": "FINISH", **METRICS},
    ],
    "llama": [
        {"generation": "hel", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None},
        {"generation": "lo", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": "stop"},
    ],
    "command": [
        {"index": 0, "is_finished": False, "text": "hello"},
        {"index": 1, "is_finished": False, "text": "unasked"},
        {"finish_reason": "COMPLETE", "is_finished": True, **METRICS},
    ],
    "command-r": [
        {"event_type": "stream-start", "is_finished": False, "generation_id": "g"},
        {"event_type": "text-generation", "is_finished": False, "text": "hello"},
        {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": COMMAND_R_ANSWER,
         **METRICS},
    ],
    "mistral": [
        {"outputs": [{"text": "hel", "stop_reason": None}]},
        {"outputs": [{"text": "lo", "stop_reason": "stop"}], **METRICS},
    ],
    "mistral-chat": [
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hel"}, "stop_reason": None}]},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "lo"}, "stop_reason": "stop"}],
         **METRICS},
    ],
    "openai": [
        {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hello"}}]},
        {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **METRICS},
    ],
    "deepseek": [{"choices": [{"text": "hel"}]}, {"choices": [{"text": "lo", "stop_reason": "stop"}], **METRICS}],
}  # fmt: skip


@pytest.mark.parametrize("family", STREAMS)
def test_a_stream_is_known_by_its_first_chunk(family: str) -> None:
    found = streamed(*STREAMS[family])
    assert found.parts == (Text("hello"),)
    assert found.finish_reason == "stop"
    assert found.usage == Usage(3, 2)


@pytest.mark.parametrize("family", STREAMS)
def test_a_stream_that_breaks_off_is_not_taken_for_whole(family: str) -> None:
    with pytest.raises(UpstreamBroken) as caught:
        streamed(*STREAMS[family][:1])
    assert caught.value.outcome_unknown
    with pytest.raises(UpstreamBroken):
        heard([])


@pytest.mark.parametrize(
    ("told", "reason", "stop"),
    [
        ({"completion": "x", "stop_reason": "stop_sequence", "stop": "END"}, "stop_sequence", "END"),
        ({"completion": "x", "stop_reason": "max_tokens", "stop": None}, "length", None),
        ({"results": [{"outputText": "x", "completionReason": "LENGTH"}]}, "length", None),
        ({"results": [{"outputText": "x", "completionReason": "CONTENT_FILTERED"}]}, "content_filter", None),
        ({"generations": [{"text": "x", "finish_reason": "ERROR_TOXIC"}]}, "content_filter", None),
        ({"outputs": [{"text": "x", "stop_reason": "length"}]}, "length", None),
        ({"generation": "x", "stop_reason": None, "amazon-bedrock-guardrailAction": "INTERVENED"}, "content_filter",
         None),
    ],
)  # fmt: skip
def test_reasons(told: Any, reason: str, stop: str | None) -> None:
    found = decoded(told)
    assert (found.finish_reason, found.stop_sequence) == (reason, stop)


def test_tools_of_the_chats() -> None:
    use = {"type": "tool_use", "id": "t", "name": "get", "input": {"a": 1}}
    assert decoded({**ANTHROPIC, "content": [use]}).parts == (ToolUse("t", "get", '{"a":1}'),)
    call = {"id": "t", "function": {"name": "get", "arguments": '{"a":1}'}}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "stop_reason": "tool_calls"}
    found = decoded({"choices": [choice]})
    assert (found.parts, found.finish_reason) == ((ToolUse("t", "get", '{"a":1}'),), "tool_use")
    found = decoded({**COMMAND_R_ANSWER, "text": "", "tool_calls": [{"name": "get", "parameters": {"a": 1}}]})
    (part,) = found.parts
    assert isinstance(part, ToolUse)
    assert (part.name, json.loads(part.arguments), len(part.id)) == ("get", {"a": 1}, 29)


def test_usage_counts_though_the_stream_breaks_off() -> None:
    decode = FORMAT.event_decoder()
    decode(chunk(STREAMS["llama"][0]))
    assert decode.usage == Usage(3, 1)


def test_the_cache_is_beside_the_input_in_metrics() -> None:
    metrics = {
        "inputTokenCount": 3,
        "outputTokenCount": 2,
        "cacheReadInputTokenCount": 4,
        "cacheWriteInputTokenCount": 5,
    }
    last = {"outputs": [{"text": "x", "stop_reason": "stop"}], "amazon-bedrock-invocationMetrics": metrics}
    assert streamed(last).usage == Usage(12, 2, cached_tokens=4, cache_write_tokens=5)


def test_errors_whole_and_streamed() -> None:
    headers = [(":message-type", "exception"), (":exception-type", "throttlingException")]
    with pytest.raises(errors.RateLimited):
        heard([chunk(STREAMS["llama"][0]), aws_eventstream.event(headers, b'{"message":"slow"}')])
    with pytest.raises(UpstreamError):
        streamed({"type": "error", "error": {"type": "overloaded_error", "message": "no"}})
    with pytest.raises(errors.RateLimited):
        decoded({"message": "slow", "__type": "ThrottlingException"})
    found = FORMAT.decode_error(400, b'{"message":"no"}', {b"x-amzn-errortype": b"ValidationException"})
    assert (type(found), found.message) == (errors.UpstreamRefused, "no")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"embedding":[1]}', b'{"choices":1}', b'{"output":1}'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        FORMAT.decode_response(body)


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"bytes":1}', b'{"bytes":"*"}', b'{"bytes":"AAAA"}', b"\xff"])
def test_what_is_no_chunk_is_refused(payload: bytes) -> None:
    event = aws_eventstream.event([(":event-type", "chunk"), (":message-type", "event")], payload)
    with pytest.raises(UpstreamBroken):
        heard([event])


def test_other_events_and_lines_within_json_are_passed_over() -> None:
    other = aws_eventstream.event([(":event-type", "news"), (":message-type", "event")], b"?")
    first = json.dumps(STREAMS["openai"][0], indent=1).encode()
    events = heard([other, chunk(first), chunk(STREAMS["openai"][1])])
    assert [event.text for event in events if isinstance(event, PartDelta)] == ["hello"]
    assert isinstance(events[-1], Finish)
