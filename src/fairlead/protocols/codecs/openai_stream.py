"""Streamed answers of chat completions: their chunks, and the events that they tell.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import msgspec
from msgspec import Raw, Struct, field, structs

from fairlead.chat import (
    Citation,
    Event,
    Finish,
    Media,
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
from fairlead.errors import InvalidRequest, UpstreamBroken
from fairlead.protocols import sse
from fairlead.protocols.codecs import openai_calls, openai_citations, openai_errors, openai_images, openai_usage
from fairlead.protocols.codecs.openai_answer import (
    Answer,
    Function,
    Said,
    ToldCall,
    arguments_of,
    new_call_id,
    reason_of,
    spelt,
    text_of,
    thought_in,
    understood,
    usage_of,
)
from fairlead.protocols.codecs.openai_thoughts import encoded_seal, encoded_thought, read_details, thought_of
from fairlead.protocols.counting import latest
from fairlead.protocols.envelope import NULL

_encode = msgspec.json.Encoder().encode
_CALL_BYTES = 1000  # that a call takes in memory until the stream ends, beside its id
_CITATION_BYTES = 400  # that a citation takes beside its texts
_PIECE_BYTES = 60  # beside a piece of arguments that waits


def _told_thoughts(said: Said) -> Iterator[tuple[Reasoning, int | None]]:
    """What a delta adds to thoughts, each with its number among the details."""
    try:
        details = read_details(said.reasoning_details)
    except InvalidRequest:
        details = []
    for detail in details:
        thought = thought_of(detail, opening=True)
        if thought is not None:
            yield thought, detail.index
    plain = said.reasoning_content or said.reasoning
    if not details and plain:
        yield Reasoning(plain), None
    spoken = thought_in(said.content)
    if spoken:
        yield Reasoning(spoken), None


class Decoder:
    """Chunks → events. One text and one thought are open at a time; tools stay open until the end."""

    def __init__(self) -> None:
        self._started = False
        self._next = 0  # index of the next part
        self._open: int | None = None  # the open Text or Reasoning
        self._open_kind: type[Part] = Text
        self._number: int | None = None  # `index` of the open Reasoning among the details
        self._sources: tuple[Raw, Raw] = (NULL, NULL)  # told beside the choices, again in each chunk
        self._cites = False  # something was cited
        self._said_so_far = self._began = 0  # characters of content: all, and before the open Text
        self._calls: dict[int, _Building] = {}
        self._reason: str | None = None
        self._refused = False
        self._refuses = False  # the open Text is a refusal
        self.usage: Usage | None = None
        self.held = 0
        self._finished = False

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if not event:
            return self._end()
        payload = sse.data(event)
        if not payload or self._finished:
            return []
        if payload == b"[DONE]":
            return self._finish()
        chunk = understood(payload, "an event")
        if event.startswith(b"event:") and sse.name(event) == b"error":
            raise openai_errors.from_stream(payload)
        return list(self._chunk(chunk))

    def _end(self) -> list[Event]:
        if self._finished:
            return []
        if self._reason is None:
            raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
        return self._finish()

    def _finish(self) -> list[Event]:
        self._finished = True
        self.held = 0
        if self._reason is None and not self._next:
            raise UpstreamBroken("it ended its answer before it said anything")
        events: list[Event] = [
            *self._cited(),
            *self._close(),
            *(PartEnd(call.index) for call in self._calls.values() if call.begun),
        ]
        reason = reason_of(self._reason, refused=self._refused)
        return [*events, Finish(reason, self.usage, raw_reason=self._reason)]

    def _cited(self) -> Iterator[Event]:
        """The sources of the whole answer, if it ends in words and cites nothing itself."""
        citations = openai_citations.sources(*self._sources)
        if citations and self._open is not None and self._open_kind is Text and not self._cites:
            yield PartDelta(self._open, citations=citations)

    def _chunk(self, chunk: Answer) -> Iterator[Event]:
        # Azure's first chunk, which tells of its filter, names neither answer nor model.
        if not self._started and (chunk.choices or chunk.id):
            self._started = True
            yield Start(chunk.id or "", chunk.model or "", int(chunk.created or 0))
        self.usage = latest(self.usage, usage_of(chunk))
        if chunk.citations is not NULL:
            self._sources = Raw(bytes(chunk.citations)), Raw(bytes(chunk.search_results))
        for choice in chunk.choices or ():
            if choice.index:  # a choice beyond the first was not asked for
                continue
            said = choice.delta or choice.message
            if said is not None:
                yield from self._said(said)
            if choice.finish_reason:
                self._reason = choice.finish_reason

    def _said(self, said: Said) -> Iterator[Event]:
        for thought, number in _told_thoughts(said):
            yield from self._thought(thought, number)
        text = text_of(said.content)
        citations = openai_citations.decode(said.annotations)
        if text or citations:
            self._cites = self._cites or bool(citations)
            if self._open is None or self._open_kind is not Text or self._refuses:
                self._began, self._refuses = self._said_so_far, False
                yield from self._begin(Text(""))
            assert self._open is not None
            self._said_so_far += len(text)
            yield PartDelta(self._open, text, citations=openai_citations.within(citations, self._began))
        if said.refusal:
            yield from self._refusal(said.refusal)
        for image in openai_images.decode(said.images):
            yield from self._begin(image)
            yield from self._close()
        for call in said.tool_calls or ():
            yield from self._call(call)
        if said.function_call is not None and (said.function_call.name or said.function_call.arguments):
            yield from self._call(ToldCall(0, None, "function", said.function_call))

    def _refusal(self, text: str) -> Iterator[Event]:
        if self._open is None or self._open_kind is not Text or not self._refuses:
            self._refused = self._refuses = True
            yield from self._begin(Text("", refusal=True))
        assert self._open is not None
        yield PartDelta(self._open, text)

    def _thought(self, thought: Reasoning, number: int | None) -> Iterator[Event]:
        if thought.encrypted is not None:
            yield from self._begin(thought)
            yield from self._close()
            return
        if self._open is None or self._open_kind is not Reasoning or self._is_another(thought, number):
            yield from self._begin(Reasoning(protocol=thought.protocol))
            self._number = number
        assert self._open is not None
        yield PartDelta(self._open, thought.text, signature=thought.signature)

    def _is_another(self, thought: Reasoning, number: int | None) -> bool:
        """Whether `thought` is not the open one; a signature alone may come with a number that its text had not."""
        if number is None or number == self._number:
            return False
        return self._number is not None or bool(thought.text)

    def _begin(self, part: Part) -> Iterator[Event]:
        yield from self._close()
        self._open, self._open_kind = self._next, type(part)
        self._next += 1
        yield PartStart(self._open, part)

    def _close(self) -> Iterator[Event]:
        if self._open is not None:
            yield PartEnd(self._open)
            self._open = None

    def _call(self, told: ToldCall) -> Iterator[Event]:
        """Ids and names come once; later deltas leave them out, or send "" or null."""
        function = told.function or Function()
        key = told.index if told.index is not None else self._guessed(told.id)
        call = self._calls.get(key)
        if call is not None and told.id and call.id and told.id != call.id:
            call = None  # a server that numbers every call 0
            self._calls[len(self._calls) + 1000] = self._calls.pop(key)
        if call is None:
            yield from self._close()
            call = self._calls[key] = _Building(self._next)
            self._next += 1
            self.held += _CALL_BYTES
        text, extra = arguments_of(function.arguments), openai_calls.decode(told.extra_content)
        if not call.begun:
            if told.id and not call.id:
                call.id = told.id
                self.held += len(told.id)
            if not function.name:
                size = call.waiting.write(text) + _PIECE_BYTES
                call.size += size
                self.held += size
                return
            call.begun, call.id = True, call.id or new_call_id()
            self.held -= call.size
            yield PartStart(call.index, ToolUse(call.id, function.name, "", extra=extra))
            text = call.waiting.getvalue() + text
            call.waiting.close()
            extra = None
        if text or extra is not None:
            yield PartDelta(call.index, text, extra=extra)

    def _guessed(self, id: str | None) -> int:
        """Without a number, an id begins another call, and everything else belongs to the last one."""
        return len(self._calls) if id or not self._calls else next(reversed(self._calls))


class _Building:
    """A tool call that is still coming in."""

    __slots__ = ("begun", "id", "index", "size", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.waiting = StringIO()  # arguments that came before the name
        self.size = 0  # bytes that these take
        self.begun = False


class _Cited(Struct):
    """A text that was told, and what it cites."""

    begin: int  # characters of content before it
    refusal: bool = False  # it is none of the content
    length: int = 0
    citations: list[Citation] = field(default_factory=list)

    def told(self) -> Iterator[Any]:
        return openai_citations.encode(self.citations, self.begin, self.length)


def _size(citation: Citation) -> int:
    """Bytes that it takes in memory, roughly."""
    texts = (citation.url, citation.title, citation.quote)
    return _CITATION_BYTES + sum(map(len, filter(None, texts))) + (len(citation.raw.raw) if citation.raw else 0)


class Encoder:
    """Events → chunks. The part of a chunk that is the same in all of them is spelt once."""

    _usage_to_come = b',"usage":null'  # in every chunk but the last, where usage was asked for

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head = b""
        self._tail = b""
        self._tools: dict[int, int] = {}  # open part → number among the tools
        self._thoughts: dict[int, tuple[int, Reasoning]] = {}
        self._tool_number = self._thought_number = 0  # of the next one
        self._content = 0  # characters told
        self._refused = False
        # Told when the texts are: the official SDK takes annotations in one chunk only.
        self._cited: dict[int, _Cited] = {}
        self.held = 0

    def __call__(self, event: Event) -> bytes:
        match event:
            case PartDelta():
                return self._delta(event)
            case PartStart(index=index, part=part):
                return self._part(index, part)
            case PartEnd(index=index):
                self._tools.pop(index, None)
                self._thoughts.pop(index, None)
                if index in self._cited and not self._cited[index].citations:
                    del self._cited[index]
                return b""
            case Start():
                return self._start(event)
            case Finish():
                return self._finish(event)

    def _start(self, start: Start) -> bytes:
        facts = {
            "id": start.id,
            "object": "chat.completion.chunk",
            "created": start.created or int(time.time()),
            "model": start.model,
        }
        self._head = b"data: " + _encode(facts)[:-1] + b',"choices":['
        self._tail = (self._usage_to_come if self._include_usage else b"") + b"}\n\n"
        return self._told(b'{"role":"assistant","content":"","refusal":null}')

    def _told(self, delta: bytes, reason: bytes = b"null") -> bytes:
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]' % (delta, reason)
        return self._head + choice + self._tail

    def _part(self, index: int, part: Part) -> bytes:
        match part:
            case ToolUse(id=id, name=name, arguments=arguments):
                number = self._tools[index] = self._tool_number
                self._tool_number += 1
                function = {"name": name, "arguments": arguments}
                call = {"index": number, "id": id, "type": "function", "function": function}
                call.update(openai_calls.encode(part.extra, carry=True))
                return self._told(sse.line(_encode({"tool_calls": [call]})))
            case Reasoning():
                number = self._thought_number
                self._thoughts[index] = (number, part)
                self._thought_number += 1
                if part.encrypted is not None:
                    told = self._told(_encode({"reasoning_details": [encoded_thought(part, number)]}))
                    return told + self._thought(index, part.text, None)
                return self._thought(index, part.text, part.signature) if part.text or part.signature else b""
            case Text(text=text, citations=citations, extra=extra, refusal=refusal):
                self._cited[index] = _Cited(self._content, refusal)
                self._refused = self._refused or refusal
                return self._seal(extra) + self._text(index, text, citations)
            case Media() if openai_images.is_shown(part):
                return self._told(_encode({"images": [openai_images.encode(part)]}))
        return b""

    def _text(self, index: int, text: str, citations: tuple[Citation, ...]) -> bytes:
        length = len(text)
        cited = self._cited.get(index)
        if cited is not None and cited.refusal:
            return self._told(b'{"refusal":%b}' % _encode(text)) if text else b""
        self._content += length
        if cited is not None:
            cited.length += length
            if citations:
                cited.citations += citations
                self.held += sum(map(_size, citations))
        return self._told(b'{"content":%b}' % _encode(text)) if text else b""

    def _delta(self, delta: PartDelta) -> bytes:
        index, text = delta.index, delta.text
        if index in self._tools:
            beside = openai_calls.encode(delta.extra, carry=True)
            call = {"index": self._tools[index], "function": {"arguments": text}, **beside}
            return self._told(sse.line(_encode({"tool_calls": [call]})))
        if index in self._thoughts:
            return self._thought(index, text, delta.signature)
        return self._seal(delta.extra) + self._text(index, text, delta.citations)

    def _seal(self, extra: Opaque | None) -> bytes:
        """What another format keeps beside a text."""
        if extra is None or extra.protocol == openai_calls.NAME:
            return b""
        number = self._thought_number
        self._thought_number += 1
        return self._told(_encode({"reasoning_details": [encoded_seal(extra, number)]}))

    def _thought(self, index: int, text: str, signature: str | None) -> bytes:
        number, part = self._thoughts[index]
        delta: dict[str, Any] = {"reasoning_content": text} if text else {}
        # What is encrypted was told when it began.
        if part.encrypted is None and (part.protocol is not None or signature is not None):
            told = structs.replace(part, text=text, signature=signature)
            delta["reasoning_details"] = [encoded_thought(told, number)]
        return self._told(_encode(delta)) if delta else b""

    def _finish(self, finish: Finish) -> bytes:
        annotations = [one for each in self._cited.values() for one in each.told()]
        told = self._told(_encode({"annotations": annotations})) if annotations else b""
        told += self._told(b"{}", _encode(spelt(finish.reason, refused=self._refused)))
        if self._include_usage and finish.usage is not None:
            told += self._head + b'],"usage":' + _encode(openai_usage.encode(finish.usage)) + b"}\n\n"
        return told + b"data: [DONE]\n\n"
