"""One request in flight, and what we know of it so far: a `Call`, and an `Attempt` for each try at an endpoint.

An attempt writes only to itself; the winner is copied to the call when it is committed to. Times are taken twice:
wall clock (`*_us`, epoch microseconds) for records, monotonic seconds for durations.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Raw, Struct

from fairlead.chat import Media, Request, Usage
from fairlead.errors import FairleadError, InvalidRequest
from fairlead.resources import Endpoint, Principal, Route

if TYPE_CHECKING:
    from fairlead.catalog import Snapshot
    from fairlead.protocols import Envelope, Served


class Write(Protocol):
    """Takes a piece of an answer, and the same as one chunk of HTTP/1.1, where it came as one; gives None, or something
    to wait for before the next one: the client does not read."""

    def __call__(self, data: bytes, framed: bytes = b"") -> Coroutine[Any, Any, None] | None: ...


# Gives the body of a request, or what to await for it where it is not all here.
ReadBody = Callable[[], bytes | Awaitable[bytes]]
Outcome = Literal["ok", "failed", "cancelled", "interrupted"]


_MOST_TOKENS = (1 << 53) - 1


class Counted(Struct, frozen=True):
    """How bytes are counted in tokens."""

    bytes_per_token: float = 4.0
    around: int = 0  # bytes that are there however short the text

    def tokens(self, size: int, *, ahead: float = 1.0) -> int:
        """Of `size` bytes; `ahead`: which part of `around` is among them."""
        return min(max(int((size - self.around * ahead) / self.bytes_per_token + 0.5), 1 if size else 0), _MOST_TOKENS)


class Guess(Struct, frozen=True):
    """What an attempt may use, learned from others of its model: for when nobody tells."""

    request: Counted = Counted()
    answer: Counted = Counted()
    output_tokens: int = 256  # of an answer nothing is known of


NO_GUESS = Guess()


class Names(Struct, frozen=True):
    """What is the same for many attempts, as the journal spells it."""

    which: Raw  # key, and which endpoint
    intended: Raw  # the same, and what the call asks for
    called: Raw  # key, what the call asks for, and where it went
    owners: tuple[str, ...] | None  # whose the key is; None: nobody's in particular


class Attempt(Struct, eq=False):
    """One try of a call at one endpoint: the unit of usage and cost."""

    call: "Call"
    number: int  # from 1
    endpoint: Endpoint
    protocol: str  # spoken with the endpoint
    started_us: int
    credential_id: str = "default"
    sends: int = 1
    status: int | None = None  # the upstream's
    first_content_us: int | None = None
    ended_us: int | None = None
    outcome: Outcome | None = None
    error: FairleadError | None = None
    finish_reason: str | None = None
    upstream_id: str | None = None  # of the answer: "chatcmpl-…", "msg_…"
    upstream_model: str | None = None  # as the answer names it
    upstream_request_id: str | None = None
    usage: Usage | None = None
    dropped: tuple[str, ...] = ()  # what the client asked for and `protocol` cannot say: `protocols.Encoded`
    content_bytes: int = 0  # of the answer, as it came: what an estimate can stand on
    guess: Guess = NO_GUESS
    names: "Names | None" = None
    intent: bytes = b""  # as it stands in the journal
    noted: bytes = b""  # its progress, as it stands there
    cell: int = 0  # where the journal counts `content_bytes`; 0: nowhere
    held: int = 0  # bytes of the answer that count against `server.max_buffered_bytes`: they wait to be told


class Arrival(Struct, frozen=True):
    """How a request came in, besides its headers."""

    method: str
    path: str
    address: str  # of the client, as far as it is known
    key_hash: bytes  # of the key in its headers (`auth.key_hash`), where that is known already; else b""


class Call(Struct, eq=False):
    """One client request from its first header to its last byte."""

    id: str
    protocol: "Served"  # the client's
    operation: str  # "chat", "responses", "messages"
    headers: Mapping[bytes, bytes]  # names in lower case
    started_us: int
    started: float  # monotonic seconds
    arrival: Arrival = Arrival("POST", "", "", b"")
    target: tuple[str, bool] | None = None  # the model and whether it streams, where the address says so
    request_id: str = ""  # the client's own, else ours
    body: bytes = b""
    held: int = 0  # bytes of it that count against `server.max_buffered_bytes`
    snapshot: "Snapshot | None" = None
    principal: Principal | None = None
    envelope: "Envelope | None" = None
    route: Route | None = None
    request: Request | None = None  # in our words, where somebody needed them
    fetched: "dict[tuple[str, str], Media | InvalidRequest] | None" = None  # of its media, by kind and address
    needs_words: bool = False  # somebody needs the conversation in our words: selects translation
    attempts: list[Attempt] = []
    winner: Attempt | None = None
    status: int = 0  # told to the client; 0: nothing yet
    told: bool = False  # status and headers are out
    error: FairleadError | None = None
    outcome: Outcome | None = None
    first_content_us: int | None = None
    ended_us: int | None = None

    def now_us(self) -> int:
        """Now, in epoch microseconds, by the clock as it was when the call began: no jump of it gets in between."""
        return self.started_us + int((time.monotonic() - self.started) * 1e6)

    def forget(self) -> None:
        """It is over and written down. A call and its attempts know each other; apart, they are freed at once."""
        if self.error is not None or len(self.attempts) > 1:
            for error in (self.error, *[attempt.error for attempt in self.attempts]):
                _untie(error)
        self.attempts = []
        self.winner = None
        self.fetched = None


def _untie(error: BaseException | None) -> None:
    """Let go of where `error` was raised and what led to it: those frames know it, too, and the call."""
    while error is not None:
        before = error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = before


class Reply(Struct, eq=False):
    """What the client gets: status, headers, and `body` or what `relay` writes. `close` settles; call it however it
    ends."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | None = None
    relaying: Callable[[Write], Awaitable[bytes]] | None = None
    closing: Callable[[BaseException | None], None] | None = None

    async def relay(self, write: Write) -> bytes:
        """Give the client's bytes to `write`, as they come; gives the last of them. Raises what ends them early."""
        assert self.relaying is not None
        return await self.relaying(write)

    def close(self, error: BaseException | None = None) -> None:
        """Settle and let go of the upstream answer; the second time does nothing. `error`: what ended it early."""
        close, self.closing = self.closing, None
        if close is not None:
            close(error)


INTERRUPTED = "the gateway is shutting down"  # the message of a cancellation that is our doing


def outcome(error: BaseException | None) -> Outcome:
    """How something ended that ended with `error`."""
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError):
        return "interrupted" if error.args == (INTERRUPTED,) else "cancelled"
    return "cancelled" if isinstance(error, ConnectionError | GeneratorExit) else "failed"


# Ids have to differ, not to be secret; asking the system each time would cost 10 µs.
_random_bits = random.Random(os.urandom(32)).getrandbits


def new_id(us: int | None = None) -> str:
    """A call's id: `gen-`, the time (`us`, or now) in milliseconds and 80 random bits, so that ids sort by time."""
    ms = (time.time_ns() // 1000 if us is None else us) // 1000
    return "gen-" + (ms << 80 | _random_bits(80)).to_bytes(16).hex()
