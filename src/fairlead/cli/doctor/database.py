"""The database: whether it opens, its schema, what it refused, its newest record."""

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from fairlead.cli.doctor import Finding, counted, existing, not_a_place
from fairlead.storage import inspection as databases
from fairlead.storage import migrate


def examine(path: Path) -> Generator[Finding, None, databases.Facts | None]:
    """All there is to say of the database in `path`; gives what is in it, if it can be opened."""
    try:
        facts = databases.look(path) if os.path.exists(path) else databases.Facts()
    except (databases.Unreadable, OSError) as error:
        yield _unreadable(path, error)
        return None
    yield from opened(path, facts)
    return facts


def opened(path: Path, facts: databases.Facts) -> Iterator[Finding]:
    """The file, its schema, and what is in it."""
    if not os.path.exists(path):
        parent = existing(path.parent)
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            to_do = "set database.url to a file in a folder that this user may write to"
            yield Finding("database", "problem", f"{path} cannot be made: {parent} is {not_a_place(parent)}", to_do)
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
    found = f"{counted(count, 'record')} that a sink refused"
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


def _age(us: int) -> str:
    seconds = max(us, 0) / 1e6
    for length, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
