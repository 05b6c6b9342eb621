"""Brings a database to the schema of this version. Alembic is only imported when there is something to do."""

import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path

from fairlead.errors import InvalidConfig

HEAD = "0003"  # the newest migration; a test compares it with Alembic's own finding
_BUSY_SECONDS = 10.0
_PAGE_BYTES = 16384


def ensure(path: Path) -> None:
    """Create or upgrade the SQLite database at `path`. Processes that start at once wait for each other.

    Raises InvalidConfig if a newer Fairlead has been here.
    """
    if _revision(path) == HEAD:
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _revision(path) != HEAD:
            to(path, "head")


def to(path: Path, revision: str) -> None:
    """Migrate the database at `path` up or down to `revision` ("base" empties it), all of it or nothing.

    Raises InvalidConfig, sqlite3.Error.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = create_engine("sqlite://", creator=lambda: _connect(path))
    # Of itself the driver opens no transaction for DDL: a migration cut short would stay half done for ever.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            if revision == "base":
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    except CommandError:
        raise InvalidConfig(
            f"{path} has schema {_revision(path)!r}, this version knows none beyond {HEAD!r}: use the Fairlead that"
            " wrote it, or a newer one"
        ) from None
    except DBAPIError as error:
        raise (error.orig or error) from None
    finally:
        engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.execute(
        f"PRAGMA page_size={_PAGE_BYTES}"
    )  # of a new one; a row of ours costs a seventh less than in 4096
    # Here, where nobody else is: the change to WAL does not wait for others, it fails.
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def _revision(path: Path) -> str | None:
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return row[0] if row else None
