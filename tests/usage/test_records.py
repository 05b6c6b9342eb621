"""From the ledger into real tables: what arrives, what one bad row may not do, and what a fault of SQLite may not."""

import asyncio
import logging
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fairlead.call import Attempt, Call, new_id
from fairlead.chat import Usage
from fairlead.errors import UpstreamBroken
from fairlead.protocols import Envelope
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.resources import Endpoint, Principal, Provider, Route
from fairlead.storage.engine import Database, Row, open_database
from fairlead.storage.records import Records
from fairlead.usage.ledger import Ledger
from gateway import rows

CHAT = OpenAIChat()
PRINCIPAL = Principal("key_1", "ci", frozenset({"inference"}), "org", "team", "env", "user")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite:///records.db", tmp_path)
    yield database
    database.close()


def begun(body: bytes = b"") -> Call:
    call = Call(new_id(), CHAT, "chat", {}, started_us=1_000, started=0.0, attempts=[], body=body, principal=PRINCIPAL)
    call.route = Route("fast", ())
    call.envelope = Envelope({}, "fast", True, None, 1, False)
    return call


def attempted(ledger: Ledger, call: Call, provider: str = "lab") -> Attempt:
    endpoint = Endpoint(Provider(provider, {}), "llama")
    attempt = Attempt(call, len(call.attempts) + 1, endpoint, "openai-chat", 1_100)
    ledger.intend(attempt)
    call.attempts.append(attempt)
    return attempt


def settled(ledger: Ledger, call: Call, attempt: Attempt) -> None:
    attempt.outcome, attempt.ended_us, attempt.status = "ok", 1_900, 200
    ledger.settle(attempt)
    call.winner, call.status, call.outcome, call.ended_us = attempt, 200, "ok", 2_000
    ledger.record(call)


class Watched(Records):
    """The real writer, which tells how often it failed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.failed = threading.Semaphore(0)

    def write(self, calls: Sequence[Row], attempts: Sequence[Row]) -> None:
        try:
            super().write(calls, attempts)
        except sqlite3.Error:
            self.failed.release()
            raise


async def test_a_call_that_failed_over_is_one_row_and_its_attempts_are_two(database: Database) -> None:
    ledger = Ledger(Records(database.path))
    ledger.start()
    call = begun()
    broken = attempted(ledger, call, "lab")
    broken.outcome, broken.ended_us, broken.status, broken.error = "failed", 1_200, 500, UpstreamBroken("garbage")
    ledger.settle(broken)
    won = attempted(ledger, call, "spare")
    won.sends, won.first_content_us, won.finish_reason = 2, 1_500, "stop"
    won.upstream_id, won.upstream_model, won.upstream_request_id = "chatcmpl-1", "llama-3", "req-1"
    won.usage = Usage(1, 2, 3, 4, 5, 6, 7, 8)
    call.first_content_us = 1_500
    settled(ledger, call, won)
    await ledger.flush()

    owners = {"organization_id": "org", "team_id": "team", "environment_id": "env", "user_id": "user"}
    assert rows(database.path, "calls") == [
        {
            "id": call.id, **owners, "key_id": "key_1", "operation": "chat", "protocol": "openai-chat",
            "model": "fast", "provider": "spare", "upstream_model": "llama", "stream": 1, "status": 200,
            "outcome": "ok", "error_code": None, "attempts": 2, "started_us": 1_000, "first_content_us": 1_500,
            "ended_us": 2_000,
        }
    ]  # fmt: skip
    first, second = rows(database.path, "attempts", order="attempt")
    assert (first["provider"], first["outcome"], first["error_code"]) == ("lab", "failed", "upstream_broken")
    assert second == {
        "call_id": call.id, "attempt": 2, **owners, "key_id": "key_1", "provider": "spare", "model": "llama",
        "protocol": "openai-chat", "credential_id": "default", "sends": 2, "status": 200, "outcome": "ok",
        "error_code": None, "finish_reason": "stop", "upstream_id": "chatcmpl-1", "upstream_model": "llama-3",
        "upstream_request_id": "req-1", "started_us": 1_100, "first_content_us": 1_500, "ended_us": 1_900,
        "input_tokens": 1, "output_tokens": 2, "cached_tokens": 3, "cache_write_tokens": 4,
        "cache_write_1h_tokens": 5, "reasoning_tokens": 6, "input_audio_tokens": 7, "output_audio_tokens": 8,
        "estimated": 0, "cost_nano_usd": None,
    }  # fmt: skip
    await ledger.aclose()


async def test_a_row_that_no_database_can_hold_is_left_out_and_holds_up_no_other(database: Database) -> None:
    """A provider may tell any number of tokens; the row is beyond help, those beside it are not."""
    ledger = Ledger(Records(database.path))
    calls = [begun() for _ in range(200)]
    for call in calls:
        attempt = attempted(ledger, call)
        attempt.usage = Usage(10**300) if call in (calls[3], calls[150]) else Usage(7)
        settled(ledger, call, attempt)
    ledger.start()
    async with asyncio.timeout(10):
        await ledger.flush()
    assert (ledger.unwritable, ledger.waiting) == (2, 0)
    assert len(rows(database.path, "calls")) == 200
    written = {row["call_id"] for row in rows(database.path, "attempts")}
    assert {call.id for call in calls} - written == {calls[3].id, calls[150].id}
    await ledger.aclose()


async def test_while_the_table_is_away_rows_wait_and_it_is_told_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "fairlead.ledger")
    writer = Watched(database.path)
    ledger = Ledger(writer)
    database.read("ALTER TABLE attempts RENAME TO away")
    ledger.start()
    for _ in range(3):
        call = begun()
        settled(ledger, call, attempted(ledger, call))
    for _ in range(3):
        assert await asyncio.to_thread(writer.failed.acquire, timeout=10)
    assert rows(database.path, "calls") == []  # both tables or none
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "records cannot be written and wait in memory"
    ]
    database.read("ALTER TABLE away RENAME TO attempts")
    async with asyncio.timeout(10):
        await ledger.flush()
    assert len(rows(database.path, "calls")) == len(rows(database.path, "attempts")) == 3
    assert ledger.waiting == 0
    await ledger.aclose()


async def test_what_was_queued_when_it_was_told_to_stop_is_written(database: Database) -> None:
    ledger = Ledger(Records(database.path))
    ledger.start()
    for _ in range(5_000):  # more than one batch
        call = begun()
        settled(ledger, call, attempted(ledger, call))
    await ledger.aclose()
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (5_000,)
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (5_000,)


def test_the_queue_keeps_no_body_alive(database: Database) -> None:
    ledger = Ledger(Records(database.path))
    body = bytes(100_000)
    before = sys.getrefcount(body)
    call = begun(body)
    attempt = attempted(ledger, call)
    attempt.content_bytes = 4_000
    settled(ledger, call, attempt)
    call.attempts.clear()
    call.winner = None
    del call, attempt
    assert sys.getrefcount(body) == before
    assert ledger.waiting == 2
