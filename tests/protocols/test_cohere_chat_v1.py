"""Cohere's first chat: every recorded answer is read, and turns become a message and its history."""

import json
from typing import Any

import pytest
from msgspec import Raw

from fairlead import errors
from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Reasoning,
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
from fairlead.errors import UpstreamBroken
from fairlead.protocols import is_inbound, is_outbound
from fairlead.protocols.cohere_chat_v1 import CohereChatV1
from protocols_outbound import Asking, comparable, raw_events, streamed, told, without_ids
from protocols_recordings import Recording, recordings, whatever_was_asked

FORMAT = CohereChatV1()
NAME = FORMAT.name
MODEL = "command-r-08-2024"
USER = Message("user", (Text("hi"),))
CALL = ToolUse("c1", "look", '{"at":1}')
TOOL = Tool("look", "Looks.", Raw(b'{"type":"object","properties":{"at":{"type":"integer"}},"required":["at"]}'))
asking = Asking(FORMAT, MODEL)
encoded, sent, dropped = asking.encoded, asking.sent, asking.dropped


def test_it_is_a_format_that_only_providers_speak() -> None:
    assert is_outbound(FORMAT)
    assert not is_inbound(FORMAT)
    assert FORMAT.path("m", True) == "/chat"


# ---- requests


def test_a_bare_request() -> None:
    assert sent() == {"model": MODEL, "message": "hi", "stream": False}
    assert dropped() == ()


def test_settings_have_coheres_names() -> None:
    body = sent(max_tokens=9, temperature=0.5, top_p=1.0, top_k=5, seed=7, stop=("a",), stream=True)
    assert {name: body[name] for name in body.keys() - {"model", "message"}} == {
        "max_tokens": 9, "temperature": 0.5, "p": 0.99, "k": 5, "seed": 7, "stop_sequences": ["a"], "stream": True,
    }  # fmt: skip


def test_turns_become_a_message_and_its_history() -> None:
    body = sent(
        Message("system", (Text("Be brief."),)),
        USER,
        Message("assistant", (Text("Hello."),)),
        Message("developer", (Text("Now longer."),)),
        Message("user", (Text("how?"), Media("document", text="d"))),
    )
    assert body["preamble"] == "Be brief."
    assert body["message"] == "how?\n\nd"
    assert body["chat_history"] == [
        {"role": "USER", "message": "hi"},
        {"role": "CHATBOT", "message": "Hello."},
        {"role": "SYSTEM", "message": "Now longer."},
    ]


def test_results_of_tools_find_their_calls_by_id() -> None:
    calls = Message("assistant", (Reasoning("plan"), CALL, ToolUse("c2", "list")))
    results = Message("tool", (ToolResult("c2", (Text('[{"a":1},{"b":2}]'),)), ToolResult("c1", (Text("sunny"),))))
    expected = [
        {"call": {"name": "list", "parameters": {}}, "outputs": [{"a": 1}, {"b": 2}]},
        {"call": {"name": "look", "parameters": {"at": 1}}, "outputs": [{"output": "sunny"}]},
    ]
    body = sent(USER, calls, results)
    assert body["message"] == ""
    assert body["tool_results"] == expected
    assert body["chat_history"] == [
        {"role": "USER", "message": "hi"},
        {
            "role": "CHATBOT",
            "message": "plan",
            "tool_calls": [{"name": "look", "parameters": {"at": 1}}, {"name": "list", "parameters": {}}],
        },
    ]
    body = sent(USER, calls, results, Message("user", (Text("and?"),)))
    assert body["message"] == "and?"
    assert "tool_results" not in body
    assert body["chat_history"][2] == {"role": "TOOL", "tool_results": expected}


