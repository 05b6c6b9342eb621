"""Everything that can go wrong, and what the client is told.

    FairleadError
    ├── InvalidConfig             at start or reload; never sent to a client
    ├── InvalidRequest        400 names the field (`param`)
    │   └── Unsayable         400 a format has no words for it: the next endpoint may have
    ├── InvalidKey            401 missing, unknown, revoked: the same words
    ├── Forbidden             403 the key lacks a scope
    │   └── TlsRequired       403 it came over plain HTTP
    ├── NotFound              404 no such path
    │   └── ModelNotFound     404 no such model, with the nearest names
    ├── MethodNotAllowed      405
    ├── RequestTimeout        408 the body does not come
    ├── TooLarge              413
    ├── UnsupportedMediaType  415
    ├── HeadersTooLarge       431
    ├── Unavailable           503 our own infrastructure, with Retry-After
    │   ├── CredentialMissing 503 the provider is known, its credential is not
    │   └── ShuttingDown      503 this process is going away
    ├── InternalError         500 a defect of ours
    └── UpstreamError             a provider failed; one attempt, not yet the call
        ├── UpstreamRefused   400 the provider finds the request wrong
        ├── ContentPolicyViolation 400
        ├── UpstreamTooLarge  413
        ├── UpstreamModelNotFound 404
        ├── CredentialRejected 502
        ├── OutOfCredit       502
        ├── RateLimited       429 with the provider's Retry-After
        ├── Overloaded        503 the provider says 503 or 529
        ├── UpstreamTimeout   504 which one: connect, first byte, silence, total
        ├── ConnectFailed     502 no connection: refused, reset, name not found, TLS
        └── UpstreamBroken    502 500, 502, reset, garbage, truncated

Two facts belong to each: `failover` (may another endpoint be tried before content?) and `retryable` (should the
client try again?), which is also what `x-should-retry` says. docs/errors.md lists them for users.
"""

import re
from typing import Any, ClassVar, Literal

_LONGEST_MESSAGE = 2000
Phase = Literal["connect", "first_byte", "silence", "total"]


class FairleadError(Exception):
    """The root. `str(error)` is what the client reads: never a secret, never an address of the inside."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    kind: ClassVar[str] = "api_error"  # OpenAI's `type`
    retryable: bool = False
    retry_after: float | None = None  # seconds

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidConfig(FairleadError):
    """A wish we cannot grant: names the thing, its place (`file:line`) and what would be right."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None, path: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.path = file, line, path

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return f"{place}: {self.message}" if place else self.message


class InvalidRequest(FairleadError):
    status, code, kind = 400, "invalid_request", "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param)
        if code is not None:
            self.code = code


class Unsayable(InvalidRequest):
    """A format has no words for `part` of a request. Where that stands in the client's own spelling, only who has the
    client's request can name: `at`."""

    def __init__(self, told: str, part: object) -> None:
        """`told` goes on after the place: "has a film; this model's provider takes none."."""
        super().__init__(f"The request {told}", param="messages")  # so far: that is where it is in our words
        self.told, self.part = told, part

    def at(self, place: str) -> InvalidRequest:
        return InvalidRequest(f"'{place}' {self.told}", param=place)


class InvalidKey(FairleadError):
    status, code, kind = 401, "invalid_api_key", "invalid_request_error"

    def __init__(self, header: str = "Authorization: Bearer fl-…") -> None:
        super().__init__(f"Incorrect or missing API key. Send a key of this gateway as '{header}'.")


class TooManyWrongKeys(FairleadError):
    status, code, kind, retryable = 429, "too_many_wrong_keys", "rate_limit_error", True

    def __init__(self, seconds: float) -> None:
        super().__init__("Too many wrong API keys came from this address. Try again later.")
        self.retry_after = seconds


class Forbidden(FairleadError):
    status, code, kind = 403, "insufficient_scope", "invalid_request_error"


class TlsRequired(Forbidden):
    code = "tls_required"

    def __init__(self) -> None:
        super().__init__("This gateway is used over TLS only: ask with https://.")


class NotFound(FairleadError):
    status, code, kind = 404, "not_found", "invalid_request_error"


