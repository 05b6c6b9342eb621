"""What other formats keep for their next turn, sealed where a client's format lets something stand that comes back.

    seal   = protocol ":" kind ":" value

A seal stands in a thought: as the proof of another format's thought, or in a thought without words, which carries what
another format keeps beside the text or the tool call before or behind it. Where in a thought, and how it is marked as
ours, is the client's format's: `anthropic_carried`, `responses_carried`.
"""

from collections.abc import Callable, Iterable

from msgspec import Raw, structs

from fairlead.chat import Opaque, Part, Reasoning, Text, ToolUse
from fairlead.protocols.envelope import any_value

_SIGNATURE, _ENCRYPTED, _BESIDE, _BEHIND = "signature", "encrypted", "beside", "behind"


def thought(protocol: str, *, signature: str | None = None, encrypted: str | None = None) -> str:
    """The seal of a thought of `protocol` ("" for nobody's) and what proves it."""
    if encrypted is not None:
        return f"{protocol}:{_ENCRYPTED}:{encrypted}"
    return f"{protocol}:{_SIGNATURE}:{signature or ''}"


def beside(extra: Opaque, *, follows: bool = False) -> str:
    """The seal of what a format keeps beside a text or a call. It stands before them, or `follows` where it was not
    known when they began."""
    return f"{extra.protocol}:{_BEHIND if follows else _BESIDE}:{bytes(extra.raw).decode(errors='replace')}"


def opened(parts: Iterable[Part], seal_of: Callable[[Reasoning], str | None]) -> tuple[Part, ...]:
    """The parts of an assistant's turn, what was carried among them put back where it was. `seal_of` gives a thought's
    seal, None for one that has none."""
    found: list[Part] = []
    kept: Opaque | None = None
    for part in parts:
        seal = seal_of(part) if isinstance(part, Reasoning) else None
        if seal is None or not isinstance(part, Reasoning):
            found.append(_with(part, kept))
            kept = None
            continue
        protocol, _, rest = seal.partition(":")
        kind, _, value = rest.partition(":")
        if kind == _BESIDE:
            kept = _extra(protocol, value)
        elif kind == _BEHIND:
            found[-1:] = [_with(each, _extra(protocol, value)) for each in found[-1:]]
        elif kind == _ENCRYPTED:
            found.append(Reasoning(part.text, encrypted=value, protocol=protocol or None))
        else:
            found.append(Reasoning(part.text, value or None, protocol=protocol or None))
    return tuple(found)


def _extra(protocol: str, value: str) -> Opaque | None:
    raw = value.encode(errors="replace")
    return Opaque(protocol, Raw(raw)) if any_value(raw) is not None else None


def _with(part: Part, extra: Opaque | None) -> Part:
    return structs.replace(part, extra=extra) if extra is not None and isinstance(part, Text | ToolUse) else part
