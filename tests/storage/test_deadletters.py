"""Dead letters: what no table can hold is kept, listed, tried again when its cause is mended, or dropped."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bookkeeping import attempted, begun, ended
from fairlead.chat import Usage
from fairlead.storage.deadletters import DeadLetters
from fairlead.storage.engine import open_database
from fairlead.storage.records import Records
from fairlead.usage.books import Books
from fairlead.usage.couriers import Courier
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger
from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch, Refused
from gateway import rows

NARROW = (
    "CREATE TRIGGER narrow BEFORE INSERT ON attempts WHEN new.input_tokens > 8"
    " BEGIN SELECT RAISE(ABORT, 'too many'); END"
)


class Office:
    """A ledger, the database as its sink, and the dead letters."""

    def __init__(self, folder: Path) -> None:
        self.database = open_database("sqlite:///records.db", folder)
        self.letters, self.sink = DeadLetters(self.database), Records(self.database.path)
        self.books = Books(folder / "journal")
        self.ledger = Ledger(self.books.own.journal, Estimates())
        self.courier = Courier(self.sink, self.books, self.letters)

    def call(self, tokens: int) -> str:
        attempt = attempted(self.ledger, begun())
        ended(self.ledger, attempt, Usage(tokens))
        return attempt.call.id

    def deliver(self) -> None:
        self.courier._deliver(self.books.own)
        self.courier._try_again()

    def written(self, table: str, name: str) -> list[object]:
        return [row[name] for row in rows(self.database.path, table)]

    def close(self) -> None:
        self.sink.close()
        self.books.close()
        self.database.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def test_a_row_that_no_table_can_hold_is_kept_and_holds_up_no_other(office: Office) -> None:
    office.database.read(NARROW)
    ids = [office.call(9 if number == 70 else 7) for number in range(150)]
    office.deliver()
    assert sorted(office.written("calls", "id")) == sorted(ids)
    assert {*ids} - {*office.written("attempts", "call_id")} == {ids[70]}
    [letter] = office.letters.list()
    assert (letter.id, letter.call_id, letter.sink) == (f"database:{ids[70]}/1", ids[70], "database")
    assert (letter.reason, letter.tries, letter.wanted) == ("too many", 1, False)
    told = msgspec.json.decode(letter.record)
    assert told["call"] is None
    assert (told["attempt"]["input_tokens"], told["attempt"]["user_id"]) == (9, "user")
    assert office.sink.position(office.books.own.id) == office.books.own.journal.tail


def test_a_number_that_no_column_can_hold_is_kept_as_it_is(office: Office) -> None:
    row = [f"c{number}" if name == "call_id" else 1 for number, name in enumerate(ATTEMPT_COLUMNS)]
    row[ATTEMPT_COLUMNS.index("input_tokens")] = 2**63
    assert office.sink.write(Batch([row], (), "j", Position(1, 1))) == ()
    [letter] = office.letters.list()
    assert msgspec.json.decode(letter.record)["attempt"]["input_tokens"] == 2**63
    assert "too large" in letter.reason


def test_the_letter_the_others_and_the_position_are_written_together_or_not_at_all(office: Office) -> None:
    office.database.read(NARROW)
    office.database.read("ALTER TABLE dead_letters RENAME TO away")
    office.call(7)
    office.call(9)
    with pytest.raises(sqlite3.OperationalError, match="dead_letters"):
        office.deliver()
    assert office.written("attempts", "call_id") == office.written("calls", "id") == []
    assert office.sink.position(office.books.own.id) is None
    office.database.read("ALTER TABLE away RENAME TO dead_letters")
    office.deliver()
    assert len(office.written("calls", "id")) == 2
    assert office.letters.count() == 1


def test_a_letter_that_is_wanted_arrives_when_its_cause_is_mended(office: Office) -> None:
    office.database.read(NARROW)
    id = office.call(9)
    office.deliver()
    assert office.letters.retry(None) == 1
    [letter] = office.letters.list()
    assert letter.wanted
    office.deliver()  # the cause is still there
    [letter] = office.letters.list()
    assert (letter.wanted, letter.tries, letter.reason) == (False, 2, "too many")
    office.deliver()  # nobody wants it now
    assert office.letters.list()[0].tries == 2

    office.database.read("DROP TRIGGER narrow")
    assert office.letters.retry([letter.id]) == 1
    office.deliver()
    assert office.letters.count() == 0
    [row] = rows(office.database.path, "attempts")
    assert (row["call_id"], row["input_tokens"], row["organization_id"]) == (id, 9, "org")


def test_a_record_that_is_refused_again_is_the_same_letter(office: Office) -> None:
    """At least once: a journal that is read again is refused again."""
    office.database.read(NARROW)
    office.call(9)
    office.deliver()
    office.database.read("DELETE FROM journal_cursors")
    office.courier = Courier(office.sink, office.books, office.letters)
    office.deliver()
    [letter] = office.letters.list()
    assert letter.tries == 2


def test_a_call_is_a_letter_as_well_as_its_attempt(office: Office) -> None:
    office.database.read("CREATE TRIGGER none BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'no calls'); END")
    office.database.read(NARROW)
    id = office.call(9)
    office.deliver()
    assert [letter.id for letter in office.letters.list()] == [f"database:{id}", f"database:{id}/1"]
    office.database.read("DROP TRIGGER none")
    office.database.read("DROP TRIGGER narrow")
    assert office.letters.retry(None) == 2
    office.deliver()
    assert office.letters.count() == 0
    assert office.written("calls", "id") == office.written("attempts", "call_id") == [id]


def test_letters_are_dropped_one_by_one_or_all(office: Office) -> None:
    office.letters.bury("lines", [Refused("no", call=(f"c{number}", *CALL_COLUMNS[1:])) for number in range(4)])
    office.letters.bury("other", [Refused("no", call=("c0", *CALL_COLUMNS[1:]))])
    assert office.letters.drop(["lines:c1", "lines:nobody"]) == 1
    assert {letter.id for letter in office.letters.list()} == {"lines:c0", "lines:c2", "lines:c3", "other:c0"}
    assert office.letters.drop(None) == 4
    assert office.letters.count() == 0


def test_a_sink_is_given_its_own_letters_only(office: Office) -> None:
    office.letters.bury("lines", [Refused("no", call=("c1", *CALL_COLUMNS[1:]))])
    office.letters.retry(None)
    assert office.letters.wanted("database") == []
    [letter] = office.letters.wanted("lines")
    assert list(letter.batch.calls) == [["c1", *CALL_COLUMNS[1:]]]
    assert not letter.batch.attempts


def test_a_reason_may_be_long_and_is_kept_short(office: Office) -> None:
    office.letters.bury("lines", [Refused("x" * 10_000, call=("c1", *CALL_COLUMNS[1:]))])
    office.letters.failed("lines:c1", "y" * 10_000)
    [letter] = office.letters.list()
    assert letter.reason == "y" * 500


def test_a_letter_that_an_older_version_wrote_arrives(office: Office) -> None:
    office.database.read(NARROW)
    id = office.call(9)
    office.deliver()
    office.database.read("DROP TRIGGER narrow")
    with office.database.writing() as cursor:
        cursor.execute("UPDATE dead_letters SET wanted = 1, record = json_remove(record, '$.attempt.content_bytes')")
    office.deliver()
    [row] = rows(office.database.path, "attempts")
    assert (row["call_id"], row["content_bytes"]) == (id, 0)
