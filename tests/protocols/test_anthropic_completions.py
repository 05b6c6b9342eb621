"""Anthropic's older completions: bytes pass, prompts are conversations, and conversations are prompts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from fairlead import errors
from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Reasoning,
    Request,
    Response,
    Text,
    Tool,
    ToolResult,
    ToolUse,
    Usage,
    fold,
    tell,
)
from fairlead.protocols import CONTENT, DONE
from fairlead.protocols.anthropic_completions import AnthropicCompletions
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import data
from protocols_outbound import Asking, raw_events, streamed
from protocols_outbound import told as events_of
from protocols_recordings import Recording, recordings

COMPLETE = AnthropicCompletions()
MODEL = "claude-2.1"
HELLO = "\n\nHuman: hello\n\nAssistant:"
HUMAN = "\n\nHuman:"
asking = Asking(COMPLETE, MODEL)
sent, dropped = asking.sent, asking.dropped


def body(**fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "prompt": HELLO, "max_tokens_to_sample": 9, **fields}).encode()


def told(text: str = "", reason: str | None = None, **facts: Any) -> bytes:
    """An event of a stream, as Anthropic spells it."""
    content = {"type": "completion", "completion": text, "stop_reason": reason, "model": MODEL, **facts}
    return b"event: completion\ndata: %b\n\n" % json.dumps(content).encode()


PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STREAM = [told(" Hel"), PING, told("lo"), told("", "stop_sequence", stop=HUMAN)]


def said(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, (Text(text),)) for role, text in turns)  # type: ignore[arg-type]


# ---- the same format


def test_its_name_and_its_path() -> None:
    assert (COMPLETE.name, COMPLETE.path("m", True)) == ("anthropic-completions", "/complete")
    assert COMPLETE.dress(b"{}") == b"{}"


def test_a_request_is_taken_apart() -> None:
    taken = COMPLETE.peek(body(stream=True))
    assert (taken.model, taken.stream, taken.max_tokens, taken.messages) == (MODEL, True, 9, 0)
    assert COMPLETE.characters(taken) == len(HELLO)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"max_tokens_to_sample": "9"}, "max_tokens_to_sample"),
        ({"Stop_sequences": []}, "Stop_sequences"),
        ({"stream": 1}, "stream"),
    ],
)
def test_what_is_no_request_is_refused_naming_the_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        COMPLETE.peek(body(**fields))
    assert caught.value.param == param


def test_only_the_model_changes_and_a_limit_that_must_be_there_is_added() -> None:
    taken = COMPLETE.peek(b'{"prompt":"x","new":1.0,"route":"a"}')
    patched = COMPLETE.patch(taken, "other", drop=frozenset({"route"}), ask_usage=True, default_max_tokens=7)
    assert patched == b'{"prompt":"x","new":1.0,"model":"other","max_tokens_to_sample":7}'
    taken = COMPLETE.peek(b'{"prompt":"x","max_tokens_to_sample":5}')
    patched = COMPLETE.patch(taken, "other", drop=frozenset(), ask_usage=True, default_max_tokens=7)
    assert patched == b'{"prompt":"x","max_tokens_to_sample":5,"model":"other"}'


def test_a_stream_is_read_along() -> None:
    reader = COMPLETE.stream_reader()
    assert [reader.see(event) for event in [told(), *STREAM]] == [0, CONTENT, 0, 0, CONTENT | DONE]
    assert (reader.summary.model, reader.summary.finish_reason) == (MODEL, "stop_sequence")
    with pytest.raises(errors.Overloaded):
        reader.see(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n')


def test_a_text_that_looks_like_a_field_hides_no_reason() -> None:
    reader = COMPLETE.stream_reader()
    assert reader.see(told("a")) == CONTENT
    assert reader.see(told('"stop_reason":null', "max_tokens")) == CONTENT | DONE


def test_errors_are_spelt_as_in_messages() -> None:
    error = json.loads(COMPLETE.encode_error(errors.InvalidKey()))
    assert (error["type"], error["error"]["type"]) == ("error", "authentication_error")
    assert COMPLETE.encode_error_event(errors.Overloaded()).startswith(b"event: error\ndata: {")
    refused = b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}'
    assert isinstance(COMPLETE.decode_error(429, refused), errors.RateLimited)


# ---- requests of clients

TALK = [("system", "Be brief."), ("user", "hi"), ("assistant", "hello"), ("user", "and?")]


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        (HELLO, said(("user", "hello"))),
        ("\n\nHuman:\nHello world\n\n\nAssistant:", said(("user", "Hello world"))),
        ("Human: hi\n\nAssistant:", said(("user", "hi"))),
        (
            "Be brief.\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant: It is",
            said(*TALK, ("assistant", "It is")),
        ),
        ("Once upon a time", said(("user", "Once upon a time"))),
        ("Q: why?\n\nAssistant:", said(("user", "Q: why?"))),
        ("\n\nHuman: a\n\nb\nHuman: c\n\nAssistant:", said(("user", "a\n\nb\nHuman: c"))),
        ("\n\nHuman:\n\nAssistant:", said(("user", ""))),
        ("", said(("user", ""))),
    ],
)  # fmt: skip
def test_a_prompt_is_a_conversation(prompt: str, messages: tuple[Message, ...]) -> None:
    assert COMPLETE.decode_request(body(prompt=prompt)).messages == messages


def test_settings_are_our_words_and_the_rest_is_kept() -> None:
    asked = COMPLETE.decode_request(
        body(
            temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["END", HUMAN], stream=True, metadata={"user_id": "u"},
            new=[1],
        )
    )  # fmt: skip
    assert asked == Request(
        MODEL, said(("user", "hello")), max_tokens=9, temperature=0.5, top_p=0.9, top_k=3, stop=("END",), stream=True,
        user="u", extra={"new": Opaque(COMPLETE.name, Raw(b"[1]"))},
    )  # fmt: skip
    chat = OpenAIChat().encode_request(asked, default_max_tokens=7)
    assert chat.dropped == ("new", "top_k")


@pytest.mark.parametrize("fields", [{"stop_sequences": "x"}, {"metadata": 1}, {"temperature": "hot"}])
def test_settings_of_a_wrong_kind_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        COMPLETE.decode_request(body(**fields))
    assert caught.value.param == next(iter(fields))


# ---- requests to providers


def test_a_conversation_is_a_prompt() -> None:
    assert sent(*said(*TALK), stop=("END",), temperature=0.5, top_k=3, user="u", stream=True) == {
        "model": MODEL, "prompt": "Be brief.\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant:",
        "max_tokens_to_sample": 4096, "stop_sequences": ["END"], "temperature": 0.5, "top_k": 3,
        "metadata": {"user_id": "u"}, "stream": True,
    }  # fmt: skip


def test_what_a_prompt_cannot_say_is_named_or_refused() -> None:
    thought = Message("assistant", (Reasoning("hm"), Text("x")))
    names = dropped(*said(("user", "hi")), thought, tools=(Tool("get"),), seed=1, temperature=1.5)
    assert names == ("reasoning", "seed", "temperature", "tools")
    for part in (Media("image", data="aGk="), ToolUse("a", "b"), ToolResult("a")):
        with pytest.raises(errors.InvalidRequest):
            sent(Message("user", (part,)))


def test_words_say_all_of_its_own() -> None:
    fields = {
        "model": MODEL, "prompt": "Be brief.\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant: It",
        "max_tokens_to_sample": 9, "stop_sequences": ["END"], "metadata": {"user_id": "u", "x": 1}, "new": [1],
        "stream": True,
    }  # fmt: skip
    again = COMPLETE.encode_request(COMPLETE.decode_request(json.dumps(fields).encode()), default_max_tokens=1)
    assert json.loads(again.body) == fields
    assert again.dropped == ()


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(
    lambda text: text == text.strip() and not text.startswith(("Human:", "Assistant:")) and "\n\n" not in text
)


@given(st.lists(words, min_size=1, max_size=5), words | st.just(""))
def test_a_conversation_that_is_told_is_read_again(texts: list[str], system: str) -> None:
    roles = ["user" if at % 2 == 0 else "assistant" for at in range(len(texts))]
    turns = said(*([("system", system)] if system else []), *zip(roles, texts, strict=True))
    asked = COMPLETE.encode_request(Request(MODEL, turns, max_tokens=9), default_max_tokens=1)
    assert COMPLETE.decode_request(asked.body).messages == turns


# ---- answers


@pytest.mark.parametrize("recording", recordings("anthropic", ["completions"]))
def test_a_recorded_exchange_is_read(recording: Recording) -> None:
    answer = recording.whole["response"]["body"]
    response = COMPLETE.decode_response(recording.response)
    assert response == Response(
        answer["id"], answer["model"], (Text(answer["completion"]),), "stop", raw_reason="stop_sequence"
    )
    assert json.loads(COMPLETE.encode_response(response)) == answer
    assert fold(tell(response)) == response
    summary = COMPLETE.summary(recording.response)
    assert (summary.id, summary.model, summary.finish_reason) == (answer["id"], answer["model"], "stop_sequence")
    assert recording.request is not None
    asked = COMPLETE.decode_request(recording.request)
    assert asked.messages == said(("user", "Hello world"))
    again = json.loads(COMPLETE.encode_request(asked, default_max_tokens=1).body)
    assert again == {**recording.whole["request"]["body"], "prompt": "\n\nHuman: Hello world\n\nAssistant:"}


@pytest.mark.parametrize(
    ("why", "stop", "finish"),
    [
        ("stop_sequence", HUMAN, ("stop", None)),
        ("stop_sequence", None, ("stop", None)),
        ("stop_sequence", "END", ("stop_sequence", "END")),
        ("max_tokens", None, ("length", None)),
        ("refusal", None, ("refusal", None)),
        ("new", None, ("stop", None)),
        (None, None, (None, None)),
    ],
)
def test_reasons_are_ours(why: str | None, stop: str | None, finish: tuple[Any, Any]) -> None:
    answer = {"type": "completion", "id": "c", "completion": "x", "stop_reason": why, "stop": stop, "model": MODEL}
    response = COMPLETE.decode_response(json.dumps(answer).encode())
    assert (response.finish_reason, response.stop_sequence, response.raw_reason) == (*finish, why)
    if why is not None:
        assert streamed(COMPLETE, told("x") + told("", why, stop=stop)).finish_reason == finish[0]


ANSWER = Response("c", MODEL, (Reasoning("hm"), Text("one "), ToolUse("1", "f"), Text("two")), "length", Usage(3, 4))


@pytest.mark.parametrize(
    ("reason", "sequence", "spelt"),
    [
        ("stop", None, ("stop_sequence", HUMAN)),
        ("tool_use", None, ("stop_sequence", HUMAN)),
        (None, None, ("stop_sequence", HUMAN)),
        ("stop_sequence", "END", ("stop_sequence", "END")),
        ("length", None, ("max_tokens", None)),
        ("content_filter", None, ("refusal", None)),
    ],
)
def test_an_answer_is_its_text(reason: Any, sequence: str | None, spelt: tuple[str, str | None]) -> None:
    answer = structs.replace(ANSWER, finish_reason=reason, stop_sequence=sequence)
    assert json.loads(COMPLETE.encode_response(answer)) == {
        "type": "completion", "id": "c", "log_id": "c", "completion": "one two", "stop_reason": spelt[0],
        "stop": spelt[1], "model": MODEL,
    }  # fmt: skip
    encode = COMPLETE.event_encoder(include_usage=True)
    events = raw_events(COMPLETE, b"".join(map(encode, tell(answer))))
    assert all(event.startswith(b"event: completion\n") for event in events)
    shown = [(each["completion"], each["stop_reason"], each["stop"]) for each in map(json.loads, map(data, events))]
    assert shown == [("one ", None, None), ("two", None, None), ("", *spelt)]
    assert encode.held == 0


def test_a_stream_is_one_text_whatever_stands_between() -> None:
    response = streamed(COMPLETE, b"".join(STREAM))
    assert response == Response("", MODEL, (Text(" Hello"),), "stop", raw_reason="stop_sequence")
    assert streamed(COMPLETE, told("", "max_tokens")).parts == ()
    assert streamed(COMPLETE, b"".join([*STREAM, told("more"), b"nonsense\n\n"])) == response  # it is over


def test_any_split_of_a_stream_gives_the_same_events() -> None:
    whole = events_of(COMPLETE, STREAM)
    for size in (1, 7, 64):
        assert events_of(COMPLETE, raw_events(COMPLETE, b"".join(STREAM), size)) == whole


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts, st.sampled_from([("stop", None), ("length", None), ("stop_sequence", "END"), ("refusal", None)]))
def test_what_is_told_is_read_again(text: str, why: tuple[Any, str | None]) -> None:
    parts = (Text(text),) if text else ()
    answer = Response("c", MODEL, parts, why[0], stop_sequence=why[1])
    encode = COMPLETE.event_encoder(include_usage=True)
    for again in (
        COMPLETE.decode_response(COMPLETE.encode_response(answer)),
        streamed(COMPLETE, b"".join(map(encode, tell(answer)))),
    ):
        assert structs.replace(again, raw_reason=None) == answer


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (told("a"), errors.UpstreamBroken),
        (b"", errors.UpstreamBroken),
        (b"data: nope\n\n", errors.UpstreamBroken),
        (b'data: {"type":"completion","completion":7}\n\n', errors.UpstreamBroken),
        (b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', errors.Overloaded),
        (b'data: {"error":{"type":"rate_limit_error","message":"m"}}\n\n', errors.RateLimited),
    ],
)  # fmt: skip
def test_a_stream_that_is_none_or_tells_an_error_is_one(stream: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        events_of(COMPLETE, raw_events(COMPLETE, stream))


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"completion":null}', b'{"completion":1}', b"\xff"])
def test_what_is_no_answer_is_broken(answer: bytes) -> None:
    for read in (COMPLETE.decode_response, COMPLETE.summary):
        with pytest.raises(errors.UpstreamBroken):
            read(answer)
