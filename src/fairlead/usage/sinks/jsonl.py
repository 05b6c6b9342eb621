"""A file of JSON lines as a sink: one line for each attempt and for each call, in the order in which they ended.

    {"kind":"attempt","call_id":"gen-…","attempt":1,…}        {"kind":"call","id":"gen-…",…}

Times are epoch microseconds, money is nano-USD. After a crash the last lines may come again, with the same ids. The
file may be moved away at any time, as logrotate does: a new one is begun.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS, Row, whole
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch, Refused

_PIECE = 64 << 10
_FLAGS = ("stream", "estimated")
_encoder = msgspec.json.Encoder()


class JsonLines:
    """Appends to the file at `path`, which others may do too; where it stands is kept in `folder`."""

    def __init__(self, name: str, path: Path, folder: Path) -> None:
        self.name, self.path, self._folder = name, path, folder
        self._file: int | None = None

    def position(self, journal: str) -> Position | None:
        try:
            segment, offset = (self._folder / journal).read_text().split()
            return Position(int(segment), int(offset))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, batch: Batch) -> Sequence[Refused]:
        """Raises OSError; lines that are not whole are taken back."""
        lines = [_line("attempt", ATTEMPT_COLUMNS, row) for row in batch.attempts]
        lines += [_line("call", CALL_COLUMNS, row) for row in batch.calls]
        data = b"".join(lines)
        file = self._opened()
        fcntl.flock(file, fcntl.LOCK_EX)  # what is cut off below must be ours
        try:
            end = _whole_lines(file)
            try:
                while data:
                    data = data[os.write(file, data) :]
            except OSError:
                os.ftruncate(file, end)
                raise
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
        return ()

    def move(self, batch: Batch) -> None:
        if not batch.journal:
            return
        self.secure()  # before the position: a loss of power may repeat lines, and loses none
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._folder / batch.journal
        new = place.with_suffix(".new")
        new.write_text(f"{batch.end.segment} {batch.end.offset}\n")
        new.replace(place)

    def secure(self) -> bool:
        if self._file is not None:  # the one that was written to, wherever it is now
            os.fdatasync(self._file)
        return True

    def forget(self, journal: str) -> None:
        (self._folder / journal).unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        """The file at `path` as it is now: a new one if it was moved away. Raises OSError."""
        if self._file is not None:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                    return self._file
            self.close()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self._file


def _whole_lines(file: int) -> int:
    """The size of `file`, cut off behind its last whole line: what follows comes again."""
    end = place = os.lseek(file, 0, os.SEEK_END)
    while place:
        begin = max(place - _PIECE, 0)
        found = os.pread(file, place - begin, begin).rfind(b"\n")
        if found >= 0:
            place = begin + found + 1
            break
        place = begin
    if place < end:
        os.ftruncate(file, place)
    return place


def _line(kind: str, columns: Sequence[str], row: Row) -> bytes:
    told: dict[str, object] = {"kind": kind, **dict(zip(columns, whole(row, columns), strict=True))}
    for name in _FLAGS:
        if name in told:
            told[name] = bool(told[name])
    return _encoder.encode(told) + b"\n"
