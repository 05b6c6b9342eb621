"""Google's Gemini. Names may be spelt in either way that protobuf's JSON has; names that it does not have are refused.

https://ai.google.dev/api/generate-content https://ai.google.dev/api/tokens https://ai.google.dev/api/models
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw, structs

from fairlead.chat import (
    Event,
    Finish,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
)
from fairlead.errors import InvalidRequest
from fairlead.protocols import sse
from fairlead.providers.simulator.dialects import (
    HERE,
    Dialect,
    Fields,
    Headers,
    Place,
    encode,
    fields_of,
    objects,
    take,
)
from fairlead.providers.simulator.framing import Array, Framing, ServerSentEvents
from fairlead.providers.simulator.models import Wire

_NAME: Wire = "gemini"
_ASKED = frozenset(
    "model contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent labels"
    " serviceTier store modelArmorConfig".split()
)
_SETTINGS = frozenset(
    "stopSequences responseMimeType responseSchema responseJsonSchema responseModalities candidateCount"
    " maxOutputTokens temperature topP topK seed presencePenalty frequencyPenalty responseLogprobs logprobs"
    " enableEnhancedCivicAnswers speechConfig thinkingConfig imageConfig mediaResolution audioTimestamp"
    " routingConfig modelSelectionConfig responseFormat".split()
)
_PARTS = frozenset(
    "text thought thoughtSignature inlineData fileData functionCall functionResponse executableCode"
    " codeExecutionResult toolCall toolResponse videoMetadata mediaResolution partMetadata".split()
)
# What a part may be, besides what is read of it.
_ALONE = frozenset("executableCode codeExecutionResult toolCall toolResponse thoughtSignature videoMetadata".split())
_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_REASONS = {"length": "MAX_TOKENS", "refusal": "SAFETY", "content_filter": "SAFETY"}
# What stands where a call has no signature of its own. https://ai.google.dev/gemini-api/docs/thought-signatures
_DUMMIES = ("context_engineering_is_the_way_to_go", "skip_thought_signature_validator")
_RATINGS = [
    {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True},
    {"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"},
]
_ARRAY = Array()


class Gemini(Dialect):
    """`POST /models/{model}:generateContent`, `:streamGenerateContent` and `:countTokens`."""

    name = _NAME
    framing = ServerSentEvents(b"text/event-stream")
    media_type = b"application/json; charset=UTF-8"
    usage_fields = frozenset({"usageMetadata"})
    text_marks = (b'"parts":[{"text":"',)
    broken_event = b'data: {"candidates": [{"content": {"parts": [{"text": \n\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = _known(fields_of(body), _ASKED, "")
        if place.counts:
            inner = take(fields_of(body), "generateContentRequest", dict)
            fields = _known(inner, _ASKED, "") if inner else fields
        settings = _known(take(fields, "generationConfig", dict) or {}, _SETTINGS, "generation_config")
        thinking = _camel(take(settings, "thinkingConfig", dict, "generation_config") or {})
        choice, named = _choice(fields)
        tools = [tool for tool in _tools(fields) if not named or not isinstance(tool, Tool) or tool.name in named]
        budget, level = take(thinking, "thinkingBudget", int), take(thinking, "thinkingLevel", str)
        wanted = {"thoughts": bool(thinking.get("includeThoughts")), "array": place.array}
        return Request(
            model=place.model or "",
            messages=tuple(_messages(fields)),
            tools=tuple(tools),
            tool_choice=choice,
            max_tokens=take(settings, "maxOutputTokens", int, "generation_config"),
            temperature=take(settings, "temperature", float, "generation_config"),
            stop=tuple(take(settings, "stopSequences", list, "generation_config") or ()),
            stream=bool(place.stream),
            response_format=_format(settings),
            thinking=Thinking(enabled=budget != 0, effort=level, budget_tokens=budget) if thinking else None,
            extra={"wanted": Opaque(_NAME, Raw(encode(wanted)))},
        )

    def encode(self, response: Response, request: Request) -> bytes:
        wanted = _wanted(request)
        parts = [told for part, signature in _signed(response.parts) for told in _told(part, signature, wanted)]
        return encode(_answer(response, [] if response.finish_reason == "refusal" else parts, response.usage))

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        return _Encoder(request, response)

    def framed(self, request: Request) -> Framing:
        return _ARRAY if _wanted(request)["array"] else self.framing

    def counted(self, usage: Usage) -> bytes:
        details = [{"modality": "TEXT", "tokenCount": usage.input_tokens}]
        return encode({"totalTokens": usage.input_tokens, "promptTokensDetails": details})

    def headers(self, response: Response, request: Request) -> Headers:
        return ((b"x-gemini-service-tier", b"standard"),)

    def refusal(self, status: int) -> int:
        return 400 if status == 401 else 404 if status == 405 else status

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        told: Fields = {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}
        if "API key" in message:
            reason = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            told["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **reason}]
        elif status == 429:
            told["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]
        elif status == 400 and param:
            violations = [{"field": param, "description": message}]
            told["details"] = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}]
        return encode({"error": told})

    def error_event(self) -> bytes:
        return sse.event(self.error(503, "The model is overloaded. Please try again later."))

    def is_end(self, event: bytes) -> bool:
        return b'"finishReason":' in event

    def models(self, names: Iterable[str]) -> bytes:
        methods = ["generateContent", "countTokens"]
        facts = {"version": "001", "inputTokenLimit": 1_000_000, "outputTokenLimit": 65_536}
        rows = [
            {
                "name": f"models/{name}",
                "displayName": f"Simulator {name}",
                **facts,
                "supportedGenerationMethods": methods,
            }
            for name in names
        ]
        return encode({"models": rows})


def _wanted(request: Request) -> Fields:
    wanted: Fields = msgspec.json.decode(request.extra["wanted"].raw)
    return wanted


# ---- requests


def _camel(fields: Fields) -> Fields:
    return {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): value for name, value in fields.items()}


def _known(fields: Fields, names: frozenset[str], place: str) -> Fields:
    """`fields` by their usual names. Raises InvalidRequest for a name that is not among `names`."""
    spelt = _camel(fields)
    for name, usual in zip(fields, spelt, strict=True):
        if usual not in names and usual != "generateContentRequest":
            at = f" at '{place}'" if place else ""
            told = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
            raise InvalidRequest(told, param=place or name)
    return spelt


def _messages(fields: Fields) -> Iterator[Message]:
    cached = take(fields, "cachedContent", str)
    if cached:  # what it holds is not known here: its name stands for it
        yield Message("system", (Text(cached, cache=Raw(b'{"type":"ephemeral"}')),))
    system = take(fields, "systemInstruction", dict)
    if system is not None:
        yield Message("system", tuple(_parts(system, "system_instruction")))
    contents = objects(fields, "contents")
    if not contents:
        raise InvalidRequest("* GenerateContentRequest.contents: contents is not specified\n", param="contents")
    asked = 0
    for index, content in enumerate(contents):
        place = f"contents[{index}]"
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            raise InvalidRequest("Please use a valid role: user, model.", param=f"{place}.role")
        parts = tuple(_parts(content, place))
        answers = sum(isinstance(part, ToolResult) for part in parts)
        if answers and answers != asked:
            raise InvalidRequest(
                "Please ensure that the number of function response parts is equal to the number of function call"
                " parts of the function call turn."
            )
        called = sum(isinstance(part, ToolUse) for part in parts)
        asked = asked + called if role == "model" else 0  # several turns of the model are one
        yield Message("assistant" if role == "model" else "user", parts)


def _parts(content: Fields, place: str) -> Iterator[Part]:
    parts = objects(content, "parts", place)
    if not parts:
        raise InvalidRequest(f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty.\n")
    for index, part in enumerate(parts):
        at = f"{place}.parts[{index}]"
        yield _part(_known(part, _PARTS, at), at)


def _part(part: Fields, place: str) -> Part:
    signature = _signature(part, place)
    data = sorted({"text", "inlineData", "fileData", "functionCall", "functionResponse"} & part.keys())
    if len(data) > 1:
        told = f"oneof field 'data' is already set. Cannot set '{data[1]}'"
        raise InvalidRequest(f"Invalid value at '{place}' (oneof), {told}", param=place)
    match data:
        case ["text"]:
            text = take(part, "text", str, place) or ""
            return Reasoning(text, signature=signature, protocol=_NAME) if part.get("thought") else Text(text)
        case ["inlineData"]:
            blob = _known(part["inlineData"], frozenset({"mimeType", "data", "displayName"}), f"{place}.inline_data")
            return Media(_kind(blob), str(blob.get("mimeType")), data=_base64(blob.get("data"), place))
        case ["fileData"]:
            file = _known(part["fileData"], frozenset({"mimeType", "fileUri", "displayName"}), f"{place}.file_data")
            return Media(_kind(file), file.get("mimeType"), url=str(file.get("fileUri")))
        case ["functionCall"]:
            call = _known(part["functionCall"], frozenset({"id", "name", "args"}), f"{place}.function_call")
            arguments = encode(take(call, "args", dict, f"{place}.function_call") or {}).decode()
            return ToolUse(str(call.get("id") or ""), _name(call, place), arguments)
        case ["functionResponse"]:
            known = frozenset({"id", "name", "response", "parts", "willContinue", "scheduling"})
            result = _known(part["functionResponse"], known, f"{place}.function_response")
            given = take(result, "response", dict, f"{place}.function_response") or {}
            return ToolResult(_name(result, place), (Text(_result(given)),))
    if not part.keys() & _ALONE:
        raise InvalidRequest(
            f"* GenerateContentRequest.{place}.data: required oneof field 'data' must have one field\n"
        )
    return Opaque(_NAME, Raw(encode(part)))


def _name(fields: Fields, place: str) -> str:
    if not fields.get("name"):
        told = f"* GenerateContentRequest.{place}.function_response.name: Name cannot be empty.\n"
        raise InvalidRequest(told, param=place)
    return str(fields["name"])


def _result(given: Fields) -> str:
    """What a tool gave: by itself where it stands in the usual place."""
    alone = given.get("output", given.get("result")) if len(given) == 1 else None
    return alone if isinstance(alone, str) else encode(given).decode()


def _kind(blob: Fields) -> Any:
    kind = str(blob.get("mimeType", "")).partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "document"


def _base64(data: Any, place: str) -> str:
    """`data`, which must be base64, of either alphabet."""
    try:
        b64decode(str(data).replace("-", "+").replace("_", "/") + "==", validate=False)
    except ValueError:
        told = f"Invalid value at '{place}' (TYPE_BYTES), Base64 decoding failed for \"{str(data)[:40]}\""
        raise InvalidRequest(told, param=place) from None
    return str(data)


def _signature(part: Fields, place: str) -> str | None:
    told = take(part, "thoughtSignature", str, place)
    if told is None or told in _DUMMIES:
        return told
    plain = b64decode(_base64(told, place).replace("-", "+").replace("_", "/") + "==")
    if not plain.startswith(b"sim-") and plain.decode("latin-1") not in _DUMMIES:
        raise InvalidRequest("Corrupted thought signature.", param=place)
    return plain.decode("latin-1")


def _tools(fields: Fields) -> Iterator[Tool | Opaque]:
    told = fields.get("tools")
    groups = [told] if isinstance(told, dict) else objects(fields, "tools")  # Google takes one for a list of one
    for index, group in enumerate(groups):
        for name, value in _camel(group).items():
            if name != "functionDeclarations":
                yield Opaque(_NAME, Raw(encode({name: value})))
                continue
            for place, declared in enumerate(value):
                at = f"tools[{index}].function_declarations[{place}]"
                known = frozenset(
                    "name description parameters parametersJsonSchema response responseJsonSchema behavior".split()
                )
                one = _known(declared, known, at)
                if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", str(one.get("name", ""))):
                    raise InvalidRequest(f"* GenerateContentRequest.{at}.name: Invalid function name.\n", param=at)
                if "parameters" in one and "parametersJsonSchema" in one:
                    raise InvalidRequest("parameters and parameters_json_schema are mutually exclusive.", param=at)
                schema = one.get("parametersJsonSchema")
                schema = _plain(one["parameters"], at) if one.get("parameters") else schema
                yield Tool(one["name"], one.get("description"), None if schema is None else Raw(encode(schema)))


_SCHEMA = frozenset(
    "type format title description nullable enum maxItems minItems properties required minProperties maxProperties"
    " minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum ref defs"
    " additionalProperties $ref $defs".split()
)


def _plain(schema: Any, place: str) -> Any:
    """A `Schema` of Google's as a JSON schema. https://ai.google.dev/api/caching#Schema"""
    if not isinstance(schema, dict):
        return schema
    told = _known(schema, _SCHEMA, f"{place}.parameters")
    if isinstance(told.get("type"), str):
        told["type"] = told["type"].lower()
    for name in ("items", "additionalProperties"):
        if name in told:
            told[name] = _plain(told[name], place)
    if "properties" in told:
        told["properties"] = {name: _plain(inner, place) for name, inner in told["properties"].items()}
    if "anyOf" in told:
        told["anyOf"] = [_plain(inner, place) for inner in told["anyOf"]]
    for name in ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"):
        if isinstance(told.get(name), str):  # protobuf's way with numbers of 64 bits
            told[name] = int(told[name])
    return told


