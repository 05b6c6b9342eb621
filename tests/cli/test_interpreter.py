"""Which Python is taken where there are several."""

import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.cli.doctor import interpreter, machine

SHARED = "7f00-7f01 r-xp 00000000 08:01 1 /opt/python/lib/libpython3.11.so.1.0\n"
STATIC = "5500-5501 r-xp 00000000 08:01 1 /usr/bin/python3.11\n"


@pytest.mark.parametrize(
    ("options", "loaded", "slow"),
    [
        ("'--enable-shared' '--prefix=/opt'", SHARED, True),
        ("'--enable-shared' '--enable-optimizations' '--with-lto'", SHARED, False),
        ("'--enable-shared' '--prefix=/usr'", STATIC, False),  # Debian's
        ("", STATIC, False),
    ],
)
def test_a_slow_build_is_a_library_without_optimizations(options: str, loaded: str, slow: bool, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(loaded)
    assert interpreter.slow_build(options, maps) is slow


def test_what_cannot_be_known_is_not_held_against_it(tmp_path: Path) -> None:
    assert not interpreter.slow_build("'--enable-shared'", tmp_path / "none")


def test_the_makefile_asks_it_without_anything_installed() -> None:
    file = Path(interpreter.__file__)
    done = subprocess.run([sys.executable, "-I", file], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (int(interpreter.slow_build()), b"")


@pytest.mark.parametrize("slow", [True, False])
def test_the_doctor_tells(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "slow_build", lambda: slow)
    finding = machine.python(sys.version_info[:2])
    assert finding.state == "ok"
    assert ("without --enable-optimizations" in finding.found) is slow
