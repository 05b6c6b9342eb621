"""What stands in requests and answers, as structs that the OpenAPI document is made of. Nothing is decoded by them.

In requests a field is one of two kinds: what the gateway checks itself, and what `_passed` says of it, which goes to
the provider as it is. Fields that are not named here go there, too. Answers have what their format promises; of bytes
that pass through, a provider may leave out or add what it likes.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from fairlead.http.health import Finding

_Unset = UnsetType  # the field may be absent
_Maybe = UnsetType | None  # ... or null

PASSED = "x-passed-on"  # marks what the gateway does not look at


def _passed(description: str, **schema: Any) -> Meta:
    return Meta(description=f"{description} Passed on.", extra_json_schema={PASSED: True, **schema})


_Date = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_Count = Annotated[int, Meta(ge=0)]
_Stream = Annotated[bool | _Maybe, Meta(description="Whether the answer comes as a stream of server-sent events.")]
_Model = Annotated[
    str | _Maybe,
    Meta(
        description=(
            "A name of `GET /v1/models`, `provider/model`, or a name that a provider claims (`gpt-…`, `claude-…`)."
            " Without it `[defaults] model` is taken, if that is set."
        ),
        examples=["gpt-4o-mini"],
    ),
]
_Parts = Annotated[
    str | list[Any] | _Maybe,
    Meta(
        description="Text, or an array of parts (`text`, `image_url`, `input_audio`, `file`, …), which are passed on."
    ),
]
_Temperature = Annotated[float | _Maybe, _passed("How much chance there is, 0 to 2.")]
_TopP = Annotated[float | _Maybe, _passed("Of which share of the likeliest tokens one is drawn.")]
_Stop = Annotated[str | list[str] | _Maybe, _passed("Where the answer ends.")]
_Seed = Annotated[int | _Maybe, _passed("For answers that repeat themselves.")]
_User = Annotated[str | _Maybe, _passed("Who it is for.")]
_Penalty = Annotated[float | _Maybe, _passed("Against repetition, -2 to 2.")]


class StreamOptions(Struct, kw_only=True):
    """How a stream comes. Other fields are passed on; one that is `include_usage` in other capitals is refused."""

    include_usage: Annotated[
        bool | _Maybe, Meta(description="Whether the last event before the end tells what was used.")
    ] = UNSET


# ---- OpenAI's chat


class ChatMessage(Struct, kw_only=True):
    """One message of a conversation."""

    role: Annotated[str, Meta(description="`system`, `developer`, `user`, `assistant` or `tool`.", examples=["user"])]
    content: _Parts = UNSET
    name: Annotated[str | _Maybe, _passed("Whose message it is.")] = UNSET
    tool_calls: Annotated[list[Any] | _Maybe, _passed("What the assistant called.")] = UNSET
    tool_call_id: Annotated[str | _Maybe, _passed("Which call a tool answers.")] = UNSET
    reasoning_content: Annotated[str | _Maybe, _passed("What the assistant thought.")] = UNSET
    reasoning_details: Annotated[list[Any] | _Maybe, _passed("The same, with signatures.")] = UNSET


class ChatRequest(Struct, kw_only=True):
    """A chat completion. Checked here are `model`, `messages` (not empty; `role` and `content` of each), `stream`,
    `stream_options`, `max_tokens`, `max_completion_tokens`, and that no field is one of these in other capitals. All
    other fields, known or not, go to the provider as they are; where its protocol is another one, they are translated
    or, if there is no word for them, left out and named in `x-fairlead-dropped`. `provider`, `models`, `route`,
    `transforms`, `session_id` and `trace` are OpenRouter's own, and go to providers that understand them only; of them
    `provider.require_parameters` is granted: providers that cannot be told all of the request are not asked."""

    model: _Model = UNSET
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far.", min_length=1)]
    stream: _Stream = UNSET
    stream_options: StreamOptions | _Maybe = UNSET
    max_completion_tokens: Annotated[int | _Maybe, Meta(description="How long the answer may be.")] = UNSET
    max_tokens: Annotated[int | _Maybe, Meta(description="The older name of `max_completion_tokens`.")] = UNSET
    temperature: _Temperature = UNSET
    top_p: _TopP = UNSET
    top_k: Annotated[int | _Maybe, _passed("Of how many of the likeliest tokens one is drawn.")] = UNSET
    n: Annotated[int | _Maybe, _passed("How many answers. Where they are translated, there is one.")] = UNSET
    stop: _Stop = UNSET
    seed: _Seed = UNSET
    user: _User = UNSET
    frequency_penalty: _Penalty = UNSET
    presence_penalty: _Penalty = UNSET
    tools: Annotated[list[Any] | _Maybe, _passed("Functions that the model may call.")] = UNSET
    tool_choice: Annotated[str | dict[str, Any] | _Maybe, _passed("Whether it has to, and which.")] = UNSET
    parallel_tool_calls: Annotated[bool | _Maybe, _passed("Whether it may call several at once.")] = UNSET
    response_format: Annotated[dict[str, Any] | _Maybe, _passed("Text, JSON, or JSON of a schema.")] = UNSET
    reasoning_effort: Annotated[str | _Maybe, _passed("`low`, `medium`, `high`, …")] = UNSET
    reasoning: Annotated[dict[str, Any] | _Maybe, _passed("OpenRouter's way to say so.")] = UNSET
    service_tier: Annotated[str | _Maybe, _passed("What the answer may cost, and how soon it comes.")] = UNSET


class ToolFunction(Struct, kw_only=True):
    """What is called. In a stream its arguments come in pieces."""

    name: str | _Maybe = UNSET
    arguments: Annotated[str | _Unset, Meta(description="JSON, as text.")] = UNSET


class ToolCall(Struct, kw_only=True):
    """The model calls a tool."""

    index: int | _Unset = UNSET
    id: str | _Maybe = UNSET
    type: str | _Maybe = UNSET
    function: ToolFunction | _Unset = UNSET


class Said(Struct, kw_only=True):
    """What the model says, or what an event adds to it."""

    role: str | _Maybe = UNSET
    content: str | _Maybe = UNSET
    refusal: str | _Maybe = UNSET
    reasoning_content: Annotated[str | _Maybe, Meta(description="What it thought.")] = UNSET
    reasoning_details: list[Any] | _Maybe = UNSET
    tool_calls: list[ToolCall] | _Maybe = UNSET
    annotations: list[Any] | _Maybe = UNSET


_Reason = Annotated[
    str | None,
    Meta(description="`stop`, `length`, `tool_calls`, `content_filter`, or a word of the provider.", examples=["stop"]),
]


class ChatChoice(Struct, kw_only=True):
    """One answer."""

    index: int
    message: Said
    finish_reason: _Reason
    logprobs: Any = UNSET


class CompletionUsage(Struct, kw_only=True):
    """What was used, in tokens. Cached ones are a part of the prompt's, reasoning is a part of the completion's."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: dict[str, Any] | _Maybe = UNSET
    completion_tokens_details: dict[str, Any] | _Maybe = UNSET


