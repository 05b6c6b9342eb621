"""Addresses are remembered, kept when the resolver fails, and raced."""

import asyncio
import socket

import pytest

from fairlead.errors import ConnectFailed
from fairlead.upstream.dns import Resolver, race
from fairlead.upstream.pool import Pool
from misbehaving import Misbehaving, asked, asking, ok

V4, V6 = socket.AF_INET, socket.AF_INET6


class Names:
    """A resolver that says what it is told, and counts."""

    def __init__(self, *says):
        self.says, self.asked = list(says), 0

    async def __call__(self, host):
        self.asked += 1
        await asyncio.sleep(0)
        said = self.says[0] if len(self.says) == 1 else self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


async def test_an_answer_is_kept_for_its_time():
    names, now = Names([(V4, "10.0.0.1")], [(V4, "10.0.0.2")]), [0.0]
    resolver = Resolver(lookup=names, clock=lambda: now[0])
    assert await resolver.resolve("a") == await resolver.resolve("a") == [(V4, "10.0.0.1")]
    now[0] = 31
    assert await resolver.resolve("a") == [(V4, "10.0.0.2")]
    assert names.asked == 2


async def test_the_last_good_answer_stays_when_the_resolver_fails():
    names, now = Names([(V4, "10.0.0.1")], OSError("down")), [0.0]
    resolver = Resolver(lookup=names, clock=lambda: now[0])
    await resolver.resolve("a")
    now[0] = 31
    assert await resolver.resolve("a") == [(V4, "10.0.0.1")]


async def test_a_name_nobody_knows_is_a_failed_connection():
    with pytest.raises(ConnectFailed, match="could not be reached"):
        await Resolver(lookup=Names(OSError("no such name"))).resolve("a")


async def test_many_ask_once_and_one_who_leaves_takes_nothing_from_the_others():
    names = Names([(V4, "10.0.0.1")])
    resolver = Resolver(lookup=names)
    tasks = [asyncio.create_task(resolver.resolve("a")) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1:] == [[(V4, "10.0.0.1")]] * 4
    assert names.asked == 1


async def test_families_take_turns_and_literals_need_no_resolver():
    names = Names([(V6, "::1"), (V6, "::2"), (V4, "10.0.0.1"), (V6, "::1")])
    resolver = Resolver(lookup=names)
    assert await resolver.resolve("a") == [(V6, "::1"), (V4, "10.0.0.1"), (V6, "::2")]
    assert await resolver.resolve("127.0.0.1") == [(V4, "127.0.0.1")]
    assert await resolver.resolve("::1") == [(V6, "::1")]
    assert names.asked == 1


async def test_a_silent_address_is_overtaken_and_what_comes_too_late_discarded():
    discarded = []

    async def dial(address):
        if address[1] == "silent":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "late"
        return address[1]

    won = await race([(V6, "silent"), (V4, "quick")], dial, discarded.append, delay_seconds=0.01)
    assert won == "quick"
    for _ in range(3):
        await asyncio.sleep(0)
    assert discarded == ["late"]


async def test_an_address_that_refuses_is_passed_over_at_once():
    names = Names([(V4, "127.0.0.2"), (V4, "127.0.0.1")])
    pool = Pool(resolver=Resolver(lookup=names))
    async with Misbehaving(ok()) as server:
        _, body = await asked(pool, asking(f"http://model.example:{server.port}"))
        assert body == b"hello"
    await pool.aclose()


async def test_when_every_address_fails_the_first_failure_is_told():
    async def dial(address):
        raise OSError(address[1])

    with pytest.raises(OSError, match="one"):
        await race([(V6, "one"), (V4, "two")], dial, lambda _: None, delay_seconds=10)
