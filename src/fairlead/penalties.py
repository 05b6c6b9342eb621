"""Addresses that send wrong keys: after a few they have to wait, each time twice as long.

Who waits is not looked up in the database. Keys that are known are taken all the same: others behind the same address
have done nothing wrong.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_FIRST_SECONDS, _LONGEST_SECONDS = 1.0, 300.0
_FORGOTTEN_SECONDS = 900.0  # without a wrong key
_MOST = 10_000  # addresses


class Penalties:
    """How many wrong keys came from where; of an IPv6 address counts its /64, which is one customer's."""

    def __init__(self, free: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`free`: wrong keys that cost nothing."""
        self._free, self._clock = free, clock
        self._wrong: OrderedDict[str, tuple[int, float, float]] = OrderedDict()  # → how many, the last one, wait until

    def wait(self, address: str) -> float:
        """Seconds that `address` has still to wait; 0: none."""
        if not self._wrong:
            return 0.0
        found = self._wrong.get(_place(address))
        return max(found[2] - self._clock(), 0.0) if found is not None else 0.0

    def wrong(self, address: str) -> None:
        """A wrong key came from `address`."""
        place, now = _place(address), self._clock()
        count, last, _ = self._wrong.pop(place, (0, now, 0.0))
        if now - last > _FORGOTTEN_SECONDS:
            count = 0
        count += 1
        over = count - self._free
        seconds = min(_FIRST_SECONDS * 2 ** min(over, 20), _LONGEST_SECONDS) if over >= 0 else 0.0
        if len(self._wrong) >= _MOST:
            self._wrong.popitem(last=False)
        self._wrong[place] = count, now, now + seconds


def _place(address: str) -> str:
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False).network_address)