class ChatCompletion(Struct, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: Annotated[int, Meta(description="Epoch seconds.")]
    model: Annotated[str, Meta(description="As the provider calls it.")]
    choices: list[ChatChoice]
    usage: CompletionUsage | _Maybe = UNSET
    system_fingerprint: str | _Maybe = UNSET
    service_tier: str | _Maybe = UNSET


class OpenRouterChatCompletion(ChatCompletion, kw_only=True):
    """A whole answer; what OpenRouter's clients require is there, if only as null."""

    system_fingerprint: str | None


class ChunkChoice(Struct, kw_only=True):
    """What an event adds to one answer."""

    index: int
    delta: Said
    finish_reason: _Reason | _Unset = UNSET
    logprobs: Any = UNSET


class ChatChunk(Struct, kw_only=True):
    """One event of a stream. The one that tells usage has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | _Maybe = UNSET
    system_fingerprint: str | _Maybe = UNSET
    service_tier: str | _Maybe = UNSET


# ---- OpenAI's completions


class CompletionRequest(Struct, kw_only=True):
    """A completion of the older kind; it is never translated. Checked here are `model`, `prompt`, `stream`,
    `stream_options`, `max_tokens`, and that no field is one of these in other capitals. All other fields go to the
    provider as they are."""

    model: _Model = UNSET
    prompt: Annotated[
        str | list[str | int | list[int]],
        Meta(description="Text, several texts, tokens, or several arrays of tokens.", examples=["Once upon a time"]),
    ]
    stream: _Stream = UNSET
    stream_options: StreamOptions | _Maybe = UNSET
    max_tokens: Annotated[int | _Maybe, Meta(description="How long the answer may be.")] = UNSET
    temperature: _Temperature = UNSET
    top_p: _TopP = UNSET
    n: Annotated[int | _Maybe, _passed("How many answers.")] = UNSET
    best_of: Annotated[int | _Maybe, _passed("Of how many.")] = UNSET
    stop: _Stop = UNSET
    seed: _Seed = UNSET
    user: _User = UNSET
    frequency_penalty: _Penalty = UNSET
    presence_penalty: _Penalty = UNSET
    echo: Annotated[bool | _Maybe, _passed("Whether the prompt is repeated.")] = UNSET
    suffix: Annotated[str | _Maybe, _passed("What comes after the answer.")] = UNSET
    logprobs: Annotated[int | _Maybe, _passed("For how many tokens their likelihood is told.")] = UNSET


class CompletionChoice(Struct, kw_only=True):
    """One answer, or what an event adds to it."""

    text: str
    index: int
    finish_reason: _Reason | _Unset = UNSET
    logprobs: Any = UNSET


class Completion(Struct, kw_only=True):
    """A whole answer, or one event of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | _Maybe = UNSET
    system_fingerprint: str | _Maybe = UNSET


class OpenRouterCompletion(Completion, kw_only=True):
    """A whole answer; what OpenRouter's clients require is there, if only as null."""

    system_fingerprint: str | None


# ---- Anthropic's messages


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

    model: _Model = UNSET
    messages: Annotated[list[Turn], Meta(description="The conversation so far.", min_length=1)]
    max_tokens: Annotated[
        int | _Maybe,
        Meta(description="How long the answer may be. Without it `[defaults] max_tokens` is taken.", examples=[500]),
    ] = UNSET
    stream: _Stream = UNSET
    system: Annotated[str | list[Any] | _Maybe, _passed("What the model is told before all else.")] = UNSET
    temperature: _Temperature = UNSET
    top_p: _TopP = UNSET
    top_k: Annotated[int | _Maybe, _passed("Of how many of the likeliest tokens one is drawn.")] = UNSET
    stop_sequences: Annotated[list[str] | _Maybe, _passed("Where the answer ends.")] = UNSET
    tools: Annotated[list[Any] | _Maybe, _passed("Tools that the model may use.")] = UNSET
    tool_choice: Annotated[dict[str, Any] | _Maybe, _passed("Whether it has to, and which.")] = UNSET
    thinking: Annotated[dict[str, Any] | _Maybe, _passed("Whether it thinks first, and how long.")] = UNSET
    output_config: Annotated[dict[str, Any] | _Maybe, _passed("Effort, and the schema of JSON.")] = UNSET
    metadata: Annotated[dict[str, Any] | _Maybe, _passed("Who it is for: `user_id`.")] = UNSET
    service_tier: Annotated[str | _Maybe, _passed("`auto` or `standard_only`.")] = UNSET


class ContentBlock(Struct, kw_only=True):
    """A part of an answer; what else it has depends on its type."""

    type: Annotated[str, Meta(description="`text`, `thinking`, `redacted_thinking`, `tool_use`, …", examples=["text"])]
    text: str | _Unset = UNSET
    thinking: str | _Unset = UNSET
    signature: str | _Unset = UNSET
    data: str | _Unset = UNSET
    id: str | _Unset = UNSET
    name: str | _Unset = UNSET
    input: Any = UNSET
    citations: list[Any] | _Maybe = UNSET


class MessageUsage(Struct, kw_only=True):
    """What was used, in tokens. Cached ones are beside the input's, not a part of them."""

    input_tokens: _Count | _Maybe = UNSET
    output_tokens: _Count
    cache_creation_input_tokens: _Count | _Maybe = UNSET
    cache_read_input_tokens: _Count | _Maybe = UNSET
    cache_creation: dict[str, Any] | _Maybe = UNSET
    output_tokens_details: dict[str, Any] | _Maybe = UNSET


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
    text: str | _Unset = UNSET
    thinking: str | _Unset = UNSET
    signature: str | _Unset = UNSET
    partial_json: str | _Unset = UNSET
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
    stop_sequence: str | _Maybe = UNSET


class MessageDelta(Struct, kw_only=True):
    """The end of the answer. Its usage is that of the whole."""

    type: Literal["message_delta"]
    delta: StopDelta
    usage: MessageUsage | _Unset = UNSET


class MessageStop(Struct, kw_only=True):
    type: Literal["message_stop"]


class Ping(Struct, kw_only=True):
    type: Literal["ping"]


MESSAGE_EVENTS = (
    MessageStart, ContentBlockStart, ContentBlockDelta, ContentBlockStop, MessageDelta, MessageStop, Ping,
)  # fmt: skip


# ---- errors

_Code = Annotated[
    str,
    Meta(
        description="What it is, in one word that does not change: the table is in docs/errors.md.",
        examples=["invalid_request"],
    ),
]
_Param = Annotated[
    str | None, Meta(description="The field it is about: `messages[3].content`.", examples=["messages[3].content"])
]
_Retryable = Annotated[
    bool, Meta(description="Whether the same request is worth sending again; the header `X-Should-Retry` says it, too.")
]


class OpenAIErrorFields(Struct, kw_only=True):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "api_error"]
    param: _Param
    code: _Code


