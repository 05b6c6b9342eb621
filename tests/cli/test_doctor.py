"""`fairlead doctor`: what it finds in folders that are well and in others, and that it changes nothing there."""

import asyncio
import errno
import fcntl
import json
import os
import re
import resource
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from examined import HERE, findings, ran, states
from fairlead.cli import doctor
from fairlead.cli.doctor import command  # noqa: F401  # and with it all checks
from fairlead.cli.doctor.folder import Mount
from fairlead.settings import Journal
from fairlead.storage import inspection as databases
from fairlead.storage import migrate
from fairlead.storage.deadletters import DeadLetters
from fairlead.storage.engine import open_database
from fairlead.usage import inspection as journals
from fairlead.usage import segments
from fairlead.usage.records import CALL_COLUMNS
from fairlead.usage.segments import Position
from fairlead.usage.sinks import Refused
from gateway import KEY, gateway, process, raw, request, rows, split

CHAT = json.dumps({"model": "sim/echo", "messages": [{"role": "user", "content": "hi"}]}).encode()


@contextmanager
def mounted(folder: Path, options: str = "mode=0700,size=1m") -> Iterator[None]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
    if done.returncode:
        pytest.skip("not on this machine: mounts")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder that this user cannot write in; root needs a file system for it."""
    if os.geteuid() == 0:
        with mounted(folder, "ro"):
            yield folder
    else:
        folder.mkdir(mode=0o500)
        yield folder


def everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Each file and folder, so that a change is seen."""
    return {
        str(path): (told.st_ino, told.st_mode, 0 if path.is_dir() else told.st_size)
        for path in sorted(folder.rglob("*"))
        for told in [path.lstat()]
    }


