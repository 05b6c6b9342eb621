"""Requests for Gemini's `generateContent`, as clients send them: their JSON → our words. What is asked of providers:
`gemini_asking`.

https://ai.google.dev/api/generate-content. The model and whether it streams stand in the address.
"""

from collections import deque
from collections.abc import Iterator
from functools import lru_cache

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from fairlead.errors import InvalidRequest
from fairlead.protocols.codecs.gemini_parts import (
    IN_RESPONSE,
    NAME,
    FunctionResponse,
    PlainPart,
    WirePart,
    media_of,
    part_of,
    plain_part_of,
    result_of,
)
from fairlead.protocols.codecs.gemini_schema import json_schema
from fairlead.protocols.envelope import NULL, given, join, typed


class _Content(Struct):
    role: str | None = None
    parts: list[Raw] | None = None


class _Declaration(Struct, rename="camel"):
    name: str
    description: str | None = None
    parameters: Raw = NULL
    parameters_json_schema: Raw = NULL


class _Tool(Struct, rename="camel"):
    function_declarations: list[_Declaration] | None = None


class _Calling(Struct, rename="camel"):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class _ToolConfig(Struct, rename="camel"):
    function_calling_config: _Calling | None = None


class _Thinking(Struct, rename="camel"):
    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool | None = None


class _Generation(Struct, rename="camel"):
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_sequences: list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_mime_type: str | None = None
    response_schema: Raw = NULL
    response_json_schema: Raw = NULL
    thinking_config: _Thinking | None = None


_content = msgspec.json.Decoder(_Content)
_contents = msgspec.json.Decoder(list[_Content])
_part = msgspec.json.Decoder(WirePart)
_plain_part = msgspec.json.Decoder(PlainPart)
_tools: "msgspec.json.Decoder[list[Raw]]" = msgspec.json.Decoder(list[Raw])
_tool = msgspec.json.Decoder(_Tool)
_declarations = msgspec.json.Decoder(list[dict[str, Raw]])
_DECLARED = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_TOOLS_KEPT, _LARGEST_KEPT = 64, 16384  # requests' tools, and bytes of those of one
_tool_config = msgspec.json.Decoder(_ToolConfig)
_generation = msgspec.json.Decoder(_Generation)
_fields = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)

GENERATION = "generationConfig."  # before the names of its fields that only this format knows, among `Request.extra`
_UNDERSTOOD = frozenset({
    "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier",
    "model", "stream",  # of the address, where a caller has put them into the body
})  # fmt: skip
_ROLES = frozenset({None, "", "user", "function", "tool", "model"})
# https://ai.google.dev/gemini-api/docs/priority-inference
_LIMITING = ("ANY", "VALIDATED")  # modes in which some functions may be allowed and others not
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}


def decode(told: dict[str, Raw], *, model: str, stream: bool) -> Request:
    """`told` is the body's top level, in its usual spelling. Raises InvalidRequest with `param` as a path."""
    generation = _object(told, "generationConfig")
    config = typed(told["generationConfig"], _generation, "generationConfig") if generation else _Generation()
    shape, shape_extra = _format(config, generation)
    tools = _tools_of(told.get("tools", NULL))
    choice, choice_extra = _choice(told.get("toolConfig", NULL))
    if choice is not None and choice.strict:
        tools = tuple(msgspec.structs.replace(tool, strict=True) if isinstance(tool, Tool) else tool for tool in tools)
    if choice is not None and choice.allowed:
        tools = tuple(tool for tool in tools if not isinstance(tool, Tool) or tool.name in choice.allowed)
        if not any(isinstance(tool, Tool) for tool in tools):
            place = "toolConfig.functionCallingConfig.allowedFunctionNames"
            raise InvalidRequest(f"'{place}' has none of the functions in 'tools'.", param=place)
    messages = (*_system(told.get("systemInstruction", NULL)), *_Turns().messages(told.get("contents", NULL)))
    # So many names at once would make a dict: the first are given by their place.
    return Request(
        model, messages, tools, choice.words if choice is not None else None, None, config.max_output_tokens,
        config.temperature, config.top_p, config.top_k, config.frequency_penalty, config.presence_penalty, config.seed,
        stop=tuple(config.stop_sequences or ()),
        stream=stream,
        include_usage=True,
        response_format=shape,
        thinking=_thinking(config.thinking_config),
        service_tier=_tier(told.get("serviceTier", NULL)),
        extra={
            **_extra(told, _UNDERSTOOD, ""),
            **_extra(generation, _GENERATION_UNDERSTOOD, GENERATION),
            **shape_extra,
            **choice_extra,
        },
    )  # fmt: skip


