"""Names → addresses, remembered for 30 seconds; when a look-up fails, the last good answer goes on."""

import asyncio
import socket
import time
from itertools import chain, zip_longest

from fairlead.errors import ConnectFailed

_GOOD_SECONDS = 30.0
_REMEMBERED = 1024
Address = tuple[int, str]  # family, numeric address


class Resolver:
    """Looks names up. Addresses of both families come in turns, as the system prefers them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """At least one address. Raises ConnectFailed."""
        known = self._known.get(host)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            if known is None:
                raise ConnectFailed(f"the name {host} was not found ({error.strerror})") from None
            found = []
        addresses = _in_turns(found) if found else known[1] if known is not None else []
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[host] = (time.monotonic() + _GOOD_SECONDS, addresses)
        return addresses


def _in_turns(
    found: list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]],
) -> list[Address]:
    """https://www.rfc-editor.org/rfc/rfc8305#section-4"""
    addresses: list[Address] = list(dict.fromkeys((int(family), str(where[0])) for family, _, _, _, where in found))
    first = [address for address in addresses if address[0] == addresses[0][0]]
    second = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, second)) if address is not None]
