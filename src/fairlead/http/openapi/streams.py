"""Events of streams, and examples of them."""

from msgspec import Struct

from fairlead.http.openapi.pieces import STRING, Schema, one_of, ref
from fairlead.http.openapi.shapes import (
    anthropic_completions,
    anthropic_messages,
    errors,
    gemini,
    openai_chat,
    openai_completions,
    openai_responses,
)
from fairlead.protocols import sse


def _event(description: str, *kinds: type[Struct], end: str = "", named: bool = False) -> Schema:
    """One event of a stream. `end`: the data of the last one, which is no JSON."""
    data: Schema = {**STRING, "contentMediaType": "application/json", "contentSchema": one_of(*kinds)}
    if end:
        data = {"anyOf": [{"const": end}, data]}
    name = {"type": "string", "description": "The type of its data, too."}
    properties = {"event": name, "data": data} if named else {"data": data}
    return {"description": description, "type": "object", "properties": properties, "required": list(properties)}


DONE = "[DONE]"
_LAST = (
    "One server-sent event. The last one's data is `[DONE]`, or tells an error."
    " Lines that begin with `:` are signs of life."
)
EVENTS = {
    "ChatEvent": _event(_LAST, openai_chat.ChatChunk, errors.OpenAIErrorEvent, end=DONE),
    "OpenRouterChatEvent": _event(_LAST, openai_chat.ChatChunk, errors.OpenRouterErrorChunk, end=DONE),
    "CompletionEvent": _event(_LAST, openai_completions.Completion, errors.OpenAIErrorEvent, end=DONE),
    "OpenRouterCompletionEvent": _event(_LAST, openai_completions.Completion, errors.OpenRouterErrorChunk, end=DONE),
    "MessageEvent": _event(
        "One server-sent event. The last one is `message_stop` or `error`. Lines that begin with `:` are signs of"
        " life.",
        *anthropic_messages.MESSAGE_EVENTS,
        errors.AnthropicError,
        named=True,
    ),
    "CompleteEvent": _event(
        "One server-sent event. The last one has a `stop_reason`, or is `error`. Lines that begin with `:` are signs of"
        " life.",
        anthropic_completions.Complete,
        anthropic_messages.Ping,
        errors.AnthropicError,
        named=True,
    ),
    "ResponseEvent": _event(
        "One server-sent event. The last one is `response.completed`, `response.incomplete` or `response.failed`. Lines"
        " that begin with `:` are signs of life.",
        *openai_responses.RESPONSE_EVENTS,
        named=True,
    ),
    "GenerateContentEvent": _event(
        "One server-sent event. The last one has a `finishReason`, or tells an error. Lines that begin with `:` are"
        " signs of life.",
        gemini.GenerateContentResponse,
        errors.GeminiError,
    ),
}


def _events(told: bytes) -> dict[str, dict[str, str]]:
    """The events in `told`, by number and what they are."""
    found = {}
    for number, event in enumerate(told.removesuffix(b"\n\n").split(b"\n\n"), 1):
        name, data = sse.name(event).decode(), sse.data(event).decode()
        known = {"event": name} if event.startswith(b"event:") else {}
        found[f"{number}. {known.get('event', 'chunk' if data != DONE else 'end')}"] = {**known, "data": data}
    return found


def stream_of(event: str, told: bytes) -> Schema:
    examples = {name: {"value": value} for name, value in _events(told).items()}
    return {"text/event-stream": {"schema": ref(event), "examples": examples}}
