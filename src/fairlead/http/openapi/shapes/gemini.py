"""Gemini's `generateContent`."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import Count, Date, Maybe, Seed, Temperature, TopP, Unset, passed


class Content(Struct, kw_only=True):
    """One turn of a conversation."""

    role: Annotated[str | Maybe, passed("`user` or `model`.", examples=["user"])] = UNSET
    parts: Annotated[
        list[Any] | dict[str, Any] | Maybe,
        passed("`text`, `inlineData`, `fileData`, `functionCall`, `functionResponse`, …"),
    ] = UNSET


class GenerationConfig(Struct, kw_only=True, rename="camel"):
    """How the answer comes about. Other fields are passed on."""

    max_output_tokens: Annotated[int | Maybe, Meta(description="How long the answer may be.")] = UNSET
    temperature: Temperature = UNSET
    top_p: TopP = UNSET
    top_k: Annotated[float | Maybe, passed("Of how many of the likeliest tokens one is drawn.")] = UNSET
    seed: Seed = UNSET
    stop_sequences: Annotated[list[str] | Maybe, passed("Where the answer ends.")] = UNSET
    candidate_count: Annotated[int | Maybe, passed("How many answers. Where they are translated, there is one.")] = (
        UNSET
    )
    response_mime_type: Annotated[str | Maybe, passed("`text/plain` or `application/json`.")] = UNSET
    response_json_schema: Annotated[Any, passed("What the JSON looks like.")] = UNSET
    thinking_config: Annotated[dict[str, Any] | Maybe, passed("Whether it thinks first, and how long.")] = UNSET


class GenerateContentRequest(Struct, kw_only=True, rename="camel"):
    """What a model makes of a conversation. Checked here are `contents` (not empty), `generationConfig` (its
    `maxOutputTokens`), `model` and `stream`, and that no field is one that means something in other capitals; names
    may be spelt `generation_config`, too. The model and whether the answer is a stream stand in the address; what the
    body says of them does not count. All other fields, known or not, go to the provider as they are; where its protocol
    is another one, they are translated or, if there is no word for them, left out and named in `x-fairlead-dropped`.
    `provider`, `models`, `route`, `transforms`, `session_id` and `trace` are OpenRouter's own, and go to providers
    that understand them only; of them `provider.require_parameters` is granted."""

    contents: Annotated[list[Content], Meta(description="The conversation so far.", min_length=1)] | Content
    generation_config: GenerationConfig | Maybe = UNSET
    model: Annotated[str | Maybe, Meta(description="Does not count: the model is the address's.")] = UNSET
    stream: Annotated[bool | Maybe, Meta(description="Does not count: the address says it.")] = UNSET
    system_instruction: Annotated[Content | str | Maybe, passed("What the model is told before all else.")] = UNSET
    tools: Annotated[list[Any] | Maybe, passed("`functionDeclarations` that the model may call, and Google's own.")] = (
        UNSET
    )
    tool_config: Annotated[dict[str, Any] | Maybe, passed("Whether it has to, and which.")] = UNSET
    safety_settings: Annotated[list[Any] | Maybe, passed("What is blocked.")] = UNSET
    cached_content: Annotated[str | Maybe, passed("What is in the provider's cache.")] = UNSET
    service_tier: Annotated[str | Maybe, passed("What the answer may cost, and how soon it comes.")] = UNSET


class CandidateContent(Struct, kw_only=True):
    """What the model says."""

    parts: list[dict[str, Any]] | Unset = UNSET
    role: str | Unset = UNSET


class Candidate(Struct, kw_only=True, rename="camel"):
    """One answer, or what a chunk adds to it."""

    content: CandidateContent | Unset = UNSET
    finish_reason: Annotated[
        str | Maybe,
        Meta(description="`STOP`, `MAX_TOKENS`, `SAFETY`, …; only the last chunk has one.", examples=["STOP"]),
    ] = UNSET
    index: int | Unset = UNSET
    grounding_metadata: Any = UNSET


class UsageMetadata(Struct, kw_only=True, rename="camel"):
    """What was used, in tokens. Cached ones are a part of the prompt's, thoughts are beside the candidates'."""

    prompt_token_count: Count | Unset = UNSET
    candidates_token_count: Count | Unset = UNSET
    thoughts_token_count: Count | Unset = UNSET
    cached_content_token_count: Count | Unset = UNSET
    total_token_count: Count | Unset = UNSET


class GenerateContentResponse(Struct, kw_only=True, rename="camel"):
    """A whole answer, or one chunk of a stream. The last chunk tells usage."""

    candidates: list[Candidate] | Unset = UNSET
    prompt_feedback: Annotated[dict[str, Any] | Unset, Meta(description="Why there is no candidate.")] = UNSET
    usage_metadata: UsageMetadata | Unset = UNSET
    model_version: Annotated[str | Unset, Meta(description="As the provider calls the model.")] = UNSET
    response_id: str | Unset = UNSET
    create_time: Date | Unset = UNSET


class CountTokensRequest(Struct, kw_only=True, rename="camel"):
    """How many tokens contents have, or a whole request. Checked are `contents` and `generateContentRequest`, of which
    one must be there, as they are where an answer is asked for."""

    contents: list[Content] | Content | Maybe = UNSET
    generate_content_request: GenerateContentRequest | Maybe = UNSET


class CountTokensResponse(Struct, kw_only=True, rename="camel"):
    """How many tokens a request has."""

    total_tokens: Count
