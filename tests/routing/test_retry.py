"""Which failures move on, which is told, and how long to wait."""

import pytest

from fairlead.errors import Overloaded, RateLimited, UpstreamBroken, UpstreamRefused
from fairlead.routing import retry


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"7"}, 0.25),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:01:40"}, 90.0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"-3"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"99999999999"}, 86400.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert retry.retry_after(headers, now=10.0) == seconds


def test_a_refusal_stays_and_a_failure_moves_on() -> None:
    assert not retry.moves_on(UpstreamRefused("no"))
    assert retry.moves_on(UpstreamBroken("x"))


def test_the_first_failure_worth_another_try_is_told_else_the_last() -> None:
    broken, limited, overloaded, last = UpstreamBroken("a"), RateLimited(), Overloaded(), UpstreamBroken("b")
    assert retry.verdict([broken, limited, overloaded]) is limited
    assert retry.verdict([broken, last]) is last
