"""The ledger's lives: however they end, each call that was begun is in the end told once, and as it was.

A life is lived step by step: calls begin, fail over, stream and end, records are moved and segments dropped; a process
may die at any record it writes, half way through it, in the midst of a rotation or of the next one's recovery.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bookkeeping import STARTED_US, NoLetters, attempted, begun, die, ended, failed, read
from fairlead.call import Attempt, Call
from fairlead.chat import Usage
from fairlead.errors import Unavailable
from fairlead.storage.engine import open_database
from fairlead.storage.records import Records
from fairlead.usage import books as books_module
from fairlead.usage import estimates, recovery, slots
from fairlead.usage.books import Books, Reader
from fairlead.usage.couriers import Courier, Couriers
from fairlead.usage.estimates import Estimates
from fairlead.usage.journal import Journal
from fairlead.usage.ledger import Ledger
from fairlead.usage.segments import Header, Segment
from fairlead.usage.sinks.jsonl import JsonLines
from fairlead.usage.slots import Slot
from gateway import rows

SMALL = 6 << 10  # bytes of a segment: the first two thousand tell the columns
YEAR_US = 365 * 86_400_000_000


class Died(BaseException):
    """The process is no more."""


def tight(*told: Any, first_bytes: int, **options: Any) -> Journal:
    """The journal of a next life, without the room it would have to spare: there shall be rotations."""
    return Journal(*told, first_bytes=max(first_bytes - (64 << 10) + 4_000, SMALL), **options)


class Truth:
    """What is known of an attempt by whoever made it."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.settled: dict[str, Any] | None = None  # what its row says, if somebody settled it
        self.sure = True  # that this was written down
        self.begun = False  # that it was intended
        self.counted = {0}  # bytes the journal may tell
        self.told: Usage | None = None  # when its answer began


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        shutil.copytree(Life.template, self.folder / "state")
        self.database = self.folder / "state" / "records.db"
        self.fuse: int | None = None  # records to be written before it dies
        self.torn = 0  # bytes of the last one
        self.rotation_fuse: int | None = None  # the same, from the next rotation on
        self.calls: dict[str, tuple[Call, list[Truth]]] = {}
        self.ended: dict[str, bool] = {}  # calls that were recorded, and whether that is sure to be written down
        self.open: list[str] = []
        self.deaths = 0
        self.segments: list[Segment] = []  # that are open
        self.slots: list[Slot] = []
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(Segment, "__init__", self.opening(Segment.__init__))
        self.patch.setattr(Segment, "close", self.closing(Segment.close))
        self.patch.setattr(Segment, "put", self.putting(Segment.put))
        self.patch.setattr(slots, "take", self.taking(slots.take))
        self.patch.setattr(Slot, "release", self.releasing(Slot.release))
        self.patch.setattr(Journal, "_rotate", self.rotating(Journal._rotate))
        self.patch.setattr(recovery, "Journal", tight)

    template: Path

    # ---- death

    def opening(self, init: Callable[[Segment, Path, Header], None]) -> Callable[[Segment, Path, Header], None]:
        def opening(segment: Segment, path: Path, header: Header) -> None:
            init(segment, path, header)
            self.segments.append(segment)

        return opening

    def closing(self, close: Callable[[Segment], None]) -> Callable[[Segment], None]:
        def closing(segment: Segment) -> None:
            close(segment)
            self.segments.remove(segment)

        return closing

    def releasing(self, release: Callable[[Slot], None]) -> Callable[[Slot], None]:
        def releasing(slot: Slot) -> None:
            release(slot)
            self.slots.remove(slot)

        return releasing

    def taking(self, take: Callable[[Path], Slot]) -> Callable[[Path], Slot]:
        def taking(folder: Path) -> Slot:
            self.slots.append(take(folder))
            return self.slots[-1]

        return taking

    def putting(self, put: Callable[[Segment, int, bytes], int]) -> Callable[[Segment, int, bytes], int]:
        """Dies when the fuse is burnt down, with the record half written."""

        def putting(segment: Segment, kind: int, payload: bytes) -> int:
            if self.fuse is None:
                return put(segment, kind, payload)
            if self.fuse:
                self.fuse -= 1
                return put(segment, kind, payload)
            begin = segment.at
            put(segment, kind, payload)
            torn = min(begin + self.torn, segment.at)
            segment._map[torn : segment.at] = bytes(segment.at - torn)
            raise Died

        return putting

    def rotating(self, rotate: Callable[[Journal, int], None]) -> Callable[[Journal, int], None]:
        def rotating(journal: Journal, size: int) -> None:
            if self.rotation_fuse is not None:
                self.fuse = self.rotation_fuse
            rotate(journal, size)

        return rotating

    def kill(self) -> None:
        """What `kill -9` does: nothing is written any more, and what was locked is free."""
        self.fuse = self.rotation_fuse = None
        for segment in tuple(self.segments):
            segment.close()
        for slot in tuple(self.slots):
            slot.release()

    @initialize(max_bytes=st.sampled_from([3 * SMALL, 5 * SMALL, 12 * SMALL, 1 << 20]))
    def start(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.live()

    def live(self) -> None:
        """Begin a life, which may end while it begins."""
        while True:
            try:
                self.books = Books(self.folder / "journal", segment_bytes=SMALL, max_bytes=self.max_bytes, fsync="off")
                break
            except Died:
                self.deaths += 1
                self.kill()
        self.ledger = Ledger(self.books.own.journal, Estimates())
        sinks = Records(self.database), JsonLines("lines", self.folder / "lines", self.folder / "sink")
        self.couriers = Couriers(self.books, [Courier(sink, self.books, NoLetters()) for sink in sinks])

    def over(self) -> None:
        """The process is gone: whatever was open is interrupted."""
        for courier in self.couriers.couriers:
            courier.sink.close()
        for id in self.open:
            _, truths = self.calls[id]
            note(f"{id} is interrupted, {len(truths)} attempts")
        self.open = []

    def surely(self, act: Callable[[], Any]) -> bool:
        """Do something; False: it died of that."""
        try:
            act()
            return True
        except Died:
            note("it died")
            self.deaths += 1
            self.kill()
            self.over()
            self.live()
            return False

    # ---- calls

    def attempt(self, call: Call) -> None:
        """Another attempt, unless there is no room."""
        _, truths = self.calls.setdefault(call.id, (call, []))
        made: list[Attempt] = []
        refused = False

        def intend() -> None:
            nonlocal refused
            try:
                made.append(attempted(self.ledger, call))
            except Unavailable:
                refused = True

        alive = self.surely(intend)
        if refused:
            if not truths:
                del self.calls[call.id]
            elif call.id in self.open:  # it has nowhere else to go
                self.finish(call.id)
            return
        if not alive:  # nobody knows whether it was written down
            truth = Truth(Attempt(call, len(truths) + 1, None, "", 0))  # type: ignore[arg-type]
            truth.sure = False
            truths.append(truth)
            return
        truth = Truth(made[0])
        truth.begun = True
        truths.append(truth)
        if call.id not in self.open:
            self.open.append(call.id)

    @rule(stream=st.booleans(), body=st.integers(0, 5_000), jump=st.integers(-YEAR_US, YEAR_US))
    def begin(self, stream: bool, body: int, jump: int) -> None:
        """`jump`: of the clock."""
        self.attempt(begun(b"x" * body, stream=stream, started_us=STARTED_US + jump))

    @rule(many=st.integers(5, 30))
    def begin_many(self, many: int) -> None:
        for number in range(many):
            self.attempt(begun(b"x" * number, stream=number % 2 == 0))

    def chosen(self, data: st.DataObject) -> tuple[Call, list[Truth]]:
        return self.calls[data.draw(st.sampled_from(self.open))]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fail_over(self, data: st.DataObject) -> None:
        call, truths = self.chosen(data)
        if self.settle(truths[-1]):
            self.attempt(call)

    def settle(self, truth: Truth) -> bool:
        attempt = truth.attempt
        owed = self.ledger.owed
        alive = self.surely(lambda: failed(self.ledger, attempt))
        truth.settled = {"outcome": "failed", "output_tokens": None}
        truth.sure = alive and self.ledger.owed <= owed and not self.ledger.owed
        return alive

    @precondition(lambda self: self.open)
    @rule(data=st.data(), more=st.integers(0, 100_000))
    def stream(self, data: st.DataObject, more: int) -> None:
        _, truths = self.chosen(data)
        truth = truths[-1]
        truth.attempt.content_bytes += more
        self.ledger.journal.count(truth.attempt.cell, truth.attempt.content_bytes)
        truth.counted = {truth.attempt.content_bytes}

    @precondition(lambda self: self.open)
    @rule(data=st.data(), usage=st.none() | st.builds(Usage, st.integers(0, 9_000)))
    def answer(self, data: st.DataObject, usage: Usage | None) -> None:
        call, truths = self.chosen(data)
        truth = truths[-1]
        if call.winner is not None:
            return
        call.winner = truth.attempt
        truth.attempt.first_content_us = call.first_content_us = call.started_us + 500
        truth.attempt.content_bytes += 7
        owed = self.ledger.owed
        if self.surely(lambda: self.ledger.begin(truth.attempt, usage)) and not owed:
            truth.counted = {truth.attempt.content_bytes}
        else:
            truth.counted.add(truth.attempt.content_bytes)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), usage=st.none() | st.builds(Usage, st.integers(0, 9_000), st.integers(0, 9_000)))
    def end(self, data: st.DataObject, usage: Usage | None) -> None:
        self.end_one(self.chosen(data)[0].id, usage)

    @rule()
    def end_all(self) -> None:
        deaths = self.deaths
        for id in tuple(self.open):
            if self.deaths == deaths:
                self.end_one(id, None)

    def end_one(self, id: str, usage: Usage | None) -> None:
        call, truths = self.calls[id]
        truth = truths[-1]
        self.open.remove(call.id)
        alive = self.surely(lambda: ended(self.ledger, truth.attempt, usage))
        used, estimated = estimates.usage(truth.attempt)
        truth.settled = {"outcome": "ok", "output_tokens": used.output_tokens, "estimated": estimated}
        truth.sure = self.ended[call.id] = alive and not self.ledger.owed

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Its last attempt failed, and there is no other."""
        call, truths = self.chosen(data)
        if self.settle(truths[-1]):
            self.finish(call.id)

    def finish(self, id: str) -> None:
        call, _ = self.calls[id]
        self.open.remove(id)
        call.status, call.outcome, call.ended_us = 502, "failed", call.started_us + 900
        alive = self.surely(lambda: self.ledger.record(call))
        self.ended[id] = alive and not self.ledger.owed

    # ---- around them

    @rule()
    def look_after_the_files(self) -> None:
        self.books.own.journal._tend()

    @rule(which=st.integers(0, 1), batches=st.integers(1, 3))
    def deliver_some(self, which: int, batches: int) -> None:
        courier = self.couriers.couriers[which]
        courier._closing = True  # after one batch
        for _ in range(batches):
            courier._deliver(self.books.own)
        courier._closing = False

    @rule()
    def deliver_all_and_drop(self) -> None:
        for courier in self.couriers.couriers:
            courier._deliver(self.books.own)
        self.couriers.tend()

    @rule(fuse=st.integers(0, 12), torn=st.integers(0, 400))
    def light_a_fuse(self, fuse: int, torn: int) -> None:
        self.fuse, self.torn = fuse, torn

    @rule(fuse=st.integers(0, 12), torn=st.integers(0, 400))
    def light_a_fuse_for_the_next_rotation(self, fuse: int, torn: int) -> None:
        self.rotation_fuse, self.torn = fuse, torn

    @rule(fuse=st.none() | st.integers(0, 6))
    def die(self, fuse: int | None) -> None:
        """And perhaps again while the next life begins."""
        self.kill()
        self.over()
        self.fuse = fuse
        self.live()
        self.fuse = None

    @rule()
    def restart(self) -> None:
        self.fuse = self.rotation_fuse = None
        self.ledger.close()
        self.books.close()
        self.over()
        self.live()

    # ---- what has to be true in the end

    def teardown(self) -> None:
        if not hasattr(self, "max_bytes"):
            self.patch.undo()
            shutil.rmtree(self.folder)
            return
        try:
            self.die(None)
            self.deliver_all_and_drop()
            left = self.books.left
            assert (left.damaged == 0) or self.deaths  # a torn record is damage, and nothing else is
            self.die(None)
            assert self.books.left.calls == {}
            self.deliver_all_and_drop()
            self.check(rows(self.database, "calls"), rows(self.database, "attempts"))
            self.check_lines()
        finally:
            self.kill()
            self.over()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def check(self, calls: list[dict[str, Any]], attempts: list[dict[str, Any]]) -> None:
        told = {call["id"]: call for call in calls}
        tried: dict[str, dict[int, dict[str, Any]]] = {}
        for row in attempts:
            assert row["ended_us"] >= row["started_us"]
            tried.setdefault(row["call_id"], {})[row["attempt"]] = row
        assert told.keys() <= self.calls.keys()
        assert tried.keys() <= told.keys()
        for id, (_, truths) in self.calls.items():
            if not any(truth.begun for truth in truths):
                assert id in told or id not in tried
                assert id not in told or told[id]["outcome"] == "interrupted"
                continue
            self.check_call(told[id], id)
            found = tried[id]
            assert told[id]["attempts"] == len(found) == max(found)
            for truth in truths:
                if truth.begun or truth.attempt.number in found:
                    self.check_attempt(found[truth.attempt.number], truth)

    def check_call(self, row: dict[str, Any], id: str) -> None:
        call, sure = self.calls[id][0], self.ended.get(id)
        assert row["started_us"] == call.started_us
        assert row["ended_us"] >= row["started_us"]
        assert row["first_content_us"] is None or row["started_us"] <= row["first_content_us"] <= row["ended_us"]
        expected = {None: {"interrupted"}, True: {call.outcome}, False: {call.outcome, "interrupted"}}[sure]
        assert row["outcome"] in expected

    def check_attempt(self, row: dict[str, Any], truth: Truth) -> None:
        attempt, settled = truth.attempt, truth.settled
        if row["outcome"] == "interrupted":
            assert settled is None or not truth.sure
            assert row["estimated"] == 1
            if not truth.begun:
                return
            assert row["content_bytes"] in truth.counted
            envelope = attempt.call.envelope
            assert envelope is not None
            answer = attempt.guess.answer.tokens(row["content_bytes"], ahead=0.5)
            assert row["output_tokens"] == (answer if envelope.stream else attempt.guess.output_tokens)
            return
        assert settled is not None
        assert row["outcome"] == settled["outcome"]
        assert row["content_bytes"] == attempt.content_bytes
        if settled["outcome"] == "ok":
            assert (row["output_tokens"], row["estimated"]) == (settled["output_tokens"], settled["estimated"])

    def check_lines(self) -> None:
        path = self.folder / "lines"
        lines = [msgspec.json.decode(line) for line in (path.read_bytes() if path.exists() else b"").splitlines()]
        keys = [(line["call_id"], line["attempt"]) if line["kind"] == "attempt" else line["id"] for line in lines]
        assert [key for key, times in Counter(keys).items() if times > 1] == []
        attempts = {(row["call_id"], row["attempt"]) for row in rows(self.database, "attempts")}
        assert set(keys) == attempts | {row["id"] for row in rows(self.database, "calls")}


@pytest.fixture(autouse=True)
def _lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database to begin with; and whoever writes may die of it."""
    open_database("sqlite:///records.db", tmp_path / "template").close()
    Life.template = tmp_path / "template"
    monkeypatch.setattr(books_module, "_LARGEST_BATCH", 3)


