"""JSON lines: each is whole, none is missing, and whoever moves the file away may do so."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookkeeping import NoLetters, attempted, begun, die, ended, failed
from fairlead.usage.books import Books
from fairlead.usage.couriers import Courier
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch
from fairlead.usage.sinks.jsonl import JsonLines


class Desk:
    """A ledger whose records go into lines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "usage.jsonl"
        self.begin()

    def begin(self) -> None:
        self.books = Books(self.folder / "journal", segment_bytes=64 << 10)
        self.ledger = Ledger(self.books.own.journal, Estimates())
        self.sink = JsonLines("lines", self.path, self.folder / "sinks" / "lines")
        self.courier = Courier(self.sink, self.books, NoLetters())

    def call(self, id: str = "") -> str:
        attempt = attempted(self.ledger, begun(id=id))
        ended(self.ledger, attempt)
        return attempt.call.id

    def deliver(self) -> None:
        self.courier._deliver(self.books.own)

    def restart(self) -> None:
        """It dies, and there is another."""
        self.sink.close()
        die(self.books)
        self.begin()

    def close(self) -> None:
        self.sink.close()
        self.books.close()


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def lines(*paths: Path) -> list[dict[str, Any]]:
    """Each of which is whole."""
    told = b"".join(path.read_bytes() for path in paths)
    assert not told or told.endswith(b"\n")
    return [msgspec.json.decode(line) for line in told.splitlines()]


def ids(*paths: Path) -> list[str]:
    return [line["id"] for line in lines(*paths) if line["kind"] == "call"]


def test_each_attempt_and_each_call_is_a_line_with_all_that_is_known(desk: Desk) -> None:
    call = begun()
    failed(desk.ledger, attempted(desk.ledger, call))
    ended(desk.ledger, attempted(desk.ledger, call, "spare"))
    desk.deliver()
    told = lines(desk.path)
    assert sorted(line["kind"] for line in told) == ["attempt", "attempt", "call"]
    first, second = [line for line in told if line["kind"] == "attempt"]
    assert (first["attempt"], first["outcome"], first["provider"]) == (1, "failed", "lab")
    assert (second["attempt"], second["input_tokens"], second["output_tokens"]) == (2, 10, 5)
    assert (second["estimated"], second["stream"], second["organization_id"]) == (False, True, "org")
    [whole] = [line for line in told if line["kind"] == "call"]
    assert (whole["id"], whole["attempts"], whole["stream"], whole["error_code"]) == (call.id, 2, True, None)
    assert desk.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_away_is_begun_anew(desk: Desk, tmp_path: Path) -> None:
    first = desk.call()
    desk.deliver()
    rotated = tmp_path / "usage.jsonl.1"
    desk.path.rename(rotated)
    second = desk.call()
    desk.deliver()
    desk.path.unlink()
    third = desk.call()
    desk.deliver()
    assert (ids(rotated), ids(desk.path)) == ([first], [third])
    assert second not in ids(rotated, desk.path)  # whoever deletes a file has it deleted


def test_what_was_written_is_on_the_disk_though_it_was_moved_away_just_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file)))
    desk.call()
    reader_batch = Batch(journal="j", end=Position(1, 2))
    desk.sink.write(reader_batch)
    written = desk.path.stat()
    desk.path.rename(desk.path.with_suffix(".1"))
    desk.sink.move(reader_batch)
    assert os.path.samestat(synced[-1], written)


def test_where_it_stands_survives_a_restart(desk: Desk) -> None:
    first = desk.call()
    desk.deliver()
    desk.restart()
    second = desk.call()
    desk.deliver()
    assert ids(desk.path) == [first, second]


@pytest.mark.parametrize("content", [None, "", "garbage", "1", "1 x", "7 7 7"])
def test_with_its_place_lost_everything_comes_again_and_nothing_is_missing(desk: Desk, content: str | None) -> None:
    first = desk.call()
    desk.deliver()
    [place] = (desk.folder / "sinks" / "lines").iterdir()
    if content is None:
        place.unlink()
    else:
        place.write_text(content)
    desk.restart()
    second = desk.call()
    desk.deliver()
    assert ids(desk.path) == [first, first, second]


def test_a_journal_that_is_gone_is_forgotten(desk: Desk) -> None:
    desk.call()
    desk.deliver()
    assert desk.sink.position(desk.books.own.id) == desk.books.own.journal.tail
    desk.courier.forget(desk.books.own)
    assert desk.sink.position(desk.books.own.id) is None
    assert list((desk.folder / "sinks" / "lines").iterdir()) == []
    desk.sink.forget("nobody knows it")


@pytest.mark.parametrize("room", [0, 1, 100, 2_000])
def test_a_full_disk_leaves_no_half_line_and_everything_comes_when_there_is_room(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    first = desk.call()
    desk.deliver()
    before = desk.path.read_bytes()
    write, left = os.write, room

    def limited(file: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        took = write(file, data[:left])
        left -= took
        return took

    more = [desk.call() for _ in range(10)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", limited)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                desk.deliver()
            assert desk.path.read_bytes() == before
    desk.deliver()
    assert ids(desk.path) == [first, *more]


@given(st.data())
@settings(max_examples=40)
def test_however_often_it_dies_half_way_through_a_line_all_lines_are_whole_and_none_is_missing(
    data: st.DataObject,
) -> None:
    """Killed in the middle of a write, between write and position, its file cut, moved or another's line in it."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        known: list[str] = []
        rotated: list[Path] = []
        for step in data.draw(st.lists(st.sampled_from("call call deliver die torn rotate".split()), max_size=25)):
            if step == "call":
                known += [desk.call() for _ in range(data.draw(st.integers(1, 3)))]
            elif step == "deliver":
                desk.deliver()
            elif step == "rotate" and desk.path.exists():
                rotated.append(desk.path.with_suffix(f".{len(rotated)}"))
                desk.path.rename(rotated[-1])
            elif step in ("die", "torn"):
                if step == "torn":
                    batch = desk.courier._readers[desk.books.own.id].read() if desk.courier._readers else None
                    if batch is not None:
                        whole = desk.path.stat().st_size if desk.path.exists() else 0
                        desk.sink.write(batch)
                        size = data.draw(st.integers(whole, desk.path.stat().st_size))
                        os.truncate(desk.path, size)
                desk.restart()
        desk.call("gen-last")
        desk.deliver()
        for path in rotated:  # what was moved away with half a line at its end, nobody looks after any more
            path.write_bytes(path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1])
        told = lines(*rotated, desk.path)
        for kind, name in ("call", "id"), ("attempt", "call_id"):
            assert {line[name] for line in told if line["kind"] == kind} == {*known, "gen-last"}
        desk.close()


def test_a_folder_that_is_not_there_is_the_sinks_trouble_and_nobody_elses(tmp_path: Path) -> None:
    sink = JsonLines("lines", tmp_path / "away" / "usage.jsonl", tmp_path / "sinks")
    with pytest.raises(FileNotFoundError):
        sink.write(Batch())
    (tmp_path / "away").mkdir()
    assert sink.write(Batch()) == ()
    sink.close()
