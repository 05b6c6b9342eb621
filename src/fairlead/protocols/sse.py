"""Server-sent events: chunks of bytes are cut into events, events into their fields.

A line ends at LF, CR LF or CR and nowhere else; an event ends at an empty line.
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re

from fairlead.errors import UpstreamBroken

_LINE_END = re.compile(rb"\r\n|\n|\r")
# `\r(?!\n)`: the two bytes of one CR LF are not two line ends.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LONGEST_END = 4


class EventCutter:
    """Cuts chunks into whole raw events, each with the empty line that ends it.

    What is not whole yet is kept, and the search goes on where it stopped. An event larger than `max_event_bytes` is
    UpstreamBroken.
    """

    __slots__ = ("_kept", "_max", "_scanned", "_swallow")

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._kept = bytearray()
        self._scanned = 0  # no event ends before this place of `_kept`
        self._swallow = False  # the last event ended in CR: an LF that follows belongs to it

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` makes whole."""
        whole = chunk.endswith(b"\n\n") and not self._kept and not self._swallow
        if whole and b"\r" not in chunk and len(chunk) <= self._max:
            return [chunk] if chunk.count(b"\n\n") == 1 else _split(chunk)
        return self._slowly(chunk)

    def finish(self) -> bytes:
        """What came after the last whole event."""
        rest = bytes(self._kept)
        self._kept.clear()
        self._scanned = 0
        return rest if rest.strip(b"\r\n") else b""

    def _slowly(self, chunk: bytes) -> list[bytes]:
        if self._swallow and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._swallow = False
        kept = self._kept
        kept += chunk
        events, begin = [], 0
        for match in _EVENT_END.finditer(kept, self._scanned):
            events.append(bytes(kept[begin : match.end()]))
            begin = match.end()
        if begin:
            self._swallow = begin == len(kept) and kept[-1] == 0x0D
            del kept[:begin]
        self._scanned = max(0, len(kept) - _LONGEST_END)
        if len(kept) > self._max or any(len(event) > self._max for event in events):
            raise UpstreamBroken(f"it sent an event larger than {self._max} bytes (server.max_event_bytes)")
        return events


def _split(chunk: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in chunk[:-2].split(b"\n\n")]


def data(event: bytes) -> bytes:
    """The data of a raw event: its data lines, joined by LF; b"" if it has none (a comment, a ping)."""
    if event.endswith(b"\n\n") and b"\r" not in event:
        if event.startswith(b"event: "):  # the usual second shape: a name, then one line of data
            head, _, line = event[:-2].partition(b"\ndata: ")
            if b"\n" not in line and b"\n" not in head:
                return line
        elif event.startswith(b"data: "):
            line = event[6:-2]
            if b"\n" not in line:
                return line
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


def event(data: bytes, name: bytes = b"") -> bytes:
    """A raw event of one line of data, which holds no line end (JSON never does)."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
