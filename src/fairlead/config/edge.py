"""Checks what is wished of the edge: origins, proxies, certificates."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from fairlead.settings import Server


def problems(server: Server) -> Iterator[tuple[str, str]]:
    """Options of [server] that cannot be, and why."""
    for origin in server.allowed_origins:
        if not _is_origin(origin):
            shown = repr(origin) if "@" not in origin else "an address with a user in it"
            yield "allowed_origins", f"{shown} must be '*' or an origin, as 'https://app.example' (no path)"
    for proxy in server.trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            yield "trusted_proxies", f"{proxy!r} must be an address or a network, as '10.0.0.0/8'"
    if bool(server.tls_certificate) != bool(server.tls_key):
        missing = "tls_key" if server.tls_certificate else "tls_certificate"
        yield missing, "must be told as well: a certificate and its key belong together"
    elif server.require_tls and not server.tls_certificate and not server.trusted_proxies:
        yield "require_tls", "nothing can come over TLS: set tls_certificate and tls_key, or trusted_proxies"


def _is_origin(text: str) -> bool:
    if text == "*":
        return True
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    whole = f"{parts.scheme}://{parts.netloc}"
    return bool(parts.scheme and parts.hostname) and text == whole and "@" not in text and text.isascii()
