"""Where what an answer says stands: Gemini's grounding and citation metadata, and our citations.

Their places are bytes of the answer's text in UTF-8, of all its texts together but for thoughts; ours are characters
of one part. https://ai.google.dev/api/generate-content#GroundingMetadata
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from fairlead.chat import Citation
from fairlead.protocols.envelope import given

_MOST_CHARACTERS = 4_000_000  # that citations tell of sources; one source may be cited many times


class _Segment(Struct, rename="camel"):
    start_index: int = 0
    end_index: int | None = None


class _Support(Struct, rename="camel"):
    segment: _Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class _Source(Struct, rename="camel"):
    uri: str | None = None
    title: str | None = None
    text: str | None = None  # what a document says, that was searched


class _Grounding(Struct, rename="camel"):
    grounding_chunks: list[dict[str, Raw]] | None = None
    grounding_supports: list[_Support] | None = None


class _Quoted(Struct, rename="camel"):
    start_index: int = 0
    end_index: int | None = None
    uri: str | None = None
    title: str | None = None


class _Citations(Struct, rename="camel"):
    citation_sources: list[_Quoted] | None = None  # of the Gemini API
    citations: list[_Quoted] | None = None  # of Google Cloud


_grounding = msgspec.json.Decoder(_Grounding)
_citations = msgspec.json.Decoder(_Citations)
_source = msgspec.json.Decoder(_Source)
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class Said:
    """The texts of an answer: which byte of them is which character of which part. Of plain ASCII only its length is
    kept."""

    __slots__ = ("_bytes", "_characters", "_last", "_runs", "held")

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, int, str | None]] = []  # first byte, part, first character there, text
        self._last: int | None = None  # the part that the last run is of
        self._bytes = 0
        self._characters: dict[int, int] = {}  # of each part
        self.held = 0

    def add(self, part: int, text: str) -> None:
        plain, before = text.isascii(), self._characters.get(part, 0)
        if part != self._last or not plain or self._runs[-1][3] is not None:
            self._runs.append((self._bytes, part, before, None if plain else text))
            self._last = part
            self.held += 100 + (0 if plain else 4 * len(text))
        self._characters[part] = before + len(text)
        self._bytes += len(text) if plain else len(text.encode(errors="replace"))

    def bytes_at(self, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """By each character of a part that is `wanted`, the byte that it is: the inverse of `places`."""
        runs: dict[int, list[tuple[int, int, str | None]]] = {}
        for begin, part, first, text in self._runs:
            runs.setdefault(part, []).append((begin, first, text))
        found: dict[tuple[int, int], int] = {}
        place: tuple[int, int] | None = None  # a part, and which of its runs
        reached = count = 0
        for part, character in sorted(set(wanted)):
            if not 0 <= character <= self._characters.get(part, -1):
                continue
            if place is None or place[0] != part:
                place, reached, count = (part, 0), 0, 0
            own = runs[part]
            while place[1] + 1 < len(own) and own[place[1] + 1][1] < character:
                place, reached, count = (part, place[1] + 1), 0, 0
            begin, first, text = own[place[1]]
            within = character - first
            count += within - reached if text is None else len(text[reached:within].encode(errors="replace"))
            reached = within
            found[part, character] = begin + count
        return found

    def places(self, offsets: Iterable[int]) -> dict[int, tuple[int, int]]:
        """By each of `offsets`, in bytes, the part that it is in, and the character there."""
        found: dict[int, tuple[int, int]] = {}
        run, reached, count, told = -1, 0, 0, b""
        for offset in sorted(set(offsets)):
            if not 0 <= offset <= self._bytes:
                continue
            while run + 1 < len(self._runs) and (run < 0 or self._runs[run + 1][0] < offset):
                run += 1
                reached = count = 0
                told = (self._runs[run][3] or "").encode(errors="replace")
            if run < 0:
                continue
            begin, part, first, text = self._runs[run]
            within = offset - begin
            count = within if text is None else count + len(told[reached:within].decode(errors="ignore"))
            reached = within
            found[offset] = (part, first + count)
        return found


def decode(grounding: Raw, quoted: Raw, said: Said) -> list[tuple[int | None, Citation]]:
    """Citations, each with the part that it belongs to; None where nothing says which. Never raises."""
    found = [*_grounded(grounding), *_quoted(quoted)]
    places = said.places([offset for begin, end, _ in found for offset in (begin, end) if offset is not None])
    return list(_placed(found, places))


_Found = tuple[int | None, int | None, Citation]  # first byte, the one after the last


def _placed(found: list[_Found], places: dict[int, tuple[int, int]]) -> Iterator[tuple[int | None, Citation]]:
    left = _MOST_CHARACTERS
    for begin, end, citation in found:
        left -= sum(len(text) for text in (citation.url, citation.title, citation.quote) if text is not None)
        if left < 0:
            return
        last = places.get(end) if end is not None else None
        first = places.get(begin) if begin is not None else None
        if first is None or last is None:
            yield (last[0] if last is not None else None), citation
        elif first[0] == last[0]:
            yield last[0], structs.replace(citation, start=first[1], end=last[1])
        else:  # it begins where another part ends, or before
            yield last[0], structs.replace(citation, start=0, end=last[1])


def _grounded(raw: Raw) -> Iterator[_Found]:
    """What supports cite, and sources that none does."""
    try:
        told = _grounding.decode(raw) if given(raw) is not None else _Grounding()
    except _UNREADABLE:
        return
    sources = [_citation(chunk) for chunk in told.grounding_chunks or ()]
    used: set[int] = set()
    for support in told.grounding_supports or ():
        segment = support.segment or _Segment()
        for index in support.grounding_chunk_indices or ():
            if 0 <= index < len(sources):
                used.add(index)
                yield segment.start_index, segment.end_index, sources[index]
    yield from ((None, None, source) for index, source in enumerate(sources) if index not in used)


def _citation(chunk: dict[str, Raw]) -> Citation:
    """Of a chunk, which is of one kind: web, retrievedContext, maps, …"""
    for raw in chunk.values():
        try:
            source = _source.decode(raw)
        except _UNREADABLE:
            continue
        return Citation(source.uri, source.title, source.text)
    return Citation()


def _quoted(raw: Raw) -> Iterator[_Found]:
    try:
        told = _citations.decode(raw) if given(raw) is not None else _Citations()
    except _UNREADABLE:
        return
    for each in [*(told.citation_sources or ()), *(told.citations or ())]:
        yield each.start_index, each.end_index, Citation(each.uri, each.title)


def encode(cited: Iterable[tuple[int, Citation]], said: Said) -> dict[str, Any] | None:
    """`groundingMetadata` for citations, each of a part of what was `said`; None if there are none."""
    told = list(cited)
    places = [(part, place) for part, each in told for place in (each.start, each.end) if place is not None]
    bytes_at = said.bytes_at(places)
    chunks: dict[tuple[str | None, str | None, str | None, int], int] = {}
    supports: list[dict[str, Any]] = []
    for number, (part, each) in enumerate(told):
        # One source may be cited in many places, and told once more where nothing says in which.
        apart = -1 if each.start is not None and each.end is not None else number
        chunk = chunks.setdefault((each.url, each.title, each.quote, apart), len(chunks))
        first, last = (bytes_at.get((part, -1 if place is None else place)) for place in (each.start, each.end))
        if first is not None and last is not None:
            segment = {"startIndex": first, "endIndex": last}
            supports.append({"segment": segment, "groundingChunkIndices": [chunk]})
    if not chunks:
        return None
    known = {"groundingChunks": [_chunk(*source[:3]) for source in chunks]}
    return {**known, **({"groundingSupports": supports} if supports else {})}


def _chunk(url: str | None, title: str | None, quote: str | None) -> dict[str, Any]:
    facts = {"uri": url, "title": title, "text": quote}
    told = {name: value for name, value in facts.items() if value is not None}
    return {"web" if quote is None else "retrievedContext": told}
