"""Where records go: the interface that every reader of the journal satisfies.

A sink gets batches in the order of writing, at least once, with ids that stay the same: `(call_id, attempt)` for an
attempt, `id` for a call. It remembers how far it has come, so that nothing is left out when it comes back.
"""

import select
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from fairlead.usage import records
from fairlead.usage.records import Row
from fairlead.usage.segments import NOWHERE, Position


class Batch:
    """Some attempts and calls, and where the journal goes on behind them.

    Rows are in the order of `records.ATTEMPT_COLUMNS` and `records.CALL_COLUMNS`, without what is left out. They
    are decoded piece by piece as they are used: a thousand rows at once no processor keeps at hand.
    """

    __slots__ = ("_attempts", "_calls", "_decode", "_payloads", "end", "journal")

    def __init__(
        self,
        attempts: Sequence[Row] = (),
        calls: Sequence[Row] = (),
        journal: str = "",
        end: Position = NOWHERE,
        *,
        payloads: Sequence[bytes] = (),
        decode: Callable[[bytes], Sequence[Row | None]] = records.decode,
    ) -> None:
        """Rows, or the `payloads` of settlements as they stand in a journal."""
        self.journal, self.end = journal, end
        self._attempts, self._calls = attempts, calls
        self._payloads, self._decode = payloads, decode

    @property
    def attempts(self) -> Sequence[Row]:
        return self._attempts or [row for attempts, _ in self.pieces() for row in attempts]

    @property
    def calls(self) -> Sequence[Row]:
        return self._calls or [row for _, calls in self.pieces() for row in calls]

    def pieces(self, size: int = 64) -> Iterator[tuple[Sequence[Row], Sequence[Row]]]:
        """Attempts and calls, about `size` at a time. Between two pieces, other threads have their turn."""
        if not self._payloads:
            yield self._attempts, self._calls
            return
        decode = self._decode
        for begin in range(0, len(self._payloads), size):
            attempts, calls = [], []
            for payload in self._payloads[begin : begin + size]:
                attempt, call = decode(payload)
                if attempt is not None:
                    attempts.append(attempt)
                if call is not None:
                    calls.append(call)
            yield attempts, calls
            select.select((), (), (), 0)  # lets go of the interpreter's lock: the event loop shall not wait for it

    def sample(self, count: int) -> Sequence[Row]:
        """A few of the attempts."""
        if not self._payloads:
            return self._attempts[:: max(len(self._attempts) // count, 1)]
        some = self._payloads[:: max(len(self._payloads) // count, 1)]
        return [attempt for attempt, _ in map(self._decode, some) if attempt is not None]

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._payloads) or max(len(self._attempts), len(self._calls))


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
