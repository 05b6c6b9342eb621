"""What an OpenAPI document is put together from: references, answers, operations, headers, parameters."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

Schema = dict[str, Any]
KEYS: tuple[Schema, ...] = ({"bearer": []}, {"x-api-key": []})
KEYS_OF_GOOGLE: tuple[Schema, ...] = ({"x-goog-api-key": []}, {"key": []}, *KEYS)


def ref(shape: type[Struct] | str) -> Schema:
    return {"$ref": f"#/components/schemas/{shape if isinstance(shape, str) else shape.__name__}"}


def one_of(*told: type[Struct]) -> Schema:
    return ref(told[0]) if len(told) == 1 else {"anyOf": [ref(shape) for shape in told]}


def answered(description: str, content: Schema, headers: Sequence[str] = ("X-Request-Id",)) -> Schema:
    """An answer. `headers`: names of components; what follows a dot is not a part of the header's."""
    told = {name.partition(".")[0]: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return {"description": description, "headers": told, **({"content": content} if content else {})}


def in_json(schema: Schema, **examples: Any) -> Schema:
    named = {name.replace("_", " "): {"value": value} for name, value in examples.items()}
    return {"application/json": {"schema": schema, "examples": named}}


def operation(id: str, tag: str, summary: str, description: str, answers: Schema, **more: Any) -> Schema:
    return {
        "operationId": id, "tags": [tag], "summary": summary, "description": description, **more, "responses": answers,
    }  # fmt: skip


# ---- headers and parameters


def _header(description: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"description": description, "required": required, "schema": schema}


STRING: Schema = {"type": "string"}
HEADERS = {
    "X-Request-Id": _header(
        "What the request is called, in the log, too: the client's `X-Request-Id`, or an id that was made for it.",
        {**STRING, "examples": ["gen-019aa5c1f00011223344556677889900"]},
        required=True,
    ),
    "X-Generation-Id": _header(
        "The call's id, which `/v1/generation` is asked for.",
        {**STRING, "pattern": "^gen-[0-9a-f]{32}$"},
        required=True,
    ),
    "X-Generation-Id.if-it-has-one": _header("The call's id.", {**STRING, "pattern": "^gen-[0-9a-f]{32}$"}),
    "Request-Id": _header("The same as `X-Request-Id`, as Anthropic's clients look for it.", STRING, required=True),
    "Request-Id.if-it-has-one": _header("The same as `X-Request-Id`.", STRING),
    "X-Fairlead-Upstream-Request-Id": _header("What the provider calls it.", STRING),
    "X-Fairlead-Dropped": _header(
        "What the request asked for and its provider could not be told, in another protocol; absent if that is nothing."
        " With `provider.require_parameters` no such provider is asked.",
        {**STRING, "examples": ["logit_bias, seed"]},
    ),
    "X-Fairlead-Estimated": _header(
        "`input_tokens` where no provider of the model counts, so that the number is an estimate.",
        {**STRING, "enum": ["input_tokens"]},
    ),
    "X-Should-Retry": _header(
        "Whether the same request is worth sending again; the official SDKs obey it.",
        {**STRING, "enum": ["true", "false"]},
        required=True,
    ),
    "Retry-After": _header("In how many seconds.", {"type": "integer", "minimum": 0}),
    "Allow": _header("The methods that the path answers.", {**STRING, "examples": ["POST"]}, required=True),
    "Cache-Control": _header("Who may keep it, and for how long.", STRING, required=True),
    "Cache-Control.of-streams": _header("`no-cache` for a stream.", STRING),
    "Cache-Control.if-it-is-no-error": _header("`no-store`.", STRING),
    "X-Should-Retry.if-it-is-an-error": _header("Whether to ask again.", {**STRING, "enum": ["true", "false"]}),
    "ETag": _header("What this version is called.", {**STRING, "pattern": '^"[0-9a-f]+"$'}, required=True),
    "Content-Security-Policy": _header("What the page may load: its own files.", STRING, required=True),
}


def parameter(place: str, name: str, description: str, schema: Schema, **more: Any) -> Schema:
    return {"name": name, "in": place, "description": description, "schema": schema, **more}


PARAMETERS = {
    "X-Request-Id": parameter(
        "header",
        "X-Request-Id",
        "What the client calls its request. It comes back, and stands in the log. Letters, digits and `._:/+=@-`, at"
        " most 128; anything else is ignored.",
        STRING,
    ),
    "Anthropic-Version": parameter(
        "header", "anthropic-version", "Which version of Anthropic's API is spoken. Passed on.", STRING,
        example="2023-06-01",
    ),
    "Anthropic-Beta": parameter("header", "anthropic-beta", "Anthropic's betas. Passed on.", STRING),
    "OpenAI-Beta": parameter("header", "openai-beta", "OpenAI's betas. Passed on.", STRING),
    "Shape": parameter(
        "header", "anthropic-version", "Whoever sends it gets the answer in Anthropic's shape.", STRING,
    ),
    "Model": parameter(
        "path", "model", "Its name. It may have slashes and colons, as they are or as `%2F` and `%3A`.",
        {**STRING, "minLength": 1}, required=True, example="gemini-2.5-flash",
    ),
    "Alt": parameter("query", "alt", "`sse` for events, anything else for an array.", STRING, example="sse"),
    "If-None-Match": parameter("header", "If-None-Match", "The `ETag` of what is here already.", STRING),
}  # fmt: skip


def parameters(*names: str) -> list[Schema]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
