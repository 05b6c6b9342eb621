"""What other formats keep for their next turn, carried by Anthropic's clients: they bring thoughts back as they came.

A thought of another format, its proof in `signature`; and, as a thought without words before it, what another format
keeps beside a text or a tool call (Gemini refuses a call without the signature of the thought that led to it).
https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#preserving-thinking-blocks
Anthropic itself would refuse such signatures, and never sees them.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, structs

from fairlead.chat import Opaque, Part, Reasoning, Text, ToolUse
from fairlead.protocols.envelope import any_value

NAME = "anthropic-messages"
# No signature of Anthropic's has this in it, and hardly any text: sixteen alike are found at once, or not.
_MARK = "~" * 16
_FOUND = _MARK.encode()
_OURS = f"{_MARK}fairlead:"
_SIGNATURE, _ENCRYPTED, _BESIDE, _BEHIND = "signature", "encrypted", "beside", "behind"
_encode = msgspec.json.encode


def signature(thought: Reasoning, told: str | None) -> str:
    """What stands as the signature of a thought, of which its format told `told`."""
    if thought.protocol == NAME:
        return told or ""
    if thought.protocol is None:
        return ""
    if thought.encrypted is not None:
        return _sealed(thought.protocol, _ENCRYPTED, thought.encrypted)
    return _sealed(thought.protocol, _SIGNATURE, told) if told else ""


def beside(extra: Opaque | None, *, follows: bool = False) -> dict[str, Any] | None:
    """The block that carries what another format keeps beside a text or a call; None if it keeps nothing. It stands
    before them, or `follows` where it was not known when they began."""
    if extra is None or extra.protocol == NAME:
        return None
    kind = _BEHIND if follows else _BESIDE
    sealed = _sealed(extra.protocol, kind, bytes(extra.raw).decode(errors="replace"))
    return {"type": "thinking", "thinking": "", "signature": sealed}


def extra_of(part: Part) -> Opaque | None:
    """What a format keeps beside `part`, of the parts that can have it carried."""
    return part.extra if isinstance(part, Text | ToolUse) else None


def _sealed(protocol: str, kind: str, value: str) -> str:
    return f"{_OURS}{protocol}:{kind}:{value}"


def opened(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts of an assistant's turn, what was carried among them put back where it was."""
    found: list[Part] = []
    kept: Opaque | None = None
    for part in parts:
        if isinstance(part, Reasoning) and part.signature is not None and part.signature.startswith(_OURS):
            protocol, _, rest = part.signature.removeprefix(_OURS).partition(":")
            kind, _, value = rest.partition(":")
            if kind == _BESIDE:
                kept = _extra(protocol, value)
            elif kind != _BEHIND:
                found.append(_thought(part.text, protocol, kind, value))
            elif found:
                found[-1] = _with(found[-1], _extra(protocol, value))
        else:
            found.append(_with(part, kept))
            kept = None
    return tuple(found)


def _extra(protocol: str, value: str) -> Opaque | None:
    raw = value.encode(errors="replace")
    return Opaque(protocol, Raw(raw)) if any_value(raw) is not None else None


def _with(part: Part, extra: Opaque | None) -> Part:
    return structs.replace(part, extra=extra) if extra is not None and isinstance(part, Text | ToolUse) else part


def _thought(text: str, protocol: str, kind: str, value: str) -> Reasoning:
    if kind == _ENCRYPTED:
        return Reasoning(text, encrypted=value, protocol=protocol)
    return Reasoning(text, value, protocol=protocol)


def carries(content: Raw) -> bool:
    """Whether a client brought something back with an assistant's turn that is another format's, or looks so."""
    return _FOUND in bytes(content)


def without(messages: Raw) -> Raw:
    """`messages` as Anthropic itself may read them."""
    kept = []
    for message in msgspec.json.decode(messages, type=list[dict[str, Raw]]):
        content = message.get("content", Raw(b"null"))
        if _FOUND in bytes(content) and bytes(content).startswith(b"["):
            blocks = [block for block in msgspec.json.decode(content, type=list[Raw]) if not _is_carried(block)]
            message["content"] = Raw(_encode(blocks))
            if not blocks:
                continue
        kept.append(message)
    return Raw(_encode(kept))


def _is_carried(block: Raw) -> bool:
    if _FOUND not in bytes(block):
        return False
    fields = any_value(block)
    return isinstance(fields, dict) and str(fields.get("signature") or "").startswith(_OURS)
