"""What each simulated model says: a request in our words, and its answer as events with the pauses before them.

`answer` is the simulator's core. It knows no wire format: whoever speaks one encodes these events.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct, structs

from fairlead.chat import (
    Event,
    Finish,
    FinishReason,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    Start,
    Text,
    Tool,
    ToolResult,
    ToolUse,
    Usage,
)
from fairlead.providers.simulator import schemas, tokens
from fairlead.providers.simulator.faults import NONE, Faults

Wire = Literal[
    "openai-chat",
    "openai-completions",
    "openai-responses",
    "anthropic-messages",
    "anthropic-completions",
    "gemini",
    "bedrock-converse",
    "bedrock-invoke",
    "cohere-chat",
    "cohere-chat-v1",
    "ollama-chat",
    "ollama-generate",
]

CREATED = 1_767_225_600  # the simulator lives on the first of January 2026: no answer may depend on the clock
_LONG_TOKENS = 4000
_BEDROCK_ID = re.compile(r"(?:[a-z-]+\.)?[a-z0-9]+\.(?:.*-)?([a-z]+)")
_PREFIXES: dict[str, tuple[str, str]] = {
    "openai-chat": ("chatcmpl-", "call_"),
    "openai-completions": ("cmpl-", "call_"),
    "openai-responses": ("resp_", "call_"),
    "anthropic-messages": ("msg_", "toolu_"),
    "anthropic-completions": ("compl_", "toolu_"),
    "gemini": ("", "call_"),
    "bedrock-converse": ("", "tooluse_"),
    "bedrock-invoke": ("msg_bdrk_", "toolu_bdrk_"),
    "cohere-chat": ("", "call_"),
    "cohere-chat-v1": ("", "call_"),
    "ollama-chat": ("", "call_"),
    "ollama-generate": ("", "call_"),
}
_encode = msgspec.json.Encoder().encode


class Pace(Struct, frozen=True):
    """Seconds before the first token, and before each one after it."""

    first: float = 0.0
    each: float = 0.0


class Answer(Struct):
    """A whole answer, and how fast it is told."""

    response: Response
    pace: Pace
    part_bytes: int  # how much text goes into one delta; 0: a token
    endless: int = 0  # instead of its parts: a text of so many bytes, never held in memory whole

    def seconds(self) -> float:
        """How long it takes to say everything."""
        if self.pace is _AT_ONCE:
            return 0.0
        said = sum(1 for part in self.response.parts for _ in _deltas(part, self.part_bytes))
        return self.pace.first + self.pace.each * max(said - 1, 0) if said else 0.0

    def whole(self) -> Response:
        """The response, `endless` text included."""
        return structs.replace(self.response, parts=(Text("x" * self.endless),)) if self.endless else self.response

    def events(self) -> Iterator[tuple[float, Event]]:
        """What is said, and the seconds to wait before it."""
        response, pause = self.response, self.pace.first
        usage = response.usage or Usage()
        opening = structs.replace(usage, output_tokens=min(usage.output_tokens, 1), reasoning_tokens=0)
        yield 0.0, Start(response.id, response.model, response.created, opening)
        for index, part in enumerate(response.parts):
            yield 0.0, PartStart(index, _bare(part))
            for delta in self._filling() if self.endless else _deltas(part, self.part_bytes):
                yield pause, PartDelta(index, delta)
                pause = self.pace.each
            if isinstance(part, Reasoning):
                yield 0.0, PartDelta(index, signature=part.signature)
            yield 0.0, PartEnd(index)
        yield 0.0, Finish(response.finish_reason, usage, response.stop_sequence)

    def _filling(self) -> Iterator[str]:
        size = self.part_bytes or tokens.BYTES_PER_TOKEN
        piece = "x" * size
        for _ in range(self.endless // size):
            yield piece
        if self.endless % size:
            yield piece[: self.endless % size]


def answer(request: Request, *, wire: Wire = "openai-chat") -> Iterator[tuple[float, Event]]:
    """The events of the answer to `request`, each after so many seconds; a model of any unknown name echoes."""
    return perform(request, wire=wire).events()


def named(model: str) -> str:
    """The simulator's model that `model` means: of an id as Bedrock has them ("us.anthropic.claude-echo") the end."""
    name = model.removeprefix("sim/")
    found = _BEDROCK_ID.fullmatch(name)
    return found[1] if found is not None and found[1] in MODELS else name


