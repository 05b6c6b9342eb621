"""From the ledger into real tables: what arrives, what one bad row may not do, and what a fault of SQLite may not."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bookkeeping import attempted, begun, ended, failed
from fairlead.chat import Usage
from fairlead.errors import UpstreamBroken
from fairlead.storage.deadletters import DeadLetters
from fairlead.storage.engine import Database, open_database
from fairlead.storage.records import Records
from fairlead.usage.books import Books
from fairlead.usage.couriers import Courier
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger
from fairlead.usage.sinks import Batch, Refused
from gateway import rows


class Watched(Records):
    """The real sink, which tells how often it failed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.failed = threading.Semaphore(0)

    def write(self, batch: Batch) -> Sequence[Refused]:
        try:
            return super().write(batch)
        except sqlite3.Error:
            self.failed.release()
            raise


class Office:
    """A ledger, its books, and the courier who brings the database what stands in them."""

    def __init__(self, folder: Path) -> None:
        self.database = open_database("sqlite:///records.db", folder)
        self.books = Books(folder / "journal")
        self.ledger = Ledger(self.books.own.journal, Estimates())
        self.sink, self.letters = Watched(self.database.path), DeadLetters(self.database)
        self.courier = Courier(self.sink, self.books, self.letters)

    def rows(self, table: str, *, order: str = "started_us") -> list[dict[str, object]]:
        return rows(self.database.path, table, order=order)

    async def aclose(self) -> None:
        await self.courier.aclose(seconds=10)
        self.books.close()
        self.database.close()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(tmp_path)
    yield office
    await office.aclose()


@pytest.fixture
def database(office: Office) -> Database:
    return office.database


async def test_all_that_is_known_of_a_call_and_its_attempts_is_in_the_tables(office: Office) -> None:
    office.courier.start()
    call = begun(started_us=1_000)
    broken = attempted(office.ledger, call, "lab")
    broken.error = UpstreamBroken("garbage")
    failed(office.ledger, broken)
    won = attempted(office.ledger, call, "spare")
    won.sends, won.first_content_us, won.finish_reason, won.content_bytes = 2, 1_500, "stop", 4_321
    won.upstream_id, won.upstream_model, won.upstream_request_id = "chatcmpl-1", "llama-3", "req-1"
    call.first_content_us = 1_500
    ended(office.ledger, won, Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    assert await office.courier.flush(10)

    owners = {"organization_id": "org", "team_id": "team", "environment_id": "env", "user_id": "user"}
    assert office.rows("calls") == [
        {
            "id": call.id, **owners, "key_id": "key_1", "operation": "chat", "protocol": "openai-chat",
            "model": "fast", "provider": "spare", "upstream_model": "llama", "stream": 1, "status": 200,
            "outcome": "ok", "error_code": None, "attempts": 2, "started_us": 1_000, "first_content_us": 1_500,
            "ended_us": 2_000,
        }
    ]  # fmt: skip
    first, second = office.rows("attempts", order="attempt")
    assert (first["provider"], first["outcome"], first["error_code"]) == ("lab", "failed", "upstream_broken")
    assert second == {
        "call_id": call.id, "attempt": 2, **owners, "key_id": "key_1", "provider": "spare", "model": "llama",
        "protocol": "openai-chat", "credential_id": "default", "sends": 2, "status": 200, "outcome": "ok",
        "error_code": None, "finish_reason": "stop", "upstream_id": "chatcmpl-1", "upstream_model": "llama-3",
        "upstream_request_id": "req-1", "started_us": 1_100, "first_content_us": 1_500, "ended_us": 1_900,
        "input_tokens": 1, "output_tokens": 2, "cached_tokens": 3, "cache_write_tokens": 4,
        "cache_write_1h_tokens": 5, "reasoning_tokens": 6, "input_audio_tokens": 7, "output_audio_tokens": 8,
        "input_image_tokens": 9, "output_image_tokens": 10, "estimated": 0, "stream": 1, "request_bytes": 399,
        "content_bytes": 4_321, "cost_nano_usd": None,
    }  # fmt: skip


async def test_what_no_number_or_text_can_be_is_written_as_near_as_it_can_be(office: Office) -> None:
    """A provider may tell any number of tokens, and half of a surrogate pair."""
    call = begun()
    attempt = attempted(office.ledger, call)
    attempt.upstream_model = "llama-\ud83d"
    ended(office.ledger, attempt, Usage(10**300, -(10**300)))
    office.courier.start()
    assert await office.courier.flush(10)
    [row] = office.rows("attempts")
    assert (row["input_tokens"], row["output_tokens"]) == (2**53 - 1, 1 - 2**53)
    assert row["upstream_model"] == "llama-?"
    assert office.letters.count() == 0


async def test_a_row_that_no_table_can_hold_holds_up_no_other(
    office: Office, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.read(
        "CREATE TRIGGER narrow BEFORE INSERT ON attempts WHEN new.input_tokens > 8 BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    calls = [begun() for _ in range(200)]
    for call in calls:
        ended(office.ledger, attempted(office.ledger, call), Usage(9 if call in (calls[3], calls[150]) else 7))
    office.courier.start()
    assert await office.courier.flush(10)
    assert len(office.rows("calls")) == 200
    written = {row["call_id"] for row in office.rows("attempts")}
    assert {call.id for call in calls} - written == {calls[3].id, calls[150].id}
    assert {letter.call_id for letter in office.letters.list()} == {calls[3].id, calls[150].id}
    assert "2 records" in caplog.text
    assert "fairlead deadletters list" in caplog.text


async def test_while_the_table_is_away_rows_wait_in_the_journal_and_it_is_told_once(
    office: Office, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "fairlead.usage")
    database.read("ALTER TABLE attempts RENAME TO away")
    office.courier.start()
    for _ in range(3):
        ended(office.ledger, attempted(office.ledger, begun()))
    for _ in range(3):
        assert not await office.courier.flush(0)
        assert await asyncio.to_thread(office.sink.failed.acquire, timeout=10)
    assert office.rows("calls") == []  # both tables or none
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the sink database is away, its records wait in the journal"
    ]
    assert "no such table" in office.courier.trouble
    database.read("ALTER TABLE away RENAME TO attempts")
    assert await office.courier.flush(10)
    assert len(office.rows("calls")) == len(office.rows("attempts")) == 3


async def test_what_was_written_down_when_it_was_told_to_stop_is_in_the_tables(office: Office) -> None:
    office.courier.start()
    for _ in range(5_000):  # more than one batch
        ended(office.ledger, attempted(office.ledger, begun()))
    await office.courier.aclose(seconds=10)
    assert office.database.read("SELECT (SELECT count(*) FROM calls), count(*) FROM attempts") == [(5_000, 5_000)]


async def test_an_end_without_its_database_does_not_wait_for_ever_and_the_next_start_brings_it(
    tmp_path: Path,
) -> None:
    office = Office(tmp_path)
    office.database.read("ALTER TABLE attempts RENAME TO away")
    office.courier.start()
    ended(office.ledger, attempted(office.ledger, begun()))
    await office.courier.aclose(seconds=0.1)
    office.books.close()
    office.database.read("ALTER TABLE away RENAME TO attempts")
    office.database.close()
    again = Office(tmp_path)
    again.courier.start()
    await again.aclose()
    assert len(rows(office.database.path, "calls")) == len(rows(office.database.path, "attempts")) == 1