def test_an_id_that_comes_again_is_the_later_calls_from_then_on() -> None:
    def turn(at: int) -> tuple[Message, Message]:
        call = ToolUse("c1", "look", json.dumps({"at": at}))
        return Message("assistant", (call,)), Message("tool", (ToolResult("c1", (Text(str(at)),)),))

    body = sent(USER, *turn(1), USER, *turn(2))
    first = next(turn for turn in body["chat_history"] if turn["role"] == "TOOL")
    assert first["tool_results"][0]["call"]["parameters"] == {"at": 1}
    assert body["tool_results"][0]["call"]["parameters"] == {"at": 2}


def test_tools_have_parameters_with_types_of_python() -> None:
    schema = {
        "type": "object", "required": ["s", "l"],
        "properties": {
            "s": {"type": "string", "description": "d", "title": "S"}, "n": {"type": "number"},
            "b": {"type": "boolean"}, "l": {"type": "array", "items": {"type": "string"}}, "o": {"type": "object"},
            "e": {"type": "string", "enum": ["x", "y"], "description": "d"}, "any": {},
        },
    }  # fmt: skip
    (tool,) = sent(tools=(Tool("look", None, Raw(json.dumps(schema).encode())),))["tools"]
    assert tool == {
        "name": "look", "description": "look",
        "parameter_definitions": {
            "s": {"type": "str", "description": "d", "required": True}, "n": {"type": "float", "required": False},
            "b": {"type": "bool", "required": False}, "l": {"type": "List[str]", "required": True},
            "o": {"type": "Dict", "required": False},
            "e": {
                "type": "str", "required": False,
                "description": 'd\nJSON schema: {"type":"string","enum":["x","y"],"description":"d"}',
            },
            "any": {"type": "str", "required": False},
        },
    }  # fmt: skip
    assert sent(tools=(Tool("bare", "b"),))["tools"] == [{"name": "bare", "description": "b"}]
    assert dropped(tools=(Tool("a", schema=Raw(b'{"$defs":{}}')),)) == ("parameters",)


def test_what_it_cannot_say_is_named() -> None:
    assert dropped(
        tools=(TOOL,), tool_choice=ToolChoice("required"), thinking=Thinking(budget_tokens=9), user="u",
        response_format=ResponseFormat("json_object"), parallel_tool_calls=False,
    ) == ("parallel_tool_calls", "response_format", "thinking", "tool_choice", "user")  # fmt: skip
    assert dropped(USER, Message("assistant", (Reasoning("hm"), Text("x"))), USER) == ("reasoning",)
    assert "tools" not in sent(tools=(TOOL,), tool_choice=ToolChoice("none"))
    assert dropped(tools=(TOOL,), tool_choice=ToolChoice("none")) == ()
    named = sent(tools=(TOOL, Tool("other")), tool_choice=ToolChoice("named", "look"))
    assert [tool["name"] for tool in named["tools"]] == ["look"]


def test_fields_that_only_cohere_has_pass() -> None:
    extra = {
        "connectors": Opaque("openai-chat", Raw(b'[{"id":"web-search"}]')),
        "documents": Opaque(NAME, Raw(b"[]")),
        "logit_bias": Opaque("openai-chat", Raw(b'{"1":1}')),
    }
    body = sent(extra=extra)
    assert (body["connectors"], body["documents"]) == ([{"id": "web-search"}], [])
    assert dropped(extra=extra) == ("logit_bias",)


def test_a_shape_of_the_answer_is_a_schema() -> None:
    wish = ResponseFormat("json_schema", schema=Raw(b'{"type":"object"}'))
    assert sent(response_format=wish)["response_format"] == {"type": "json_object", "schema": {"type": "object"}}


@pytest.mark.parametrize("role", ["user", "tool"])
def test_images_are_refused(role: Any) -> None:
    image = Media("image", url="https://x/y.png")
    part = image if role == "user" else ToolResult("c", (image,))
    with pytest.raises(errors.InvalidRequest) as refusal:
        sent(Message(role, (part,)))
    assert refusal.value.param == "messages"


def test_arguments_that_are_no_object_are_refused() -> None:
    with pytest.raises(errors.InvalidRequest):
        sent(USER, Message("assistant", (ToolUse("c", "f", "[1]"),)))


# ---- answers


