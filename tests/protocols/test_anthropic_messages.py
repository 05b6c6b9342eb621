"""Anthropic's messages: every recorded exchange is read and told again, and whatever is malformed is named."""

import contextlib
from collections.abc import Iterable
from typing import Any

import anthropic.types as sdk
import anthropic.types.beta as beta
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from pydantic import TypeAdapter, ValidationError

from fairlead import errors
from fairlead.chat import (
    Event,
    Finish,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Start,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    fold,
    tell,
)
from fairlead.protocols import CONTENT, DONE
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.codecs import anthropic_request
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import EventCutter
from protocols_outbound import raw_events
from protocols_recordings import Recording, recordings

FORMAT = AnthropicMessages()
NAME = FORMAT.name
SDK_EVENT: TypeAdapter[Any] = TypeAdapter(beta.BetaRawMessageStreamEvent)
MODEL = "claude-sonnet-4-5"
SIGNED = Reasoning("hm", "c2ln", protocol=NAME)


def heard(stream: bytes, size: int = 1 << 20) -> list[Event]:
    decode = FORMAT.event_decoder()
    return [told for event in [*raw_events(FORMAT, stream, size), b""] for told in decode(event)]


def told(events: Iterable[Event]) -> bytes:
    encode = FORMAT.event_encoder(include_usage=True)
    return b"".join(encode(event) for event in events)


def event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), msgspec.json.encode({"type": type, **fields}))


def opening(**usage: int) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [], "usage": usage}
    return event("message_start", message=message)


def ending(reason: str = "end_turn", **usage: int) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage) + event("message_stop")


def data_of(stream: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(raw.split(b"\ndata: ")[1]) for raw in raw_events(FORMAT, stream)]


def asked(*messages: Message, **facts: Any) -> Any:
    """The JSON that asks Anthropic for this."""
    return msgspec.json.decode(FORMAT.encode_request(Request(MODEL, messages, **facts), default_max_tokens=4096).body)


def said(*parts: Part) -> Message:
    return Message("user", parts)


HELLO = said(Text("Hello"))

# What stands in for a request that its source did not keep.
_UNKEPT = b'{"model":"m","max_tokens":100,"system":"Be brief.","messages":[{"role":"user","content":"Hello"}]}'


