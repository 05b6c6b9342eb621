"""OpenAI's older completions: bytes pass, prompts are checked, and said to models of a chat."""

import json
from typing import Any

import pytest

from fairlead import errors
from fairlead.chat import Event, Message, Reasoning, Request, Response, Text, ToolUse, Usage, tell
from fairlead.protocols import CONTENT, DONE, USAGE_ONLY
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterCompletions
from fairlead.protocols.sse import EventCutter, data
from protocols_recordings import Recording, recordings

COMPLETIONS = OpenAICompletions()


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
    assert told.finish_reason == answer["choices"][-1]["finish_reason"]
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


def test_it_is_no_chat_and_answers_pass_as_they_are() -> None:
    assert not hasattr(COMPLETIONS, "event_decoder")
    assert COMPLETIONS.dress(b"{}") == b"{}"
    assert (COMPLETIONS.name, COMPLETIONS.path("m", False)) == ("openai-completions", "/completions")
