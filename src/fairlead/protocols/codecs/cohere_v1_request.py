"""Requests for Cohere's chat, version 1: our words as its JSON. https://docs.cohere.com/v1/reference/chat

The last turn is a `message`, or results of tools; what was before is a history. Calls of tools have no ids. Tools have
parameters instead of a schema, with types of Python.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fairlead.chat import Media, Message, Reasoning, Request, Text, Tool, ToolResult, ToolUse
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import wording
from fairlead.protocols.codecs.cohere_request import settings, shape
from fairlead.protocols.envelope import any_value
from fairlead.protocols.unsaid import unsaid

NAME = "cohere-chat-v1"

_SAYS = frozenset(
    "temperature top_p top_k seed response_format frequency_penalty presence_penalty stop reasoning".split()
)
# Fields of its own that no other format has, so that clients of any format may spell them.
_OWN = frozenset(
    "documents connectors prompt_truncation citation_quality safety_mode search_queries_only force_single_step"
    " conversation_id max_input_tokens raw_prompting preamble".split()
)
_ROLES = {"user": "USER", "assistant": "CHATBOT", "system": "SYSTEM", "developer": "SYSTEM", "tool": "TOOL"}
_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "List", "object": "Dict"}
_PLAIN = frozenset({"type", "description", "title"})  # what a parameter says without its schema
_encode = msgspec.json.encode


def encode(request: Request) -> Encoded:
    """The body that asks for `request`, and what it cannot say."""
    dropped = unsaid(request, NAME, _SAYS)
    mode = request.tool_choice.mode if request.tool_choice is not None else "auto"
    tools = wording.offered(request) if mode != "none" else []
    if tools and mode in ("required", "named"):
        dropped.add("tool_choice")
    if any(tool.strict for tool in tools):
        dropped.add("strict")
    if request.parallel_tool_calls:  # it calls several unasked
        dropped.discard("parallel_tool_calls")
    preamble, messages = wording.split_off_system(request.messages)
    body: dict[str, Any] = {
        "model": request.model,
        "preamble": preamble or None,
        **_turns(messages, dropped),
        "stream": request.stream,
        "tools": [_tool(tool, dropped) for tool in tools] or None,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        **settings(request, dropped),
    }
    if request.response_format is not None:
        if tools:
            dropped.add("response_format")
        else:
            body["response_format"] = shape(request, dropped)
    extra = wording.own_fields(request.extra, NAME, _OWN)
    dropped -= extra.keys()
    told = {**extra, **{name: value for name, value in body.items() if value is not None}}
    return Encoded(_encode(told), tuple(sorted(dropped)))


# ---- turns


def _turns(messages: list[Message], dropped: set[str]) -> dict[str, Any]:
    """`message`, `tool_results` and `chat_history`."""
    calls: dict[str, ToolUse] = {}
    turns: list[dict[str, Any]] = []
    for message in wording.results_first(messages):
        calls |= wording.calls_of(message)
        turn = _turn(message, calls, dropped)
        if turn is None:
            continue
        if turns and turn["role"] == turns[-1]["role"] == "TOOL":
            turns[-1]["tool_results"] += turn["tool_results"]
        else:
            turns.append(turn)
    last = turns.pop() if turns and turns[-1]["role"] in ("USER", "TOOL") else {}
    told = {"message": last.get("message", ""), "tool_results": last.get("tool_results")}
    return {**told, "chat_history": turns or None}


def _turn(message: Message, calls: Mapping[str, ToolUse], dropped: set[str]) -> dict[str, Any] | None:
    role = _ROLES[message.role]
    if role == "TOOL":
        results = [_result(part, calls) for part in message.parts if isinstance(part, ToolResult)]
        return {"role": role, "tool_results": results}
    for part in message.parts:
        if isinstance(part, Media) and wording.document_text(part) is None:
            raise wording.refused(part, "text")
        if isinstance(part, Text) and part.citations:
            dropped.add("citations")
    text = wording.text_of(message.parts)
    thought = "\n\n".join(part.text for part in message.parts if isinstance(part, Reasoning) and part.text)
    asked = [part for part in message.parts if isinstance(part, ToolUse)]
    if asked:  # what is said before calls of tools is their plan
        text = "\n\n".join(piece for piece in (thought, text) if piece)
    elif thought:
        dropped.add("reasoning")
    if not text and not asked:
        return None
    told: dict[str, Any] = {"role": role, "message": text}
    if asked:
        told["tool_calls"] = [_call(part) for part in asked]
    return told


def _call(call: ToolUse) -> dict[str, Any]:
    return {"name": call.name, "parameters": wording.arguments_of(call)}


def _result(result: ToolResult, calls: Mapping[str, ToolUse]) -> dict[str, Any]:
    for part in result.content:
        if isinstance(part, Media) and wording.document_text(part) is None:
            raise wording.refused(part, "text")
    call = calls.get(result.id) or ToolUse(result.id, result.id)
    return {"call": _call(call), "outputs": _outputs(wording.text_of(result.content, "\n"))}


def _outputs(text: str) -> list[Any]:
    """Outputs are objects: the result if it is one or several, else one that holds it."""
    if text.lstrip()[:1] in ("{", "["):
        value = any_value(text.encode(errors="replace"))
        values = value if isinstance(value, list) else [value]
        if values and all(isinstance(each, dict) for each in values):
            return values
    return [{"output": text}]


# ---- tools


def _tool(tool: Tool, dropped: set[str]) -> dict[str, Any]:
    # Cohere requires a description.
    told: dict[str, Any] = {"name": tool.name, "description": tool.description or tool.name}
    schema = any_value(wording.schema_of(tool))
    fields = schema if isinstance(schema, dict) else {}
    properties, required = fields.get("properties"), fields.get("required")
    if fields.keys() & {"$defs", "definitions", "anyOf", "oneOf", "allOf"}:
        dropped.add("parameters")
    if isinstance(properties, dict) and properties:
        wanted = required if isinstance(required, list) else []
        told["parameter_definitions"] = {
            name: {**dict(_parameter(each)), "required": name in wanted} for name, each in properties.items()
        }
    return told


def _parameter(schema: Any) -> Iterator[tuple[str, str]]:
    """Its type, and its description, which also tells what its schema says beyond that."""
    fields = schema if isinstance(schema, dict) else {}
    description = fields.get("description")
    words = [description] if isinstance(description, str) and description else []
    if fields.keys() - _PLAIN and _type(fields, deep=True) is None:
        words.append(f"JSON schema: {_encode(fields).decode()}")
    if words:
        yield "description", "\n".join(words)
    yield "type", _type(fields) or "str"


def _type(fields: dict[str, Any], *, deep: bool = False) -> str | None:
    """The type of Python; `deep`: None if the schema says more than that."""
    told = fields.get("type")
    name = _TYPES.get(told) if isinstance(told, str) else None
    items = fields.get("items")
    if name == "List" and isinstance(items, dict):
        inner = _TYPES.get(str(items.get("type")))
        if inner is not None and inner not in ("List", "Dict"):
            more = fields.keys() - _PLAIN - {"items"} or items.keys() - {"type"}
            return None if deep and more else f"List[{inner}]"
    return None if deep and fields.keys() - _PLAIN else name
