"""OpenAI's Responses API: every recorded exchange is read and told again, and whatever is malformed is named."""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, structs
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

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
from fairlead.protocols import CONTENT, DONE
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_responses import OpenAIResponses
from fairlead.protocols.sse import data
from fairlead.translation import TranslatedStream
from protocols_outbound import comparable, raw_events
from protocols_recordings import SHARED, Recording, openai_spec, recordings

FORMAT = OpenAIResponses()
NAME = FORMAT.name
MODEL = "gpt-5.1"
SDK_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WHOLE_VENDORS = ["openai", "azure", "bedrock-mantle", "deepseek", "lmstudio", "openrouter", "xai"]
VENDORS = [*WHOLE_VENDORS, "github-copilot"]
WHOLE = [found for vendor in WHOLE_VENDORS for found in recordings(vendor, ["responses"])]
STREAMED = [found for vendor in VENDORS for found in recordings(vendor, ["responses_stream"])]
# Of fixtures whose stream and whole answer were made of different calls.
OTHER_WORDS = {"openai/responses_stream/fx-openai-shell-container.1"}


def heard(stream: bytes | list[bytes], *, end: bool = True) -> list[Event]:
    decode = FORMAT.event_decoder()
    events = raw_events(FORMAT, stream) if isinstance(stream, bytes) else stream
    return [told for event in [*events, *([b""] if end else [])] for told in decode(event)]


def told(events: Iterable[Event], request: Request | None = None) -> bytes:
    encode = FORMAT.event_encoder(include_usage=True, request=request)
    return b"".join(encode(event) for event in events)


def payloads(stream: bytes | list[bytes]) -> list[dict[str, Any]]:
    events = raw_events(FORMAT, stream) if isinstance(stream, bytes) else stream
    return [json.loads(data(event)) for event in events if data(event) not in (b"", b"[DONE]")]


def event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), json.dumps({"type": type, **fields}).encode())


def understood(**fields: Any) -> Request:
    return FORMAT.decode_request(json.dumps({"model": MODEL, "input": "Hello", **fields}).encode())


def items(*told: Any) -> tuple[Message, ...]:
    return understood(input=list(told)).messages


def asked(*messages: Message, **facts: Any) -> Any:
    return json.loads(FORMAT.encode_request(Request(MODEL, messages, **facts), default_max_tokens=4096).body)


def dropped(*messages: Message, **facts: Any) -> tuple[str, ...]:
    return FORMAT.encode_request(Request(MODEL, messages, **facts), default_max_tokens=4096).dropped


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def own(value: Any) -> Opaque:
    return Opaque(NAME, raw(value))


HELLO = Message("user", (Text("Hello"),))
ANSWER = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "created_at": 5, "output": []}


def answer(*output: Any, **fields: Any) -> Response:
    return FORMAT.decode_response(json.dumps({**ANSWER, "output": list(output), **fields}).encode())


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {**base, "content": list(content), **fields}


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **fields}


# ---- recorded requests


def settings_of(request: Request) -> Request:
    """All but the conversation; functions are not strict where nothing is told of it."""
    tools = [
        structs.replace(tool, strict=bool(tool.strict)) if isinstance(tool, Tool) else tool for tool in request.tools
    ]
    return structs.replace(request, messages=(), extra={}, tools=tuple(tools))


@pytest.mark.parametrize("recording", [*WHOLE, *STREAMED])
def test_a_recorded_request_means_the_same_when_asked_again(recording: Recording) -> None:
    body = recording.request
    if body is None:
        body = b'{"model":"m","input":"Hello","instructions":"Be brief."}'
    asked = json.loads(body)
    taken = FORMAT.peek(body)
    assert taken.messages == (1 if isinstance(asked["input"], str) else len(asked["input"]))
    assert (taken.model, taken.stream) == (asked["model"], bool(asked.get("stream")))
    patched = FORMAT.patch(taken, "x", drop=frozenset(), ask_usage=True, default_max_tokens=1)
    assert json.loads(patched) == {**asked, "model": "x"}
    FORMAT.characters(taken)
    if asked.get("background") or asked.get("conversation") or asked.get("previous_response_id"):
        with pytest.raises(errors.InvalidRequest) as refused:
            FORMAT.decode_request(body)
        assert refused.value.code == "unsupported_parameter"
        return
    request = FORMAT.decode_request(body)
    told = FORMAT.encode_request(request, default_max_tokens=1)
    again = FORMAT.decode_request(told.body)
    assert comparable(again.messages) == comparable(request.messages)
    assert comparable(settings_of(again)) == comparable(settings_of(request))
    assert told.dropped == ()
    sent = json.loads(told.body)
    assert sent["store"] is False
    spec = openai_spec(as_served=True)
    assert spec.errors("CreateResponse", sent) == [] or spec.errors("CreateResponse", asked) != []


# ---- recorded answers


def facts(output: list[dict[str, Any]], *, customs: bool) -> tuple[str, str, list[Any], list[str]]:
    """What an answer says, read by the test itself: text, thoughts, calls with arguments, and kinds of other items."""
    text, thought, calls, others = [], [], [], []
    for item in output:
        match item["type"]:
            case "message":
                text += [part.get("text") or part.get("refusal") or "" for part in item["content"]]
            case "reasoning":
                pieces = [part["text"] for part in item.get("content") or item["summary"]]
                thought += ["\n\n".join(piece for piece in pieces if piece)]
            case "function_call":
                calls.append((item["call_id"], item["name"], item["arguments"]))
            case "custom_tool_call" if customs:
                calls.append((item["call_id"], item["name"], json.dumps({"input": item["input"]})))
            case kind:
                others.append(kind)
    return "".join(text), "".join(thought), calls, sorted(others)


def facts_of(response: Response) -> tuple[str, str, list[Any], list[str]]:
    parts = response.parts
    text = "".join(part.text for part in parts if isinstance(part, Text))
    thought = "".join(part.text for part in parts if isinstance(part, Reasoning))
    calls = [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ToolUse)]
    others = sorted(json.loads(bytes(part.raw))["type"] for part in parts if isinstance(part, Opaque))
    return text, thought, calls, others


def check_answer(response: Response, body: dict[str, Any], vendor: str) -> None:
    told, found = facts(body["output"], customs=vendor != "xai"), facts_of(response)
    assert found == told
    assert [part.encrypted for part in response.parts if isinstance(part, Reasoning) and part.encrypted] == [
        item["encrypted_content"] for item in body["output"] if item.get("encrypted_content") and "summary" in item
    ]
    usage = body.get("usage")
    if usage is None:
        assert response.usage is None
    else:
        assert response.usage == Usage(
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            cached_tokens=usage["input_tokens_details"]["cached_tokens"],
            cache_write_tokens=usage["input_tokens_details"].get("cache_write_tokens") or 0,
            reasoning_tokens=usage["output_tokens_details"]["reasoning_tokens"],
        )
    match body["status"]:
        case "queued":
            reason = None
        case "incomplete":
            reason = {"max_output_tokens": "length"}[body["incomplete_details"]["reason"]]
        case _:
            reason = "tool_use" if told[2] else "stop"
    assert response.finish_reason == reason
    assert (response.id, response.model, response.created) == (body["id"], body["model"], int(body["created_at"]))
    annotations = [
        each for item in body["output"] if item["type"] == "message" for part in item["content"]
        for each in part.get("annotations") or ()
    ]  # fmt: skip
    citations = [each for part in response.parts if isinstance(part, Text) for each in part.citations]
    assert [(each.url, each.start, each.end) for each in citations] == [
        (each.get("url"), each.get("start_index"), each.get("end_index")) for each in annotations
    ]
    assert [comparable(each.raw.raw) for each in citations if each.raw] == annotations


