"""What other formats keep for their next turn, carried by clients of this one: they bring `encrypted_content` back.

A thought of another format, with what proves it; and, as a thought without words, what another format keeps beside a
text or a call (Gemini refuses a call without the signature of the thought that led to it).
https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
Providers of this format would refuse such thoughts, and never see them.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from fairlead.chat import Opaque, Part, Reasoning, Text, ToolUse
from fairlead.protocols.envelope import any_value, typed

NAME = "openai-responses"
_OURS = "fairlead:"  # and whose it is, what it is, and the thing itself
_MARK = b'"' + _OURS.encode()
_SIGNATURE, _ENCRYPTED, _BESIDE, _BEHIND = "signature", "encrypted", "beside", "behind"
_encode = msgspec.json.encode


def sealed(thought: Reasoning) -> str | None:
    """The `encrypted_content` of a thought: of another format's, whose it is and what proves it, if anything does. None
    if it says nothing."""
    if thought.protocol == NAME:
        return thought.encrypted
    whose = thought.protocol or ""  # nobody's: plain text, which any provider that knows thoughts may be shown
    if thought.encrypted is not None:
        return f"{_OURS}{whose}:{_ENCRYPTED}:{thought.encrypted}"
    return f"{_OURS}{whose}:{_SIGNATURE}:{thought.signature or ''}" if thought.text or thought.signature else None


def is_carried(encrypted_content: str | None) -> bool:
    """Whether it is another format's."""
    return encrypted_content is not None and encrypted_content.startswith(_OURS)


def foreign(extras: Iterable[Opaque | None]) -> Opaque | None:
    """What another format keeps beside a part, told in one or several pieces; None if nothing is."""
    found = [extra for extra in extras if extra is not None and extra.protocol != NAME]
    if len(found) < 2:
        return found[0] if found else None
    return Opaque(found[-1].protocol, Raw(_encode([each.raw for each in found if each.protocol == found[-1].protocol])))


def beside(extra: Opaque, *, follows: bool = False) -> str:
    """The `encrypted_content` that carries it. It stands before the text or the call, or `follows` where it was not
    known when they began."""
    return f"{_OURS}{extra.protocol}:{_BEHIND if follows else _BESIDE}:{bytes(extra.raw).decode(errors='replace')}"


def marked(encrypted_content: str, text: str) -> Reasoning:
    """What a client brings back, as `opened` finds it."""
    return Reasoning(text, encrypted_content)


def opened(parts: list[Part]) -> tuple[Part, ...]:
    """The parts of an assistant's turn, what was carried among them put back where it was."""
    found: list[Part] = []
    kept: Opaque | None = None
    for part in parts:
        if not isinstance(part, Reasoning) or part.protocol is not None or not is_carried(part.signature):
            found.append(_with(part, kept))
            kept = None
            continue
        protocol, _, rest = (part.signature or "").removeprefix(_OURS).partition(":")
        kind, _, value = rest.partition(":")
        whose = protocol or None
        if kind == _BESIDE:
            kept = _extra(protocol, value)
        elif kind == _BEHIND:
            found[-1:] = [_with(each, _extra(protocol, value)) for each in found[-1:]]
        elif kind == _ENCRYPTED:
            found.append(Reasoning(part.text, encrypted=value, protocol=whose))
        else:
            found.append(Reasoning(part.text, value or None, protocol=whose))
    return tuple(found)


def _extra(protocol: str, value: str) -> Opaque | None:
    raw = value.encode(errors="replace")
    return Opaque(protocol, Raw(raw)) if any_value(raw) is not None else None


def _with(part: Part, extra: Opaque | None) -> Part:
    return structs.replace(part, extra=extra) if extra is not None and isinstance(part, Text | ToolUse) else part


class _Item(Struct):
    type: str | None = None
    encrypted_content: str | None = None


_items = msgspec.json.Decoder(list[Raw])
_item = msgspec.json.Decoder(_Item)


def without(told: Raw) -> Raw:
    """`input` as a provider of this format may read it."""
    if _MARK not in bytes(told) or bytes(memoryview(told)[:1]) != b"[":
        return told
    items: list[Raw] = typed(told, _items, "input")
    return Raw(_encode([item for item in items if not _carries(item)]))


def _carries(raw: Raw) -> bool:
    if _MARK not in bytes(raw):
        return False
    try:
        item: Any = _item.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return item.type == "reasoning" and is_carried(item.encrypted_content)
