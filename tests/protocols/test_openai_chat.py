"""OpenAI's chat completions: read along, taken apart, told again; with the recorded traffic of many vendors."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from protocols_recordings import Recording, openai_spec, recordings

from fairlead import errors
from fairlead.chat import (
    Event,
    Finish,
    Media,
    Message,
    Opaque,
    PartDelta,
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
from fairlead.protocols import CONTENT, DONE, USAGE_ONLY
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import EventCutter, data

CHAT = OpenAIChat()
COMPATIBLE = """
    alibaba anthropic-openai-compat azure bedrock-mantle cerebras crusoe deepseek groq heroku huggingface mistral
    moonshotai ollama openrouter perplexity snowflake together xai zai
""".split()


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def asked(*messages: dict[str, Any], **fields: Any) -> Request:
    return CHAT.decode_request(body(messages=list(messages), **fields))


def sent(request: Request) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(CHAT.encode_request(request, default_max_tokens=4096))
    return told


def sent_messages(*messages: Message) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = sent(Request("m", messages))["messages"]
    return told


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def delta(reason: str | None = None, **said: Any) -> bytes:
    return event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": said, "finish_reason": reason}]})


END = b"data: [DONE]\n\n"


def cut(stream: bytes) -> list[bytes]:
    cutter = EventCutter(1 << 25)
    events = cutter.feed(stream)
    rest = cutter.finish()
    return [*events, rest + b"\n\n"] if rest else events


def decoded(events: Iterable[bytes]) -> list[Event]:
    decode = CHAT.event_decoder()
    return [word for raw in [*events, b""] for word in decode(raw)]


def encoded(words: Iterable[Event], *, include_usage: bool = True) -> bytes:
    encode = CHAT.event_encoder(include_usage=include_usage)
    return b"".join(map(encode, words))


def payloads(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data(raw)) for raw in cut(stream) if data(raw) != b"[DONE]"]


def plain(words: Any) -> Any:
    """Words as plain values, so that raw JSON compares by what it says."""
    return msgspec.json.decode(msgspec.json.encode(words))


def meaning(response: Response) -> Any:
    """All that must survive being told again: the provider's spelling of the reason may change."""
    return plain(msgspec.structs.replace(response, raw_reason=None))


# ---- looking, without translating


def test_an_envelope_has_what_is_read_of_a_request() -> None:
    taken = CHAT.peek(body(stream=True, max_tokens=5, stream_options={"include_usage": True}, brand_new=[1]))
    assert (taken.model, taken.stream, taken.max_tokens, taken.messages, taken.include_usage) == ("m", True, 5, 1, True)
    assert taken.fields["brand_new"] == Raw(b"[1]")


def test_of_two_limits_the_newer_name_counts() -> None:
    assert CHAT.peek(body(max_tokens=5, max_completion_tokens=6)).max_tokens == 6
    assert CHAT.peek(body(max_tokens=5, max_completion_tokens=None)).max_tokens == 5
    assert CHAT.peek(body()).max_tokens is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}, {"role": "user", "content": 5}]}, "messages[1].content"),
        ({"Stream": True}, "Stream"),
    ],
)
def test_a_read_field_of_the_wrong_type_is_refused_naming_it(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        CHAT.peek(body(**fields))
    assert caught.value.param == param


def test_n_may_be_more_than_one_where_bytes_pass() -> None:
    assert CHAT.peek(body(n=2)).fields["n"] == Raw(b"2")


def test_characters_count_the_text_of_messages() -> None:
    assert CHAT.characters(CHAT.peek(body(messages=[{"role": "user", "content": "12345"}]))) == 5


def patched(original: bytes, *, ask_usage: bool = True, drop: frozenset[str] = frozenset()) -> bytes:
    return CHAT.patch(CHAT.peek(original), "other", drop=drop, ask_usage=ask_usage, default_max_tokens=4096)


def test_only_the_models_name_changes_on_the_way_through() -> None:
    assert patched(b'{"z":1.50,"model":"m","messages":[{"role":"user"}]}') == (
        b'{"z":1.50,"model":"other","messages":[{"role":"user"}]}'
    )


def test_a_request_that_named_no_model_gets_one() -> None:
    assert json.loads(patched(b'{"messages":[{"role":"user"}]}'))["model"] == "other"


def test_our_own_fields_are_dropped() -> None:
    assert "provider" not in json.loads(patched(body(provider={"order": ["a"]}), drop=frozenset({"provider", "route"})))


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"stream": True}, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"x": [1]}}, {"x": [1], "include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": True, "x": 1}}, {"include_usage": True, "x": 1}),
        ({"stream": False}, None),
        ({}, None),
    ],
)
def test_usage_is_asked_for_in_every_stream(fields: dict[str, Any], options: Any) -> None:
    assert json.loads(patched(body(**fields))).get("stream_options") == options


