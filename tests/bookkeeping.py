"""Calls and attempts for the tests of the ledger, and a sink that is as bad as it is told to be."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairlead.call import Attempt, Call, new_id
from fairlead.chat import Usage
from fairlead.protocols import Envelope
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.resources import Endpoint, Principal, Provider, Route
from fairlead.usage import segments
from fairlead.usage.books import Books, Reader, Source
from fairlead.usage.ledger import Ledger
from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS, whole
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch, Letter, Refused

CHAT = OpenAIChat()
PRINCIPAL = Principal("key_1", "ci", frozenset({"inference"}), "org", "team", "env", "user")
USED = Usage(10, 5)
STARTED_US = 1_790_000_000_000_000


def begun(body: bytes = b"x" * 399, *, stream: bool = True, id: str = "", started_us: int = STARTED_US) -> Call:
    """A call that has been understood, and no more."""
    call = Call(id or new_id(), CHAT, "chat", {}, started_us=started_us, started=0.0, attempts=[], body=body)
    call.principal, call.route = PRINCIPAL, Route("fast", ())
    call.envelope = Envelope({}, "fast", stream, None, 1, False)
    return call


def attempted(ledger: Ledger, call: Call, provider: str = "lab") -> Attempt:
    """An attempt that is about to be sent."""
    number = len(call.attempts) + 1
    attempt = Attempt(call, number, Endpoint(Provider(provider, {}), "llama"), "openai-chat", call.started_us + 100)
    ledger.intend(attempt)
    call.attempts.append(attempt)
    return attempt


def failed(ledger: Ledger, attempt: Attempt) -> None:
    """It came to nothing, and its call goes on."""
    attempt.outcome, attempt.ended_us, attempt.status = "failed", attempt.started_us + 200, 500
    ledger.settle(attempt)


def ended(ledger: Ledger, attempt: Attempt, usage: Usage | None = USED) -> None:
    """It answered, and its call has ended with it."""
    call = attempt.call
    attempt.outcome, attempt.ended_us, attempt.status, attempt.usage = "ok", attempt.started_us + 800, 200, usage
    call.winner, call.status, call.outcome, call.ended_us = attempt, 200, "ok", call.started_us + 1_000
    ledger.record(call, attempt)


def named(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(columns, whole(row, columns), strict=True))


def read(source: Source, position: Position | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All attempts and calls that stand in a journal from `position` on."""
    reader, attempts, calls = Reader(source, position), [], []
    while (batch := reader.read()) is not None:
        attempts += [named(ATTEMPT_COLUMNS, row) for row in batch.attempts]
        calls += [named(CALL_COLUMNS, row) for row in batch.calls]
    return attempts, calls


def segment_files(folder: Path) -> list[Path]:
    return [folder / segments.file_name(number) for number in segments.numbers(folder)]


class Kept:
    """A sink that keeps what it gets, and fails as often as it is told to."""

    def __init__(self, failures: int = 0, name: str = "kept") -> None:
        self.name, self.failures = name, failures
        self.attempts: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.positions: dict[str, Position] = {}
        self.closed = False
        self.asked = threading.Semaphore(0)  # once for each batch

    def position(self, journal: str) -> Position | None:
        return self.positions.get(journal)

    def write(self, batch: Batch) -> Sequence[Refused]:
        self.asked.release()
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        self.attempts += [named(ATTEMPT_COLUMNS, row) for row in batch.attempts]
        self.calls += [named(CALL_COLUMNS, row) for row in batch.calls]
        return ()

    def move(self, batch: Batch) -> None:
        self.positions[batch.journal] = batch.end

    def secure(self) -> bool:
        return True

    def forget(self, journal: str) -> None:
        self.positions.pop(journal, None)

    def close(self) -> None:
        self.closed = True


class NoLetters:
    """Where there are no dead letters, and must not be."""

    def bury(self, sink: str, refused: Sequence[Refused]) -> None:
        raise AssertionError(refused)

    def wanted(self, sink: str) -> Sequence[Letter]:
        return ()

    def delivered(self, id: str) -> None:
        raise AssertionError(id)

    def failed(self, id: str, reason: str) -> None:
        raise AssertionError(id)


def die(books: Books) -> None:
    """What `kill -9` does to whoever holds `books`: nothing is written any more, and what is locked is free."""
    journal = books.own.journal
    for segment in (*journal._retired, journal.spare, journal._segment):
        if segment is not None:
            segment.close()
    for source in books.sources:
        source.slot.release()
