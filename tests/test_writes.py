"""Writes of one turn of the loop: they leave together, in order, and none is left."""

import asyncio
import random

from fairlead.writes import Writes


class Writer:
    def __init__(self, out: list[int], number: int) -> None:
        self.out, self.number = out, number

    def flush(self) -> None:
        self.out.append(self.number)


async def test_one_that_is_alone_writes_at_once() -> None:
    writes, out = Writes(), []  # type: ignore[var-annotated]
    writes.expect()
    writes.add(Writer(out, 1))
    assert out == [1]
    writes.add(Writer(out, 2))  # nobody expected it
    assert out == [1, 2]


async def test_what_is_expected_together_leaves_together() -> None:
    writes, out = Writes(), []  # type: ignore[var-annotated]
    for _ in range(3):
        writes.expect()
    writes.add(Writer(out, 1))
    writes.add(Writer(out, 2))
    assert out == []
    writes.add(Writer(out, 3))
    assert out == [1, 2, 3]


async def test_who_does_not_come_is_not_waited_for_longer_than_a_turn() -> None:
    writes, out = Writes(), []  # type: ignore[var-annotated]
    for _ in range(3):
        writes.expect()
    writes.add(Writer(out, 1))
    await asyncio.sleep(0)
    assert out == [1]
    writes.add(Writer(out, 2))  # and it is forgotten
    assert out == [1, 2]


async def test_who_writes_at_once_is_not_waited_for() -> None:
    writes, out = Writes(), []  # type: ignore[var-annotated]
    writes.expect()
    writes.expect()
    writes.add(Writer(out, 1))
    writes.skip()
    writes.add(Writer(out, 2))
    assert out == [1, 2]


async def test_many_do_not_wait_for_all() -> None:
    writes, out = Writes(), []  # type: ignore[var-annotated]
    for _ in range(100):
        writes.expect()
    for number in range(40):
        writes.add(Writer(out, number))
    assert out == list(range(32))
    await asyncio.sleep(0)
    assert out == list(range(40))


async def test_whatever_is_expected_all_is_written_in_order() -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    writes, out, number = Writes(), [], 0  # type: ignore[var-annotated]
    for _ in range(2_000):
        match rng.randrange(5):
            case 0:
                writes.expect()
            case 1:
                writes.skip()
            case 2:
                await asyncio.sleep(0)
            case _:
                writes.add(Writer(out, number))
                number += 1
    await asyncio.sleep(0)
    assert out == list(range(number))
