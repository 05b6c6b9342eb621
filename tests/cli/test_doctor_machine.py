"""`fairlead doctor` on the machine: the accept backlog, and what memory the cgroups leave."""

from pathlib import Path

import pytest

from examined import findings
from fairlead.cli.doctor import machine

MIB = 1 << 20


def test_a_short_accept_backlog_is_told(tmp_path: Path) -> None:
    file = tmp_path / "somaxconn"
    for most, state in ((128, "warning"), (4095, "warning"), (4096, "ok")):
        file.write_text(f"{most}\n")
        found = machine.backlog(file)
        assert (found.state, found.facts) == (state, {"somaxconn": most})
    assert machine.backlog(tmp_path / "absent").state == "ok"


@pytest.mark.parametrize(("limit", "state"), [(None, "ok"), (256 * MIB, "ok"), (255 * MIB, "warning")])
def test_little_memory_is_told(limit: int | None, state: str) -> None:
    found = machine.memory(limit)
    assert (found.state, found.facts) == (state, {"limit_bytes": limit})


def written(root: Path, **limits: str) -> Path:
    """Cgroups below `root`, each with its limit; "a__b" is the one at a/b, "top" the root itself."""
    for name, limit in limits.items():
        place = root if name == "top" else root / name.replace("__", "/")
        place.mkdir(parents=True, exist_ok=True)
        (place / ("memory.limit_in_bytes" if "memory" in root.parts else "memory.max")).write_text(limit + "\n")
    return root


def test_of_all_cgroups_above_a_process_the_least_counts(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/pods/one\n")
    groups = written(tmp_path / "fs", pods=str(512 * MIB), pods__one="max", pods__other=str(MIB))
    assert machine.memory_limit(tmp_path / "own", groups) == 512 * MIB
    written(tmp_path / "fs", pods__one=str(128 * MIB))
    assert machine.memory_limit(tmp_path / "own", groups) == 128 * MIB


def test_in_a_container_the_limit_is_at_the_top(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/../../docker/abc\n")
    assert machine.memory_limit(tmp_path / "own", written(tmp_path / "fs", top=str(200 * MIB))) == 200 * MIB


def test_cgroups_of_the_first_version_have_another_place_and_another_word_for_none(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("12:cpu,cpuacct:/x\n7:memory:/docker/abc\n0::/\n")
    written(tmp_path / "fs" / "memory", top="9223372036854771712", docker="9223372036854771712")
    assert machine.memory_limit(tmp_path / "own", tmp_path / "fs") is None
    written(tmp_path / "fs" / "memory", docker__abc=str(64 * MIB))
    assert machine.memory_limit(tmp_path / "own", tmp_path / "fs") == 64 * MIB


def test_without_cgroups_nothing_is_limited(tmp_path: Path) -> None:
    assert machine.memory_limit(tmp_path / "own", tmp_path / "fs") is None
    (tmp_path / "own").write_text("nonsense\n0::/\n")
    assert machine.memory_limit(tmp_path / "own", tmp_path / "fs") is None


def test_both_are_looked_at(tmp_path: Path) -> None:
    assert {"accept backlog", "memory"} <= findings(tmp_path, "--offline").keys()
