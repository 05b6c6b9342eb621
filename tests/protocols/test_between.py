"""Between the two formats: a client of one is served by an endpoint of the other, and what both know is kept."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import anthropic.types as anthropic_sdk
import msgspec
import openai.types.chat as openai_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fairlead import errors
from fairlead.chat import (
    Event,
    FinishReason,
    Part,
    PartDelta,
    PartStart,
    Reasoning,
    Response,
    Text,
    ToolUse,
    Usage,
    fold,
    tell,
)
from fairlead.protocols import ChatProtocol
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import EventCutter
from protocols_recordings import Recording, recordings

OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
SDK_EVENT: TypeAdapter[Any] = TypeAdapter(anthropic_sdk.RawMessageStreamEvent)
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def to_anthropic(**body: Any) -> Any:
    """What an Anthropic endpoint is asked when an OpenAI client asks `body`."""
    return asked(OPENAI, ANTHROPIC, {"model": "m", **body})


def to_openai(**body: Any) -> Any:
    """What an OpenAI endpoint is asked when an Anthropic client asks `body`."""
    return asked(ANTHROPIC, OPENAI, {"model": "m", "max_tokens": 100, **body})


def asked(client: ChatProtocol, endpoint: ChatProtocol, body: dict[str, Any]) -> Any:
    request = client.decode_request(msgspec.json.encode(body))
    return msgspec.json.decode(endpoint.encode_request(request, default_max_tokens=4096).body)


def answered(endpoint: ChatProtocol, client: ChatProtocol, body: bytes) -> Any:
    """A whole answer of `endpoint`, as `client` gets it."""
    return msgspec.json.decode(client.encode_response(endpoint.decode_response(body)))


def heard(protocol: ChatProtocol, stream: bytes) -> list[Event]:
    decode = protocol.event_decoder()
    return [event for raw in [*EventCutter(1 << 25).feed(stream), b""] for event in decode(raw)]


def told(protocol: ChatProtocol, events: Iterable[Event], *, include_usage: bool = True) -> bytes:
    encode = protocol.event_encoder(include_usage=include_usage)
    return b"".join(encode(event) for event in events)


def streamed(endpoint: ChatProtocol, client: ChatProtocol, stream: bytes) -> Response:
    """What a client understands of a stream of `endpoint`'s that was translated for it."""
    return fold(heard(client, told(client, heard(endpoint, stream))))


