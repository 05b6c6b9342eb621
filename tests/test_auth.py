"""Who calls: keys of the file, of the cache and of a real database, which may be away or changed by others."""

import asyncio
import hashlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fairlead import auth as auth_module
from fairlead.auth import Auth
from fairlead.errors import InvalidKey, Unavailable
from fairlead.resources import Key, Principal
from fairlead.storage import keys as stored
from fairlead.storage.engine import Database, open_database
from fairlead.storage.keys import KeyStore
from gateway import environment

UNKNOWN = "fl-" + "u" * 43


class Counting(KeyStore):
    """The real store, which tells what it was asked, and can be made to hold an answer back."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[str] = []
        self.found = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def find(self, hash: bytes) -> Key | None:
        self.asked.append("find")
        key = super().find(hash)
        self.found.set()
        assert self.may_answer.wait(10)
        return key

    def generation(self) -> int:
        self.asked.append("generation")
        return super().generation()

    def valid(self, hashes: Sequence[bytes]) -> set[bytes]:
        self.asked.append("valid")
        return super().valid(hashes)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite:///fairlead.db", tmp_path)
    yield database
    database.close()


@pytest.fixture
def other(database: Database) -> Iterator[Database]:
    """Another connection, as another process would have it."""
    other = Database(database.path)
    yield other
    other.close()


@pytest.fixture
def store(database: Database) -> Counting:
    return Counting(database)


async def identified(auth: Auth, secret: str, **file_keys: Principal) -> Principal:
    keys = {hashlib.sha256(name.encode()).digest(): principal for name, principal in file_keys.items()}
    return await auth.identify({b"authorization": b"Bearer " + secret.encode()}, keys)


@asynccontextmanager
async def watching(auth: Auth) -> AsyncIterator[None]:
    task = asyncio.create_task(auth.watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # a thread or another process brings it about
            await asyncio.sleep(0.005)


async def refused(auth: Auth, secret: str) -> bool:
    try:
        await identified(auth, secret)
    except InvalidKey:
        return True
    return False


def away(database: Database) -> None:
    database.read("ALTER TABLE keys RENAME TO away")


def back(database: Database) -> None:
    database.read("ALTER TABLE away RENAME TO keys")


# ---- what is sent


@pytest.mark.parametrize(
    "headers",
    [
        lambda secret: {b"authorization": b"Bearer " + secret},
        lambda secret: {b"authorization": b"bearer  " + secret + b" "},
        lambda secret: {b"x-api-key": secret},
        lambda secret: {b"authorization": b"Basic abc", b"x-api-key": secret},
    ],
)
async def test_a_key_comes_as_bearer_or_x_api_key(store: Counting, headers: Any) -> None:
    secret, key = store.create("ci", ["inference", "admin:*"])
    principal = await Auth(store).identify(headers(secret.encode()), {})
    assert (principal.key_id, principal.name) == (key.id, "ci")
    assert principal.scopes == {"inference", "admin:*"}


async def test_missing_unknown_malformed_and_revoked_keys_get_the_same_words(store: Counting) -> None:
    revoked, key = store.create("revoked")
    store.revoke(key.id)
    auth = Auth(store)
    told = set()
    for headers in (
        {},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Basic abc"},
        {b"x-api-key": b"sk-of-somebody-else"},
        {b"x-api-key": b"fl-" + b"x" * 100_000},
        {b"x-api-key": UNKNOWN.encode()},
        {b"x-api-key": b"fl-\xff\x00"},
        {b"x-api-key": revoked.encode()},
    ):
        with pytest.raises(InvalidKey) as error:
            await auth.identify(headers, {})
        told.add(str(error.value))
    assert len(told) == 1


async def test_keys_of_the_file_are_asked_first_and_need_no_database(database: Database) -> None:
    auth = Auth(KeyStore(database))
    database.close()
    principal = Principal("file:ci", "ci", frozenset({"inference"}))
    assert await identified(auth, "any_shape_will_do", any_shape_will_do=principal) is principal


async def test_what_does_not_look_like_a_key_of_ours_is_not_looked_up(store: Counting) -> None:
    assert await refused(Auth(store), "sk-of-somebody-else")
    assert store.asked == []


def test_auth_and_storage_agree_on_what_keys_look_like() -> None:
    assert stored.PREFIX.encode() == auth_module._PREFIX


# ---- what is remembered


async def test_a_known_key_is_looked_up_once_and_an_unknown_one_too(store: Counting) -> None:
    secret, _ = store.create("ci")
    auth = Auth(store)
    for _ in range(3):
        await identified(auth, secret)
        assert await refused(auth, UNKNOWN)
    assert store.asked == ["find", "find"]


async def test_all_who_ask_at_once_share_one_look_up(store: Counting) -> None:
    secret, key = store.create("ci")
    auth = Auth(store)
    store.may_answer.clear()
    asking = [asyncio.create_task(identified(auth, secret)) for _ in range(50)]
    await until(store.found.is_set)
    store.may_answer.set()
    assert {principal.key_id for principal in await asyncio.gather(*asking)} == {key.id}
    assert store.asked == ["find"]


async def test_a_caller_who_leaves_takes_no_answer_from_the_others(store: Counting) -> None:
    secret, key = store.create("ci")
    auth = Auth(store)
    store.may_answer.clear()
    leaving, staying = (asyncio.create_task(identified(auth, secret)) for _ in range(2))
    await until(store.found.is_set)
    leaving.cancel()
    store.may_answer.set()
    assert (await staying).key_id == key.id
    assert leaving.cancelled()


async def test_the_key_used_longest_ago_makes_room(store: Counting) -> None:
    first, second, third = (store.create(name)[0] for name in ("first", "second", "third"))
    auth = Auth(store, capacity=2)
    for secret in (first, second, first, third):
        await identified(auth, secret)
    store.asked.clear()
    await identified(auth, first)
    await identified(auth, third)
    assert store.asked == []
    await identified(auth, second)
    assert store.asked == ["find"]


async def test_unknown_keys_are_remembered_within_bounds(store: Counting) -> None:
    auth = Auth(store, capacity=10)
    for number in range(100):
        assert await refused(auth, f"fl-{number}")
    assert len(auth._unknown) == 10


# ---- a database that is away


async def test_without_the_table_known_keys_go_on_and_unknown_ones_are_told_to_come_back(
    store: Counting, other: Database
) -> None:
    known, key = store.create("known")
    fresh, _ = store.create("fresh")
    auth = Auth(store)
    await identified(auth, known)
    away(other)
    async with watching(auth):
        assert (await identified(auth, known)).key_id == key.id
        with pytest.raises(Unavailable) as error:
            await identified(auth, fresh)
        assert error.value.retryable
        assert error.value.retry_after
        back(other)
        assert (await identified(auth, fresh)).name == "fresh"  # the fault was not remembered


async def test_a_change_seen_while_the_table_is_away_acts_when_it_is_back(
    store: Counting, other: Database, caplog: pytest.LogCaptureFixture
) -> None:
    kept, _ = store.create("kept")
    lost, key = store.create("lost")
    auth = Auth(store)
    async with watching(auth):
        await until(lambda: "generation" in store.asked)
        await identified(auth, kept)
        await identified(auth, lost)
        with other.writing() as cursor:
            cursor.execute("UPDATE keys SET revoked_us = 1 WHERE id = ?", (key.id,))
            cursor.execute("UPDATE key_generation SET generation = generation + 1")
            cursor.execute("ALTER TABLE keys RENAME TO away")
        await until(lambda: "cannot be watched" in caplog.text)
        await identified(auth, kept)
        await identified(auth, lost)  # its last good copy
        back(other)
        await until(lambda: len(auth._known) == 1)
        assert await refused(auth, lost)
        await identified(auth, kept)


# ---- changes by others


async def test_a_key_revoked_by_another_process_is_refused_soon(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text('[server]\nstate_dir = "."\n')
    database = open_database("sqlite:///fairlead.db", tmp_path)
    store = KeyStore(database)
    secret, key = store.create("ci")
    auth = Auth(store)
    async with watching(auth):
        await identified(auth, secret)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead", "keys", "revoke", key.id,
            cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(process.wait(), 60) == 0
        await until(lambda: not auth._known)
        assert await refused(auth, secret)
    database.close()


async def test_a_key_that_was_refused_and_is_made_then_is_known_soon(
    store: Counting, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = Auth(store)
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: UNKNOWN.removeprefix("fl-"))
    async with watching(auth):
        assert await refused(auth, UNKNOWN)
        KeyStore(other).create("late")
        await until(lambda: not auth._unknown)
        assert (await identified(auth, UNKNOWN)).name == "late"


async def test_writes_that_change_no_key_drop_nothing(store: Counting, other: Database) -> None:
    secret, _ = store.create("ci")
    auth = Auth(store)
    async with watching(auth):
        await until(lambda: "valid" in store.asked)  # the first look
        await identified(auth, secret)
        store.asked.clear()
        with other.writing() as cursor:  # as every batch of the ledger does
            cursor.execute("CREATE TABLE unrelated (x)")
        await until(lambda: "generation" in store.asked)
        await identified(auth, secret)
        assert store.asked == ["generation"]


@pytest.mark.parametrize("change", ["revoked", "made"])
async def test_a_look_up_that_a_change_overtook_asks_again(
    store: Counting, other: Database, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The look-up has read the table, then the key changes and the watch sees it, then the answer arrives."""
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: UNKNOWN.removeprefix("fl-"))
    if change == "revoked":
        store.create("ci")
    auth = Auth(store)
    store.may_answer.clear()
    asking = asyncio.create_task(refused(auth, UNKNOWN))
    await until(store.found.is_set)
    if change == "revoked":
        KeyStore(other).revoke("ci")
    else:
        KeyStore(other).create("ci")
    await auth._forget()
    store.may_answer.set()
    assert await asking is (change == "revoked")
    assert await refused(auth, UNKNOWN) is (change == "revoked")
    assert store.asked == ["find", "valid", "find"]  # asked again, and remembered then


async def test_a_change_before_the_first_look_of_the_watch_is_not_overlooked(store: Counting, other: Database) -> None:
    secret, key = store.create("ci")
    auth = Auth(store)
    await identified(auth, secret)
    KeyStore(other).revoke(key.id)
    async with watching(auth):
        await until(lambda: not auth._known)
    assert await refused(auth, secret)
