"""All journals of a state folder that this process reads: its own, and those of processes that died."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from fairlead.errors import InvalidConfig
from fairlead.usage import records, recovery, segments, slots
from fairlead.usage.journal import Journal
from fairlead.usage.records import Row
from fairlead.usage.segments import BEGIN, LAYOUT, NOWHERE, SETTLED, Frame, Position
from fairlead.usage.sinks import Batch
from fairlead.usage.slots import Slot

log = logging.getLogger("fairlead.journal")

_LARGEST_BATCH = 2000  # records: a transaction is short, so that other writers need not wait long
_FIRST_BYTES = 16 << 10  # of a segment: its header and its layout


class Source(Struct, eq=False):
    """A journal, for its readers. One that is `finished` gets no more records."""

    journal: Journal
    slot: Slot
    first: int  # the segment that this process began with: nobody has read so far before
    finished: bool = False

    @property
    def id(self) -> str:
        return self.journal.id

    def resumed(self, position: Position | None) -> Position | None:
        """Where a sink goes on that came to `position` in the life of another process."""
        if position is None or position.segment < self.first:
            return position
        log.error(
            "a journal was read up to %s and begins at %d now: it is older than what was read, and read again",
            tuple(position), self.first,
        )  # fmt: skip
        return None


class Books:
    """The journals in `folder`. One thread at a time may `tend` them; readers only read."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """Take a slot and go on with its journal. `options` as `Journal` has them. Raises InvalidConfig."""
        self._folder, self._options = folder, options
        slot = slots.take(folder)
        try:
            journal, self.left = recovery.resume(slot.folder, **options)
        except OSError as error:
            slot.release()
            raise InvalidConfig(
                f"the journal in {slot.folder} cannot be written: {error.strerror}", path="server.state_dir"
            ) from None
        except BaseException:
            slot.release()
            raise
        self.own = Source(journal, slot, journal.tail.segment)
        self.sources: Sequence[Source] = (self.own,)

    def adopt(self) -> None:
        """Take over what other processes left behind when they died."""
        for slot in slots.orphans(self._folder):
            try:
                journal, _ = recovery.resume(slot.folder, **{**self._options, "segment_bytes": 64 << 10})
                journal.close()
            except Exception as error:
                log.error("the journal in %s cannot be taken over: %s", slot.folder, error)
                slot.release()
                continue
            self.sources = (*self.sources, Source(journal, slot, journal.tail.segment, finished=True))

    def drop(self, source: Source, before: Position) -> bool:
        """Every reader is past `before`, for good: remove what is not needed. True: all of it is gone."""
        if source.finished and before >= source.journal.tail:
            self.sources = tuple(other for other in self.sources if other is not source)
            source.slot.remove()
            return True
        source.journal.drop(before.segment)
        return False

    def close(self) -> None:
        self.own.journal.close()
        for source in self.sources:
            source.slot.release()


class Reader:
    """Reads one journal from a position on, in batches."""

    def __init__(self, source: Source, position: Position | None) -> None:
        self.source = source
        self.position = position or NOWHERE
        self._frames: Iterator[Frame] | None = None  # what was loaded and is not used up
        self._until = 0  # where that ends
        self._opened = -1  # the segment whose facts these are
        self._seed = 0
        self._layout: dict[str, Any] | None = None  # None: ours

    def read(self) -> Batch | None:
        """The next records, or None if there are none now. Raises OSError."""
        payloads: list[bytes] = []
        while (loaded := self._frames or self._load()) is not None:
            for frame in loaded:
                if frame.kind != SETTLED:
                    continue
                payloads.append(frame.payload)
                if len(payloads) >= _LARGEST_BATCH:
                    self._frames = loaded
                    self.position = Position(self._opened, frame.end)
                    return self._batch(payloads)
            self._frames = None
            self.position = Position(self._opened, self._until)
            if payloads:
                return self._batch(payloads)
        return None

    def _batch(self, payloads: list[bytes]) -> Batch:
        decode = records.decode if self._layout is None else partial(_translated, self._layout)
        return Batch(journal=self.source.id, end=self.position, payloads=payloads, decode=decode)

    def _load(self) -> Iterator[Frame] | None:
        """The frames from the position to the end of its segment, or of the next one there is."""
        journal = self.source.journal
        while (tail := journal.tail) > self.position:
            number, offset = self.position
            if number == self._opened or self._open(number):
                offset = max(offset, BEGIN)
                data = _read(
                    journal.folder / segments.file_name(number), offset, tail.offset if number == tail.segment else None
                )
                if data:
                    self._until = offset + len(data)
                    return segments.frames(data, offset, self._seed, only=SETTLED)
            if number == tail.segment:
                return None
            self.position = Position(_following(journal.folder, number, tail.segment), BEGIN)
        return None

    def _open(self, number: int) -> bool:
        """Read what segment `number` says of itself; whether there is such a segment."""
        path = self.source.journal.folder / segments.file_name(number)
        try:
            with open(path, "rb", buffering=0) as file:
                begin = file.read(_FIRST_BYTES)
            header = segments.read_header(begin)
        except (FileNotFoundError, segments.Damaged):
            return False
        self._opened, self._seed, self._layout = number, header.seed, None
        first = next(segments.frames(begin[BEGIN:], BEGIN, header.seed), None)
        if first is None or first.kind != LAYOUT:
            self._layout = records.layout_of(segments.frames(path.read_bytes()[BEGIN:], BEGIN, header.seed))
        elif first.payload != records.layout():
            self._layout = records.layout_of([first])
        return True


def _translated(layout: dict[str, Any], payload: bytes) -> tuple[Row | None, Row | None]:
    """The rows of a record that another version wrote."""
    attempt, call = records.decode(payload)
    if attempt is not None:
        attempt = list(records.named(layout["attempts"], attempt, records.ATTEMPT_COLUMNS).values())
    if call is not None:
        call = list(records.named(layout["calls"], call, records.CALL_COLUMNS).values())
    return attempt, call


def _read(path: Path, begin: int, end: int | None) -> bytes:
    """The bytes of `path` from `begin` on; nothing if it is gone."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(begin)
            return file.read(-1 if end is None else end - begin) or b""
    except FileNotFoundError:
        log.error("%s is gone, and what was not read of it is lost", path)
        return b""


def _following(folder: Path, number: int, last: int) -> int:
    """The next segment there is after `number`, up to `last`."""
    return next((other for other in segments.numbers(folder) if other > number), last)
