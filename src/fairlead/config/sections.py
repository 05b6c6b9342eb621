"""What a configuration may tell: its sections and their options, and the environment's variables beside them."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from fairlead.providers import rows
from fairlead.resources import ALL_SCOPES, Defaults
from fairlead.settings import Database, Journal, Logging, Media, Seconds, Server
from fairlead.upstream import Timeouts

_Count = Annotated[int, Meta(ge=1)]


class _Defaults(Struct):
    model: str | None = None
    max_tokens: _Count = Defaults().max_tokens


class _Policy(Struct):
    max_messages: _Count | None = None
    max_characters: _Count | None = None
    max_tokens: _Count | None = None


class _Timeouts(Struct):
    connect_seconds: Seconds = Timeouts().connect
    first_byte_seconds: Seconds = Timeouts().first_byte
    silence_seconds: Seconds = Timeouts().silence
    total_seconds: Seconds = Timeouts().total


class Model(Struct):
    endpoints: list[str] = []


class Key(Struct):
    name: str = ""
    secret: str | dict[str, str] = ""
    scopes: tuple[str, ...] = ALL_SCOPES[:1]


# Sections of scalars; the environment overrides those in OVERRIDABLE: FAIRLEAD_<SECTION>_<NAME>.
SCALARS: dict[str, type[Struct]] = {
    "server": Server, "database": Database, "logging": Logging, "defaults": _Defaults, "policy": _Policy,
    "journal": Journal, "timeouts": _Timeouts, "media": Media,
}  # fmt: skip
OVERRIDABLE = ("server", "database", "logging", "defaults", "policy", "media")
KNOWN = (*SCALARS, "providers", "models", "keys", "sinks")
OTHER_VARIABLES = frozenset(
    {"FAIRLEAD_CONFIG", "FAIRLEAD_URL", "FAIRLEAD_API_KEY", "FAIRLEAD_SHARED", "FAIRLEAD_REQUIRE_SHARED"}
)
LATER = {
    "redis": "not in this version: it is one process with its counters in memory, which needs no Redis",
    "limits": "not in this version: it limits no rates",
    "budgets": "not in this version: it keeps no budgets",
    "cache": "not in this version: it caches no answers",
    "guardrails": "not in this version: it checks no content",
    "server.workers": "not in this version: it is one process",
}
# Kubernetes tells each pod of the services around it, in variables that begin with their names.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT_[0-9]+_(TCP|UDP)")


def variable(section: str, name: str) -> str:
    """The environment variable that overrides an option."""
    return f"FAIRLEAD_{section.upper()}_{name.upper()}"


def is_service_link(name: str, value: str) -> bool:
    """Whether a variable is one of Kubernetes, for a service whose name begins with ours."""
    return bool(_SERVICE_LINK.search(name)) or value.startswith(("tcp://", "udp://"))


def override_variables() -> list[str]:
    """Every variable that overrides an option."""
    return [
        variable(section, field.name) for section in OVERRIDABLE for field in msgspec.structs.fields(SCALARS[section])
    ]


def variables() -> list[str]:
    """Every variable that is read: the file's place, overrides, and the credentials of known providers."""
    credentials = [row.credential_env for row in rows().values() if row.credential_env]
    return ["FAIRLEAD_CONFIG", *override_variables(), *credentials]
