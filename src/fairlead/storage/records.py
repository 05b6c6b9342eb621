"""The database as a sink: rows of the journal in the tables `calls` and `attempts`, and what they were read up to.

Rows and position are written in one transaction, and a row that is there already stays as it is: however often a
journal is read, each record is there once.
"""

import logging
import sqlite3
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from sqlalchemy import Table, bindparam, literal_column, select
from sqlalchemy.dialects.sqlite import insert

from fairlead.storage import tables
from fairlead.storage.deadletters import store
from fairlead.storage.engine import Database, compiled
from fairlead.usage import records
from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS, Row
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch, Refused

log = logging.getLogger("fairlead.usage")

# Rows by one statement. `sqlite3` lets go of the interpreter's lock around each, and to get it back from a busy event
# loop costs more than the row.
_TOGETHER = 64
_LATEST = 2000  # attempts
_NEVER = (sqlite3.IntegrityError, sqlite3.DataError, ArithmeticError, ValueError)  # the row's fault, for good


class Records:
    """Writes batches on a connection of its own."""

    name = "database"

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._calls = _Insert(tables.calls, CALL_COLUMNS, records.SHORT_CALL)
        self._attempts = _Insert(tables.attempts, ATTEMPT_COLUMNS, records.SHORT_ATTEMPT)
        cursors = tables.journal_cursors
        put = insert(cursors)
        self._move, _ = compiled(
            put.on_conflict_do_update(
                index_elements=[cursors.c.journal],
                set_={"segment": put.excluded.segment, "offset": put.excluded.offset},
            )
        )
        self._where, _ = compiled(
            select(cursors.c.segment, cursors.c.offset).where(cursors.c.journal == bindparam("journal"))
        )
        attempts = tables.attempts
        self._latest, _ = compiled(
            select(*(attempts.c[name] for name in ATTEMPT_COLUMNS))
            .order_by(attempts.c.call_id.desc())
            .limit(literal_column(str(_LATEST)))
            .offset(literal_column("0"))
        )
        self._forget, _ = compiled(cursors.delete().where(cursors.c.journal == bindparam("journal")))

    def latest(self) -> Sequence[Row]:
        """The last attempts there are, the newest last: enough of them to learn from."""
        try:
            return self._database.read(self._latest)[::-1]
        except sqlite3.Error as error:
            log.error("the last attempts cannot be read: %s", error)
            return ()

    def position(self, journal: str) -> Position | None:
        rows = self._database.read(self._where, (journal,))
        return Position(*rows[0]) if rows else None

    def write(self, batch: Batch) -> Sequence[Refused]:
        """All in one transaction, what no table can hold among the dead letters. Raises sqlite3.Error, Gone."""
        self._database.check()
        try:
            with self._database.writing() as cursor:
                for attempts, calls in batch.pieces(_TOGETHER):
                    self._attempts.execute(cursor, attempts)
                    self._calls.execute(cursor, calls)
                self._moved(cursor, batch)
        except _NEVER:
            with self._database.writing() as cursor:
                refused = [
                    *(Refused(why, call=row) for row, why in self._calls.one_by_one(cursor, batch.calls)),
                    *(Refused(why, attempt=row) for row, why in self._attempts.one_by_one(cursor, batch.attempts)),
                ]
                if not batch.journal:  # a dead letter, which was tried again
                    return refused
                store(cursor, self.name, refused)
                self._moved(cursor, batch)
        return ()

    def _moved(self, cursor: sqlite3.Cursor, batch: Batch) -> None:
        if batch.journal:
            cursor.execute(self._move, (batch.journal, *batch.end))

    def move(self, batch: Batch) -> None:
        """It was done with the rows."""

    def secure(self) -> bool:
        """What is in SQLite's log goes into the database, as far as its readers let it, and both to the disk."""
        self._database.read("PRAGMA wal_checkpoint(PASSIVE)")
        self._database.sync()
        return True

    def forget(self, journal: str) -> None:
        with self._database.writing() as cursor:
            cursor.execute(self._forget, (journal,))

    def close(self) -> None:
        self._database.close()


class _Insert:
    """The SQL texts that insert rows of `columns`: whole ones, and those that end after `short` values."""

    def __init__(self, table: Table, columns: Sequence[str], short: int) -> None:
        self._short, self._columns = short, columns
        self._texts = {len(columns): self._text(table, columns), short: self._text(table, columns[:short])}

    def _text(self, table: Table, columns: Sequence[str]) -> tuple[str, str]:
        """For one row, and for many at once."""
        given = {name: bindparam(name, type_=table.c[name].type) for name in columns}
        one, order = compiled(insert(table).values(given).on_conflict_do_nothing())
        assert tuple(order) == tuple(columns), f"{table.name}: table and journal differ in the order of columns"
        values = f"({', '.join('?' * len(columns))})"
        head, found, tail = one.partition(values)
        assert found
        return one, head + ", ".join([values] * _TOGETHER) + tail

    def execute(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        short = [row for row in rows if len(row) == self._short]
        self._execute(cursor, short)
        if len(short) < len(rows):
            self._execute(cursor, [records.whole(row, self._columns) for row in rows if len(row) != self._short])

    def _execute(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        if not rows:
            return
        one, many = self._texts[len(rows[0])]
        if len(rows) == _TOGETHER:
            cursor.execute(many, list(chain.from_iterable(rows)))
        else:
            cursor.executemany(one, rows)

    def one_by_one(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> Sequence[tuple[Row, str]]:
        """Insert what can be inserted; the rest, and why."""
        refused = []
        for row in rows:
            whole = records.whole(row, self._columns)
            try:
                cursor.execute(self._texts[len(whole)][0], whole)
            except _NEVER as error:
                refused.append((whole, str(error)))
        return refused