def test_usage_is_not_asked_for_where_the_row_says_so() -> None:
    assert "stream_options" not in json.loads(patched(body(stream=True), ask_usage=False))


def seen(*events: bytes) -> tuple[list[int], Any]:
    reader = CHAT.stream_reader()
    return [reader.see(raw) for raw in events], reader.summary


def test_the_first_event_with_content_is_known() -> None:
    flags, summary = seen(delta(role="assistant", content=""), delta(content="a"), delta("stop"), END)
    assert flags == [0, CONTENT, CONTENT, DONE]
    assert (summary.id, summary.model, summary.finish_reason) == ("c", "m", "stop")


@pytest.mark.parametrize(
    "said",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
        {"refusal": "no"},
        {"something_new": {"a": 1}},
    ],
)
def test_text_thought_tools_and_refusals_are_content(said: dict[str, Any]) -> None:
    assert seen(delta(**said))[0] == [CONTENT]


@pytest.mark.parametrize(
    "said", [{"role": "assistant"}, {"content": None, "tool_calls": [], "refusal": None}, {"reasoning_content": ""}, {}]
)
def test_an_opening_is_no_content(said: dict[str, Any]) -> None:
    assert seen(delta(role="assistant", **{k: v for k, v in said.items() if k != "role"}))[0] == [0]


USED = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
FINISHED = {"index": 0, "delta": {}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("closing", "flags"),
    [
        ([{"choices": [FINISHED], "usage": None}, {"choices": [], "usage": USED}], [CONTENT, USAGE_ONLY]),
        ([{"choices": [], "usage": USED}, {"choices": [FINISHED]}], [USAGE_ONLY, CONTENT]),
        ([{"choices": [FINISHED], "usage": USED}], [CONTENT]),
        ([{"choices": [{**FINISHED, "usage": USED}], "usage": None}], [CONTENT]),
        ([{"choices": [FINISHED], "x_groq": {"id": "r", "usage": USED}}], [CONTENT]),
        ([{"choices": [FINISHED]}, {"choices": [], "x_groq": {"usage": USED}}], [CONTENT, 0]),
        ([{"choices": [{**FINISHED, "delta": {"content": "x"}}], "usage": USED}], [CONTENT]),
    ],
)
def test_usage_is_found_wherever_vendors_put_it(closing: list[dict[str, Any]], flags: list[int]) -> None:
    found, summary = seen(delta(content="a"), *map(event, closing))
    assert found[1:] == flags
    assert summary.usage == Usage(3, 4)
    assert summary.finish_reason == "stop"


def test_growing_usage_is_read_to_its_last_word() -> None:
    chunks = [{"choices": [{"delta": {"content": "x"}}], "usage": {**USED, "completion_tokens": n}} for n in (1, 2, 3)]
    assert seen(*map(event, chunks))[1].usage == Usage(3, 3)


def test_a_chunk_without_choices_and_usage_is_not_dropped() -> None:
    assert seen(delta(content="a"), event({"choices": [], "usage": None, "moderation": {}}))[0] == [CONTENT, 0]


def test_an_ordinary_delta_has_no_flags_whatever_its_text_says() -> None:
    text = '"finish_reason":"stop","usage":{"prompt_tokens":1},"error":{}'
    flags, summary = seen(delta(content="a"), delta(content=text))
    assert flags == [CONTENT, 0]
    assert summary.finish_reason is None


def test_a_finish_beside_an_unfinished_choice_is_seen() -> None:
    two = [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}, {"index": 1, "delta": {}}]
    flags, summary = seen(event({"choices": two}), event({"choices": [two[0], {**two[1], "finish_reason": "length"}]}))
    assert flags == [CONTENT, CONTENT]
    assert summary.finish_reason == "length"


@pytest.mark.parametrize("event", [b": OPENROUTER PROCESSING\n\n", b"retry: 3\n\n", b"event: ping\n\n", b"\n\n"])
def test_comments_and_pings_are_nothing(event: bytes) -> None:
    assert seen(event)[0] == [0]


@pytest.mark.parametrize("end", [b"data:[DONE]\n\n", b"data: [DONE] \r\n\r\n", b"data: [DONE]\r\r"])
def test_the_end_mark_is_known_in_any_framing(end: bytes) -> None:
    assert seen(end)[0] == [DONE]


