"""`fairlead doctor`: what is wrong with where a gateway runs, and what to do about it. It changes nothing.

This version looks at what the ledger needs: the state folder, what lies under it, the journals, the database.
"""

import io
import os
import platform
import re
import resource
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from msgspec import Struct

from fairlead import __version__
from fairlead.config import InvalidConfigs
from fairlead.config.file import load, located
from fairlead.settings import Journal, Settings
from fairlead.storage import inspection as databases
from fairlead.storage import migrate
from fairlead.usage import inspection as journals

State = Literal["ok", "warning", "problem"]

_OLDEST_PYTHON = (3, 11)
_FEW_DESCRIPTORS = 4096  # a call takes two
_FAR_BEHIND = 64 << 20  # bytes that a database which keeps up never has before it
_MOUNTS = Path("/proc/self/mountinfo")
_PASSING = ("tmpfs", "ramfs", "aufs")
_DISTANT = re.compile(r"nfs\d*|cifs|smb\d?|smbfs|9p|fuse|fuseblk|fuse\..*")
_COPYING = ("btrfs", "zfs", "bcachefs")


class Finding(Struct, frozen=True):
    """What one check found, in a line, and in another what to do about it."""

    check: str
    state: State
    found: str
    to_do: str = ""
    facts: dict[str, Any] = {}  # for programs


def command(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Default: ./fairlead.toml, if there.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Tell it as JSON.")] = False,
) -> None:
    """Look for what is wrong: folder, disk, journal, database. Exits with 1 if there is a problem."""
    findings = [_plain(finding) for finding in examine(config)]
    ok = all(finding.state != "problem" for finding in findings)
    if json:
        print(msgspec.json.encode({"ok": ok, "checks": findings}).decode())
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        print(_shown(findings))
    if not ok:
        raise typer.Exit(1)


def examine(config: Path | None) -> Iterator[Finding]:
    """All checks, as far as those before allow them."""
    yield python(sys.version_info[:2])
    yield open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    try:
        settings = load(config, os.environ).settings
    except InvalidConfigs as problems:
        yield configuration(config, problems)
        return
    yield configuration(config, None)
    yield fsync(settings.journal)
    folder = Path(settings.server.state_dir).absolute()
    state = state_folder(folder)
    yield state
    if state.state == "problem":
        return
    yield file_system(folder)
    path = folder / settings.database.url.removeprefix("sqlite:///")
    facts: databases.Facts | None = None
    try:
        facts = databases.look(path) if os.path.exists(path) else databases.Facts()
        yield from database(path, facts)
    except (databases.Unreadable, OSError) as error:
        yield _unreadable(path, error)
    yield from _journals(folder, settings, facts)


# ---- the checks


def python(version: tuple[int, ...]) -> Finding:
    told = f"Python {platform.python_version()}, Fairlead {__version__}"
    if version < _OLDEST_PYTHON:
        return Finding("python", "problem", told, f"use Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer")
    return Finding("python", "ok", told)


def open_files(soft: int, hard: int) -> Finding:
    """A start raises the soft limit to the hard one."""
    told = {"soft": _limit(soft), "hard": _limit(hard)}
    found = f"{told['hard'] or 'any number'} may be open at once (the soft limit, {soft}, is raised at start)"
    if 0 <= hard < _FEW_DESCRIPTORS and hard != resource.RLIM_INFINITY:
        to_do = f"raise the hard limit, LimitNOFILE= or ulimit -Hn: {hard} are for some {hard // 2} calls at once"
        return Finding("open files", "warning", found, to_do, told)
    return Finding("open files", "ok", found, "", told)


def configuration(config: Path | None, problems: InvalidConfigs | None) -> Finding:
    file = located(config, os.environ)
    if problems is None:
        return Finding("configuration", "ok", f"{file or 'no file'}: no problems")
    first, *others = problems.problems
    more = f", and {len(others)} more" if others else ""
    return Finding("configuration", "problem", f"{first}{more}", "mend it; fairlead check tells all")


def fsync(journal: Journal) -> Finding:
    if journal.fsync == "off":
        return Finding(
            "fsync", "warning", 'journal.fsync is "off": a loss of power may cost records of the last half minute',
            'set it to "interval", unless that does not matter; kill -9 costs none either way',
        )  # fmt: skip
    return Finding("fsync", "ok", f'journal.fsync is "{journal.fsync}"')


