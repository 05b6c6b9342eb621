"""Requests for Anthropic's messages, as clients send them: their JSON → our words. What is asked of providers:
`anthropic_asking`.

https://docs.anthropic.com/en/api/messages
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

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
from fairlead.protocols.codecs import anthropic_carried, anthropic_citations, anthropic_errors
from fairlead.protocols.envelope import NULL, given, left_over, typed

NAME = anthropic_citations.NAME
_encode = msgspec.json.encode
B = TypeVar("B")  # what a content block is read as
T = TypeVar("T")  # and a tool


class Source(Struct, gc=False):
    """Where an image's or a document's content is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None


class Block(Struct, gc=False):
    """A content block of any kind, as far as we read it."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NULL
    source: Source | None = None
    title: str | None = None
    tool_use_id: str | None = None
    file_id: str | None = None
    content: str | list[Raw] | dict[str, Raw] | None = None
    is_error: bool | None = None
    citations: Raw = NULL
    context: Raw = NULL
    cache_control: Raw = NULL


# Content blocks of which we understand everything, read by their type.


class _Said(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="text"):
    text: str
    citations: Raw = NULL
    cache_control: Raw = NULL


class _Thought(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = None


class _Sealed(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="redacted_thinking"):
    data: str


class _Used(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Raw = NULL
    cache_control: Raw = NULL
    caller: Raw = NULL  # we do not read it: the model itself, if it is not a tool of Anthropic's


class _Image(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="image"):
    source: Source
    cache_control: Raw = NULL


class _Document(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="document"):
    source: Source
    title: str | None = None
    citations: Raw = NULL
    context: Raw = NULL
    cache_control: Raw = NULL


class _Result(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: str | list[_Said | _Image | _Document] | None = None
    is_error: bool | None = None
    cache_control: Raw = NULL


_Shown = _Said | _Image | _Document
_Known = _Said | _Used | _Result | _Thought | _Sealed | _Image | _Document


class _Words(Struct):
    text: str = ""


class _Search(Struct):
    """A block of type search_result: https://docs.anthropic.com/en/docs/build-with-claude/search-results"""

    source: str = ""
    title: str = ""
    content: list[_Words] = []
    cache_control: Raw = NULL


class _Kind(Struct):
    type: str


class _Message(Struct, Generic[B], gc=False):
    role: str
    content: str | list[B]


class _Tool(Struct, gc=False):
    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: Raw = NULL
    strict: bool | None = None
    cache_control: Raw = NULL


class _Declared(_Tool, forbid_unknown_fields=True):
    """A tool of which we understand everything."""


class _Choice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Format(Struct):
    type: str
    schema: Raw = NULL


