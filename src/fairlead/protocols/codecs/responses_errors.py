"""Errors of the Responses API: of an answer that failed, and of a stream; else they are those of chat completions.

https://platform.openai.com/docs/api-reference/responses/object, `error`, and …/responses-streaming/error.
"""

from typing import Any

import msgspec
from msgspec import Raw

from fairlead.errors import ContentPolicyViolation, FairleadError, UpstreamError
from fairlead.protocols import envelope, sse
from fairlead.protocols.codecs import openai_errors

# What `error.code` of a failed answer stands for, where it is not what chat completions have.
_STATUS_OF = {
    "server_error": 500, "vector_store_timeout": 504, "invalid_prompt": 400, "data_residency_mismatch": 400,
    "invalid_image": 400, "invalid_image_format": 400, "invalid_base64_image": 400, "invalid_image_url": 400,
    "image_too_large": 400, "image_too_small": 400, "image_parse_error": 400, "invalid_image_mode": 400,
    "image_file_too_large": 400, "unsupported_image_media_type": 400, "empty_image_file": 400,
    "failed_to_download_image": 400, "image_file_not_found": 400,
}  # fmt: skip
_POLICY = frozenset({"image_content_policy_violation", "bio_policy", "cyber_policy"})
_CODES = frozenset({*_STATUS_OF, *_POLICY, "rate_limit_exceeded"})  # that an answer may tell
_encode = msgspec.json.encode


def from_answer(error: Raw | bytes) -> UpstreamError:
    """What the `error` of a failed answer means, or that of an event; never raises."""
    told = envelope.any_value(error)
    fields: dict[str, Any] = told if isinstance(told, dict) else {}
    code, message = fields.get("code"), fields.get("message")
    if isinstance(code, str) and code in _POLICY:
        return ContentPolicyViolation(message if isinstance(message, str) else "", upstream_code=code)
    if isinstance(code, str) and code in _STATUS_OF:
        return openai_errors.decode(_STATUS_OF[code], _encode({"error": told}))
    return openai_errors.from_stream(error)


def from_event(payload: bytes) -> UpstreamError:
    """What an event of type error means. Its fields stand at its top, or in `error`; never raises."""
    told = envelope.any_value(payload)
    fields: dict[str, Any] = told if isinstance(told, dict) else {}
    error = fields.get("error")
    if not isinstance(error, dict):  # `type` is the event's
        error = error or {name: value for name, value in fields.items() if name not in ("type", "sequence_number")}
    return from_answer(_encode(error))


def failure(error: FairleadError) -> dict[str, Any]:
    """The `error` of an answer that failed."""
    return {"code": error.code if error.code in _CODES else "server_error", "message": str(error)}


def event(error: FairleadError, number: int) -> bytes:
    """The event of type error. Its fields stand at its top, as published, and in `error`, as sent (and as the official
    SDK reads it, to raise)."""
    told = openai_errors.encode(error)
    fields = {"code": error.code, "message": str(error), "param": error.param, "sequence_number": number}
    return sse.event(_encode({"type": "error", **fields, "error": {**told, "retryable": error.retryable}}), b"error")