_GENERATION_UNDERSTOOD = frozenset(
    "maxOutputTokens temperature topP topK seed stopSequences presencePenalty frequencyPenalty responseMimeType"
    " responseSchema responseJsonSchema _responseJsonSchema thinkingConfig".split()
)


def _object(fields: dict[str, Raw], name: str) -> dict[str, Raw]:
    raw = fields.get(name, NULL)
    return {} if given(raw) is None else typed(raw, _fields, name)


def _extra(fields: dict[str, Raw], understood: frozenset[str], before: str) -> dict[str, Opaque]:
    if understood.issuperset(fields):  # as most are
        return {}
    kept = {name: raw for name, raw in fields.items() if name not in understood and given(raw) is not None}
    if before and bytes(kept.get("candidateCount", NULL)) == b"1":
        del kept["candidateCount"]  # as if it had not been told
    return {before + name: Opaque(NAME, raw) for name, raw in kept.items()}


# ---- contents


def _system(raw: Raw) -> Iterator[Message]:
    if given(raw) is None:
        return
    if bytes(memoryview(raw)[:1]) == b'"':  # some clients write a mere text, and are understood
        yield Message("system", (Text(typed(raw, _text, "systemInstruction")),))
        return
    content: _Content = typed(raw, _content, "systemInstruction")
    parts = tuple(_Turns().parts(content, "systemInstruction"))
    if parts:
        yield Message("system", parts)


class _Turns:
    """Contents as messages. Results find the calls that they answer by their ids, else by name and order."""

    def __init__(self) -> None:
        self._calls = 0
        self._open: dict[str, deque[str]] = {}  # ids of calls in their order, by the function's name
        self._answered: set[str] = set()

    def messages(self, raw: Raw) -> Iterator[Message]:
        """Results stand in messages of their own in our words, before what the user says with them."""
        if given(raw) is None:
            raise InvalidRequest("'contents' is missing: it must be a non-empty array.", param="contents")
        contents: list[_Content] = typed(raw, _contents, "contents")
        if not contents:
            raise InvalidRequest("'contents' is empty: it must have at least one content.", param="contents")
        said: list[Part] = []  # by the model: clients keep the chunks of a stream as contents of their own
        for index, content in enumerate(contents):
            place = f"contents[{index}]"
            if content.role not in _ROLES:
                told = f"'{place}.role' must be user or model, not {str(content.role)[:40]!r}."
                raise InvalidRequest(told, param=f"{place}.role")
            if not content.parts and content.role != "model":
                told = f"'{place}.parts' is empty: it must have at least one part."
                raise InvalidRequest(told, param=f"{place}.parts")
            if content.role == "model":
                said += self.parts(content, place)
                continue
            if said:
                yield Message("assistant", _joined(said))
                said = []
            others = tuple(self.parts(content, place))
            results = tuple([part for part in others if isinstance(part, ToolResult)])
            if results:
                others = tuple([part for part in others if not isinstance(part, ToolResult)])
                yield Message("tool", results)
            if others or not results:
                yield Message("user", others)
        if said:
            yield Message("assistant", _joined(said))

    def parts(self, content: _Content, place: str) -> Iterator[Part]:
        for index, raw in enumerate(content.parts or ()):
            told: Part | None = None
            try:
                part: WirePart = _plain_part.decode(raw)
            except (msgspec.DecodeError, RecursionError):  # something stands beside it, or is wrong
                part = typed(raw, _part, f"{place}.parts[{index}]")
            if part.function_response is not None:
                yield self._result(part.function_response, f"{place}.parts[{index}].functionResponse")
                continue
            if isinstance(part, PlainPart):
                told = plain_part_of(part, self._new_id)
            if told is None:
                told = part_of(part, raw, self._new_id())
            if isinstance(told, ToolUse):
                if not told.name:
                    at = f"{place}.parts[{index}].functionCall.name"
                    raise InvalidRequest(f"'{at}' is missing.", param=at)
                self._calls += 1
                self._open.setdefault(told.name, deque()).append(told.id)
            yield told

    def _new_id(self) -> str:
        return f"call_{self._calls:024x}"

    def _result(self, told: FunctionResponse, place: str) -> ToolResult:
        name = told.name or ""
        waiting = self._open.get(name, deque())
        while waiting and waiting[0] in self._answered:
            waiting.popleft()
        id = told.id or (waiting[0] if waiting else name)
        self._answered.add(id)
        if not id:
            place += ".name"
            raise InvalidRequest(f"'{place}' is missing: it names the function.", param=place)
        return result_of(told, list(self._media(told.parts, place)) if told.parts else [], id)

    def _media(self, parts: list[Raw], place: str) -> Iterator[Media]:
        for index, raw in enumerate(parts):
            part: WirePart = typed(raw, _part, f"{place}.parts[{index}]")
            blob = part.inline_data or part.file_data
            media = media_of(blob, IN_RESPONSE) if blob is not None else None
            if media is not None:
                yield media


