"""What browsers are told: the headers that keep a page from misusing an answer, and which pages may ask at all.

https://fetch.spec.whatwg.org/#http-cors-protocol. Nothing here rests on cookies: a page may use a key it was given.
"""

import re
from collections.abc import Iterable

from fairlead.http.asgi import Header
from fairlead.http.exchange import Exchange

# On every answer; see https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html.
SECURITY = (
    b"x-content-type-options: nosniff\r\n"
    b"x-frame-options: DENY\r\n"
    b"referrer-policy: no-referrer\r\n"
    b"permissions-policy: camera=(), geolocation=(), microphone=(), payment=(), usb=()\r\n"
)
POLICY = b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"  # unless a page brings its own
HSTS = b"strict-transport-security: max-age=31536000\r\n"  # over TLS

_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_EXPOSED = (
    b"x-request-id, x-generation-id, request-id, retry-after, x-should-retry, x-fairlead-upstream-request-id"
    b", x-fairlead-dropped, x-fairlead-estimated"
)
_SECONDS = b"600"  # that a browser may remember what it was told
_NAMES = re.compile(rb"[A-Za-z0-9-]+(?:[ \t]*,[ \t]*[A-Za-z0-9-]+)*")
_LONGEST_NAMES = 1024


class Origins:
    """The pages that may ask: "https://app.example", or "*" for any."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = {origin.encode() for origin in allowed}
        self._any = b"*" in self._allowed

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def lines(self, headers: Iterable[Header]) -> bytes:
        """What the answer to a request with `headers` says of it."""
        origin = _value(headers, b"origin")
        if self._any:
            told = b"*"
        elif origin in self._allowed:
            told = origin
        else:
            return b"vary: origin\r\n"
        vary = b"" if self._any else b"vary: origin\r\n"
        exposed = b"access-control-expose-headers: %b\r\n" % _EXPOSED
        return b"access-control-allow-origin: %b\r\n%b%b" % (told, exposed, vary)

    def is_preflight(self, method: str, headers: Iterable[Header]) -> bool:
        """Whether a browser asks, before it sends a page's request, if it may."""
        return method == "OPTIONS" and any(name == b"access-control-request-method" for name, _ in headers)


async def preflight(exchange: Exchange) -> None:
    """Say what may be sent; for a page that may not, the lines that name it are missing."""
    wanted = _value(exchange.headers, b"access-control-request-headers")
    headers = [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _SECONDS)]
    if len(wanted) <= _LONGEST_NAMES and _NAMES.fullmatch(wanted):
        headers.append((b"access-control-allow-headers", wanted))
    exchange.begin(204, headers)
    exchange.end()


def _value(headers: Iterable[Header], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")
