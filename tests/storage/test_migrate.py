"""Migrations: all or nothing, and not even imported when there is nothing to do."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fairlead.errors import InvalidConfig
from fairlead.storage.engine import open_database
from gateway import environment


def names(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


async def python(code: str, folder: Path) -> str:
    """What `code` prints in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=folder, env=environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problems = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, problems.decode()
    return out.decode().strip()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE attempts (in_the_way)")
    with pytest.raises(InvalidConfig, match="attempts"):
        open_database("sqlite:///a.db", tmp_path)
    assert names(path) == {"attempts"}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE attempts")
    open_database("sqlite:///a.db", tmp_path).close()


def test_a_database_of_a_newer_version_is_left_alone_and_told(tmp_path: Path) -> None:
    open_database("sqlite:///a.db", tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(InvalidConfig, match=r"schema '9999'.*none beyond '0003'"):
        open_database("sqlite:///a.db", tmp_path)


async def test_a_current_database_opens_without_alembic(tmp_path: Path) -> None:
    open_database("sqlite:///a.db", tmp_path).close()
    told = await python(
        "import sys; from pathlib import Path; from fairlead.storage.engine import open_database\n"
        "open_database('sqlite:///a.db', Path()).close()\n"
        "print([name for name in ('alembic', 'sqlalchemy.ext.asyncio', 'aiosqlite') if name in sys.modules])",
        tmp_path,
    )
    assert told == "[]"
