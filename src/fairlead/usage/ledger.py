"""The ledger: what is about to be used and what was used, written down in the journal before anybody can lose it.

`intend` is written before the first byte goes upstream, `settle` and `record` before the last byte goes to the client;
in between whoever relays counts in the journal how much of an answer has come. None of them waits. What was intended
can always be settled: if there is no room in the journal just then, it waits in memory.
"""

import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from fairlead.call import Attempt, Call, Names
from fairlead.chat import Usage
from fairlead.errors import Unavailable
from fairlead.resources import Endpoint, Principal, Route
from fairlead.usage import records
from fairlead.usage.estimates import Estimates, Learned
from fairlead.usage.journal import Carried, Full, Journal
from fairlead.usage.segments import INTENT, OPENED, PROGRESS, SETTLED

if TYPE_CHECKING:
    from fairlead.protocols import Served

log = logging.getLogger("fairlead.ledger")

OnFull = Literal["refuse", "drop"]
_MOST_OWED = 100_000  # records
_REMEMBERED = 10_000  # of who calls and what is called
_Which = tuple[int, int, int, int, str, str, str, bool]


class _Known(Struct, frozen=True):
    """What is the same for many attempts. It is found by identity: who and what it is about live as long as it does."""

    of: tuple[Principal | None, Endpoint, Route | None, "Served"]
    names: Names
    learned: Learned


class _Owed(Struct, frozen=True):
    """A settlement that the journal had no room for, and what stands for it there until it has."""

    payload: bytes
    carried: tuple[tuple[int, bytes, int], ...]  # kind, payload, what it counts


class Ledger:
    """The calls on the path of a call."""

    def __init__(self, journal: Journal, estimates: Estimates, *, on_full: OnFull = "refuse") -> None:
        self.journal, self.estimates, self.on_full = journal, estimates, on_full
        self.dropped = 0  # records that could not be written down
        self.waits = journal.fsync == "always"  # whether anybody has to wait for `durable`
        self._open: dict[str, Call] = {}  # calls that have an intent and no end
        self._known: dict[_Which, _Known] = {}
        self._owed: deque[_Owed] = deque()
        journal.carry, journal.open_calls = self._carried, self._open.__len__

    # ---- on the path of a call

    def intend(self, attempt: Attempt) -> int:
        """Something is about to be sent upstream. Raises Unavailable if it cannot be written down."""
        journal, call, endpoint = self.journal, attempt.call, attempt.endpoint
        envelope = call.envelope
        which = (
            id(call.principal), id(endpoint), id(call.route), id(call.protocol), call.operation, attempt.protocol,
            attempt.credential_id, envelope is not None and envelope.stream,
        )  # fmt: skip
        known = self._known.get(which) or self._know(attempt, which)
        attempt.names, attempt.guess = known.names, known.learned.guess
        payload = records.intent(attempt)
        try:
            if self._owed or journal.spare is None:
                self._pay()
                journal.reserve()
            cell = journal.put(INTENT, payload) or journal.append(INTENT, payload)
        except Full as full:
            return self._refused(full)
        attempt.cell, attempt.intent = cell, payload
        self._open[call.id] = call
        return journal.written if self.waits else 0

    def begin(self, attempt: Attempt, usage: Usage | None) -> None:
        """The answer of `attempt` has begun; `usage` as far as it was told."""
        if attempt.cell:
            payload = records.progress(attempt, usage)
            with suppress(Full):  # it only helps an estimate
                self.journal.append(PROGRESS, payload)
                attempt.noted = payload
                self.journal.count(attempt.cell, attempt.content_bytes)

    def settle(self, attempt: Attempt) -> int:
        """The attempt has ended, as its outcome says, and its call goes on."""
        payload = records.settled(attempt, None)
        try:
            self._pay()
            self.journal.append(SETTLED, payload)
        except Full as full:
            self._owe(payload, [(INTENT, attempt.intent, attempt.content_bytes)], full)
        attempt.cell = 0
        return self.journal.written if self.waits else 0

    def record(self, call: Call, attempt: Attempt | None = None) -> int:
        """The call has ended, and with it `attempt`, if that is not settled yet."""
        payload = records.settled(attempt, call)
        try:
            if self._owed:
                self._pay()
            if not self.journal.put(SETTLED, payload):
                self.journal.append(SETTLED, payload)
        except Full as full:
            self._owe(payload, [(kind, intent, counted) for kind, intent, _, counted in _open_of(call)], full)
        self._open.pop(call.id, None)  # not before: it may have to be carried into a new segment
        if attempt is not None:
            attempt.cell = 0
        return self.journal.written if self.waits else 0

    @property
    def written(self) -> int:
        """How far the journal is written: a number that grows with each record."""
        return self.journal.written

    async def durable(self, number: int) -> None:
        """Wait until everything up to `number` would survive a loss of power. Raises Unavailable."""
        try:
            await self.journal.durable(number)
        except OSError:
            raise Unavailable("The gateway's disk does not take what it is given. Try again shortly.") from None

    def _know(self, attempt: Attempt, which: _Which) -> _Known:
        call, endpoint = attempt.call, attempt.endpoint
        stream = call.envelope is not None and call.envelope.stream
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        learned = self.estimates.of((endpoint.provider.name, endpoint.model, stream))
        known = _Known((call.principal, endpoint, call.route, call.protocol), records.names(attempt), learned)
        self._known[which] = known
        return known

    # ---- when there is no room

    def _refused(self, full: Full) -> int:
        """An intent has no room. Raises Unavailable, unless calls go on without a record."""
        if self.on_full == "refuse":
            raise Unavailable(
                f"The gateway cannot write down what is used ({full}). Try again shortly.", retry_after=5
            ) from None
        if not self.dropped:
            log.error("calls go on without a record: %s", full)
        self.dropped += 1
        return 0

    def _owe(self, payload: bytes, carried: Iterable[tuple[int, bytes, int]], full: Full) -> None:
        if self.on_full == "refuse" and len(self._owed) < _MOST_OWED:
            self._owed.append(_Owed(payload, tuple(each for each in carried if each[1])))
            return
        if not self.dropped:
            log.error("a record is lost: %s", full)
        self.dropped += 1

    def _pay(self) -> None:
        """Write what waits. Raises Full."""
        while self._owed:
            self.journal.append(SETTLED, self._owed[0].payload)
            self._owed.popleft()

    @property
    def owed(self) -> int:
        """Settlements that wait in memory for room in the journal."""
        return len(self._owed)

    def close(self) -> None:
        """Write what waits in memory, if there is room by now."""
        try:
            self._pay()
        except Full:
            log.error("%d records are not settled: the journal has no room; the next start estimates", len(self._owed))

    # ---- into the next segment

    def _carried(self) -> Carried:
        """All that is open, and what stands for settlements that are owed."""
        for call in self._open.values():
            yield from _open_of(call)
        for owed in self._owed:
            for kind, intent, counted in owed.carried:
                yield kind, intent, None, counted


def _open_of(call: Call) -> Carried:
    """What says that `call` is open: its unsettled attempts, else the last it made."""
    written = [attempt for attempt in call.attempts if attempt.intent]
    unsettled = [attempt for attempt in written if attempt.cell]
    for attempt in unsettled:
        yield INTENT, attempt.intent, attempt, attempt.content_bytes
        if attempt.noted:
            yield PROGRESS, attempt.noted, None, 0
    if written and not unsettled:
        yield OPENED, written[-1].intent, None, 0
