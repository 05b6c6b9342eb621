"""Reading what was used: sums over attempts, and one call with its attempts.

A call's id begins with its time, and both tables lie in the order of their ids: a span of time is a stretch of the
table, and an attempt belongs to the span in which its call began. Sums are made on a connection of their own, within
a time, so that nobody waits for them and no old state of the database is held for long.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import bindparam, select

from fairlead.errors import InvalidRequest, Unavailable
from fairlead.storage import tables
from fairlead.storage.engine import Database, Row, compiled, connect

log = logging.getLogger("fairlead.usage")

TOKENS = (
    "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "input_image_tokens", "output_image_tokens",
)  # fmt: skip
SUMS = ("calls", "attempts", "failed", "estimated", *TOKENS, "cost_nano_usd", "unpriced")

_DAY_US = 86_400_000_000
_LONGEST_CALL_US = _DAY_US  # between a call's begin, which its id tells, and that of its last attempt
_EPOCH = date(1970, 1, 1).toordinal()
_LARGEST = (1 << 63) - 1
_LARGEST_MS = (1 << 48) - 1  # what twelve hex digits hold
_EVERY_STEPS = 20_000  # of SQLite's machine, between two looks at the clock: about a millisecond

# What can be grouped by, and what it is in the table. A day is counted from the epoch, in UTC.
_GROUPS = {"model": "model", "provider": "provider", "key": "key_id", "day": f"(started_us / {_DAY_US})"}
GROUPS = tuple(_GROUPS)


def _halves(column: str) -> str:
    """Two sums that cannot overflow below 2³¹ rows: `sum` fails beyond 2⁶³, and one provider's nonsense is enough."""
    return f"sum({column} >> 32), sum({column} & 4294967295)"


_COUNTED = (
    "sum(CASE WHEN attempt = 1 THEN 1 ELSE 0 END)",
    "count(*)",
    "sum(CASE WHEN outcome <> 'ok' THEN 1 ELSE 0 END)",
    "sum(CASE WHEN estimated THEN 1 ELSE 0 END)",
    "count(cost_nano_usd)",
)
_AGGREGATES = ", ".join([*_COUNTED, *(_halves(name) for name in (*TOKENS, "cost_nano_usd"))])

_CALL = compiled(select(tables.calls).where(tables.calls.c.id == bindparam("id")))[0]
_ATTEMPTS = compiled(
    select(tables.attempts).where(tables.attempts.c.call_id == bindparam("id")).order_by(tables.attempts.c.attempt)
)[0]
_CALL_COLUMNS = [column.name for column in tables.calls.columns]
_ATTEMPT_COLUMNS = [column.name for column in tables.attempts.columns]


