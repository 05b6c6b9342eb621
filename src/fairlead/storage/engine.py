"""The database: opened, migrated, and spoken to by several threads. SQLite in this version.

SQL is written with SQLAlchemy's Core and compiled once; rows go in and out through `sqlite3` itself, which costs a
third of what Core's execution does. Writes begin with BEGIN IMMEDIATE: a transaction that reads first and then writes
fails at once when another writer came between, however long it would be willing to wait.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from fairlead.errors import InvalidConfig
from fairlead.storage import migrate

_BUSY_SECONDS = 5.0
_CHECKPOINT_PAGES = 2000  # of the log, which then begins anew
_MARK = "database"  # a file in the state folder that says where the database was
_PREFIX = "sqlite:///"
Row = tuple[Any, ...]


def compiled(statement: ClauseElement) -> tuple[str, Sequence[str]]:
    """The SQL text of `statement`, and the names of its parameters in their order."""
    told = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    assert isinstance(told, SQLCompiler)
    return str(told), told.positiontup or ()


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any one thread at a time, as all of ours are set up."""
    address = f"file:{quote(str(path))}?mode=rw"  # never made here: an empty database would know no key
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


class Gone(Exception):
    """The database's file is no longer where it was: what is written to it now would be lost."""


class Database:
    """One connection that threads share, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect(path)
        self._file = os.stat(path)
        self._log: os.stat_result | None = None  # SQLite's write-ahead log, as it was when the file was last seen
        self._lock = threading.Lock()

    def check(self) -> None:
        """See that the file is still there. Raises Gone."""
        try:
            if os.path.samestat(os.stat(self.path), self._file):
                self._log = os.stat(self._beside("-wal"))
                return
        except OSError:
            raise Gone(f"{self.path} is gone") from None
        self._part()
        raise Gone(f"{self.path} is another file than it was: the next start will use it")

    def sync(self) -> None:
        """Wait until all that was committed is on the disk: SQLite sees to that when it moves pages out of its log.

        The database itself is never opened here: to close it would drop the locks that SQLite holds on it. Raises
        OSError.
        """
        with suppress(FileNotFoundError):
            file = os.open(self._beside("-wal"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def _part(self) -> None:
        """Another file stands where ours was: its next reader would take our log for its own, and ruin it."""
        for ending in ("-wal", "-shm"):
            path = self._beside(ending)
            with suppress(OSError):
                if ending == "-shm" or (self._log is not None and os.path.samestat(os.stat(path), self._log)):
                    path.rename(self._beside(f"{ending}-of-the-file-before"))

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows. Raises sqlite3.Error."""
        with self._lock, closing(self._connection.execute(sql, parameters)) as cursor:
            return cursor.fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Cursor]:
        """A transaction: committed at the end, rolled back if anything is raised."""
        with self._lock, closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has rolled it back already
                    cursor.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._connection.close()


def open_database(url: str, folder: Path) -> Database:
    """The database at `url`, created and brought up to date; a relative path lies below `folder`.

    Both belong to this user alone, if they are made here. One that was here before and is gone is not made again: an
    empty one would know no key. Raises InvalidConfig.
    """
    path = folder / url.removeprefix(_PREFIX)
    mark = folder / _MARK
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() and mark.exists() and mark.read_text() == str(path.absolute()):
            raise InvalidConfig(
                f"the database {path} was here and is gone: bring it back, or delete {mark} to begin with an empty one",
                path="database.url",
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        migrate.ensure(path)
        _write(mark, str(path.absolute()))
        return Database(path)
    except (OSError, sqlite3.Error) as error:
        raise InvalidConfig(f"the database {path} cannot be opened: {error}", path="database.url") from error


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
