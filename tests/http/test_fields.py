"""Headers in more than one line: lists are joined, of two traces neither counts, and what may come once comes once."""

import pytest

from fairlead.errors import InvalidRequest
from fairlead.http.fields import settle

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def settled(*lines: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    found = dict(lines)
    settle(found, lines)
    return found


def test_lines_of_a_list_are_one_list_in_their_order() -> None:
    for name in (b"anthropic-beta", b"openai-beta", b"tracestate"):
        assert settled((name, b"a"), (b"x", b"y"), (name, b"b, c"), (name, b"d"))[name] == b"a, b, c, d"


def test_of_two_traces_neither_goes_on() -> None:
    assert settled((b"traceparent", TRACE), (b"traceparent", TRACE), (b"accept", b"*/*")) == {b"accept": b"*/*"}


def test_of_all_else_the_last_counts() -> None:
    assert settled((b"x-request-id", b"a"), (b"x-request-id", b"b")) == {b"x-request-id": b"b"}


def test_what_comes_once_is_left_as_it_is() -> None:
    lines = [(b"authorization", b"Bearer a"), (b"traceparent", TRACE), (b"anthropic-beta", b"a")]
    assert settled(*lines) == dict(lines)


@pytest.mark.parametrize("count", [2, 3])
def test_what_may_come_once_names_itself(count: int) -> None:
    with pytest.raises(InvalidRequest, match=f"'authorization' came {count} times"):
        settled(*[(b"authorization", b"Bearer a")] * count, (b"cookie", b"a"), (b"cookie", b"b"))
