"""Answers of Bedrock's Converse and ConverseStream, as our words.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
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
from fairlead.errors import UpstreamBroken
from fairlead.protocols import aws_eventstream
from fairlead.protocols.codecs import bedrock_errors, bedrock_media, bedrock_usage
from fairlead.protocols.codecs.bedrock_models import NAME
from fairlead.protocols.envelope import NULL, any_value, given

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_MessageStopEvent.html
_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop", "tool_use": "tool_use", "max_tokens": "length", "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter", "content_filtered": "content_filter", "refusal": "refusal",
    "model_context_window_exceeded": "length", "pause_turn": "pause",
    # What the model said could not be read as an answer, or as a call; what could be read is there.
    "malformed_model_output": "stop", "malformed_tool_use": "stop",
}  # fmt: skip
_SERVER_TOOL = "server_tool_use"  # a tool that the provider runs itself, so that the client must not
_BLOCK_BYTES = 1000  # of memory for a block that is gathered, beside what its events had on the wire
_OPEN_BYTES = 200  # for a part that is open
_VALUE_TIMES = 24  # as many as bytes of JSON that is not only texts
_encode = msgspec.json.encode


class _Call(Struct):
    toolUseId: str | None = None
    name: str | None = None
    type: str | None = None
    input: Raw = NULL


class _ThoughtText(Struct):
    text: str | None = None
    signature: str | None = None


class _Thought(Struct):
    """A whole thought, or what a delta adds to one."""

    reasoningText: _ThoughtText | None = None
    redactedContent: str | None = None
    text: str | None = None
    signature: str | None = None


class _Piece(Struct):
    text: str | None = None


class _Cited(Struct):
    content: list[_Piece] | None = None
    citations: list[Raw] | None = None


class _Bytes(Struct):
    bytes: str | None = None


class _Image(Struct):
    format: str | None = None
    source: _Bytes | None = None


class _Block(Struct):
    """A content block of any kind, or what a delta adds to one, as far as we read it."""

    text: str | None = None
    toolUse: _Call | None = None
    reasoningContent: _Thought | None = None
    citationsContent: _Cited | None = None
    image: _Image | None = None
    citation: Raw = NULL


class _Message(Struct):
    content: list[Raw] | None = None


class _Output(Struct):
    message: _Message | None = None


class _Answer(Struct):
    output: _Output | None = None
    stopReason: str | None = None
    usage: Raw = NULL
    additionalModelResponseFields: Raw = NULL


class _StreamEvent(Struct):
    """The payload of any event of a stream, as far as we read it."""

    contentBlockIndex: int = 0
    start: Raw = NULL
    delta: Raw = NULL
    stopReason: str | None = None
    usage: Raw = NULL
    additionalModelResponseFields: Raw = NULL


class _Location(Struct):
    url: str | None = None


class _Where(Struct):
    web: _Location | None = None


class _Citation(Struct):
    title: str | None = None
    source: str | None = None
    sourceContent: list[_Piece] | None = None
    location: _Where | None = None


_answer = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_StreamEvent)
_block = msgspec.json.Decoder(_Block)
_citation = msgspec.json.Decoder(_Citation)
_fields = msgspec.json.Decoder(dict[str, Raw])
_ANTHROPIC = "anthropic-messages"
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


# ---- whole answers


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    try:
        answer = _answer.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"its answer is not one of a conversation ({error})") from None
    except _UNREADABLE:
        raise UpstreamBroken("its answer is not JSON") from None
    if answer.output is None or answer.output.message is None:
        fields = any_value(body)
        if isinstance(fields, dict) and ("message" in fields or "__type" in fields):
            raise bedrock_errors.from_answer(fields)
        raise UpstreamBroken("its answer has no message")
    return Response(
        id="",  # the format has none, nor does it name the model
        model="",
        parts=tuple(part for raw in answer.output.message.content or () for part in _parts(raw)),
        finish_reason=reason(answer.stopReason),
        usage=bedrock_usage.converse(answer.usage),
        stop_sequence=_stop_sequence(answer.additionalModelResponseFields),
        raw_reason=answer.stopReason,
    )


def reason(told: str | None) -> FinishReason | None:
    return _REASONS.get(told, "stop") if told else None


def _stop_sequence(raw: Raw) -> str | None:
    """Where a request asked for it (`additionalModelResponseFieldPaths`): at the top, or within `delta`."""
    told = any_value(raw)
    if isinstance(told, dict) and isinstance(told.get("delta"), dict):
        told = {**told["delta"], **told}
    sequence = told.get("stop_sequence") if isinstance(told, dict) else None
    return sequence if isinstance(sequence, str) else None


def _parts(raw: Raw) -> Iterator[Part]:
    """The part that a block is; none for an empty text."""
    try:
        block = _block.decode(raw)
    except _UNREADABLE:
        yield _opaque(raw)
        return
    if block.text is not None:
        if block.text:
            yield Text(block.text)
    elif block.citationsContent is not None:
        text = "".join(piece.text or "" for piece in block.citationsContent.content or ())
        citations = tuple(_cited(citation) for citation in block.citationsContent.citations or ())
        yield Text(text, citations=citations)
    elif block.toolUse is not None and block.toolUse.type != _SERVER_TOOL:
        yield _call(block.toolUse, _arguments(block.toolUse.input))
    elif block.reasoningContent is not None:
        yield _thought(block.reasoningContent)
    elif block.image is not None and block.image.source is not None and block.image.source.bytes is not None:
        yield _picture(block.image)
    else:
        yield _opaque(raw)


def _picture(image: _Image) -> Media:
    assert image.source is not None
    return Media("image", bedrock_media.mime("image", image.format), data=image.source.bytes)


def _opaque(raw: Raw) -> Opaque:
    """Kept as it stood, if it is JSON to the bottom: decoders skip what they do not read without looking at it."""
    if not bytes(raw).startswith(b"{"):
        raise UpstreamBroken("a block of its answer is not an object")
    if any_value(raw) is None:
        raise UpstreamBroken("a block of its answer is not JSON that we can read")
    return Opaque(NAME, raw)


def _call(call: _Call, arguments: str) -> ToolUse:
    if not call.name or not call.toolUseId:
        raise UpstreamBroken("it called a tool without a name or an id")
    return ToolUse(call.toolUseId, call.name, arguments)


def _arguments(raw: Raw) -> str:
    return bytes(given(raw) or b"{}").decode(errors="replace")


def _thought(thought: _Thought) -> Reasoning:
    """Only Claude proves what it thought, and its proofs hold wherever it is asked: they are Anthropic's.

    https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#thinking-encryption
    """
    if thought.redactedContent is not None:
        return _redacted(thought.redactedContent)
    whole = thought.reasoningText or _ThoughtText(thought.text, thought.signature)
    return Reasoning(whole.text or "", whole.signature, protocol=_ANTHROPIC)


def _redacted(data: str) -> Reasoning:
    """Bedrock tells the bytes of Anthropic's cipher, which is a text, as base64 once more."""
    try:
        return Reasoning(encrypted=b64decode(data, validate=True).decode("ascii"), protocol=_ANTHROPIC)
    except ValueError:  # another's
        return Reasoning(encrypted=data, protocol=NAME)


