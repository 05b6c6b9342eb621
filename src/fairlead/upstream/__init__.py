"""The upstream client: the one wheel we make ourselves. This is its interface; `pool.py` is the wheel.

A `Transport` sends one request and gives a response whose body is read chunk by chunk. Failures are
`errors.UpstreamError`s: `ConnectFailed`, `UpstreamTimeout`, `UpstreamBroken`.
"""

from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct


class Origin(Struct, frozen=True):
    """Where connections go: one keep-alive pool each."""

    scheme: str  # "http", "https", or a scheme some other transport serves ("simulator")
    host: str  # without brackets
    port: int
    ca_file: str | None = None  # trust these certificates instead of the system's

    @classmethod
    def of(cls, url: str, ca_file: str | None = None) -> "Origin":
        """The origin of a base URL; ValueError if it has none."""
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        if not parts.scheme or not parts.hostname:
            raise ValueError(f"no scheme or host in {url!r}")
        return cls(parts.scheme, parts.hostname, port, ca_file)

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (0, {"http": 80, "https": 443}.get(self.scheme)) else f"{host}:{self.port}"


class Timeouts(Struct, frozen=True):
    """Seconds to wait for a connection, the first byte of the answer, between two chunks, and in all."""

    connect: float = 10.0
    first_byte: float = 600.0
    silence: float = 300.0
    total: float = 3600.0


class UpstreamRequest(Struct):
    """One request, spelt. `head` is request line and header lines, each ended by CRLF, without content-length and
    without the empty line: the transport adds those. Whoever builds `head` has made sure no value breaks a line."""

    origin: Origin
    head: bytes
    body: bytes
    timeouts: Timeouts
    resent_head: bytes | None = None  # instead of `head`, if the request has to be sent again
    sends: int = 0  # how often it was sent, by the transport's word; 0: nothing of it has left


# Takes a chunk of a body, and the same as one chunk of HTTP/1.1 if it came as one (else b""). False: enough.
Take = Callable[[bytes, bytes], bool]


class UpstreamResponse(Protocol):
    """An answer whose status and headers are here."""

    status: int
    headers: dict[bytes, bytes]  # names in lower case; of several equal ones the first
    sends: int  # 2: the request was sent again because a reused connection had gone stale

    def whole(self) -> bytes | None:
        """The whole body, if all of it is here, and not read yet; None: `read` it."""
        ...

    async def read(self) -> bytes:
        """The next chunk of the body, b"" at its end. Raises UpstreamTimeout, UpstreamBroken."""
        ...

    async def pour(self, take: Take) -> bool:
        """Give the chunks that follow to `take`, each as soon as it comes, until it says False; whether it did: else
        the body has ended. Raises what `read` and `take` raise."""
        ...

    def close(self, *, ended: bool = False) -> None:
        """Done with it, read or not; synchronous, so that a cancelled call can. The second time does nothing.

        An answer that was not read to its end closes its connection. `ended`: the protocol's own end mark was seen, so
        only the framing of the body is still to come; the connection drains that quietly and goes back to its pool.
        """
        ...


class Transport(Protocol):
    """Something that can send a request upstream."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse: ...

    async def aclose(self) -> None: ...