def answered(recording: Recording) -> Response:
    whole = "body" in recording.whole["response"]
    return FORMAT.decode_response(recording.response) if whole else streamed(FORMAT, recording.response)


@pytest.mark.parametrize("recording", recordings("cohere", ("chat_v1", "chat_v1_stream")))
def test_every_recorded_answer_is_read(recording: Recording) -> None:
    response = answered(recording)
    body = recording.whole["response"].get("body")
    if body is None:
        lines = [json.loads(line) for line in recording.response.decode().split("\n") if line]
        text = "".join(line["text"] for line in lines if line["event_type"] == "text-generation")
        body = lines[-1]["response"]
        assert text == body["text"]
    meta = body["meta"]
    assert response.parts == (Text(body["text"]),)
    assert response.id == body["generation_id"]
    assert (response.raw_reason, response.finish_reason) == (body["finish_reason"], "stop")
    assert response.usage == Usage(
        meta["tokens"]["input_tokens"], meta["tokens"]["output_tokens"], meta.get("cached_tokens", 0)
    )


@pytest.mark.parametrize("recording", recordings("cohere", ("chat_v1_stream",)))
def test_any_split_of_a_stream_gives_the_same_events(recording: Recording) -> None:
    whole = told(FORMAT, raw_events(FORMAT, recording.response))
    for size in (7, 64, 1000):
        assert told(FORMAT, raw_events(FORMAT, recording.response, size)) == whole


@pytest.mark.parametrize("recording", recordings("cohere", ("chat_v1_stream",)))
def test_a_stream_says_what_its_last_event_says_whole(recording: Recording) -> None:
    last = json.loads(raw_events(FORMAT, recording.response)[-1])
    assert streamed(FORMAT, recording.response) == FORMAT.decode_response(json.dumps(last["response"]).encode())


META = {"tokens": {"input_tokens": 10, "output_tokens": 3}, "billed_units": {"input_tokens": 1, "output_tokens": 2}}
DOCUMENT = {"id": "web_0", "title": "T", "url": "https://x/y", "snippet": "abc"}
CITED = {"start": 0, "end": 2, "text": "ab", "document_ids": ["web_0"], "type": "TEXT_CONTENT"}


def line(kind: str | None, **facts: Any) -> bytes:
    return json.dumps({"is_finished": kind == "stream-end", **({"event_type": kind} if kind else {}), **facts}).encode()


def ended(**response: Any) -> bytes:
    return line("stream-end", finish_reason="COMPLETE", response={"text": "", "meta": META, **response})


START = line("stream-start", generation_id="g")


def test_citations_of_documents() -> None:
    answer = {"generation_id": "g", "text": "abc", "citations": [CITED], "documents": [DOCUMENT], "meta": META}
    whole = FORMAT.decode_response(json.dumps({**answer, "finish_reason": "COMPLETE"}).encode())
    (text,) = whole.parts
    assert isinstance(text, Text)
    (cited,) = text.citations
    assert (cited.url, cited.title, cited.quote, cited.start, cited.end) == ("https://x/y", "T", "abc", 0, 2)
    assert cited.raw is not None
    assert comparable(cited.raw.raw) == CITED
    stream = [
        START, line("search-queries-generation", search_queries=[{"text": "q"}]),
        line("search-results", documents=[DOCUMENT], search_results=[]), line("text-generation", text="abc"),
        line("citation-generation", citations=[CITED]), ended(),
    ]  # fmt: skip
    assert comparable(fold(told(FORMAT, stream))) == comparable(whole)


CALLS = [{"name": "look", "parameters": {"at": 1}}, {"name": "now", "parameters": {}}]


