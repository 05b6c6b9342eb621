"""Cohere's chat: every recorded answer is read, and requests say what the reference says they may."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from fairlead import errors
from fairlead.chat import (
    Citation,
    Media,
    Message,
    Opaque,
    Part,
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
from fairlead.protocols import is_inbound, is_outbound, is_wire
from fairlead.protocols.cohere_chat import CohereChat
from protocols_outbound import Asking, comparable, raw_events, streamed, told
from protocols_recordings import Recording, recordings, whatever_was_asked
from work import grows_with_its_size

FORMAT = CohereChat()
NAME = FORMAT.name
MODEL = "command-a-03-2025"
USER = Message("user", (Text("hi"),))
CALL = ToolUse("c1", "look", '{"at":1}')
TOOL = Tool("look", "Looks.", Raw(b'{"type":"object","properties":{"at":{"type":"integer"}}}'))
asking = Asking(FORMAT, MODEL)
encoded, sent, dropped = asking.encoded, asking.sent, asking.dropped


def turns(*messages: Message) -> Any:
    return sent(*messages)["messages"]


def test_it_is_a_format_that_only_providers_speak() -> None:
    assert is_outbound(FORMAT)
    assert not is_inbound(FORMAT)
    assert not is_wire(FORMAT)
    assert FORMAT.path("m", True) == "/chat"


# ---- requests: settings


def test_settings_have_coheres_names() -> None:
    assert sent(
        max_tokens=9, temperature=0.5, top_p=0.9, top_k=5, seed=7, stop=("a", "b"), frequency_penalty=0.1,
        presence_penalty=0.2, stream=True,
    ) == {
        "model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 9,
        "temperature": 0.5, "p": 0.9, "k": 5, "seed": 7, "stop_sequences": ["a", "b"], "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
    }  # fmt: skip


def test_a_bare_request_says_no_more_than_it_must() -> None:
    assert sent() == {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": False}
    assert dropped() == ()


def test_settings_stay_within_coheres_bounds() -> None:
    assert sent(top_p=1.0)["p"] == 0.99
    assert sent(top_p=0.0)["p"] == 0.01
    assert sent(top_k=900)["k"] == 500
    assert sent(frequency_penalty=1.5)["frequency_penalty"] == 1.0
    assert "presence_penalty" not in sent(presence_penalty=-1.0)
    assert dropped(presence_penalty=-1.0) == ("presence_penalty",)
    assert dropped(seed=-1) == ("seed",)
    many = tuple("abcdef")
    assert sent(stop=many)["stop_sequences"] == list("abcde")
    assert dropped(stop=many) == ("stop",)


def test_what_it_cannot_say_is_named() -> None:
    assert dropped(
        Message("user", (Text("hi", cache=Raw(b'{"type":"ephemeral"}')),), name="Ann"),
        tools=(TOOL,), parallel_tool_calls=False, user="u", service_tier="flex",
        extra={"logit_bias": Opaque("openai-chat", Raw(b'{"1":2}')), "store": Opaque("openai-chat", Raw(b"null"))},
    ) == ("cache_control", "logit_bias", "name", "parallel_tool_calls", "service_tier", "user")  # fmt: skip
    assert dropped(tools=(TOOL,), parallel_tool_calls=True) == ()


def test_fields_that_only_cohere_has_pass_whoever_spelt_them() -> None:
    extra = {
        "documents": Opaque("openai-chat", Raw(b'[{"id":"d","data":{"text":"x"}}]')),
        "citation_options": Opaque("anthropic-messages", Raw(b'{"mode":"FAST"}')),
        "safety_mode": Opaque(NAME, Raw(b'"STRICT"')),
        "priority": Opaque("openai-chat", Raw(b"3")),
        "logprobs": Opaque(NAME, Raw(b"true")),
    }
    body = sent(extra=extra)
    assert body["documents"] == [{"id": "d", "data": {"text": "x"}}]
    assert (body["citation_options"], body["safety_mode"], body["priority"]) == ({"mode": "FAST"}, "STRICT", 3)
    assert body["logprobs"] is True
    assert dropped(extra=extra) == ()


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (None, None),
        (Thinking(enabled=False), {"type": "disabled"}),
        (Thinking(enabled=False, effort="none"), {"type": "disabled"}),
        (Thinking(budget_tokens=500), {"type": "enabled", "token_budget": 500}),
        (Thinking(effort="medium"), {"type": "enabled", "token_budget": 4096}),
        (Thinking(effort="max"), {"type": "enabled"}),
        (Thinking(effort="low", budget_tokens=77), {"type": "enabled", "token_budget": 77}),
        (Thinking(adaptive=True), None),
        (Thinking(adaptive=True, effort="high"), {"type": "enabled", "token_budget": 16384}),
    ],
)
def test_a_wish_to_think_is_a_budget(wish: Thinking | None, said: Any) -> None:
    assert sent(thinking=wish).get("thinking") == said


def test_the_shape_of_an_answer_is_a_schema() -> None:
    schema = Raw(b'{"type":"object"}')
    assert sent(response_format=ResponseFormat("json_object"))["response_format"] == {"type": "json_object"}
    wish = ResponseFormat("json_schema", "n", schema, strict=True)
    assert sent(response_format=wish)["response_format"] == {"type": "json_object", "schema": {"type": "object"}}
    assert dropped(response_format=ResponseFormat("json_schema", "n", schema, description="d")) == (
        "response_format.description",
    )


def test_a_shape_of_the_answer_and_tools_do_not_go_together() -> None:
    wish = ResponseFormat("json_object")
    assert "response_format" not in sent(tools=(TOOL,), response_format=wish)
    assert dropped(tools=(TOOL,), response_format=wish) == ("response_format",)
    body = sent(tools=(TOOL,), tool_choice=ToolChoice("none"), response_format=wish)
    assert body["response_format"] == {"type": "json_object"}
    assert "tools" not in body


# ---- requests: tools


def test_tools_are_functions() -> None:
    body = sent(tools=(TOOL, Tool("bare")))
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Looks.",
                "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}},
            },
        },
        {"type": "function", "function": {"name": "bare", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice("auto"), (None, 2)),
        (ToolChoice("none"), ("NONE", 2)),
        (ToolChoice("required"), ("REQUIRED", 2)),
        (ToolChoice("named", "look"), ("REQUIRED", 1)),
    ],
)
def test_a_named_tool_is_the_only_one_offered(choice: ToolChoice, said: Any) -> None:
    body = sent(tools=(TOOL, Tool("bare")), tool_choice=choice)
    assert (body.get("tool_choice"), len(body["tools"])) == said
    assert dropped(tools=(TOOL, Tool("bare")), tool_choice=choice) == ()


def test_strictness_is_of_all_tools_or_of_none() -> None:
    strict = Tool("a", schema=TOOL.schema, strict=True)
    assert sent(tools=(strict,))["strict_tools"] is True
    assert "strict_tools" not in sent(tools=(strict, TOOL))
    assert dropped(tools=(strict, TOOL)) == ("strict",)


def test_tools_of_another_format_are_named() -> None:
    foreign = Opaque("anthropic-messages", Raw(b'{"type":"web_search_20250305","name":"web_search"}'))
    assert "tools" not in sent(tools=(foreign,))
    assert dropped(tools=(foreign,)) == ("web_search_20250305",)


def test_a_schema_that_is_no_object_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        sent(tools=(Tool("a", schema=Raw(b"[]")),))
    assert refusal.value.param == "tools"


# ---- requests: messages


def test_instructions_lead_and_later_ones_are_the_users() -> None:
    assert turns(
        Message("system", (Text("A"),)),
        Message("developer", (Text("B"), Text("C"))),
        USER,
        Message("system", (Text("D"),)),
    ) == [
        {"role": "system", "content": "A\n\nB\n\nC"},
        {"role": "user", "content": "hi"},
        {"role": "user", "content": "D"},
    ]
    assert turns(Message("system", (Text("A"),))) == [{"role": "user", "content": "A"}]


def test_images_go_by_address_or_as_data() -> None:
    parts = (Text("see"), Media("image", url="https://x/y.png", detail="low"), Media("image", "image/gif", data="QQ=="))
    assert turns(Message("user", parts)) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/gif;base64,QQ=="}},
            ],
        }
    ]


def test_documents_that_are_text_are_said_as_text() -> None:
    parts = (Media("document", text="body", name="T"), Media("document", "text/plain", data="aGk="), Text("?"))
    assert turns(Message("user", parts)) == [{"role": "user", "content": "T\n\nbody\n\nhi\n\n?"}]


@pytest.mark.parametrize(
    "media",
    [
        Media("audio", "audio/wav", data="QQ=="),
        Media("video", url="https://x/y.mp4"),
        Media("document", "application/pdf", data="QQ=="),
        Media("document", url="https://x/y.pdf"),
        Media("image", file_id="f"),
        Media("document", "text/plain", data="/w=="),
    ],
    ids=str,
)
def test_what_it_cannot_see_is_refused(media: Media) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        sent(Message("user", (Text("see"), media)))
    assert refusal.value.param == "messages"


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_only_users_show_images(role: Any) -> None:
    with pytest.raises(errors.InvalidRequest):
        sent(Message(role, (Text("see"), Media("image", url="https://x/y.png"))), USER)


def test_a_thought_before_calls_is_their_plan() -> None:
    assert turns(USER, Message("assistant", (Reasoning("plan"), CALL, ToolUse("c2", "none")))) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "tool_plan": "plan",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "none", "arguments": "{}"}},
            ],
        },
    ]


def test_a_thought_before_an_answer_is_a_thought() -> None:
    said = turns(USER, Message("assistant", (Reasoning("hm"), Text("42"))))[1]
    assert said == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "42"}],
    }
    assert turns(USER, Message("assistant", (Text("42"),)))[1] == {"role": "assistant", "content": "42"}


def test_a_cipher_is_of_no_use_here_and_named() -> None:
    message = Message("assistant", (Reasoning(encrypted="xx", protocol="anthropic-messages"), Text("42")))
    assert turns(USER, message)[1] == {"role": "assistant", "content": "42"}
    assert dropped(USER, message) == ("reasoning",)


def test_results_are_texts_and_documents_and_images_follow() -> None:
    results = Message(
        "tool",
        (
            ToolResult("c1", (Text("sunny"),), is_error=True),
            ToolResult("c2", (Text("a"), Media("document", text="b", name="T"))),
            ToolResult("c3", (Media("image", url="https://x/y.png"),)),
            ToolResult("c4"),
        ),
    )
    assert turns(results) == [
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "document", "document": {"data": {"title": "T", "text": "b"}}},
            ],
        },
        {"role": "tool", "tool_call_id": "c3", "content": "The result follows in the next message."},
        {"role": "tool", "tool_call_id": "c4", "content": ""},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
    ]
    assert dropped(results) == ("is_error",)


def test_results_come_before_the_words_they_share_a_message_with() -> None:
    shared = Message("user", (Text("well?"), ToolResult("c1", (Text("sunny"),))))
    assert [turn["role"] for turn in turns(shared)] == ["tool", "user"]


def test_its_own_citations_go_back_and_others_are_named() -> None:
    own = Citation("https://x", start=0, end=2, raw=Opaque(NAME, Raw(b'{"start":0,"end":2,"text":"42"}')))
    said = Message("assistant", (Text("42", citations=(own,)),))
    assert turns(USER, said)[1]["citations"] == [{"start": 0, "end": 2, "text": "42"}]
    assert dropped(USER, said) == ()
    assert dropped(USER, Message("assistant", (Text("42", citations=(Citation("https://x"),)),))) == ("citations",)


def test_empty_turns_are_left_out() -> None:
    assert turns(USER, Message("assistant", ()), Message("user", (Text(""),))) == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("recording", recordings("cohere", ("chat", "chat_stream")))
def test_an_answer_goes_back_as_it_came(recording: Recording) -> None:
    response = answered(recording)
    said = turns(USER, Message("assistant", response.parts))[1]
    texts = [part for part in response.parts if isinstance(part, Text)]
    calls = [part for part in response.parts if isinstance(part, ToolUse)]
    assert [call["id"] for call in said.get("tool_calls", [])] == [part.id for part in calls]
    assert ("tool_plan" in said) == bool(calls)
    assert len(said.get("citations", [])) == sum(len(part.citations) for part in texts)


# ---- answers


def answered(recording: Recording) -> Response:
    return (
        streamed(FORMAT, recording.response)
        if "sse" in recording.whole["response"]
        else FORMAT.decode_response(recording.response)
    )


def facts(recording: Recording) -> dict[str, Any]:
    """What a recording says, by hand."""
    body = recording.whole["response"].get("body")
    if body is not None:
        message, end = body["message"], body
        content = message.get("content", [])
        calls = [
            (call["function"]["name"], json.loads(call["function"]["arguments"]) or {})
            for call in message.get("tool_calls", [])
        ]
        texts = "".join(block.get("text", "") for block in content)
        thoughts = message.get("tool_plan", "") + "".join(block.get("thinking", "") for block in content)
        id, citations = body["id"], message.get("citations", [])
    else:
        lines = recording.response.decode().split("\n")
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        texts = thoughts = ""
        pieces: dict[int, list[str]] = {}
        citations = []
        for event in events:
            said = event.get("delta", {}).get("message", {})
            if event["type"] in ("content-start", "content-delta"):
                texts += said["content"].get("text", "")
                thoughts += said["content"].get("thinking", "")
            elif event["type"] == "tool-plan-delta":
                thoughts += said["tool_plan"]
            elif event["type"] == "tool-call-start":
                pieces[event["index"]] = [said["tool_calls"]["function"]["name"]]
            elif event["type"] == "tool-call-delta":
                pieces[event["index"]].append(said["tool_calls"]["function"]["arguments"])
            elif event["type"] == "citation-start":
                citations.append(said["citations"])
        calls = [(name, json.loads("".join(rest)) or {}) for name, *rest in pieces.values()]
        id, end = events[0]["id"], events[-1]["delta"]
    tokens = end["usage"]["tokens"]
    return {
        "id": id, "text": texts, "thought": thoughts, "calls": calls, "reason": end["finish_reason"],
        "usage": (tokens["input_tokens"], tokens["output_tokens"], end["usage"].get("cached_tokens", 0)),
        "citations": [(each["start"], each["end"]) for each in citations],
    }  # fmt: skip


@pytest.mark.parametrize("recording", recordings("cohere", ("chat", "chat_stream")))
def test_every_recorded_answer_is_read(recording: Recording) -> None:
    response, usage = answered(recording), answered(recording).usage
    assert usage is not None
    assert {
        "id": response.id,
        "text": "".join(part.text for part in response.parts if isinstance(part, Text)),
        "thought": "".join(part.text for part in response.parts if isinstance(part, Reasoning)),
        "calls": [(part.name, json.loads(part.arguments)) for part in response.parts if isinstance(part, ToolUse)],
        "reason": response.raw_reason,
        "usage": (usage.input_tokens, usage.output_tokens, usage.cached_tokens),
        "citations": [
            (each.start, each.end) for part in response.parts if isinstance(part, Text) for each in part.citations
        ],
    } == facts(recording)
    assert usage == Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens)


@pytest.mark.parametrize("recording", recordings("cohere", ("chat_stream",)))
def test_any_split_of_a_stream_gives_the_same_events(recording: Recording) -> None:
    whole = told(FORMAT, raw_events(FORMAT, recording.response))
    for size in (7, 64, 1000):
        assert told(FORMAT, raw_events(FORMAT, recording.response, size)) == whole


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop_sequence"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_use"),
        ("complete", "stop"), ("NEW_ONE", "stop"), (None, None),
    ],
)  # fmt: skip
def test_reasons(theirs: str | None, ours: str | None) -> None:
    response = whole({"role": "assistant", "content": [{"type": "text", "text": "x"}]}, finish_reason=theirs)
    assert (response.finish_reason, response.raw_reason) == (ours, theirs)


def whole(message: Any, **facts: Any) -> Response:
    return FORMAT.decode_response(json.dumps({"id": "i", "message": message, **facts}).encode())


@pytest.mark.parametrize(("reason", "error"), [("ERROR", UpstreamBroken), ("TIMEOUT", errors.UpstreamTimeout)])
def test_an_answer_that_failed_is_an_error(reason: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        whole({"role": "assistant"}, finish_reason=reason)
    with pytest.raises(error):
        told(FORMAT, [sse("message-start", id="i"), sse("message-end", delta={"finish_reason": reason})])


@pytest.mark.parametrize("arguments", ["null", "", None, " null ", "{}"])
def test_a_call_without_arguments_has_none(arguments: str | None) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": arguments}}
    assert whole({"tool_calls": [call]}).parts == (ToolUse("c", "now", "{}"),)
    pieces = [arguments[:2], arguments[2:]] if arguments else []
    events = [sse("tool-call-start", index=0, delta={"message": {"tool_calls": {**call, "function": {"name": "now"}}}})]
    events += [
        sse("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": piece}}}})
        for piece in pieces
    ]
    events += [sse("tool-call-end", index=0), END]
    assert fold(told(FORMAT, events)).parts == (ToolUse("c", "now", "{}"),)


def test_a_string_and_blocks_that_nobody_knows() -> None:
    assert whole({"content": "x"}).parts == (Text("x"),)
    odd = {"type": "image", "image": {"url": "u"}}
    found = whole({"content": [odd, {"type": "text", "text": "x"}]}).parts
    assert isinstance(found[0], Opaque)
    assert comparable(found[0].raw) == odd
    assert found[1] == Text("x")


def test_a_citation_names_its_first_source_and_keeps_all() -> None:
    raw = {
        "start": 1, "end": 3, "text": "bc", "type": "TEXT_CONTENT", "content_index": 1,
        "sources": [
            {"type": "document", "id": "d:0", "document": {"title": "T", "url": "https://x/y", "text": "abc"}},
            {"type": "tool", "id": "t:0", "tool_output": {"n": 1}},
        ],
    }  # fmt: skip
    content = [{"type": "thinking", "thinking": "h"}, {"type": "text", "text": "abcd"}]
    text = whole({"content": content, "citations": [raw, {**raw, "type": "PLAN"}, {"start": "?"}]}).parts[1]
    assert isinstance(text, Text)
    first, odd = text.citations[0], text.citations[1:]
    assert (first.url, first.title, first.quote, first.start, first.end) == ("https://x/y", "T", "abc", 1, 3)
    assert first.raw is not None
    assert (first.raw.protocol, comparable(first.raw.raw)) == (NAME, raw)
    assert odd[0].start is None  # one of a shape that nobody knows is kept all the same


# ---- streams


def sse(type: str | None, **facts: Any) -> bytes:
    name = f"event: {type}\n" if type else ""
    return f"{name}data: {json.dumps({'type': type, **facts} if type else facts)}\n\n".encode()


def content(text: str, index: int = 0, kind: str = "text") -> bytes:
    return sse("content-delta", index=index, delta={"message": {"content": {kind: text}}})


def cited(start: int, **facts: Any) -> bytes:
    citation = {"start": start, "end": start + 1, "text": "x", "sources": [{"type": "document", "id": "d"}], **facts}
    return sse("citation-start", index=0, delta={"message": {"citations": citation}})


START = sse("message-start", id="i", delta={"message": {"role": "assistant", "content": [], "tool_calls": []}})
USAGE = {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"input_tokens": 10, "output_tokens": 3}}
END = sse("message-end", delta={"finish_reason": "COMPLETE", "usage": USAGE})


def test_citations_belong_to_the_text_before_them_even_when_it_has_ended() -> None:
    stream = [START, content("abc"), cited(0), content("def"), sse("content-end", index=0), cited(4), END]
    text = fold(told(FORMAT, stream)).parts[0]
    assert isinstance(text, Text)
    assert text.text == "abcdef"
    assert [(each.start, each.title) for each in text.citations] == [(0, "d"), (4, "d")]


def test_citations_of_another_block_or_kind_are_left_out() -> None:
    stream = [START, content("h", 0, "thinking"), cited(0), content("abc", 1), cited(0, content_index=0), END]
    assert fold(told(FORMAT, [*stream[:-1], cited(1, type="PLAN"), END])).parts == (Reasoning("h"), Text("abc"))


def test_unknown_events_and_fields_are_passed_over() -> None:
    stream = [
        sse("debug", prompt="p"), START, sse("novelty", delta="odd", index="odd"), b": comment\n\n", content("a"),
        sse("content-end", index=0), END, b"data: [DONE]\n\n", content("late"),
    ]  # fmt: skip
    response = fold(told(FORMAT, stream))
    assert (response.id, response.parts, response.finish_reason) == ("i", (Text("a"),), "stop")
    assert response.usage == Usage(10, 3)


@pytest.mark.parametrize(
    "event",
    [
        sse(None, id="x", message="too many tokens"),
        sse("error", message="oops"),
        sse("error", error={"message": "oops"}),
        sse("message-end", delta={"error": "oops", "finish_reason": "ERROR"}),
        b"data: {\n\n",
        sse("content-delta", index="zero"),
        sse("tool-call-delta", index=3, delta={"message": {"tool_calls": {"function": {"arguments": "{"}}}}),
        sse("tool-call-start", index=0, delta={"message": {"tool_calls": {"id": "c"}}}),
    ],
)
def test_errors_within_a_stream_are_errors(event: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        told(FORMAT, [START, content("a"), event, END])


def test_events_without_a_number_belong_to_the_call_that_began_last() -> None:
    def call(name: str) -> bytes:
        return sse("tool-call-start", delta={"message": {"tool_calls": {"id": name, "function": {"name": name}}}})

    more = sse("tool-call-delta", delta={"message": {"tool_calls": {"function": {"arguments": '{"a":1}'}}}})
    response = fold(told(FORMAT, [START, call("f"), more, sse("tool-call-end"), call("g"), more, END]))
    assert response.parts == (ToolUse("f", "f", '{"a":1}'), ToolUse("g", "g", '{"a":1}'))
    assert response.finish_reason == "tool_use"


def test_a_long_stream_costs_no_more_than_its_size() -> None:
    """Calls that begin, and end from the last to the first."""

    def tell(calls: int) -> None:
        begins = {"message": {"tool_calls": {"id": "c", "function": {"name": "f"}}}}
        events = [sse("tool-call-start", index=at, delta=begins) for at in range(calls)]
        events += [sse("tool-call-end", index=at) for at in reversed(range(1, calls))]
        events += [sse("tool-call-end")] * calls
        assert len(told(FORMAT, [*events, END])) == calls * 2 + 2

    assert grows_with_its_size(tell, 100)


def test_a_stream_that_is_cut_off_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="cut off") as cut:
        told(FORMAT, [START, content("a")])
    assert cut.value.outcome_unknown


def test_what_is_billed_counts_where_tokens_are_not_told() -> None:
    usage = {"billed_units": {"input_tokens": 5.0, "output_tokens": 2.0, "search_units": 1}}
    assert whole({"content": "x"}, usage=usage).usage == Usage(5, 2)
    assert whole({"content": "x"}, usage={}).usage is None


texts = st.text(alphabet='ab\n"é', min_size=1, max_size=5)
parts = st.lists(
    st.one_of(
        st.builds(Text, texts), st.builds(Reasoning, texts),
        st.builds(lambda at: ToolUse(f"c{at}", "f", json.dumps({"at": at})), st.integers(0, 9)),
    ),
    max_size=5,
)  # fmt: skip


@settings(max_examples=100)
@given(parts, st.integers(1, 4))
def test_a_stream_tells_what_a_whole_answer_does(said: list[Part], size: int) -> None:
    """Thoughts and texts first, as blocks, then calls."""
    blocks = [part for part in said if not isinstance(part, ToolUse)]
    calls = [part for part in said if isinstance(part, ToolUse)]
    content_blocks = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "thinking", "thinking": part.text}
        for part in blocks
        if isinstance(part, Text | Reasoning)
    ]
    raw_calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in calls
    ]
    stream = [START]
    for index, block in enumerate(content_blocks):
        key = "text" if block["type"] == "text" else "thinking"
        value = block[key]
        stream.append(sse("content-start", index=index, delta={"message": {"content": {"type": key, key: ""}}}))
        stream += [content(value[at : at + size], index, key) for at in range(0, len(value), size)]
        stream.append(sse("content-end", index=index))
    for index, call in enumerate(calls):
        function = {"name": call.name, "arguments": ""}
        opening = {"id": call.id, "type": "function", "function": function}
        stream.append(sse("tool-call-start", index=index, delta={"message": {"tool_calls": opening}}))
        for at in range(0, len(call.arguments), size):
            piece = {"function": {"arguments": call.arguments[at : at + size]}}
            stream.append(sse("tool-call-delta", index=index, delta={"message": {"tool_calls": piece}}))
        stream.append(sse("tool-call-end", index=index))
    stream.append(END)
    expected = whole({"content": content_blocks, "tool_calls": raw_calls}, finish_reason="COMPLETE", usage=USAGE)
    assert streamed(FORMAT, b"".join(stream)) == expected


# ---- errors, and what nobody should send


@pytest.mark.parametrize("recording", recordings("cohere", ["error"], whatever_was_asked))
def test_every_recorded_error_is_read(recording: Recording) -> None:
    error = FORMAT.decode_error(recording.status, recording.response)
    assert isinstance(error, errors.UpstreamModelNotFound)
    assert error.message == recording.whole["response"]["body"]["message"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.UpstreamRefused), (401, errors.CredentialRejected), (402, errors.OutOfCredit),
        (404, errors.UpstreamModelNotFound), (422, errors.UpstreamRefused), (429, errors.RateLimited),
        (498, errors.ContentPolicyViolation), (499, UpstreamBroken), (500, UpstreamBroken), (501, UpstreamBroken),
        (503, errors.Overloaded), (504, errors.UpstreamTimeout),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "body", [b'{"id":"i","message":"m"}', b'{"message":1}', b"", b"\xff", b"[]", b'"m"', b"<html>"]
)
def test_statuses(status: int, kind: type[Exception], body: bytes) -> None:
    assert type(FORMAT.decode_error(status, body)) is kind


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"message":null}', b'{"message":"no"}', b'{"message":3}', b"\xff"]
)
def test_what_is_no_answer_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        FORMAT.decode_response(body)
