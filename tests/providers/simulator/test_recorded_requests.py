"""Requests that a provider took are taken by the simulator, too: it refuses nothing that was seen to pass."""

import re
from typing import Any

import pytest

from fairlead.providers.simulator.replies import Simulator
from protocols_recordings import Recording, recordings

# Thoughts are sealed by whoever thought them; the simulator's own seals are these.
_SEALS = (
    (re.compile(rb'"encrypted_content": "[^"]*"'), b'"encrypted_content": "gAAAAAsim-"'),
    (re.compile(rb'"(thoughtSignature|thought_signature)": "[^"]*"'), rb'"\1": "c2ltLQ=="'),
    (re.compile(rb'"signature": "[^"]*"'), b'"signature": "sim-"'),
)


def taken(recording: Recording) -> bool:
    """Whether a provider answered it, and nothing in it stands for what only that provider keeps."""
    body = recording.whole["request"].get("body") or {}
    kept = any(body.get(name) for name in ("previous_response_id", "conversation"))
    embeds = "inputText" in body and "textGenerationConfig" not in body
    return recording.status == 200 and bool(body) and not kept and not embeds


def all_of() -> list[Any]:
    wanted = {
        "google": ("chat", "chat_stream", "count_tokens"),
        "vertex": ("chat", "chat_stream"),
        "bedrock": ("chat", "chat_stream", "invoke", "invoke_stream", "count_tokens"),
        "openai": ("chat", "chat_stream", "responses", "responses_stream", "count_tokens"),
        "anthropic": ("chat", "chat_stream"),
        "cohere": ("chat", "chat_stream", "chat_v1", "chat_v1_stream"),
        "ollama": ("native_chat", "native_chat_stream", "native_generate", "native_generate_stream"),
    }
    return [one for provider, operations in wanted.items() for one in recordings(provider, operations, taken)]


@pytest.mark.parametrize("recording", all_of())
def test_what_a_provider_took_is_taken(recording: Recording):
    asked = recording.whole["request"]
    body = recording.request or b""
    for seal, own in _SEALS:
        body = seal.sub(own, body)
    target = asked["path"] + (f"?{asked['query']}" if asked.get("query") else "")
    reply = Simulator().reply("POST", target, {}, body)
    assert reply.status == 200, b"".join(chunk.data for chunk in reply.chunks)[:500]
