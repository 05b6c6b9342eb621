"""Errors as Anthropic tells them, and as we tell them to its clients. https://docs.anthropic.com/en/api/errors"""

from typing import Any

from msgspec import Raw

from fairlead.errors import ContentPolicyViolation, FairleadError, InvalidKey, OutOfCredit, UpstreamError, from_status
from fairlead.protocols import envelope

NO_THREADS = "thread_unsupported_request"  # SDKs know it by this code, and send the whole conversation instead
_STATUS_OF = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500,
    "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
_TYPE_OF = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def decode(status: int, body: bytes) -> UpstreamError:
    """What an answer of `status` with `body` means; never raises."""
    told = envelope.any_value(body)
    error = told.get("error") if isinstance(told, dict) else None
    return _meaning(status, error)


def from_stream(error: Raw) -> UpstreamError:
    """What the `error` of an event in a 200 stream means."""
    told = envelope.any_value(error)
    kind = told.get("type") if isinstance(told, dict) else None
    return _meaning(_STATUS_OF.get(kind, 500) if isinstance(kind, str) else 500, told)


def _meaning(status: int, error: object) -> UpstreamError:
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    message, kind = fields.get("message"), fields.get("type")
    message = message if isinstance(message, str) else ""
    kind = kind if isinstance(kind, str) else None
    if "credit balance is too low" in message:  # told as an invalid request, as the next
        return OutOfCredit(message, upstream_status=status, upstream_code=kind)
    if "blocked by content filtering" in message:
        return ContentPolicyViolation(message, upstream_status=status, upstream_code=kind)
    return from_status(status, message, code=kind)


def encode(error: FairleadError) -> dict[str, Any]:
    """The whole body for our clients; `code`, `param` and `retryable` are ours beside Anthropic's fields."""
    if isinstance(error, InvalidKey):
        error = InvalidKey("x-api-key: fl-…")
    kind = _TYPE_OF.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    told: dict[str, Any] = {
        "type": kind, "message": str(error), "code": error.code, "param": error.param, "retryable": error.retryable,
    }  # fmt: skip
    if error.code == NO_THREADS:
        told["details"] = {"error_code": NO_THREADS, "unsupported": [error.param]}
    return {"type": "error", "error": told}
