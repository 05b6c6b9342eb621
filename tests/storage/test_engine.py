"""The database: who may read it, and what a failed transaction leaves behind."""

import sqlite3
from pathlib import Path

import pytest

from fairlead.errors import InvalidConfig
from fairlead.storage.engine import Database, open_database

URL = "sqlite:///fairlead.db"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_database_and_its_log_belong_to_one_user(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    database = open_database(URL, folder)
    with database.writing() as cursor:
        cursor.execute("UPDATE key_generation SET generation = 5")
    assert mode(folder) == 0o700
    assert {mode(file) for file in folder.glob("fairlead.db*")} == {0o600}
    assert {file.name for file in folder.glob("fairlead.db*")} >= {"fairlead.db", "fairlead.db-wal"}
    database.close()


def test_a_relative_path_lies_below_the_folder_and_an_absolute_one_where_it_says(tmp_path: Path) -> None:
    relative = open_database("sqlite:///data/keys.db", tmp_path / "state")
    absolute = open_database(f"sqlite:///{tmp_path}/elsewhere.db", tmp_path / "state")
    assert relative.path == tmp_path / "state" / "data" / "keys.db"
    assert absolute.path == tmp_path / "elsewhere.db"
    relative.close()
    absolute.close()


def test_every_connection_writes_ahead_and_syncs_normally(tmp_path: Path) -> None:
    database = open_database(URL, tmp_path)
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database.read("PRAGMA synchronous") == [(1,)]
    assert database.read("PRAGMA busy_timeout") == [(5000,)]
    database.close()


def test_a_file_that_is_no_database_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "fairlead.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(InvalidConfig, match=r"fairlead\.db cannot be opened: file is not a database"):
        open_database(URL, tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises(InvalidConfig, match="cannot be opened"):
        open_database(URL, tmp_path / "state")


def test_a_writer_waits_for_another_instead_of_failing_after_it_has_read(tmp_path: Path) -> None:
    first = open_database(URL, tmp_path)
    second = Database(first.path)
    second._connection.execute("PRAGMA busy_timeout = 0")
    with first.writing() as cursor:
        cursor.execute("SELECT generation FROM key_generation").fetchone()
        with pytest.raises(sqlite3.OperationalError, match="locked"), second.writing():
            pass
        cursor.execute("UPDATE key_generation SET generation = generation + 1")
    assert second.read("SELECT generation FROM key_generation") == [(1,)]
    first.close()
    second.close()


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    database = open_database(URL, tmp_path)
    with database.writing() as cursor:
        cursor.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        cursor.execute("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    for _ in range(2):
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), database.writing() as cursor:
            cursor.execute("INSERT INTO child VALUES (7)")  # found wrong by COMMIT
    with database.writing() as cursor:
        cursor.execute("INSERT INTO parent VALUES (7)")
    assert database.read("SELECT id FROM parent") == [(7,)]
    database.close()


def test_a_full_disk_is_told_as_one_and_writing_goes_on_when_there_is_room(tmp_path: Path) -> None:
    database = open_database(URL, tmp_path)
    with database.writing() as cursor:
        cursor.execute("CREATE TABLE ballast (bytes)")
    [(pages,)] = database.read("PRAGMA page_count")
    database.read(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"), database.writing() as cursor:
        cursor.execute("INSERT INTO ballast VALUES (zeroblob(100000))")
    database.read(f"PRAGMA max_page_count = {pages + 100}")
    with database.writing() as cursor:
        cursor.execute("INSERT INTO ballast VALUES (zeroblob(100000))")
    assert database.read("SELECT length(bytes) FROM ballast") == [(100000,)]
    database.close()
