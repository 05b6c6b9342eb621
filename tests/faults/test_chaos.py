"""The short form of `make chaos`: ten deaths under load, and a ledger that says what was served."""

import random
from pathlib import Path

from chaos import Chaos, Plan, told


async def test_nothing_is_lost_and_nothing_counted_twice_whatever_dies(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    plan = Plan(
        kills=10, rate=150, terminations=2, seconds_locked=2, seconds_away=2, seconds_full=2, life=(0.2, 1.0), seed=seed
    )
    report = await Chaos(tmp_path, plan).run()
    print(told(report))
    assert not report.problems()
    assert report.attempts > 200
    assert report.interrupted
