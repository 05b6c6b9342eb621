"""Requests for chat completions, as we send them to providers: our words → their JSON.

https://platform.openai.com/docs/api-reference/chat/create, with the additions for reasoning that OpenAI-compatible
servers share.
"""

from collections.abc import Iterable
from typing import Any

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
    ToolChoice,
    ToolResult,
    ToolUse,
)
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import openai_calls, openai_citations, responses_carried
from fairlead.protocols.codecs.openai_thoughts import encoded_thought
from fairlead.protocols.codecs.wording import refused
from fairlead.protocols.envelope import typed
from fairlead.protocols.unsaid import nothing_left, unsaid

NAME = openai_citations.NAME
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})  # other formats have other words
_fields = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.Encoder().encode


class _Message(Struct, omit_defaults=True, gc=False):
    role: str
    content: Any  # a text, parts, or null
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    tool_calls: list[Any] | None = None
    annotations: list[Raw] | None = None


class _Result(Struct, gc=False, tag_field="role", tag="tool"):
    """What a tool gave."""

    tool_call_id: str
    content: str


class _Arguments(Struct, gc=False):
    name: str
    arguments: str


class _Call(Struct, gc=False):
    id: str
    type: str
    function: _Arguments


class _Declaration(Struct, omit_defaults=True, gc=False):
    name: str
    description: str | None = None
    parameters: Raw | None = None
    strict: bool | None = None


class _Tool(Struct, gc=False, tag_field="type", tag="function"):
    function: _Declaration


class _Body(Struct, omit_defaults=True, gc=False):
    model: str
    messages: list[Any]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    user: str | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    stop: tuple[str, ...] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    response_format: Any = None
    reasoning_effort: str | None = None
    service_tier: str | None = None


_SAYS = frozenset(
    "temperature top_p top_k frequency_penalty presence_penalty seed stop user service_tier response_format thinking"
    " parallel_tool_calls name reasoning detail".split()
)


def encode(request: Request) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    dropped = unsaid(request, NAME, _SAYS)
    messages: list[Any] = []
    for message in request.messages:
        parts = message.parts
        # Here, so that it costs no call: most are one text of a user.
        if message.role == "user" and len(parts) == 1 and type(parts[0]) is Text:
            messages.append(_Message("user", parts[0].text, message.name))
        else:
            messages += _encoded(message, dropped)
    if not messages:
        raise nothing_left()
    body = _Body(
        request.model, messages, request.max_tokens, request.temperature, request.top_p, request.frequency_penalty,
        request.presence_penalty, request.seed, request.user,
    )  # fmt: skip
    if request.tools:
        tools: list[Any] = []
        for tool in request.tools:
            if (declared := _encoded_tool(tool)) is not None:
                tools.append(declared)
        if tools:
            body.tools = tools
            if request.tool_choice is not None:
                body.tool_choice = _encoded_choice(request.tool_choice)
            body.parallel_tool_calls = request.parallel_tool_calls
    if request.stop:
        body.stop = request.stop
    if request.stream:
        body.stream, body.stream_options = True, {"include_usage": True}
    if request.response_format is not None:
        body.response_format = _encoded_format(request.response_format)
    if request.thinking is not None:
        body.reasoning_effort = _effort(request.thinking)
        if body.reasoning_effort is None and not _is_the_models(request.thinking):
            dropped.add("thinking")
    if request.service_tier in _TIERS:
        body.service_tier = request.service_tier
    elif request.service_tier is not None:
        dropped.add("service_tier")
    if request.top_k is not None:
        dropped.add("top_k")
    told = _with_own(body, request, dropped) if request.extra else body
    return Encoded(_encode(told), tuple(sorted(dropped)) if dropped else ())


def _with_own(body: _Body, request: Request, dropped: set[str]) -> _Body | dict[str, Any]:
    """`body` with the request's further fields that are this format's, if not its alone."""
    own: dict[str, Any] = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    own.pop("n", None)
    if "n" in request.extra:  # our words tell one answer
        dropped.add("n")
    if "reasoning" in request.extra:
        dropped -= {"thinking", "thinking.summary"}
    shared = _shared(request.extra, dropped)
    if not own and not shared:
        return body
    told = {name: value for name, value in structs.asdict(body).items() if value is not None}
    if "stream_options" in own and request.stream:
        options: dict[str, Raw] = typed(own["stream_options"], _fields, "stream_options")
        told["stream_options"] = {**options, "include_usage": True}
    if "reasoning" in own:  # the same wish, and more
        told.pop("reasoning_effort", None)
    if own and request.top_k is not None:  # in this format it is not OpenAI's but many others' word
        told["top_k"] = request.top_k
        dropped.discard("top_k")
    return {**own, **told, **shared}


def _shared(extra: dict[str, Opaque], dropped: set[str]) -> dict[str, Raw]:
    """The fields that the Responses API has by the same name, and `text.verbosity`."""
    others = {name: opaque.raw for name, opaque in extra.items() if opaque.protocol == responses_carried.NAME}
    told = {name: others[name] for name in responses_carried.SHARED if name in others}
    dropped.difference_update(told)
    if "text" in others:
        text: dict[str, Raw] = _fields.decode(others["text"])
        if "verbosity" in text:
            told["verbosity"] = text["verbosity"]
            if len(text) == 1:
                dropped.discard("text")
    return told