def data_of(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


# ---- an OpenAI client asks an Anthropic endpoint


def test_a_conversation_of_an_openai_client_is_asked_as_anthropic_wants_it():
    sent = to_anthropic(
        messages=[
            {"role": "system", "content": "Be brief."},
            user("Hello"),
            {"role": "assistant", "content": "Hi"},
            user([{"type": "text", "text": "How are you?"}]),
        ],
        max_completion_tokens=50,
        temperature=1.5,
        stop=["END"],
        user="u",
        stream=True,
        stream_options={"include_usage": True},
        logit_bias={"5": 1},
        seed=7,
    )
    assert sent == {
        "model": "m",
        "max_tokens": 50,
        "system": "Be brief.",
        "messages": [
            user([{"type": "text", "text": "Hello"}]),
            {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
            user([{"type": "text", "text": "How are you?"}]),
        ],
        "temperature": 1.0,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "stream": True,
    }


def test_without_a_number_of_tokens_anthropic_is_asked_for_the_default():
    assert to_anthropic(messages=[user("Hello")])["max_tokens"] == 4096


def test_tools_and_their_parallel_calls_and_results_reach_anthropic():
    calls = [
        {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": f'{{"city":"{city}"}}'}}
        for city in ("Rome", "Oslo")
    ]
    results = [{"role": "tool", "tool_call_id": f"call_{city}", "content": "sunny"} for city in ("Rome", "Oslo")]
    sent = to_anthropic(
        messages=[
            user("Weather?"),
            {"role": "assistant", "content": None, "tool_calls": calls},
            *results,
            user("And?"),
        ],
        tools=[{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
    )
    assert sent["tools"] == [{"name": "weather", "description": "d", "input_schema": SCHEMA}]
    assert sent["tool_choice"] == {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": f"call_{city}", "name": "weather", "input": {"city": city}}
                for city in ("Rome", "Oslo")
            ],
        },
        user(
            [
                *(
                    {
                        "type": "tool_result",
                        "tool_use_id": f"call_{city}",
                        "content": [{"type": "text", "text": "sunny"}],
                    }
                    for city in ("Rome", "Oslo")
                ),
                {"type": "text", "text": "And?"},
            ]
        ),
    ]


def test_images_and_documents_reach_anthropic():
    sent = to_anthropic(
        messages=[
            user(
                [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
                ]
            )
        ]
    )
    assert sent["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
        },
    ]


def test_sound_is_refused_and_named():
    with pytest.raises(errors.InvalidRequest, match="a sound as data"):
        to_anthropic(messages=[user([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])])


@pytest.mark.parametrize(("effort", "thinking"), [("low", 1024), ("medium", 4096), ("high", 16384)])
def test_an_effort_becomes_a_budget(effort: str, thinking: int):
    sent = to_anthropic(messages=[user("Hello")], reasoning_effort=effort, temperature=1)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": thinking}
    assert sent["max_tokens"] > thinking
    assert "temperature" not in sent


def test_a_schema_reaches_anthropic():
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    sent = to_anthropic(messages=[user("Hello")], response_format=shape)
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


# ---- an Anthropic client asks an OpenAI endpoint


def test_a_conversation_of_an_anthropic_client_is_asked_as_openai_wants_it():
    sent = to_openai(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            user("Hello"),
            {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
            user([{"type": "text", "text": "How are you?"}]),
        ],
        stop_sequences=["END"],
        temperature=0.5,
        metadata={"user_id": "u"},
        stream=True,
        context_management={"edits": []},
    )
    assert sent == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            user("Hello"),
            {"role": "assistant", "content": "Hi"},
            user("How are you?"),
        ],
        "max_tokens": 100,
        "temperature": 0.5,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u",
    }


def test_tools_and_their_parallel_calls_and_results_reach_openai():
    uses = [
        {"type": "tool_use", "id": f"toolu_{city}", "name": "weather", "input": {"city": city}}
        for city in ("Rome", "Oslo")
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_Rome", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "toolu_Oslo", "content": [{"type": "text", "text": "rain"}]},
    ]
    sent = to_openai(
        messages=[
            user("Weather?"),
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, *uses]},
            user([*results, {"type": "text", "text": "And?"}]),
        ],
        tools=[{"name": "weather", "description": "d", "input_schema": SCHEMA}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
    ]
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)
    assistant, *others = sent["messages"][1:]
    assert assistant["content"] == "I look."
    assert [(call["id"], msgspec.json.decode(call["function"]["arguments"])) for call in assistant["tool_calls"]] == [
        ("toolu_Rome", {"city": "Rome"}), ("toolu_Oslo", {"city": "Oslo"}),
    ]  # fmt: skip
    assert others == [
        {"role": "tool", "tool_call_id": "toolu_Rome", "content": "sunny"},
        {"role": "tool", "tool_call_id": "toolu_Oslo", "content": "rain"},
        user("And?"),
    ]


