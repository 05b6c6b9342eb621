"""Gemini's generateContent: every recorded exchange is read and told again, and whatever is malformed is named."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
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
from fairlead.errors import InvalidRequest, UpstreamBroken
from fairlead.protocols import CONTENT, Encoded, is_inbound, is_outbound, is_wire
from fairlead.protocols.codecs.gemini_parts import UNSIGNED, opened, sealed
from fairlead.protocols.gemini import ArrayOfChunks, Gemini
from protocols_outbound import (
    comparable,
    raw_events,
    streamed,
    without_ids,
)
from protocols_recordings import Recording, recordings, whatever_was_asked

FORMAT = Gemini()
NAME = FORMAT.name
USER = Message("user", (Text("hi"),))
SCHEMA = Raw(b'{"type":"object","properties":{"city":{"type":"string"}}}')
TOOL = Tool("weather", "Tells it.", SCHEMA)
SIGNED = Opaque(NAME, Raw(b'{"thoughtSignature":"c2ln"}'))


def own(**fields: Any) -> Opaque:
    return Opaque(NAME, Raw(msgspec.json.encode(fields)))


def chosen(provider: str, operations: list[str]) -> list[Any]:
    """Recordings of this format; the same host answers in OpenAI's as well."""
    found = recordings(provider, operations)
    return [each for each in found if each.values[0] is None or is_ours(each.values[0])]


def is_ours(recording: Recording) -> bool:
    return str(recording.whole["request"]["path"]).partition(":")[2] in ("generateContent", "streamGenerateContent")


WHOLE = [*chosen("google", ["chat"]), *chosen("vertex", ["chat"])]
STREAMED = [*chosen("google", ["chat_stream"]), *chosen("vertex", ["chat_stream"])]


def asked(*messages: Message, **facts: Any) -> Any:
    """The JSON that asks Gemini for this."""
    return json.loads(encoded(*messages, **facts).body)


def encoded(*messages: Message, **facts: Any) -> Encoded:
    return FORMAT.encode_request(Request("m", messages or (USER,), **facts), default_max_tokens=4096)


def parts_of(*parts: Part, role: str = "user") -> Any:
    (content,) = asked(Message(role, parts))["contents"]  # type: ignore[arg-type]
    assert content["role"] == ("model" if role == "assistant" else "user")
    return content["parts"]


def understood(*contents: Any, **fields: Any) -> Request:
    told = list(contents) or [{"parts": [{"text": "hi"}]}]
    return FORMAT.decode_request(json.dumps({"contents": told, **fields}).encode(), model="m")


def read(*parts: Any, role: str = "user") -> tuple[Part, ...]:
    (message,) = understood({"role": role, "parts": list(parts)}).messages
    return message.parts


def chunk(*parts: Any, **fields: Any) -> dict[str, Any]:
    """A chunk, or a whole answer; `finishReason` and metadata are those of its candidate."""
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    top = {name: fields.pop(name) for name in ("usageMetadata", "createTime") if name in fields}
    return {"candidates": [{**candidate, **fields}], "modelVersion": "gemini-x", "responseId": "r", **top}


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(each).encode() for each in chunks)


def answer(*chunks: Any) -> Response:
    """Of a stream."""
    return streamed(FORMAT, events(*chunks))


def whole(*parts: Any, **fields: Any) -> Response:
    return FORMAT.decode_response(json.dumps(chunk(*parts, **{"finishReason": "STOP", **fields})).encode())


def told(response: Response) -> Any:
    return json.loads(FORMAT.encode_response(response))


def data_of(stream: bytes) -> list[Any]:
    assert stream.endswith(b"}\r\n\r\n")
    return [json.loads(each.removeprefix(b"data: ")) for each in stream.split(b"\r\n\r\n")[:-1]]


def spoken(events: Iterable[Event]) -> bytes:
    encode = FORMAT.event_encoder(include_usage=True)
    return b"".join(encode(event) for event in events)


def responded(*parts: Part, **facts: Any) -> Response:
    return Response(**{"id": "r", "model": "gemini-x", "parts": parts, "finish_reason": "stop", **facts})


def test_both_sides_may_speak_it() -> None:
    assert is_inbound(FORMAT)
    assert is_outbound(FORMAT)
    assert is_wire(FORMAT)


# ---- recorded traffic


@pytest.mark.parametrize("recording", [*WHOLE, *STREAMED])
def test_a_recorded_request_means_the_same_when_asked_again(recording: Recording) -> None:
    if recording.request is None:
        return
    taken = FORMAT.peek(recording.request, model="m")
    assert taken.messages == len(recording.whole["request"]["body"]["contents"])
    assert FORMAT.characters(taken) >= 0
    request = FORMAT.decode_request(recording.request, model="m")
    again = FORMAT.encode_request(request, default_max_tokens=1)
    assert again.dropped == ()
    assert meaning(FORMAT.decode_request(again.body, model="m")) == meaning(request)


def meaning(request: Request) -> Any:
    """A level of thinking is asked for as a budget."""
    wish = request.thinking
    if wish is not None and wish.effort is not None:
        wish = Thinking(budget_tokens=24576, summary=wish.summary)
    if wish is not None and wish.enabled and wish.summary is None:  # thoughts that were asked for are asked to be told
        wish = msgspec.structs.replace(wish, summary="auto")
    return comparable(msgspec.structs.replace(request, thinking=wish))


@pytest.mark.parametrize("recording", WHOLE)
def test_a_recorded_answer_says_what_it_says(recording: Recording) -> None:
    body = recording.whole["response"]["body"]
    response = FORMAT.decode_response(recording.response)
    check(response, [body])
    summary = FORMAT.summary(recording.response)
    assert (summary.id or "", summary.model, summary.usage) == (response.id, response.model, response.usage)
    assert summary.finish_reason == response.raw_reason


