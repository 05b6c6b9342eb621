"""`fairlead usage`: a table, a chart, JSON and CSV, of a database with rows put there by hand."""

import csv
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fairlead.storage.engine import open_database
from fairlead.storage.keys import KeyStore
from gateway import environment

DAY = 86_400_000_000
NOVEMBER_21 = 1_795_219_200_000_000
BETWEEN = ("--from", "2026-11-19", "--to", "2026-11-22")


def usage(
    folder: Path, *arguments: str, columns: int = 120, encoding: str = "utf-8"
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fairlead", "usage", *arguments],
        cwd=folder, env={**environment(), "COLUMNS": str(columns), "PYTHONIOENCODING": encoding},
        capture_output=True, text=True, encoding=encoding, timeout=60,
    )  # fmt: skip


def told(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def put(folder: Path, *rows: dict[str, Any]) -> None:
    database = open_database("sqlite:///fairlead.db", folder / ".fairlead")
    for number, row in enumerate(rows):
        whole = {
            "started_us": NOVEMBER_21, "attempt": 1, "key_id": "key_1", "provider": "lab", "model": "llama",
            "protocol": "openai-chat", "credential_id": "default", "sends": 1, "status": 200, "outcome": "ok",
            "estimated": 0, **row,
        }  # fmt: skip
        whole["ended_us"] = whole["started_us"] + 1000
        whole["call_id"] = f"gen-{whole['started_us'] // 1000:012x}{number:020x}"
        with database.writing() as cursor:
            cursor.execute(
                f"INSERT INTO attempts ({', '.join(whole)}) VALUES ({', '.join('?' * len(whole))})",
                list(whole.values()),
            )
    database.close()


def some(folder: Path) -> None:
    put(
        folder,
        {"started_us": NOVEMBER_21 - 2 * DAY, "input_tokens": 1_000_000, "output_tokens": 234_567},
        {"input_tokens": 10, "output_tokens": 20, "model": "gpt", "cost_nano_usd": 1_234_000},
        {"input_tokens": 5, "model": "gpt", "provider": "sim", "outcome": "failed", "estimated": 1},
    )


def test_a_table_has_numbers_to_the_right_with_their_thousands_apart_and_what_had_no_price(tmp_path: Path) -> None:
    some(tmp_path)
    lines = told(usage(tmp_path, *BETWEEN)).splitlines()
    assert lines[0] == "Usage, 2026-11-19 00:00 to 2026-11-22 00:00 UTC"
    assert lines[-2:] == ["", "+ and what had no price"]
    lines = lines[:-2]
    table = [re.split(r"  +", line.strip()) for line in lines[-4:]]
    names = "model calls attempts failed input cached output reasoning estimated unpriced cost"
    assert table == [
        names.split(),
        ["gpt", "2", "2", "1", "15", "0", "20", "0", "1", "1", "$0.001234+"],
        ["llama", "1", "1", "0", "1,000,000", "0", "234,567", "0", "0", "1", "unpriced"],
        ["total", "3", "3", "1", "1,000,015", "0", "234,587", "0", "1", "2", "$0.001234+"],
    ]
    numbers = zip(lines[-4:], [" input", " 15", " 1,000,000", " 1,000,015"], strict=True)
    assert len({line.index(number) + len(number) for line, number in numbers}) == 1


def test_a_chart_shows_each_day_of_the_span(tmp_path: Path) -> None:
    some(tmp_path)
    lines = told(usage(tmp_path, *BETWEEN)).splitlines()
    assert lines[2:9] == [
        "1,234,567 ███",
        "          ███",
        "          ███",
        "          ███",
        "        0 ███",
        "          2026-11-19 …",
        "          tokens a day",
    ]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_narrow_terminal_gets_fewer_columns_and_shorter_bars_and_no_broken_line(tmp_path: Path, columns: int) -> None:
    some(tmp_path)
    lines = told(usage(tmp_path, "--from", "2026-01-01", "--to", "2026-11-22", columns=columns)).splitlines()
    assert max(map(len, lines[1:])) <= columns
    lines = lines[:-2]
    assert "1,000,000" in lines[-2]
    assert lines[-2].rstrip().endswith("unpriced")
    assert ("reasoning" in lines[-4]) is (columns == 200)


def test_without_a_terminal_nothing_is_coloured(tmp_path: Path) -> None:
    some(tmp_path)
    assert "\x1b" not in told(usage(tmp_path, *BETWEEN))


def test_a_terminal_without_blocks_gets_a_chart_of_what_it_has(tmp_path: Path) -> None:
    some(tmp_path)
    put(tmp_path, {"model": "模型", "started_us": NOVEMBER_21 + 5})
    shown = told(usage(tmp_path, *BETWEEN, encoding="ascii"))
    assert "0 ###" in shown
    assert "█" not in shown


def test_a_name_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    put(tmp_path, {"model": "a\x1b[31mb\x07[red]c[/red]"})
    shown = told(usage(tmp_path, *BETWEEN))
    assert "a?[31mb?[red]c[/red]" in shown
    assert "\x1b" not in shown


def test_json_is_what_the_api_says(tmp_path: Path) -> None:
    some(tmp_path)
    found = json.loads(told(usage(tmp_path, *BETWEEN, "--group-by", "day,provider", "--group-by", "model", "--json")))
    assert {name: found[name] for name in ("object", "from", "to", "group_by")} == {
        "object": "list",
        "from": "2026-11-19T00:00:00Z",
        "to": "2026-11-22T00:00:00Z",
        "group_by": ["day", "provider", "model"],
    }
    assert [
        (row["day"], row["provider"], row["model"], row["calls"], row["cost_nano_usd"]) for row in found["data"]
    ] == [
        ("2026-11-19", "lab", "llama", 1, None),
        ("2026-11-21", "lab", "gpt", 1, 1_234_000),
        ("2026-11-21", "sim", "gpt", 1, None),
    ]


def test_csv_has_a_line_a_group_and_nothing_where_there_was_no_price(tmp_path: Path) -> None:
    some(tmp_path)
    put(tmp_path, {"model": 'a,"b"\nc', "started_us": NOVEMBER_21 + 5})
    rows = list(csv.DictReader(io.StringIO(told(usage(tmp_path, *BETWEEN, "--csv")))))
    assert [(row["model"], row["input_tokens"], row["cost_nano_usd"], row["unpriced"]) for row in rows] == [
        ('a,"b"\nc', "0", "", "1"),
        ("gpt", "15", "1234000", "1"),
        ("llama", "1000000", "", "1"),
    ]


def test_keys_are_shown_and_asked_for_by_their_names(tmp_path: Path) -> None:
    database = open_database("sqlite:///fairlead.db", tmp_path / ".fairlead")
    _, key = KeyStore(database).create("ci")
    database.close()
    put(tmp_path, {"key_id": key.id}, {"key_id": "file:boss"})
    lines = told(usage(tmp_path, *BETWEEN, "--group-by", "key")).splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["file:boss", "ci", "total"]
    for name in ("ci", key.id, "file:boss"):
        [row] = json.loads(told(usage(tmp_path, *BETWEEN, "--key", name, "--group-by", "none", "--json")))["data"]
        assert row["calls"] == 1


def test_models_and_providers_can_be_chosen(tmp_path: Path) -> None:
    some(tmp_path)
    found = json.loads(told(usage(tmp_path, *BETWEEN, "--model", "gpt", "--provider", "sim", "--json")))
    assert [row["input_tokens"] for row in found["data"]] == [5]


def test_by_default_it_is_the_last_30_days(tmp_path: Path) -> None:
    now = time.time_ns() // 1000
    put(tmp_path, {"started_us": now - 29 * DAY}, {"started_us": now - 31 * DAY}, {"started_us": now - 3_600_000_000})

    def calls(*arguments: str) -> int:
        found = json.loads(told(usage(tmp_path, *arguments, "--group-by", "none", "--json")))
        return int(found["data"][0]["calls"])

    assert [calls(), calls("--last", "24h"), calls("--last", "40d"), calls("--last", "5m")] == [2, 1, 3, 0]


def test_where_nothing_was_used_it_says_so(tmp_path: Path) -> None:
    assert told(usage(tmp_path, *BETWEEN)) == "Nothing was used, 2026-11-19 00:00 to 2026-11-22 00:00 UTC.\n"
    assert json.loads(told(usage(tmp_path, *BETWEEN, "--json")))["data"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--last", "soon"), "30d, 24h"),
        (("--last", "7d", "--from", "2026-11-21"), "--from and --last"),
        (("--from", "yesterday"), "2026-11-21"),
        (("--from", "2026-11-21", "--to", "2026-11-20"), "--to is before"),
        (("--group-by", "colour"), "model, provider, key, day"),
        (("--json", "--csv"), "--json and --csv"),
    ],
)
def test_what_cannot_be_asked_is_told_with_what_can(tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    done = usage(tmp_path, *arguments)
    assert done.returncode == 2
    assert reason in re.sub(r"\s+[│|]?\s*", " ", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_broken_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    put(tmp_path, {})
    database = open_database("sqlite:///fairlead.db", tmp_path / ".fairlead")
    database.read("ALTER TABLE attempts RENAME TO away")
    database.close()
    done = usage(tmp_path)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
