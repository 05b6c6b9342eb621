"""Errors as Gemini tells them, and as we tell them to its clients. https://ai.google.dev/gemini-api/docs/troubleshooting

Both follow https://google.aip.dev/193: a code, a status in capitals, a message, and details by type.
"""

import re
from typing import Any

from msgspec import Raw

from fairlead.errors import (
    CredentialRejected,
    FairleadError,
    InvalidKey,
    OutOfCredit,
    UpstreamError,
    from_status,
)
from fairlead.protocols import envelope, sse

_STATUS_OF = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ABORTED": 409, "ALREADY_EXISTS": 409, "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499, "UNKNOWN": 500, "INTERNAL": 500, "DATA_LOSS": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
_TOLD = {
    401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "INTERNAL", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_TYPES = "type.googleapis.com/google.rpc."
# A key that is wrong is told as an invalid argument. https://cloud.google.com/apis/design/errors#error_info
_KEY_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED"})
_CREDIT = re.compile(r"credits? (?:are|is|has been|have been) (?:depleted|exhausted)|BILLING_DISABLED", re.IGNORECASE)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def decode(status: int, body: bytes) -> UpstreamError:
    """What an answer of `status` with `body` means; never raises. It may be an object, an array of it, or an event."""
    return _meaning(status, envelope.any_value(_unwrapped(body)))


def _unwrapped(body: bytes) -> bytes:
    return sse.data(body.strip() + b"\n\n") if body.lstrip()[:5] == b"data:" else body


def from_stream(error: Raw) -> UpstreamError:
    """What the `error` of a chunk in a 200 stream means; never raises."""
    told = envelope.any_value(error)
    fields = told if isinstance(told, dict) else {}
    code, word = fields.get("code"), fields.get("status")
    known = code if isinstance(code, int) and 400 <= code < 600 else None
    return _meaning(known or _STATUS_OF.get(str(word), 500), {"error": told})


def _meaning(status: int, told: object) -> UpstreamError:
    if isinstance(told, list) and told:  # as elements of the array that a stream without events is
        told = told[0]
    fields: dict[str, Any] = told if isinstance(told, dict) else {}
    error = fields.get("error", fields)
    if isinstance(error, str):
        return from_status(status, error)
    if not isinstance(error, dict):
        return from_status(status)
    message, word, details = _text(error.get("message")) or "", _text(error.get("status")), error.get("details")
    kinds = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    reason = next((_text(each.get("reason")) for each in kinds if _is(each, "ErrorInfo")), None)
    facts: dict[str, Any] = {"upstream_status": status, "upstream_code": reason or word}
    if reason in _KEY_REASONS or (status == 400 and message.startswith("API key not valid")):
        return CredentialRejected(message, **facts)
    if reason == "BILLING_DISABLED" or (status in (400, 403, 429) and _CREDIT.search(message)):
        return OutOfCredit(message, **facts)
    return from_status(status, message, param=_field(kinds), code=reason or word, retry_after=_retry_after(kinds))


def _is(detail: dict[str, Any], kind: str) -> bool:
    return detail.get("@type") == _TYPES + kind


def _field(details: list[dict[str, Any]]) -> str | None:
    """The first field that a BadRequest finds wrong."""
    for detail in details:
        violations = detail.get("fieldViolations") if _is(detail, "BadRequest") else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and _text(violation.get("field")):
                return str(violation["field"])
    return None


def _retry_after(details: list[dict[str, Any]]) -> float | None:
    """Seconds: a RetryInfo says "34.07s"."""
    for detail in details:
        found = _SECONDS.fullmatch(str(detail.get("retryDelay"))) if _is(detail, "RetryInfo") else None
        if found is not None:
            return float(found[1])
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def encode(error: FairleadError) -> dict[str, Any]:
    """The whole body for our clients; our own code and whether to try again stand in an ErrorInfo."""
    if isinstance(error, InvalidKey):
        error = InvalidKey("x-goog-api-key: fl-…")
    status = _TOLD.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    metadata = {"retryable": "true" if error.retryable else "false"}
    if error.param:
        metadata["param"] = error.param
    details: list[dict[str, Any]] = [
        {"@type": _TYPES + "ErrorInfo", "reason": error.code.upper(), "domain": "fairlead", "metadata": metadata}
    ]
    if error.param:
        violation = {"field": error.param, "description": str(error)}
        details.append({"@type": _TYPES + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": _TYPES + "RetryInfo", "retryDelay": f"{error.retry_after:.3f}s"})
    return {"error": {"code": error.status, "message": str(error), "status": status, "details": details}}
