"""Usage as OpenAI-compatible servers tell it. What they count, and how, is the table in `counting`."""

from typing import Any

from fairlead.chat import Usage
from fairlead.protocols.counting import COUNTING

decode = COUNTING["openai-chat"].usage  # (Raw) → Usage | None; completions are counted alike


def encode(usage: Usage | None) -> dict[str, Any] | None:
    """The object that tells `usage`."""
    if usage is None:
        return None
    prompt = {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.input_audio_tokens}
    if usage.cache_write_tokens:
        prompt["cache_write_tokens"] = usage.cache_write_tokens
    if usage.input_image_tokens:
        prompt["image_tokens"] = usage.input_image_tokens
    completion = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.output_audio_tokens,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    if usage.output_image_tokens:
        completion["image_tokens"] = usage.output_image_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }
