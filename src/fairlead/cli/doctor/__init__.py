"""What a check of `fairlead doctor` gives, and the words that checks share.

    machine       Python, descriptors, backlog, memory
    folder        the state folder, and what lies under it
    journal       what is in it that the database does not have, and its room
    database      its schema, what it refused, its newest record
    listening     the port, and whose it is
    certificate   TLS: certificate and key
    providers     whether each answers, and takes its credential
    clock         whether it is the world's
    command       all of them, in their order

Each file is about one thing, and none but the last knows the others.
"""

import os
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

State = Literal["ok", "warning", "problem"]


class Finding(Struct, frozen=True):
    """What one check found, in a line, and in another what to do about it."""

    check: str
    state: State
    found: str
    to_do: str = ""
    facts: dict[str, Any] = {}  # for programs


def existing(path: Path) -> Path:
    """`path`, or the nearest above it that is there."""
    return next((place for place in (path, *path.parents) if os.path.exists(place)), Path("/"))


def not_a_place(path: Path) -> str:
    return "not writable by this user" if path.is_dir() else "no folder"


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"
