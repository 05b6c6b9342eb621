"""The commands, as processes: what they print, and how they exit."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway import environment, free_port

SECRET = "s" * 32


def fairlead(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fairlead", *arguments],
        cwd=folder, env={**environment(), **environ}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def told(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_check_tells_problems_by_line_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[server]\nport = 'x'\n[models.a]\nendpoints = ['nobody/x']\n")
    done = fairlead(tmp_path, "check")
    assert done.returncode == 2
    assert "fairlead.toml:2: server.port: must be 'int'" in done.stderr
    assert "2 problems" in done.stderr
    done = fairlead(tmp_path, "check", "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert [problem["line"] for problem in found["problems"]] == [2, 4]


def test_check_tells_what_is_offered(tmp_path: Path) -> None:
    assert "No provider has a credential" in fairlead(tmp_path, "check").stdout
    offered = told(fairlead(tmp_path, "check", "--json", GROQ_API_KEY="g"))
    assert offered == {"ok": True, "providers": ["groq"], "models": [], "keys": []}


def test_serve_refuses_a_wrong_configuration_with_2(tmp_path: Path) -> None:
    done = fairlead(tmp_path, "serve", FAIRLEAD_SERVER_PORT="none")
    assert done.returncode == 2
    assert "FAIRLEAD_SERVER_PORT" in done.stderr


def test_serve_says_which_port_cannot_be_had(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = fairlead(tmp_path, "serve", "--port", str(port))
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    assert "There are no keys yet" in fairlead(tmp_path, "keys", "list").stdout
    made = told(fairlead(tmp_path, "keys", "create", "ci", "--scope", "inference", "--json"))
    assert made["secret"].startswith("fl-")
    shown = fairlead(tmp_path, "keys", "create", "second").stdout
    assert "shown only now" in shown
    listed = told(fairlead(tmp_path, "keys", "list", "--json"))
    assert [key["name"] for key in listed] == ["ci", "second"]
    assert made["secret"] not in fairlead(tmp_path, "keys", "list").stdout
    assert "Revoked" in fairlead(tmp_path, "keys", "revoke", made["id"]).stdout
    again = fairlead(tmp_path, "keys", "revoke", made["id"], "--json")
    assert (again.returncode, json.loads(again.stdout)) == (1, {"revoked": 0})
    assert "revoked" in fairlead(tmp_path, "keys", "list").stdout


def test_keys_refuse_an_unknown_scope_and_a_wrong_configuration(tmp_path: Path) -> None:
    assert fairlead(tmp_path, "keys", "create", "x", "--scope", "all").returncode == 2
    (tmp_path / "fairlead.toml").write_text("[nonsense]\n")
    assert fairlead(tmp_path, "keys", "list").returncode == 2


def test_version_and_help_are_told(tmp_path: Path) -> None:
    assert re.fullmatch(r"fairlead \d+\.\d+\.\d+\n", fairlead(tmp_path, "version").stdout)
    text = fairlead(tmp_path, "--help").stdout
    assert all(command in text for command in ("serve", "demo", "check", "keys", "simulate", "version"))


def test_the_demo_streams_an_answer_and_leaves(tmp_path: Path) -> None:
    done = fairlead(tmp_path, "demo", "--once", "--port", str(free_port()))
    assert done.returncode == 0, done.stderr
    assert re.search(r"fl-[\w-]{43}", done.stdout)
    assert "every model answers there" in done.stdout.partition("sim/slow")[2]
    assert (tmp_path / ".demo" / "fairlead.db").exists()


def test_the_demo_says_which_port_cannot_be_had(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = fairlead(tmp_path, "demo", "--once", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "PORT=8081" in done.stderr


async def test_the_demo_stays_up_shows_snippets_that_work_and_stops_at_a_signal(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead", "demo", "--port", str(free_port()),
        cwd=tmp_path, env=environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        text = (await process.stdout.readuntil(b"Ctrl-C")).decode()
    python = text.partition("Python, openai\n")[2].partition("\n\n")[0]
    code = "\n".join(line.removeprefix("  ") for line in python.splitlines())
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "hello\n", done.stderr
    anthropic = text.partition("Python, anthropic\n")[2].partition("\n\n")[0]
    code = "\n".join(line.removeprefix("  ") for line in anthropic.splitlines())
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "hello\n", done.stderr
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
