"""Answers of Cohere's chat, version 1, whole and streamed: its JSON as our words.

https://docs.cohere.com/v1/reference/chat and https://docs.cohere.com/v1/docs/streaming. A stream is a JSON object on
each line; with the header `Accepts: text/event-stream` each line is the data of an event. Text beside calls of tools
is their plan.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Citation,
    Event,
    Finish,
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
    Usage,
)
from fairlead.errors import UpstreamBroken
from fairlead.protocols import counting
from fairlead.protocols.codecs import cohere_errors
from fairlead.protocols.codecs.cohere_answer import FAILED, Arguments, cited, reason
from fairlead.protocols.codecs.cohere_v1_request import NAME
from fairlead.protocols.codecs.telling import Telling
from fairlead.protocols.codecs.wording import new_call_id
from fairlead.protocols.envelope import NULL, any_value, given

_usage = counting.COUNTING[NAME].usage
_CALL_BYTES = 1000  # that a call takes in memory until the stream ends
_VALUE_TIMES = 24  # what a document takes, as many times as it had bytes


class _Call(Struct):
    name: str | None = None
    parameters: Raw = NULL


class _Answer(Struct):
    """A whole answer, which the last event of a stream has as well."""

    text: str | None = None
    generation_id: str | None = None
    response_id: str | None = None
    citations: list[Raw] | None = None
    documents: list[Raw] | None = None
    tool_calls: list[_Call] | None = None
    finish_reason: str | None = None
    meta: Raw = NULL
    message: Raw = NULL  # of an error
    error: Raw = NULL


class _CallDelta(Struct):
    index: float | None = None
    name: str | None = None
    parameters: str | None = None
    text: str | None = None


class _Event(Struct):
    event_type: str | None = None
    generation_id: str | None = None
    text: str | None = None
    citations: list[Raw] | None = None
    documents: list[Raw] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_delta: _CallDelta | None = None
    finish_reason: str | None = None
    response: _Answer | None = None
    message: Raw = NULL  # of an error
    error: Raw = NULL


class _Kind(Struct):
    event_type: str | None = None


class _Cited(Struct):
    start: int | None = None
    end: int | None = None
    document_ids: list[str] | None = None
    type: str | None = None


_answer = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_Event)
_kind = msgspec.json.Decoder(_Kind)
_cited = msgspec.json.Decoder(_Cited)
_KINDS = frozenset(
    "stream-start text-generation citation-generation search-results tool-calls-chunk tool-calls-generation"
    " stream-end".split()
)
_Documents = dict[str, dict[str, Any]]


def _documents(raws: list[Raw] | None) -> _Documents:
    """The documents by id."""
    found = (any_value(raw) for raw in raws or ())
    return {str(value.get("id")): value for value in found if isinstance(value, dict)}


def _citations(raws: list[Raw] | None, documents: _Documents) -> Iterator[Citation]:
    for raw in raws or ():
        try:
            told = _cited.decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            told = _Cited()
        if told.type in (None, "TEXT_CONTENT"):
            id = told.document_ids[0] if told.document_ids else None
            yield cited(Opaque(NAME, raw), told.start, told.end, documents.get(id or "", {}), id)


def _tool_use(call: _Call) -> ToolUse:
    if not call.name:
        raise UpstreamBroken("it called a tool without a name")
    return ToolUse(new_call_id(), call.name, bytes(given(call.parameters) or b"{}").decode(errors="replace"))


# ---- whole answers


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    try:
        answer = _answer.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"its answer is not one of a chat ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("its answer is not JSON") from None
    _check(answer)
    if answer.text is None and not answer.tool_calls:
        if given(answer.message) is not None:
            raise cohere_errors.within(any_value(answer.message))
        raise UpstreamBroken("its answer has no text")
    return Response(
        id=answer.generation_id or answer.response_id or "",
        model="",
        parts=tuple(_parts(answer)),
        finish_reason=reason(answer.finish_reason, calls=bool(answer.tool_calls)),
        usage=_usage(answer.meta),
        raw_reason=answer.finish_reason,
    )


def _check(answer: _Answer | _Event) -> None:
    """Raises UpstreamError if it tells one."""
    if given(answer.error) is not None or (answer.finish_reason or "").upper() in FAILED:
        told = answer.error if given(answer.error) is not None else answer.message
        raise cohere_errors.within(any_value(told), answer.finish_reason)


def _parts(answer: _Answer) -> Iterator[Part]:
    if answer.text and answer.tool_calls:
        yield Reasoning(answer.text)
    elif answer.text:
        yield Text(answer.text, citations=tuple(_citations(answer.citations, _documents(answer.documents))))
    for call in answer.tool_calls or ():
        yield _tool_use(call)


# ---- streams


class Decoder:
    """Lines → events. Calls that come in pieces are open until all are told whole."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._parts = Telling()
        self._documents: _Documents = {}
        self._started = self._finished = self._planned = self._called = False
        self._calls: dict[int, tuple[int, Arguments]] = {}  # by their number: our index
        self._in_pieces = 0  # calls that came so, of those that are not told whole yet

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one line tells; b"" is the end of the stream."""
        if not event:
            if not self._finished:
                raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
            return []
        payload = event.removeprefix(b"data:").strip()
        if self._finished or not payload.startswith(b"{"):
            if payload and not _is_framing(payload):
                raise UpstreamBroken("an event is not JSON")
            return []
        told = _understood(payload)
        return list(self._told(told)) if told is not None else []

    def _told(self, event: _Event) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield Start(event.generation_id or "", "")
        match event.event_type:
            case "text-generation":
                yield from self._parts.more(Text, event.text or "")
            case "citation-generation":
                yield from self._parts.beside(citations=tuple(_citations(event.citations, self._documents)))
            case "search-results":
                self._documents.update(_documents(event.documents))
                self.held += _VALUE_TIMES * sum(map(len, event.documents or ()))
            case "tool-calls-chunk":
                yield from self._chunk(event.tool_call_delta or _CallDelta(), event.text or "")
            case "tool-calls-generation":
                yield from self._generation(event.text, event.tool_calls or [])
            case "stream-end":
                yield from self._end(event)

    def _chunk(self, delta: _CallDelta, text: str) -> Iterator[Event]:
        plan = delta.text or text
        if plan:
            self._planned = True
            yield from self._parts.more(Reasoning, plan)
        number = int(delta.index) if delta.index is not None and abs(delta.index) < 2**31 else self._in_pieces
        if delta.name and number not in self._calls:
            yield from self._parts.close()
            index = self._parts.take()
            self._calls[number] = index, Arguments()
            self._in_pieces += 1
            self._called = True
            self.held += _CALL_BYTES
            yield PartStart(index, ToolUse(new_call_id(), delta.name, ""))
        if delta.parameters and number in self._calls:
            index, kept = self._calls[number]
            piece = kept.add(delta.parameters)
            if piece:
                yield PartDelta(index, piece)

    def _generation(self, text: str | None, calls: list[_Call]) -> Iterator[Event]:
        """All calls, whole: those that came in pieces are known."""
        if text and not self._planned:
            yield from self._parts.more(Reasoning, text)
        yield from self._close()
        for call in calls[self._in_pieces :]:
            self._called = True
            yield from self._parts.call(_tool_use(call))
        self._in_pieces, self._planned = 0, False

    def _close(self) -> Iterator[Event]:
        yield from self._parts.close()
        for index, kept in self._calls.values():
            rest = kept.rest()
            if rest:
                yield PartDelta(index, rest)
            yield PartEnd(index)
        self._calls.clear()

    def _end(self, event: _Event) -> Iterator[Event]:
        answer = event.response or _Answer()
        self.usage = _usage(answer.meta) or self.usage
        _check(event)
        _check(answer)
        if not self._parts.begun:
            for part in _parts(answer):
                yield from self._whole(part)
        yield from self._close()
        self._finished = True
        self.held = 0
        raw = event.finish_reason or answer.finish_reason
        yield Finish(reason(raw, calls=self._called), self.usage, raw_reason=raw)

    def _whole(self, part: Part) -> Iterator[Event]:
        match part:
            case Text(text=text, citations=citations):
                yield from self._parts.more(Text, text)
                yield from self._parts.beside(citations=citations)
            case Reasoning(text=text):
                yield from self._parts.more(Reasoning, text)
            case ToolUse():
                self._called = True
                yield from self._parts.call(part)


def _is_framing(line: bytes) -> bool:
    """A line of an event stream that is not data, or its end mark."""
    return line == b"[DONE]" or line.startswith((b"event:", b"id:", b"retry:", b":")) or line.startswith(b"{")


def _understood(payload: bytes) -> _Event | None:
    """An event, None if it is of a kind that we do not know. Raises UpstreamError if it tells an error."""
    try:
        event = _event.decode(payload)
    except msgspec.ValidationError:
        if _of_another_kind(payload):
            return None
        raise UpstreamBroken("an event is not one of a chat") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("an event is not JSON") from None
    if event.event_type in _KINDS:
        return event
    if given(event.error) is not None:
        raise cohere_errors.within(any_value(event.error))
    if event.event_type in (None, "stream-error") and given(event.message) is not None:
        raise cohere_errors.within(any_value(event.message))
    return None


def _of_another_kind(payload: bytes) -> bool:
    try:
        kind = _kind.decode(payload).event_type
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return kind is not None and kind not in _KINDS
