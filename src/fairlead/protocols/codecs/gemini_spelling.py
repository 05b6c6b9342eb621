"""Gemini reads its JSON as protocol buffers do: a name may be spelt `system_instruction` or `systemInstruction`, and
one thing may stand where a list of them may. Here a request gets the spelling that we read.

https://protobuf.dev/programming-guides/json/
"""

import re
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.errors import InvalidRequest
from fairlead.protocols.envelope import join

_SNAKE = re.compile(rb'"[a-z]+(?:_[a-z]+)+"\s*:')
_SNAKES_END = re.compile(rb'_[a-z]+"\s*:')  # much faster to look for, since a letter is rarer than a quotation mark
_LONE = re.compile(rb's"\s*:\s*\{')  # an object after a name that ends as those of lists do
_fields = msgspec.json.Decoder(dict[str, Raw])
_items = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.encode

# Where names are Gemini's own, level by level; what has no entry is left as it stands (arguments, schemas, results).
_BLOB: dict[str, Any] = {"inlineData": {}, "fileData": {}}
_PART: dict[str, Any] = {
    **_BLOB, "functionCall": {}, "functionResponse": {"parts": _BLOB}, "executableCode": {}, "codeExecutionResult": {},
    "toolCall": {}, "toolResponse": {}, "videoMetadata": {}, "mediaResolution": {},
}  # fmt: skip
_CONTENT: dict[str, Any] = {"parts": _PART}
NAMES: dict[str, Any] = {
    "contents": _CONTENT,
    "systemInstruction": _CONTENT,
    "tools": {"functionDeclarations": {}, "fileSearch": {}},
    "toolConfig": {"functionCallingConfig": {}, "retrievalConfig": {}},
    "generationConfig": {"thinkingConfig": {}, "speechConfig": {}, "imageConfig": {}},
    "safetySettings": {},
}
_LISTS = frozenset({"contents", "parts", "tools", "functionDeclarations", "safetySettings"})
_LISTS_BEGIN = tuple(f'"{name}'.encode().removesuffix(b"s") for name in _LISTS)


def usual(fields: dict[str, Raw], body: bytes) -> dict[str, Raw]:
    """`fields`, the top level of `body`, in the spelling that we read. Raises InvalidRequest naming the field that is
    nested too deeply."""
    snake = _SNAKES_END.search(body) is not None and _SNAKE.search(body) is not None
    if not snake and not _has_lone(body):
        return fields
    try:
        return {name: _value(name, raw, NAMES.get(name), snake) for name, raw in _named(fields, snake).items()}
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def _has_lone(body: bytes) -> bool:
    """Whether one thing stands somewhere in place of a list."""
    return any(body.endswith(_LISTS_BEGIN, 0, found.start()) for found in _LONE.finditer(body))


def _named(fields: dict[str, Raw], snake: bool) -> dict[str, Raw]:
    return {camel(name): raw for name, raw in fields.items()} if snake else fields


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others) if first and others else name


def _value(name: str, raw: Raw, names: dict[str, Any] | None, snake: bool) -> Raw:
    start = bytes(memoryview(raw)[:1])
    if names is not None and (snake or _has_lists(names)):
        if start == b"{":
            fields = _named(_fields.decode(raw), snake)
            raw = Raw(join({key: _value(key, each, names.get(key), snake) for key, each in fields.items()}))
        elif start == b"[":
            raw = Raw(_encode([_value("", each, names, snake) for each in _items.decode(raw)]))
    return Raw(b"[%b]" % bytes(raw)) if name in _LISTS and start == b"{" else raw


def _has_lists(names: dict[str, Any]) -> bool:
    return not _LISTS.isdisjoint(names)
