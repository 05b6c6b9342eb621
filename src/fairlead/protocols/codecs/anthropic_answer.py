"""Answers of Anthropic's messages, whole and streamed: their JSON, and our words for it.

Usage comes twice in a stream; the second, in message_delta, is cumulative. How it counts is a table in `counting`.
https://docs.anthropic.com/en/api/messages-streaming
"""

from collections import OrderedDict
from collections.abc import Iterator
from io import StringIO
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from fairlead.chat import (
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
    Usage,
)
from fairlead.errors import FairleadError, UpstreamBroken
from fairlead.protocols import counting, sse
from fairlead.protocols.codecs import anthropic_carried, anthropic_citations, anthropic_errors
from fairlead.protocols.codecs.anthropic_asking import encoded_block, input_of
from fairlead.protocols.codecs.anthropic_request import NAME, Block, arguments_of, part_of
from fairlead.protocols.envelope import NULL, given

_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop", "max_tokens": "length", "model_context_window_exceeded": "length", "tool_use": "tool_use",
    "stop_sequence": "stop_sequence", "refusal": "refusal", "pause_turn": "pause",
}  # fmt: skip
_TOLD: dict[FinishReason | None, str] = {
    "length": "max_tokens", "tool_use": "tool_use", "stop_sequence": "stop_sequence", "refusal": "refusal",
    "content_filter": "refusal", "pause": "pause_turn",
}  # fmt: skip
COUNTING = counting.COUNTING[NAME]
_encode = msgspec.json.Encoder().encode

# What is held takes more memory than it had bytes on the wire: this much, roughly.
_BLOCK_BYTES = 1000  # beside what an open block began with, here and where it is told
_NAME_BYTES = 300  # beside a text that is gathered under a name of its own
_VALUE_TIMES = 24  # as many as bytes of JSON that is not only texts: `{}` takes 64 and its place in a list
_EVENT_BYTES = 300  # beside what is told by an event that waits


class _Creation(Struct, gc=False):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class _OutputDetails(Struct, gc=False):
    thinking_tokens: int


class _Usage(Struct, gc=False):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation: _Creation
    output_tokens: int
    output_tokens_details: _OutputDetails


def _encoded_usage(usage: Usage | None) -> _Usage:
    usage = usage or Usage()
    written, kept, cached = usage.cache_write_tokens, usage.cache_write_1h_tokens, usage.cached_tokens
    return _Usage(
        max(usage.input_tokens - cached - written, 0), written, cached, _Creation(written - kept, kept),
        usage.output_tokens, _OutputDetails(usage.reasoning_tokens),
    )  # fmt: skip


class Message(Struct, gc=False):
    """A whole answer, or the one that opens a stream."""

    id: str = ""
    model: str = ""
    type: str | None = None
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Raw = NULL
    error: Raw = NULL


class _Said(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="text"):
    text: str
    citations: Raw = NULL


