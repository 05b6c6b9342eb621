"""Streams of JSON values, one on each line: chunks of bytes are cut into lines.

A line ends at LF; a CR before it belongs to the end. https://github.com/ndjson/ndjson-spec
"""

from fairlead.errors import UpstreamBroken

_BLANK = b" \t\r\n"


class LineCutter:
    """Cuts chunks into whole lines, without their ends; empty lines are left out.

    What is not whole yet is kept, and never searched again. A line larger than `max_event_bytes` is UpstreamBroken.
    """

    __slots__ = ("_kept", "_max")

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._kept = bytearray()  # holds no LF

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._kept)

    @property
    def room(self) -> int:
        return 0  # what passes is read anyway

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` makes whole."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return []
        whole = chunk[:end]
        if self._kept:
            whole = bytes(self._kept) + whole
            self._kept.clear()
        lines = whole.split(b"\n")
        if len(whole) > self._max and any(len(line) > self._max for line in lines):
            raise self._too_large()
        self._keep(chunk[end + 1 :])
        return [line for line in map(_stripped, lines) if line]

    def finish(self) -> bytes:
        """What came after the last end of a line."""
        rest = _stripped(bytes(self._kept))
        self._kept.clear()
        return rest

    def _keep(self, rest: bytes) -> None:
        self._kept += rest
        if len(self._kept) > self._max:
            raise self._too_large()

    def _too_large(self) -> UpstreamBroken:
        return UpstreamBroken(f"it sent a line larger than {self._max} bytes (server.max_event_bytes)")


def _stripped(line: bytes) -> bytes:
    return line.strip(_BLANK)
