"""What the machine gives: Python, files that may be open, connections that may wait, memory."""

import platform
import resource
from collections.abc import Iterator
from pathlib import Path

from fairlead import __version__
from fairlead.cli.doctor import Finding, interpreter, size

_FEW_DESCRIPTORS = 4096  # a call takes two
_BACKLOG = 4096  # what the gateway asks for
_LITTLE_MEMORY = 256 << 20
_NO_LIMIT = 1 << 60  # the first version of cgroups says "none" with a number beyond it
_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def python(version: tuple[int, ...]) -> Finding:
    told = f"Python {platform.python_version()}, Fairlead {__version__}"
    if version < interpreter.OLDEST:
        return Finding("python", "problem", told, f"use Python {'.'.join(map(str, interpreter.OLDEST))} or newer")
    if interpreter.slow_build():
        told += "; built without --enable-optimizations: calls may take less CPU with one that was"
    return Finding("python", "ok", told)


def open_files(soft: int, hard: int) -> Finding:
    """A start raises the soft limit to the hard one."""
    told = {"soft": _limit(soft), "hard": _limit(hard)}
    found = f"{told['hard'] or 'any number'} may be open at once (the soft limit, {soft}, is raised at start)"
    if 0 <= hard < _FEW_DESCRIPTORS and hard != resource.RLIM_INFINITY:
        to_do = f"raise the hard limit, LimitNOFILE= or ulimit -Hn: {hard} are for some {hard // 2} calls at once"
        return Finding("open files", "warning", found, to_do, told)
    return Finding("open files", "ok", found, "", told)


def backlog(file: Path = _SOMAXCONN) -> Finding:
    """How many connections may wait to be accepted; the kernel cuts what a process asks for."""
    try:
        most = int(file.read_text())
    except (OSError, ValueError):
        return Finding("accept backlog", "ok", "not known on this system: it has no net.core.somaxconn")
    found, facts = f"{most} connections may wait to be accepted (net.core.somaxconn)", {"somaxconn": most}
    if most < _BACKLOG:
        to_do = f"sysctl -w net.core.somaxconn={_BACKLOG}: a burst of more is refused or waits a second"
        return Finding("accept backlog", "warning", found, to_do, facts)
    return Finding("accept backlog", "ok", found, "", facts)


def memory(limit: int | None) -> Finding:
    """`limit`: the least that a cgroup of this process may have, in bytes."""
    facts = {"limit_bytes": limit}
    if limit is None:
        return Finding("memory", "ok", "no cgroup limits it", "", facts)
    found = f"{size(limit)} is the limit of the cgroup"
    if limit < _LITTLE_MEMORY:
        to_do = f"give it {size(_LITTLE_MEMORY)} or more, or lower server.max_buffered_bytes: at its limit it is killed"
        return Finding("memory", "warning", found, to_do, facts)
    return Finding("memory", "ok", found, "", facts)


def memory_limit(own: Path = _OWN_GROUPS, groups: Path = _GROUPS) -> int | None:
    """The least of what the cgroups allow that this process is in, in bytes; None without a limit.

    https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
    """
    limits = [limit for file in _limit_files(own, groups) if (limit := _read_limit(file)) is not None]
    return min(limits, default=None)


def _limit_files(own: Path, groups: Path) -> Iterator[Path]:
    """Those of the process's own group and of all above it. Within a container its path may not be there."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        yield from (place / name for place in (group, *group.parents) if place.is_relative_to(root))


def _read_limit(file: Path) -> int | None:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):  # "max"
        return None
    return limit if limit < _NO_LIMIT else None


def _limit(number: int) -> int | None:
    return None if number == resource.RLIM_INFINITY else number
