"""Usage as Gemini tells it. How it counts is a table in `counting`; tokens of sound and of images stand in lists.

https://ai.google.dev/api/generate-content#UsageMetadata
"""

from typing import Any

from msgspec import Raw, structs

from fairlead.chat import Usage
from fairlead.protocols import counting
from fairlead.protocols.codecs.gemini_parts import NAME
from fairlead.protocols.envelope import any_value, given

_COUNTING = counting.COUNTING[NAME]
_INPUTS = ("promptTokensDetails", "toolUsePromptTokensDetails")
_OUTPUTS = ("candidatesTokensDetails", "responseTokensDetails")


class Told:
    """What the chunks of an answer have told of usage: their counts are cumulative, and some chunks lack some."""

    __slots__ = ("_details", "_told", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._told: Any = None
        self._details: dict[str, Any] = {}

    def note(self, raw: Raw) -> None:
        if given(raw) is None:
            return
        self._told = _COUNTING.told(raw, self._told)
        if b'"AUDIO"' in bytes(raw) or b'"IMAGE"' in bytes(raw):
            fields = any_value(raw)
            self._details |= fields if isinstance(fields, dict) else {}
        usage = _COUNTING.words(self._told)
        self.usage = _by_kind(usage, self._details) if usage is not None and self._details else usage


def decode(raw: Raw) -> Usage | None:
    """What the object `usageMetadata` says; never raises."""
    told = Told()
    told.note(raw)
    return told.usage


def _by_kind(usage: Usage, details: dict[str, Any]) -> Usage:
    input_audio = min(_of_kind(details, _INPUTS, "AUDIO"), usage.input_tokens)
    output_audio = min(_of_kind(details, _OUTPUTS, "AUDIO"), usage.output_tokens)
    return structs.replace(
        usage,
        input_audio_tokens=input_audio,
        output_audio_tokens=output_audio,
        input_image_tokens=min(_of_kind(details, _INPUTS, "IMAGE"), usage.input_tokens - input_audio),
        output_image_tokens=min(_of_kind(details, _OUTPUTS, "IMAGE"), usage.output_tokens - output_audio),
    )


def _of_kind(details: dict[str, Any], names: tuple[str, ...], kind: str) -> int:
    lists = [details[name] for name in names if isinstance(details.get(name), list)]
    items = [item for each in lists for item in each if isinstance(item, dict) and item.get("modality") == kind]
    counts = [item.get("tokenCount") for item in items]
    return sum(count for count in counts if isinstance(count, int) and not isinstance(count, bool) and count > 0)


def encode(usage: Usage | None) -> dict[str, Any]:
    """The field that tells `usage`, if it is known. Thoughts are counted beside the answer."""
    if usage is None:
        return {}
    told: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.reasoning_tokens:
        told["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_tokens:
        told["cachedContentTokenCount"] = usage.cached_tokens
    inputs = {"AUDIO": usage.input_audio_tokens, "IMAGE": usage.input_image_tokens}
    outputs = {"AUDIO": usage.output_audio_tokens, "IMAGE": usage.output_image_tokens}
    for name, kinds in (("promptTokensDetails", inputs), ("candidatesTokensDetails", outputs)):
        if any(kinds.values()):
            told[name] = [{"modality": kind, "tokenCount": count} for kind, count in kinds.items() if count]
    return {"usageMetadata": told}
