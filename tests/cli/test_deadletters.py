"""`fairlead deadletters`: what a sink refused is seen, tried again and dropped, beside a gateway or without one."""

import asyncio
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fairlead.storage.deadletters import DeadLetters
from fairlead.storage.engine import open_database
from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS
from fairlead.usage.sinks import Refused
from gateway import Gateway, environment, gateway, raw, request, split

ATTEMPT = [f"gen-{'1' * 8}" if name == "call_id" else 1 for name in ATTEMPT_COLUMNS]
CALL = ["gen-22222222" if name == "id" else 1 for name in CALL_COLUMNS]
OF_ATTEMPT, OF_CALL, OF_FILE = "database:gen-11111111/1", "database:gen-22222222", "file:gen-22222222"


def deadletters(folder: Path, *arguments: str, stdin: Any = subprocess.DEVNULL) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fairlead", "deadletters", *arguments],
        cwd=folder, env=environment(), stdin=stdin, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@contextmanager
def opened(folder: Path) -> Iterator[DeadLetters]:
    with closing(open_database("sqlite:///fairlead.db", folder / ".fairlead")) as database:
        yield DeadLetters(database)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three letters: an attempt and a call that the database refused, and a call that a sink "file" did."""
    (tmp_path / "fairlead.toml").write_text('[sinks.file]\npath = "lines.jsonl"\n')
    with opened(tmp_path) as letters:
        letters.bury("database", [Refused("CHECK constraint\x1b[2J failed", attempt=ATTEMPT)])
        letters.bury("database", [Refused("no room", call=CALL)])
        letters.bury("file", [Refused("no such file", call=CALL)])
    return tmp_path


def ids(folder: Path) -> list[str]:
    with opened(folder) as letters:
        return [letter.id for letter in letters.list()]


def wanted(folder: Path) -> list[str]:
    with opened(folder) as letters:
        return [letter.id for letter in letters.list() if letter.wanted]


# ---- list


def test_none_is_said(tmp_path: Path) -> None:
    assert deadletters(tmp_path, "list").stdout == "There are no dead letters.\n"
    assert json.loads(deadletters(tmp_path, "list", "--json").stdout) == []
    assert deadletters(tmp_path, "list", "--sink", "x").stdout == "There are no dead letters of the sink 'x'.\n"


def test_a_letter_is_shown_with_where_it_was_for_and_why_it_is_here(folder: Path) -> None:
    with opened(folder) as letters:
        letters.failed(OF_ATTEMPT, "CHECK constraint\x1b[2J failed\nagain")
    deadletters(folder, "retry", OF_ATTEMPT)
    shown = deadletters(folder, "list").stdout
    lines = shown.splitlines()
    assert len(lines) == 9
    at = lines.index(OF_ATTEMPT)
    assert lines[at + 1].startswith("    sink database, call gen-11111111, attempt 1, tried 2 times, since 20")
    assert lines[at + 1].endswith(" UTC, retry wanted")
    assert lines[at + 2] == "    CHECK constraint [2J failed again"
    assert "sink file, call gen-22222222, attempt –, tried 1 time, since" in shown
    assert shown.count("retry wanted") == 1


def test_json_has_the_whole_record(folder: Path) -> None:
    told = {letter["id"]: letter for letter in json.loads(deadletters(folder, "list", "--json").stdout)}
    assert set(told) == {OF_ATTEMPT, OF_CALL, OF_FILE}
    letter = told[OF_ATTEMPT]
    assert letter["record"] == {"attempt": dict(zip(ATTEMPT_COLUMNS, ATTEMPT, strict=True)), "call": None}
    assert (letter["sink"], letter["call_id"], letter["tries"], letter["wanted"]) == (
        "database",
        "gen-11111111",
        1,
        False,
    )
    assert letter["failed_us"] > 1_700_000_000_000_000
    only = json.loads(deadletters(folder, "list", "--sink", "file", "--json").stdout)
    assert [letter["id"] for letter in only] == [OF_FILE]


def test_a_long_list_is_cut_for_people_and_whole_for_programs(tmp_path: Path) -> None:
    with opened(tmp_path) as letters:
        letters.bury("database", [Refused("no", call=[f"gen-{number:08}", *CALL[1:]]) for number in range(230)])
    shown = deadletters(tmp_path, "list").stdout
    assert shown.count("sink database") == 200
    assert shown.endswith("These are the oldest 200 of 230; --json tells all.\n")
    assert len(json.loads(deadletters(tmp_path, "list", "--json").stdout)) == 230


# ---- retry


def test_those_that_are_named_are_marked(folder: Path) -> None:
    done = deadletters(folder, "retry", OF_CALL, OF_FILE)
    assert done.returncode == 0
    assert done.stdout.startswith("Marked: 2 dead letters. A running gateway tries them within seconds")
    assert "the next start does" in done.stdout
    assert sorted(wanted(folder)) == [OF_CALL, OF_FILE]


def test_all_or_all_of_a_sink_are_marked(folder: Path) -> None:
    done = deadletters(folder, "retry", "--all", "--sink", "file", "--json")
    assert json.loads(done.stdout) == {"marked": 1}
    assert wanted(folder) == [OF_FILE]
    assert json.loads(deadletters(folder, "retry", "--all", "--json").stdout) == {"marked": 3}
    assert len(wanted(folder)) == 3
    assert deadletters(folder, "retry", "--all", "--sink", "x").stdout == "There are no dead letters of the sink 'x'.\n"


def test_who_asks_for_a_sink_that_is_no_more_is_told(folder: Path) -> None:
    (folder / "fairlead.toml").write_text("")
    for arguments in (["--all"], [OF_FILE], ["--all", "--sink", "file"]):
        done = deadletters(folder, "retry", *arguments)
        assert done.returncode == 0
        assert "No sink 'file' is configured" in done.stderr
        assert "database" not in done.stderr


@pytest.mark.parametrize("command", [["retry"], ["drop", "--yes"]])
def test_an_unknown_id_is_told_and_nothing_is_changed(folder: Path, command: list[str]) -> None:
    done = deadletters(folder, *command, OF_CALL, "database:gen-x/1")
    assert done.returncode == 1
    assert done.stderr == "There is no dead letter 'database:gen-x/1': see fairlead deadletters list\n"
    assert wanted(folder) == []
    assert len(ids(folder)) == 3


@pytest.mark.parametrize("arguments", [[], ["--sink", "file"], [OF_CALL, "--all"], [OF_CALL, "--sink", "file"]])
@pytest.mark.parametrize("command", ["retry", "drop"])
def test_who_does_not_say_which_is_asked_to(folder: Path, command: str, arguments: list[str]) -> None:
    done = deadletters(folder, command, *arguments)
    assert done.returncode == 2
    assert "--all" in done.stderr
    assert wanted(folder) == []
    assert len(ids(folder)) == 3


# ---- drop


def test_without_a_terminal_nothing_is_dropped_unless_yes_is_said(folder: Path) -> None:
    done = deadletters(folder, "drop", "--all")
    assert done.returncode == 1
    assert done.stderr == "3 dead letters would be lost for good: say --yes if that is meant\n"
    assert len(ids(folder)) == 3
    done = deadletters(folder, "drop", "--all", "--sink", "file", "--yes")
    assert (done.returncode, done.stdout) == (0, "Dropped: 1 dead letter\n")
    assert sorted(ids(folder)) == [OF_ATTEMPT, OF_CALL]
    assert json.loads(deadletters(folder, "drop", OF_CALL, OF_CALL, "--yes", "--json").stdout) == {"dropped": 1}
    assert ids(folder) == [OF_ATTEMPT]
    deadletters(folder, "drop", "--all", "-y")
    assert ids(folder) == []
    assert deadletters(folder, "drop", "--all").stdout == "There are no dead letters.\n"


@pytest.mark.parametrize(("answer", "left"), [("n", 3), ("", 3), ("y", 0)])
def test_on_a_terminal_it_asks(folder: Path, answer: str, left: int) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = deadletters(folder, "drop", "--all", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "3 dead letters will be lost for good. Drop?" in done.stdout
    assert done.returncode == (1 if left else 0)
    assert len(ids(folder)) == left


# ---- with a gateway


async def ask(started: Gateway, text: str) -> str:
    """The id of a call that was answered."""
    body = json.dumps({"model": "sim/echo", "messages": [{"role": "user", "content": text}]}).encode()
    status, headers, _ = split(await raw(started.port, request("/v1/chat/completions", body)))
    assert status == 200
    return headers["x-request-id"]


def execute(database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(sql)
        connection.commit()


REFUSES = "CREATE TRIGGER refuses BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'not this one'); END"


async def test_what_the_database_refused_arrives_when_it_is_tried_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as started:
        database = started.house.database.path
        config = ["--config", str(started.config)]
        execute(database, REFUSES)
        id = await ask(started, "refused")
        assert await started.rows("attempts") == []
        (letter,) = json.loads((await ran(tmp_path, "list", "--json", *config)).stdout)
        assert (letter["id"], letter["reason"], letter["wanted"]) == (f"database:{id}/1", "not this one", False)
        assert letter["record"]["attempt"]["model"] == "echo"

        assert (await ran(tmp_path, "retry", "--all", *config)).returncode == 0
        await gone(started, tries=1)  # tried, and refused again
        (letter,) = json.loads((await ran(tmp_path, "list", "--json", *config)).stdout)
        assert (letter["tries"], letter["wanted"]) == (2, False)

        execute(database, "DROP TRIGGER refuses")
        done = await ran(tmp_path, "retry", "--all", *config)
        assert done.stdout.startswith("Marked: 1 dead letter.")
        await gone(started, tries=2)
        assert [(row["call_id"], row["model"]) for row in await started.rows("attempts")] == [(id, "echo")]
        assert (await ran(tmp_path, "list", *config)).stdout == "There are no dead letters.\n"


async def test_what_is_marked_while_no_gateway_runs_is_tried_by_the_next_start(tmp_path: Path) -> None:
    async with gateway(tmp_path) as started:
        database = started.house.database.path
        execute(database, REFUSES)
        id = await ask(started, "refused")
        assert await started.rows("attempts") == []
        assert [letter.id for letter in started.house.letters.list()] == [f"database:{id}/1"]
    execute(database, "DROP TRIGGER refuses")
    config = ["--config", str(started.config)]
    assert (await ran(tmp_path, "retry", f"database:{id}/1", *config)).returncode == 0
    async with gateway(tmp_path) as started:
        await gone(started, tries=1)
        assert [row["call_id"] for row in await started.rows("attempts")] == [id]


async def ran(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(deadletters, folder, *arguments)


async def gone(started: Gateway, tries: int) -> None:
    """Wait until there is no letter that was tried that often."""
    async with asyncio.timeout(15):
        while any(letter.tries == tries for letter in started.house.letters.list()):  # noqa: ASYNC110  # by a thread
            await asyncio.sleep(0.02)
