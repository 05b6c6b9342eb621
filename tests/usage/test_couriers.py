"""Couriers: every sink gets everything, in its order, however long it is away, and nothing goes before all have it."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bookkeeping import Kept, NoLetters, attempted, begun, ended, segment_files
from fairlead.usage import couriers as couriers_module
from fairlead.usage.books import Books
from fairlead.usage.couriers import Courier, Couriers
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch, Letter, Refused

SMALL = 8 << 10


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers_module, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(couriers_module, "_LONGEST_PAUSE", 0.02)


class Post:
    """Books with a ledger, and as many sinks as are wanted."""

    def __init__(self, folder: Path) -> None:
        self.books = Books(folder / "journal", segment_bytes=SMALL)
        self.ledger = Ledger(self.books.own.journal, Estimates())
        self.couriers = Couriers(self.books, [])

    def open(self, *sinks: Kept, letters: "NoLetters | None" = None) -> Couriers:
        made = [Courier(sink, self.books, letters or NoLetters()) for sink in sinks]
        self.couriers = Couriers(self.books, made)
        self.couriers.start()
        return self.couriers

    def calls(self, count: int = 1) -> list[str]:
        made = [attempted(self.ledger, begun()) for _ in range(count)]
        for attempt in made:
            ended(self.ledger, attempt)
        return [attempt.call.id for attempt in made]


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    post = Post(tmp_path)
    yield post
    await post.couriers.aclose(seconds=10)
    post.books.close()


def ids(sink: Kept) -> list[str]:
    return [call["id"] for call in sink.calls]


async def test_every_sink_gets_everything_in_the_order_of_writing(post: Post) -> None:
    sinks = Kept(name="a"), Kept(name="b")
    couriers = post.open(*sinks)
    known = post.calls(500)
    await asyncio.wait_for(couriers.flush(), 10)
    known += post.calls(500)
    await asyncio.wait_for(couriers.flush(), 10)
    for sink in sinks:
        assert ids(sink) == known
        assert [attempt["call_id"] for attempt in sink.attempts] == known
    assert [courier.delivered for courier in couriers.couriers] == [1_000, 1_000]


async def test_a_sink_that_is_away_gets_everything_later_and_is_in_nobodys_way(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fairlead.usage")
    away, there = Kept(failures=5, name="away"), Kept(name="there")
    couriers = post.open(away, there)
    known = post.calls(50)
    assert await couriers.couriers[1].flush(10)
    assert ids(there) == known
    assert await couriers.couriers[0].flush(10)
    assert ids(away) == known
    assert await couriers.couriers[0].flush(10)
    told = [record.message for record in caplog.records]
    assert told.count("the sink away is away, its records wait in the journal: disk full") == 1
    assert "the sink there" not in caplog.text


async def test_who_is_away_is_named_until_it_is_back(post: Post) -> None:
    sink = Kept(failures=10**9, name="away")
    couriers = post.open(sink)
    post.calls()
    assert not await couriers.couriers[0].flush(0)
    assert await asyncio.to_thread(sink.asked.acquire, timeout=10)
    assert await asyncio.to_thread(sink.asked.acquire, timeout=10)  # the first time is over
    assert [courier.trouble for courier in couriers.troubled] == ["disk full"]
    sink.failures = 0
    assert await couriers.couriers[0].flush(10)
    await couriers.aclose(seconds=10)
    assert couriers.troubled == []


async def test_an_end_without_a_sink_does_not_wait_for_ever_and_the_next_life_brings_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    post = Post(tmp_path)
    couriers = post.open(Kept(failures=10**9))
    known = post.calls(3)
    await couriers.aclose(seconds=0.05)
    assert "does not have everything" in caplog.text
    post.books.close()
    again = Post(tmp_path)
    sink = Kept()
    couriers = again.open(sink)
    await asyncio.wait_for(couriers.flush(), 10)
    assert ids(sink) == known
    await couriers.aclose(seconds=10)
    assert sink.closed
    again.books.close()


# ---- segments


async def test_a_segment_goes_when_the_last_sink_is_past_it_and_has_it_for_good(post: Post) -> None:
    class Hesitant(Kept):
        sure = False

        def secure(self) -> bool:
            return self.sure

    quick, slow = Kept(name="quick"), Hesitant(failures=10**9, name="slow")
    couriers = post.open(quick, slow)
    post.calls(300)
    assert await couriers.couriers[0].flush(10)
    files = segment_files(post.books.own.journal.folder)
    assert len(files) > 3
    couriers.tend()
    assert segment_files(post.books.own.journal.folder) == files  # it has nothing yet
    slow.failures = 0
    assert await couriers.couriers[1].flush(10)
    couriers.tend()
    assert segment_files(post.books.own.journal.folder) == files  # it has all, but might lose it
    slow.sure = True
    post.calls()
    await asyncio.wait_for(couriers.flush(), 10)
    await couriers.aclose(seconds=10)  # its round is over
    couriers.tend()
    left = segment_files(post.books.own.journal.folder)
    assert left[0].name == f"{post.books.own.journal.tail.segment:012d}.segment"
    assert ids(slow) == ids(quick)


# ---- sinks that fail half way, and refuse


async def test_a_sink_that_forgets_how_far_it_came_gets_the_batch_again(post: Post) -> None:
    """At least once: it is the sink that knows its ids."""

    class Forgetful(Kept):
        forgets = 2

        def move(self, batch: Batch) -> None:
            if self.forgets:
                self.forgets -= 1
                raise OSError("the place cannot be written")
            super().move(batch)

    sink = Forgetful()
    couriers = post.open(sink)
    known = post.calls(3)
    await asyncio.wait_for(couriers.flush(), 10)
    assert ids(sink) == known * 3
    known += post.calls(1)
    await asyncio.wait_for(couriers.flush(), 10)
    assert ids(sink)[-1] == known[-1]
    assert sink.position(post.books.own.id) == post.books.own.journal.tail


class Basket(NoLetters):
    """Dead letters, in memory."""

    def __init__(self) -> None:
        self.letters: dict[str, Refused] = {}
        self.retry: set[str] = set()
        self.told: list[str] = []
        self.changed = threading.Event()

    def bury(self, sink: str, refused: Sequence[Refused]) -> None:
        for each in refused:
            assert each.call is not None
            self.letters[each.call[0]] = each

    def wanted(self, sink: str) -> Sequence[Letter]:
        return [Letter(id, Batch(calls=[self.letters[id].call or ()])) for id in sorted(self.retry)]

    def delivered(self, id: str) -> None:
        self.retry.discard(id)
        del self.letters[id]
        self.changed.set()

    def failed(self, id: str, reason: str) -> None:
        self.retry.discard(id)
        self.told.append(reason)
        self.changed.set()


async def test_what_a_sink_refuses_is_buried_and_tried_again_when_somebody_wants_it(post: Post) -> None:
    class Choosy(Kept):
        refuses: str | None = None

        def write(self, batch: Batch) -> Sequence[Refused]:
            rows = [row for row in batch.calls if row[0] == self.refuses]
            super().write(Batch(batch.attempts, [row for row in batch.calls if row not in rows]))
            return [Refused("not this one", call=row) for row in rows]

    sink, basket = Choosy(), Basket()
    couriers = post.open(sink, letters=basket)
    attempts = [attempted(post.ledger, begun()) for _ in range(5)]
    bad = sink.refuses = attempts[2].call.id
    for attempt in attempts:
        ended(post.ledger, attempt)
    await asyncio.wait_for(couriers.flush(), 10)
    assert len(sink.calls) == 4
    assert set(basket.letters) == {bad}

    basket.retry = {bad}
    assert await asyncio.to_thread(basket.changed.wait, 10)
    assert basket.told == ["not this one"]
    assert set(basket.letters) == {bad}

    basket.changed.clear()
    sink.refuses = None
    basket.retry = {bad}
    assert await asyncio.to_thread(basket.changed.wait, 10)
    assert basket.letters == {}
    assert ids(sink)[-1] == bad


def test_who_watches_is_told_of_what_was_taken_and_of_nothing_else(tmp_path: Path) -> None:
    post, seen = Post(tmp_path), list[str]()
    sink = Kept(failures=1)
    courier = Courier(sink, post.books, NoLetters(), seen=lambda batch: seen.extend(row[0] for row in batch.calls))
    known = post.calls(3)
    with pytest.raises(OSError, match="disk full"):
        courier._deliver(post.books.own)
    assert seen == []
    courier._deliver(post.books.own)
    assert seen == known == ids(sink)
    assert courier.secured[post.books.own.id] > Position(0, 0)
    post.books.close()