def understood(**fields: Any) -> Request:
    body = {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return FORMAT.decode_request(msgspec.json.encode(body))


# ---- recorded traffic


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat", "chat_stream", "error"]))
def test_a_recorded_request_means_the_same_when_asked_again(recording: Recording):
    asked = recording.request or _UNKEPT
    FORMAT.peek(asked)
    request = FORMAT.decode_request(asked)
    again = FORMAT.decode_request(FORMAT.encode_request(request, default_max_tokens=4096).body)
    assert turns(again) == turns(request)
    assert meaning(msgspec.structs.replace(again, messages=())) == meaning(
        msgspec.structs.replace(request, messages=())
    )


def turns(request: Request) -> list[list[Any]]:
    """Who says what in turn. Instructions that do not lead are the user's when they are asked again."""
    found: list[list[Any]] = []
    for message in request.messages:
        leads = message.role == "system" and (not found or found[-1][0] == "system")
        role = "system" if leads else "assistant" if message.role == "assistant" else "user"
        said = [part for part in message.parts if not isinstance(part, Text) or part.text]
        if found and found[-1][0] == role:
            found[-1][1] += said
        elif said:
            found.append([role, said])
    for turn in found:
        turn[1] = sorted(turn[1], key=lambda part: not isinstance(part, ToolResult))
    return found


def meaning(value: Any) -> Any:
    """What is the same however its JSON is spaced."""
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat"]))
def test_a_recorded_answer_means_the_same_when_told_again(recording: Recording):
    response = FORMAT.decode_response(recording.response)
    encoded = FORMAT.encode_response(response)
    if is_known_to_the_sdk(recording.response):
        beta.BetaMessage.model_validate_json(encoded)
    assert FORMAT.decode_response(encoded) == response
    assert meaning(fold(heard(told(tell(response))))) == meaning(response)
    summary = FORMAT.summary(recording.response)
    assert (summary.id, summary.model, summary.usage, summary.finish_reason) == (
        response.id, response.model, response.usage, response.raw_reason,
    )  # fmt: skip


def is_known_to_the_sdk(body: bytes) -> bool:
    try:
        beta.BetaMessage.model_validate_json(body)
    except ValidationError:  # blocks that are newer than the SDK, or made by hand
        return False
    return True


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat"]))
def test_a_recorded_answer_keeps_every_block_and_count(recording: Recording):
    body = msgspec.json.decode(recording.response)
    again = msgspec.json.decode(FORMAT.encode_response(FORMAT.decode_response(recording.response)))
    assert [without_nulls(block) for block in again["content"]] == [without_nulls(block) for block in body["content"]]
    rounds = [each for each in body["usage"].get("iterations") or () if "message" != each["type"] != "fallback_message"]
    for count in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert again["usage"][count] == sum(told.get(count) or 0 for told in (body["usage"], *rounds))
    assert again["stop_reason"] == body["stop_reason"]


def without_nulls(value: Any) -> Any:
    """A field left out and a field of null say the same; so do no citations and none."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None and key != "caller"}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat_stream"]))
def test_a_recorded_stream_means_the_same_wherever_it_is_cut_and_when_told_again(recording: Recording):
    events = heard(recording.response)
    assert heard(recording.response, size=1) == events
    assert heard(recording.response, size=7) == events
    stream = told(events)
    assert fold(heard(stream)) == fold(events)
    for told_event in data_of(stream):
        SDK_EVENT.validate_python(told_event)


@pytest.mark.parametrize("recording", recordings("anthropic", ["chat_stream"]))
def test_reading_along_a_recorded_stream_finds_what_decoding_it_finds(recording: Recording):
    reader, flags = FORMAT.stream_reader(), []
    for raw in raw_events(FORMAT, recording.response):
        flags.append(reader.see(raw))
        if flags[-1] & DONE:  # some files hold several answers, one after the other
            break
    response = fold(heard(recording.response))
    assert CONTENT in flags
    assert (reader.summary.id, reader.summary.model) == (response.id, response.model)
    assert (reader.summary.usage, reader.summary.finish_reason) == (response.usage, response.raw_reason)


@pytest.mark.parametrize("recording", recordings("anthropic", ["error"]))
def test_a_recorded_error_is_known_by_its_status(recording: Recording):
    error = FORMAT.decode_error(recording.status, recording.response)
    kinds = {400: errors.UpstreamRefused, 401: errors.CredentialRejected, 404: errors.UpstreamModelNotFound}
    assert type(error) is kinds[recording.status]
    assert error.message == msgspec.json.decode(recording.response)["error"]["message"]


def test_a_stream_may_be_cut_in_two_at_every_byte():
    block = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Grüße\u2028 \n"})
    stream = opening(input_tokens=3) + block + delta + event("content_block_stop", index=0) + ending(output_tokens=2)
    whole = heard(stream)
    assert fold(whole).parts == (Text("Grüße\u2028 \n"),)
    for at in range(len(stream)):
        cutter, decode = EventCutter(1 << 20), FORMAT.event_decoder()
        cut = [*cutter.feed(stream[:at]), *cutter.feed(stream[at:]), b""]
        assert [told for raw in cut for told in decode(raw)] == whole


# ---- looking without translating


def test_the_top_level_is_taken_apart():
    taken = FORMAT.peek(
        b'{"model":"m","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"x"}],"new":1}'
    )
    assert (taken.model, taken.stream, taken.max_tokens, taken.messages, taken.include_usage) == ("m", True, 7, 1, True)
    assert bytes(taken.fields["new"]) == b"1"


@pytest.mark.parametrize(
    ("field", "param"),
    [
        (b'"max_tokens":"7"', "max_tokens"),
        (b'"max_tokens":7.5', "max_tokens"),
        (b'"model":7', "model"),
        (b'"stream":"yes"', "stream"),
        (b'"Stream":true', "Stream"),
    ],
)
def test_a_known_field_of_the_wrong_type_is_named(field: bytes, param: str):
    with pytest.raises(errors.InvalidRequest) as caught:
        FORMAT.peek(b'{"messages":[{"role":"user","content":"x"}],%b}' % field)
    assert caught.value.param == param


def test_a_message_without_content_is_named_by_its_place():
    with pytest.raises(errors.InvalidRequest) as caught:
        FORMAT.peek(b'{"messages":[{"role":"user","content":"x"},{"role":"user","content":3}]}')
    assert caught.value.param == "messages[1].content"


def test_the_same_format_gets_its_bytes_with_another_model_and_a_number_it_requires():
    taken = FORMAT.peek(b'{"model":"alias","route":"x","messages":[{"role":"user","content":"x"}],"new":1.50}')
    sent = FORMAT.patch(taken, MODEL, drop=frozenset({"route"}), ask_usage=True, default_max_tokens=77)
    expected = b'{"model":"%b","messages":[{"role":"user","content":"x"}],"new":1.50,"max_tokens":77}' % MODEL.encode()
    assert sent == expected


def test_the_number_of_tokens_that_a_client_gave_stays():
    taken = FORMAT.peek(b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}]}')
    sent = FORMAT.patch(taken, "n", drop=frozenset(), ask_usage=True, default_max_tokens=77)
    assert msgspec.json.decode(sent)["max_tokens"] == 5


def test_characters_are_those_of_system_and_messages():
    taken = FORMAT.peek(b'{"system":"12345","max_tokens":5,"messages":[{"role":"user","content":"x"}]}')
    assert FORMAT.characters(taken) == 6


@pytest.mark.parametrize(
    ("raw", "flags"),
    [
        (opening(input_tokens=1), 0),
        (event("ping"), 0),
        (b": comment\n\n", 0),
        (event("content_block_start", index=0, content_block={"type": "text", "text": ""}), 0),
        (event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}), 0),
        (event("content_block_start", index=0, content_block={"type": "text", "text": "Hi"}), CONTENT),
        (event("content_block_start", index=0, content_block={"type": "tool_use", "id": "a", "name": "b"}), CONTENT),
        (event("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"}), CONTENT),
        (event("content_block_start", index=0, content_block={"type": "unheard_of", "text": 5}), CONTENT),
        (event("content_block_delta", index=0, delta={"type": "text_delta", "text": ""}), 0),
        (event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}), CONTENT),
        (event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm"}), CONTENT),
        (event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}), CONTENT),
        (event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 1}), 0),
        (event("message_delta", delta={"stop_reason": "end_turn"}), CONTENT),
        (event("message_stop"), DONE),
        (event("invented_tomorrow"), 0),
    ],
)
def test_an_event_is_content_or_not(raw: bytes, flags: int):
    assert FORMAT.stream_reader().see(raw) == flags


@pytest.mark.parametrize(
    "raw",
    [b"data: garbage\n\n", b"data: []\n\n", event("content_block_start", index=0), event("message_stop", index="x")],
)
def test_an_event_that_is_none_breaks_the_stream(raw: bytes):
    with pytest.raises(errors.UpstreamBroken):
        FORMAT.stream_reader().see(raw)
    with pytest.raises(errors.UpstreamBroken):
        FORMAT.event_decoder()(raw)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", errors.Overloaded),
        ("rate_limit_error", errors.RateLimited),
        ("api_error", errors.UpstreamBroken),
        ("timeout_error", errors.UpstreamTimeout),
        ("invalid_request_error", errors.UpstreamRefused),
        ("authentication_error", errors.CredentialRejected),
        ("billing_error", errors.OutOfCredit),
        ("not_found_error", errors.UpstreamModelNotFound),
        ("request_too_large", errors.UpstreamTooLarge),
        ("invented_tomorrow", errors.UpstreamBroken),
    ],
)
def test_an_error_within_a_stream_is_raised_as_what_it_is(kind: str, error: type[errors.UpstreamError]):
    raw = event("error", error={"type": kind, "message": "words"})
    with pytest.raises(error):
        FORMAT.stream_reader().see(raw)
    with pytest.raises(error):
        FORMAT.event_decoder()(raw)


def test_usage_of_both_events_is_merged_and_the_later_counts_are_the_cumulative_ones():
    reader = FORMAT.stream_reader()
    reader.see(opening(input_tokens=10, cache_read_input_tokens=100, cache_creation_input_tokens=20, output_tokens=1))
    assert reader.summary.usage == Usage(130, 1, cached_tokens=100, cache_write_tokens=20)
    reader.see(
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 12, "output_tokens": 30})
    )
    assert reader.summary.usage == Usage(132, 30, cached_tokens=100, cache_write_tokens=20)


def test_cached_and_written_tokens_are_within_the_input_in_our_words():
    usage = {
        "input_tokens": 1, "output_tokens": 50, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens_details": {"thinking_tokens": 40},
    }  # fmt: skip
    body = msgspec.json.encode({"id": "m", "model": "n", "content": [], "stop_reason": "end_turn", "usage": usage})
    response = FORMAT.decode_response(body)
    assert response.usage == Usage(321, 50, 20, 300, cache_write_1h_tokens=200, reasoning_tokens=40)
    again = msgspec.json.decode(FORMAT.encode_response(response))["usage"]
    assert again == usage


# ---- requests, theirs to ours


def test_instructions_lead_and_keep_their_cache_marks():
    mark = {"type": "ephemeral", "ttl": "1h"}
    request = understood(system=[{"type": "text", "text": "Be brief.", "cache_control": mark}])
    cache = Raw(msgspec.json.encode(mark))
    assert request.messages == (Message("system", (Text("Be brief.", cache=cache),)), HELLO)


def test_a_result_within_a_result_is_this_formats_own_however_deep_it_goes(monkeypatch: pytest.MonkeyPatch):
    block: dict[str, Any] = {"type": "text", "text": "4"}
    for level in range(100):
        block = {"type": "tool_result", "tool_use_id": f"t{level}", "content": [block]}
    read: list[int] = []

    def counted(raw: Any, *rest: Any) -> Any:
        read.append(len(raw))
        return typed(raw, *rest)

    typed = anthropic_request.typed
    monkeypatch.setattr(anthropic_request, "typed", counted)
    request = understood(messages=[{"role": "user", "content": [block]}])
    inner = Opaque(NAME, Raw(msgspec.json.encode(block["content"][0])))
    assert request.messages == (Message("tool", (ToolResult("t99", (inner,)),)),)
    assert asked(*request.messages)["messages"][0]["content"] == [block]
    assert len(read) == 3  # the request, the result, what is in it


def test_results_of_tools_stand_apart_from_what_the_user_says_with_them():
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "4"}], "is_error": True}
    request = understood(messages=[{"role": "user", "content": [result, {"type": "text", "text": "and now?"}]}])
    tool = Message("tool", (ToolResult("t", (Text("4"),), is_error=True),))
    assert request.messages == (tool, said(Text("and now?")))


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        ({"type": "thinking", "thinking": "hm", "signature": "c2ln"}, SIGNED),
        ({"type": "thinking", "thinking": "", "signature": "c2ln"}, Reasoning("", "c2ln", protocol=NAME)),
        ({"type": "thinking", "thinking": "hm", "signature": ""}, Reasoning("hm")),
        ({"type": "redacted_thinking", "data": "x"}, Reasoning(encrypted="x", protocol=NAME)),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}, ToolUse("t", "f", '{"a":1}')),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            Media("image", "image/png", data="AA=="),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://a/b"}}, Media("image", url="https://a/b")),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, Media("document", file_id="f")),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "T"},
            Media("document", "text/plain", text="hi", name="T"),
        ),
    ],
)
def test_a_block_is_a_part(block: dict[str, Any], part: Part):
    request = understood(messages=[{"role": "assistant", "content": [block]}])
    assert request.messages == (Message("assistant", (part,)),)


def test_a_search_result_is_its_words_and_goes_back_as_it_came():
    block = {
        "type": "search_result", "source": "https://a/b", "title": "T", "citations": {"enabled": True},
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }  # fmt: skip
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    request = understood(messages=[{"role": "user", "content": [result, block]}])
    for parts in (request.messages[0].parts[0].content, request.messages[1].parts):  # type: ignore[union-attr]
        (found,) = parts
        assert isinstance(found, Text)
        assert found.text == "T\nhttps://a/b\n\na\nb"
    assert asked(*request.messages)["messages"][0]["content"] == [result, block]
    told = OpenAIChat().encode_request(request, default_max_tokens=9)
    assert [message["content"] for message in msgspec.json.decode(told.body)["messages"]] == [
        "T\nhttps://a/b\n\na\nb"
    ] * 2
    assert told.dropped == ("search_result",)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "document", "source": {"type": "content", "content": "a"}},
        {"type": "invented_tomorrow", "text": {"is": "an object"}, "id": 5},
    ],
)
def test_a_block_that_only_this_format_knows_goes_back_as_it_came(block: dict[str, Any]):
    request = understood(messages=[{"role": "user", "content": [block]}])
    assert request.messages == (said(Opaque(NAME, Raw(msgspec.json.encode(block)))),)
    assert asked(*request.messages)["messages"][0]["content"] == [block]


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": ToolChoice("auto")}),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": ToolChoice("required")}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": ToolChoice("none")}),
        ({"tool_choice": {"type": "tool", "name": "f"}}, {"tool_choice": ToolChoice("named", "f")}),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, {"parallel_tool_calls": False}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"thinking": Thinking(budget_tokens=2048, summary="default")},
        ),
        ({"thinking": {"type": "adaptive"}}, {"thinking": Thinking(adaptive=True, summary="default")}),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            {"thinking": Thinking(adaptive=True, summary="auto")},
        ),
        ({"thinking": {"type": "disabled"}}, {"thinking": Thinking(enabled=False)}),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            {"thinking": Thinking(effort="high", adaptive=True, summary="default")},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {"response_format": ResponseFormat("json_schema", schema=Raw(b'{"type":"object"}'))},
        ),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"top_k": 4, "top_p": 0.5, "temperature": 1}, {"top_k": 4, "top_p": 0.5, "temperature": 1.0}),
        ({"service_tier": "standard_only"}, {"service_tier": "standard_only"}),
        ({"container": "c"}, {"extra": {"container": Opaque(NAME, Raw(b'"c"'))}}),
    ],
)
def test_a_setting_is_a_word_of_ours_and_goes_back(fields: dict[str, Any], facts: dict[str, Any]):
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]
    request = understood(tools=tools, **fields)
    assert {name: getattr(request, name) for name in facts} == facts
    assert FORMAT.decode_request(FORMAT.encode_request(request, default_max_tokens=1).body) == request
    sent = msgspec.json.decode(FORMAT.encode_request(request, default_max_tokens=1).body)
    assert {name: sent[name] for name in fields} == fields


def test_a_tool_of_the_server_is_opaque_and_a_custom_one_is_a_tool():
    server = {"type": "web_search_20250305", "name": "web_search"}
    custom = {"type": "custom", "name": "f", "input_schema": {"type": "object"}}
    request = understood(tools=[server, custom])
    assert request.tools == (
        Opaque(NAME, Raw(msgspec.json.encode(server))),
        Tool("f", schema=Raw(b'{"type":"object"}')),
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0]"),
        ({"tools": [{"description": "d"}]}, "tools[0].name"),
        ({"tools": [5]}, "tools[0]"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.type"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"temperature": "hot"}, "temperature"),
        ({"system": 5}, "system"),
    ],
)
def test_what_is_wrong_with_a_request_is_named_by_its_place(fields: dict[str, Any], param: str):
    with pytest.raises(errors.InvalidRequest) as caught:
        understood(**fields)
    assert (caught.value.param or "").startswith(param)


# ---- requests, ours to theirs


def test_leading_instructions_are_the_system_and_later_ones_the_users():
    sent = asked(
        Message("system", (Text("Be brief."),)),
        Message("developer", (Text("Be kind."),)),
        HELLO,
        Message("system", (Text("It is late."),)),
    )
    assert sent["system"] == "Be brief.\n\nBe kind."
    texts = [block["text"] for block in sent["messages"][0]["content"]]
    assert (len(sent["messages"]), texts) == (1, ["Hello", "It is late."])


def test_of_instructions_alone_the_last_are_said_as_the_users():
    sent = asked(Message("system", (Text("Be brief."),)), Message("system", (Text("Tell a joke."),)))
    assert sent["system"] == "Be brief."
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}]


def test_a_cache_mark_on_an_instruction_makes_blocks_of_them():
    mark = Raw(b'{"type":"ephemeral"}')
    sent = asked(Message("system", (Text("a", cache=mark), Text("b"))), HELLO)
    assert sent["system"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"},
    ]  # fmt: skip


def test_neighbours_of_one_role_become_one_turn_that_begins_with_results():
    sent = asked(
        HELLO,
        Message("assistant", (ToolUse("a", "f"),)),
        Message("assistant", (ToolUse("b", "f"),)),
        said(Text("wait")),
        Message("tool", (ToolResult("a", (Text("1"),)), ToolResult("b"))),
    )
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]


def test_ids_of_calls_and_results_are_spelt_alike_with_the_letters_that_are_allowed():
    sent = asked(HELLO, Message("assistant", (ToolUse("call.1:ä", "f"),)), Message("tool", (ToolResult("call.1:ä"),)))
    assert sent["messages"][1]["content"][0]["id"] == "call_1__"
    assert sent["messages"][2]["content"][0]["tool_use_id"] == "call_1__"


def test_texts_without_words_are_left_out_and_so_are_turns_without_any():
    sent = asked(said(Text("Hello"), Text(""), Text(" \n")), Message("assistant", (Text(""),)), said(Text("there")))
    assert [block["text"] for block in sent["messages"][0]["content"]] == ["Hello", "there"]


def test_an_answer_to_go_on_with_does_not_end_in_white_space():
    sent = asked(HELLO, Message("assistant", (Text("The answer is "),)))
    assert sent["messages"][1]["content"][0]["text"] == "The answer is"


@pytest.mark.parametrize(("given_temperature", "sent_temperature"), [(1.7, 1.0), (0.3, 0.3), (-1.0, 0.0)])
def test_a_temperature_is_within_what_is_allowed(given_temperature: float, sent_temperature: float):
    assert asked(HELLO, temperature=given_temperature)["temperature"] == sent_temperature


def test_who_thinks_has_no_temperature():
    sent = asked(HELLO, temperature=0.3, top_k=4, thinking=Thinking(effort="low"))
    assert not {"temperature", "top_k", "top_p"} & sent.keys()


def test_who_shall_not_think_is_told_so_and_keeps_the_temperature():
    sent = asked(HELLO, temperature=0.3, thinking=Thinking(enabled=False, effort="none"))
    assert (sent["thinking"], sent["temperature"]) == ({"type": "disabled"}, 0.3)


@pytest.mark.parametrize(
    ("effort", "budget"),
    [("minimal", 1024), ("low", 1024), ("medium", 4096), ("high", 16384), ("xhigh", 32768)],
)
def test_an_effort_is_a_budget_and_where_the_client_set_no_limit_the_answer_has_room_beyond_it(
    effort: str, budget: int
):
    sent = asked(HELLO, thinking=Thinking(effort=effort))
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert sent["max_tokens"] > budget
    assert asked(HELLO, max_tokens=40_000, thinking=Thinking(effort=effort))["max_tokens"] == 40_000


@pytest.mark.parametrize(
    ("max_tokens", "wish", "budget"),
    [
        (10_000, Thinking(effort="high"), 8000),
        (2000, Thinking(budget_tokens=60_000), 1600),
        (1280, Thinking(effort="low"), 1024),
        (1279, Thinking(effort="high"), None),
        (1024, Thinking(effort="high"), None),
        (900, Thinking(effort="high"), None),
    ],
)
def test_thoughts_stay_within_the_clients_limit(max_tokens: int, wish: Thinking, budget: int | None):
    """https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_completion_tokens"""
    request = Request("m", (HELLO,), max_tokens=max_tokens, thinking=wish)
    told = FORMAT.encode_request(request, default_max_tokens=4096)
    sent = msgspec.json.decode(told.body)
    assert sent["max_tokens"] == max_tokens
    assert sent.get("thinking") == (budget and {"type": "enabled", "budget_tokens": budget})
    assert told.dropped == (() if budget else ("thinking",))


@pytest.mark.parametrize("thinking", [Thinking(enabled=False), Thinking(adaptive=True)])
def test_no_room_is_made_where_no_budget_is_told(thinking: Thinking):
    assert asked(HELLO, max_tokens=0, thinking=thinking)["max_tokens"] == 0


def test_a_budget_below_the_smallest_is_raised():
    assert asked(HELLO, thinking=Thinking(budget_tokens=5))["thinking"]["budget_tokens"] == 1024


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("named", "f")])
def test_nobody_thinks_who_must_call_a_tool(choice: ToolChoice):
    sent = asked(HELLO, tools=(Tool("f"),), tool_choice=choice, thinking=Thinking(effort="low"))
    assert "thinking" not in sent


def test_a_turn_that_began_without_thought_goes_on_without():
    turns = (HELLO, Message("assistant", (ToolUse("a", "f"),)), Message("tool", (ToolResult("a"),)))
    assert "thinking" not in asked(*turns, thinking=Thinking(effort="low"))
    thought = (HELLO, Message("assistant", (SIGNED, ToolUse("a", "f"))), Message("tool", (ToolResult("a"),)))
    assert "thinking" in asked(*thought, thinking=Thinking(effort="low"))


def test_only_thoughts_that_anthropic_signed_go_back():
    thoughts = (
        Reasoning("plain"),
        Reasoning("foreign", "sig", protocol="openai-chat"),
        Reasoning(encrypted="foreign", protocol="openai-chat"),
        SIGNED,
        Reasoning("", "only", protocol=NAME),
        Reasoning(encrypted="x", protocol=NAME),
    )
    sent = asked(HELLO, Message("assistant", (*thoughts, Text("4"))), said(Text("why?")))
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "thinking", "thinking": "", "signature": "only"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "4"},
    ]


@pytest.mark.parametrize("arguments", ["[1]", "5", "{", "null", '"a"', "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(arguments: str):
    with pytest.raises(errors.InvalidRequest) as caught:
        asked(HELLO, Message("assistant", (ToolUse("a", "lookup", arguments),)))
    assert caught.value.param == "messages"
    assert "lookup" in caught.value.message


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_a_call_without_arguments_has_an_empty_object(arguments: str):
    sent = asked(HELLO, Message("assistant", (ToolUse("a", "f", arguments),)), Message("tool", (ToolResult("a"),)))
    assert sent["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize(
    ("choice", "parallel", "told_choice"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("named", "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_tools_says_whether_they_may_run_side_by_side(
    choice: ToolChoice | None, parallel: bool | None, told_choice: dict[str, Any] | None
):
    sent = asked(HELLO, tools=(Tool("f"),), tool_choice=choice, parallel_tool_calls=parallel)
    assert sent.get("tool_choice") == told_choice


@pytest.mark.parametrize(
    ("schema", "sent_schema"),
    [
        (None, {"type": "object", "properties": {}}),
        (b"{}", {"type": "object", "properties": {}}),
        (b'{"properties":{"a":{}}}', {"type": "object", "properties": {"a": {}}}),
        (b'{"type":"object"}', {"type": "object"}),
    ],
)
def test_the_schema_of_a_tool_says_that_it_is_an_object(schema: bytes | None, sent_schema: dict[str, Any]):
    tool = Tool("f", schema=None if schema is None else Raw(schema))
    assert asked(HELLO, tools=(tool,))["tools"] == [{"name": "f", "input_schema": sent_schema}]


def test_tools_and_parts_of_another_format_are_left_out_and_so_is_the_choice_among_none():
    foreign = Opaque("openai-chat", Raw(b'{"type":"custom"}'))
    spoken = Message("assistant", (Text("Hello"), foreign))
    sent = asked(spoken, tools=(foreign,), tool_choice=ToolChoice("auto"), extra={"logprobs": foreign})
    assert sent.keys() == {"model", "max_tokens", "messages"}
    assert len(sent["messages"][0]["content"]) == 1


def test_a_schema_for_the_answer_is_asked_for_and_an_object_without_one_is_an_instruction():
    schema = ResponseFormat("json_schema", "answer", Raw(b'{"type":"object"}'), strict=True)
    sent = asked(HELLO, response_format=schema)
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert "JSON" in asked(HELLO, response_format=ResponseFormat("json_object"))["system"]


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (
            Media("image", "image/jpeg", data="AA=="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}},
        ),
        (Media("image", url="https://a/b"), {"type": "image", "source": {"type": "url", "url": "https://a/b"}}),
        (Media("document", file_id="f"), {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        (
            Media("document", "application/pdf", data="AA==", name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
                "title": "a.pdf",
            },
        ),
        (
            Media("document", "text/yaml", data="YTogMQ=="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a: 1"}},
        ),
    ],
)
def test_media_are_sources(media: Media, block: dict[str, Any]):
    assert asked(said(media))["messages"][0]["content"] == [block]


@pytest.mark.parametrize(
    ("media", "word"),
    [(Media("audio", "audio/wav", data="AA=="), "audio"), (Media("document", "application/zip", data="/w=="), "zip")],
)
def test_media_that_anthropic_does_not_take_are_refused_by_name(media: Media, word: str):
    with pytest.raises(errors.InvalidRequest, match=word):
        asked(said(media))


# ---- answers


@pytest.mark.parametrize(
    ("told_reason", "reason"),
    [
        ("end_turn", "stop"), ("max_tokens", "length"), ("tool_use", "tool_use"), ("stop_sequence", "stop_sequence"),
        ("refusal", "refusal"), ("pause_turn", "pause"),
    ],
)  # fmt: skip
def test_a_stop_reason_is_a_word_of_ours_and_goes_back(told_reason: str, reason: str):
    response = FORMAT.decode_response(msgspec.json.encode({"content": [], "stop_reason": told_reason}))
    assert response.finish_reason == reason
    assert msgspec.json.decode(FORMAT.encode_response(response))["stop_reason"] == told_reason


def test_what_was_filtered_is_a_refusal():
    response = Response("m", MODEL, (), "content_filter")
    assert msgspec.json.decode(FORMAT.encode_response(response))["stop_reason"] == "refusal"


def test_an_answer_from_elsewhere_is_a_whole_message_to_the_official_sdk():
    parts = (Reasoning("hm"), Text("4"), ToolUse("t", "f", '{"a":1}'))
    body = FORMAT.encode_response(Response("x", "gpt", parts, "tool_use", Usage(9, 8, cached_tokens=4)))
    message = sdk.Message.model_validate_json(body)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.stop_sequence) == (5, 4, None)


CARRIED = [
    Reasoning("hm", "s:1", protocol="openai-chat"), Reasoning(encrypted="c", protocol="gemini"),
    Reasoning("sum", encrypted="c", protocol="openai-responses"), Reasoning("", "only", protocol="gemini"),
    Text("x", extra=Opaque("gemini", Raw(b'{"thoughtSignature":"s"}'))),
    ToolUse("t", "f", "{}", extra=Opaque("gemini", Raw(b'{"thoughtSignature":"\\"s:~"}'))), ToolUse("u", "g", "{}"),
]  # fmt: skip


@pytest.mark.parametrize("streams", [False, True])
def test_what_other_formats_keep_comes_back_with_the_clients_next_turn(streams: bool):
    response = Response("x", "gpt", tuple(CARRIED), "tool_use")
    body = FORMAT.encode_response(response)
    if streams:
        body = FORMAT.encode_response(fold(heard(told(tell(response)))))
    content = sdk.Message.model_validate_json(body).to_dict()["content"]
    again = understood(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": content}])
    assert again.messages[1].parts == response.parts
    sent = FORMAT.encode_request(again, default_max_tokens=1)
    blocks = msgspec.json.decode(sent.body)["messages"][1]["content"]
    assert [block["type"] for block in blocks] == ["text", "tool_use", "tool_use"], "Anthropic never sees them"
    assert sent.dropped == ("reasoning", "thoughtSignature")


def test_only_users_show_pictures():
    drawn = Message("assistant", (Text("Here."), Media("image", "image/png", data="AA==")))
    request = Request("m", (Message("user", (Text("Draw."),)), drawn, Message("user", (Text("More."),))))
    sent = FORMAT.encode_request(request, default_max_tokens=1)
    assert msgspec.json.decode(sent.body)["messages"][1]["content"] == [{"type": "text", "text": "Here."}]
    assert sent.dropped == ("image",)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    "picture",
    [
        Media("image", "image/png", data="AA=="), Media("image", url="https://a.example/b.png"),
        Media("audio", "audio/wav", data="AA=="), Media("document", "application/pdf", data="AA=="),
    ],
)  # fmt: skip
def test_a_picture_that_a_model_made_is_a_file_and_comes_back(picture: Media, streams: bool):
    """Answers of this format have no images."""
    response = Response("x", "gemini", (Text("Look:"), picture), "stop")
    shown = FORMAT.encode_response(response)
    content = sdk.Message.model_validate_json(shown, strict=True).to_dict()["content"]
    if streams:
        started = [each for each in data_of(told(tell(response))) if each["type"] == "content_block_start"]
        blocks = [each["content_block"] for each in started]
        assert blocks[1] == content[1]
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]
    assert understood(messages=messages).messages[1].parts == response.parts
    taken = FORMAT.peek(msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": messages}))
    assert FORMAT.characters(taken) == len("?Look:")
    sent = FORMAT.patch(taken, "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
    assert [block["type"] for block in msgspec.json.decode(sent)["messages"][1]["content"]] == ["text"]
    own = {"type": "container_upload", "file_id": "file_1"}
    (part,) = understood(messages=[{"role": "user", "content": [own]}]).messages[0].parts
    assert isinstance(part, Opaque)


def test_what_is_known_late_is_carried_behind():
    extra = Opaque("gemini", Raw(b'{"thoughtSignature":"s"}'))
    events = [Start("x", "m"), PartStart(0, ToolUse("t", "f", "")), PartDelta(0, "{}", extra=extra), PartEnd(0)]
    shown = fold(heard(told([*events, Finish("tool_use")])))
    content = msgspec.json.decode(FORMAT.encode_response(shown))["content"]
    assert [block["type"] for block in content] == ["tool_use", "thinking"]
    again = understood(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": content}])
    assert again.messages[1].parts == (ToolUse("t", "f", "{}", extra=extra),)


def test_what_was_carried_does_not_pass_through_to_anthropic():
    content = msgspec.json.decode(FORMAT.encode_response(Response("x", "m", tuple(CARRIED), "tool_use")))["content"]
    only = msgspec.json.decode(FORMAT.encode_response(Response("x", "m", tuple(CARRIED[:1]), "stop")))["content"]
    mine = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    words = "~" * 40 + "fairlead:"
    messages = [
        {"role": "user", "content": words}, {"role": "assistant", "content": [mine, *content]},
        {"role": "user", "content": [{"type": "text", "text": words}]}, {"role": "assistant", "content": only},
    ]  # fmt: skip
    body = msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": messages})
    sent = FORMAT.patch(FORMAT.peek(body), "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
    passed = msgspec.json.decode(sent)["messages"]
    assert passed[0] == messages[0]
    assert [block["type"] for block in passed[1]["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert passed[1]["content"][0] == mine
    assert passed[2:] == messages[2:3]


@pytest.mark.parametrize("odd", ["", "gemini", "gemini:", "gemini:beside:{", "gemini:behind:", "gemini:new:x", ":::"])
def test_what_is_carried_wrongly_breaks_nothing(odd: str):
    block = {"type": "thinking", "thinking": "", "signature": "~" * 16 + "fairlead:" + odd}
    for content in ([block], [block, {"type": "text", "text": "x"}], [{"type": "text", "text": "x"}, block]):
        again = understood(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": content}])
        FORMAT.encode_request(again, default_max_tokens=1)


def test_arguments_that_a_model_garbled_are_the_providers_fault_unless_they_were_cut_short():
    garbled = Response("x", "gpt", (ToolUse("t", "f", '{"a":'),), "tool_use")
    with pytest.raises(errors.UpstreamBroken):
        FORMAT.encode_response(garbled)
    cut = msgspec.structs.replace(garbled, finish_reason="length")
    assert msgspec.json.decode(FORMAT.encode_response(cut))["content"][0]["input"] == {}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"content":5}', b'{"content":[5]}', b"[" * 100_000])
def test_a_body_that_is_no_answer_is_broken(body: bytes):
    with pytest.raises(errors.UpstreamBroken):
        FORMAT.decode_response(body)


def test_an_answer_of_status_200_may_tell_an_error():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    for read in (FORMAT.decode_response, FORMAT.summary):
        with pytest.raises(errors.Overloaded):
            read(body)


# ---- streams


def test_a_tool_called_without_arguments_has_an_empty_object():
    block = event(
        "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
    )
    delta = event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": ""})
    stream = opening() + block + delta + event("content_block_stop", index=0) + ending("tool_use")
    assert fold(heard(stream)).parts == (ToolUse("t", "f", "{}"),)


def test_a_thought_that_is_only_signed_is_kept():
    block = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
    delta = event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"})
    stream = opening() + block + delta + event("content_block_stop", index=0) + ending()
    assert fold(heard(stream)).parts == (Reasoning("", "c2ln", protocol=NAME),)


def test_what_only_this_format_knows_is_gathered_and_comes_whole():
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    compaction = {"type": "compaction", "content": None}
    stream = (
        opening()
        + event("content_block_start", index=0, content_block=search)
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"query":'})
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '"x"}'})
        + event("content_block_stop", index=0)
        + event("content_block_start", index=1, content_block=compaction)
        + event("content_block_delta", index=1, delta={"type": "compaction_delta", "content": "We said "})
        + event("content_block_delta", index=1, delta={"type": "compaction_delta", "content": "hello."})
        + event("content_block_stop", index=1)
        + ending()
    )
    events = heard(stream)
    assert [type(told_event) for told_event in events] == [Start, PartStart, PartEnd, PartStart, PartEnd, Finish]
    assert [msgspec.json.decode(part.raw) for part in fold(events).parts] == [
        {**search, "input": {"query": "x"}}, {**compaction, "content": "We said hello."},
    ]  # fmt: skip


@pytest.mark.parametrize("written", ["{", "[1]", '{"a":' * 5_000, '{"a":' * 5_000 + "1" + "}" * 5_000])
def test_an_input_that_cannot_be_read_breaks_the_stream(written: str):
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    block = event("content_block_start", index=0, content_block=search)
    delta = event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": written})
    with pytest.raises(errors.UpstreamBroken):
        heard(opening() + block + delta + event("content_block_stop", index=0))


def test_citations_stand_beside_their_text():
    cited = [{"type": "char_location", "cited_text": "a", "document_index": number} for number in (0, 1)]
    deltas = [
        event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": each}) for each in cited
    ]
    block = event("content_block_start", index=0, content_block={"type": "text", "text": "", "citations": []})
    words = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
    begun = opening(input_tokens=1, output_tokens=0)
    stream = begun + block + b"".join(deltas) + words + event("content_block_stop", index=0) + ending()
    response = fold(heard(stream))
    assert [msgspec.json.decode(citation.raw.raw) for citation in response.parts[0].citations] == cited
    assert [citation.quote for citation in response.parts[0].citations] == ["a", "a"]
    assert fold(heard(told(tell(response)))) == response
    assert msgspec.json.decode(FORMAT.encode_response(response))["content"][0]["citations"] == cited


def test_a_stream_that_ends_too_early_is_broken_and_perhaps_billed():
    with pytest.raises(errors.UpstreamBroken) as caught:
        heard(opening())
    assert caught.value.outcome_unknown


def test_a_stream_that_gave_its_reason_may_leave_the_end_mark_out():
    last = heard(opening(input_tokens=3) + event("message_delta", delta={"stop_reason": "end_turn"}))[-1]
    assert last == Finish("stop", Usage(3), raw_reason="end_turn")


@pytest.mark.parametrize("type", ["content_block_delta", "content_block_stop"])
def test_an_event_of_a_block_that_is_not_open_is_broken(type: str):
    with pytest.raises(errors.UpstreamBroken):
        heard(opening() + event(type, index=4, delta={"type": "text_delta", "text": "a"}))


def test_parts_that_interleave_are_told_one_after_the_other():
    stream = told(
        [
            Start("x", "gpt"),
            PartStart(0, ToolUse("a", "f", "")),
            PartStart(1, ToolUse("b", "g", "")),
            PartDelta(0, '{"a"'),
            PartDelta(1, '{"b"'),
            PartDelta(0, ":1}"),
            PartEnd(0),
            PartDelta(1, ":2}"),
            PartEnd(1),
            Finish("tool_use", Usage(3, 4)),
        ]
    )
    kinds = [(told_event["type"], told_event.get("index")) for told_event in data_of(stream)]
    assert kinds == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert fold(heard(stream)).parts == (ToolUse("a", "f", '{"a":1}'), ToolUse("b", "g", '{"b":2}'))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_what_only_this_format_knows_is_the_same_in_whatever_pieces_it_comes(size: int):
    def pieces(text: str) -> list[str]:
        return [text[at : at + size] for at in range(0, len(text), size)]

    block = {"type": "invented_tomorrow", "text": "Once", "log": 5, "input": {}}
    deltas = [
        *({"type": "text_delta", "text": piece} for piece in pieces(" upon a time\r\n\u2028")),
        *({"type": "input_json_delta", "partial_json": piece} for piece in pieces('{"a": [1, 2]}')),
        *({"type": "log_delta", "log": piece} for piece in pieces("more")),
        {"type": "list_delta", "list": [1]},
        *({"type": "list_delta", "list": piece} for piece in pieces("text after all")),
        {"type": "citations_delta", "citation": {"n": 1}},
        {"type": "citations_delta", "citation": {"n": 2}},
    ]
    decode = FORMAT.event_decoder()
    decode(opening())
    decode(event("content_block_start", index=0, content_block=block))
    held = [decode.held]
    for each in deltas:
        assert decode(event("content_block_delta", index=0, delta=each)) == []
        held.append(decode.held)
    assert held == sorted(set(held))
    start, _ = decode(event("content_block_stop", index=0))
    assert decode.held == 0
    assert isinstance(start, PartStart)
    assert isinstance(start.part, Opaque)
    assert msgspec.json.decode(start.part.raw) == {
        "type": "invented_tomorrow",
        "text": "Once upon a time\r\n\u2028",
        "log": "more",
        "input": {"a": [1, 2]},
        "list": "text after all",
        "citations": [{"n": 1}, {"n": 2}],
    }


def test_parts_that_wait_are_counted_until_their_turn_comes():
    encode = FORMAT.event_encoder(include_usage=True)
    encode(Start("x", "gpt"))
    encode(PartStart(0, Text("")))
    assert encode.held == 0
    held = [0]
    for waiting in (PartStart(1, Text("")), PartDelta(1, "b" * 1000), PartEnd(1), PartStart(2, Text("c" * 1000))):
        assert encode(waiting) == b""
        held.append(encode.held)
    assert held == sorted(set(held))
    assert held[-1] > 2000
    encode(PartEnd(0))
    assert encode.held == 0


def test_a_block_that_is_never_ended_is_counted():
    decode = FORMAT.event_decoder()
    decode(opening())
    for index in range(10):
        decode(event("content_block_start", index=index, content_block={"type": "text", "text": ""}))
    assert decode.held >= 10 * 100
    for index in range(10):
        decode(event("content_block_stop", index=index))
    assert decode.held == 0


def test_however_many_parts_wait_they_keep_their_order():
    names = [f"f{index}" for index in range(500)]
    starts = [PartStart(index, ToolUse(f"t{index}", name, "")) for index, name in enumerate(names)]
    arguments = [PartDelta(index, piece) for piece in ("{", "}") for index in range(500)]
    stream = told([Start("x", "gpt"), *starts, *arguments, Finish("tool_use")])
    assert fold(heard(stream)).parts == tuple(ToolUse(f"t{index}", name) for index, name in enumerate(names))


def test_parts_that_were_never_ended_are_ended_with_the_stream():
    stream = told(
        [Start("x", "gpt"), PartStart(0, Text("")), PartStart(1, Text("b")), PartDelta(0, "a"), Finish("stop")]
    )
    assert fold(heard(stream)).parts == (Text("a"), Text("b"))


def test_input_tokens_are_told_at_the_start_where_they_are_known_and_else_at_the_end():
    known = data_of(told([Start("x", MODEL, usage=Usage(9, 1)), Finish("stop", Usage(9, 5))]))
    assert (known[0]["message"]["usage"]["input_tokens"], known[1]["usage"]["output_tokens"]) == (9, 5)
    late = data_of(told([Start("x", MODEL), Finish("stop", Usage(9, 5))]))
    assert (late[0]["message"]["usage"]["input_tokens"], late[1]["usage"]["input_tokens"]) == (0, 9)


# ---- errors


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            400,
            b'{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}',
            errors.UpstreamRefused,
        ),
        (400, b'{"error":{"message":"Your credit balance is too low to access"}}', errors.OutOfCredit),
        (400, b'{"error":{"message":"Output blocked by content filtering policy"}}', errors.ContentPolicyViolation),
        (403, b'{"error":{"type":"permission_error"}}', errors.CredentialRejected),
        (413, b"<html>413</html>", errors.UpstreamTooLarge),
        (429, b"{}", errors.RateLimited),
        (500, b"", errors.UpstreamBroken),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', errors.Overloaded),
        (502, b"<html>\xff</html>", errors.UpstreamBroken),
        (504, b"null", errors.UpstreamTimeout),
    ],
)
def test_an_error_is_known_by_status_and_words(status: int, body: bytes, kind: type[errors.UpstreamError]):
    assert type(FORMAT.decode_error(status, body)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest("x", param="p"), "invalid_request_error"),
        (errors.InvalidKey("x-api-key: fl-…"), "authentication_error"),
        (errors.Forbidden("x"), "permission_error"),
        (errors.ModelNotFound("m"), "not_found_error"),
        (errors.TooLarge("x"), "request_too_large"),
        (errors.RateLimited("x"), "rate_limit_error"),
        (errors.InternalError(), "api_error"),
        (errors.UpstreamBroken("x"), "api_error"),
        (errors.UpstreamTimeout("silence", 3), "timeout_error"),
        (errors.Overloaded("x"), "overloaded_error"),
    ],
)
def test_an_error_is_told_as_anthropic_tells_it(error: errors.FairleadError, kind: str):
    body = FORMAT.encode_error(error)
    if kind != "request_too_large":  # which the SDK knows by its status only
        sdk.ErrorResponse.model_validate_json(body)
    expected = {
        "type": kind, "message": str(error), "code": error.code, "param": error.param, "retryable": error.retryable,
    }  # fmt: skip
    assert msgspec.json.decode(body) == {"type": "error", "error": expected}
    assert FORMAT.encode_error_event(error) == b"event: error\ndata: %b\n\n" % body


def test_a_wrong_key_is_told_in_the_header_that_anthropics_clients_send():
    assert "'x-api-key: fl-…'" in msgspec.json.decode(FORMAT.encode_error(errors.InvalidKey()))["error"]["message"]


# ---- whatever the bytes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    "type index message content_block delta usage error content text thinking id name input source citations role model"
    " messages system tools stop_reason citation partial_json output_config signature tool_choice".split()
)
kinds = st.sampled_from(
    "text thinking tool_use tool_result image document content_block_start content_block_delta content_block_stop"
    " message_start message_delta message_stop error base64 auto tool enabled user".split()
)
alike = st.recursive(
    json_values | kinds,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner | kinds, max_size=5),
    max_leaves=12,
).map(msgspec.json.encode)


@given(st.integers(400, 599), st.binary(max_size=50) | alike)
def test_no_error_is_too_strange_to_be_understood(status: int, body: bytes):
    assert isinstance(FORMAT.decode_error(status, body), errors.UpstreamError)


@settings(max_examples=300)
@given(st.binary(max_size=50) | alike)
def test_nothing_but_upstream_errors_leaves_what_reads_answers(payload: bytes):
    decode, reader = FORMAT.event_decoder(), FORMAT.stream_reader()
    for read in (FORMAT.decode_response, FORMAT.summary, decode, reader.see):
        body = payload if read in (FORMAT.decode_response, FORMAT.summary) else b"data: " + payload + b"\n\n"
        with contextlib.suppress(errors.UpstreamError):
            read(body)


@settings(max_examples=300)
@given(st.binary(max_size=50) | alike)
def test_nothing_but_invalid_request_leaves_what_reads_requests(body: bytes):
    for read in (FORMAT.peek, FORMAT.decode_request):
        with contextlib.suppress(errors.InvalidRequest):
            read(body)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
parts = (
    st.builds(Text, words)
    | st.builds(Reasoning, words, words, protocol=st.just(NAME))
    | st.builds(Reasoning, encrypted=words, protocol=st.just(NAME))
    | st.builds(
        ToolUse, words, words, st.dictionaries(words, words).map(lambda held: msgspec.json.encode(held).decode())
    )
)
responses = st.builds(
    Response,
    id=words,
    model=words,
    parts=st.lists(parts, max_size=5).map(tuple),
    finish_reason=st.just("stop"),
    usage=st.builds(Usage, st.integers(20, 99), st.integers(9, 99), st.integers(0, 9), st.integers(0, 9)),
    raw_reason=st.just("end_turn"),
)


@given(responses)
def test_streaming_and_whole_tell_the_same(response: Response):
    assert FORMAT.decode_response(FORMAT.encode_response(response)) == response
    assert fold(heard(told(tell(response)))) == response


@given(responses, st.data())
def test_however_parts_interleave_they_are_told_whole_and_in_order(response: Response, data: st.DataObject):
    start, *rest, finish = tell(response)
    waiting = [[each for each in rest if each.index == index] for index in range(len(response.parts))]
    mixed: list[Event] = [queue.pop(0) for queue in waiting]
    while any(waiting):
        mixed.append(data.draw(st.sampled_from([queue for queue in waiting if queue])).pop(0))
    assert fold(heard(told([start, *mixed, finish]))) == response


def test_a_thread_that_a_provider_keeps_is_refused_in_the_words_that_sdks_know():
    """They send the whole conversation then. One that is not there asks for nothing."""
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(errors.InvalidRequest) as caught:
        FORMAT.decode_request(msgspec.json.encode({**body, "thread": {"type": "create"}}))
    assert caught.value.param == "thread"
    told = msgspec.json.decode(FORMAT.encode_error(caught.value))["error"]
    assert told["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert FORMAT.decode_request(msgspec.json.encode({**body, "thread": None})).messages
