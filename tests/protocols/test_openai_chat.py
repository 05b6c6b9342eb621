"""OpenAI's chat completions: read along, taken apart, told again; with the recorded traffic of many vendors."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fairlead import errors
from fairlead.chat import (
    Citation,
    Event,
    Finish,
    Media,
    Message,
    Opaque,
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
from fairlead.protocols import CONTENT, DONE, USAGE_ONLY
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import EventCutter, data
from protocols_outbound import comparable, raw_events
from protocols_recordings import Recording, openai_spec, recordings

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
    told: dict[str, Any] = json.loads(CHAT.encode_request(request, default_max_tokens=4096).body)
    return told


def sent_messages(*messages: Message) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = sent(Request("m", messages))["messages"]
    return told


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def delta(reason: str | None = None, **said: Any) -> bytes:
    return event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": said, "finish_reason": reason}]})


END = b"data: [DONE]\n\n"


def decoded(events: Iterable[bytes]) -> list[Event]:
    decode = CHAT.event_decoder()
    return [word for raw in [*events, b""] for word in decode(raw)]


def encoded(words: Iterable[Event], *, include_usage: bool = True) -> bytes:
    encode = CHAT.event_encoder(include_usage=include_usage)
    return b"".join(map(encode, words))


def payloads(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data(raw)) for raw in raw_events(CHAT, stream) if data(raw) != b"[DONE]"]


def meaning(response: Response) -> Any:
    """All that must survive being told again: the provider's spelling of the reason may change."""
    return comparable(msgspec.structs.replace(response, raw_reason=None))


# ---- looking, without translating


def test_an_envelope_has_what_is_read_of_a_request() -> None:
    taken = CHAT.peek(body(stream=True, max_tokens=5, stream_options={"include_usage": True}, brand_new=[1]))
    assert (taken.model, taken.stream, taken.max_tokens, taken.messages, taken.include_usage) == ("m", True, 5, 1, True)
    assert taken.fields["brand_new"] == Raw(b"[1]")


def test_of_two_limits_the_newer_name_counts() -> None:
    assert CHAT.peek(body(max_tokens=5, max_completion_tokens=6)).max_tokens == 6
    assert CHAT.peek(body(max_tokens=5, max_completion_tokens=None)).max_tokens == 5
    assert CHAT.peek(body(max_tokens="5", max_completion_tokens=6)).max_tokens == 6  # nobody looks at the other
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
    chunks = [
        {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 3, "completion_tokens": n}}
        for n in (1, 2, 3)
    ]
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


def test_the_first_id_counts_and_why_the_first_choice_ended() -> None:
    def ended(index: int, reason: str, id: str) -> bytes:
        return event({"id": id, "choices": [{"index": index, "delta": {}, "finish_reason": reason}]})

    _, summary = seen(ended(1, "stop", "a"), ended(0, "length", "b"), ended(2, "stop", "c"))
    assert (summary.id, summary.finish_reason) == ("a", "length")
    choices = [
        {"text": "x", "index": index, "finish_reason": reason} for index, reason in enumerate(("length", "stop"))
    ]
    assert CHAT.summary(json.dumps({"choices": choices}).encode()).finish_reason == "length"


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
    told = CHAT.encode_request(CHAT.decode_request(request), default_max_tokens=1).body
    assert openai_spec().errors("CreateChatCompletionRequest", json.loads(told)) == []
    again = CHAT.encode_request(CHAT.decode_request(told), default_max_tokens=1).body
    assert json.loads(again) == json.loads(told)


@pytest.mark.parametrize("recording", recordings("openai", ["chat"]))
def test_a_recorded_answer_means_the_same_when_it_is_told_again(recording: Recording) -> None:
    response = CHAT.decode_response(recording.response)
    told = CHAT.encode_response(response)
    assert openai_spec().errors("CreateChatCompletionResponse", json.loads(told)) == []
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
    words = decoded(raw_events(CHAT, recording.response))
    told = encoded(words)
    assert openai_spec().stream_errors("CreateChatCompletionStreamResponse", told.decode()) == []
    assert meaning(fold(decoded(raw_events(CHAT, told)))) == meaning(fold(words))
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
    events = raw_events(CHAT, recording.response)
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
    exchanges = recorded(vendor, "chat") + recorded(vendor, "chat_stream")
    assert exchanges
    for recording in exchanges:
        if recording.id in TELL_ERRORS:
            with pytest.raises(errors.UpstreamError):
                read(recording)
            continue
        response = read(recording)
        assert response.parts or response.usage or response.finish_reason, recording.id
        assert fold(decoded(raw_events(CHAT, encoded(tell(response))))).usage == response.usage


def read(recording: Recording) -> Response:
    """The answer, having been read along too."""
    if "/chat_stream/" not in recording.id:
        CHAT.summary(recording.response)
        return CHAT.decode_response(recording.response)
    events = raw_events(CHAT, recording.response)
    response = fold(decoded(events))
    assert seen(*events)[1].usage == response.usage
    return response