@pytest.mark.parametrize("recording", WHOLE)
def test_a_recorded_answer_is_read_and_means_the_same_when_told_again(recording: Recording) -> None:
    body = recording.whole["response"]["body"]
    response = FORMAT.decode_response(recording.response)
    check_answer(response, body, recording.id.split("/")[0])
    summary = FORMAT.summary(recording.response)
    assert (summary.id, summary.model, summary.usage) == (response.id, response.model, response.usage)
    assert summary.finish_reason == response.raw_reason
    assert comparable(fold(tell(response))) == comparable(response)
    if response.finish_reason is None:
        return
    told = FORMAT.encode_response(response)
    assert comparable(FORMAT.decode_response(told).parts) == comparable(response.parts)
    wrong = openai_spec().errors("Response", json.loads(told))
    assert wrong == [] or openai_spec(as_served=True).errors("Response", body) != []


@pytest.mark.parametrize("recording", STREAMED)
def test_a_recorded_stream_tells_what_its_whole_answer_says(recording: Recording) -> None:
    if recording.id.endswith("fx-openai-error.1"):
        with pytest.raises(errors.OutOfCredit):
            heard(recording.response)
        return
    events = heard(recording.response)
    response = fold(events)
    ends = ("response.completed", "response.incomplete")
    body = next(each["response"] for each in payloads(recording.response) if each["type"] in ends)
    # What is encrypted differs from event to event, and so do ids with some.
    sealed = iter([part.encrypted for part in response.parts if isinstance(part, Reasoning) and part.encrypted])
    for item in body["output"]:
        if item["type"] == "reasoning" and item.get("encrypted_content"):
            item["encrypted_content"] = next(sealed)
    whole = structs.replace(response, id=body["id"]) if "copilot" in recording.id else response
    if recording.id not in OTHER_WORDS:
        check_answer(whole, body, recording.id.split("/")[0])
    assert sum(isinstance(event, Finish) for event in events) == 1
    assert isinstance(events[-1], Finish)
    begun = [event.index for event in events if isinstance(event, PartStart)]
    assert begun == sorted(set(begun)) == sorted(event.index for event in events if isinstance(event, PartEnd))


@pytest.mark.parametrize("recording", STREAMED)
def test_a_recorded_stream_means_the_same_when_told_again(recording: Recording) -> None:
    if recording.id.endswith("fx-openai-error.1"):
        return
    events = heard(recording.response)
    request = understood(tools=[{"type": "x_search"}]) if "x-search" in recording.id else None
    stream = told(events, request)
    again = fold(heard(stream))
    assert comparable(again.parts) == comparable(fold(events).parts)
    assert (again.usage, again.finish_reason) == (fold(events).usage, fold(events).finish_reason)
    assert "x-search" in recording.id or openai_spec().stream_errors("ResponseStreamEvent", stream.decode()) == []
    check_order(stream, sdk="x-search" not in recording.id)  # its citations lack what the SDK wants


@pytest.mark.parametrize("recording", STREAMED)
def test_reading_along_finds_what_translating_finds(recording: Recording) -> None:
    reader = FORMAT.stream_reader()
    if recording.id.endswith("fx-openai-error.1"):
        with pytest.raises(errors.OutOfCredit):
            [reader.see(each) for each in raw_events(FORMAT, recording.response)]
        return
    flags, response = [], fold(heard(recording.response))
    for each in raw_events(FORMAT, recording.response):
        flags.append(reader.see(each))
        if flags[-1] & DONE:
            break
    summary = reader.summary
    assert (summary.model, summary.usage, summary.finish_reason) == (
        response.model, response.usage, response.raw_reason,
    )  # fmt: skip
    assert "copilot" in recording.id or summary.id == response.id
    assert flags[:2] == [0, 0]
    assert flags[-1] == CONTENT | DONE


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("recording", STREAMED[:12])
def test_a_stream_means_the_same_wherever_its_chunks_end(recording: Recording, size: int) -> None:
    stream = recording.response[:20_000]
    assert raw_events(FORMAT, stream, size) == raw_events(FORMAT, stream)


def of_errors() -> list[Any]:
    index = SHARED / "recordings" / "index.json"
    ids = [entry["id"] for entry in json.loads(index.read_text())] if index.is_file() else []
    found = [Recording(id) for id in ids if "/error/" in id]
    kept = [each for each in found if str(each.whole.get("endpoint", "")).startswith("responses")]
    return [pytest.param(each, id=each.id) for each in kept]


@pytest.mark.parametrize("recording", of_errors())
def test_a_recorded_error_means_what_its_status_says(recording: Recording) -> None:
    kinds = {400: errors.UpstreamRefused, 429: errors.OutOfCredit}
    error = FORMAT.decode_error(recording.status, recording.response)
    assert type(error) is kinds[recording.status]
    assert error.upstream_status == recording.status
    assert openai_spec().errors("ErrorResponse", json.loads(FORMAT.encode_error(error))) == []


# ---- requests: their JSON → our words


def test_input_may_be_a_text() -> None:
    assert understood().messages == (HELLO,)
    assert FORMAT.peek(b'{"input":"Hello"}').messages == 1


def test_instructions_are_what_the_system_says_first() -> None:
    assert understood(instructions="Be brief.").messages == (Message("system", (Text("Be brief."),)), HELLO)


@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
@pytest.mark.parametrize("kind", [{}, {"type": "message"}])
def test_a_message_may_be_said_by_anyone(role: Any, kind: dict[str, str]) -> None:
    assert items({**kind, "role": role, "content": "Hi"}) == (Message(role, (Text("Hi"),)),)


PNG = "data:image/png;base64,iVBORw=="
CONTENTS = {
    "text": ({"type": "input_text", "text": "a"}, Text("a")),
    "image as data": ({"type": "input_image", "image_url": PNG}, Media("image", "image/png", data="iVBORw==")),
    "image by address": (
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "high"},
        Media("image", url="https://x/y.png", detail="high"),
    ),
    "image by id": ({"type": "input_image", "file_id": "file_1", "image_url": None}, Media("image", file_id="file_1")),
    "file as data": (
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        Media("document", "application/pdf", data="JVBE", name="a.pdf"),
    ),
    "file as bare data": (
        {"type": "input_file", "filename": "a.pdf", "file_data": "JVBE"},
        Media("document", "application/pdf", data="JVBE", name="a.pdf"),
    ),
    "file by address": ({"type": "input_file", "file_url": "https://x/a"}, Media("document", url="https://x/a")),
    "file by id": ({"type": "input_file", "file_id": "file_1"}, Media("document", file_id="file_1")),
    "sound": (
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        Media("audio", "audio/wav", data="UklG"),
    ),
}


@pytest.mark.parametrize(("told", "part"), CONTENTS.values(), ids=CONTENTS)
def test_contents_of_a_message_are_parts_and_are_told_again(told: dict[str, Any], part: Part) -> None:
    assert items({"role": "user", "content": [told, {"type": "input_text", "text": "b"}]})[0].parts[0] == part
    again = asked(Message("user", (part, Text("b"))))
    assert FORMAT.decode_request(json.dumps(again).encode()).messages[0].parts[0] in (
        part, structs.replace(part, detail="auto") if isinstance(part, Media) else part,
    )  # fmt: skip
    assert dropped(Message("user", (part,))) == ()


def test_a_content_that_only_this_format_knows_is_opaque_in_its_place() -> None:
    content = [{"type": "input_hologram", "x": 1}, {"type": "input_text", "text": "b"}]
    (turn,) = items({"role": "user", "content": content})
    assert isinstance(turn.parts[0], Opaque)
    assert asked(turn)["input"][0]["content"] == content


