"""Requests for Anthropic's messages, as clients send them: their JSON → our words. What is asked of providers:
`anthropic_asking`.

https://docs.anthropic.com/en/api/messages
"""

from collections.abc import Iterator
from typing import Any

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
from fairlead.protocols.codecs import anthropic_carried, anthropic_citations
from fairlead.protocols.envelope import NULL, given, left_over, typed

NAME = anthropic_citations.NAME
_encode = msgspec.json.encode


class Source(Struct):
    """Where an image's or a document's content is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None


class Block(Struct):
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


class _Kind(Struct):
    type: str


class _Message(Struct):
    role: str
    content: str | list[Raw]


class _Tool(Struct):
    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: Raw = NULL
    strict: bool | None = None
    cache_control: Raw = NULL


class _Choice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: int | None = None


class _Format(Struct):
    type: str
    schema: Raw = NULL


class _Output(Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(Struct):
    user_id: str | None = None


class _Request(Struct):
    messages: list[_Message]
    model: str = ""
    system: str | list[Raw] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[Raw] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None


def _names(kind: type[Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(kind))


_UNDERSTOOD = _names(_Request)
PARTLY = {"thinking": _names(_Thinking), "output_config": _names(_Output)}
_request = msgspec.json.Decoder(_Request)
_kind = msgspec.json.Decoder(_Kind)
_block = msgspec.json.Decoder(Block)
_BLOCKS = frozenset("text thinking redacted_thinking tool_use tool_result image document container_upload".split())
_RESULT_BLOCKS = frozenset({"text", "image", "document"})  # results hold no results
_tool = msgspec.json.Decoder(_Tool)
_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def decode(fields: dict[str, Raw], body: bytes) -> Request:
    """`fields` is the body's top level. Raises InvalidRequest with `param` as a path."""
    told: _Request = typed(body, _request, "")
    output = told.output_config or _Output()
    return Request(
        model=told.model,
        messages=(*_system(told.system), *_decoded(told.messages)),
        tools=tuple(_decoded_tool(raw, f"tools[{index}]") for index, raw in enumerate(told.tools or ())),
        tool_choice=_decoded_choice(told.tool_choice),
        parallel_tool_calls=False if told.tool_choice and told.tool_choice.disable_parallel_tool_use else None,
        max_tokens=told.max_tokens,
        temperature=told.temperature,
        top_p=told.top_p,
        top_k=told.top_k,
        stop=tuple(told.stop_sequences or ()),
        stream=bool(told.stream),
        include_usage=True,
        response_format=_decoded_format(output.format),
        thinking=_decoded_thinking(told.thinking, output.effort),
        user=told.metadata.user_id if told.metadata is not None else None,
        service_tier=told.service_tier,
        extra={name: Opaque(NAME, raw) for name, raw in left_over(fields, _UNDERSTOOD, PARTLY)},
    )


def _system(system: str | list[Raw] | None) -> Iterator[Message]:
    parts = tuple(_content(system, "system"))
    if parts:
        yield Message("system", parts)


def _decoded(messages: list[_Message]) -> Iterator[Message]:
    """Results of tools stand in messages of their own in our words, before what the user says with them."""
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        parts = tuple(_content(message.content, f"{place}.content"))
        match message.role:
            case "assistant":
                yield Message("assistant", anthropic_carried.opened(parts))
            case "system":
                yield Message("system", parts)
            case "user":
                results = tuple(part for part in parts if isinstance(part, ToolResult))
                others = tuple(part for part in parts if not isinstance(part, ToolResult))
                if results:
                    yield Message("tool", results)
                if others or not results:
                    yield Message("user", others)
            case role:
                told = f"'{place}.role' must be user or assistant, not {role[:40]!r}."
                raise InvalidRequest(told, param=f"{place}.role")


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
            if typed(raw, _kind, at).type in understood:
                raise
            block = None  # its fields may be anything
        yield part_of(block, raw, at) if block is not None and block.type in understood else Opaque(NAME, raw)


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
            return ToolUse(block.id, block.name, _arguments(block.input), given(block.cache_control))
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


def _arguments(raw: Raw) -> str:
    return bytes(given(raw) or b"{}").decode(errors="replace")


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


def _decoded_tool(raw: Raw, place: str) -> Tool | Opaque:
    tool: _Tool = typed(raw, _tool, place)
    if tool.type not in (None, "custom"):
        return Opaque(NAME, raw)
    if not tool.name:
        raise InvalidRequest(f"'{place}.name' is missing.", param=f"{place}.name")
    told: dict[str, Raw] = typed(raw, _fields, place)
    others = dict(left_over(told, _names(_Tool), {}))
    extra = Opaque(NAME, Raw(_encode(others))) if others else None
    return Tool(tool.name, tool.description, given(tool.input_schema), tool.strict, given(tool.cache_control), extra)


def _decoded_choice(choice: _Choice | None) -> ToolChoice | None:
    match choice:
        case None:
            return None
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
    match told:
        case None:
            return None if effort is None else Thinking(effort=effort, adaptive=True)
        case _Thinking(type="disabled"):
            return Thinking(enabled=False)
        case _Thinking(type="adaptive"):
            return Thinking(effort=effort, adaptive=True)
        case _Thinking(budget_tokens=budget):
            return Thinking(effort=effort, budget_tokens=budget)
