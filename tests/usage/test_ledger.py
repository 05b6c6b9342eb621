"""The ledger: room before anything is sent, rows in batches, nothing lost while the database is away."""

import asyncio
from collections.abc import Sequence

import pytest

from fairlead.call import Attempt, Call
from fairlead.chat import Usage
from fairlead.errors import Unavailable
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.resources import Endpoint, Principal, Provider
from fairlead.usage import estimates
from fairlead.usage.ledger import ATTEMPT_COLUMNS, CALL_COLUMNS, Ledger, Row


class Kept:
    """A writer that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[Row] = []
        self.attempts: list[Row] = []
        self.failures = failures
        self.closed = False

    def write(self, calls: Sequence[Row], attempts: Sequence[Row]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        self.calls += calls
        self.attempts += attempts

    def close(self) -> None:
        self.closed = True


def called(number: int = 1) -> tuple[Call, Attempt]:
    call = Call(f"c{number}", OpenAIChat(), "chat", {}, started_us=1, started=0.0, attempts=[])
    call.principal, call.outcome, call.ended_us, call.body = Principal("k", "n", frozenset()), "ok", 3, b"x" * 40
    attempt = Attempt(call, 1, Endpoint(Provider("p", {}), "m"), "openai-chat", 1)
    attempt.outcome, attempt.ended_us = "ok", 2
    call.attempts.append(attempt)
    call.winner = attempt
    return call, attempt


async def test_a_call_and_its_attempt_become_two_rows() -> None:
    writer = Kept()
    ledger = Ledger(writer)
    ledger.start()
    call, attempt = called()
    ledger.intend(attempt)
    attempt.usage = Usage(10, 5, cached_tokens=3)
    ledger.settle(attempt)
    ledger.record(call)
    await ledger.flush()
    told = dict(zip(CALL_COLUMNS, writer.calls[0], strict=True))
    assert (told["id"], told["provider"], told["attempts"], told["key_id"]) == ("c1", "p", 1, "k")
    told = dict(zip(ATTEMPT_COLUMNS, writer.attempts[0], strict=True))
    assert (told["input_tokens"], told["output_tokens"], told["cached_tokens"], told["estimated"]) == (10, 5, 3, False)
    await ledger.aclose()
    assert writer.closed


async def test_without_room_nothing_is_intended_but_what_was_intended_can_be_settled() -> None:
    writer = Kept()
    ledger = Ledger(writer, capacity=4)
    pairs = [called(number) for number in range(3)]
    for _, attempt in pairs:
        ledger.intend(attempt)
    with pytest.raises(Unavailable):
        ledger.intend(pairs[0][1])
    for call, attempt in pairs:
        ledger.settle(attempt)
        ledger.record(call)
    idle, _ = called(9)
    idle.attempts = []
    ledger.record(idle)
    assert ledger.dropped == 1
    ledger.start()
    await ledger.aclose()
    assert (len(writer.calls), len(writer.attempts)) == (3, 3)


async def test_a_database_that_was_away_gets_everything_later() -> None:
    writer = Kept(failures=3)
    ledger = Ledger(writer)
    ledger.start()
    for number in range(5):
        call, attempt = called(number)
        ledger.intend(attempt)
        ledger.settle(attempt)
        ledger.record(call)
    async with asyncio.timeout(10):
        await ledger.flush()
    assert (len(writer.calls), len(writer.attempts)) == (5, 5)
    assert ledger.waiting == 0
    await ledger.aclose()


async def test_an_end_without_its_database_does_not_wait_for_ever() -> None:
    ledger = Ledger(Kept(failures=10**9))
    ledger.start()
    _, attempt = called()
    ledger.intend(attempt)
    ledger.settle(attempt)
    await ledger.aclose(seconds=0.1)
    assert ledger.waiting == 1


def test_usage_that_was_not_told_is_estimated_and_marked() -> None:
    _, attempt = called()
    assert estimates.usage(attempt) == (Usage(), False)
    attempt.content_bytes = 400
    assert estimates.usage(attempt) == (Usage(11, 101), True)