TestLives = Life.TestCase
TestLives.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class Last:
    """Stands for what hypothesis draws: always the call that was begun last."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def draw(self, _: object) -> str:
        return self._life.open[-1]


def test_a_settlement_that_waits_for_room_is_not_taken_for_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt's and its call's wait both, and are carried into a segment in which the process dies."""
    monkeypatch.setattr(f"{__name__}.note", print)  # there is no hypothesis to note it
    life = Life()
    last: Any = Last(life)
    life.start(max_bytes=3 * SMALL)
    life.light_a_fuse(fuse=0, torn=0)
    life.begin_many(many=20)
    life.light_a_fuse_for_the_next_rotation(fuse=3, torn=0)
    life.stream(data=last, more=65_536)
    life.fail(data=last)
    life.end_all()
    life.deliver_all_and_drop()
    life.begin_many(many=5)
    life.teardown()


# ---- at each record of a rotation, and of a recovery


class Snapshots:
    """Copies of a folder, as it was after each record that was written since it began to look."""

    def __init__(self, folder: Path, copies: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.copies, self.armed = folder, copies, False
        self.taken: list[Path] = []
        put = Segment.put

        def putting(segment: Segment, kind: int, payload: bytes) -> int:
            cell = put(segment, kind, payload)
            if self.armed:
                self.taken.append(copies / str(len(self.taken)))
                shutil.copytree(folder, self.taken[-1])
            return cell

        patch.setattr(Segment, "put", putting)


def told(folder: Path) -> dict[object, dict[str, Any]]:
    """All that a start with this folder tells of calls and attempts, each once."""
    books = Books(folder)
    attempts, calls = read(books.own)
    books.close()
    keys = [*((row["call_id"], row["attempt"]) for row in attempts), *(row["id"] for row in calls)]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, [*attempts, *calls], strict=True))


