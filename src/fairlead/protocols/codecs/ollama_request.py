"""Requests for Ollama's own API: our words as its JSON.

https://docs.ollama.com/api/chat and https://docs.ollama.com/api/generate. Images are base64 there; arguments of tools
are objects.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.chat import Media, Message, Part, Reasoning, Request, Text, Tool, ToolResult, ToolUse
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import wording
from fairlead.protocols.envelope import any_value, read
from fairlead.protocols.unsaid import nothing_left, unsaid

CHAT, GENERATE = "ollama-chat", "ollama-generate"

# What it can say, in the words of `unsaid`.
_SAYS = frozenset(
    "temperature top_p top_k seed response_format thinking frequency_penalty presence_penalty stop reasoning".split()
)
# Fields of its own that no other format has, so that clients of any format may spell them.
_OWN = frozenset("options keep_alive think format truncate shift".split())
_OWN_OF_GENERATE = _OWN | frozenset("suffix template raw context".split())
# Options that servers of other formats know by a name at the top.
_OPTIONS = {
    "min_p": "min_p", "typical_p": "typical_p", "repetition_penalty": "repeat_penalty",
    "repeat_penalty": "repeat_penalty", "num_ctx": "num_ctx",
}  # fmt: skip
_LEVELS = {"minimal": "low", "xhigh": "high"}  # others are said as they are
_IMAGES = "text, and images as data"
_encode = msgspec.json.encode
_numbers = msgspec.json.Decoder(float)


def encode(request: Request) -> Encoded:
    """The body for `/chat`, and what it cannot say."""
    dropped = unsaid(request, CHAT, _SAYS)
    body = _settings(request, CHAT, _OWN, dropped)
    mode = request.tool_choice.mode if request.tool_choice is not None else "auto"
    tools = wording.offered(request) if mode != "none" else []
    if tools:
        body["tools"] = [wording.function(tool) for tool in tools]
    if tools and mode in ("required", "named"):
        dropped.add("tool_choice")
    if any(tool.strict for tool in tools):
        dropped.add("strict")
    if request.parallel_tool_calls:  # it calls several unasked
        dropped.discard("parallel_tool_calls")
    body["messages"] = list(_messages(request.messages))
    if not body["messages"]:
        raise nothing_left()
    return Encoded(_encode(body), tuple(sorted(dropped)))


def encode_generate(request: Request) -> Encoded:
    """The body for `/generate`, which has one prompt: of several turns it becomes a transcript."""
    dropped = unsaid(request, GENERATE, _SAYS - {"reasoning"})
    body = _settings(request, GENERATE, _OWN_OF_GENERATE, dropped)
    system, messages = wording.split_off_system(request.messages)
    context, messages = _continued(messages)
    mode = request.tool_choice.mode if request.tool_choice is not None else "auto"
    if any(isinstance(tool, Tool) for tool in request.tools) and mode != "none":
        dropped |= {"tools", *({"tool_choice"} if mode in ("required", "named") else ())}
    if system:
        body["system"] = system
    if context is not None and "context" not in body:
        body["context"] = context
    images = [image for message in messages for image in _images(message.parts)]
    if images:
        body["images"] = images
    body["prompt"] = _prompt(messages)
    return Encoded(_encode(body), tuple(sorted(dropped)))


def _settings(request: Request, protocol: str, own: frozenset[str], dropped: set[str]) -> dict[str, Any]:
    """All but the messages and tools. Takes out of `dropped` what is said after all."""
    extra = wording.own_fields(request.extra, protocol, own)
    aliases = {
        name: opaque.raw for name, opaque in request.extra.items() if name in _OPTIONS and _is_number(opaque.raw)
    }
    options = {
        **{_OPTIONS[name]: raw for name, raw in aliases.items()},
        **(read(extra, "options", dict[str, Raw]) or {}),
        **_options(request),
    }
    dropped -= extra.keys() | aliases.keys()
    body: dict[str, Any] = {**extra, "model": request.model, "stream": request.stream}  # which is true if left out
    body.pop("options", None)
    if options:
        body["options"] = options
    shape, wish = request.response_format, request.thinking
    if shape is not None:
        body["format"] = "json" if shape.schema is None else shape.schema
        if shape.description is not None:
            dropped.add("response_format.description")
    if wish is not None:
        if wish.budget_tokens is not None and wish.enabled:
            dropped.add("budget_tokens")
        if not (wish.adaptive and wish.effort is None and wish.enabled):  # models that can think do so unasked
            body["think"] = wish.enabled and (_LEVELS.get(wish.effort or "", wish.effort) or True)
    return body


def _options(request: Request) -> dict[str, Any]:
    """https://docs.ollama.com/modelfile#valid-parameters-and-values"""
    told = {
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    return {name: value for name, value in told.items() if value is not None}


def _is_number(raw: Raw) -> bool:
    try:
        _numbers.decode(raw)
    except msgspec.DecodeError:
        return False
    return True


# ---- messages of a chat


def _messages(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    calls: dict[str, ToolUse] = {}
    for message in wording.results_first(messages):
        calls |= wording.calls_of(message)
        match message.role:
            case "tool":
                yield from (_result(part, calls) for part in message.parts if isinstance(part, ToolResult))
            case "assistant":
                told = _said(message)
                if len(told) > 2 or told["content"]:
                    yield told
            case role:
                told = _with_images({"role": "user" if role == "user" else "system"}, message.parts)
                if len(told) > 2 or told["content"]:
                    yield told


def _with_images(told: dict[str, Any], parts: Iterable[Part]) -> dict[str, Any]:
    parts = tuple(parts)
    told["content"] = wording.text_of(parts)
    images = list(_images(parts))
    if images:
        told["images"] = images
    return told


def _images(parts: Iterable[Part]) -> Iterator[str]:
    """The images, as base64. Raises InvalidRequest for what is neither an image nor a text."""
    for part in parts:
        if isinstance(part, ToolResult):
            yield from _images(part.content)
        elif isinstance(part, Media) and wording.document_text(part) is None:
            if part.kind != "image" or part.data is None:
                raise wording.refused(part, _IMAGES)
            yield part.data


def _result(result: ToolResult, calls: Mapping[str, ToolUse]) -> dict[str, Any]:
    """Older servers know neither ids nor names: results stand in the order of their calls."""
    call = calls.get(result.id)
    named = {"tool_name": call.name} if call is not None else {}
    return _with_images({"role": "tool", **named, "tool_call_id": result.id}, result.content)


def _said(message: Message) -> dict[str, Any]:
    told = _with_images({"role": "assistant"}, message.parts)
    thought = "\n\n".join(part.text for part in message.parts if isinstance(part, Reasoning) and part.text)
    if thought:
        told["thinking"] = thought
    calls = [part for part in message.parts if isinstance(part, ToolUse)]
    if calls:
        told["tool_calls"] = [
            {"id": call.id, "function": {"index": index, "name": call.name, "arguments": wording.arguments_of(call)}}
            for index, call in enumerate(calls)
        ]
    return told


# ---- one prompt


def _continued(messages: list[Message]) -> tuple[Raw | None, list[Message]]:
    """The context of the last answer that has one, which holds all before it, and the messages that follow."""
    for index in range(len(messages) - 1, -1, -1):
        for part in messages[index].parts:
            if isinstance(part, Text) and part.extra is not None and part.extra.protocol == GENERATE:
                fields = any_value(part.extra.raw)
                if isinstance(fields, dict) and isinstance(fields.get("context"), list):
                    return Raw(_encode(fields["context"])), messages[index + 1 :]
    return None, messages


def _prompt(messages: list[Message]) -> str:
    if len(messages) == 1 and messages[0].role in ("user", "system", "developer"):
        return wording.text_of(messages[0].parts)
    turns = [
        f"### {_LABELS[message.role]}:\n{wording.unmarked(_transcribed(message), _MARKS, opens=True)}"
        for message in messages
    ]
    if messages and messages[-1].role != "assistant":
        turns.append("### Assistant:\n")
    return "\n\n".join(turns)


_LABELS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
_MARKS = re.compile(rf"(?<=[\n\r])[ \t]*###[ \t]*(?:{'|'.join(dict.fromkeys(_LABELS.values()))})(?=:)")


def _transcribed(message: Message) -> str:
    pieces = []
    for part in message.parts:
        match part:
            case ToolResult(content=content):
                pieces.append(wording.text_of(content))
            case ToolUse(name=name):
                pieces.append(_encode({"name": name, "arguments": wording.arguments_of(part)}).decode())
            case _:
                pieces.append(wording.text_of((part,)))
    return "\n\n".join(piece for piece in pieces if piece)