def test_calls_and_their_results_are_turns_of_the_assistant_and_its_tools() -> None:
    turns = items(
        {"role": "user", "content": "Hi"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "z",
        },
        {"type": "message", "role": "assistant", "id": "msg_1", "phase": "commentary", "content": [said("Let me see")]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [CONTENTS["image as data"][0]]},
    )
    assert comparable(turns) == comparable(
        (
            Message("user", (Text("Hi"),)),
            Message(
                "assistant",
                (
                    Reasoning("hm", signature="rs_1", protocol=NAME),
                    Reasoning(encrypted="z", signature="rs_1", protocol=NAME),
                    Text("Let me see", extra=own({"phase": "commentary"})),
                    ToolUse("c1", "f", '{"a":1}'),
                    ToolUse("c2", "g", "{}"),
                ),
            ),
            Message("tool", (ToolResult("c1", (Text("1"),)), ToolResult("c2", (CONTENTS["image as data"][1],)))),
        )
    )
    told = asked(*turns)["input"]
    assert [item["type"] for item in told] == [
        "message", "reasoning", "message", "function_call", "function_call", "function_call_output",
        "function_call_output",
    ]  # fmt: skip
    assert told[1] == {
        "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "z",
    }  # fmt: skip
    assert told[2] == {"type": "message", "role": "assistant", "content": "Let me see", "phase": "commentary"}


def test_a_custom_tools_call_has_a_text_for_its_arguments_and_its_result_a_type_of_its_own() -> None:
    turns = items(
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "patch", "input": 'say "hi"\n'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    )
    (call,) = turns[0].parts
    assert isinstance(call, ToolUse)
    assert json.loads(call.arguments) == {"input": 'say "hi"\n'}
    assert asked(*turns)["input"] == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'say "hi"\n'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    ]


OURS = [
    "web_search_call", "file_search_call", "computer_call", "code_interpreter_call", "image_generation_call",
    "local_shell_call", "shell_call", "apply_patch_call", "mcp_list_tools", "mcp_approval_request", "mcp_call",
    "tool_search_call", "something_new",
]  # fmt: skip
THEIRS = [
    "computer_call_output", "local_shell_call_output", "shell_call_output", "apply_patch_call_output",
    "mcp_approval_response", "tool_search_output",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "role"), [(kind, "assistant") for kind in OURS] + [(kind, "tool") for kind in THEIRS])
def test_an_item_that_only_this_format_knows_is_opaque_in_its_place(kind: str, role: str) -> None:
    item = {"type": kind, "id": "x_1", "call_id": None, "output": {"a": [1]}, "arguments": {"b": 2}, "content": 5}
    turns = items({"role": "user", "content": "Hi"}, item, {"role": "user", "content": "And?"})
    assert [turn.role for turn in turns] == ["user", role, "user"]
    assert comparable(turns[1].parts) == comparable((own(item),))
    assert asked(*turns)["input"][1] == item
    for other in (OpenAIChat(), AnthropicMessages()):
        assert kind in other.encode_request(Request(MODEL, turns), default_max_tokens=9).dropped


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"input": [{"role": "user", "content": "a"}, {"type": "item_reference", "id": "msg_1"}]}, "input[1]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": None, "prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
def test_what_a_server_would_have_to_remember_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        understood(**fields)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")


def test_what_asks_for_no_memory_is_taken() -> None:
    request = understood(previous_response_id=None, conversation=None, background=False, store=True)
    assert set(request.extra) == {"store"}
    assert FORMAT.encode_request(request, default_max_tokens=1).dropped == ("store",)


REFUSED = {
    "no input": ({"input": None}, "input"),
    "input of a kind": ({"input": 5}, "input"),
    "an item that is none": ({"input": [5]}, "input[0]"),
    "a role": ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
    "no role": ({"input": [{"type": "message", "content": "a"}]}, "input[0].role"),
    "no type": ({"input": [{"content": "a"}]}, "input[0].type"),
    "content": ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
    "a content without text": (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text",
    ),
    "an image without one": (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url",
    ),
    "a call without a name": ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
    "a result of nothing": ({"input": [{"type": "function_call_output", "output": "a"}]}, "input[0].call_id"),
    "output": ({"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]}, "input[0].output"),
    "a tool without a name": ({"tools": [{"type": "function"}]}, "tools[0].name"),
    "tool choice": ({"tool_choice": "sometimes"}, "tool_choice"),
    "format": ({"text": {"format": {"type": "xml"}}}, "text.format"),
    "format of a kind": ({"text": {"format": 5}}, "text.format"),
    "tokens": ({"max_output_tokens": "many"}, "max_output_tokens"),
    "temperature": ({"temperature": "hot"}, "temperature"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED)
def test_a_request_that_is_wrong_is_refused_by_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        understood(**fields)
    assert refused.value.param == param


def test_peeking_wants_an_input_or_another_place_for_it() -> None:
    for body in (b'{"input":5}', b"{}", b'{"input":[5]}', b'{"Input":"a"}', b"[]", b"", b'{"input":"\xff"}'):
        with pytest.raises(errors.InvalidRequest):
            FORMAT.peek(body)
    assert FORMAT.peek(b'{"previous_response_id":"resp_1","max_output_tokens":5}').max_tokens == 5
    assert FORMAT.peek(b'{"prompt":{"id":"p"}}').messages == 0


def test_characters_are_those_of_texts() -> None:
    body = {
        "instructions": "abc",
        "input": [{"role": "user", "content": [CONTENTS["image as data"][0], {"type": "input_text", "text": "defg"}]}],
    }
    assert FORMAT.characters(FORMAT.peek(json.dumps(body).encode())) == 7
    for mine, count in (("fairlead:gemini:beside:x", 24), ("gAAAAA", 0)):  # what is carried for others may be text
        thought = {"type": "reasoning", "summary": [], "encrypted_content": mine}
        assert FORMAT.characters(FORMAT.peek(json.dumps({"input": [thought]}).encode())) == count
    with pytest.raises(errors.InvalidRequest):
        FORMAT.characters(FORMAT.peek(b'{"input":[{"role":1e999}]}'))


def test_settings_are_words() -> None:
    schema = {"type": "object"}
    request = understood(
        max_output_tokens=100, temperature=0.5, top_p=0.9, stream=True, user="u", service_tier="flex",
        parallel_tool_calls=False, reasoning={"effort": "low", "summary": "auto"}, metadata={"a": "b"}, include=["x"],
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}, "verbosity": "low"},
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True}],
        top_logprobs=2, truncation="auto", prompt_cache_key="k", safety_identifier="s", max_tool_calls=3,
        stream_options={"include_obfuscation": False}, prompt={"id": "p"}, background=False,
    )  # fmt: skip
    assert (request.max_tokens, request.temperature, request.top_p, request.stream) == (100, 0.5, 0.9, True)
    assert (request.user, request.service_tier, request.parallel_tool_calls) == ("u", "flex", False)
    assert request.thinking == Thinking(True, "low", summary="auto")
    assert comparable(request.response_format) == comparable(ResponseFormat("json_schema", "n", raw(schema), True))
    assert comparable(request.tools) == comparable((Tool("f", "d", raw(schema), True),))
    assert comparable({name: each.raw for name, each in request.extra.items()}) == {
        "metadata": {"a": "b"}, "include": ["x"], "text": {"verbosity": "low"},
        "top_logprobs": 2, "truncation": "auto", "prompt_cache_key": "k", "safety_identifier": "s",
        "max_tool_calls": 3, "stream_options": {"include_obfuscation": False}, "prompt": {"id": "p"},
    }  # fmt: skip
    told = json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)
    assert told["text"]["verbosity"] == "low"
    assert told["text"]["format"]["name"] == "n"
    assert told["reasoning"] == {"summary": "auto", "effort": "low"}
    assert told["include"] == ["x", "reasoning.encrypted_content"]
    assert told["tools"][0]["strict"] is True


