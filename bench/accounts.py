"""The ledger beside what the clients saw: one row for each call, and what it says."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from crowds import Crowd

_USAGE = {0: (19, 10), 1: (19, 100)}  # what the C provider tells, whole and streamed


@dataclass
class Accounts:
    """What the comparison found."""

    answered: int = 0  # calls whose answer began, each by its id
    calls: int = 0  # rows
    attempts: int = 0
    sends: int = 0  # requests to providers, by those
    lost: list[str] = field(default_factory=list)  # answered, and without a row
    twice: int = 0  # two answers with one id
    unheard: int = 0  # rows of calls whose clients had left before an answer began
    strange: Counter[str] = field(default_factory=Counter)  # a row's outcome is not what the client saw
    wrong_usage: int = 0  # attempts with other usage than the provider told
    orphans: int = 0  # attempts without their call
    letters: int = 0  # records that were refused


def count(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])


def compared(database: Path, crowds: Iterable[Crowd]) -> Accounts:
    found = Accounts()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = dict(connection.execute("SELECT id, outcome FROM calls"))
        found.calls = len(rows)
        found.attempts, found.sends = connection.execute("SELECT count(*), sum(sends) FROM attempts").fetchone()
        found.orphans = connection.execute(
            "SELECT count(*) FROM attempts WHERE call_id NOT IN (SELECT id FROM calls)"
        ).fetchone()[0]
        found.letters = connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0]
        for stream, usage in _USAGE.items():
            found.wrong_usage += connection.execute(
                "SELECT count(*) FROM attempts WHERE outcome = 'ok' AND provider IN ('bench', 'paced') AND stream = ? "
                "AND ((input_tokens, output_tokens) != (?, ?) OR estimated)",
                (stream, *usage),
            ).fetchone()[0]
    seen: set[str] = set()
    for crowd in crowds:
        outcomes = {kind.name: kind.outcome for kind in crowd.kinds}
        with open(crowd.ids, encoding="utf-8") as lines:
            for line in lines:
                id, name, how = line.rstrip("\n").split("\t")
                found.answered += 1
                found.twice += id in seen
                seen.add(id)
                outcome = rows.get(id)
                if outcome is None:
                    found.lost.append(f"{id} ({crowd.name}: {name}, {how})")
                elif how == "whole" and outcome != outcomes[name]:
                    found.strange[f"{crowd.name}: {name}: {outcome}"] += 1
    found.unheard = len(rows.keys() - seen)
    return found
