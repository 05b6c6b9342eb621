"""The client is tested on both event loops, against servers on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from fairlead.upstream import Origin, Timeouts, UpstreamRequest
from fairlead.upstream.pool import Pool


@pytest.fixture(params=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.aclose()


@pytest.fixture
def ask() -> Callable[..., UpstreamRequest]:
    return asking


def asking(
    url: str, body: bytes = b"{}", *, timeouts: Timeouts | None = None, ca_file: str | None = None, start: bytes = b"POST /"
) -> UpstreamRequest:
    origin = Origin.of(url, ca_file)
    head = b"%b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n" % (start, origin.host_header.encode())
    return UpstreamRequest(origin, head, body, timeouts or Timeouts(connect=5, first_byte=5, silence=5, total=10))
