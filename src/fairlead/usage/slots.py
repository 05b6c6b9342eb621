"""Who writes where: each process has a slot of its own in the state folder, locked as long as it lives.

    journal/0/lock    held by whoever writes there     journal/0/000000000001.segment …     journal/0/damaged/…

A start takes the first slot that is free, with whatever a process before it left there. Slots that nobody holds and
that still have segments are orphans: any process may take one, and finish what is in it.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fairlead.errors import InvalidConfig
from fairlead.usage import segments

log = logging.getLogger("fairlead.journal")

_MOST = 1000


class Slot:
    """A slot that this process holds."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self._lock = folder, lock

    def release(self) -> None:
        os.close(self._lock)

    def remove(self) -> None:
        """Delete it, but for damage that was kept for somebody to look at, and let go."""
        for path in (*segments.files(self.folder), *self.folder.glob("*.making")):
            path.unlink(missing_ok=True)
        if not any(path.name != "lock" for path in self.folder.iterdir()):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.release()


def take(folder: Path) -> Slot:
    """The first free slot below `folder`, made if need be. Raises InvalidConfig."""
    try:
        for number in range(_MOST):
            slot = _locked(folder / str(number))
            if slot is not None:
                return slot
    except OSError as error:
        raise InvalidConfig(
            f"the journal in {folder} cannot be written ({error.strerror}): it needs a folder on a disk that is there"
            " to stay, with room",
            path="server.state_dir",
        ) from None
    raise InvalidConfig(f"{folder} has {_MOST} slots, all in use", path="server.state_dir")


def orphans(folder: Path) -> Iterator[Slot]:
    """The slots that have segments and no process; each is held from here on."""
    for path in sorted(folder.glob("*")):
        if path.name.isdecimal() and segments.files(path):
            try:
                slot = _locked(path)
            except OSError as error:
                log.error("the slot %s cannot be looked at: %s", path, error.strerror)
                continue
            if slot is not None:
                yield slot


def _locked(folder: Path) -> Slot | None:
    """The slot in `folder`, unless somebody else has it. Raises OSError."""
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        try:
            if os.path.samestat(os.stat(path), os.fstat(lock)):
                return Slot(folder, lock)
        except FileNotFoundError:
            pass  # whoever had it removed it between our two looks
        os.close(lock)
