"""OpenAI's chat completions, and OpenRouter's."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import (
    Count,
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

_Parts = Annotated[
    str | list[Any] | Maybe,
    Meta(
        description="Text, or an array of parts (`text`, `image_url`, `input_audio`, `file`, …), which are passed on."
        " An assistant's may be null."
    ),
]


class ChatMessage(Struct, kw_only=True):
    """One message of a conversation."""

    role: Annotated[str, Meta(description="`system`, `developer`, `user`, `assistant` or `tool`.", examples=["user"])]
    content: _Parts = UNSET
    name: Annotated[str | Maybe, passed("Whose message it is.")] = UNSET
    tool_calls: Annotated[list[Any] | Maybe, passed("What the assistant called.")] = UNSET
    tool_call_id: Annotated[str | Maybe, passed("Which call a tool answers.")] = UNSET
    reasoning_content: Annotated[str | Maybe, passed("What the assistant thought.")] = UNSET
    reasoning_details: Annotated[list[Any] | Maybe, passed("The same, with signatures.")] = UNSET


class ChatRequest(Struct, kw_only=True):
    """A chat completion. Checked here are `model`, `messages` (not empty; `role` and `content` of each), `stream`,
    `stream_options`, `max_tokens`, `max_completion_tokens`, and that no field is one of these in other capitals. All
    other fields, known or not, go to the provider as they are; where its protocol is another one, they are translated
    or, if there is no word for them, left out and named in `x-fairlead-dropped`. `provider`, `models`, `route`,
    `transforms`, `session_id` and `trace` are OpenRouter's own, and go to providers that understand them only; of them
    `provider.require_parameters` is granted: providers that cannot be told all of the request are not asked."""

    model: ModelName = UNSET
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far.", min_length=1)]
    stream: Streams = UNSET
    stream_options: StreamOptions | Maybe = UNSET
    max_completion_tokens: Annotated[int | Maybe, Meta(description="How long the answer may be.")] = UNSET
    max_tokens: Annotated[int | Maybe, Meta(description="The older name of `max_completion_tokens`.")] = UNSET
    temperature: Temperature = UNSET
    top_p: TopP = UNSET
    top_k: Annotated[int | Maybe, passed("Of how many of the likeliest tokens one is drawn.")] = UNSET
    n: Annotated[int | Maybe, passed("How many answers. Where they are translated, there is one.")] = UNSET
    stop: Stop = UNSET
    seed: Seed = UNSET
    user: User = UNSET
    frequency_penalty: Penalty = UNSET
    presence_penalty: Penalty = UNSET
    tools: Annotated[list[Any] | Maybe, passed("Functions that the model may call.")] = UNSET
    tool_choice: Annotated[str | dict[str, Any] | Maybe, passed("Whether it has to, and which.")] = UNSET
    parallel_tool_calls: Annotated[bool | Maybe, passed("Whether it may call several at once.")] = UNSET
    response_format: Annotated[dict[str, Any] | Maybe, passed("Text, JSON, or JSON of a schema.")] = UNSET
    reasoning_effort: Annotated[str | Maybe, passed("`low`, `medium`, `high`, …")] = UNSET
    reasoning: Annotated[dict[str, Any] | Maybe, passed("OpenRouter's way to say so.")] = UNSET
    service_tier: Annotated[str | Maybe, passed("What the answer may cost, and how soon it comes.")] = UNSET


class ToolFunction(Struct, kw_only=True):
    """What is called. In a stream its arguments come in pieces."""

    name: str | Maybe = UNSET
    arguments: Annotated[str | Unset, Meta(description="JSON, as text.")] = UNSET


class ToolCall(Struct, kw_only=True):
    """The model calls a tool."""

    index: int | Unset = UNSET
    id: str | Maybe = UNSET
    type: str | Maybe = UNSET
    function: ToolFunction | Unset = UNSET


class Said(Struct, kw_only=True):
    """What the model says, or what an event adds to it."""

    role: str | Maybe = UNSET
    content: str | Maybe = UNSET
    refusal: str | Maybe = UNSET
    reasoning_content: Annotated[str | Maybe, Meta(description="What it thought.")] = UNSET
    reasoning_details: list[Any] | Maybe = UNSET
    tool_calls: list[ToolCall] | Maybe = UNSET
    annotations: list[Any] | Maybe = UNSET


Reason = Annotated[
    str | None,
    Meta(description="`stop`, `length`, `tool_calls`, `content_filter`, or a word of the provider.", examples=["stop"]),
]


class ChatChoice(Struct, kw_only=True):
    """One answer."""

    index: int
    message: Said
    finish_reason: Reason
    logprobs: Any = UNSET


class CompletionUsage(Struct, kw_only=True):
    """What was used, in tokens. Cached ones are a part of the prompt's, reasoning is a part of the completion's."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: dict[str, Any] | Maybe = UNSET
    completion_tokens_details: dict[str, Any] | Maybe = UNSET


class ChatCompletion(Struct, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: Annotated[int, Meta(description="Epoch seconds.")]
    model: Annotated[str, Meta(description="As the provider calls it.")]
    choices: list[ChatChoice]
    usage: CompletionUsage | Maybe = UNSET
    system_fingerprint: str | Maybe = UNSET
    service_tier: str | Maybe = UNSET


class OpenRouterChatCompletion(ChatCompletion, kw_only=True):
    """A whole answer; what OpenRouter's clients require is there, if only as null."""

    system_fingerprint: str | None


class ChunkChoice(Struct, kw_only=True):
    """What an event adds to one answer."""

    index: int
    delta: Said
    finish_reason: Reason | Unset = UNSET
    logprobs: Any = UNSET


class ChatChunk(Struct, kw_only=True):
    """One event of a stream. The one that tells usage has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | Maybe = UNSET
    system_fingerprint: str | Maybe = UNSET
    service_tier: str | Maybe = UNSET
