"""Requests for Anthropic's messages, as we send them to providers: our words → their JSON.

https://docs.anthropic.com/en/api/messages
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct, structs

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
    ToolResult,
    ToolUse,
)
from fairlead.errors import InvalidRequest
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import anthropic_citations
from fairlead.protocols.codecs.anthropic_request import NAME, PARTLY, SEARCH_RESULT
from fairlead.protocols.codecs.wording import SMALLEST_BUDGET, display, no_object, refused, within
from fairlead.protocols.envelope import NULL, any_value
from fairlead.protocols.unsaid import nothing_left, unsaid

# A wish in words, as a budget of tokens. https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_JSON_ONLY = "Answer with one JSON object and nothing else."
_encode = msgspec.json.Encoder().encode


class _Said(Struct, omit_defaults=True, gc=False, tag_field="type", tag="text"):
    """A block of text."""

    text: str
    citations: list[Raw] | None = None
    cache_control: Raw | None = None


class _Used(Struct, omit_defaults=True, gc=False, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Raw
    cache_control: Raw | None = None


class _Given(Struct, omit_defaults=True, gc=False, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: list[Any] | None = None
    is_error: bool | None = None
    cache_control: Raw | None = None


class _Declared(Struct, omit_defaults=True, gc=False):
    """A tool with nothing of this format's own beside it."""

    name: str
    description: str | None = None
    input_schema: Any = None
    strict: bool | None = None
    cache_control: Raw | None = None


class _Turn(Struct, gc=False):
    role: Literal["user", "assistant"]
    content: list[Any]


class _Body(Struct, omit_defaults=True, gc=False):
    model: str
    max_tokens: int
    messages: list[_Turn]
    system: Any = None  # a text, or text blocks
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None


_SAMPLING = "temperature", "top_k", "top_p"
_SAYS = frozenset(
    {*_SAMPLING, "user", "service_tier", "stop", "response_format", "thinking"}
    | {"parallel_tool_calls", "cache_control", "is_error", "summary"}
)
_TIERS = frozenset({"auto", "standard_only"})  # other formats have other words


def encode(request: Request, default_max_tokens: int) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    dropped = unsaid(request, NAME, _SAYS)
    system, messages = _split_off_system(request.messages, dropped)
    if request.response_format is not None and request.response_format.kind == "json_object":
        system = [*system, Text(_JSON_ONLY)]
    turns = _turns(messages, dropped)
    if not turns:
        raise nothing_left()
    max_tokens = request.max_tokens if request.max_tokens is not None else default_max_tokens
    body = _Body(request.model, max_tokens, turns, _encoded_system(system))
    if request.thinking is not None:
        _think(body, request, request.thinking, dropped)
    if request.tools:
        tools: list[Any] = []
        for tool in request.tools:
            if (declared := _encoded_tool(tool)) is not None:
                tools.append(declared)
        if tools:
            body.tools, body.tool_choice = tools, _encoded_choice(request)
    if request.stop:
        body.stop_sequences = [text for text in request.stop if text.strip()] or None
        if len(body.stop_sequences or ()) < len(request.stop):
            dropped.add("stop")
    if request.stream:
        body.stream = True
    if request.response_format is not None:
        _shape(body, request.response_format, dropped)
    if request.user is not None:
        body.metadata = {"user_id": request.user}
    if request.service_tier in _TIERS:
        body.service_tier = request.service_tier
    elif request.service_tier is not None:
        dropped.add("service_tier")
    if body.thinking is None or body.thinking["type"] == "disabled":
        body.temperature, body.top_k, body.top_p = request.temperature, request.top_k, request.top_p
        if body.temperature is not None and not 0 <= body.temperature <= 1:
            body.temperature = min(max(body.temperature, 0.0), 1.0)
            dropped.add("temperature")
    else:  # a model that thinks takes none of these
        dropped.update([name for name in _SAMPLING if getattr(request, name) is not None])
    told = _with_own(body, request.extra, dropped) if request.extra else body
    return Encoded(_encode(told), tuple(sorted(dropped)) if dropped else ())


def _with_own(body: _Body, extra: dict[str, Opaque], dropped: set[str]) -> _Body | dict[str, Any]:
    """`body` with the fields of `extra` that are this format's."""
    own: dict[str, Any] = {name: opaque.raw for name, opaque in extra.items() if opaque.protocol == NAME}
    if not own:
        return body
    told = {name: value for name, value in structs.asdict(body).items() if value is not None}
    for name in PARTLY.keys() & own.keys():  # the same wish, and more
        whole = {**(any_value(own.pop(name)) or {}), **told.get(name, {})}
        if whole:
            told[name] = whole
            dropped.discard(name)
    return {**own, **told}


