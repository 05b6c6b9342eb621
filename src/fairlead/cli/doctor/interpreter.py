"""How the Python that runs this was built.

It runs as a program, too, of any Python and with nothing installed: the Makefile takes the first that it likes
(`python3.11 -I src/fairlead/cli/doctor/interpreter.py` exits with 0).
"""

import sys
import sysconfig
from pathlib import Path

OLDEST = (3, 11)
_MAPS = Path("/proc/self/maps")


def slow_build(options: str | None = None, maps: Path = _MAPS) -> bool:
    """Whether it lies in a shared library and was built without `--enable-optimizations`, as pyenv does unless told.

    Each of its calls of itself then goes through a table that lets another library step in. Measured in
    docs/decisions/0017. `options`: those that its `configure` was given.
    """
    if options is None:
        options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "--enable-optimizations" not in options and _in_a_library(maps)


def _in_a_library(maps: Path) -> bool:
    """Debian's says of itself that it is, and is not: what is loaded tells."""
    try:
        return "/libpython3" in maps.read_text(errors="replace")
    except OSError:
        return False  # not known


def _makes_environments() -> bool:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(sys.version_info < OLDEST or not _makes_environments() or slow_build())
