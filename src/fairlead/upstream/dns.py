"""From a host's name to addresses, kept for a while, and from addresses to the one that answers first.

uvloop's `create_connection` asks the resolver every time and tries one address after the other; hence this.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

from fairlead.errors import ConnectFailed

T = TypeVar("T")
Address = tuple[int, str]  # family, and the address as text
Lookup = Callable[[str], Awaitable[list[Address]]]

_PATIENCE_SECONDS = 1.0  # for a slow resolver, while there is a last good answer
_MAX_NAMES = 1024


async def system_lookup(host: str) -> list[Address]:
    """What the system's resolver says, in its order. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [(family, _text(address)) for family, _, _, _, address in found]


def _text(address: tuple[Any, ...]) -> str:
    scoped = len(address) == 4 and address[3] and "%" not in address[0]
    return f"{address[0]}%{address[3]}" if scoped else str(address[0])


class Resolver:
    """Remembers addresses for `ttl_seconds`; if a name cannot be looked up again, the last good answer stays."""

    def __init__(
        self,
        *,
        ttl_seconds: float = 30.0,
        lookup: Lookup = system_lookup,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl, self._lookup, self._clock = ttl_seconds, lookup, clock
        self._known: dict[str, tuple[float, list[Address]]] = {}  # fresh until
        self._asking: dict[str, asyncio.Task[list[Address]]] = {}

    async def resolve(self, host: str) -> list[Address]:
        """The addresses to try, families taking turns. Raises ConnectFailed if there are none."""
        literal = _literal(host)
        if literal is not None:
            return [literal]
        until, addresses = self._known.get(host, (0.0, []))
        if addresses and self._clock() < until:
            return addresses
        asking = self._ask(host)
        done, _ = await asyncio.wait((asking,), timeout=_PATIENCE_SECONDS if addresses else None)
        if done and not asking.cancelled():
            error = asking.exception()
            if error is None:
                return asking.result()
            if not isinstance(error, OSError | UnicodeError):
                raise error
        if not addresses:
            raise ConnectFailed("its name was not found")
        return addresses

    def _ask(self, host: str) -> asyncio.Task[list[Address]]:
        """The one question under way for this name: whoever waits for it may be cancelled, the others go on."""
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = asyncio.create_task(self._fresh(host))
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen, though nobody waits
        return asking

    async def _fresh(self, host: str) -> list[Address]:
        try:
            addresses = _by_turns(await self._lookup(host))
            if not addresses:
                raise OSError("no addresses")
        finally:
            del self._asking[host]
        if len(self._known) >= _MAX_NAMES:
            self._known.clear()
        self._known[host] = self._clock() + self._ttl, addresses
        return addresses

    def close(self) -> None:
        """Stop asking."""
        for asking in self._asking.values():
            asking.cancel()


def _literal(host: str) -> Address | None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return None
    return found[0][0], host


def _by_turns(addresses: Sequence[Address]) -> list[Address]:
    """Each family in its own order, the first address's first. https://www.rfc-editor.org/rfc/rfc8305#section-4"""
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address[0], []).append(address)
    return [address for address in chain.from_iterable(zip_longest(*families.values())) if address is not None]


async def race(
    addresses: Sequence[Address],
    dial: Callable[[Address], Coroutine[Any, Any, T]],
    discard: Callable[[T], None],
    *,
    delay_seconds: float = 0.25,
) -> T:
    """What `dial` gives for the address that answers first. The next one is tried after `delay_seconds`, or as soon as
    one has failed; what comes too late is discarded. Raises the first OSError when all have failed.

    https://www.rfc-editor.org/rfc/rfc8305#section-5
    """
    if len(addresses) == 1:
        return await dial(addresses[0])
    waiting = deque(addresses)
    failures: list[OSError] = []
    trying: set[asyncio.Task[T]] = set()

    def drop(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            discard(task.result())

    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.create_task(dial(waiting.popleft())))
            done, _ = await asyncio.wait(
                trying, timeout=delay_seconds if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                trying.discard(task)
                try:
                    return task.result()
                except OSError as error:
                    failures.append(error)
        raise failures[0]
    finally:
        for task in trying:
            task.add_done_callback(drop)
            task.cancel()