class UsageStore:
    """The tables `calls` and `attempts`, read. Its calls block: the event loop asks from a thread."""

    def __init__(self, database: Database, *, seconds: float = 10.0) -> None:
        """`database` is its own from here on; `seconds`: how long one sum may take."""
        self._database = database
        self._seconds = seconds
        self._closing = threading.Event()

    def summary(
        self,
        from_us: int,
        to_us: int,
        group_by: Sequence[str] = (),
        *,
        key_id: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        limit: int | None = None,
        after: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """What attempts that began in [from_us, to_us) came to: a row a group, ordered by its values.

        A row has the values of `group_by` (of GROUPS) and SUMS; without groups there is one row, whatever there was.
        `model` and `provider` are those of the attempt. `after` has the values of a group: only later ones are told.
        A sum beyond BIGINT is told as the largest one; `cost_nano_usd` is None where nothing had a price.

        Raises InvalidRequest, ValueError (`after` is no group's), Unavailable (it takes too long, or the database
        cannot be read).
        """
        unknown = [name for name in group_by if name not in _GROUPS]
        if unknown:
            known = ", ".join(GROUPS)
            raise InvalidRequest(
                f"Usage cannot be grouped by {unknown[0][:100]!r}; known are {known}.", param="group_by"
            )
        group_by = tuple(dict.fromkeys(group_by))
        where: dict[str, Any] = {
            "call_id >= ?": _first_id(from_us - _LONGEST_CALL_US), "call_id < ?": _first_id(to_us + 999),
            "started_us >= ?": from_us, "started_us < ?": to_us,
        }  # fmt: skip
        for column, wanted in {"key_id": key_id, "model": model, "provider": provider}.items():
            if wanted is not None:
                where[f"{column} = ?"] = wanted
        parameters = list(where.values())
        sql = f"SELECT {_AGGREGATES} FROM attempts WHERE {' AND '.join(where)}"
        if group_by:
            groups = ", ".join(_GROUPS[name] for name in group_by)
            sql = sql.replace("SELECT ", f"SELECT {groups}, ", 1)
            if after is not None:
                sql += f" AND ({groups}) > ({', '.join('?' * len(group_by))})"
                parameters += _stored(group_by, after)
            sql += f" GROUP BY {groups} ORDER BY {groups}"
            if limit is not None:
                sql += " LIMIT ?"
                parameters.append(limit)
        return [_told(group_by, row) for row in self._slowly(sql, parameters)]

    def generation(self, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """The call's row and those of its attempts, by column; None if it is not there. Raises Unavailable."""
        try:
            found = self._database.read(_CALL, (call_id,))
            attempts = self._database.read(_ATTEMPTS, (call_id,)) if found else []
        except sqlite3.Error as error:
            raise _unreadable(error) from None
        if not found:
            return None
        return _by_name(_CALL_COLUMNS, found[0]), [_by_name(_ATTEMPT_COLUMNS, row) for row in attempts]

    def close(self) -> None:
        """End what is being summed, and the connection."""
        self._closing.set()
        self._database.close()

    def _slowly(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """All rows, on a connection of their own that can only read, unless it takes too long."""
        until = time.monotonic() + self._seconds
        try:
            with closing(connect(self._database.path)) as connection:
                connection.execute("PRAGMA query_only = ON")
                connection.set_progress_handler(
                    lambda: self._closing.is_set() or time.monotonic() > until, _EVERY_STEPS
                )
                return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT and not self._closing.is_set():
                raise Unavailable(
                    f"This took longer than {self._seconds:g} s. Ask for a shorter range of time.", retry_after=10
                ) from None
            raise _unreadable(error) from None


def _first_id(us: int) -> str:
    """What no id of a call that began at `us` or later lies before."""
    return f"gen-{min(max(us // 1000, 0), _LARGEST_MS):012x}"


def _stored(group_by: Sequence[str], values: Sequence[str]) -> list[Any]:
    """A group's values, as they are in the table."""
    pairs = list(zip(group_by, values, strict=True))
    return [date.fromisoformat(value).toordinal() - _EPOCH if name == "day" else value for name, value in pairs]


def _told(group_by: Sequence[str], row: Row) -> dict[str, Any]:
    values, counts, halves = row[: len(group_by)], row[len(group_by) :][: len(_COUNTED)], row[-2 * len(TOKENS) - 2 :]
    told: dict[str, Any] = {}
    for name, value in zip(group_by, values, strict=True):
        told[name] = _day(value) if name == "day" else value
    calls, attempts, failed, estimated, priced = (count or 0 for count in counts)
    told |= {"calls": calls, "attempts": attempts, "failed": failed, "estimated": estimated}
    sums = [((high or 0) << 32) + (low or 0) for high, low in zip(halves[::2], halves[1::2], strict=True)]
    *tokens, cost = (min(total, _LARGEST) for total in sums)
    told |= zip(TOKENS, tokens, strict=True)
    return told | {"cost_nano_usd": cost if priced else None, "unpriced": attempts - priced}


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY_US // 1_000_000, UTC).date().isoformat()


def _by_name(columns: Sequence[str], row: Row) -> dict[str, Any]:
    return dict(zip(columns, row, strict=True))


def _unreadable(error: sqlite3.Error) -> Unavailable:
    log.warning("usage cannot be read: %s", error)
    return Unavailable("Usage cannot be read at the moment. Try again shortly.")
