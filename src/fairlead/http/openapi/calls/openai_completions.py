"""OpenAI's completions of the older kind, and OpenRouter's."""

import msgspec
from msgspec import Struct

from fairlead.http.openapi.calls import CREATED, Call, failing
from fairlead.http.openapi.refusals import OPENAI, OPENROUTER
from fairlead.http.openapi.shapes import openai_completions as shapes
from fairlead.http.openapi.streams import DONE
from fairlead.protocols import Wire, sse
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterCompletions

_COMPLETION = {
    "id": "cmpl-D0xUy3",
    "object": "text_completion",
    "created": CREATED,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": " there was a gateway.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
}
_COMPLETION_ASKED = {
    "an answer": {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", "max_tokens": 16},
    "a stream": {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", "stream": True},
}


def call(root: str) -> Call:
    wire: Wire
    answer: type[Struct]
    id, wire, dialect, answer, event = (
        "createCompletion", OpenAICompletions(), OPENAI, shapes.Completion, "CompletionEvent",
    )  # fmt: skip
    if root != "/v1":
        id, wire, dialect = "openrouterCreateCompletion", OpenRouterCompletions(), OPENROUTER
        answer, event = shapes.OpenRouterCompletion, "OpenRouterCompletionEvent"
    chunk = {name: value for name, value in _COMPLETION.items() if name != "usage"}
    streamed = sse.event(msgspec.json.encode(chunk)) + sse.event(DONE.encode())
    return Call(
        id, wire, dialect, shapes.CompletionRequest, answer, event, "A completion of the older kind",
        _COMPLETION_ASKED, msgspec.json.decode(wire.dress(msgspec.json.encode(_COMPLETION))), failing(wire, streamed),
        ("OpenAI-Beta",),
    )  # fmt: skip
