"""What model ids of Bedrock say: whose model it is, and what such models take beyond what all of them do."""

from functools import lru_cache
from typing import Literal

from msgspec import Struct

NAME = "bedrock-converse"

# Inference profiles that cross regions begin with where they may run.
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_PLACES = frozenset("us us-gov eu apac ap jp au ca sa me af il mx in kr uk global".split())


class Manner(Struct, frozen=True):
    """What a family of models takes beyond what all do, by the names that `additionalModelRequestFields` has for it."""

    top_k: tuple[str, ...] = ()  # the path there
    sampling: frozenset[str] = frozenset()  # our names, which are theirs
    thinking: Literal["", "thinking", "reasoningConfig", "reasoning_effort"] = ""  # the field of a wish for thought
    signs: bool = False  # it is Claude: its thoughts carry signatures that hold on Anthropic's own API too
    proofs: bool = False  # it may be Claude: such signatures are told to it
    caches: frozenset[str] = frozenset()  # cache points among "messages" (and instructions), among "tools"
    strict: bool = True  # arguments of tools may be held to their schema


_EVERYWHERE = frozenset({"messages", "tools"})
_CLAUDE = Manner(top_k=("top_k",), thinking="thinking", signs=True, proofs=True, caches=_EVERYWHERE)
_EARLY_CLAUDE = Manner(top_k=("top_k",), thinking="thinking", signs=True, proofs=True, caches=_EVERYWHERE, strict=False)
_NOVA = Manner(top_k=("inferenceConfig", "topK"), caches=frozenset({"messages"}), strict=False)
_NOVA_2 = Manner(_NOVA.top_k, thinking="reasoningConfig", caches=_NOVA.caches, strict=False)
_COMMAND = Manner(top_k=("k",), sampling=frozenset({"frequency_penalty", "presence_penalty", "seed"}), strict=False)

# The first prefix that fits counts. Settings: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
# Caches: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
# Schemas: https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
_MANNERS = {
    "anthropic.claude-3": _EARLY_CLAUDE,
    "anthropic.claude-sonnet-4-2": _EARLY_CLAUDE,
    "anthropic.claude-opus-4-2": _EARLY_CLAUDE,
    "anthropic.claude-opus-4-1": _EARLY_CLAUDE,
    "anthropic.": _CLAUDE,
    "amazon.nova-2": _NOVA_2,
    "amazon.nova": _NOVA,
    "cohere.": _COMMAND,
    "mistral.": Manner(top_k=("top_k",)),
    "openai.": Manner(thinking="reasoning_effort"),
    **dict.fromkeys(("amazon.", "meta.", "ai21.", "writer."), Manner(strict=False)),
}
_UNKNOWN = Manner(proofs=True, caches=_EVERYWHERE)  # a profile of the user's own: nothing that may be right is left out


def bare(model: str) -> str:
    """The foundation model's id in `model`: without the ARN it stands in, and without the regions of a profile.

    An ARN of an application's profile, or of a provisioned or imported model, does not say which model it is.
    """
    id = model.rpartition("/")[2] if model.startswith("arn:") else model
    place, _, rest = id.partition(".")
    return rest if place in _PLACES and rest else id


@lru_cache(256)
def manner(model: str) -> Manner:
    """How models such as `model` are asked through Converse for what not all models have."""
    id = bare(model)
    found = next((found for prefix, found in _MANNERS.items() if id.startswith(prefix)), None)
    return found or (Manner() if "." in id else _UNKNOWN)
