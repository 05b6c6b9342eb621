"""Errors as Cohere tells them: `{"id", "message"}`, at the top of a body. https://docs.cohere.com/reference/errors"""

from typing import Any

from fairlead.errors import ContentPolicyViolation, UpstreamBroken, UpstreamError, from_status, masked
from fairlead.protocols.envelope import any_value

_BLOCKED = 498  # what was asked or answered holds a word on Cohere's deny list
_CANCELLED = 499  # "request cancelled", "streaming error": another try may do


def decode(status: int, body: bytes) -> UpstreamError:
    """What an answer of `status` with `body` means; never raises."""
    message = _message(any_value(body))
    if status == _BLOCKED:
        return ContentPolicyViolation(message, upstream_status=status)
    if status == _CANCELLED:
        return UpstreamBroken("it broke its answer off", upstream_status=status)
    return from_status(status, message)


def within(told: Any, reason: str | None = None) -> UpstreamError:
    """What an error in an answer of status 200 means: its text or its object, and the finish reason beside it."""
    message = _message(told)
    if reason == "TIMEOUT":
        return from_status(504, message)
    said = f": {masked(message)}" if message else ""
    return UpstreamBroken(f"it ended its answer with an error{said}", upstream_code=reason)


def _message(told: Any) -> str:
    fields = told if isinstance(told, dict) else {"message": told}
    for name in ("message", "error", "detail", "data"):
        value = fields.get(name)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str) and value:
            return value
    return ""
