"""The errors that clients are told, in each dialect."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fairlead import errors
from fairlead.http.openapi.pieces import Schema, answered, one_of
from fairlead.http.openapi.shapes import errors as shapes
from fairlead.protocols import Wire
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openrouter_chat import OpenRouterChat

Kind = Literal["call", "read", "open"]  # a call of a model; anything else that needs a key; what needs none


class Dialect(Struct, frozen=True):
    """How errors are told."""

    name: str
    wire: Wire
    error: type[Struct]
    wrong: errors.InvalidRequest = errors.InvalidRequest(
        "'messages' is empty: it must have at least one message.", param="messages"
    )  # an example
    kinds: tuple[Kind, ...] = ("call", "read", "open")  # what is told in it


OPENAI = Dialect("openai", OpenAIChat(), shapes.OpenAIError)
OPENROUTER = Dialect("openrouter", OpenRouterChat(), shapes.OpenRouterError)
ANTHROPIC = Dialect("anthropic", AnthropicMessages(), shapes.AnthropicError, kinds=("call",))
GEMINI = Dialect(
    "gemini",
    Gemini(),
    shapes.GeminiError,
    errors.InvalidRequest("'contents' is empty: it must have at least one content.", param="contents"),
    kinds=("call", "read"),
)
DIALECTS = (OPENAI, OPENROUTER, ANTHROPIC, GEMINI)


def of_provider(error: errors.UpstreamError, provider: str = "openai") -> errors.UpstreamError:
    error.provider = provider
    return error


# What clients are told, where, and an example of it: of `c`alls, of `r`eading with a key, of what is `o`pen to all.
_EXAMPLES: tuple[tuple[str, str, errors.FairleadError], ...] = (
    ("cro", "The request cannot be read", errors.InvalidRequest("The request is not HTTP/1.1 (InvalidMethod).")),
    ("r", "A parameter is wrong", errors.InvalidRequest("'limit' must be a number from 1 to 1000.", param="limit")),
    ("c", "No provider can be told all of it",
     errors.InvalidRequest(
         "No provider of this model can be told all of the request, as 'provider.require_parameters' demands."
         " What cannot be said: logit_bias.", param="provider.require_parameters", code="not_supported")),
    ("c", "The provider refuses it",
     of_provider(errors.UpstreamRefused("Invalid value for 'temperature'.", param="temperature"))),
    ("c", "The provider refuses the content",
     of_provider(errors.ContentPolicyViolation("Your request was rejected by the safety system."))),
    ("cr", "No key, or none of ours", errors.InvalidKey()),
    ("cr", "The key may not", errors.Forbidden("This key may not make calls: it lacks the scope 'inference'.")),
    ("cro", "Not over TLS", errors.TlsRequired()),
    ("cr", "No such model", errors.ModelNotFound("gpt-4o-minni", ("gpt-4o-mini",))),
    ("c", "The provider has no such model", of_provider(errors.UpstreamModelNotFound())),
    ("r", "No such call", errors.NotFound("There is no such generation, or this key may not see it.")),
    ("o", "No such file", errors.NotFound("There is no such file. The page that has them is at /docs.")),
    ("c", "Another method", errors.MethodNotAllowed("POST")),
    ("ro", "Another method", errors.MethodNotAllowed("GET, HEAD")),
    ("c", "The body does not come", errors.RequestTimeout("The rest of the request did not come in time.")),
    ("c", "Too large", errors.TooLarge("The request is larger than 33554432 bytes (server.max_body_bytes).")),
    ("c", "Too large for the provider", of_provider(errors.UpstreamTooLarge())),
    ("c", "Not JSON",
     errors.UnsupportedMediaType("The body is 'text/plain'; send JSON with 'content-type: application/json'.")),
    ("cr", "Too many wrong keys", errors.TooManyWrongKeys(8)),
    ("c", "The provider's limit", of_provider(errors.RateLimited(retry_after=20))),
    ("cro", "Headers too large",
     errors.HeadersTooLarge("The headers are longer than 65536 bytes, or have more than 1000 lines.")),
    ("cro", "A defect", errors.InternalError()),
    ("c", "The provider failed", of_provider(errors.UpstreamBroken("it answered status 500"))),
    ("c", "No connection", of_provider(errors.ConnectFailed("connection refused", refused=True))),
    ("c", "The provider rejects our credential", of_provider(errors.CredentialRejected())),
    ("c", "The account there is empty", of_provider(errors.OutOfCredit())),
    ("cr", "The gateway cannot", errors.Unavailable("Keys cannot be looked up at the moment. Try again shortly.")),
    ("cro", "Too many connections", errors.Unavailable("The gateway has as many connections as it may have.")),
    ("c", "No credential", errors.CredentialMissing("gpt-4o-mini", {"openai": "OPENAI_API_KEY"})),
    ("c", "Going away", errors.ShuttingDown(sent=False)),
    ("c", "The provider is overloaded", of_provider(errors.Overloaded(retry_after=5))),
    ("c", "The provider takes too long", of_provider(errors.UpstreamTimeout("first_byte", 600))),
)  # fmt: skip

_MEANING = {
    400: "The request is wrong. `param` names the field, if it is one.",
    401: "The key is missing, unknown or revoked.",
    403: "The key may not do this, or it came over plain HTTP where TLS is required.",
    404: "There is no such thing.",
    405: "The path answers another method; `Allow` says which.",
    408: "The rest of the request did not come.",
    413: "The request is too large.",
    415: "The body is not JSON, or compressed.",
    429: "Too much was asked, of the provider or with wrong keys. `Retry-After` says when to come again.",
    431: "There are more than 64 KiB of headers, or more than 1000 lines of them.",
    500: "A defect of the gateway. The request id names it in the log.",
    502: "The provider failed, or could not be reached, or does not take the gateway's credential.",
    503: "The gateway or the provider cannot at the moment.",
    504: "The provider took too long.",
}


def refusals(dialect: Dialect) -> Iterator[tuple[str, Schema]]:
    """The answers that tell an error in `dialect`, by name."""
    for kind in dialect.kinds:
        for status, meaning in _MEANING.items():
            told = [(name, error) for where, name, error in _EXAMPLES if error.status == status and kind[0] in where]
            if (kind, status) == ("call", 400):
                told.insert(1, ("A field is wrong", dialect.wrong))
            if told:
                yield f"{dialect.name}.{kind}.{status}", _refusal(dialect, kind, status, meaning, told)


def _refusal(
    dialect: Dialect, kind: Kind, status: int, meaning: str, told: Sequence[tuple[str, errors.FairleadError]]
) -> Schema:
    headers = ["X-Request-Id", "X-Should-Retry"]
    if status == 405:
        headers.append("Allow")
    if status in (429, 503):
        headers.append("Retry-After")
    examples = {name: {"value": _spelt(dialect, error)} for name, error in told}
    ways = [dialect.error]
    if kind == "call":
        headers.append("X-Generation-Id.if-it-has-one")
        if dialect is ANTHROPIC:
            headers.append("Request-Id.if-it-has-one")
        if status in _BEFORE_THE_ADDRESS and dialect is not OPENAI:
            ways.append(OPENAI.error)
    else:
        if status in _BEFORE_THE_ADDRESS and dialect is not OPENAI:
            ways.append(OPENAI.error)
        if dialect is GEMINI:
            return answered(meaning, {"application/json": {"schema": one_of(*ways), "examples": examples}}, headers)
        ways.append(ANTHROPIC.error)
        name, error = told[0]
        examples[f"{name}, to a client of Anthropic's"] = {"value": _spelt(ANTHROPIC, error)}
    return answered(meaning, {"application/json": {"schema": one_of(*ways), "examples": examples}}, headers)


def _spelt(dialect: Dialect, error: errors.FairleadError) -> Any:
    return msgspec.json.decode(dialect.wire.encode_error(error))


_BEFORE_THE_ADDRESS = (400, 431, 503)  # that is how early these may be told: as OpenAI does, whoever asks
_STATUSES: dict[Kind, tuple[int, ...]] = {
    "call": tuple(_MEANING),
    "read": (400, 401, 403, 405, 429, 431, 500, 503),
    "open": (400, 403, 405, 431, 500, 503),
}


def all_answers(kind: Kind, dialect: Dialect, well: Mapping[int, Schema], *more: int, without: int = 0) -> Schema:
    """All answers of an operation: `well`, and the errors of its kind."""
    statuses = sorted({*_STATUSES[kind], *more} - {without})
    refs = {status: {"$ref": f"#/components/responses/{dialect.name}.{kind}.{status}"} for status in statuses}
    return {str(status): told for status, told in sorted({**refs, **well}.items())}
