"""`fairlead doctor` for tests: as a process, and what it found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway import environment

HERE = {"file system", "open files", "accept backlog", "memory"}  # as they are on the machine that runs the tests


def ran(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """In `folder`. Where no configuration says which port, it is any: somebody may have the usual one."""
    file = folder / "fairlead.toml"
    port = {} if file.exists() and "port" in file.read_text() else {"FAIRLEAD_SERVER_PORT": "0"}
    return subprocess.run(
        [sys.executable, "-m", "fairlead", "doctor", *arguments],
        cwd=folder, env={**environment(), **port, **environ}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def findings(folder: Path, *arguments: str, exits: int = 0, **environ: str) -> dict[str, Any]:
    """By their checks."""
    done = ran(folder, "--json", *arguments, **environ)
    assert done.returncode == exits, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] == (not exits)
    return {finding["check"]: finding for finding in told["checks"]}


def states(found: dict[str, Any]) -> dict[str, str]:
    """Of those that are not ok."""
    return {check: finding["state"] for check, finding in found.items() if finding["state"] != "ok"}