@pytest.mark.parametrize("recording", STREAMED)
def test_a_recorded_stream_says_what_it_says(recording: Recording) -> None:
    lines = recording.response.decode().split("\r\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    response = streamed(FORMAT, recording.response)
    check(response, chunks)
    reader = FORMAT.stream_reader()
    flags = [reader.see(event) for event in raw_events(FORMAT, recording.response)]
    assert CONTENT in flags
    assert (reader.summary.id, reader.summary.usage) == (response.id, response.usage)
    assert reader.summary.finish_reason == response.raw_reason == "STOP"


@pytest.mark.parametrize("recording", STREAMED)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_recorded_stream_may_be_cut_anywhere(recording: Recording, size: int) -> None:
    if size < len(recording.response) / 20_000:
        size = 977
    found = [fold(heard(raw_events(FORMAT, recording.response, each))) for each in (size, 1 << 20)]
    assert comparable(without_ids(found[0])) == comparable(without_ids(found[1]))


def heard(raw: Iterable[bytes]) -> list[Event]:
    decode = FORMAT.event_decoder()
    return [event for each in (*raw, b"") for event in decode(each)]


@pytest.mark.parametrize("recording", [*WHOLE, *STREAMED])
def test_a_recorded_answer_is_told_again_whole_and_streamed(recording: Recording) -> None:
    streams = "sse" in recording.whole["response"]
    response = streamed(FORMAT, recording.response) if streams else FORMAT.decode_response(recording.response)
    assert comparable(FORMAT.decode_response(FORMAT.encode_response(response))) == comparable(response)
    again = streamed(FORMAT, spoken(tell(response)))
    cited = {index for index, part in enumerate(response.parts) if isinstance(part, Text) and part.citations}
    if len(cited) < 2:
        assert comparable(again) == comparable(response)


def check(response: Response, chunks: list[Any]) -> None:
    """What a reader with pencil and paper finds in it."""
    candidates = [each["candidates"][0] for each in chunks if each.get("candidates")]
    parts = [part for each in candidates for part in each.get("content", {}).get("parts", [])]
    texts = [part["text"] for part in parts if "text" in part and not part.get("thought")]
    thoughts = [part["text"] for part in parts if "text" in part and part.get("thought")]
    assert "".join(part.text for part in response.parts if isinstance(part, Text)) == "".join(texts)
    assert "".join(part.text for part in response.parts if isinstance(part, Reasoning)) == "".join(thoughts)
    calls = [part for part in response.parts if isinstance(part, ToolUse)]
    named = [part["functionCall"] for part in parts if part.get("functionCall", {}).get("name")]
    assert [call.name for call in calls] == [call["name"] for call in named]
    for call, said in zip(calls, named, strict=True):
        assert call.id == said.get("id", call.id)
        assert "willContinue" in said or json.loads(call.arguments) == said.get("args", {})
    assert kept_signatures(response.parts) == [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
    media = [(part.mime, part.data) for part in response.parts if isinstance(part, Media)]
    assert media == [
        (part["inlineData"]["mimeType"], part["inlineData"]["data"]) for part in parts if "inlineData" in part
    ]
    reasons = [each["finishReason"] for each in candidates if "finishReason" in each]
    raw = reasons[-1] if reasons else chunks[-1]["promptFeedback"]["blockReason"]
    assert response.raw_reason == raw
    expected = {"STOP": "tool_use" if calls else "stop", "UNEXPECTED_TOOL_CALL": "tool_use", "MAX_TOKENS": "length"}
    assert response.finish_reason == expected.get(raw, "content_filter")
    assert response.usage == usage_by_hand([each.get("usageMetadata", {}) for each in chunks][-1])
    assert (response.id, response.model) == (chunks[0].get("responseId", ""), chunks[0]["modelVersion"])
    check_citations(response, candidates)


def check_citations(response: Response, candidates: list[Any]) -> None:
    """Of some recordings the text was changed since (its quotation marks), but not the places in it."""
    grounding = [each["groundingMetadata"] for each in candidates if each.get("groundingMetadata")]
    texts = [part for part in response.parts if isinstance(part, Text)]
    said = "".join(part.text for part in texts).encode()
    segments = [support["segment"] for each in grounding[-1:] for support in each.get("groundingSupports", [])]
    quoted = [
        each["text"]
        for each in segments
        if said[each.get("startIndex", 0) : each["endIndex"]].decode(errors="replace") == each["text"]
    ]
    cited = [citation for part in texts for citation in part.citations]
    found = {part.text[each.start : each.end] for part in texts for each in part.citations if each.start is not None}
    assert found >= set(quoted)
    assert len(cited) >= len(segments)
    chunks = [next(iter(each.values())) for each in (grounding[-1].get("groundingChunks", []) if grounding else [])]
    assert {each.url for each in cited} == {each.get("uri") for each in chunks}


def kept_signatures(parts: Iterable[Part]) -> list[str]:
    found: list[str] = []
    for part in parts:
        raw: Any = {}
        if isinstance(part, Text | ToolUse | Media) and part.extra is not None:
            raw = json.loads(bytes(part.extra.raw))
        elif isinstance(part, Opaque):
            raw = json.loads(bytes(part.raw))
        elif isinstance(part, Reasoning) and part.signature is not None:
            raw = {"thoughtSignature": part.signature}
        each = raw if isinstance(raw, list) else [raw]
        found += [item["thoughtSignature"] for item in each if "thoughtSignature" in item]
    return found


def usage_by_hand(usage: dict[str, Any]) -> Usage | None:
    if "promptTokenCount" not in usage and "candidatesTokenCount" not in usage:
        return None
    inputs = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    assert usage["totalTokenCount"] >= inputs
    return Usage(
        input_tokens=inputs,
        output_tokens=usage["totalTokenCount"] - inputs,
        cached_tokens=usage.get("cachedContentTokenCount", 0),
        reasoning_tokens=usage.get("thoughtsTokenCount", 0),
        input_audio_tokens=of_kind(usage, "promptTokensDetails", "AUDIO"),
        output_audio_tokens=of_kind(usage, "candidatesTokensDetails", "AUDIO"),
        input_image_tokens=of_kind(usage, "promptTokensDetails", "IMAGE"),
        output_image_tokens=of_kind(usage, "candidatesTokensDetails", "IMAGE"),
    )


def of_kind(usage: dict[str, Any], name: str, kind: str) -> int:
    return sum(each["tokenCount"] for each in usage.get(name, []) if each["modality"] == kind)


@pytest.mark.parametrize(
    "recording",
    [*recordings("google", ["error"], whatever_was_asked), *recordings("vertex", ["error"], whatever_was_asked)],
)
def test_a_recorded_error_is_understood(recording: Recording) -> None:
    error = FORMAT.decode_error(recording.status, recording.response)
    assert error.upstream_status == recording.status
    message = json.loads(recording.response)["error"]["message"]
    assert error.message == message
    kinds = {404: errors.UpstreamModelNotFound, 429: errors.RateLimited, 400: errors.UpstreamRefused}
    expected = errors.CredentialRejected if "API key" in message else kinds[recording.status]
    assert type(error) is expected


@pytest.mark.parametrize(
    "recording", [*recordings("google", ["count_tokens"]), *recordings("vertex", ["count_tokens"])]
)
def test_a_recorded_count_is_read(recording: Recording) -> None:
    assert recording.request is not None
    assert FORMAT.decode_count(recording.request).messages
    tokens = FORMAT.decode_counted(recording.response)
    assert tokens == recording.whole["response"]["body"]["totalTokens"]
    assert FORMAT.decode_counted(FORMAT.encode_count(tokens)) == tokens


# ---- addresses, and the same format


def test_the_model_and_whether_it_streams_stand_in_the_address() -> None:
    assert FORMAT.path("gemini-x", False) == "/models/gemini-x:generateContent"
    assert FORMAT.path("gemini-x", True) == "/models/gemini-x:streamGenerateContent?alt=sse"
    assert FORMAT.path("tunedModels/mine", False) == "/tunedModels/mine:generateContent"
    assert FORMAT.path("a b?c:d", False) == "/models/a%20b%3Fc%3Ad:generateContent"
    assert FORMAT.count_path("gemini-x") == "/models/gemini-x:countTokens"


def test_what_is_passed_through_keeps_its_fields() -> None:
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 9}, "labels": {"a": "b"}}
    taken = FORMAT.peek(json.dumps({**body, "model": "models/a", "provider": {}}).encode(), model="b", stream=True)
    assert (taken.model, taken.stream, taken.max_tokens, taken.messages) == ("b", True, 9, 1)
    patched = FORMAT.patch(taken, "c", drop=frozenset({"provider"}), ask_usage=True, default_max_tokens=1)
    assert json.loads(patched) == body
    assert FORMAT.peek(json.dumps({**body, "model": "models/a"}).encode()).model == "a"


def test_text_is_counted_but_not_signatures_and_media() -> None:
    parts = [
        {"text": "four", "thoughtSignature": "x" * 99},
        {"inlineData": {"mimeType": "image/png", "data": "x" * 99}},
        {"functionResponse": {"name": "abc", "response": {"output": "12345"}}},
    ]
    body = {"contents": [{"role": "user", "parts": parts}], "systemInstruction": {"parts": [{"text": "two"}]}}
    assert FORMAT.characters(FORMAT.peek(json.dumps(body).encode(), model="m")) == 4 + 3 + 5 + 3


