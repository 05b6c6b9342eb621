"""The journal: what is written is read, in its order and once; what is said to be on the disk is on it."""

import asyncio
import errno
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookkeeping import attempted, begun, ended, segment_files
from fairlead.errors import Unavailable
from fairlead.usage import books as books_module
from fairlead.usage import journal as journal_module
from fairlead.usage.books import Books, Reader
from fairlead.usage.estimates import Estimates
from fairlead.usage.journal import Full, Journal
from fairlead.usage.ledger import Ledger
from fairlead.usage.segments import PROGRESS, SETTLED
from gateway import environment

ID = "0123456789abcdef" * 2
SMALL = 8 << 10


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path, ID, 1, segment_bytes=SMALL, max_bytes=8 * SMALL)
    yield journal
    journal.close()


def fill(journal: Journal, size: int = 1_000) -> int:
    """Write until there is no room; how many records there was room for."""
    count = 0
    with suppress(Full):
        while True:
            journal.append(PROGRESS, b"x" * size)
            count += 1
    return count


# ---- reading what is being written


@given(st.data())
@settings(max_examples=60)
def test_however_reading_falls_between_writing_each_record_is_read_once_and_in_its_order(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(books_module, "_LARGEST_BATCH", data.draw(st.sampled_from([1, 7, 2_000])))
        books = Books(Path(folder), segment_bytes=SMALL, fsync="off")
        journal, ledger = books.own.journal, Ledger(books.own.journal, Estimates())
        reader, told, number = Reader(books.own, None), [], 0

        def read() -> bool:
            batch = reader.read()
            if batch is None:
                return False
            told.extend(row[0] for row in batch.calls)
            return True

        for step in data.draw(st.lists(st.sampled_from(["write", "read", "again", "drop", "tend"]), max_size=30)):
            if step == "write":
                for _ in range(data.draw(st.integers(1, 120))):
                    number += 1
                    ended(ledger, attempted(ledger, begun(id=f"gen-{number}")))
            elif step == "read":
                read()
            elif step == "again":  # by another, who begins where this one has come to
                reader = Reader(books.own, reader.position)
            elif step == "drop":
                journal.drop(reader.position.segment)
            else:
                journal._tend()
        while read():
            pass
        assert told == [f"gen-{each}" for each in range(1, number + 1)]
        assert reader.position == journal.tail
        books.close()


def test_who_reads_while_another_thread_writes_misses_nothing(tmp_path: Path) -> None:
    books = Books(tmp_path, segment_bytes=SMALL)
    books.own.journal.start()
    ledger = Ledger(books.own.journal, Estimates())
    told: list[str] = []
    done = threading.Event()

    def read() -> None:
        reader = Reader(books.own, None)
        while True:
            last = done.is_set()
            while (batch := reader.read()) is not None:
                told.extend(row[0] for row in batch.calls)
                books.own.journal.drop(reader.position.segment)
            if last:
                return

    reading = threading.Thread(target=read)
    reading.start()
    for number in range(5_000):
        ended(ledger, attempted(ledger, begun(id=f"gen-{number}")))
    done.set()
    reading.join(30)
    assert told == [f"gen-{number}" for number in range(5_000)]
    books.close()


def test_an_open_call_is_carried_through_any_number_of_segments(tmp_path: Path) -> None:
    books = Books(tmp_path, segment_bytes=SMALL)
    journal, ledger = books.own.journal, Ledger(books.own.journal, Estimates())
    long = attempted(ledger, begun(id="gen-long"))
    long.content_bytes = 12_345
    ledger.journal.count(long.cell, long.content_bytes)
    reader = Reader(books.own, None)
    while journal.tail.segment < 30:
        ended(ledger, attempted(ledger, begun()))
        while reader.read() is not None:
            pass
        journal.drop(reader.position.segment)
    assert len(segment_files(journal.folder)) <= 2
    ended(ledger, long)
    batch = reader.read()
    assert batch is not None
    assert batch.calls[-1][0] == "gen-long"
    books.close()


# ---- room


def test_a_journal_that_is_full_says_so_and_goes_on_when_there_is_room(journal: Journal) -> None:
    count = fill(journal)
    assert count >= 8 * (SMALL // 1_000 - 3)
    assert journal.held <= 8 * SMALL
    with pytest.raises(Full, match=r"journal.max_bytes is 65536"):
        journal.append(SETTLED, b"x" * 1_000)
    journal.drop(journal.tail.segment)
    assert len(segment_files(journal.folder)) == 1
    journal.append(SETTLED, b"x" * 1_000)
    assert fill(journal) >= count - SMALL // 1_000


def test_what_is_held_is_what_is_on_the_disk(journal: Journal) -> None:
    for _ in range(3):
        fill(journal)
        journal._tend()
        assert journal.held == sum(path.stat().st_size for path in segment_files(journal.folder))
        journal.drop(journal.tail.segment)
        assert journal.held == sum(path.stat().st_size for path in segment_files(journal.folder))


def open_below(folder: Path) -> list[str]:
    """The files below `folder` that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(f"{folder}/")]


def test_files_that_are_full_are_let_go(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ID, 1, segment_bytes=SMALL)
    for _ in range(100):
        for _ in range(10):
            journal.append(PROGRESS, b"x" * 1_000)
        journal._tend()
    assert journal.tail.segment > 100
    assert len(set(open_below(tmp_path))) <= 2
    journal.close()
    assert open_below(tmp_path) == []


def test_somebody_is_told_once_that_it_is_half_full_and_once_that_it_is_full(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "fairlead.journal")
    fill(journal)
    for _ in range(3):
        journal._tend()
    assert journal.alert
    assert "journal.max_bytes" in journal.trouble
    assert len([record for record in caplog.records if "a sink is slow or away" in record.message]) == 1
    assert len(caplog.records) == 2
    journal.drop(journal.tail.segment)
    journal._tend()
    assert not journal.alert
    assert journal.trouble == ""


def test_a_closed_journal_leaves_nothing_that_was_only_made_ahead(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ID, 1, segment_bytes=SMALL)
    journal._tend()
    assert len(segment_files(journal.folder)) == 2
    journal.append(SETTLED, b"x")
    journal.close()
    [left] = segment_files(journal.folder)
    assert left.name == "000000000001.segment"
    assert left.stat().st_mode & 0o777 == 0o600


def full_disk(file: int, offset: int, length: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_leaves_no_half_made_segment(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full_disk)
        fill(journal)
        journal._tend()
        assert "No space left on device" in journal.trouble
        assert len(segment_files(journal.folder)) == 1
    journal._tend()
    assert journal.trouble == ""
    assert len(segment_files(journal.folder)) == 2


LIMITED = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from bookkeeping import attempted, begun, ended, read
from fairlead.errors import Unavailable
from fairlead.usage.books import Books
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger

books = Books(Path(sys.argv[1]), segment_bytes=256 << 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (100 << 10, resource.RLIM_INFINITY))
ledger, attempts = Ledger(books.own.journal, Estimates()), []
try:
    while True:
        attempts.append(attempted(ledger, begun()))
except Unavailable as refused:
    print(refused.message)
for attempt in attempts:
    ended(ledger, attempt)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ended(ledger, attempted(ledger, begun()))
rows, calls = read(books.own)
print(len(attempts) > 100, len(rows) == len(calls) == len(attempts) + 1, ledger.owed, ledger.dropped)
"""


def test_a_limit_of_the_system_is_an_error_and_no_signal(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow: the kernel itself refuses room for the next segment."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(Path(__file__).parents[1])]
    told = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    refused, facts = told.stdout.splitlines()
    assert "File too large" in refused
    assert facts == "True True 0 0"


SMALL_DISK = LIMITED.replace(
    "resource.setrlimit(resource.RLIMIT_FSIZE, (100 << 10, resource.RLIM_INFINITY))",
    "ballast = open(Path(sys.argv[1]) / 'ballast', 'wb', buffering=0)\n"
    "try:\n    while True: ballast.write(bytes(4096))\nexcept OSError: pass",
).replace(
    "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
    "ballast.truncate(0)",
)


def test_on_a_small_disk_that_is_full_nothing_is_lost(tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    ).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        command = [sys.executable, "-c", SMALL_DISK, str(tmp_path), str(Path(__file__).parents[1])]
        told = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
        assert told.returncode == 0, told.stderr
        refused, facts = told.stdout.splitlines()
        assert "No space left" in refused
        assert facts == "True True 0 0"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# ---- on the disk


class Disk:
    """What is asked of `os.fdatasync`: counted, held up, refused."""

    def __init__(self) -> None:
        self.begun, self.ended = 0, 0
        self.error: OSError | None = None
        self.asked = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def fdatasync(self, file: int) -> None:
        self.begun += 1
        self.asked.release()
        assert self.free.wait(30)
        if self.error is not None:
            raise self.error
        self.ended += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.fdatasync)
    monkeypatch.setattr(journal_module, "_EVERY_SECONDS", 3_600.0)  # only when somebody asks
    return disk


@pytest.fixture
def kept(tmp_path: Path, disk: Disk) -> Iterator[Callable[[str], Ledger]]:
    """A ledger whose journal is looked after, with this much care for the disk."""
    opened: list[Books] = []

    def kept(fsync: str) -> Ledger:
        books = Books(tmp_path / str(len(opened)), fsync=fsync)
        opened.append(books)
        books.own.journal.start()
        return Ledger(books.own.journal, Estimates())

    yield kept
    disk.free.set()
    disk.error = None
    for books in opened:
        books.close()


async def test_what_is_durable_was_given_to_the_disk_before(kept: Callable[[str], Ledger], disk: Disk) -> None:
    ledger = kept("always")
    assert ledger.waits
    attempt = attempted(ledger, begun())
    await asyncio.wait_for(ledger.durable(ledger.written), 10)
    disk.free.clear()
    ended(ledger, attempt)
    waiting = asyncio.create_task(ledger.durable(ledger.written))
    before = disk.ended
    while disk.begun == before:
        assert await asyncio.to_thread(disk.asked.acquire, timeout=10)
    assert not waiting.done()
    disk.free.set()
    await asyncio.wait_for(waiting, 10)
    assert disk.ended > before
    await asyncio.wait_for(ledger.durable(ledger.written), 0.001)  # it is there already


async def test_many_who_wait_share_one_look_at_the_disk(kept: Callable[[str], Ledger], disk: Disk) -> None:
    ledger = kept("always")
    attempted(ledger, begun())
    disk.free.clear()
    waiting = [asyncio.create_task(ledger.durable(ledger.written))]
    assert await asyncio.to_thread(disk.asked.acquire, timeout=10)
    for _ in range(500):
        attempted(ledger, begun())
        waiting.append(asyncio.create_task(ledger.durable(ledger.written)))
    await asyncio.sleep(0)  # they all wait now
    before = disk.begun
    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert disk.begun - before <= 3


async def test_a_disk_that_refuses_is_told_to_who_waits_and_the_next_ones_may_be_lucky(
    kept: Callable[[str], Ledger], disk: Disk
) -> None:
    ledger = kept("always")
    disk.error = OSError(errno.EIO, os.strerror(errno.EIO))
    attempt = attempted(ledger, begun())
    with pytest.raises(Unavailable, match="disk"):
        await asyncio.wait_for(ledger.durable(ledger.written), 10)
    assert "Input/output error" in ledger.journal.trouble
    disk.error = None
    ended(ledger, attempt)
    await asyncio.wait_for(ledger.durable(ledger.written), 10)


async def test_who_no_longer_waits_is_in_nobodys_way(kept: Callable[[str], Ledger], disk: Disk) -> None:
    ledger = kept("always")
    attempted(ledger, begun())
    disk.free.clear()
    waiting = [asyncio.create_task(ledger.durable(ledger.written)) for _ in range(3)]
    assert await asyncio.to_thread(disk.asked.acquire, timeout=10)
    waiting[0].cancel()
    await asyncio.sleep(0)
    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*waiting[1:]), 10)
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


@pytest.mark.parametrize("fsync", ["off", "interval"])
async def test_who_does_not_ask_for_it_does_not_wait(kept: Callable[[str], Ledger], disk: Disk, fsync: str) -> None:
    ledger = kept(fsync)
    assert not ledger.waits
    ended(ledger, attempted(ledger, begun()))
    ledger.journal._tend()
    assert (disk.ended > 0) == (fsync == "interval")


def test_a_full_segment_is_given_to_the_disk_before_it_is_closed(tmp_path: Path, disk: Disk) -> None:
    journal = Journal(tmp_path, ID, 1, segment_bytes=SMALL)
    while journal.tail.segment < 4:
        journal.append(PROGRESS, b"x" * 1_000)
    journal._tend()
    assert disk.ended == 4
    journal.close()
