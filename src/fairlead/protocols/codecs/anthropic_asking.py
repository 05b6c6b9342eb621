"""Requests for Anthropic's messages, as we send them to providers: our words → their JSON.

https://docs.anthropic.com/en/api/messages
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from fairlead.errors import InvalidRequest
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import anthropic_citations
from fairlead.protocols.codecs.anthropic_request import NAME, PARTLY
from fairlead.protocols.codecs.wording import SMALLEST_BUDGET, within
from fairlead.protocols.envelope import NULL, any_value
from fairlead.protocols.unsaid import foreign, unsaid

# A wish in words, as a budget of tokens. https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_JSON_ONLY = "Answer with one JSON object and nothing else."
_encode = msgspec.json.encode


def encode(request: Request, default_max_tokens: int) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    system, messages = _split_off_system(request.messages)
    if request.response_format is not None and request.response_format.kind == "json_object":
        system = [*system, Text(_JSON_ONLY)]
    turns = _turns(messages)
    max_tokens = request.max_tokens if request.max_tokens is not None else default_max_tokens
    thinking = _thinking(request, turns)
    if thinking is not None and "budget_tokens" in thinking and max_tokens <= thinking["budget_tokens"]:
        max_tokens += thinking["budget_tokens"]  # the client set no limit
    tools = [tool for tool in map(_encoded_tool, request.tools) if tool is not None]
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": max_tokens,
        "system": _encoded_system(system),
        "messages": turns,
        "tools": tools or None,
        "tool_choice": _encoded_choice(request) if tools else None,
        "stop_sequences": [text for text in request.stop if text.strip()] or None,
        "stream": request.stream or None,
        "thinking": thinking,
        "output_config": _encoded_output(request),
        "metadata": {"user_id": request.user} if request.user is not None else None,
        "service_tier": request.service_tier if request.service_tier in ("auto", "standard_only") else None,
    }
    if thinking is None or thinking["type"] == "disabled":  # a model that thinks takes none of these
        body["temperature"] = None if request.temperature is None else min(max(request.temperature, 0.0), 1.0)
        body["top_k"], body["top_p"] = request.top_k, request.top_p
    own = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    for name in PARTLY.keys() & own.keys() if own else ():  # the same wish, and more
        body[name] = {**(any_value(own.pop(name)) or {}), **(body[name] or {})} or None
    told = {name: value for name, value in body.items() if value is not None}
    return Encoded(_encode({**own, **told}), tuple(sorted(_dropped(request, told))))


_SAYS = frozenset({"user", "stop", "response_format", "parallel_tool_calls", "cache_control", "is_error"})


def _dropped(request: Request, told: dict[str, Any]) -> set[str]:
    """What of `request` is not in `told`, or not as it was asked for."""
    found = unsaid(request, NAME, _SAYS).difference(told)
    if request.temperature is not None and told.get("temperature", request.temperature) != request.temperature:
        found.add("temperature")  # beyond what Anthropic allows
    if request.stop and any(not text.strip() for text in request.stop):
        found.add("stop")
    shape = request.response_format
    if shape is not None and shape.kind == "json_schema" and shape.schema is None:
        found.add("response_format")
    if request.extra:
        found |= foreign(request.extra, NAME)
    found.update(_unshown(request.messages))
    return found


def _unshown(messages: Iterable[Message]) -> list[str]:
    """Kinds of what stands among instructions that lead, which are words only, and of what a model made besides words:
    only users may show something.

    https://docs.anthropic.com/en/docs/build-with-claude/vision
    """
    found: list[str] = []
    leading = True
    for message in messages:
        leading = leading and message.role in ("system", "developer")
        if leading or message.role == "assistant":
            found += [part.kind for part in message.parts if isinstance(part, Media)]
    return found


def _split_off_system(messages: Sequence[Message]) -> tuple[list[Text], Sequence[Message]]:
    """The instructions that lead, and everything after them. Of instructions alone, the last are said as the user's."""
    texts: list[Text] = []
    for index, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return texts, messages[index:]
        if index == len(messages) - 1:
            return texts, messages[index:]
        texts += [part for part in message.parts if isinstance(part, Text) and part.text.strip()]
    return texts, ()


def _encoded_system(texts: Sequence[Text]) -> Any:
    if any(text.cache is not None for text in texts):
        return [_marked({"type": "text", "text": text.text}, text.cache) for text in texts]
    return "\n\n".join(text.text for text in texts) or None


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Users and assistants take turns; a user's turn begins with the results of tools."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role, parts = "user", message.parts
        if message.role == "assistant":
            role, parts = "assistant", tuple([part for part in parts if not isinstance(part, Media)])
        blocks = [block for block in map(encoded_block, parts) if block is not None]
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user" and len(turn["content"]) > 1:
            turn["content"].sort(key=lambda block: not _is_result(block))
    _without_trailing_space(turns)
    return turns


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block["type"] == "tool_result"


def _without_trailing_space(turns: list[dict[str, Any]]) -> None:
    """An answer that the model shall go on with may not end in white space."""
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if isinstance(last, dict) and last["type"] == "text":
            last["text"] = last["text"].rstrip()


def encoded_block(part: Part) -> Any:
    """A content block, None where there is nothing to say in this format."""
    if isinstance(part, Text):
        if not part.text or part.text.isspace():  # Anthropic refuses blocks without words
            return None
        block: dict[str, Any] = {"type": "text", "text": part.text}
        own = anthropic_citations.own(part.citations) if part.citations else None
        if own:
            block["citations"] = own
        return _marked(block, part.cache)
    match part:
        case Reasoning(protocol=protocol, signature=signature, encrypted=encrypted) if protocol == NAME:
            if encrypted is not None:
                return {"type": "redacted_thinking", "data": encrypted}
            return {"type": "thinking", "thinking": part.text, "signature": signature} if signature else None
        case ToolUse(id=id, name=name, cache=cache):
            return _marked({"type": "tool_use", "id": _id(id), "name": name, "input": _input(part)}, cache)
        case ToolResult(id=id, content=content, is_error=is_error, cache=cache):
            told: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(id)}
            blocks = [block for block in map(encoded_block, content) if block is not None]
            if blocks:
                told["content"] = blocks
            if is_error:
                told["is_error"] = True
            return _marked(told, cache)
        case Media():
            return _encoded_media(part)
        case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
            return raw
    return None


def _marked(block: dict[str, Any], cache: Raw | None) -> dict[str, Any]:
    return block if cache is None else {**block, "cache_control": cache}


_NOT_OF_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def _id(id: str) -> str:
    """Ids may hold letters, digits, `_` and `-` only."""
    return _NOT_OF_IDS.sub("_", id)


def input_of(call: ToolUse) -> Raw | None:
    """The arguments as JSON, None if they are not an object."""
    try:
        arguments = call.arguments.strip().encode() or b"{}"
        return Raw(arguments) if isinstance(msgspec.json.decode(arguments), dict) else None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _input(part: ToolUse) -> Raw:
    arguments = input_of(part)
    if arguments is not None:
        return arguments
    told = f"The arguments of the call {part.id[:60]!r} of the tool {part.name[:60]!r} must be a JSON object."
    raise InvalidRequest(told, param="messages")


def _encoded_media(media: Media) -> dict[str, Any]:
    if media.kind == "audio":
        raise InvalidRequest("This model's provider takes no audio: 'messages' has an 'input_audio'.", param="messages")
    if media.kind == "video":
        raise InvalidRequest("This model's provider takes no video, and 'messages' has one.", param="messages")
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
        told = f"This model's provider takes documents as PDF or text, not as {(document.mime or '')[:60]!r}."
        raise InvalidRequest(told, param="messages") from None


def _encoded_tool(tool: Tool | Opaque) -> Any:
    if isinstance(tool, Opaque):
        return tool.raw if tool.protocol == NAME else None
    told: dict[str, Any] = {"name": tool.name}
    if tool.extra is not None:
        told |= _fields_beside(tool.extra)
    if tool.description is not None:
        told["description"] = tool.description
    told["input_schema"] = _schema(tool)
    if tool.strict:
        told["strict"] = True
    return _marked(told, tool.cache)


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


def _thinking(request: Request, turns: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Whether and how much to think; not where Anthropic would refuse it."""
    wish = request.thinking
    if wish is None:
        return None
    if not wish.enabled:
        return {"type": "disabled"}
    if wish.adaptive:  # a model that decides by itself may be made to call a tool, and may have broken off
        return {"type": "adaptive"}
    if _forces_tool(request) or _broke_off_thinking(turns):
        return None
    asked = wish.budget_tokens or _BUDGETS.get(wish.effort or "medium", _BUDGETS["medium"])
    budget = within(max(asked, SMALLEST_BUDGET), request.max_tokens)
    return None if budget is None else {"type": "enabled", "budget_tokens": budget}


def _forces_tool(request: Request) -> bool:
    return bool(request.tools) and request.tool_choice is not None and request.tool_choice.mode in ("required", "named")


def _broke_off_thinking(turns: list[dict[str, Any]]) -> bool:
    """Results follow a turn that called tools without showing its thought: it must be gone on with as it began."""
    if len(turns) < 2 or not any(map(_is_result, turns[-1]["content"])):
        return False
    first = turns[-2]["content"][0]
    return not (isinstance(first, dict) and first["type"] in ("thinking", "redacted_thinking"))


def _encoded_output(request: Request) -> dict[str, Any] | None:
    told: dict[str, Any] = {}
    wish, shape = request.thinking, request.response_format
    if wish is not None and wish.adaptive and wish.effort in _EFFORTS:
        told["effort"] = wish.effort
    if shape is not None and shape.kind == "json_schema" and shape.schema is not None:
        told["format"] = {"type": "json_schema", "schema": shape.schema}
    return told or None
