"""What was used."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, field

from fairlead.http.openapi.shapes import Count, Date, Unset


class UsageSums(Struct, kw_only=True):
    """What one group used. The first fields are those it was grouped by."""

    model: Annotated[str | Unset, Meta(description="As its provider calls it.")] = UNSET
    provider: str | Unset = UNSET
    key: Annotated[str | Unset, Meta(description="The key's id.")] = UNSET
    day: Annotated[str | Unset, Meta(description="In UTC.", extra_json_schema={"format": "date"})] = UNSET
    calls: Count
    attempts: Annotated[int, Meta(ge=0, description="A call that failed over has several.")]
    failed: Count
    estimated: Annotated[int, Meta(ge=0, description="Attempts whose tokens their provider did not tell.")]
    input_tokens: Count
    output_tokens: Count
    cached_tokens: Annotated[int, Meta(ge=0, description="A part of the input's.")]
    cache_write_tokens: Annotated[int, Meta(ge=0, description="A part of the input's.")]
    cache_write_1h_tokens: Count
    reasoning_tokens: Annotated[int, Meta(ge=0, description="A part of the output's.")]
    input_audio_tokens: Count
    output_audio_tokens: Count
    input_image_tokens: Count
    output_image_tokens: Count
    cost_nano_usd: Annotated[int | None, Meta(description="Null where nothing had a price.")]
    unpriced: Annotated[int, Meta(ge=0, description="Attempts without a price.")]


class UsageList(Struct, kw_only=True):
    """Sums, by group, and the span of time they were made of."""

    object: Literal["list"]
    from_: Date = field(name="from")
    to: Date
    group_by: list[Literal["model", "provider", "key", "day"]]
    data: list[UsageSums]
    has_more: bool
    next_page: Annotated[str | None, Meta(description="What `page` is for the rest; null if this is all.")]


class ProviderResponse(Struct, kw_only=True):
    """One attempt."""

    id: str | Unset = UNSET
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
    created_at: Date
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