def test_what_is_carried_for_other_formats_counts_as_text() -> None:
    told = Opaque("anthropic-messages", Raw(json.dumps({"type": "search_result", "title": "x" * 3000}).encode()))
    contents = [json.loads(FORMAT.encode_response(responded(Text("four"), told)))["candidates"][0]["content"]]
    assert FORMAT.characters(FORMAT.peek(json.dumps({"contents": contents}).encode(), model="m")) >= 3000


def test_what_was_carried_for_others_is_not_shown_to_gemini() -> None:
    carried = sealed(Opaque("anthropic-messages", Raw(b"{}")))
    parts = [
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": carried},
        {"text": "x", "thoughtSignature": "c2ln"},
    ]
    taken = FORMAT.peek(json.dumps({"contents": [{"role": "model", "parts": parts}]}).encode(), model="m")
    sent = FORMAT.patch(taken, "m", drop=frozenset(), ask_usage=False, default_max_tokens=1)
    first, second = json.loads(sent)["contents"][0]["parts"]
    assert first["thoughtSignature"] == UNSIGNED
    assert second["thoughtSignature"] == "c2ln"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "contents"),
        (b'{"contents":null}', "contents"),
        (b'{"contents":[]}', "contents"),
        (b'{"contents":"hi"}', "contents"),
        (b'{"contents":[1]}', "contents[0]"),
        (b'{"contents":[{"role":"bot"}]}', "contents[0].role"),
        (b'{"contents":[{"parts":[{"text":1}]}]}', "contents[0].parts[0].text"),
        (b'{"contents":[{"parts":[{"functionCall":{}}]}]}', "contents[0].parts[0].functionCall.name"),
        (b'{"contents":[{"parts":[{"functionResponse":{}}]}]}', "contents[0].parts[0].functionResponse.name"),
        (b'{"contents":[{"parts":[{"inlineData":{"data":1}}]}]}', "contents[0].parts[0].inlineData.data"),
        (b'{"contents":[{}],"generationConfig":{"temperature":"hot"}}', "generationConfig.temperature"),
        (b'{"contents":[{}],"generationConfig":{"maxOutputTokens":1.5}}', "generationConfig.maxOutputTokens"),
        (b'{"contents":[{}],"generationConfig":{"responseSchema":[]}}', "generationConfig.responseSchema"),
        (b'{"contents":[{}],"tools":[{"functionDeclarations":[{}]}]}', "tools[0].functionDeclarations[0].name"),
        (
            b'{"contents":[{}],"toolConfig":{"functionCallingConfig":{"mode":"?"}}}',
            "toolConfig.functionCallingConfig.mode",
        ),
        (b'{"contents":[{}],"systemInstruction":[]}', "systemInstruction"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        FORMAT.decode_request(body, model="m")
    assert raised.value.param == param


# ---- requests: contents


def test_roles_and_instructions() -> None:
    request = understood(
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "b"}]},
        {"parts": [{"text": "c"}]},
        systemInstruction={"parts": [{"text": "s"}, {"text": "t"}]},
    )
    assert request.messages == (
        Message("system", (Text("s"), Text("t"))), Message("user", (Text("a"),)), Message("assistant", (Text("b"),)),
        Message("user", (Text("c"),)),
    )  # fmt: skip
    sent = asked(*request.messages)
    assert sent["systemInstruction"] == {"parts": [{"text": "s"}, {"text": "t"}]}
    assert [each["role"] for each in sent["contents"]] == ["user", "model", "user"]


def test_instructions_within_the_conversation_are_the_users() -> None:
    sent = asked(Message("system", (Text("a"),)), USER, Message("developer", (Text("b"),)))
    assert sent["systemInstruction"] == {"parts": [{"text": "a"}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "b"}]}]
    assert asked(Message("system", (Text("a"),)))["contents"] == [{"role": "user", "parts": [{"text": "a"}]}]


def test_a_turn_without_words_is_one() -> None:
    assert parts_of(Text("")) == [{"text": ""}]
    assert parts_of(Text(""), Text("x")) == [{"text": "x"}]


def test_either_spelling_is_read_and_one_thing_may_stand_for_a_list() -> None:
    request = FORMAT.decode_request(
        b'{"contents":{"parts":{"inline_data":{"mime_type":"image/png","data":"aGk="}}},"system_instruction":"s",'
        b'"tools":{"function_declarations":{"name":"f_g","parameters":{"type":"OBJECT","properties":{"a_b":'
        b'{"type":"STRING","min_length":"2"}}}}},"generation_config":{"max_output_tokens":5,"thinking_config":'
        b'{"thinking_budget":7}},"tool_config":{"function_calling_config":{"allowed_function_names":["f_g"],'
        b'"mode":"any"}},"cached_content":"cachedContents/x"}',
        model="m",
    )
    assert request.messages[0] == Message("system", (Text("s"),))
    assert request.messages[1].parts == (Media("image", "image/png", data="aGk="),)
    (tool,) = request.tools
    assert isinstance(tool, Tool)
    assert tool.schema is not None
    assert json.loads(bytes(tool.schema)) == {
        "type": "object", "properties": {"a_b": {"type": "string", "minLength": 2}},
    }  # fmt: skip
    assert request.max_tokens == 5
    assert request.thinking == Thinking(budget_tokens=7)
    assert request.tool_choice == ToolChoice("named", "f_g")
    assert list(request.extra) == ["cachedContent"]


def test_base64_by_the_alphabet_for_addresses_becomes_the_usual_one() -> None:
    """So it is spelt by Google's own SDK, and no other provider takes it."""
    part = {"inlineData": {"mimeType": "image/png", "data": "-_8"}}
    assert read(part, role="model") == (Media("image", "image/png", data="+/8="),)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"text": "x"}, Text("x")),
        ({"text": "x", "thoughtSignature": "c2ln"}, Text("x", extra=SIGNED)),
        ({"text": "", "thoughtSignature": "c2ln"}, own(text="", thoughtSignature="c2ln")),
        ({"text": "hm", "thought": True}, Reasoning("hm")),
        ({"text": "hm", "thought": True, "thoughtSignature": "c2ln"}, Reasoning("hm", "c2ln", protocol=NAME)),
        ({"inlineData": {"mimeType": "image/png", "data": "aGk="}}, Media("image", "image/png", data="aGk=")),
        ({"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}, Media("audio", "audio/wav", data="aGk=")),
        ({"inlineData": {"mimeType": "text/csv", "data": "aGk="}}, Media("document", "text/csv", data="aGk=")),
        (
            {"inlineData": {"mimeType": "video/mp4", "data": "aGk="}, "videoMetadata": {"fps": 1}},
            Media("video", "video/mp4", data="aGk=", extra=own(videoMetadata={"fps": 1})),
        ),
        (
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}},
            Media("video", "video/mp4", url="https://youtu.be/x"),
        ),
        (
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/x.pdf"}},
            Media("document", "application/pdf", file_id="gs://b/x.pdf"),
        ),
        (
            {
                "fileData": {
                    "mimeType": "image/png",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
                    "displayName": "a.png",
                }
            },
            Media(
                "image", "image/png", name="a.png", file_id="https://generativelanguage.googleapis.com/v1beta/files/abc"
            ),
        ),
        (
            {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            ToolUse("1", "f", '{"a": 1}', extra=SIGNED),
        ),
        (
            {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c2ln"},
            own(executableCode={"language": "PYTHON", "code": "1"}, thoughtSignature="c2ln"),
        ),
        (
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            own(codeExecutionResult={"outcome": "OUTCOME_OK", "output": "1"}),
        ),
        ({"toolCall": {"id": "1", "toolType": "X"}}, own(toolCall={"id": "1", "toolType": "X"})),
        ({"inlineData": {"data": "aGk="}, "thought": True}, own(inlineData={"data": "aGk="}, thought=True)),
        ({"brandNew": {"a": 1}}, own(brandNew={"a": 1})),
    ],
)  # fmt: skip
def test_each_kind_of_part(part: Any, words: Part) -> None:
    assert comparable(read(part, role="model")) == comparable([words])
    if not isinstance(words, Opaque) or "inlineData" not in part:
        assert parts_of(words, role="assistant") == [part]


