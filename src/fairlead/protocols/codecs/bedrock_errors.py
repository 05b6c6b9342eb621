"""Errors as AWS Bedrock tells them, as an answer or within a stream.

An answer's kind stands in the header `x-amzn-errortype` ("ThrottlingException:http://…"), sometimes in the body's
`__type` ("com.amazon.coral.service#ThrottlingException") or `code`; a stream's in `:exception-type`.
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
"""

from collections.abc import Mapping
from typing import Any

from fairlead.errors import ContentPolicyViolation, UpstreamBroken, UpstreamError, UpstreamModelNotFound, from_status
from fairlead.protocols import envelope
from fairlead.protocols.aws_eventstream import Message

# In lower case, without "exception" at the end: streams spell them `throttlingException`.
_STATUS_OF = {
    "validation": 400, "accessdenied": 403, "expiredtoken": 403, "incompletesignature": 403,
    "invalidclienttokenid": 403, "invalidsignature": 403, "missingauthenticationtoken": 403, "notauthorized": 403,
    "optinrequired": 403, "requestexpired": 403, "signaturedoesnotmatch": 403, "unrecognizedclient": 403,
    "resourcenotfound": 404, "unknownoperation": 404, "modeltimeout": 408, "requestentitytoolarge": 413,
    "throttling": 429, "toomanyrequests": 429, "servicequotaexceeded": 429,
    "modelnotready": 503,  # told as 429, but there is nothing to wait for but the model
    "serviceunavailable": 503, "internalserver": 500, "internalfailure": 500,
}  # fmt: skip
_MODEL_ERRORS = frozenset({"modelerror", "modelstreamerror"})  # they tell the status that the model itself gave
_NO_MODEL = ("The provided model identifier is invalid", "Could not resolve the foundation model")
_BLOCKED = "blocked by content filtering"


def decode(status: int, body: bytes, headers: Mapping[bytes, bytes]) -> UpstreamError:
    """What an answer of `status` with `body` means; never raises. Without its header, status and body must do."""
    kind = headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    told = envelope.any_value(body)
    return _meaning(status, told if isinstance(told, dict) else {}, kind)


def from_stream(message: Message) -> UpstreamError:
    """What a message of a 200 stream means that is an exception or an error."""
    if message.text(":message-type") == "error":
        return _meaning(500, {"message": message.text(":error-message")}, message.text(":error-code"))
    told = envelope.any_value(message.payload)
    return _meaning(500, told if isinstance(told, dict) else {}, message.text(":exception-type"))


def from_answer(told: dict[str, Any]) -> UpstreamError:
    """What an answer of status 200 means that tells an error."""
    return _meaning(500, told, "")


def _meaning(status: int, fields: dict[str, Any], kind: str) -> UpstreamError:
    message = _text(fields, "message") or _text(fields, "Message") or _text(fields, "originalMessage")
    code = _bare(kind) or _bare(_text(fields, "__type")) or _bare(_text(fields, "code"))
    word = (code or "").lower().removesuffix("exception")
    status = _original(fields) if word in _MODEL_ERRORS else _STATUS_OF.get(word, status)
    facts = {"upstream_status": status, "upstream_code": code}
    if status == 400 and message.startswith(_NO_MODEL):
        return UpstreamModelNotFound(message, **facts)  # type: ignore[arg-type]
    if status == 400 and _BLOCKED in message:
        return ContentPolicyViolation(message, **facts)  # type: ignore[arg-type]
    if status < 400:
        return UpstreamBroken("it told an error that we do not know", **facts)  # type: ignore[arg-type]
    return from_status(status, message, code=code)


def _original(fields: dict[str, Any]) -> int:
    """The status of the model's own error: 424 of Bedrock says only that there was one."""
    status = fields.get("originalStatusCode")
    return status if isinstance(status, int) and 400 <= status < 600 else 500


def _bare(kind: str) -> str | None:
    """`ThrottlingException` of `com.amazon.coral.service#ThrottlingException:http://…`."""
    return kind.partition(":")[0].rpartition("#")[2].strip() or None


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
