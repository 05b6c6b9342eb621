"""How events stand in a stream: server-sent events, lines of JSON, AWS event streams, a JSON array."""

import struct
from base64 import b64decode, b64encode
from typing import Protocol
from zlib import crc32

import msgspec

from fairlead.protocols import sse

_encode = msgspec.json.Encoder().encode


class Framing(Protocol):
    """One way to tell events apart. Events are whole, as they were framed."""

    media_type: bytes

    def cut(self, told: bytes) -> list[bytes]:
        """The events in `told`, which holds whole ones only."""
        ...

    def data(self, event: bytes) -> bytes:
        """The JSON of an event; b"" if it has none."""
        ...

    def again(self, event: bytes, data: bytes) -> bytes:
        """`event` with other data."""
        ...


class ServerSentEvents:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""

    def __init__(self, media_type: bytes = b"text/event-stream; charset=utf-8") -> None:
        self.media_type = media_type

    def cut(self, told: bytes) -> list[bytes]:
        return [event + b"\n\n" for event in told.split(b"\n\n")[:-1]]

    def data(self, event: bytes) -> bytes:
        return sse.data(event)

    def again(self, event: bytes, data: bytes) -> bytes:
        return sse.event(data, sse.name(event))


class Lines:
    """One JSON value on each line. https://github.com/ndjson/ndjson-spec"""

    def __init__(self, media_type: bytes) -> None:
        self.media_type = media_type

    def cut(self, told: bytes) -> list[bytes]:
        return told.splitlines(keepends=True)

    def data(self, event: bytes) -> bytes:
        return event.rstrip(b"\n")

    def again(self, event: bytes, data: bytes) -> bytes:
        return data + b"\n"


class Messages:
    """AWS event streams. The JSON of an event named "chunk" stands in it as base64.

    https://smithy.io/2.0/aws/amazon-eventstream.html
    """

    media_type = b"application/vnd.amazon.eventstream"

    def cut(self, told: bytes) -> list[bytes]:
        events = []
        while told:
            length = int.from_bytes(told[:4], "big")
            events.append(told[:length])
            told = told[length:]
        return events

    def data(self, event: bytes) -> bytes:
        _, name, payload = _parts(event)
        if name != "chunk":
            return payload
        try:
            return b64decode(msgspec.json.decode(payload)["bytes"])
        except (msgspec.DecodeError, KeyError):
            return payload

    def again(self, event: bytes, data: bytes) -> bytes:
        kind, name, _ = _parts(event)
        return chunk(data) if name == "chunk" else message(name, data, kind=kind)


def _parts(event: bytes) -> tuple[str, str, bytes]:
    """Of a message that `message` made: event or exception, its name, its payload."""
    headers, size = int.from_bytes(event[4:8], "big"), event[12]
    kind = event[14 : 13 + size].decode().removesuffix("-type")
    begin = 16 + size
    name = event[begin : begin + int.from_bytes(event[begin - 2 : begin], "big")].decode()
    return kind, name, event[12 + headers : -4]


def message(name: str, payload: bytes, *, kind: str = "event") -> bytes:
    """A message of an AWS event stream; `kind`: "event" or "exception"."""
    told = ((f":{kind}-type", name), (":content-type", "application/json"), (":message-type", kind))
    headers = b"".join(_header(name, value) for name, value in told)
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text


def chunk(data: bytes) -> bytes:
    """A message that holds a piece of what a model said, in whatever format that is."""
    return message("chunk", _encode({"bytes": b64encode(data).decode(), "p": "abcdefghijkl"}))


class Array:
    """A JSON array, one element after the other; each event is an element and the sign before it."""

    media_type = b"application/json; charset=UTF-8"

    def cut(self, told: bytes) -> list[bytes]:
        return [told]

    def data(self, event: bytes) -> bytes:
        return event.lstrip(b"[,\r\n").rstrip(b"]\n") if event != b"]" else b""

    def again(self, event: bytes, data: bytes) -> bytes:
        begin = len(event) - len(event.lstrip(b"[,\r\n"))
        return event[:begin] + data


SERVER_SENT, MESSAGES = ServerSentEvents(), Messages()
