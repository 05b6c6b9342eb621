"""Keys of ours: made, found, revoked. Only the SHA-256 of a secret is kept."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, literal_column, select, update

from fairlead.resources import ALL_SCOPES, Key
from fairlead.storage import tables
from fairlead.storage.engine import Database, Row, compiled

PREFIX = "fl-"
_SHOWN = 8  # first characters of a secret that are kept, to know it again by

_COLUMNS = [column.name for column in tables.keys.columns]
_INSERT, _INSERT_ORDER = compiled(insert(tables.keys))
_ALL, _ = compiled(select(tables.keys).order_by(tables.keys.c.created_us))
_BY_HASH, _ = compiled(select(tables.keys).where(tables.keys.c.hash == bindparam("hash")))
_ACTIVE_BY = [  # an id before a prefix before a name: no key's name hides another's id
    compiled(select(tables.keys.c.id).where(column == bindparam("wanted"), tables.keys.c.revoked_us.is_(None)))[0]
    for column in (tables.keys.c.id, tables.keys.c.prefix, tables.keys.c.name)
]
_REVOKE, _ = compiled(
    update(tables.keys).values(revoked_us=bindparam("now")).where(tables.keys.c.id == bindparam("wanted"))
)
_GENERATION, _ = compiled(select(tables.key_generation.c.generation))
_NEXT_GENERATION, _ = compiled(
    update(tables.key_generation).values(generation=tables.key_generation.c.generation + literal_column("1"))
)


def digest(secret: str | bytes) -> bytes:
    """The SHA-256 of a secret."""
    return hashlib.sha256(secret if isinstance(secret, bytes) else secret.encode()).digest()


class Ambiguous(Exception):
    """Several active keys are meant by `wanted`; `ids` tells them apart."""

    def __init__(self, wanted: str, ids: Sequence[str]) -> None:
        super().__init__(f"{len(ids)} active keys are called {wanted!r}; name one by its id: {', '.join(ids)}")
        self.ids = ids


_ANY = "SELECT 1 FROM keys LIMIT 1"


class KeyStore:
    """The table of keys. Its calls block: the event loop asks from a thread. All raise sqlite3.Error."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, scopes: Iterable[str] = ALL_SCOPES[:1]) -> tuple[str, Key]:
        """A new key and its secret, which nobody can tell again."""
        with self._database.writing() as cursor:
            return _create(cursor, name, scopes)

    def first_key(self) -> str | None:
        """The secret of a first key that may do everything; None if there has ever been a key."""
        if self._database.read(_ANY):  # a database that somebody else is writing to keeps no start waiting
            return None
        with self._database.writing() as cursor:
            if cursor.execute(_ANY).fetchone() is not None:
                return None
            return _create(cursor, "admin", ALL_SCOPES)[0]

    def list(self) -> list[Key]:
        """All keys, the oldest first, revoked ones included."""
        return [_key(row) for row in self._database.read(_ALL)]

    def revoke(self, wanted: str) -> int:
        """Revoke the active key with this id, prefix or name; how many there were: 1 or 0.

        Raises Ambiguous, and revokes none, if the prefix or the name belongs to several.
        """
        with self._database.writing() as cursor:
            for sql in _ACTIVE_BY:
                ids = [str(id) for (id,) in cursor.execute(sql, (wanted,)).fetchall()]
                if len(ids) > 1:
                    raise Ambiguous(wanted, ids)
                if ids:
                    cursor.execute(_REVOKE, (time.time_ns() // 1000, ids[0]))
                    cursor.execute(_NEXT_GENERATION)
                    return 1
            return 0

    def find(self, hash: bytes) -> Key | None:
        """The key with this hash, revoked or not."""
        rows = self._database.read(_BY_HASH, (hash,))
        return _key(rows[0]) if rows else None

    def valid(self, hashes: Sequence[bytes]) -> set[bytes]:
        """Which of `hashes` are keys that are not revoked."""
        return {hash for hash in hashes if (key := self.find(hash)) is not None and key.revoked_us is None}

    def generation(self) -> int:
        """How often keys have changed."""
        return int(self._database.read(_GENERATION)[0][0])

    def data_version(self) -> int:
        """A number that moves when another connection has written anything."""
        return int(self._database.read("PRAGMA data_version")[0][0])


def _create(cursor: sqlite3.Cursor, name: str, scopes: Iterable[str]) -> tuple[str, Key]:
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=f"key_{secrets.token_hex(8)}",
        name=name,
        hash=digest(secret),
        prefix=secret[:_SHOWN],
        last_four=secret[-4:],
        scopes=tuple(scopes),
        created_us=time.time_ns() // 1000,
    )
    values: dict[str, Any] = {name: getattr(key, name) for name in _COLUMNS}
    values["scopes"] = " ".join(key.scopes)
    cursor.execute(_INSERT, [values[name] for name in _INSERT_ORDER])
    cursor.execute(_NEXT_GENERATION)
    return secret, key


def _key(row: Row) -> Key:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Key(**{**values, "scopes": tuple(values["scopes"].split())})