def test_a_model_that_was_streamed_is_one_turn_again() -> None:
    (message,) = understood(
        {"role": "model", "parts": [{"text": "Let", "thought": True}, {"text": " me", "thought": True}]},
        {"role": "model", "parts": [{"text": "Hel"}]},
        {"role": "model", "parts": [{"text": "lo"}, {"text": "!", "thoughtSignature": "c2ln"}, {"text": "?"}]},
    ).messages
    assert comparable(message.parts) == comparable(
        [Reasoning("Let me"), Text("Hello"), Text("!", extra=SIGNED), Text("?")]
    )


def test_results_find_their_calls_by_id_or_by_name_and_order() -> None:
    request = understood(
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"n": 1}}},
                {"functionCall": {"name": "g"}},
                {"functionCall": {"name": "f", "args": {"n": 2}}},
                {"functionCall": {"id": "own", "name": "f"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "own", "name": "f", "response": {"output": "4"}}},
                {"functionResponse": {"name": "f", "response": {"output": "1"}}},
                {"functionResponse": {"name": "f", "response": {"output": "3"}}},
                {"functionResponse": {"name": "g", "response": {"output": "2"}}},
                {"text": "go on"},
            ],
        },
    )
    calls = [part.id for part in request.messages[0].parts if isinstance(part, ToolUse)]
    assert calls[3] == "own"
    assert len(set(calls)) == 4
    assert all(len(id) == 29 for id in calls[:3])
    results = {part.id: part.content for part in request.messages[1].parts if isinstance(part, ToolResult)}
    assert [results[id] for id in calls] == [(Text("1"),), (Text("2"),), (Text("3"),), (Text("4"),)]
    assert request.messages[2] == Message("user", (Text("go on"),))


@pytest.mark.parametrize(
    ("response", "words"),
    [
        ({"output": "ok"}, ToolResult("1", (Text("ok"),))),
        ({"error": "no"}, ToolResult("1", (Text("no"),), is_error=True)),
        ({"error": {"code": 1}}, ToolResult("1", (Text('{"error": {"code": 1}}'),), is_error=True)),
        ({"a": [1, 2]}, ToolResult("1", (Text('{"a": [1, 2]}'),))),
        ({"output": {"a": 1}}, ToolResult("1", (Text('{"output": {"a": 1}}'),))),
        ({"output": '{"a": 1}'}, ToolResult("1", (Text('{"output": "{\\"a\\": 1}"}'),))),
        ({}, ToolResult("1")),
    ],
)
def test_a_result_is_an_object(response: Any, words: ToolResult) -> None:
    part = {"functionResponse": {"id": "1", "name": "f", "response": response}}
    assert read(part) == (words,)
    call = Message("assistant", (ToolUse("1", "f"),))
    assert asked(call, Message("tool", (words,)))["contents"][1]["parts"] == [part]


def test_media_within_a_result_stay_there_and_others_follow_it() -> None:
    blob = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    part = {"functionResponse": {"id": "1", "name": "f", "response": {}, "parts": [blob]}}
    (result,) = read(part)
    assert isinstance(result, ToolResult)
    (media,) = result.content
    assert isinstance(media, Media)
    assert (media.kind, media.data) == ("image", "aGk=")
    call = Message("assistant", (ToolUse("1", "f"),))
    assert asked(call, Message("tool", (result,)))["contents"][1]["parts"] == [part]
    foreign = ToolResult("1", (Text("see"), Media("image", "image/png", data="aGk=")))
    sent = asked(call, Message("tool", (foreign,)), USER)["contents"][1:]
    assert [each["role"] for each in sent] == ["user", "user"]  # as many results as calls, and then the rest
    assert sent[0]["parts"] == [{"functionResponse": {"id": "1", "name": "f", "response": {"output": "see"}}}]
    assert sent[1]["parts"] == [blob, {"text": "hi"}]


def test_the_first_call_of_a_turn_has_a_signature_of_some_kind() -> None:
    unsigned = parts_of(ToolUse("1", "f"), ToolUse("2", "f"), role="assistant")
    assert [part.get("thoughtSignature") for part in unsigned] == [UNSIGNED, None]
    signed = parts_of(ToolUse("1", "f"), ToolUse("2", "f", extra=SIGNED), role="assistant")
    assert [part.get("thoughtSignature") for part in signed] == [None, "c2ln"]
    assert read(unsigned[0], role="model") == (ToolUse("1", "f", "{}"),)


def test_what_other_formats_keep_is_not_said_to_gemini() -> None:
    foreign = Opaque("openai-chat", Raw(b'{"type":"custom"}'))
    sent = encoded(
        USER,
        Message(
            "assistant",
            (Reasoning("hm", "s", protocol="anthropic-messages"), Reasoning("so"), Text("x", extra=foreign), foreign),
        ),
    )
    assert json.loads(sent.body)["contents"][1]["parts"] == [{"text": "so", "thought": True}, {"text": "x"}]
    assert sent.dropped == ("custom", "reasoning", "type")


def test_media_of_other_formats() -> None:
    assert parts_of(
        Media("image", url="https://a.b/c.webp?x=1"),
        Media("image", url="https://a.b/c"),
        Media("video", url="https://www.youtube.com/watch?v=x"),
        Media("document", data="aGk=", name="a.pdf"),
        Media("document", text="words", name="Title"),
        Media("audio", "audio/mp3", data="aGk="),
    ) == [
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://a.b/c.webp?x=1"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.b/c"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=x"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "aGk=", "displayName": "a.pdf"}},
        {"text": "Title\n\nwords"},
        {"inlineData": {"mimeType": "audio/mp3", "data": "aGk="}},
    ]
    (film,) = read({"fileData": {"fileUri": "https://youtu.be/x"}})
    assert film == Media("video", url="https://youtu.be/x")
    with pytest.raises(InvalidRequest, match="does not have the file"):
        parts_of(Media("document", file_id="file-abc"))
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        parts_of(ToolUse("1", "f", "[1]"), role="assistant")


# ---- requests: tools and settings


def test_functions_and_tools_of_the_provider() -> None:
    request = understood(
        tools=[
            {"googleSearch": {}},
            {
                "functionDeclarations": [
                    {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}},
                    {"name": "g", "behavior": "NON_BLOCKING", "response": {"type": "STRING"}},
                ],
                "codeExecution": {},
            },
            {"urlContext": {}},
        ]
    )
    assert comparable(request.tools) == comparable(
        [
            own(googleSearch={}),
            Tool("f", "d", Raw(b'{"type":"object"}')),
            Tool("g", extra=own(behavior="NON_BLOCKING", response={"type": "STRING"})),
            own(codeExecution={}),
            own(urlContext={}),
        ]
    )
    assert asked(tools=request.tools)["tools"] == [
        {"googleSearch": {}},
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}},
                {"name": "g", "behavior": "NON_BLOCKING", "response": {"type": "STRING"}},
            ]
        },
        {"codeExecution": {}},
        {"urlContext": {}},
    ]
    foreign = Opaque("anthropic-messages", Raw(b'{"type":"web_search_20250305"}'))
    assert encoded(tools=(TOOL, foreign)).dropped == ("web_search_20250305",)


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["weather"]}, ToolChoice("named", "weather")),
        ({"mode": "VALIDATED"}, ToolChoice("auto")),
        ({"mode": "AUTO", "streamFunctionCallArguments": True}, ToolChoice("auto")),
    ],
)
def test_how_tools_are_chosen(config: Any, choice: ToolChoice) -> None:
    fields = {
        "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": config},
    }
    request = understood(**fields)
    assert request.tool_choice == choice
    (tool,) = request.tools
    assert isinstance(tool, Tool)
    assert tool.strict is (True if config["mode"] == "VALIDATED" else None)
    sent = json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)
    assert {name: sent[name] for name in fields} == fields