def _is_the_models(wish: Thinking | None) -> bool:
    """Whether the model shall decide how much it thinks, as it does unless asked."""
    return wish is None or (wish.enabled and wish.effort is None and wish.budget_tokens is None)


def _encoded(message: Message, dropped: set[str]) -> Iterable[Any]:
    """An assistant says words and calls only; kinds of what else it made are `dropped`."""
    parts = message.parts
    if message.role == "tool":
        return _encoded_results(parts)
    if message.role == "assistant":
        return _encoded_assistant(message, dropped)
    if len(parts) == 1 and type(parts[0]) is Text:  # as nearly all are
        return (_Message(message.role, parts[0].text, message.name),)
    # Results may share a user message with words: they answer the assistant's turn, so they come first.
    results = [part for part in parts if isinstance(part, ToolResult)]
    told = _encoded_results(results)
    content = _encoded_content(part for part in parts if not isinstance(part, ToolResult))
    if content or not results:
        told.append(_Message(message.role, content, message.name))
    return told


def _encoded_results(parts: Iterable[Part]) -> list[Any]:
    """A tool's message holds only text, so that what else it gave follows as the user's."""
    told: list[Any] = []
    shown: list[Part] = []
    for part in parts:
        if type(part) is not ToolResult:
            continue
        pieces = part.content
        if len(pieces) == 1 and type(pieces[0]) is Text:  # as nearly all are
            text = pieces[0].text
        else:
            text = "\n".join([piece.text for piece in pieces if isinstance(piece, Text)])
            media = [piece for piece in pieces if isinstance(piece, Media)]
            if media:
                text = text or "The result follows in the next message."
                shown += media
        told.append(_Result(part.id, text))
    if shown:
        told.append(_Message("user", _encoded_content(shown)))
    return told


def _encoded_assistant(message: Message, dropped: set[str]) -> Iterable[Any]:
    texts: list[Text] = []
    cites = False
    refusal = ""
    thought = ""
    sealed: list[Reasoning] = []  # another provider's signature would be refused; our own: this one knows the field
    calls: list[Any] = []
    blocks: list[Raw] = []  # of its content, that only this format knows
    fields: dict[str, Raw] = {}  # of its own
    for part in message.parts:
        if type(part) is Text:
            if part.refusal:
                refusal += part.text
            else:
                texts.append(part)
                if part.citations:
                    cites = True
        elif type(part) is ToolUse:
            if part.extra is None:
                calls.append(_Call(part.id, "function", _Arguments(part.name, part.arguments)))
            else:
                calls.append(openai_calls.encoded_call(part))
        elif isinstance(part, Reasoning):
            if part.protocol is None:
                thought += part.text
            elif part.protocol == NAME:
                sealed.append(part)
        elif isinstance(part, Media):
            dropped.add(part.kind)
        elif isinstance(part, Opaque) and part.protocol == NAME:
            own: dict[str, Raw] = typed(part.raw, _fields, "messages")
            if "type" not in own:
                fields.update(own)
            else:
                (calls if "id" in own else blocks).append(part.raw)
    content = texts[0].text if len(texts) == 1 else "".join([text.text for text in texts])
    if not (content or refusal or calls or thought or sealed or blocks or fields):
        return ()
    told = _Message("assistant", content or None, message.name)
    if blocks:
        told.content = [*([{"type": "text", "text": content}] if content else []), *blocks]
    if refusal:
        told.refusal = refusal
    if thought:
        told.reasoning_content = thought
    if sealed:
        told.reasoning_details = [encoded_thought(part, index) for index, part in enumerate(sealed)]
    if calls:
        told.tool_calls = calls
    if cites:
        told.annotations = openai_citations.own(texts) or None
    if not fields:
        return (told,)
    further = {name: value for name, value in structs.asdict(told).items() if value is not None and name != "role"}
    if not blocks:
        further.pop("content", None)
    return ({"role": "assistant", "content": content or None, **fields, **further},)


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
                raise refused(media, "images as data or by their address")
            detail = {"detail": media.detail} if media.detail else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case "video":
            # OpenAI's own models see none; OpenRouter, vLLM and others take them like images.
            # https://openrouter.ai/docs/features/multimodal/videos
            if media.file_id is not None:
                raise refused(media, "films as data or by their address")
            film = media.url or f"data:{media.mime or 'video/mp4'};base64,{media.data or ''}"
            return {"type": "video_url", "video_url": {"url": film}}
        case "audio":
            if media.data is None:
                raise refused(media, "sounds as data")
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
    if type(tool) is Tool:
        return _Tool(_Declaration(tool.name, tool.description, tool.schema, tool.strict))
    return tool.raw if isinstance(tool, Opaque) and tool.protocol == NAME else None


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