def _choice(fields: Fields) -> tuple[ToolChoice | None, list[str]]:
    """Whether tools are called, and which may be."""
    config = _camel(take(fields, "toolConfig", dict) or {})
    calling = _camel(take(config, "functionCallingConfig", dict, "tool_config") or {})
    named = take(calling, "allowedFunctionNames", list) or []
    match calling.get("mode"):
        case "ANY":
            return ToolChoice("required"), named
        case "NONE":
            return ToolChoice("none"), []
        case None | "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED":
            if named and calling.get("mode") != "VALIDATED":
                raise InvalidRequest("Allowed function names should be set only when the mode is ANY or VALIDATED.")
            return None, named
    raise InvalidRequest(f"Invalid value at 'tool_config.function_calling_config.mode': {calling.get('mode')}")


def _format(settings: Fields) -> ResponseFormat | None:
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    if settings.get("responseMimeType") != "application/json":
        if schema is not None:
            raise InvalidRequest("Response schema requires response_mime_type to be application/json.")
        return None
    if schema is None:
        return ResponseFormat("json_object")
    plain = schema if "responseJsonSchema" in settings else _plain(schema, "generation_config.response_schema")
    return ResponseFormat("json_schema", schema=Raw(encode(plain)))


# ---- answers


def _signed(parts: Iterable[Part]) -> Iterator[tuple[Part, str | None]]:
    """The parts, and the signatures on them: a thought's is on what comes after it; the first call has one."""
    pending: str | None = None
    called = False
    for part in parts:
        if isinstance(part, Reasoning):
            pending = part.signature
            yield part, None
            continue
        if isinstance(part, ToolUse) and not called:
            pending, called = pending or f"sim-{part.id}", True
        yield part, pending
        pending = None


