"""OpenAI's chat completions, and OpenRouter's."""

import msgspec
from msgspec import Struct

from fairlead.http.openapi.calls import ASKED, SAID, Call, failing, streamed
from fairlead.http.openapi.pieces import in_json, ref
from fairlead.http.openapi.refusals import OPENAI, OPENROUTER
from fairlead.http.openapi.shapes import openai_chat as shapes
from fairlead.http.openapi.streams import stream_of
from fairlead.protocols import ChatProtocol
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openrouter_chat import OpenRouterChat

_ASKED = {
    "an answer": {"model": "gpt-4o-mini", "messages": ASKED},
    "a stream": {
        "model": "groq/llama-3.3-70b-versatile",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Be brief."}, *ASKED],
    },
    "tools": {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                },
            }
        ],
    },
}


def calls(root: str) -> dict[str, Call]:
    wire: ChatProtocol
    answer: type[Struct]
    id, wire, dialect, answer, event = "createChatCompletion", OpenAIChat(), OPENAI, shapes.ChatCompletion, "ChatEvent"
    if root != "/v1":
        id, wire, dialect = "openrouterCreateChatCompletion", OpenRouterChat(), OPENROUTER
        answer, event = shapes.OpenRouterChatCompletion, "OpenRouterChatEvent"
    whole = msgspec.json.decode(wire.encode_response(SAID))
    content = {**in_json(ref(answer), an_answer=whole), **stream_of(event, failing(wire, streamed(wire, SAID)))}
    call = Call(id, dialect, "A chat completion", shapes.ChatRequest, _ASKED, content, parameters=("OpenAI-Beta",))
    return {f"{root}/chat/completions": call}
