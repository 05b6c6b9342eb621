"""Answers of the models on Bedrock that go on with a text, whole and streamed.

Anthropic's completions, Amazon's Titan, Meta's Llama, Cohere's Command and Mistral's completions tell the same few
things by other names; the names do not clash, so that one reader takes them all.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from fairlead.chat import Event, Finish, FinishReason, PartDelta, PartEnd, PartStart, Response, Start, Text, Usage
from fairlead.errors import UpstreamBroken
from fairlead.protocols.codecs import bedrock_errors
from fairlead.protocols.codecs.bedrock_usage import INVOKE
from fairlead.protocols.codecs.prompts import HUMAN
from fairlead.protocols.envelope import any_value

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length", "model_length": "length",
    "stop_sequence": "stop_sequence", "finish": "stop", "finished": "stop", "complete": "stop",
    "stop_criteria_met": "stop_sequence", "content_filtered": "content_filter", "error_toxic": "content_filter",
    "error_limit": "length", "tool_call": "tool_use", "tool_calls": "tool_use",
}  # fmt: skip


class _Piece(Struct):
    """One of several texts."""

    index: float = 0  # Titan says 0.0
    text: str | None = None
    outputText: str | None = None
    stop_reason: str | None = None
    finish_reason: str | None = None
    completionReason: str | None = None
    tokenCount: Raw = Raw(b"null")


class Told(_Piece):
    """A whole answer, or a chunk of one, in any of these formats."""

    id: str | None = None
    completion: str | None = None  # Anthropic
    stop: str | None = None
    generation: str | None = None  # Llama
    results: list[_Piece] | None = None  # Titan
    generations: list[_Piece] | None = None  # Command
    outputs: list[_Piece] | None = None  # Mistral
    choices: list[_Piece] | None = None  # DeepSeek
    is_finished: bool | None = None
    guardrail: str | None = field(default=None, name="amazon-bedrock-guardrailAction")

    def piece(self) -> _Piece | None:
        """The one text that is told, None if there is none. Those after the first were not asked for."""
        for several in (self.results, self.generations, self.outputs, self.choices):
            if several:
                return several[0]
        text = next((text for text in (self.completion, self.generation) if text is not None), None)
        if text is not None:
            return _Piece(self.index, text, None, self.stop_reason, self.finish_reason, self.completionReason)
        says = (self.text, self.outputText, self.stop_reason, self.finish_reason, self.completionReason)
        return self if any(value is not None for value in says) or self.is_finished is not None else None


_told = msgspec.json.Decoder(Told)


def reason(told: str | None) -> FinishReason | None:
    return _REASONS.get(told.lower(), "stop") if told else None


def _why(piece: _Piece) -> str | None:
    return piece.stop_reason or piece.finish_reason or piece.completionReason


def _finish(why: str | None, stop: str | None, guardrail: str | None) -> tuple[FinishReason | None, str | None]:
    """The reason in our words, and the sequence that the answer stopped at."""
    if why is None:
        return ("content_filter" if guardrail == "INTERVENED" else None), None
    if why == "stop_sequence" and stop == HUMAN:
        return "stop", None
    return reason(why), stop if why == "stop_sequence" else None


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    told = _read(body, "its answer")
    piece = told.piece()
    if piece is None:
        fields = any_value(body)
        if isinstance(fields, dict) and ("message" in fields or "__type" in fields):
            raise bedrock_errors.from_answer(fields)
        raise UpstreamBroken("its answer is of a shape that we do not know")
    text, why = piece.text or piece.outputText or "", _why(piece)
    finish, stop = _finish(why, told.stop, told.guardrail)
    return Response(
        id=told.id or "",
        model="",
        parts=(Text(text),) if text else (),
        finish_reason=finish,
        usage=_usage(body, told),
        stop_sequence=stop,
        raw_reason=why,
    )


def _read(raw: bytes, what: str) -> Told:
    try:
        return _told.decode(raw)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"{what} is not one of a completion ({error})") from None
    except UNREADABLE:
        raise UpstreamBroken(f"{what} is not JSON") from None


def _usage(body: bytes, told: Told) -> Usage | None:
    """Titan counts what it said beside each text, and what it was asked at the top."""
    if told.results:
        counts = any_value(body)
        outputs = any_value(told.results[0].tokenCount)
        if isinstance(counts, dict):
            inputs = counts.get("inputTextTokenCount")
            asked = [value if isinstance(value, int | float) else None for value in (inputs, outputs)]
            told_counts = b'{"inputTextTokenCount":%b,"totalOutputTextTokenCount":%b}'
            return INVOKE.usage(Raw(told_counts % tuple(str(value).encode() if value else b"null" for value in asked)))
    return INVOKE.usage(Raw(body))


class Decoder:
    """Chunks of theirs, one JSON each → our events: one text. `usage` is what the chunks themselves tell."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._counts: Any = None
        self._started = self._open = self._finished = False
        self._why: str | None = None
        self._stop: str | None = None
        self._guardrail: str | None = None

    def __call__(self, payload: bytes) -> list[Event]:
        """b"" is the end of the stream."""
        return list(self._tell(payload) if payload else self._end())

    def _tell(self, payload: bytes) -> Iterator[Event]:
        told = _read(payload, "an event")
        piece = told.piece()
        if b"oken" in payload:
            self._counts = INVOKE.told(Raw(payload), self._counts)
            self.usage = INVOKE.words(self._counts)
        if not self._started:
            self._started = True
            yield Start(told.id or "", "")
        self._guardrail = told.guardrail or self._guardrail
        if piece is None or piece.index or self._finished:
            return
        text = piece.text or piece.outputText
        if text:
            if not self._open:
                self._open = True
                yield PartStart(0, Text(""))
            yield PartDelta(0, text)
        self._why, self._stop = _why(piece) or self._why, told.stop or self._stop

    def _end(self) -> Iterator[Event]:
        if self._finished:
            return
        finish, stop = _finish(self._why, self._stop, self._guardrail)
        if finish is None:
            raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
        self._finished = True
        if self._open:
            yield PartEnd(0)
        yield Finish(finish, self.usage, stop, self._why)