def test_images_and_documents_reach_openai():
    sent = to_openai(
        messages=[
            user(
                [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
                ]
            )
        ]
    )
    image, address, document, text = sent["messages"][0]["content"]
    assert image == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert address == {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    assert document["file"]["file_data"] == f"data:application/pdf;base64,{PDF}"
    assert text == {"type": "text", "text": "words"}


@pytest.mark.parametrize(("budget", "effort"), [(1024, "low"), (4096, "medium"), (16384, "high")])
def test_a_budget_becomes_an_effort(budget: int, effort: str):
    sent = to_openai(messages=[user("Hello")], thinking={"type": "enabled", "budget_tokens": budget})
    assert sent["reasoning_effort"] == effort


# ---- answers


class Answer(NamedTuple):
    """What both formats can say of an answer."""

    text: str
    calls: list[tuple[str, str, Any]]
    thought: str
    reason: str | None
    usage: Usage | None


def gist(response: Response) -> Answer:
    return Answer(
        text="".join(part.text for part in response.parts if isinstance(part, Text)),
        calls=[
            (part.id, part.name, msgspec.json.decode(part.arguments))
            for part in response.parts
            if isinstance(part, ToolUse)
        ],
        thought="".join(part.text for part in response.parts if isinstance(part, Reasoning)),
        reason={"stop_sequence": "stop", "pause": "stop", "refusal": "content_filter"}.get(
            response.finish_reason or "stop", response.finish_reason or "stop"
        ),
        usage=response.usage,
    )


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat"]))
def test_a_recorded_answer_of_anthropic_is_understood_by_openai_clients_whole_and_streamed(recording: Recording):
    response = ANTHROPIC.decode_response(recording.response)
    openai_sdk.ChatCompletion.model_validate_json(OPENAI.encode_response(response), strict=False)
    whole = OPENAI.decode_response(OPENAI.encode_response(response))
    assert without_an_hour(gist(whole)) == without_an_hour(gist(response))
    assert gist(fold(heard(OPENAI, told(OPENAI, tell(response))))) == gist(whole)


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat_stream"]))
def test_a_recorded_stream_of_anthropic_is_understood_by_openai_clients_as_the_whole_answer_is(recording: Recording):
    response = fold(heard(ANTHROPIC, recording.response))
    stream = told(OPENAI, heard(ANTHROPIC, recording.response))
    for chunk in data_of(stream):
        openai_sdk.ChatCompletionChunk.model_validate(chunk)
    assert without_an_hour(gist(fold(heard(OPENAI, stream)))) == without_an_hour(gist(response))
    assert stream.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("recording", recordings("openai", ["chat"]))
def test_a_recorded_answer_of_openai_is_understood_by_anthropic_clients_whole_and_streamed(recording: Recording):
    response = OPENAI.decode_response(recording.response)
    anthropic_sdk.Message.model_validate_json(ANTHROPIC.encode_response(response))
    whole = ANTHROPIC.decode_response(ANTHROPIC.encode_response(response))
    assert without_audio(gist(whole)) == without_audio(gist(response))
    assert gist(fold(heard(ANTHROPIC, told(ANTHROPIC, tell(response))))) == gist(whole)


@pytest.mark.parametrize("recording", recordings("openai", ["chat_stream"]))
def test_a_recorded_stream_of_openai_is_understood_by_anthropic_clients_as_the_whole_answer_is(recording: Recording):
    response = fold(heard(OPENAI, recording.response))
    stream = told(ANTHROPIC, heard(OPENAI, recording.response))
    for event in data_of(stream):
        SDK_EVENT.validate_python(event)
    assert without_audio(gist(fold(heard(ANTHROPIC, stream)))) == without_audio(gist(response))


def without_an_hour(answer: Answer) -> Answer:
    """OpenAI's usage does not tell for how long the cache was written."""
    return answer._replace(usage=answer.usage and msgspec.structs.replace(answer.usage, cache_write_1h_tokens=0))


def without_audio(answer: Answer) -> Answer:
    """Anthropic's usage does not tell sound from words, and is always there."""
    usage = answer.usage or Usage()
    return answer._replace(usage=msgspec.structs.replace(usage, input_audio_tokens=0, output_audio_tokens=0))


def test_cached_tokens_stand_within_the_prompt_for_one_and_beside_the_input_for_the_other():
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    body = {"id": "msg_1", "model": "m", "content": [], "stop_reason": "end_turn", "usage": usage}
    told_usage = answered(ANTHROPIC, OPENAI, msgspec.json.encode(body))["usage"]
    assert (told_usage["prompt_tokens"], told_usage["completion_tokens"], told_usage["total_tokens"]) == (125, 7, 132)
    assert told_usage["prompt_tokens_details"]["cached_tokens"] == 100

    usage = {"prompt_tokens": 125, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 100}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    body = {"id": "x", "model": "m", "choices": [choice], "usage": usage}
    told_usage = answered(OPENAI, ANTHROPIC, msgspec.json.encode(body))["usage"]
    assert (told_usage["input_tokens"], told_usage["cache_read_input_tokens"], told_usage["output_tokens"]) == (
        25,
        100,
        7,
    )


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"), ("stop_sequence", "stop"),
        ("refusal", "content_filter"), ("pause_turn", "stop"),
    ],
)  # fmt: skip
def test_a_stop_reason_is_told_to_openai_clients(stop_reason: str, finish_reason: str):
    body = msgspec.json.encode({"id": "m", "model": "n", "content": [], "stop_reason": stop_reason})
    assert answered(ANTHROPIC, OPENAI, body)["choices"][0]["finish_reason"] == finish_reason


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_a_finish_reason_is_told_to_anthropic_clients(finish_reason: str, stop_reason: str):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": finish_reason}
    body = msgspec.json.encode({"id": "m", "model": "n", "choices": [choice]})
    assert answered(OPENAI, ANTHROPIC, body)["stop_reason"] == stop_reason


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % msgspec.json.encode(body)


