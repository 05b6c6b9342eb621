"""Requests for responses, as we send them to providers: our words → their JSON.

https://platform.openai.com/docs/api-reference/responses/create. Nothing is stored there, so that thoughts travel
encrypted: https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw, structs

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
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import responses_items as items
from fairlead.protocols.codecs.responses_carried import NAME, SHARED
from fairlead.protocols.codecs.wording import refused
from fairlead.protocols.envelope import any_value
from fairlead.protocols.unsaid import is_plain, kind, nothing_left, unsaid

_CHAT = "openai-chat"
TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_ROUTING = frozenset({"provider", "models", "route", "transforms", "session_id", "trace"})  # told in any format
_SAYS = frozenset("temperature top_p user response_format parallel_tool_calls detail cache_control summary".split())
_FEWEST_TOKENS = 16  # that may be asked for
_LONGEST_ID = 64  # of a call that is answered
_TRUE = Raw(b"true")
_encode = msgspec.json.encode


def encode(request: Request) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    own = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    first, messages = _split_off_instructions(request.messages)
    plain = all(is_plain(part) for message in request.messages for part in message.parts)
    customs = set() if plain else _custom_calls(messages)
    told_items: list[Any] = []
    for message in messages:
        told_items += _encoded(message, customs)
    if not told_items and not own.keys() & {"prompt"}:
        raise nothing_left()
    tools = [tool for tool in (declared(tool, own) for tool in request.tools) if tool is not None]
    chooses = bool(tools) or (not plain and _brings_tools(messages))
    body: dict[str, Any] = {
        "model": request.model,
        "instructions": first,
        "input": told_items,
        "tools": tools or None,
        "tool_choice": choice(request) if chooses else None,
        "parallel_tool_calls": request.parallel_tool_calls if chooses else None,
        "max_output_tokens": None if request.max_tokens is None else max(request.max_tokens, _FEWEST_TOKENS),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": request.stream or None,
        "store": False,
        "text": text_wish(request, own),
        "reasoning": reasoning(request, own),
        "include": _include(request, own, plain=plain),
        "user": request.user,
        "service_tier": request.service_tier if request.service_tier in TIERS else None,
        **_shared(request),
    }
    told = {name: value for name, value in body.items() if value is not None}
    return Encoded(_encode({**own, **told}), tuple(sorted(_dropped(request, told, plain=plain))))


def _dropped(request: Request, told: dict[str, Any], *, plain: bool) -> set[str]:
    """`plain`: all parts are."""
    found = unsaid(request, NAME, _SAYS) - told.keys()
    wish = request.thinking
    if "effort" in told.get("reasoning", {}) or (wish is not None and wish.enabled and wish.budget_tokens is None):
        found.discard("thinking")
    if "verbosity" in told.get("text", {}):
        found.discard("verbosity")
    if request.max_tokens is not None and request.max_tokens < _FEWEST_TOKENS:
        found.add("max_tokens")
    if "store" in request.extra and request.extra["store"].raw == _TRUE:
        found.add("store")
    if any(isinstance(tool, Tool) and tool.cache is not None for tool in request.tools):
        found.add("cache_control")
    for message in () if plain else request.messages:
        for part in _joined(message.parts):
            found |= set(_dropped_of(part, message))
    return found


def _dropped_of(part: Part, message: Message) -> Iterator[str]:
    if isinstance(part, Reasoning) and part.protocol == NAME and not _is_told(part):
        yield "reasoning"
    if _marked(part) and not _own_mark(part):
        yield "cache_control"
    if isinstance(part, Media) and message.role == "assistant":
        yield part.kind
    if isinstance(part, ToolResult):
        for piece in part.content:
            yield from _dropped_of(piece, message)


def _marked(part: Part) -> bool:
    return getattr(part, "cache", None) is not None


def _own_mark(part: Part) -> bool:
    return "prompt_cache_breakpoint" in items.beside(getattr(part, "extra", None))


def _shared(request: Request) -> dict[str, Raw]:
    """The fields that chat completions have by the same name."""
    found = request.extra
    return {name: found[name].raw for name in SHARED if name in found and found[name].protocol == _CHAT}


def instructions(request: Request) -> str | None:
    """What the system says first."""
    return _split_off_instructions(request.messages)[0]


def _split_off_instructions(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """What the system says first, and everything after it."""
    if len(messages) > 1 and messages[0].role == "system" and messages[0].name is None:
        parts = messages[0].parts
        plain = [
            part.text
            for part in parts
            if isinstance(part, Text) and (part.extra is None or not items.beside(part.extra))
        ]
        if plain and len(plain) == len(parts):
            return "\n\n".join(plain), messages[1:]
    return None, messages


# ---- items


def _brings_tools(messages: Iterable[Message]) -> bool:
    """Whether an item tells of tools, instead of the request's own field."""
    parts = (part for message in messages if message.role == "tool" for part in message.parts)
    return any(
        isinstance(part, Opaque) and kind(part, "") in ("additional_tools", "tool_search_output") for part in parts
    )