def test_a_format_of_any_json_and_no_thinking_are_words() -> None:
    request = understood(text={"format": {"type": "json_object"}}, reasoning={"effort": "none"})
    assert request.response_format == ResponseFormat("json_object")
    assert request.thinking == Thinking(False, "none")
    assert understood(text={"format": {"type": "text"}}, reasoning={"effort": None}).extra == {}


FUNCTIONS = [{"type": "function", "name": name, "parameters": {}} for name in "fg"]
SEARCH = {"type": "web_search", "search_context_size": "low"}
PATCH = {"type": "custom", "name": "patch", "format": {"type": "text"}}


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "custom", "name": "patch"}, ToolChoice("named", "patch")),
    ],
)
def test_a_tool_choice_is_a_word_and_is_told_again(choice: Any, word: ToolChoice) -> None:
    request = understood(tools=[*FUNCTIONS, PATCH], tool_choice=choice)
    assert request.tool_choice == word
    assert json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)["tool_choice"] == choice


@pytest.mark.parametrize("choice", [{"type": "web_search"}, {"type": "mcp", "server_label": "x", "name": "y"}])
def test_a_tool_choice_that_only_this_format_knows_stays(choice: Any) -> None:
    request = understood(tools=[*FUNCTIONS, SEARCH], tool_choice=choice)
    assert request.tool_choice is None
    told = json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)
    assert told["tool_choice"] == choice
    assert told["tools"][2] == SEARCH
    others = OpenAIChat().encode_request(request, default_max_tokens=1).dropped
    assert {"tool_choice", "web_search"} <= set(others)


def test_a_custom_tool_is_a_function_of_one_text_to_others() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    custom = {"type": "custom", "name": "patch", "description": "d", "format": grammar}
    request = understood(tools=[custom], tool_choice={"type": "custom", "name": "patch"})
    (tool,) = request.tools
    assert isinstance(tool, Tool)
    assert json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)["tools"] == [custom]
    for other in (OpenAIChat(), AnthropicMessages()):
        encoded = other.encode_request(request, default_max_tokens=1)
        assert b"start: A" in encoded.body
        assert encoded.dropped == ("custom",)
    response = Response("resp_1", "m", (ToolUse("c", "patch", '{"input": "hi"}'),), "tool_use")
    for found in (json.loads(FORMAT.encode_response(response, request)), told_by_events(tell(response), request)):
        (call,) = found["output"]
        assert (call["type"], call["input"], call["call_id"]) == ("custom_tool_call", "hi", "c")
        assert found["tools"] == [custom]
        assert openai_spec().errors("Response", found) == []
    check_order(told(tell(response), request))


def test_what_this_format_says_of_a_function_stays() -> None:
    function = {**FUNCTIONS[0], "defer_loading": True, "strict": True}
    request = understood(tools=[function])
    assert json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)["tools"] == [function]
    assert AnthropicMessages().encode_request(request, default_max_tokens=1).dropped == ("defer_loading",)


def test_encrypted_thoughts_are_no_wish_that_others_cannot_grant() -> None:
    request = understood(include=["reasoning.encrypted_content"])
    assert json.loads(FORMAT.encode_request(request, default_max_tokens=1).body)["include"] == [
        "reasoning.encrypted_content"
    ]
    assert AnthropicMessages().encode_request(request, default_max_tokens=1).dropped == ()


def test_allowed_tools_are_all_that_are_shown() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    request = understood(tools=[*FUNCTIONS, SEARCH], tool_choice=allowed)
    assert [getattr(tool, "name", "") for tool in request.tools] == ["g"]
    assert request.tool_choice == ToolChoice("required")
    allowed["tools"] = [{"type": "web_search"}]
    assert [type(tool) for tool in understood(tools=[*FUNCTIONS, SEARCH], tool_choice=allowed).tools] == [Opaque]
    allowed["tools"] = [{"type": "function", "name": "nobody's"}]
    with pytest.raises(errors.InvalidRequest, match="none of those in 'tools'"):
        understood(tools=[*FUNCTIONS, SEARCH], tool_choice=allowed)


def test_a_cache_mark_is_everybodys_and_returns_as_it_came() -> None:
    content = [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]
    (turn,) = items({"role": "user", "content": content})
    (part,) = turn.parts
    assert isinstance(part, Text)
    assert comparable(part.cache) == {"type": "ephemeral"}
    assert asked(turn)["input"][0]["content"] == content
    assert dropped(turn) == ()
    assert dropped(Message("user", (Text("a", cache=raw({"type": "ephemeral"})),))) == ("cache_control",)


# ---- requests: our words → their JSON


def test_what_the_system_says_first_are_instructions() -> None:
    told = asked(Message("system", (Text("a"), Text("b"))), Message("developer", (Text("c"),)), HELLO)
    assert told["instructions"] == "a\n\nb"
    assert [item["role"] for item in told["input"]] == ["developer", "user"]


def test_nothing_is_stored_and_functions_are_not_strict_unless_asked() -> None:
    told = asked(HELLO, tools=(Tool("f"), Tool("g", strict=True)), max_tokens=1)
    assert told["store"] is False
    assert [tool["strict"] for tool in told["tools"]] == [False, True]
    assert told["tools"][0]["parameters"] == {"type": "object", "properties": {}}
    assert told["max_output_tokens"] == 16
    assert "include" not in told


def test_who_thinks_tells_its_thoughts_encrypted() -> None:
    for wish, effort in ((Thinking(budget_tokens=1024), "low"), (Thinking(effort="high"), "high")):
        told = asked(HELLO, thinking=wish)
        assert told["reasoning"] == {"effort": effort}
        assert told["include"] == ["reasoning.encrypted_content"]
    assert "reasoning" not in asked(HELLO, thinking=Thinking(False))


