"""The usage of a whole answer of chat, read in one go, beside the patient reading: nobody can tell them apart."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.chat import Usage
from fairlead.errors import FairleadError
from fairlead.protocols import openai_chat

ODD = (
    b'null true false -1 -0 0.0 1.0 1.5 1e3 1E400 -1e-5 9007199254740991 9007199254740992 18446744073709551616 "5" "x"'
    b' "" "error" "\\u0065rror" "\\ud800" "\xff" [] {} [1] {"a":1} {"message":"x","code":429} NaN 01 +1 1. "5'.split()
)
SELDOM = st.sampled_from([*ODD, b"9" * 40, b'"\x01"', b"[" * 50 + b"]" * 50, b"[" * 3000 + b"]" * 3000])
DETAILS = b"cached_tokens cache_write_tokens audio_tokens image_tokens reasoning_tokens video_tokens".split()
COUNTS = (
    b"prompt_tokens completion_tokens total_tokens prompt_cache_hit_tokens cached_tokens num_cached_tokens"
    b" cache_read_input_tokens cache_creation_input_tokens reasoning_tokens pr\\u006fmpt_tokens other \xfe".split()
)


def objects(*fields: tuple[bytes, st.SearchStrategy[bytes]], most: int = 8) -> st.SearchStrategy[bytes]:
    """JSON objects with some of `fields`, in any order; some twice."""
    each = st.one_of([st.tuples(st.just(name), values) for name, values in fields])
    return st.lists(each, max_size=most).map(lambda told: b"{" + b",".join(b'"%b":%b' % field for field in told) + b"}")


def mostly(often: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.integers(0, 9).flatmap(lambda chance: often if chance < 9 else SELDOM)


def joined(items: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    lists = st.lists(items, min_size=1, max_size=1) | st.lists(items, max_size=3)
    return lists.map(lambda each: b"[" + b",".join(each) + b"]")


COUNT = mostly(st.integers(0, 200).map(b"%d".__mod__))
SMALL = objects(*[(name, COUNT) for name in DETAILS], most=4)
USAGE = st.builds(
    lambda told, more: b'{"prompt_tokens":%b,"completion_tokens":%b%b' % (*told, b"," * (more != b"{}") + more[1:]),
    st.tuples(mostly(st.just(b"7")), mostly(st.just(b"9"))),
    objects(
        *[(name, COUNT) for name in COUNTS],
        (b"prompt_tokens_details", mostly(SMALL)),
        (b"completion_tokens_details", mostly(SMALL)),
        most=4,
    ),
)
CHOICE = objects(
    (b"finish_reason", st.sampled_from([b'"stop"', b'"length"', b'""', b"null"])),
    (b"index", mostly(st.sampled_from([b"0", b"1", b"null"]))),
    (b"message", mostly(st.just(b'{"role":"assistant","content":"hi"}'))),
    (b"text", mostly(st.just(b'"hi"'))),
    (b"delta", mostly(st.just(b"{}"))),
    (b"usage", mostly(USAGE)),
    most=4,
)
TWICE = ((b"choices", joined(CHOICE)), (b"usage", USAGE), (b"error", st.just(b"null")))
MORE = objects(
    (b"id", mostly(st.just(b'"c"'))),
    (b"model", mostly(st.just(b'"m"'))),
    (b"object", mostly(st.just(b'"chat.completion"'))),
    (b"x_groq", mostly(USAGE.map(b'{"usage":%b}'.__mod__))),
    (b"other", SELDOM),
    *[(name, mostly(value)) for name, value in TWICE],
    most=4,
)
BODIES = st.builds(
    lambda choices, usage, more: b'{"choices":%b,"usage":%b%b' % (choices, usage, b"," * (more != b"{}") + more[1:]),
    mostly(joined(mostly(CHOICE))),
    mostly(USAGE),
    MORE,
)


def read(how: Any, body: bytes) -> tuple[Any, ...]:
    """What `how` reads of `body`, or how it fails."""
    try:
        told = how(body)
    except FairleadError as error:
        return type(error), error.message, error.status, error.retryable, error.param, error.code
    return told.id, told.model, told.finish_reason, told.usage


@given(BODIES)
def test_whatever_an_answer_is_both_readings_tell_the_same(body: bytes) -> None:
    assert read(openai_chat.summary, body) == read(openai_chat._summary, body)


@given(BODIES, st.data())
def test_so_they_do_of_what_is_broken(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    body = body[:at] + data.draw(st.binary(max_size=2)) + body[at + data.draw(st.integers(0, 2)) :]
    assert read(openai_chat.summary, body) == read(openai_chat._summary, body)


@pytest.mark.parametrize(
    ("change", "once"),
    [
        ({}, True),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": None}}, True),
        ({"error": None}, False),
        ({"choices": [{"finish_reason": "stop"}] * 2}, False),
        ({"usage": {"prompt_tokens": "3", "completion_tokens": 4}}, False),
    ],
)
def test_an_answer_as_most_are_is_read_once(monkeypatch: pytest.MonkeyPatch, change: Any, once: bool) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    choices = [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]
    body = {"id": "c", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage, **change}
    patient, again = openai_chat._summary, []

    def watched(body: bytes) -> Any:
        again.append(body)
        return patient(body)

    monkeypatch.setattr(openai_chat, "_summary", watched)
    told = openai_chat.summary(json.dumps(body).encode())
    assert (told.id, told.model, told.finish_reason, told.usage) == ("c", "m", "stop", Usage(3, 4))
    assert (not again) == once
