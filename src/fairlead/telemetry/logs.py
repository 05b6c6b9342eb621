"""The log, and the access log.

Modules log with the standard library (`logging.getLogger("fairlead.…")`); structlog gives the lines their form: JSON,
or text for a terminal. The access log is one line a request: encoded where it happened, written by a thread, and
dropped and counted when that cannot keep up.
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import msgspec
from msgspec import Struct

# Keys of ours, providers' keys, and whatever stands behind "Bearer".
_SECRETS = re.compile(
    r"\b(?:fl|sk|pk|rk|gsk|xai|org|proj|hf)[-_][A-Za-z0-9_\-]{12,}|(?i:\bbearer\s+)\S+|\bAIza[\w\-]{20,}"
)


_EVERY_SECONDS = 0.1
# What ends a line or acts on a terminal, beyond ASCII: JSON lets it stand as it is.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def configure(level: str, format: Literal["auto", "json", "text"], stream: TextIO) -> None:
    """Send the log of this process to `stream`."""
    import structlog  # 90 ms, and only a process that logs pays them

    text = wants_text(format, stream)
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        masked,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if text
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fairlead").setLevel(level.upper())


def masked(logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """A structlog processor: no secret leaves in a line."""
    for name, value in event.items():
        if isinstance(value, str):
            value = _SECRETS.sub("***", value)
            event[name] = value if name == "exception" else printable(value)
    return event


def hidden(text: str) -> str:
    """`text` without what looks like a key."""
    return _SECRETS.sub("***", text)


def printable(text: str) -> str:
    """`text` without line ends and other characters that a terminal would act on."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _json(event: Mapping[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class AccessRecord(Struct, omit_defaults=True):
    """One answered request. Times are epoch microseconds and milliseconds."""

    ts: int
    id: str
    method: str
    path: str
    status: int
    duration_ms: float
    client: str = ""
    outcome: str = "ok"
    key_id: str | None = None
    model: str | None = None
    endpoint: str | None = None
    stream: bool = False
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    first_content_ms: float | None = None
    request_id: str | None = None  # the client's own
    trace_id: str | None = None
    error: str | None = None


class AccessLog:
    """Lines on their way to `stream`: a bounded queue, and a thread that looks at it ten times a second.

    Waking the thread for each line would cost more than the line.
    """

    def __init__(self, stream: TextIO, *, text: bool = False, capacity: int = 10_000) -> None:
        self.dropped = 0
        self._stream, self._text = stream, text
        self._queue: deque[bytes] = deque()
        self._capacity = capacity
        self._encode = msgspec.json.Encoder().encode
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, record: AccessRecord) -> None:
        """Hand a line over; it is dropped, and counted, when too many wait."""
        if len(self._queue) >= self._capacity:
            self.dropped += 1
            return
        if record.request_id is not None:
            record.request_id = hidden(record.request_id)
        self._queue.append(_line(record) if self._text else self._encode(record))

    def close(self) -> None:
        """Write what waits, and stop."""
        if self._thread is not None:
            self._closing.set()
            self._thread.join(timeout=5)
            self._thread = None

    def _run(self) -> None:
        told = 0
        while not self._closing.wait(_EVERY_SECONDS) or self._queue:
            lines = [self._queue.popleft() for _ in range(len(self._queue))]
            if self.dropped > told:
                lines.append(b'{"access_lines_dropped":%d}' % (self.dropped - told))
                told = self.dropped
            if lines:
                self._put(lines)

    def _put(self, lines: list[bytes]) -> None:
        text = (b"\n".join(lines) + b"\n").decode("utf-8", "replace")
        if not text.isascii():
            text = _UNPRINTABLE.sub(_escaped, text)
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += len(lines)  # nobody reads any more


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _line(record: AccessRecord) -> bytes:
    """For a terminal: one line that reads aloud."""
    facts = [f"{record.method} {record.path}", str(record.status), f"{record.duration_ms:.1f} ms"]
    if record.endpoint is not None:
        facts.append(record.endpoint)
    if record.output_tokens is not None:
        facts.append(f"{record.input_tokens}→{record.output_tokens} tokens")
    if record.error is not None:
        facts.append(record.error)
    if record.outcome != "ok":
        facts.append(record.outcome)
    return printable("  ".join(facts)).encode()


def wants_text(format: str, stream: TextIO) -> bool:
    """Whether lines to `stream` are for people."""
    return format == "text" or (format == "auto" and stream.isatty())