def _told(part: Part, signature: str | None, wanted: Fields) -> Iterator[Fields]:
    sealed = {"thoughtSignature": b64encode(signature.encode()).decode()} if signature else {}
    match part:
        case Text(text=text):
            yield {"text": text, **sealed}
        case Reasoning(text=text) if wanted["thoughts"]:
            yield {"text": text, "thought": True}
        case ToolUse(name=name, arguments=arguments):
            yield {"functionCall": {"name": name, "args": msgspec.json.decode(arguments or "{}")}, **sealed}


def _answer(
    response: Response, parts: list[Fields], usage: Usage | None, *, ended: bool = True, thought: int = 0
) -> Fields:
    content: Fields = {"parts": parts, "role": "model"} if parts else {}
    candidate: Fields = {"content": content}
    if ended:
        candidate["finishReason"] = _REASONS.get(response.finish_reason or "", "STOP")
        if candidate["finishReason"] == "SAFETY":
            candidate["safetyRatings"] = _RATINGS
    candidate["index"] = 0
    told: Fields = {"candidates": [candidate]}
    if usage is not None:
        told["usageMetadata"] = _usage(usage, ended)
    return {**told, "modelVersion": response.model, "responseId": response.id}


def _usage(usage: Usage, ended: bool) -> Fields:
    thoughts = usage.reasoning_tokens
    told: Fields = {"promptTokenCount": usage.input_tokens}
    if ended:
        told["candidatesTokenCount"] = usage.output_tokens - thoughts
    told["totalTokenCount"] = usage.input_tokens + (usage.output_tokens if ended else 0)
    if usage.cached_tokens:
        told["cachedContentTokenCount"] = usage.cached_tokens
    told["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.input_tokens}]
    if ended and thoughts:
        told["thoughtsTokenCount"] = thoughts
    return told


class _Encoder:
    """Events → pieces of an answer; calls come whole, in one."""

    def __init__(self, request: Request, response: Response) -> None:
        self._wanted = _wanted(request)
        self._response = response
        self._refuses = response.finish_reason == "refusal"
        self._signatures = [signature for _, signature in _signed(response.parts)]
        self._part: Part = Text("")
        self._arguments: list[str] = []
        self._begun = False

    def __call__(self, event: Event) -> bytes:
        match event:
            case PartStart(part=part):
                self._part, self._arguments = part, []
            case PartDelta(text=text) if isinstance(self._part, ToolUse):
                self._arguments.append(text)
            case PartDelta(index=index, text=text) if text and not self._refuses:
                return self._said(structs.replace(self._part, text=text), self._take(index))
            case PartEnd(index=index) if isinstance(self._part, ToolUse):
                whole = structs.replace(self._part, arguments="".join(self._arguments))
                return self._said(whole, self._take(index))
            case Finish(usage=usage):
                last: list[Fields] = [] if self._refuses else [{"text": ""}]
                told = self._framed(_answer(self._response, last, usage))
                return told + b"]" if self._wanted["array"] else told
        return b""

    def _take(self, index: int) -> str | None:
        """The signature of part `index`, once."""
        if index >= len(self._signatures):
            return None
        signature, self._signatures[index] = self._signatures[index], None
        return signature

    def _said(self, part: Part, signature: str | None) -> bytes:
        parts = list(_told(part, signature, self._wanted))
        return self._framed(_answer(self._response, parts, self._response.usage, ended=False)) if parts else b""

    def _framed(self, told: Fields) -> bytes:
        if not self._wanted["array"]:
            return sse.event(encode(told))
        begin, self._begun = (b",\r\n" if self._begun else b"["), True
        return begin + encode(told)


GEMINI = Gemini()
