"""Thoughts in chat completions: `reasoning_details`, as OpenRouter and its likes tell them, and plain text.

https://openrouter.ai/docs/use-cases/reasoning-tokens. A detail's `format` says whose its signature is.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Opaque, Reasoning
from fairlead.protocols.codecs import carried
from fairlead.protocols.envelope import typed

NAME = "openai-chat"
_FORMATS: dict[str | None, str] = {"anthropic-messages": "anthropic-claude-v1", NAME: "unknown"}
_PROTOCOLS = {"anthropic-claude-v1": "anthropic-messages"}
_OURS = "fairlead:"  # and a protocol's name: of those that nobody else has a word for

_FOUND = b'"' + _OURS.encode()


class Detail(Struct, omit_defaults=True):
    """One of `reasoning_details`."""

    type: str
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None
    index: int | None = None


_detail = msgspec.json.Decoder(Detail)
_raws = msgspec.json.Decoder(list[Raw])


def thoughts(details: list[Raw] | None, plain: str | None, place: str = "") -> Iterator[Reasoning]:
    """What was thought, from `reasoning_details` if there are any (they carry signatures), else from the plain text."""
    told = [thought for thought in map(thought_of, _gathered(read_details(details, place))) if thought is not None]
    seals = [thought for thought in told if seal_of(thought) is not None]
    if plain and (not details or (seals and len(seals) == len(told))):
        yield Reasoning(plain)
    yield from (thought for thought in told if seal_of(thought) is None)
    yield from seals  # what they keep stands beside the text behind them


def carries(details: Raw) -> bool:
    """Whether a client brought thoughts back that are another format's, or look so."""
    return _FOUND in bytes(details)


def without(details: Raw) -> Raw | None:
    """`details` without what is another format's and nobody else has a word for; None if nothing is left."""
    try:
        told = _raws.decode(details)
    except (msgspec.DecodeError, RecursionError):
        return details  # no details at all: their provider will say so
    kept = [raw for raw in told if not _is_carried(raw)]
    return Raw(msgspec.json.encode(kept)) if kept else None


def _is_carried(raw: Raw) -> bool:
    if _FOUND not in bytes(raw):
        return False
    try:
        return (_detail.decode(raw).format or "").startswith(_OURS)
    except (msgspec.DecodeError, RecursionError):
        return False


def read_details(details: list[Raw] | None, place: str = "") -> list[Detail]:
    return [typed(raw, _detail, f"{place}.reasoning_details[{index}]") for index, raw in enumerate(details or ())]


def thought_of(detail: Detail, *, opening: bool = False) -> Reasoning | None:
    """The thought that `detail` tells; None if it tells none. `opening`: its signature may still come."""
    protocol = _protocol(detail.format)
    if detail.type == "reasoning.encrypted":
        return Reasoning(encrypted=detail.data, protocol=protocol) if detail.data else None
    text = detail.text or detail.summary or ""
    if not text and not detail.signature:
        return None
    sealed = detail.signature or (opening and (protocol != NAME or detail.format))
    return Reasoning(text, detail.signature, protocol=protocol if sealed else None)


def _protocol(form: str | None) -> str:
    """Whose a signature is, by the `format` of its detail; what we do not know goes back as it came."""
    form = form and _once(form)
    if form is not None and form.startswith(_OURS):
        return form.removeprefix(_OURS)
    return _PROTOCOLS.get(form or "", NAME)


def _once(form: str) -> str:
    """`form` without its repetitions: the SDK `openai` joins the pieces of a stream, and their formats with them."""
    return form[: (form + form).find(form, 1)]


def _gathered(details: list[Detail]) -> Iterator[Detail]:
    """Whole details: clients keep the pieces of a stream as they came, alike in `type` and `index`."""
    pieces: list[Detail] = []
    for detail in details:
        if pieces and (detail.index is None or (detail.type, detail.index) != (pieces[0].type, pieces[0].index)):
            yield _whole(pieces)
            pieces = []
        pieces.append(detail)
    if pieces:
        yield _whole(pieces)


def _whole(pieces: list[Detail]) -> Detail:
    """What `pieces` tell together: the last signature, and the first format."""
    if len(pieces) == 1:
        return pieces[0]
    return msgspec.structs.replace(
        pieces[0],
        text=_joined([piece.text for piece in pieces]),
        summary=_joined([piece.summary for piece in pieces]),
        data=_joined([piece.data for piece in pieces]),
        signature=next((piece.signature for piece in reversed(pieces) if piece.signature), pieces[0].signature),
        format=next((piece.format for piece in pieces if piece.format), pieces[-1].format),
    )


def _joined(texts: list[str | None]) -> str | None:
    told = [text for text in texts if text is not None]
    return "".join(told) if told else None


def seal_of(part: Reasoning) -> str | None:
    """What stands in a detail that is no thought but keeps something for another format: see `carried`."""
    return part.encrypted if part.protocol == "" else None


def encoded_seal(extra: Opaque, index: int) -> dict[str, Any]:
    """One of `reasoning_details`: what another format keeps beside a text."""
    return {"type": "reasoning.encrypted", "data": carried.beside(extra), "format": _OURS, "index": index}


def encoded_thought(part: Reasoning, index: int) -> dict[str, Any]:
    """One of `reasoning_details`."""
    form = _FORMATS.get(part.protocol) or (f"{_OURS}{part.protocol}" if part.protocol is not None else "unknown")
    if part.encrypted is not None:
        return {"type": "reasoning.encrypted", "data": part.encrypted, "format": form, "index": index}
    return {
        "type": "reasoning.text", "text": part.text, "signature": part.signature, "format": form, "index": index,
    }  # fmt: skip
