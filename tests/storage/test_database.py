"""The database: migrated, private, shared by processes."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from fairlead.resources import ALL_SCOPES
from fairlead.storage import migrate, tables
from fairlead.storage.engine import Database, open_database
from fairlead.storage.keys import KeyStore, digest
from fairlead.storage.records import Records
from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Batch
from gateway import environment

URL = "sqlite:///fairlead.db"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(URL, tmp_path / "state")


def test_the_schema_is_that_of_the_tables_and_the_newest_migration(database: Database) -> None:
    engine = create_engine(f"sqlite:///{database.path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert scripts.get_current_head() == migrate.HEAD


def test_migrations_go_up_down_and_up(database: Database) -> None:
    database.close()
    migrate.to(database.path, "base")
    again = sqlite3.connect(database.path)
    assert "calls" not in {name for (name,) in again.execute("SELECT name FROM sqlite_master")}
    again.close()
    migrate.ensure(database.path)
    assert KeyStore(Database(database.path)).list() == []


def test_folder_and_file_are_private(database: Database) -> None:
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.path.parent.stat().st_mode) == 0o700


def test_processes_that_start_at_once_share_one_first_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fairlead.storage.engine import open_database;"
        "from fairlead.storage.keys import KeyStore;"
        f"print(KeyStore(open_database({URL!r}, Path(sys.argv[1]))).first_key())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "state")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) for _ in range(4)]
    told = [process.communicate()[0].strip() for process in started]
    assert sorted(line == "None" for line in told) == [False, True, True, True]


def test_a_key_is_kept_as_a_hash_found_and_revoked(database: Database) -> None:
    store = KeyStore(database)
    secret, key = store.create("mine", ALL_SCOPES)
    assert len(secret) == 46
    assert secret.encode() not in database.path.read_bytes()
    assert store.find(digest(secret)) == key
    assert store.find(digest("other")) is None
    generation = store.generation()
    assert store.revoke(key.prefix) == 1
    assert store.revoke(key.id) == 0
    assert store.generation() == generation + 1
    assert store.valid([key.hash]) == set()


def test_the_first_key_is_made_once_ever(database: Database) -> None:
    store = KeyStore(database)
    assert store.first_key() is not None
    store.revoke(store.list()[0].id)
    assert store.first_key() is None


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def half_way() -> None:
        with database.writing() as cursor:
            cursor.execute("DELETE FROM key_generation")
            raise KeyError

    with pytest.raises(KeyError):
        half_way()
    assert KeyStore(database).generation() == 0


@pytest.mark.parametrize("count", [1, 63, 64, 200])
def test_records_are_written_once_however_often_they_come(database: Database, count: int) -> None:
    records = Records(database.path)
    calls = [tuple(f"c{number}" if name == "id" else 1 for name in CALL_COLUMNS) for number in range(count)]
    attempts = [tuple(f"c{number}" if name == "call_id" else 1 for name in ATTEMPT_COLUMNS) for number in range(count)]
    for end in (Position(1, 500), Position(1, 900)):
        assert records.write(Batch(attempts, calls, "a-journal", end)) == ()
        assert records.position("a-journal") == end
    assert database.read("SELECT count(*) FROM calls") == [(count,)]
    assert database.read("SELECT count(*) FROM attempts") == [(count,)]
    records.close()
