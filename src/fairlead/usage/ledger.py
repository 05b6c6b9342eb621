"""The ledger: what is about to be used and what was used, written down in the journal before anybody can lose it.

`intend` is written before the first byte goes upstream, `settle` and `record` before the last byte goes to the client;
in between `progress` counts how much of an answer has come. None of them waits. What was intended can always be
settled: if there is no room in the journal just then, it waits in memory.
"""

import logging
from collections import deque
from typing import Literal

from fairlead.call import Attempt, Call
from fairlead.chat import Usage
from fairlead.errors import Unavailable
from fairlead.usage import records
from fairlead.usage.estimates import Estimates
from fairlead.usage.journal import Carried, Full, Journal
from fairlead.usage.segments import INTENT, OPENED, PROGRESS, SETTLED

log = logging.getLogger("fairlead.ledger")

OnFull = Literal["refuse", "drop"]
_MOST_OWED = 100_000  # records


class Ledger:
    """The calls on the path of a call."""

    def __init__(self, journal: Journal, estimates: Estimates, *, on_full: OnFull = "refuse") -> None:
        self.journal, self.estimates, self.on_full = journal, estimates, on_full
        self.dropped = 0  # records that could not be written down
        self.waits = journal.fsync == "always"  # whether anybody has to wait for `durable`
        self._open: dict[str, Call] = {}  # calls that have an intent and no end
        self._owed: deque[bytes] = deque()  # settlements the journal had no room for
        journal.carry = self._carried

    # ---- on the path of a call

    def intend(self, attempt: Attempt) -> int:
        """Something is about to be sent upstream. Raises Unavailable if it cannot be written down."""
        journal = self.journal
        attempt.guess = self.estimates.guess(attempt)
        payload = records.intent(attempt)
        try:
            if self._owed:
                self._pay()
            if journal.spare is None:
                journal.reserve(len(self._open))
            attempt.cell = journal.append(INTENT, payload)
        except Full as full:
            if self.on_full == "drop":
                self.dropped += 1
                return journal.written
            raise Unavailable(
                f"The gateway cannot write down what is used ({full}). Try again shortly.", retry_after=5
            ) from None
        attempt.intent = payload
        self._open[attempt.call.id] = attempt.call
        return journal.written

    def begin(self, attempt: Attempt, usage: Usage | None) -> None:
        """The answer of `attempt` has begun; `usage` as far as it was told."""
        if attempt.cell:
            payload = records.progress(attempt, usage)
            try:
                self.journal.append(PROGRESS, payload)
            except Full:
                return  # it only helps an estimate
            attempt.noted = payload
            self.journal.count(attempt.cell, attempt.content_bytes)

    def progress(self, attempt: Attempt) -> None:
        """More of the answer has come: `attempt.content_bytes` in all."""
        if attempt.cell:
            self.journal.count(attempt.cell, attempt.content_bytes)

    def settle(self, attempt: Attempt) -> int:
        """The attempt has ended, as its outcome says, and its call goes on."""
        self._write(records.settled(attempt, None))
        attempt.cell = 0
        return self.journal.written

    def record(self, call: Call, attempt: Attempt | None = None) -> int:
        """The call has ended, and with it `attempt`, if that is not settled yet."""
        self._write(records.settled(attempt, call))
        self._open.pop(call.id, None)  # not before: it may have to be carried into a new segment
        if attempt is not None:
            attempt.cell = 0
        return self.journal.written

    @property
    def written(self) -> int:
        """How many records there are so far: the number of the last."""
        return self.journal.written

    async def durable(self, number: int) -> None:
        """Wait until everything up to `number` would survive a loss of power. Raises Unavailable."""
        try:
            await self.journal.durable(number)
        except OSError:
            raise Unavailable("The gateway's disk does not take what it is given. Try again shortly.") from None

    # ---- when there is no room

    def _write(self, payload: bytes) -> None:
        try:
            if self._owed:
                self._pay()
            self.journal.append(SETTLED, payload)
        except Full as full:
            if self.on_full == "refuse" and len(self._owed) < _MOST_OWED:
                self._owed.append(payload)
                return
            if not self.dropped:
                log.error("a record is lost: %s", full)
            self.dropped += 1

    def _pay(self) -> None:
        """Write what waits. Raises Full."""
        while self._owed:
            self.journal.append(SETTLED, self._owed[0])
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
            log.error("%d records are lost: the journal has no room", len(self._owed))

    # ---- into the next segment

    def _carried(self) -> Carried:
        """All that is open."""
        for call in self._open.values():
            unsettled = [attempt for attempt in call.attempts if attempt.cell]
            for attempt in unsettled:
                yield INTENT, attempt.intent, attempt
                if attempt.noted:
                    yield PROGRESS, attempt.noted, None
            if not unsettled and call.attempts:
                yield OPENED, call.attempts[-1].intent, None