def ask(url: str) -> str:
    """The id of a call that was answered."""
    asked = urllib.request.Request(
        f"{url}/v1/chat/completions", CHAT, {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(answer.headers["x-request-id"])


@pytest.fixture
async def stopped(tmp_path: Path) -> Path:
    """Where a gateway ran, had a call, and stopped as it should."""
    async with gateway(tmp_path, "[journal]\nmax_bytes = 67108864\n[providers.sim]\n") as started:
        assert split(await raw(started.port, request("/v1/chat/completions", CHAT)))[0] == 200
    return tmp_path


# ---- all of it


def test_a_folder_that_is_not_there_is_well_and_is_not_made(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert states(found).keys() <= {*HERE, "room", "providers"}
    assert "is not there yet" in found["state folder"]["found"]
    assert "is not there yet" in found["database"]["found"]
    assert found["journal"]["found"] == "there is none yet"
    assert list(tmp_path.iterdir()) == []


async def test_a_healthy_folder_is_well_and_stays_as_it_is(stopped: Path) -> None:
    before = everything(stopped)
    found = await asyncio.to_thread(findings, stopped)
    assert states(found).keys() <= HERE
    assert found["state folder"]["facts"] == {"path": str(stopped / "state"), "uid": os.geteuid(), "mode": "0700"}
    assert found["database"]["facts"]["schema"] == migrate.HEAD
    assert found["newest record"]["found"].startswith("of a call that ended ")
    assert found["dead letters"]["found"] == "none"
    slot = found["journal 0"]
    assert slot["found"] == "no process holds it; 1 segment, 4 MB, 0 bytes not yet in the database"
    assert (slot["facts"]["held"], slot["facts"]["unread"], slot["facts"]["open_calls"]) == (False, 0, 0)
    assert everything(stopped) == before


async def test_for_people_each_finding_is_a_line_and_what_to_do_another(stopped: Path) -> None:
    (stopped / "state").chmod(0o755)
    done = await asyncio.to_thread(ran, stopped)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if "state folder" in line)
    assert re.fullmatch(r"warning +state folder +\S+/state is open to other users \(mode 0755\)", lines[at])
    assert lines[at + 1].strip() == f"chmod 700 {stopped / 'state'}"
    assert lines[-1].endswith("1 warning.") or "warnings." in lines[-1]


def test_json_has_one_shape_for_all(tmp_path: Path) -> None:
    told = json.loads(ran(tmp_path, "--json").stdout)
    assert set(told) == {"ok", "checks"}
    for finding in told["checks"]:
        assert set(finding) == {"check", "state", "found", "to_do", "facts"}
        assert finding["state"] in ("ok", "warning", "problem")
        assert finding["found"]
        assert bool(finding["to_do"]) == (finding["state"] != "ok")
        assert "\n" not in finding["found"] + finding["to_do"]
    checks = [finding["check"] for finding in told["checks"]]
    assert len(set(checks)) == len(checks)


def test_a_configuration_with_problems_is_one(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[nonsense]\n[server]\nport = 'x'\n")
    found = findings(tmp_path, exits=1)
    assert states(found) == {"configuration": "problem"}
    assert "fairlead.toml:1" in found["configuration"]["found"]
    assert found["configuration"]["found"].endswith(", and 1 more")
    assert "cannot be read" in ran(tmp_path, "--config", "no.toml").stdout


# ---- the folder


def test_a_file_in_the_place_of_the_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".fairlead").write_text("")
    found = findings(tmp_path, exits=1)
    assert found["state folder"]["state"] == "problem"
    assert found["state folder"]["found"] == f"{tmp_path / '.fairlead'} is no folder"
    assert "database" not in found


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = doctor.folder.state_folder(tmp_path / "file" / "below" / "state")
    assert (found.state, found.found) == (
        "problem", f"{tmp_path}/file/below/state cannot be made: {tmp_path}/file is no folder",
    )  # fmt: skip


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    with read_only(tmp_path / "state") as folder:
        assert doctor.folder.state_folder(folder).state == "problem"
        assert doctor.folder.state_folder(folder / "below").state == "problem"


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: root")
def test_a_folder_of_somebody_else_is_told(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    found = doctor.folder.state_folder(tmp_path)
    assert found.state == "warning"
    assert found.found == f"{tmp_path} belongs to user 12345, and this is user 0"


# ---- the file system

MOUNTS = r"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:25 / /data rw,relatime shared:1 master:2 - nfs4 server:/x rw
29 28 0:26 / /data/deep rw - xfs /dev/vdb rw
30 27 0:27 / /with\040space rw - tmpfs none rw
31 27 0:28 / /twice rw - tmpfs none rw
32 27 0:29 / /twice rw - btrfs /dev/vdc rw
33 27 0:30 / /gr\303\266\303\237e rw - zfs pool rw

nonsense
"""


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/database", "/", "ext4"),
        ("/data", "/data", "nfs4"),
        ("/data/deep/er/still", "/data/deep", "xfs"),
        ("/with space/x", "/with space", "tmpfs"),
        ("/twice/x", "/twice", "btrfs"),
        ("/größe/x", "/größe", "zfs"),
    ],
)
def test_a_path_lies_in_the_longest_mount_and_the_last(path: str, point: str, kind: str) -> None:
    assert doctor.folder.mount_of(Path(path), doctor.folder.mounts(MOUNTS)) == Mount(point, kind)


def test_a_path_that_nothing_is_told_of_is_not_judged() -> None:
    assert doctor.folder.mount_of(Path("/x"), []) is None
    assert doctor.folder.judged(None).state == "ok"


@pytest.mark.parametrize(
    ("point", "kind", "words"),
    [
        ("/run", "tmpfs", "not on a persistent volume"),
        ("/", "ramfs", "not on a persistent volume"),
        ("/", "overlay", "not on a persistent volume"),
        ("/", "aufs", "not on a persistent volume"),
        ("/data", "nfs", "locks and mapped files"),
        ("/data", "nfs4", "locks and mapped files"),
        ("/data", "cifs", "locks and mapped files"),
        ("/data", "fuse.sshfs", "locks and mapped files"),
        ("/", "btrfs", "a full disk can kill"),
        ("/data", "zfs", "a full disk can kill"),
        ("/", "ext4", ""),
        ("/", "xfs", ""),
        ("/volume", "overlay", ""),
        ("/", "fusion", ""),
    ],
)
def test_some_file_systems_are_no_place_for_a_ledger(point: str, kind: str, words: str) -> None:
    found = doctor.folder.judged(Mount(point, kind))
    assert found.state == ("warning" if words else "ok")
    assert words in found.found
    assert found.found.startswith(f"{kind}, mounted at {point}")


def test_a_folder_in_memory_is_told_by_its_links_too_and_so_is_that_it_is_small(tmp_path: Path) -> None:
    with mounted(tmp_path / "memory"):
        (tmp_path / ".fairlead").symlink_to(tmp_path / "memory")
        found = findings(tmp_path, exits=1)
    assert found["file system"]["state"] == "warning"
    assert found["file system"]["facts"] == {"kind": "tmpfs", "mount": str(tmp_path / "memory")}
    assert found["room"]["state"] == "problem"
    assert found["room"]["facts"]["free_bytes"] <= 1 << 20


def test_room_is_what_the_journal_may_still_take() -> None:
    journal = Journal(max_bytes=100 << 20, segment_bytes=4 << 20)
    assert doctor.journal.room(60 << 20, 40 << 20, journal).state == "ok"
    assert doctor.journal.room(59 << 20, 40 << 20, journal).state == "warning"
    assert doctor.journal.room(7 << 20, 99 << 20, journal).state == "problem"


# ---- the rest of what is simple


def test_few_open_files_are_told() -> None:
    assert doctor.machine.open_files(1024, 1048576).state == "ok"
    assert doctor.machine.open_files(1024, resource.RLIM_INFINITY).facts == {"soft": 1024, "hard": None}
    found = doctor.machine.open_files(1024, 1024)
    assert (found.state, found.facts) == ("warning", {"soft": 1024, "hard": 1024})


def test_an_old_python_is_a_problem() -> None:
    assert doctor.machine.python((3, 10)).state == "problem"
    assert doctor.machine.python((3, 11)).state == "ok"


def test_a_journal_that_is_never_flushed_is_told(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text('[journal]\nfsync = "off"\n')
    assert findings(tmp_path)["fsync"]["state"] == "warning"
    assert doctor.journal.fsync(Journal(fsync="always")).state == "ok"


# ---- the journal


def test_a_running_gateway_is_seen_and_goes_on_undisturbed(tmp_path: Path) -> None:
    with process(tmp_path) as (_, url):
        ask(url)
        state = tmp_path / "state"
        slots = sorted((state / "journal").iterdir())
        for _ in range(3):
            found = findings(tmp_path)
            assert found["journal 0"]["facts"]["held"] is True
            assert found["journal 0"]["found"].startswith("a running process holds it; ")
            assert states(found).keys() <= {*HERE, "room"}
        lock = os.open(state / "journal" / "0" / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):  # it is still the gateway's
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)
        assert sorted((state / "journal").iterdir()) == slots
        ask(url)
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            assert answer.status == 200


def test_what_a_process_that_was_killed_left_is_told_and_the_next_start_can_have_it(tmp_path: Path) -> None:
    with process(tmp_path) as (started, url):
        ids = [ask(url) for _ in range(3)]
        started.kill()
        started.wait()
        before = everything(tmp_path)
        found = findings(tmp_path)
    assert found["journal 0"]["facts"]["held"] is False
    assert found["journal 0"]["facts"]["segments"] >= 1
    if found["journal 0"]["facts"]["unread"]:  # else the database had it all already
        assert found["journal 0"]["state"] == "warning"
        assert "keep it" in found["journal 0"]["to_do"]
    assert (
        everything(tmp_path).items()
        >= {path: told for path, told in before.items() if not path.endswith(("-shm", "-wal"))}.items()
    )
    with process(tmp_path):
        until = time.monotonic() + 15
        while not {row["id"] for row in rows(tmp_path / "state" / "fairlead.db", "calls")} >= set(ids):
            assert time.monotonic() < until
            time.sleep(0.02)
        found = findings(tmp_path)
    assert (found["journal 0"]["facts"]["held"], found["journal 0"]["facts"]["unread"]) == (True, 0)
    assert os.listdir(tmp_path / "state" / "journal") == ["0"]


async def test_records_that_are_not_in_the_database_are_counted(stopped: Path) -> None:
    path = stopped / "state" / "fairlead.db"
    folder = stopped / "state" / "journal"
    facts = databases.look(path)
    (slot,) = journals.look(folder, facts.positions)
    assert (slot.unread, slot.open_calls) == (0, 0)
    (slot,) = journals.look(folder, {})
    assert slot.unread is not None
    assert 300 < slot.unread < 3000  # one call: an intent, a settlement
    (journal,) = facts.positions
    (again,) = journals.look(folder, {journal: Position(1, 0)})
    assert again.unread == slot.unread
    (slot,) = journals.look(folder, None)
    assert slot.unread is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM journal_cursors")
        connection.commit()
    found = await asyncio.to_thread(findings, stopped)
    assert found["journal 0"]["state"] == "warning"
    assert found["journal 0"]["facts"]["unread"] == again.unread


def test_a_call_that_was_open_when_its_process_was_killed_is_counted(tmp_path: Path) -> None:
    body = json.dumps({"model": "sim/echo+delay=60", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    slot = tmp_path / "state" / "journal" / "0"
    with process(tmp_path) as (started, url):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(request("/v1/chat/completions", body.encode()))
            until = time.monotonic() + 15
            while segments.INTENT not in [frame.kind for frame in framed(slot)]:
                assert time.monotonic() < until
                time.sleep(0.02)
            started.kill()
            started.wait()
        found = findings(tmp_path)
    assert found["journal 0"]["facts"]["open_calls"] == 1
    assert "1 call that nobody ended" in found["journal 0"]["found"]
    assert found["journal 0"]["state"] == "warning"


def framed(slot: Path) -> Iterator[segments.Frame]:
    for number in segments.numbers(slot):
        data = (slot / segments.file_name(number)).read_bytes()
        yield from segments.frames(data[segments.BEGIN :], segments.BEGIN, segments.read_header(data[:128]).seed)


async def test_damage_that_was_kept_aside_is_told(stopped: Path) -> None:
    slot = stopped / "state" / "journal" / "0"
    (slot / "damaged").mkdir()
    (slot / "damaged" / "000000000001-128").write_bytes(b"x")
    (slot / "000000000009.unreadable").write_bytes(b"y")
    found = await asyncio.to_thread(findings, stopped)
    assert found["damage"]["state"] == "warning"
    assert found["damage"]["facts"] == {
        "damaged": [str(slot / "damaged" / "000000000001-128")],
        "unreadable": [str(slot / "000000000009.unreadable")],
    }


async def test_damage_that_the_next_start_will_find_is_told_and_kept_where_it_is(stopped: Path) -> None:
    slot = stopped / "state" / "journal" / "0"
    (slot / segments.file_name(7)).write_bytes(b"no header" * 100)
    before = everything(stopped)
    found = await asyncio.to_thread(findings, stopped)
    assert found["journal 0"]["state"] == "warning"
    assert "its header is damaged" in found["journal 0"]["found"]
    assert found["journal 0"]["facts"]["segments"] == 2
    assert everything(stopped) == before


async def test_a_journal_of_a_newer_version_is_a_problem(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "VERSION", 0)
    (slot,) = journals.look(stopped / "state" / "journal", {})
    found = doctor.journal.slot(slot, Journal())
    assert found.state == "problem"
    assert "a newer Fairlead wrote it" in found.found


def test_a_slot_that_is_free_and_empty_is_well_and_no_lock_is_made(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "other").mkdir()
    (slot,) = journals.look(tmp_path, {})
    assert (slot.held, slot.segments, slot.bytes, slot.unread, slot.open_calls) == (False, 0, 0, 0, 0)
    assert doctor.journal.slot(slot, Journal()).state == "ok"
    assert list((tmp_path / "0").iterdir()) == []
    assert list(journals.look(tmp_path / "none", {})) == []


def test_two_that_look_do_not_take_each_other_for_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    lock = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    assert not journals.is_held(tmp_path)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert journals.is_held(tmp_path)
    os.close(lock)
    assert not journals.is_held(tmp_path)


def test_a_journal_that_grows_is_told() -> None:
    full = journals.Slot("journal/0", held=True, segments=99, bytes=60 << 20, unread=0, open_calls=None)
    assert doctor.journal.slot(full, Journal(max_bytes=100 << 20)).state == "warning"
    assert doctor.journal.slot(full, Journal(max_bytes=200 << 20)).state == "ok"
    behind = journals.Slot("journal/0", held=True, segments=99, bytes=99 << 20, unread=99 << 20, open_calls=None)
    found = doctor.journal.slot(behind, Journal())
    assert (found.state, "99 MB not yet in the database" in found.found) == ("warning", True)


def test_what_is_much_is_told_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_EXACT", 100_000)
    (tmp_path / "0").mkdir()
    for number in (1, 2):
        path = tmp_path / "0" / segments.file_name(number)
        segments.Segment(path, segments.new_header("ab" * 16, number, 65536)).close()
    assert [slot.unread for slot in journals.look(tmp_path, {"ab" * 16: Position(1, 1000)})] == [130072]
    assert [slot.unread for slot in journals.look(tmp_path, {"ab" * 16: Position(2, 1000)})] == [0]


def test_a_slot_that_cannot_be_read_is_a_problem_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "journal/0/lock")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(journals, "look", denied)
    found = {finding.check: finding for finding in doctor.command.examine(None)}
    assert (found["journal"].state, found["journal"].found) == (
        "problem", "journal/0/lock cannot be read: Permission denied",
    )  # fmt: skip
    assert "room" in found


# ---- the database


def test_dead_letters_are_told(tmp_path: Path) -> None:
    with closing(open_database("sqlite:///fairlead.db", tmp_path / ".fairlead")) as database:
        DeadLetters(database).bury("database", [Refused("no", call=["gen-1", *[1] * (len(CALL_COLUMNS) - 1)])])
        found = findings(tmp_path)  # while somebody has it open
    assert found["dead letters"]["state"] == "warning"
    assert found["dead letters"]["facts"] == {"count": 1}
    assert "fairlead deadletters list" in found["dead letters"]["to_do"]
    assert findings(tmp_path)["dead letters"] == found["dead letters"]


def test_an_older_schema_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / ".fairlead" / "fairlead.db"
    path.parent.mkdir(mode=0o700)
    migrate.to(path, "0001")
    before = path.read_bytes()
    found = findings(tmp_path)
    assert found["database"]["state"] == "warning"
    assert "has schema 0001" in found["database"]["found"]
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["fairlead.db"]


def test_a_newer_schema_is_a_problem(tmp_path: Path) -> None:
    open_database("sqlite:///fairlead.db", tmp_path / ".fairlead").close()
    with closing(sqlite3.connect(tmp_path / ".fairlead" / "fairlead.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert findings(tmp_path, exits=1)["database"]["state"] == "problem"


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".fairlead").mkdir(mode=0o700)
    (tmp_path / ".fairlead" / "fairlead.db").write_bytes(b"this is not a database" * 100)
    found = findings(tmp_path, exits=1)
    assert found["database"]["found"].endswith("cannot be opened: file is not a database")
    assert "dead letters" not in found


def test_an_empty_file_is_a_database_to_be(tmp_path: Path) -> None:
    (tmp_path / ".fairlead").mkdir(mode=0o700)
    (tmp_path / ".fairlead" / "fairlead.db").touch()
    found = findings(tmp_path)
    assert (found["database"]["state"], found["newest record"]["found"]) == ("ok", "none yet")


def test_a_database_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "fairlead.toml").write_text(f'[database]\nurl = "sqlite:///{tmp_path}/file/x.db"\n')
    assert findings(tmp_path, exits=1)["database"]["found"].endswith("file is no folder")


def test_the_age_of_the_newest_record_is_told() -> None:
    for us, told in ((0, "0 seconds"), (90_000_000, "90 seconds"), (3_000_000_000, "50 minutes"), (-5, "0 seconds")):
        assert doctor.database.newest(10**15, 10**15 + us).found == f"of a call that ended {told} ago"
    assert "3 days" in doctor.database.newest(0, 3 * 86_400_000_000).found