def test_a_result_may_hold_texts_and_media() -> None:
    result = ToolResult(
        "c", (Text("a"), Media("image", "image/png", data="eA=="), Media("audio", "audio/wav", data="eA=="))
    )
    told = asked(HELLO, Message("assistant", (ToolUse("c", "f"),)), Message("tool", (result,)))["input"]
    assert [part["type"] for part in told[2]["output"]] == ["input_text", "input_image"]
    assert told[3]["content"] == [{"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]


def test_a_long_id_is_the_same_short_one_in_a_call_and_its_result() -> None:
    id = "x" * 100
    told = asked(HELLO, Message("assistant", (ToolUse(id, "f"),)), Message("tool", (ToolResult(id),)))["input"]
    assert told[1]["call_id"] == told[2]["call_id"]
    assert len(told[1]["call_id"]) <= 64


def test_what_cannot_be_said_is_named() -> None:
    result = ToolResult("c", (Text("a"),), is_error=True)
    assert dropped(
        HELLO,
        Message("assistant", (Reasoning("hm", "s", protocol="anthropic-messages"), ToolUse("c", "f"))),
        Message("tool", (result,)),
        Message("user", (Text("b"),), name="bob"),
        top_k=5, seed=1, stop=("x",), frequency_penalty=0.5, presence_penalty=0.0, service_tier="standard_only",
        tools=(
            Opaque("anthropic-messages", raw({"type": "bash_20250124"})), Tool("f", cache=raw({"type": "ephemeral"})),
        ),
        extra={"logit_bias": Opaque("openai-chat", raw({"5": 1}))},
    ) == tuple(sorted([
        "reasoning", "is_error", "name", "top_k", "seed", "stop", "frequency_penalty", "service_tier",
        "bash_20250124", "cache_control", "logit_bias",
    ]))  # fmt: skip


def test_what_chat_completions_call_by_the_same_name_is_told() -> None:
    extra = {
        name: Opaque("openai-chat", raw(value))
        for name, value in {"metadata": {"a": "b"}, "prompt_cache_key": "k", "verbosity": "low"}.items()
    }
    told = asked(HELLO, extra=extra)
    assert (told["metadata"], told["prompt_cache_key"], told["text"]) == ({"a": "b"}, "k", {"verbosity": "low"})
    assert dropped(HELLO, extra=extra) == ()


def test_and_chat_completions_are_told_what_they_call_so() -> None:
    wishes = {"metadata": {"a": "b"}, "prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "flex"}
    request = understood(**wishes, text={"verbosity": "low"}, include=["reasoning.encrypted_content"])
    told = OpenAIChat().encode_request(request, default_max_tokens=9)
    sent = json.loads(told.body)
    assert {name: sent[name] for name in wishes} == wishes
    assert (sent["verbosity"], told.dropped) == ("low", ())
    more = understood(store=True, text={"verbosity": "low", "new": 1}, truncation="auto")
    told = OpenAIChat().encode_request(more, default_max_tokens=9)
    assert told.dropped == ("store", "text", "truncation")  # where words are told again, nothing is kept


def test_a_film_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest):
        asked(Message("user", (Media("video", "video/mp4", data="eA=="),)))


def test_thoughts_go_back_to_whom_they_came_from() -> None:
    sealed = Reasoning(encrypted="z", signature="rs_1", protocol=NAME)
    told = asked(HELLO, Message("assistant", (sealed,)))
    assert told["input"][1] == {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "z"}
    assert told["include"] == ["reasoning.encrypted_content"]
    itself = Reasoning("hm", signature="reasoning_text:rs_2", protocol=NAME)
    assert asked(HELLO, Message("assistant", (itself,)))["input"][1] == {
        "id": "rs_2", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}],
    }  # fmt: skip
    # Of a summary alone nothing is stored that its id would name.
    summary = Message("assistant", (Reasoning("hm", signature="rs_3", protocol=NAME), Text("a")))
    assert len(asked(HELLO, summary)["input"]) == 2
    assert dropped(HELLO, summary) == ("reasoning",)


# ---- a thought of another format, in the client's hands


def test_another_formats_signature_travels_as_encrypted_content() -> None:
    thoughts = (
        Reasoning("hm", signature="c2ln", protocol="anthropic-messages"),
        Reasoning(encrypted="cmVk", protocol="anthropic-messages"),
    )
    told = json.loads(FORMAT.encode_response(Response("resp_1", "m", (*thoughts, Text("a")), "stop")))
    assert told["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    (turn, _) = items(*told["output"], {"role": "user", "content": "b"})
    assert turn.parts == (*thoughts, Text("a"))
    again = told_by_events(tell(Response("resp_1", "m", (*thoughts, Text("a")), "stop")))
    assert [item["encrypted_content"] for item in again["output"][:2]] == [
        item["encrypted_content"] for item in told["output"][:2]
    ]


def test_a_provider_of_this_format_does_not_see_another_formats_thoughts() -> None:
    told = json.loads(
        FORMAT.encode_response(
            Response("r", "m", (Reasoning("hm", signature="s", protocol="anthropic-messages"), Text("a")), "stop")
        )
    )
    body = {"model": "m", "input": [{"role": "user", "content": 'x "fairlead:" y'}, *told["output"]]}
    taken = FORMAT.peek(json.dumps(body).encode())
    sent = json.loads(FORMAT.patch(taken, "n", drop=frozenset(), ask_usage=False, default_max_tokens=1))
    assert sent["input"] == [body["input"][0], body["input"][2]]


# ---- answers


def told_by_events(events: Iterable[Event], request: Request | None = None) -> dict[str, Any]:
    last = payloads(told(events, request))[-1]
    found: dict[str, Any] = last["response"]
    return found


@pytest.mark.parametrize(
    ("fields", "output", "reason"),
    [
        ({}, [message(said("a"))], "stop"),
        ({"status": "complete"}, [message(said("a"))], "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, [], "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, [], "content_filter"),
        ({"status": "incomplete", "incomplete_details": None}, [], "length"),
        ({}, [message({"type": "refusal", "refusal": "No."})], "refusal"),
        ({}, [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}], "tool_use"),
        ({"status": "in_progress"}, [], None),
        ({"status": "queued"}, [], None),
    ],
)
def test_why_an_answer_ended(fields: Any, output: list[Any], reason: str | None) -> None:
    assert answer(*output, **fields).finish_reason == reason


def test_a_refusal_is_a_text_that_stays_one() -> None:
    response = answer(message({"type": "refusal", "refusal": "No."}))
    (part,) = response.parts
    assert isinstance(part, Text)
    assert (part.text, part.refusal) == ("No.", True)
    for again in (json.loads(FORMAT.encode_response(response)), told_by_events(tell(response))):
        assert again["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
        assert again["status"] == "completed"


def test_arguments_may_be_an_object_or_nothing() -> None:
    calls = [{"type": "function_call", "call_id": "c", "name": "f", "arguments": each} for each in ({"a": 1}, "", None)]
    assert [part.arguments for part in answer(*calls).parts if isinstance(part, ToolUse)] == ['{"a": 1}', "{}", "{}"]


def test_custom_tools_that_nobody_declared_are_the_providers() -> None:
    call = {"type": "custom_tool_call", "call_id": "c", "name": "x_keyword_search", "input": "a"}
    assert isinstance(answer(call).parts[0], ToolUse)
    assert isinstance(answer(call, tools=[PATCH]).parts[0], ToolUse)
    assert isinstance(answer(call, tools=[{"type": "x_search"}]).parts[0], Opaque)
    assert isinstance(answer(call, tools=[{"type": ["custom"]}]).parts[0], Opaque)


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"{}", b'{"output":5}', b"\xff", b'{"output":[{"'])
def test_what_is_no_answer_is_broken(body: bytes) -> None:
    for read in (FORMAT.decode_response, FORMAT.summary):
        with pytest.raises(errors.UpstreamBroken):
            read(body)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": "x"}, errors.UpstreamBroken),
        ({"code": "rate_limit_exceeded", "message": "x"}, errors.RateLimited),
        ({"code": "insufficient_quota", "message": "x"}, errors.OutOfCredit),
        ({"code": "invalid_prompt", "message": "x"}, errors.UpstreamRefused),
        ({"code": "image_too_large", "message": "x"}, errors.UpstreamRefused),
        ({"code": "image_content_policy_violation", "message": "x"}, errors.ContentPolicyViolation),
        ({"code": "vector_store_timeout", "message": "x"}, errors.UpstreamTimeout),
        ({"code": 5, "message": []}, errors.UpstreamBroken),
        ("x", errors.UpstreamBroken),
    ],
)
def test_an_answer_that_failed_is_an_error(error: Any, kind: type[Exception]) -> None:
    body = {**ANSWER, "status": "failed", "error": error}
    for read in (FORMAT.decode_response, FORMAT.summary):
        with pytest.raises(kind):
            read(json.dumps(body).encode())
    opened = event("response.created", response=ANSWER)
    nested = error if isinstance(error, dict) else {"message": error}
    for last in (
        event("response.failed", response=body), event("error", error=error), event("error", **nested),
        b"data: %b\n\n" % json.dumps({"type": "error", **nested}).encode(),
        b"event: error\ndata: %b\n\n" % json.dumps({"error": error}).encode(),
    ):  # fmt: skip
        with pytest.raises(kind):
            heard([opened, last])
        reader = FORMAT.stream_reader()
        reader.see(opened)
        with pytest.raises(kind):
            reader.see(last)