TELL_ERRORS = {
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


# ---- requests, translated


def text(*said: str) -> tuple[Text, ...]:
    return tuple(map(Text, said))


def test_each_role_keeps_its_place() -> None:
    request = asked(
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u", "name": "eve"},
        {"role": "assistant", "content": "a"},
    )
    assert request.messages == (
        Message("system", text("s")),
        Message("developer", text("d")),
        Message("user", text("u"), "eve"),
        Message("assistant", text("a")),
    )
    assert [message["role"] for message in sent(request)["messages"]] == ["system", "developer", "user", "assistant"]


PDF = "data:application/pdf;base64,UERG"
PARTS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "text", "text": "x"}, Text("x")),
    (
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        Text("x", Raw(b'{"type": "ephemeral"}')),
    ),
    ({"type": "image_url", "image_url": {"url": "https://a/b.png"}}, Media("image", url="https://a/b.png")),
    (
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0", "detail": "low"}},
        Media("image", "image/gif", data="R0", detail="low"),
    ),
    ({"type": "image_url", "image_url": "https://a/b.png"}, Media("image", url="https://a/b.png")),
    ({"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}}, Media("audio", "audio/mp3", "UklG")),
    (
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        Media("document", "application/pdf", "UERG", name="a.pdf"),
    ),
    ({"type": "file", "file": {"file_data": "UERG"}}, Media("document", "application/pdf", "UERG")),
    ({"type": "file", "file": {"file_data": "https://a/b.pdf"}}, Media("document", url="https://a/b.pdf")),
    ({"type": "file", "file": {"file_id": "file-1"}}, Media("document", file_id="file-1")),
    ({"type": "tomorrow", "x": 1}, Opaque("openai-chat", Raw(b'{"type": "tomorrow", "x": 1}'))),
]


@pytest.mark.parametrize(("part", "word"), PARTS)
def test_each_kind_of_content_has_its_word(part: dict[str, Any], word: Any) -> None:
    assert asked({"role": "user", "content": [part]}).messages[0].parts == (word,)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (Media("image", url="https://a/b.png"), {"type": "image_url", "image_url": {"url": "https://a/b.png"}}),
        (
            Media("image", "image/gif", data="R0", detail="low"),
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0", "detail": "low"}},
        ),
        (
            Media("audio", "audio/mpeg", "SUQz"),
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
        ),
        (Media("document", file_id="f"), {"type": "file", "file": {"file_id": "f"}}),
        (
            Media("document", "application/pdf", "UERG", name="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        ),
        (Opaque("openai-chat", Raw(b'{"type":"tomorrow"}')), {"type": "tomorrow"}),
    ],
)
def test_each_word_has_its_kind_of_content(part: Any, told: dict[str, Any]) -> None:
    assert sent_messages(Message("user", (Text("x"), part)))[0]["content"] == [{"type": "text", "text": "x"}, told]


def test_what_only_another_format_knows_is_left_out() -> None:
    foreign = Opaque("anthropic-messages", Raw(b'{"type":"x"}'))
    spoken = Message("assistant", (Text("x"), foreign))
    request = Request("m", (spoken,), tools=(foreign,), extra={"container": foreign})
    assert sent(request) == {"model": "m", "messages": [{"role": "assistant", "content": "x"}]}


def test_a_document_of_plain_text_is_told_as_text() -> None:
    told = sent_messages(Message("user", (Media("document", text="words", name="notes"), Text("x"))))
    assert told == [{"role": "user", "content": "notes\n\nwords\n\nx"}]


def test_an_image_by_a_files_id_cannot_be_told() -> None:
    with pytest.raises(errors.InvalidRequest):
        sent_messages(Message("user", (Media("image", file_id="f"),)))


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


def test_calls_and_results_of_tools_are_paired_by_id() -> None:
    request = asked(
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "and?"},
    )
    assert request.messages == (
        Message("assistant", (ToolUse("c1", "f", '{"x":1}'), ToolUse("c2", "f", '{"x":1}'))),
        Message("tool", (ToolResult("c1", text("one")), ToolResult("c2", text("two")))),
        Message("user", text("and?")),
    )
    assert [message.get("tool_call_id") for message in sent(request)["messages"]] == [None, "c1", "c2", None]
    assert sent(request)["messages"][0]["tool_calls"] == [CALL, {**CALL, "id": "c2"}]


def test_the_older_functions_are_tools() -> None:
    request = asked(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "one"},
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    assert request.messages == (
        Message("assistant", (ToolUse("f", "f", "{}"),)),
        Message("tool", (ToolResult("f", text("one")),)),
    )
    assert request.tools == (Tool("f", schema=Raw(b'{"type": "object"}')),)
    assert request.tool_choice == ToolChoice("named", "f")


def test_images_that_a_tool_gave_follow_as_the_users() -> None:
    result = ToolResult("c1", (Media("image", url="https://a/b.png"),))
    told = sent_messages(Message("tool", (result,)))
    assert [message["role"] for message in told] == ["tool", "user"]
    assert told[1]["content"][0]["image_url"] == {"url": "https://a/b.png"}


def test_results_that_share_a_message_with_words_come_first() -> None:
    told = sent_messages(Message("user", (Text("and?"), ToolResult("c1", text("one")))))
    assert told == [
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "user", "content": "and?"},
    ]


def test_a_tool_keeps_its_schema_as_it_stood() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "z": 1.0}, "strict": True}
    request = asked(
        {"role": "user", "content": "x"}, tools=[{"type": "function", "function": function}], parallel_tool_calls=False
    )
    assert request.tools == (Tool("f", "d", Raw(json.dumps(function["parameters"]).encode()), True),)
    told = sent(request)
    assert (told["tools"], told["parallel_tool_calls"]) == ([{"type": "function", "function": function}], False)


def test_a_tool_that_is_no_function_goes_back_as_it_came() -> None:
    tool = {"type": "custom", "custom": {"name": "x"}}
    assert sent(asked({"role": "user", "content": "x"}, tools=[tool]))["tools"] == [tool]


@pytest.mark.parametrize(
    ("told", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
    ],
)
def test_a_choice_of_tools_survives(told: Any, choice: ToolChoice) -> None:
    request = asked(
        {"role": "user", "content": "x"}, tool_choice=told, tools=[{"type": "function", "function": {"name": "f"}}]
    )
    assert request.tool_choice == choice
    assert sent(request)["tool_choice"] == told


SCHEMA = {"name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}


@pytest.mark.parametrize(
    ("told", "wish"),
    [
        ({"type": "json_object"}, ResponseFormat("json_object")),
        (
            {"type": "json_schema", "json_schema": SCHEMA},
            ResponseFormat("json_schema", "n", Raw(b'{"type": "object"}'), True, "d"),
        ),
        ({"type": "text"}, None),
    ],
)
def test_the_shape_asked_of_an_answer_survives(told: dict[str, Any], wish: ResponseFormat | None) -> None:
    request = asked({"role": "user", "content": "x"}, response_format=told)
    assert request.response_format == wish
    assert sent(request).get("response_format") == (told if wish is not None else None)


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"reasoning_effort": "low"}, Thinking(effort="low")),
        ({"reasoning_effort": "none"}, Thinking(enabled=False, effort="none")),
        ({"reasoning": {"effort": "high"}}, Thinking(effort="high", summary="auto")),
        ({"reasoning": {"max_tokens": 2000}}, Thinking(budget_tokens=2000, summary="auto")),
        ({"reasoning": {"enabled": True}}, Thinking(summary="auto")),
        ({"reasoning": {"enabled": True, "exclude": True}}, Thinking(summary="none")),
        ({"reasoning": {"enabled": False}}, Thinking(enabled=False)),
    ],
)
def test_the_wish_to_think_is_understood(fields: dict[str, Any], thinking: Thinking | None) -> None:
    assert asked({"role": "user", "content": "x"}, **fields).thinking == thinking


