"""Answers of Cohere's chat, version 2, whole and streamed: its JSON as our words.

https://docs.cohere.com/reference/chat and https://docs.cohere.com/docs/streaming. A tool plan is a thought before
calls of tools. Of usage, `tokens` count: they hold the cached ones. What is billed is less: `counting` says how.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Citation,
    Event,
    Finish,
    FinishReason,
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
from fairlead.protocols import counting, sse
from fairlead.protocols.codecs import cohere_errors
from fairlead.protocols.codecs.cohere_request import NAME
from fairlead.protocols.codecs.telling import Telling
from fairlead.protocols.codecs.wording import new_call_id
from fairlead.protocols.envelope import NULL, any_value, given

_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop_sequence", "MAX_TOKENS": "length", "TOOL_CALL": "tool_use",
    "ERROR_LIMIT": "length", "ERROR_TOXIC": "content_filter",
}  # fmt: skip
FAILED = frozenset({"ERROR", "TIMEOUT"})
_usage = counting.COUNTING[NAME].usage
_encode = msgspec.json.encode
_CALL_BYTES = 1000  # that an open call takes in memory


class _Function(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(Struct):
    id: str | None = None
    function: _Function | None = None


class _Content(Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Message(Struct):
    content: str | list[Raw] | None = None
    tool_plan: str | None = None
    tool_calls: list[Call] | None = None
    citations: list[Raw] | None = None


class _Answer(Struct):
    id: str | None = None
    message: _Message | str | None = None
    finish_reason: str | None = None
    usage: Raw = NULL
    error: Raw = NULL


class _Said(Struct):
    """What an event adds to the message. The one that opens it has empty lists where others have objects."""

    content: _Content | str | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: Call | list[Call] | None = None
    citations: Raw = NULL


class _Delta(Struct):
    message: _Said | None = None
    finish_reason: str | None = None
    usage: Raw = NULL
    error: Raw = NULL


class _Event(Struct):
    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    message: Raw = NULL  # of an error
    error: Raw = NULL


class _Kind(Struct):
    type: str | None = None


class _Source(Struct):
    id: str | None = None
    document: dict[str, Any] | None = None
    tool_output: dict[str, Any] | None = None


class _Cited(Struct):
    start: int | None = None
    end: int | None = None
    sources: list[_Source] | None = None
    content_index: int | None = None
    type: str | None = None


_answer = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_Event)
_kind = msgspec.json.Decoder(_Kind)
_content = msgspec.json.Decoder(_Content)
_cited = msgspec.json.Decoder(_Cited)
_raws = msgspec.json.Decoder(list[Raw])
_KINDS = frozenset(
    "message-start content-start content-delta content-end tool-plan-delta tool-call-start tool-call-delta"
    " tool-call-end citation-start citation-end message-end".split()
)


def reason(told: str | None, *, calls: bool) -> FinishReason | None:
    """`calls`: tools were called, which version 1 does not say."""
    if told is None:
        return None
    found = _REASONS.get(told.upper(), "stop")
    return "tool_use" if calls and found == "stop" else found


def arguments(told: str | dict[str, Any] | None) -> str:
    """JSON text. A tool without parameters is called with "null"."""
    if isinstance(told, dict):
        return _encode(told).decode()
    return "{}" if told is None or told.strip() in ("", "null") else told


# ---- citations


def citation(raw: Raw, found: _Cited | None) -> Citation:
    """The words of its first source; all of them are in `raw`."""
    own = Opaque(NAME, raw)
    if found is None:
        return Citation(raw=own)
    source = found.sources[0] if found.sources else _Source()
    return cited(own, found.start, found.end, source.document or source.tool_output or {}, source.id)


def cited(own: Opaque, start: int | None, end: int | None, document: dict[str, Any], id: str | None) -> Citation:
    """A citation of `document`, whose fields are free: these are the usual ones."""
    url, title = _first(document, "url", "source_url", "link"), _first(document, "title", "name")
    if url is not None and not url.startswith(("https://", "http://")):
        url = None
    return Citation(url, title or id, _first(document, "snippet", "text", "content"), start, end, own)


def _first(document: dict[str, Any], *names: str) -> str | None:
    found = (document.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _read(raw: Raw) -> _Cited | None:
    try:
        return _cited.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _of_text(found: _Cited | None) -> bool:
    """Whether it stands in a text: thoughts and plans have no place for citations in our words."""
    return found is None or found.type in (None, "TEXT_CONTENT")


# ---- whole answers


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    try:
        answer = _answer.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"its answer is not one of a chat ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("its answer is not JSON") from None
    if given(answer.error) is not None:
        raise cohere_errors.within(any_value(answer.error), answer.finish_reason)
    message = answer.message
    if isinstance(message, str) or (answer.finish_reason or "").upper() in FAILED:
        raise cohere_errors.within(message, answer.finish_reason)
    if message is None:
        raise UpstreamBroken("its answer has no message")
    return Response(
        id=answer.id or "",
        model="",
        parts=tuple(_parts(message)),
        finish_reason=reason(answer.finish_reason, calls=bool(message.tool_calls)),
        usage=_usage(answer.usage),
        raw_reason=answer.finish_reason,
    )


def _parts(message: _Message) -> Iterator[Part]:
    if message.tool_plan:
        yield Reasoning(message.tool_plan)
    content = message.content
    blocks: list[Part] = [Text(content)] if isinstance(content, str) else list(map(_part, content or ()))
    yield from (part for part in _with_citations(blocks, message.citations or []) if not _is_empty(part))
    for call in message.tool_calls or ():
        yield tool_use(call)


def _part(raw: Raw) -> Part:
    try:
        block = _content.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Opaque(NAME, raw)
    if block.text is not None:
        return Text(block.text)
    return Reasoning(block.thinking) if block.thinking is not None else Opaque(NAME, raw)


def _is_empty(part: Part) -> bool:
    return isinstance(part, Text | Reasoning) and not part.text


def _with_citations(blocks: list[Part], raws: list[Raw]) -> list[Part]:
    """The blocks, each text with its citations. One that does not say where it stands belongs to the first text."""
    texts = [index for index, part in enumerate(blocks) if isinstance(part, Text)]
    gathered: dict[int, list[Citation]] = {index: [] for index in texts}
    for raw in raws:
        found = _read(raw)
        index = found.content_index if found is not None else None
        if index is None and texts:
            index = texts[0]
        if index in gathered and _of_text(found):
            gathered[index].append(citation(raw, found))
    for index, citations in gathered.items():
        part = blocks[index]
        if isinstance(part, Text) and citations:
            blocks[index] = Text(part.text, citations=tuple(citations))
    return blocks


def tool_use(call: Call) -> ToolUse:
    function = call.function or _Function()
    if not function.name:
        raise UpstreamBroken("it called a tool without a name")
    return ToolUse(call.id or new_call_id(), function.name, arguments(function.arguments))


# ---- streams


class Arguments:
    """Arguments that come in pieces: "null" is told as none."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: str | None = ""

    def add(self, piece: str) -> str:
        """What of it may be told."""
        if self._kept is None:
            return piece
        self._kept += piece
        if len(self._kept) <= 16 and "null".startswith(self._kept.strip()):
            return ""
        told, self._kept = self._kept, None
        return told

    def rest(self) -> str:
        """What was kept back, if it is to be told after all."""
        kept = (self._kept or "").strip()
        return "" if kept == "null" else kept


