"""What stands beside a tool call in chat completions: `extra_content`, which clients bring back with the call.

Google keeps the signature of a thought there (https://ai.google.dev/gemini-api/docs/thought-signatures); what other
formats keep beside their calls travels there as well, under a name of ours.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Opaque, ToolUse
from fairlead.protocols.codecs import openai_thoughts
from fairlead.protocols.envelope import NULL, any_value

NAME = "openai-chat"
_FOUND = b'"fairlead"'


def decode(extra_content: Raw) -> Opaque | None:
    """What stands beside a call (Google's signature of a thought); of another format if we put it there."""
    if bytes(extra_content) in (b"null", b"{}"):
        return None
    try:
        carried = _carried.decode(extra_content).fairlead
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        carried = None
    if carried is not None:
        return Opaque(carried.protocol, Raw(bytes(carried.raw)))
    return Opaque(NAME, Raw(b'{"extra_content":%b}' % bytes(extra_content)))


class _Foreign(Struct):
    protocol: str
    raw: Raw


class _Carried(Struct):
    fairlead: _Foreign | None = None


_carried = msgspec.json.Decoder(_Carried)


def carries(calls: Raw) -> bool:
    """Whether a client brought something back with its calls that is another format's, or looks so."""
    return _FOUND in bytes(calls)


def without(messages: Raw) -> Raw:
    """`messages` without what is another format's: OpenAI refuses fields that it does not know."""
    told = msgspec.json.decode(messages, type=list[dict[str, Raw]])
    for message in told:
        calls = message.get("tool_calls", NULL)
        if _FOUND in bytes(calls):
            message["tool_calls"] = _bare(calls)
        details = message.get("reasoning_details", NULL)
        if openai_thoughts.carries(details):
            left = openai_thoughts.without(details)
            if left is None:
                del message["reasoning_details"]
            else:
                message["reasoning_details"] = left
    return Raw(msgspec.json.encode(told))


def _bare(calls: Raw) -> Raw:
    try:
        told = msgspec.json.decode(calls, type=list[dict[str, Raw]])
    except (msgspec.DecodeError, RecursionError):
        return calls  # no calls at all: their provider will say so
    for call in told:
        if _FOUND in bytes(call.get("extra_content", NULL)):
            del call["extra_content"]
    return Raw(msgspec.json.encode(told))


def encoded_call(part: ToolUse, *, carry: bool = False) -> dict[str, Any]:
    """`carry`: what another format keeps beside the call, too, for a client to bring back."""
    function = {"name": part.name, "arguments": part.arguments}
    told: dict[str, Any] = {"id": part.id, "type": "function", "function": function}
    return told if part.extra is None else {**told, **encode(part.extra, carry=carry)}


def encode(extra: Opaque | None, *, carry: bool) -> dict[str, Any]:
    """The field beside a call: this format's own as it came."""
    if extra is None or (extra.protocol != NAME and not carry):
        return {}
    if extra.protocol != NAME:
        return {"extra_content": {"fairlead": extra}}
    fields = any_value(extra.raw)
    return fields if isinstance(fields, dict) else {}
