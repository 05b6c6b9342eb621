"""Usage that a provider did not tell."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookkeeping import attempted, begun, ended, read
from fairlead.call import Attempt, Counted, Guess
from fairlead.chat import Usage
from fairlead.errors import FairleadError, UpstreamBroken
from fairlead.resources import Endpoint, Provider
from fairlead.usage import estimates, learning
from fairlead.usage.books import Books, Reader
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger

KEY = ("lab", "llama", True)


def attempt(
    *, stream: bool, content_bytes: int = 0, usage: Usage | None = None, learned: Estimates | None = None
) -> Attempt:
    made = Attempt(begun(stream=stream), 1, Endpoint(Provider("lab", {}), "llama"), "openai-chat", 1, usage=usage)
    made.content_bytes, made.guess = content_bytes, (learned or Estimates()).of(("lab", "llama", stream)).guess
    return made


def test_what_was_told_is_taken_even_if_it_is_nothing() -> None:
    answered = attempt(stream=True, usage=Usage(0, 0), content_bytes=10_000)
    answered.outcome = "ok"
    assert estimates.usage(answered) == (Usage(0, 0), False)
    answered.outcome, answered.finish_reason = "cancelled", "stop"  # the client left after the end
    assert estimates.usage(answered) == (Usage(0, 0), False)


def test_what_was_told_when_a_stream_began_counts_its_request_and_not_its_answer() -> None:
    cut = attempt(stream=True, usage=Usage(70, 1, cached_tokens=30), content_bytes=10_000)
    cut.outcome = "cancelled"
    assert estimates.usage(cut) == (Usage(70, 50, cached_tokens=30), True)


def test_an_attempt_without_an_answer_used_nothing_and_that_is_no_estimate() -> None:
    assert estimates.usage(attempt(stream=False)) == (Usage(), False)


def test_a_whole_answer_counts_four_bytes_a_token() -> None:
    assert estimates.usage(attempt(stream=False, content_bytes=399)) == (Usage(100, 100), True)


def test_a_streamed_answer_counts_an_event_of_two_hundred_bytes_a_token() -> None:
    assert estimates.usage(attempt(stream=True, content_bytes=1_999)) == (Usage(100, 10), True)


@pytest.mark.parametrize(
    ("outcome", "status", "error", "used"),
    [
        ("failed", 500, UpstreamBroken("garbage"), Usage()),
        ("failed", None, UpstreamBroken("it hung up", outcome_unknown=True), Usage(100, 256)),
        ("cancelled", None, None, Usage(100, 256)),
        ("cancelled", 200, None, Usage(100, 256)),
        ("cancelled", 429, None, Usage()),
        ("interrupted", None, None, Usage(100, 256)),
    ],
)
def test_what_was_sent_and_not_answered_may_have_been_worked_on(
    outcome: str, status: int | None, error: FairleadError | None, used: Usage
) -> None:
    sent = attempt(stream=False)
    sent.outcome, sent.status, sent.error = outcome, status, error  # type: ignore[assignment]
    assert estimates.usage(sent) == (used, used != Usage())


def test_a_stream_that_was_cut_before_it_began_is_counted_without_an_answer() -> None:
    sent = attempt(stream=True)
    sent.outcome = "cancelled"
    assert estimates.usage(sent) == (Usage(100, 0), True)


# ---- learned


def test_what_is_learned_of_a_model_is_of_no_other_and_of_its_streams_or_of_its_whole_answers() -> None:
    learned = Estimates()
    learned.learn(KEY, request_bytes=1_000, input_tokens=200, content_bytes=3_000, output_tokens=10)
    assert attempt(stream=True, learned=learned).guess == Guess(Counted(5.0), Counted(300.0), 10)
    assert attempt(stream=False, learned=learned).guess == attempt(stream=False).guess
    learned.learn(("spare", "llama", False), request_bytes=8, input_tokens=1, content_bytes=8, output_tokens=1)
    assert attempt(stream=False, learned=learned).guess == attempt(stream=False).guess


@given(st.integers(0, 2**32), st.floats(2.0, 9.0), st.floats(20.0, 400.0))
def test_learning_comes_to_what_is_true_whatever_it_began_with(seed: int, request: float, content: float) -> None:
    chance, learned = random.Random(seed), Estimates()
    learned.learn(KEY, request_bytes=90_000, input_tokens=1_000, content_bytes=100, output_tokens=100)
    for _ in range(200):
        inputs, outputs = chance.randint(200, 400), chance.randint(50, 150)
        learned.learn(
            KEY,
            request_bytes=int(inputs * request * chance.uniform(0.9, 1.1)),
            input_tokens=inputs,
            content_bytes=int(outputs * content * chance.uniform(0.9, 1.1)),
            output_tokens=outputs,
        )
    guess = attempt(stream=True, learned=learned).guess
    for tokens in (200, 400):
        assert guess.request.tokens(int(tokens * request)) == pytest.approx(tokens, rel=0.2)
    for tokens in (50, 150):
        assert guess.answer.tokens(int(tokens * content)) == pytest.approx(tokens, rel=0.2)
    assert 80 <= guess.output_tokens <= 120


sizes = st.integers(-1, 2**53)


@given(st.lists(st.tuples(sizes, sizes, sizes, sizes), min_size=1, max_size=20), sizes)
def test_whatever_a_provider_tells_an_estimate_is_a_number_of_tokens(
    told: list[tuple[int, int, int, int]], came: int
) -> None:
    learned = Estimates()
    for request_bytes, input_tokens, content_bytes, output_tokens in told:
        learned.learn(
            KEY, request_bytes=request_bytes, input_tokens=input_tokens, content_bytes=content_bytes,
            output_tokens=output_tokens,
        )  # fmt: skip
    used, estimated = estimates.usage(attempt(stream=True, content_bytes=max(came, 1), learned=learned))
    assert estimated
    assert used.input_tokens >= 1
    assert used.output_tokens >= 1


def test_no_more_models_are_remembered_than_anybody_has() -> None:
    learned = Estimates()
    for number in range(5_100):
        learned.learn(("lab", f"m{number}", True), request_bytes=8, input_tokens=1, content_bytes=10, output_tokens=1)
    assert len(learned._learned) == 5_000


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_stream_whose_process_died_is_counted_within_a_few_percent(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    """Learned from the records of calls that were told, as they pass; its bytes are those the journal counted."""
    chance, folder = random.Random(17), tmp_path_factory.mktemp("state")
    print("seed 17")
    books, learned = Books(folder), Estimates()
    ledger, reader = Ledger(books.own.journal, learned), Reader(books.own, None)
    seen = learning.from_batches(learned)

    def answer(tokens: int) -> int:
        return sum(chance.randint(170, 230) for _ in range(tokens)) + 900  # the last events carry no token

    for _ in range(100):
        inputs, outputs = chance.randint(100, 900), chance.randint(300, 900)
        told = attempted(ledger, begun(b"x" * int(inputs * chance.uniform(4.2, 4.8))))
        told.content_bytes = answer(outputs)
        ended(ledger, told, Usage(inputs, outputs))
        while (batch := reader.read()) is not None:
            seen(batch)
    cut = attempted(ledger, begun(b"x" * 4_500))
    ledger.begin(cut, None)
    came = int(1_000 * share)
    cut.content_bytes = answer(came) - 900
    ledger.journal.count(cut.cell, cut.content_bytes)
    books.own.slot.release()  # it dies

    again = Books(folder)
    attempts, _ = read(again.own)
    [row] = [row for row in attempts if row["outcome"] == "interrupted"]
    assert row["call_id"] == cut.call.id
    assert row["estimated"] == 1
    assert row["output_tokens"] == pytest.approx(came, rel=0.05)
    assert row["input_tokens"] == pytest.approx(1_000, rel=0.05)
    again.close()