@pytest.mark.parametrize(("mode", "choice"), [("ANY", "required"), ("VALIDATED", "auto")])
def test_of_several_functions_those_that_are_allowed_are_all_that_is_shown(mode: str, choice: str) -> None:
    config = {"mode": mode, "allowedFunctionNames": ["f", "h", "unknown"]}
    told: dict[str, Any] = {
        "tools": [{"functionDeclarations": [{"name": name} for name in "fgh"]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": config},
    }
    request = understood(**told)
    assert request.tool_choice == ToolChoice(choice)  # type: ignore[arg-type]
    assert [tool.name for tool in request.tools if isinstance(tool, Tool)] == ["f", "h"]
    assert len(request.tools) == 3
    assert not request.extra  # nothing is left over that another format could not be told
    config["allowedFunctionNames"] = ["unknown", "other"]
    with pytest.raises(InvalidRequest, match="none of the functions") as refused:
        understood(**told)
    assert refused.value.param == "toolConfig.functionCallingConfig.allowedFunctionNames"


def test_schemas_that_must_be_kept_to() -> None:
    strict = msgspec.structs.replace(TOOL, strict=True)
    assert asked(tools=(strict,))["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert encoded(tools=(strict, TOOL)).dropped == ("strict",)
    assert asked(tools=(strict,), tool_choice=ToolChoice("required"))["toolConfig"] == {
        "functionCallingConfig": {"mode": "ANY"}
    }
    assert "toolConfig" not in asked(tool_choice=ToolChoice("required"))


def test_settings_have_geminis_names() -> None:
    config = {
        "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.9, "topK": 5, "seed": 7, "stopSequences": ["a"],
        "presencePenalty": 0.1, "frequencyPenalty": 0.2, "candidateCount": 2, "responseModalities": ["TEXT", "IMAGE"],
        "speechConfig": {"voiceConfig": {}}, "responseLogprobs": True, "logprobs": 2, "mediaResolution": "X",
    }  # fmt: skip
    body = {"generationConfig": config, "safetySettings": [{"category": "A"}], "cachedContent": "c", "labels": {}}
    request = understood(**body, serviceTier="flex")
    assert (request.max_tokens, request.temperature, request.top_p, request.top_k, request.seed) == (9, 0.5, 0.9, 5, 7)
    assert (request.stop, request.presence_penalty, request.frequency_penalty) == (("a",), 0.1, 0.2)
    assert request.service_tier == "flex"
    assert set(request.extra) == {
        "safetySettings", "cachedContent", "labels", "generationConfig.candidateCount",
        "generationConfig.responseModalities", "generationConfig.speechConfig", "generationConfig.responseLogprobs",
        "generationConfig.logprobs", "generationConfig.mediaResolution",
    }  # fmt: skip
    again = FORMAT.encode_request(request, default_max_tokens=1)
    sent = json.loads(again.body)
    assert {name: sent[name] for name in body} == body
    assert sent["serviceTier"] == "flex"
    assert again.dropped == ()


def test_one_candidate_is_no_wish() -> None:
    assert understood(generationConfig={"candidateCount": 1}).extra == {}


def test_what_gemini_cannot_say_is_named() -> None:
    sent = encoded(
        Message("user", (Text("hi", cache=Raw(b"{}")), Media("image", data="", detail="high")), name="Ann"),
        user="u", tools=(TOOL,), parallel_tool_calls=False, service_tier="scale", stop=tuple("abcdef"),
        extra={"logit_bias": Opaque("openai-chat", Raw(b'{"1":2}'))},
    )  # fmt: skip
    assert sent.dropped == (
        "cache_control", "detail", "logit_bias", "name", "parallel_tool_calls", "service_tier", "stop", "user",
    )  # fmt: skip
    assert json.loads(sent.body)["generationConfig"]["stopSequences"] == list("abcde")
    assert asked() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize(
    ("config", "shape", "sent"),
    [
        ({"responseMimeType": "application/json"}, ResponseFormat("json_object"), None),
        ({"responseMimeType": "text/plain"}, None, {}),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "string", "$id": "x"}},
            ResponseFormat("json_schema", schema=Raw(b'{"type": "string", "$id": "x"}')),
            None,
        ),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": True}},
            ResponseFormat("json_schema", schema=Raw(b'{"type":["string","null"]}')),
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": ["string", "null"]}},
        ),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}, None, None),
    ],
)
def test_the_shape_of_the_answer(config: Any, shape: ResponseFormat | None, sent: Any) -> None:
    request = understood(generationConfig=config)
    assert comparable(request.response_format) == comparable(shape)
    again = json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)
    assert again.get("generationConfig", {}) == (config if sent is None else sent)


def test_a_schema_of_geminis_is_json_schema() -> None:
    schema = {
        "type": "OBJECT", "title": "T", "description": "d", "required": ["b"], "propertyOrdering": ["b", "a"],
        "properties": {
            "a": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32", "minimum": 1}, "maxItems": "3"},
            "b": {"type": "STRING", "format": "enum", "enum": ["x", "y"], "nullable": True, "example": "x"},
            "c": {"anyOf": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": True, "default": None},
            "type": {"type": "TYPE_UNSPECIFIED", "minLength": "1", "pattern": "a"},
        },
        "minProperties": "1", "$defs": {"N": {"type": "NULL"}}, "additionalProperties": {"type": "STRING"},
    }  # fmt: skip
    (tool,) = understood(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}]).tools
    assert isinstance(tool, Tool)
    assert tool.schema is not None
    found = json.loads(bytes(tool.schema))
    assert found == {
        "type": "object", "title": "T", "description": "d", "required": ["b"],
        "properties": {
            "b": {"type": ["string", "null"], "enum": ["x", "y", None], "examples": ["x"]},
            "a": {"type": "array", "items": {"type": "integer", "format": "int32", "minimum": 1}, "maxItems": 3},
            "c": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}], "default": None},
            "type": {"minLength": 1, "pattern": "a"},
        },
        "minProperties": 1, "$defs": {"N": {"type": "null"}}, "additionalProperties": {"type": "string"},
    }  # fmt: skip
    assert list(found["properties"]) == ["b", "a", "c", "type"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"thinkingBudget": 0}, Thinking(enabled=False)),
        ({"thinkingBudget": -1, "includeThoughts": True}, Thinking(adaptive=True, summary="auto")),
        ({"thinkingBudget": 512, "includeThoughts": True}, Thinking(budget_tokens=512, summary="auto")),
        ({"thinkingBudget": 512, "includeThoughts": False}, Thinking(budget_tokens=512, summary="none")),
        ({"includeThoughts": True}, Thinking(summary="auto")),
    ],
)
def test_how_much_to_think(config: Any, words: Thinking) -> None:
    assert understood(generationConfig={"thinkingConfig": config}).thinking == words
    assert asked(thinking=words)["generationConfig"]["thinkingConfig"] == config