def perform(request: Request, *, wire: Wire = "openai-chat", model: str | None = None, faults: Faults = NONE) -> Answer:
    """The answer to `request`, as `model` (by default the requested one) gives it. `wire` decides how ids look."""
    model = model if model is not None else named(request.model)
    seed = seed_of(request)
    answer_id, call_id = _PREFIXES[wire]
    parts = MODELS.get(model, _echo)(request, seed)
    parts = [_with_facts(part, wire, f"{call_id}{seed:024x}{place:02}") for place, part in enumerate(parts)]
    endless = faults.text_bytes or 0
    if faults.text_bytes is not None:
        parts = [Text("")]
    told, reason, stopped_by = _bounded(parts, request)
    if model == "refuse" and reason == "stop":
        reason = "refusal"
    usage = tokens.usage(request, told)
    if faults.cached:
        usage = structs.replace(usage, cached_tokens=min(faults.cached, usage.input_tokens), cache_write_tokens=0)
    if endless:
        usage = structs.replace(usage, output_tokens=-(-endless // tokens.BYTES_PER_TOKEN))
    response = Response(f"{answer_id}{seed:024x}", request.model, tuple(told), reason, usage, CREATED, stopped_by)
    return Answer(response, _PACES.get(model, _AT_ONCE), faults.event_bytes, endless)


def seed_of(request: Request) -> int:
    """96 bits that are the request's own."""
    return int.from_bytes(blake2b(_encode(request), digest_size=12).digest(), "big")


def mishap(request: Request) -> Faults:
    """What goes wrong with this request to `flaky`; a third of all have something."""
    seed = seed_of(request)
    return _MISHAPS[seed // 3 % len(_MISHAPS)] if seed % 3 == 0 else NONE


_MISHAPS = (Faults(status=429), Faults(status=500), Faults(status=529), Faults(cut=5))
_AT_ONCE = Pace()
_PACES = {"slow": Pace(0.5, 1 / 40)}


# ---- what they say


def _echo(request: Request, seed: int) -> list[Part]:
    return [Text(heard(request) or "(nothing)")]


def _sentence(request: Request, seed: int) -> list[Part]:
    words = heard(request)
    shown = words if len(words) <= 200 else words[:199] + "…"
    return [Text(f'You said "{shown}" and this is the simulator, answering from your own machine.')]


def _tools(request: Request, seed: int) -> list[Part]:
    results = _results(request.messages)
    if results:
        return [Text("The tools say: " + "; ".join(_shown(part) for part in results))]
    return list(_calls(request)) or _sentence(request, seed)


def _thinking(request: Request, seed: int) -> list[Part]:
    words = heard(request)
    thought = f"I was sent {len(words.split())} words. Repeating them shows that they arrived."
    silent = request.thinking is not None and not request.thinking.enabled
    said = Text(f"Having thought about it: {words}")
    return [said] if silent else [Reasoning(thought, signature=f"sim-{seed:024x}"), said]


def _refuse(request: Request, seed: int) -> list[Part]:
    return [Text("I will not help with that.", refusal=True)]


def _json(request: Request, seed: int) -> list[Part]:
    wish = request.response_format
    if wish is not None and wish.schema is not None:
        value = schemas.example(msgspec.json.decode(wish.schema))
    else:
        value = {"answer": heard(request), "words": len(heard(request).split())}
    return [Text(_encode(value).decode())]


def _long(request: Request, seed: int) -> list[Part]:
    lines, size, number = [], 0, 0
    while size < _LONG_TOKENS * tokens.BYTES_PER_TOKEN:
        number += 1
        lines.append(f"{number}. A long answer goes on, line after line, until it has all been said.\n")
        size += len(lines[-1])
    return [Text("".join(lines)[: _LONG_TOKENS * tokens.BYTES_PER_TOKEN])]


MODELS: dict[str, Callable[[Request, int], list[Part]]] = {
    "echo": _echo,
    "fast": _sentence,
    "slow": _sentence,
    "flaky": _sentence,
    "tools": _tools,
    "thinking": _thinking,
    "json": _json,
    "long": _long,
    "refuse": _refuse,
}


# ---- reading the request


def heard(request: Request) -> str:
    """What was said last by the user's side: its text, other things in brackets."""
    for message in reversed(request.messages):
        if message.role in ("user", "tool"):
            return " ".join(filter(None, map(_shown, message.parts)))
    return ""


def _shown(part: Part) -> str:
    match part:
        case Text(text=text):
            return text
        case ToolResult(content=content):
            return " ".join(map(_shown, content))
        case Media(kind=kind, text=str(text)):
            return f"[{kind}: {text}]"
        case Media(kind=kind, mime=mime, data=str(data)):
            return f"[{kind} {mime or 'of unknown type'}, {len(data)} characters of base64]"
        case Media(kind=kind, url=url, file_id=file_id):
            return f"[{kind} {url or file_id}]"
        case Opaque(protocol=protocol):
            return f"[something of {protocol}]"
    return ""


def _results(messages: tuple[Message, ...]) -> list[ToolResult]:
    """The results of tools since the model spoke last."""
    found: list[ToolResult] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        found = [part for part in message.parts if isinstance(part, ToolResult)] + found
    return found


def _calls(request: Request) -> Iterable[ToolUse]:
    """A call of each tool that may be called now; ids come later."""
    choice = request.tool_choice
    tools = [tool for tool in request.tools if isinstance(tool, Tool)]
    if choice is not None and choice.mode == "none":
        return ()
    if choice is not None and choice.mode == "named":
        tools = [tool for tool in tools if tool.name == choice.name]
    if request.parallel_tool_calls is False:
        tools = tools[:1]
    return (ToolUse("", tool.name, _arguments(tool)) for tool in tools)


def _arguments(tool: Tool) -> str:
    made = schemas.example(msgspec.json.decode(tool.schema)) if tool.schema is not None else {}
    return _encode(made).decode() if isinstance(made, dict) else "{}"


# ---- shaping the answer


def _with_facts(part: Part, wire: str, call_id: str) -> Part:
    """`part` with what depends on the format: the id of a call, and whose signature it is."""
    match part:
        case ToolUse():
            return structs.replace(part, id=call_id)
        case Reasoning():
            return structs.replace(part, protocol=wire)
    return part


def _bounded(parts: list[Part], request: Request) -> tuple[list[Part], FinishReason, str | None]:
    """As much of `parts` as stop sequences and `max_tokens` leave, why it ends there, and which sequence it was."""
    left = request.max_tokens
    told: list[Part] = []
    for part in parts:
        stopped_by = None
        if isinstance(part, Text) and request.stop:
            part, stopped_by = _stopped(part, request.stop)
        if left is not None:
            needed = tokens.of_part(part)
            if needed > left:
                if isinstance(part, Text | Reasoning):
                    told.append(structs.replace(part, text=tokens.cut(part.text, left)))
                return told, "length", None
            left -= needed
        told.append(part)
        if stopped_by is not None:
            return told, "stop_sequence", stopped_by
    return told, "tool_use" if any(isinstance(part, ToolUse) for part in told) else "stop", None


def _stopped(part: Text, stops: tuple[str, ...]) -> tuple[Text, str | None]:
    """The text before the first stop sequence in it, and that sequence."""
    places = [(place, stop) for stop in stops if stop and (place := part.text.find(stop)) >= 0]
    if not places:
        return part, None
    place, stop = min(places)
    return structs.replace(part, text=part.text[:place]), stop


def _bare(part: Part) -> Part:
    """A part as it begins: without what its deltas bring."""
    match part:
        case Text(refusal=refusal):
            return Text("", refusal=refusal)
        case Reasoning(protocol=protocol):
            return Reasoning(protocol=protocol)
        case ToolUse(id=id, name=name):
            return ToolUse(id, name, "")
    return part


def _deltas(part: Part, size: int) -> Iterator[str]:
    match part:
        case Text(text=text) | Reasoning(text=text) | ToolUse(arguments=text):
            yield from tokens.pieces(text, size or tokens.BYTES_PER_TOKEN)