def call(index: int, arguments: str, **facts: Any) -> dict[str, Any]:
    name = facts.pop("name", None)
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"tool_calls": [{"index": index, "function": function, **facts}]}


def test_parallel_calls_that_interleave_are_blocks_one_after_the_other_for_anthropic_clients():
    stream = (
        chunk({"role": "assistant", "content": "I look."})
        + chunk(call(0, "", id="a", name="f"))
        + chunk(call(1, "", id="b", name="g"))
        + chunk(call(1, '{"b":'))
        + chunk(call(0, '{"a":1}'))
        + chunk(call(1, "2}"))
        + chunk({}, "tool_calls")
        + b"data: [DONE]\n\n"
    )
    response = streamed(OPENAI, ANTHROPIC, stream)
    assert response.parts == (Text("I look."), ToolUse("a", "f", '{"a":1}'), ToolUse("b", "g", '{"b":2}'))
    assert response.finish_reason == "tool_use"


def test_words_for_an_anthropic_client_leave_as_they_come():
    decode, encode = OPENAI.event_decoder(), ANTHROPIC.event_encoder(include_usage=True)
    first = b"".join(encode(event) for event in decode(chunk({"role": "assistant", "content": "I"})))
    assert b'"text":"I"' in first
    assert b'"text":" look"' in b"".join(encode(event) for event in decode(chunk({"content": " look"})))


# ---- two turns with a signed thought

THINKING = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
ONLY_SIGNED = {"type": "thinking", "thinking": "", "signature": "b25seQ=="}
REDACTED = {"type": "redacted_thinking", "data": "c2VjcmV0"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}