class _Thought(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = None


class _Used(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Raw = NULL
    caller: Raw = NULL  # we do not read it: the model itself, if it is not a tool of Anthropic's


class _Usual(Struct, gc=False):
    """A whole answer as most are: its blocks and its usage are read in the same go."""

    content: list[_Said | _Thought | _Used]
    usage: COUNTING.shape  # type: ignore[name-defined]  # made of a table
    id: str = ""
    model: str = ""
    type: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    error: Raw = NULL


class _Delta(Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Raw = NULL
    stop_reason: str | None = None
    stop_sequence: str | None = None


class StreamEvent(Struct, gc=False):
    """Any event of a stream, as far as we read it."""

    type: str
    index: int = 0
    message: Message | None = None
    content_block: Raw = NULL
    delta: _Delta | None = None
    usage: Raw = NULL
    error: Raw = NULL


_message = msgspec.json.Decoder(Message)
_usual = msgspec.json.Decoder(_Usual)
_event = msgspec.json.Decoder(StreamEvent)
_block = msgspec.json.Decoder(Block)


def understood(body: bytes) -> Message:
    """A whole answer. Raises UpstreamBroken if it is none, another UpstreamError if it tells one."""
    try:
        message = _message.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"its answer is not a message ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("its answer is not JSON") from None
    if given(message.error) is not None:
        raise anthropic_errors.from_stream(message.error)
    if message.content is None:
        raise UpstreamBroken("its answer has no content")
    return message


def understood_event(payload: bytes) -> StreamEvent:
    """An event of a stream. Raises UpstreamBroken if it is none, another UpstreamError if it tells one."""
    try:
        event = _event.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("an event is not one of a message") from None
    if event.type == "error" or given(event.error) is not None:
        raise anthropic_errors.from_stream(event.error)
    return event


def reason(told: str | None) -> FinishReason | None:
    return _REASONS.get(told, "stop") if told else None


# ---- whole answers


def decode(body: bytes) -> Response:
    try:
        message = _usual.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _decoded(body)
    if message.error is not NULL:
        return _decoded(body)
    parts: list[Part] = []
    for block in message.content:
        if type(block) is _Said:
            if block.citations is not NULL and given(block.citations) is not None:
                return _decoded(body)
            parts.append(Text(block.text))
        elif type(block) is _Used:
            parts.append(ToolUse(block.id, block.name, arguments_of(block.input)))
        elif type(block) is _Thought:
            parts.append(Reasoning(block.thinking, block.signature or None, None, NAME))
    return _response(message, tuple(parts), COUNTING.words(message.usage))


def _decoded(body: bytes) -> Response:
    """The same, more patiently."""
    message = understood(body)
    return _response(message, tuple(map(part, message.content or ())), COUNTING.usage(message.usage))


def _response(message: Message | _Usual, parts: tuple[Part, ...], usage: Usage | None) -> Response:
    why = message.stop_reason
    return Response(message.id, message.model, parts, reason(why), usage, 0, message.stop_sequence, why)


def part(raw: Raw) -> Part:
    """The part that a block of an answer is; one that we do not understand is Opaque.

    A thought is this format's, be its signature here or still to come.
    """
    try:
        told = part_of(_block.decode(raw), raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, FairleadError):
        if not bytes(raw).startswith(b"{"):
            raise UpstreamBroken("a block of its answer is not an object") from None
        return Opaque(NAME, raw)
    return structs.replace(told, protocol=NAME) if isinstance(told, Reasoning) else told


class _Told(Struct, gc=False):
    id: str
    type: str
    role: str
    model: str
    content: list[Any]
    stop_reason: str
    stop_sequence: str | None
    usage: _Usage


def encode(response: Response) -> bytes:
    reason, usage = _TOLD.get(response.finish_reason, "end_turn"), _encoded_usage(response.usage)
    return _encode(
        _Told(
            response.id, "message", "assistant", response.model, _blocks(response), reason, response.stop_sequence,
            usage,
        )
    )  # fmt: skip


def _blocks(response: Response) -> list[Any]:
    """What there is to show: no empty texts, and nothing that only another format knows."""
    blocks: list[Any] = []
    for part in response.parts:
        block = _shown(part)
        if block is None or (type(part) is Text and not part.text):
            continue
        if (type(part) is Text or type(part) is ToolUse) and part.extra is not None:
            carried = anthropic_carried.beside(part.extra)
            if carried is not None:
                blocks.append(carried)
        if type(part) is ToolUse:
            block["input"] = _input(part, cut=response.finish_reason == "length")
        blocks.append(block)
    return blocks


def _is_shown(thought: Reasoning) -> bool:
    """Whether it is told as one that can be read, and is not Anthropic's own cipher."""
    return thought.encrypted is None or thought.protocol not in (None, NAME)


def _shown(part: Part) -> Any:
    """A block for a client, of a tool without its input; None if it is another format's. A thought without a signature
    of this format is shown, but proves nothing to Anthropic."""
    if type(part) is Text:
        citations: list[Any] = []
        if part.citations:
            citations = [told for told in map(anthropic_citations.encode, part.citations) if told is not None]
        return {"type": "text", "text": part.text, "citations": citations or None}
    if type(part) is ToolUse:
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
    if isinstance(part, Reasoning) and _is_shown(part):
        signature = anthropic_carried.signature(part, part.signature)
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    if isinstance(part, Media):
        return anthropic_carried.upload(part)
    return encoded_block(part)


def _input(call: ToolUse, *, cut: bool) -> Raw:
    """`cut`: the model ran out of tokens, perhaps within these arguments."""
    told = input_of(call) or (Raw(b"{}") if cut else None)
    if told is not None:
        return told
    raise UpstreamBroken(f"it called the tool {call.name[:60]!r} with arguments that are not a JSON object")


# ---- streams


class Decoder:
    """Events of theirs → events of ours. A block that only this format knows is gathered and comes whole."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._told_usage: Any = None  # by their names
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._open: dict[int, int] = {}  # blocks, and the bytes that are held for each
        self._opaque: dict[int, _Gathered] = {}
        self.held = 0
        self._finished = False

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if not event:
            return self._end()
        payload = sse.data(event)
        if not payload or self._finished:
            return []
        return list(self._told(understood_event(payload), payload))

    def _end(self) -> list[Event]:
        if self._finished:
            return []
        if self._reason is None:
            raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
        return [self._finish()]

    def _finish(self) -> Finish:
        self._finished = True
        return Finish(reason(self._reason), self.usage, self._stop_sequence, self._reason)

    def _told(self, event: StreamEvent, payload: bytes) -> Iterator[Event]:
        if event.usage is not NULL:
            self._note(event.usage)
        match event.type:
            case "content_block_delta":
                yield from self._delta(event, payload)
            case "content_block_start":
                yield from self._begin(event)
            case "content_block_stop":
                yield from self._stop(event.index)
            case "message_start":
                message = event.message or Message()
                self._note(message.usage)
                yield Start(message.id, message.model, usage=self.usage)
            case "message_delta":
                delta = event.delta or _Delta()
                self._reason = delta.stop_reason or self._reason
                self._stop_sequence = delta.stop_sequence or self._stop_sequence
            case "message_stop":
                yield self._finish()

    def _note(self, usage: Raw) -> None:
        self._told_usage = COUNTING.told(usage, self._told_usage)
        self.usage = COUNTING.words(self._told_usage)

    def _begin(self, event: StreamEvent) -> Iterator[Event]:
        index, begun = event.index, part(event.content_block)
        self._hold(index, _BLOCK_BYTES + len(event.content_block))
        match begun:
            case ToolUse(arguments=arguments):
                # The block opens with "input": {} and is filled by deltas; an input that is there already is whole.
                yield PartStart(index, structs.replace(begun, arguments="" if arguments == "{}" else arguments))
            case Opaque(raw=raw):
                self._opaque[index] = _Gathered(raw)
            case Text(citations=citations) if citations:
                yield PartStart(index, structs.replace(begun, citations=()))
                yield PartDelta(index, citations=citations)
            case _:
                yield PartStart(index, begun)

    def _delta(self, event: StreamEvent, payload: bytes) -> Iterator[Event]:
        delta = event.delta or _Delta()
        if event.index not in self._open:
            raise UpstreamBroken("an event adds to a block that is not open")
        gathered = self._opaque.get(event.index)
        if gathered is not None:
            self._hold(event.index, gathered.add(_unpacked(payload).get("delta") or {}, len(payload)))
        elif delta.text is not None or delta.thinking is not None:
            yield PartDelta(event.index, delta.text or delta.thinking or "")
        elif delta.partial_json is not None:
            yield PartDelta(event.index, delta.partial_json)
        elif delta.signature is not None:
            yield PartDelta(event.index, signature=delta.signature)
        elif given(delta.citation) is not None:
            yield PartDelta(event.index, citations=(anthropic_citations.decode_one(delta.citation),))

    def _stop(self, index: int) -> Iterator[Event]:
        if index not in self._open:
            raise UpstreamBroken("an event ends a block that is not open")
        self.held -= self._open.pop(index)
        gathered = self._opaque.pop(index, None)
        if gathered is not None:
            yield PartStart(index, Opaque(NAME, gathered.whole()))
        yield PartEnd(index)

    def _hold(self, index: int, size: int) -> None:
        self._open[index] = self._open.get(index, 0) + size
        self.held += size


class _Gathered:
    """A block that only this format knows, and what its deltas add to it."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._added: dict[str, Any] = {}  # texts as StringIO
        self._input = StringIO()

    def add(self, delta: dict[str, Any], size: int) -> int:
        """Bytes that `delta`, JSON of `size` bytes, takes in memory."""
        if not all(isinstance(value, str) for value in delta.values()):
            size *= _VALUE_TIMES
        for name, value in delta.items():
            if name == "partial_json" and isinstance(value, str):
                self._input.write(value)
            elif name == "citation":
                self._added.setdefault("citations", []).append(value)
            elif name != "type" and isinstance(value, str):
                known = self._added.get(name)
                if not isinstance(known, StringIO):
                    known = self._added[name] = StringIO()
                    size += _NAME_BYTES
                known.write(value)
            elif name != "type" and value is not None:
                self._added[name] = value
        return size

    def whole(self) -> Raw:
        """The block as it would stand in a whole answer."""
        written = self._input.getvalue()
        if not written.strip() and not self._added:
            return self._raw
        block = _unpacked(self._raw)
        for name, added in self._added.items():
            value = added.getvalue() if isinstance(added, StringIO) else added
            grows = isinstance(value, str | list) and type(block.get(name)) is type(value)
            block[name] = block[name] + value if grows else value
        if written.strip():
            block["input"] = _unpacked(written.encode())
        return Raw(_encode(block))


def _unpacked(told: bytes | Raw) -> dict[str, Any]:
    try:
        return msgspec.json.decode(told, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("a block of its answer is not JSON that we can read") from None


class Encoder:
    """Events of ours → events of theirs. Blocks come one after the other here, so that what interleaves must wait."""

    def __init__(self) -> None:
        self._open: int | None = None  # our index of the block that is open
        self._number = -1  # its number
        self._part: Part = Text("")
        self._behind: Opaque | None = None  # what its format keeps beside it, and told late
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._hidden: set[int] = set()  # what this format has no block for
        self.held = 0

    def __call__(self, event: Event) -> bytes:
        match event:
            case PartDelta(index=index) | PartStart(index=index) | PartEnd(index=index):
                return self._of_part(event, index)
            case Start():
                return _start(event)
            case Finish():
                return self._finish(event)

    def _of_part(self, event: PartStart | PartDelta | PartEnd, index: int) -> bytes:
        if isinstance(event, PartStart) and _shown(event.part) is None:
            self._hidden.add(index)
        if index in self._hidden:
            if isinstance(event, PartEnd):
                self._hidden.discard(index)
            return b""
        if self._open is None and isinstance(event, PartStart):
            return self._begin(event)
        if index != self._open:
            self._wait(event, index)
            return b""
        if isinstance(event, PartDelta):
            return self._delta(event)
        return self._stop() + self._next()

    def _wait(self, event: PartStart | PartDelta | PartEnd, index: int) -> None:
        waiting = self._waiting.get(index)
        if waiting is None:
            waiting = self._waiting[index] = _Waiting([])
        size = len(_encode(event)) + _EVENT_BYTES
        waiting.events.append(event)
        waiting.size += size
        self.held += size

    def _begin(self, start: PartStart) -> bytes:
        told = self._carried(anthropic_carried.beside(anthropic_carried.extra_of(start.part)))
        self._open, self._part = start.index, start.part
        self._number += 1
        block, first = _opening(start.part)
        told += _named("content_block_start", {"index": self._number, "content_block": block})
        if isinstance(start.part, Reasoning) and start.part.encrypted is not None and _is_shown(start.part):
            told += self._signed(start.part, None)
        return told + (self._delta(first) if first is not None else b"")

    def _carried(self, block: dict[str, Any] | None) -> bytes:
        """A whole block that a client brings back."""
        if block is None:
            return b""
        self._number += 1
        told = _named("content_block_start", {"index": self._number, "content_block": {**block, "signature": ""}})
        told += self._filled(b"signature_delta", b"signature", block["signature"])
        return told + _named("content_block_stop", {"index": self._number})

    def _signed(self, thought: Reasoning, signature: str | None) -> bytes:
        return self._filled(b"signature_delta", b"signature", anthropic_carried.signature(thought, signature))

    def _delta(self, delta: PartDelta) -> bytes:
        match self._part:
            case ToolUse():
                told = self._filled(b"input_json_delta", b"partial_json", delta.text)
            case Reasoning() as thought:
                told = self._filled(b"thinking_delta", b"thinking", delta.text)
                if delta.signature is not None and thought.encrypted is None:
                    told += self._signed(thought, delta.signature)
            case _:
                told = self._filled(b"text_delta", b"text", delta.text)
        if delta.extra is not None and not isinstance(self._part, Reasoning):
            self._behind = delta.extra
        if delta.citations:
            citations = map(anthropic_citations.encode, delta.citations)
            told += b"".join([self._filled(b"citations_delta", b"citation", citation) for citation in citations])
        return told

    def _filled(self, kind: bytes, field: bytes, value: Any) -> bytes:
        if not value:
            return b""
        delta = b'{"type":"%b","%b":%b}' % (kind, field, _encode(value))
        data = b'{"type":"content_block_delta","index":%d,"delta":%b}' % (self._number, delta)
        return sse.event(data, b"content_block_delta")

    def _stop(self) -> bytes:
        self._open = None
        told = _named("content_block_stop", {"index": self._number})
        behind, self._behind = self._behind, None
        return told + self._carried(anthropic_carried.beside(behind, follows=True))

    def _next(self) -> bytes:
        """Blocks that waited for the open one: whole ones, and the beginning of one that is not."""
        told = []
        while self._open is None and self._waiting:
            _, waiting = self._waiting.popitem(last=False)
            self.held -= waiting.size
            for event in waiting.events:
                match event:
                    case PartStart():
                        told.append(self._begin(event))
                    case PartDelta():
                        told.append(self._delta(event))
                    case PartEnd():
                        told.append(self._stop())
        return b"".join(told)

    def _finish(self, finish: Finish) -> bytes:
        told = []
        while self._open is not None:
            told += [self._stop(), self._next()]
        delta = {"stop_reason": _TOLD.get(finish.reason, "end_turn"), "stop_sequence": finish.stop_sequence}
        told.append(_named("message_delta", {"delta": delta, "usage": _encoded_usage(finish.usage)}))
        return b"".join(told) + _named("message_stop", {})


class _Waiting(Struct):
    """What is to be told of a part when its turn comes."""

    events: list[PartStart | PartDelta | PartEnd]
    size: int = 0  # bytes that they take, roughly


def _opening(part: Part) -> tuple[Any, PartDelta | None]:
    """The block as it opens, and what of it is known already."""
    match part:
        case Text(text=text, citations=citations):
            first = PartDelta(0, text, citations=citations) if text or citations else None
            return {"type": "text", "text": ""}, first
        case Reasoning(text=text, signature=signature) if _is_shown(part):
            first = PartDelta(0, text, signature=signature) if text or signature else None
            return {"type": "thinking", "thinking": "", "signature": ""}, first
        case ToolUse(arguments=arguments):
            return _shown(part), PartDelta(0, arguments) if arguments else None
    return _shown(part), None


def _start(start: Start) -> bytes:
    message: dict[str, Any] = {
        "id": start.id,
        "type": "message",
        "role": "assistant",
        "model": start.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _encoded_usage(start.usage),
    }
    return _named("message_start", {"message": message})


def _named(name: str, fields: dict[str, Any]) -> bytes:
    return sse.event(_encode({"type": name, **fields}), name.encode())