def test_text_beside_calls_is_their_plan_and_ids_are_ours() -> None:
    answer = {"generation_id": "g", "text": "plan", "tool_calls": CALLS, "meta": META, "finish_reason": "COMPLETE"}
    response = FORMAT.decode_response(json.dumps(answer).encode())
    plan, first, second = response.parts
    assert plan == Reasoning("plan")
    assert isinstance(first, ToolUse)
    assert isinstance(second, ToolUse)
    assert (first.name, first.arguments, second.name, second.arguments) == ("look", '{"at": 1}', "now", "{}")
    assert first.id != second.id
    assert first.id.startswith("call_")
    assert len(first.id) == 29
    assert (response.finish_reason, response.raw_reason) == ("tool_use", "COMPLETE")


@pytest.mark.parametrize("framed", [False, True], ids=["lines", "events"])
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "in pieces"])
def test_a_stream_of_calls_says_what_a_whole_answer_does(pieces: bool, framed: bool) -> None:
    chunks = [
        {"text": "pl"}, {"text": "an"}, {"index": 0, "name": "look"}, {"index": 0, "parameters": '{"at"'},
        {"index": 0, "parameters": ": 1}"}, {"index": 1, "name": "now"}, {"index": 1, "parameters": "{}"},
    ]  # fmt: skip
    stream = [
        START,
        *(line("tool-calls-chunk", tool_call_delta=chunk) for chunk in chunks if pieces),
        line("tool-calls-generation", text="plan", tool_calls=CALLS),
        ended(),
    ]
    framing = b"event: x\ndata: %b\n\n" if framed else b"%b\n"
    answer = {"generation_id": "g", "text": "plan", "tool_calls": CALLS, "meta": META, "finish_reason": "COMPLETE"}
    assert without_ids(streamed(FORMAT, b"".join(framing % each for each in stream))) == without_ids(
        FORMAT.decode_response(json.dumps(answer).encode())
    )


def test_a_stream_that_says_all_in_its_last_event() -> None:
    assert fold(told(FORMAT, [START, ended(text="abc", citations=[CITED])])).parts[0].text == "abc"  # type: ignore[union-attr]
    called = fold(told(FORMAT, [START, ended(text="plan", tool_calls=CALLS)]))
    assert [type(part) for part in called.parts] == [Reasoning, ToolUse, ToolUse]
    assert called.finish_reason == "tool_use"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("MAX_TOKENS", "length"), ("ERROR_LIMIT", "length"), ("ERROR_TOXIC", "content_filter"), ("USER_CANCEL", "stop")],
)
def test_reasons(theirs: str, ours: str) -> None:
    stream = [START, line("text-generation", text="a"), line("stream-end", finish_reason=theirs, response={})]
    response = fold(told(FORMAT, stream))
    assert (response.finish_reason, response.raw_reason) == (ours, theirs)


@pytest.mark.parametrize(
    "event",
    [
        line(None, message="oops"),
        line("stream-error", message="oops"),
        line("stream-end", finish_reason="ERROR", response={}),
        line("stream-end", finish_reason="COMPLETE", response={"finish_reason": "ERROR"}),
        b"{",
        b"garbage",
        line("text-generation", text=3),
        line("tool-calls-generation", tool_calls=[{}]),
    ],
)
def test_errors_within_a_stream_are_errors(event: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        told(FORMAT, [START, line("text-generation", text="a"), event, ended()])


def test_unknown_events_are_passed_over_and_a_cut_is_an_error() -> None:
    stream = [START, line("novelty", text=3), line("debug", prompt="p"), line("text-generation", text="a")]
    assert fold(told(FORMAT, [*stream, ended(), b"data: [DONE]"])).parts == (Text("a"),)
    with pytest.raises(UpstreamBroken, match="cut off"):
        told(FORMAT, stream)


# ---- errors, and what nobody should send


@pytest.mark.parametrize("recording", recordings("cohere", ["error"], whatever_was_asked))
def test_every_recorded_error_is_read(recording: Recording) -> None:
    error = FORMAT.decode_error(recording.status, recording.response)
    assert isinstance(error, errors.UpstreamModelNotFound)
    assert error.message == recording.whole["response"]["body"]["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message":"no"}', b'{"text":3}', b"\xff"])
def test_what_is_no_answer_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        FORMAT.decode_response(body)