def anthropic_stream(*blocks: dict[str, Any]) -> bytes:
    """The blocks, as Anthropic streams them: what grows comes in deltas."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}}]
    for index, block in enumerate(blocks):
        opening, deltas = block, []
        if block["type"] == "thinking":
            opening = {"type": "thinking", "thinking": "", "signature": ""}
            if block["thinking"]:
                deltas.append({"type": "thinking_delta", "thinking": block["thinking"]})
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "tool_use":
            opening = {**block, "input": {}}
            deltas.append({"type": "input_json_delta", "partial_json": msgspec.json.encode(block["input"]).decode()})
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}})
    events.append({"type": "message_stop"})
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events
    )


def gathered(stream: bytes) -> dict[str, Any]:
    """The message that an OpenAI client makes of a stream: strings are joined, lists by the index of their items."""
    message: dict[str, Any] = {"role": "assistant"}
    for told_chunk in data_of(stream):
        for choice in told_chunk["choices"]:
            for name, value in choice["delta"].items():
                if isinstance(value, list):
                    for item in value:
                        join(message.setdefault(name, []), item)
                elif isinstance(value, str) and name != "role":
                    message[name] = (message.get(name) or "") + value
    return message


def join(items: list[dict[str, Any]], item: dict[str, Any]) -> None:
    held = next((each for each in items if each["index"] == item["index"]), None)
    if held is None:
        items.append(msgspec.json.decode(msgspec.json.encode(item)))
        return
    for name, value in item.items():
        if isinstance(value, dict):
            held[name]["arguments"] += value.get("arguments") or ""
        elif isinstance(value, str):
            held[name] = (held.get(name) or "") + value if name in ("text", "signature") else value


@pytest.mark.parametrize("blocks", [[THINKING, USE], [ONLY_SIGNED, USE], [REDACTED, USE], [THINKING, REDACTED, USE]])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_a_signed_thought_comes_back_to_anthropic_through_an_openai_client(blocks: list[dict[str, Any]], way: str):
    if way == "whole":
        body = msgspec.json.encode({"id": "msg_1", "model": "m", "content": blocks, "stop_reason": "tool_use"})
        message = answered(ANTHROPIC, OPENAI, body)["choices"][0]["message"]
    else:
        message = gathered(told(OPENAI, heard(ANTHROPIC, anthropic_stream(*blocks))))
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "4"}
    sent = to_anthropic(
        messages=[user("Hello"), message, result],
        tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        reasoning_effort="low",
    )
    assert sent["messages"][1]["content"] == blocks
    assert sent["thinking"]["type"] == "enabled"


def test_a_thought_of_an_openai_endpoint_is_shown_to_anthropic_clients_and_never_sent_to_anthropic():
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "4", "reasoning_content": "hm"},
        "finish_reason": "stop",
    }
    shown = answered(OPENAI, ANTHROPIC, msgspec.json.encode({"id": "x", "model": "m", "choices": [choice]}))["content"]
    assert shown[0] == {"type": "thinking", "thinking": "hm", "signature": ""}
    request = {
        "model": "m",
        "max_tokens": 9,
        "messages": [user("2+2?"), {"role": "assistant", "content": shown}, user("?")],
    }
    assert asked(ANTHROPIC, OPENAI, request)["messages"][1]["reasoning_content"] == "hm"
    assert [block["type"] for block in asked(ANTHROPIC, ANTHROPIC, request)["messages"][1]["content"]] == ["text"]


# ---- errors


@pytest.mark.parametrize(
    ("status", "kind", "told_status", "openai_code", "anthropic_type"),
    [
        (400, "invalid_request_error", 400, "invalid_request", "invalid_request_error"),
        (401, "authentication_error", 502, "provider_credential_rejected", "api_error"),
        (404, "not_found_error", 404, "model_not_found", "not_found_error"),
        (413, "request_too_large", 413, "request_too_large", "request_too_large"),
        (429, "rate_limit_error", 429, "rate_limit_exceeded", "rate_limit_error"),
        (500, "api_error", 502, "upstream_broken", "api_error"),
        (529, "overloaded_error", 503, "provider_overloaded", "overloaded_error"),
    ],
)
def test_an_error_of_anthropic_is_told_to_clients_of_either_format(
    status: int, kind: str, told_status: int, openai_code: str, anthropic_type: str
):
    body = {"type": "error", "error": {"type": kind, "message": "words"}, "request_id": "req_1"}
    error = ANTHROPIC.decode_error(status, msgspec.json.encode(body))
    assert error.status == told_status
    assert msgspec.json.decode(OPENAI.encode_error(error))["error"]["code"] == openai_code
    assert msgspec.json.decode(ANTHROPIC.encode_error(error))["error"]["type"] == anthropic_type
    assert b"req_1" not in OPENAI.encode_error(error)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":""}}\n\n',
            errors.Overloaded,
        ),
        (b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n', errors.UpstreamBroken),
    ],
)
def test_an_error_within_a_stream_of_anthropic_reaches_an_openai_client_and_says_whether_to_try_again(
    raw: bytes, error: type[errors.UpstreamError]
):
    decode = ANTHROPIC.event_decoder()
    with pytest.raises(error) as caught:
        decode(raw)
    event = msgspec.json.decode(OPENAI.encode_error_event(caught.value).removeprefix(b"data: "))
    assert event["error"]["retryable"] is caught.value.retryable


# ---- whatever the answer

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
arguments = st.dictionaries(words, words | st.integers(0, 9), max_size=3).map(
    lambda held: msgspec.json.encode(held).decode()
)
reasons: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "length", "tool_use", "content_filter"])
usages = st.builds(
    Usage,
    input_tokens=st.integers(50, 99),
    output_tokens=st.integers(10, 99),
    cached_tokens=st.integers(0, 20),
    cache_write_tokens=st.integers(0, 20),
    reasoning_tokens=st.integers(0, 9),
)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(Reasoning(draw(words), draw(words), protocol=ANTHROPIC.name))
    if draw(st.booleans()):
        parts.append(Text(draw(words)))
    parts += [ToolUse(f"call_{number}", draw(words), draw(arguments)) for number in range(draw(st.integers(0, 3)))]
    return Response("x", "m", tuple(parts), draw(reasons), draw(usages), created=1)


@given(responses(), st.sampled_from([OPENAI, ANTHROPIC]))
def test_streaming_and_whole_tell_the_same(response: Response, client: ChatProtocol):
    whole = client.decode_response(client.encode_response(response))
    stream = fold(heard(client, told(client, tell(response))))
    assert gist(stream) == gist(whole) == gist(response)
    assert msgspec.structs.replace(stream, created=0) == msgspec.structs.replace(whole, created=0)


@given(responses())
def test_an_answer_that_crosses_to_the_other_format_and_back_is_the_same(response: Response):
    for there, back in ((OPENAI, ANTHROPIC), (ANTHROPIC, OPENAI)):
        crossed = there.decode_response(there.encode_response(response))
        returned = back.decode_response(back.encode_response(crossed))
        assert returned.parts == response.parts
        assert gist(returned) == gist(response)


@given(responses(), st.data())
def test_however_deltas_are_cut_both_clients_understand_the_same(response: Response, data: st.DataObject):
    events: list[Event] = []
    for event in tell(response):
        if not isinstance(event, PartDelta) or not event.text:
            events.append(event)
            continue
        at = data.draw(st.integers(0, len(event.text)))
        events += [PartDelta(event.index, event.text[:at]), msgspec.structs.replace(event, text=event.text[at:])]
    assert sum(isinstance(event, PartStart) for event in events) == len(response.parts)
    for client in (OPENAI, ANTHROPIC):
        assert gist(fold(heard(client, told(client, events)))) == gist(response)


# ---- integers


@pytest.mark.parametrize("spelt", ["230", "230.0", "2.3e2", "2300e-1"])
@pytest.mark.parametrize(
    ("protocol", "field"),
    [
        (OPENAI, b'"max_tokens":@'), (OPENAI, b'"max_completion_tokens":@'),
        (OPENAI, b'"reasoning":{"max_tokens":@}'), (OPENAI, b'"seed":@,"top_k":@'),
        (ANTHROPIC, b'"max_tokens":@'), (ANTHROPIC, b'"top_k":@,"thinking":{"type":"enabled","budget_tokens":@}'),
    ],
)  # fmt: skip
def test_a_number_without_a_fraction_is_an_integer_however_it_is_spelt(
    protocol: ChatProtocol, field: bytes, spelt: str
) -> None:
    start = b'{"model":"m","messages":[{"role":"user","content":"1.0"}],"logit_bias":{"5":1.50},"metadata":{},'
    plain, other = (start + field.replace(b"@", number) + b"}" for number in (b"230", spelt.encode()))
    assert protocol.decode_request(other) == protocol.decode_request(plain)
    assert protocol.peek(other).max_tokens == protocol.peek(plain).max_tokens


@pytest.mark.parametrize("spelt", [b"230.5", b"1e300", b"1e999", b'"230"', b"true"])
@pytest.mark.parametrize("protocol", [OPENAI, ANTHROPIC])
def test_what_is_no_integer_is_refused_by_name(protocol: ChatProtocol, spelt: bytes) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":%b}' % spelt
    for read in (protocol.peek, protocol.decode_request):
        with pytest.raises(errors.InvalidRequest) as refused:
            read(body)
        assert refused.value.param == "max_tokens"