def _custom_calls(messages: Iterable[Message]) -> set[str]:
    """The ids of calls of custom tools: their results have a type of their own."""
    parts = (part for message in messages if message.role == "assistant" for part in message.parts)
    return {part.id for part in parts if isinstance(part, ToolUse) and items.is_custom(part)}


def _encoded(message: Message, customs: set[str]) -> list[Any]:
    match message.role:
        case "tool":
            return _encoded_results(message.parts, customs)
        case "assistant":
            return list(_encoded_assistant(message.parts))
        case role:
            # Results may share a user message with words: they answer the assistant's turn, so they come first.
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            others = [part for part in message.parts if not isinstance(part, ToolResult)] if results else message.parts
            told = _encoded_results(results, customs) if results else []
            content = _encoded_content(others)
            if content or not results:
                told.append({"type": "message", "role": role, "content": content or ""})
            return told


def _encoded_content(parts: Sequence[Part]) -> str | list[Any]:
    """A string where it is one text and nothing else: every server takes that."""
    if len(parts) == 1 and isinstance(parts[0], Text) and (parts[0].extra is None or not items.beside(parts[0].extra)):
        return parts[0].text
    return [encoded for encoded in map(_encoded_part, parts) if encoded is not None]


def _encoded_part(part: Part) -> Any:
    match part:
        case Text(text=text):
            return _with_mark({"type": "input_text", "text": text}, part)
        case Media():
            return _with_mark(_encoded_media(part), part)
        case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
            return raw
    return None


def _with_mark(told: dict[str, Any], part: Text | Media) -> dict[str, Any]:
    own = items.beside(part.extra)
    mark = own.get("prompt_cache_breakpoint")
    return told if mark is None else {**told, "prompt_cache_breakpoint": mark}


def _encoded_media(media: Media) -> dict[str, Any]:
    if media.text is not None:
        title = f"{media.name}\n\n" if media.name else ""
        return {"type": "input_text", "text": title + media.text}
    match media.kind:
        case "image":
            told: dict[str, Any] = {"type": "input_image", "detail": media.detail or "auto"}
            if media.file_id is not None:
                return {**told, "file_id": media.file_id}
            return {**told, "image_url": media.url or f"data:{media.mime or 'image/png'};base64,{media.data or ''}"}
        case "audio":
            if media.data is None:
                raise refused(media, "sounds as data")
            return {"type": "input_audio", "input_audio": {"data": media.data, "format": _audio_format(media.mime)}}
        case "video":
            raise refused(media, "no films")
    detail = any_value(media.extra.raw) if media.extra is not None and media.extra.protocol == NAME else None
    told = {"type": "input_file"}
    if isinstance(detail, dict) and isinstance(detail.get("detail"), str):
        told["detail"] = detail["detail"]
    if media.file_id is not None:
        return {**told, "file_id": media.file_id}
    if media.url is not None:
        return {**told, "file_url": media.url}
    mime = media.mime or "application/pdf"
    name = media.name or ("document.pdf" if mime == "application/pdf" else "document")
    return {**told, "filename": name, "file_data": f"data:{mime};base64,{media.data or ''}"}


