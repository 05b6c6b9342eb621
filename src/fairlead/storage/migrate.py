"""Brings a database to the schema of this version. Alembic is only imported when there is something to do."""

import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path

HEAD = "0001"  # the newest migration; a test compares it with Alembic's own finding


def ensure(path: Path) -> None:
    """Create or upgrade the SQLite database at `path`. Processes that start at once wait for each other."""
    if _revision(path) == HEAD:
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _revision(path) != HEAD:
            to(path, "head")


def to(path: Path, revision: str) -> None:
    """Migrate the database at `path` up or down to `revision` ("base" empties it)."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            if revision == "base":
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    finally:
        engine.dispose()


def _revision(path: Path) -> str | None:
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return row[0] if row else None