def state_folder(folder: Path) -> Finding:
    """Whether there is one that only we can use, or one can be made."""
    name, quoted = "state folder", shlex.quote(str(folder))
    if not os.path.exists(folder):  # of one that cannot be asked for: False
        parent = _existing(folder)
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Finding(name, "ok", f"{folder} is not there yet; the first start makes it")
        return Finding(
            name, "problem", f"{folder} cannot be made: {parent} is {_not_a_place(parent)}",
            "set server.state_dir to a folder on a disk that is there to stay",
        )  # fmt: skip
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            name, "problem", f"{folder} is {_not_a_place(folder)}",
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


def room(free: int, held: int, journal: Journal) -> Finding:
    """Whether the journal, which holds `held` bytes, can grow to what it may with `free` bytes."""
    found = f"{_size(free)} free; journal.max_bytes is {_size(journal.max_bytes)}"
    facts = {"free_bytes": free, "journal_bytes": held, "max_bytes": journal.max_bytes}
    if free < 2 * journal.segment_bytes:
        return Finding("room", "problem", f"{found}: no room for the next segments", "make room on that disk", facts)
    if free + held < journal.max_bytes:
        to_do = "make room, or set journal.max_bytes to what there is: what is full sooner is the disk"
        return Finding("room", "warning", found, to_do, facts)
    return Finding("room", "ok", found, "", facts)


def slot(found: journals.Slot, journal: Journal) -> Finding:
    """How one slot of the journal fares."""
    name = f"journal {Path(found.path).name}"
    facts = {field: getattr(found, field) for field in ("path", "held", "segments", "bytes", "unread", "open_calls")}
    who = "a running process holds it" if found.held else "no process holds it"
    what = f"{_counted(found.segments, 'segment')}, {_size(found.bytes)}"
    unread = "" if found.unread is None else f", {_size(found.unread)} not yet in the database"
    calls = f", {_counted(found.open_calls, 'call')} that nobody ended" if found.open_calls else ""
    told = f"{who}; {what}{unread}{calls}"
    if found.trouble and not found.held:
        if "newer" in found.trouble:
            to_do = "start the version that wrote it: this one cannot finish it"
            return Finding(name, "problem", f"{told}; {found.trouble}", to_do, facts)
        to_do = "nothing: the next start keeps that file aside and goes on with the others"
        return Finding(name, "warning", f"{told}; {found.trouble}", to_do, facts)
    if found.bytes > journal.max_bytes // 2:
        to_do = "see what /health and the log say: a sink is slow or away"
        return Finding(name, "warning", f"{told}; at most {_size(journal.max_bytes)} (journal.max_bytes)", to_do, facts)
    if found.held and (found.unread or 0) >= _FAR_BEHIND:
        to_do = "see what /health and the log say: the database is slow or away"
        return Finding(name, "warning", told, to_do, facts)
    if not found.held and (found.unread or found.open_calls):
        to_do = "nothing, but keep it: a running gateway takes it over within seconds, or the next start does"
        return Finding(name, "warning", told, to_do, facts)
    return Finding(name, "ok", told, "", facts)


def damage(slots: Sequence[journals.Slot]) -> Finding:
    """What was no record, and was kept aside."""
    pieces = [str(Path(found.path, "damaged", name)) for found in slots for name in found.damaged]
    files = [str(Path(found.path, name)) for found in slots for name in found.unreadable]
    facts = {"damaged": pieces, "unreadable": files}
    if not pieces and not files:
        return Finding("damage", "ok", "none", "", facts)
    return Finding(
        "damage", "warning",
        f"kept aside: {_counted(len(pieces), 'piece')} that are no records, {_counted(len(files), 'file')} that are no"
        " segments: "
        f"{', '.join([*pieces, *files][:3])}{' …' if len(pieces) + len(files) > 3 else ''}",
        "have the disk and its log looked at; delete them when nobody wants to look into them", facts,
    )  # fmt: skip