def _audio_format(mime: str | None) -> str:
    name = (mime or "audio/wav").partition("/")[2]
    return {"mpeg": "mp3", "x-wav": "wav"}.get(name, name)


def _encoded_results(parts: Iterable[Part], customs: set[str]) -> list[Any]:
    """A result holds texts, images and files; a sound that a tool gave follows as the user's."""
    told: list[Any] = []
    shown: list[Part] = []
    for part in parts:
        if isinstance(part, Opaque) and part.protocol == NAME:
            told.append(part.raw)
        if not isinstance(part, ToolResult):
            continue
        sounds = [piece for piece in part.content if _is_sound(piece)]
        shown += sounds
        others = [piece for piece in part.content if not _is_sound(piece)] if sounds else part.content
        content = _encoded_content(others)
        if sounds and not content:
            content = "The result follows in the next message."
        kind = "custom_tool_call_output" if part.id in customs else "function_call_output"
        told.append({"type": kind, "call_id": _id(part.id), "output": content or ""})
    if shown:
        told.append({"type": "message", "role": "user", "content": _encoded_content(shown)})
    return told


def _is_sound(part: Part) -> bool:
    return isinstance(part, Media) and part.kind == "audio"


def _joined(parts: Sequence[Part]) -> Iterable[Part]:
    """The parts, of thoughts the text and what is encrypted in one where they were one item."""
    if not any(isinstance(part, Reasoning) for part in parts):
        return parts
    return _joined_thoughts(parts)


def _joined_thoughts(parts: Iterable[Part]) -> Iterator[Part]:
    waiting: Reasoning | None = None
    for part in parts:
        if waiting is not None and isinstance(part, Reasoning) and is_of(waiting, part):
            yield structs.replace(part, text=waiting.text, signature=waiting.signature)
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = part if isinstance(part, Reasoning) else None
        if waiting is None:
            yield part
    if waiting is not None:
        yield waiting


def _encoded_assistant(parts: Sequence[Part]) -> Iterator[Any]:
    for part in _joined(parts):
        match part:
            case Text(text=text) if text:
                yield _spoken(part)
            case Reasoning(protocol=protocol) if protocol == NAME:
                if _is_told(part):
                    yield items.reasoning(items.id_of(part), part, seal=part.encrypted)
            case ToolUse(id=id):
                yield items.encoded_call(part, _id(id))
            case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
                yield raw


def is_of(told: Reasoning, sealed: Reasoning) -> bool:
    """Whether `sealed` is what is encrypted of the item whose text is `told`."""
    if (
        told.protocol != NAME
        or sealed.protocol != NAME
        or sealed.encrypted is None
        or sealed.text
        or told.encrypted is not None
    ):
        return False
    return items.id_of(told) in (None, items.id_of(sealed)) or items.id_of(sealed) is None


def _is_told(part: Reasoning) -> bool:
    """Whether a thought of this format can be shown again: by what is encrypted, or since it is told itself. Of one
    that only has an id nothing is stored."""
    return part.encrypted is not None or (items.is_raw(part) and bool(part.text))


def _spoken(text: Text) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "message", "role": "assistant", "content": text.text}
    if text.refusal:
        told["content"] = [{"type": "refusal", "refusal": text.text}]
    cited = [each.raw.raw for each in text.citations if each.raw is not None and each.raw.protocol == NAME]
    if cited:
        told["content"] = [{"type": "output_text", "text": text.text, "annotations": cited}]
    phase = items.phase_of(text)
    return told if phase is None else {**told, "phase": phase}


def _id(id: str) -> str:
    """A call's id as it may be answered: not too long."""
    if 0 < len(id) <= _LONGEST_ID:
        return id
    return f"call_{hashlib.sha256(id.encode('utf-8', 'replace')).hexdigest()[:40]}"


