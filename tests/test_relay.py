"""Events that pass without being cut or looked at, beside the same ones that are: nobody can tell them apart."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.buffers import Buffers
from fairlead.errors import FairleadError
from fairlead.protocols import Wire, sse
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_responses import OpenAIResponses
from fairlead.relay import Relay
from fairlead.translation import PassthroughStream

CHAT = [
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text
    for text in (b"One", b" two", b" three", b"\\n", b" four", b'\\"', b" five")
] + [
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n',
    b"data: [DONE]\n\n",
]
ANTHROPIC = [
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
    *(
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n' % text
        for text in (b"One", b" two", b" three", b"\\n", b" four")
    ),
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":9}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
RESPONSES = [
    *(
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","sequence_number":%d,"delta":"%b"}\n\n' % (number, text)
        for number, text in enumerate((b"One", b" two", b" three"))
    ),
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","model":"m","status":'
    b'"completed","output":[],"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}}\n\n',
]
FORMATS: dict[str, tuple[Wire, list[bytes]]] = {
    "openai-chat": (OpenAIChat(), CHAT),
    "anthropic-messages": (AnthropicMessages(), ANTHROPIC),
    "openai-responses": (OpenAIResponses(), RESPONSES),
}
ODD = [
    b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b'"', b"\\", b": ping\n\n", b"data: \n\n", b"event: error\n",
    b'"error":{"message":"x"},', b'"usage":{"prompt_tokens":7},', b'"finish_reason":"length",', b"}\n\n", b"data: {",
]  # fmt: skip


def relayed(wire: Wire, chunks: Iterable[bytes], *, looks: bool, most: int = 10_000, held: int = 0) -> tuple[Any, ...]:
    """What the client got, what was noted and how it ended, what is held; and how many chunks were cut."""
    attempt: Any = SimpleNamespace(content_bytes=0, held=held, cell=0)
    journal: Any = None  # nothing is counted: the attempt has no cell
    stream, cutter, out, cut = PassthroughStream(wire, hide_usage=False), sse.EventCutter(most), [], 0
    if looks:
        stream.ordinary = lambda chunk: False
    feed = cutter.feed

    def counted(chunk: bytes) -> list[bytes]:
        nonlocal cut
        cut += 1
        return feed(chunk)

    whole: Any = SimpleNamespace(feed=counted)
    relay = Relay(attempt, stream, cutter, journal, Buffers(1 << 30), lambda data, framed=b"": out.append(data))  # type: ignore[arg-type]
    relay._cut = whole.feed

    class Body:
        async def pour(self, take: Any) -> bool:
            return any(not take(chunk, b"") for chunk in waiting)

    waiting = iter(chunks)
    try:
        asyncio.run(relay.run(Body()))  # type: ignore[arg-type]
        ended = "well"
    except FairleadError as error:
        ended = repr(error)
    told = stream.summary
    seen = told.id, told.model, told.finish_reason, told.usage, stream.done, stream.committed
    return b"".join(out) + relay.rest, seen, ended, attempt.held, attempt.content_bytes, cut


def both(wire: Wire, chunks: list[bytes], most: int = 10_000, held: int = 0) -> tuple[int, int]:
    told = relayed(wire, chunks, looks=True, most=most, held=held)
    found = relayed(wire, chunks, looks=False, most=most, held=held)
    assert found[:-1] == told[:-1]
    return found[-1], told[-1]


@pytest.mark.parametrize(("name", "past"), [("openai-chat", 3), ("anthropic-messages", 4), ("openai-responses", 2)])
def test_ordinary_events_are_not_cut(name: str, past: int) -> None:
    wire, events = FORMATS[name]
    cut, all_of_them = both(wire, events)
    assert all_of_them - cut == past


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_the_same_arrives_however_it_is_cut_and_broken(name: str, data: st.DataObject) -> None:
    wire, events = FORMATS[name]
    events = list(events)
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(events) - 1))
        where = data.draw(st.integers(0, len(events[at])))
        events[at] = events[at][:where] + data.draw(st.sampled_from(ODD)) + events[at][where:]
    whole = b"".join(events)
    ends = {sum(map(len, events[:number])) for number in range(len(events) + 1)}
    kept = {end for end in ends if data.draw(st.integers(0, 4))} | {0, len(whole)}
    cuts = sorted(kept | data.draw(st.sets(st.integers(0, len(whole)), max_size=4)))
    both(wire, [whole[begin:end] for begin, end in pairwise(cuts)])


@pytest.mark.parametrize("name", FORMATS)
def test_what_came_before_the_content_is_given_back_with_the_next_event(name: str) -> None:
    wire, events = FORMATS[name]
    for number in range(1, len(events) + 1):
        both(wire, events[:number], held=5000)
    both(FORMATS["openai-chat"][0], [*CHAT[:3], CHAT[3][:-2] + b"\r\r", b"\n", *CHAT[4:6]])


@pytest.mark.parametrize("name", FORMATS)
def test_an_event_that_is_too_large_is_so_either_way(name: str) -> None:
    wire, events = FORMATS[name]
    long = [event.replace(b" three", b"3" * 300) for event in events]
    both(wire, long, most=300)
