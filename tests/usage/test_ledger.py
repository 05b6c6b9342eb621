"""The ledger: room before anything is sent, and what was sent is written down, whatever happens to the disk."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bookkeeping import attempted, begun, ended, failed, read, segment_files
from fairlead.call import Attempt
from fairlead.chat import Usage
from fairlead.errors import Unavailable
from fairlead.usage.books import Books, Reader
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger

SMALL = 32 << 10  # bytes of a segment


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path / "journal", segment_bytes=SMALL, max_bytes=4 * SMALL)
    yield books
    books.close()


@pytest.fixture
def ledger(books: Books) -> Ledger:
    return Ledger(books.own.journal, Estimates())


def test_a_call_and_its_attempt_become_two_rows(books: Books, ledger: Ledger) -> None:
    call = begun()
    attempt = attempted(ledger, call)
    assert read(books.own) == ([], [])  # an intent is no record
    ended(ledger, attempt, Usage(10, 5, cached_tokens=3))
    [row], [told] = read(books.own)
    assert (told["id"], told["provider"], told["attempts"], told["key_id"]) == (call.id, "lab", 1, "key_1")
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"], row["estimated"]) == (10, 5, 3, 0)


def test_a_call_that_failed_over_is_one_row_and_its_attempts_are_two(books: Books, ledger: Ledger) -> None:
    call = begun()
    failed(ledger, attempted(ledger, call, "lab"))
    ended(ledger, attempted(ledger, call, "spare"))
    attempts, [told] = read(books.own)
    assert [(row["attempt"], row["provider"], row["outcome"]) for row in attempts] == [
        (1, "lab", "failed"), (2, "spare", "ok"),
    ]  # fmt: skip
    assert (told["attempts"], told["provider"], told["outcome"]) == (2, "spare", "ok")


def test_a_call_that_came_to_no_attempt_is_a_row_all_the_same(books: Books, ledger: Ledger) -> None:
    call = begun()
    call.status, call.outcome, call.ended_us = 404, "failed", call.started_us + 5
    ledger.record(call)
    attempts, [told] = read(books.own)
    assert attempts == []
    assert (told["attempts"], told["provider"], told["status"]) == (0, None, 404)


def test_numbers_of_records_grow(ledger: Ledger) -> None:
    call = begun()
    attempt = attempted(ledger, call)
    before = ledger.written
    ledger.begin(attempt, None)
    assert (begun_at := ledger.written) > before
    failed(ledger, attempt)
    assert ledger.written > begun_at


def fill(ledger: Ledger) -> tuple[list[Attempt], Unavailable]:
    """Intend until there is no room any more: what was intended, and how the next was refused."""
    attempts = []
    while True:
        try:
            attempts.append(attempted(ledger, begun()))
        except Unavailable as refused:
            return attempts, refused


def test_without_room_nothing_is_intended_but_what_was_intended_can_be_settled(books: Books, ledger: Ledger) -> None:
    attempts, refused = fill(ledger)
    assert (refused.status, refused.retry_after) == (503, 5)
    assert "journal.max_bytes" in refused.message
    for attempt in attempts:
        attempt.upstream_id = "x" * 2_000  # longer than anybody reckons with
        ended(ledger, attempt)
    assert ledger.owed
    journal, reader, told = books.own.journal, Reader(books.own, None), []
    while ledger.owed:
        while (batch := reader.read()) is not None:
            told += [row[0] for row in batch.calls]
        journal.drop(reader.position.segment)
        with suppress(Unavailable):  # while it is paid off, there may be no room for more
            attempts.append(attempted(ledger, begun()))
            ended(ledger, attempts[-1])
    while (batch := reader.read()) is not None:
        told += [row[0] for row in batch.calls]
    assert sorted(told) == sorted(attempt.call.id for attempt in attempts)
    assert ledger.dropped == 0


def test_who_would_rather_lose_records_than_refuse_calls_is_told_how_many(tmp_path: Path) -> None:
    books = Books(tmp_path / "journal", segment_bytes=SMALL, max_bytes=2 * SMALL)
    ledger = Ledger(books.own.journal, Estimates(), on_full="drop")
    sent = 0
    while not ledger.dropped:
        call = begun()
        attempt = attempted(ledger, call)
        sent += 1
        ended(ledger, attempt)
    lost = ledger.dropped
    attempts, _ = read(books.own)
    assert len(attempts) in (sent, sent - 1)
    failed(ledger, attempted(ledger, begun()))
    assert ledger.dropped > lost
    books.close()


def test_a_full_disk_refuses_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(tmp_path / "journal", segment_bytes=SMALL)
    ledger = Ledger(books.own.journal, Estimates())

    def full(file: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        before = len(segment_files(books.own.journal.folder))
        attempts, refused = fill(ledger)
        assert "No space left" in refused.message
        for attempt in attempts:
            ended(ledger, attempt)
        assert len(segment_files(books.own.journal.folder)) == before  # nothing half made
    ended(ledger, attempted(ledger, begun()))
    assert (ledger.owed, ledger.dropped) == (0, 0)
    assert len(read(books.own)[0]) == len(attempts) + 1
    books.close()


def test_the_journal_keeps_no_body_alive(ledger: Ledger) -> None:
    body = bytes(100_000)
    before = sys.getrefcount(body)
    call = begun(body)
    attempt = attempted(ledger, call)
    attempt.content_bytes = 4_000
    ended(ledger, attempt)
    call.forget()
    del call, attempt
    assert sys.getrefcount(body) == before
