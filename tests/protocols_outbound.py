"""What the tests of formats have in common, most of all of those that only providers speak."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from fairlead.chat import Event, Message, PartDelta, PartEnd, PartStart, Request, Response, Text, ToolUse, fold
from fairlead.protocols import Encoded, Outbound


class Asking:
    """What a provider of `format` is asked with; where no messages are told, a user says "hi"."""

    def __init__(self, format: Outbound, model: str) -> None:
        self.format, self.model = format, model

    def encoded(self, *messages: Message, format: Outbound | None = None, **facts: Any) -> Encoded:
        request = Request(self.model, messages or (Message("user", (Text("hi"),)),), **facts)
        return (format or self.format).encode_request(request, default_max_tokens=4096)

    def sent(self, *messages: Message, **facts: Any) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.encoded(*messages, **facts).body)
        return body

    def dropped(self, *messages: Message, **facts: Any) -> tuple[str, ...]:
        return self.encoded(*messages, **facts).dropped


def raw_events(format: Outbound, stream: bytes, size: int = 1 << 20) -> list[bytes]:
    """The raw events of `stream`, which arrives in chunks of `size` bytes."""
    cutter = format.cutter(1 << 25)
    events = [event for at in range(0, len(stream), size) for event in cutter.feed(stream[at : at + size])]
    rest = cutter.finish()
    assert cutter.held == 0
    return [*events, rest] if rest else events


def told(format: Outbound, events: Iterable[bytes]) -> list[Event]:
    """Our events for a whole stream of theirs."""
    decode = format.event_decoder()
    return [event for raw in (*events, b"") for event in decode(raw)]


def streamed(format: Outbound, stream: bytes) -> Response:
    """The answer that `stream` tells, which is well formed."""
    events = told(format, raw_events(format, stream))
    check(events)
    return fold(events)


def check(events: list[Event]) -> None:
    """What holds of the events of any whole stream."""
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("Start") == kinds.count("Finish") == 1
    assert (kinds[0], kinds[-1]) == ("Start", "Finish")
    begun: set[int] = set()
    ended: set[int] = set()
    for event in events:
        match event:
            case PartStart(index=index, part=part):
                assert index not in begun
                assert not isinstance(part, ToolUse) or part.arguments == ""
                begun.add(index)
            case PartDelta(index=index) | PartEnd(index=index):
                assert index in begun - ended
                if isinstance(event, PartEnd):
                    ended.add(index)
    assert begun == ended


def without_ids(response: Response) -> Response:
    """Ids of calls that are ours are random; arguments are alike if their JSON is."""
    parts = [
        msgspec.structs.replace(part, id="", arguments=json.dumps(json.loads(part.arguments)))
        if isinstance(part, ToolUse)
        else part
        for part in response.parts
    ]
    return msgspec.structs.replace(response, parts=tuple(parts))


def comparable(value: Any) -> Any:
    """`value` as JSON: a `Raw` is equal to nothing else."""
    return msgspec.json.decode(msgspec.json.encode(value))
