"""What commands print of others' words: nothing in it that a terminal would obey."""

import unicodedata
from typing import Any

import msgspec

_JOINERS = "\u200c\u200d"  # Persian, Hindi and some emoji need them, and they only join or part letters
_LINES = "\u2028\u2029"


def plain(text: str) -> str:
    """`text` of a model: its lines and tabs stay, other control characters go."""
    return text if text.isprintable() else "".join(map(_plain, text))


def _plain(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    if character in _LINES:
        return "\n"
    # Cc: ESC and the like. Cf: marks that turn the direction of writing. Cs: halves of characters.
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


def encoded(value: Any) -> str:
    """`value` as JSON, in a line; what cannot be printed is spelt as an escape."""
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    """As JSON has it: one or two halves of UTF-16. It can only stand in a string."""
    told = character.encode("utf-16-be").hex()
    return "".join(f"\\u{told[at : at + 4]}" for at in range(0, len(told), 4))
