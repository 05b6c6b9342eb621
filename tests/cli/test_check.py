"""What `fairlead check` tells. (tests/cli/test_commands.py runs it as a process.)"""

import json
from pathlib import Path

import pytest

from fairlead.cli import main

SECRET = "a-secret-of-thirty-two-characters"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAIRLEAD_CONFIG", raising=False)
    return tmp_path


def check(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["check", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_a_configuration_without_problems_tells_what_is_offered(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "my.toml").write_text(
        '[providers.groq]\ncredential = "gsk"\n[providers.sim]\n[models.fast]\nendpoints = ["sim/echo"]\n'
        f'[[keys]]\nname = "ci"\nsecret = "{SECRET}"\n'
    )
    assert check("--config", "my.toml") == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines() == [
        "my.toml: no problems",
        "  providers: groq, sim",
        "  models: fast",
        "  keys: ci",
    ]
    assert check("--config", "my.toml", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "ok": True, "providers": ["groq", "sim"], "models": ["fast"], "keys": ["ci"],
    }  # fmt: skip


def test_without_anything_it_says_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    told = capsys.readouterr().out
    assert told.startswith("no file: no problems\n")
    assert "set OPENAI_API_KEY" in told


def test_each_problem_is_a_line_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fairlead.toml").write_text("[server]\nport = 0\nworkers = 2\n[redis]\n")
    assert check() == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "fairlead.toml:4: redis: not in this version: it is one process with its counters in memory, which needs no"
        " Redis",
        "fairlead.toml:3: server.workers: not in this version: it is one process",
        "2 problems; nothing was taken.",
    ]
    assert check("--json") == 2
    first, second = json.loads(capsys.readouterr().out)["problems"]
    assert first["path"] == "redis"
    assert second == {
        "file": "fairlead.toml",
        "line": 3,
        "path": "server.workers",
        "message": "server.workers: not in this version: it is one process",
    }


def test_a_file_that_is_not_there_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--config", "absent.toml") == 2
    assert capsys.readouterr().err.startswith("absent.toml cannot be read: No such file or directory\n1 problem;")


def test_a_variable_is_a_place_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_SERVER_PORT", "http")
    assert check() == 2
    assert capsys.readouterr().err.startswith("environment: FAIRLEAD_SERVER_PORT: must be 'int'")
