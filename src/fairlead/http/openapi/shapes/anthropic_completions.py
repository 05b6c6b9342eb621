"""Anthropic's completions of the older kind."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import Maybe, ModelName, Streams, Temperature, TopP, passed


class CompleteRequest(Struct, kw_only=True):
    """A completion of Anthropic's older kind. Checked here are `model`, `prompt`, `stream`, `max_tokens_to_sample`, and
    that no field is one of these in other capitals. All other fields go to the provider as they are; where it serves
    no such completions, the prompt's turns are said as messages, and what there is no word for is left out."""

    model: ModelName = UNSET
    prompt: Annotated[
        str,
        Meta(
            description="A conversation: turns begin with a blank line and `Human:` or `Assistant:`.",
            examples=["\n\nHuman: Say hello.\n\nAssistant:"],
        ),
    ]
    max_tokens_to_sample: Annotated[
        int | Maybe,
        Meta(description="How long the answer may be. Without it `[defaults] max_tokens` is taken.", examples=[500]),
    ] = UNSET
    stream: Streams = UNSET
    temperature: Temperature = UNSET
    top_p: TopP = UNSET
    top_k: Annotated[int | Maybe, passed("Of how many of the likeliest tokens one is drawn.")] = UNSET
    stop_sequences: Annotated[list[str] | Maybe, passed("Where the answer ends.")] = UNSET
    metadata: Annotated[dict[str, Any] | Maybe, passed("Who it is for: `user_id`.")] = UNSET


class Complete(Struct, kw_only=True):
    """A whole answer, or one event of a stream."""

    type: Literal["completion"]
    id: str
    completion: str
    stop_reason: Annotated[
        str | None,
        Meta(
            description="`stop_sequence`, `max_tokens` or `refusal`. Null while a stream goes on.",
            examples=["max_tokens"],
        ),
    ]
    stop: Annotated[str | Maybe, Meta(description="The sequence that it ended at.")] = UNSET
    model: Annotated[str, Meta(description="As the provider calls it.")]
    log_id: str | Maybe = UNSET
