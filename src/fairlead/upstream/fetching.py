"""What stands at an address that a client named: images and documents for providers that want bytes.

Nothing is known of whoever answers, and the client is not trusted with what is inside: `guard` decides who may be
asked, each redirect is checked like the address itself, and all is bounded: bytes, time, redirects, fetches at once.
Nothing of the client's or the provider's is sent, no credential and no cookie. decision 0014
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from urllib.parse import quote, urljoin, urlsplit

from msgspec import Struct, structs

from fairlead import __version__
from fairlead.buffers import Buffers
from fairlead.errors import InvalidRequest, Unavailable, UpstreamError, masked
from fairlead.upstream import Origin, Timeouts, UpstreamRequest, UpstreamResponse
from fairlead.upstream.dns import Lookup
from fairlead.upstream.guard import Guard, host_of
from fairlead.upstream.pool import Pool

log = logging.getLogger("fairlead.fetching")

_AT_ONCE_OF_ONE = 8  # addresses of one request
_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")  # of a URL, without a user
_LONGEST_URL = 8192
_LONGEST_SHOWN = 200
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # of a path and a query, as they stand: escapes, too
_HEAD = (
    "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: fairlead/{version}\r\naccept: */*\r\n"
    "accept-encoding: identity\r\nconnection: close\r\n"
)
_NOUNS = {"image": "image", "document": "document", "audio": "sound", "video": "film"}
_WANTED = {
    "image": "a PNG, JPEG, GIF or WebP image",
    "document": "a PDF or a text, told by its content-type",
    "audio": "a sound, told by its content-type",
    "video": "a film, told by its content-type",
}
_TYPE = re.compile(r"[a-z0-9][\w.+-]*/[a-z0-9][\w.+-]*", re.ASCII)
# How a file of the type begins.
_BEGINNINGS = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "application/pdf": re.compile(rb".{0,1019}%PDF-", re.DOTALL),
}
_TOLD_APART = {*_BEGINNINGS, "image/jpg"}


class Fetched(Struct, frozen=True):
    """What stood there: `media_type` without parameters, and checked by how `data` begins where that can be."""

    media_type: str
    data: bytes


class Allowance:
    """What one request may fetch, all its addresses together. The bytes count in `buffers` until `close`."""

    def __init__(self, limit: int, buffers: Buffers) -> None:
        self.limit = self.left = limit
        self.places = asyncio.Semaphore(_AT_ONCE_OF_ONE)
        self._buffers = buffers

    def take(self, size: int) -> None:
        """Raises _NotFetched if it is used up, Unavailable if the gateway's memory is."""
        if size > self.left:
            size_told = f"must have at most {self.limit} bytes, together with all others of the request"
            raise _NotFetched("it is too large", size_told)
        self._buffers.hold(size)
        self.left -= size

    def close(self) -> None:
        self._buffers.release(self.limit - self.left)
        self.limit = self.left = 0


