"""Reads a configuration: TOML, the environment's overrides, secrets. Collects every problem before it gives up."""

import difflib
import hashlib
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from fairlead.catalog import LONGEST_NAME
from fairlead.config import InvalidConfigs, Wishes, edge, sections
from fairlead.config.places import Places
from fairlead.errors import InvalidConfig, masked
from fairlead.providers import PROTOCOLS, Row, provider_of, quirks, rows
from fairlead.resources import ALL_SCOPES, Credential, Defaults, Endpoint, Model, Policy, Principal, Provider
from fairlead.settings import Journal, Media, Server, Settings, Sink
from fairlead.upstream import Timeouts
from fairlead.upstream.guard import is_allowable

S = TypeVar("S", bound=Struct)
DEFAULT_FILE = "fairlead.toml"
SIMULATOR = "sim"
_SHORTEST_SECRET = 32

_SINK_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset({"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})


def load(path: Path | None, environ: Mapping[str, str], *, find: bool = True, simulator: bool = False) -> Wishes:
    """The wishes of the file at `path` and of `environ`. Raises InvalidConfigs.

    Without a path: $FAIRLEAD_CONFIG, else ./fairlead.toml if it is there and `find`. `simulator` offers `sim/…` as a
    row `[providers.sim]` would.
    """
    return _Reader(located(path, environ, find=find), environ, simulator).wishes()


def located(path: Path | None, environ: Mapping[str, str], *, find: bool = True) -> Path | None:
    """Which file `load` reads."""
    if path is not None:
        return path
    if environ.get("FAIRLEAD_CONFIG"):
        return Path(environ["FAIRLEAD_CONFIG"])
    default = Path(DEFAULT_FILE)
    return default if find and default.is_file() else None


class _Reader:
    """One reading; `problems` grows on the way."""

    def __init__(self, path: Path | None, environ: Mapping[str, str], simulator: bool) -> None:
        self.path, self.environ, self.simulator = path, environ, simulator
        self.problems: list[InvalidConfig] = []
        self.places = Places("")
        self.told = self._parsed()

    def wishes(self) -> Wishes:
        for name in self.told:
            if name not in sections.KNOWN:
                self._wrong((name,), sections.LATER.get(name) or _unknown("section", name, sections.KNOWN))
        scalars = {name: self._scalars(name, kind) for name, kind in sections.SCALARS.items()}
        self._check_environ()
        self._check_database(scalars["database"])
        self._check_server(scalars["server"])  # type: ignore[arg-type]
        providers, credentials = self._providers()
        wishes = Wishes(
            settings=Settings(
                scalars["server"],  # type: ignore[arg-type]
                scalars["database"],  # type: ignore[arg-type]
                scalars["logging"],  # type: ignore[arg-type]
                self._journal(scalars["journal"]),  # type: ignore[arg-type]
                self._sinks(),
                self._media(scalars["media"]),  # type: ignore[arg-type]
            ),
            providers=tuple(providers.values()),
            credentials=credentials,
            models=tuple(self._models(providers)),
            file_keys=self._keys(),
            policy=Policy(*msgspec.structs.astuple(scalars["policy"])),
            defaults=Defaults(*msgspec.structs.astuple(scalars["defaults"])),
            timeouts=Timeouts(*msgspec.structs.astuple(scalars["timeouts"])),
        )
        if self.problems:
            raise InvalidConfigs(self.problems)
        return wishes

    # ---- problems

    def _wrong(self, path: tuple[str, ...], message: str) -> None:
        file = str(self.path) if self.path is not None else None
        dotted = ".".join(path)
        self.problems.append(
            InvalidConfig(masked(f"{dotted}: {message}"), file=file, line=self.places.line(*path), path=dotted)
        )

    def _parsed(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            text = self.path.read_text(encoding="utf-8")
            self.places = Places(text)
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"\(at line (\d+)", str(error))
            line = int(at[1]) if at else None
            problem = InvalidConfig(f"not TOML: {error}", file=str(self.path), line=line)
        except RecursionError:
            problem = InvalidConfig("nested too deeply", file=str(self.path))
        except UnicodeDecodeError as error:
            problem = InvalidConfig(f"not UTF-8: byte {error.start}", file=str(self.path))
        except ValueError as error:  # a number of thousands of digits
            problem = InvalidConfig(str(error).partition(";")[0], file=str(self.path))
        except OSError as error:
            problem = InvalidConfig(f"{self.path} cannot be read: {error.strerror}")
        raise InvalidConfigs([problem])

    # ---- sections of scalars

    def _scalars(self, section: str, kind: type[S]) -> S:
        told = self._table(self.told.get(section, {}), (section,))
        if section in sections.OVERRIDABLE:
            told = {**told, **self._overrides(section, kind)}
        return self._struct(told, kind, (section,))

    def _overrides(self, section: str, kind: type[Struct]) -> dict[str, Any]:
        found = {}
        for field in msgspec.structs.fields(kind):
            variable = sections.variable(section, field.name)
            value = self.environ.get(variable)
            if value:  # one that is empty counts as not set
                try:
                    told = _listed(value) if typing.get_origin(field.type) is tuple else value
                    found[field.name] = msgspec.convert(told, field.type, strict=False)
                except msgspec.ValidationError as error:
                    self._wrong_variable(variable, _told(error))
        return found

    def _check_environ(self) -> None:
        known = {*sections.override_variables(), *sections.OTHER_VARIABLES}
        for name, value in self.environ.items():
            if not name.startswith("FAIRLEAD_") or name in known or sections.is_service_link(name, value):
                continue
            section = name.split("_")[1].lower()
            if section in sections.OVERRIDABLE or difflib.get_close_matches(name, known, n=1, cutoff=0.95):
                self._wrong_variable(name, _unknown("variable", name, known))
            elif section in sections.SCALARS:
                self._wrong_variable(name, f"[{section}] is read from the file only")

    def _wrong_variable(self, name: str, message: str) -> None:
        self.problems.append(InvalidConfig(masked(f"{name}: {message}"), file="environment", path=name))

    def _check_database(self, database: Struct) -> None:
        url: str = getattr(database, "url", "")
        if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
            return
        message = "must be sqlite:///FILE"
        if url.startswith("postgres"):
            message += "; PostgreSQL is not in this version"
        if self.environ.get(variable := sections.variable("database", "url")):
            self._wrong_variable(variable, message)
        else:
            self._wrong(("database", "url"), message)

    def _check_server(self, server: Server) -> None:
        for name, message in edge.problems(server):
            if self.environ.get(variable := sections.variable("server", name)):
                self._wrong_variable(variable, message)
            else:
                self._wrong(("server", name), message)

    def _media(self, media: Media) -> Media:
        for host in media.allowed_hosts:
            if not is_allowable(host):
                message = f"{host!r} must be a host's name, an address or a network, as '10.0.0.0/8'"
                if self.environ.get(variable := sections.variable("media", "allowed_hosts")):
                    self._wrong_variable(variable, message)
                else:
                    self._wrong(("media", "allowed_hosts"), message)
        return media

    def _journal(self, journal: Journal) -> Journal:
        if journal.max_bytes < 4 * journal.segment_bytes:
            self._wrong(("journal", "max_bytes"), "must be four times journal.segment_bytes or more")
        return journal

    def _sinks(self) -> dict[str, Sink]:
        found: dict[str, Sink] = {}
        for name, value in self._table(self.told.get("sinks", {}), ("sinks",)).items():
            path = ("sinks", name)
            if not _SINK_NAME.fullmatch(name) or name == "database":
                self._wrong(path, "a sink's name has letters, digits, '-' and '_', and is not 'database'")
                continue
            found[name] = self._struct(self._table(value, path), Sink, path)
            if not found[name].path:
                self._wrong((*path, "path"), "must be told: the file that gets the lines")
        seen: dict[str, str] = {}
        for name, sink in found.items():
            other = seen.setdefault(sink.path, name)
            if other != name:
                self._wrong(("sinks", name, "path"), f"is that of the sink {other!r} as well")
        return found

    # ---- providers

    def _providers(self) -> tuple[dict[str, Provider], dict[str, Credential]]:
        told = self._table(self.told.get("providers", {}), ("providers",))
        merged = {name: row for name, row in rows().items() if self._is_offered(name, row, told)}
        for name, value in told.items():
            path = ("providers", name)
            if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
                self._wrong(path, "a provider's name has lower-case letters, digits, '-', '_' and '.' only")
                continue
            merged[name] = self._row(self._table(value, path), path, merged.get(name))
        providers = {name: provider_of(name, row) for name, row in merged.items()}
        credentials = {}
        for name, row in merged.items():
            value = self._credential(name, row)
            if value:
                credentials[name] = Credential(name, value)
        return providers, credentials

    def _is_offered(self, name: str, row: Row, told: dict[str, Any]) -> bool:
        """Vendors are, where there is a credential; what needs none, where it is named."""
        return row.signing != "none" or name in told or (name == SIMULATOR and self.simulator)

    def _row(self, told: dict[str, Any], path: tuple[str, ...], known: Row | None) -> Row:
        """What is told of a provider, upon what is known of it. One that says nothing of a credential needs none."""
        row = self._struct(told, Row, path)
        given = {field: value for field in row.__struct_fields__ if (value := getattr(row, field)) is not None}
        if known is None and not told.keys() & {"credential", "credential_env", "signing"}:
            given["signing"] = "none"
        if known is not None and known.headers and row.headers:
            given["headers"] = {**known.headers, **row.headers}
        if isinstance(row.credential, dict) and "env" in row.credential:
            given["credential_env"] = row.credential["env"]
        return self._checked(msgspec.structs.replace(known or Row(), **given), path)

    def _checked(self, row: Row, path: tuple[str, ...]) -> Row:
        """`row`, without what is wrong in it."""
        if not row.protocols:
            self._wrong((*path, "protocols"), f"is missing: one or more of {', '.join(PROTOCOLS)}")
        for protocol in row.protocols or ():
            if protocol not in PROTOCOLS:
                self._wrong((*path, "protocols"), _unknown("protocol", protocol, PROTOCOLS))
        if isinstance(row.protocols, dict):
            for protocol, url in row.protocols.items():
                self._check_url(url, (*path, "protocols", protocol))
        else:
            self._check_url(row.base_url, (*path, "base_url"))
        if row.models_path and not (row.models_path.startswith("/") and _is_visible(row.models_path)):
            self._wrong((*path, "models_path"), 'must begin with "/"; "" if the provider has no list of models')
        for quirk in row.quirks or ():
            if quirk not in quirks.KNOWN:
                self._wrong((*path, "quirks"), _unknown("quirk", quirk, quirks.KNOWN))
        for header, value in (row.headers or {}).items():
            if problem := _wrong_header(header, value):
                self._wrong((*path, "headers", header), problem)
        if row.call_header is not None and (problem := _wrong_header(row.call_header, "")):
            self._wrong((*path, "call_header"), problem)
        return self._with_ca(self._with_signing(row, path), path)

    def _with_signing(self, row: Row, path: tuple[str, ...]) -> Row:
        told = row.signing
        if not isinstance(told, dict) or (list(told) == ["header"] and not _wrong_header(told["header"], "")):
            return row
        self._wrong((*path, "signing"), 'must be "bearer", "none" or { header = "x-api-key" }')
        return msgspec.structs.replace(row, signing=None)

    def _with_ca(self, row: Row, path: tuple[str, ...]) -> Row:
        if row.ca_file is None or self.path is None:
            return row
        file = self.path.parent / row.ca_file
        if not file.is_file():
            self._wrong((*path, "ca_file"), f"{row.ca_file} is not there")
        return msgspec.structs.replace(row, ca_file=str(file))

    def _check_url(self, url: str | None, path: tuple[str, ...]) -> None:
        if url is None:
            self._wrong(path, "is missing: the address of the API, version included: https://api.example.com/v1")
        elif not _is_base_url(url):
            self._wrong(
                path, "must be the address of an API, version included, and no more: https://api.example.com/v1"
            )

    def _credential(self, name: str, row: Row) -> str | None:
        path = ("providers", name, "credential")
        if row.credential is None:
            value = self.environ.get(row.credential_env) if row.credential_env else None
        else:
            value = self._secret(row.credential, path, must=False)
        value = value.strip() if value is not None else None
        if value and not _is_visible(value):
            where = f" (from {row.credential_env})" if row.credential_env else ""
            self._wrong(path, f"holds characters that no header may have{where}")
        return value

    def _secret(self, told: str | dict[str, str], path: tuple[str, ...], *, must: bool) -> str | None:
        """A secret as it is, or from where it is: {env = "NAME"}, {file = "path"}."""
        if isinstance(told, str):
            return told
        match list(told.items()):
            case [("env", name)]:
                value = self.environ.get(name) or None
                if value is None and must:
                    self._wrong(path, f"the variable {name} is not set")
                return value
            case [("file", name)]:
                try:
                    return ((self.path.parent if self.path else Path()) / name).read_text(encoding="utf-8").strip()
                except OSError as error:
                    self._wrong(path, f"{name} cannot be read: {error.strerror}")
                except ValueError:  # no UTF-8 in it, or NUL in its name
                    self._wrong(path, f"{name!r} holds no text")
                return None
        self._wrong(path, 'must be a string, { env = "NAME" } or { file = "path" }')
        return None

    # ---- models and keys

    def _models(self, providers: Mapping[str, Provider]) -> Iterable[Model]:
        for name, value in self._table(self.told.get("models", {}), ("models",)).items():
            path = ("models", name)
            told = self._struct(self._table(value, path), sections.Model, path)
            if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
                self._wrong(path, f"a model's name has 1 to {LONGEST_NAME} printable characters")
            if not told.endpoints:
                self._wrong((*path, "endpoints"), 'must name at least one endpoint: ["provider/model"]')
            endpoints = []
            for wish in told.endpoints:
                head, slash, rest = wish.partition("/")
                if not slash or not rest:
                    self._wrong((*path, "endpoints"), f"{wish!r} must be provider/model")
                elif head not in providers:
                    self._wrong((*path, "endpoints"), _unknown("provider", head, providers))
                else:
                    endpoints.append(Endpoint(providers[head], rest))
            yield Model(name, tuple(endpoints))

    def _keys(self) -> dict[bytes, Principal]:
        found: dict[bytes, Principal] = {}
        told = self.told.get("keys", [])
        if not isinstance(told, list):
            self._wrong(("keys",), "must be written as [[keys]]")
            return found
        for index, value in enumerate(told):
            path = ("keys", str(index))
            key = self._struct(self._table(value, path), sections.Key, path)
            secret = self._secret(key.secret, (*path, "secret"), must=True)
            self._check_key(key, secret, path)
            if secret is None:
                continue
            hash = hashlib.sha256(secret.encode()).digest()
            if hash in found:
                self._wrong((*path, "secret"), "is that of another key as well")
            if key.name and any(key.name == other.name for other in found.values()):
                self._wrong((*path, "name"), f"{key.name!r} is the name of another key as well")
            found[hash] = Principal(f"file:{key.name}", key.name, frozenset(key.scopes))
        return found

    def _check_key(self, key: sections.Key, secret: str | None, path: tuple[str, ...]) -> None:
        if not key.name or not key.name.isprintable():
            self._wrong((*path, "name"), "must be told: who or what has this key")
        if secret is not None and (len(secret) < _SHORTEST_SECRET or not _is_visible(secret)):
            self._wrong((*path, "secret"), f"must have {_SHORTEST_SECRET} visible ASCII characters or more")
        if not key.scopes:
            self._wrong((*path, "scopes"), f"must name at least one of {', '.join(ALL_SCOPES)}")
        for scope in key.scopes:
            if scope not in ALL_SCOPES:
                self._wrong((*path, "scopes"), _unknown("scope", scope, ALL_SCOPES))

    # ---- shapes

    def _table(self, value: Any, path: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(path, f"must be a table, [{'.'.join(path)}]")
        return {}

    def _struct(self, told: dict[str, Any], kind: type[S], path: tuple[str, ...]) -> S:
        """`told` as a `kind`, field by field: what is wrong is a problem, and stays at its default."""
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        right = {}
        for name, value in told.items():
            if name not in fields:
                later = sections.LATER.get(".".join((*path, name)))
                self._wrong((*path, name), later or _unknown("option", name, fields))
                continue
            try:
                right[name] = msgspec.convert(value, fields[name].type)
            except msgspec.ValidationError as error:
                self._wrong((*path, name), _told(error))
        return kind(**right)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"


def _told(error: msgspec.ValidationError) -> str:
    return str(error).replace("`", "'").replace("Expected", "must be")


def _is_visible(text: str) -> bool:
    """Whether `text` is ASCII that can be seen, without blanks: what fits into a request line or is a secret."""
    return all("!" <= c <= "~" for c in text)


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https", "simulator") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return right and _is_visible(url) and not set("?#@") & set(url)


def _wrong_header(name: str, value: str) -> str | None:
    """What is wrong with a header that a row adds."""
    if not _HEADER_NAME.fullmatch(name):
        return "is no name of a header"
    if name.lower() in _FRAMING:
        return "is a header that the gateway sets itself"
    if not all(" " <= c <= "\xff" and c != "\x7f" for c in value):
        return "has a value with control characters, or beyond Latin-1"
    return None


def _listed(value: str) -> list[str]:
    """Of a variable that holds several, with commas between."""
    return [part.strip() for part in value.split(",") if part.strip()]
