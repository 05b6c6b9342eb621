"""The token rule, as the package's docstring states it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fairlead.chat import Media, Message, Reasoning, Request, Text, Tool, ToolResult, ToolUse, Usage
from fairlead.providers.simulator import tokens

FIVE_MINUTES = Raw(b'{"type":"ephemeral"}')
ONE_HOUR = Raw(b'{"type":"ephemeral","ttl":"1h"}')


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("äöü", 2), ("🙂🙂", 2)])
def test_a_token_is_each_started_four_bytes(text: str, count: int):
    assert tokens.count(text) == count


@given(st.text())
def test_pieces_are_whole_characters_and_as_many_as_tokens(text: str):
    pieces = list(tokens.pieces(text))
    assert "".join(pieces) == text
    assert all(pieces)
    assert len(pieces) == tokens.count(text)


@given(st.text(), st.integers(0, 20))
def test_a_cut_text_is_a_beginning_within_its_tokens(text: str, limit: int):
    cut = tokens.cut(text, limit)
    assert text.startswith(cut)
    assert tokens.count(cut) <= limit


def test_each_message_costs_four_and_its_parts():
    messages = (
        Message("system", (Text("abcdefgh"),)),  # 4 + 2
        Message("user", (Text("abcd"), Media("image", "image/png", data="AAAA"))),  # 4 + 1 + 100
        Message("assistant", (Reasoning("abcde"), ToolUse("1", "look", "{}"))),  # 4 + 2 + 1 + 1
        Message(
            "tool", (ToolResult("1", (Text("abcd"),)), ToolResult("2", (Media("document", text="ab"),)))
        ),  # 4 + 1 + 1
    )
    assert tokens.usage(Request("echo", messages), [Text("abcde")]) == Usage(125, 2)


def test_tools_cost_their_name_description_and_schema():
    tool = Tool("look", "abcde", Raw(b'{"type":"object"}'))  # 1 + 2 + 5
    request = Request("echo", (Message("user", ()),), tools=(tool,))
    assert tokens.usage(request, []).input_tokens == 8 + 4


def test_thoughts_are_the_reasoning_tokens_within_the_output():
    usage = tokens.usage(Request("echo", ()), [Reasoning("abcdefgh"), Text("abcd"), ToolUse("1", "abcd", "{}")])
    assert (usage.output_tokens, usage.reasoning_tokens) == (5, 2)


def test_up_to_a_cache_mark_everything_was_read_from_the_cache():
    messages = (Message("system", (Text("abcdefgh", cache=FIVE_MINUTES),)), Message("user", (Text("abcd"),)))
    assert tokens.usage(Request("echo", messages), []) == Usage(11, 0, cached_tokens=6)


def test_between_two_cache_marks_everything_was_written_to_it():
    tool = Tool("look", cache=FIVE_MINUTES)  # 1
    messages = (Message("user", (Text("abcd", cache=ONE_HOUR),)), Message("user", (Text("abcd"),)))
    usage = tokens.usage(Request("echo", messages, tools=(tool,)), [])
    assert usage == Usage(11, 0, cached_tokens=1, cache_write_tokens=5, cache_write_1h_tokens=5)
