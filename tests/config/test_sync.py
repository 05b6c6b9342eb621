"""Wishes become a world."""

from fairlead.config.file import load
from fairlead.config.sync import snapshot
from fairlead.resources import ALL_SCOPES, Principal


def test_the_simulator_answers_where_it_is_wished() -> None:
    world = snapshot(load(None, {}, find=False, simulator=True))
    [endpoint] = world.resolve("sim/echo").endpoints
    assert (endpoint.provider.name, endpoint.model) == ("sim", "echo")
    assert world.serves(endpoint.provider)


def test_keys_in_the_environment_open_what_their_vendors_claim() -> None:
    principal = Principal("k", "k", frozenset(ALL_SCOPES))
    world = snapshot(load(None, {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}, find=False))
    asked = ("gpt-4o", "o3", "claude-x", "openai/anything")
    assert [world.resolve(name, principal).endpoints[0].provider.name for name in asked] == [
        "openai",
        "openai",
        "anthropic",
        "openai",
    ]
