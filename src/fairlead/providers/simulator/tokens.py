"""The simulator's tokens: one for each started 4 bytes of UTF-8. The package's docstring has the whole rule."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw

from fairlead.chat import (
    Event,
    Media,
    Opaque,
    Part,
    PartDelta,
    PartStart,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolResult,
    ToolUse,
    Usage,
)

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
PER_MEDIUM = 100


def count(text: str) -> int:
    """How many tokens `text` is."""
    return -(-_size(text) // BYTES_PER_TOKEN)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def pieces(text: str, size: int = BYTES_PER_TOKEN) -> Iterator[str]:
    """`text` in pieces of about `size` bytes (4 at least), none empty, no character split; by default its tokens."""
    if text.isascii():
        yield from (text[begin : begin + size] for begin in range(0, len(text), size))
        return
    encoded, begin = text.encode(), 0
    for place in range(size, len(encoded), size):
        end = _boundary(encoded, place)
        yield encoded[begin:end].decode()
        begin = end
    yield encoded[begin:].decode()


def cut(text: str, tokens: int) -> str:
    """The longest beginning of `text` that is at most `tokens` tokens."""
    encoded = text.encode()
    size = tokens * BYTES_PER_TOKEN
    return text if len(encoded) <= size else encoded[: _boundary(encoded, size)].decode()


def _boundary(encoded: bytes, place: int) -> int:
    """Where the character at `place` begins."""
    while encoded[place] & 0xC0 == 0x80:
        place -= 1
    return place


def of_part(part: Part) -> int:
    match part:
        case Text(text=text):
            return count(text)
        case Reasoning(text=text, encrypted=encrypted):
            return count(text) + count(encrypted or "")
        case ToolUse(name=name, arguments=arguments):
            return count(name) + count(arguments)
        case ToolResult(content=content):
            return sum(map(of_part, content))
        case Media(text=text):
            return PER_MEDIUM if text is None else count(text)
        case Opaque(raw=raw):
            return count(bytes(raw).decode())


class Meter:
    """Output tokens, event by event; over a whole answer they come to its usage, wherever its text was cut."""

    def __init__(self) -> None:
        self._size = 0  # of the part's text so far

    def __call__(self, event: Event) -> int:
        """How many tokens `event` brings."""
        if isinstance(event, PartDelta):
            before = self._size
            after = self._size = before + _size(event.text)
            return -(-after // BYTES_PER_TOKEN) - -(-before // BYTES_PER_TOKEN)
        if isinstance(event, PartStart):
            self._size = 0
            return of_part(event.part)
        return 0


def usage(request: Request, parts: Iterable[Part]) -> Usage:
    """What `request` and the answer `parts` cost."""
    total, first, last, mark = 0, 0, 0, None
    for tokens, cache in _prompt(request):
        total += tokens
        if cache is not None:
            first, last, mark = first or total, total, cache
    told = list(parts)
    written = last - first
    return Usage(
        input_tokens=total,
        output_tokens=sum(map(of_part, told)),
        cached_tokens=first,
        cache_write_tokens=written,
        cache_write_1h_tokens=written if mark is not None and _for_an_hour(mark) else 0,
        reasoning_tokens=sum(of_part(part) for part in told if isinstance(part, Reasoning)),
    )


def _prompt(request: Request) -> Iterator[tuple[int, Raw | None]]:
    """The tokens of each piece of the prompt in their order, with the cache mark that stands on it."""
    for tool in request.tools:
        yield (_of_tool(tool), tool.cache) if isinstance(tool, Tool) else (of_part(tool), None)
    for message in request.messages:
        yield PER_MESSAGE, None
        for part in message.parts:
            yield of_part(part), getattr(part, "cache", None)


def _of_tool(tool: Tool) -> int:
    schema = b"" if tool.schema is None else bytes(tool.schema)
    return count(tool.name) + count(tool.description or "") + count(schema.decode())


def _for_an_hour(mark: Raw) -> bool:
    told = msgspec.json.decode(mark)
    return isinstance(told, dict) and told.get("ttl") == "1h"