def database(path: Path, facts: databases.Facts) -> Iterator[Finding]:
    """The file, its schema, and what is in it."""
    if not os.path.exists(path):
        parent = _existing(path.parent)
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            to_do = "set database.url to a file in a folder that this user may write to"
            yield Finding("database", "problem", f"{path} cannot be made: {parent} is {_not_a_place(parent)}", to_do)
            return
        yield Finding("database", "ok", f"{path} is not there yet; the first start makes it")
        return
    told = {"path": str(path), "schema": facts.revision, "newest": migrate.HEAD}
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        to_do = "let the user that the gateway runs as write to the file and to its folder"
        yield Finding("database", "problem", f"{path} cannot be written by this user", to_do, told)
    elif facts.revision is None:
        yield Finding("database", "ok", f"{path} is empty; the first start makes its tables", "", told)
    elif facts.revision > migrate.HEAD:
        yield Finding(
            "database", "problem", f"{path} has schema {facts.revision}, and this version knows {migrate.HEAD}",
            "use the version that wrote it, or a newer one", told,
        )  # fmt: skip
    elif facts.revision < migrate.HEAD:
        yield Finding(
            "database", "warning", f"{path} has schema {facts.revision}; {migrate.HEAD} is current",
            "nothing: the next start brings it up to date; a copy beforehand does no harm", told,
        )  # fmt: skip
    else:
        yield Finding("database", "ok", f"{path} opens; its schema, {facts.revision}, is current", "", told)
    yield dead_letters(facts.dead_letters)
    yield newest(facts.newest_us, time.time_ns() // 1000)


def dead_letters(count: int) -> Finding:
    if not count:
        return Finding("dead letters", "ok", "none", "", {"count": 0})
    found = f"{_counted(count, 'record')} that a sink refused"
    to_do = "fairlead deadletters list tells why; then retry or drop them"
    return Finding("dead letters", "warning", found, to_do, {"count": count})


def newest(ended_us: int | None, now_us: int) -> Finding:
    facts = {"ended_us": ended_us}
    if ended_us is None:
        return Finding("newest record", "ok", "none yet", "", facts)
    return Finding("newest record", "ok", f"of a call that ended {_age(now_us - ended_us)} ago", "", facts)


def _unreadable(path: Path, error: Exception) -> Finding:
    found = f"{path} cannot be opened: {error}"
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding("database", "problem", found, "let the user that the gateway runs as read and write it")
    to_do = "keep the file, and put a copy that is whole in its place: no gateway starts with this one"
    return Finding("database", "problem", found, to_do)


def _journals(folder: Path, settings: Settings, facts: databases.Facts | None) -> Iterator[Finding]:
    slots: Sequence[journals.Slot] = ()
    try:
        slots = journals.look(folder / "journal", None if facts is None else facts.positions)
    except OSError as error:
        to_do = "let the user that the gateway runs as read and write all that is in the state folder"
        yield Finding("journal", "problem", f"{error.filename} cannot be read: {error.strerror}", to_do)
    else:
        if not slots:
            yield Finding("journal", "ok", "there is none yet")
        for found in slots:
            yield slot(found, settings.journal)
        yield damage(slots)
    told = os.statvfs(_existing(folder))
    yield room(told.f_bavail * told.f_frsize, sum(found.bytes for found in slots), settings.journal)


# ---- for people


def _shown(findings: Sequence[Finding]) -> str:
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:8} {finding.check:{width}}  {finding.found}")
        if finding.to_do:
            lines.append(f"{'':{width + 9}}  {finding.to_do}")
    counts = {state: sum(finding.state == state for finding in findings) for state in ("problem", "warning")}
    told = [_counted(count, state) for state, count in counts.items() if count]
    return "\n".join([*lines, "", f"{', '.join(told) or 'Nothing is wrong'}."])


def _plain(finding: Finding) -> Finding:
    """Each text in one line, of what can be printed: a path may be any bytes."""
    found, to_do = (
        "".join(character if character.isprintable() else "?" for character in text)
        for text in (finding.found, finding.to_do)
    )
    facts = {name: _encodable(value) for name, value in finding.facts.items()}
    return msgspec.structs.replace(finding, found=found, to_do=to_do, facts=facts)


def _encodable(value: Any) -> Any:
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _existing(path: Path) -> Path:
    """`path`, or the nearest above it that is there."""
    return next((place for place in (path, *path.parents) if os.path.exists(place)), Path("/"))


def _not_a_place(path: Path) -> str:
    return "not writable by this user" if path.is_dir() else "no folder"


def _limit(number: int) -> int | None:
    return None if number == resource.RLIM_INFINITY else number


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"


def _age(us: int) -> str:
    seconds = max(us, 0) / 1e6
    for length, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