@pytest.mark.parametrize(("budget", "effort"), [(1024, "low"), (8000, "medium"), (32000, "high")])
def test_a_budget_of_thought_becomes_an_effort(budget: int, effort: str) -> None:
    request = Request("m", (Message("user", text("x")),), thinking=Thinking(budget_tokens=budget))
    assert sent(request)["reasoning_effort"] == effort


def test_settings_survive() -> None:
    settings = {
        "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 1, "presence_penalty": -1, "seed": 3,
        "stop": ["a", "b"], "user": "u", "logit_bias": {"1": 2}, "metadata": {"k": "v"},
    }  # fmt: skip
    told = sent(asked({"role": "user", "content": "x"}, **settings))
    assert {name: told[name] for name in settings} == settings
    assert "stream_options" not in told


def test_a_stream_is_always_asked_for_usage() -> None:
    request = asked({"role": "user", "content": "x"}, stream=True)
    assert (request.stream, request.include_usage) == (True, False)
    assert sent(request)["stream_options"] == {"include_usage": True}


def test_one_stop_is_a_list_of_one() -> None:
    assert asked({"role": "user", "content": "x"}, stop="a").stop == ("a",)
    assert asked({"role": "user", "content": "x"}, stop=None).stop == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"messages": []}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"reasoning": {"effort": 5}}, "reasoning.effort"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": 5}]}]}, "messages[0].tool_calls[0].id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].id",
        ),
        (
            {"messages": [{"role": "assistant", "reasoning_details": [{"type": 5}]}]},
            "messages[0].reasoning_details[0].type",
        ),
    ],
)
def test_a_request_that_cannot_be_translated_is_refused_naming_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        CHAT.decode_request(body(**fields))
    assert caught.value.param == param


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)),
    st.data(),
)
def test_no_field_of_any_type_breaks_the_reading_of_a_request(value: Any, draw: st.DataObject) -> None:
    names = ["model", "messages", "tools", "tool_choice", "stop", "reasoning", "response_format", "stream_options", "n"]
    request = body(**{draw.draw(st.sampled_from(names)): value})
    for reading in (CHAT.peek, CHAT.decode_request):
        with suppress(errors.InvalidRequest):
            reading(request)


@pytest.mark.parametrize("said", [{"reasoning_content": "hm"}, {"reasoning": "hm"}])
def test_what_was_thought_goes_back_in_plain_text(said: dict[str, str]) -> None:
    request = asked({"role": "assistant", "content": "x", **said})
    assert request.messages[0].parts == (Reasoning("hm"), Text("x"))
    assert sent(request)["messages"][0]["reasoning_content"] == "hm"


def test_signed_and_redacted_thoughts_come_back_to_the_provider_that_signed_them() -> None:
    thoughts = (Reasoning("hm", "SIG", protocol=ANTHROPIC), Reasoning(encrypted="ENC", protocol=ANTHROPIC))
    answer = Response("c", "m", (*thoughts, Text("x")), "stop")
    message = json.loads(CHAT.encode_response(answer))["choices"][0]["message"]
    assert asked(message).messages[0].parts == answer.parts


ANTHROPIC = "anthropic-messages"


# ---- answers, translated

words = st.text(max_size=8)
signed = st.builds(Reasoning, words, st.text(min_size=1, max_size=8), st.none(), st.just(ANTHROPIC))
thoughts = st.lists(signed | st.builds(Reasoning, st.text(min_size=1)), max_size=1)
texts = st.lists(st.builds(Text, st.text(min_size=1)), max_size=1)
uses = st.lists(
    st.builds(ToolUse, st.text(min_size=1), st.text(min_size=1), st.dictionaries(words, words).map(json.dumps)),
    max_size=3,
    unique_by=lambda use: use.id,
)
counts = st.integers(0, 2**40)
usages = st.none() | st.builds(
    lambda cached, rest, reasoning, said: Usage(cached + rest, reasoning + said, cached, reasoning_tokens=reasoning),
    counts, counts, counts, counts,
)  # fmt: skip
responses = st.builds(
    lambda thought, said, called, usage, reason, id, created: Response(
        id, "m", (*thought, *said, *called), "tool_use" if called else reason, usage, created
    ),
    thoughts, texts, uses, usages, st.sampled_from(["stop", "length", "content_filter"]), words, st.integers(1, 2**33),
)  # fmt: skip


@given(responses)
def test_an_answer_survives_being_told_and_read(response: Response) -> None:
    assert meaning(CHAT.decode_response(CHAT.encode_response(response))) == meaning(response)


@given(responses)
def test_a_stream_survives_being_told_and_read(response: Response) -> None:
    if response.parts:
        events = raw_events(CHAT, encoded(tell(response)))
        assert meaning(fold(decoded(events))) == meaning(response)
        assert seen(*events)[1].usage == response.usage


@given(responses)
def test_a_whole_answer_and_a_stream_say_the_same(response: Response) -> None:
    whole = CHAT.decode_response(CHAT.encode_response(response))
    assert meaning(fold(tell(whole))) == meaning(whole)


def streamed(*events: bytes) -> Response:
    return fold(decoded(events))


def test_pieces_of_calls_are_joined_by_their_index() -> None:
    def piece(index: int, id: str | None, name: str | None, arguments: str) -> bytes:
        return delta(tool_calls=[{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}])

    response = streamed(
        piece(0, "a", "f", ""), piece(0, "", "", '{"x"'), piece(1, "b", "g", ""), piece(0, None, None, ":1}"),
        piece(1, "", None, "{}"), delta("tool_calls"), END,
    )  # fmt: skip
    assert response.parts == (ToolUse("a", "f", '{"x":1}'), ToolUse("b", "g", "{}"))
    assert (response.finish_reason, response.raw_reason) == ("tool_use", "tool_calls")