def _split_off_system(messages: Sequence[Message], dropped: set[str]) -> tuple[list[Text], Sequence[Message]]:
    """The instructions that lead, and everything after them. Of instructions alone, the last are said as the user's.

    They are words only; kinds of what else stands among them are `dropped`.
    """
    texts: list[Text] = []
    for index, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return texts, messages[index:]
        said: list[Text] = []
        for part in message.parts:
            if type(part) is Text:
                if part.text and not part.text.isspace():
                    said.append(part)
            elif type(part) is Media:
                dropped.add(part.kind)
        if index == len(messages) - 1:
            return texts, messages[index:]
        texts += said
    return texts, ()


def _encoded_system(texts: Sequence[Text]) -> Any:
    if len(texts) == 1 and texts[0].cache is None:  # as most are
        return texts[0].text
    if any(text.cache is not None for text in texts):
        return [_marked({"type": "text", "text": text.text}, text.cache) for text in texts]
    return "\n\n".join(text.text for text in texts) or None


def _turns(messages: Iterable[Message], dropped: set[str]) -> list[_Turn]:
    """Users and assistants take turns; a user's turn begins with the results of tools.

    Only users may show something: kinds of what a model made besides words are `dropped`.
    https://docs.anthropic.com/en/docs/build-with-claude/vision
    """
    turns: list[_Turn] = []
    last: list[Any] = []  # what the last of them says
    turn_of = None  # whose it is
    mixed = False  # some result follows something else
    for message in messages:
        role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
        blocks: list[Any] = last if role == turn_of else []
        for part in message.parts:
            if role == "assistant" and type(part) is Media:
                dropped.add(part.kind)
            elif (block := encoded_block(part)) is not None:
                if blocks and type(block) is _Given and type(blocks[-1]) is not _Given:
                    mixed = True
                blocks.append(block)
        if blocks and role != turn_of:
            turns.append(_Turn(role, blocks))
            last, turn_of = blocks, role
    if mixed:
        for turn in turns:
            if turn.role == "user":
                turn.content.sort(key=lambda block: not _is_result(block))
    _without_trailing_space(turns)
    return turns


def _is_result(block: Any) -> bool:
    return type(block) is _Given


def _without_trailing_space(turns: list[_Turn]) -> None:
    """An answer that the model shall go on with may not end in white space."""
    if turns and turns[-1].role == "assistant":
        last = turns[-1].content[-1]
        if type(last) is _Said:
            last.text = last.text.rstrip()


def encoded_block(part: Part) -> Any:
    """A content block, None where there is nothing to say in this format."""
    # `isinstance` that says no asks the class's own class first, which takes as much as making a block.
    if type(part) is Text:
        if not part.text or part.text.isspace():  # Anthropic refuses blocks without words
            return None
        whole = _fields_beside(part.extra).get(SEARCH_RESULT) if part.extra is not None else None
        if whole is not None:
            return whole
        return _Said(part.text, anthropic_citations.own(part.citations) or None if part.citations else None, part.cache)
    if type(part) is ToolUse:
        return _Used(_id(part.id), part.name, _input(part), part.cache)
    if type(part) is ToolResult:
        blocks: list[Any] = []
        for piece in part.content:
            if (inner := encoded_block(piece)) is not None:
                blocks.append(inner)
        return _Given(_id(part.id), blocks or None, part.is_error or None, part.cache)
    if isinstance(part, Reasoning):
        if part.protocol != NAME:
            return None
        if part.encrypted is not None:
            return {"type": "redacted_thinking", "data": part.encrypted}
        signed = {"type": "thinking", "thinking": part.text, "signature": part.signature}
        return signed if part.signature else None
    if isinstance(part, Media):
        return _encoded_media(part)
    return part.raw if isinstance(part, Opaque) and part.protocol == NAME else None


def _marked(block: dict[str, Any], cache: Raw | None) -> dict[str, Any]:
    return block if cache is None else {**block, "cache_control": cache}


_NOT_OF_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def _id(id: str) -> str:
    """Ids may hold letters, digits, `_` and `-` only."""
    return id if id.isidentifier() and id.isascii() else _NOT_OF_IDS.sub("_", id)


def input_of(call: ToolUse) -> Raw | None:
    """The arguments as JSON, None if they are not an object."""
    try:
        arguments = call.arguments.strip().encode() or b"{}"
        return Raw(arguments) if isinstance(any_value(arguments), dict) else None
    except UnicodeEncodeError:
        return None


def _input(part: ToolUse) -> Raw:
    arguments = input_of(part)
    if arguments is not None:
        return arguments
    raise no_object(part)


def _encoded_media(media: Media) -> dict[str, Any]:
    if media.kind == "audio":
        raise refused(media, "no sounds")
    if media.kind == "video":
        raise refused(media, "no films")
    source: dict[str, Any]
    if media.file_id is not None:
        source = {"type": "file", "file_id": media.file_id}
    elif media.url is not None:
        source = {"type": "url", "url": media.url}
    elif media.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": media.text}
    elif media.kind == "document" and media.mime not in (None, "application/pdf"):
        source = {"type": "text", "media_type": "text/plain", "data": _text_of(media)}
    else:
        mime = media.mime or ("image/png" if media.kind == "image" else "application/pdf")
        source = {"type": "base64", "media_type": mime, "data": media.data or ""}
    title = {"title": media.name} if media.name and media.kind == "document" else {}
    return _marked({"type": media.kind, "source": source, **title, **_fields_beside(media.extra)}, media.cache)


