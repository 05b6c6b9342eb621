"""Server-sent events: chunks of bytes are cut into events, events into their fields.

A line ends at LF, CR LF or CR and nowhere else; an event ends at an empty line.
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re

from fairlead.errors import UpstreamBroken

MEDIA_TYPE = b"text/event-stream"
_FIELDS = b"data:", b"event:", b"id:", b"retry:", b":"
_LINE_END = re.compile(rb"\r\n|\n|\r")
# `\r(?!\n)`: the two bytes of one CR LF are not two line ends. Behind a CR LF a CR that is the last that came is waited
# with: the LF will follow, and whoever splits at CR LF CR LF shall find it.
_EVENT_END = re.compile(rb"\r\n(?:\r\n|\n|\r(?!\n|\Z))|(?:(?<!\r)\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LONGEST_END = 4
_LF = 0x0A
_CR = 0x0D


def begins(chunk: bytes) -> bool:
    """Whether `chunk` looks like the beginning of a stream."""
    return chunk.lstrip(b"\xef\xbb\xbf\r\n").startswith(_FIELDS)


class EventCutter:
    """Cuts chunks into whole raw events, each with the empty line that ends it.

    What is not whole yet is kept, and never searched again. An event larger than `max_event_bytes` is UpstreamBroken.
    """

    __slots__ = ("_has_cr", "_kept", "_max", "_swallow")

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._kept = bytearray()  # holds no whole event
        self._has_cr = False  # what is kept has a CR in it, or ended an event with one
        self._swallow = False  # the last event ended in CR: an LF that follows belongs to it

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` makes whole."""
        # A byte is looked for by its number: of `b"\r" in chunk` Python makes an exception first.
        if self._has_cr or _CR in chunk:
            return self._cut_at_any_end(chunk)
        if self._kept:
            return self._cut_kept(chunk)
        if _LF not in chunk[:-2] and chunk.endswith(b"\n\n") and len(chunk) <= self._max:
            return [chunk]  # as most are: one event of one line
        return self._cut(chunk)

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._kept)

    @property
    def room(self) -> int:
        return 0 if self._kept or self._has_cr else self._max

    def finish(self) -> bytes:
        """What came after the last whole event, with an end of its own: some servers leave the last empty line out."""
        rest = bytes(self._kept)
        self._kept.clear()
        self._has_cr = self._swallow = False
        return rest + b"\n\n" if rest.strip(b"\r\n") else b""

    def _cut(self, chunk: bytes) -> list[bytes]:
        """Nothing is kept, and no line ends in CR."""
        last = chunk.rfind(b"\n\n")
        if last < 0:
            self._keep(chunk)
            return []
        events = [event + b"\n\n" for event in chunk[:last].split(b"\n\n")]
        if last + 2 < len(chunk):
            self._keep(chunk[last + 2 :])
        return self._bounded(events) if len(chunk) > self._max else events

    def _cut_kept(self, chunk: bytes) -> list[bytes]:
        """Something is kept, and no line ends in CR."""
        straddles = self._kept[-1] == _LF and chunk.startswith(b"\n")
        end = 1 if straddles else chunk.find(b"\n\n") + 2
        if end == 1 and not straddles:
            self._keep(chunk)
            return []
        first = bytes(self._kept) + chunk[:end]
        self._kept.clear()
        return self._bounded([first]) + (self._cut(chunk[end:]) if end < len(chunk) else [])

    def _cut_at_any_end(self, chunk: bytes) -> list[bytes]:
        if self._swallow and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._swallow = False
        kept = self._kept
        before = len(kept)
        scanned = max(0, before - _LONGEST_END)
        kept += chunk
        events, begin = [], 0
        for match in _EVENT_END.finditer(kept, scanned):
            events.append(bytes(kept[begin : match.end()]))
            begin = match.end()
        if begin:
            self._swallow = begin == len(kept) and kept[-1] == _CR
            del kept[:begin]
            self._has_cr = self._swallow or _CR in kept
        else:
            self._has_cr = (self._has_cr and before > 0) or _CR in chunk
        self._keep(b"")
        return self._bounded(events)

    def _keep(self, rest: bytes) -> None:
        self._kept += rest
        if len(self._kept) > self._max:
            raise self._too_large()

    def _bounded(self, events: list[bytes]) -> list[bytes]:
        if any(len(event) > self._max for event in events):
            raise self._too_large()
        return events

    def _too_large(self) -> UpstreamBroken:
        return UpstreamBroken(f"it sent an event larger than {self._max} bytes (server.max_event_bytes)")


def ends_with_line(event: bytes, begin: int) -> bool:
    """Whether from `begin` on `event` is the rest of one line, with the end of an object, and its own end."""
    return event.endswith(b"}\n\n") and event.find(b"\n", begin) == len(event) - 2 and _CR not in event


def data(event: bytes) -> bytes:
    """The data of a raw event: its data lines, joined by LF; b"" if it has none (a comment, a ping)."""
    if event.endswith(b"\n\n") and _CR not in event:
        if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
            return event[6:-2]
        if event.startswith(b"event: "):  # the usual second shape: a name, then one line of data
            _, _, line = event[:-2].partition(b"\n")
            if line.startswith(b"data: ") and _LF not in line:
                return line[6:]
    return b"\n".join(_fields(event, b"data"))


def name(event: bytes) -> bytes:
    """What the event calls itself, b"" if it does not."""
    names = _fields(event, b"event")
    return names[-1] if names else b""


def _fields(event: bytes, wanted: bytes) -> list[bytes]:
    values = []
    for line in _LINE_END.split(event.removeprefix(b"\xef\xbb\xbf")):
        field, colon, value = line.partition(b":")
        if field == wanted and (colon or line):
            values.append(value.removeprefix(b" "))
    return values


def line(json: bytes) -> bytes:
    """`json` as one line: where line ends stand between its values (arguments that a model indented), blanks do."""
    return json if b"\n" not in json and b"\r" not in json else json.replace(b"\n", b" ").replace(b"\r", b" ")


def event(data: bytes, name: bytes = b"") -> bytes:
    """A raw event of one line of data, which is JSON."""
    data = line(data)
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
