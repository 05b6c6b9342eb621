"""Streamed answers of Bedrock's Converse: the messages of an event stream → our events.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

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
    Start,
    Text,
    ToolUse,
    Usage,
)
from fairlead.errors import UpstreamBroken
from fairlead.protocols import aws_eventstream
from fairlead.protocols.codecs import bedrock_errors, bedrock_usage
from fairlead.protocols.codecs.bedrock_answer import (
    ANTHROPIC,
    SERVER_TOOL,
    UNREADABLE,
    Block,
    arguments_of,
    call_of,
    citation_of,
    parts_of,
    reason_of,
    redacted_of,
    stop_sequence_of,
)
from fairlead.protocols.codecs.bedrock_models import NAME
from fairlead.protocols.envelope import NULL, any_value, given

_BLOCK_BYTES = 1000  # of memory for a block that is gathered, beside what its events had on the wire
_OPEN_BYTES = 200  # for a part that is open
_VALUE_TIMES = 24  # as many as bytes of JSON that is not only texts
_encode = msgspec.json.encode


class _StreamEvent(Struct):
    """The payload of any event of a stream, as far as we read it."""

    contentBlockIndex: int = 0
    start: Raw = NULL
    delta: Raw = NULL
    stopReason: str | None = None
    usage: Raw = NULL
    additionalModelResponseFields: Raw = NULL


_event = msgspec.json.Decoder(_StreamEvent)
_block = msgspec.json.Decoder(Block)
_fields = msgspec.json.Decoder(dict[str, Raw])


class Decoder:
    """Messages of an event stream → our events. A block begins with its first delta, where nothing else tells it.

    What has no deltas in our words (encrypted thoughts, blocks that only this format knows) is gathered, to come whole.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._started = self._finished = self._told_usage = False
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._parts = 0  # that have begun
        self._open: dict[int, tuple[int, type[Part]]] = {}  # by their number of a block: ours, and its kind
        self._gathered: dict[int, _Gathered] = {}

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw message tells; b"" is the end of the stream."""
        if not event:
            return list(self._end())
        message = aws_eventstream.message(event)
        if message.text(":message-type") in ("exception", "error"):
            raise bedrock_errors.from_stream(message)
        return self.tell(message.text(":event-type"), message.payload)

    def tell(self, kind: str, payload: bytes | Raw) -> list[Event]:
        """The events that an event of `kind` with the JSON `payload` tells."""
        handle = _HANDLERS.get(kind)
        if handle is None or self._finished:
            return []
        try:
            told = _event.decode(payload)
        except UNREADABLE:
            raise UpstreamBroken("an event is not one of a conversation") from None
        events: list[Event] = [] if self._started else [Start(id="", model="")]
        self._started = True
        events += handle(self, told)
        return events

    def _end(self) -> Iterator[Event]:
        if self._finished:
            return
        if self._reason is None:
            raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
        yield from self._finish()

    def _finish(self) -> Iterator[Event]:
        for index in [*self._open, *self._gathered]:
            yield from self._close(index)
        self._finished = True
        yield Finish(reason_of(self._reason), self.usage, self._stop_sequence, self._reason)

    # ---- the kinds of events

    def _message_start(self, _: _StreamEvent) -> Iterator[Event]:
        return iter(())

    def _block_start(self, told: _StreamEvent) -> Iterator[Event]:
        index = told.contentBlockIndex
        yield from self._close(index)
        block = _read(told.start)
        if block.toolUse is not None and block.toolUse.type != SERVER_TOOL:
            yield self._begin(index, call_of(block.toolUse, ""))
        elif given(told.start) is not None:
            self._gather(index, _Whole(told.start), len(told.start) * _VALUE_TIMES)

    def _block_delta(self, told: _StreamEvent) -> Iterator[Event]:
        index, block = told.contentBlockIndex, _read(told.delta)
        gathered = self._gathered.get(index)
        if gathered is not None and gathered.takes(block):
            self._hold(gathered, gathered.add(block, told.delta))
            return
        thought = block.reasoningContent
        if block.text is not None:
            if block.text:
                yield from self._add(index, Text(""), block.text)
        elif block.toolUse is not None:
            opened = self._open.get(index)
            if opened is None or opened[1] is not ToolUse:
                raise UpstreamBroken("an event adds to a call that has not begun")
            piece = any_value(block.toolUse.input)
            if piece is not None:
                yield PartDelta(opened[0], piece if isinstance(piece, str) else arguments_of(block.toolUse.input))
        elif thought is not None and thought.redactedContent is not None:
            yield from self._close(index)
            self._gather(index, _Redacted(thought.redactedContent), len(thought.redactedContent))
        elif thought is not None:
            if thought.text or thought.signature:
                yield from self._add(
                    index, Reasoning(protocol=ANTHROPIC), thought.text or "", thought.signature or None
                )
        elif given(block.citation) is not None:
            yield from self._add(index, Text(""), citations=(citation_of(block.citation),))
        elif given(told.delta) is not None:
            yield from self._close(index)
            whole = _Whole(NULL)
            self._gather(index, whole, whole.add(block, told.delta))

    def _block_stop(self, told: _StreamEvent) -> Iterator[Event]:
        return self._close(told.contentBlockIndex)

    def _message_stop(self, told: _StreamEvent) -> Iterator[Event]:
        self._reason = told.stopReason or self._reason or "end_turn"
        self._stop_sequence = stop_sequence_of(told.additionalModelResponseFields) or self._stop_sequence
        return self._finish() if self._told_usage else iter(())

    def _metadata(self, told: _StreamEvent) -> Iterator[Event]:
        """It follows the stop; where it does not, the stop is waited for."""
        self.usage = bedrock_usage.converse(told.usage) or self.usage
        self._told_usage = True
        return self._finish() if self._reason is not None else iter(())

    # ---- parts

    def _add(
        self,
        index: int,
        begun: Text | Reasoning,
        text: str = "",
        signature: str | None = None,
        citations: tuple[Citation, ...] = (),
    ) -> Iterator[Event]:
        """More of block `index`, which begins as `begun` if it is not open."""
        opened = self._open.get(index)
        if opened is None or opened[1] is not type(begun):
            yield from self._close(index)
            yield self._begin(index, begun)
            opened = self._open[index]
        yield PartDelta(opened[0], text, signature=signature, citations=citations)

    def _begin(self, index: int, part: Part) -> PartStart:
        number = self._parts
        self._parts += 1
        self._open[index] = number, type(part)
        self.held += _OPEN_BYTES
        return PartStart(number, part)

    def _close(self, index: int) -> Iterator[Event]:
        opened = self._open.pop(index, None)
        if opened is not None:
            self.held -= _OPEN_BYTES
            yield PartEnd(opened[0])
        gathered = self._gathered.pop(index, None)
        if gathered is not None:
            self.held -= gathered.size
            part = gathered.whole()
            if isinstance(part, ToolUse):  # one that began without an id
                yield PartStart(self._parts, structs.replace(part, arguments=""))
                yield PartDelta(self._parts, part.arguments)
            else:
                yield PartStart(self._parts, part)
            yield PartEnd(self._parts)
            self._parts += 1

    def _gather(self, index: int, gathered: "_Gathered", size: int) -> None:
        self._gathered[index] = gathered
        self._hold(gathered, _BLOCK_BYTES + size)

    def _hold(self, gathered: "_Gathered", size: int) -> None:
        gathered.size += size
        self.held += size


_HANDLERS: dict[str, Callable[[Decoder, _StreamEvent], Iterator[Event]]] = {
    "messageStart": Decoder._message_start,
    "contentBlockStart": Decoder._block_start,
    "contentBlockDelta": Decoder._block_delta,
    "contentBlockStop": Decoder._block_stop,
    "messageStop": Decoder._message_stop,
    "metadata": Decoder._metadata,
}


def _read(raw: Raw) -> Block:
    """A block's beginning, or a delta; one that we do not understand has nothing in it."""
    try:
        return _block.decode(raw)
    except UNREADABLE:
        return Block()


class _Redacted:
    """An encrypted thought: base64, in one delta or several."""

    def __init__(self, data: str) -> None:
        self.size = 0
        self._pieces = [data]

    def takes(self, delta: Block) -> bool:
        return delta.reasoningContent is not None and delta.reasoningContent.redactedContent is not None

    def add(self, delta: Block, raw: Raw) -> int:
        """Bytes that `delta` takes in memory."""
        assert delta.reasoningContent is not None
        self._pieces.append(delta.reasoningContent.redactedContent or "")
        return len(raw)

    def whole(self) -> Part:
        data = self._pieces[0] if len(self._pieces) == 1 else _joined(self._pieces)
        return redacted_of(data)


def _joined(pieces: list[str]) -> str:
    """Base64 of what the pieces of base64 hold together."""
    try:
        return b64encode(b"".join(b64decode(piece) for piece in pieces)).decode()
    except ValueError:
        return "".join(pieces)


class _Whole:
    """A block that only this format knows (a tool that the provider ran, its result), and what deltas add to it."""

    def __init__(self, start: Raw) -> None:
        self.size = 0
        self._start = start
        self._texts: dict[tuple[str, str], StringIO] = {}
        self._lists: dict[str, list[Raw]] = {}
        self._others: dict[str, Raw] = {}

    def takes(self, _: Block) -> bool:
        return True

    def add(self, _: Block, raw: Raw) -> int:
        """Bytes that `raw`, a delta, takes in memory."""
        for name, value in _members(raw).items():
            if bytes(value).startswith(b"["):
                self._lists.setdefault(name, []).append(value)
            elif bytes(value).startswith(b"{"):
                for inner, piece in _members(value).items():
                    self._put(name, inner, piece)
            else:
                self._put(name, "", value)
        return len(raw) + _BLOCK_BYTES

    def _put(self, name: str, inner: str, value: Raw) -> None:
        piece = any_value(value)
        if isinstance(piece, str):
            self._texts.setdefault((name, inner), StringIO()).write(piece)
        elif piece is not None:
            self._others[f"{name}.{inner}" if inner else name] = value

    def whole(self) -> Part:
        """The block as it would stand in a whole answer."""
        start = any_value(self._start)
        block: dict[str, Any] = start if isinstance(start, dict) else {}
        for (name, inner), text in self._texts.items():
            if not inner:
                block[name] = text.getvalue()
                continue
            value: Any = text.getvalue()
            if (name, inner) == ("toolUse", "input"):
                told = any_value(value.encode()) if value.strip() else {}
                value = told if told is not None else value
            _within(block, name)[inner] = value
        for place, raw in self._others.items():
            name, _, inner = place.partition(".")
            if inner:
                _within(block, name)[inner] = raw
            else:
                block[name] = raw
        for name, lists in self._lists.items():
            items = [item for each in lists for item in any_value(each) or ()]
            if name == "toolResult":
                _within(block, name)["content"] = items
            else:
                block[name] = items
        try:
            raw = Raw(_encode(block))
        except OverflowError:  # an integer that only Python holds
            raise UpstreamBroken("a block of its answer is not JSON that we can read") from None
        return next(parts_of(raw), Opaque(NAME, raw))


_Gathered = _Redacted | _Whole


def _within(block: dict[str, Any], name: str) -> dict[str, Any]:
    inner = block.get(name)
    if not isinstance(inner, dict):
        inner = block[name] = {}
    return inner


def _members(raw: Raw) -> dict[str, Raw]:
    try:
        return _fields.decode(raw)
    except UNREADABLE:
        return {}
