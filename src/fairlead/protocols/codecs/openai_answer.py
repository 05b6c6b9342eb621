"""Whole answers of chat completions: their JSON, and our words for it. What chunks of streams share with them, too.

https://platform.openai.com/docs/api-reference/chat/object. What other servers add is read where
many of them agree: `reasoning_content`, `reasoning`, `reasoning_details`, `images`.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Citation,
    FinishReason,
    Media,
    Opaque,
    Part,
    Reasoning,
    Response,
    Text,
    ToolUse,
    Usage,
)
from fairlead.errors import InvalidRequest, UpstreamBroken
from fairlead.protocols.codecs import openai_calls, openai_citations, openai_errors, openai_images, openai_usage
from fairlead.protocols.codecs.openai_thoughts import encoded_seal, encoded_thought, thoughts
from fairlead.protocols.counting import COUNTING
from fairlead.protocols.envelope import NULL, given

_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_use", "function_call": "tool_use",
    "content_filter": "content_filter",
    "model_length": "length",  # Mistral's, of the whole context: https://docs.mistral.ai/api/endpoint/chat
}  # fmt: skip
_TOLD: dict[FinishReason | None, str] = {
    "length": "length", "tool_use": "tool_calls", "content_filter": "content_filter", "refusal": "content_filter",
}  # fmt: skip
_COUNTED = COUNTING["openai-chat"]
_encode = msgspec.json.Encoder().encode


class Function(Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToldCall(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    extra_content: Raw = NULL


class Said(Struct, gc=False):
    """A message, or what a delta adds to it."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Raw] | None = None
    tool_calls: list[ToldCall] | None = None
    function_call: Function | None = None
    annotations: Raw = NULL
    images: Raw = NULL


class _Choice(Struct, gc=False):
    index: int | None = None
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    usage: Raw = NULL


class _Vendor(Struct, gc=False):
    usage: Raw = NULL


class Answer(Struct, gc=False):
    """A whole answer, or a chunk of one."""

    id: str | None = None
    object: Raw = NULL
    model: str | None = None
    created: float | None = None
    choices: list[_Choice] | None = None
    usage: Raw = NULL
    x_groq: _Vendor | None = None
    citations: Raw = NULL
    search_results: Raw = NULL
    error: Raw = NULL


class _Usual(Struct, gc=False):
    """A whole answer of one choice, which tells its usage as most do: that is read in the same go."""

    choices: tuple[_Choice]
    usage: _COUNTED.shape  # type: ignore[name-defined]  # made of a table
    id: str | None = None
    object: Raw = NULL
    model: str | None = None
    created: float | None = None
    x_groq: _Vendor | None = None
    citations: Raw = NULL
    search_results: Raw = NULL
    error: Raw = NULL


_answer = msgspec.json.Decoder(Answer)
_usual = msgspec.json.Decoder(_Usual)


def understood(payload: bytes, what: str) -> Answer:
    try:
        answer = _answer.decode(payload)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"{what} is not one of a chat completion ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken(f"{what} is not JSON") from None
    if given(answer.error) is not None:
        raise openai_errors.from_stream(answer.error)
    if openai_errors.is_error(answer.object):
        raise openai_errors.from_stream(payload)
    return answer


def usage_of(answer: Answer) -> Usage | None:
    """Usage stands at the top, in a choice, or in a vendor's corner."""
    usage = openai_usage.decode(answer.usage)
    for choice in answer.choices or ():
        usage = usage or openai_usage.decode(choice.usage)
    if usage is None and answer.x_groq is not None:
        usage = openai_usage.decode(answer.x_groq.usage)
    return usage


# ---- whole answers


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    try:
        usual = _usual.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _decoded(body)
    choice, usage = usual.choices[0], _COUNTED.words(usual.usage)
    message, fails = choice.message, usual.error is not NULL or openai_errors.is_error(usual.object)
    if usage is None or message is None or fails:
        return _decoded(body)
    return _response(usual, choice, message, usage)


def _decoded(body: bytes) -> Response:
    """The same, more patiently."""
    answer = understood(body, "its answer")
    choice = answer.choices[0] if answer.choices else _Choice()
    message = choice.message
    if message is None:
        if not choice.finish_reason:
            raise UpstreamBroken("its answer has no choices")
        message = Said()  # Azure's filter leaves only the reason
    return _response(answer, choice, message, usage_of(answer))


def _response(answer: Answer | _Usual, choice: _Choice, message: Said, usage: Usage | None) -> Response:
    sources: tuple[Citation, ...] = ()
    if answer.citations is not NULL:
        sources = openai_citations.sources(answer.citations, answer.search_results)
    reason = choice.finish_reason
    return Response(
        answer.id or "", answer.model or "", _said(message, sources), reason_of(reason, refused=bool(message.refusal)),
        usage, int(answer.created or 0), None, reason,
    )  # fmt: skip


def reason_of(told: str | None, *, refused: bool) -> FinishReason | None:
    if refused:
        return "refusal"
    return _REASONS.get(told, "stop") if told else None


