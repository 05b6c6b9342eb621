"""The ledger: one row a call, one usage record an attempt. Nothing here waits; a thread writes what is queued.

`intend` makes room before anything is sent upstream and is refused when there is none; what was intended can always be
settled. Rows are written in batches, by key, so that writing one twice changes nothing. The queue is in memory: what it
holds is lost if the process is killed, and written if it is told to stop.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from fairlead.call import Attempt, Call
from fairlead.errors import Unavailable
from fairlead.usage import estimates

log = logging.getLogger("fairlead.ledger")
Row = tuple[Any, ...]

_EVERY_SECONDS = 0.2  # how long a row waits for others to share its transaction
_LARGEST_BATCH = 2000
_LONGEST_PAUSE = 5.0


class Writer(Protocol):
    """Where rows go. `write` blocks, and raises what it raises if nothing of it was written."""

    def write(self, calls: Sequence[Row], attempts: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class Ledger:
    """Three calls on the path of a call, and a thread behind them."""

    def __init__(self, writer: Writer, *, capacity: int = 100_000) -> None:
        """`capacity`: rows that may wait; calls whose attempts were let in come on top, at most as many again."""
        self.capacity = capacity
        self.dropped = 0  # calls that came to nothing while the queue was full
        self.unwritable = 0  # rows that held what no database takes
        self._writer = writer
        self._queue: deque[tuple[bool, Row]] = deque()  # (it is an attempt, row)
        self._batch: list[tuple[bool, Row]] = []  # being written, or to be tried again
        self._promised = 0  # attempts intended and not settled
        self._number = 0
        self._written = 0
        self._settled = threading.Condition()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Rows that wait to be written, or are promised room."""
        return len(self._queue) + len(self._batch) + self._promised

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    # ---- on the path of a call

    def intend(self, attempt: Attempt) -> int:
        """Something is about to be sent upstream. Raises Unavailable if it could not be written down."""
        if self.waiting + 1 >= self.capacity:
            raise Unavailable("The gateway cannot write down what is used. Try again shortly.", retry_after=5)
        self._promised += 1
        return self._number

    def settle(self, attempt: Attempt) -> int:
        """The attempt has ended, as its outcome says."""
        self._promised -= 1
        return self._put(True, _attempt_row(attempt))

    def record(self, call: Call) -> int:
        """The call has ended. A call that came to no attempt is not worth memory that attempts need."""
        if not call.attempts and self.waiting >= self.capacity:
            self.dropped += 1
            return self._number
        return self._put(False, _call_row(call))

    def _put(self, attempt: bool, row: Row) -> int:
        self._queue.append((attempt, row))
        self._number += 1
        return self._number

    # ---- behind it

    async def flush(self) -> None:
        """Wait until all that is queued now is written."""
        await asyncio.to_thread(self._flushed, self._number, None)

    async def aclose(self, *, seconds: float = 10.0) -> None:
        """Write what is queued, for at most `seconds`, and stop."""
        if self._thread is None:
            return
        written = await asyncio.to_thread(self._flushed, self._number, seconds)
        if not written:
            log.error("%d records could not be written before the end", self.waiting)
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, seconds)
        if not self._thread.is_alive():  # else it still holds the writer, and ends with the process
            self._writer.close()
        self._thread = None

    def _flushed(self, number: int, seconds: float | None) -> bool:
        self._wake.set()
        with self._settled:
            return self._settled.wait_for(lambda: self._written >= number, seconds)

    def _run(self) -> None:
        pause = _EVERY_SECONDS
        while not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            pause = self._write_all(pause)

    def _write_all(self, pause: float) -> float:
        """Write batch after batch; how long to wait before the next look."""
        batch = self._batch
        while batch or self._queue:
            while self._queue and len(batch) < _LARGEST_BATCH:
                batch.append(self._queue.popleft())
            try:
                self._write(batch)
            except Exception as error:
                if pause <= _EVERY_SECONDS:
                    log.error("records cannot be written and wait in memory: %s", error)
                return min(pause * 2, _LONGEST_PAUSE)
            with self._settled:
                self._written += len(batch)
                batch.clear()
                self._settled.notify_all()
        return _EVERY_SECONDS

    def _write(self, batch: Sequence[tuple[bool, Row]]) -> None:
        """Write all of `batch`, but for rows that no database could hold: they would keep the others for ever."""
        try:
            self._writer.write(list(_rows(batch, False)), list(_rows(batch, True)))
        except (ArithmeticError, ValueError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._write(batch[:middle])
                self._write(batch[middle:])
                return
            self.unwritable += 1
            log.error("a record of %s cannot be written and is left out: %s", batch[0][1][0], error)


def _rows(batch: Iterable[tuple[bool, Row]], attempts: bool) -> Iterable[Row]:
    return (row for is_attempt, row in batch if is_attempt is attempts)


# The order of values in the rows; `storage/records.py` writes them by these names.
CALL_COLUMNS = (
    "id", "organization_id", "team_id", "environment_id", "user_id", "key_id", "operation", "protocol", "model",
    "provider", "upstream_model", "stream", "status", "outcome", "error_code", "attempts", "started_us",
    "first_content_us", "ended_us",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "call_id", "attempt", "organization_id", "team_id", "environment_id", "user_id", "key_id", "provider", "model",
    "protocol", "credential_id", "sends", "status", "outcome", "error_code", "finish_reason", "upstream_id",
    "upstream_model", "upstream_request_id", "started_us", "first_content_us", "ended_us", "input_tokens",
    "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens",
    "input_audio_tokens", "output_audio_tokens", "estimated", "cost_nano_usd",
)  # fmt: skip


def _owners(call: Call) -> Row:
    principal = call.principal
    assert principal is not None
    return (
        principal.organization_id, principal.team_id, principal.environment_id, principal.user_id, principal.key_id,
    )  # fmt: skip


def _call_row(call: Call) -> Row:
    winner, envelope = call.winner, call.envelope
    return (
        call.id,
        *_owners(call),
        call.operation,
        call.protocol.name,
        call.route.model if call.route is not None else None,
        winner.endpoint.provider.name if winner is not None else None,
        winner.endpoint.model if winner is not None else None,
        envelope is not None and envelope.stream,
        call.status,
        call.outcome,
        call.error.code if call.error is not None else None,
        len(call.attempts),
        call.started_us,
        call.first_content_us,
        call.ended_us,
    )


def _attempt_row(attempt: Attempt) -> Row:
    used, estimated = estimates.usage(attempt)
    return (
        attempt.call.id,
        attempt.number,
        *_owners(attempt.call),
        attempt.endpoint.provider.name,
        attempt.endpoint.model,
        attempt.protocol,
        attempt.credential_id,
        attempt.sends,
        attempt.status,
        attempt.outcome,
        attempt.error.code if attempt.error is not None else None,
        attempt.finish_reason,
        attempt.upstream_id,
        attempt.upstream_model,
        attempt.upstream_request_id,
        attempt.started_us,
        attempt.first_content_us,
        attempt.ended_us,
        used.input_tokens,
        used.output_tokens,
        used.cached_tokens,
        used.cache_write_tokens,
        used.cache_write_1h_tokens,
        used.reasoning_tokens,
        used.input_audio_tokens,
        used.output_audio_tokens,
        estimated,
        None,
    )
