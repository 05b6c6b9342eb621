"""The books: a slot for each process, what the dead left, what other versions wrote, and what the disk did to it."""

import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookkeeping import Kept, NoLetters, attempted, begun, die, ended, failed, read, segment_files
from fairlead.errors import InvalidConfig
from fairlead.usage import records, segments
from fairlead.usage.books import Books, Reader
from fairlead.usage.couriers import Courier, Couriers
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger
from fairlead.usage.segments import (
    BEGIN,
    CARRIED,
    INTENT,
    LAYOUT,
    PROGRESS,
    SETTLED,
    Header,
    Position,
    Segment,
    frames,
    read_header,
)
from gateway import environment

SMALL = 8 << 10


def files(folder: Path) -> dict[str, bytes]:
    """All that lies below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def delivered(books: Books) -> Kept:
    """What a sink gets that has had nothing so far."""
    sink = Kept()
    courier = Courier(sink, books, NoLetters())
    for source in books.sources:
        courier._deliver(source)
    return sink


# ---- slots


def test_two_processes_have_a_slot_each_and_a_third_takes_that_of_the_first_when_it_is_gone(tmp_path: Path) -> None:
    first, second = Books(tmp_path), Books(tmp_path)
    assert [books.own.slot.folder.name for books in (first, second)] == ["0", "1"]
    assert first.own.id != second.own.id
    id, tail = first.own.id, first.own.journal.tail
    first.close()
    third = Books(tmp_path)
    assert third.own.slot.folder.name == "0"
    assert third.own.id == id
    assert third.own.journal.tail > tail
    assert (tmp_path / "0").stat().st_mode & 0o777 == 0o700
    third.close()
    second.close()


def test_who_lives_is_not_taken_over_and_who_died_is(tmp_path: Path) -> None:
    first, second = Books(tmp_path), Books(tmp_path)
    attempt = attempted(Ledger(second.own.journal, Estimates()), begun())
    first.adopt()
    assert len(first.sources) == 1
    die(second)
    first.adopt()
    first.adopt()
    assert [source.finished for source in first.sources] == [False, True]
    [row], [call] = read(first.sources[1])
    assert (row["call_id"], row["outcome"], call["outcome"]) == (attempt.call.id, "interrupted", "interrupted")
    first.close()


def test_what_a_dead_process_left_arrives_and_its_slot_is_removed(tmp_path: Path) -> None:
    first, second = Books(tmp_path), Books(tmp_path)
    ledger = Ledger(second.own.journal, Estimates())
    ids = [f"gen-{number}" for number in range(300)]
    for id in ids[:-1]:
        ended(ledger, attempted(ledger, begun(id=id)))
    attempted(ledger, begun(id=ids[-1]))
    die(second)
    sinks = Kept(name="quick"), Kept(name="slow")
    couriers = Couriers(first, [Courier(sink, first, NoLetters()) for sink in sinks])
    couriers.tend()
    couriers.couriers[0]._deliver(first.sources[1])
    couriers.tend()
    assert (tmp_path / "1").is_dir()  # the other sink has nothing yet
    couriers.couriers[1]._deliver(first.sources[1])
    couriers.tend()
    assert not (tmp_path / "1").exists()
    assert len(first.sources) == 1
    for sink in sinks:
        assert [call["id"] for call in sink.calls] == ids
        assert sink.positions == {}  # nothing is remembered of a journal that is gone
    assert couriers.couriers[0].secured == {}
    first.close()


OTHER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from bookkeeping import attempted, begun, ended
from fairlead.usage.books import Books
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger

books = Books(Path(sys.argv[1]), segment_bytes=64 << 10)
books.own.journal.start()
ledger = Ledger(books.own.journal, Estimates())
open = attempted(ledger, begun(id="gen-open"))
ledger.begin(open, None)
number = 0
while True:
    ended(ledger, attempted(ledger, begun(id=f"gen-{number}")))
    open.content_bytes += 200
    ledger.journal.count(open.cell, open.content_bytes)
    number += 1
    print(number, flush=True)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[[int], int]]:
    """Another process, which writes records until it is killed; how many it told of."""
    running: list[subprocess.Popen[str]] = []

    def killed(after: int) -> int:
        command = [sys.executable, "-c", OTHER, str(tmp_path / "journal"), str(Path(__file__).parents[1])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        running.append(process)
        assert process.stdout is not None
        told = 0
        while told < after:
            told = int(process.stdout.readline())
        process.kill()
        rest = process.communicate()[0].split()
        return int(rest[-1]) if rest else told

    yield killed
    for process in running:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("after", [1, 700, 1_500])
def test_all_that_a_killed_process_told_of_is_there(tmp_path: Path, other: Callable[[int], int], after: int) -> None:
    books = Books(tmp_path / "journal")
    told = other(after)
    books.adopt()
    attempts, calls = read(books.sources[1])
    settled = [call["id"] for call in calls if call["outcome"] == "ok"]
    assert settled == [f"gen-{number}" for number in range(len(settled))]
    assert told <= len(settled) <= told + 1
    interrupted = [row for row in attempts if row["outcome"] == "interrupted"]
    assert [row["call_id"] for row in interrupted if row["call_id"] == "gen-open"] == ["gen-open"]
    assert len(interrupted) <= 2
    assert interrupted[0]["content_bytes"] in (200 * (told - 1), 200 * told, 200 * (told + 1))
    assert interrupted[0]["output_tokens"] == pytest.approx(told, abs=1.5)
    books.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file is in the way")
    with pytest.raises(InvalidConfig, match="needs a folder"):
        Books(tmp_path / "journal")


# ---- other versions


def rewritten(path: Path, version: int) -> None:
    """Have a segment say that it is of this format."""
    data = bytearray(path.read_bytes())
    for at in (0, 64):
        data[at + 8 : at + 10] = version.to_bytes(2, "little")
        size = segments._HEADER.size
        data[at + size : at + size + 4] = segments.zlib.crc32(data[at : at + size]).to_bytes(4, "little")
    path.write_bytes(data)


def left_by_a_newer_one(folder: Path) -> None:
    books = Books(folder, segment_bytes=SMALL)
    ledger = Ledger(books.own.journal, Estimates())
    attempted(ledger, begun())
    die(books)
    rewritten(segment_files(folder / "0")[-1], segments.VERSION + 1)


def test_a_slot_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    left_by_a_newer_one(tmp_path)
    before = files(tmp_path)
    for _ in range(2):
        with pytest.raises(InvalidConfig, match=r"a newer Fairlead wrote it \(format 2") as refused:
            Books(tmp_path)
        assert refused.value.path == "server.state_dir"
        assert files(tmp_path) == before


def test_an_orphan_of_a_newer_version_is_told_and_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_by_a_newer_one(tmp_path)
    (tmp_path / "0").rename(tmp_path / "1")
    before = files(tmp_path / "1")
    books = Books(tmp_path)
    books.adopt()
    assert len(books.sources) == 1
    assert files(tmp_path / "1") == before
    assert "cannot be taken over" in caplog.text
    assert "newer Fairlead" in caplog.text
    books.close()


def written_by_another(folder: Path, layout: dict[str, list[str]], rows: list[tuple[int, dict[str, Any]]]) -> None:
    """A slot with one segment, of a version that knew these columns."""
    folder.mkdir(parents=True)
    encode = msgspec.msgpack.encode
    segment = Segment(folder / segments.file_name(1), Header("ab" * 16, 1, 64 << 10, 12345, 1))
    segment.put(LAYOUT, encode([layout]))
    segment.put(CARRIED, encode([layout]))
    kinds = {INTENT: "intents", PROGRESS: "progress"}
    for kind, told in rows:
        if kind == SETTLED:
            row: Any = [
                None if told.get(each) is None else [told[each].get(name, 1) for name in layout[each]]
                for each in ("attempts", "calls")
            ]
        else:
            row = [told.get(name, 1) for name in layout[kinds[kind]]]
        segment.put(kind, encode(row))
    segment.close()


def life() -> list[tuple[int, dict[str, Any]]]:
    """A call that was settled and one that was not, with all that this version and a later one may know of them."""
    owners = dict.fromkeys(("organization_id", "team_id", "environment_id", "user_id", "key_id"), "us")
    where = {"provider": "lab", "model": "llama", "protocol": "openai-chat", "credential_id": "default"}
    intent = {
        **owners, **where, "call_id": "gen-open", "attempt": 1, "operation": "chat", "client_protocol": "openai-chat",
        "client_model": "fast", "stream": 1, "call_started_us": 10, "started_us": 11, "request_bytes": 400,
        "mood": "good",
    }  # fmt: skip
    attempt = {
        **owners, **where, "call_id": "gen-done", "attempt": 1, "sends": 1, "status": 200, "outcome": "ok",
        "started_us": 3, "ended_us": 9, "input_tokens": 7, "output_tokens": 8, "estimated": 0, "stream": 1,
        "request_bytes": 5, "content_bytes": 6, "cached_tokens": 2, "mood": "good", "error_code": None,
    }  # fmt: skip
    call = {
        **owners, "id": "gen-done", "operation": "chat", "protocol": "openai-chat", "model": "fast", "provider": "lab",
        "upstream_model": "llama", "stream": 1, "status": 200, "outcome": "ok", "attempts": 1, "started_us": 1,
        "ended_us": 10, "mood": "good",
    }  # fmt: skip
    progress = {"call_id": "gen-open", "attempt": 1, "sends": 1, "status": 200, "input_tokens": 77, "mood": "good"}
    return [(INTENT, intent), (SETTLED, {"attempts": attempt, "calls": call}), (PROGRESS, progress)]


def check_life(books: Books) -> None:
    sink = delivered(books)
    done, cut = sorted(sink.attempts, key=lambda row: row["call_id"])
    assert (done["call_id"], done["input_tokens"], done["output_tokens"], done["outcome"]) == ("gen-done", 7, 8, "ok")
    assert (cut["call_id"], cut["outcome"], cut["estimated"]) == ("gen-open", "interrupted", 1)
    calls = sorted((call["id"], call["outcome"], call["status"]) for call in sink.calls)
    assert calls == [("gen-done", "ok", 200), ("gen-open", "interrupted", 200)]
    assert all(set(row) == set(records.ATTEMPT_COLUMNS) for row in sink.attempts)


def test_what_an_older_version_did_not_know_is_not_known(tmp_path: Path) -> None:
    unknown = {
        "content_bytes", "stream", "request_bytes", "cached_tokens", "user_id", "error_code", "upstream_id",
        "first_content_us", "cost_nano_usd", "output_image_tokens", "client_model",
    }  # fmt: skip
    unknown |= {name for name in records.INTENT_COLUMNS if "token" in name or "around" in name}
    unknown -= {"input_tokens", "output_tokens"}
    layout = {kind: [name for name in names if name not in unknown] for kind, names in records.LAYOUT.items()}
    written_by_another(tmp_path / "0", layout, life())
    books = Books(tmp_path)
    check_life(books)
    done, _ = sorted(delivered(books).attempts, key=lambda row: row["call_id"])
    assert (done["content_bytes"], done["user_id"]) == (0, "default")
    assert (done["error_code"], done["upstream_id"]) == (None, None)
    books.close()


def test_what_a_newer_version_knows_besides_and_in_another_order_is_left_out(tmp_path: Path) -> None:
    layout = {kind: ["mood", *reversed(names), "colour"] for kind, names in records.LAYOUT.items()}
    written_by_another(tmp_path / "0", layout, life())
    books = Books(tmp_path)
    check_life(books)
    books.close()


def test_the_columns_are_known_though_the_first_record_that_tells_them_is_damaged(tmp_path: Path) -> None:
    layout = {kind: list(reversed(names)) for kind, names in records.LAYOUT.items()}
    written_by_another(tmp_path / "0", layout, life())
    [path] = segment_files(tmp_path / "0")
    data = bytearray(path.read_bytes())
    data[BEGIN + 40] ^= 1
    path.write_bytes(data)
    books = Books(tmp_path)
    check_life(books)
    books.close()


# ---- damage


class Shelf:
    """A slot as a process left it, of several segments, and what was written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        chance = random.Random(5)
        books = Books(folder, segment_bytes=SMALL)
        ledger = Ledger(books.own.journal, Estimates())
        long = attempted(ledger, begun(id="gen-long"))
        while books.own.journal.tail.segment < 4:
            call = begun(id=f"gen-{chance.getrandbits(40):x}")
            first = attempted(ledger, call)
            if chance.random() < 0.3:
                failed(ledger, first)
                first = attempted(ledger, call)
            if chance.random() < 0.8:
                ended(ledger, first)
            long.content_bytes += 100
            ledger.journal.count(long.cell, long.content_bytes)
        die(books)
        self.whole = files(folder / "0")
        self.ids = {row["id"] for row in self.rows(self.whole)[1]} | {"gen-long"}

    def rows(self, data: dict[str, bytes]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], set[str]]:
        """The settled attempts and calls whose records are as they were written, and all calls that were begun."""
        attempts, calls, begun = [], [], set()
        for name, bytes_ in self.whole.items():
            if not name.endswith(".segment"):
                continue
            now = data.get(name, b"")
            size = segments._HEADER.size + 4
            if now[:size] != bytes_[:size] and now[64 : 64 + size] != bytes_[64 : 64 + size]:
                now = b""  # nobody knows its seed
            for frame in frames(bytes_[BEGIN:], BEGIN, read_header(bytes_).seed):
                told = records.decode(frame.payload)
                if frame.kind == INTENT:
                    begun.add(told[0])
                begin = frame.begin
                end = begin + 16 + len(frame.payload)
                if frame.kind == SETTLED and now[begin : begin + 8] + now[begin + 16 : end] == (
                    bytes_[begin : begin + 8] + bytes_[begin + 16 : end]
                ):
                    attempts += [dict(zip(records.ATTEMPT_COLUMNS, told[0], strict=False))] if told[0] else []
                    calls += [dict(zip(records.CALL_COLUMNS, told[1], strict=False))] if told[1] else []
        return attempts, calls, begun


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@given(data=st.data())
@settings(max_examples=60)
def test_whatever_becomes_of_the_files_what_is_whole_arrives_once_and_nothing_is_invented(
    shelf: Shelf, data: st.DataObject
) -> None:
    now = {name: bytearray(bytes_) for name, bytes_ in shelf.whole.items()}
    names = sorted(name for name in now if name.endswith(".segment"))
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from([name for name in names if name in now] or [""]))
        if not name:
            break
        bytes_ = now[name]
        place = data.draw(st.integers(0, len(bytes_)) | st.integers(0, 200) | st.integers(BEGIN, 6_000))
        what = data.draw(st.sampled_from("flip flip zeros zeros garbage cut gone".split()))
        if what == "flip" and place < len(bytes_):
            bytes_[place] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "zeros":
            length = data.draw(st.sampled_from([1, 8, 100, 512, 4096]))
            bytes_[place : place + length] = bytes(len(bytes_[place : place + length]))
        elif what == "garbage":
            noise = data.draw(st.binary(min_size=1, max_size=300))
            bytes_[place : place + len(noise)] = noise
        elif what == "cut":
            del bytes_[place:]
        elif what == "gone":
            del now[name]
    with tempfile.TemporaryDirectory() as folder:
        slot = Path(folder, "0")
        slot.mkdir()
        for name, bytes_ in now.items():
            (slot / name).write_bytes(bytes_)
        books = Books(Path(folder))
        sink = delivered(books)
        again = delivered(books)
        assert (sink.attempts, sink.calls) == (again.attempts, again.calls)
        books.close()
        attempts, calls, begun = shelf.rows({name: bytes(bytes_) for name, bytes_ in now.items()})
        tried = Counter((row["call_id"], row["attempt"]) for row in sink.attempts)
        told = Counter(row["id"] for row in sink.calls)
        assert all(count == 1 for count in (*tried.values(), *told.values()))
        by_id = {row["id"]: row for row in sink.calls if row["outcome"] != "interrupted"}
        for call in calls:
            assert by_id[call["id"]].items() >= call.items()
        by_key = {(row["call_id"], row["attempt"]): row for row in sink.attempts if row["outcome"] != "interrupted"}
        for attempt in attempts:
            assert by_key[attempt["call_id"], attempt["attempt"]].items() >= attempt.items()
        assert len(by_key) == len({(row["call_id"], row["attempt"]) for row in attempts})
        assert {row["id"] for row in sink.calls} <= begun


