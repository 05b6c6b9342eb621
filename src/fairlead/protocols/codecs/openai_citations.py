"""Citations in chat completions: `annotations` beside a message, whose places count from the beginning of its content.

https://platform.openai.com/docs/api-reference/chat/object, `message.annotations`. What other servers put there besides
`url_citation` (OpenRouter: files) is kept for them alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from fairlead.chat import Citation, Opaque, Text
from fairlead.protocols.envelope import NULL

NAME = "openai-chat"


class _Cited(Struct):
    url: str | None = None
    title: str | None = None
    content: str | None = None  # OpenRouter's: what the source says
    start_index: int | None = None
    end_index: int | None = None


class _Annotation(Struct):
    type: str | None = None
    url_citation: _Cited | None = None


_list = msgspec.json.Decoder(list[Raw])
_annotation = msgspec.json.Decoder(_Annotation)


def decode(annotations: Raw) -> tuple[Citation, ...]:
    """What stands in `annotations`; nothing where it is no list. Places count from the beginning of the content."""
    if annotations is NULL or bytes(annotations)[:1] != b"[":
        return ()
    try:
        return tuple(map(_citation, _list.decode(annotations)))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ()


class _Result(Struct):
    url: str | None = None
    title: str | None = None


_addresses = msgspec.json.Decoder(list[str])
_results = msgspec.json.Decoder(list[_Result])


def sources(citations: Raw, search_results: Raw) -> tuple[Citation, ...]:
    """What some servers tell beside an answer, of no place in it: addresses, and what was found there.

    https://docs.perplexity.ai/api-reference/chat-completions-post and https://docs.x.ai/docs/guides/live-search
    """
    if citations is NULL:
        return ()
    try:
        addresses = _addresses.decode(citations)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ()
    try:
        titles = {found.url: found.title for found in _results.decode(search_results)}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        titles = {}
    return tuple(Citation(address, titles.get(address)) for address in addresses)


def _citation(raw: Raw) -> Citation:
    raw = Raw(bytes(raw))  # of its own: it outlives the answer it stood in
    try:
        cited = _annotation.decode(raw).url_citation or _Cited()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        cited = _Cited()
    start, end = cited.start_index, cited.end_index
    if start is None or end is None or not 0 <= start <= end:
        start = end = None
    return Citation(cited.url or None, cited.title, cited.content, start, end, Opaque(NAME, raw))


def within(citations: tuple[Citation, ...], begin: int) -> tuple[Citation, ...]:
    """Of a text that begins `begin` characters after its content. A place before it is none."""
    if not begin or not citations:
        return citations
    return tuple(
        citation if citation.start is None else structs.replace(citation, **_moved(citation, begin))
        for citation in citations
    )


def _moved(citation: Citation, begin: int) -> dict[str, int | None]:
    if citation.start is None or citation.end is None or citation.start < begin:
        return {"start": None, "end": None}
    return {"start": citation.start - begin, "end": citation.end - begin}


def beside(texts: Sequence[Text], annotations: Raw) -> tuple[Text, ...]:
    """The texts that a content is, each with the annotations that begin in it; the last with those of no place."""
    citations = decode(annotations)
    if not citations or not texts:
        return tuple(texts)
    found: list[Text] = []
    begin, left = 0, list(citations)
    for text in texts[:-1]:
        end = begin + len(text.text)
        here = tuple(citation for citation in left if citation.start is not None and citation.start < end)
        left = [citation for citation in left if citation.start is None or citation.start >= end]
        found.append(structs.replace(text, citations=within(here, begin)))
        begin = end
    return (*found, structs.replace(texts[-1], citations=within(tuple(left), begin)))


def encode(citations: Sequence[Citation], begin: int, length: int) -> Iterator[Any]:
    """The annotations that tell `citations` of a text of `length` characters that begins `begin` after its content.

    Those of other formats without a place stand at the whole text. One without an address (a document that the client
    gave) has its title and its words, and the address is "": this format has no other annotations.
    """
    for citation in citations:
        if citation.raw is not None and citation.raw.protocol == NAME:
            yield citation.raw.raw
        elif citation.url is not None or citation.title is not None or citation.quote is not None:
            placed = citation.start is not None and citation.end is not None
            cited: dict[str, Any] = {
                "start_index": begin + citation.start if placed else begin,  # type: ignore[operator]
                "end_index": begin + citation.end if placed else begin + length,  # type: ignore[operator]
                "url": citation.url or "",
                "title": citation.title or "",
            }
            if citation.quote is not None:
                cited["content"] = citation.quote
            yield {"type": "url_citation", "url_citation": cited}


def encoded(texts: Sequence[Text]) -> list[Any]:
    """The annotations of a message whose content is all of `texts`."""
    told: list[Any] = []
    begin = 0
    for text in texts:
        if text.citations:
            told += encode(text.citations, begin, len(text.text))
        begin += len(text.text)
    return told


def own(texts: Sequence[Text]) -> list[Raw]:
    """Those annotations that came in this format: a request tells no others."""
    return [
        citation.raw.raw
        for text in texts
        if text.citations
        for citation in text.citations
        if citation.raw is not None and citation.raw.protocol == NAME
    ]
