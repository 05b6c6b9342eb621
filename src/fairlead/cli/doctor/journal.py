"""The journal: what of it the database does not have yet, what in it cannot be read, and its room on the disk."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairlead.cli.doctor import Finding, counted, existing, size
from fairlead.settings import Journal
from fairlead.storage import inspection as databases
from fairlead.usage import inspection as journals

_FAR_BEHIND = 64 << 20  # bytes that a database which keeps up never has before it


def examine(folder: Path, journal: Journal, facts: databases.Facts | None) -> Iterator[Finding]:
    """The journal below the state folder, slot by slot, and its room. `facts`: what the database says it has."""
    slots: Sequence[journals.Slot] = ()
    try:
        slots = journals.look(folder / "journal", None if facts is None else facts.positions)
    except OSError as error:
        to_do = "let the user that the gateway runs as read and write all that is in the state folder"
        yield Finding("journal", "problem", f"{error.filename} cannot be read: {error.strerror}", to_do)
    else:
        if not slots:
            yield Finding("journal", "ok", "there is none yet")
        for found in slots:
            yield slot(found, journal)
        yield damage(slots)
    told = os.statvfs(existing(folder))
    yield room(told.f_bavail * told.f_frsize, sum(found.bytes for found in slots), journal)


def fsync(journal: Journal) -> Finding:
    if journal.fsync == "off":
        return Finding(
            "fsync", "warning", 'journal.fsync is "off": a loss of power may cost records of the last half minute',
            'set it to "interval", unless that does not matter; kill -9 costs none either way',
        )  # fmt: skip
    return Finding("fsync", "ok", f'journal.fsync is "{journal.fsync}"')


def slot(found: journals.Slot, journal: Journal) -> Finding:
    """How one slot of the journal fares."""
    name = f"journal {Path(found.path).name}"
    facts = {field: getattr(found, field) for field in ("path", "held", "segments", "bytes", "unread", "open_calls")}
    who = "a running process holds it" if found.held else "no process holds it"
    what = f"{counted(found.segments, 'segment')}, {size(found.bytes)}"
    unread = "" if found.unread is None else f", {size(found.unread)} not yet in the database"
    calls = f", {counted(found.open_calls, 'call')} that nobody ended" if found.open_calls else ""
    told = f"{who}; {what}{unread}{calls}"
    if found.trouble and not found.held:
        if "newer" in found.trouble:
            to_do = "start the version that wrote it: this one cannot finish it"
            return Finding(name, "problem", f"{told}; {found.trouble}", to_do, facts)
        to_do = "nothing: the next start keeps that file aside and goes on with the others"
        return Finding(name, "warning", f"{told}; {found.trouble}", to_do, facts)
    if found.bytes > journal.max_bytes // 2:
        to_do = "see what /health and the log say: a sink is slow or away"
        return Finding(name, "warning", f"{told}; at most {size(journal.max_bytes)} (journal.max_bytes)", to_do, facts)
    if found.held and (found.unread or 0) >= _FAR_BEHIND:
        to_do = "see what /health and the log say: the database is slow or away"
        return Finding(name, "warning", told, to_do, facts)
    if not found.held and (found.unread or found.open_calls):
        to_do = "nothing, but keep it: a running gateway takes it over within seconds, or the next start does"
        return Finding(name, "warning", told, to_do, facts)
    return Finding(name, "ok", told, "", facts)


def damage(slots: Sequence[journals.Slot]) -> Finding:
    """What was no record, and was kept aside."""
    pieces = [str(Path(found.path, "damaged", name)) for found in slots for name in found.damaged]
    files = [str(Path(found.path, name)) for found in slots for name in found.unreadable]
    facts = {"damaged": pieces, "unreadable": files}
    if not pieces and not files:
        return Finding("damage", "ok", "none", "", facts)
    return Finding(
        "damage", "warning",
        f"kept aside: {counted(len(pieces), 'piece')} that are no records, {counted(len(files), 'file')} that are no"
        " segments: "
        f"{', '.join([*pieces, *files][:3])}{' …' if len(pieces) + len(files) > 3 else ''}",
        "have the disk and its log looked at; delete them when nobody wants to look into them", facts,
    )  # fmt: skip


def room(free: int, held: int, journal: Journal) -> Finding:
    """Whether the journal, which holds `held` bytes, can grow to what it may with `free` bytes."""
    found = f"{size(free)} free; journal.max_bytes is {size(journal.max_bytes)}"
    facts = {"free_bytes": free, "journal_bytes": held, "max_bytes": journal.max_bytes}
    if free < 2 * journal.segment_bytes:
        return Finding("room", "problem", f"{found}: no room for the next segments", "make room on that disk", facts)
    if free + held < journal.max_bytes:
        to_do = "make room, or set journal.max_bytes to what there is: what is full sooner is the disk"
        return Finding("room", "warning", found, to_do, facts)
    return Finding("room", "ok", found, "", facts)
