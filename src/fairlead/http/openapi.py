"""What is served, as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.1.

What stands in requests and answers is in `shapes`. Answers and errors of the examples are spelt by the protocols
themselves, so that they are what clients are told. Nothing of a gateway's state or configuration is in here.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fairlead import __version__, errors
from fairlead.chat import Response, Text, Usage, tell
from fairlead.http import shapes
from fairlead.http.docs import FILES
from fairlead.protocols import ChatProtocol, Wire, sse
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterChat, OpenRouterCompletions

Schema = dict[str, Any]

_INTRODUCTION = """\
**Dialects.** `/v1` speaks OpenAI's, and `/v1/messages` Anthropic's. All of `/v1` is under `/api/v1`, too, in
OpenRouter's dialect where that is another one. Elsewhere a request with the header `anthropic-version` gets
Anthropic's models and errors.

**Keys** are sent as `Authorization: Bearer fl-…` or as `x-api-key: fl-…`.

**Requests** are checked as far as the gateway reads them; everything else passes, known here or not. Where the
provider speaks another protocol than the client, both ways are translated.

**Errors** say with `X-Should-Retry` whether the same request is worth sending again, and with `Retry-After` when. In
a stream whose status is out already an error is its last event. What is refused before its address is read is told as
OpenAI tells it.

`HEAD` is answered wherever `GET` is, and a browser's `OPTIONS` if its page may ask (`server.allowed_origins`).
"""
_TAGS = {
    "Calls": "Asking a model.",
    "Models": "What can be asked for.",
    "Usage": "What was used.",
    "OpenRouter": "The same under `/api/v1`, as OpenRouter's clients expect it.",
    "Process": "How the gateway fares. None of this depends on a provider.",
    "Documentation": "This.",
}
_KEYS: list[Schema] = [{"bearer": []}, {"x-api-key": []}]


def document() -> Schema:
    """The whole document. It is always the same one: nothing in it changes while a process runs."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead",
            "version": __version__,
            "summary": "An OpenAI-compatible gateway you run yourself, in front of every model provider",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "This gateway"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "responses": {name: told for dialect in _DIALECTS for name, told in _refusals(dialect)},
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this gateway: `fl-…`."},
                "x-api-key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The same, as Anthropic's clients send it.",
                },
            },
        },
    }


# ---- dialects


class _Dialect(Struct, frozen=True):
    """How errors are told."""

    name: str
    wire: Wire
    error: type[Struct]


_OPENAI = _Dialect("openai", OpenAIChat(), shapes.OpenAIError)
_OPENROUTER = _Dialect("openrouter", OpenRouterChat(), shapes.OpenRouterError)
_ANTHROPIC = _Dialect("anthropic", AnthropicMessages(), shapes.AnthropicError)
_DIALECTS = (_OPENAI, _OPENROUTER, _ANTHROPIC)


# ---- errors

Kind = Literal["call", "read", "open"]  # a call of a model; anything else that needs a key; what needs none


def _of_provider(error: errors.UpstreamError, provider: str = "openai") -> errors.UpstreamError:
    error.provider = provider
    return error


