"""Who calls: a bearer key becomes a principal.

Keys of the configuration file are asked first; then what is known, by the hash of the key; then the database, once
for all who ask at the same time. A database fault is 503 for unknown keys, while known ones go on from their last good
copy. Keys that another process changed are noticed within a second.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from fairlead.errors import InvalidKey, TooManyWrongKeys, Unavailable
from fairlead.penalties import Penalties
from fairlead.resources import Key, Principal

log = logging.getLogger("fairlead.auth")
T = TypeVar("T")

_EVERY_SECONDS = 0.4
_UNKNOWN_SECONDS = 30.0  # a new key is noticed at once all the same: it moves the generation
_LONGEST_SECRET = 4096
_PREFIX = b"fl-"  # of every key in the database


class Store(Protocol):
    """Where keys are. The calls block, and raise what they raise when the database is away."""

    def find(self, hash: bytes) -> Key | None: ...

    def valid(self, hashes: Sequence[bytes]) -> set[bytes]: ...

    def generation(self) -> int: ...

    def data_version(self) -> int: ...


class Auth:
    """Looks keys up, and remembers: `capacity` known ones, and as many that are none."""

    def __init__(self, store: Store, *, capacity: int = 10_000, free_wrong_keys: int = 20) -> None:
        self._store, self._capacity = store, capacity
        self._penalties = Penalties(free_wrong_keys)
        self._known: OrderedDict[bytes, Principal] = OrderedDict()  # the last used last
        self._unknown: OrderedDict[bytes, float] = OrderedDict()  # → when to ask again, monotonic
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._changes = 0  # how often keys were seen to have changed

    def known(self, hash: bytes, file_keys: Mapping[bytes, Principal]) -> Principal | None:
        """Whose key has this hash, as far as that is known by now."""
        principal = file_keys.get(hash)
        if principal is None:
            principal = self._known.get(hash)
            if principal is not None:
                self._known.move_to_end(hash)
        return principal

    async def identify(
        self,
        headers: Mapping[bytes, bytes],
        file_keys: Mapping[bytes, Principal],
        address: str = "",
        hash: bytes = b"",
    ) -> Principal:
        """Whose key `headers` carry: `Authorization: Bearer …` or `x-api-key`; `address` is where it came from, `hash`
        its `key_hash` if that is known.

        Raises InvalidKey, TooManyWrongKeys, Unavailable.
        """
        hash = hash or key_hash(headers)
        if not hash:
            raise InvalidKey
        principal = self.known(hash, file_keys)
        if principal is not None:
            return principal
        seconds = self._penalties.wait(address) if address else 0.0
        if seconds:
            raise TooManyWrongKeys(seconds)
        # What our keys look like is no secret: others may be refused at once.
        ours = (_secret(headers) or b"").startswith(_PREFIX)
        principal = await self._asked(hash) if ours else None
        if principal is None:
            if address:
                self._penalties.wrong(address)
            raise InvalidKey
        return principal

    async def _asked(self, hash: bytes) -> Principal | None:
        """From the database, unless it said no a moment ago; one question for all who wait for the same answer."""
        if self._unknown.get(hash, 0.0) > time.monotonic():
            return None
        task = self._asking.get(hash)
        if task is None:
            task = self._asking[hash] = asyncio.create_task(self._look_up(hash))
            task.add_done_callback(lambda _: self._asking.pop(hash, None))
        return await asyncio.shield(task)

    async def _look_up(self, hash: bytes) -> Principal | None:
        changes = None
        try:
            while changes != self._changes:  # an answer from before a change must not be remembered after it
                changes = self._changes
                key = await asyncio.to_thread(self._store.find, hash)
        except Exception as error:
            log.warning("keys cannot be looked up: %s", error)
            raise Unavailable("Keys cannot be looked up at the moment. Try again shortly.") from None
        if key is None or key.revoked_us is not None:
            _remember(self._unknown, hash, time.monotonic() + _UNKNOWN_SECONDS, self._capacity)
            return None
        principal = _principal(key)
        _remember(self._known, hash, principal, self._capacity)
        return principal

    async def watch(self) -> None:
        """Until cancelled: notice when other processes change keys."""
        version: int | None = None
        generation: int | None = None
        while True:
            try:
                moved = await asyncio.to_thread(self._store.data_version)
                if moved != version:
                    now = await asyncio.to_thread(self._store.generation)
                    if now != generation:
                        await self._forget()
                    version, generation = moved, now
            except Exception as error:
                log.warning("keys cannot be watched: %s", error)
            await asyncio.sleep(_EVERY_SECONDS)

    async def _forget(self) -> None:
        """Keys have changed: drop those that are no longer valid, and every no."""
        self._changes += 1
        self._unknown.clear()
        hashes = list(self._known)
        valid = await asyncio.to_thread(self._store.valid, hashes)
        for hash in hashes:
            if hash not in valid:
                self._known.pop(hash, None)


def _remember(cache: OrderedDict[bytes, T], hash: bytes, value: T, capacity: int) -> None:
    if len(cache) >= capacity:
        cache.popitem(last=False)
    cache[hash] = value


def key_hash(headers: Mapping[bytes, bytes]) -> bytes:
    """The hash of the key that `headers` carry; b"" if they carry nothing that could be one.

    It is what is compared, so that the time this takes tells nothing about any key.
    """
    secret = _secret(headers)
    return hashlib.sha256(secret).digest() if secret and len(secret) <= _LONGEST_SECRET else b""


def _secret(headers: Mapping[bytes, bytes]) -> bytes | None:
    value = headers.get(b"authorization")
    if value is not None and value[:7].lower() == b"bearer ":
        return value[7:].strip()
    return headers.get(b"x-api-key") or headers.get(b"x-goog-api-key")


def _principal(key: Key) -> Principal:
    return Principal(
        key_id=key.id,
        name=key.name,
        scopes=frozenset(key.scopes),
        organization_id=key.organization_id,
        team_id=key.team_id,
        environment_id=key.environment_id,
        user_id=key.user_id,
    )
