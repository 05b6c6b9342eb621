"""What is told of errors: no keys, and all names."""

import pytest

from fairlead.answers import conceal, secrets
from fairlead.errors import UpstreamModelNotFound, UpstreamRefused, masked
from fairlead.resources import Credential, Provider


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-Ab3dEf6hIj9kLmNoP",
        "sk-abcd***************wxyz",
        "org-aBcDeFgHiJkLmNoPqRsTuVwX",
        "org-q0vpDmUN4ZfFRhHw8Wy1Ul2x",
        "user-550e8400-e29b-41d4-a716-446655440000",
        "gsk_9vKpQ2mXw8Rt",
        "hf_abcdefghijklmnopqrstuvwxyzabcdefgh",
        "AIzaSyAbcdefghijklmnopqrstuvwxyz12345",
        "fl-abcDEF0123456789abcDEF0123456789abcDEF01234",
        "Bearer something",
    ],
)
def test_what_looks_like_a_key_is_told_to_nobody(secret: str) -> None:
    assert masked(f"You, {secret} , may not.") == "You, *** , may not."


@pytest.mark.parametrize(
    "message",
    [
        "providers.user-service: unknown protocol 'x'",
        "keys.proj-billing: secret is shorter than 32 characters",
        "tools[0].user_location.type is missing",
        "Invalid name 'key_metrics_by_region'",
        "the column pk_customer_id",
        "org_chart_v2 is no tool",
    ],
)
def test_names_are_told(message: str) -> None:
    assert masked(message) == message


def test_a_word_for_no_credential_is_no_secret() -> None:
    """Servers that ask for none are given some word, which may be their name."""
    provider = Provider("ollama", {"openai-chat": "http://127.0.0.1"}, headers={"x-team": "search"})
    error = UpstreamModelNotFound("model 'ollama/llama' not found")
    conceal(error, secrets(provider, Credential("ollama", "ollama")))
    assert error.told("ollama") == "ollama has no such model: model 'ollama/llama' not found"


def test_a_credential_is_told_to_nobody() -> None:
    error = UpstreamRefused("the key a-secret-of-the-lab is odd", param="a-secret-of-the-lab")
    conceal(error, secrets(Provider("lab", {}), Credential("lab", "a-secret-of-the-lab")))
    assert error.told("lab") == "the key *** is odd"
    assert error.param == "***"
