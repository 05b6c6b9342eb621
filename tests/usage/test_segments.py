"""Segments: whatever becomes of their bytes, what is whole is found, and nothing else is."""

import random
import tempfile
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from fairlead.usage import segments
from fairlead.usage.segments import (
    BEGIN,
    FRAME,
    INTENT,
    LAYOUT,
    OPENED,
    PROGRESS,
    SETTLED,
    Damaged,
    Frame,
    Header,
    Segment,
    cell_value,
    frames,
    new_header,
    read_header,
)

JOURNAL = "0123456789abcdef" * 2
SIZE = 8 << 10  # bytes of a segment


class Written(NamedTuple):
    """A segment as it lies on the disk, and what was put into it."""

    data: bytes
    seed: int
    records: list[Frame]

    def __repr__(self) -> str:
        return f"written({[(each.kind, each.payload) for each in self.records]}, seed={self.seed})"

    def untouched(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The records none of whose bytes differ in `data`; what a cell counts is not of the record."""
        return [
            (each.begin, each.kind, each.payload)
            for each in self.records
            if data[each.begin : each.begin + 8] == self.data[each.begin : each.begin + 8]
            and data[each.begin + 16 : each.begin + 16 + len(each.payload)] == each.payload
        ]


def written(records: Iterable[tuple[int, bytes]], size: int = SIZE, *, seed: int = 0x5EED_5EED) -> Written:
    with tempfile.TemporaryDirectory() as folder:
        segment = Segment(Path(folder) / segments.file_name(1), Header(JOURNAL, 1, size, seed, 1))
        put = []
        for kind, payload in records:
            begin = segment.at
            if segment.put(kind, payload):
                put.append(Frame(kind, payload, begin, segment.at, 0))
        segment.close()
        return Written(segment.path.read_bytes(), segment.seed, put)


def found(data: bytes, seed: int, *, only: int = 0) -> list[tuple[int, int, bytes]]:
    told = list(frames(data[BEGIN:], BEGIN, seed, only=only))
    for before, after in pairwise(told):
        assert before.end <= after.begin  # in their order, and none of them twice
    return [(each.begin, each.kind, each.payload) for each in told if each.kind]


class Spoilt(NamedTuple):
    """A segment, and its bytes after something happened to them."""

    whole: Written
    data: bytes

    def __repr__(self) -> str:
        changed = [
            (at, new) for at, (old, new) in enumerate(zip(self.whole.data, self.data, strict=True)) if old != new
        ]
        return f"Spoilt({self.whole!r}, changed={changed})"


kinds = st.sampled_from([INTENT, PROGRESS, SETTLED, SETTLED, OPENED, LAYOUT])
# As short as none of ours is: below four bytes, two bits of word and checksum can make up for each other.
payloads = st.binary(min_size=8, max_size=90) | st.sampled_from([b"\0" * 32, b"\xff" * 48, b"x" * 16])
segment = st.lists(st.tuples(kinds, payloads), min_size=1, max_size=25).map(written)


@st.composite
def damaged(draw: st.DrawFn) -> Spoilt:
    whole = draw(segment)
    data = bytearray(whole.data)
    end = whole.records[-1].end
    for _ in range(draw(st.integers(1, 4))):
        record = draw(st.sampled_from(whole.records))
        place = draw(
            st.integers(0, len(data) - 1)
            | st.integers(BEGIN, end + 200)
            | st.integers(record.begin, record.end - 1)
            | st.integers(record.begin, record.begin + 7)
        )
        what = draw(st.sampled_from("flip zeros garbage copy word".split()))
        if what == "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "zeros":
            length = draw(st.integers(1, 600))
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif what == "garbage":
            bytes_ = draw(st.binary(min_size=1, max_size=200))
            data[place : place + len(bytes_)] = bytes_
        elif what == "copy":  # of a record, to where it does not belong
            place = draw(st.sampled_from([end, place & -8]))
            data[place : place + record.end - record.begin] = whole.data[record.begin : record.end]
        else:  # a first word that makes sense, and leads to another record
            other = draw(st.sampled_from(whole.records))
            size = max(other.end - record.begin - 16, 1) - draw(st.integers(0, 7))
            if size > 0:
                word = size | draw(kinds) << 24
                data[record.begin : record.begin + 4] = word.to_bytes(4, "little")
    return Spoilt(whole, bytes(data[:SIZE]))


@given(segment)
def test_what_was_put_is_found_with_where_it_lies(whole: Written) -> None:
    told = list(frames(whole.data[BEGIN:], BEGIN, whole.seed))
    assert [structs.replace(each, cell=0) for each in told] == whole.records
    assert found(whole.data, whole.seed, only=SETTLED) == [
        (each.begin, each.kind, each.payload) for each in whole.records if each.kind == SETTLED
    ]


@settings(max_examples=300)
@given(damaged())
def test_whatever_happens_to_the_bytes_all_records_that_are_whole_are_found_and_no_others(
    case: Spoilt,
) -> None:
    whole, data = case
    assert found(data, whole.seed) == whole.untouched(data)


@settings(max_examples=300)
@given(damaged())
def test_who_looks_for_settlements_only_finds_all_that_there_are(case: Spoilt) -> None:
    whole, data = case
    assert found(data, whole.seed, only=SETTLED) == [each for each in found(data, whole.seed) if each[1] == SETTLED]


@given(segment, st.integers(0, SIZE))
def test_of_a_file_cut_anywhere_the_records_before_the_cut_are_found(whole: Written, length: int) -> None:
    data = whole.data[:length]
    assert found(data, whole.seed) == whole.untouched(data)
    assert found(data, whole.seed, only=SETTLED) == [each for each in whole.untouched(data) if each[1] == SETTLED]


@given(segment, st.data())
def test_who_reads_in_pieces_reads_the_same(whole: Written, data: st.DataObject) -> None:
    ends = [BEGIN, *(record.end for record in whole.records)]
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends))) | {BEGIN, len(whole.data)})
    for only in (0, SETTLED):
        pieces = [
            frame
            for begin, end in pairwise(cuts)
            for frame in frames(whole.data[begin:end], begin, whole.seed, only=only)
        ]
        assert [each.begin for each in pieces] == [each.begin for each in whole.records if only in (0, each.kind)]


@given(damaged(), st.data())
def test_who_reads_in_pieces_what_was_damaged_raises_nothing_and_reads_no_more(
    case: Spoilt, data: st.DataObject
) -> None:
    """From any record on: a reader remembers where it was, and the bytes changed since."""
    whole, bytes_ = case
    begin = data.draw(st.sampled_from([record.begin for record in whole.records]))
    everything = {each for each in whole.untouched(bytes_) if each[0] >= begin}
    for only in (0, SETTLED):
        told = [
            (each.begin, each.kind, each.payload)
            for each in frames(bytes_[begin:], begin, whole.seed, only=only)
            if each.kind
        ]
        assert set(told) == {each for each in everything if only in (0, each[1])}


def test_every_single_bit_of_a_segment_may_flip() -> None:
    whole = written([(INTENT, b"intent" * 3), (SETTLED, b"one"), (PROGRESS, b"noted" * 4), (SETTLED, b"two" * 9)], 512)
    for bit in range(len(whole.data) * 8):
        data = bytearray(whole.data)
        data[bit // 8] ^= 1 << bit % 8
        seed = read_header(bytes(data[:BEGIN])).seed  # one of its copies is whole
        left = whole.untouched(bytes(data))
        assert found(bytes(data), seed) == left
        assert len(left) >= 3
        assert found(bytes(data), seed, only=SETTLED) == [each for each in left if each[1] == SETTLED]


def test_a_word_that_leads_astray_hides_no_settlement() -> None:
    """One bit of a size: it says 32 bytes more, and the next record is just as long."""
    whole = written([(PROGRESS, b"p" * 16), (SETTLED, b"s" * 16), (SETTLED, b"t" * 16)])
    data = bytearray(whole.data)
    size = 16 + 32
    data[BEGIN : BEGIN + 4] = (size | PROGRESS << 24).to_bytes(4, "little")
    assert [payload[:1] for _, _, payload in found(bytes(data), whole.seed, only=SETTLED)] == [b"s", b"t"]


def test_bytes_of_another_segment_are_no_records() -> None:
    old, new = (written([(SETTLED, b"%d" % number * 8) for number in range(20)], seed=seed) for seed in (1, 2))
    reused = new.data[: new.records[3].end] + old.data[old.records[3].end :]
    assert found(reused, new.seed) == new.untouched(reused)
    assert len(found(reused, new.seed)) == 4


def test_what_a_client_sends_is_no_record_where_it_begins() -> None:
    """It cannot know the seed; and where its bytes lie is no place where a record may begin, unless one is damaged."""
    inner = written([(SETTLED, b"forged" * 4)], seed=1)
    forged = inner.data[inner.records[0].begin : inner.records[0].end]
    outer = written([(SETTLED, forged), (SETTLED, b"true")])
    data = bytearray(outer.data)
    data[outer.records[0].begin] ^= 1
    assert [payload for _, _, payload in found(bytes(data), outer.seed)] == [b"true"]


def test_garbage_of_a_whole_segment_is_read_in_a_moment() -> None:
    """The search for the next record looks at no byte much more often than once."""
    noise = random.Random(3).randbytes(2 << 20)
    print("seed 3")
    looked = 0

    class Counted(bytes):
        def __getitem__(self, key: slice) -> bytes:  # type: ignore[override]
            nonlocal looked
            piece = super().__getitem__(key)
            looked += len(piece)
            return piece

    assert [each.kind for each in frames(Counted(noise), BEGIN, 1)] == [0]
    assert looked < 500 * len(noise)


# ---- headers


def test_a_header_is_read_from_either_of_its_copies_and_told_as_damaged_without() -> None:
    begin = bytearray(written([(SETTLED, b"x")]).data[:BEGIN])
    header = read_header(bytes(begin))
    assert (header.journal, header.number, header.size) == (JOURNAL, 1, SIZE)
    begin[20] ^= 1
    assert read_header(bytes(begin)) == header
    begin[64 + 30] ^= 1
    with pytest.raises(Damaged, match="its header is damaged"):
        read_header(bytes(begin))


@given(st.binary(max_size=200))
def test_what_is_no_header_is_told_as_one(begin: bytes) -> None:
    with pytest.raises(Damaged):
        read_header(begin)


@pytest.mark.parametrize("size", range(500, 517))
def test_a_segment_may_be_asked_for_in_any_size(size: int, tmp_path: Path) -> None:
    made = Segment(tmp_path / "a", new_header(JOURNAL, 1, size))
    assert size <= made.size < size + 8
    cell = made.put(INTENT, b"x")
    made.count(cell, 77)
    made.close()
    [record] = frames(made.path.read_bytes()[BEGIN:], BEGIN, made.seed)
    assert cell_value(record.cell) == 77


def test_no_record_goes_over_the_end_and_the_last_one_may_reach_it(tmp_path: Path) -> None:
    made = Segment(tmp_path / "a", new_header(JOURNAL, 1, 512))
    sizes = []
    for size in (100, 100, 50, 20, 5, 1):
        while made.put(SETTLED, b"x" * size):
            sizes.append(size)
    made.close()
    data = made.path.read_bytes()
    assert len(data) == 512
    assert [len(each.payload) for each in frames(data[BEGIN:], BEGIN, made.seed)] == sizes


# ---- cells


@given(st.integers(0, (1 << 44) - 1))
def test_a_cell_tells_what_it_counted(value: int) -> None:
    assert cell_value(value << 20 | value % 1_048_573) == value


@given(st.integers(0, (1 << 44) - 1), st.integers(0, 63))
def test_a_cell_with_a_bit_flipped_counts_nothing(value: int, bit: int) -> None:
    assert cell_value((value << 20 | value % 1_048_573) ^ 1 << bit) == 0


def test_a_cell_is_set_without_touching_its_record(tmp_path: Path) -> None:
    made = Segment(tmp_path / "a", new_header(JOURNAL, 1, 512))
    cells: Sequence[int] = [made.put(INTENT, b"record %d" % number) for number in range(3)]
    for number, cell in enumerate(cells):
        made.count(cell, number * 1000)
    made.close()
    told = list(frames(made.path.read_bytes()[BEGIN:], BEGIN, made.seed))
    assert [(each.payload, cell_value(each.cell)) for each in told] == [
        (b"record 0", 0), (b"record 1", 1_000), (b"record 2", 2_000),
    ]  # fmt: skip
    assert FRAME.size == 16
