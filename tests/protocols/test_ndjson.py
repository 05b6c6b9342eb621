"""Lines of JSON: however a stream is cut into chunks, the same lines come out, and no more is kept than one of them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UpstreamBroken
from fairlead.protocols.ndjson import LineCutter
from work import grows_with_its_size


def lines(stream: bytes, cuts: list[int], limit: int = 1 << 20) -> list[bytes]:
    cutter = LineCutter(limit)
    places = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
    found = [line for start, end in pairwise(places) for line in cutter.feed(stream[start:end])]
    rest = cutter.finish()
    assert cutter.held == 0
    return [*found, rest] if rest else found


@given(
    st.lists(st.sampled_from([b"{}", b'{"a":1}', b"\n", b"\r\n", b"\n\n", b" ", b"\xe2\x80\xa8"])),
    st.lists(st.integers(0, 99)),
)
def test_any_split_of_the_bytes_gives_the_same_lines(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    expected = [line for line in (each.strip(b" \t\r\n") for each in stream.split(b"\n")) if line]
    assert lines(stream, cuts) == lines(stream, []) == expected


def test_a_line_without_an_end_comes_last() -> None:
    assert lines(b'{"a":1}\r\n{"b":2}', []) == [b'{"a":1}', b'{"b":2}']


def test_what_is_not_whole_is_held() -> None:
    cutter = LineCutter(100)
    assert cutter.feed(b'{"a"') == []
    assert cutter.held == 4
    assert cutter.feed(b':1}\n{"b') == [b'{"a":1}']
    assert cutter.held == 3


@pytest.mark.parametrize(
    "chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"x" * 11 + b"\n"], [b"a\n" + b"x" * 11 + b"\nb"]]
)
def test_a_line_that_is_too_large_breaks_the_stream(chunks: list[bytes]) -> None:
    cutter = LineCutter(10)
    with pytest.raises(UpstreamBroken, match="larger than 10 bytes"):
        fed(cutter, chunks)


def fed(cutter: LineCutter, chunks: list[bytes]) -> list[bytes]:
    return [line for chunk in chunks for line in cutter.feed(chunk)]


def test_many_small_lines_in_one_chunk_may_be_more_than_one_line_may() -> None:
    assert len(LineCutter(10).feed(b"{}\n" * 1000)) == 1000


def test_a_long_line_in_many_chunks_costs_no_more_than_its_size() -> None:
    def cut(chunks: int) -> None:
        cutter = LineCutter(1 << 25)
        for _ in range(chunks):
            cutter.feed(b"x" * 100)
        assert len(cutter.feed(b"\n")[0]) == 100 * chunks

    assert grows_with_its_size(cut, 500)
