"""The ledger's rows on their way into the tables `calls` and `attempts`."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import insert

from fairlead.storage import tables
from fairlead.storage.engine import Database, Row, compiled
from fairlead.usage.ledger import ATTEMPT_COLUMNS, CALL_COLUMNS


class Records:
    """Writes batches on a connection of its own. A row that is there already stays as it is."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._calls = _insert(tables.calls, CALL_COLUMNS)
        self._attempts = _insert(tables.attempts, ATTEMPT_COLUMNS)

    def write(self, calls: Sequence[Row], attempts: Sequence[Row]) -> None:
        """Both in one transaction. Raises sqlite3.Error, with nothing written."""
        self._database.write_many([(self._calls, calls), (self._attempts, attempts)])

    def close(self) -> None:
        self._database.close()


def _insert(table: Table, columns: Sequence[str]) -> str:
    """One SQL text whose parameters are `columns`, in that order."""
    sql, order = compiled(insert(table).on_conflict_do_nothing())
    assert tuple(order) == tuple(columns), f"{table.name}: the columns of table and ledger differ in their order"
    return sql