def _said(message: Said, sources: tuple[Citation, ...]) -> tuple[Part, ...]:
    parts: list[Part] = []
    if message.reasoning_details or message.reasoning_content or message.reasoning:
        parts += _thoughts(message)
    content = message.content
    if isinstance(content, list):
        thought = thought_in(content)
        if thought:
            parts.append(Reasoning(thought))
        content = text_of(content)
    citations = () if message.annotations is NULL else openai_citations.decode(message.annotations)
    if content or citations:
        parts.append(Text(content or "", None, citations or sources))
    if message.refusal:
        parts.append(Text(message.refusal, refusal=True))
    if message.images is not NULL:
        parts += openai_images.decode(message.images)
    if message.tool_calls:
        for call in message.tool_calls:
            extra = None if call.extra_content is NULL else openai_calls.decode(call.extra_content)
            parts.append(_tool_use(call.id, call.function, extra))
    if message.function_call is not None and message.function_call.name:
        parts.append(_tool_use(None, message.function_call))
    return tuple(parts)


def _thoughts(message: Said) -> Iterator[Reasoning]:
    try:
        yield from thoughts(message.reasoning_details, message.reasoning_content or message.reasoning)
    except InvalidRequest:  # details of a shape we do not know: the plain text is what there is
        yield from thoughts(None, message.reasoning_content or message.reasoning)


def _tool_use(id: str | None, function: Function | None, extra: Opaque | None = None) -> ToolUse:
    if function is None or not function.name:
        raise UpstreamBroken("it called a tool without a name")
    return ToolUse(id or new_call_id(), function.name, arguments_of(function.arguments) or "{}", None, extra)


def arguments_of(told: str | dict[str, Any] | None) -> str:
    """JSON text; some servers send the object itself."""
    return _encode(told).decode() if isinstance(told, dict) else told or ""


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


def thought_in(content: str | list[dict[str, Any]] | None) -> str:
    """Mistral tells what it thought as parts of the content, whose `thinking` is a text or parts again.

    https://docs.mistral.ai/capabilities/reasoning
    """
    if not isinstance(content, list):
        return ""
    thoughts = [part.get("thinking") for part in content if part.get("type") == "thinking"]
    return "".join(
        each if isinstance(each, str) else text_of([part for part in each if isinstance(part, dict)])
        for each in thoughts
        if isinstance(each, str | list)
    )


def new_call_id() -> str:
    return f"call_{os.urandom(12).hex()}"


class _ToldMessage(Struct, omit_defaults=True, gc=False):
    role: str
    content: str | None
    refusal: str | None
    annotations: list[Any] | None = None
    images: list[Any] | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    tool_calls: list[Any] | None = None


class _ToldChoice(Struct, gc=False):
    index: int
    message: _ToldMessage
    logprobs: None
    finish_reason: str


class _Told(Struct, omit_defaults=True, gc=False):
    id: str
    object: str
    created: int
    model: str
    choices: tuple[_ToldChoice]
    usage: openai_usage.Told | None = None


def encode(response: Response) -> bytes:
    message = _ToldMessage("assistant", None, None)
    texts: list[Text] = []
    refusals: list[str] = []
    kept: list[Opaque] = []  # what other formats keep beside texts
    reasoning: list[Reasoning] = []
    images: list[Any] = []
    calls: list[Any] = []
    for part in response.parts:
        if isinstance(part, Text):
            if part.refusal:
                refusals.append(part.text)
            else:
                texts.append(part)
            if part.extra is not None and part.extra.protocol != openai_calls.NAME:
                kept.append(part.extra)
        elif isinstance(part, ToolUse):
            calls.append(openai_calls.encoded_call(part, carry=True))
        elif isinstance(part, Reasoning):
            reasoning.append(part)
        elif isinstance(part, Media) and openai_images.is_shown(part):
            images.append(openai_images.encode(part))
    if texts:
        message.content = texts[0].text if len(texts) == 1 else "".join([part.text for part in texts])
        message.annotations = openai_citations.encoded(texts) or None
    if refusals:
        message.refusal = "".join(refusals)
    message.images, message.tool_calls = images or None, calls or None
    if reasoning:
        message.reasoning_content = "".join([part.text for part in reasoning])
    # All or none: who reads details reads them only.
    if kept or (reasoning and any(part.protocol is not None for part in reasoning)):
        told = [encoded_thought(part, index) for index, part in enumerate(reasoning)]
        message.reasoning_details = [*told, *(encoded_seal(extra, len(told) + n) for n, extra in enumerate(kept))]
    choice = _ToldChoice(0, message, None, spelt(response.finish_reason, refused=bool(refusals)))
    created = response.created or int(time.time())
    usage = openai_usage.encode(response.usage)
    return _encode(_Told(response.id, "chat.completion", created, response.model, (choice,), usage))


def spelt(reason: FinishReason | None, *, refused: bool) -> str:
    """An answer that says that it refuses needs no reason besides. The official SDK's `parse` would raise.

    https://platform.openai.com/docs/guides/structured-outputs#refusals
    """
    return "stop" if refused and reason == "refusal" else _TOLD.get(reason, "stop")
