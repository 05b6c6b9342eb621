"""Streamed answers of the Responses API: their events → ours. What clients are told: `responses_telling`.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Event,
    Finish,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Start,
    Text,
    ToolUse,
    Usage,
)
from fairlead.errors import UpstreamBroken
from fairlead.protocols import sse
from fairlead.protocols.codecs import responses_errors
from fairlead.protocols.codecs import responses_items as items
from fairlead.protocols.codecs.responses_answer import (
    Answer,
    customs_are_clients,
    reason_of,
    spelt,
    understood,
    usage_of,
)
from fairlead.protocols.codecs.responses_carried import NAME
from fairlead.protocols.codecs.responses_items import CUSTOM
from fairlead.protocols.counting import latest
from fairlead.protocols.envelope import NULL, given

_OPEN_BYTES = 600  # that an open item takes in memory, roughly
_CLOSED_BYTES = 100  # and one that is not


class StreamEvent(Struct):
    """Any event of a stream, as far as we read it."""

    type: str
    response: Raw = NULL
    item: Raw = NULL
    part: Raw = NULL
    delta: str | None = None
    text: str | None = None
    arguments: Raw = NULL
    input: Raw = NULL
    annotation: Raw = NULL
    logprobs: Raw = NULL
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None


class _Kind(Struct):
    type: str | None = None
    error: Raw = NULL


_event = msgspec.json.Decoder(StreamEvent)
_kind = msgspec.json.Decoder(_Kind)
# The events that we read; of another the fields may be anything.
_READ = frozenset(
    "error response.created response.queued response.in_progress response.completed response.incomplete response.failed"
    " response.output_item.added response.output_item.done response.content_part.added response.content_part.done"
    " response.output_text.delta response.output_text.done response.refusal.delta response.output_text.annotation.added"
    " response.reasoning_summary_text.delta response.reasoning_text.delta response.function_call_arguments.delta"
    " response.custom_tool_call_input.delta".split()
)


def understood_event(payload: bytes) -> StreamEvent | None:
    """An event, None if we do not read its kind. Raises UpstreamBroken if it is none, another UpstreamError if it tells
    one."""
    try:
        event = _event.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        kind = _kind_of(payload)
        if kind.type is not None and kind.type not in _READ:
            return None
        if kind.type == "error" or given(kind.error) is not None:  # some servers tell errors without a type
            raise responses_errors.from_event(payload) from None
        raise UpstreamBroken("an event is not one of a response") from None
    if event.type == "error":
        raise responses_errors.from_event(payload)
    return event if event.type in _READ else None


def _kind_of(payload: bytes) -> _Kind:
    try:
        return _kind.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _Kind()


class _Text:
    """A content of a message that is coming in."""

    __slots__ = ("cited", "ended", "index", "logprobs", "told")

    def __init__(self, index: int, *, ended: bool = False) -> None:
        self.index = index  # of its part
        self.told = False  # something of its text
        self.cited = 0  # how many citations were told
        self.logprobs: Opaque | None = None
        self.ended = ended


class _Open:
    """An item that is coming in."""

    __slots__ = ("call", "contents", "id", "kind", "last", "phase", "raw", "thought", "told")

    def __init__(self, kind: str | None, phase: str | None = None) -> None:
        self.kind = kind
        self.id: str | None = None  # of a thought
        self.phase = phase  # of a message
        self.contents: dict[int, _Text] = {}  # of a message
        self.thought: int | None = None  # the part that it is told in
        self.raw = False  # it is told itself, not as a summary
        self.last: int | None = None  # number of the piece of a thought that was told last
        self.call: int | None = None  # the part that it is
        self.told = False  # something of a call's arguments, or of a thought


class Decoder:
    """Events of theirs → events of ours. An item is known by its `output_index`: there are servers whose ids change
    with every event. One that only this format knows comes whole."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._told: list[Event] = []  # by the event that is being read
        self._started = False
        self._finished = False
        self._next = 0  # index of the next part
        self._open: dict[int | str, _Open] = {}
        self._closed: set[int | str] = set()
        self._customs = True  # calls of custom tools are for the client
        self._calls = self._refused = False

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if not event:
            if not self._finished:
                raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
            return []
        payload = sse.data(event)
        if not payload or self._finished or payload.strip() == b"[DONE]":
            return []
        found = understood_event(payload)
        if found is None:
            return []
        self._told = []
        self._read(found)
        return self._told

    def _read(self, event: StreamEvent) -> None:
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                self._text(event)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._arguments(event)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._thought(event)
            case "response.output_text.annotation.added":
                self._annotation(event)
            case "response.output_item.added":
                self._begin(event)
            case "response.output_text.done":  # OpenAI leaves the probabilities out of content_part.done
                self._probable(event)
            case "response.content_part.done":
                open = self._open.get(_key(event))
                if open is not None and open.kind == "message":
                    self._end_text(open, event.content_index or 0, event.part)
            case "response.output_item.done":
                self._end(_key(event), event.item)
            case "response.created" | "response.queued" | "response.in_progress":
                self._start(understood(event.response))
            case "response.completed" | "response.incomplete" | "response.failed":
                self._finish(understood(event.response))

    def _start(self, answer: Answer | None = None) -> None:
        if not self._started:
            self._started = True
            answer = answer or Answer()
            self._customs = customs_are_clients(answer)
            self._told.append(Start(answer.id or "", answer.model or "", int(answer.created_at or 0)))

    def _part(self, part: Part) -> int:
        """The index of `part`, which begins."""
        self._start()
        self._next += 1
        self._told.append(PartStart(self._next - 1, part))
        return self._next - 1

    def _item(self, event: StreamEvent, kind: str) -> _Open | None:
        """The open item of this kind that `event` belongs to; None if it is another, or closed."""
        key = _key(event)
        open = self._open.get(key)
        if open is None and key not in self._closed:
            open = self._open[key] = _Open(kind)
            self.held += _OPEN_BYTES
        return open if open is not None and open.kind == kind else None

    def _begin(self, event: StreamEvent) -> None:
        kind, phase, call = _opening(event.item)
        key = _key(event)
        if key in self._open or key in self._closed:
            return
        open = self._open[key] = _Open(kind, phase)
        self.held += _OPEN_BYTES
        if kind == "reasoning" and call is not None:
            open.id = call.id
        if kind in ("function_call", CUSTOM) and call is not None and call.name:
            self._begin_call(open, call)

    def _begin_call(self, open: _Open, call: items.Call) -> None:
        custom = open.kind == CUSTOM
        if custom and not self._customs:
            return
        self._calls = True
        id = call.call_id or call.id or items.new_call_id()
        open.call = self._part(ToolUse(id, call.name or "", "", extra=items.call_extra(call, custom)))

    # ---- texts

    def _text(self, event: StreamEvent) -> None:
        open = self._item(event, "message")
        if open is None or not event.delta:
            return
        text = self._content(open, event.content_index or 0, refusal=event.type == "response.refusal.delta")
        if not text.ended:
            text.told = True
            self._told.append(PartDelta(text.index, event.delta))

    def _content(self, open: _Open, number: int, *, refusal: bool = False) -> "_Text":
        """A content of a message, which begins when there is something to tell of it."""
        text = open.contents.get(number)
        if text is None:
            self._refused = self._refused or refusal
            begun = Text("", extra=items.extra(phase=open.phase), refusal=refusal)
            text = open.contents[number] = _Text(self._part(begun))
            self.held += _OPEN_BYTES
        return text

    def _annotation(self, event: StreamEvent) -> None:
        open = self._item(event, "message")
        if open is None or given(event.annotation) is None:
            return
        text = self._content(open, event.content_index or 0)
        if not text.ended:
            text.cited += 1
            self._told.append(PartDelta(text.index, citations=(items.citation(event.annotation),)))

    def _probable(self, event: StreamEvent) -> None:
        open = self._open.get(_key(event))
        text = open.contents.get(event.content_index or 0) if open is not None else None
        if text is not None and text.logprobs is None:
            text.logprobs = items.logprobs(event.logprobs)
            self.held += len(event.logprobs)

    def _end_text(self, open: _Open, number: int, raw: Raw) -> None:
        """What of a content was not told yet, and its end."""
        begun = open.contents.get(number)
        if begun is not None and begun.ended:
            return
        try:
            whole = next(items.texts((raw,), open.phase), None)
        except UpstreamBroken:
            whole = None
        if isinstance(whole, Opaque) and begun is None and given(raw) is not None:
            self._whole(whole)
            self.held += _OPEN_BYTES
            open.contents[number] = _Text(0, ended=True)
            return
        if isinstance(whole, Text):
            begun = self._content(open, number, refusal=whole.refusal)
            rest = "" if begun.told else whole.text
            citations = whole.citations[begun.cited :]
            logprobs = begun.logprobs or items.extra(logprobs=items.beside(whole.extra).get("logprobs"))
            if rest or citations or logprobs is not None:
                self._told.append(PartDelta(begun.index, rest, citations=citations, extra=logprobs))
        if begun is not None:
            begun.ended = True
            self._told.append(PartEnd(begun.index))

    # ---- thoughts

    def _thought(self, event: StreamEvent) -> None:
        open = self._item(event, "reasoning")
        if open is None or not event.delta:
            return
        raw = event.type == "response.reasoning_text.delta"
        if open.thought is None:
            open.raw = raw
            open.thought = self._part(Reasoning(**items.whose(open.id, raw=raw)))
        elif raw != open.raw:  # the same once more, in other words
            return
        number = event.content_index if raw else event.summary_index
        between = items.BETWEEN if open.told and number != open.last else ""
        open.last, open.told = number, True
        self._told.append(PartDelta(open.thought, between + event.delta))

    # ---- calls

    def _arguments(self, event: StreamEvent) -> None:
        open = self._open.get(_key(event))
        if open is None or open.call is None or not event.delta:
            return
        text = event.delta
        if open.kind == CUSTOM:
            text = ("" if open.told else items.CUSTOM_OPENS) + items.escaped(text)
        open.told = True
        self._told.append(PartDelta(open.call, text))

    # ---- ends

    def _end(self, key: int | str, raw: Raw) -> None:
        if key in self._closed:
            return
        kind, phase, call = _opening(raw)
        open = self._open.get(key)
        if open is None or (open.kind is not None and kind is not None and kind != open.kind):
            self._close(key)
            open = _Open(kind, phase)
        self._closed.add(key)
        self.held += _CLOSED_BYTES
        if self._open.pop(key, None) is not None:
            self.held -= _OPEN_BYTES * (1 + len(open.contents))
        match open.kind:
            case "message":
                self._end_message(open, raw)
            case "reasoning":
                self._end_thought(open, raw)
            case "function_call" | "custom_tool_call":
                self._end_call(open, call, raw)
            case _:
                if items.first(raw) == b"{":
                    self._whole(Opaque(NAME, items.owned(raw)))

    def _whole(self, part: Part) -> None:
        self._told.append(PartEnd(self._part(part)))

    def _end_message(self, open: _Open, raw: Raw) -> None:
        for number, content in enumerate(items.contents(raw)):
            self._end_text(open, number, content)
        for text in open.contents.values():
            if not text.ended:
                self._told.append(PartEnd(text.index))

    def _end_thought(self, open: _Open, raw: Raw) -> None:
        try:
            found = list(items.thoughts(items.thought.decode(raw)))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            found = []
        if open.thought is not None:
            self._told.append(PartEnd(open.thought))
            found = [thought for thought in found if thought.encrypted is not None]
        for thought in found:
            self._whole(thought)

    def _end_call(self, open: _Open, call: items.Call | None, raw: Raw) -> None:
        if open.call is None and call is not None and call.name:
            self._begin_call(open, call)
        if open.call is None:
            if items.first(raw) == b"{":
                self._whole(Opaque(NAME, items.owned(raw)))
            return
        if not open.told and call is not None:
            use = items.tool_use(call, open.kind == CUSTOM)
            if use is not None:
                self._told.append(PartDelta(open.call, use.arguments))
        elif open.told and open.kind == CUSTOM:
            self._told.append(PartDelta(open.call, items.CUSTOM_ENDS))
        self._told.append(PartEnd(open.call))

    def _close(self, key: int | str) -> None:
        """The end of an item of which nothing more is known."""
        open = self._open.pop(key, None)
        if open is None:
            return
        self.held -= _OPEN_BYTES * (1 + len(open.contents))
        ends = [text.index for text in open.contents.values() if not text.ended]
        ends += [index for index in (open.thought, open.call) if index is not None]
        if open.call is not None and open.told and open.kind == CUSTOM:
            self._told.append(PartDelta(open.call, items.CUSTOM_ENDS))
        self._told += map(PartEnd, ends)

    def _finish(self, answer: Answer) -> None:
        self._start(answer)
        for key in list(self._open):
            self._close(key)
        if not self._next:  # a server that tells nothing before the end
            for number, raw in enumerate(answer.output or ()):
                self._end(f"output {number}", raw)
        self.usage = latest(self.usage, usage_of(answer.usage))
        self._finished = True
        self.held = 0
        self._open.clear()
        self._closed.clear()
        reason = reason_of(answer, calls=self._calls, refused=self._refused)
        self._told.append(Finish(reason, self.usage, raw_reason=spelt(answer)))


def _key(event: StreamEvent) -> int | str:
    if event.output_index is not None:
        return event.output_index
    return event.item_id or items.id_in(event.item)


def _opening(raw: Raw) -> tuple[str | None, str | None, items.Call | None]:
    """Of which kind an item is, the phase of a message, and what is known of a call."""
    try:
        kind = items.kind.decode(raw).type
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None, None, None
    try:
        match kind:
            case "message":
                return kind, items.said.decode(raw).phase, None
            case "reasoning" | "function_call" | "custom_tool_call":
                return kind, None, items.call.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    return kind, None, None
