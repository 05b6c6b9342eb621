"""Of how much a JSON text is made, counted in its bytes before it is read.

The memory that it takes then depends on that, not on its length: three bytes, `{},`, may cost 700.
"""

import re

# Objects and arrays, unless told otherwise. Anthropic bounds messages so: https://docs.claude.com/en/api/messages
MOST = 100_000
VALUES = 10  # members and elements for each object or array that is allowed: most are cheap, as numbers are
_WINDOW = 64 << 10
# A text without an end goes on to the end of all: else it would be searched for one from each quote in it.
_TEXT_OR_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[][{},]', re.DOTALL)
_QUOTE, _COMMA, _OPENING, _CLOSING = ord('"'), ord(","), frozenset(b"{["), frozenset(b"}]")
_LONGEST_NAME = 80


def least(most: int) -> int:
    """How many bytes a body has at least that has more than `most`: none of what is counted has less than two."""
    return 2 * most + 1


def exceeded(body: bytes, most: int) -> str | None:
    """The top-level field of `body` at which there are more than `most` objects and arrays in all, or ten times as many
    members and elements; "" where it has no name. None: there are not so many.

    What texts say does not count. Counting bytes decides nearly all bodies, the others are gone through.
    """
    if not _looks_so(body, most):
        return None
    field = last = (0, 0)  # where the name of the field stands, and any text of the top level
    depth = objects = values = 0
    for match in _TEXT_OR_MARK.finditer(body):
        mark = body[match.start()]
        if mark == _COMMA:
            values += 1
            if values > VALUES * most or (depth == 1 and values > most):
                return _name(body, field if depth > 1 else (0, 0))
        elif mark in _OPENING:
            depth += 1
            objects += 1
            if depth == 2:
                field = last
            if objects > most:
                return _name(body, field)
        elif mark in _CLOSING:
            depth -= 1
        elif depth == 1:
            last = match.span()
    return None


def _looks_so(body: bytes, most: int) -> bool:
    """Whether there are so many with those that texts say. What has none, as pictures do, is skipped over."""
    objects = values = 0
    for start in range(0, len(body), _WINDOW):
        end = start + _WINDOW
        for mark in (b"{", b"["):
            if body.find(mark, start, end) >= 0:
                objects += body.count(mark, start, end)
        if body.find(b",", start, end) >= 0:
            values += body.count(b",", start, end)
    return objects > most or values > most


def _name(body: bytes, span: tuple[int, int]) -> str:
    start, end = span
    return body[start + 1 : min(end - 1, start + 1 + _LONGEST_NAME)].decode(errors="replace") if end else ""
