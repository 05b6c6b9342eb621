"""Vendors, as rows of facts: `catalog.toml`, and how requests to them are signed and bent to their oddities."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fairlead.resources import Provider, Signing

PROTOCOLS = (
    "openai-chat", "openai-responses", "openai-completions", "anthropic-messages", "anthropic-completions", "gemini",
    "bedrock-converse", "bedrock-invoke", "cohere-chat", "cohere-chat-v1", "ollama-chat", "ollama-generate",
)  # fmt: skip


class Row(Struct, forbid_unknown_fields=True):
    """A provider as it is written, in `catalog.toml` and in a configuration file. `credential` only in the latter."""

    base_url: str | None = None
    protocols: list[str] | dict[str, str] | None = None  # a list: all share `base_url`
    signing: Literal["bearer", "none"] | dict[str, str] | None = None  # {header = "x-api-key"}
    headers: dict[str, str] | None = None
    claims: list[str] | None = None
    credential_env: str | None = None
    credential: str | dict[str, str] | None = None
    aggregator: bool | None = None
    quirks: list[str] | None = None
    openrouter_fields: bool | None = None
    ca_file: str | None = None
    models_path: str | None = None  # "": it has no list
    call_header: str | None = None


def provider_of(name: str, row: Row) -> Provider:
    """The provider that a checked row describes."""
    base = row.base_url or ""
    protocols = row.protocols or {}
    urls = protocols if isinstance(protocols, dict) else {protocol: base for protocol in protocols}
    models_path = "/models" if row.models_path is None else row.models_path or None
    return Provider(
        name=name,
        base_urls={protocol: url.rstrip("/") for protocol, url in urls.items()},
        signing=_signing(row.signing),
        headers=row.headers or {},
        claims=tuple(row.claims or ()),
        credential_env=row.credential_env,
        aggregator=bool(row.aggregator),
        quirks=tuple(row.quirks or ()),
        openrouter_fields=bool(row.openrouter_fields),
        ca_file=row.ca_file,
        models_path=models_path,
        call_header=row.call_header,
    )


def _signing(told: str | dict[str, str] | None) -> Signing:
    if isinstance(told, dict):
        return Signing("header", told["header"].lower())
    return Signing("none") if told == "none" else Signing()


@cache
def rows() -> Mapping[str, Row]:
    """The vendors we know, in the order in which their claims count."""
    text = resources.files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8")
    read: dict[str, Any] = tomllib.loads(text)
    return msgspec.convert(read, dict[str, Row])