def busy(ledger: Ledger) -> None:
    """Calls in every state there is."""
    for name in "abc":
        ended(ledger, attempted(ledger, begun(id=f"gen-done-{name}")))
        attempted(ledger, begun(id=f"gen-sent-{name}"))
        streaming = attempted(ledger, begun(id=f"gen-streaming-{name}"))
        streaming.first_content_us, streaming.content_bytes = streaming.started_us + 5, 1_000
        ledger.begin(streaming, Usage(77, 1))
        streaming.content_bytes = 20_000
        ledger.journal.count(streaming.cell, streaming.content_bytes)
        failed(ledger, attempted(ledger, begun(id=f"gen-between-{name}")))
        again = begun(id=f"gen-again-{name}")
        failed(ledger, attempted(ledger, again))
        attempted(ledger, again)


def test_at_whatever_record_of_a_rotation_it_dies_all_is_told_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    books = Books(folder, segment_bytes=SMALL)
    ledger = Ledger(books.own.journal, Estimates())
    busy(ledger)
    shutil.copytree(folder, tmp_path / "before")
    before = told(tmp_path / "before")
    looking = Snapshots(folder, tmp_path / "copies", monkeypatch)
    rotate = books.own.journal._rotate

    def rotating(size: int) -> None:
        looking.armed = True
        rotate(size)
        looking.armed = False

    monkeypatch.setattr(books.own.journal, "_rotate", rotating)
    filled = 0
    while not looking.taken:
        ended(ledger, attempted(ledger, begun(id=f"gen-filling-{filled}")))
        filled += 1
    books.close()
    assert len(looking.taken) > 15
    for copy in looking.taken:
        now = told(copy)
        filling = {key for key in now if "filling" in str(key)}
        assert len(filling) in (2 * filled, 2 * filled - 2)
        assert now.keys() - filling == before.keys()
        for key, row in before.items():
            assert {**now[key], "ended_us": 0} == {**row, "ended_us": 0}


