"""What is fixed at start: where to listen, what to keep, what to log. A change acts at the next start."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fairlead import tally

MIB = 1 << 20
Port = Annotated[int, Meta(ge=0, le=65535)]
_DAY = 86_400
Seconds = Annotated[float, Meta(gt=0, le=_DAY)]
Grace = Annotated[float, Meta(ge=0, le=_DAY)]
Size = Annotated[int, Meta(ge=1024)]


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """The process: its address, its folder, its bounds."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8080  # 0: any free one
    protocol: Literal["direct", "asgi"] = "direct"  # how calls come from the server: without ASGI between, or with it
    state_dir: Annotated[str, Meta(min_length=1)] = "./.fairlead"
    max_body_bytes: Size = 32 * MIB
    max_response_bytes: Size = 64 * MIB
    # And arrays, of a request or an answer; beyond it 400 or 502.
    max_objects: Annotated[int, Meta(ge=1000)] = tally.MOST
    max_buffered_bytes: Size = 512 * MIB  # all calls together; beyond it new ones are 503
    max_event_bytes: Size = 32 * MIB
    max_connections: Annotated[int, Meta(ge=1)] | None = None  # None: what file descriptors allow
    max_connections_per_address: Annotated[int, Meta(ge=1)] | None = None  # None: half of `max_connections`
    max_unread_bytes: Size = 64 * MIB  # of bodies nobody has read, of all, and of heads that are not whole; then 503
    max_wrong_keys: Annotated[int, Meta(ge=1)] = 20  # of one address, before it has to wait
    allowed_origins: tuple[str, ...] = ()  # of browsers' pages: "https://app.example", or "*"
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-For and -Proto are believed
    tls_certificate: str = ""  # file, PEM, with the chain; read again when it changes
    tls_key: str = ""  # file, PEM
    require_tls: bool = False  # 403 for what does not come over TLS, to us or to a trusted proxy
    heartbeat_seconds: Seconds = 15.0
    header_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    idle_seconds: Seconds = 75.0
    drain_notice_seconds: Grace = 5.0
    drain_seconds: Grace = 30.0


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """Where keys and records are; a relative SQLite path lies below `server.state_dir`."""

    url: str = "sqlite:///fairlead.db"


class Journal(Struct, frozen=True, forbid_unknown_fields=True):
    """What calls use, written down before it is spent; below `server.state_dir`."""

    fsync: Literal["off", "interval", "always"] = "interval"
    max_bytes: Annotated[int, Meta(ge=MIB)] = 4096 * MIB
    segment_bytes: Annotated[int, Meta(ge=64 << 10, le=256 * MIB)] = 4 * MIB
    on_full: Literal["refuse", "drop"] = "refuse"


class Sink(Struct, frozen=True, forbid_unknown_fields=True):
    """Another reader of the journal, besides the database."""

    path: str = ""  # relative: below `server.state_dir`
    kind: Literal["jsonl"] = "jsonl"


class Media(Struct, frozen=True, forbid_unknown_fields=True):
    """What clients name by its address, and providers want as bytes: whether it is fetched, and what bounds that."""

    fetch: bool = True
    max_bytes: Size = 20 * MIB  # of all that one request names
    seconds: Seconds = 10.0  # for each
    max_addresses: Annotated[int, Meta(ge=1)] = 20  # of one request
    max_at_once: Annotated[int, Meta(ge=1)] = 32  # of all calls
    ports: tuple[Annotated[int, Meta(ge=1, le=65535)], ...] = (80, 443)
    allowed_hosts: tuple[str, ...] = ()  # that may be private: names, addresses, networks


class Logging(Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged, and how: "auto" is text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    access: bool = True


class Settings(Struct, frozen=True):
    """All of it."""

    server: Server = Server()
    database: Database = Database()
    logging: Logging = Logging()
    journal: Journal = Journal()
    sinks: dict[str, Sink] = {}
    media: Media = Media()
