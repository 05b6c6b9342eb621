"""Which hosts may be asked when a client names the address: the guard against server-side request forgery.

It is a resolver, and the pool connects to nothing but the addresses that its resolver gives: what was checked is what
is connected to, so that a name which means something else a moment later (DNS rebinding) gets nowhere.
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import asyncio
import re
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from fairlead.errors import ConnectFailed
from fairlead.upstream.dns import Address, Lookup, Resolver

_IP = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_THREADS = 4  # that ask for names: clients choose them, and the providers' shall not wait for slow ones
_MOST_QUESTIONS = 256  # under way

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # resolvers read such a name as an IPv4 address

# Where a cloud tells a machine its credentials, if it asks. Nothing that is configured opens them, nor anything else
# that is link-local.
_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # nearly all of them
            "169.254.170.2",  # Amazon's containers
            "fd00:ec2::254",  # Amazon
            "fd00:ec2::23",
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "168.63.129.16",  # Azure's own; public by its number
        ),
    )
)
# What `ipaddress` takes for public, depending on its version, and is not.
# https://www.iana.org/assignments/iana-ipv4-special-registry/ and iana-ipv6-special-registry
_SPECIAL = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "3fff::/20", "100.64.0.0/10"))
)
_UNICAST = IPv6Network("2000::/3")  # all that is given out
_NAT64 = IPv6Network("64:ff9b::/96")


class Guard(Resolver):
    """A resolver that gives public addresses, and those that are `allowed`; for any other it raises ConnectFailed."""

    def __init__(self, *, allowed: Iterable[str] = (), lookup: Lookup | None = None, **facts: Any) -> None:
        """`allowed`: names, addresses and networks of the inside. Raises ValueError if one of them is none."""
        self._threads = ThreadPoolExecutor(_THREADS, "fairlead-names")
        super().__init__(lookup=lookup or partial(_looked_up, self._threads), **facts)
        told = [_allowed(host) for host in allowed]
        self._names = frozenset(host for host in told if isinstance(host, str))
        self._networks = tuple(host for host in told if not isinstance(host, str))

    async def resolve(self, host: str) -> list[Address]:
        """The addresses to try. One that may not be asked makes all of them suspect."""
        if len(self._asking) >= _MOST_QUESTIONS:
            raise ConnectFailed("too many names are being looked up")
        addresses = await super().resolve(host)
        if not all(self._may(host, text) for _, text in addresses):
            raise ConnectFailed("its address is not public")
        return addresses

    def _may(self, host: str, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:  # spelt as only the system's resolver reads it
            return False
        meant = list(_unwrapped(address))
        if any(each in _METADATA or each.is_link_local for each in (address, *meant)):
            return False
        if host in self._names:
            return True
        return all(_is_public(each) or any(each in network for network in self._networks) for each in meant)

    def close(self) -> None:
        super().close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def host_of(text: str, *, bracketed: bool) -> str | None:
    """A URL's host, `bracketed` or not, in the one spelling there is for it; None if it has another.

    A name that resolvers read as a number (`0x7f.1`, `2130706433`, `0177.0.0.1`) is an address in disguise, and a
    name that ends in a dot is another name for the same host.
    """
    try:
        if bracketed:
            return str(IPv6Address(text))
        if _NUMBER.fullmatch(text):
            return str(IPv4Address(text))
    except ValueError:
        return None
    return text if _NAME.fullmatch(text) else None


def is_allowable(host: str) -> bool:
    """Whether `host` may stand in `allowed`."""
    try:
        _allowed(host)
    except ValueError:
        return False
    return True


def _allowed(host: str) -> "str | _Network":
    try:
        return ip_network(host)
    except ValueError:
        name = host_of(host.lower(), bracketed=False)
        if name is None:
            raise
        return name


async def _looked_up(threads: ThreadPoolExecutor, host: str) -> list[Address]:
    """What the system's resolver says. Raises OSError."""
    asking = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(threads, asking)
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _unwrapped(address: _IP) -> Iterator[_IP]:
    """The addresses that a packet to `address` may come to: IPv6 carries IPv4 in several ways."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address in _NAT64:  # https://www.rfc-editor.org/rfc/rfc6052
            yield IPv4Address(int(address) & 0xFFFFFFFF)
            return
        if address.sixtofour is not None:
            yield address.sixtofour
    yield address


def _is_public(address: _IP) -> bool:
    if isinstance(address, IPv6Address) and (address not in _UNICAST or address.scope_id is not None):
        return False
    if not address.is_global or address.is_multicast or address.is_reserved or address in _METADATA:
        return False
    return not any(address in network for network in _SPECIAL)