def test_calls_without_an_index_or_all_numbered_alike_are_told_apart_by_id() -> None:
    calls = [{"id": id, "function": {"name": "f", "arguments": "{}"}} for id in ("a", "b")]
    apart = (ToolUse("a", "f"), ToolUse("b", "f"))
    assert streamed(*(delta(tool_calls=[call]) for call in calls), delta("tool_calls")).parts == apart
    assert streamed(*(delta(tool_calls=[{"index": 0, **call}]) for call in calls), delta("tool_calls")).parts == apart


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert streamed(
        delta(tool_calls=[{"index": 1, "id": "a", "function": {"name": "f"}}]), delta("tool_calls")
    ).parts == (ToolUse("a", "f", "{}"),)


def test_a_call_without_an_id_gets_one() -> None:
    (use,) = streamed(delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]), delta("tool_calls")).parts
    assert isinstance(use, ToolUse)
    assert use.id.startswith("call_")


def test_thought_text_and_tools_are_parts_in_the_order_they_came() -> None:
    response = streamed(
        delta(role="assistant", content=""), delta(reasoning_content="hm"), delta(reasoning_content="m"),
        delta(content="x"), delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f"}}]), delta("tool_calls"),
    )  # fmt: skip
    assert response.parts == (Reasoning("hmm"), Text("x"), ToolUse("a", "f"))


@pytest.mark.parametrize("thinking", ["hm", [{"type": "text", "text": "hm"}]])
def test_a_thought_that_is_a_part_of_the_content_is_a_thought(thinking: Any) -> None:
    content = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": "x"}]
    whole = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}
    assert CHAT.decode_response(json.dumps(whole).encode()).parts == (Reasoning("hm"), Text("x"))
    pieces = [delta(content=content[:1]), delta(content=content[:1]), delta(content="x"), delta("stop")]
    assert streamed(*pieces).parts == (Reasoning("hmhm"), Text("x"))


@pytest.mark.parametrize("picture", [Media("image", "image/png", data="AA=="), Media("image", url="https://a/b.png")])
def test_a_picture_that_a_model_drew_is_shown_as_openrouter_shows_it(picture: Media) -> None:
    response = Response("c", "m", (Text("Look:"), picture), "stop", created=5)
    body = CHAT.encode_response(response)
    assert openai_spec().errors("CreateChatCompletionResponse", json.loads(body)) == []
    assert CHAT.decode_response(body).parts == response.parts
    messages = [{"role": "user", "content": "?"}, json.loads(body)["choices"][0]["message"]]
    again = json.dumps({"model": "m", "messages": messages}).encode()
    assert CHAT.decode_request(again).messages[1].parts == response.parts
    stream = encoded(tell(response))
    assert openai_spec().stream_errors("CreateChatCompletionStreamResponse", stream.decode()) == []
    assert fold(decoded(raw_events(CHAT, stream))).parts == response.parts


@pytest.mark.parametrize("odd", [None, 1, {}, {"image_url": 1}, {"image_url": {}}, {"image_url": {"url": ""}}])
def test_a_picture_of_an_odd_shape_is_nobodys(odd: Any) -> None:
    (part,) = streamed(delta(images=[odd]), delta("stop")).parts
    assert isinstance(part, Opaque)
    assert streamed(delta(content="x", images=odd), delta("stop")).parts == text("x")


@pytest.mark.parametrize("thinking", [None, 1, {}, [1, None, {"text": 2}], []])
def test_a_thought_of_an_odd_shape_is_none(thinking: Any) -> None:
    assert streamed(delta(content=[{"type": "thinking", "thinking": thinking}]), delta("stop")).parts == ()


def test_usage_may_follow_the_reason() -> None:
    events = decoded([delta(content="x"), delta("stop"), event({"choices": [], "usage": USED}), END])
    assert isinstance(events[-1], Finish)
    assert events[-1].usage == Usage(3, 4)
    assert sum(isinstance(word, Finish) for word in events) == 1


def test_a_stream_needs_no_end_mark_but_a_reason() -> None:
    assert streamed(delta(content="x"), delta("length")).finish_reason == "length"
    with pytest.raises(errors.UpstreamBroken, match="cut off"):
        decoded([delta(content="x")])
    with pytest.raises(errors.UpstreamBroken):
        decoded([])


def test_nothing_follows_the_end_mark() -> None:
    assert streamed(delta(content="x"), delta("stop"), END, delta(content="y")).parts == text("x")


def test_only_the_first_choice_is_read() -> None:
    second = event({"choices": [{"index": 1, "delta": {"content": "y"}, "finish_reason": "length"}]})
    assert streamed(delta(content="x"), second, delta("stop")).parts == text("x")


@pytest.mark.parametrize(
    ("told", "reason"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_use"), ("function_call", "tool_use"),
     ("content_filter", "content_filter"), ("eos", "stop"), ("model_length", "length")],
)  # fmt: skip
def test_reasons_to_finish_have_their_word_and_keep_their_spelling(told: str, reason: str) -> None:
    response = streamed(delta(content="x"), delta(told))
    assert (response.finish_reason, response.raw_reason) == (reason, told)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "stop"), ("length", "length"), ("tool_use", "tool_calls"), ("content_filter", "content_filter"),
     ("refusal", "content_filter"),
     ("pause", "stop"), ("stop_sequence", "stop"), (None, "stop")],
)  # fmt: skip
def test_every_reason_of_ours_is_one_of_theirs(reason: Any, told: str) -> None:
    response = Response("c", "m", text("x"), reason)
    assert json.loads(CHAT.encode_response(response))["choices"][0]["finish_reason"] == told
    assert payloads(encoded(tell(response)))[-1]["choices"][0]["finish_reason"] == told


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (USED, Usage(3, 4)),
        ({**USED, "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1}}, Usage(3, 4, 2, 1)),
        ({**USED, "prompt_cache_hit_tokens": 2}, Usage(3, 4, 2)),
        ({**USED, "completion_tokens_details": {"reasoning_tokens": 1}}, Usage(3, 4, reasoning_tokens=1)),
        (
            {**USED, "total_tokens": 16, "completion_tokens_details": {"reasoning_tokens": 9}},
            Usage(3, 13, reasoning_tokens=9),
        ),
        ({**USED, "completion_tokens_details": {"audio_tokens": 2}}, Usage(3, 4, output_audio_tokens=2)),
        ({**USED, "prompt_tokens_details": None}, Usage(3, 4)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, Usage(0, 4)),
        ({"seconds": 5}, None),
        ("many", None),
    ],
)  # fmt: skip
def test_usage_includes_its_details(told: Any, usage: Usage | None) -> None:
    answer = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": told}
    assert CHAT.decode_response(json.dumps(answer).encode()).usage == usage
    assert CHAT.summary(json.dumps(answer).encode()).usage == usage


