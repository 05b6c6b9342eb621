"""Where in a client's request something stands that was found in our words, by the client's own names.

Words do not remember it. It is found again only where something is wrong: by how many of the client's items it takes
until the words have it.
"""

from bisect import bisect_left
from collections.abc import Iterator

import msgspec
from msgspec import Raw

from fairlead.call import Call
from fairlead.chat import Media, Part, Request, ToolResult, ToolUse
from fairlead.errors import InvalidRequest, Unsayable
from fairlead.protocols import is_inbound
from fairlead.protocols.envelope import join

# Where a format has instructions beside the conversation.
_INSTRUCTIONS = {"messages": "system", "input": "instructions", "contents": "systemInstruction"}
_items = msgspec.json.Decoder(list[Raw])


def named(call: Call, error: InvalidRequest, words: Request) -> InvalidRequest:
    """`error` with the place where it is: `words` are those in which a format could not say something."""
    return error.at(of(call, error.part, words)) if isinstance(error, Unsayable) else error


def of(call: Call, part: object, words: Request) -> str:
    """The place of `part`, a medium or a call of a tool: "messages[2]", "contents[0]"; if that cannot be told, that of
    the whole conversation."""
    assert call.envelope is not None
    name = call.envelope.conversation
    number = next((number for number, each in enumerate(_shown(words)) if each is part), None)
    if number is None or not is_inbound(call.protocol):
        return name
    raw = call.envelope.fields.get(name, Raw(b"null"))
    if bytes(memoryview(raw)[:1]) != b"[":
        return name
    items = _items.decode(raw)
    index = bisect_left(range(len(items)), number + 1, key=lambda last: _counted(call, name, items[: last + 1]))
    if index == 0 and number < _of_instructions(words) and _INSTRUCTIONS[name] in call.envelope.fields:
        return _INSTRUCTIONS[name]
    return f"{name}[{index}]" if index < len(items) else name


def _shown(words: Request) -> Iterator[Part]:
    """What may be unsayable, in its order: conversions keep that, from message to message."""
    for message in words.messages:
        for part in message.parts:
            if isinstance(part, Media | ToolUse):
                yield part
            elif isinstance(part, ToolResult):
                yield part
                yield from (piece for piece in part.content if isinstance(piece, Media))


def _of_instructions(words: Request) -> int:
    first = words.messages[0]
    return sum([isinstance(part, Media) for part in first.parts]) if first.role == "system" else 0


def _counted(call: Call, name: str, items: list[Raw]) -> int:
    """How many of `_shown` there are if the conversation ends after `items`."""
    assert call.envelope is not None
    assert is_inbound(call.protocol)
    body = join({**call.envelope.fields, name: Raw(msgspec.json.encode(items))})
    return sum(1 for _ in _shown(call.protocol.decode_request(body)))
