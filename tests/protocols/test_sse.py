"""Chunks are cut into events, wherever the network cut them, and events into their fields."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UpstreamBroken
from fairlead.protocols import sse
from fairlead.protocols.sse import EventCutter

LIMIT = 1000


def cut(*chunks: bytes, limit: int = LIMIT) -> list[bytes]:
    cutter = EventCutter(limit)
    return [event for chunk in chunks for event in cutter.feed(chunk)]


def told(events: list[bytes]) -> list[bytes]:
    return [payload for payload in map(sse.data, events) if payload]


def split_by_the_standard(stream: bytes) -> list[bytes]:
    """The data of each whole event, read line by line as the standard words it."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    found, gathered = [], []
    for line in lines:
        if line:
            field, _, value = line.partition(b":")
            gathered += [value.removeprefix(b" ")] if field == b"data" else []
        else:
            found.append(b"\n".join(gathered))
            gathered = []
    return [payload for payload in found if payload]


STREAMS = {
    "LF": b"data: one\n\ndata: two\n\n: ping\n\nevent: x\ndata: three\n\n",
    "CR LF": b"data: one\r\n\r\ndata: two\r\n\r\n: ping\r\n\r\nevent: x\r\ndata: three\r\n\r\n",
    "CR": b"data: one\r\rdata: two\r\r: ping\r\revent: x\rdata: three\r\r",
    "all of them": b"data: one\n\r\ndata: two\r\n\n: ping\r\r\nevent: x\rdata: three\n\n",
    "more empty lines than needed": b"\n\ndata: one\n\n\ndata: two\n\n\n\n: ping\n\nevent: x\ndata: three\n\n",
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_events_are_the_same_wherever_the_chunks_end(stream: bytes) -> None:
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            events = cut(stream[:first], stream[first:second], stream[second:])
            assert told(events) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("name", ["LF", "CR LF"])
def test_no_byte_is_lost_wherever_the_chunks_end(name: str) -> None:
    """Who reads Gemini's events splits them at CR LF CR LF."""
    stream = STREAMS[name]
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            assert b"".join(cut(stream[:first], stream[first:second], stream[second:])) == stream


@given(
    st.lists(st.sampled_from([b"data: a", b"data:b", b"data", b": c", b"\n", b"\r\n", b"\r", b"\n\n"]), max_size=20),
    st.lists(st.integers(1, 7)),
)
def test_events_are_those_of_the_standard(pieces: list[bytes], lengths: list[int]) -> None:
    stream, chunks = b"".join(pieces) + b"\n", []
    rest = stream
    for length in lengths:
        chunks.append(rest[:length])
        rest = rest[length:]
    assert told(cut(*chunks, rest)) == split_by_the_standard(stream)


def test_bytes_pass_as_they_came() -> None:
    events = cut(b": ping\n\nretry: 5\ndata: a\n\nid: 7\ndata:", b" b\n\ndata: c\r\n\r\n")
    assert events == [b": ping\n\n", b"retry: 5\ndata: a\n\n", b"id: 7\ndata: b\n\n", b"data: c\r\n\r\n"]


def test_a_chunk_that_is_one_event_is_not_copied() -> None:
    chunk = b"data: one\n\n"
    assert EventCutter(LIMIT).feed(chunk)[0] is chunk


class Counting(bytearray):
    """Knows how many bytes of it were looked at for something."""

    searched = 0

    def __contains__(self, wanted: object) -> bool:
        self.searched += len(self)
        return super().__contains__(wanted)  # type: ignore[operator]


def test_what_is_kept_is_not_searched_again_with_each_piece() -> None:
    cutter = EventCutter(1 << 20)
    kept = cutter._kept = Counting()
    pieces = [b"data: " + b"x" * 10_000, b"\r", *[b"y" * 10] * 1000]
    assert [event for piece in pieces for event in cutter.feed(piece)] == []
    assert cutter.held == len(kept) == 20_007
    assert cutter.feed(b"\r\n\n") == [b"".join(pieces) + b"\r\n\n"]
    assert kept.searched <= 20_007
    assert cutter.held == 0


def test_only_cr_and_lf_end_a_line() -> None:
    text = "data: a\x0b\x0c\x1c\x85\u2028\u2029b\n\n".encode()
    assert cut(text) == [text]
    assert sse.data(text) == text[6:-2]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: 123456789\n\n"],
        [b"data: 1", b"23456789\n\n"],
        [b"data: 12345", b"6789"],
        [b"data: 1\n\n", b"data: 123456789\n\ndata: 2\n\n"],
        [b"data: 1\n\ndata: 123456789"],
        [b"data: 12345\r\n6789", b"\r\n\r\n"],
        [b"data: 12345678\r", b"9"],
    ],
)
def test_an_event_larger_than_the_bound_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(UpstreamBroken, match="larger than 12 bytes"):
        cut(*chunks, limit=12)


def test_a_chunk_larger_than_the_bound_may_hold_events_that_are_not() -> None:
    assert len(cut(b"data: 1\n\n" * 9, limit=12)) == 9


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_rest_of_a_stream_is_what_no_empty_line_ended(end: bytes) -> None:
    cutter = EventCutter(LIMIT)
    assert cutter.feed(b"data: one" + end + end + b"data: two" + end)
    assert cutter.finish() == b"data: two" + end + b"\n\n"
    assert cutter.finish() == b""


def test_line_ends_alone_are_no_rest() -> None:
    cutter = EventCutter(LIMIT)
    cutter.feed(b"data: one\n\n\r\n")
    assert cutter.finish() == b""


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (b"data: one\n\n", b"one"),
        (b"data:one\n\n", b"one"),
        (b"data:  one \n\n", b" one "),
        (b"data: one\r\n\r\n", b"one"),
        (b"data: one\rdata: two\n\n", b"one\ntwo"),
        (b"data: one\ndata: two\n\n", b"one\ntwo"),
        (b"event: x\ndata: one\n\n", b"one"),
        (b"event: x\ndata:one\n\n", b"one"),
        (b"event: x\nid: 1\ndata: one\n\n", b"one"),
        (b"event: x\ndata: one\ndata: two\n\n", b"one\ntwo"),
        (b"event: x\n\n", b""),
        (b"data\n\n", b""),
        (b": data: one\n\n", b""),
        (b"datum: one\n\n", b""),
        (b"\xef\xbb\xbfdata: one\n\n", b"one"),
        (b"\ndata: one\n\n", b"one"),
        (b"data: one", b"one"),
    ],
)
def test_the_data_of_an_event(event: bytes, payload: bytes) -> None:
    assert sse.data(event) == payload


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (b"event: ping\ndata: {}\n\n", b"ping"),
        (b"data: {}\nevent:ping\n\n", b"ping"),
        (b"event: a\r\nevent: b\r\n\r\n", b"b"),
        (b"data: event: x\n\n", b""),
    ],
)
def test_the_name_of_an_event(event: bytes, name: bytes) -> None:
    assert sse.name(event) == name


@given(st.binary().filter(lambda data: not {0x0A, 0x0D} & set(data)), st.sampled_from([b"", b"message_start"]))
def test_what_is_told_is_read_again(payload: bytes, name: bytes) -> None:
    event = sse.event(payload, name)
    assert cut(event, limit=1 << 20) == [event]
    assert (sse.data(event), sse.name(event)) == (payload, name)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n"])
def test_json_over_several_lines_is_told_in_one(end: bytes) -> None:
    told = sse.event(b'{%b "a": "\\n"%b}' % (end, end))
    assert cut(told, limit=1 << 20) == [told]
    assert json.loads(sse.data(told)) == {"a": "\n"}
