"""The head of a request to a provider: where it goes, who we are, and the few headers of a client that go along."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from fairlead import __version__
from fairlead.errors import InvalidRequest
from fairlead.resources import Credential, Provider
from fairlead.upstream import Origin

# What of a client's headers goes up, in pass-through only; there it wins over the row's, because the official SDKs
# send newer versions than a row knows.
FROM_CLIENT = (b"anthropic-version", b"anthropic-beta", b"openai-beta")
_TRACE_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_STATE = re.compile(rb"[\x20-\x7e]*")
_LONGEST_STATE = 512
_FROM_CLIENT = frozenset(FROM_CLIENT)
_LONGEST_VALUE = 8 << 10
_REMEMBERED = 4096  # heads
_LONGEST_REMEMBERED = 512  # bytes of a client's values, who may send ever new ones
_heads: dict[tuple[object, ...], tuple[Provider, bytes]] = {}  # the provider is kept so that its id stays its own


def request_head(
    provider: Provider,
    protocol: str,
    path: str,
    credential: Credential | None,
    client_headers: Mapping[bytes, bytes] | None,
) -> bytes:
    """Request line and headers of a POST, each ended by CRLF, without content-length and the empty line.

    `path` is relative to the provider's base URL for `protocol`. `client_headers` in pass-through only. Raises
    InvalidRequest for a client's header that cannot be sent on.
    """
    sent: tuple[bytes | None, ...] = ()
    if client_headers is not None and not _FROM_CLIENT.isdisjoint(client_headers):
        sent = tuple([client_headers.get(name) for name in FROM_CLIENT])
    key = (id(provider), protocol, path, credential and credential.value, sent)
    known = _heads.get(key)
    if known is None:
        own = {name: _checked(name, value) for name, value in zip(FROM_CLIENT, sent, strict=False) if value is not None}
        known = provider, _head("POST", provider, provider.base_urls[protocol] + path, credential, own)
        if sum(map(len, own.values())) <= _LONGEST_REMEMBERED:
            if len(_heads) >= _REMEMBERED:
                _heads.clear()
            _heads[key] = known
    return known[1]


def trace_context(parent: bytes, state: bytes | None) -> bytes:
    """The lines that say of which trace a request is a part: https://www.w3.org/TR/trace-context/. b"" for no trace."""
    if not _TRACE_PARENT.fullmatch(parent) or parent[3:35] == b"0" * 32 or parent[36:52] == b"0" * 16:
        return b""
    if not state or len(state) > _LONGEST_STATE or not _TRACE_STATE.fullmatch(state):
        return b"traceparent: %b\r\n" % parent
    return b"traceparent: %b\r\ntracestate: %b\r\n" % (parent, state)


def with_call(head: bytes, header: str, call: str, attempt: int) -> tuple[bytes, bytes]:
    """`head` with a line more that says which call this is, `<call>/<attempt>/<send>`: for the first send and the
    second."""
    line = f"{header}: {call}/{attempt}/".encode()
    return head + line + b"1\r\n", head + line + b"2\r\n"


def get_head(provider: Provider, url: str, credential: Credential | None) -> bytes:
    """The head of a GET of `url`."""
    return _head("GET", provider, url, credential, {})


def _head(
    method: str, provider: Provider, url: str, credential: Credential | None, client: dict[bytes, bytes]
) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        b"host": Origin.of(url).host_header.encode(),
        b"user-agent": f"fairlead/{__version__}".encode(),
        b"accept": b"*/*",
        b"accept-encoding": b"identity",
    }
    if method == "POST":
        headers[b"content-type"] = b"application/json"
    headers.update({name.lower().encode(): value.encode("latin-1") for name, value in provider.headers.items()})
    headers.update(client)
    if credential is not None:
        headers.update(_proof(provider, credential))
    lines = [f"{method} {target} HTTP/1.1".encode(), *(name + b": " + value for name, value in headers.items())]
    return b"\r\n".join(lines) + b"\r\n"


def _proof(provider: Provider, credential: Credential) -> dict[bytes, bytes]:
    match provider.signing.kind:
        case "bearer":
            return {b"authorization": b"Bearer " + credential.value.encode("latin-1")}
        case "header":
            return {provider.signing.header.encode(): credential.value.encode("latin-1")}
        case "none":
            return {}


def _checked(name: bytes, value: bytes) -> bytes:
    """`value`, if it cannot break out of its line."""
    if len(value) > _LONGEST_VALUE or any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value):
        shown = name.decode()
        raise InvalidRequest(f"The header '{shown}' is too long or holds control characters.", param=shown)
    return value
