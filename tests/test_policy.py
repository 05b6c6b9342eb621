"""What a principal may ask for."""

import pytest

from fairlead import policy
from fairlead.errors import Forbidden, InvalidRequest
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.resources import Policy, Principal

CALLER = Principal("k", "caller", frozenset({"inference"}))
ADMIN = Principal("a", "admin", frozenset({"admin:*"}))
BODY = b'{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"four"},{"role":"user","content":"five5"}]}'


def authorize(bounds: Policy, principal: Principal = CALLER, body: bytes = BODY) -> None:
    wire = OpenAIChat()
    policy.authorize(principal, bounds, wire, wire.peek(body))


def test_without_bounds_everything_is_allowed() -> None:
    authorize(Policy())


def test_a_key_without_the_scope_may_not_make_calls() -> None:
    with pytest.raises(Forbidden, match="'inference'"):
        authorize(Policy(), ADMIN)


def test_a_wildcard_includes_what_is_below_it() -> None:
    assert ADMIN.may("admin:keys")
    assert not CALLER.may("admin:keys")


@pytest.mark.parametrize("bounds", [Policy(max_messages=2), Policy(max_characters=9), Policy(max_tokens=50)])
def test_a_bound_that_is_met_is_kept(bounds: Policy) -> None:
    authorize(bounds)


@pytest.mark.parametrize(
    ("bounds", "message", "param"),
    [
        (Policy(max_messages=1), "has 2 messages; at most 1", "messages"),
        (Policy(max_characters=8), "has 9 characters; at most 8", "messages"),
        (Policy(max_tokens=49), "has 50 tokens; at most 49", "max_tokens"),
    ],
)
def test_more_than_a_bound_is_refused_saying_how_many(bounds: Policy, message: str, param: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        authorize(bounds)
    assert refused.value.param == param


def test_a_request_that_names_no_tokens_is_within_their_bound() -> None:
    authorize(Policy(max_tokens=1), body=b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
