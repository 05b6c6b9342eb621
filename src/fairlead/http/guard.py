"""Who is at the door: how many connections an address has, and whom a trusted proxy speaks for."""

import ipaddress
from collections.abc import Iterable, Sequence

from fairlead.http.asgi import Header

_LONGEST = 64  # addresses in an X-Forwarded-For that are looked at, from its end


class Guard:
    """The doorkeeper of one server."""

    def __init__(self, *, per_address: int, trusted: Sequence[str]) -> None:
        """`per_address`: connections that one address may have, unless it is one of `trusted` (addresses, networks)."""
        self.per_address = per_address
        self._trusted = [ipaddress.ip_network(network) for network in trusted]
        self._connections: dict[str, int] = {}

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy whose word counts."""
        return bool(self._trusted) and self._is_trusted(address)

    def enter(self, address: str) -> bool:
        """A connection came; whether it may stay. `leave` has to follow either way."""
        count = self._connections[address] = self._connections.get(address, 0) + 1
        return count <= self.per_address

    def leave(self, address: str) -> None:
        count = self._connections.get(address, 0) - 1
        if count > 0:
            self._connections[address] = count
        else:
            self._connections.pop(address, None)

    def told(self, headers: Iterable[Header], proxy: str) -> tuple[str, bool]:
        """Whose request `proxy` hands on, and whether it came to the proxy over TLS.

        Each proxy adds to the end of X-Forwarded-For, so that only what stands behind the last address that is not
        trusted was written by one that is: https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For.
        """
        hops: list[str] = []
        scheme = b""
        for name, value in headers:
            if name == b"x-forwarded-for":
                hops += value.decode("latin-1").split(",")
            elif name == b"x-forwarded-proto":
                scheme = value.rpartition(b",")[2].strip().lower()
        address = proxy
        for hop in reversed(hops[-_LONGEST:]):
            found = _address(hop.strip())
            if found is None:
                break
            address = found
            if not self._is_trusted(found):
                break
        return address, scheme == b"https"

    def _is_trusted(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return any((mapped or found) in network for network in self._trusted)


def _address(hop: str) -> str | None:
    """The address in `hop`, which may have a port; None if there is none."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return None
