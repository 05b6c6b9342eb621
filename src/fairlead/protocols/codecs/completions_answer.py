"""Answers of OpenAI's completions, whole and streamed, which are nothing but their text: their JSON, and our words.

https://platform.openai.com/docs/api-reference/completions/object
"""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Event, Finish, FinishReason, PartDelta, PartEnd, PartStart, Response, Start, Text, Usage
from fairlead.errors import UpstreamBroken
from fairlead.protocols import sse
from fairlead.protocols.codecs import openai_errors, openai_usage
from fairlead.protocols.codecs.telling import Telling
from fairlead.protocols.counting import latest
from fairlead.protocols.envelope import NULL, given

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}
_TOLD: dict[FinishReason | None, str] = {
    "length": "length", "content_filter": "content_filter", "refusal": "content_filter",
}  # fmt: skip
_encode = msgspec.json.encode


class _Choice(Struct):
    index: int | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: Raw = NULL


class _Vendor(Struct):
    usage: Raw = NULL


class _Answer(Struct):
    """A whole answer, or a chunk of one."""

    id: str | None = None
    object: Raw = NULL
    model: str | None = None
    created: float | None = None
    choices: list[_Choice] | None = None
    usage: Raw = NULL
    x_groq: _Vendor | None = None
    error: Raw = NULL

    def counts(self) -> Usage | None:
        """Usage stands at the top, in a choice, or in a vendor's corner."""
        usage = openai_usage.decode(self.usage)
        for choice in self.choices or ():
            usage = usage or openai_usage.decode(choice.usage)
        if usage is None and self.x_groq is not None:
            usage = openai_usage.decode(self.x_groq.usage)
        return usage


_answer = msgspec.json.Decoder(_Answer)


def _understood(payload: bytes, what: str) -> _Answer:
    try:
        answer = _answer.decode(payload)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"{what} is not one of a completion ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken(f"{what} is not JSON") from None
    if given(answer.error) is not None:
        raise openai_errors.from_stream(answer.error)
    if bytes(answer.object) == b'"error"':
        raise openai_errors.from_stream(payload)
    return answer


def _reason(told: str | None) -> FinishReason | None:
    return _REASONS.get(told, "stop") if told else None


# ---- whole answers


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    answer = _understood(body, "its answer")
    choice = answer.choices[0] if answer.choices else _Choice()
    if choice.text is None and not choice.finish_reason:
        raise UpstreamBroken("its answer has no choices")
    return Response(
        id=answer.id or "",
        model=answer.model or "",
        parts=(Text(choice.text),) if choice.text else (),
        finish_reason=_reason(choice.finish_reason),
        usage=answer.counts(),
        created=int(answer.created or 0),
        raw_reason=choice.finish_reason,
    )


def encode(response: Response) -> bytes:
    text = "".join(part.text for part in response.parts if isinstance(part, Text))
    answer = _facts(response.id, response.model, response.created)
    answer["choices"] = [_choice(text, _TOLD.get(response.finish_reason, "stop"))]
    if response.usage is not None:
        answer["usage"] = openai_usage.encode(response.usage)
    return _encode(answer)


# ---- streams


class Decoder:
    """Chunks → events: one text. What belongs to a choice beyond the first was not asked for."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._started = self._finished = False
        self._telling = Telling()
        self._reason: str | None = None

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if self._finished:
            return []
        if not event:
            if self._reason is None:
                raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
            return self._finish()
        payload = sse.data(event).strip()
        if not payload:
            return []
        if payload == b"[DONE]":
            return self._finish()
        chunk = _understood(payload, "an event")
        if event.startswith(b"event:") and sse.name(event) == b"error":
            raise openai_errors.from_stream(payload)
        return list(self._chunk(chunk))

    def _chunk(self, chunk: _Answer) -> Iterator[Event]:
        if not self._started and (chunk.choices or chunk.id):
            self._started = True
            yield Start(chunk.id or "", chunk.model or "", int(chunk.created or 0))
        self.usage = latest(self.usage, chunk.counts())
        for choice in chunk.choices or ():
            if not choice.index:
                yield from self._telling.more(Text, choice.text or "")
                self._reason = choice.finish_reason or self._reason

    def _finish(self) -> list[Event]:
        if self._reason is None and not self._telling.begun:
            raise UpstreamBroken("it ended its answer before it said anything")
        self._finished = True
        return [*self._telling.close(), Finish(_reason(self._reason), self.usage, raw_reason=self._reason)]


class Encoder:
    """Events → chunks. What was thought and which tools were called has no place in them."""

    held = 0

    def __init__(self, *, include_usage: bool, usage_to_come: bool = True) -> None:
        """`usage_to_come`: chunks say that usage, if it was asked for, is null so far."""
        self._include_usage = include_usage
        self._beside: dict[str, Any] = {"usage": None} if include_usage and usage_to_come else {}
        self._facts: dict[str, Any] = {}
        self._texts: set[int] = set()  # parts that are open

    def __call__(self, event: Event) -> bytes:
        match event:
            case PartDelta(index=index, text=text):
                return self._told(text, None) if text and index in self._texts else b""
            case PartStart(index=index, part=Text(text=text)):
                self._texts.add(index)
                return self._told(text, None) if text else b""
            case PartEnd(index=index):
                self._texts.discard(index)
            case Start():
                self._facts = _facts(event.id, event.model, event.created)
            case Finish():
                return self._finish(event)
        return b""

    def _told(self, text: str, reason: str | None) -> bytes:
        return sse.event(_encode({**self._facts, "choices": [_choice(text, reason)], **self._beside}))

    def _finish(self, finish: Finish) -> bytes:
        told = self._told("", _TOLD.get(finish.reason, "stop"))
        if self._include_usage and finish.usage is not None:
            told += sse.event(_encode({**self._facts, "choices": [], "usage": openai_usage.encode(finish.usage)}))
        return told + b"data: [DONE]\n\n"


def _facts(id: str, model: str, created: int) -> dict[str, Any]:
    return {"id": id, "object": "text_completion", "created": created or int(time.time()), "model": model}


def _choice(text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
