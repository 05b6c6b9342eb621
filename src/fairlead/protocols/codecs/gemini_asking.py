"""Requests for Gemini's `generateContent`, as we send them to providers: our words → their JSON.

https://ai.google.dev/api/generate-content
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.chat import (
    Message,
    Opaque,
    Part,
    Request,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from fairlead.protocols import Encoded
from fairlead.protocols.codecs.gemini_parts import (
    NAME,
    UNSIGNED,
    said,
    said_result,
)
from fairlead.protocols.codecs.gemini_request import GENERATION
from fairlead.protocols.unsaid import nothing_left, unsaid

_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, Raw])
_SAYS = frozenset(
    "temperature top_p top_k seed service_tier response_format thinking frequency_penalty presence_penalty stop"
    " is_error reasoning summary".split()
)
# As Google's own OpenAI-compatible endpoint reads them. A budget is what all thinking models take, a level is not.
# https://ai.google.dev/gemini-api/docs/openai#thinking
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_MOST_BUDGET, _MOST_BUDGET_OF_ANY = 24576, 32768  # https://ai.google.dev/gemini-api/docs/thinking#set-budget
_MOST_STOPS = 5  # https://ai.google.dev/api/generate-content#generationconfig
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_TOLD_TIERS = {"default": "standard", "standard_only": "standard", "flex": "flex", "priority": "priority"}


def encode(request: Request) -> Encoded:
    """The body that asks for `request`, but for its model and whether it streams, which the address says."""
    dropped = unsaid(request, NAME, _SAYS)
    own = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    system, messages = _split_off_system(request.messages)
    generation = {name.removeprefix(GENERATION): own.pop(name) for name in list(own) if name.startswith(GENERATION)}
    contents = _contents_of(messages)
    if not contents:
        raise nothing_left()
    body: dict[str, Any] = {
        "systemInstruction": {"parts": system} if system else None,
        "contents": contents,
        "tools": list(_encoded_tools(request.tools)) or None,
        "toolConfig": _encoded_choice(request, dropped),
        "generationConfig": {**_encoded_settings(request, dropped), **generation} or None,
        "serviceTier": _encoded_tier(request, dropped),
    }
    told = {name: value for name, value in body.items() if value is not None}
    return Encoded(_encode({**told, **own}), tuple(sorted(dropped)))


def _split_off_system(messages: Sequence[Message]) -> tuple[list[Any], Sequence[Message]]:
    """The instructions that lead, and everything after them. Of instructions alone, the last are said as the user's."""
    parts: list[Any] = []
    for index, message in enumerate(messages):
        if message.role not in ("system", "developer") or index == len(messages) - 1:
            return parts, messages[index:]
        parts += _said(message.parts)
    return parts, ()


def _said(parts: Sequence[Part]) -> list[Any]:
    told: list[Any] = []
    for part in parts:
        if isinstance(part, Text) and part.text and part.extra is None:  # as nearly all are
            told.append({"text": part.text})
        else:
            told += said(part, carry=False)
    return told


def _contents_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The user and the model take turns. Results of functions stand by themselves: "Please ensure that the number of
    function response parts is equal to the number of function call parts of the function call turn", says Gemini."""
    names = {part.id: part.name for message in messages for part in message.parts if isinstance(part, ToolUse)}
    contents: list[dict[str, Any]] = []
    role: str | None = None
    results: list[Any] = []
    parts: list[Any] = []
    for message in messages:
        speaks = "model" if message.role == "assistant" else "user"
        if speaks != role:
            _add_turns(contents, role, results, parts)
            role, results, parts = speaks, [], []
        before = len(results) + len(parts)
        for part in message.parts:
            if isinstance(part, ToolResult):
                told, media = said_result(part, names.get(part.id, part.id))
                results.append(told)
                parts += _said(media)
            else:
                parts += _said((part,))
        if len(results) + len(parts) == before and any(isinstance(part, Text) for part in message.parts):
            parts.append({"text": ""})  # a turn without words is one all the same
    _add_turns(contents, role, results, parts)
    return contents


