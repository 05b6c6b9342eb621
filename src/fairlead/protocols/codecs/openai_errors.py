"""Errors as OpenAI-compatible servers tell them, and as we tell them to their clients."""

from typing import Any

from msgspec import Raw

from fairlead.errors import FairleadError, UpstreamError, from_status
from fairlead.protocols import envelope

_STATUS_OF = {
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "tokens": 429, "requests": 429, "rate_limit": 429,
    "insufficient_quota": 402, "invalid_request_error": 400, "context_length_exceeded": 400,
    "authentication_error": 401, "invalid_api_key": 401, "overloaded": 503, "overloaded_error": 503,
    "service_unavailable": 503, "service_unavailable_error": 503, "content_filter": 400,
    "content_policy_violation": 400, "timeout": 504,
}  # fmt: skip


_ERROR = Raw(b'"error"')


def is_error(object: Raw) -> bool:
    """Whether the field `object` says that its answer is an error, whose fields stand at the top, as vLLM and Mistral
    told it once."""
    return len(object) == len(_ERROR) and object == _ERROR  # to compare costs much


def decode(status: int, body: bytes) -> UpstreamError:
    """What an answer of `status` with `body` means; never raises."""
    return _meaning(status, envelope.any_value(body))


def from_stream(error: bytes | Raw) -> UpstreamError:
    """What the value of `error` in an event of a 200 stream, or in an answer of status 200, means; never raises."""
    told = envelope.any_value(error)
    fields = told if isinstance(told, dict) else {}
    for key in ("code", "status", "http_status"):
        number = fields.get(key)
        if isinstance(number, str) and number.isdigit():
            number = int(number)
        if isinstance(number, int) and 400 <= number < 600:
            return _meaning(number, {"error": told})
    words = (fields.get("code"), fields.get("type"))
    status = next((_STATUS_OF[word] for word in words if isinstance(word, str) and word in _STATUS_OF), 500)
    return _meaning(status, {"error": told})


def _meaning(status: int, told: object) -> UpstreamError:
    if isinstance(told, list) and told:  # some wrap the object in an array
        told = told[0]
    fields: dict[str, Any] = told if isinstance(told, dict) else {}
    error = fields.get("error", fields)
    if isinstance(error, str):
        return from_status(status, error, code=_text(fields.get("code")), param=_text(fields.get("param")))
    if not isinstance(error, dict):
        return from_status(status)
    message = _text(error.get("message")) or _text(error.get("detail")) or ""
    return from_status(status, message, param=_text(error.get("param")), code=_code(error))


def _code(error: dict[str, Any]) -> str | None:
    code = error.get("code")
    return code if isinstance(code, str) and not code.isdigit() else _text(error.get("type"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def encode(error: FairleadError) -> dict[str, Any]:
    """The `error` object for our clients."""
    return {"message": str(error), "type": error.kind, "param": error.param, "code": error.code}