def test_damage_is_kept_for_somebody_to_look_at_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    books = Books(tmp_path)
    ledger = Ledger(books.own.journal, Estimates())
    for _ in range(5):
        ended(ledger, attempted(ledger, begun()))
    die(books)
    [path] = segment_files(tmp_path / "0")
    data = bytearray(path.read_bytes())
    third = [
        frame for frame in frames(bytes(data[BEGIN:]), BEGIN, read_header(bytes(data)).seed) if frame.kind == SETTLED
    ][2]
    data[third.begin + 20] ^= 4
    path.write_bytes(data)
    for _ in range(2):
        books = Books(tmp_path)
        assert len(delivered(books).calls) == 5  # four as they were, one that is taken for interrupted
        books.close()
    [kept] = (tmp_path / "0" / "damaged").iterdir()
    assert kept.read_bytes() == bytes(data[third.begin : third.end]).rstrip(b"\0")
    assert caplog.text.count("are no records") == 1


def test_a_file_without_a_header_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Books(tmp_path).close()
    [path] = segment_files(tmp_path / "0")
    path.write_bytes(b"\xff" * 5_000)
    books = Books(tmp_path)
    assert books.left.damaged == 1
    assert path.with_suffix(".unreadable").read_bytes() == b"\xff" * 5_000
    assert books.own.journal.tail.segment == 2
    books.close()


@pytest.mark.parametrize("size", [0, 100, 64 << 10])
def test_a_segment_that_was_about_to_be_made_is_no_damage(tmp_path: Path, size: int) -> None:
    Books(tmp_path).close()
    (tmp_path / "0" / segments.file_name(2)).write_bytes(bytes(size))
    books = Books(tmp_path)
    assert books.left.damaged == 0
    assert books.own.journal.tail.segment == 3
    books.close()


def test_a_slot_with_damage_that_is_taken_over_keeps_what_somebody_shall_look_at(tmp_path: Path) -> None:
    books = Books(tmp_path)
    other = Books(tmp_path)
    ended(Ledger(other.own.journal, Estimates()), attempted(Ledger(other.own.journal, Estimates()), begun()))
    die(other)
    [path] = segment_files(tmp_path / "1")
    data = bytearray(path.read_bytes())
    data[-100:-90] = b"0123456789"
    path.write_bytes(data)
    books.adopt()
    source = books.sources[1]
    assert books.drop(source, source.journal.tail)
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == ["damaged", "lock"]
    third = Books(tmp_path)
    assert third.own.slot.folder.name == "1"
    third.close()
    books.close()


# ---- readers


def test_who_was_further_than_the_journal_is_reads_all_of_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The state folder was set back to an older copy, and the database was not."""
    books = Books(tmp_path)
    ledger = Ledger(books.own.journal, Estimates())
    ended(ledger, attempted(ledger, begun(id="gen-1")))
    books.close()
    books = Books(tmp_path)
    sink = Kept()
    sink.positions[books.own.id] = Position(9, 9_999)
    Courier(sink, books, NoLetters())._deliver(books.own)
    assert [call["id"] for call in sink.calls] == ["gen-1"]
    assert "read again" in caplog.text
    books.close()


def test_who_is_not_where_a_segment_is_goes_on_in_the_next_there_is(tmp_path: Path) -> None:
    books = Books(tmp_path, segment_bytes=SMALL)
    journal, ledger = books.own.journal, Ledger(books.own.journal, Estimates())
    reader = Reader(books.own, None)
    while journal.tail.segment < 5:
        ended(ledger, attempted(ledger, begun()))
    for number in (1, 2, 4):
        (journal.folder / segments.file_name(number)).unlink()
    ended(ledger, attempted(ledger, begun(id="gen-last")))
    told: list[str] = []
    while (batch := reader.read()) is not None:
        told += [row[0] for row in batch.calls]
    assert told[-1] == "gen-last"
    assert reader.position == journal.tail
    books.close()


def test_a_copy_of_a_state_folder_goes_its_own_way(tmp_path: Path) -> None:
    """Taken while the process ran: it holds what was written until then, and the open call twice, once in each."""
    books = Books(tmp_path / "one")
    ledger = Ledger(books.own.journal, Estimates())
    attempt = attempted(ledger, begun())
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    ended(ledger, attempt)
    copied = Books(tmp_path / "two")
    assert [row["outcome"] for row in delivered(books).attempts] == ["ok"]
    assert [row["outcome"] for row in delivered(copied).attempts] == ["interrupted"]
    copied.close()
    books.close()
