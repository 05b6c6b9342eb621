"""What translation costs: whole calls from each format to each other one, beside the same call passed through.

`python bench/formats.py` prints the table; `stages.py` has its gates in RESULTS.md. The same conversation in every
format, 4 KiB: two messages; and instructions, turns, a call of a tool and its result, and two tools.
"""

import gc
import json
import tempfile
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from msgspec import Raw

import calls
from fairlead.app import WIRES
from fairlead.chat import Message, Request, Response, Text, Tool, ToolResult, ToolUse, Usage
from fairlead.protocols import is_inbound, is_outbound

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "gemini": "/v1beta/models/lab%2Fmock:generateContent",
}
GREAT = "openai-chat", "anthropic-messages"  # whose gate it is
SCHEMA = Raw(
    b'{"type":"object","properties":{"city":{"type":"string","description":"The city"},"days":{"type":"integer"}},'
    b'"required":["city"]}'
)
TOOLS = (
    Tool("weather", "The weather of a city for some days", SCHEMA),
    Tool("time", "The local time of a city", SCHEMA),
)
SAID = (
    Message("system", (Text("You answer questions of travellers, briefly and kindly. " * 16),)),
    Message("user", (Text("I am going to Lisbon next week. What should I take along? " * 16),)),
    Message(
        "assistant", (Text("Let me look at the weather."), ToolUse("call_1", "weather", '{"city":"Lisbon","days":7}'))
    ),
    Message("tool", (ToolResult("call_1", (Text("Sunny, 24 degrees, a light wind from the north-west. " * 14),)),)),
    Message("user", (Text("And in the evening? " * 10),)),
)
PLAIN = (
    Message("system", (Text("You answer questions of travellers, briefly and kindly. " * 16),)),
    Message("user", (Text("I am going to Lisbon next week. What should I take along? " * 47),)),
)
CONVERSATIONS: dict[str, Request] = {
    "two messages": Request("lab/mock", PLAIN, max_tokens=256, temperature=0.7),
    "tools and turns": Request("lab/mock", SAID, TOOLS, max_tokens=256, temperature=0.7),
}
USAGE = Usage(900, 40, 100)
TOLD = Response("answer_1", "mock", (Text("Take a light jacket. " * 20),), "stop", USAGE, 1_767_225_600)
# What providers answer whose formats no client speaks.
ANSWERS: dict[str, dict[str, Any]] = {
    "bedrock-converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "Take a light jacket. " * 20}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 900, "outputTokens": 40, "totalTokens": 940},
        "metrics": {"latencyMs": 300},
    },
    "cohere-chat": {
        "id": "answer_1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Take a light jacket. " * 20}]},
        "usage": {"tokens": {"input_tokens": 900, "output_tokens": 40}},
    },
    "ollama-chat": {
        "model": "mock",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": "Take a light jacket. " * 20},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 900,
        "eval_count": 40,
    },
}


class Pair(NamedTuple):
    """What is said, a client's format and a provider's, and CPU µs of a call."""

    conversation: str
    client: str
    provider: str
    micros: float


def asked(conversation: str, protocol: str) -> bytes:
    """The conversation as a client says it."""
    wire = WIRES[protocol]
    assert is_outbound(wire)
    return wire.encode_request(CONVERSATIONS[conversation], default_max_tokens=256).body


def answered(protocol: str) -> bytes:
    """The answer as a provider tells it, head and body."""
    wire = WIRES[protocol]
    body = wire.encode_response(TOLD) if is_inbound(wire) else json.dumps(ANSWERS[protocol]).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def pairs(
    folder: Path, clients: Iterable[str] = PATHS, providers: Iterable[str] = (*PATHS, *ANSWERS)
) -> list[Pair]:
    """Each format that clients speak to itself, which passes through, and to every other one that providers do."""
    found = []
    for said, client in product(CONVERSATIONS, clients):
        for provider in (client, *(name for name in providers if name != client)):
            micros = await calls.whole(
                folder / f"{said} {client} {provider}", asked(said, client), answered(provider),
                path=PATHS[client], protocol=provider, turns=5,
            )  # fmt: skip
            found.append(Pair(said, client, provider, micros))
    return found


def main() -> None:
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)  # as `fairlead serve` has it
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(pairs(Path(folder)))
    passed = {(pair.conversation, pair.client): pair.micros for pair in found if pair.client == pair.provider}
    for said in CONVERSATIONS:
        print(f"{said}, {len(asked(said, 'openai-chat'))} bytes; without sockets, which cost the same on both sides")
        for conversation, client, provider, micros in found:
            if conversation == said:
                print(f"{client:>20} → {provider:20} {micros:8.1f} µs {micros / passed[said, client]:5.2f}")


if __name__ == "__main__":
    main()
