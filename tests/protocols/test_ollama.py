"""Ollama's chat and its completion of a prompt: every recorded answer is read, and requests say what its API takes."""

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from fairlead import errors
from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Reasoning,
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
from fairlead.protocols.ollama_chat import OllamaChat
from fairlead.protocols.ollama_generate import OllamaGenerate
from protocols_outbound import Asking, comparable, raw_events, streamed, told, without_ids
from protocols_recordings import Recording, recordings

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
FORMATS = [pytest.param(CHAT, id="chat"), pytest.param(GENERATE, id="generate")]
MODEL = "llama3.2"
USER = Message("user", (Text("hi"),))
CALL = ToolUse("c1", "look", '{"at":1}')
TOOL = Tool("look", "Looks.", Raw(b'{"type":"object","properties":{"at":{"type":"integer"}}}'))
IMAGE = Media("image", "image/png", data="QQ==")
USED = {"prompt_eval_count": 10, "eval_count": 3}
asking = Asking(CHAT, MODEL)
encoded, sent, dropped = asking.encoded, asking.sent, asking.dropped


def turns(*messages: Message) -> Any:
    return sent(*messages)["messages"]


def test_they_are_formats_that_only_providers_speak() -> None:
    for format, path in ((CHAT, "/chat"), (GENERATE, "/generate")):
        assert is_outbound(format)
        assert not is_inbound(format)
        assert format.path("m", True) == path
    assert (CHAT.name, GENERATE.name) == ("ollama-chat", "ollama-generate")


# ---- requests: settings


