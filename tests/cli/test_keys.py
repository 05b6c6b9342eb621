"""`fairlead keys` where something is in its way, and beside a gateway that runs."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from fairlead.storage.engine import open_database
from fairlead.storage.keys import KeyStore, digest
from gateway import Gateway, environment


def keys(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fairlead", "keys", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_key_gets_the_scopes_it_was_given_in_the_database_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[server]\nstate_dir = "here"\n[database]\nurl = "sqlite:///k.db"\n')
    done = keys(
        tmp_path, "create", "ops", "--scope", "inference", "--scope", "admin:*", "--config", "mine.toml", "--json"
    )
    told = json.loads(done.stdout)
    with closing(open_database("sqlite:///k.db", tmp_path / "here")) as database:
        key = KeyStore(database).find(digest(told["secret"]))
    assert key is not None
    assert (key.id, key.scopes) == (told["id"], ("inference", "admin:*"))


def test_several_keys_of_one_name_are_told_apart_before_any_is_revoked(tmp_path: Path) -> None:
    ids = [json.loads(keys(tmp_path, "create", "twin", "--json").stdout)["id"] for _ in range(2)]
    done = keys(tmp_path, "revoke", "twin")
    assert done.returncode == 1
    assert all(id in done.stderr for id in ids)
    assert "Traceback" not in done.stderr
    assert keys(tmp_path, "revoke", ids[0]).returncode == 0
    assert keys(tmp_path, "revoke", "twin").returncode == 0


def test_a_database_that_cannot_be_opened_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".fairlead").mkdir()
    (tmp_path / ".fairlead" / "fairlead.db").write_bytes(b"this is not a database" * 100)
    done = keys(tmp_path, "list")
    assert done.returncode == 1
    assert "cannot be opened: file is not a database" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_are_made_and_revoked_while_the_gateway_runs(running: Gateway) -> None:
    folder = running.config.parent
    made = json.loads(keys(folder, "create", "beside", "--config", str(running.config), "--json").stdout)
    assert running.house.keys.find(digest(made["secret"])) is not None
    assert keys(folder, "revoke", "beside", "--config", str(running.config)).returncode == 0
    assert running.house.keys.valid([digest(made["secret"])]) == set()