class ModelNotFound(NotFound):
    code = "model_not_found"

    def __init__(self, model: str, nearest: tuple[str, ...] = ()) -> None:
        hint = f" Did you mean {_listed(nearest)}?" if nearest else ""
        super().__init__(f"The model {_shown(model)} does not exist or this key may not use it.{hint}", param="model")


class MethodNotAllowed(FairleadError):
    status, code, kind = 405, "method_not_allowed", "invalid_request_error"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path answers {allowed} only.")
        self.allowed = allowed


class RequestTimeout(FairleadError):
    status, code, kind = 408, "request_timeout", "invalid_request_error"


class TooLarge(FairleadError):
    status, code, kind = 413, "request_too_large", "invalid_request_error"


class UnsupportedMediaType(FairleadError):
    status, code, kind = 415, "unsupported_media_type", "invalid_request_error"


class HeadersTooLarge(FairleadError):
    status, code, kind = 431, "headers_too_large", "invalid_request_error"


class Unavailable(FairleadError):
    status, code, retryable = 503, "service_unavailable", True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CredentialMissing(Unavailable):
    code, retryable = "provider_not_configured", False

    def __init__(self, model: str, providers: dict[str, str]) -> None:
        """`providers`: name → the environment variable that would hold its credential."""
        wanted = " or ".join(f"{name} ({masked(variable)})" for name, variable in providers.items())
        super().__init__(f"The model {_shown(model)} needs a credential for {wanted}.", retry_after=60)


class ShuttingDown(Unavailable):
    code = "shutting_down"

    def __init__(self, *, sent: bool) -> None:
        """`sent`: a provider has the request, so that it is perhaps billed and must not be sent again unasked."""
        super().__init__("The gateway is shutting down.")
        self.retryable = not sent


class InternalError(FairleadError):
    def __init__(self) -> None:
        super().__init__("The gateway failed to handle this request. The request id names it in the log.")


class UpstreamError(FairleadError):
    """An attempt failed at its provider.

    `message` is the provider's own and stays in the log unless a class says otherwise: such messages carry
    organisation ids and key fragments. `provider` is set by whoever knows it.
    """

    status, code = 502, "upstream_error"
    failover: ClassVar[bool] = True

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        upstream_status: int | None = None,
        upstream_code: str | None = None,
        retry_after: float | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message, param=param)
        self.upstream_status, self.upstream_code = upstream_status, upstream_code
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown  # perhaps it was worked on, perhaps billed: never send it again
        self.provider: str | None = None
        self.request_id: str | None = None

    def __str__(self) -> str:
        return self.told(self.provider or "The provider")

    def hide(self, secret: str) -> None:
        """Make sure that `secret` is in nothing that is told or logged: providers quote what they were sent."""
        self.message = self.message.replace(secret, "***")[:_LONGEST_MESSAGE]
        for name in ("param", "upstream_code"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, masked(value.replace(secret, "***"))[:200])

    def told(self, provider: str) -> str:
        """What the client reads."""
        return f"{provider} failed to answer."


class UpstreamRefused(UpstreamError):
    status, code, kind, failover = 400, "invalid_request", "invalid_request_error", False

    def told(self, provider: str) -> str:
        return masked(self.message) or f"{provider} refused the request."


class ContentPolicyViolation(UpstreamError):
    status, code, kind, failover = 400, "content_policy_violation", "invalid_request_error", False

    def told(self, provider: str) -> str:
        return masked(self.message) or f"{provider} refused the content."


class UpstreamTooLarge(UpstreamError):
    status, code, kind, failover = 413, "request_too_large", "invalid_request_error", False

    def told(self, provider: str) -> str:
        return f"The request is too large for {provider}."


class UpstreamModelNotFound(UpstreamError):
    status, code, kind = 404, "model_not_found", "invalid_request_error"

    def told(self, provider: str) -> str:
        return (
            f"{provider} has no such model: {masked(self.message)}"
            if self.message
            else f"{provider} has no such model."
        )


class CredentialRejected(UpstreamError):
    code = "provider_credential_rejected"

    def told(self, provider: str) -> str:
        return f"{provider} rejected the gateway's credential."


class OutOfCredit(UpstreamError):
    code = "provider_out_of_credit"

    def told(self, provider: str) -> str:
        return f"The gateway's account at {provider} is out of credit."