def test_an_effort_is_a_budget_that_all_models_take() -> None:
    def budget(**wish: Any) -> Any:
        return asked(thinking=Thinking(**wish))["generationConfig"]["thinkingConfig"].get("thinkingBudget")

    assert understood(generationConfig={"thinkingConfig": {"thinkingLevel": "HIGH"}}).thinking == Thinking(
        effort="high"
    )
    assert budget(effort="low") == 1024
    assert budget(effort="high") == budget(effort="max") == 24576
    assert budget(effort="high", adaptive=True) == 24576
    assert budget(effort="low", budget_tokens=99) == 99
    assert budget(budget_tokens=60000) == 24576
    assert budget(effort="none", enabled=False) == 0


# ---- answers


def test_a_whole_answer() -> None:
    usage = {
        "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 4, "totalTokenCount": 20,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}, {"modality": "AUDIO", "tokenCount": 2}],
        "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 1}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}],
    }  # fmt: skip
    response = whole({"text": "hi"}, usageMetadata=usage, createTime="2026-01-02T03:04:05.678Z")
    assert response == Response(
        "r", "gemini-x", (Text("hi"),), "stop",
        Usage(
            12, 8, cached_tokens=4, reasoning_tokens=3, input_audio_tokens=2, input_image_tokens=1,
            output_image_tokens=5,
        ),
        created=1767323045, raw_reason="STOP",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"),
        ("LANGUAGE", "content_filter"), ("IMAGE_SAFETY", "content_filter"), ("MODEL_ARMOR", "content_filter"),
        ("OTHER", "stop"), ("BRAND_NEW", "stop"),
    ],
)  # fmt: skip
def test_each_reason_to_finish(reason: str, expected: str) -> None:
    response = whole({"text": "x"}, finishReason=reason)
    assert (response.finish_reason, response.raw_reason) == (expected, reason)
    told_again = told(response)["candidates"][0]["finishReason"]
    assert told_again == ("STOP" if reason == "BRAND_NEW" else reason)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
def test_what_the_model_did_wrong_is_no_answer(reason: str) -> None:
    with pytest.raises(errors.UpstreamBroken, match=reason):
        whole({"text": "x"}, finishReason=reason)
    decode = FORMAT.event_decoder()
    chunk = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": reason}]}
    with pytest.raises(errors.UpstreamBroken, match=reason):
        [decode(raw) for raw in (f"data: {json.dumps(chunk)}\r\n\r\n".encode(), b"")]


def test_a_call_that_nobody_expected_can_be_answered() -> None:
    called = whole({"functionCall": {"name": "f", "args": {}}}, finishReason="UNEXPECTED_TOOL_CALL")
    assert called.finish_reason == "tool_use"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "STOP"), ("length", "MAX_TOKENS"), ("tool_use", "STOP"), ("stop_sequence", "STOP"), (None, "STOP"),
        ("content_filter", "SAFETY"), ("refusal", "PROHIBITED_CONTENT"), ("pause", "STOP"),
    ],
)  # fmt: skip
def test_each_reason_is_told(reason: Any, expected: str) -> None:
    said = told(responded(Text("x"), finish_reason=reason, raw_reason="end_turn"))
    assert said["candidates"][0]["finishReason"] == expected


def test_a_refused_prompt_has_no_candidates() -> None:
    body = {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 4}, "modelVersion": "m"}
    for response in (FORMAT.decode_response(json.dumps(body).encode()), answer(body)):
        assert (response.finish_reason, response.raw_reason, response.parts) == ("content_filter", "OTHER", ())
        assert response.usage == Usage(4, 0)
    reader = FORMAT.stream_reader()
    assert reader.see(events(body)) == CONTENT
    assert reader.summary.finish_reason == "OTHER"


def test_a_candidate_may_lack_its_content() -> None:
    for candidate in ({"finishReason": "SAFETY"}, {"finishReason": "SAFETY", "content": {}}):
        response = FORMAT.decode_response(json.dumps({"candidates": [candidate]}).encode())
        assert (response.parts, response.finish_reason) == ((), "content_filter")


def test_a_whole_answer_may_lack_its_reason_but_not_its_candidate() -> None:
    response = FORMAT.decode_response(b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}')
    assert (response.parts, response.finish_reason) == ((Text("x"),), None)
    with pytest.raises(UpstreamBroken):
        FORMAT.decode_response(b'{"candidates":[]}')


def test_of_several_candidates_the_first_is_told() -> None:
    first, second = chunk({"text": "a"}, finishReason="STOP"), chunk({"text": "b"}, index=1, finishReason="STOP")
    body = {**first, "candidates": [*second["candidates"], *first["candidates"]]}
    assert FORMAT.decode_response(json.dumps(body).encode()).parts == (Text("a"),)


def test_the_array_that_a_stream_without_events_is() -> None:
    body = json.dumps([chunk({"text": "a"}), chunk({"text": "b"}, finishReason="STOP")]).encode()
    assert FORMAT.decode_response(body).parts == (Text("ab"),)
    assert FORMAT.summary(body).finish_reason == "STOP"


def test_pieces_are_one_part_and_signed_ones_are_not() -> None:
    response = answer(
        chunk({"text": "Let ", "thought": True}),
        chunk({"text": "me", "thought": True}, {"text": "He"}),
        chunk({"text": "llo"}),
        chunk({"text": "", "thoughtSignature": "c2ln"}),
        chunk({"text": "more"}),
        chunk({"text": "!", "thoughtSignature": "c2ln"}, {"text": "?"}, finishReason="STOP"),
    )
    expected = [
        Reasoning("Let me", protocol=NAME),
        Text("Hello", extra=own(text="", thoughtSignature="c2ln")),
        Text("more"),
        Text("!", extra=SIGNED),
        Text("?"),
    ]
    assert comparable(response.parts) == comparable(expected)
    assert parts_of(*response.parts, role="assistant") == [
        {"text": "Let me", "thought": True}, {"text": "Hello"}, {"text": "", "thoughtSignature": "c2ln"},
        {"text": "more"}, {"text": "!", "thoughtSignature": "c2ln"}, {"text": "?"},
    ]  # fmt: skip


def test_a_signature_without_a_text_before_it_is_a_part() -> None:
    part = {"text": "", "thoughtSignature": "c2ln"}
    response = answer(chunk({"functionCall": {"id": "1", "name": "f"}}), chunk(part, finishReason="STOP"))
    assert comparable(response.parts) == comparable([ToolUse("1", "f"), own(**part)])


def test_calls_that_come_whole() -> None:
    response = whole(
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}, {"functionCall": {"name": "g"}}
    )
    first, second = response.parts
    assert isinstance(first, ToolUse)
    assert isinstance(second, ToolUse)
    assert (first.name, first.arguments, second.name, second.arguments) == ("f", '{"a": 1}', "g", "{}")
    assert comparable(first.extra) == comparable(SIGNED)
    assert first.id.startswith("call_")
    assert len(first.id) == 29
    assert first.id != second.id
    assert response.finish_reason == "tool_use"


def piece(path: str, **value: Any) -> dict[str, Any]:
    return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}


