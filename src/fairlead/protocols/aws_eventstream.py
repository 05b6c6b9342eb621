"""AWS event streams: chunks of bytes are cut into messages, messages into their headers and payload.

    total length  u32 │ headers' length  u32 │ CRC-32 of these 8 bytes  u32
    headers           │ payload          │ CRC-32 of all before it  u32

A header is the length of its name (u8), its name, the type of its value (u8), its value. Numbers are big-endian.
https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID
from zlib import crc32

from msgspec import Struct

from fairlead.errors import UpstreamBroken

MEDIA_TYPE = "application/vnd.amazon.eventstream"
Value = bool | int | bytes | str | datetime | UUID

_PRELUDE = struct.Struct(">III")
_LENGTHS = struct.Struct(">II")
_CRC = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_SMALLEST = _PRELUDE.size + _CRC.size
_INTEGERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REMEMBERED_BYTES = 256  # headers larger than this are read each time: they are not those of every delta


class Message(Struct, frozen=True):
    """One message. What it is stands in its headers: an event of a type, an exception of a type, or an error."""

    headers: Mapping[str, Value]
    payload: bytes

    def text(self, name: str) -> str:
        """The header `name`, "" if it is absent or no text."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventCutter:
    """Cuts chunks into whole raw messages, whose checksums are right.

    A message larger than `max_event_bytes`, or one that is malformed, is UpstreamBroken. A length is believed only when
    the prelude's checksum is right.
    """

    __slots__ = ("_kept", "_max", "_needed")

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._kept = bytearray()  # holds no whole message
        self._needed = _PRELUDE.size  # bytes from the beginning of what is kept until more can be said of it

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._kept)

    @property
    def room(self) -> int:
        return 0  # what passes is read anyway

    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that `chunk` makes whole."""
        if not self._kept:
            return self._cut(chunk)
        self._kept += chunk
        if len(self._kept) < self._needed:
            return []
        joined = bytes(self._kept)
        if len(joined) < self._length(joined, 0):
            return []
        self._kept.clear()
        return self._cut(joined)

    def finish(self) -> bytes:
        """What came after the last whole message: a piece of one, which no decoder takes for whole."""
        rest = bytes(self._kept)
        self._kept.clear()
        self._needed = _PRELUDE.size
        return rest

    def _cut(self, data: bytes) -> list[bytes]:
        """The whole messages that `data` begins with; the rest is kept."""
        messages, begin = [], 0
        while len(data) - begin >= _PRELUDE.size:
            end = begin + self._length(data, begin)
            if end > len(data):
                break
            message = data[begin:end]
            if crc32(memoryview(message)[: -_CRC.size]) != _CRC.unpack_from(message, len(message) - _CRC.size)[0]:
                raise UpstreamBroken("a message of its event stream has a wrong checksum")
            messages.append(message)
            begin = end
        else:
            self._needed = _PRELUDE.size
        self._kept += data[begin:]
        return messages

    def _length(self, data: bytes, begin: int) -> int:
        """Bytes of the message that begins at `begin`, which are needed before it can be cut off."""
        total, headers, checksum = _PRELUDE.unpack_from(data, begin)
        if crc32(memoryview(data)[begin : begin + _LENGTHS.size]) != checksum:
            raise UpstreamBroken("its answer is not an AWS event stream, or was damaged on its way")
        if total < _SMALLEST or headers > total - _SMALLEST:
            raise UpstreamBroken("a message of its event stream has lengths that cannot be")
        if total > self._max:
            raise UpstreamBroken(f"it sent an event larger than {self._max} bytes (server.max_event_bytes)")
        self._needed = int(total)
        return int(total)


def message(event: bytes) -> Message:
    """A raw message, taken apart. Its checksums are the cutter's business. Raises UpstreamBroken if it is not whole."""
    if len(event) < _SMALLEST:
        raise UpstreamBroken("its event stream was cut off", outcome_unknown=True)
    total, length, _ = _PRELUDE.unpack_from(event)
    if total != len(event) or length > total - _SMALLEST:
        raise UpstreamBroken("its event stream was cut off", outcome_unknown=True)
    raw, payload = event[_PRELUDE.size : _PRELUDE.size + length], event[_PRELUDE.size + length : -_CRC.size]
    return Message(_remembered(raw) if length <= _REMEMBERED_BYTES else _headers(raw), payload)


def _headers(raw: bytes) -> Mapping[str, Value]:
    headers: dict[str, Value] = {}
    at = 0
    try:
        while at < len(raw):
            end = at + 1 + raw[at]
            name = raw[at + 1 : end].decode()
            headers[name], at = _value(raw, raw[end], end + 1)
    except (IndexError, struct.error, ValueError, OverflowError):
        at = len(raw) + 1
    if at != len(raw):
        raise UpstreamBroken("a message of its event stream has headers that cannot be read")
    return headers


def _value(raw: bytes, kind: int, at: int) -> tuple[Value, int]:
    """The value of type `kind` that stands at `at`, and where it ends, perhaps beyond `raw`."""
    match kind:
        case 0 | 1:
            return kind == 0, at
        case 2 | 3 | 4 | 5:
            number = _INTEGERS[kind]
            return number.unpack_from(raw, at)[0], at + number.size
        case 6 | 7:
            begin = at + _SHORT.size
            end = begin + _SHORT.unpack_from(raw, at)[0]
            return (raw[begin:end] if kind == 6 else raw[begin:end].decode()), end
        case 8:
            milliseconds = _INTEGERS[5].unpack_from(raw, at)[0]
            return _EPOCH + timedelta(milliseconds=milliseconds), at + 8
        case 9:
            return UUID(bytes=raw[at : at + 16]), at + 16
    raise ValueError(kind)


_remembered = lru_cache(maxsize=64)(_headers)


def event(headers: Iterable[tuple[str, str]], payload: bytes) -> bytes:
    """A raw message with `headers` that are texts."""
    told = []
    for name, value in headers:
        spelt, text = name.encode(), value.encode()
        told.append(b"%c%b\x07%b%b" % (len(spelt), spelt, _SHORT.pack(len(text)), text))
    head = b"".join(told)
    lengths = _LENGTHS.pack(_SMALLEST + len(head) + len(payload), len(head))
    whole = b"".join([lengths, _CRC.pack(crc32(lengths)), head, payload])
    return whole + _CRC.pack(crc32(whole))