def _joined(said: list[Part]) -> tuple[Part, ...]:
    """Pieces of one text are one part again, and so are those of a thought; what is signed stays by itself."""
    if len(said) < 2:
        return tuple(said)
    parts: list[Part] = []
    pieces: list[str] = []  # of the last of them
    for part in said:
        last = parts[-1] if parts else None
        if isinstance(last, Text) and isinstance(part, Text) and last.extra is None and part.extra is None:
            pieces.append(part.text)
        elif isinstance(last, Reasoning) and isinstance(part, Reasoning) and last.protocol is None and _goes_on(part):
            pieces.append(part.text)
            parts[-1] = part  # the one that is signed tells the rest
        else:
            _set_text(parts, pieces)
            parts.append(part)
            pieces = [part.text] if isinstance(part, Text | Reasoning) else []
    _set_text(parts, pieces)
    return tuple(parts)


def _goes_on(part: Reasoning) -> bool:
    """Whether it is a piece of a thought, or the signature of another format that ends one."""
    return part.protocol is None or (part.protocol != NAME and not part.text and part.encrypted is None)


def _set_text(parts: list[Part], pieces: list[str]) -> None:
    if len(pieces) > 1:
        parts[-1] = msgspec.structs.replace(parts[-1], text="".join(pieces))


# ---- tools


def _tools_of(raw: Raw) -> tuple[Tool | Opaque, ...]:
    """Functions, and what only this format knows beside them. Clients send the same tools in each request."""
    if raw == NULL:
        return ()
    return _read_again(bytes(raw)) if len(raw) <= _LARGEST_KEPT else _read(raw)


def _read(raw: bytes | Raw) -> tuple[Tool | Opaque, ...]:
    return tuple(_decoded_tools(raw))


_read_again = lru_cache(_TOOLS_KEPT)(_read)


def _decoded_tools(raw: bytes | Raw) -> Iterator[Tool | Opaque]:
    items: list[Raw] = typed(raw, _tools, "tools")
    for index, each in enumerate(items):
        place = f"tools[{index}]"
        tool: _Tool = typed(each, _tool, place)
        others = typed(each, _fields, place)
        items_of = _declared(others.pop("functionDeclarations", NULL))
        for number, declared in enumerate(tool.function_declarations or ()):
            at = f"{place}.functionDeclarations[{number}]"
            schema = given(declared.parameters_json_schema) or json_schema(declared.parameters, f"{at}.parameters")
            yield Tool(declared.name, declared.description, schema, extra=_more(items_of[number]))
        if others:
            yield Opaque(NAME, Raw(join(others)))


