"""Where records go: the interface that every reader of the journal satisfies.

A sink gets batches in the order of writing, at least once, with ids that stay the same: `(call_id, attempt)` for an
attempt, `id` for a call. It remembers how far it has come, so that nothing is left out when it comes back.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from fairlead.usage.records import Row
from fairlead.usage.segments import Position


class Batch(Struct, frozen=True):
    """Rows in the order of `records.ATTEMPT_COLUMNS` and `records.CALL_COLUMNS`, and where the journal goes on."""

    attempts: Sequence[Row] = ()
    calls: Sequence[Row] = ()
    journal: str = ""
    end: Position = Position(0, 0)


class Refused(Struct, frozen=True):
    """A record that a sink can never take: an attempt, or a call."""

    reason: str
    attempt: Row | None = None
    call: Row | None = None


class Sink(Protocol):
    """One reader of the journal. Its methods block, and raise what they raise if nothing of it was done."""

    name: str

    def position(self, journal: str) -> Position | None:
        """How far it has come in `journal`; None: it has not begun."""
        ...

    def write(self, batch: Batch) -> Sequence[Refused]:
        """Take all of `batch` but what it can never take."""
        ...

    def move(self, batch: Batch) -> None:
        """Remember that it has come to the end of `batch`."""
        ...

    def secure(self) -> bool:
        """See to it that what was taken survives a loss of power; False: not yet, ask again."""
        ...

    def forget(self, journal: str) -> None:
        """`journal` is finished and gone."""
        ...

    def close(self) -> None: ...


class Letter(Struct, frozen=True):
    """A dead letter that somebody wants to be tried again."""

    id: str
    batch: Batch


class Letters(Protocol):
    """The dead letters: records that a sink refused, for somebody to look at."""

    def bury(self, sink: str, refused: Sequence[Refused]) -> None: ...

    def wanted(self, sink: str) -> Sequence[Letter]:
        """Those that shall be tried again."""
        ...

    def delivered(self, id: str) -> None: ...

    def failed(self, id: str, reason: str) -> None: ...