# ---- streams


def stream_of(*events: bytes, output: Iterable[Any] = (), **fields: Any) -> list[bytes]:
    completed = {**ANSWER, "output": list(output), **fields}
    opened = event("response.created", response={**ANSWER, "status": "in_progress"})
    return [opened, *events, event("response.completed", response=completed)]


def added(number: int, item: Any) -> bytes:
    return event("response.output_item.added", output_index=number, item=item)


def done(number: int, item: Any) -> bytes:
    return event("response.output_item.done", output_index=number, item=item)


def delta(kind: str, text: str, number: int = 0, **fields: Any) -> bytes:
    return event(f"response.{kind}.delta", output_index=number, delta=text, item_id="x", **fields)


def parts(*events: bytes, **fields: Any) -> tuple[Part, ...]:
    return fold(heard(stream_of(*events, **fields))).parts


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": ""}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "patch", "input": ""}


def test_a_part_that_was_not_told_in_deltas_is_told_at_its_end() -> None:
    assert parts(added(0, message()), done(0, message(said("Hello")))) == (Text("Hello"),)
    assert parts(added(0, CALL), done(0, {**CALL, "arguments": '{"a":1}'})) == (ToolUse("c", "f", '{"a":1}'),)
    whole = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert parts(added(0, {**whole, "summary": []}), done(0, whole)) == (Reasoning("hm", "rs_1", protocol=NAME),)
    assert parts(output=[message(said("Hello"))]) == (Text("Hello"),)
    assert comparable(parts(done(0, {**CUSTOM, "input": "a"}))) == comparable(
        (ToolUse("c", "patch", '{"input":"a"}', extra=own({"custom_tool_call": True})),)
    )


def test_a_part_that_was_told_in_deltas_is_not_told_again() -> None:
    assert parts(
        added(0, message()), delta("output_text", "Hel", content_index=0), delta("output_text", "lo", content_index=0),
        event("response.content_part.done", output_index=0, content_index=0, part=said("Hello")),
        done(0, message(said("Hello"))), done(0, message(said("Hello"))), output=[message(said("Hello"))],
    ) == (Text("Hello"),)  # fmt: skip
    assert parts(
        added(0, CALL), delta("function_call_arguments", "{}"), done(0, {**CALL, "arguments": "{}"})
    ) == (ToolUse("c", "f", "{}"),)  # fmt: skip


def test_items_may_come_at_the_same_time() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    text = {"type": "reasoning_text", "text": "hm"}
    assert parts(
        added(0, thought), delta("reasoning_text", "h", 0, content_index=0), added(1, message()),
        delta("output_text", "4", 1, content_index=0), delta("reasoning_text", "m", 0, content_index=0),
        done(1, message(said("4"))), done(0, {**thought, "content": [text]}),
    ) == (Reasoning("hm", "reasoning_text:rs_1", protocol=NAME), Text("4"))  # fmt: skip


def test_pieces_of_a_summary_are_paragraphs() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    whole = {**thought, "summary": [{"type": "summary_text", "text": each} for each in ("a", "", "bc")]}
    events = [
        added(0, thought), delta("reasoning_summary_text", "a", summary_index=0),
        delta("reasoning_summary_text", "b", summary_index=2), delta("reasoning_summary_text", "c", summary_index=2),
        done(0, {**whole, "encrypted_content": "z"}),
    ]  # fmt: skip
    assert parts(*events) == answer({**whole, "encrypted_content": "z"}).parts == (
        Reasoning("a\n\nbc", "rs_1", protocol=NAME),
        Reasoning(encrypted="z", signature="rs_1", protocol=NAME),
    )  # fmt: skip


def test_a_custom_tools_input_is_told_as_it_comes() -> None:
    events = heard(
        stream_of(
            added(0, CUSTOM), delta("custom_tool_call_input", 'a"'), delta("custom_tool_call_input", "\n"),
            done(0, {**CUSTOM, "input": 'a"\n'}),
        )
    )  # fmt: skip
    assert [each.text for each in events if isinstance(each, PartDelta)] == ['{"input":"a\\"', "\\n", '"}']
    stream = payloads(told(events))
    assert [(each["type"], each.get("delta")) for each in stream if "custom_tool" in each["type"]] == [
        ("response.custom_tool_call_input.delta", 'a"\n'), ("response.custom_tool_call_input.done", None),
    ]  # fmt: skip
    assert stream[-1]["response"]["output"][0]["input"] == 'a"\n'


def test_citations_and_probabilities_are_told_once() -> None:
    cited = {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}
    probable = [{"token": "Hi", "logprob": -0.5, "bytes": [], "top_logprobs": []}]
    events = [
        added(0, message()), delta("output_text", "Hi", content_index=0),
        event("response.output_text.annotation.added", output_index=0, content_index=0, annotation=cited),
        event("response.output_text.done", output_index=0, content_index=0, text="Hi", logprobs=probable),
        done(0, message(said("Hi", annotations=[cited, {**cited, "end_index": 1}], logprobs=probable))),
    ]  # fmt: skip
    (part,) = parts(*events)
    assert isinstance(part, Text)
    assert [(each.url, each.title, each.start, each.end) for each in part.citations] == [
        ("https://x", "X", 0, 2), ("https://x", "X", 0, 1),
    ]  # fmt: skip
    content = told_by_events(heard(stream_of(*events)))["output"][0]["content"][0]
    assert content == said("Hi", annotations=[cited, {**cited, "end_index": 1}], logprobs=probable)


