"""Whole answers of the Responses API: their JSON → our words. What events of streams share with them, too.

https://platform.openai.com/docs/api-reference/responses/object. What clients are told: `responses_telling`.
"""

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import FinishReason, Part, Response, Text, ToolUse
from fairlead.errors import UpstreamBroken
from fairlead.protocols.codecs import responses_errors
from fairlead.protocols.codecs import responses_items as items
from fairlead.protocols.codecs.responses_carried import NAME
from fairlead.protocols.counting import COUNTING
from fairlead.protocols.envelope import NULL, any_value, given

usage_of = COUNTING[NAME].usage


class _Why(Struct):
    reason: str | None = None


class Answer(Struct):
    """A whole answer, or as far as it is in an event."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    output: list[Raw] | None = None
    incomplete_details: _Why | None = None
    tools: Raw = NULL
    usage: Raw = NULL
    error: Raw = NULL


_answer = msgspec.json.Decoder(Answer)


def understood(body: bytes | Raw) -> Answer:
    """An answer. Raises UpstreamBroken if it is none, another UpstreamError if it tells one."""
    try:
        answer = _answer.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"its answer is not a response ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("its answer is not JSON") from None
    if given(answer.error) is not None:
        raise responses_errors.from_answer(answer.error)
    if answer.status == "failed":
        raise UpstreamBroken("its answer failed")
    if answer.status == "cancelled":
        raise UpstreamBroken("its answer was cancelled")
    return answer


def spelt(answer: Answer) -> str | None:
    """Why it ended, as it says; None if it has not."""
    if answer.incomplete_details is not None and answer.incomplete_details.reason:
        return answer.incomplete_details.reason
    return None if answer.status in (None, "queued", "in_progress") else answer.status


def reason_of(answer: Answer, *, calls: bool, refused: bool) -> FinishReason | None:
    told = spelt(answer)
    if told is None and answer.status is not None:
        return None
    match told:
        case "max_output_tokens" | "max_tokens":
            return "length"
        case "content_filter":
            return "content_filter"
        case "incomplete":
            return "length"
    return "refusal" if refused else "tool_use" if calls else "stop"


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    answer = understood(body)
    if answer.output is None:
        raise UpstreamBroken("its answer has no output")
    parts = _parts(answer)
    return Response(
        id=answer.id or "",
        model=answer.model or "",
        parts=parts,
        finish_reason=reason_of(answer, calls=any(map(_is_call, parts)), refused=any(map(_is_refusal, parts))),
        usage=usage_of(answer.usage),
        created=int(answer.created_at or 0),
        raw_reason=spelt(answer),
    )


def _parts(answer: Answer) -> tuple[Part, ...]:
    customs = customs_are_clients(answer)
    return tuple(part for raw in answer.output or () for part in items.parts(raw, customs=customs))


def customs_are_clients(answer: Answer) -> bool:
    """Whether calls of custom tools are for the client."""
    return items.are_clients(any_value(answer.tools))


def _is_call(part: Part) -> bool:
    return isinstance(part, ToolUse)


def _is_refusal(part: Part) -> bool:
    return isinstance(part, Text) and part.refusal
