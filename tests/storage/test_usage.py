"""Usage, summed and looked up, from rows that were put there by hand."""

import random
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import InvalidRequest, Unavailable
from fairlead.storage import tables
from fairlead.storage.engine import Database, open_database
from fairlead.storage.usage import GROUPS, SUMS, TOKENS, UsageStore

DAY = 86_400_000_000
NOVEMBER_21 = 1_795_219_200_000_000  # 2026-11-21T00:00:00Z
ALWAYS = (0, NOVEMBER_21 * 2)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite:///usage.db", tmp_path)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Iterator[UsageStore]:
    store = UsageStore(Database(database.path))
    yield store
    store.close()


def call_id(started_us: int, number: int = 0) -> str:
    return f"gen-{started_us // 1000:012x}{number:020x}"


def attempt(started_us: int, number: int = 0, **told: Any) -> dict[str, Any]:
    """A row of `attempts`: all that has to be there, and what is told."""
    row: dict[str, Any] = {
        "call_id": call_id(started_us, number), "attempt": 1, "key_id": "key_1", "provider": "lab", "model": "llama",
        "protocol": "openai-chat", "credential_id": "default", "sends": 1, "status": 200, "outcome": "ok",
        "started_us": started_us, "ended_us": started_us + 1000, "estimated": 0,
    }  # fmt: skip
    return {**row, **told}


def call(started_us: int, number: int = 0, **told: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": call_id(started_us, number), "key_id": "key_1", "operation": "chat", "protocol": "openai-chat",
        "model": "fast", "provider": "lab", "upstream_model": "llama", "stream": 1, "status": 200, "outcome": "ok",
        "attempts": 1, "started_us": started_us, "first_content_us": started_us + 500, "ended_us": started_us + 1000,
    }  # fmt: skip
    return {**row, **told}


def put(database: Database, table: str, *rows: dict[str, Any]) -> None:
    for row in rows:
        names = ", ".join(row)
        with database.writing() as cursor:
            cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def some_attempts(database: Database, count: int = 300) -> list[dict[str, Any]]:
    """Random rows over three days; the seed is printed, so that a failure can be had again."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        row = attempt(
            NOVEMBER_21 + chance.randrange(3 * DAY),
            number,
            attempt=chance.choice([1, 1, 1, 2]),
            key_id=chance.choice(["key_1", "key_2", "file:ci"]),
            provider=chance.choice(["lab", "sim", "Lab"]),
            model=chance.choice(["llama", "gpt", "", "模型", "a'b"]),
            outcome=chance.choice(["ok", "ok", "failed", "cancelled", "interrupted"]),
            estimated=chance.randrange(2),
            cost_nano_usd=chance.choice([None, chance.randrange(10**12)]),
            **{name: chance.choice([0, chance.randrange(10**6), chance.randrange(2**40)]) for name in TOKENS},
        )
        rows.append(row)
    put(database, "attempts", *rows)
    return rows


def of_group(row: dict[str, Any], name: str) -> str:
    if name == "day":
        return time.strftime("%Y-%m-%d", time.gmtime(row["started_us"] // 1_000_000))
    return str(row["key_id" if name == "key" else name])


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The same in Python."""
    costs = [row["cost_nano_usd"] for row in rows if row["cost_nano_usd"] is not None]
    return {
        "calls": sum(row["attempt"] == 1 for row in rows),
        "attempts": len(rows),
        "failed": sum(row["outcome"] != "ok" for row in rows),
        "estimated": sum(row["estimated"] for row in rows),
        **{name: sum(row[name] for row in rows) for name in TOKENS},
        "cost_nano_usd": sum(costs) if costs else None,
        "unpriced": len(rows) - len(costs),
    }


@pytest.mark.parametrize(
    "group_by", [names for count in range(len(GROUPS) + 1) for names in permutations(GROUPS, count)], ids=",".join
)
def test_sums_are_those_of_python_whatever_they_are_grouped_by(
    store: UsageStore, database: Database, group_by: tuple[str, ...]
) -> None:
    groups = defaultdict(list)
    for row in some_attempts(database):
        groups[tuple(of_group(row, name) for name in group_by)].append(row)
    wanted = [{**dict(zip(group_by, values, strict=True)), **summed(rows)} for values, rows in sorted(groups.items())]
    assert store.summary(*ALWAYS, group_by) == wanted