def test_arguments_that_come_in_pieces() -> None:
    response = answer(
        chunk({"functionCall": {"id": "1", "name": "f", "willContinue": True}, "thoughtSignature": "c2ln"}),
        chunk(piece("$.a.b[0].c", stringValue="Hel", willContinue=True)),
        chunk(piece("$.a.b[0].c", stringValue="lo")),
        chunk(piece("$.a.b[1].c", stringValue="x"), piece("$.n", numberValue=2), piece("$.f", numberValue=0.5)),
        chunk(piece("$['it\\'s']", boolValue=True), piece('$["x.y"][0][0]', nullValue="NULL_VALUE")),
        chunk({"functionCall": {}}, {"text": "done"}),
        chunk(finishReason="STOP"),
    )
    call, text = response.parts
    assert isinstance(call, ToolUse)
    assert json.loads(call.arguments) == {
        "a": {"b": [{"c": "Hello"}, {"c": "x"}]}, "n": 2, "f": 0.5, "it's": True, "x.y": [[None]],
    }  # fmt: skip
    assert text == Text("done")
    assert response.finish_reason == "tool_use"


def test_a_call_that_nothing_closes_ends_with_what_follows() -> None:
    response = answer(
        chunk({"functionCall": {"id": "1", "name": "f", "willContinue": True}}, piece("$.a", stringValue="x")),
        chunk({"functionCall": {"id": "2", "name": "g", "willContinue": True}}, piece("$.b", stringValue="y")),
        chunk({"text": ""}, finishReason="STOP"),
    )
    assert response.parts == (ToolUse("1", "f", '{"a":"x"}'), ToolUse("2", "g", '{"b":"y"}'))


@pytest.mark.parametrize("path", ["", "a", "$", "$.", "$.a[", "$.a[x]", "$..a", "$[0]", "$.s.x", "$" + ".a" * 300])
def test_a_path_that_leads_nowhere_breaks_the_answer(path: str) -> None:
    chunks = [
        chunk({"functionCall": {"name": "f", "willContinue": True}}),
        chunk(piece("$.s", stringValue="x"), piece(path, stringValue="y")),
    ]
    with pytest.raises(UpstreamBroken):
        answer(*chunks)


def test_media_and_server_tools_of_an_answer() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thoughtSignature": "c2ln"}
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    response = whole({"text": "see"}, image, code, {"text": "so"})
    expected = [Text("see"), Media("image", "image/png", data="aGk=", extra=SIGNED), own(**code), Text("so")]
    assert comparable(response.parts) == comparable(expected)
    assert told(response)["candidates"][0]["content"]["parts"] == [{"text": "see"}, image, code, {"text": "so"}]


def grounded(*supports: tuple[int, int, list[int]], chunks: Any) -> dict[str, Any]:
    found = [{"segment": {"startIndex": a, "endIndex": b}, "groundingChunkIndices": c} for a, b, c in supports]
    return {"groundingMetadata": {"groundingChunks": chunks, "groundingSupports": found}}


def test_places_are_bytes_there_and_characters_here() -> None:
    web = [{"web": {"uri": "https://a", "title": "A"}}, {"retrievedContext": {"title": "B", "text": "quoted"}}]
    metadata = grounded((0, 7, [0]), (8, 13, [0, 1]), (0, 99, [0]), (0, 3, [7]), chunks=web)
    for response in (
        whole({"text": "Zürich äöü!"}, **metadata),
        answer(
            chunk({"text": "Zür"}), chunk({"text": "ich ä"}), chunk({"text": "öü!"}, finishReason="STOP", **metadata)
        ),
    ):
        (text,) = response.parts
        assert isinstance(text, Text)
        assert text.citations == (
            Citation("https://a", "A", start=0, end=6), Citation("https://a", "A", start=7, end=9),
            Citation(None, "B", "quoted", start=7, end=9), Citation("https://a", "A"),
        )  # fmt: skip


def test_citations_of_a_part_that_has_ended_come_with_the_last_text_of_a_stream() -> None:
    metadata = grounded((0, 3, [0]), (3, 6, [0]), chunks=[{"web": {"uri": "https://a"}}])
    parts = ({"text": "one"}, {"functionCall": {"id": "1", "name": "f"}}, {"text": "two"})
    cited, _, also = whole(*parts, **metadata).parts
    assert isinstance(cited, Text)
    assert isinstance(also, Text)
    assert cited.citations == also.citations == (Citation("https://a", start=0, end=3),)
    _, _, last = answer(chunk(*parts, finishReason="STOP", **metadata)).parts
    assert isinstance(last, Text)
    assert last.citations == (Citation("https://a", start=0, end=3), Citation("https://a"))[::-1]


def test_recited_works_are_cited() -> None:
    for name in ("citationSources", "citations"):
        metadata = {
            name: [{"startIndex": 1, "endIndex": 3, "uri": "https://a", "license": "mit"}, {"uri": "https://b"}]
        }
        (text,) = whole({"text": "abcd"}, citationMetadata=metadata).parts
        assert isinstance(text, Text)
        assert text.citations == (Citation("https://a", start=1, end=3), Citation("https://b"))


def test_an_answer_that_is_cut_off_is_broken() -> None:
    for chunks in ([], [chunk({"text": "a"})], [chunk({"functionCall": {"name": "f", "willContinue": True}})]):
        with pytest.raises(UpstreamBroken, match="cut off"):
            heard(raw_events(FORMAT, events(*chunks)))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"candidates":1}', b'{"candidates":[{"content":{"parts":[1]}}]}']
)
def test_what_is_no_answer_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        FORMAT.decode_response(body)


# ---- answers for clients


def test_a_stream_for_clients() -> None:
    usage = Usage(10, 8, cached_tokens=4, reasoning_tokens=3, output_audio_tokens=2)
    said = [
        Start("r", "m", 1767323045),
        PartStart(0, Reasoning(protocol="x")), PartDelta(0, "hm"), PartEnd(0),
        PartStart(1, Text("")), PartDelta(1, "Hel"), PartDelta(1, "lo"), PartEnd(1),
        PartStart(2, ToolUse("1", "f", "")), PartDelta(2, '{"a":'), PartDelta(2, "1}"), PartEnd(2),
        Finish("tool_use", usage),
    ]  # fmt: skip
    chunks = data_of(spoken(said))
    parts = [part for each in chunks for part in each["candidates"][0]["content"]["parts"]]
    assert [part.get("text") for part in parts] == ["hm", "Hel", "lo", None, ""]
    assert parts[3] == {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}}
    assert {each["responseId"] for each in chunks} == {"r"}
    assert {each["modelVersion"] for each in chunks} == {"m"}
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert chunks[-1]["usageMetadata"] == {
        "promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 18, "thoughtsTokenCount": 3,
        "cachedContentTokenCount": 4, "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
    }  # fmt: skip
    assert chunks[-1]["createTime"] == "2026-01-02T03:04:05Z"


def test_arguments_that_a_model_indented_stand_in_one_line() -> None:
    stream = spoken(tell(responded(ToolUse("1", "weather", '{\n  "city": "Rome"\n}'))))
    (call,) = [
        part for each in data_of(stream) for part in each["candidates"][0]["content"]["parts"] if "text" not in part
    ]
    assert call["functionCall"]["args"] == {"city": "Rome"}


def test_a_call_waits_until_it_is_whole() -> None:
    encode = FORMAT.event_encoder(include_usage=True)
    before = encode.held
    assert encode(PartStart(0, ToolUse("1", "f", ""))) == b""
    assert encode(PartDelta(0, '{"a":1')) == b""
    assert encode.held > before
    assert b'"args":{}' in encode(PartEnd(0))  # it was cut off
    assert encode.held == before


