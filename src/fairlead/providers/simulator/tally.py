"""What the simulator served, request by request, in a file: the truth that a ledger is held against.

One JSON line for each request that says which call it is, in the header `x-fairlead-call` (`<call>/<attempt>/<send>`),
written when its reply has ended, however that was:

    {"call": "gen-…", "attempt": 1, "send": 1, "protocol": "openai-chat", "model": "sim/echo", "stream": true,
     "status": 200, "served": "part", "input_tokens": 9, "output_tokens": 3, "bytes": 511,
     "began_us": 1767225600000000, "ended_us": 1767225600100000}

    model, protocol   as requested; null where the request could not be read
    status            null if the connection ended before the head of the reply
    served            whole: the answer to its end, in a stream its end mark
                      part: the first events of a stream; what is not streamed is served whole or not at all
                      none: no answer, or none of it; then there are no tokens either
    output_tokens     of a stream, as many as stand in the events that were written; repeated events count once
    bytes             of the reply's body, whatever it was, without the framing
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from fairlead.providers.simulator.replies import Chunk, Reply

CALL_HEADER = b"x-fairlead-call"
_FLUSH_SECONDS = 0.1
_encode = msgspec.json.Encoder().encode


class Entry(Struct):
    """One request and what was served to it so far."""

    call: str
    attempt: int
    send: int
    protocol: str | None
    model: str | None
    stream: bool
    status: int | None = None
    served: Literal["whole", "part", "none"] = "none"
    input_tokens: int = 0
    output_tokens: int = 0
    bytes: int = 0
    began_us: int = 0
    ended_us: int = 0

    def tell(self, chunk: Chunk, reply: Reply) -> None:
        """`chunk` was written."""
        self.bytes += len(chunk.data)
        if chunk.tokens is None:
            return
        if reply.about is not None:
            self.input_tokens = reply.about.input_tokens
        self.output_tokens += chunk.tokens
        self.served = "whole" if chunk.last else "part"


def begun(told: bytes, reply: Reply) -> Entry:
    """The entry of a request that says it is `told`, whose `reply` begins now."""
    call, *numbers = told.decode("latin-1").rsplit("/", 2)
    attempt, send = [int(number) if number.isdecimal() else 0 for number in [*numbers, "", ""][:2]]
    about = reply.about
    if about is None:
        return Entry(call, attempt, send, None, None, False, began_us=_now())
    return Entry(call, attempt, send, about.protocol, about.model, about.stream, began_us=_now())


class TallyFile:
    """Lines at the end of a file, at most 100 ms late: what a killed process wrote before stays."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lines: list[bytes] = []
        self._flush: asyncio.TimerHandle | None = None

    def append(self, entry: Entry) -> None:
        """The reply of `entry` has ended."""
        entry.ended_us = _now()
        self._lines.append(_encode(entry))
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what has come."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._lines:
            data = memoryview(b"\n".join([*self._lines, b""]))
            self._lines.clear()
            while data:
                data = data[os.write(self._file, data) :]

    def close(self) -> None:
        self.flush()
        os.close(self._file)


def _now() -> int:
    return time.time_ns() // 1000