def test_a_bare_request_says_that_it_does_not_stream() -> None:
    assert sent() == {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": "hi"}]}
    assert sent(format=GENERATE, stream=True) == {"model": MODEL, "stream": True, "prompt": "hi"}


@pytest.mark.parametrize("format", FORMATS)
def test_settings_are_options(format: Any) -> None:
    assert sent(
        format=format, max_tokens=9, temperature=0.5, top_p=0.9, top_k=5, seed=7, stop=("a",), frequency_penalty=0.1,
        presence_penalty=-0.2,
    )["options"] == {
        "num_predict": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7, "stop": ["a"],
        "frequency_penalty": 0.1, "presence_penalty": -0.2,
    }  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_fields_that_only_ollama_has_pass_and_join_the_options(format: Any) -> None:
    extra = {
        "options": Opaque("openai-chat", Raw(b'{"num_ctx":8192,"temperature":1}')),
        "keep_alive": Opaque("openai-chat", Raw(b'"10m"')),
        "min_p": Opaque("openai-chat", Raw(b"0.1")),
        "repetition_penalty": Opaque("openai-chat", Raw(b"1.1")),
        "logit_bias": Opaque("openai-chat", Raw(b'{"1":1}')),
    }
    body = sent(format=format, extra=extra, temperature=0.5)
    assert body["options"] == {"num_ctx": 8192, "temperature": 0.5, "min_p": 0.1, "repeat_penalty": 1.1}
    assert body["keep_alive"] == "10m"
    assert dropped(format=format, extra=extra) == ("logit_bias",)
    with pytest.raises(errors.InvalidRequest) as refusal:
        sent(format=format, extra={"options": Opaque("openai-chat", Raw(b"[]"))})
    assert refusal.value.param == "options"


@pytest.mark.parametrize(
    ("wish", "said", "lost"),
    [
        (None, None, ()),
        (Thinking(), True, ()),
        (Thinking(enabled=False, effort="none"), False, ()),
        (Thinking(effort="medium"), "medium", ()),
        (Thinking(effort="minimal"), "low", ()),
        (Thinking(effort="xhigh"), "high", ()),
        (Thinking(budget_tokens=99), True, ("budget_tokens",)),
        (Thinking(effort="low", budget_tokens=99), "low", ("budget_tokens",)),
        (Thinking(adaptive=True), None, ()),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_a_wish_to_think_is_a_switch_or_a_level(format: Any, wish: Thinking | None, said: Any, lost: Any) -> None:
    assert sent(format=format, thinking=wish).get("think") == said
    assert dropped(format=format, thinking=wish) == lost


@pytest.mark.parametrize("format", FORMATS)
def test_the_shape_of_an_answer_is_json_or_a_schema(format: Any) -> None:
    assert sent(format=format, response_format=ResponseFormat("json_object"))["format"] == "json"
    wish = ResponseFormat("json_schema", "n", Raw(b'{"type":"object"}'), strict=True)
    assert sent(format=format, response_format=wish)["format"] == {"type": "object"}


def test_what_it_cannot_say_is_named() -> None:
    assert dropped(
        Message("user", (Media("image", data="QQ==", detail="low", cache=Raw(b"{}")),), name="Ann"),
        tools=(Tool("a", strict=True),), tool_choice=ToolChoice("required"), parallel_tool_calls=False, user="u",
        service_tier="flex",
    ) == (
        "cache_control", "detail", "name", "parallel_tool_calls", "service_tier", "strict", "tool_choice", "user",
    )  # fmt: skip
    assert dropped(tools=(TOOL,), parallel_tool_calls=True) == ()
    assert dropped(format=GENERATE, tools=(TOOL,), tool_choice=ToolChoice("auto")) == ("tools",)
    assert dropped(format=GENERATE, tools=(TOOL,), tool_choice=ToolChoice("required")) == ("tool_choice", "tools")
    assert dropped(format=GENERATE, tools=(TOOL,), tool_choice=ToolChoice("none")) == ()


# ---- requests: messages and tools


def test_tools_are_functions_and_a_named_one_is_alone() -> None:
    function = {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}},
    }
    assert sent(tools=(TOOL,))["tools"] == [{"type": "function", "function": function}]
    assert "tools" not in sent(tools=(TOOL,), tool_choice=ToolChoice("none"))
    assert dropped(tools=(TOOL,), tool_choice=ToolChoice("none")) == ()
    assert len(sent(tools=(TOOL, Tool("b")), tool_choice=ToolChoice("named", "look"))["tools"]) == 1


def test_a_conversation_with_tools() -> None:
    image = ToolResult("c2", (Text("see"), IMAGE), is_error=True)
    assert turns(
        Message("developer", (Text("Be brief."),)),
        Message("user", (Text("look"), IMAGE, Media("document", text="d", name="T"))),
        Message("assistant", (Reasoning("hm"), Text("well"), CALL, ToolUse("c2", "now"))),
        Message("tool", (ToolResult("c1", (Text("sunny"),)), image, ToolResult("c9"))),
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "look\n\nT\n\nd", "images": ["QQ=="]},
        {
            "role": "assistant", "content": "well", "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "look", "arguments": {"at": 1}}},
                {"id": "c2", "function": {"index": 1, "name": "now", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "look", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_name": "now", "tool_call_id": "c2", "content": "see", "images": ["QQ=="]},
        {"role": "tool", "tool_call_id": "c9", "content": ""},
    ]  # fmt: skip
    assert dropped(Message("tool", (image,))) == ("is_error",)


@pytest.mark.parametrize(
    "media",
    [
        Media("image", url="https://x/y.png"),
        Media("image", file_id="f"),
        Media("audio", "audio/wav", data="QQ=="),
        Media("document", "application/pdf", data="QQ=="),
    ],
    ids=str,
)
@pytest.mark.parametrize("format", FORMATS)
def test_what_it_cannot_see_is_refused(format: Any, media: Media) -> None:
    for part in (media, ToolResult("c", (media,))):
        with pytest.raises(errors.InvalidRequest) as refusal:
            sent(Message("user", (Text("see"), part)), format=format)
        assert refusal.value.param == "messages"


@pytest.mark.parametrize("arguments", ["[1]", "nope", '"x"'])
@pytest.mark.parametrize("format", FORMATS)
def test_arguments_that_are_no_object_are_refused(format: Any, arguments: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        sent(USER, Message("assistant", (ToolUse("c", "f", arguments),)), format=format)


def test_one_turn_is_a_prompt_and_several_are_a_transcript() -> None:
    body = sent(Message("system", (Text("S"),)), Message("user", (Text("a"), IMAGE)), format=GENERATE)
    assert (body["system"], body["prompt"], body["images"]) == ("S", "a", ["QQ=="])
    several = (USER, Message("assistant", (Text("x"), CALL)), Message("tool", (ToolResult("c1", (Text("y"),)),)))
    assert sent(*several, format=GENERATE)["prompt"] == (
        '### User:\nhi\n\n### Assistant:\nx\n\n{"name":"look","arguments":{"at":1}}\n\n### Tool:\ny\n\n### Assistant:\n'
    )


def test_the_context_of_an_answer_goes_back_with_what_follows_it() -> None:
    answer = {"model": MODEL, "response": "x", "done": True, "context": [1, 2]}
    said = Message("assistant", GENERATE.decode_response(json.dumps(answer).encode()).parts)
    body = sent(USER, said, Message("user", (Text("more"),)), format=GENERATE)
    assert (body["context"], body["prompt"]) == ([1, 2], "more")
    assert dropped(USER, said, USER, format=GENERATE) == ()
    assert "context" not in sent(USER, said, USER)
    assert dropped(USER, said, USER) == ("context",)


def test_a_prompt_may_be_raw_and_have_an_end() -> None:
    extra = {"raw": Opaque(GENERATE.name, Raw(b"true")), "suffix": Opaque("openai-chat", Raw(b'"end"'))}
    body = sent(format=GENERATE, extra=extra)
    assert (body["raw"], body["suffix"]) == (True, "end")
    assert dropped(extra=extra) == ("raw", "suffix")


# ---- answers

ANSWERS = [
    *((CHAT, each) for each in recordings("ollama", ("native_chat", "native_chat_stream"))),
    *((GENERATE, each) for each in recordings("ollama", ("native_generate", "native_generate_stream"))),
]
RECORDED = [pytest.param(format, *each.values, id=each.id, marks=each.marks) for format, each in ANSWERS]


def lines_of(recording: Recording) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording.response.decode().split("\n") if line]


@pytest.mark.parametrize(("format", "recording"), RECORDED)
def test_every_recorded_answer_is_read(format: Any, recording: Recording) -> None:
    lines = lines_of(recording)
    last = lines[-1]
    text = "".join(line["message"]["content"] if "message" in line else line["response"] for line in lines)
    whole = "body" in recording.whole["response"]
    response = format.decode_response(recording.response) if whole else streamed(format, recording.response)
    (part,) = response.parts
    assert part.text == text
    assert response.model == last["model"]
    assert response.created == int(datetime.fromisoformat(lines[0]["created_at"]).timestamp())
    assert (response.finish_reason, response.raw_reason) == ("stop", last["done_reason"])
    assert response.usage == Usage(last.get("prompt_eval_count", 0), last["eval_count"])
    assert comparable(part.extra) == comparable(
        Opaque("ollama-generate", Raw(json.dumps({"context": last["context"]}).encode())) if "context" in last else None
    )


@pytest.mark.parametrize(("format", "recording"), [each for each in RECORDED if "stream" in str(each.id)])
def test_any_split_of_a_stream_gives_the_same_events(format: Any, recording: Recording) -> None:
    whole = comparable(told(format, raw_events(format, recording.response)))
    for size in (7, 64, 1000):
        assert comparable(told(format, raw_events(format, recording.response, size))) == whole


def chat(message: Any, **facts: Any) -> bytes:
    return json.dumps({"model": "m", "created_at": "2024-05-24T21:01:59.481632Z", "message": message, **facts}).encode()


def test_calls_have_ids_of_ours_where_they_have_none() -> None:
    calls = [
        {"function": {"name": "a", "arguments": {"x": {"y": [1]}}}},
        {"id": "call_1", "function": {"index": 1, "name": "b", "arguments": {}}},
        {"function": {"name": "c", "arguments": '{"z":1}'}},
        {"function": {"name": "d"}},
    ]
    message = {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": calls}
    response = CHAT.decode_response(chat(message, done=True, done_reason="stop", **USED))
    thought, *found = response.parts
    assert thought == Reasoning("hm")
    assert [(part.name, json.loads(part.arguments)) for part in found if isinstance(part, ToolUse)] == [
        ("a", {"x": {"y": [1]}}), ("b", {}), ("c", {"z": 1}), ("d", {}),
    ]  # fmt: skip
    ids = [part.id for part in found if isinstance(part, ToolUse)]
    assert ids[1] == "call_1"
    assert len(set(ids)) == 4
    assert all(id.startswith("call_") for id in ids)
    assert (response.finish_reason, response.raw_reason, response.usage) == ("tool_use", "stop", Usage(10, 3))
    stream = [chat({"thinking": "hm"}), chat({"tool_calls": calls[:1]}), chat({"tool_calls": calls[1:]})]
    stream.append(chat({"content": ""}, done=True, done_reason="stop", **USED))
    assert without_ids(fold(told(CHAT, stream))) == without_ids(response)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("stop", "stop"), ("length", "length"), ("load", "stop"), (None, "stop"), ("", "stop")]
)
def test_reasons(theirs: str | None, ours: str) -> None:
    last = chat({"content": "x"}, done=True, done_reason=theirs)
    for response in (CHAT.decode_response(last), fold(told(CHAT, [last]))):
        assert (response.finish_reason, response.raw_reason) == (ours, theirs or None)


def test_cached_tokens_are_within_the_prompt() -> None:
    last = chat({"content": "x"}, done=True, prompt_eval_count=11, prompt_eval_cached_count=8, eval_count=3)
    assert CHAT.decode_response(last).usage == fold(told(CHAT, [last])).usage == Usage(11, 3, cached_tokens=8)


@pytest.mark.parametrize("time", [None, "", "yesterday", "0001-01-01T00:00:00Z", "9999-99-99T00:00:00Z"])
def test_an_odd_time_is_none(time: str | None) -> None:
    assert CHAT.decode_response(chat({"content": "x"}, created_at=time, done=True)).created == 0


def test_nanoseconds_and_zones() -> None:
    for time in ("2024-05-24T21:01:59.481632123Z", "2024-05-24T14:01:59-07:00"):
        assert CHAT.decode_response(chat({"content": "x"}, created_at=time, done=True)).created == 1716584519


texts = st.text(alphabet='ab\n"é ', max_size=5)
calls = st.lists(
    st.builds(lambda at: {"id": "c", "function": {"name": "f", "arguments": {"at": at}}}, st.integers()), max_size=2
)


@settings(max_examples=100)
@given(texts, texts, calls, st.integers(1, 3))
def test_a_stream_tells_what_a_whole_answer_does(thought: str, text: str, said: Any, size: int) -> None:
    facts = {"done": True, "done_reason": "stop", **USED}
    pieces = [{"thinking": thought[at : at + size]} for at in range(0, len(thought), size)]
    pieces += [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    stream = [*map(chat, [*pieces, *({"tool_calls": [call]} for call in said)]), chat({}, **facts)]
    whole = chat({"thinking": thought, "content": text, "tool_calls": said}, **facts)
    assert streamed(CHAT, b"\n".join(stream)) == CHAT.decode_response(whole)
    generated = [json.dumps({"model": "m", "response": piece.get("content", ""), **piece}).encode() for piece in pieces]
    last = {"model": "m", "response": "", **facts, "context": [1]}
    whole = json.dumps({**last, "response": text, "thinking": thought}).encode()
    assert comparable(streamed(GENERATE, b"\n".join([*generated, json.dumps(last).encode()]))) == comparable(
        GENERATE.decode_response(whole)
    )


# ---- errors, and what nobody should send


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.UpstreamRefused), (401, errors.CredentialRejected), (402, errors.OutOfCredit),
        (404, errors.UpstreamModelNotFound), (413, errors.UpstreamTooLarge), (429, errors.RateLimited),
        (500, UpstreamBroken), (502, UpstreamBroken), (503, errors.Overloaded),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [b'{"error":"m"}', b'{"error":{"message":"m"}}', b'{"error":1}', b"", b"\xff", b"[]"])
def test_statuses(status: int, kind: type[Exception], body: bytes) -> None:
    error = CHAT.decode_error(status, body)
    assert type(error) is kind
    if b'"m"' in body and kind is not UpstreamBroken:
        assert error.message == "m"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'{"error":"an error was encountered while running the model"}', UpstreamBroken),
        (b'{"error":{"message":"x"}}', UpstreamBroken),
        (b'{"StatusCode":429,"Status":"429 Too Many Requests","error":"slow down"}', errors.RateLimited),
        (b'{"error":"x","status":503}', errors.Overloaded),
        (b"{", UpstreamBroken),
        (b"[]", UpstreamBroken),
        (b'{"message":{"content":1}}', UpstreamBroken),
        (b'{"message":{"tool_calls":[{}]}}', UpstreamBroken),
    ],
)
def test_errors_within_a_stream_are_errors(event: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        told(CHAT, [chat({"content": "a"}), event, chat({}, done=True)])
    with pytest.raises(errors.UpstreamError):
        CHAT.decode_response(event)


def test_a_stream_that_is_cut_off_is_broken_and_one_that_is_done_is_not() -> None:
    with pytest.raises(UpstreamBroken, match="cut off") as cut:
        told(CHAT, [chat({"content": "a"})])
    assert cut.value.outcome_unknown
    late = [chat({"content": "a"}, done=True), b'{"error":"late"}']
    assert fold(told(CHAT, late)).parts == (Text("a"),)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"model":"m"}', b'{"message":"x"}', b"\xff"])
def test_what_is_no_answer_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        CHAT.decode_response(body)