def test_a_stream_is_told_role_first_and_usage_last() -> None:
    response = Response("c", "m", text("x"), "stop", Usage(3, 4))
    chunks = payloads(encoded(tell(response)))
    assert [list(chunk["choices"][0]["delta"]) if chunk["choices"] else None for chunk in chunks] == [
        ["role", "content", "refusal"], ["content"], [], None,
    ]  # fmt: skip
    assert chunks[-1]["usage"]["total_tokens"] == 7
    assert all(chunk["created"] > 0 and chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert encoded(tell(response)).endswith(END)


def test_usage_is_not_told_to_who_did_not_ask() -> None:
    told = encoded(tell(Response("c", "m", text("x"), "stop", Usage(3, 4))), include_usage=False)
    assert b"usage" not in told
    assert told.endswith(END)


def test_calls_are_numbered_among_themselves() -> None:
    response = Response("c", "m", (Text("x"), ToolUse("a", "f", "{}"), ToolUse("b", "g", "{}")), "tool_use")
    calls = [c["choices"][0]["delta"].get("tool_calls") for c in payloads(encoded(tell(response)))]
    assert [call[0]["index"] for call in calls if call] == [0, 0, 1, 1]


def cited(start: int | None = None, end: int | None = None, **facts: Any) -> Citation:
    raw = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", **facts}}
    if start is not None:
        raw["url_citation"].update(start_index=start, end_index=end)
    return Citation("https://a.example", "A", facts.get("content"), start, end, Opaque("openai-chat", spelt(raw)))


def spelt(value: Any) -> Raw:
    return Raw(json.dumps(value, separators=(",", ":")).encode())


def test_annotations_are_citations_and_go_back_as_they_came() -> None:
    citations = (cited(0, 1), cited(content="its words"), Citation(raw=Opaque("openai-chat", Raw(b'{"type":"file"}'))))
    own = Response("c", "m", (Text("x", citations=citations),), "stop", created=5)
    assert meaning(CHAT.decode_response(CHAT.encode_response(own))) == meaning(own)
    assert meaning(fold(decoded(raw_events(CHAT, encoded(tell(own)))))) == meaning(own)


def test_citations_of_other_formats_are_told_as_annotations() -> None:
    raw = Opaque(ANTHROPIC, Raw(b'{"type":"web_search_result_location"}'))
    said = (
        Text("Hi. "),
        Text("It is so.", citations=(Citation("https://a.example", "A", "so", raw=raw), Citation(title="no address"))),
        Text(" And so.", citations=(Citation("https://b.example", None, None, 1, 4, raw),)),
    )
    foreign = Response("c", "m", said, "stop", created=5)
    whole = json.loads(CHAT.encode_response(foreign))["choices"][0]["message"]
    a = {"start_index": 4, "end_index": 13, "url": "https://a.example", "title": "A", "content": "so"}
    b = {"start_index": 14, "end_index": 17, "url": "https://b.example", "title": ""}
    assert whole["content"] == "Hi. It is so. And so."
    book = {"start_index": 4, "end_index": 13, "url": "", "title": "no address"}
    assert [each["url_citation"] for each in whole["annotations"]] == [a, book, b]
    chunks = payloads(encoded(tell(foreign)))
    told = [found for chunk in chunks for found in chunk["choices"][0]["delta"].get("annotations", [])]
    assert told == whole["annotations"]
    assert sum("annotations" in chunk["choices"][0]["delta"] for chunk in chunks) == 1, "the SDK takes them once"


def test_a_citation_counts_from_the_beginning_of_its_text() -> None:
    place = {"start_index": 2, "end_index": 3, "url": "https://a.example"}
    call = {"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}
    stream = [
        delta(content="ab"), delta(tool_calls=[call]), delta(content="cd"),
        delta(annotations=[{"type": "url_citation", "url_citation": place}]), delta("stop"),
    ]  # fmt: skip
    citations = [part.citations for part in fold(decoded(stream)).parts if isinstance(part, Text)]
    assert [[(found.start, found.end) for found in each] for each in citations] == [[], [(0, 1)]]


@pytest.mark.parametrize(
    "odd", [None, {}, "x", 7, [1, None, "x", []], [{"url_citation": 1}], [{"url_citation": {"start_index": "x"}}]]
)
def test_annotations_of_odd_shapes_break_nothing(odd: Any) -> None:
    message = {"role": "assistant", "content": "x", "annotations": odd}
    (part,) = CHAT.decode_response(body(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])).parts
    assert isinstance(part, Text)
    assert all(citation.url is None for citation in part.citations)
    assert comparable(fold(decoded([delta(content="x", annotations=odd), delta("stop")])).parts) == comparable((part,))


def test_a_request_tells_its_own_annotations_and_names_the_others() -> None:
    own, other = cited(0, 1), Citation("https://b.example", raw=Opaque(ANTHROPIC, Raw(b"{}")))
    found = CHAT.encode_request(
        Request("m", (Message("assistant", (Text("x", citations=(own, other)),)),)), default_max_tokens=1
    )
    assert found.dropped == ("citations",)
    (message,) = json.loads(found.body)["messages"]
    assert message["annotations"] == [json.loads(bytes(own.raw.raw))]
    again = CHAT.decode_request(found.body).messages[0].parts
    assert comparable(again) == comparable((Text("x", citations=(own,)),))


def test_annotations_of_a_request_stand_at_the_text_they_begin_in() -> None:
    places = [
        {"type": "url_citation", "url_citation": {"url": "u", "start_index": i, "end_index": i + 1}} for i in (0, 3)
    ]
    content = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]
    message = {"role": "assistant", "content": content, "annotations": places}
    parts = CHAT.decode_request(json.dumps({"model": "m", "messages": [message]}).encode()).messages[0].parts
    assert [[(found.start, found.end) for found in part.citations] for part in parts] == [[(0, 1)], [(1, 2)]]


