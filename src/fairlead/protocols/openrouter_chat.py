"""The dialect of `/api/v1`: OpenAI's formats, where OpenRouter's clients expect something else.

Its SDK wants `error.code` as a number with `metadata` beside it, and some top-level fields that not every provider
sends. https://openrouter.ai/docs/api/reference/errors-and-debugging
"""

import time
from typing import Any, ClassVar

import msgspec

from fairlead.chat import Request, Response
from fairlead.errors import ContentPolicyViolation, FairleadError, Overloaded, UpstreamError
from fairlead.protocols import EventEncoder, sse
from fairlead.protocols.codecs import completions_answer, openai_stream
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions

_encode = msgspec.json.encode

# OpenRouter's closed set of error types, which its SDK checks in streams. Our own code stands beside it.
_TYPES = {
    400: "invalid_request", 401: "authentication", 402: "payment_required", 403: "permission_denied",
    404: "not_found", 405: "invalid_request", 408: "timeout", 413: "payload_too_large", 415: "invalid_request",
    429: "rate_limit_exceeded", 431: "payload_too_large", 502: "provider_unavailable", 504: "timeout",
}  # fmt: skip


class _Dialect:
    """How errors and answers are spelt here."""

    _object: ClassVar[str]  # what a chunk calls itself
    _last_choice: ClassVar[dict[str, Any]]  # of a stream that ends in an error

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode({"error": _told(error)})

    def encode_error_event(self, error: FairleadError) -> bytes:
        """One chunk, with the error beside its choices; nothing follows it."""
        chunk = {
            "id": "",
            "object": self._object,
            "created": int(time.time()),
            "model": "",
            "error": _told(error),
            "choices": [{"index": 0, **self._last_choice, "finish_reason": "error"}],
        }
        return sse.event(_encode(chunk))

    def dress(self, body: bytes) -> bytes:
        """With `system_fingerprint`, which must be there, if only as null. What is no object stays as it is."""
        whole = body.rstrip()
        if b'"system_fingerprint"' in body or not whole.endswith(b"}") or len(whole) < 3:
            return body
        return whole[:-1] + b',"system_fingerprint":null}'


class OpenRouterChat(_Dialect, OpenAIChat):
    """`/api/v1/chat/completions`."""

    _object = "chat.completion.chunk"
    _last_choice: ClassVar[dict[str, Any]] = {"delta": {"role": "assistant", "content": ""}}

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return self.dress(super().encode_response(response))

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return _Encoder(include_usage=include_usage)


class _Encoder(openai_stream.Encoder):
    """Here `usage` is an object or absent, never null."""

    _usage_to_come = b""


class OpenRouterCompletions(_Dialect, OpenAICompletions):
    """`/api/v1/completions`."""

    _object = "text_completion"
    _last_choice: ClassVar[dict[str, Any]] = {"text": ""}

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return self.dress(super().encode_response(response))

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return completions_answer.Encoder(include_usage=include_usage, usage_to_come=False)


def _told(error: FairleadError) -> dict[str, Any]:
    metadata: dict[str, Any] = {"error_type": _type(error), "code": error.code, "retryable": error.retryable}
    if error.param is not None:
        metadata["param"] = error.param
    if isinstance(error, UpstreamError) and error.provider is not None:
        metadata["provider_name"] = error.provider
    return {"code": error.status, "message": str(error), "metadata": metadata}


def _type(error: FairleadError) -> str:
    if isinstance(error, ContentPolicyViolation):
        return "content_policy_violation"
    if isinstance(error, Overloaded):
        return "provider_overloaded"
    return _TYPES.get(error.status, "server")
