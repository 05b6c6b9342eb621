"""The nouns that configuration and database speak of: providers, credentials, models, endpoints, keys, policies.

They are immutable; whoever wants another world builds another `catalog.Snapshot` of them.
"""

from typing import Literal

from msgspec import Struct

DEFAULT_ID = "default"  # of organisation, team, environment and user until there are others

Scope = Literal["inference", "usage:read", "admin:*"]
ALL_SCOPES: tuple[Scope, ...] = ("inference", "usage:read", "admin:*")


class Signing(Struct, frozen=True):
    """How a request proves who we are: "bearer" (Authorization), "header" (`header` holds it) or "none"."""

    kind: Literal["bearer", "header", "none"] = "bearer"
    header: str = "authorization"


class Provider(Struct, frozen=True):
    """A vendor, as a row of facts. `base_urls` maps a protocol's name to its address, version part included."""

    name: str
    base_urls: dict[str, str]
    signing: Signing = Signing()
    headers: dict[str, str] = {}
    claims: tuple[str, ...] = ()  # patterns of model names that are this vendor's: "gpt-*", "o[0-9]*"
    credential_env: str | None = None
    aggregator: bool = False  # takes any author/slug
    quirks: tuple[str, ...] = ()  # names of functions in providers/quirks.py
    openrouter_fields: bool = False  # understands `provider`, `models`, `route`, `transforms`, …
    ca_file: str | None = None
    models_path: str | None = "/models"  # where its own list of models is; None: it has none
    call_header: str | None = None  # tells it which call a request is: "<call>/<attempt>/<send>"


class Credential(Struct, frozen=True):
    """A provider's secret. Its value shows in no representation."""

    provider: str
    value: str
    id: str = DEFAULT_ID

    def __repr__(self) -> str:
        return f"Credential(provider={self.provider!r}, id={self.id!r}, value='***')"


class Endpoint(Struct, frozen=True):
    """One place a model can be had: a provider and the name it has there."""

    provider: Provider
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider.name}/{self.model}"


class Model(Struct, frozen=True):
    """A configured name that clients may ask for, and the endpoints behind it, in order."""

    name: str
    endpoints: tuple[Endpoint, ...]


class Route(Struct, frozen=True):
    """The plan behind a requested name: which endpoints to try, in order."""

    model: str  # as requested
    endpoints: tuple[Endpoint, ...]


class Key(Struct, frozen=True):
    """A key of ours, without its secret: `hash` is the SHA-256 of it."""

    id: str
    name: str
    hash: bytes
    prefix: str  # the first characters, to know it again by
    last_four: str
    scopes: tuple[str, ...] = ALL_SCOPES
    created_us: int = 0
    revoked_us: int | None = None
    organization_id: str = DEFAULT_ID
    team_id: str = DEFAULT_ID
    environment_id: str = DEFAULT_ID
    user_id: str = DEFAULT_ID
    owner: Literal["file", "api"] = "api"


class Principal(Struct, frozen=True):
    """Who calls: what of a key matters to a call."""

    key_id: str
    name: str
    scopes: frozenset[str]
    organization_id: str = DEFAULT_ID
    team_id: str = DEFAULT_ID
    environment_id: str = DEFAULT_ID
    user_id: str = DEFAULT_ID

    def may(self, scope: str) -> bool:
        """Whether the principal has `scope`, itself or by a wildcard ("admin:*" includes "admin:keys")."""
        return scope in self.scopes or f"{scope.partition(':')[0]}:*" in self.scopes


class Policy(Struct, frozen=True):
    """What a request may be like; None is no bound."""

    max_messages: int | None = None
    max_characters: int | None = None
    max_tokens: int | None = None


class Defaults(Struct, frozen=True):
    """What stands in for what a client left out."""

    model: str | None = None
    max_tokens: int = 4096  # where a protocol requires it and the client gave none