@pytest.mark.parametrize("group_by", [("model",), ("day", "provider"), ("key", "day", "model", "provider")])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pages_are_the_same_rows_as_one_large_page(
    store: UsageStore, database: Database, group_by: tuple[str, ...], size: int
) -> None:
    some_attempts(database)
    whole = store.summary(*ALWAYS, group_by)
    pages: list[dict[str, Any]] = []
    after = None
    while page := store.summary(*ALWAYS, group_by, limit=size, after=after):
        assert len(page) <= size
        pages += page
        after = [page[-1][name] for name in group_by]
    assert pages == whole


def test_only_what_is_asked_for_is_summed(store: UsageStore, database: Database) -> None:
    rows = some_attempts(database)
    for wanted in ({"key_id": "key_2"}, {"model": ""}, {"provider": "Lab"}, {"model": "a'b", "key_id": "file:ci"}):
        kept = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
        assert store.summary(*ALWAYS, **wanted) == [summed(kept)]  # type: ignore[arg-type]


def test_a_span_begins_with_its_first_millisecond_and_ends_before_its_last(
    store: UsageStore, database: Database
) -> None:
    begun = [NOVEMBER_21 - 1, NOVEMBER_21, NOVEMBER_21 + DAY - 1, NOVEMBER_21 + DAY]
    put(database, "attempts", *(attempt(us, number) for number, us in enumerate(begun)))

    def calls(from_us: int, to_us: int) -> int:
        return int(store.summary(from_us, to_us)[0]["calls"])

    assert calls(NOVEMBER_21, NOVEMBER_21 + DAY) == 2
    assert calls(0, NOVEMBER_21) == calls(NOVEMBER_21 + DAY, 2**62) == 1
    assert calls(-(2**62), 2**62) == 4  # no year is too far away
    assert calls(NOVEMBER_21, NOVEMBER_21) == calls(2**61, 2**62) == 0


def test_an_attempt_belongs_to_the_span_and_the_day_it_began_in(store: UsageStore, database: Database) -> None:
    late = {**attempt(NOVEMBER_21 - 1, attempt=2), "started_us": NOVEMBER_21 + 5}
    put(database, "attempts", late)
    assert store.summary(NOVEMBER_21 - DAY, NOVEMBER_21, ["day"]) == []
    assert store.summary(NOVEMBER_21, NOVEMBER_21 + DAY, ["day"])[0]["day"] == "2026-11-21"


def test_nothing_is_one_row_of_zeros_and_in_groups_no_row(store: UsageStore) -> None:
    nothing = {**dict.fromkeys(SUMS, 0), "cost_nano_usd": None}
    assert store.summary(*ALWAYS) == [nothing]
    assert store.summary(*ALWAYS, ["model", "day"]) == []


def test_sums_beyond_what_sqlite_adds_up_are_exact_and_beyond_bigint_the_largest(
    store: UsageStore, database: Database
) -> None:
    largest = 2**63 - 1
    rows = [
        attempt(NOVEMBER_21, 1, input_tokens=largest, output_tokens=2**62, cost_nano_usd=largest - 5),
        attempt(NOVEMBER_21, 2, input_tokens=largest, output_tokens=2**62 - 7, cost_nano_usd=3),
    ]
    put(database, "attempts", *rows)
    with pytest.raises(sqlite3.OperationalError, match="overflow"):
        database.read("SELECT sum(input_tokens) FROM attempts")
    [told] = store.summary(*ALWAYS)
    assert told["input_tokens"] == largest
    assert told["output_tokens"] == 2**63 - 7
    assert told["cost_nano_usd"] == largest - 2


def test_a_group_is_unpriced_only_if_nothing_in_it_has_a_price(store: UsageStore, database: Database) -> None:
    put(
        database,
        "attempts",
        attempt(NOVEMBER_21, 1, model="priced", cost_nano_usd=0),
        attempt(NOVEMBER_21, 2, model="priced"),
        attempt(NOVEMBER_21, 3, model="unpriced"),
    )
    told = store.summary(*ALWAYS, ["model"])
    assert [(row["cost_nano_usd"], row["unpriced"]) for row in told] == [(0, 1), (None, 1)]


