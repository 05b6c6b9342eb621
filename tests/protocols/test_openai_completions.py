"""OpenAI's older completions: bytes pass, prompts are checked."""

import json
from typing import Any

import pytest

from fairlead import errors
from fairlead.chat import Usage
from fairlead.protocols import CONTENT, DONE, USAGE_ONLY
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.sse import EventCutter
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
