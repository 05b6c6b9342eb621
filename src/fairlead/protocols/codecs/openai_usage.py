"""Usage as OpenAI-compatible servers tell it. What they count, and how, is the table in `counting`."""

from msgspec import UNSET, Struct, UnsetType

from fairlead.chat import Usage
from fairlead.protocols.counting import COUNTING

decode = COUNTING["openai-chat"].usage  # (Raw) → Usage | None; completions are counted alike


class _Prompt(Struct, gc=False):
    cached_tokens: int
    audio_tokens: int
    cache_write_tokens: int | UnsetType = UNSET
    image_tokens: int | UnsetType = UNSET


class _Completion(Struct, gc=False):
    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    image_tokens: int | UnsetType = UNSET


class Told(Struct, gc=False):
    """Usage as it is told."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _Prompt
    completion_tokens_details: _Completion


def encode(usage: Usage | None) -> Told | None:
    """What tells `usage`."""
    if usage is None:
        return None
    prompt = _Prompt(usage.cached_tokens, usage.input_audio_tokens)
    if usage.cache_write_tokens:
        prompt.cache_write_tokens = usage.cache_write_tokens
    if usage.input_image_tokens:
        prompt.image_tokens = usage.input_image_tokens
    completion = _Completion(usage.reasoning_tokens, usage.output_audio_tokens)
    if usage.output_image_tokens:
        completion.image_tokens = usage.output_image_tokens
    inputs, outputs = usage.input_tokens, usage.output_tokens
    return Told(inputs, outputs, inputs + outputs, prompt, completion)