def test_what_another_format_keeps_beside_a_call_comes_back_with_it_and_passes_through_to_nobody() -> None:
    kept = Opaque("gemini", Raw(b'{"thoughtSignature":"s"}'))
    own = Opaque("openai-chat", Raw(b'{"extra_content":{"google":{"thought_signature":"s"}}}'))
    calls = (ToolUse("a", "f", "{}", extra=kept), ToolUse("b", "g", "{}", extra=own), ToolUse("c", "h", "{}"))
    response = Response("c", "m", calls, "tool_use", created=5)
    for shown in (
        CHAT.encode_response(response),
        CHAT.encode_response(fold(decoded(raw_events(CHAT, encoded(tell(response)))))),
    ):
        message = json.loads(shown)["choices"][0]["message"]
        asked_again = body(messages=[{"role": "user", "content": "?"}, message])
        assert comparable(CHAT.decode_request(asked_again).messages[1].parts) == comparable(calls)
        sent = CHAT.patch(CHAT.peek(asked_again), "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
        beside = [call.get("extra_content") for call in json.loads(sent)["messages"][1]["tool_calls"]]
        assert beside == [None, {"google": {"thought_signature": "s"}}, None]


@pytest.mark.parametrize("calls", ["fairlead", ["fairlead"], {"fairlead": 1}, [{"extra_content": ["fairlead"]}]])
def test_what_is_carried_wrongly_passes_or_goes_but_breaks_nothing(calls: Any) -> None:
    told = body(messages=[{"role": "assistant", "content": "x", "tool_calls": calls}])
    sent = CHAT.patch(CHAT.peek(told), "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
    assert json.loads(sent)["messages"][0]["content"] == "x"


def test_thoughts_of_another_format_pass_through_to_nobody() -> None:
    foreign = Reasoning("hm", "s", protocol="gemini")
    known = Reasoning("hm", "s", protocol="anthropic-messages")
    for thoughts, left in [((foreign,), None), ((foreign, known), ["anthropic-claude-v1"])]:
        shown = CHAT.encode_response(Response("c", "m", (*thoughts, Text("fairlead:")), "stop"))
        message = json.loads(shown)["choices"][0]["message"]
        told = body(messages=[{"role": "user", "content": "?"}, message])
        sent = CHAT.patch(CHAT.peek(told), "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
        passed = json.loads(sent)["messages"][1]
        assert passed["content"] == "fairlead:"
        details = passed.get("reasoning_details")
        assert (details and [detail["format"] for detail in details]) == left


@pytest.mark.parametrize("details", ["fairlead:", ["fairlead:"], {"format": "fairlead:"}, [{"format": ["fairlead:"]}]])
def test_details_of_an_odd_shape_break_nothing(details: Any) -> None:
    told = body(messages=[{"role": "assistant", "content": "x", "reasoning_details": details}])
    sent = CHAT.patch(CHAT.peek(told), "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
    assert json.loads(sent)["messages"][0]["reasoning_details"] == details


def test_the_signature_of_a_third_format_comes_back_in_details() -> None:
    thought = Reasoning("hm", "s", protocol="gemini")
    message = json.loads(CHAT.encode_response(Response("c", "m", (thought,), "stop")))["choices"][0]["message"]
    assert message["reasoning_details"][0]["format"] == "fairlead:gemini"
    assert CHAT.decode_request(body(messages=[message])).messages[0].parts == (thought,)


def test_events_carry_their_parts_as_they_come() -> None:
    assert decoded([delta(content="a"), delta(content="b"), delta("stop")])[:4] == [
        Start("c", "m"), PartStart(0, Text("")), PartDelta(0, "a"), PartDelta(0, "b"),
    ]  # fmt: skip


# ---- thoughts, and other odds


def through_a_stream(*parts: Any) -> tuple[Any, ...]:
    return fold(decoded(raw_events(CHAT, encoded(tell(Response("c", "m", parts, "stop", created=5)))))).parts


def test_a_redacted_thought_is_told_once_in_a_stream() -> None:
    redacted = Reasoning(encrypted="ENC", protocol=ANTHROPIC)
    assert through_a_stream(redacted, Text("x")) == (redacted, Text("x"))


def test_two_thoughts_in_a_stream_stay_two() -> None:
    two = (Reasoning("a", "S1", protocol=ANTHROPIC), Reasoning("b", "S2", protocol=ANTHROPIC))
    assert through_a_stream(*two) == two


def test_a_signature_that_comes_after_its_thought_keeps_its_protocol() -> None:
    words = [
        Start("c", "m"), PartStart(0, Reasoning(protocol=ANTHROPIC)), PartDelta(0, "hm"),
        PartDelta(0, signature="SIG"), Finish("stop"),
    ]  # fmt: skip
    assert fold(decoded(raw_events(CHAT, encoded(words)))).parts == (Reasoning("hm", "SIG", protocol=ANTHROPIC),)


def test_the_pieces_of_a_thought_that_a_client_gathered_are_one_thought() -> None:
    pieces = [{"text": "h"}, {"text": "m"}, {"signature": "SIG"}]
    details = [{"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **piece} for piece in pieces]
    said = asked({"role": "assistant", "content": "x", "reasoning_details": details}).messages[0]
    assert said.parts == (Reasoning("hm", "SIG", protocol=ANTHROPIC), Text("x"))


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        ([{"index": 0, "text": "a"}, {"index": 0}, {"index": 0, "text": "b"}], (Reasoning("ab"),)),
        ([{"index": 0, "summary": "a"}, {"index": 0, "summary": "b"}], (Reasoning("ab"),)),
        ([{"index": 0, "text": "a"}, {"index": 1, "text": "b"}], (Reasoning("a"), Reasoning("b"))),
        ([{"text": "a"}, {"text": "b"}], (Reasoning("a"), Reasoning("b"))),
        ([{"index": 0, "text": "a"}, {"text": "b"}, {"index": 0, "text": "c"}], tuple(map(Reasoning, "abc"))),
        (
            [{"index": 0, "text": "a", "signature": "x"}, {"index": 0, "signature": "y"}, {"index": 0, "text": "b"}],
            (Reasoning("ab", "y", protocol="openai-chat"),),
        ),
        (
            [{"index": 0, "text": "a", "format": ""}, {"index": 0, "format": "anthropic-claude-v1", "signature": "x"}],
            (Reasoning("a", "x", protocol=ANTHROPIC),),
        ),
        (  # as the SDK `openai` gathers them: strings are joined
            [{"index": 0, "text": "a", "format": "anthropic-claude-v1" * 3, "signature": "x"}],
            (Reasoning("a", "x", protocol=ANTHROPIC),),
        ),
        (
            [{"index": 0, "type": "reasoning.encrypted", "data": data} for data in "abc"] + [{"index": 0, "text": "d"}],
            (Reasoning(encrypted="abc", protocol="openai-chat"), Reasoning("d")),
        ),
    ],
)
def test_pieces_alike_in_type_and_index_are_one_thought(pieces: list[dict[str, Any]], parts: tuple[Any, ...]) -> None:
    details = [{"type": "reasoning.text", **piece} for piece in pieces]
    assert asked({"role": "assistant", "reasoning_details": details}).messages[0].parts == parts


@pytest.mark.parametrize("split", [[], ["", '{"a":1}'], ['{"a"', ":1}"], list('{"a":1}')], ids=len)
def test_arguments_that_come_before_the_name_wait_for_it_and_are_counted(split: list[str]) -> None:
    decode = CHAT.event_decoder()
    for piece in split:
        said = {"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": piece}}]}
        assert not any(isinstance(each, PartStart | PartDelta) for each in decode(delta(**said)))
    waited = decode.held
    begun = decode(delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": " "}}]))
    assert begun[-2:] == [PartStart(0, ToolUse("c", "f", "")), PartDelta(0, "".join(split) + " ")]
    assert decode.held > 0
    assert not split or decode.held <= waited - len("".join(split))
    assert decode(delta("tool_calls")) == []
    assert decode(b"data: [DONE]\n\n") == [PartEnd(0), Finish("tool_use", raw_reason="tool_calls")]
    assert decode.held == 0


def test_parts_that_ended_are_forgotten_and_the_next_has_a_number_of_its_own() -> None:
    encode = CHAT.event_encoder(include_usage=False)
    encode(Start("c", "m"))
    words: list[Event] = []
    for index in (0, 2, 4):
        words += [PartStart(index, ToolUse("t", "f", "")), PartDelta(index, "{}"), PartEnd(index)]
        words += [PartStart(index + 1, Reasoning(encrypted="x", protocol=ANTHROPIC)), PartEnd(index + 1)]
    stream = b"".join(map(encode, words))
    told = [chunk["choices"][0]["delta"] for chunk in payloads(stream)]
    assert [call["index"] for said in told for call in said.get("tool_calls", ())] == [0, 0, 1, 1, 2, 2]
    assert [detail["index"] for said in told for detail in said.get("reasoning_details", ())] == [0, 1, 2]


def test_a_plain_thought_beside_a_sealed_one_survives() -> None:
    both = (Reasoning("hm"), Reasoning(encrypted="ENC", protocol="openai-chat"))
    assert CHAT.decode_response(CHAT.encode_response(Response("c", "m", both, "stop"))).parts == both


def test_a_providers_own_sealed_thoughts_go_back_to_it() -> None:
    sealed = (Reasoning("hm", "SIG", protocol="openai-chat"), Reasoning(encrypted="ENC", protocol="openai-chat"))
    (told,) = sent_messages(Message("assistant", (*sealed, Text("x"))))
    assert [detail["type"] for detail in told["reasoning_details"]] == ["reasoning.text", "reasoning.encrypted"]


def test_a_service_tier_survives() -> None:
    assert sent(asked({"role": "user", "content": "x"}, service_tier="flex"))["service_tier"] == "flex"


def test_a_result_without_an_id_is_refused_naming_the_field() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        asked({"role": "tool", "content": "x"})
    assert caught.value.param == "messages[0].tool_call_id"


@pytest.mark.parametrize("told", [TOLD_IN_A_STREAM["fields at the top"], TOLD_IN_A_STREAM["only the event's name"]])
def test_an_error_that_is_no_error_object_is_raised_when_translating(told: tuple[bytes, type[Exception]]) -> None:
    with pytest.raises(told[1]):
        decoded([delta(content="a"), told[0], delta("stop")])


def test_a_stream_starts_at_the_first_chunk_that_names_its_answer() -> None:
    filtered = event({"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": []})
    assert decoded([filtered, delta(content="a"), delta("stop")])[0] == Start("c", "m")


def test_a_choice_without_a_message_is_an_empty_answer_if_it_says_why() -> None:
    answer = CHAT.decode_response(b'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"content_filter"}]}')
    assert (answer.parts, answer.finish_reason) == ((), "content_filter")


# ---- errors


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"error":{"message":"bad","param":"p","code":"c"}}', errors.UpstreamRefused, "bad"),
        (422, b'{"detail":"bad"}', errors.UpstreamRefused, "bad"),
        (400, b'[{"error":{"message":"bad","status":"INVALID"}}]', errors.UpstreamRefused, "bad"),
        (400, b'{"error":"bad"}', errors.UpstreamRefused, "bad"),
        (400, b'{"object":"error","message":"bad"}', errors.UpstreamRefused, "bad"),
        (400, b'{"error":{"message":"no","code":"content_policy_violation"}}', errors.ContentPolicyViolation, "no"),
        (401, b'{"error":{"message":"key"}}', errors.CredentialRejected, "key"),
        (402, b"", errors.OutOfCredit, ""),
        (404, b'{"error":{"message":"none"}}', errors.UpstreamModelNotFound, "none"),
        (408, b"", errors.UpstreamTimeout, ""),
        (413, b"", errors.UpstreamTooLarge, ""),
        (429, b"{}", errors.RateLimited, ""),
        (429, b'{"error":{"message":"x","code":"insufficient_quota"}}', errors.OutOfCredit, "x"),
        (500, b"<html>", errors.UpstreamBroken, "it answered status 500"),
        (503, b"\xff", errors.Overloaded, ""),
        (529, b"[" * 9999, errors.Overloaded, ""),
    ],
)
def test_an_upstreams_error_means(status: int, body: bytes, kind: type[errors.UpstreamError], message: str) -> None:
    error = CHAT.decode_error(status, body)
    assert type(error) is kind
    assert error.message == message


@given(st.integers(400, 599), st.binary() | st.text().map(str.encode))
def test_no_body_of_an_error_breaks_its_reading(status: int, body: bytes) -> None:
    assert isinstance(CHAT.decode_error(status, body), errors.UpstreamError)


def test_an_error_is_spelt_as_openai_spells_it() -> None:
    told = json.loads(CHAT.encode_error(errors.InvalidRequest("'n' must be 1.", param="n")))
    assert told == {
        "error": {"message": "'n' must be 1.", "type": "invalid_request_error", "param": "n", "code": "invalid_request"}
    }
    for error in (errors.InvalidKey(), errors.RateLimited("x"), errors.UpstreamBroken("x"), errors.InternalError()):
        assert openai_spec().errors("ErrorResponse", json.loads(CHAT.encode_error(error))) == []


@pytest.mark.parametrize(("error", "retryable"), [(errors.Overloaded(), True), (errors.UpstreamBroken(), False)])
def test_an_error_that_ends_a_stream_says_whether_to_try_again(error: errors.UpstreamError, retryable: bool) -> None:
    (raw,) = raw_events(CHAT, CHAT.encode_error_event(error))
    told = json.loads(data(raw))["error"]
    assert (told["retryable"], told["code"], told["message"]) == (retryable, error.code, str(error))


