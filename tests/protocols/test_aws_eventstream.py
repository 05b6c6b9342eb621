"""AWS event streams: cut wherever the bytes are parted, checked by both checksums, with headers of every type."""

import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import UpstreamBroken
from fairlead.protocols import aws_eventstream
from fairlead.protocols.aws_eventstream import EventCutter, event, message
from misbehaving import byte_by_byte
from work import grows_with_its_size

KIND = ((":message-type", "event"), (":event-type", "chunk"))
ONE, TWO, NONE = event(KIND, b'{"a":1}'), event([("x", "é" * 300)], b"\x00" * 500), event([], b"")


def framed(head: bytes, payload: bytes = b"") -> bytes:
    """A message with these bytes as its headers."""
    lengths = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    whole = lengths + struct.pack(">I", crc32(lengths)) + head + payload
    return whole + struct.pack(">I", crc32(whole))


def cut(stream: bytes, sizes: list[int], most: int = 1 << 20) -> list[bytes]:
    """The messages of `stream`, which arrives in pieces of these sizes, and then the rest."""
    cutter, found, at = EventCutter(most), [], 0
    for size in sizes:
        found += cutter.feed(stream[at : at + size])
        at += size
    found += cutter.feed(stream[at:])
    assert cutter.finish() == b""
    return found


def test_a_message_is_its_headers_and_its_payload() -> None:
    told = message(ONE)
    assert told.headers == dict(KIND)
    assert told.payload == b'{"a":1}'
    assert (told.text(":event-type"), told.text("absent")) == ("chunk", "")
    assert message(NONE).headers == {}
    assert message(TWO).headers == {"x": "é" * 300}


def test_every_type_of_header_is_read() -> None:
    values = {
        "true": (b"\x00", True),
        "false": (b"\x01", False),
        "byte": (b"\x02\xff", -1),
        "short": (b"\x03\x01\x00", 256),
        "integer": (b"\x04\xff\xff\xff\xfe", -2),
        "long": (b"\x05" + struct.pack(">q", 2**40), 2**40),
        "bytes": (b"\x06\x00\x02\x00\xff", b"\x00\xff"),
        "text": (b"\x07\x00\x03\xe2\x82\xac", "€"),
        "time": (b"\x08" + struct.pack(">q", 1_500), datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        "uuid": (b"\x09" + bytes(range(16)), UUID(bytes=bytes(range(16)))),
    }
    head = b"".join(bytes([len(name)]) + name.encode() + raw for name, (raw, _) in values.items())
    assert message(framed(head, b"p")).headers == {name: value for name, (_, value) in values.items()}
    assert message(framed(head, b"p")).text("integer") == ""


@pytest.mark.parametrize(
    "head",
    [
        b"\x01", b"\x01a", b"\x01a\x0a", b"\x01a\x02", b"\x01a\x05\x00", b"\x01a\x07\x00", b"\x01a\x07\x00\x05ab",
        b"\x01a\x06\xff\xff", b"\x01a\x09\x00", b"\x01\xff\x00", b"\x01a\x07\x00\x01\xff", b"\xff\x00",
        b"\x01a\x08\x7f" + b"\xff" * 7,
    ],
)  # fmt: skip
def test_headers_that_cannot_be_read_are_refused(head: bytes) -> None:
    (whole,) = cut(framed(head), [])
    with pytest.raises(UpstreamBroken):
        message(whole)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 12, 13, 100])
def test_any_pieces_give_the_same_messages(size: int) -> None:
    stream = ONE + TWO + NONE + ONE
    assert cut(stream, [size] * (len(stream) // size)) == [ONE, TWO, NONE, ONE]


@given(st.lists(st.sampled_from([ONE, TWO, NONE]), max_size=6), st.lists(st.integers(0, 900), max_size=12))
def test_any_split_gives_the_same_messages(messages: list[bytes], sizes: list[int]) -> None:
    assert cut(b"".join(messages), sizes) == messages


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=900)), max_size=5), st.binary(max_size=200))
def test_what_is_told_is_read(headers: list[tuple[str, str]], payload: bytes) -> None:
    told = message(event(headers, payload))
    assert told.headers == dict(headers)
    assert told.payload == payload


def test_what_is_kept_is_counted_and_given_at_the_end() -> None:
    cutter = EventCutter(2000)
    assert cutter.feed(ONE + TWO[:20]) == [ONE]
    assert cutter.held == 20
    assert cutter.finish() == TWO[:20]
    assert cutter.held == 0
    with pytest.raises(UpstreamBroken) as caught:
        message(TWO[:20])
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("at", range(len(ONE)))
def test_no_damaged_byte_goes_unseen(at: int) -> None:
    damaged = ONE[:at] + bytes([ONE[at] ^ 1]) + ONE[at + 1 :]
    with pytest.raises(UpstreamBroken):
        EventCutter(1000).feed(damaged)


@pytest.mark.parametrize("stream", [b"HTTP/1.1 500 Internal", b'{"message":"no"}', b"\x00" * 12, b"data: {}\n\n\n\n"])
def test_what_is_no_event_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        EventCutter(1000).feed(stream)


def test_a_large_message_is_refused_by_its_prelude() -> None:
    large = event(KIND, b"x" * 1000)
    assert EventCutter(len(large)).feed(large) == [large]
    with pytest.raises(UpstreamBroken, match="larger than"):
        EventCutter(len(large) - 1).feed(large[:12])


@pytest.mark.parametrize(("total", "head"), [(15, 0), (0, 0), (16, 1), (2**32 - 1, 2**32 - 1)])
def test_lengths_that_cannot_be_are_refused(total: int, head: int) -> None:
    lengths = struct.pack(">II", total, head)
    with pytest.raises(UpstreamBroken):
        EventCutter(2**33).feed(lengths + struct.pack(">I", crc32(lengths)) + b"\x00" * 20)


def large_by_the_byte(size: int) -> None:
    cutter, large = EventCutter(1 << 20), event(KIND, b"x" * size)
    for _ in map(cutter.feed, byte_by_byte(large)):
        pass
    assert cutter.held == 0


def many_at_once(count: int) -> None:
    assert len(EventCutter(1 << 20).feed(ONE * count)) == count


@pytest.mark.parametrize(("cutting", "size"), [(large_by_the_byte, 2000), (many_at_once, 500)])
def test_cutting_takes_work_by_the_bytes_whatever_the_pieces(cutting: Callable[[int], None], size: int) -> None:
    assert grows_with_its_size(cutting, size)


@settings(max_examples=300)
@given(st.data())
def test_whatever_comes_only_upstream_broken_leaves(data: st.DataObject) -> None:
    stream = bytearray(ONE + TWO)
    for _ in range(data.draw(st.integers(0, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UpstreamBroken):
        for each in [*EventCutter(2000).feed(bytes(stream)), bytes(stream)]:
            message(each)
    assert aws_eventstream.MEDIA_TYPE.startswith("application/")
