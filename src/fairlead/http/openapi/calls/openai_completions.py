"""OpenAI's completions of the older kind, and OpenRouter's."""

import msgspec
from msgspec import Struct

from fairlead.http.openapi.calls import CREATED, Call, failing
from fairlead.http.openapi.pieces import in_json, ref
from fairlead.http.openapi.refusals import OPENAI, OPENROUTER
from fairlead.http.openapi.shapes import openai_completions as shapes
from fairlead.http.openapi.streams import DONE, stream_of
from fairlead.protocols import Wire, sse
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterCompletions

_TOLD = {
    "id": "cmpl-D0xUy3",
    "object": "text_completion",
    "created": CREATED,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": " there was a gateway.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
}
_ASKED = {
    "an answer": {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", "max_tokens": 16},
    "a stream": {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", "stream": True},
}


def calls(root: str) -> dict[str, Call]:
    wire: Wire
    answer: type[Struct]
    id, wire, dialect, answer, event = (
        "createCompletion", OpenAICompletions(), OPENAI, shapes.Completion, "CompletionEvent",
    )  # fmt: skip
    if root != "/v1":
        id, wire, dialect = "openrouterCreateCompletion", OpenRouterCompletions(), OPENROUTER
        answer, event = shapes.OpenRouterCompletion, "OpenRouterCompletionEvent"
    chunk = {name: value for name, value in _TOLD.items() if name != "usage"}
    streamed = sse.event(msgspec.json.encode(chunk)) + sse.event(DONE.encode())
    whole = msgspec.json.decode(wire.dress(msgspec.json.encode(_TOLD)))
    content = {**in_json(ref(answer), an_answer=whole), **stream_of(event, failing(wire, streamed))}
    summary = "A completion of the older kind"
    call = Call(id, dialect, summary, shapes.CompletionRequest, _ASKED, content, parameters=("OpenAI-Beta",))
    return {f"{root}/completions": call}
