"""Where the gateway keeps what it must not lose: the state folder, and the file system under it."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from fairlead.cli.doctor import Finding, existing, not_a_place

_MOUNTS = Path("/proc/self/mountinfo")
_PASSING = ("tmpfs", "ramfs", "aufs")
_DISTANT = re.compile(r"nfs\d*|cifs|smb\d?|smbfs|9p|fuse|fuseblk|fuse\..*")
_COPYING = ("btrfs", "zfs", "bcachefs")


def state_folder(folder: Path) -> Finding:
    """Whether there is one that only we can use, or one can be made."""
    name, quoted = "state folder", shlex.quote(str(folder))
    if not os.path.exists(folder):  # of one that cannot be asked for: False
        parent = existing(folder)
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Finding(name, "ok", f"{folder} is not there yet; the first start makes it")
        return Finding(
            name, "problem", f"{folder} cannot be made: {parent} is {not_a_place(parent)}",
            "set server.state_dir to a folder on a disk that is there to stay",
        )  # fmt: skip
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            name, "problem", f"{folder} is {not_a_place(folder)}",
            "set server.state_dir to a folder that this user may write to, or make this one so",
        )  # fmt: skip
    told = folder.stat()
    mode = told.st_mode & 0o777
    facts = {"path": str(folder), "uid": told.st_uid, "mode": f"{mode:04o}"}
    if told.st_uid != os.geteuid():
        return Finding(
            name, "warning", f"{folder} belongs to user {told.st_uid}, and this is user {os.geteuid()}",
            f"ask as the user that the gateway runs as; if you did, chown {os.geteuid()} {quoted}", facts,
        )  # fmt: skip
    if mode & 0o077:
        return Finding(
            name, "warning", f"{folder} is open to other users (mode {mode:04o})", f"chmod 700 {quoted}", facts
        )
    return Finding(name, "ok", f"{folder} is ours alone", "", facts)


class Mount(Struct, frozen=True):
    point: str
    kind: str  # of file system


def mounts(text: str) -> list[Mount]:
    """What `text` says is mounted, in its order: the format is that of /proc/self/mountinfo.

    https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) > 4 and kinds[0]:
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            found.append(Mount(point.encode("latin-1", "ignore").decode(errors="replace"), kinds[0]))
    return found


def mount_of(path: Path, told: Sequence[Mount]) -> Mount | None:
    """The one that `path`, an absolute one without links, lies in: the longest, and of several the last."""
    found = None
    for mount in told:
        if path.is_relative_to(mount.point) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def file_system(folder: Path) -> Finding:
    """What kind is under `folder`, which need not be there yet."""
    try:
        text = _MOUNTS.read_text(encoding="latin-1")
    except OSError:
        return Finding("file system", "ok", "not known on this system: it has no /proc/self/mountinfo")
    return judged(mount_of(folder.resolve(), mounts(text)))


def judged(mount: Mount | None) -> Finding:
    """What it means for the ledger to be there."""
    if mount is None:
        return Finding("file system", "ok", "not known: nothing is told of what is mounted there")
    kind = mount.kind
    found, facts = f"{kind}, mounted at {mount.point}", {"kind": kind, "mount": mount.point}
    if kind in _PASSING or (kind == "overlay" and mount.point == "/"):
        return Finding(
            "file system", "warning",
            f"{found}: not on a persistent volume: records that are not in the database yet are lost with the"
            " container or the machine",
            "put server.state_dir on a volume", facts,
        )  # fmt: skip
    if _DISTANT.fullmatch(kind):
        return Finding(
            "file system", "warning", f"{found}: locks and mapped files are not safe there",
            "put server.state_dir on a local disk", facts,
        )  # fmt: skip
    if kind in _COPYING:
        return Finding(
            "file system", "warning",
            f"{found}: it copies on writing: to reserve room has no effect, and a full disk can kill the process",
            "keep room free there, or put server.state_dir on ext4 or XFS", facts,
        )  # fmt: skip
    return Finding("file system", "ok", found, "", facts)
