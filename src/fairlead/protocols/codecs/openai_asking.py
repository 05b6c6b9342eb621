"""Requests for chat completions, as we send them to providers: our words → their JSON.

https://platform.openai.com/docs/api-reference/chat/create, with the additions for reasoning that OpenAI-compatible
servers share.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

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
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import openai_calls, openai_citations
from fairlead.protocols.codecs.openai_thoughts import encoded_thought
from fairlead.protocols.envelope import typed
from fairlead.protocols.unsaid import foreign, unsaid

NAME = openai_citations.NAME
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})  # other formats have other words
_fields = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.encode


def encode(request: Request) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    own = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME and name != "n"}
    tools = [tool for tool in map(_encoded_tool, request.tools) if tool is not None]
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        messages += _encoded(message)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        "tools": tools or None,
        "tool_choice": _encoded_choice(request.tool_choice) if tools else None,
        "parallel_tool_calls": request.parallel_tool_calls if tools else None,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "stream": request.stream or None,
        "stream_options": {"include_usage": True} if request.stream else None,
        "response_format": _encoded_format(request.response_format),
        "reasoning_effort": _effort(request.thinking),
        "user": request.user,
        "service_tier": request.service_tier if request.service_tier in _TIERS else None,
    }
    if "stream_options" in own and request.stream:
        options: dict[str, Raw] = typed(own["stream_options"], _fields, "stream_options")
        body["stream_options"] = {**options, "include_usage": True}
    if "reasoning" in own:  # the same wish, and more
        body["reasoning_effort"] = None
    if own:  # the request came in this format, where `top_k` is not OpenAI's but many others' word
        body["top_k"] = request.top_k
    told = {name: value for name, value in body.items() if value is not None}
    return Encoded(_encode({**own, **told}), tuple(sorted(_dropped(request, told))))


_SAYS = frozenset(
    "temperature top_p frequency_penalty presence_penalty seed stop user response_format parallel_tool_calls name"
    " reasoning detail".split()
)


def _dropped(request: Request, told: dict[str, Any]) -> set[str]:
    found = unsaid(request, NAME, _SAYS).difference(told)
    if "reasoning_effort" in told or "reasoning" in request.extra or _is_the_models(request.thinking):
        found.discard("thinking")
    for message in request.messages:
        if message.role == "assistant":  # it says words and calls only
            found.update([part.kind for part in message.parts if isinstance(part, Media)])
    if "n" in request.extra:  # our words tell one answer
        found.add("n")
    return found.union(foreign(request.extra, NAME)) if request.extra else found


def _is_the_models(wish: Thinking | None) -> bool:
    """Whether the model shall decide how much it thinks, as it does unless asked."""
    return wish is None or (wish.enabled and wish.effort is None and wish.budget_tokens is None)


def _encoded(message: Message) -> Iterable[dict[str, Any]]:
    if message.role == "tool":
        return _encoded_results(message.parts)
    if message.role == "assistant":
        return _encoded_assistant(message)
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], Text):  # as nearly all are
        return (_named({"role": message.role, "content": parts[0].text}, message.name),)
    # Results may share a user message with words: they answer the assistant's turn, so they come first.
    results = [part for part in parts if isinstance(part, ToolResult)]
    told = _encoded_results(results)
    content = _encoded_content(part for part in parts if not isinstance(part, ToolResult))
    if content or not results:
        told.append(_named({"role": message.role, "content": content}, message.name))
    return told


def _encoded_results(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """A tool's message holds only text, so that what else it gave follows as the user's."""
    told: list[dict[str, Any]] = []
    shown: list[Part] = []
    for part in parts:
        if not isinstance(part, ToolResult):
            continue
        text = "\n".join([piece.text for piece in part.content if isinstance(piece, Text)])
        media = [piece for piece in part.content if isinstance(piece, Media)]
        if media:
            text = text or "The result follows in the next message."
            shown += media
        told.append({"role": "tool", "tool_call_id": part.id, "content": text})
    if shown:
        told.append({"role": "user", "content": _encoded_content(shown)})
    return told


def _encoded_assistant(message: Message) -> Iterable[dict[str, Any]]:
    texts: list[Text] = []
    thought = ""
    sealed: list[Reasoning] = []  # another provider's signature would be refused; our own: this one knows the field
    calls: list[Any] = []
    blocks: list[Raw] = []  # of its content, that only this format knows
    fields: dict[str, Raw] = {}  # of its own
    for part in message.parts:
        if isinstance(part, Text):
            texts.append(part)
        elif isinstance(part, ToolUse):
            calls.append(openai_calls.encoded_call(part))
        elif isinstance(part, Reasoning):
            if part.protocol is None:
                thought += part.text
            elif part.protocol == NAME:
                sealed.append(part)
        elif isinstance(part, Opaque) and part.protocol == NAME:
            own: dict[str, Raw] = typed(part.raw, _fields, "messages")
            if "type" not in own:
                fields.update(own)
            else:
                (calls if "id" in own else blocks).append(part.raw)
    content = texts[0].text if len(texts) == 1 else "".join([text.text for text in texts])
    if not content and not calls and not thought and not sealed and not blocks and not fields:
        return ()
    told = _named({"role": "assistant", "content": content or None, **fields}, message.name)
    if blocks:
        told["content"] = [*([{"type": "text", "text": content}] if content else []), *blocks]
    if thought:
        told["reasoning_content"] = thought
    if sealed:
        told["reasoning_details"] = [encoded_thought(part, index) for index, part in enumerate(sealed)]
    if calls:
        told["tool_calls"] = calls
    annotations = openai_citations.own(texts)
    if annotations:
        told["annotations"] = annotations
    return (told,)


def _named(told: dict[str, Any], name: str | None) -> dict[str, Any]:
    return told if name is None else {**told, "name": name}


def _encoded_content(parts: Iterable[Part]) -> str | list[Any]:
    told = [encoded for encoded in map(_encoded_part, parts) if encoded is not None]
    if all(isinstance(part, dict) and part["type"] == "text" for part in told):
        return "\n\n".join(part["text"] for part in told)
    return told


def _encoded_part(part: Part) -> Any:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text} if text else None
        case Media():
            return _encoded_media(part)
        case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
            return raw
    return None


def _encoded_media(media: Media) -> dict[str, Any]:
    if media.text is not None:
        title = f"{media.name}\n\n" if media.name else ""
        return {"type": "text", "text": title + media.text}
    match media.kind:
        case "image":
            url = media.url or f"data:{media.mime or 'image/png'};base64,{media.data or ''}"
            if media.file_id is not None:
                raise InvalidRequest("This model's provider takes images as data or address, not as a file's id.")
            detail = {"detail": media.detail} if media.detail else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case "video":
            # OpenAI's own models see none; OpenRouter, vLLM and others take them like images.
            # https://openrouter.ai/docs/features/multimodal/videos
            if media.file_id is not None:
                raise InvalidRequest("This model's provider takes films as data or address, not as a file's id.")
            film = media.url or f"data:{media.mime or 'video/mp4'};base64,{media.data or ''}"
            return {"type": "video_url", "video_url": {"url": film}}
        case "audio":
            if media.data is None:
                raise InvalidRequest("This model's provider takes sound as data, not as an address or a file's id.")
            audio = {"data": media.data, "format": _audio_format(media.mime)}
            return {"type": "input_audio", "input_audio": audio}
    if media.file_id is not None:
        return {"type": "file", "file": {"file_id": media.file_id}}
    address = media.url or f"data:{media.mime or 'application/pdf'};base64,{media.data or ''}"
    return {"type": "file", "file": {"filename": media.name or "document.pdf", "file_data": address}}


def _audio_format(mime: str | None) -> str:
    name = (mime or "audio/wav").partition("/")[2]
    return {"mpeg": "mp3", "x-wav": "wav"}.get(name, name)


def _encoded_tool(tool: Tool | Opaque) -> Any:
    if isinstance(tool, Opaque):
        return tool.raw if tool.protocol == NAME else None
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _encoded_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "named" else choice.mode


def _encoded_format(wish: ResponseFormat | None) -> Any:
    if wish is None or wish.kind == "json_object":
        return wish and {"type": "json_object"}
    facts = {"schema": wish.schema, "strict": wish.strict, "description": wish.description}
    told = {name: value for name, value in facts.items() if value is not None}
    return {"type": "json_schema", "json_schema": {"name": wish.name or "answer", **told}}


def _effort(thinking: Thinking | None) -> str | None:
    """Efforts in words; a budget of tokens is rounded to the nearest one."""
    if thinking is None:
        return None
    if not thinking.enabled:
        return thinking.effort if thinking.effort == "none" else None
    if thinking.effort is not None or thinking.budget_tokens is None:
        return thinking.effort
    return "low" if thinking.budget_tokens < 2048 else "medium" if thinking.budget_tokens < 12288 else "high"
