"""Requests for responses, as clients send them: their JSON → our words. What is asked of providers: `responses_asking`.

https://platform.openai.com/docs/api-reference/responses/create. State that a server would keep (an earlier response, a
conversation, an item by its id, work in the background) is nothing that another format's provider has: it is refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Part,
    Request,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from fairlead.errors import InvalidRequest
from fairlead.protocols.codecs import responses_carried as carried
from fairlead.protocols.codecs import responses_items as items
from fairlead.protocols.codecs.addresses import addressed, is_data
from fairlead.protocols.codecs.responses_carried import NAME
from fairlead.protocols.codecs.responses_items import CUSTOM, SEALED
from fairlead.protocols.envelope import NULL, given, typed


class _Message(Struct):
    role: str
    content: str | list[Raw] | None = None
    phase: str | None = None


class _Output(Struct):
    call_id: str | None = None
    output: str | list[Raw] | None = None


class _Audio(Struct):
    data: str
    format: str = "wav"


class _Part(Struct):
    """A content that is no text."""

    type: str
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _Audio | None = None
    prompt_cache_breakpoint: Raw = NULL


class _Tool(Struct):
    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None
    format: Raw = NULL


class _Grammar(Struct):
    """What the input of a custom tool looks like."""

    type: str | None = None
    syntax: str | None = None
    definition: str | None = None


class _Named(Struct):
    type: str | None = None
    name: str | None = None


class _Choice(Struct):
    type: str | None = None
    name: str | None = None
    mode: str | None = None
    tools: list[_Named] | None = None


class _Format(Struct):
    type: str
    name: str | None = None
    schema: Raw = NULL
    strict: bool | None = None
    description: str | None = None


class _ReasoningWish(Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None  # as it was called before


class _TextWish(Struct):
    format: _Format | None = None


class _Request(Struct):
    input: Raw = NULL
    model: str = ""
    instructions: str | None = None
    tools: list[Raw] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    text: _TextWish | None = None
    reasoning: _ReasoningWish | None = None
    user: str | None = None
    service_tier: str | None = None
    background: bool | None = None
    previous_response_id: Raw = NULL
    conversation: Raw = NULL


class _Words(items.Content):
    """A content, in the way that nearly all are."""

    role: str | None = None
    id: str | None = None


class _Plain(Struct):
    """An item of any kind, in the way that nearly all are. What does not fit is looked at by itself."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    content: str | list[_Words] | None = None
    phase: Raw = NULL
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: Raw = NULL
    output: str | list[_Words] | None = None
    namespace: Raw = NULL
    caller: Raw = NULL