class OpenAIError(Struct, kw_only=True):
    """An error as OpenAI tells it."""

    error: OpenAIErrorFields


class OpenAIErrorEventFields(OpenAIErrorFields, kw_only=True):
    retryable: _Retryable


class OpenAIErrorEvent(Struct, kw_only=True):
    """The event that ends a stream with an error; nothing follows it."""

    error: OpenAIErrorEventFields


class OpenRouterErrorMetadata(Struct, kw_only=True):
    error_type: Annotated[
        Literal[
            "invalid_request", "authentication", "payment_required", "permission_denied", "not_found", "timeout",
            "payload_too_large", "rate_limit_exceeded", "content_policy_violation", "provider_overloaded",
            "provider_unavailable", "server",
        ],
        Meta(description="One of OpenRouter's."),
    ]  # fmt: skip
    code: _Code
    retryable: _Retryable
    param: Annotated[str | _Unset, Meta(description="The field it is about.")] = UNSET
    provider_name: Annotated[str | _Unset, Meta(description="Whose error it is, unless it is the gateway's.")] = UNSET


class OpenRouterErrorFields(Struct, kw_only=True):
    code: Annotated[int, Meta(description="The status.")]
    message: str
    metadata: OpenRouterErrorMetadata


class OpenRouterError(Struct, kw_only=True):
    """An error as OpenRouter tells it."""

    error: OpenRouterErrorFields


