"""Words that match a regular expression, as far as its parts can be read."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any

# The parser of the standard library has no public name; hypothesis reads expressions by the same door.
from re import _constants as parts  # type: ignore[attr-defined]  # isort: skip
from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip

_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_.,:/@"
_PREFERRED = [*map(ord, _PLAIN), *range(33, 127), ord("\t"), ord("\n")]
_LONGEST = 10_000  # characters
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    parts.CATEGORY_DIGIT: str.isdigit,
    parts.CATEGORY_NOT_DIGIT: lambda c: not c.isdigit(),
    parts.CATEGORY_SPACE: str.isspace,
    parts.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    parts.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    parts.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}


def word(pattern: str, shortest: int = 0, salt: int = 0) -> str | None:
    """A word of at least `shortest` characters that `pattern` is found in; None if none was found.

    Another `salt` often gives another word.
    """
    tree = _parsed(pattern)
    if tree is None:
        return None
    try:
        for more in range(min(shortest, 1000) + 1):
            found = _joined(tree, more, salt)
            if len(found) >= shortest and re.search(pattern, found):
                return found
        found = _joined(tree, 0, salt).ljust(
            shortest, "a"
        )  # a pattern without an end is found in a longer word as well
    except (LookupError, ValueError, RecursionError):
        return None
    return found if re.search(pattern, found) else None


@lru_cache(256)
def _parsed(pattern: str) -> Any:
    try:
        return parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None


def _joined(tree: Any, more: int, salt: int) -> str:
    """Raises ValueError if the word would be too long."""
    pieces = list(islice(_told(tree, more, salt), _LONGEST))
    if len(pieces) == _LONGEST:
        raise ValueError("too long")
    return "".join(pieces)


def _told(tree: Any, more: int, salt: int) -> Iterable[str]:
    """Pieces of a word that `tree` matches; whatever may repeat does so `more` times beyond its least."""
    for kind, value in tree:
        if kind is parts.LITERAL:
            yield chr(value)
        elif kind is parts.NOT_LITERAL:
            yield _one_of([(parts.NEGATE, None), (parts.LITERAL, value)], salt)
        elif kind is parts.ANY:
            yield chr(_PREFERRED[salt % 26])
        elif kind is parts.IN:
            yield _one_of(value, salt)
        elif kind is parts.BRANCH:
            yield from _told(value[1][salt % len(value[1])], more, salt)
        elif kind is parts.SUBPATTERN:
            yield from _told(value[-1], more, salt)
        elif kind is parts.ATOMIC_GROUP:
            yield from _told(value, more, salt)
        elif kind in (parts.MAX_REPEAT, parts.MIN_REPEAT, parts.POSSESSIVE_REPEAT):
            least, most, inner = value
            for _ in range(min(int(min(most, least + more)), _LONGEST)):
                yield from _told(inner, more, salt)
        # What is left asserts or refers back: `word` sees whether it came out right.


def _one_of(items: list[tuple[Any, Any]], salt: int) -> str:
    """A character of a class."""
    negated = bool(items) and items[0][0] is parts.NEGATE
    fitting = [code for code in _PREFERRED if any(_in(item, code) for item in items) is not negated]
    if fitting:
        return chr(fitting[salt % len(fitting)])
    kind, value = items[-1]
    return chr(value[0] if kind is parts.RANGE else value)


def _in(item: tuple[Any, Any], code: int) -> bool:
    kind, value = item
    if kind is parts.LITERAL:
        return bool(code == value)
    if kind is parts.RANGE:
        return bool(value[0] <= code <= value[1])
    return kind is parts.CATEGORY and _CATEGORIES[value](chr(code))
