"""What can go wrong on purpose, and how a request asks for it.

    faults = fault *(("+" | ",") fault)        fault = name ["=" value]

They stand behind the model's name ("echo+status=429+retry_after=7") or in the header `x-simulator-fault`.
"""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from fairlead.errors import InvalidRequest

BEFORE = -1  # `stall`, `cut` and `reset` without a number: before the first byte of the answer

Events = Annotated[int, Meta(ge=BEFORE)]
Seconds = Annotated[float, Meta(ge=0)]
Status = Annotated[int, Meta(ge=200, le=599)]
Size = Annotated[int, Meta(ge=0, le=1 << 40)]
EventSize = Annotated[int, Meta(ge=4, le=64 << 20)]
MAX_WHOLE_BYTES = 256 << 20  # the longest text of an answer that has to be made whole before it is sent


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong with one answer. Seconds may have decimals; sizes are bytes.

    `cut`, `stall`, `reset`, `malformed` and `error` come after so many events. In an answer that is not streamed,
    `cut`, `stall` and `reset` come in the middle of the body, or right after the head if the number is 0.
    """

    status: Status | None = None  # this status, with the vendor's own error body; 429, 503 and 529 say Retry-After: 1
    retry_after: Annotated[str, Meta(max_length=100, pattern="^[ -~]*$")] | None = None  # Retry-After: this
    html: Status | None = None  # a proxy's HTML page instead, with this status; without a value: 502
    empty: bool = False  # 200, and a body of no bytes
    delay: Seconds = 0.0  # nothing for so long, then the answer
    every: Seconds | None = None  # so long before each event of a stream, instead of the model's own pace
    stall: Events | None = None  # silent from there on, until the client goes; without a value: no answer at all
    cut: Events | None = None  # the connection closes; without a value: no answer at all
    reset: Events | None = None  # the connection is reset; without a value: no answer at all
    malformed: Events | None = None  # an event that is no JSON, among the others; without a value: after one event
    error: Events | None = None  # the vendor's error event, and the end; without a value: after one event
    drip: Seconds | None = None  # every byte by itself, so long after the other; without a value: 0.001
    bytes: Size | None = None  # the answer's text is so long
    event: EventSize | None = None  # the text comes in events of so many bytes, instead of tokens
    huge: EventSize | None = None  # the answer's text is so long, and comes in one event; without a value: 1 MiB
    repeat: Annotated[int, Meta(ge=1, le=1000)] = 1  # each event with text comes so often; without a value: twice
    no_done: bool = False  # the stream ends without the vendor's end mark
    no_usage: bool = False  # usage is not told
    cached: Size = 0  # so many tokens of the prompt were read from the provider's cache, whatever was marked
    wrong_length: Annotated[int, Meta(ge=1)] | None = None  # content-length says so much more; without a value: 10
    close: bool = False  # no length is told: the body ends with the connection

    @property
    def text_bytes(self) -> int | None:
        """How long the answer's text shall be; None: as the model likes."""
        return self.bytes if self.huge is None else self.huge

    @property
    def event_bytes(self) -> int:
        """How many bytes of text go into one event; 0: a token."""
        return self.event or 0 if self.huge is None else self.huge


NONE = Faults()
NAMES = Faults.__struct_fields__
_WITHOUT_VALUE: dict[str, Any] = {
    "stall": BEFORE, "cut": BEFORE, "reset": BEFORE, "malformed": 1, "error": 1, "drip": 0.001, "huge": 1 << 20,
    "repeat": 2, "wrong_length": 10, "html": 502, "empty": True, "no_done": True, "no_usage": True, "close": True,
}  # fmt: skip


class Asked(Struct, frozen=True):
    """A model's name, taken apart: "sim/echo+cut=3" is the model "echo" with faults."""

    model: str
    faults: Faults = field(default_factory=Faults)


def asked(name: str, header: str = "") -> Asked:
    """The model that `name` means, and the faults it and the header ask for. Raises InvalidRequest."""
    model, _, suffix = name.partition("+")
    faults = parse(f"{header},{suffix}") if header or suffix else NONE
    return Asked(model.removeprefix("sim/"), faults)


def parse(text: str) -> Faults:
    """The faults in `text`; of equal ones the last counts. Raises InvalidRequest naming what is wrong."""
    wanted: dict[str, Any] = {}
    for told in filter(None, re.split(r"[+,\s]+", text)):
        name, given, value = told.partition("=")
        if name not in NAMES:
            raise InvalidRequest(f"No fault {name[:40]!r}; known are {', '.join(NAMES)}.", param="model")
        if not given and name not in _WITHOUT_VALUE:
            raise InvalidRequest(f"The fault {name!r} needs a value: {name}=…", param="model")
        wanted[name] = value if given else _WITHOUT_VALUE[name]
    try:
        return msgspec.convert(wanted, Faults, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This fault cannot be: {error}", param="model") from None
