"""Which failures move a call to its next endpoint, and which of several failures the client hears of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from fairlead.errors import UpstreamError

_LONGEST_WAIT_SECONDS = 24 * 3600.0


def moves_on(error: UpstreamError) -> bool:
    """Whether another endpoint may be tried after `error`, as long as the client has seen no content."""
    return error.failover


def verdict(errors: Sequence[UpstreamError]) -> UpstreamError:
    """The error to tell when every endpoint failed: the first that is worth another try, else the last."""
    return next((error for error in errors if error.retryable), errors[-1])


def retry_after(headers: Mapping[bytes, bytes], now: float) -> float | None:
    """Seconds the upstream asks us to wait, if it asks: `retry-after-ms`, or `retry-after` in seconds or as a date.

    `now` is epoch seconds. https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    milliseconds = _number(headers.get(b"retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, _LONGEST_WAIT_SECONDS)
    value = headers.get(b"retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        seconds = _until(value, now)
    return None if seconds is None else min(seconds, _LONGEST_WAIT_SECONDS)


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _until(value: bytes, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(value.decode("latin-1"))
    except (ValueError, IndexError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - datetime.fromtimestamp(now, UTC).timestamp())
