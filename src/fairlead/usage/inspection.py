"""A look at the journals of a state folder that disturbs nobody: nothing is made or moved, no lock is kept."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fairlead.usage import records, segments
from fairlead.usage.segments import BEGIN, CARRIED, INTENT, LAYOUT, OPENED, SETTLED, Damaged, Frame, Header, Position

_LOOKS = 5  # at a slot that changes meanwhile
_EXACT = 64 << 20  # bytes that are read to count what is in them; of more, the size of the files is told

Positions = Mapping[str, Position]  # by journal: up to where somebody has read it


class Slot(Struct, frozen=True):
    """What lies in a slot."""

    path: str
    held: bool  # by a process that runs
    segments: int
    bytes: int
    unread: int | None  # bytes of records behind the position; None: no positions are known
    open_calls: int | None  # that nobody ended; None: it is held, and they go on
    damaged: tuple[str, ...] = ()  # names of pieces that were no records, kept aside
    unreadable: tuple[str, ...] = ()  # names of files that were no segments, kept aside
    trouble: str = ""  # what the next start will find


def look(folder: Path, positions: Positions | None) -> Sequence[Slot]:
    """The slots below `folder`. Raises OSError."""
    if not folder.is_dir():
        return ()
    slots = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    return [found for path in slots if (found := _look(path, positions, _LOOKS)) is not None]


def is_held(slot: Path) -> bool:
    """Whether a process has `slot`. Raises OSError.

    The lock is shared, so that two who look do not take each other for a gateway, and is let go of at once. One that
    starts in this instant takes the next slot.
    """
    try:
        lock = os.open(slot / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _look(path: Path, positions: Positions | None, looks: int) -> Slot | None:
    """What is in the slot at `path`; None if it went away meanwhile."""
    try:
        held = is_held(path)
        sizes = {number: (path / segments.file_name(number)).stat().st_size for number in segments.numbers(path)}
        headers, trouble = _headers(path, sizes)
        journal = next((headers[number].journal for number in sorted(headers, reverse=True)), "")
        return Slot(
            str(path),
            held,
            len(sizes),
            sum(sizes.values()),
            None if positions is None else _unread(path, headers, positions.get(journal, Position(0, 0))),
            None if held else _open_calls(path, headers),
            tuple(sorted(file.name for file in path.glob("damaged/*"))),
            tuple(sorted(file.name for file in path.glob("*.unreadable"))),
            trouble,
        )
    except FileNotFoundError:  # a gateway is done with a segment, or with all of it
        if not path.exists():
            return None
        if looks == 1:
            raise
        return _look(path, positions, looks - 1)


def _headers(path: Path, numbers: Mapping[int, int]) -> tuple[dict[int, Header], str]:
    """By number, of those segments that have one; and what is wrong with one that has none."""
    found, trouble = {}, ""
    for number in numbers:
        with open(path / segments.file_name(number), "rb", buffering=0) as file:
            try:
                found[number] = segments.read_header(file.read(BEGIN))
            except Damaged as error:
                trouble = f"{file.name}: {error}"
    return found, trouble


def _unread(path: Path, headers: Mapping[int, Header], position: Position) -> int:
    """Bytes of records behind `position`."""
    behind = {number: header for number, header in headers.items() if number >= position.segment}
    if sum(header.size for header in behind.values()) > _EXACT:
        return sum(header.size for header in behind.values()) - position.offset
    return sum(
        frame.end - frame.begin
        for number, header in behind.items()
        for frame in _frames(path, header, position.offset if number == position.segment else BEGIN)
        if frame.kind not in (0, LAYOUT, CARRIED)
    )


def _open_calls(path: Path, headers: Mapping[int, Header]) -> int:
    """How many calls were begun that nobody ended: what the next start settles as interrupted."""
    told: list[list[Frame]] = []
    for number in sorted(headers, reverse=True):
        told.append(list(_frames(path, headers[number], BEGIN)))
        if any(frame.kind == CARRIED for frame in told[-1]):
            break
    calls: set[str] = set()
    layout: dict[str, Any] = dict(records.LAYOUT)
    for frame in (frame for frames in reversed(told) for frame in frames):
        try:
            decoded = records.decode(frame.payload) if frame.kind in (LAYOUT, INTENT, OPENED, SETTLED) else []
        except msgspec.DecodeError:
            continue
        if frame.kind == LAYOUT:
            layout = decoded[0]
        elif frame.kind in (INTENT, OPENED):
            calls.add(records.named(layout["intents"], decoded, records.INTENT_COLUMNS)["call_id"])
        elif frame.kind == SETTLED and decoded[1] is not None:
            calls.discard(records.named(layout["calls"], decoded[1], records.CALL_COLUMNS)["id"])
    return len(calls)


def _frames(path: Path, header: Header, offset: int) -> Iterator[Frame]:
    with open(path / segments.file_name(header.number), "rb", buffering=0) as file:
        file.seek(max(offset, BEGIN))
        return segments.frames(file.readall() or b"", max(offset, BEGIN), header.seed)