@pytest.mark.parametrize(
    "odd",
    [
        event("response.something_new", delta={"a": 1}, item=5, output_index="x"),
        event("response.web_search_call.searching", output_index=0, item_id="ws"),
        event("response.shell_call_command.delta", output_index=0, delta=["ls"]),
        event("codex.rate_limits", delta=5),
        delta("output_text", "late", 7, content_index=0) and event("response.output_text.delta", output_index=0),
        delta("function_call_arguments", "{}", 3),
        event("response.content_part.done", output_index=9, part=said("x")),
        b": ping\n\n",
        b"event: ping\ndata: \n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_what_we_do_not_know_is_skipped(odd: bytes) -> None:
    rest = [added(0, message()), delta("output_text", "a", content_index=0), done(0, message(said("a")))]
    assert parts(odd, *rest) == parts(*rest, odd) == (Text("a"),)
    assert FORMAT.stream_reader().see(odd) == (CONTENT if b"function_call" in odd else 0)


def test_a_stream_that_is_cut_off_is_broken() -> None:
    events = stream_of(added(0, message()), delta("output_text", "a", content_index=0))[:-1]
    for ending in ([], [b"data: [DONE]\n\n"]):
        with pytest.raises(errors.UpstreamBroken) as broken:
            heard([*events, *ending])
        assert broken.value.outcome_unknown


@pytest.mark.parametrize(
    "bad", [b"data: <html>\n\n", b"data: 5\n\n", b'data: {"type":5}\n\n', b'data: {"a":"\xff"}\n\n']
)
def test_what_is_no_event_is_broken(bad: bytes) -> None:
    with pytest.raises(errors.UpstreamBroken):
        heard([bad])
    with pytest.raises(errors.UpstreamBroken):
        FORMAT.stream_reader().see(bad)


def test_reading_along_commits_at_the_first_content() -> None:
    reader = FORMAT.stream_reader()
    search = {"type": "web_search_call", "id": "ws"}
    events = [
        (event("response.created", response=ANSWER), 0),
        (added(0, {"type": "reasoning", "id": "rs", "summary": []}), 0),
        (added(1, message()), 0),
        (delta("output_text", "", 1), 0),
        (delta("output_text", "a", 1), CONTENT),
        (delta("output_text", "b", 1), 0),
        (event("response.incomplete", response={**ANSWER, "incomplete_details": {"reason": "x"}}), CONTENT | DONE),
    ]
    assert [reader.see(each) for each, _ in events] == [flags for _, flags in events]
    assert reader.summary.finish_reason == "x"
    assert FORMAT.stream_reader().see(added(0, search)) == CONTENT
    assert FORMAT.stream_reader().see(added(0, CALL)) == CONTENT


# ---- what clients are told


def check_order(stream: bytes, *, sdk: bool = True) -> None:
    """What holds of every stream: numbers, places and ids, each item and content begun once and ended once; and the
    official SDK makes the same answer of it."""
    events = payloads(stream)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert [each["type"] for each in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last["type"] in ("response.completed", "response.incomplete")
    assert {each["response"]["id"] for each in events if "response" in each} == {last["response"]["id"]}
    opened: dict[int, Any] = {}
    texts: dict[tuple[int, str, int], list[str]] = {}
    ended: dict[int, Any] = {}
    for each in events:
        number = each.get("output_index")
        if each["type"] == "response.output_item.added":
            assert number == len(opened)
            opened[number] = each["item"]
        elif each["type"] == "response.output_item.done":
            assert number not in ended
            ended[number] = each["item"]
            assert each["item"]["type"] == opened[number]["type"]
            assert each["item"].get("id") == opened[number].get("id")
        elif number is not None:
            assert number in opened
            assert number not in ended
            assert each["item_id"] == opened[number]["id"]
        if each["type"].endswith(".delta"):
            place = each.get("content_index", each.get("summary_index", 0))
            texts.setdefault((number, each["type"].removesuffix(".delta"), place), []).append(each["delta"])
        elif each["type"].endswith(".done") and (kind := each["type"].removesuffix(".done")) in {
            k for _, k, _ in texts
        }:
            place = each.get("content_index", each.get("summary_index", 0))
            whole = each.get("text", each.get("arguments", each.get("input", each.get("refusal"))))
            assert "".join(texts[number, kind, place]) == whole
    assert list(opened) == sorted(ended)
    assert [ended[number] for number in sorted(ended)] == last["response"]["output"]
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    for each in events if sdk else ():
        state.handle_event(SDK_EVENT.validate_python(each))


EVERYTHING = Response(
    "resp_1",
    "m",
    (
        Reasoning("thought itself"),
        Reasoning("signed", signature="c2ln", protocol="anthropic-messages"),
        Reasoning(encrypted="cmVk", protocol="anthropic-messages"),
        Reasoning("summary", signature="rs_1", protocol=NAME),
        Reasoning(encrypted="eg==", signature="rs_1", protocol=NAME),
        Text("Hello ", citations=(Citation("https://x", "X", "quote", 0, 5), Citation(title="a book"))),
        Text("you", citations=(Citation("https://y"),)),
        ToolUse("c1", "f", '{"a":1}'),
        ToolUse("c2", "patch", '{"input":"hi"}', extra=own({"custom_tool_call": True})),
        Media("image", "image/png", data="eA=="),
        Opaque("anthropic-messages", raw({"type": "server_tool_use"})),
        own(
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
        ),
        ToolUse("c3", "g", "{}"),
    ),
    "tool_use",
    Usage(100, 50, cached_tokens=20, cache_write_tokens=10, reasoning_tokens=30),
    created=1_700_000_000,
)


def test_a_whole_answer_says_everything() -> None:
    request = understood(
        instructions="Be brief.", tools=[*FUNCTIONS, SEARCH], tool_choice={"type": "computer"}, temperature=0.5,
        max_output_tokens=99, reasoning={"effort": "low", "summary": "auto"}, metadata={"a": "b"}, user="u",
        text={"verbosity": "low"}, parallel_tool_calls=False, truncation="auto", store=True,
    )  # fmt: skip
    found = json.loads(FORMAT.encode_response(EVERYTHING, request))
    assert openai_spec().errors("Response", found) == []
    SdkResponse.model_validate(found)
    assert [item["type"] for item in found["output"]] == [
        "reasoning", "reasoning", "reasoning", "reasoning", "message", "function_call", "custom_tool_call",
        "image_generation_call", "web_search_call", "function_call",
    ]  # fmt: skip
    assert found["output"][0]["content"] == [{"type": "reasoning_text", "text": "thought itself"}]
    assert found["output"][3] == {
        "id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "summary"}],
        "encrypted_content": "eg==",
    }  # fmt: skip
    first, second = found["output"][4]["content"]
    assert first["annotations"] == [
        {"type": "url_citation", "start_index": 0, "end_index": 5, "url": "https://x", "title": "X"},
        {"type": "file_citation", "file_id": "", "filename": "a book", "index": 6},
    ]
    assert second["annotations"][0]["end_index"] == 3
    assert found["usage"] == {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 10},
        "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 150,
    }  # fmt: skip
    assert {
        "instructions": "Be brief.", "store": False, "temperature": 0.5, "max_output_tokens": 99, "top_p": None,
        "reasoning": {"effort": "low", "summary": "auto"}, "metadata": {"a": "b"}, "user": "u", "background": False,
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "parallel_tool_calls": False, "truncation": "auto",
        "tool_choice": {"type": "computer"}, "previous_response_id": None, "status": "completed", "error": None,
        "created_at": 1_700_000_000,
    }.items() <= found.items()  # fmt: skip
    assert [tool["type"] for tool in found["tools"]] == ["function", "function", "web_search"]


def test_a_stream_says_what_the_whole_answer_says() -> None:
    for request in (None, understood(tools=FUNCTIONS)):
        stream = told(tell(EVERYTHING), request)
        check_order(stream)
        assert openai_spec().stream_errors("ResponseStreamEvent", stream.decode()) == []
        whole = json.loads(FORMAT.encode_response(EVERYTHING, request))
        last = payloads(stream)[-1]["response"]
        same_time = {"completed_at": whole["completed_at"]}
        assert {**last, **same_time} == whole
        # What another format's thought is called comes after it began; so does what it proves.
        assert last["output"] == whole["output"]


@pytest.mark.parametrize("reason", ["stop", "length", "refusal", "tool_use"])
@pytest.mark.parametrize(
    "parts",
    [
        (), (Text(""),), (Text("a"), Text(""), Text("b")), (Text("a"), ToolUse("c", "f", ""), Text("b"), Text("c")),
        (ToolUse("c", "f", '{"a":1}'), ToolUse("d", "g")), (Text("a"), Text("b"), ToolUse("c", "f")),
        (ToolUse("c", "patch", '{"input":"hi"}'), Text("a")),
    ],
)  # fmt: skip
def test_an_answer_of_texts_and_calls_alone_is_whole_what_its_events_end_with(parts: Any, reason: Any) -> None:
    request = understood(tools=[*FUNCTIONS, {"type": "custom", "name": "patch"}])
    response = Response("resp_1", "m", parts, reason, Usage(10, 5), created=1_700_000_000)
    whole = json.loads(FORMAT.encode_response(response, request))
    by_events = told_by_events(tell(response), request)
    assert {**by_events, "completed_at": whole["completed_at"]} == whole


def test_the_order_of_events() -> None:
    response = Response(
        "resp_1", "m",
        (Reasoning("hm", "s", protocol="anthropic-messages"), Reasoning("raw"), Text("Hi"), ToolUse("c", "f")),
        "tool_use",
    )  # fmt: skip
    assert [re.sub("^response.", "", each["type"]) for each in payloads(told(tell(response)))] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None), ("stop_sequence", "completed", None), ("tool_use", "completed", None),
        ("pause", "completed", None), (None, "completed", None), ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"), ("refusal", "incomplete", "content_filter"),
    ],
)  # fmt: skip
def test_how_an_answer_ends(reason: Any, status: str, why: str | None) -> None:
    response = Response("resp_1", "m", (Text("a"),), reason)
    events = payloads(told(tell(response)))
    assert events[-1]["type"] == f"response.{status}"
    for found in (json.loads(FORMAT.encode_response(response)), events[-1]["response"]):
        assert found["status"] == found["output"][0]["status"] == status
        assert found["incomplete_details"] == ({"reason": why} if why else None)
        assert openai_spec().errors("Response", found) == []


