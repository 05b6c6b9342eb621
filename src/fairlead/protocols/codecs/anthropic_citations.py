"""Citations in Anthropic's messages: `citations` beside a text, which are of all of it.

https://docs.anthropic.com/en/docs/build-with-claude/citations
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Citation, Opaque
from fairlead.protocols.envelope import given

NAME = "anthropic-messages"
_SEARCH_RESULT = "search_result_location"


class _Citation(Struct):
    """Of any kind, as far as we read it."""

    type: str = ""
    url: str | None = None  # of a result of its own search
    source: str | None = None  # of a search result that the request brought: an address, or a name
    title: str | None = None
    document_title: str | None = None
    cited_text: str | None = None
    start_block_index: int | None = None
    end_block_index: int | None = None


_list = msgspec.json.Decoder(list[Raw])
_citation = msgspec.json.Decoder(_Citation)


def decode(raw: Raw) -> tuple[Citation, ...]:
    """Citations beside a text; in a request the field may also be a wish, which is an object."""
    if given(raw) is None or bytes(raw)[:1] != b"[":
        return ()
    return tuple(map(decode_one, _list.decode(raw)))


def decode_one(raw: Raw) -> Citation:
    """What a text cites: it is always all of the text that does. Raises nothing."""
    raw = Raw(bytes(raw))  # of its own: it outlives the answer it stood in
    try:
        told = _citation.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Citation(raw=Opaque(NAME, raw))
    # A range of no blocks is one that we told; Anthropic's own are never empty, and it would refuse it.
    # https://docs.anthropic.com/en/api/messages, CitationSearchResultLocation.end_block_index
    ours = told.type == _SEARCH_RESULT and told.start_block_index is not None
    ours = ours and told.start_block_index == told.end_block_index
    return Citation(
        told.url if told.url is not None else told.source or None,
        told.title if told.title is not None else told.document_title,
        told.cited_text or None,
        raw=None if ours else Opaque(NAME, raw),
    )


def encode(citation: Citation) -> Any:
    """For a client; None where there is nothing to tell. Those of other formats are told as a search result's."""
    if citation.raw is not None and citation.raw.protocol == NAME:
        return citation.raw.raw
    if citation.url is None and citation.title is None and citation.quote is None:
        return None
    return {
        "type": _SEARCH_RESULT,
        "cited_text": citation.quote or "",
        "source": citation.url or "",
        "title": citation.title,
        "search_result_index": 0,
        "start_block_index": 0,
        "end_block_index": 0,
    }


def own(citations: tuple[Citation, ...]) -> list[Raw]:
    """Those that came in this format: a request tells no others."""
    return [one.raw.raw for one in citations if one.raw is not None and one.raw.protocol == NAME]
