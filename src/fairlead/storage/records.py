"""The ledger's rows on their way into the tables `calls` and `attempts`."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import insert

from fairlead.storage import tables
from fairlead.storage.engine import Database, Row, compiled
from fairlead.usage.ledger import ATTEMPT_COLUMNS, CALL_COLUMNS

# Rows by one statement. `sqlite3` lets go of the interpreter's lock around each, and to get it back from a busy event
# loop costs more than the row.
_TOGETHER = 64


class Records:
    """Writes batches on a connection of its own. A row that is there already stays as it is."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._calls = _Insert(tables.calls, CALL_COLUMNS)
        self._attempts = _Insert(tables.attempts, ATTEMPT_COLUMNS)

    def write(self, calls: Sequence[Row], attempts: Sequence[Row]) -> None:
        """Both in one transaction. Raises sqlite3.Error, or ValueError for a row that can never be written."""
        try:
            self._database.write_many([*self._calls.batches(calls), *self._attempts.batches(attempts)])
        except sqlite3.IntegrityError as error:
            raise ValueError(str(error)) from None

    def close(self) -> None:
        self._database.close()


class _Insert:
    """The SQL text that inserts one row of `columns`, or many at once."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._one, order = compiled(insert(table).on_conflict_do_nothing())
        assert tuple(order) == tuple(columns), f"{table.name}: table and ledger differ in the order of columns"
        values = f"({', '.join('?' * len(columns))})"
        head, found, tail = self._one.partition(values)
        assert found
        self._many = head + ", ".join([values] * _TOGETHER) + tail

    def batches(self, rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
        """Statements, and the parameters to execute them with."""
        whole = len(rows) - len(rows) % _TOGETHER
        groups = [rows[begin : begin + _TOGETHER] for begin in range(0, whole, _TOGETHER)]
        yield self._many, [tuple(chain.from_iterable(group)) for group in groups]
        yield self._one, rows[whole:]
