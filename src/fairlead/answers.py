"""What a provider answered: read within its bounds, its refusals understood, our secrets kept out of them."""

import time
from collections.abc import Iterable, Iterator

from fairlead.buffers import Buffers
from fairlead.errors import UpstreamBroken, UpstreamError
from fairlead.protocols import Asked
from fairlead.resources import Credential, Provider
from fairlead.routing import retry
from fairlead.upstream import UpstreamResponse

MAX_ERROR_BYTES = 64 << 10  # of an upstream's error body
_SHORTEST_SECRET = 12  # characters of a header's value that may be one
_SHORTEST_CREDENTIAL = 8  # a shorter one is no secret but a word for none: "EMPTY", "ollama"


async def read(response: UpstreamResponse, limit: int, buffers: Buffers, *, cut: bool = False) -> bytes:
    """The whole body, at most `limit` bytes: beyond that it is cut off, or UpstreamBroken. Raises Unavailable."""
    first = chunk = await response.read()
    chunks, size, held = [first], len(first), 0
    try:
        while size <= limit and chunk and (chunk := await response.read()):
            buffers.hold(len(chunk))
            held += len(chunk)
            chunks.append(chunk)
            size += len(chunk)
        if size > limit and not cut:
            raise too_large(limit)
    finally:
        buffers.release(held)
    return first if len(chunks) == 1 else b"".join(chunks)


async def refusal(wire: Asked, response: UpstreamResponse, buffers: Buffers) -> UpstreamError:
    """The error that a status of no success stands for."""
    if 300 <= response.status < 400:
        return UpstreamBroken(f"it answered with a redirect (status {response.status})")
    body = await read(response, MAX_ERROR_BYTES, buffers, cut=True)
    error = wire.decode_error(response.status, body, response.headers)
    error.upstream_status = response.status
    if error.retry_after is None:
        error.retry_after = retry.retry_after(response.headers, time.time())
    return error


def too_large(limit: int) -> UpstreamBroken:
    return UpstreamBroken(f"its answer is larger than {limit} bytes")


def secrets(provider: Provider, credential: Credential | None) -> Iterator[str]:
    """What is sent to `provider` and shall not come back from it."""
    if credential is not None and len(credential.value) >= _SHORTEST_CREDENTIAL:
        yield credential.value
    for value in provider.headers.values():
        if len(value) >= _SHORTEST_SECRET:
            yield value


def conceal(error: UpstreamError, hidden: Iterable[str]) -> None:
    for secret in hidden:
        error.hide(secret)
