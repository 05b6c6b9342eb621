"""Answers for clients that speak Gemini's format, whole and streamed. A stream is chunks, each shaped as an answer.

https://ai.google.dev/api/generate-content#generatecontentresponse
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, structs

from fairlead.chat import (
    Citation,
    Event,
    Finish,
    FinishReason,
    Media,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Response,
    Start,
    Text,
    ToolUse,
)
from fairlead.protocols import sse
from fairlead.protocols.codecs import gemini_usage
from fairlead.protocols.codecs.gemini_grounding import Said
from fairlead.protocols.codecs.gemini_grounding import encode as grounding
from fairlead.protocols.codecs.gemini_parts import said

_TOLD: dict[FinishReason | None, str] = {
    "length": "MAX_TOKENS", "content_filter": "SAFETY", "refusal": "PROHIBITED_CONTENT",
}  # fmt: skip
_OWN = frozenset(
    "STOP MAX_TOKENS SAFETY RECITATION LANGUAGE OTHER BLOCKLIST PROHIBITED_CONTENT SPII MALFORMED_FUNCTION_CALL"
    " IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_OTHER NO_IMAGE IMAGE_RECITATION UNEXPECTED_TOOL_CALL"
    " TOO_MANY_TOOL_CALLS MISSING_THOUGHT_SIGNATURE MALFORMED_RESPONSE MODEL_ARMOR".split()
)
_encode = msgspec.json.encode

_PART_BYTES = 500  # beside what is held of a part


def encode(response: Response) -> bytes:
    texts, cited = Said(), []
    for index, part in enumerate(response.parts):
        if isinstance(part, Text):
            texts.add(index, part.text)
            cited += [(index, citation) for citation in part.citations]
    parts = [told for part in response.parts for told in said(part, carry=True)]
    candidate: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": _reason(response.finish_reason, response.raw_reason),
        "index": 0,
    }
    found = grounding(cited, texts)
    if found is not None:
        candidate["groundingMetadata"] = found
    facts = _facts(response.id, response.model, response.created)
    return _encode({"candidates": [candidate], **gemini_usage.encode(response.usage), **facts})


def _reason(reason: FinishReason | None, raw: str | None) -> str:
    return raw if raw in _OWN else _TOLD.get(reason, "STOP")


def _facts(id: str, model: str, created: int) -> dict[str, str]:
    facts = {"modelVersion": model, "responseId": id}
    if created:
        facts["createTime"] = datetime.fromtimestamp(min(created, _LATEST), UTC).isoformat().replace("+00:00", "Z")
    return facts


_LATEST = 253_402_300_799  # the last second that a date can say


class _Open(Struct):
    """A part that goes on."""

    part: Part
    arguments: list[str]
    extras: list[Opaque]
    size: int = _PART_BYTES


class Encoder:
    """Events of ours → chunks of theirs, as events. A call is told when it is whole."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._facts = b""
        self._texts = Said()
        self._cited: list[tuple[int, Citation]] = []
        self._held = self.held = 0

    def __call__(self, event: Event) -> bytes:
        told = self._event(event)
        self.held = self._held + self._texts.held
        return told

    def _event(self, event: Event) -> bytes:
        match event:
            case PartDelta(index=index):
                return self._delta(event, self._open[index]) if index in self._open else b""
            case PartStart():
                return self._begin(event)
            case PartEnd(index=index):
                return self._end(self._open.pop(index, None))
            case Start(id=id, model=model, created=created):
                self._facts = b"," + _encode(_facts(id, model, created))[1:]
                return b""
            case Finish():
                return self._finish(event)

    def _begin(self, start: PartStart) -> bytes:
        match start.part:
            case Media() | Opaque():
                return self._told(start.part)
            case Text() as part:
                self._keep(start.index, part)
                return self._text(start.index, part)
            case Reasoning(encrypted=None) as part:  # its signature ends it
                self._keep(start.index, structs.replace(part, text=""))
                return self._told(structs.replace(part, signature=None)) if part.text else b""
            case Reasoning() as part:
                return self._told(part)
            case ToolUse(arguments=arguments) as part:
                self._keep(start.index, part, arguments)
        return b""

    def _keep(self, index: int, part: Part, arguments: str = "") -> None:
        self._open[index] = _Open(part, [arguments], [], _PART_BYTES + len(arguments))
        self._held += self._open[index].size

    def _delta(self, delta: PartDelta, known: _Open) -> bytes:
        match known.part:
            case Text():
                return self._text(delta.index, Text(delta.text, citations=delta.citations, extra=delta.extra))
            case Reasoning() as part:
                if delta.signature is not None:
                    known.part = structs.replace(part, signature=None)
                return self._told(structs.replace(part, text=delta.text, signature=delta.signature))
            case ToolUse():
                known.arguments.append(delta.text)
                size = len(delta.text) + 100
                if delta.extra is not None:
                    known.extras.append(delta.extra)
                    size += len(delta.extra.raw)
                known.size += size
                self._held += size
        return b""

    def _text(self, index: int, part: Text) -> bytes:
        if part.text:
            self._texts.add(index, part.text)
        for citation in part.citations:
            self._cited.append((index, citation))
            self._held += _PART_BYTES
        return self._told(part)

    def _end(self, known: _Open | None) -> bytes:
        if known is None:
            return b""
        self._held -= known.size
        if isinstance(known.part, Reasoning) and known.part.signature is not None:
            return self._told(known.part)
        if not isinstance(known.part, ToolUse):
            return b""
        extra = known.extras[-1] if known.extras else known.part.extra
        return self._told(structs.replace(known.part, arguments="".join(known.arguments) or "{}", extra=extra))

    def _told(self, part: Part) -> bytes:
        parts = list(said(part, carry=True))
        if not parts:
            return b""
        candidate = b'{"content":{"parts":%b,"role":"model"},"index":0}' % _encode(parts)
        return _event(b'{"candidates":[%b]' % candidate, self._facts)

    def _finish(self, finish: Finish) -> bytes:
        told = [self._end(known) for known in self._open.values()]
        self._open.clear()
        candidate: dict[str, Any] = {
            "content": {"parts": [{"text": ""}], "role": "model"},
            "finishReason": _reason(finish.reason, finish.raw_reason),
            "index": 0,
        }
        found = grounding(self._cited, self._texts)
        if found is not None:
            candidate["groundingMetadata"] = found
        body = _encode({"candidates": [candidate], **gemini_usage.encode(finish.usage)})
        return b"".join(told) + _event(body[:-1], self._facts)


def _event(body: bytes, facts: bytes) -> bytes:
    """`body` is an object without its end, which `facts` are."""
    return b"data: %b%b\r\n\r\n" % (sse.line(body), facts or b"}")
