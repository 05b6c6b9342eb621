"""What a process left behind: the calls that nobody ended, and the bytes that are no records.

Only the last segments matter for what is open, from the newest on that says all open calls were carried into it.
"""

import logging
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fairlead.errors import InvalidConfig
from fairlead.usage import records, segments
from fairlead.usage.journal import Journal
from fairlead.usage.records import Interrupted
from fairlead.usage.segments import (
    BEGIN,
    CARRIED,
    INTENT,
    LAYOUT,
    OPENED,
    PROGRESS,
    SETTLED,
    Damaged,
    Frame,
    Header,
)

log = logging.getLogger("fairlead.journal")

_LONGEST_KEPT = 16 << 20  # bytes of damage that are kept aside, for each place


class Left(Struct):
    """What was found in a slot."""

    journal: str  # id
    newest: int = 0  # number of its last segment
    calls: dict[str, dict[int, "Begun"]] = {}  # that are open, by id and number of attempt
    latest_us: int = 0  # the last time that anything happened
    damaged: int = 0  # places
    damaged_bytes: int = 0


class Begun(Struct):
    """An attempt of a call that is open."""

    known: Interrupted
    settled: bool = False


def resume(folder: Path, **options: Any) -> tuple[Journal, Left]:
    """Go on with the journal in `folder` where whoever was there before stopped.

    What it left open is settled as interrupted, in the new segment. `options` as `Journal` has them. Raises
    InvalidConfig if a newer Fairlead was there, OSError.
    """
    left = look(folder)
    told = [
        record
        for attempts in left.calls.values()
        for record in records.interrupted(
            [(begun.known, begun.settled) for _, begun in sorted(attempts.items())], left.latest_us
        )
    ]
    needed = sum(len(record) + 32 for record in told) + (64 << 10)
    wanted = options.pop("segment_bytes", 4 << 20)
    journal = Journal(
        folder, left.journal, left.newest + 1, first_bytes=max(needed, wanted), segment_bytes=wanted, **options
    )
    for record in told:
        journal.append(SETTLED, record)
    journal.append(CARRIED, records.layout())
    if told:
        log.warning("%d calls were interrupted when the process before this one died; estimated", len(left.calls))
    return journal, left


def look(folder: Path) -> Left:
    """Read what is in `folder`; damage is copied to `damaged/`, and told. Raises InvalidConfig, OSError."""
    found: list[tuple[Header, list[Frame]]] = []
    left = Left("")
    for number in reversed(segments.numbers(folder)):
        left.newest = max(left.newest, number)
        path = folder / segments.file_name(number)
        data = path.read_bytes()
        if not data.strip(b"\0"):  # it was about to be made
            path.unlink()
            continue
        try:
            header = segments.read_header(data[:BEGIN])
        except Damaged as error:
            if "newer" in str(error):
                raise InvalidConfig(f"the journal {path} cannot be read: {error}", path="server.state_dir") from None
            _keep_aside(left, path, data, 0, len(data))
            path.rename(path.with_suffix(".unreadable"))
            continue
        left.journal = left.journal or header.journal
        told = list(segments.frames(data[BEGIN:], BEGIN, header.seed))
        for frame in told:
            if frame.kind == 0:
                _keep_aside(left, path, data, frame.begin, frame.end)
        found.append((header, told))
        if any(frame.kind == CARRIED for frame in told):
            break
    left.journal = left.journal or secrets.token_hex(16)
    for _, told in reversed(found):
        _follow(left, told)
    return left


def _follow(left: Left, told: list[Frame]) -> None:
    """What the records of one segment say of open calls."""
    layout: dict[str, Any] = records.layout_of(told) or dict(records.LAYOUT)
    for frame in told:
        if frame.kind in (0, LAYOUT, CARRIED):
            continue
        try:
            decoded = records.decode(frame.payload)
        except msgspec.DecodeError:
            log.error("a record at %d cannot be read and is left out", frame.begin)
            continue
        if frame.kind in (INTENT, OPENED):
            row = records.named(layout["intents"], decoded, records.INTENT_COLUMNS)
            attempts = left.calls.setdefault(row["call_id"], {})
            known = Interrupted(row, content_bytes=segments.cell_value(frame.cell))
            before = attempts.get(row["attempt"])
            if before is not None:  # it was carried here, perhaps not with all that was known of it
                known.progress = before.known.progress
                known.content_bytes = max(known.content_bytes, before.known.content_bytes)
            # What was open is settled where that stands, not by a settlement that waited in memory for room.
            settled = frame.kind == OPENED and (before is None or before.settled)
            attempts[row["attempt"]] = Begun(known, settled)
            left.latest_us = max(left.latest_us, row["started_us"])
        elif frame.kind == PROGRESS:
            row = records.named(layout["progress"], decoded, records.PROGRESS_COLUMNS)
            begun = left.calls.get(row["call_id"], {}).get(row["attempt"])
            if begun is not None:
                begun.known.progress = row
            left.latest_us = max(left.latest_us, row["first_content_us"] or 0)
        elif frame.kind == SETTLED:
            _settle(left, layout, decoded)


def _settle(left: Left, layout: dict[str, Any], decoded: list[Any]) -> None:
    attempt, call = decoded
    if attempt is not None:
        row = records.named(layout["attempts"], attempt, records.ATTEMPT_COLUMNS)
        begun = left.calls.get(row["call_id"], {}).get(row["attempt"])
        if begun is not None:
            begun.settled = True
        left.latest_us = max(left.latest_us, row["ended_us"])
    if call is not None:
        row = records.named(layout["calls"], call, records.CALL_COLUMNS)
        left.calls.pop(row["id"], None)
        left.latest_us = max(left.latest_us, row["ended_us"])


def _keep_aside(left: Left, path: Path, data: bytes, begin: int, end: int) -> None:
    kept = path.parent / "damaged" / f"{path.stem}-{begin}"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if not kept.exists():
        kept.write_bytes(data[begin : min(end, begin + _LONGEST_KEPT)].rstrip(b"\0"))
        log.error("%d bytes at %d of %s are no records; they are kept in %s", end - begin, begin, path, kept)
    left.damaged += 1
    left.damaged_bytes += end - begin