class Fetcher:
    """Fetches what clients name. Who opens it closes it."""

    def __init__(
        self,
        *,
        buffers: Buffers,
        max_bytes: int = 20 << 20,
        seconds: float = 10.0,
        max_addresses: int = 20,
        max_at_once: int = 32,
        ports: Collection[int] = (80, 443),
        allowed_hosts: Iterable[str] = (),
        lookup: Lookup | None = None,
        clock: Callable[[], float] = time.monotonic,
        ca_file: str | None = None,
    ) -> None:
        """`max_bytes`: of all that one request names, as `max_addresses`. `seconds`: for one address, its redirects
        and the wait for one of `max_at_once` places. `allowed_hosts`: names, addresses and networks that need not be
        public; ValueError if one is none of these."""
        self.max_addresses = max_addresses
        self._buffers, self._max_bytes, self._seconds = buffers, max_bytes, seconds
        self._ports, self._ca_file = frozenset(ports), ca_file
        self._timeouts = Timeouts(seconds, seconds, seconds, seconds)
        self._places = asyncio.Semaphore(max_at_once)
        # No connection is kept: the next one may be to anybody.
        self._pool = Pool(resolver=Guard(allowed=allowed_hosts, lookup=lookup, clock=clock), max_age_seconds=0)

    def allowance(self) -> Allowance:
        """For the addresses of one request."""
        return Allowance(self._max_bytes, self._buffers)

    async def fetch(self, url: str, kind: str = "image", allowance: Allowance | None = None) -> Fetched:
        """What stands at `url`, which should be an image, a document, an audio or a video.

        Raises InvalidRequest, with a code as `invalid_image_url`. It tells nothing of the inside: whether there is
        such a host, whether it is private, refuses or is silent, the words are the same. Raises Unavailable if the
        gateway is at its bounds.
        """
        taken = allowance or self.allowance()
        begun = False
        try:
            async with taken.places, asyncio.timeout(self._seconds), self._places:
                begun = True
                return await self._followed(url, kind, taken)
        except (_NotFetched, UpstreamError, TimeoutError) as error:
            if not begun:
                raise Unavailable("The gateway fetches as many addresses as it may. Try again shortly.") from None
            raise self._told(url, kind, error) from None
        finally:
            self._pool.sweep_soon()  # it shall not remember hosts
            if allowance is None:
                taken.close()

    async def _followed(self, url: str, kind: str, allowance: Allowance) -> Fetched:
        request, at = self._request(url), url
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._pool.send(request)
            try:
                location = response.headers.get(b"location")
                if response.status not in _REDIRECTS or location is None:
                    return await self._read(response, kind, allowance)
            finally:
                response.close()
            try:
                at = urljoin(at, location.decode("latin-1"))
                request = self._request(at)
            except (_NotFetched, ValueError):  # the client cannot help where its host sends us
                raise _NotFetched("it redirects to what is no address") from None
        raise _NotFetched("it redirects too often", f"must redirect at most {_MOST_REDIRECTS} times")

    def _request(self, url: str) -> UpstreamRequest:
        """The request for `url`. Raises _NotFetched if it is not spelt as we take it."""
        taken = _taken_apart(url)
        if taken is None or taken[0].port not in self._ports:
            ports = " or ".join(map(str, sorted(self._ports)))
            raise _NotFetched(
                "it is no address that is taken",
                f"must stand at http:// or https:// and the usual spelling of a host, without a user, on port {ports}",
            )
        origin, target = structs.replace(taken[0], ca_file=self._ca_file), taken[1]
        head = _HEAD.format(target=target, host=origin.host_header, version=__version__)
        return UpstreamRequest(origin, head.encode("ascii"), b"", self._timeouts)

    async def _read(self, response: UpstreamResponse, kind: str, allowance: Allowance) -> Fetched:
        headers = response.headers
        if response.status != 200:
            status = f"answered with status {response.status}"
            raise _NotFetched(f"it {status}", f"must be there for everybody: its host {status}")
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
            raise _NotFetched("it came compressed", "must be served without content-encoding, as was asked for")
        length = headers.get(b"content-length", b"").strip()
        if length.isdigit() and int(length) > allowance.left:
            allowance.take(int(length))
        chunks = []
        while chunk := await response.read():
            allowance.take(len(chunk))
            chunks.append(chunk)
        data = b"".join(chunks)
        told = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        media_type = _type_of(kind, told if _TYPE.fullmatch(told) else "", data)
        if media_type is None:
            raise _NotFetched(f"it is no {kind}: {told[:60]!r}", f"must be {_WANTED[kind]}")
        return Fetched(media_type, data)

    def _told(self, url: str, kind: str, error: Exception) -> InvalidRequest:
        """What the client hears; the log has the reason."""
        reason = error.message if isinstance(error, UpstreamError) else str(error)
        taken = _taken_apart(url)
        log.info("not fetched from %s: %s", taken[0].host if taken else "?", reason or "it took too long")
        wish = error.wish if isinstance(error, _NotFetched) else ""
        wish = wish or f"must be at a public address and come within {self._seconds:g} s"
        return InvalidRequest(
            f"The {_NOUNS[kind]} {shown(url)} could not be fetched: it {wish}.", code=f"invalid_{kind}_url"
        )

    async def aclose(self) -> None:
        """End what is under way."""
        await self._pool.aclose()


class _NotFetched(Exception):
    """`str()` is why, for the log; `wish` is what would be right, for the client: "" where that tells too much."""

    def __init__(self, reason: str, wish: str = "") -> None:
        super().__init__(reason)
        self.wish = wish


def shown(url: str) -> str:
    """An address as a message may quote it: bounded, without its query, which may be signed."""
    told = "".join(c if c.isprintable() else "?" for c in re.split(r"[?#]", url, maxsplit=1)[0][:_LONGEST_SHOWN])
    if "@" in told.partition("//")[2].partition("/")[0]:
        told = "(an address with a user in it)"
    return f"'{masked(told)}'"


def _taken_apart(url: str) -> tuple[Origin, str] | None:
    """The origin and the target of a request; None where it could be read in two ways, or is not http or https."""
    if len(url) > _LONGEST_URL or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if parts.scheme not in _PORTS or authority is None:
        return None
    literal, name, port = authority.groups()
    host = host_of((literal or name).lower(), bracketed=literal is not None)
    if host is None:
        return None
    target = quote(parts.path or "/", safe=_KEPT) + (f"?{quote(parts.query, safe=_KEPT)}" if parts.query else "")
    return Origin(parts.scheme, host, int(port or _PORTS[parts.scheme])), target


def _type_of(kind: str, told: str, data: bytes) -> str | None:
    """The type of `data` that came as `told`; None if it is not of this kind, or not what it was told to be."""
    begun = next((mime for mime, begins in _BEGINNINGS.items() if begins.match(data)), None)
    if begun is not None and (kind, begun.partition("/")[0]) in (("image", "image"), ("document", "application")):
        return begun
    family = told.partition("/")[0]
    if begun is not None or not data or told in _TOLD_APART:
        return None
    if kind != "document":
        return told if family == kind else None
    return None if family in ("", "image", "audio", "video") or told == "application/octet-stream" else told
