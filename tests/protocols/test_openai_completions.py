"""OpenAI's older completions: bytes pass, prompts are said to models of a chat, and conversations are prompts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from fairlead import errors
from fairlead.chat import (
    Event,
    Media,
    Message,
    Opaque,
    Reasoning,
    Request,
    Response,
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
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterCompletions
from fairlead.protocols.sse import EventCutter, data
from protocols_outbound import Asking, raw_events, streamed
from protocols_outbound import told as events_of
from protocols_recordings import Recording, openai_spec, recordings

COMPLETIONS = OpenAICompletions()
asking = Asking(COMPLETIONS, "m")
sent, dropped = asking.sent, asking.dropped


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "prompt": "once", **fields}).encode()


@pytest.mark.parametrize("prompt", ["once", "", ["once", "twice"], [1, 2], [[1, 2], [3]]])
def test_a_prompt_is_text_or_tokens_once_or_often(prompt: Any) -> None:
    taken = COMPLETIONS.peek(body(prompt=prompt, max_tokens=5, stream=True))
    assert (taken.model, taken.max_tokens, taken.stream, taken.messages) == ("m", 5, True, 0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": {"text": "x"}}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": ["x", 1.5]}, "prompt[1]"),
        ({"prompt": [["x"]]}, "prompt[0][0]"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"Prompt": "x"}, "Prompt"),
    ],
)
def test_what_is_no_prompt_is_refused_naming_the_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        COMPLETIONS.peek(body(**fields))
    assert caught.value.param == param


def test_a_request_without_a_prompt_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="'prompt' is missing"):
        COMPLETIONS.peek(b'{"model":"m"}')


def test_only_the_model_and_the_wish_for_usage_change_on_the_way_through() -> None:
    taken = COMPLETIONS.peek(b'{"prompt":"x","stream":true,"new":1.0,"route":"a"}')
    told = COMPLETIONS.patch(taken, "other", drop=frozenset({"route"}), ask_usage=True, default_max_tokens=9)
    assert told == b'{"prompt":"x","stream":true,"new":1.0,"model":"other","stream_options":{"include_usage":true}}'


def test_characters_are_those_of_the_prompt() -> None:
    assert COMPLETIONS.characters(COMPLETIONS.peek(body(prompt=["ab", "c"]))) == 3


def test_a_stream_is_read_along() -> None:
    reader = COMPLETIONS.stream_reader()
    events = [
        b'data: {"id":"c","choices":[{"text":"","index":0,"finish_reason":null}]}\n\n',
        b'data: {"id":"c","choices":[{"text":"a","index":0,"finish_reason":null}]}\n\n',
        b'data: {"id":"c","choices":[{"text":"","index":0,"finish_reason":"stop"}]}\n\n',
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
        b"data: [DONE]\n\n",
    ]
    assert [reader.see(event) for event in events] == [0, CONTENT, CONTENT, USAGE_ONLY, DONE]
    assert (reader.summary.usage, reader.summary.finish_reason) == (Usage(1, 2), "stop")


# ---- to and from models of a chat


def test_a_prompt_is_what_the_user_says() -> None:
    asked = COMPLETIONS.decode_request(
        body(max_tokens=5, temperature=0.5, stop="x", seed=1, stream=True, stream_options={"include_usage": True}, n=1)
    )
    assert asked == Request(
        "m", (Message("user", (Text("once"),)),), max_tokens=5, temperature=0.5, stop=("x",), seed=1, stream=True,
        include_usage=True,
    )  # fmt: skip
    assert COMPLETIONS.decode_request(body(prompt=["once"])).messages == asked.messages


@pytest.mark.parametrize("prompt", [[], [1], [[1]], ["once", "twice"]])
def test_a_prompt_of_tokens_or_of_several_texts_is_none_for_a_chat(prompt: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="must be one text") as caught:
        COMPLETIONS.decode_request(body(prompt=prompt))
    assert caught.value.param == "prompt"


def test_what_only_completions_have_is_named_as_dropped() -> None:
    asked = COMPLETIONS.decode_request(body(suffix="x", echo=True, best_of=2, n=2, logprobs=3, logit_bias={"1": 2}))
    told = AnthropicMessages().encode_request(asked, default_max_tokens=9)
    assert told.dropped == ("best_of", "echo", "logit_bias", "logprobs", "n", "suffix")


ANSWER = Response(
    "c", "m", (Reasoning("hm"), Text("once "), ToolUse("1", "f"), Text("more")), "length", Usage(3, 4), created=7
)
FACTS = {"id": "c", "object": "text_completion", "created": 7, "model": "m"}


def choice(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}


def test_an_answer_is_its_text() -> None:
    told = json.loads(COMPLETIONS.encode_response(ANSWER))
    usage = told.pop("usage")
    assert told == {**FACTS, "choices": [choice("once more", "length")]}
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 4, 7)
    assert openai_spec().errors("CreateCompletionResponse", {**told, "usage": usage}) == []


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "stop"), ("stop_sequence", "stop"), ("tool_use", "stop"), ("refusal", "content_filter"), (None, "stop")],
)
def test_reasons_are_those_of_completions(reason: Any, told: str) -> None:
    assert json.loads(COMPLETIONS.encode_response(Response("c", "m", (), reason)))["choices"][0] == choice("", told)


def chunks(dialect: OpenAICompletions, events: list[Event], *, include_usage: bool) -> list[Any]:
    encode = dialect.event_encoder(include_usage=include_usage)
    cutter = EventCutter(1 << 20)
    *told, done = [data(event) for event in cutter.feed(b"".join(map(encode, events)))]
    assert done == b"[DONE]"
    return [json.loads(each) for each in told]


@pytest.mark.parametrize("dialect", [COMPLETIONS, OpenRouterCompletions()])
@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_is_its_text(dialect: OpenAICompletions, include_usage: bool) -> None:
    told = chunks(dialect, tell(ANSWER), include_usage=include_usage)
    beside = {"usage": None} if include_usage and dialect is COMPLETIONS else {}
    texts = [choice("once "), choice("more"), choice("", "length")]
    assert told[:3] == [{**FACTS, "choices": [each], **beside} for each in texts]
    assert [chunk["usage"]["total_tokens"] for chunk in told[3:]] == ([7] if include_usage else [])


# ---- recordings


@pytest.mark.parametrize("recording", recordings("openai", ["completions"]))
def test_a_recorded_answer_is_summarised(recording: Recording) -> None:
    told, answer = COMPLETIONS.summary(recording.response), recording.whole["response"]["body"]
    assert (told.id, told.model) == (answer["id"], answer["model"])
    assert told.finish_reason == answer["choices"][0]["finish_reason"]
    assert told.usage is not None
    assert told.usage.output_tokens == answer["usage"].get("completion_tokens", 0)


@pytest.mark.parametrize("recording", recordings("openai", ["completions_stream"]))
def test_a_recorded_stream_is_read_along(recording: Recording) -> None:
    reader = COMPLETIONS.stream_reader()
    flags = [reader.see(event) for event in EventCutter(1 << 25).feed(recording.response)]
    assert CONTENT in flags
    assert flags[-1] == DONE
    assert reader.summary.id is not None
    assert reader.summary.finish_reason in ("stop", "length")


def test_errors_are_spelt_as_in_chat() -> None:
    assert json.loads(COMPLETIONS.encode_error(errors.InvalidKey()))["error"]["code"] == "invalid_api_key"
    assert b'"retryable":true' in COMPLETIONS.encode_error_event(errors.Overloaded())
    assert isinstance(COMPLETIONS.decode_error(429, b"{}"), errors.RateLimited)


def test_answers_pass_as_they_are() -> None:
    assert COMPLETIONS.dress(b"{}") == b"{}"
    assert (COMPLETIONS.name, COMPLETIONS.path("m", False)) == ("openai-completions", "/completions")


# ---- to providers, from any format: a conversation is one prompt

USER = Message("user", (Text("hi"),))
TALK = (
    Message("system", (Text("Be brief."),)),
    USER,
    Message("assistant", (Text("hello"),)),
    Message("user", (Text("and?"),)),
)


def test_what_a_user_says_alone_is_the_prompt() -> None:
    assert sent(USER, max_tokens=9) == {"model": "m", "prompt": "hi", "max_tokens": 9}
    assert sent(USER, max_tokens=9, stop=("END", ""))["stop"] == ["END"]


def test_a_conversation_is_told_by_turns_up_to_the_users_next() -> None:
    told = sent(*TALK)
    assert told["prompt"] == "Be brief.\n\nUser: hi\nAssistant: hello\nUser: and?\nAssistant:"
    assert told["stop"] == ["\nUser:"]
    assert sent(*TALK, stop=("a", "b"))["stop"] == ["a", "b", "\nUser:"]
    assert sent(*TALK, stop=("a", "b", "c", "d"))["stop"] == ["a", "b", "c", "d"]  # more are refused
    assert sent(*TALK[:2])["prompt"] == "Be brief.\n\nUser: hi\nAssistant:"
    assert sent(USER, Message("assistant", (Text("It is"),)))["prompt"] == "User: hi\nAssistant: It is"
    assert sent(*TALK[:1])["prompt"] == "Be brief."


def test_settings_have_the_same_names() -> None:
    wishes = {
        "max_tokens": 9, "temperature": 1.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": -0.2,
        "seed": 7, "user": "u",
    }  # fmt: skip
    assert sent(USER, **wishes) == {"model": "m", "prompt": "hi", **wishes}
    assert dropped(USER, **wishes) == ()


def test_sixteen_tokens_are_no_answer_and_all_of_a_small_context_is_too_much() -> None:
    assert sent(USER)["max_tokens"] == 1024
    assert json.loads(COMPLETIONS.encode_request(Request("m", (USER,)), default_max_tokens=99).body)["max_tokens"] == 99


def test_a_stream_is_asked_to_tell_usage() -> None:
    told = sent(USER, stream=True)
    assert (told["stream"], told["stream_options"]) == (True, {"include_usage": True})
    options = {"stream_options": Opaque(COMPLETIONS.name, Raw(b'{"include_obfuscation":false}'))}
    told = sent(USER, stream=True, extra=options)
    assert told["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert "stream_options" not in sent(USER, extra=options)


def test_what_a_prompt_cannot_say_is_named() -> None:
    thought = Message("assistant", (Reasoning("hm"), Text("x", cache=Raw(b"{}"))))
    names = dropped(
        USER, thought, USER, tools=(Tool("get"),), tool_choice=ToolChoice("auto"), top_k=3, temperature=2.5,
        thinking=Thinking(effort="low"), extra={"logit_bias": Opaque("openai-chat", Raw(b'{"1":1}'))},
    )  # fmt: skip
    wanted = "cache_control logit_bias reasoning temperature thinking tool_choice tools top_k"
    assert names == tuple(wanted.split())


@pytest.mark.parametrize("part", [Media("image", data="aGk="), ToolUse("a", "b"), ToolResult("a")], ids=str)
def test_what_is_no_text_is_refused(part: Any) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        sent(Message("user", (part,)))
    assert caught.value.param == "messages"
    document = Media("document", "text/plain", text="d", name="T")
    assert sent(Message("user", (document,)))["prompt"] == "T\n\nd"


def test_words_say_all_of_its_own_but_other_answers() -> None:
    fields = {"suffix": "x", "echo": True, "best_of": 2, "logit_bias": {"1": 2}, "max_tokens": 5, "stop": ["."]}
    asked = COMPLETIONS.decode_request(body(**fields, n=2, logprobs=3))
    told = COMPLETIONS.encode_request(asked, default_max_tokens=9)
    assert json.loads(told.body) == {"model": "m", "prompt": "once", **fields}
    assert told.dropped == ("logprobs", "n")
    nothing = body(logprobs=None, n=1, best_of=1, echo=False, suffix=None, logit_bias={})
    asked = COMPLETIONS.decode_request(nothing)
    assert COMPLETIONS.encode_request(asked, default_max_tokens=9).dropped == ()
    assert AnthropicMessages().encode_request(asked, default_max_tokens=9).dropped == ()


# ---- answers of providers

OF_COMPLETIONS = [
    *(("openai", each) for each in recordings("openai", ["completions", "completions_stream"])),
    *(("azure", each) for each in recordings("azure", ["completions"])),
    *(("together", each) for each in recordings("together", ["completions"])),
]
RECORDED = [pytest.param(*each.values, id=f"{vendor}-{each.id}", marks=each.marks) for vendor, each in OF_COMPLETIONS]


def by_hand(recording: Recording) -> tuple[str, str]:
    """The text of the first choice, and why it ended."""
    if "body" in recording.whole["response"]:
        first = recording.whole["response"]["body"]["choices"][0]
        return first["text"], first["finish_reason"]
    lines = [line[6:] for line in recording.response.decode().splitlines() if line.startswith("data: {")]
    choices = [each for line in lines for each in json.loads(line)["choices"] if each["index"] == 0]
    return "".join(each["text"] for each in choices), next(
        each["finish_reason"] for each in reversed(choices) if each["finish_reason"]
    )


@pytest.mark.parametrize("recording", RECORDED)
def test_every_recorded_answer_is_read(recording: Recording) -> None:
    whole = "body" in recording.whole["response"]
    told = COMPLETIONS.decode_response(recording.response) if whole else streamed(COMPLETIONS, recording.response)
    text, reason = by_hand(recording)
    assert told.parts == ((Text(text),) if text else ())
    assert (told.finish_reason, told.raw_reason) == (reason, reason)
    assert told.id
    assert told.model
    assert told.created > 0
    summary = COMPLETIONS.summary(recording.response) if whole else None
    assert summary is None or summary.usage == told.usage
    assert fold(tell(told)) == told
    again = COMPLETIONS.decode_response(COMPLETIONS.encode_response(told))
    assert again == told
    encode = COMPLETIONS.event_encoder(include_usage=True)
    assert streamed(COMPLETIONS, b"".join(map(encode, tell(told)))) == told


@pytest.mark.parametrize("recording", recordings("openai", ["completions_stream"]))
def test_any_split_of_a_stream_gives_the_same_events(recording: Recording) -> None:
    whole = events_of(COMPLETIONS, raw_events(COMPLETIONS, recording.response))
    for size in (1, 7, 64):
        assert events_of(COMPLETIONS, raw_events(COMPLETIONS, recording.response, size)) == whole


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANSWERS = st.builds(
    Response,
    id=st.just("c"),
    model=st.just("m"),
    parts=texts.map(lambda text: (Text(text),) if text else ()),
    finish_reason=st.sampled_from(["stop", "length", "content_filter"]),
    usage=st.none() | st.builds(Usage, st.integers(1, 9), st.integers(0, 9)),
    created=st.just(7),
)


@given(ANSWERS)
def test_what_is_told_is_read_again(told: Response) -> None:
    wanted = structs.replace(told, raw_reason=told.finish_reason)
    assert COMPLETIONS.decode_response(COMPLETIONS.encode_response(told)) == wanted
    encode = COMPLETIONS.event_encoder(include_usage=True)
    assert streamed(COMPLETIONS, b"".join(map(encode, tell(told)))) == wanted


def chunk(text: str | None = None, reason: str | None = None, index: int = 0, **facts: Any) -> bytes:
    told = {"id": "c", "model": "m", "choices": [{"text": text, "index": index, "finish_reason": reason}], **facts}
    return b"data: %b\n\n" % json.dumps(told).encode()


def test_only_the_first_choice_is_read() -> None:
    two = json.dumps({"choices": [{"text": "a", "finish_reason": "stop"}, {"text": "b", "finish_reason": "length"}]})
    told = COMPLETIONS.decode_response(two.encode())
    assert (told.parts, told.finish_reason) == ((Text("a"),), "stop")
    stream = chunk("a") + chunk("b", "length", index=1) + chunk("", "stop") + b"data: [DONE]\n\n"
    assert streamed(COMPLETIONS, stream).parts == (Text("a"),)
    assert streamed(COMPLETIONS, stream).finish_reason == "stop"


@pytest.mark.parametrize("usage_at", ["top", "choice", "x_groq"])
def test_usage_is_read_wherever_it_stands(usage_at: str) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    choice = {"text": "", "finish_reason": "stop", **({"usage": usage} if usage_at == "choice" else {})}
    facts = {"top": {"usage": usage}, "choice": {}, "x_groq": {"x_groq": {"usage": usage}}}[usage_at]
    stream = chunk("a") + chunk(choices=[choice], **facts) + b"data: [DONE]\n\n"
    assert streamed(COMPLETIONS, stream).usage == Usage(3, 4)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (chunk("a"), errors.UpstreamBroken),
        (b"data: [DONE]\n\n", errors.UpstreamBroken),
        (b"data: nope\n\n", errors.UpstreamBroken),
        (b'data: {"choices":7}\n\n', errors.UpstreamBroken),
        (b'data: {"error":{"message":"no","code":"rate_limit_exceeded"}}\n\n', errors.RateLimited),
        (b'data: {"object":"error","message":"no","code":503}\n\n', errors.Overloaded),
        (b'event: error\ndata: {"message":"no","code":429}\n\n', errors.RateLimited),
    ],
)
def test_a_stream_that_is_none_or_tells_an_error_is_one(stream: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        events_of(COMPLETIONS, raw_events(COMPLETIONS, stream))


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"message":{}}]}', b"\xff"])
def test_what_is_no_answer_is_broken(answer: bytes) -> None:
    with pytest.raises(errors.UpstreamBroken):
        COMPLETIONS.decode_response(answer)
