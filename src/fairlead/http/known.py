"""A head that comes again: a client mostly sends a call's head as it sent the one before, but for its length.

What the parser and all checks found of the first holds for those that follow, byte for byte. So a connection remembers
the last head of a call; one that differs in nothing but the digits of its `content-length` is not read again.
"""

import re

from msgspec import structs

from fairlead.auth import key_hash
from fairlead.http.asgi import Header
from fairlead.http.exchange import Head

MAX_KNOWN_BYTES = 4 << 10  # it is kept as long as its connection
_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,15})(?=\r\n)")
_MAX_DIGITS = 15


class KnownHead:
    """The head of a call, as it was read: its bytes before and after the length, and what came of it."""

    __slots__ = ("_after", "_before", "_fields", "_headers", "told")

    def __init__(self, before: bytes, after: bytes, headers: list[Header], told: Head) -> None:
        self._before, self._after, self._headers = before, after, headers
        self._fields = dict(headers)
        self.told = told

    @classmethod
    def of(cls, head: bytes, headers: list[Header], told: Head) -> "KnownHead | None":
        """`head` up to its empty line, which the parser took for `headers`; None if it tells no length."""
        length = _LENGTH.search(head)
        if length is None:
            return None
        others = [header for header in headers if header[0] != b"content-length"]
        told = structs.replace(told, key_hash=key_hash(dict(others)))
        return cls(head[: length.start(1)], head[length.end(1) :], others, told)

    def length(self, data: bytes) -> tuple[bytes, int]:
        """The length's digits where `data` begins with this head, and where its body begins there; b"" and 0 if it
        does not."""
        before, after = self._before, self._after
        if data.startswith(before):
            begin = len(before)
            end = data.find(b"\r\n", begin, begin + _MAX_DIGITS + 2)
            if data.startswith(after, end) and data[begin:end].isdigit():
                return data[begin:end], end + len(after)
        return b"", 0

    def headers(self, digits: bytes) -> list[Header]:
        """Its lines, with this length."""
        return [*self._headers, (b"content-length", digits)]

    def fields(self, digits: bytes) -> dict[bytes, bytes]:
        """The same by their names, the last of each."""
        fields = self._fields.copy()
        fields[b"content-length"] = digits
        return fields