# What clients are told, where, and an example of it: of `c`alls, of `r`eading with a key, of what is `o`pen to all.
_EXAMPLES: tuple[tuple[str, str, errors.FairleadError], ...] = (
    ("cro", "The request cannot be read", errors.InvalidRequest("The request is not HTTP/1.1 (InvalidMethod).")),
    ("c", "A field is wrong",
     errors.InvalidRequest("'messages' is empty: it must have at least one message.", param="messages")),
    ("r", "A parameter is wrong", errors.InvalidRequest("'limit' must be a number from 1 to 1000.", param="limit")),
    ("c", "No provider serves this",
     errors.InvalidRequest(
         "No provider of the model 'claude-sonnet-4-5' serves completions. Ask for it through /v1/chat/completions or"
         " /v1/messages.", param="model", code="not_supported")),
    ("c", "The provider refuses it",
     _of_provider(errors.UpstreamRefused("Invalid value for 'temperature'.", param="temperature"))),
    ("c", "The provider refuses the content",
     _of_provider(errors.ContentPolicyViolation("Your request was rejected by the safety system."))),
    ("cr", "No key, or none of ours", errors.InvalidKey()),
    ("cr", "The key may not", errors.Forbidden("This key may not make calls: it lacks the scope 'inference'.")),
    ("cro", "Not over TLS", errors.TlsRequired()),
    ("cr", "No such model", errors.ModelNotFound("gpt-4o-minni", ("gpt-4o-mini",))),
    ("c", "The provider has no such model", _of_provider(errors.UpstreamModelNotFound())),
    ("r", "No such call", errors.NotFound("There is no such generation, or this key may not see it.")),
    ("o", "No such file", errors.NotFound("There is no such file. The page that has them is at /docs.")),
    ("c", "Another method", errors.MethodNotAllowed("POST")),
    ("ro", "Another method", errors.MethodNotAllowed("GET, HEAD")),
    ("c", "The body does not come", errors.RequestTimeout("The rest of the request did not come in time.")),
    ("c", "Too large", errors.TooLarge("The request is larger than 33554432 bytes (server.max_body_bytes).")),
    ("c", "Too large for the provider", _of_provider(errors.UpstreamTooLarge())),
    ("c", "Not JSON",
     errors.UnsupportedMediaType("The body is 'text/plain'; send JSON with 'content-type: application/json'.")),
    ("cr", "Too many wrong keys", errors.TooManyWrongKeys(8)),
    ("c", "The provider's limit", _of_provider(errors.RateLimited(retry_after=20))),
    ("cro", "Headers too large",
     errors.HeadersTooLarge("The headers are longer than 65536 bytes, or have more than 1000 lines.")),
    ("cro", "A defect", errors.InternalError()),
    ("c", "The provider failed", _of_provider(errors.UpstreamBroken("it answered status 500"))),
    ("c", "No connection", _of_provider(errors.ConnectFailed("connection refused", refused=True))),
    ("c", "The provider rejects our credential", _of_provider(errors.CredentialRejected())),
    ("c", "The account there is empty", _of_provider(errors.OutOfCredit())),
    ("cr", "The gateway cannot", errors.Unavailable("Keys cannot be looked up at the moment. Try again shortly.")),
    ("cro", "Too many connections", errors.Unavailable("The gateway has as many connections as it may have.")),
    ("c", "No credential", errors.CredentialMissing("gpt-4o-mini", {"openai": "OPENAI_API_KEY"})),
    ("c", "Going away", errors.ShuttingDown(sent=False)),
    ("c", "The provider is overloaded", _of_provider(errors.Overloaded(retry_after=5))),
    ("c", "The provider takes too long", _of_provider(errors.UpstreamTimeout("first_byte", 600))),
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


def _refusals(dialect: _Dialect) -> Iterator[tuple[str, Schema]]:
    """The answers that tell an error in `dialect`, by name."""
    kinds: tuple[Kind, ...] = ("call",) if dialect is _ANTHROPIC else ("call", "read", "open")
    for kind in kinds:
        for status, meaning in _MEANING.items():
            told = [(name, error) for where, name, error in _EXAMPLES if error.status == status and kind[0] in where]
            if told:
                yield f"{dialect.name}.{kind}.{status}", _refusal(dialect, kind, status, meaning, told)


def _refusal(
    dialect: _Dialect, kind: Kind, status: int, meaning: str, told: Sequence[tuple[str, errors.FairleadError]]
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
        if dialect is _ANTHROPIC:
            headers.append("Request-Id.if-it-has-one")
        if status in _BEFORE_THE_ADDRESS and dialect is not _OPENAI:
            ways.append(_OPENAI.error)
    else:
        if status in _BEFORE_THE_ADDRESS and dialect is not _OPENAI:
            ways.append(_OPENAI.error)
        ways.append(_ANTHROPIC.error)
        name, error = told[0]
        examples[f"{name}, to a client of Anthropic's"] = {"value": _spelt(_ANTHROPIC, error)}
    return _told(meaning, {"application/json": {"schema": _any(*ways), "examples": examples}}, headers)


def _spelt(dialect: _Dialect, error: errors.FairleadError) -> Any:
    return msgspec.json.decode(dialect.wire.encode_error(error))


_BEFORE_THE_ADDRESS = (400, 431, 503)  # that is how early these may be told: as OpenAI does, whoever asks
_STATUSES: dict[Kind, tuple[int, ...]] = {
    "call": tuple(_MEANING),
    "read": (400, 401, 403, 405, 429, 431, 500, 503),
    "open": (400, 403, 405, 431, 500, 503),
}


def _answers(kind: Kind, dialect: _Dialect, well: Mapping[int, Schema], *more: int, without: int = 0) -> Schema:
    """All answers of an operation: `well`, and the errors of its kind."""
    statuses = sorted({*_STATUSES[kind], *more} - {without})
    refs = {status: {"$ref": f"#/components/responses/{dialect.name}.{kind}.{status}"} for status in statuses}
    return {str(status): told for status, told in sorted({**refs, **well}.items())}


# ---- headers and parameters


def _header(description: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"description": description, "required": required, "schema": schema}


_STRING: Schema = {"type": "string"}
_HEADERS = {
    "X-Request-Id": _header(
        "What the request is called, in the log, too: the client's `X-Request-Id`, or an id that was made for it.",
        {**_STRING, "examples": ["gen-019aa5c1f00011223344556677889900"]},
        required=True,
    ),
    "X-Generation-Id": _header(
        "The call's id, which `/v1/generation` is asked for.",
        {**_STRING, "pattern": "^gen-[0-9a-f]{32}$"},
        required=True,
    ),
    "X-Generation-Id.if-it-has-one": _header("The call's id.", {**_STRING, "pattern": "^gen-[0-9a-f]{32}$"}),
    "Request-Id": _header("The same as `X-Request-Id`, as Anthropic's clients look for it.", _STRING, required=True),
    "Request-Id.if-it-has-one": _header("The same as `X-Request-Id`.", _STRING),
    "X-Fairlead-Upstream-Request-Id": _header("What the provider calls it.", _STRING),
    "X-Fairlead-Dropped": _header(
        "What the request asked for and its provider could not be told, in another protocol; absent if that is nothing."
        " With `provider.require_parameters` no such provider is asked.",
        {**_STRING, "examples": ["logit_bias, seed"]},
    ),
    "X-Should-Retry": _header(
        "Whether the same request is worth sending again; the official SDKs obey it.",
        {**_STRING, "enum": ["true", "false"]},
        required=True,
    ),
    "Retry-After": _header("In how many seconds.", {"type": "integer", "minimum": 0}),
    "Allow": _header("The methods that the path answers.", {**_STRING, "examples": ["POST"]}, required=True),
    "Cache-Control": _header("Who may keep it, and for how long.", _STRING, required=True),
    "Cache-Control.of-streams": _header("`no-cache` for a stream.", _STRING),
    "Cache-Control.if-it-is-no-error": _header("`no-store`.", _STRING),
    "X-Should-Retry.if-it-is-an-error": _header("Whether to ask again.", {**_STRING, "enum": ["true", "false"]}),
    "ETag": _header("What this version is called.", {**_STRING, "pattern": '^"[0-9a-f]+"$'}, required=True),
    "Content-Security-Policy": _header("What the page may load: its own files.", _STRING, required=True),
}


def _parameter(place: str, name: str, description: str, schema: Schema, **more: Any) -> Schema:
    return {"name": name, "in": place, "description": description, "schema": schema, **more}


_PARAMETERS = {
    "X-Request-Id": _parameter(
        "header",
        "X-Request-Id",
        "What the client calls its request. It comes back, and stands in the log. Letters, digits and `._:/+=@-`, at"
        " most 128; anything else is ignored.",
        _STRING,
    ),
    "Anthropic-Version": _parameter(
        "header", "anthropic-version", "Which version of Anthropic's API is spoken. Passed on.", _STRING,
        example="2023-06-01",
    ),
    "Anthropic-Beta": _parameter("header", "anthropic-beta", "Anthropic's betas. Passed on.", _STRING),
    "OpenAI-Beta": _parameter("header", "openai-beta", "OpenAI's betas. Passed on.", _STRING),
    "Shape": _parameter(
        "header", "anthropic-version", "Whoever sends it gets the answer in Anthropic's shape.", _STRING,
    ),
    "If-None-Match": _parameter("header", "If-None-Match", "The `ETag` of what is here already.", _STRING),
}  # fmt: skip


def _parameters(*names: str) -> list[Schema]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


# ---- pieces


def _ref(shape: type[Struct] | str) -> Schema:
    return {"$ref": f"#/components/schemas/{shape if isinstance(shape, str) else shape.__name__}"}


def _any(*told: type[Struct]) -> Schema:
    return _ref(told[0]) if len(told) == 1 else {"anyOf": [_ref(shape) for shape in told]}


def _told(description: str, content: Schema, headers: Sequence[str] = ("X-Request-Id",)) -> Schema:
    """An answer. `headers`: names of components; what follows a dot is not a part of the header's."""
    told = {name.partition(".")[0]: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return {"description": description, "headers": told, **({"content": content} if content else {})}


def _json(schema: Schema, **examples: Any) -> Schema:
    named = {name.replace("_", " "): {"value": value} for name, value in examples.items()}
    return {"application/json": {"schema": schema, "examples": named}}


def _operation(id: str, tag: str, summary: str, description: str, answers: Schema, **more: Any) -> Schema:
    return {
        "operationId": id, "tags": [tag], "summary": summary, "description": description, **more, "responses": answers,
    }  # fmt: skip


def _schemas() -> dict[str, Schema]:
    public = [
        shape
        for shape in vars(shapes).values()
        if isinstance(shape, type) and issubclass(shape, Struct) and shape.__module__ == shapes.__name__
    ]
    _, made = msgspec.json.schema_components(public, ref_template="#/components/schemas/{name}")
    return {**{name: _neat(schema) for name, schema in sorted(made.items())}, **_EVENTS}


def _neat(schema: Any) -> Any:
    """Descriptions without the indentation of their source; words as strings, unions of bare types as such."""
    if isinstance(schema, list):
        return [_neat(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    neat = {name: _neat(value) for name, value in schema.items()}
    if isinstance(neat.get("description"), str):
        neat["description"] = inspect.cleandoc(neat["description"]).replace("\n", " ")
    if "type" not in neat and neat.get("enum") and all(isinstance(word, str) for word in neat["enum"]):
        neat["type"] = "string"
    either = neat.get("anyOf")
    if either and all(set(one) == {"type"} and isinstance(one["type"], str) for one in either):
        del neat["anyOf"]
        neat["type"] = [one["type"] for one in either]
    return neat


# ---- streams


def _event(description: str, *kinds: type[Struct], end: str = "") -> Schema:
    """One event of a stream. `end`: the data of the last one, which is no JSON."""
    data: Schema = {**_STRING, "contentMediaType": "application/json", "contentSchema": _any(*kinds)}
    if end:
        data = {"anyOf": [{"const": end}, data]}
    named = {"type": "string", "description": "The type of its data, too."}
    properties = {"data": data} if end else {"event": named, "data": data}
    return {"description": description, "type": "object", "properties": properties, "required": list(properties)}


_DONE = "[DONE]"
_LAST = (
    "One server-sent event. The last one's data is `[DONE]`, or tells an error."
    " Lines that begin with `:` are signs of life."
)
_EVENTS = {
    "ChatEvent": _event(_LAST, shapes.ChatChunk, shapes.OpenAIErrorEvent, end=_DONE),
    "OpenRouterChatEvent": _event(_LAST, shapes.ChatChunk, shapes.OpenRouterErrorChunk, end=_DONE),
    "CompletionEvent": _event(_LAST, shapes.Completion, shapes.OpenAIErrorEvent, end=_DONE),
    "OpenRouterCompletionEvent": _event(_LAST, shapes.Completion, shapes.OpenRouterErrorChunk, end=_DONE),
    "MessageEvent": _event(
        "One server-sent event. The last one is `message_stop` or `error`. Lines that begin with `:` are signs of"
        " life.",
        *shapes.MESSAGE_EVENTS,
        shapes.AnthropicError,
    ),
}


def _events(told: bytes) -> dict[str, dict[str, str]]:
    """The events in `told`, by number and what they are."""
    found = {}
    for number, event in enumerate(told.removesuffix(b"\n\n").split(b"\n\n"), 1):
        name, data = sse.name(event).decode(), sse.data(event).decode()
        known = {"event": name} if event.startswith(b"event:") else {}
        found[f"{number}. {known.get('event', 'chunk' if data != _DONE else 'end')}"] = {**known, "data": data}
    return found


def _stream(event: str, told: bytes) -> Schema:
    examples = {name: {"value": value} for name, value in _events(told).items()}
    return {"text/event-stream": {"schema": _ref(event), "examples": examples}}


# ---- examples of calls

_CREATED = 1_795_219_200
_ASKED = [{"role": "user", "content": "Say hello."}]
_SAID = Response("chatcmpl-D0xUy3", "gpt-4o-mini-2024-07-18", (Text("Hello!"),), "stop", Usage(10, 2), created=_CREATED)
_SAID_BY_CLAUDE = Response("msg_01Xq", "claude-sonnet-4-5", (Text("Hello!"),), "stop", Usage(10, 4))
_COMPLETION = {
    "id": "cmpl-D0xUy3",
    "object": "text_completion",
    "created": _CREATED,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": " there was a gateway.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
}
_BROKEN = _of_provider(errors.UpstreamBroken("its answer was cut off"))


def _streamed(wire: ChatProtocol, response: Response) -> bytes:
    encode = wire.event_encoder(include_usage=True)
    return b"".join(map(encode, tell(response)))


def _failing(wire: Wire, told: bytes) -> bytes:
    """`told`, and how the stream would end with an error instead; at a time that is always the same."""
    return told + re.sub(rb'"created":\d+', b'"created":%d' % _CREATED, wire.encode_error_event(_BROKEN))


# ---- operations


class _Call(Struct, frozen=True):
    """An operation that calls a model, in one dialect."""

    id: str
    wire: Wire
    dialect: _Dialect
    request: type[Struct]
    answer: type[Struct]
    event: str
    summary: str
    asked: dict[str, Any]
    told: Any  # a whole answer
    streamed: bytes
    parameters: tuple[str, ...] = ()


_CHAT_ASKED = {
    "an answer": {"model": "gpt-4o-mini", "messages": _ASKED},
    "a stream": {
        "model": "groq/llama-3.3-70b-versatile",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Be brief."}, *_ASKED],
    },
    "tools": {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                },
            }
        ],
    },
}
_MESSAGES_ASKED = {
    "an answer": {"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": _ASKED},
    "a stream": {"model": "gpt-4o-mini", "max_tokens": 500, "stream": True, "system": "Be brief.", "messages": _ASKED},
}
_COMPLETION_ASKED = {
    "an answer": {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", "max_tokens": 16},
    "a stream": {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", "stream": True},
}


def _chat(root: str) -> _Call:
    wire: ChatProtocol
    answer: type[Struct]
    id, wire, dialect, answer, event = "createChatCompletion", OpenAIChat(), _OPENAI, shapes.ChatCompletion, "ChatEvent"
    if root != "/v1":
        id, wire, dialect = "openrouterCreateChatCompletion", OpenRouterChat(), _OPENROUTER
        answer, event = shapes.OpenRouterChatCompletion, "OpenRouterChatEvent"
    return _Call(
        id, wire, dialect, shapes.ChatRequest, answer, event, "A chat completion", _CHAT_ASKED,
        msgspec.json.decode(wire.encode_response(_SAID)), _failing(wire, _streamed(wire, _SAID)), ("OpenAI-Beta",),
    )  # fmt: skip


def _completions(root: str) -> _Call:
    wire: Wire
    answer: type[Struct]
    id, wire, dialect, answer, event = (
        "createCompletion", OpenAICompletions(), _OPENAI, shapes.Completion, "CompletionEvent",
    )  # fmt: skip
    if root != "/v1":
        id, wire, dialect = "openrouterCreateCompletion", OpenRouterCompletions(), _OPENROUTER
        answer, event = shapes.OpenRouterCompletion, "OpenRouterCompletionEvent"
    chunk = {name: value for name, value in _COMPLETION.items() if name != "usage"}
    streamed = sse.event(msgspec.json.encode(chunk)) + sse.event(_DONE.encode())
    return _Call(
        id, wire, dialect, shapes.CompletionRequest, answer, event, "A completion of the older kind",
        _COMPLETION_ASKED, msgspec.json.decode(wire.dress(msgspec.json.encode(_COMPLETION))), _failing(wire, streamed),
        ("OpenAI-Beta",),
    )  # fmt: skip


def _messages(root: str) -> _Call:
    wire = AnthropicMessages()
    return _Call(
        "createMessage" if root == "/v1" else "openrouterCreateMessage", wire, _ANTHROPIC, shapes.MessagesRequest,
        shapes.Message, "MessageEvent", "A message", _MESSAGES_ASKED,
        msgspec.json.decode(wire.encode_response(_SAID_BY_CLAUDE)), _failing(wire, _streamed(wire, _SAID_BY_CLAUDE)),
        ("Anthropic-Version", "Anthropic-Beta"),
    )  # fmt: skip


def _called(call: _Call, tag: str) -> Schema:
    headers = [
        "X-Request-Id", "X-Generation-Id", "X-Fairlead-Upstream-Request-Id", "X-Fairlead-Dropped",
        "Cache-Control.of-streams",
    ]  # fmt: skip
    if call.dialect is _ANTHROPIC:
        headers.append("Request-Id")
    content = {
        "application/json": {"schema": _ref(call.answer), "examples": {"an answer": {"value": call.told}}},
        **_stream(call.event, call.streamed),
    }
    asked = {name: {"value": value} for name, value in call.asked.items()}
    description = (
        inspect.cleandoc(call.request.__doc__ or "").replace("\n", " ")
        + "\n\nThe answer is one JSON object, or with `stream` a stream of server-sent events, of which the schema"
        " describes one."
    )
    answers = _answers("call", call.dialect, {200: _told("What the model answers.", content, headers)})
    return _operation(
        call.id,
        tag,
        call.summary,
        description,
        answers,
        security=_KEYS,
        parameters=_parameters("X-Request-Id", *call.parameters),
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": _ref(call.request), "examples": asked}},
        },
    )


_MODEL = {"id": "gpt-4o-mini", "object": "model", "created": _CREATED, "owned_by": "openai"}
_MODEL_OF_ANTHROPIC = {
    "type": "model", "id": "gpt-4o-mini", "display_name": "gpt-4o-mini", "created_at": "2026-11-21T00:00:00Z",
}  # fmt: skip
_MODELS_OF_ANTHROPIC = {
    "data": [_MODEL_OF_ANTHROPIC], "has_more": False, "first_id": "gpt-4o-mini", "last_id": "gpt-4o-mini",
}  # fmt: skip
_MOMENT: Schema = {
    "type": "string",
    "anyOf": [{"format": "date"}, {"format": "date-time"}, {"pattern": r"^[0-9]{1,11}(\.[0-9]{1,9})?$"}],
}
_GROUPS: Schema = {"type": "array", "items": {"enum": ["model", "provider", "key", "day"]}}
_SUMS = {
    "calls": 3, "attempts": 4, "failed": 1, "estimated": 0, "input_tokens": 30, "output_tokens": 6,
    "cached_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
    "input_audio_tokens": 0, "output_audio_tokens": 0, "input_image_tokens": 0, "output_image_tokens": 0,
    "cost_nano_usd": None, "unpriced": 4,
}  # fmt: skip
_USED = {
    "object": "list",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-11-21T09:30:00Z",
    "group_by": ["model"],
    "data": [{"model": "gpt-4o-mini", **_SUMS}],
    "has_more": False,
    "next_page": None,
}
_ID = "gen-019aa5c1f00011223344556677889900"
_GENERATED = {
    **{name: None for name in shapes.GenerationFields.__struct_encode_fields__},
    "id": _ID, "request_id": _ID, "upstream_id": "chatcmpl-D0xUy3", "created_at": "2026-11-21T09:30:00+00:00",
    "model": "gpt-4o-mini", "provider_name": "openai", "streamed": False, "cancelled": False, "latency": 412.5,
    "generation_time": 230.0, "finish_reason": "stop", "native_finish_reason": "stop", "tokens_prompt": 10,
    "tokens_completion": 2, "native_tokens_prompt": 10, "native_tokens_completion": 2, "total_cost": 0.0, "usage": 0.0,
    "is_byok": False, "api_type": "completions", "origin": "", "data_region": "global",
    "provider_responses": [
        {
            "id": "chatcmpl-D0xUy3", "endpoint_id": "openai/gpt-4o-mini", "model_permaslug": "gpt-4o-mini-2024-07-18",
            "is_byok": False, "latency": 412.5, "status": 200,
        }
    ],
}  # fmt: skip


_KEPT = ("X-Request-Id", "Cache-Control")  # the headers of what says whether it may be kept
_UNAVAILABLE = ("X-Request-Id", "Cache-Control.if-it-is-no-error", "X-Should-Retry.if-it-is-an-error", "Retry-After")


def _paths() -> dict[str, Schema]:
    return {
        **_calls("/v1"), **_reading("/v1"),
        **_calls("/api/v1"), **_reading("/api/v1"),
        **_process(), **_documentation(),
    }  # fmt: skip


def _calls(root: str) -> dict[str, Schema]:
    tag = "Calls" if root == "/v1" else "OpenRouter"
    made = {"/chat/completions": _chat, "/messages": _messages, "/completions": _completions}
    return {root + path: {"post": _called(make(root), tag)} for path, make in made.items()}


def _reading(root: str) -> dict[str, Schema]:
    """What needs a key, and no model."""
    ours = root == "/v1"
    dialect = _OPENAI if ours else _OPENROUTER

    def read(id: str, tag: str, summary: str, description: str, well: Schema, *asked: Schema, more: int = 0) -> Schema:
        answers = _answers("read", dialect, {200: well}, *([more] if more else []))
        if not ours:
            id, tag = f"openrouter{id[:1].upper()}{id[1:]}", "OpenRouter"
        given = [*_parameters("X-Request-Id"), *asked]
        return {"get": _operation(id, tag, summary, description, answers, security=_KEYS, parameters=given)}

    models = _json(
        {"anyOf": [_ref(shapes.ModelList), _ref(shapes.AnthropicModelList)]},
        as_OpenAI_tells_it={"object": "list", "data": [_MODEL]},
        as_Anthropic_tells_it=_MODELS_OF_ANTHROPIC,
    )
    model = _json(
        {"anyOf": [_ref(shapes.Model), _ref(shapes.AnthropicModel)]},
        as_OpenAI_tells_it=_MODEL,
        as_Anthropic_tells_it=_MODEL_OF_ANTHROPIC,
    )
    named = {**_STRING, "minLength": 1}
    return {
        f"{root}/models": read(
            "listModels",
            "Models",
            "All models",
            "What this key can ask for by name.",
            _told("The models.", models),
            *_parameters("Shape"),
        ),
        f"{root}/models/{{id}}": read(
            "getModel",
            "Models",
            "One model",
            "Its name may have slashes, as they are or as `%2F`.",
            _told("The model.", model),
            _parameter("path", "id", "Its name.", named, required=True, example="gpt-4o-mini"),
            *_parameters("Shape"),
            more=404,
        ),
        f"{root}/usage": read(
            "getUsage",
            "Usage",
            "What was used",
            "Sums over the attempts that began in a span of time. A key sees its own; with the scope `usage:read` or"
            " `admin:*` it sees everybody's. There are no other parameters than these.",
            _told("The sums.", _json(_ref(shapes.UsageList), by_model=_USED), _KEPT),
            *_USAGE_PARAMETERS,
        ),
        f"{root}/generation": read(
            "getGeneration",
            "Usage",
            "One call",
            "What is known of a call, in OpenRouter's shape.",
            _told("The call.", _json(_ref(shapes.Generation), a_call={"data": _GENERATED}), _KEPT),
            _parameter("query", "id", "The `X-Generation-Id` of its answer.", named, required=True, example=_ID),
            more=404,
        ),
    }


_USAGE_PARAMETERS = (
    _parameter(
        "query", "from", "Date, date-time or epoch seconds; without it 30 days before `to`.", _MOMENT,
        example="2026-11-01",
    ),
    _parameter("query", "to", "The same, not before `from`; without it now.", _MOMENT),
    _parameter(
        "query", "group_by", "What is summed up apart. It may be given several times, too.", _GROUPS,
        style="form", explode=False, example=["model"],
    ),
    _parameter("query", "key", "The id of a key, or `own`.", _STRING),
    _parameter("query", "model", "As its provider calls it.", _STRING),
    _parameter("query", "provider", "Whose.", _STRING),
    _parameter(
        "query", "limit", "How many groups a page has.",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    ),
    _parameter(
        "query", "page", "The `next_page` of the answer before; what is said beside it must be the same.", _STRING,
    ),
)  # fmt: skip


def _open(
    id: str, tag: str, summary: str, description: str, well: Mapping[int, Schema], *more: int, without: int = 0,
    **facts: Any,
) -> Schema:  # fmt: skip
    answers = _answers("open", _OPENAI, well, *more, without=without)
    return {"get": _operation(id, tag, summary, description, answers, **{"security": [], **facts})}


def _process() -> dict[str, Schema]:
    errors = (shapes.OpenAIError, shapes.AnthropicError)
    details = {
        "status": "ok",
        "version": __version__,
        "uptime_seconds": 86400.5,
        "components": {"database": {"status": "ok", "detail": ""}},
    }
    hello = _json(_ref(shapes.Hello), hello={"name": "fairlead", "version": __version__})
    ready = _json(_ref(shapes.Readiness), ready={"status": "ok"})
    unready = _json(_any(shapes.Readiness, *errors), going_away={"status": "draining"})
    health = _json(_ref(shapes.HealthReport), without_a_key={"status": "ok"}, with_a_key=details)
    down = _json(_any(shapes.HealthReport, *errors), without_a_key={"status": "down"})
    return {
        "/": _open(
            "hello",
            "Process",
            "Who is here",
            "Some clients ask for this before their first call.",
            {200: _told("Fairlead.", hello)},
        ),
        "/livez": _open(
            "getLiveness",
            "Process",
            "Whether it lives",
            "The loop turns. Answered over plain HTTP, too.",
            {200: _told("It does.", _json(_ref(shapes.Liveness), alive={"status": "ok"}), _KEPT)},
            without=403,
        ),
        "/readyz": _open(
            "getReadiness",
            "Process",
            "Whether it can serve",
            "No while it starts, and as soon as it is told to stop. Answered over plain HTTP, too.",
            {200: _told("It can.", ready, _KEPT), 503: _told("It cannot.", unready, _UNAVAILABLE)},
            without=403,
        ),
        "/health": _open(
            "getHealth",
            "Process",
            "How its parts fare",
            "Found by probes in the background. Details need a key, of any scope.",
            {200: _told("It serves.", health, _KEPT), 503: _told("It does not.", down, _UNAVAILABLE)},
            security=[{}, *_KEYS],
        ),
    }


def _documentation() -> dict[str, Schema]:
    headers = (*_KEPT, "ETag")
    known = {304: _told("You have it: `If-None-Match` names it.", {}, headers)}
    itself = {"type": "object", "required": ["openapi", "info", "paths"]}
    example = {"openapi": "3.1.0", "info": {"title": "Fairlead", "version": __version__}, "paths": {}}
    page = {"text/html": {"schema": _STRING, "examples": {"the page": {"value": "<!doctype html>…"}}}}
    kinds = dict.fromkeys(kind.partition(";")[0] for kind in FILES.values())
    file = {kind: {"schema": _STRING, "examples": {"a file": {"value": "…"}}} for kind in kinds}
    return {
        "/openapi.json": _open(
            "getOpenAPI",
            "Documentation",
            "This document",
            "It is the same for everybody, and changes with the version only.",
            {200: _told("The document.", _json(itself, this=example), headers), **known},
            parameters=_parameters("If-None-Match"),
        ),
        "/docs": _open(
            "getDocumentation",
            "Documentation",
            "This document, to be read",
            "A page that needs nothing from elsewhere.",
            {200: _told("The page.", page, (*headers, "Content-Security-Policy")), **known},
            parameters=_parameters("If-None-Match"),
        ),
        "/docs/{version}/{file}": _open(
            "getDocumentationFile",
            "Documentation",
            "What the page is made of",
            "A file that never changes: another version is at another path.",
            {200: _told("The file.", file, headers), **known},
            404,
            parameters=[
                *_parameters("If-None-Match"),
                _parameter("path", "version", "As the page says.", _STRING, required=True),
                _parameter("path", "file", "Its name.", {"enum": list(FILES)}, required=True),
            ],
        ),
    }
