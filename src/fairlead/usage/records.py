"""What is written down of a call, and how: rows in the order of their columns, as MessagePack.

    SETTLED   [attempt row or nil, call row or nil]     all there is to say, ready for any sink
    INTENT    an attempt is about to be sent             what a row needs if nobody comes back to settle it
    PROGRESS  its answer has begun                       what was known then
    OPENED    an INTENT whose attempt is settled, while its call goes on
    LAYOUT    the names of the columns of the rows that follow
    CARRIED   the same: all that is open has been said again before it

What is the same in many rows (who calls, which endpoint, what for) is encoded once and copied.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from fairlead.call import Attempt, Call, Names
from fairlead.chat import Usage
from fairlead.resources import DEFAULT_ID, Endpoint, Principal
from fairlead.usage import estimates, segments

Row = Sequence[Any]

_OWNERS = ("organization_id", "team_id", "environment_id", "user_id")
_ENDPOINT = ("provider", "model", "protocol", "credential_id")
# What is seldom said stands last, and is left out of a row where there is nothing to say.
_CALL_SELDOM = (*_OWNERS, "error_code")
CALL_COLUMNS = (
    "id", "key_id", "operation", "protocol", "model", "provider", "upstream_model", "stream", "status", "outcome",
    "attempts", "started_us", "first_content_us", "ended_us", *_CALL_SELDOM,
)  # fmt: skip
_ATTEMPT_SELDOM = (
    *_OWNERS, "error_code", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens",
    "input_audio_tokens", "output_audio_tokens", "input_image_tokens", "output_image_tokens", "cost_nano_usd",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "call_id", "attempt", "key_id", *_ENDPOINT, "sends", "status", "outcome", "finish_reason", "upstream_id",
    "upstream_model", "upstream_request_id", "started_us", "first_content_us", "ended_us", "input_tokens",
    "output_tokens", "estimated", "stream", "request_bytes", "content_bytes", *_ATTEMPT_SELDOM,
)  # fmt: skip
SHORT_CALL = len(CALL_COLUMNS) - len(_CALL_SELDOM)
SHORT_ATTEMPT = len(ATTEMPT_COLUMNS) - len(_ATTEMPT_SELDOM)
INTENT_COLUMNS = (
    "call_id", "attempt", "key_id", *_ENDPOINT, "operation", "client_protocol", "client_model", "stream",
    "call_started_us", "started_us", "request_bytes", "request_bytes_per_token", "request_around",
    "content_bytes_per_token", "content_around", "output_tokens", *_OWNERS,
)  # fmt: skip
PROGRESS_COLUMNS = (
    "call_id", "attempt", "sends", "status", "upstream_id", "upstream_model", "upstream_request_id",
    "first_content_us", "input_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens",
)  # fmt: skip
LAYOUT = {"calls": CALL_COLUMNS, "attempts": ATTEMPT_COLUMNS, "intents": INTENT_COLUMNS, "progress": PROGRESS_COLUMNS}

_SELDOM: dict[str, Any] = {
    **dict.fromkeys(_ATTEMPT_SELDOM, 0), **dict.fromkeys(_OWNERS, DEFAULT_ID), "error_code": None,
    "cost_nano_usd": None,
}  # fmt: skip
_LARGEST = (1 << 53) - 1
_UNWRITABLE = (OverflowError, UnicodeEncodeError)
Encode = Callable[[Sequence[Any]], bytes]
_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[Any]).decode


class Interrupted(Struct):
    """An attempt that nobody settled: its intent, what was known when its answer began, and how much of it came."""

    intent: dict[str, Any]
    progress: dict[str, Any] | None = None
    content_bytes: int = 0


# ---- telling


def intent(attempt: Attempt, encode: Encode = _encode) -> bytes:
    call, guess, named = attempt.call, attempt.guess, attempt.names
    assert named is not None  # whoever intends has looked them up
    request, answer = guess.request, guess.answer
    row = (
        _SHORT_INTENT if named.owners is None else _INTENT,
        call.id,
        attempt.number,
        named.intended,
        call.started_us,
        attempt.started_us,
        len(call.body),
        request.bytes_per_token,
        request.around,
        answer.bytes_per_token,
        answer.around,
        guess.output_tokens,
    )
    try:
        if named.owners is None:
            return encode(row)[1:]
        return encode((*row, *named.owners))[3:]
    except _UNWRITABLE:
        return intent(attempt, _encode_nearly)


def progress(attempt: Attempt, usage: Usage | None) -> bytes:
    told = usage or Usage(-1)
    row = (
        attempt.call.id, attempt.number, attempt.sends, attempt.status, attempt.upstream_id, attempt.upstream_model,
        attempt.upstream_request_id, attempt.first_content_us, told.input_tokens, told.cached_tokens,
        told.cache_write_tokens, told.cache_write_1h_tokens,
    )  # fmt: skip
    return _PROGRESS_HEAD + _encode_nearly(row)[1:]


def settled(attempt: Attempt | None, call: Call | None, encode: Encode = _encode) -> bytes:
    """The rows of an attempt that has ended, of a call that has, or of both at once."""
    row = (_NO_ATTEMPT if attempt is None else _attempt(attempt)) + (_NO_CALL if call is None else _call(call))
    try:
        return encode(row)[3 if len(row) > 15 else 1 :]
    except _UNWRITABLE:
        return settled(attempt, call, _encode_nearly)


def _attempt(attempt: Attempt) -> tuple[Any, ...]:
    call, error, used = attempt.call, attempt.error, attempt.usage
    envelope, estimated, named = call.envelope, 0, attempt.names or names(attempt)
    if used is None or attempt.outcome != "ok":
        used, estimated = estimates.usage(attempt)
    seldom = (
        used.cached_tokens, used.cache_write_tokens, used.cache_write_1h_tokens, used.reasoning_tokens,
        used.input_audio_tokens, used.output_audio_tokens, used.input_image_tokens, used.output_image_tokens,
    )  # fmt: skip
    short = error is None and seldom == _NOTHING and named.owners is None
    row = (
        _SHORT_ATTEMPT if short else _WHOLE_ATTEMPT,
        call.id,
        attempt.number,
        named.which,
        attempt.sends,
        attempt.status,
        attempt.outcome,
        attempt.finish_reason,
        attempt.upstream_id,
        attempt.upstream_model,
        attempt.upstream_request_id,
        attempt.started_us,
        attempt.first_content_us,
        attempt.ended_us,
        used.input_tokens,
        used.output_tokens,
        1 if estimated else 0,
        1 if envelope is not None and envelope.stream else 0,
        len(call.body),
        attempt.content_bytes,
    )
    if short:
        return row
    return (*row, *(named.owners or _NOBODY), error.code if error is not None else None, *seldom, None)


def _call(call: Call) -> tuple[Any, ...]:
    winner, error, principal = call.winner, call.error, call.principal
    assert principal is not None  # strangers leave no rows
    if winner is not None and winner.names is not None:
        called, owners = winner.names.called, winner.names.owners
    else:
        called, owners = _spelled(_called(call, winner.endpoint if winner is not None else None)), _owners(principal)
    short = error is None and owners is None
    row = (
        _SHORT_CALL if short else _WHOLE_CALL,
        call.id,
        called,
        call.status,
        call.outcome,
        len(call.attempts),
        call.started_us,
        call.first_content_us,
        call.ended_us,
    )
    return row if short else (*row, *(owners or _NOBODY), error.code if error is not None else None)


def layout() -> bytes:
    return _LAYOUT


def layout_of(frames: Iterable[segments.Frame]) -> dict[str, Any] | None:
    """What the rows of a segment are made of: it is told where it begins, and again behind what was carried."""
    kinds = segments.LAYOUT, segments.CARRIED
    told = next((frame for frame in frames if frame.kind in kinds and frame.payload), None)
    return None if told is None else decode(told.payload)[0]


def named(names: Sequence[str], values: Row, columns: Sequence[str]) -> dict[str, Any]:
    """A row whose columns are `names`, with all of `columns`: what another version did not know is not known."""
    told = dict(zip(names, values, strict=False))  # the last ones may have been left out
    return {name: told.get(name, _UNKNOWN.get(name, 0)) for name in columns}


def whole(row: Row, columns: Sequence[str]) -> Row:
    """`row` with what was left out of it."""
    return row if len(row) == len(columns) else [*row, *(_SELDOM[name] for name in columns[len(row) :])]


# ---- what was interrupted


def interrupted(attempts: Sequence[tuple[Interrupted, bool]], ended_us: int) -> Iterable[bytes]:
    """The records of a call that nobody ended: one for each of its attempts that is not settled yet, the call's last.

    `attempts`: those known of, in their order, and whether each is settled. `ended_us`: the last time that anything
    was seen to happen.
    """
    last, _ = attempts[-1]
    rows = [_interrupted_attempt(attempt, ended_us) for attempt, done in attempts if not done]
    told = last.intent
    begun = last.progress is not None
    call = {
        **told, "id": told["call_id"], "protocol": told["client_protocol"], "model": told["client_model"],
        "provider": told["provider"] if begun else None, "upstream_model": told["model"] if begun else None,
        "status": 200 if begun else 0, "outcome": "interrupted", "error_code": "interrupted",
        "attempts": told["attempt"], "started_us": told["call_started_us"],
        "first_content_us": last.progress["first_content_us"] if last.progress is not None else None,
        "ended_us": max(ended_us, told["call_started_us"]),
    }  # fmt: skip
    for row in rows[:-1]:
        yield _encode([row, None])
    yield _encode([rows[-1] if rows else None, [_writable(call[name]) for name in CALL_COLUMNS]])


def _interrupted_attempt(attempt: Interrupted, ended_us: int) -> list[Any]:
    told, known = attempt.intent, attempt.progress or {}
    used = estimates.interrupted(told, content_bytes=attempt.content_bytes)
    row = {
        **dict.fromkeys(ATTEMPT_COLUMNS), **_SELDOM, **told, "sends": 1, "outcome": "interrupted",
        "error_code": "interrupted", "ended_us": max(ended_us, told["started_us"]), "estimated": 1,
        "input_tokens": used.input_tokens, "output_tokens": used.output_tokens, "content_bytes": attempt.content_bytes,
        **{name: value for name, value in known.items() if name in _ATTEMPT_NAMES and value != -1},
    }  # fmt: skip
    return [_writable(row[name]) for name in ATTEMPT_COLUMNS]


# ---- spelling


def _encode_nearly(values: Sequence[Any]) -> bytes:
    """`values` as MessagePack, as near as they can be written."""
    return _encode(tuple(_writable(value) for value in values))


def _writable(value: Any) -> Any:
    """`value`, as near as it can be written: a provider may tell any number, and half of a surrogate pair."""
    if isinstance(value, int):
        return max(min(value, _LARGEST), -_LARGEST)
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _head(columns: Sequence[str]) -> bytes:
    return b"\xdc" + len(columns).to_bytes(2, "big") if len(columns) > 15 else bytes([0x90 + len(columns)])


def names(attempt: Attempt) -> Names:
    """Who makes `attempt`, at which endpoint, and for what."""
    call, endpoint = attempt.call, attempt.endpoint
    called = _called(call, endpoint)
    key_id, operation, protocol, model, _, _, stream = called
    which = (key_id, endpoint.provider.name, endpoint.model, attempt.protocol, attempt.credential_id)
    assert call.principal is not None
    return Names(
        which=_spelled(which),
        intended=_spelled((*which, operation, protocol, model, stream)),
        called=_spelled(called),
        owners=_owners(call.principal),
    )


def _called(call: Call, endpoint: Endpoint | None) -> tuple[Any, ...]:
    """From whom a call came, what for, and where it went."""
    principal, route, envelope = call.principal, call.route, call.envelope
    assert principal is not None  # nothing is attempted for a stranger
    return (
        principal.key_id,
        call.operation,
        call.protocol.name,
        route.model if route is not None else None,
        endpoint.provider.name if endpoint is not None else None,
        endpoint.model if endpoint is not None else None,
        1 if envelope is not None and envelope.stream else 0,
    )


def _spelled(values: Iterable[Any]) -> msgspec.Raw:
    """`values`, one behind the other."""
    return msgspec.Raw(b"".join(_encode(_writable(value)) for value in values))


def _owners(principal: Principal) -> tuple[str, ...] | None:
    """Whose `principal` is; None: nobody's in particular."""
    owners = tuple(getattr(principal, name) for name in _OWNERS)
    return None if owners == _NOBODY else owners


