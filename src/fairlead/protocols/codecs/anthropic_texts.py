"""Anthropic's older completions: requests and answers, whole and streamed, and our words for them.

A prompt is a conversation, whose turns begin with "\n\nHuman:" and "\n\nAssistant:"; what stands before the first are
instructions. https://docs.claude.com/en/api/complete https://docs.anthropic.com/en/api/streaming
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Event,
    Finish,
    FinishReason,
    Message,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    Start,
    Text,
    Usage,
)
from fairlead.errors import UpstreamBroken
from fairlead.protocols import Encoded, sse
from fairlead.protocols.codecs import anthropic_errors, prompts
from fairlead.protocols.codecs.prompts import HUMAN
from fairlead.protocols.codecs.telling import Telling
from fairlead.protocols.envelope import NULL, any_value, given, left_over, typed

NAME = "anthropic-completions"
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_REASONS: dict[str, FinishReason] = {"max_tokens": "length", "refusal": "refusal"}
_TOLD: dict[FinishReason | None, str] = {"length": "max_tokens", "refusal": "refusal", "content_filter": "refusal"}
_encode = msgspec.json.encode


# ---- requests


class _Metadata(Struct):
    user_id: str | None = None


class _Request(Struct):
    prompt: str
    model: str = ""
    max_tokens_to_sample: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    metadata: _Metadata | None = None


_UNDERSTOOD = frozenset(field.name for field in msgspec.structs.fields(_Request))
_PARTLY = {"metadata": frozenset({"user_id"})}
_request = msgspec.json.Decoder(_Request)


def decode_request(fields: dict[str, Raw], body: bytes) -> Request:
    """`fields` is the body's top level. Raises InvalidRequest with `param` as a path."""
    told = typed(body, _request, "")
    return Request(
        model=told.model,
        messages=tuple(_messages(told.prompt)),
        max_tokens=told.max_tokens_to_sample,
        temperature=told.temperature,
        top_p=told.top_p,
        top_k=told.top_k,
        stop=tuple(text for text in told.stop_sequences or () if text != HUMAN),  # where an answer ends by itself
        stream=bool(told.stream),
        user=told.metadata.user_id if told.metadata is not None else None,
        extra={name: Opaque(NAME, raw) for name, raw in left_over(fields, _UNDERSTOOD, _PARTLY)},
    )


def _messages(prompt: str) -> list[Message]:
    """The turns that say something; a prompt without any is what a user says."""
    first, *rest = _TURN.split(prompt)
    instructed = "Human" in rest[::2]
    said = [("system" if instructed else "user", first), *zip(rest[::2], rest[1::2], strict=True)]
    roles = {"Human": "user", "Assistant": "assistant"}
    told = [(roles.get(who, who), text.strip()) for who, text in said]
    messages = [Message(role, (Text(text),)) for role, text in told if text]  # type: ignore[arg-type]
    return messages or [Message("user", (Text(""),))]


def encode_request(request: Request, default_max_tokens: int) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    body, dropped = prompts.spelt(request, prompts.CLAUDE, NAME, default_max_tokens, says=frozenset({"user"}))
    told: dict[str, Any] = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    told |= {"model": request.model, **body}
    if request.user is not None:
        told["metadata"] = {**(any_value(told.get("metadata", NULL)) or {}), "user_id": request.user}
    if request.stream:
        told["stream"] = True
    return Encoded(_encode(told), tuple(sorted(dropped)))


# ---- whole answers


class Told(Struct):
    """A whole answer, or an event of one, as far as we read it."""

    type: str = "completion"
    id: str | None = None
    model: str | None = None
    completion: str | None = None
    stop_reason: str | None = None
    stop: str | None = None  # the sequence that it ended at
    error: Raw = NULL


_told = msgspec.json.Decoder(Told)


def understood(payload: bytes, what: str) -> Told:
    """Raises UpstreamBroken where `payload` is not `what` it should be, another UpstreamError where it tells one."""
    try:
        told = _told.decode(payload)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"{what} is not one of a completion ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken(f"{what} is not JSON") from None
    if told.type == "error" or given(told.error) is not None:
        raise anthropic_errors.from_stream(told.error)
    return told


def answer(body: bytes) -> Told:
    """A whole answer. Raises as `understood` does."""
    told = understood(body, "its answer")
    if told.completion is None:
        raise UpstreamBroken("its answer has no completion")
    return told


def decode(body: bytes) -> Response:
    told = answer(body)
    finish = _finish(told.stop_reason, told.stop)
    return Response(
        id=told.id or "",
        model=told.model or "",
        parts=(Text(told.completion),) if told.completion else (),
        finish_reason=finish.reason,
        stop_sequence=finish.stop_sequence,
        raw_reason=finish.raw_reason,
    )


def _finish(why: str | None, stop: str | None) -> Finish:
    """A stop sequence ends an answer in any case: the user's next turn, or one that the client asked for."""
    if why == "stop_sequence" and stop not in (None, HUMAN):
        return Finish("stop_sequence", stop_sequence=stop, raw_reason=why)
    return Finish(_REASONS.get(why, "stop") if why else None, raw_reason=why)


def encode(response: Response) -> bytes:
    text = "".join(part.text for part in response.parts if isinstance(part, Text))
    return _encode(_facts(response.id, response.model, text, *_why(response.finish_reason, response.stop_sequence)))


def _why(reason: FinishReason | None, stop_sequence: str | None) -> tuple[str, str | None]:
    told = _TOLD.get(reason, "stop_sequence")
    return told, (stop_sequence if reason == "stop_sequence" else HUMAN) if told == "stop_sequence" else None


def _facts(id: str, model: str, text: str, reason: str | None, stop: str | None) -> dict[str, Any]:
    return {
        "type": "completion", "id": id, "completion": text, "stop_reason": reason, "model": model, "stop": stop,
        "log_id": id,
    }  # fmt: skip


# ---- streams


class Decoder:
    """Events of theirs → events of ours: one text. The event that has a reason is the last; usage is not told."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._started = self._finished = False
        self._telling = Telling()

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw SSE event tells; b"" is the end of the stream."""
        if self._finished:
            return []
        if not event:
            raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
        payload = sse.data(event)
        return list(self._tell(understood(payload, "an event"))) if payload else []

    def _tell(self, told: Told) -> Iterator[Event]:
        if told.type != "completion":
            return
        if not self._started:
            self._started = True
            yield Start(told.id or "", told.model or "")
        yield from self._telling.more(Text, told.completion or "")
        if told.stop_reason:
            self._finished = True
            yield from self._telling.close()
            yield _finish(told.stop_reason, told.stop)


class Encoder:
    """Events of ours → events of theirs. What was thought and which tools were called has no place in them."""

    held = 0

    def __init__(self) -> None:
        self._id = self._model = ""
        self._texts: set[int] = set()  # parts that are open

    def __call__(self, event: Event) -> bytes:
        match event:
            case PartDelta(index=index, text=text):
                return self._told(text, None, None) if text and index in self._texts else b""
            case PartStart(index=index, part=Text(text=text)):
                self._texts.add(index)
                return self._told(text, None, None) if text else b""
            case PartEnd(index=index):
                self._texts.discard(index)
            case Start(id=id, model=model):
                self._id, self._model = id, model
            case Finish(reason=reason, stop_sequence=stop_sequence):
                return self._told("", *_why(reason, stop_sequence))
        return b""

    def _told(self, text: str, reason: str | None, stop: str | None) -> bytes:
        return sse.event(_encode(_facts(self._id, self._model, text, reason, stop)), b"completion")
