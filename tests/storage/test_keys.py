"""Keys of ours: made, found, revoked."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.storage.engine import Database, open_database
from fairlead.storage.keys import Ambiguous, KeyStore, digest


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite:///keys.db", tmp_path)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> KeyStore:
    return KeyStore(database)


def test_a_secret_is_told_once_and_only_its_hash_is_kept(store: KeyStore, database: Database) -> None:
    secret, key = store.create("ci")
    assert re.fullmatch(r"fl-[A-Za-z0-9_-]{43}", secret)
    assert key.hash == hashlib.sha256(secret.encode()).digest() == digest(secret.encode())
    assert (key.prefix, key.last_four) == (secret[:8], secret[-4:])
    database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in database.path.read_bytes()


def test_a_key_is_found_by_its_hash_as_it_was_made(store: KeyStore) -> None:
    secret, key = store.create("ci", ["inference", "admin:*"])
    assert store.find(digest(secret)) == key
    assert key.scopes == ("inference", "admin:*")
    assert key.organization_id == key.team_id == key.environment_id == key.user_id == "default"
    assert store.find(digest("fl-unknown")) is None


def test_keys_are_listed_oldest_first_revoked_ones_included(store: KeyStore) -> None:
    _, first = store.create("first")
    _, second = store.create("second")
    store.revoke(first.id)
    assert [key.name for key in store.list()] == ["first", "second"]
    assert [key.revoked_us is None for key in store.list()] == [False, True]
    assert store.valid([first.hash, second.hash, digest("none")]) == {second.hash}


@pytest.mark.parametrize("by", ["id", "prefix", "name"])
def test_a_key_is_revoked_by_id_prefix_or_name(store: KeyStore, by: str) -> None:
    _, key = store.create("ci")
    _, other = store.create("other")
    assert store.revoke(getattr(key, by)) == 1
    assert store.revoke(getattr(key, by)) == 0
    assert store.valid([key.hash, other.hash]) == {other.hash}


def test_a_name_of_several_keys_revokes_none_and_tells_their_ids(store: KeyStore) -> None:
    keys = [store.create("twin")[1] for _ in range(2)]
    before = store.generation()
    with pytest.raises(Ambiguous, match=keys[0].id) as told:
        store.revoke("twin")
    assert sorted(told.value.ids) == sorted(key.id for key in keys)
    assert len(store.valid([key.hash for key in keys])) == 2
    assert store.generation() == before
    store.revoke(keys[0].id)
    assert store.revoke("twin") == 1  # the other one, which is alone now


def test_a_key_named_like_the_id_of_another_does_not_shield_it(store: KeyStore) -> None:
    _, key = store.create("ci")
    _, impostor = store.create(key.id)
    assert store.revoke(key.id) == 1
    assert store.valid([key.hash, impostor.hash]) == {impostor.hash}


def test_every_change_moves_the_generation_and_no_other_thing_does(store: KeyStore) -> None:
    generations = [store.generation()]
    _, key = store.create("ci")
    generations.append(store.generation())
    store.revoke(key.id)
    generations.append(store.generation())
    store.revoke(key.id)
    store.revoke("nobody")
    store.find(key.hash)
    generations.append(store.generation())
    assert generations == [0, 1, 2, 2]


def test_the_first_key_may_do_everything_and_comes_once_for_ever(store: KeyStore) -> None:
    secret = store.first_key()
    assert secret is not None
    key = store.find(digest(secret))
    assert key is not None
    assert (key.name, key.scopes) == ("admin", ("inference", "usage:read", "admin:*"))
    store.revoke(key.id)
    assert store.first_key() is None


def test_where_there_has_been_a_key_there_is_no_first_one(store: KeyStore) -> None:
    store.create("made by hand")
    assert store.first_key() is None


def test_the_data_version_moves_with_the_writes_of_others_only(store: KeyStore, database: Database) -> None:
    other = Database(database.path)
    before = store.data_version()
    store.create("own")
    assert store.data_version() == before
    KeyStore(other).create("theirs")
    assert store.data_version() != before
    other.close()
