"""Vendors are rows: each is checked against what the code knows."""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from fairlead.app import WIRES
from fairlead.catalog import Snapshot
from fairlead.config.file import load
from fairlead.providers import PROTOCOLS, Row, provider_of, quirks, rows
from fairlead.resources import Credential, Signing

PROVIDERS = {name: provider_of(name, row) for name, row in rows().items()}


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_a_row_names_known_protocols_addresses_signings_and_quirks(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.base_urls
    for protocol, url in provider.base_urls.items():
        assert protocol in WIRES
        parts = urlsplit(url)
        assert parts.scheme in ("https", "simulator") or parts.hostname == "127.0.0.1"
        assert not url.endswith("/")
    assert provider.signing.kind in ("bearer", "header", "none")
    assert set(provider.quirks) <= set(quirks.KNOWN)
    assert provider.credential_env or provider.signing.kind == "none"


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_a_row_would_be_accepted_from_a_users_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "fairlead.toml"
    file.write_text(f"[providers.{name}]\n")
    assert PROVIDERS[name] in load(file, {}).providers


def test_protocols_are_those_there_are() -> None:
    assert set(PROTOCOLS) == set(WIRES)


def test_there_are_a_dozen_compatible_vendors_and_anthropic() -> None:
    compatible = [name for name, provider in PROVIDERS.items() if "openai-chat" in provider.base_urls and name != "sim"]
    assert len(compatible) >= 14
    assert list(PROVIDERS["anthropic"].base_urls) == ["anthropic-messages"]
    assert PROVIDERS["anthropic"].signing == Signing("header", "x-api-key")


@pytest.mark.parametrize(
    ("name", "asked", "listed"),
    [
        # https://ai.google.dev/api/generate-content https://ai.google.dev/api/models
        (
            "google",
            "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000",
        ),
        ("cohere", "https://api.cohere.com/v2/chat", None),  # https://docs.cohere.com/reference/chat
        # https://docs.ollama.com/api/chat https://docs.ollama.com/api/tags
        ("ollama", "http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434/api/tags"),
        (
            "anthropic",
            "https://api.anthropic.com/v1/messages",
            "https://api.anthropic.com/v1/models?limit=1000",
        ),
    ],
)
def test_a_vendor_is_asked_where_its_documentation_has_it(name: str, asked: str, listed: str | None) -> None:
    provider = PROVIDERS[name]
    protocol, base = next(iter(provider.base_urls.items()))
    assert base + WIRES[protocol].path("m", False) == asked
    assert (base + provider.models_path if provider.models_path else None) == listed


def test_no_two_rows_read_the_same_variable_or_claim_the_same_pattern() -> None:
    variables = [provider.credential_env for provider in PROVIDERS.values() if provider.credential_env]
    claims = [claim for provider in PROVIDERS.values() for claim in provider.claims]
    assert len(set(variables)) == len(variables)
    assert len(set(claims)) == len(claims)


@pytest.mark.parametrize(
    ("model", "owner"),
    [
        ("gpt-4o", "openai"),
        ("o4-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "google"),
        ("grok-4", "xai"),
        ("command-a-03-2025", "cohere"),
        ("ollama/llama3.2", "ollama"),
        ("deepseek-chat", "deepseek"),
        ("mistral-large-latest", "mistral"),
        ("kimi-k2", "moonshotai"),
        ("glm-4.6", "zai"),
        ("sonar-pro", "perplexity"),
        ("meta-llama/llama-3.3-70b-instruct", "openrouter"),
        ("sim/echo", "sim"),
    ],
)
def test_well_known_names_go_to_their_vendor(model: str, owner: str) -> None:
    credentials = {name: Credential(name, "secret") for name in PROVIDERS}
    [endpoint] = Snapshot(providers=list(PROVIDERS.values()), credentials=credentials).resolve(model).endpoints
    assert endpoint.provider.name == owner


def test_protocols_share_a_base_url_or_have_their_own() -> None:
    shared = provider_of("p", Row(base_url="https://a/v1/", protocols=["openai-chat", "anthropic-messages"]))
    assert shared.base_urls == {"openai-chat": "https://a/v1", "anthropic-messages": "https://a/v1"}
    own = provider_of("p", Row(protocols={"openai-chat": "https://a/v1", "anthropic-messages": "https://b/v1"}))
    assert own.base_urls == {"openai-chat": "https://a/v1", "anthropic-messages": "https://b/v1"}


def test_a_row_with_an_unknown_fact_is_no_row() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `base`"):
        msgspec.convert({"base": "https://a/v1"}, Row)