def test_nothing_about_whole_answers_is_dressed_and_paths_are_fixed() -> None:
    assert CHAT.dress(b"{}") == b"{}"
    assert CHAT.path("m", True) == CHAT.path("m", False) == "/chat/completions"
    assert CHAT.name == "openai-chat"


async def served(stream: bytes, asked: Callable[[str], Awaitable[Any]]) -> Any:
    """What `asked` gives for the address of a server that answers with `stream`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + stream)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        return await asked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_the_official_sdk_raises_an_error_that_ends_a_stream() -> None:
    said: list[str | None] = []

    async def asked(address: str) -> None:
        async with openai.AsyncOpenAI(base_url=address, api_key="k", max_retries=0) as client:
            question = [{"role": "user", "content": "x"}]
            async for chunk in await client.chat.completions.create(model="m", messages=question, stream=True):
                said.append(chunk.choices[0].delta.content)

    with pytest.raises(openai.APIError) as caught:
        await served(delta(content="a") + CHAT.encode_error_event(errors.Overloaded()), asked)
    assert said == ["a"]
    assert caught.value.code == "provider_overloaded"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["retryable"] is True


def told_by(**more: Any) -> bytes:
    """A chunk with one choice."""
    delta = more.pop("delta", {})
    return event(
        {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": more.pop("reason", None)}], **more}
    )


UNUSUAL = [
    told_by(delta={"content": "!"}, reason="stop"),
    told_by(delta={"content": "!"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
    told_by(delta={"content": "!"}, error={"message": "no"}),
    told_by(delta={"content": '", "error": "'}),
    told_by(delta={"content": "!", "tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
    b"data: [DONE]\n\n",
    b": ping\n\n",
    b"\n\n",
]


@given(st.lists(st.sampled_from(UNUSUAL) | st.text(max_size=4).map(lambda text: told_by(delta={"content": text}))))
def test_a_delta_that_is_as_the_last_one_but_for_its_text_is_seen_as_any_other(events: list[bytes]) -> None:
    first = told_by(delta={"content": "Hello"})
    learning = CHAT.stream_reader()
    learning.see(first)
    for each in events:
        fresh = CHAT.stream_reader()  # it has seen content, and has learned nothing
        fresh.see(first)
        assert noticed(learning, each) == noticed(fresh, each)


def noticed(reader: Any, event: bytes) -> int | str:
    """What is found beside content, which an endpoint was committed to before; an error's words."""
    try:
        return int(reader.see(event)) & ~CONTENT
    except errors.UpstreamError as error:
        return error.message


def test_a_delta_that_is_another_each_time_is_soon_no_longer_learned() -> None:
    reader: Any = CHAT.stream_reader()
    for number in range(10):
        assert reader.see(told_by(delta={"content": "a"}, obfuscation=str(number))) in (0, CONTENT)
    assert not reader._before
    assert not reader.see(told_by(delta={"content": "b"}, obfuscation="1"))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("thought", [(), (Reasoning("hm"),), (Reasoning("hm", "SIG", protocol=ANTHROPIC),)], ids=len)
def test_what_another_format_keeps_beside_a_text_comes_back_with_it(streamed: bool, thought: tuple[Any, ...]) -> None:
    parts = (*thought, Text("x", extra=Opaque("gemini", Raw(b'{"thoughtSignature":"U0lH"}'))))
    response = Response("1", "m", parts, "stop")
    if streamed:
        deltas = [choice["delta"] for chunk in payloads(encoded(tell(response))) for choice in chunk["choices"]]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(delta.get("content") or "" for delta in deltas),
            "reasoning_content": "".join(delta.get("reasoning_content") or "" for delta in deltas),
            "reasoning_details": [detail for delta in deltas for detail in delta.get("reasoning_details", ())],
        }
    else:
        message = json.loads(CHAT.encode_response(response))["choices"][0]["message"]
    assert msgspec.json.encode(asked(message).messages[0].parts) == msgspec.json.encode(parts)


def test_allowed_tools_are_all_that_are_shown() -> None:
    tools: list[dict[str, Any]] = [
        *({"type": "function", "function": {"name": name}} for name in "fg"),
        {"type": "custom", "custom": {"name": "c"}},
    ]

    def choice(*names: str, mode: str = "required", kind: str = "function") -> dict[str, Any]:
        allowed = {"mode": mode, "tools": [{"type": kind, kind: {"name": name}} for name in names]}
        return {"type": "allowed_tools", "allowed_tools": allowed}

    words = {"role": "user", "content": "hi"}
    request = asked(words, tools=tools, tool_choice=choice("g", "nobody's"))
    assert ([getattr(tool, "name", "") for tool in request.tools], request.tool_choice) == (
        ["g"],
        ToolChoice("required"),
    )
    (shown,) = asked(words, tools=tools, tool_choice=choice("c", mode="auto", kind="custom")).tools
    assert isinstance(shown, Opaque)
    for wrong, field in ((choice("nobody's"), "tools"), (choice(), "tools"), (choice("g", mode="none"), "mode")):
        with pytest.raises(errors.InvalidRequest) as caught:
            asked(words, tools=tools, tool_choice=wrong)
        assert caught.value.param == f"tool_choice.allowed_tools.{field}"