TOLD_IN_A_STREAM = {
    "OpenAI": (event({"error": {"message": "x", "type": "rate_limit_exceeded"}}), errors.RateLimited),
    "a numeric code": (event({"error": {"message": "x", "code": 529}}), errors.Overloaded),
    "a code in a string": (event({"error": {"message": "x", "code": "503"}}), errors.Overloaded),
    "a server's fault": (event({"error": {"message": "x", "type": "server_error"}}), errors.UpstreamBroken),
    "only a string": (event({"error": "x"}), errors.UpstreamBroken),
    "Groq": (
        b"event: error\n" + event({"error": {"message": "x", "type": "invalid_request_error", "status_code": 400}}),
        errors.UpstreamRefused,
    ),
    "OpenRouter": (
        event({"error": {"code": 429, "message": "x"}, "choices": [{"delta": {}, "finish_reason": "error"}]}),
        errors.RateLimited,
    ),
    "fields at the top": (event({"object": "error", "message": "x", "code": 400}), errors.UpstreamRefused),
    "only the event's name": (b"event: error\n" + event({"message": "x", "code": 429}), errors.RateLimited),
    "no JSON": (b"data: <html>\n\n", errors.UpstreamBroken),
    "no chunk": (b"data: 5\n\n", errors.UpstreamBroken),
    "too deep": (b"data: " + b'{"error":' + b"[" * 5000 + b"]" * 5000 + b"}\n\n", errors.UpstreamBroken),
}


@pytest.mark.parametrize("started", [False, True], ids=["at once", "after content"])
@pytest.mark.parametrize(("raw", "kind"), TOLD_IN_A_STREAM.values(), ids=TOLD_IN_A_STREAM)
def test_an_error_in_a_stream_of_status_200_is_raised(raw: bytes, kind: type[Exception], started: bool) -> None:
    reader = CHAT.stream_reader()
    if started:
        reader.see(delta(content="a"))
    with pytest.raises(kind):
        reader.see(raw)


def test_what_opens_a_stream_must_be_a_chunk() -> None:
    for raw in (b'data: {"choices":"\xff"}\n\n', event({"choices": 5}), event([])):
        with pytest.raises(errors.UpstreamBroken):
            CHAT.stream_reader().see(raw)


def test_a_summary_has_what_a_whole_answer_says_of_itself() -> None:
    answer = {"id": "c", "model": "m", "choices": [{"message": {}, "finish_reason": "length"}], "usage": USED}
    told = CHAT.summary(json.dumps(answer).encode())
    assert (told.id, told.model, told.finish_reason, told.usage) == ("c", "m", "length", Usage(3, 4))


@pytest.mark.parametrize("answer", [b"", b"<html>", b"null", b"{}", b'{"choices":5}', b"\xff", b'{"choices":[{"'])
def test_what_is_no_answer_is_broken(answer: bytes) -> None:
    for read in (CHAT.summary, CHAT.decode_response):
        with pytest.raises(errors.UpstreamBroken):
            read(answer)


def test_an_error_in_an_answer_of_status_200_is_raised() -> None:
    for read in (CHAT.summary, CHAT.decode_response):
        with pytest.raises(errors.RateLimited):
            read(b'{"error":{"message":"slow down","code":429}}')


# ---- recordings


@pytest.mark.parametrize("recording", recordings("openai", ["chat", "chat_stream"]))
def test_a_recorded_request_is_read_and_told_again(recording: Recording) -> None:
    request = recording.request or body(model=recording.whole["model"])
    taken = CHAT.peek(request)
    assert taken.messages == len(json.loads(request)["messages"])
    assert json.loads(CHAT.patch(taken, "x", drop=frozenset(), ask_usage=False, default_max_tokens=1)) == {
        **json.loads(request),
        "model": "x",
    }
    told = CHAT.encode_request(CHAT.decode_request(request), default_max_tokens=1)
    assert openai_spec().errors("CreateChatCompletionRequest", json.loads(told)) == []
    again = CHAT.encode_request(CHAT.decode_request(told), default_max_tokens=1)
    assert json.loads(again) == json.loads(told)