class Decoder:
    """Events of theirs → events of ours. Calls are open until they end."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._parts = Telling()
        self._started = self._finished = self._called = False
        self._calls: dict[int, tuple[int, Arguments]] = {}  # open calls by their number: our index
        self._last = 0  # number of the call that began last, which an event without one belongs to

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if not event:
            if not self._finished:
                raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
            return []
        payload = sse.data(event).strip()
        if not payload or self._finished or payload == b"[DONE]":
            return []
        told = _understood(payload)
        return list(self._told(told)) if told is not None else []

    def _told(self, event: _Event) -> Iterator[Event]:
        delta = event.delta or _Delta()
        said = delta.message or _Said()
        if not self._started:
            self._started = True
            yield Start(event.id or "", "")
        match event.type:
            case "content-delta" | "content-start":
                yield from self._content(said.content, event.index)
            case "tool-plan-delta":
                yield from self._parts.more(Reasoning, said.tool_plan or "")
            case "tool-call-start":
                for call in _listed(said.tool_calls):
                    yield from self._call(call, event.index)
            case "tool-call-delta":
                for call in _listed(said.tool_calls):
                    yield from self._arguments(call, event.index)
            case "tool-call-end":
                yield from self._end_call(event.index)
            case "citation-start":
                yield from self._cited(said.citations)
            case "message-end":
                yield from self._end(delta)

    def _content(self, content: _Content | str | list[Any] | None, number: int | None) -> Iterator[Event]:
        if isinstance(content, str):
            yield from self._parts.more(Text, content, number)
        elif isinstance(content, _Content):
            yield from self._parts.more(Reasoning, content.thinking or "", number)
            yield from self._parts.more(Text, content.text or "", number)

    def _cited(self, told: Raw) -> Iterator[Event]:
        text = self._parts.open_text()
        if text is None or given(told) is None:
            return
        number, citations = text[1], []
        for raw in _raws.decode(told) if bytes(told).startswith(b"[") else [told]:
            found = _read(raw)
            place = found.content_index if found is not None else None
            if _of_text(found) and (place is None or number is None or place == number):
                citations.append(citation(raw, found))
        yield from self._parts.beside(citations=tuple(citations))

    def _call(self, call: Call, number: int | None) -> Iterator[Event]:
        yield from self._parts.close()
        function = call.function or _Function()
        if not function.name:
            raise UpstreamBroken("it called a tool without a name")
        index = self._parts.take()
        key = number if number is not None else index
        yield from self._end_call(key)
        self._calls[key] = index, Arguments()
        self._last, self._called = key, True
        self.held += _CALL_BYTES
        yield PartStart(index, ToolUse(call.id or new_call_id(), function.name, ""))
        yield from self._arguments(call, key)

    def _arguments(self, call: Call, number: int | None) -> Iterator[Event]:
        found = self._calls.get(self._last if number is None else number)
        if found is None:
            raise UpstreamBroken("an event adds to a call that is not open")
        index, kept = found
        told = (call.function or _Function()).arguments
        piece = kept.add(_encode(told).decode() if isinstance(told, dict) else told or "")
        if piece:
            yield PartDelta(index, piece)

    def _end_call(self, number: int | None) -> Iterator[Event]:
        found = self._calls.pop(self._last if number is None else number, None)
        if found is None:
            return
        index, kept = found
        self.held -= _CALL_BYTES
        rest = kept.rest()
        if rest:
            yield PartDelta(index, rest)
        yield PartEnd(index)

    def _end(self, delta: _Delta) -> Iterator[Event]:
        self.usage = _usage(delta.usage) or self.usage
        if given(delta.error) is not None or (delta.finish_reason or "").upper() in FAILED:
            raise cohere_errors.within(any_value(delta.error), delta.finish_reason)
        yield from self._parts.close()
        for number in list(self._calls):
            yield from self._end_call(number)
        self._finished = True
        told = reason(delta.finish_reason, calls=self._called)
        yield Finish(told, self.usage, raw_reason=delta.finish_reason)


def _listed(calls: Call | list[Call] | None) -> list[Call]:
    return calls if isinstance(calls, list) else [] if calls is None else [calls]


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
    if event.type not in _KINDS:
        if given(event.error) is not None:
            raise cohere_errors.within(any_value(event.error))
        if event.type in (None, "error") and given(event.message) is not None:
            raise cohere_errors.within(any_value(event.message))
        return None
    return event


def _of_another_kind(payload: bytes) -> bool:
    try:
        kind = _kind.decode(payload).type
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return kind is not None and kind not in _KINDS
