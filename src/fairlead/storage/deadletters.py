"""The dead letters: records that a sink refused for good, kept until somebody has them tried again or drops them."""

import logging
import sqlite3
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import bindparam, literal_column, select
from sqlalchemy.dialects.sqlite import insert

from fairlead.storage import tables
from fairlead.storage.engine import Database, compiled
from fairlead.usage.records import ATTEMPT_COLUMNS, CALL_COLUMNS, Row, named
from fairlead.usage.sinks import Batch, Letter, Refused

log = logging.getLogger("fairlead.usage")

_LONGEST_REASON = 500

_letters = tables.dead_letters
_put = insert(_letters)
_BURY, _ORDER = compiled(
    _put.on_conflict_do_update(
        index_elements=[_letters.c.id],
        set_={
            "reason": _put.excluded.reason, "record": _put.excluded.record, "failed_us": _put.excluded.failed_us,
            "tries": _letters.c.tries + literal_column("1"), "wanted": literal_column("0"),
        },
    )
)  # fmt: skip
_WANTED, _ = compiled(
    select(_letters.c.id, _letters.c.record).where(
        _letters.c.sink == bindparam("sink"), _letters.c.wanted == literal_column("1")
    )
)
_OF_SINK = "(?1 IS NULL OR sink = ?1)"  # parameter 1: a sink, or None for all


class DeadLetter(Struct, frozen=True):
    """One of them, as it is listed."""

    id: str
    sink: str
    call_id: str
    reason: str
    record: msgspec.Raw  # {"attempt": {…} or null, "call": {…} or null}
    failed_us: int
    tries: int
    wanted: bool  # a running gateway will try it again


class DeadLetters:
    """All of them, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bury(self, sink: str, refused: Sequence[Refused]) -> None:
        with self._database.writing() as cursor:
            store(cursor, sink, refused)

    def wanted(self, sink: str) -> list[Letter]:
        return [Letter(id, _batch(record)) for id, record in self._database.read(_WANTED, (sink,))]

    def delivered(self, id: str) -> None:
        self._change("DELETE FROM dead_letters WHERE id = ?", (id,))

    def failed(self, id: str, reason: str) -> None:
        self._change(
            "UPDATE dead_letters SET wanted = 0, tries = tries + 1, reason = ?, failed_us = ? WHERE id = ?",
            (reason[:_LONGEST_REASON], time.time_ns() // 1000, id),
        )

    def list(self, sink: str | None = None, *, limit: int | None = None) -> Sequence[DeadLetter]:
        """The oldest first: of all sinks or of one, at most `limit`."""
        columns = ", ".join(column.name for column in _letters.c)
        sql = f"SELECT {columns} FROM dead_letters WHERE {_OF_SINK} ORDER BY failed_us, id LIMIT ?2"
        return [
            DeadLetter(id, sink, call_id, reason, msgspec.Raw(record.encode()), failed_us, tries, bool(wanted))
            for id, sink, call_id, reason, record, failed_us, tries, wanted in self._database.read(
                sql, (sink, -1 if limit is None else limit)
            )
        ]

    def unknown(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of `ids` that there are no letters of."""
        return [id for id in ids if not self._database.read("SELECT 1 FROM dead_letters WHERE id = ?", (id,))]

    def sinks(self) -> Sequence[str]:
        """That refused them."""
        return [sink for (sink,) in self._database.read("SELECT DISTINCT sink FROM dead_letters ORDER BY sink")]

    def retry(self, ids: Sequence[str] | None, *, sink: str | None = None) -> int:
        """Have those with `ids` (None: all, of a sink or of every) tried again by a gateway; how many there are."""
        return self._each("UPDATE dead_letters SET wanted = 1", ids, sink)

    def drop(self, ids: Sequence[str] | None, *, sink: str | None = None) -> int:
        """Delete those with `ids` (None: all, of a sink or of every); how many there were."""
        return self._each("DELETE FROM dead_letters", ids, sink)

    def count(self, sink: str | None = None) -> int:
        return int(self._database.read(f"SELECT count(*) FROM dead_letters WHERE {_OF_SINK}", (sink,))[0][0])

    def _each(self, sql: str, ids: Sequence[str] | None, sink: str | None) -> int:
        if ids is None:
            return self._change(f"{sql} WHERE {_OF_SINK}", (sink,))
        return sum(self._change(f"{sql} WHERE id = ?", (id,)) for id in ids)

    def _change(self, sql: str, parameters: Sequence[object] = ()) -> int:
        with self._database.writing() as cursor:
            return cursor.execute(sql, parameters).rowcount


def store(cursor: sqlite3.Cursor, sink: str, refused: Sequence[Refused]) -> None:
    """Add dead letters in a transaction that is under way. The same record of the same sink is one letter."""
    now = time.time_ns() // 1000
    for each in refused:
        if each.attempt is not None:
            call_id, number = str(each.attempt[0]), f"/{each.attempt[1]}"
        else:
            call_id, number = str((each.call or [""])[0]), ""
        values = {
            "id": f"{sink}:{call_id}{number}", "sink": sink, "call_id": call_id,
            "reason": each.reason[:_LONGEST_REASON], "record": _told(each), "failed_us": now, "tries": 1, "wanted": 0,
        }  # fmt: skip
        cursor.execute(_BURY, [values[name] for name in _ORDER])
    if refused:
        log.error(
            "the sink %s refused %d records: fairlead deadletters list (%s)", sink, len(refused), refused[0].reason
        )


def _told(refused: Refused) -> str:
    attempt = None if refused.attempt is None else dict(zip(ATTEMPT_COLUMNS, refused.attempt, strict=True))
    call = None if refused.call is None else dict(zip(CALL_COLUMNS, refused.call, strict=True))
    return msgspec.json.encode({"attempt": attempt, "call": call}).decode()


def _batch(record: str) -> Batch:
    told = msgspec.json.decode(record)
    attempt, call = told["attempt"], told["call"]
    return Batch(
        [_row(attempt, ATTEMPT_COLUMNS)] if attempt is not None else (),
        [_row(call, CALL_COLUMNS)] if call is not None else (),
    )


def _row(told: dict[str, object], columns: Sequence[str]) -> Row:
    return list(named(tuple(told), tuple(told.values()), columns).values())