def test_parts_that_are_open_at_the_end_are_ended() -> None:
    stream = told([Start("resp_1", "m"), PartStart(0, ToolUse("c", "f", "")), PartDelta(0, '{"a'), Finish("length")])
    check_order(stream)
    assert payloads(stream)[-1]["response"]["output"][0]["status"] == "incomplete"


def test_parts_may_be_told_at_the_same_time() -> None:
    stream = told(
        [
            Start("resp_1", "m"), PartStart(0, Text("")), PartStart(1, Text("")), PartStart(2, ToolUse("c", "f", "")),
            PartDelta(1, "b"), PartDelta(0, "a"), PartDelta(2, "{}"), PartEnd(1), PartEnd(0), PartEnd(2),
            Finish("stop"),
        ]
    )  # fmt: skip
    check_order(stream)
    assert sorted(part.text for part in fold(heard(stream)).parts if isinstance(part, Text)) == ["a", "b"]


def test_an_encoder_lets_go_of_what_it_told() -> None:
    encode = FORMAT.event_encoder(include_usage=True)
    for each in tell(EVERYTHING)[:-1]:
        encode(each)
    assert encode.held > 0
    encode(tell(EVERYTHING)[-1])
    assert encode.held == 0


def test_an_error_ends_a_stream_by_two_events() -> None:
    error = errors.RateLimited("slow down")
    stream = FORMAT.encode_error_event(error)
    assert openai_spec().stream_errors("ResponseStreamEvent", stream.decode()) == []
    first, second = payloads(stream)
    assert (first["type"], first["code"], first["error"]["retryable"]) == ("error", "rate_limit_exceeded", True)
    assert (second["type"], second["response"]["status"]) == ("response.failed", "failed")
    assert second["response"]["error"]["code"] == "rate_limit_exceeded"
    with pytest.raises(errors.RateLimited):
        heard(stream)


def test_an_error_within_a_stream_goes_on_counting() -> None:
    encode: Any = FORMAT.event_encoder(include_usage=True)
    stream = b"".join(encode(each) for each in [Start("resp_1", "m"), PartStart(0, Text("")), PartDelta(0, "a")])
    stream += encode.failed(errors.UpstreamBroken("it is gone"))
    events = payloads(stream)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert events[-1]["response"]["id"] == "resp_1"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert openai_spec().stream_errors("ResponseStreamEvent", stream.decode()) == []


@pytest.mark.parametrize(
    ("other", "recording"),
    [
        pytest.param(other, *found.values, id=found.id, marks=found.marks)
        for other, vendor in ((OpenAIChat(), "openai"), (AnthropicMessages(), "anthropic"))
        for found in recordings(vendor, ["chat_stream"])
    ],
)
def test_another_formats_stream_is_told_in_this_one(other: Any, recording: Recording) -> None:
    decode = other.event_decoder()
    events = [each for raw in [*raw_events(FORMAT, recording.response), b""] for each in decode(raw)]
    stream = told(events)
    check_order(stream)
    assert openai_spec().stream_errors("ResponseStreamEvent", stream.decode()) == []
    one, two = fold(events), fold(heard(stream))
    assert facts_of(one)[0:3] == facts_of(two)[0:3]
    assert one.usage is None or structs.replace(
        one.usage, cache_write_1h_tokens=0, input_audio_tokens=0, output_audio_tokens=0
    ) == two.usage  # fmt: skip


def test_a_stream_that_fails_goes_on_counting() -> None:
    decode, encode = OpenAIChat().event_decoder(), FORMAT.event_encoder(include_usage=True)
    stream = TranslatedStream(decode, encode, id="r", model="m")
    said = stream.feed([b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'])
    events = payloads(said + stream.ended_by(errors.UpstreamBroken("no")))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-1]["response"]["id"] == events[0]["response"]["id"] == "r"


# ---- laws

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
GEMINIS = Opaque("gemini", raw({"thoughtSignature": "c2ln"}))
BESIDE = st.sampled_from([None, own({"phase": "final_answer"}), GEMINIS])
PARTS = st.one_of(
    st.builds(Text, TEXTS, extra=BESIDE, refusal=st.booleans()),
    st.builds(Reasoning, TEXTS),
    st.builds(Reasoning, TEXTS, st.none() | TEXTS, protocol=st.just("anthropic-messages")),
    st.builds(lambda sealed: Reasoning(encrypted=sealed, protocol="gemini"), TEXTS),
    st.builds(lambda sealed: Reasoning(encrypted=sealed, signature="rs", protocol=NAME), TEXTS),
    st.builds(lambda text: ToolUse("c", "f", msgspec.json.encode({"a": text}).decode()), TEXTS),
    st.builds(lambda text: ToolUse("c", "f", msgspec.json.encode({"a": text}).decode(), extra=GEMINIS), TEXTS),
    st.builds(
        lambda text: ToolUse(
            "c", "p", msgspec.json.encode({"input": text}).decode(), extra=own({"custom_tool_call": True})
        ),
        TEXTS,
    ),
)


def numbered(parts: list[Part]) -> tuple[Part, ...]:
    """Thoughts of this format and calls have ids of their own."""
    return tuple(
        structs.replace(part, signature=f"rs_{number}")
        if isinstance(part, Reasoning) and part.signature == "rs" and part.protocol == NAME
        else structs.replace(part, id=f"c{number}")
        if isinstance(part, ToolUse)
        else part
        for number, part in enumerate(parts)
    )


ANSWERS = st.builds(
    Response, st.just("resp_1"), st.just("m"), st.lists(PARTS, max_size=6).map(numbered), st.just("stop")
)


def brought_back(output: list[Any]) -> Any:
    """What a client that keeps the items of an answer says in its next request."""
    (turn,) = items(*output) or (Message("assistant", ()),)
    return comparable(turn.parts)


@settings(max_examples=100)
@given(ANSWERS)
def test_a_client_brings_back_all_that_was_told(response: Response) -> None:
    whole = json.loads(FORMAT.encode_response(response))
    assert brought_back(whole["output"]) == comparable(response.parts)
    stream = told(tell(response))
    check_order(stream)
    last = payloads(stream)[-1]["response"]
    # An addition beside a call comes when the call has begun, or not: it is the same in the end.
    assert brought_back(last["output"]) == comparable(response.parts)
    assert facts_of(fold(heard(stream)))[:3] == facts_of(response)[:3]


def test_what_another_format_keeps_beside_a_part_may_come_late() -> None:
    events = [
        Start("resp_1", "m"), PartStart(0, Text("")), PartDelta(0, "a"), PartDelta(0, extra=GEMINIS), PartEnd(0),
        PartStart(1, ToolUse("c", "f", "")), PartDelta(1, "{}", extra=GEMINIS), PartEnd(1), Finish("tool_use"),
    ]  # fmt: skip
    stream = told(events)
    check_order(stream)
    assert brought_back(payloads(stream)[-1]["response"]["output"]) == comparable(fold(events).parts)
