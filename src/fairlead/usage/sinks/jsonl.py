"""A file of JSON lines as a sink: one line for each attempt and for each call, in the order in which they ended.

    {"kind":"attempt","call_id":"gen-…","attempt":1,…}        {"kind":"call","id":"gen-…",…}

Times are epoch microseconds, money is nano-USD. After a crash the last lines may come again, with the same ids. The
file may be moved away at any time, as logrotate does: a new one is begun.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS, Row, whole
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch, Refused

_FLAGS = ("stream", "estimated")
_encoder = msgspec.json.Encoder()


class JsonLines:
    """Appends to the file at `path`; where it stands is kept in `folder`."""

    def __init__(self, name: str, path: Path, folder: Path) -> None:
        """Raises OSError."""
        self.name, self.path, self._folder = name, path, folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _opened(path)

    def position(self, journal: str) -> Position | None:
        try:
            segment, offset = (self._folder / journal).read_text().split()
            return Position(int(segment), int(offset))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, batch: Batch) -> Sequence[Refused]:
        """Raises OSError; lines that are not whole are taken back."""
        self._follow()
        lines = [_line("attempt", ATTEMPT_COLUMNS, row) for row in batch.attempts]
        lines += [_line("call", CALL_COLUMNS, row) for row in batch.calls]
        data = b"".join(lines)
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.ftruncate(self._file, end)
            raise
        return ()

    def move(self, batch: Batch) -> None:
        if not batch.journal:
            return
        os.fdatasync(self._file)  # before the position: a loss of power may repeat lines, and loses none
        place = self._folder / batch.journal
        new = place.with_suffix(".new")
        new.write_text(f"{batch.end.segment} {batch.end.offset}\n")
        new.replace(place)

    def secure(self) -> bool:
        os.fdatasync(self._file)
        return True

    def forget(self, journal: str) -> None:
        (self._folder / journal).unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._file)

    def _follow(self) -> None:
        """Open a new file if this one was moved away."""
        try:
            if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                return
        except FileNotFoundError:
            pass
        new = _opened(self.path)
        os.close(self._file)
        self._file = new


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _line(kind: str, columns: Sequence[str], row: Row) -> bytes:
    told: dict[str, object] = {"kind": kind, **dict(zip(columns, whole(row, columns), strict=True))}
    for name in _FLAGS:
        if name in told:
            told[name] = bool(told[name])
    return _encoder.encode(told) + b"\n"