class _Output(Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(Struct):
    user_id: str | None = None


class _Request(Struct, Generic[B, T], gc=False):
    messages: list[_Message[B]]
    model: str = ""
    system: str | list[B] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[T] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None


def _names(kind: type[Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(kind))


_UNDERSTOOD = _names(_Request)
PARTLY = {"thinking": _names(_Thinking), "output_config": _names(_Output)}
_TOOL = _names(_Tool)
_request = msgspec.json.Decoder(_Request[Raw, Raw])
_read = msgspec.json.Decoder(_Request[_Known, _Declared])
_kind = msgspec.json.Decoder(_Kind)
_block = msgspec.json.Decoder(Block)
_search = msgspec.json.Decoder(_Search)
SEARCH_RESULT = "search_result"  # the name of such a block, too, beside the text that it is
_BLOCKS = frozenset("text thinking redacted_thinking tool_use tool_result image document container_upload".split())
_RESULT_BLOCKS = frozenset({"text", "image", "document"})  # results hold no results
_tool = msgspec.json.Decoder(_Tool)
_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


class _Unread(Exception):
    """The bytes of something are wanted, of which only what we understand was read."""


def decode(fields: dict[str, Raw], body: bytes) -> Request:
    """`fields` is the body's top level. Raises InvalidRequest with `param` as a path."""
    try:  # most requests have nothing but what we understand, and are read at once
        return _decoded(fields, _read.decode(body), _known, _known_tool)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InvalidRequest, _Unread):
        return _decoded(fields, typed(body, _request, ""), _checked, _checked_tool)


def _decoded(
    fields: dict[str, Raw],
    told: _Request[B, T],
    parts: Callable[[str | list[B], str, int], tuple[Part, ...]],
    tool: Callable[[T, int], Tool | Opaque],
) -> Request:
    """`parts` and `tool` give our words for a content and a tool, which stand at a place and have a number there."""
    if "thread" in fields and given(fields["thread"]) is not None:
        raise InvalidRequest(
            "'thread' is not supported by this model's provider: send the whole conversation as 'messages'.",
            param="thread",
            code=anthropic_errors.NO_THREADS,
        )
    messages = _messages(told, parts)
    tools: list[Tool | Opaque] = []
    if told.tools:
        for index, one in enumerate(told.tools):
            tools.append(tool(one, index))
    choice, output = told.tool_choice, told.output_config
    effort = None if output is None else output.effort
    # So many names at once would make a dict: the first are given by their place.
    return Request(
        told.model, messages, tuple(tools),
        None if choice is None else _decoded_choice(choice),
        False if choice is not None and choice.disable_parallel_tool_use else None,
        told.max_tokens, told.temperature, told.top_p, told.top_k,
        stop=tuple(told.stop_sequences) if told.stop_sequences else (),
        stream=told.stream is True,
        include_usage=True,
        response_format=None if output is None else _decoded_format(output.format),
        thinking=_decoded_thinking(told.thinking, effort),
        user=None if told.metadata is None else told.metadata.user_id,
        service_tier=told.service_tier,
        extra=_extra(fields),
    )  # fmt: skip


def _extra(fields: dict[str, Raw]) -> dict[str, Opaque]:
    """The fields that our words cannot tell, or not all of."""
    found: dict[str, Opaque] = {}
    for name, raw in left_over(fields, _UNDERSTOOD, PARTLY):
        found[name] = Opaque(NAME, raw)
    return found


def _messages(
    told: _Request[B, Any], parts_of: Callable[[str | list[B], str, int], tuple[Part, ...]]
) -> tuple[Message, ...]:
    """Results of tools stand in messages of their own in our words, before what the user says with them."""
    found: list[Message] = []
    if told.system:
        instructions = parts_of(told.system, "system", -1)
        if instructions:
            found.append(Message("system", instructions))
    for index, message in enumerate(told.messages):
        content = message.content
        if isinstance(content, str):
            parts: tuple[Part, ...] = (Text(content),) if content else ()
        else:
            parts = parts_of(content, "messages", index)
        match message.role:
            case "user":
                results: list[Part] = []
                others: list[Part] = []
                for part in parts:
                    (results if type(part) is ToolResult else others).append(part)
                if results:
                    found.append(Message("tool", tuple(results)))
                if others or not results:
                    found.append(Message("user", tuple(others)))
            case "assistant":
                found.append(Message("assistant", anthropic_carried.opened(parts)))
            case "system":
                found.append(Message("system", parts))
            case role:
                place = f"messages[{index}].role"
                raise InvalidRequest(f"'{place}' must be user or assistant, not {role[:40]!r}.", param=place)
    return tuple(found)


def _known(content: str | list[_Known], place: str, index: int) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    parts: list[Part] = []
    for block in content:
        if type(block) is _Said and block.citations is NULL:
            parts.append(Text(block.text, None if block.cache_control is NULL else given(block.cache_control)))
        elif type(block) is _Used:
            cache = None if block.cache_control is NULL else given(block.cache_control)
            parts.append(ToolUse(block.id, block.name, arguments_of(block.input), cache))
        elif type(block) is _Result:
            parts.append(_result(block))
        elif type(block) is _Thought:
            signature = block.signature or None
            parts.append(Reasoning(block.thinking, signature, None, NAME if signature else None))
        elif isinstance(block, _Sealed):
            parts.append(Reasoning(encrypted=block.data, protocol=NAME))
        else:
            parts.append(_shown(block))  # type: ignore[arg-type]  # all others were asked for
    return tuple(parts)


def _result(block: _Result) -> ToolResult:
    content = block.content
    parts: list[Part] = []
    if isinstance(content, str):
        if content:
            parts.append(Text(content))
    elif content:
        for one in content:
            if type(one) is _Said and one.citations is NULL and one.cache_control is NULL:
                parts.append(Text(one.text))
            else:
                parts.append(_shown(one))
    cache = None if block.cache_control is NULL else given(block.cache_control)
    return ToolResult(block.tool_use_id, tuple(parts), block.is_error is True, cache)


def _shown(block: _Shown) -> Part:
    if isinstance(block, _Said):
        return Text(block.text, given(block.cache_control), anthropic_citations.decode(block.citations))
    if isinstance(block, _Image):
        found = _media(Block("image", source=block.source, cache_control=block.cache_control), NULL)
    else:
        found = _media(
            Block(
                "document", source=block.source, title=block.title, citations=block.citations, context=block.context,
                cache_control=block.cache_control,
            ),
            NULL,
        )  # fmt: skip
    if isinstance(found, Opaque):
        raise _Unread
    return found


def _known_tool(tool: _Tool, index: int) -> Tool:
    if not tool.name or (tool.type is not None and tool.type != "custom"):
        raise _Unread
    cache = None if tool.cache_control is NULL else given(tool.cache_control)
    return Tool(tool.name, tool.description, given(tool.input_schema), tool.strict, cache)


def _tool_of(tool: _Tool, name: str, extra: Opaque | None) -> Tool:
    return Tool(name, tool.description, given(tool.input_schema), tool.strict, given(tool.cache_control), extra)


def _checked(content: str | list[Raw], place: str, index: int) -> tuple[Part, ...]:
    return tuple(_content(content, place if index < 0 else f"{place}[{index}].content"))


def _content(
    content: str | list[Raw] | dict[str, Raw] | None, place: str, understood: frozenset[str] = _BLOCKS
) -> Iterator[Part]:
    """The parts that `content` is. A block of a type that is not `understood` is Opaque."""
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    if isinstance(content, dict):
        raise InvalidRequest(f"'{place}' must be a string or an array.", param=place)
    for index, raw in enumerate(content or ()):
        at = f"{place}[{index}]"
        try:
            block: Block | None = typed(raw, _block, at)
        except InvalidRequest:
            kind = typed(raw, _kind, at).type
            if kind in understood:
                raise
            if kind == SEARCH_RESULT:  # whose source is a text
                yield _search_result(typed(raw, _search, at), raw)
                continue
            block = None  # its fields may be anything
        yield part_of(block, raw, at) if block is not None and block.type in understood else Opaque(NAME, raw)


def _search_result(found: _Search, raw: Raw) -> Text:
    """Formats that have no such block are told its words, after where they stand."""
    words = "\n".join([each.text for each in found.content if each.text])
    head = "\n".join([each for each in (found.title, found.source) if each])
    text = f"{head}\n\n{words}" if head else words
    return Text(text, given(found.cache_control), extra=Opaque(NAME, Raw(_encode({SEARCH_RESULT: raw}))))


def part_of(block: Block, raw: Raw, place: str = "") -> Part:
    """The part that a content block is. What only this format knows is Opaque."""
    match block.type:
        case "text" if block.text is not None:
            return Text(block.text, given(block.cache_control), anthropic_citations.decode(block.citations))
        case "thinking" if block.thinking is not None:
            signature = block.signature or None
            return Reasoning(block.thinking, signature, protocol=NAME if signature else None)
        case "redacted_thinking" if block.data is not None:
            return Reasoning(encrypted=block.data, protocol=NAME)
        case "tool_use" if block.id is not None and block.name is not None:
            return ToolUse(block.id, block.name, arguments_of(block.input), given(block.cache_control))
        case "tool_result" if block.tool_use_id is not None:
            content = tuple(_content(block.content, f"{place}.content", _RESULT_BLOCKS))
            return ToolResult(block.tool_use_id, content, bool(block.is_error), given(block.cache_control))
        case "image" | "document" if block.source is not None:
            return _media(block, raw)
        case "container_upload" if block.file_id is not None:
            return anthropic_carried.uploaded(block.file_id) or Opaque(NAME, raw)
        case "text" | "thinking" | "redacted_thinking" | "tool_use" | "tool_result" | "image" | "document":
            missing = {
                "text": "text", "thinking": "thinking", "redacted_thinking": "data", "tool_use": "id or name",
                "tool_result": "tool_use_id",
            }.get(block.type, "source")  # fmt: skip
            raise InvalidRequest(f"'{place}' is a {block.type} without {missing}.", param=place or None)
    return Opaque(NAME, raw)


def arguments_of(raw: Raw) -> str:
    """A call's input as JSON text."""
    told = given(raw)
    return "{}" if told is None else str(told, "utf-8", "replace")


def _media(block: Block, raw: Raw) -> Part:
    assert block.source is not None
    source, kind = block.source, "image" if block.type == "image" else "document"
    facts: dict[str, Any] = {"name": block.title, "cache": given(block.cache_control), "extra": _beside(block)}
    match source.type:
        case "base64":
            return Media(kind, source.media_type, data=source.data, **facts)  # type: ignore[arg-type]
        case "url":
            return Media(kind, url=source.url, **facts)  # type: ignore[arg-type]
        case "file":
            return Media(kind, file_id=source.file_id, **facts)  # type: ignore[arg-type]
        case "text":
            return Media(kind, source.media_type, text=source.data, **facts)  # type: ignore[arg-type]
    return Opaque(NAME, raw)


def _beside(block: Block) -> Opaque | None:
    """How a document shall be read: whether it may be cited, and what it is about."""
    told = {"citations": given(block.citations), "context": given(block.context)}
    fields = {name: value for name, value in told.items() if value is not None}
    return Opaque(NAME, Raw(_encode(fields))) if fields else None


def _checked_tool(raw: Raw, index: int) -> Tool | Opaque:
    place = f"tools[{index}]"
    tool: _Tool = typed(raw, _tool, place)
    if tool.type not in (None, "custom"):
        return Opaque(NAME, raw)
    if not tool.name:
        raise InvalidRequest(f"'{place}.name' is missing.", param=f"{place}.name")
    told: dict[str, Raw] = typed(raw, _fields, place)
    others = dict(left_over(told, _TOOL, {}))
    return _tool_of(tool, tool.name, Opaque(NAME, Raw(_encode(others))) if others else None)


def _decoded_choice(choice: _Choice) -> ToolChoice:
    match choice:
        case _Choice(type="auto" | "none" as mode):
            return ToolChoice(mode)
        case _Choice(type="any"):
            return ToolChoice("required")
        case _Choice(type="tool", name=str(name)):
            return ToolChoice("named", name)
    raise InvalidRequest("'tool_choice.type' must be auto, any, none, or tool with 'name'.", param="tool_choice.type")


def _decoded_format(told: _Format | None) -> ResponseFormat | None:
    if told is None or told.type != "json_schema":
        return None
    return ResponseFormat("json_schema", schema=given(told.schema))


def _decoded_thinking(told: _Thinking | None, effort: str | None) -> Thinking | None:
    """Thoughts are told unless that is declined, or a model's own way is another.

    https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#controlling-thinking-display
    """
    if told is None:
        return None if effort is None else Thinking(effort=effort, adaptive=True, summary="default")
    if told.type == "disabled":
        return Thinking(enabled=False)
    summary = {None: "default", "omitted": "none"}.get(told.display, "auto")
    if told.type == "adaptive":
        return Thinking(effort=effort, adaptive=True, summary=summary)
    return Thinking(effort=effort, budget_tokens=told.budget_tokens, summary=summary)