def _add_turns(contents: list[dict[str, Any]], role: str | None, results: list[Any], parts: list[Any]) -> None:
    if results:
        contents.append({"role": role, "parts": results})
    if not parts:
        return
    if role == "model":
        calls = [part for part in parts if isinstance(part, dict) and "functionCall" in part]
        if calls and not any("thoughtSignature" in call for call in calls):
            calls[0]["thoughtSignature"] = UNSIGNED  # the first of several calls has it
    contents.append({"role": role, "parts": parts})


def _encoded_tools(tools: Sequence[Tool | Opaque]) -> Iterator[Any]:
    """All functions stand in one tool, where the first of them stood."""
    declared = [_declaration(tool) for tool in tools if isinstance(tool, Tool)]
    for tool in tools:
        if isinstance(tool, Opaque):
            if tool.protocol == NAME:
                yield tool.raw
        elif declared:
            yield {"functionDeclarations": declared}
            declared = []


def _declaration(tool: Tool) -> dict[str, Any]:
    facts = {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema}
    own = tool.extra is not None and tool.extra.protocol == NAME
    more: dict[str, Raw] = _fields.decode(tool.extra.raw) if own and tool.extra is not None else {}
    return {**{name: value for name, value in facts.items() if value is not None}, **more}


def _encoded_choice(request: Request, dropped: set[str]) -> Any:
    """Functions that must be called by their schemas make a mode of its own.

    https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes
    """
    functions = [tool for tool in request.tools if isinstance(tool, Tool)]
    choice, strict = request.tool_choice, [bool(tool.strict) for tool in functions]
    if not functions and not any(tool.protocol == NAME for tool in request.tools if isinstance(tool, Opaque)):
        return None
    if choice is None or choice.mode == "auto":
        if strict and all(strict):
            return {"functionCallingConfig": {"mode": "VALIDATED"}}
        dropped |= {"strict"} if any(strict) else set()
    if choice is None:
        return None
    names = {"allowedFunctionNames": [choice.name]} if choice.mode == "named" else {}
    return {"functionCallingConfig": {"mode": _MODES[choice.mode], **names}}


def _encoded_settings(request: Request, dropped: set[str]) -> dict[str, Any]:
    shape = request.response_format
    if len(request.stop) > _MOST_STOPS:
        dropped.add("stop")
    facts: dict[str, Any] = {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "seed": request.seed,
        "stopSequences": list(request.stop[:_MOST_STOPS]) or None,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseMimeType": "application/json" if shape is not None else None,
        "responseJsonSchema": shape.schema if shape is not None else None,
        "thinkingConfig": _encoded_thinking(request.thinking, dropped),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _encoded_thinking(wish: Thinking | None, dropped: set[str]) -> dict[str, Any] | None:
    """Thoughts that were asked for are told, unless that was declined."""
    if wish is None:
        return None
    if wish.budget_tokens is None and wish.effort is not None and wish.effort not in _BUDGETS:
        dropped.add("thinking")
        return None
    budget = wish.budget_tokens
    if not wish.enabled or wish.effort == "none":
        return {"thinkingBudget": 0}
    if budget is None and wish.effort in _BUDGETS:
        budget = _BUDGETS[wish.effort]
    if budget is not None and budget > _MOST_BUDGET_OF_ANY:
        budget = _MOST_BUDGET
    if budget is None and wish.adaptive:
        budget = -1
    return {"includeThoughts": wish.summary != "none", **({} if budget is None else {"thinkingBudget": budget})}


def _encoded_tier(request: Request, dropped: set[str]) -> str | None:
    if request.service_tier in (None, "auto"):
        return None
    told = _TOLD_TIERS.get(str(request.service_tier))
    if told is None:
        dropped.add("service_tier")
    return None if told == "standard" and request.service_tier == "default" else told
