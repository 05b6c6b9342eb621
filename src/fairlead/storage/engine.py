"""The database: opened, migrated, and spoken to by several threads. SQLite in this version.

SQL is written with SQLAlchemy's Core and compiled once; rows go in and out through `sqlite3` itself, which costs a
third of what Core's execution does. Writes begin with BEGIN IMMEDIATE: a transaction that reads first and then writes
fails at once when another writer came between, however long it would be willing to wait.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, structs
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from fairlead.errors import InvalidConfig
from fairlead.storage import migrate

log = logging.getLogger("fairlead.storage")

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
        self._connection.execute("SELECT count(*) FROM sqlite_master").close()  # from here on there is a log
        self.mark = _Mark(str(path), self._file.st_ino, os.stat(_log_of(path)).st_ino)
        self._lock = threading.Lock()

    def check(self) -> None:
        """See that the file is still there. Raises Gone."""
        try:
            if os.path.samestat(os.stat(self.path), self._file):
                return
        except OSError:
            raise Gone(f"{self.path} is gone") from None
        _part(self.path, self.mark)
        raise Gone(f"{self.path} is another file than it was: the next start will use it")

    def sync(self) -> None:
        """Wait until all that was committed is on the disk: SQLite sees to that when it moves pages out of its log.

        The database itself is never opened here: to close it would drop the locks that SQLite holds on it. Raises
        OSError.
        """
        with suppress(FileNotFoundError):
            file = os.open(_log_of(self.path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)

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
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = folder / _MARK
        before = _read(mark)
        if before is not None and before.path == str(path.absolute()):
            if not path.exists():
                raise InvalidConfig(
                    f"the database {path} was here and is gone: bring it back, or delete {mark} to begin with an empty"
                    " one",
                    path="database.url",
                )
            _part(path, before)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        migrate.ensure(path)
        database = Database(path)
        now = structs.replace(database.mark, path=str(path.absolute()))
        if now != before:
            mark.write_bytes(msgspec.json.encode(now))
        return database
    except (OSError, sqlite3.Error) as error:
        raise InvalidConfig(f"the database {path} cannot be opened: {error}", path="database.url") from error


class _Mark(Struct, frozen=True):
    """What the state folder remembers of its database: where it was, and which files it and its log were."""

    path: str
    database: int  # inode
    log: int  # inode


def _read(mark: Path) -> _Mark | None:
    try:
        return msgspec.json.decode(mark.read_bytes(), type=_Mark)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _part(path: Path, before: _Mark) -> None:
    """Another database may stand where ours was, beside our log: whoever opens it would take that for its own.

    SQLite cannot tell, and ruins what was restored.
    """
    log_file = _log_of(path)
    with suppress(FileNotFoundError):
        if os.stat(path).st_ino != before.database and os.stat(log_file).st_ino == before.log:
            log.error("%s is another file than it was: the log of the one before is moved aside", path)
            for file in (log_file, path.with_name(path.name + "-shm")):
                if file.exists():
                    file.rename(file.with_name(file.name + "-of-the-file-before"))


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