# ---- wishes


def declared(tool: Tool | Opaque, own: Mapping[str, Raw] = MappingProxyType({})) -> Any:
    """The tool as it is declared; None where only another format knows it."""
    if isinstance(tool, Opaque):
        return tool.raw if tool.protocol == NAME else None
    kept = items.kept(tool.extra)
    custom = kept.pop("custom", None)
    told: dict[str, Any] = {"type": "function" if custom is None else "custom", "name": tool.name, **kept}
    if tool.description is not None:
        told["description"] = tool.description
    if custom is not None:
        return {**told, **custom} if isinstance(custom, dict) else told
    told["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    # Unless told, functions are strict here, and in no other format.
    # https://platform.openai.com/docs/guides/migrate-to-responses#5-update-function-definitions
    strict = tool.strict if tool.strict is not None or own.keys() - _ROUTING else False
    return told if strict is None else {**told, "strict": strict}


def choice(request: Request) -> Any:
    wish = request.tool_choice
    if wish is None or wish.mode != "named":
        return wish and wish.mode
    return {"type": "custom" if wish.name in custom_tools(request) else "function", "name": wish.name}


def custom_tools(request: Request) -> frozenset[str]:
    """The names of those whose input is a text."""
    beside = [tool for tool in request.tools if isinstance(tool, Tool) and tool.extra is not None]
    return frozenset(tool.name for tool in beside if "custom" in items.kept(tool.extra))


def text_wish(request: Request, own: dict[str, Raw]) -> dict[str, Any] | None:
    told: dict[str, Any] = {}
    if "text" in own:
        told.update(msgspec.json.decode(own["text"], type=dict[str, Raw]))
    verbosity = request.extra.get("verbosity")
    if verbosity is not None and verbosity.protocol == _CHAT:
        told.setdefault("verbosity", verbosity.raw)
    shape = _encoded_format(request.response_format)
    if shape is not None:
        told["format"] = shape
    return told or None


def _encoded_format(wish: ResponseFormat | None) -> Any:
    if wish is None:
        return None
    if wish.kind == "json_object" or wish.schema is None:
        return {"type": "json_object"}
    facts = {"strict": wish.strict, "description": wish.description}
    told = {name: value for name, value in facts.items() if value is not None}
    return {"type": "json_schema", "name": wish.name or "answer", "schema": wish.schema, **told}


def reasoning(request: Request, own: dict[str, Raw]) -> dict[str, Any] | None:
    told: dict[str, Any] = {}
    if "reasoning" in own:
        told.update(msgspec.json.decode(own["reasoning"], type=dict[str, Raw]))
    wish = request.thinking
    effort = _effort(wish)
    if effort is not None:
        told["effort"] = effort
    if wish is not None and wish.summary not in (None, "none"):
        told["summary"] = "auto" if wish.summary == "default" else wish.summary
    return told or None


def _effort(wish: Thinking | None) -> str | None:
    """Efforts in words; a budget of tokens is rounded to the nearest one."""
    if wish is None or (not wish.enabled and wish.effort != "none"):
        return None
    if wish.effort is not None or wish.budget_tokens is None:
        return wish.effort
    return "low" if wish.budget_tokens < 2048 else "medium" if wish.budget_tokens < 12288 else "high"


def _include(request: Request, own: dict[str, Raw], *, plain: bool) -> Any:
    """What thinks shall tell it encrypted; models that do not think refuse to be asked."""
    told = any_value(own["include"]) if "include" in own else []
    names = [name for name in told if isinstance(name, str)] if isinstance(told, list) else []
    thinks = request.thinking is not None and request.thinking.enabled
    shown = not plain and any(
        isinstance(part, Reasoning) and part.protocol == NAME and part.encrypted is not None
        for message in request.messages
        for part in message.parts
    )
    if thinks or shown or "include" in own:
        names.append(items.SEALED)
    return names or None
