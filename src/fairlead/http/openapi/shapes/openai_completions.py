"""OpenAI's completions of the older kind, and OpenRouter's."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import (
    Maybe,
    ModelName,
    Penalty,
    Seed,
    Stop,
    StreamOptions,
    Streams,
    Temperature,
    TopP,
    Unset,
    User,
    passed,
)
from fairlead.http.openapi.shapes.openai_chat import CompletionUsage, Reason


class CompletionRequest(Struct, kw_only=True):
    """A completion of the older kind. Checked here are `model`, `prompt`, `stream`, `stream_options`, `max_tokens`, and
    that no field is one of these in other capitals. All other fields go to the provider as they are; where it serves no
    completions, a prompt of one text is said as the user's words, and what there is no word for is left out."""

    model: ModelName = UNSET
    prompt: Annotated[
        str | list[str | int | list[int]],
        Meta(description="Text, several texts, tokens, or several arrays of tokens.", examples=["Once upon a time"]),
    ]
    stream: Streams = UNSET
    stream_options: StreamOptions | Maybe = UNSET
    max_tokens: Annotated[int | Maybe, Meta(description="How long the answer may be.")] = UNSET
    temperature: Temperature = UNSET
    top_p: TopP = UNSET
    n: Annotated[int | Maybe, passed("How many answers.")] = UNSET
    best_of: Annotated[int | Maybe, passed("Of how many.")] = UNSET
    stop: Stop = UNSET
    seed: Seed = UNSET
    user: User = UNSET
    frequency_penalty: Penalty = UNSET
    presence_penalty: Penalty = UNSET
    echo: Annotated[bool | Maybe, passed("Whether the prompt is repeated.")] = UNSET
    suffix: Annotated[str | Maybe, passed("What comes after the answer.")] = UNSET
    logprobs: Annotated[int | Maybe, passed("For how many tokens their likelihood is told.")] = UNSET


class CompletionChoice(Struct, kw_only=True):
    """One answer, or what an event adds to it."""

    text: str
    index: int
    finish_reason: Reason | Unset = UNSET
    logprobs: Any = UNSET


class Completion(Struct, kw_only=True):
    """A whole answer, or one event of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | Maybe = UNSET
    system_fingerprint: str | Maybe = UNSET


class OpenRouterCompletion(Completion, kw_only=True):
    """A whole answer; what OpenRouter's clients require is there, if only as null."""

    system_fingerprint: str | None