def _declared(raw: Raw) -> list[dict[str, Raw]]:
    """Declarations by their fields; that they are what they should be is known."""
    return [] if given(raw) is None else _declarations.decode(raw)


def _more(fields: dict[str, Raw]) -> Opaque | None:
    """What else a declaration says: of what it gives back, and when."""
    rest = {name: raw for name, raw in fields.items() if name not in _DECLARED and given(raw) is not None}
    return Opaque(NAME, Raw(join(rest))) if rest else None


class _Choice(Struct):
    words: ToolChoice
    strict: bool = False
    allowed: frozenset[str] = frozenset()  # functions; none: all of them


def _choice(raw: Raw) -> tuple[_Choice | None, dict[str, Opaque]]:
    """The choice, and the whole configuration where it says more than a choice can."""
    if given(raw) is None:
        return None, {}
    config: _ToolConfig = typed(raw, _tool_config, "toolConfig")
    calling = config.function_calling_config or _Calling()
    names = calling.allowed_function_names or []
    mode = (calling.mode or "").upper()
    rest = typed(raw, _fields, "toolConfig")
    inner = rest.pop("functionCallingConfig", NULL)
    more = bool(rest) or (names and mode not in _LIMITING) or _has_more(inner)
    allowed = frozenset(names)
    extra = {"toolConfig": Opaque(NAME, raw)} if more else {}
    match mode:
        case "AUTO":
            return _Choice(ToolChoice("auto")), extra
        case "VALIDATED":
            return _Choice(ToolChoice("auto"), strict=True, allowed=allowed), extra
        case "NONE":
            return _Choice(ToolChoice("none")), extra
        case "ANY" if len(names) == 1:
            return _Choice(ToolChoice("named", names[0])), extra
        case "ANY":
            return _Choice(ToolChoice("required"), allowed=allowed), extra
        case "" | "MODE_UNSPECIFIED":
            return None, extra
    place = "toolConfig.functionCallingConfig.mode"
    raise InvalidRequest(f"'{place}' must be AUTO, ANY, NONE or VALIDATED, not {mode[:40]!r}.", param=place)


def _has_more(raw: Raw) -> bool:
    return given(raw) is not None and not _fields.decode(raw).keys() <= {"mode", "allowedFunctionNames"}


# ---- settings


def _format(config: _Generation, fields: dict[str, Raw]) -> tuple[ResponseFormat | None, dict[str, Opaque]]:
    mime = (config.response_mime_type or "").lower()
    plain = given(config.response_json_schema) or given(fields.get("_responseJsonSchema", NULL))
    schema = plain or json_schema(config.response_schema, "generationConfig.responseSchema")
    if mime == "application/json" or (schema is not None and not mime):
        if schema is None:
            return ResponseFormat("json_object"), {}
        return ResponseFormat("json_schema", schema=schema), {}
    names = ("responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema")
    if mime in ("", "text/plain"):
        return None, {}
    return None, {GENERATION + name: Opaque(NAME, fields[name]) for name in names if name in fields}


def _thinking(told: _Thinking | None) -> Thinking | None:
    """A budget of 0 is none at all, -1 is the model's own choice. https://ai.google.dev/gemini-api/docs/thinking"""
    if told is None:
        return None
    effort = told.thinking_level.lower() if told.thinking_level else None
    effort = None if effort == "thinking_level_unspecified" else effort
    budget = told.thinking_budget
    summary = None if told.include_thoughts is None else "auto" if told.include_thoughts else "none"
    if budget is None:
        return Thinking(effort=effort, summary=summary) if effort is not None or told.include_thoughts else None
    if budget == 0:
        return Thinking(enabled=False)
    if budget < 0:
        return Thinking(effort=effort, adaptive=True, summary=summary)
    return Thinking(effort=effort, budget_tokens=budget, summary=summary)


def _tier(raw: Raw) -> str | None:
    if given(raw) is None:
        return None
    told = typed(raw, _text, "serviceTier").lower().removeprefix("service_tier_")
    return _TIERS.get(told, told)