def test_an_unknown_group_is_refused_with_those_that_are_known(store: UsageStore) -> None:
    with pytest.raises(InvalidRequest, match=r"'colour'; known are model, provider, key, day") as told:
        store.summary(*ALWAYS, ["model", "colour"])
    assert told.value.param == "group_by"


@pytest.mark.parametrize("after", [[], ["a", "b", "c"], ["a", "not a day"]])
def test_a_place_that_is_none_is_refused(store: UsageStore, after: list[str]) -> None:
    with pytest.raises(ValueError):
        store.summary(*ALWAYS, ["model", "day"], after=after)


def test_what_takes_too_long_is_ended_and_says_what_helps(database: Database) -> None:
    put(database, "attempts", *(attempt(NOVEMBER_21, number) for number in range(2_000)))
    hurried = UsageStore(Database(database.path), seconds=-1)
    with pytest.raises(Unavailable, match="shorter range"):
        hurried.summary(*ALWAYS, ["day"])
    hurried.close()


def test_closing_ends_what_is_being_summed(database: Database) -> None:
    put(database, "attempts", *(attempt(NOVEMBER_21, number) for number in range(2_000)))
    store = UsageStore(Database(database.path))
    store.close()
    with pytest.raises(Unavailable):
        store.summary(*ALWAYS, ["day"])


def test_nobody_waits_for_a_sum(store: UsageStore, database: Database) -> None:
    """A reader takes no lock that a writer needs, and neither does a writer for a reader."""
    with database.writing() as cursor:
        cursor.execute("UPDATE key_generation SET generation = 7")
        seen: list[Any] = []
        reading = threading.Thread(target=lambda: seen.extend(store.summary(*ALWAYS)))
        reading.start()
        reading.join(4)  # less than a connection waits for a lock
        assert len(seen) == 1
        assert store.generation("gen-1") is None


def test_a_time_is_found_by_the_primary_key(store: UsageStore, database: Database) -> None:
    plans: list[str] = []
    read = store._slowly

    def explained(sql: str, parameters: Any) -> Any:
        plans.extend(row[3] for row in read("EXPLAIN QUERY PLAN " + sql, parameters))
        return read(sql, parameters)

    store._slowly = explained  # type: ignore[method-assign]
    store.summary(*ALWAYS, ["day"], key_id="key_1", after=["2026-11-21"])
    assert "SEARCH attempts USING PRIMARY KEY (call_id>? AND call_id<?)" in plans


def test_a_generation_is_the_call_with_its_attempts_in_order(store: UsageStore, database: Database) -> None:
    put(database, "calls", call(NOVEMBER_21), call(NOVEMBER_21, 1))
    put(
        database,
        "attempts",
        attempt(NOVEMBER_21, attempt=2, provider="spare"),
        attempt(NOVEMBER_21, attempt=1, outcome="failed"),
        attempt(NOVEMBER_21, 1),
    )
    found = store.generation(call_id(NOVEMBER_21))
    assert found is not None
    told, attempts = found
    assert set(told) == set(tables.calls.columns.keys())
    assert (told["id"], told["model"], told["first_content_us"]) == (call_id(NOVEMBER_21), "fast", NOVEMBER_21 + 500)
    assert [(row["attempt"], row["provider"], row["outcome"]) for row in attempts] == [
        (1, "lab", "failed"),
        (2, "spare", "ok"),
    ]
    assert store.generation("gen-none") is None


def test_a_fault_of_the_database_is_ours_and_tells_nothing_of_the_inside(store: UsageStore, database: Database) -> None:
    database.read("ALTER TABLE attempts RENAME TO away")
    with pytest.raises(Unavailable) as told:
        store.summary(*ALWAYS)
    assert "away" not in str(told.value)
    assert "attempts" not in str(told.value)
    database.read("ALTER TABLE calls RENAME TO gone")
    with pytest.raises(Unavailable):
        store.generation("gen-1")