class OpenRouterErrorChunk(Struct, kw_only=True):
    """The event that ends a stream with an error; nothing follows it."""

    id: str
    object: Literal["chat.completion.chunk", "text_completion"]
    created: int
    model: str
    error: OpenRouterErrorFields
    choices: list[dict[str, Any]]


class AnthropicErrorFields(Struct, kw_only=True):
    type: Literal[
        "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
        "request_too_large", "rate_limit_error", "api_error", "timeout_error", "overloaded_error",
    ]  # fmt: skip
    message: str
    code: _Code
    param: _Param
    retryable: _Retryable


class AnthropicError(Struct, kw_only=True):
    """An error as Anthropic tells it; in a stream, the event that ends it."""

    type: Literal["error"]
    error: AnthropicErrorFields


# ---- models


class Model(Struct, kw_only=True):
    """What can be asked for."""

    id: Annotated[str, Meta(examples=["gpt-4o-mini"])]
    object: Literal["model"]
    created: Annotated[int, Meta(description="Epoch seconds.")]
    owned_by: str


class ModelList(Struct, kw_only=True):
    """All that can be asked for."""

    object: Literal["list"]
    data: list[Model]


class AnthropicModel(Struct, kw_only=True):
    """What can be asked for."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: _Date


class AnthropicModelList(Struct, kw_only=True):
    """All that can be asked for."""

    data: list[AnthropicModel]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None


# ---- usage


class UsageSums(Struct, kw_only=True):
    """What one group used. The first fields are those it was grouped by."""

    model: Annotated[str | _Unset, Meta(description="As its provider calls it.")] = UNSET
    provider: str | _Unset = UNSET
    key: Annotated[str | _Unset, Meta(description="The key's id.")] = UNSET
    day: Annotated[str | _Unset, Meta(description="In UTC.", extra_json_schema={"format": "date"})] = UNSET
    calls: _Count
    attempts: Annotated[int, Meta(ge=0, description="A call that failed over has several.")]
    failed: _Count
    estimated: Annotated[int, Meta(ge=0, description="Attempts whose tokens their provider did not tell.")]
    input_tokens: _Count
    output_tokens: _Count
    cached_tokens: Annotated[int, Meta(ge=0, description="A part of the input's.")]
    cache_write_tokens: Annotated[int, Meta(ge=0, description="A part of the input's.")]
    cache_write_1h_tokens: _Count
    reasoning_tokens: Annotated[int, Meta(ge=0, description="A part of the output's.")]
    input_audio_tokens: _Count
    output_audio_tokens: _Count
    input_image_tokens: _Count
    output_image_tokens: _Count
    cost_nano_usd: Annotated[int | None, Meta(description="Null where nothing had a price.")]
    unpriced: Annotated[int, Meta(ge=0, description="Attempts without a price.")]


class UsageList(Struct, kw_only=True):
    """Sums, by group, and the span of time they were made of."""

    object: Literal["list"]
    from_: _Date = field(name="from")
    to: _Date
    group_by: list[Literal["model", "provider", "key", "day"]]
    data: list[UsageSums]
    has_more: bool
    next_page: Annotated[str | None, Meta(description="What `page` is for the rest; null if this is all.")]


class ProviderResponse(Struct, kw_only=True):
    """One attempt."""

    id: str | _Unset = UNSET
    endpoint_id: Annotated[str, Meta(examples=["openai/gpt-4o-mini"])]
    model_permaslug: str
    is_byok: bool
    latency: Annotated[float, Meta(ge=0, description="Milliseconds.")]
    status: int | None


class GenerationFields(Struct, kw_only=True):
    """A call. Null is what nobody knows."""

    id: str
    request_id: str
    upstream_id: str | None
    created_at: _Date
    model: str
    provider_name: str | None
    streamed: bool
    cancelled: bool
    latency: Annotated[float | None, Meta(description="Milliseconds to the first content.")]
    generation_time: Annotated[float | None, Meta(description="Milliseconds from there to the end.")]
    moderation_latency: None
    finish_reason: str | None
    native_finish_reason: Annotated[str | None, Meta(description="As the provider spelt it.")]
    tokens_prompt: int | None
    tokens_completion: int | None
    native_tokens_prompt: Annotated[int | None, Meta(description="Null if the provider told none.")]
    native_tokens_completion: int | None
    native_tokens_completion_images: int | None
    native_tokens_reasoning: int | None
    native_tokens_cached: int | None
    total_cost: Annotated[float, Meta(description="US dollars; 0 is also what had no price.")]
    usage: float
    upstream_inference_cost: Annotated[float | None, Meta(description="The same, but null where there was no price.")]
    cache_discount: None
    is_byok: bool
    api_type: Literal["completions"] | None
    provider_responses: list[ProviderResponse]
    origin: str
    data_region: Literal["global"]
    app_id: None
    external_user: None
    http_referer: None
    num_fetches: None
    num_input_audio_prompt: None
    num_media_completion: None
    num_media_prompt: None
    num_search_results: None
    preset_id: None
    response_cache_source_id: None
    router: None
    service_tier: None
    session_id: None
    user_agent: None
    web_search_engine: None
    workspace_id: None


class Generation(Struct, kw_only=True):
    """One call, in OpenRouter's shape."""

    data: GenerationFields


# ---- the process


class Hello(Struct, kw_only=True):
    """Who is here."""

    name: Literal["fairlead"]
    version: Annotated[str, Meta(examples=["0.1.0"])]


class Liveness(Struct, kw_only=True):
    """The loop turns."""

    status: Literal["ok"]


class Readiness(Struct, kw_only=True):
    """Whether it can serve, or why not."""

    status: Literal["ok", "starting", "draining"]


class HealthReport(Struct, kw_only=True):
    """How it fares. All but the status is told to keys only."""

    status: Literal["ok", "degraded", "down"]
    version: str | _Unset = UNSET
    uptime_seconds: Annotated[float, Meta(ge=0)] | _Unset = UNSET
    components: dict[str, Finding] | _Unset = UNSET