@pytest.mark.parametrize("recording", recordings("openai", ["chat"]))
def test_a_recorded_answer_means_the_same_when_it_is_told_again(recording: Recording) -> None:
    response = CHAT.decode_response(recording.response)
    told = CHAT.encode_response(response)
    assert openai_spec().errors("CreateChatCompletionResponse", json.loads(told)) == []
    if response.finish_reason != "refusal":
        assert meaning(CHAT.decode_response(told)) == meaning(response)
    assert fold(tell(response)) == response
    summary = CHAT.summary(recording.response)
    assert (summary.id, summary.model, summary.usage) == (response.id, response.model, response.usage)
    said = recording.whole["response"]["body"]["choices"][0]
    assert "".join(part.text for part in response.parts if isinstance(part, Text)) == (
        (said["message"].get("content") or "") + (said["message"].get("refusal") or "")
    )
    assert [part.id for part in response.parts if isinstance(part, ToolUse)] == [
        call["id"] for call in said["message"].get("tool_calls") or ()
    ] or "function_call" in said["message"]


@pytest.mark.parametrize("recording", recordings("openai", ["chat_stream"]))
def test_a_recorded_stream_means_the_same_when_it_is_told_again(recording: Recording) -> None:
    words = decoded(cut(recording.response))
    told = encoded(words)
    assert openai_spec().stream_errors("CreateChatCompletionStreamResponse", told.decode()) == []
    assert meaning(fold(decoded(cut(told)))) == meaning(fold(words))
    chunks = payloads(told)
    assert told.endswith(END)
    assert {chunk["id"] for chunk in chunks} == {fold(words).id}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == [recorded_reason(recording)]


def recorded_reason(recording: Recording) -> str:
    reasons = [c["finish_reason"] for chunk in payloads(recording.response) for c in chunk["choices"]]
    return next(reason for reason in reasons if reason)


@pytest.mark.parametrize("recording", recordings("openai", ["chat_stream"]))
def test_a_recorded_stream_is_the_same_wherever_its_chunks_end(recording: Recording) -> None:
    stream = recording.response
    whole, far = EventCutter(1 << 25).feed(stream), min(len(stream), 2000)
    for place in [*range(far), *range(far, len(stream), 97)]:
        cutter = EventCutter(1 << 25)
        assert cutter.feed(stream[:place]) + cutter.feed(stream[place:]) == whole
    cutter = EventCutter(1 << 25)
    assert [raw for place in range(len(stream)) for raw in cutter.feed(stream[place : place + 1])] == whole


@pytest.mark.parametrize("recording", recordings("openai", ["chat_stream"]))
def test_reading_along_finds_what_translating_finds(recording: Recording) -> None:
    events = cut(recording.response)
    flags, summary = seen(*events)
    response = fold(decoded(events))
    assert (summary.id, summary.model, summary.usage, summary.finish_reason) == (
        response.id, response.model, response.usage, response.raw_reason,
    )  # fmt: skip
    assert flags[-1] == DONE
    assert sum(flag & USAGE_ONLY for flag in flags) == USAGE_ONLY * (response.usage is not None)


@pytest.mark.parametrize("recording", recordings("openai", ["error"]))
def test_a_recorded_error_is_understood(recording: Recording) -> None:
    error = CHAT.decode_error(recording.status, recording.response)
    told = recording.whole["response"]["body"]["error"]
    assert isinstance(error, errors.UpstreamModelNotFound if recording.status == 404 else errors.UpstreamRefused)
    assert (error.message, error.param) == (told["message"], told["param"])
    assert error.upstream_code == (told["code"] or told["type"])


@pytest.mark.parametrize("vendor", COMPATIBLE)
def test_every_compatible_vendors_traffic_is_read(vendor: str) -> None:
    read = 0
    for recording in recorded(vendor, "chat") + recorded(vendor, "chat_stream"):
        read += 1
        try:
            if "/chat_stream/" in recording.id:
                response = fold(decoded(cut(recording.response)))
                seen(*cut(recording.response))
            else:
                response = CHAT.decode_response(recording.response)
                CHAT.summary(recording.response)
        except errors.UpstreamError as error:
            assert recording.id in TELL_ERRORS, (recording.id, error.message)
            continue
        assert response.parts or response.usage or response.finish_reason, recording.id
        assert fold(decoded(cut(encoded(tell(response))))).usage == response.usage
    assert read


TELL_ERRORS = {
    "azure/chat/ol-chat_content_filtering__0",  # a choice without a message
    "groq/chat_stream/tool_use_failed_error_streaming__0",
    "openrouter/chat_stream/openrouter_stream_error",
}


def recorded(vendor: str, operation: str) -> list[Recording]:
    try:
        found = [parameter.values[0] for parameter in recordings(vendor, [operation])]
    except LookupError:  # this vendor has none of the kind
        return []
    if found == [None]:
        pytest.skip("not on this machine: recordings (FAIRLEAD_SHARED)")
    return [recording for recording in found if "/chat/completions" in recording.whole["request"].get("path", "")]
