"""What processes use: CPU, memory, descriptors, as /proc tells it."""

import os
import time
from pathlib import Path

from machines import Process


def used(process: Process) -> float:
    """CPU seconds so far, user and system, of all threads and child processes."""
    # The sum of utime and stime in /proc/PID/stat, but in ns instead of ticks of 10 ms: clock_getcpuclockid(3).
    return sum(time.clock_gettime((~each << 3) | 2) for each in family(process.pid))


def family(pid: int) -> list[int]:
    """A process and all it started."""
    children = [
        int(child) for told in Path(f"/proc/{pid}/task").glob("*/children") for child in told.read_text().split()
    ]
    return [pid, *(each for child in children for each in family(child))]


def resident(process: Process) -> float:
    """MB of memory, of the process and all it started."""
    return sum(_status(each, "VmRSS") for each in family(process.pid)) / 1024


def anonymous(process: Process) -> float:
    """MB of its memory that belongs to no file."""
    return _status(process.pid, "RssAnon") / 1024


def descriptors(process: Process) -> dict[str, int]:
    """How many files and sockets it has open, by kind."""
    kinds: dict[str, int] = {}
    folder = Path(f"/proc/{process.pid}/fd")
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:  # closed meanwhile
            continue
        kind = target.partition(":")[0] if ":" in target else "file"
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def threads(process: Process) -> int:
    return _status(process.pid, "Threads")


def _status(pid: int, name: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{name}:")[2].split()[0])


def busy() -> float:
    """CPU seconds of the whole machine so far; of a virtual one, also those its host gave to others."""
    user, nice, system, _, _, irq, softirq, stolen, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def settle(process: Process, seconds: float = 8.0) -> bool:
    """Wait until `process` has nothing left to do, for at most `seconds`; False if it still has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        cpu = used(process)
        time.sleep(0.5)
        if used(process) - cpu < 0.01:
            return True
    return False
