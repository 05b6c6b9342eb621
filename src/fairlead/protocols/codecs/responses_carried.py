"""What other formats keep for their next turn, carried by clients of this one: they bring `encrypted_content` back.

A thought of another format, with what proves it; and, as a thought without words, what another format keeps beside a
text or a call (Gemini refuses a call without the signature of the thought that led to it).
https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
Providers of this format would refuse such thoughts, and never see them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Opaque, Part, Reasoning
from fairlead.protocols.codecs import carried
from fairlead.protocols.envelope import typed

NAME = "openai-responses"
# Fields of a request that chat completions have by the same name.
SHARED = ("metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier")
_OURS = "fairlead:"  # and a seal
_MARK = b'"' + _OURS.encode()
_encode = msgspec.json.encode


def sealed(thought: Reasoning) -> str | None:
    """The `encrypted_content` of a thought: of another format's, whose it is and what proves it, if anything does. None
    if it says nothing."""
    if thought.protocol == NAME:
        return thought.encrypted
    if thought.encrypted is None and not (thought.text or thought.signature):
        return None
    # Nobody's is plain text, which any provider that knows thoughts may be shown.
    return _OURS + carried.thought(thought.protocol or "", signature=thought.signature, encrypted=thought.encrypted)


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
    """The `encrypted_content` that carries it. See `carried.beside`."""
    return _OURS + carried.beside(extra, follows=follows)


def marked(encrypted_content: str, text: str) -> Reasoning:
    """What a client brings back, as `opened` finds it."""
    return Reasoning(text, encrypted_content)


def opened(parts: Sequence[Part]) -> tuple[Part, ...]:
    """See `carried.opened`."""
    if not any(isinstance(part, Reasoning) for part in parts):
        return tuple(parts)
    return carried.opened(parts, _seal)


def _seal(thought: Reasoning) -> str | None:
    if thought.protocol is not None or not is_carried(thought.signature):
        return None
    return (thought.signature or "").removeprefix(_OURS)


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