class RateLimited(UpstreamError):
    status, code, kind, retryable = 429, "rate_limit_exceeded", "rate_limit_error", True

    def told(self, provider: str) -> str:
        return f"{provider} is limiting the rate of requests."


class Overloaded(UpstreamError):
    status, code, retryable = 503, "provider_overloaded", True

    def told(self, provider: str) -> str:
        return f"{provider} is overloaded or down for the moment."


class UpstreamTimeout(UpstreamError):
    status, code = 504, "upstream_timeout"
    _WHAT: ClassVar[dict[Phase, str]] = {
        "connect": "accept a connection",
        "first_byte": "begin to answer",
        "silence": "go on with its answer",
        "total": "finish its answer",
    }

    def __init__(self, phase: Phase, seconds: float, **facts: Any) -> None:
        super().__init__(f"{phase} time-out after {seconds:g} s", **facts)
        self.phase, self.seconds = phase, seconds

    def told(self, provider: str) -> str:
        return f"{provider} did not {self._WHAT[self.phase]} within {self.seconds:g} s."


class ConnectFailed(UpstreamError):
    """No connection came about, so nothing was sent. A refusal is worth another try, the rest is not."""

    code = "provider_unreachable"

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.retryable = refused

    def told(self, provider: str) -> str:
        return f"{provider} could not be reached."


class UpstreamBroken(UpstreamError):
    """`message` here is our own finding ("the answer is not JSON") and may be told; `raw`, what was found so, not."""

    code = "upstream_broken"
    raw: bytes = b""

    def told(self, provider: str) -> str:
        return f"{provider} failed: {self.message}" if self.message else f"{provider} failed to answer."


def from_status(
    status: int,
    message: str = "",
    *,
    param: str | None = None,
    code: str | None = None,
    retry_after: float | None = None,
) -> UpstreamError:
    """The error that an upstream status stands for. `message` and `code` are the provider's, if it told any."""
    facts: dict[str, Any] = {
        "param": param, "upstream_status": status, "upstream_code": code, "retry_after": retry_after,
    }  # fmt: skip
    if code in _CONTENT_POLICY_CODES and status in (400, 403):
        return ContentPolicyViolation(message, **facts)
    if code == "insufficient_quota":  # OpenAI says 429 where others say 402
        return OutOfCredit(message, **facts)
    match status:
        case 401 | 403:
            return CredentialRejected(message, **facts)
        case 402:
            return OutOfCredit(message, **facts)
        case 404:
            return UpstreamModelNotFound(message, **facts)
        case 408 | 504:
            error = UpstreamTimeout("total", 0, **facts)
            error.message = message
            return error
        case 413:
            return UpstreamTooLarge(message, **facts)
        case 429:
            return RateLimited(message, **facts)
        case 503 | 529:
            return Overloaded(message, **facts)
    if 400 <= status < 500:
        return UpstreamRefused(message, **facts)
    return UpstreamBroken(f"it answered status {status}", **facts)


_CONTENT_POLICY_CODES = frozenset(
    {"content_policy_violation", "content_filter", "moderation_blocked", "content_policy"}
)

# Whatever looks like an organisation's id or a piece of a key. The tail of an OpenAI message reads "sk-abc***xyz".
_SECRETS = re.compile(
    r"\b(?:fl|org|proj|sk|pk|rk|gsk|xai|hf|key|acct|user)[-_][\w*.\-]{6,}|\bAIza[\w\-]{20,}|\bBearer\s+\S+"
)
# What is in those and in no name that people give: "user_location" and "proj-billing" are names.
_RANDOM = re.compile(r"(?=[A-Za-z]*[0-9*])[A-Za-z0-9*]{6,}|[A-Za-z]{16,}|^(?:AIza|Bearer)")


def masked(message: str) -> str:
    """`message` without what looks like a key."""
    return _SECRETS.sub(_hidden, message)[:_LONGEST_MESSAGE]


def _hidden(found: re.Match[str]) -> str:
    return "***" if _RANDOM.search(found[0]) else found[0]


def _shown(model: str) -> str:
    """A model's name as a client may see it again: bounded, and without line breaks."""
    return "'" + "".join(c if c.isprintable() else "?" for c in model[:200]) + "'"


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(", ".join(_shown(name) for name in names).rsplit(", ", 1))
