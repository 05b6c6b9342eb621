"""A look at a database that changes nothing: no migration, no file beside it, no lock that a gateway would wait for."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from fairlead.usage.segments import Position

_BUSY_SECONDS = 2.0


class Facts(Struct, frozen=True):
    """What is in a database, as far as its schema has it."""

    revision: str | None = None  # of its schema; None: there is none yet
    dead_letters: int = 0
    newest_us: int | None = None  # when the newest call ended
    positions: dict[str, Position] = {}  # by journal: up to where its records are here


class Unreadable(Exception):
    """The file is no database, or cannot be opened."""


def look(path: Path) -> Facts:
    """What is in the database at `path`, a file that is there. Raises Unreadable."""
    # Without a log beside it nobody has it open; to read it otherwise, SQLite would leave an empty one behind.
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(
            sqlite3.connect(f"file:{quote(os.fsencode(path))}?{mode}", uri=True, timeout=_BUSY_SECONDS)
        ) as connection:
            return _facts(connection)
    except sqlite3.Error as error:
        raise Unreadable(str(error)) from None


def _facts(connection: sqlite3.Connection) -> Facts:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def rows(table: str, sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall() if table in tables else []

    revision = rows("alembic_version", "SELECT version_num FROM alembic_version")
    letters = rows("dead_letters", "SELECT count(*) FROM dead_letters")
    newest = rows("calls", "SELECT ended_us FROM calls ORDER BY id DESC LIMIT 1")
    positions = rows("journal_cursors", 'SELECT journal, segment, "offset" FROM journal_cursors')
    return Facts(
        revision=revision[0][0] if revision else None,
        dead_letters=letters[0][0] if letters else 0,
        newest_us=newest[0][0] if newest else None,
        positions={id: Position(segment, offset) for id, segment, offset in positions},
    )
