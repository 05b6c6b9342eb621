"""Usage as OpenAI-compatible servers tell it, in the variants that are found in the wild.

Cached tokens are inside `prompt_tokens`, reasoning tokens inside `completion_tokens`, unless the total says otherwise.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Usage


class _PromptDetails(Struct):
    cached_tokens: float | None = None
    audio_tokens: float | None = None
    cache_write_tokens: float | None = None


class _CompletionDetails(Struct):
    reasoning_tokens: float | None = None
    audio_tokens: float | None = None


class _Usage(Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: float | None = None  # beside the details
    cached_tokens: float | None = None  # at the top
    reasoning_tokens: float | None = None  # at the top


_decoder = msgspec.json.Decoder(_Usage)


def decode(raw: Raw) -> Usage | None:
    """The usage in `raw`; None where it is null or not understood."""
    try:
        told = _decoder.decode(raw) if bytes(raw)[:1] == b"{" else None
    except (msgspec.DecodeError, RecursionError):
        return None
    if told is None or (told.prompt_tokens is None and told.completion_tokens is None):
        return None
    prompt = told.prompt_tokens_details or _PromptDetails()
    completion = told.completion_tokens_details or _CompletionDetails()
    reasoning = _count(completion.reasoning_tokens or told.reasoning_tokens)
    inputs, outputs = _count(told.prompt_tokens), _count(told.completion_tokens)
    if reasoning and _count(told.total_tokens) == inputs + outputs + reasoning:
        outputs += reasoning  # this server counts reasoning beside the completion
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        cached_tokens=_count(prompt.cached_tokens or told.prompt_cache_hit_tokens or told.cached_tokens),
        cache_write_tokens=_count(prompt.cache_write_tokens),
        reasoning_tokens=reasoning,
        input_audio_tokens=_count(prompt.audio_tokens),
        output_audio_tokens=_count(completion.audio_tokens),
    )


def encode(usage: Usage | None) -> dict[str, Any] | None:
    """The object that tells `usage`."""
    if usage is None:
        return None
    prompt = {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.input_audio_tokens}
    if usage.cache_write_tokens:
        prompt["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _count(value: float | None) -> int:
    return int(value) if value is not None and 0 <= value < 2**53 else 0