def _cited(raw: Raw) -> Citation:
    """Where the words stand in the source is told, not where in the text; `raw` has it.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html
    """
    try:
        told = _citation.decode(raw)
    except _UNREADABLE:
        told = _Citation()
    quote = "".join(piece.text or "" for piece in told.sourceContent or ())
    web = told.location.web if told.location is not None else None
    source = told.source if told.source is not None and told.source.startswith(("http://", "https://")) else None
    address = web.url if web is not None and web.url else source
    if any_value(raw) is None:
        raise UpstreamBroken("a citation of its answer is not JSON that we can read")
    return Citation(address, told.title, quote or None, raw=Opaque(NAME, raw))


# ---- streams


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
        except _UNREADABLE:
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
        yield Finish(reason(self._reason), self.usage, self._stop_sequence, self._reason)

    # ---- the kinds of events

    def _message_start(self, _: _StreamEvent) -> Iterator[Event]:
        return iter(())

    def _block_start(self, told: _StreamEvent) -> Iterator[Event]:
        index = told.contentBlockIndex
        yield from self._close(index)
        block = _read(told.start)
        if block.toolUse is not None and block.toolUse.type != _SERVER_TOOL:
            yield self._begin(index, _call(block.toolUse, ""))
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
                yield PartDelta(opened[0], piece if isinstance(piece, str) else _arguments(block.toolUse.input))
        elif thought is not None and thought.redactedContent is not None:
            yield from self._close(index)
            self._gather(index, _Redacted(thought.redactedContent), len(thought.redactedContent))
        elif thought is not None:
            if thought.text or thought.signature:
                yield from self._add(
                    index, Reasoning(protocol=_ANTHROPIC), thought.text or "", thought.signature or None
                )
        elif given(block.citation) is not None:
            yield from self._add(index, Text(""), citations=(_cited(block.citation),))
        elif given(told.delta) is not None:
            yield from self._close(index)
            whole = _Whole(NULL)
            self._gather(index, whole, whole.add(block, told.delta))

    def _block_stop(self, told: _StreamEvent) -> Iterator[Event]:
        return self._close(told.contentBlockIndex)

    def _message_stop(self, told: _StreamEvent) -> Iterator[Event]:
        self._reason = told.stopReason or self._reason or "end_turn"
        self._stop_sequence = _stop_sequence(told.additionalModelResponseFields) or self._stop_sequence
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


def _read(raw: Raw) -> _Block:
    """A block's beginning, or a delta; one that we do not understand has nothing in it."""
    try:
        return _block.decode(raw)
    except _UNREADABLE:
        return _Block()


class _Redacted:
    """An encrypted thought: base64, in one delta or several."""

    def __init__(self, data: str) -> None:
        self.size = 0
        self._pieces = [data]

    def takes(self, delta: _Block) -> bool:
        return delta.reasoningContent is not None and delta.reasoningContent.redactedContent is not None

    def add(self, delta: _Block, raw: Raw) -> int:
        """Bytes that `delta` takes in memory."""
        assert delta.reasoningContent is not None
        self._pieces.append(delta.reasoningContent.redactedContent or "")
        return len(raw)

    def whole(self) -> Part:
        data = self._pieces[0] if len(self._pieces) == 1 else _joined(self._pieces)
        return _redacted(data)


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

    def takes(self, _: _Block) -> bool:
        return True

    def add(self, _: _Block, raw: Raw) -> int:
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
        return next(_parts(raw), Opaque(NAME, raw))


_Gathered = _Redacted | _Whole


def _within(block: dict[str, Any], name: str) -> dict[str, Any]:
    inner = block.get(name)
    if not isinstance(inner, dict):
        inner = block[name] = {}
    return inner


def _members(raw: Raw) -> dict[str, Raw]:
    try:
        return _fields.decode(raw)
    except _UNREADABLE:
        return {}
