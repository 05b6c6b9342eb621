"""The journal: what calls use, written down before it is spent, where `kill -9` cannot undo it.

Records go into a file that is mapped into memory: once copied there they are the kernel's, and outlive the process
without a system call. A thread makes the next segment ready ahead of time and flushes for the case that the machine
itself dies. Everything an open call needs is carried into each new segment, so that old ones may go as soon as their
readers are past them.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fairlead.call import Attempt
from fairlead.usage import records, segments
from fairlead.usage.segments import CARRIED, LAYOUT, Position, Segment

log = logging.getLogger("fairlead.journal")

Fsync = Literal["off", "interval", "always"]
Carried = Iterable[tuple[int, bytes, Attempt | None, int]]  # kind, payload, whose cell it is, and what it counts

_EVERY_SECONDS = 1.0  # between flushes
_QUIET_SECONDS = 60.0  # between two words of trouble
_ALERT = 0.5  # of `max_bytes`
_OFFSET_BITS = 40
_SETTLED_BYTES = 1 << 10  # of a settlement with its call, and a few to spare


class Full(Exception):
    """There is no room for another record: the disk is full, or `journal.max_bytes` is reached."""


class Journal:
    """One slot's journal, open for writing by one thread (the event loop's)."""

    def __init__(
        self,
        folder: Path,
        journal: str,
        number: int,
        *,
        first_bytes: int | None = None,
        segment_bytes: int = 4 << 20,
        max_bytes: int = 4 << 30,
        fsync: Fsync = "interval",
    ) -> None:
        """Begin segment `number` of the journal with the id `journal` in `folder`. Raises OSError.

        `first_bytes`: the size of that one, where it is not `segment_bytes` as all others.
        """
        self.folder, self.id = folder, journal
        self.segment_bytes, self.max_bytes, self.fsync = segment_bytes, max_bytes, fsync
        self.carry: Callable[[], Carried] = tuple  # what is open, in the order it shall be carried
        self.open_calls: Callable[[], int] = int  # how many settlements are still to come
        self.trouble = ""  # why it cannot be flushed, or go on
        self.spare: Segment | None = None  # made ahead of time
        self._held = _bytes_in(folder)  # on the disk, all segments
        self._layout = records.layout()
        self._retired: deque[Segment] = deque()  # full, not yet flushed and closed
        self._synced = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()  # around making and removing segments
        self._wake = threading.Event()
        self._closing = False
        self._alerted = False
        self._quiet_until = 0.0  # monotonic: trouble comes and goes where room does
        self._thread: threading.Thread | None = None
        self._segment = self._made(number, first_bytes or segment_bytes)
        self._segment.put(LAYOUT, self._layout)
        # Of the segment written to: `put` gives 0 when that is full, and `append` goes on in the next one.
        self.count, self.put = self._segment.count, self._segment.put

    # ---- writing

    @property
    def written(self) -> int:
        """How far it is written, as a number that grows with each record."""
        segment = self._segment
        return segment.number << _OFFSET_BITS | segment.at

    def append(self, kind: int, payload: bytes) -> int:
        """Write a record down, in another segment if need be; its cell. Raises Full."""
        cell = self.put(kind, payload)
        if not cell:
            self._rotate(len(payload))
            cell = self.put(kind, payload)
        return cell

    def reserve(self) -> None:
        """Make sure there is room for the settlements that are still to come, and one more. Raises Full."""
        if self.spare is None and self._segment.left < self._needed():
            self._make_spare()

    def _needed(self) -> int:
        return (self.open_calls() + 1) * _SETTLED_BYTES

    def _rotate(self, size: int) -> None:
        """Go on in the next segment, which begins with all that is open. Raises Full."""
        carried = list(self.carry())
        needed = size + sum(len(payload) + 32 for _, payload, _, _ in carried) + 2 * len(self._layout) + 256
        with self._lock:
            spare, self.spare = self.spare, None
            if spare is not None and spare.left < needed:
                self._discard(spare)
                spare = None
            if spare is None:
                ample = min(needed * 2, self.max_bytes - self._held)
                spare = self._make(self._segment.number + 1, max(self.segment_bytes, ample, needed))
            spare.put(LAYOUT, self._layout)
            for kind, payload, attempt, content_bytes in carried:
                cell = spare.put(kind, payload)
                if attempt is not None:
                    attempt.cell = cell
                if content_bytes:
                    spare.count(cell, content_bytes)
            spare.put(CARRIED, self._layout)  # once more: without it nobody knows what the rows say
            # Only now may readers see it: whoever is past the segment before it may remove that.
            self._retired.append(self._segment)
            self._segment = spare
            self.count, self.put = spare.count, spare.put
        self._wake.set()

    # ---- segments

    def _make_spare(self) -> None:
        with self._lock:
            size = max(self.segment_bytes, min(2 * self._needed(), self.max_bytes - self._held))
            if self.spare is not None and self.spare.size < size:
                self._discard(self.spare)
                self.spare = None
            if self.spare is None:
                self.spare = self._make(self._segment.number + 1, size)

    def _make(self, number: int, size: int) -> Segment:
        # If this segment is all there is, no reader will ever make room: what is open has to go on somewhere.
        if self._held + size > self.max_bytes and self._held > self._segment.size:
            raise Full(f"it holds {self._held} bytes, and journal.max_bytes is {self.max_bytes}")
        try:
            return self._made(number, size)
        except OSError as error:
            raise Full(f"a segment cannot be made: {error.strerror}") from None

    def _made(self, number: int, size: int) -> Segment:
        path = self.folder / segments.file_name(number)
        segment = Segment(path, segments.new_header(self.id, number, size))
        if self.fsync != "off":
            segments.sync_folder(self.folder)
        self._held += segment.size
        return segment

    def _discard(self, segment: Segment) -> None:
        segment.close()
        segment.path.unlink(missing_ok=True)
        self._held -= segment.size

    # ---- reading

    @property
    def tail(self) -> Position:
        """Up to where there is something to read."""
        segment = self._segment
        return Position(segment.number, segment.at)

    @property
    def alert(self) -> bool:
        """Whether it is so full that somebody should look."""
        return self._alerted

    @property
    def held(self) -> int:
        """Bytes of all its segments."""
        return self._held

    def drop(self, before: int) -> None:
        """Remove the segments whose number is below `before`: every reader is past them. From any thread."""
        with self._lock:
            gone = [number for number in segments.numbers(self.folder) if number < min(before, self._segment.number)]
            for number in gone:
                (self.folder / segments.file_name(number)).unlink(missing_ok=True)
            if gone:
                self._held = _bytes_in(self.folder)

    # ---- the disk

    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep, name="journal", daemon=True)
        self._thread.start()

    async def durable(self, number: int) -> None:
        """Wait until the records up to `number` (of `written`) would survive a loss of power. Raises OSError."""
        if self._synced >= number:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((number, future))
        self._wake.set()
        await future

    def _keep(self) -> None:
        while not self._closing:
            try:
                self._tend()
            except Exception:
                log.exception("the journal in %s is not tended", self.folder)
            self._wake.wait(_EVERY_SECONDS)
            self._wake.clear()

    def _tend(self) -> None:
        """Have the next segment ready, flush, close what is full."""
        troubles = []
        try:
            self._make_spare()
        except Full as full:
            troubles.append(str(full))
        written, failed = self._sync()
        if failed is not None:
            troubles.append(str(failed))
        trouble = "; ".join(troubles)
        if trouble and not self.trouble and time.monotonic() > self._quiet_until:
            log.error("the journal in %s: %s", self.folder, trouble)
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
        self.trouble = trouble
        self._tell(written, failed)
        if (self._held > self.max_bytes * _ALERT) != self._alerted:
            self._alerted = not self._alerted
            if self._alerted:
                log.error(
                    "the journal holds %d MB of at most %d (journal.max_bytes): a sink is slow or away",
                    self._held >> 20, self.max_bytes >> 20,
                )  # fmt: skip

    def _sync(self) -> tuple[int, OSError | None]:
        """Flush what was written, and close the segments that are full: up to where that was, and what went wrong."""
        with self._lock:
            written, segment = self.written, self._segment
        failed: OSError | None = None
        try:
            if self.fsync != "off" and written > self._synced:
                segment.sync()  # before it can be retired, and closed
        except OSError as error:
            failed = error
        while self._retired:
            try:
                if self.fsync != "off":
                    self._retired[0].sync()
            except OSError as error:
                failed = error
            self._retired.popleft().close()
        if failed is None:
            self._synced = written
        else:  # what the disk refused once it may claim to have the next time: go on in a file it has not failed
            self.put = _no_room
        return written, failed

    def _tell(self, written: int, error: OSError | None) -> None:
        """Let those go on who wait for records up to `written`."""
        done = []
        for _ in range(len(self._waiting)):
            number, future = self._waiting.popleft()
            if number <= written:
                done.append(future)
            else:
                self._waiting.append((number, future))
        if done:
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                done[0].get_loop().call_soon_threadsafe(_finish, done, error)
        if self._waiting:
            self._wake.set()

    def close(self) -> None:
        """Flush and let go of the files; nothing may be written any more."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        written, failed = self._sync()
        if failed is not None:
            log.error("the journal in %s cannot be flushed: %s", self.folder, failed)
        self._tell(written, failed)
        if self.spare is not None:
            self._discard(self.spare)
        self._segment.close()


def _no_room(kind: int, payload: bytes) -> int:
    return 0


def _finish(futures: list["asyncio.Future[None]"], error: OSError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in segments.files(folder))