_NOTHING = (0,) * 8
_NOBODY = (DEFAULT_ID,) * len(_OWNERS)
# Heads of rows, as the first of what is encoded: its own head, which counts a part with several values once, is cut.
_INTENT, _SHORT_INTENT = msgspec.Raw(_head(INTENT_COLUMNS)), msgspec.Raw(_head(INTENT_COLUMNS[: -len(_OWNERS)]))
_NO_ATTEMPT, _NO_CALL = (msgspec.Raw(b"\x92\xc0"),), (None,)
_WHOLE_ATTEMPT, _SHORT_ATTEMPT = (
    msgspec.Raw(b"\x92" + _head(columns)) for columns in (ATTEMPT_COLUMNS, ATTEMPT_COLUMNS[:SHORT_ATTEMPT])
)
_WHOLE_CALL, _SHORT_CALL = (msgspec.Raw(_head(columns)) for columns in (CALL_COLUMNS, CALL_COLUMNS[:SHORT_CALL]))
_PROGRESS_HEAD = _head(PROGRESS_COLUMNS)
_ATTEMPT_NAMES = frozenset(ATTEMPT_COLUMNS)
_LAYOUT = _encode([LAYOUT])
_TEXTS = "outcome operation protocol client_protocol provider model credential_id".split()
_NULLS = (
    "error_code finish_reason upstream_id upstream_model upstream_request_id first_content_us client_model"
    " cost_nano_usd status"
).split()
_UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_NULLS), **dict.fromkeys(_OWNERS, DEFAULT_ID),
    "request_bytes_per_token": 4.0, "content_bytes_per_token": 4.0,
}  # fmt: skip