def _fields_beside(extra: Opaque | None) -> dict[str, Any]:
    """What this format keeps beside a document or a tool."""
    fields = any_value(extra.raw) if extra is not None and extra.protocol == NAME else None
    return fields if isinstance(fields, dict) else {}


def _text_of(document: Media) -> str:
    """Of documents as data, Anthropic takes PDF and plain text only."""
    try:
        return base64.b64decode(document.data or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise refused(document, "PDF and text") from None


def _encoded_tool(tool: Tool | Opaque) -> Any:
    if type(tool) is not Tool:
        return tool.raw if isinstance(tool, Opaque) and tool.protocol == NAME else None
    if tool.extra is None:
        return _Declared(tool.name, tool.description, _schema(tool), tool.strict or None, tool.cache)
    told: dict[str, Any] = {"name": tool.name, **_fields_beside(tool.extra)}
    if tool.description is not None:
        told["description"] = tool.description
    told["input_schema"] = _schema(tool)
    if tool.strict:
        told["strict"] = True
    return told if tool.cache is None else _marked(told, tool.cache)


class _Typed(Struct):
    type: Raw = NULL


_typed = msgspec.json.Decoder(_Typed)
_fields = msgspec.json.Decoder(dict[str, Raw])


def _schema(tool: Tool) -> Any:
    """Always of an object: Anthropic requires it to say so."""
    try:
        if tool.schema is not None and _typed.decode(tool.schema).type is not NULL:
            return tool.schema
        fields = _fields.decode(tool.schema) if tool.schema is not None else {}
    except msgspec.DecodeError:
        told = f"The parameters of the tool {tool.name[:60]!r} must be a JSON schema of an object."
        raise InvalidRequest(told, param="tools") from None
    return {"type": "object", **({} if fields else {"properties": {}}), **fields}


def _encoded_choice(request: Request) -> dict[str, Any] | None:
    if not request.tools:
        return None
    choice = request.tool_choice
    names: dict[Literal["auto", "none", "required", "named"], str] = {
        "auto": "auto", "none": "none", "required": "any", "named": "tool",
    }  # fmt: skip
    told: dict[str, Any] | None = None
    if choice is not None:
        told = {"type": names[choice.mode], **({"name": choice.name} if choice.mode == "named" else {})}
    if request.parallel_tool_calls is False and (told is None or told["type"] != "none"):
        told = {**(told or {"type": "auto"}), "disable_parallel_tool_use": True}
    return told


def _think(body: _Body, request: Request, wish: Thinking, dropped: set[str]) -> None:
    """Put into `body` whether, how much and how hard to think."""
    body.thinking = _thinking(request, wish, body.messages)
    if body.thinking is None:
        dropped.add("thinking")
    elif "budget_tokens" in body.thinking and body.max_tokens <= body.thinking["budget_tokens"]:
        body.max_tokens += body.thinking["budget_tokens"]  # the client set no limit
    if wish.adaptive and wish.effort in _EFFORTS:
        body.output_config = {"effort": wish.effort}
    elif wish.adaptive and wish.effort is not None:
        dropped.add("effort")


def _thinking(request: Request, wish: Thinking, turns: list[_Turn]) -> dict[str, Any] | None:
    """Whether and how much to think; None where Anthropic would refuse it."""
    if not wish.enabled:
        return {"type": "disabled"}
    if wish.adaptive:  # a model that decides by itself may be made to call a tool, and may have broken off
        return {"type": "adaptive", **display(wish)}
    if _forces_tool(request) or _broke_off_thinking(turns):
        return None
    asked = wish.budget_tokens or _BUDGETS.get(wish.effort or "medium")
    if asked is None:  # of an effort that nobody knows
        return None
    budget = within(max(asked, SMALLEST_BUDGET), request.max_tokens)
    return None if budget is None else {"type": "enabled", "budget_tokens": budget, **display(wish)}


def _forces_tool(request: Request) -> bool:
    return bool(request.tools) and request.tool_choice is not None and request.tool_choice.mode in ("required", "named")


def _broke_off_thinking(turns: list[_Turn]) -> bool:
    """Results follow a turn that called tools without showing its thought: it must be gone on with as it began."""
    if len(turns) < 2 or not any(map(_is_result, turns[-1].content)):
        return False
    first = turns[-2].content[0]
    return not (isinstance(first, dict) and first["type"] in ("thinking", "redacted_thinking"))


def _shape(body: _Body, wish: ResponseFormat, dropped: set[str]) -> None:
    """Put into `body` the schema that its answer shall have."""
    if wish.kind != "json_schema":
        return
    if wish.schema is None:
        dropped.add("response_format")
    else:
        shape = {"type": "json_schema", "schema": wish.schema}
        body.output_config = {**(body.output_config or {}), "format": shape}
