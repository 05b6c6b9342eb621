"""Requests for chat completions, as clients send them: their JSON → our words. What is asked of providers:
`openai_asking`.

https://platform.openai.com/docs/api-reference/chat/create, with the additions for reasoning that OpenAI-compatible
servers share: `reasoning_content`, `reasoning`, `reasoning_details`.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Part,
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
from fairlead.protocols.codecs import carried, openai_calls, openai_citations, openai_images
from fairlead.protocols.codecs.addresses import addressed, is_data
from fairlead.protocols.codecs.openai_thoughts import seal_of, thoughts
from fairlead.protocols.envelope import NULL, given, left_over, typed

NAME = openai_citations.NAME
P = TypeVar("P")  # what a part of a content is read as
C = TypeVar("C")  # a call of a tool
T = TypeVar("T")  # a tool


class _Function(Struct, gc=False):
    name: str
    arguments: str | None = None


class _Call(Struct, gc=False):
    function: _Function | None = None
    id: str | None = None
    type: str | None = None
    extra_content: Raw = NULL


class _ImageURL(Struct):
    url: str
    detail: str | None = None


class _Audio(Struct):
    data: str
    format: str = "wav"


class _File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _VideoURL(Struct):
    url: str


class _Part(Struct, gc=False):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageURL | str | None = None
    input_audio: _Audio | None = None
    video_url: _VideoURL | None = None
    file: _File | None = None
    cache_control: Raw = NULL


class _Message(Struct, Generic[P, C], gc=False):
    role: str
    content: str | list[P] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[C] | None = None
    tool_call_id: str | None = None
    function_call: _Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Raw] | None = None
    annotations: Raw = NULL
    images: Raw = NULL  # that it drew before
    audio: Raw = NULL  # that it said before: {"id": …}


class _Declaration(Struct, gc=False):
    name: str
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None


class _Named(Struct):
    name: str


class _Tool(Struct, gc=False):
    type: str = "function"
    function: _Declaration | None = None
    custom: _Named | None = None
    cache_control: Raw = NULL


class _Chosen(Struct):
    """A tool, by its name."""

    function: _Named | None = None
    custom: _Named | None = None

    @property
    def name(self) -> str | None:
        named = self.function or self.custom
        return named.name if named is not None else None


class _Allowed(Struct):
    mode: str | None = None
    tools: list[_Chosen] | None = None


class _Choice(Struct):
    type: str | None = None
    function: _Named | None = None
    name: str | None = None
    allowed_tools: _Allowed | None = None


class _JSONSchema(Struct):
    name: str | None = None
    schema: Raw = NULL
    strict: bool | None = None
    description: str | None = None


class _Format(Struct):
    type: str
    json_schema: _JSONSchema | None = None


class _ReasoningWish(Struct):
    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Request(Struct, Generic[P, C, T], gc=False):
    messages: list[_Message[P, C]]
    model: str = ""
    tools: list[T] | None = None
    tool_choice: str | _Choice | None = None
    functions: list[_Declaration] | None = None
    function_call: str | _Named | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    reasoning: _ReasoningWish | None = None
    user: str | None = None
    service_tier: str | None = None
    n: int | None = None


_UNDERSTOOD = frozenset(field.name for field in msgspec.structs.fields(_Request))
# Objects of which we understand these fields.
_PARTLY = {
    "reasoning": frozenset({"effort", "max_tokens", "enabled"}),
    "stream_options": frozenset({"include_usage"}),
}
_request = msgspec.json.Decoder(_Request[Raw, Raw, Raw])
_read = msgspec.json.Decoder(_Request[_Part, _Call, _Tool])


class _Unread(Exception):
    """The bytes of something are wanted, of which only what we understand was read."""


def _raw(told: Raw | Struct) -> Raw:
    if isinstance(told, Raw):
        return told
    raise _Unread


def decode(fields: dict[str, Raw], body: bytes) -> Request:
    """`fields` is the body's top level. Raises InvalidRequest with `param` as a path."""
    try:  # most requests have nothing but what we understand, and are read at once
        return _decoded(fields, _read.decode(body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InvalidRequest, _Unread):
        return _decoded(fields, typed(body, _request, ""))


def _decoded(fields: dict[str, Raw], told: _Request[Any, Any, Any]) -> Request:
    if told.n is not None and told.n < 1:
        raise InvalidRequest("'n' must be at least 1.", param="n")
    tools, choice = _tools(told)
    most = told.max_completion_tokens if told.max_completion_tokens is not None else told.max_tokens
    stop, usage = told.stop, told.stream_options
    # So many names at once would make a dict: the first are given by their place.
    return Request(
        told.model, _messages(told.messages), tools, choice, told.parallel_tool_calls, most, told.temperature,
        told.top_p, told.top_k, told.frequency_penalty, told.presence_penalty, told.seed,
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
        stream=told.stream is True,
        include_usage=usage is not None and usage.include_usage is True,
        response_format=None if told.response_format is None else _format(told.response_format),
        thinking=None if told.reasoning is None and told.reasoning_effort is None else _thinking(told),
        user=told.user,
        service_tier=told.service_tier,
        extra=_extra(fields, told, choice),
    )  # fmt: skip


def _extra(fields: dict[str, Raw], told: _Request[Any, Any, Any], choice: ToolChoice | None) -> dict[str, Opaque]:
    """The fields that our words cannot tell, or not all of."""
    found: dict[str, Opaque] = {}
    for name, raw in left_over(fields, _UNDERSTOOD, _PARTLY):
        found[name] = Opaque(NAME, raw)
    if told.n is not None and told.n > 1:
        found["n"] = Opaque(NAME, fields["n"])
    if choice is None and "tool_choice" in fields and bytes(fields["tool_choice"])[:1] == b"{":
        found["tool_choice"] = Opaque(NAME, fields["tool_choice"])  # of a kind that only this format knows
    return found


def _messages(messages: list[_Message[Any, Any]]) -> tuple[Message, ...]:
    """Neighbouring results of tools share one message."""
    found: list[Message] = []
    results: list[Part] = []
    for index, message in enumerate(messages):
        role = message.role
        if role == "tool" or role == "function":
            results.append(_result(message, index))
            continue
        if results:
            found.append(Message("tool", tuple(results)))
            results = []
        match role:
            case "user" | "system" | "developer":
                content = message.content
                # Here, so that it costs no call: most are one text.
                words = (Text(content),) if content and isinstance(content, str) else _words(content, index)
                found.append(Message(role, words, message.name))
            case "assistant":
                found.append(Message("assistant", _said(message, index), message.name))
            case _:
                place = f"messages[{index}].role"
                told = f"'{place}' must be system, developer, user, assistant or tool, not {role[:40]!r}."
                raise InvalidRequest(told, param=place)
    if results:
        found.append(Message("tool", tuple(results)))
    return tuple(found)


def _result(message: _Message[Any, Any], index: int) -> ToolResult:
    id = message.tool_call_id or (message.name if message.role == "function" else None)
    if not id:
        place = f"messages[{index}].tool_call_id"
        raise InvalidRequest(f"'{place}' is missing: it names the call it answers.", param=place)
    content = message.content
    return ToolResult(id, (Text(content),) if content and isinstance(content, str) else _words(content, index))


def _said(message: _Message[Any, Any], index: int) -> tuple[Part, ...]:
    """An assistant's turn, what was carried with it put back where it was."""
    thought = message.reasoning_content or message.reasoning
    parts: list[Part] = []
    if thought or message.reasoning_details:
        parts += thoughts(message.reasoning_details, thought, f"messages[{index}]")
    content = message.content
    if content and isinstance(content, str):
        said: tuple[Part, ...] = (Text(content),)
    else:
        said = _content(content, index)
    if message.refusal:
        said = (*said, Text(message.refusal, refusal=True))
    parts += said if message.annotations is NULL else _with_citations(said, message.annotations)
    if message.images is not NULL:
        parts += [part for part in openai_images.decode(message.images) if isinstance(part, Media)]
    if message.audio is not NULL and bytes(message.audio)[:1] == b"{":
        parts.append(Opaque(NAME, Raw(b'{"audio":%b}' % bytes(message.audio))))
    if message.tool_calls:
        for number, told in enumerate(message.tool_calls):
            parts.append(_tool_use(told, index, number))
    if message.function_call is not None:
        called = message.function_call
        parts.append(ToolUse(called.name, called.name, called.arguments or "{}"))
    return carried.opened(parts, seal_of) if message.reasoning_details else tuple(parts)


def _with_citations(said: Iterable[Part], annotations: Raw) -> Iterable[Part]:
    if bytes(annotations)[:1] != b"[":
        return said
    texts = iter(openai_citations.beside([part for part in said if isinstance(part, Text)], annotations))
    return [next(texts) if isinstance(part, Text) else part for part in said]


_call = msgspec.json.Decoder(_Call)
_part = msgspec.json.Decoder(_Part)
_tool = msgspec.json.Decoder(_Tool)


def _tool_use(told: Raw | _Call, message: int, number: int) -> Part:
    call: _Call
    call = told if isinstance(told, _Call) else typed(told, _call, f"messages[{message}].tool_calls[{number}]")
    if call.function is None:
        return Opaque(NAME, _raw(told))
    if not call.id:
        place = f"messages[{message}].tool_calls[{number}].id"
        raise InvalidRequest(f"'{place}' is missing.", param=place)
    extra = None if call.extra_content is NULL else openai_calls.decode(call.extra_content)
    return ToolUse(call.id, call.function.name, call.function.arguments or "{}", None, extra)


def _words(content: str | list[Any] | None, message: int) -> tuple[Part, ...]:
    """What somebody other than the model says: it may be nothing, but not null."""
    if content is None:
        place = f"messages[{message}].content"
        raise InvalidRequest(f"'{place}' is missing: it must be a string or an array.", param=place)
    return _content(content, message)


def _content(content: str | list[Any] | None, message: int) -> tuple[Part, ...]:
    if not content:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple([_decoded_part(told, f"messages[{message}].content[{index}]") for index, told in enumerate(content)])


def _decoded_part(told: Raw | _Part, place: str) -> Part:
    part: _Part = told if isinstance(told, _Part) else typed(told, _part, place)
    match part.type:
        case "text" if part.text is not None:
            return Text(part.text, given(part.cache_control))
        case "refusal" if part.refusal is not None:
            return Text(part.refusal, refusal=True)
        case "image_url" if part.image_url is not None:
            image = part.image_url if isinstance(part.image_url, _ImageURL) else _ImageURL(part.image_url)
            return addressed("image", image.url, detail=image.detail, cache=given(part.cache_control))
        case "input_audio" if part.input_audio is not None:
            return Media("audio", f"audio/{part.input_audio.format}", data=part.input_audio.data)
        case "video_url" if part.video_url is not None:
            return addressed("video", part.video_url.url, cache=given(part.cache_control))
        case "file" if part.file is not None:
            return _file(part.file, given(part.cache_control), place)
        case "text" | "refusal" | "image_url" | "input_audio" | "video_url" | "file":
            raise InvalidRequest(f"'{place}.{part.type}' is missing.", param=f"{place}.{part.type}")
    return Opaque(NAME, _raw(told))


def _file(file: _File, cache: Raw | None, place: str) -> Media:
    if file.file_id:
        return Media("document", file_id=file.file_id, name=file.filename, cache=cache)
    if not file.file_data:
        raise InvalidRequest(f"'{place}.file' needs 'file_data' or 'file_id'.", param=f"{place}.file")
    if is_data(file.file_data) or file.file_data.startswith(("http://", "https://")):
        return addressed("document", file.file_data, name=file.filename, cache=cache)
    return Media("document", "application/pdf", data=file.file_data, name=file.filename, cache=cache)


def _tools(told: _Request[Any, Any, Any]) -> tuple[tuple[Tool | Opaque, ...], ToolChoice | None]:
    tools: list[Tool | Opaque] = []
    for index, one in enumerate(told.tools or ()):
        tool: _Tool = one if isinstance(one, _Tool) else typed(one, _tool, f"tools[{index}]")
        function = tool.function
        if function is not None:
            tools.append(_declared(function, None if tool.cache_control is NULL else given(tool.cache_control)))
        elif tool.type != "function":
            tools.append(Opaque(NAME, _raw(one)))
        else:
            raise InvalidRequest(f"'tools[{index}].function' is missing.", param=f"tools[{index}].function")
    for one in told.functions or ():
        tools.append(_declared(one, None))
    choice = told.tool_choice if told.tool_choice is not None else told.function_call
    if choice is not None and isinstance(choice, _Choice) and choice.allowed_tools is not None:
        return _only(tools, choice.allowed_tools)
    return tuple(tools), None if choice is None else _tool_choice(choice)


_MODES = {"auto": ToolChoice("auto"), "required": ToolChoice("required")}  # of allowed tools


def _only(tools: list[Tool | Opaque], allowed: _Allowed) -> tuple[tuple[Tool | Opaque, ...], ToolChoice | None]:
    """Those of `tools` that are allowed: the others are not shown, as other formats know no such list."""
    place = "tool_choice.allowed_tools"
    choice = _MODES.get(allowed.mode or "")
    if choice is None:
        raise InvalidRequest(f"'{place}.mode' must be auto or required.", param=f"{place}.mode")
    names = {one.name for one in allowed.tools or ()}
    shown = tuple([tool for tool in tools if _name(tool) in names])
    if not shown:
        raise InvalidRequest(f"'{place}.tools' has none of those in 'tools'.", param=f"{place}.tools")
    return shown, choice


def _name(tool: Tool | Opaque) -> str | None:
    if isinstance(tool, Tool):
        return tool.name
    told: _Tool = typed(tool.raw, _tool, "tools")
    return told.custom.name if told.custom is not None else ""


def _tool_choice(choice: str | _Named | _Choice) -> ToolChoice | None:
    """None for one of a kind that only this format knows."""
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case "any":  # the others' word for "required"
            return ToolChoice("required")
        case str():
            raise InvalidRequest("'tool_choice' must be auto, none, required or an object.", param="tool_choice")
        case _Named(name=name):
            return ToolChoice("named", name)
        case _Choice(function=function, name=name):
            named = function.name if function is not None else name
            return ToolChoice("named", named) if named else None


def _declared(function: _Declaration, cache: Raw | None) -> Tool:
    return Tool(function.name, function.description, given(function.parameters), function.strict, cache)


def _format(told: _Format) -> ResponseFormat | None:
    if told.type == "text":
        return None
    if told.type == "json_object":
        return ResponseFormat("json_object")
    if told.type == "json_schema" and told.json_schema is not None:
        schema = told.json_schema
        return ResponseFormat("json_schema", schema.name, given(schema.schema), schema.strict, schema.description)
    raise InvalidRequest(
        "'response_format.type' must be text, json_object, or json_schema with 'json_schema'.", param="response_format"
    )


def _thinking(told: _Request[Any, Any, Any]) -> Thinking | None:
    wish = told.reasoning
    if wish is None and told.reasoning_effort is None:
        return None
    effort = told.reasoning_effort or (wish.effort if wish is not None else None)
    budget = wish.max_tokens if wish is not None else None
    enabled = effort != "none" and (wish is None or wish.enabled is not False)
    if effort is None and budget is None and (wish is None or wish.enabled is None):
        return None
    # OpenRouter tells thoughts unless they are excluded: https://openrouter.ai/docs/use-cases/reasoning-tokens
    summary = None if wish is None or not enabled else "none" if wish.exclude else "auto"
    return Thinking(enabled, effort, budget, summary=summary)
