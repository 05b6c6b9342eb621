"""Errors, as each dialect tells them."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import Unset

Code = Annotated[
    str,
    Meta(
        description="What it is, in one word that does not change: the table is in docs/errors.md.",
        examples=["invalid_request"],
    ),
]
Param = Annotated[
    str | None, Meta(description="The field it is about: `messages[3].content`.", examples=["messages[3].content"])
]
Retryable = Annotated[
    bool, Meta(description="Whether the same request is worth sending again; the header `X-Should-Retry` says it, too.")
]


class OpenAIErrorFields(Struct, kw_only=True):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "api_error"]
    param: Param
    code: Code


class OpenAIError(Struct, kw_only=True):
    """An error as OpenAI tells it."""

    error: OpenAIErrorFields


class OpenAIErrorEventFields(OpenAIErrorFields, kw_only=True):
    retryable: Retryable


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
    code: Code
    retryable: Retryable
    param: Annotated[str | Unset, Meta(description="The field it is about.")] = UNSET
    provider_name: Annotated[str | Unset, Meta(description="Whose error it is, unless it is the gateway's.")] = UNSET


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
    code: Code
    param: Param
    retryable: Retryable


class AnthropicError(Struct, kw_only=True):
    """An error as Anthropic tells it; in a stream, the event that ends it."""

    type: Literal["error"]
    error: AnthropicErrorFields


class GeminiErrorFields(Struct, kw_only=True):
    code: Annotated[int, Meta(description="The status.")]
    message: str
    status: Literal[
        "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "ABORTED",
        "RESOURCE_EXHAUSTED", "INTERNAL", "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED",
    ]  # fmt: skip
    details: Annotated[
        list[dict[str, Any]],
        Meta(
            description="The first is an `ErrorInfo`. Its `reason` is our word for it, in capitals (the table is in"
            " docs/errors.md), and its `metadata` says whether the same request is `retryable`, and which field it is"
            " about. A `BadRequest` and a `RetryInfo` follow where there is something to say.",
            min_length=1,
        ),
    ]


class GeminiError(Struct, kw_only=True):
    """An error as Gemini tells it; in a stream, the event or the element of the array that ends it."""

    error: GeminiErrorFields
