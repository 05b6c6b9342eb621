"""Anthropic's messages."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import Count, Maybe, ModelName, Streams, Temperature, TopP, Unset, passed


class Turn(Struct, kw_only=True):
    """One message of a conversation."""

    role: Annotated[str, Meta(description="`user` or `assistant`.", examples=["user"])]
    content: Annotated[
        str | list[Any],
        Meta(description="Text, or an array of blocks (`text`, `image`, `tool_result`, …), which are passed on."),
    ]


class MessagesRequest(Struct, kw_only=True):
    """A message. Checked here are `model`, `messages` (not empty; `role` and `content` of each), `stream`,
    `max_tokens`, and that no field is one of these in other capitals. All other fields, known or not, go to the
    provider as they are; where its protocol is another one, they are translated or, if there is no word for them,
    left out. `provider`, `models`, `route`, `transforms`, `session_id` and `trace` are OpenRouter's own, and go to
    providers that understand them only."""

    model: ModelName = UNSET
    messages: Annotated[list[Turn], Meta(description="The conversation so far.", min_length=1)]
    max_tokens: Annotated[
        int | Maybe,
        Meta(description="How long the answer may be. Without it `[defaults] max_tokens` is taken.", examples=[500]),
    ] = UNSET
    stream: Streams = UNSET
    system: Annotated[str | list[Any] | Maybe, passed("What the model is told before all else.")] = UNSET
    temperature: Temperature = UNSET
    top_p: TopP = UNSET
    top_k: Annotated[int | Maybe, passed("Of how many of the likeliest tokens one is drawn.")] = UNSET
    stop_sequences: Annotated[list[str] | Maybe, passed("Where the answer ends.")] = UNSET
    tools: Annotated[list[Any] | Maybe, passed("Tools that the model may use.")] = UNSET
    tool_choice: Annotated[dict[str, Any] | Maybe, passed("Whether it has to, and which.")] = UNSET
    thinking: Annotated[dict[str, Any] | Maybe, passed("Whether it thinks first, and how long.")] = UNSET
    output_config: Annotated[dict[str, Any] | Maybe, passed("Effort, and the schema of JSON.")] = UNSET
    metadata: Annotated[dict[str, Any] | Maybe, passed("Who it is for: `user_id`.")] = UNSET
    service_tier: Annotated[str | Maybe, passed("`auto` or `standard_only`.")] = UNSET


class ContentBlock(Struct, kw_only=True):
    """A part of an answer; what else it has depends on its type."""

    type: Annotated[str, Meta(description="`text`, `thinking`, `redacted_thinking`, `tool_use`, …", examples=["text"])]
    text: str | Unset = UNSET
    thinking: str | Unset = UNSET
    signature: str | Unset = UNSET
    data: str | Unset = UNSET
    id: str | Unset = UNSET
    name: str | Unset = UNSET
    input: Any = UNSET
    citations: list[Any] | Maybe = UNSET


class MessageUsage(Struct, kw_only=True):
    """What was used, in tokens. Cached ones are beside the input's, not a part of them."""

    input_tokens: Count | Maybe = UNSET
    output_tokens: Count
    cache_creation_input_tokens: Count | Maybe = UNSET
    cache_read_input_tokens: Count | Maybe = UNSET
    cache_creation: dict[str, Any] | Maybe = UNSET
    output_tokens_details: dict[str, Any] | Maybe = UNSET


class Message(Struct, kw_only=True):
    """A whole answer, or the empty one that a stream begins with."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: Annotated[str, Meta(description="As the provider calls it.")]
    content: list[ContentBlock]
    stop_reason: Annotated[
        str | None,
        Meta(
            description="`end_turn`, `max_tokens`, `stop_sequence`, `tool_use`, `refusal`, … Null in an opening.",
            examples=["end_turn"],
        ),
    ]
    stop_sequence: str | None
    usage: MessageUsage


class MessageTokens(Struct, kw_only=True):
    """How many tokens a message has."""

    input_tokens: Count


class MessageStart(Struct, kw_only=True):
    type: Literal["message_start"]
    message: Message


class ContentBlockStart(Struct, kw_only=True):
    type: Literal["content_block_start"]
    index: int
    content_block: ContentBlock


class BlockDelta(Struct, kw_only=True):
    """What is added to a block."""

    type: Annotated[str, Meta(description="`text_delta`, `thinking_delta`, `signature_delta`, `input_json_delta`, …")]
    text: str | Unset = UNSET
    thinking: str | Unset = UNSET
    signature: str | Unset = UNSET
    partial_json: str | Unset = UNSET
    citation: Any = UNSET


class ContentBlockDelta(Struct, kw_only=True):
    type: Literal["content_block_delta"]
    index: int
    delta: BlockDelta


class ContentBlockStop(Struct, kw_only=True):
    type: Literal["content_block_stop"]
    index: int


class StopDelta(Struct, kw_only=True):
    """Why the answer ends."""

    stop_reason: str | None
    stop_sequence: str | Maybe = UNSET


class MessageDelta(Struct, kw_only=True):
    """The end of the answer. Its usage is that of the whole."""

    type: Literal["message_delta"]
    delta: StopDelta
    usage: MessageUsage | Unset = UNSET


class MessageStop(Struct, kw_only=True):
    type: Literal["message_stop"]


class Ping(Struct, kw_only=True):
    type: Literal["ping"]


MESSAGE_EVENTS = (
    MessageStart, ContentBlockStart, ContentBlockDelta, ContentBlockStop, MessageDelta, MessageStop, Ping,
)  # fmt: skip