_UNDERSTOOD = frozenset(field.name for field in msgspec.structs.fields(_Request))
# Objects of which we understand these fields: the others stay.
_PARTLY = {"text": frozenset({"format"}), "reasoning": frozenset({"effort", "summary", "generate_summary"})}
_WITHOUT_THOUGHT = {**_PARTLY, "reasoning": frozenset({"effort"})}  # a wish to be told thoughts is none to think
_KEPT = ("previous_response_id", "conversation")  # by a server
# Contents and items that we understand; whatever is wrong with another's fields is not ours to judge.
_CONTENTS = frozenset({"input_text", "output_text", "text", "refusal", "input_image", "input_file", "input_audio"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_TEXTS = frozenset({"input_text", "output_text", "text"})
_ROLES = frozenset({"system", "developer", "user", "assistant"})
_NO_LOGPROBS = (NULL, Raw(b"[]"))
_TOOLS_KEPT, _LARGEST_KEPT = 256, 4096  # tools, and bytes of one
_request = msgspec.json.Decoder(_Request)
_plains = msgspec.json.Decoder(list[_Plain])
_items = msgspec.json.Decoder(list[Raw])
_text = msgspec.json.Decoder(str)
_names = msgspec.json.Decoder(list[str])
_grammar: msgspec.json.Decoder[_Grammar | None] = msgspec.json.Decoder(_Grammar | None)
_fields = msgspec.json.Decoder(dict[str, Raw])
_message = msgspec.json.Decoder(_Message)
_output = msgspec.json.Decoder(_Output)
_part = msgspec.json.Decoder(_Part)
_tool = msgspec.json.Decoder(_Tool)
_encode = msgspec.json.encode


def decode(fields: dict[str, Raw], body: bytes) -> Request:
    """`fields` is the body's top level. Raises InvalidRequest with `param` as a path."""
    told: _Request = typed(body, _request, "")
    _refuse_state(told)
    tools, choice, only_ours = _tools(told)
    thinking = _thinking(told.reasoning)
    partly = _PARTLY if thinking is not None else _WITHOUT_THOUGHT
    extra = {name: Opaque(NAME, raw) for name, raw in _extra(fields, partly)}
    if only_ours:
        extra["tool_choice"] = Opaque(NAME, fields["tool_choice"])
    return Request(
        model=told.model,
        messages=(*_instructions(told.instructions), *_conversation(told.input, fields)),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=told.parallel_tool_calls,
        max_tokens=told.max_output_tokens,
        temperature=told.temperature,
        top_p=told.top_p,
        stream=bool(told.stream),
        include_usage=True,
        response_format=_format(told.text),
        thinking=thinking,
        user=told.user,
        service_tier=told.service_tier,
        extra=extra,
    )


def _refuse_state(told: _Request) -> None:
    for name in _KEPT:
        if given(getattr(told, name)) is not None:
            raise _unsupported(name, "send the whole conversation as 'input'")
    if told.background:
        raise _unsupported("background", "it answers at once")


def _unsupported(param: str, hint: str) -> InvalidRequest:
    told = f"'{param}' is not supported by this model's provider: {hint}."
    return InvalidRequest(told, param=param, code="unsupported_parameter")


def _extra(fields: dict[str, Raw], partly: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, Raw]]:
    """The fields that our words cannot tell, or what of them they cannot."""
    for name, raw in fields.items():
        if (name in _UNDERSTOOD and name not in partly) or raw == NULL:
            continue
        if name == "include":
            yield name, _included(raw)
        elif name not in _UNDERSTOOD:
            yield name, raw
        else:
            rest = {key: value for key, value in typed(raw, _fields, name).items() if key not in partly[name]}
            if rest:
                yield name, Raw(_encode(rest))


def _included(raw: Raw) -> Raw:
    """What else than encrypted thoughts an answer shall have: those it has, whoever gives it."""
    told: list[str] = typed(raw, _names, "include")
    return Raw(_encode([name for name in told if name != SEALED]))


def _instructions(instructions: str | None) -> Iterator[Message]:
    if instructions:
        yield Message("system", (Text(instructions),))


# ---- items


def _conversation(raw: Raw, fields: dict[str, Raw]) -> Iterator[Message]:
    if given(raw) is None:
        if "prompt" in fields:
            raise _unsupported("prompt", "it has no prompts by name")
        raise InvalidRequest("'input' is missing: it must be a string or an array.", param="input")
    if items.first(raw) == b'"':
        yield Message("user", (Text(typed(raw, _text, "input")),))
        return
    if items.first(raw) != b"[":
        raise InvalidRequest("'input' must be a string or an array.", param="input")
    yield from _turns(_said_all(raw))


def _turns(told: Iterable[tuple[Role, list[Part]]]) -> Iterator[Message]:
    """Neighbouring items of the assistant share a message, and so do results of tools."""
    role: Role | None = None
    gathered: list[Part] = []
    for speaker, parts in told:
        if speaker in ("assistant", "tool"):
            if role is not None and role != speaker:
                yield Message(role, carried.opened(gathered))
                gathered = []
            role = speaker
            gathered += parts
            continue
        if role is not None:
            yield Message(role, carried.opened(gathered))
            role, gathered = None, []
        yield Message(speaker, tuple(parts))
    if role is not None:
        yield Message(role, carried.opened(gathered))


def _said_all(raw: Raw) -> Iterator[tuple[Role, list[Part]]]:
    """Who says each item, and what. Nearly all items are plain; whatever else one is, is looked at by itself."""
    told: list[Raw] | None = None
    plain: list[_Plain] | None
    try:
        plain = _plains.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        plain = None
    if plain is None:
        told = typed(raw, _items, "input")
    for index in range(len(plain if plain is not None else told or ())):
        said = _said_plainly(plain[index]) if plain is not None else None
        if said is None:
            told = typed(raw, _items, "input") if told is None else told
            said = _said(told[index], f"input[{index}]")
        yield said


def _said_plainly(item: _Plain) -> tuple[Role, list[Part]] | None:
    """What `_said` makes of an item of words, a call or its result with nothing beside it; None if it is another."""
    match item.type:
        case "message" | None if item.role in _ROLES and item.phase == NULL and item.content is not None:
            words = _words(item.content)
            if words is None:
                return None
            if item.role == "assistant":
                words = [text for text in words if isinstance(text, Text) and text.text]
            return item.role, words  # type: ignore[return-value]
        case "function_call" if item.name and item.call_id and item.namespace == NULL and item.caller == NULL:
            if item.arguments is not None:
                return "assistant", [ToolUse(item.call_id, item.name, item.arguments.strip() or "{}")]
        case "function_call_output" | "custom_tool_call_output" if item.call_id and item.output is not None:
            words = _words(item.output)
            return None if words is None else ("tool", [ToolResult(item.call_id, tuple(words))])
    return None


def _words(told: str | list[_Words] | None) -> list[Part] | None:
    """The texts of a content; None if there is anything else in it."""
    if isinstance(told, str):
        return [Text(told)] if told else []
    found: list[Part] = []
    for each in told or ():
        beside = each.annotations or each.logprobs not in _NO_LOGPROBS or each.prompt_cache_breakpoint != NULL
        if each.text is None or beside or each.type not in _TEXTS:
            return None
        found.append(Text(each.text))
    return found


def _said(raw: Raw, place: str) -> tuple[Role, list[Part]]:
    """Who says an item, and what."""
    told: items.Kind = typed(raw, items.kind, place)
    match told.type:
        case "message":
            return _spoken(raw, place)
        case None if told.role is not None:
            return _spoken(raw, place)
        case "function_call" | "custom_tool_call":
            use = items.tool_use(typed(raw, items.call, place), told.type == CUSTOM)
            if use is None:
                raise InvalidRequest(f"'{place}.name' is missing.", param=f"{place}.name")
            return "assistant", [use]
        case "function_call_output" | "custom_tool_call_output":
            return "tool", [_result(typed(raw, _output, place), place)]
        case "reasoning":
            return "assistant", _thoughts(typed(raw, items.thought, place))
        case "item_reference":
            raise _unsupported(place, "send the item itself")
        case None:
            if told.id is not None:
                raise _unsupported(place, "send the item itself")
            raise InvalidRequest(f"'{place}.type' is missing.", param=f"{place}.type")
    return ("tool" if _answers(told) else "assistant"), [Opaque(NAME, raw)]


def _thoughts(told: items.Thought) -> list[Part]:
    if not carried.is_carried(told.encrypted_content):
        return list(items.thoughts(told))
    text = items.BETWEEN.join(piece.text for piece in (*(told.content or ()), *(told.summary or ())) if piece.text)
    return [carried.marked(told.encrypted_content or "", text)]


def _answers(told: items.Kind) -> bool:
    """Whether an item that only this format knows comes from the client's side."""
    kind = told.type or ""
    return kind.endswith(("_output", "_response", "_trigger")) or told.role in ("user", "system", "developer")


def _spoken(raw: Raw, place: str) -> tuple[Role, list[Part]]:
    message: _Message = typed(raw, _message, place)
    phase = message.phase
    match message.role:
        case "system" | "developer" | "user" | "assistant" as role:
            if message.content is None and role != "assistant":
                raise _missing(f"{place}.content")
            said = list(_contents(message.content, f"{place}.content", phase))
            if role == "assistant":  # it said nothing, as some answers do beside a call
                said = [part for part in said if not (isinstance(part, Text) and not part.text)]
            return role, said
        case role:
            told = f"'{place}.role' must be system, developer, user or assistant, not {role[:40]!r}."
            raise InvalidRequest(told, param=f"{place}.role")


def _missing(place: str) -> InvalidRequest:
    return InvalidRequest(f"'{place}' is missing: it must be a string or an array.", param=place)


def _contents(told: str | list[Raw] | None, place: str, phase: str | None = None) -> Iterator[Part]:
    if isinstance(told, str):
        if told:
            yield Text(told, extra=items.extra(phase=phase))
        return
    for index, raw in enumerate(told or ()):
        at = f"{place}[{index}]"
        kind = typed(raw, items.kind, at).type
        if kind not in _CONTENTS:
            yield Opaque(NAME, raw)
        elif kind in ("input_image", "input_file", "input_audio"):
            yield _media(typed(raw, _part, at), at)
        else:
            found: items.Content = typed(raw, items.content, at)
            text = items.text_of(found, phase)
            if text is None:
                field = "refusal" if kind == "refusal" else "text"
                raise InvalidRequest(f"'{at}.{field}' is missing.", param=f"{at}.{field}")
            yield text


def _media(part: _Part, place: str) -> Media:
    mark = items.extra(
        prompt_cache_breakpoint=part.prompt_cache_breakpoint,
        detail=part.detail if part.type == "input_file" else None,
    )
    has_mark = items.first(part.prompt_cache_breakpoint) == b"{"
    facts: dict[str, Any] = {"cache": Raw(b'{"type":"ephemeral"}') if has_mark else None, "extra": mark}
    match part:
        case _Part(type="input_audio", input_audio=_Audio(data=data, format=format)):
            return Media("audio", f"audio/{format}", data=data, **facts)
        case _Part(type="input_image", image_url=str(url)):
            return addressed("image", url, detail=part.detail, **facts)
        case _Part(type="input_image", file_id=str(id)):
            return Media("image", file_id=id, detail=part.detail, **facts)
        case _Part(type="input_file", file_id=str(id)):
            return Media("document", file_id=id, name=part.filename, **facts)
        case _Part(type="input_file", file_url=str(url)):
            return Media("document", url=url, name=part.filename, **facts)
        case _Part(type="input_file", file_data=str(data)):
            if is_data(data):
                return addressed("document", data, name=part.filename, **facts)
            return Media("document", "application/pdf", data=data, name=part.filename, **facts)
    field = {"input_image": "image_url", "input_file": "file_data"}.get(part.type, part.type)
    raise InvalidRequest(f"'{place}.{field}' is missing.", param=f"{place}.{field}")


def _result(told: _Output, place: str) -> ToolResult:
    if not told.call_id:
        raise InvalidRequest(f"'{place}.call_id' is missing.", param=f"{place}.call_id")
    if told.output is None:
        raise _missing(f"{place}.output")
    return ToolResult(told.call_id, tuple(_contents(told.output, f"{place}.output")))


# ---- wishes


def _tools(told: _Request) -> tuple[tuple[Tool | Opaque, ...], ToolChoice | None, bool]:
    """The tools, which is to be used, and whether only this format can say that."""
    tools = [_read(raw, index) for index, raw in enumerate(told.tools or ())]
    choice: ToolChoice | None = None
    only_ours = False
    match told.tool_choice:
        case None:
            pass
        case "auto" | "none" | "required":
            choice = ToolChoice(told.tool_choice)
        case str():
            raise InvalidRequest("'tool_choice' must be auto, none, required or an object.", param="tool_choice")
        case _Choice(type="function" | "custom", name=str(name)):
            choice = ToolChoice("named", name)
        case _Choice(type="allowed_tools", mode="auto" | "required" as mode, tools=list(allowed)):
            choice = ToolChoice(mode)
            names = {(tool.type, tool.name) for tool in allowed}
            tools = [each for each in tools if {(each.type, each.name), (each.type, None)} & names]
            if not tools:
                raise InvalidRequest("'tool_choice.tools' has none of those in 'tools'.", param="tool_choice.tools")
        case _:
            only_ours = True
    return tuple([_named(tool, index) for index, tool in enumerate(tools)]), choice, only_ours


class _Read(NamedTuple):
    """A tool; `words` is None for a function without a name."""

    type: str
    name: str | None
    words: Tool | Opaque | None


def _read(raw: Raw, index: int) -> _Read:
    if len(raw) > _LARGEST_KEPT:
        return _read_tool(raw, index)
    return _read_again(bytes(raw), index)


def _read_tool(raw: Raw | bytes, index: int) -> _Read:
    place = f"tools[{index}]"
    tool: _Tool = typed(raw, _tool, place)
    if tool.type not in ("function", "custom"):
        return _Read(tool.type, tool.name, Opaque(NAME, Raw(raw)))
    return _Read(tool.type, tool.name, _declared(tool, tool.name, raw, place) if tool.name else None)


# Clients send the same tools in each request.
_read_again = lru_cache(_TOOLS_KEPT)(_read_tool)


def _named(tool: _Read, index: int) -> Tool | Opaque:
    if tool.words is None:
        raise InvalidRequest(f"'tools[{index}].name' is missing.", param=f"tools[{index}].name")
    return tool.words


def _declared(tool: _Tool, name: str, raw: Raw | bytes, place: str) -> Tool:
    told: dict[str, Raw] = typed(raw, _fields, place)
    rest = {name: value for name, value in told.items() if name not in _DECLARED and given(value) is not None}
    if tool.type == "custom":
        schema = _schema_of_input(tool.format, f"{place}.format")
        return Tool(name, tool.description, schema, extra=items.extra(custom=rest))
    return Tool(name, tool.description, given(tool.parameters), tool.strict, extra=items.extra(**rest))


_DECLARED = frozenset({"type", "name", "description", "parameters", "strict"})


def _schema_of_input(format: Raw, place: str) -> Raw:
    """The parameters that a custom tool has as a function: its input."""
    grammar = typed(format, _grammar, place)
    told = "All that the tool shall get, as plain text."
    if grammar is not None and grammar.definition:
        told = f"{told} It must be of this {(grammar.syntax or '')[:20]} grammar:\n\n{grammar.definition}"
    properties = {"input": {"type": "string", "description": told}}
    schema = {"type": "object", "properties": properties, "required": ["input"], "additionalProperties": False}
    return Raw(_encode(schema))


def _format(told: _TextWish | None) -> ResponseFormat | None:
    wish = told.format if told is not None else None
    if wish is None or wish.type == "text":
        return None
    if wish.type == "json_object":
        return ResponseFormat("json_object")
    if wish.type == "json_schema" and given(wish.schema) is not None:
        return ResponseFormat("json_schema", wish.name, given(wish.schema), wish.strict, wish.description)
    raise InvalidRequest(
        "'text.format.type' must be text, json_object, or json_schema with 'schema'.", param="text.format"
    )


def _thinking(wish: _ReasoningWish | None) -> Thinking | None:
    if wish is None or wish.effort is None:
        return None
    return Thinking(wish.effort != "none", wish.effort, summary=wish.summary or wish.generate_summary)
