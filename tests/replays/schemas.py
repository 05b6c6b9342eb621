"""Whether an answer is valid by its format's published schema: OpenAI's description, the vendors' own SDKs."""

import re
from typing import Any

import anthropic.types as anthropic_sdk
from google.genai import types as gemini_sdk
from pydantic import TypeAdapter, ValidationError

from protocols_recordings import openai_spec
from replays.readers import Answer, events

# Of a whole answer, and of an event of a stream.
_OPENAI = {
    "openai-chat": ("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
    "openai-responses": ("Response", "ResponseStreamEvent"),
    "openai-completions": ("CreateCompletionResponse", "CreateCompletionResponse"),
}
_SDKS: dict[str, tuple[Any, Any]] = {
    "anthropic-messages": (
        TypeAdapter(anthropic_sdk.Message),
        TypeAdapter(anthropic_sdk.RawMessageStreamEvent),
    ),
    "gemini": (TypeAdapter(gemini_sdk.GenerateContentResponse),) * 2,
}
_WORD = re.compile(r"[A-Za-z_.-]{1,40}")


def faults(format: str, answer: Answer) -> list[str]:
    """What is wrong with `answer`; [] where it is valid."""
    streamed = answer.framing == "sse"
    found = [fault for event in events(answer) for fault in _faults(format, event, streamed=streamed)]
    if streamed:
        found += _order(format, answer)
    return found


_known: dict[tuple[str, bool, str], list[str]] = {}


def _faults(format: str, value: Any, *, streamed: bool) -> list[str]:
    """Values that differ in what they say, but not in their shape, are equally valid: one of them is looked at."""
    key = format, streamed, repr(shape(value))
    if key not in _known:
        _known[key] = _looked_at(format, value, streamed=streamed)
    return _known[key]


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else "a text"
    return type(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _looked_at(format: str, value: Any, *, streamed: bool) -> list[str]:
    if format in _OPENAI:
        found: list[str] = openai_spec().errors(_OPENAI[format][streamed], value)
        return found
    try:
        _SDKS[format][streamed].validate_python(value, strict=format == "anthropic-messages")
    except ValidationError as error:
        return [str(error)[:500]]
    return []


def _order(format: str, answer: Answer) -> list[str]:
    """What each format says of the order of a stream's events."""
    told = list(events(answer))
    kinds = [event.get("type") for event in told]
    if format == "openai-chat":
        ends = answer.body.endswith(b"data: [DONE]\n\n")
        reasons = [choice["finish_reason"] for event in told for choice in event["choices"] if choice["finish_reason"]]
        return [] if ends and len(reasons) == 1 else [f"it ends with {answer.body[-60:]!r}, for {reasons}"]
    if format == "openai-responses":
        numbers = [event["sequence_number"] for event in told]
        right = numbers == list(range(len(told))) and kinds[:2] == ["response.created", "response.in_progress"]
        right &= kinds[-1] in ("response.completed", "response.incomplete")
        return [] if right else [f"events are {kinds[:3]} … {kinds[-1]}, numbered {numbers[:3]} …"]
    if format == "anthropic-messages":
        return _blocks(told, kinds)
    ends = [bool(event.get("candidates") and event["candidates"][0].get("finishReason")) for event in told]
    return [] if ends[-1] and not any(ends[:-1]) else [f"finishReason stands in {ends}"]


def _blocks(told: list[Any], kinds: list[str]) -> list[str]:
    """A block begins when the one before it has ended. https://docs.anthropic.com/en/api/messages-streaming"""
    if kinds[0] != "message_start" or kinds[-2:] != ["message_delta", "message_stop"]:
        return [f"events are {kinds[:2]} … {kinds[-2:]}"]
    open_block, following = None, 0
    for event in told:
        if event["type"] == "content_block_start":
            if open_block is not None or event["index"] != following:
                return [f"block {event['index']} begins within {open_block}"]
            open_block, following = event["index"], following + 1
        elif event["type"].startswith("content_block"):
            if event["index"] != open_block:
                return [f"{event['type']} of {event['index']} within {open_block}"]
            if event["type"] == "content_block_stop":
                open_block = None
    return []