@pytest.mark.parametrize("streams", [False, True])
def test_what_other_formats_keep_comes_back_from_clients(streams: bool) -> None:
    claude = "anthropic-messages"
    foreign = Opaque(claude, Raw(b'{"type":"server_tool_use","id":"1"}'))
    parts: tuple[Part, ...] = (
        Reasoning("hm", "c2ln/+8=", protocol=claude),
        Reasoning(encrypted="zzz", protocol=claude),
        foreign,
        ToolUse("1", "f", '{"a":1}', extra=Opaque("openai-chat", Raw(b'{"extra_content":{}}'))),
    )
    response = responded(*parts, finish_reason="tool_use")
    chunks = data_of(spoken(tell(response))) if streams else [told(response)]
    said = [each["candidates"][0]["content"] for each in chunks]
    again = json.dumps({"contents": said}).replace("+", "-").encode()  # with the other alphabet of base64
    (message,) = FORMAT.decode_request(again, model="m").messages
    found = [part for part in message.parts if part != Text("")]
    assert comparable(found) == json.loads(json.dumps(comparable(parts)).replace('\\"a\\":1', '\\"a\\": 1'))
    assert opened("ZmFpcmxlYWQ6!") == opened("ZmFpcmxlYWQ6bm8=")
    assert comparable(read({"thoughtSignature": sealed(foreign)}, role="model")) == comparable([foreign])


def test_citations_for_clients() -> None:
    text = Text("Zürich äöü", citations=(Citation("https://a", "A", start=7, end=9), Citation(quote="q")))
    expected = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"retrievedContext": {"text": "q"}}],
        "groundingSupports": [{"segment": {"startIndex": 9, "endIndex": 13}, "groundingChunkIndices": [0]}],
    }
    response = responded(Text("a"), text)
    assert told(response)["candidates"][0]["groundingMetadata"] == expected
    assert data_of(spoken(tell(response)))[-1]["candidates"][0]["groundingMetadata"] == expected


def test_a_thought_of_another_format_without_a_signature_is_plain() -> None:
    said = told(responded(Reasoning("hm", protocol="anthropic-messages"), Text("x")))
    assert said["candidates"][0]["content"]["parts"] == [{"text": "hm", "thought": True}, {"text": "x"}]


def test_a_stream_may_be_an_array() -> None:
    array = ArrayOfChunks()
    stream = raw_events(FORMAT, events({"a": 1}, {"b": 2}))
    assert json.loads(array.feed(stream[:1]) + array.feed(stream[1:]) + array.finish()) == [{"a": 1}, {"b": 2}]
    assert json.loads(ArrayOfChunks().finish()) == []


# ---- errors


def rpc(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


@pytest.mark.parametrize(
    ("status", "word", "message", "details", "kind"),
    [
        (400, "INVALID_ARGUMENT", "bad", [], errors.UpstreamRefused),
        (400, "INVALID_ARGUMENT", "no key", [rpc("ErrorInfo", reason="API_KEY_INVALID")], errors.CredentialRejected),
        (403, "PERMISSION_DENIED", "no", [], errors.CredentialRejected),
        (403, "PERMISSION_DENIED", "no", [rpc("ErrorInfo", reason="BILLING_DISABLED")], errors.OutOfCredit),
        (402, "RESOURCE_EXHAUSTED", "Your credits are gone.", [], errors.OutOfCredit),
        (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", [], errors.OutOfCredit),
        (429, "RESOURCE_EXHAUSTED", "quota", [rpc("RetryInfo", retryDelay="34.07s")], errors.RateLimited),
        (404, "NOT_FOUND", "gone", [], errors.UpstreamModelNotFound),
        (503, "UNAVAILABLE", "overloaded", [], errors.Overloaded),
        (504, "DEADLINE_EXCEEDED", "late", [], errors.UpstreamTimeout),
        (500, "INTERNAL", "oops", [], errors.UpstreamBroken),
    ],
)  # fmt: skip
def test_each_error(status: int, word: str, message: str, details: Any, kind: type[errors.UpstreamError]) -> None:
    told = {"error": {"code": status, "message": message, "status": word, "details": details}}
    plain = json.dumps(told).encode()
    for body in (plain, b"[%b]" % plain, b"data: %b\r\n\r\n" % plain):
        error = FORMAT.decode_error(status, body)
        assert type(error) is kind
        assert error.retry_after == (34.07 if "quota" in message else None)
    for inside in (lambda: FORMAT.decode_response(plain), lambda: heard([b"data: %b\r\n\r\n" % plain])):
        with pytest.raises(kind):
            inside()


@given(st.binary(max_size=60) | st.sampled_from([b"", b"[]", b"[[]]", b'{"error":1}', b'{"error":{"details":[1,{}]}}']))
def test_whatever_an_error_is_it_is_one(body: bytes) -> None:
    assert str(FORMAT.decode_error(500, body))


def test_our_errors_are_told_as_googles() -> None:
    error = InvalidRequest("'contents' is missing.", param="contents")
    (told,) = json.loads(FORMAT.encode_error(error)).values()
    assert (told["code"], told["status"], told["message"]) == (400, "INVALID_ARGUMENT", "'contents' is missing.")
    assert told["details"][0]["reason"] == "INVALID_REQUEST"
    assert told["details"][1]["fieldViolations"][0]["field"] == "contents"
    limited = errors.RateLimited("slow down", retry_after=2.5)
    event = FORMAT.encode_error_event(limited)
    assert event.startswith(b'data: {"error":{')
    found = FORMAT.decode_error(429, event)
    assert type(found) is errors.RateLimited
    assert found.retry_after == 2.5


# ---- laws

words = st.text(alphabet='aä😀 \n"\\', max_size=8)
signatures = st.none() | st.just(SIGNED)
spans = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted)
said_texts = st.builds(Text, words.filter(bool), extra=signatures)
said_parts = st.one_of(
    said_texts,
    st.builds(Reasoning, words.filter(bool), st.none() | st.just("c2ln"), protocol=st.just(NAME)),
    st.builds(ToolUse, st.just("1"), st.just("f"), st.just('{"a":1}'), extra=signatures),
    st.builds(Media, st.just("image"), st.just("image/png"), data=st.just("aGk="), extra=signatures),
    st.just(own(executableCode={"code": "1"})),
)


def apart(parts: list[Part]) -> bool:
    """Whether no two of them would be one."""
    pairs = pairwise(parts)
    return not any(type(a) is type(b) and isinstance(a, Text | Reasoning) for a, b in pairs)


@settings(max_examples=200)
@given(st.lists(said_parts, max_size=5).filter(apart), st.integers(0, 20), st.integers(0, 20))
def test_what_is_told_is_heard_again(parts: list[Part], inputs: int, outputs: int) -> None:
    reason = "tool_use" if any(isinstance(part, ToolUse) for part in parts) else "stop"
    response = responded(*parts, finish_reason=reason, raw_reason="STOP", usage=Usage(inputs, outputs))
    assert comparable(FORMAT.decode_response(FORMAT.encode_response(response))) == comparable(response)
    assert comparable(streamed(FORMAT, spoken(tell(response)))) == comparable(response)


@given(st.lists(st.tuples(words.filter(bool), spans), min_size=1, max_size=4))
def test_places_in_a_text_are_kept(texts: list[tuple[str, list[int]]]) -> None:
    parts = []
    for number, (text, span) in enumerate(texts):
        first, last = (min(place, len(text)) for place in span)
        cited = (Citation(f"https://{number}", start=first, end=last),) if 0 < first < last else ()
        parts += [Text(text, citations=cited), own(executableCode={"code": "1"})]
    response = responded(*parts, raw_reason="STOP")
    assert comparable(FORMAT.decode_response(FORMAT.encode_response(response))) == comparable(response)