def test_at_whatever_record_of_a_recovery_it_dies_the_next_one_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    books = Books(folder)
    busy(Ledger(books.own.journal, Estimates()))
    die(books)
    looking = Snapshots(folder, tmp_path / "copies", monkeypatch)
    looking.armed = True
    books = Books(folder)
    looking.armed = False
    books.close()
    expected = told(folder)
    assert len(looking.taken) > 12
    for copy in looking.taken:
        assert told(copy) == expected


def test_what_was_owed_when_it_died_is_told_too(tmp_path: Path) -> None:
    """There was no room for settlements, then for some of them: the others are estimated, and none is forgotten."""
    books = Books(tmp_path, segment_bytes=SMALL, max_bytes=200 << 10)
    ledger = Ledger(books.own.journal, Estimates())
    attempts: list[Attempt] = []
    with suppress(Unavailable):
        while True:
            attempts.append(attempted(ledger, begun()))
    for attempt in attempts:
        attempt.upstream_id = "x" * 2_000
        ended(ledger, attempt)
    assert ledger.owed
    reader, settled = Reader(books.own, None), Counter[str]()
    for _ in range(3):
        while (batch := reader.read()) is not None:
            settled.update(row[0] for row in batch.calls)
        books.own.journal.drop(reader.position.segment)
        with suppress(Unavailable):
            attempts.append(attempted(ledger, begun()))
    assert settled
    assert ledger.owed
    die(books)
    again = Books(tmp_path)
    reader = Reader(again.own, reader.position)
    while (batch := reader.read()) is not None:
        settled.update(row[0] for row in batch.calls)
    assert settled == Counter(attempt.call.id for attempt in attempts)
    again.close()
