"""Answers of Gemini, whole and streamed: their JSON, in our words.

A stream is chunks of the same shape as a whole answer, and so is read the same way.
https://ai.google.dev/api/generate-content#generatecontentresponse
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Event,
    Finish,
    FinishReason,
    Media,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Response,
    Start,
    Text,
    ToolUse,
    Usage,
    fold,
)
from fairlead.errors import UpstreamBroken
from fairlead.protocols import sse
from fairlead.protocols.codecs import gemini_errors, gemini_grounding
from fairlead.protocols.codecs.gemini_arguments import Arguments
from fairlead.protocols.codecs.gemini_parts import (
    NAME,
    FunctionCall,
    PlainPart,
    WirePart,
    arguments,
    beside,
    fields_of,
    is_own,
    media_of,
    plain_part_of,
)
from fairlead.protocols.codecs.gemini_usage import Told
from fairlead.protocols.codecs.wording import new_call_id
from fairlead.protocols.envelope import NULL, given

# https://ai.google.dev/api/generate-content#FinishReason, and Google Cloud's MODEL_ARMOR.
_REASONS: dict[str, FinishReason] = {
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR IMAGE_SAFETY IMAGE_RECITATION"
        " IMAGE_PROHIBITED_CONTENT".split(),
        "content_filter",
    ),
}
# What the model did wrong: nobody can go on from such an answer. Calls that are there all the same can be answered.
_WRONG = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE"})
_WRONG_WITHOUT_CALLS = frozenset({"UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})
_encode = msgspec.json.encode


class _Content(Struct):
    parts: list[Raw] | None = None


class Candidate(Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    grounding_metadata: Raw = NULL
    citation_metadata: Raw = NULL


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None


class Chunk(Struct, rename="camel"):
    """A whole answer, or a piece of one."""

    candidates: list[Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Raw = NULL
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: Raw = NULL


_chunk = msgspec.json.Decoder(Chunk)
_chunks = msgspec.json.Decoder(list[Chunk])
_part = msgspec.json.Decoder(WirePart)
_plain_part = msgspec.json.Decoder(PlainPart)


def understood(payload: bytes, what: str) -> Chunk:
    """A chunk. Raises UpstreamBroken if it is none, another UpstreamError if it tells one."""
    try:
        if not payload.isascii():
            payload.decode()  # what is not understood passes, and shall be UTF-8 all the same
        chunk = _chunk.decode(payload)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"{what} is not one of Gemini ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken(f"{what} is not JSON") from None
    if given(chunk.error) is not None:
        raise gemini_errors.from_stream(chunk.error)
    return chunk


def whole(body: bytes) -> list[Chunk]:
    """A whole answer: a chunk, or the array of them that a stream without events is."""
    if body.lstrip()[:1] != b"[":
        chunks = [understood(body, "its answer")]
    else:
        try:
            chunks = _chunks.decode(body.decode().encode())
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise UpstreamBroken("its answer is not one of Gemini") from None
    for chunk in chunks:
        if given(chunk.error) is not None:
            raise gemini_errors.from_stream(chunk.error)
    if all(chunk.candidates is None and block_reason(chunk) is None for chunk in chunks):
        raise UpstreamBroken("its answer has no candidates")
    return chunks


def first(chunk: Chunk) -> Candidate | None:
    """Of several candidates the first: our words tell one answer."""
    return next((each for each in chunk.candidates or () if not each.index), None)


def block_reason(chunk: Chunk) -> str | None:
    """Why the prompt was refused, so that there are no candidates."""
    return chunk.prompt_feedback.block_reason if chunk.prompt_feedback is not None else None


def decode(body: bytes) -> Response:
    chunks = whole(body)
    plain = _plain(chunks[0]) if len(chunks) == 1 else None
    if plain is not None:
        return plain
    decoder = Decoder(streams=False)
    events: list[Event] = []
    for chunk in chunks:
        events += decoder.told(chunk, 0)
    return fold([*events, *decoder(b"")])


def _plain(chunk: Chunk) -> Response | None:
    """A whole answer of texts and calls with nothing beside them, as its events tell it; None if it is another."""
    candidate = first(chunk)
    if candidate is None or len(candidate.grounding_metadata) > 4 or len(candidate.citation_metadata) > 4:
        return None
    parts: list[Text | ToolUse] = []
    calls = False
    for raw in (candidate.content.parts if candidate.content is not None else None) or ():
        try:
            found = _plain_part.decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        call = found.function_call
        if call is not None and (not call.name or call.will_continue or call.partial_args):
            return None
        part = None if found.thought_signature else plain_part_of(found, new_call_id)
        if part is None:
            return None
        if isinstance(part, ToolUse):
            calls = True
        elif not part.text:
            continue
        elif parts and isinstance(parts[-1], Text):
            return None  # pieces of one text
        parts.append(part)
    usage = Told()
    usage.note(chunk.usage_metadata)
    return Response(
        id=chunk.response_id or "",
        model=chunk.model_version or "",
        parts=tuple(parts),
        finish_reason=_meaning(candidate.finish_reason or None, calls=calls),
        usage=usage.usage,
        created=_seconds(chunk.create_time),
        raw_reason=candidate.finish_reason or None,
    )


def _meaning(reason: str | None, *, calls: bool) -> FinishReason | None:
    """Raises UpstreamBroken where the answer is none."""
    if reason in _WRONG or (reason in _WRONG_WITHOUT_CALLS and not calls):
        raise UpstreamBroken(f"the model ended its answer with {reason}")
    return None if reason is None else _REASONS.get(reason) or ("tool_use" if calls else "stop")


def wire_part(raw: Raw) -> WirePart:
    try:
        return _part.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("a part of its answer is not one of Gemini") from None


class Decoder:
    """Chunks → events of ours. Parts that go on in the next chunk are one part, but for those that are signed."""

    def __init__(self, *, streams: bool = True) -> None:
        self._streams = streams
        self._usage = Told()
        self.usage: Usage | None = None
        self.held = 0
        self._started = self._answered = self._finished = self._calls = self._signed = False
        self._reason: str | None = None
        self._blocked: str | None = None  # why the prompt was refused
        self._index = -1  # of the last part
        self._open: type[Text] | type[Reasoning] | None = None  # what the last part is, if it may go on
        self._arguments: Arguments | None = None  # of a call that goes on
        self._said = gemini_grounding.Said()
        self._grounding = self._quoted = NULL

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if not event:
            return list(self._end())
        payload = sse.data(event).strip()
        if not payload or payload == b"[DONE]":
            return []
        return self.told(understood(payload, "an event"), len(payload))

    def told(self, chunk: Chunk, size: int) -> list[Event]:
        """The events that a chunk tells, which was `size` bytes."""
        self._usage.note(chunk.usage_metadata)
        self.usage = self._usage.usage
        events = list(self._told(chunk, size))
        arguments = self._arguments.held if self._arguments is not None else 0
        self.held = self._said.held + arguments + len(self._grounding) + len(self._quoted)
        return events

    def _told(self, chunk: Chunk, size: int) -> Iterator[Event]:
        if not self._started:
            self._started = True
            created = _seconds(chunk.create_time)
            yield Start(chunk.response_id or "", chunk.model_version or "", created, self.usage)
        candidate = first(chunk)
        self._answered = self._answered or candidate is not None
        if candidate is None:
            self._blocked = block_reason(chunk) or self._blocked
            return
        for raw in (candidate.content.parts if candidate.content is not None else None) or ():
            yield from self._part(wire_part(raw), raw, size)
        # Each stands for what was told before. Of its own: it outlives the chunk it stood in.
        if len(candidate.grounding_metadata) > 4:
            self._grounding = Raw(bytes(candidate.grounding_metadata))
        if len(candidate.citation_metadata) > 4:
            self._quoted = Raw(bytes(candidate.citation_metadata))
        self._reason = candidate.finish_reason or self._reason

    # ---- parts

    def _part(self, part: WirePart, raw: Raw, size: int) -> Iterator[Event]:
        fields = fields_of(raw)
        extra = beside(fields)
        if part.function_call is not None and not is_own(fields):
            yield from self._call(part.function_call, extra, size)
            return
        if self._arguments is not None and (part.text != "" or extra is not None):
            yield from self._close()
        if is_own(fields) or (part.thought and part.text is None) or part.function_response is not None:
            yield from self._whole(Opaque(NAME, Raw(bytes(raw))))
        elif part.inline_data is not None or part.file_data is not None:
            blob = part.inline_data or part.file_data
            assert blob is not None
            yield from self._whole(media_of(blob, extra) or Opaque(NAME, Raw(bytes(raw))))
        elif part.thought:
            yield from self._thought(part.text or "", part.thought_signature or None)
        else:
            yield from self._text(part.text or "", extra, raw)

    def _whole(self, part: Media | Opaque) -> Iterator[Event]:
        yield from self._close()
        self._index += 1
        yield PartStart(self._index, part)
        yield PartEnd(self._index)

    def _begin(self, part: Text | Reasoning) -> Iterator[Event]:
        yield from self._close()
        self._index += 1
        self._open, self._signed = type(part), False
        yield PartStart(self._index, part)

    def _close(self) -> Iterator[Event]:
        """End the part that is open, if one is."""
        if self._arguments is not None:
            yield PartDelta(self._index, self._arguments.whole())
            self._arguments = None
            yield PartEnd(self._index)
        if self._open is not None:
            self._open = None
            yield PartEnd(self._index)

    def _thought(self, text: str, signature: str | None) -> Iterator[Event]:
        if not text and signature is None:
            return
        if self._open is not Reasoning or self._signed or (signature is not None and text):
            yield from self._begin(Reasoning(protocol=NAME))
        yield PartDelta(self._index, text, signature)
        self._signed = signature is not None

    def _text(self, text: str, extra: Opaque | None, raw: Raw) -> Iterator[Event]:
        """A text that is signed is not joined with another; a signature alone stays with the text before it."""
        goes_on = self._open is Text and not self._signed
        if text and (not goes_on or extra is not None):
            yield from self._begin(Text(""))
        elif extra is not None and goes_on:
            extra = Opaque(NAME, Raw(bytes(raw)))
        elif extra is not None:
            yield from self._whole(Opaque(NAME, Raw(bytes(raw))))
            return
        if text or extra is not None:
            yield PartDelta(self._index, text, extra=extra)
            self._said.add(self._index, text)
        self._signed = self._signed or extra is not None

    def _call(self, call: FunctionCall, extra: Opaque | None, size: int) -> Iterator[Event]:
        if call.name:
            yield from self._close()
            self._index += 1
            self._calls = True
            id = call.id or new_call_id()
            yield PartStart(self._index, ToolUse(id, call.name, "", extra=extra))
            if not call.will_continue and not call.partial_args:
                yield PartDelta(self._index, arguments(call.args))
                yield PartEnd(self._index)
                return
            self._arguments = Arguments()
        elif self._arguments is None:
            return
        elif extra is not None:
            yield PartDelta(self._index, extra=extra)
        self._arguments.add(call, size)
        if not call.will_continue:
            yield from self._close()

    # ---- the end

    def _end(self) -> Iterator[Event]:
        if self._finished:
            return
        if self._reason is None and self._blocked is None and (self._streams or not self._answered):
            raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
        self._finished = True
        if self._arguments is not None:
            yield from self._close()
        yield from self._cite()
        yield from self._close()
        yield Finish(self._meaning(), self.usage, raw_reason=self._reason or self._blocked)

    def _meaning(self) -> FinishReason | None:
        if self._reason is None and self._blocked is not None:
            return "content_filter"
        return _meaning(self._reason, calls=self._calls)

    def _cite(self) -> Iterator[Event]:
        """Citations come when all is said: those of a part that has ended are told with the last text of a stream."""
        by_part: dict[int, list[Any]] = {}
        last = self._index if self._open is Text else None
        for index, citation in gemini_grounding.decode(self._grounding, self._quoted, self._said):
            if index is not None and (index == last or not self._streams):
                by_part.setdefault(index, []).append(citation)
                continue
            if last is None:
                yield from self._begin(Text(""))
                last = self._index
            if index is not None:
                citation = msgspec.structs.replace(citation, start=None, end=None)
            by_part.setdefault(last, []).append(citation)
        for index, citations in by_part.items():
            yield PartDelta(index, citations=tuple(citations))


def _seconds(time: str | None) -> int:
    """Of the epoch; 0 where it is not told."""
    try:
        return max(int(datetime.fromisoformat(time or "").timestamp()), 0)
    except (ValueError, OverflowError, OSError):
        return 0
