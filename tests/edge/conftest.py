"""A gateway for each module and each way to serve; after each case it has to be as it was before."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from edge.attack import CONFIG, Door, alive, anonymous_mb
from gateway import Gateway, gateway

_GROWTH_MB = 32  # of a group of attacks: what a heap in pieces keeps; what is kept of each attack would be more


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The edge is tested on the event loop it runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["direct", "asgi"])
async def _gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """`SERVER` of the test's module: more lines of [server]."""
    lines = f'protocol = "{request.param}"\nmax_wrong_keys = 1_000_000\n{getattr(request.module, "SERVER", "")}'
    objects, failed = alive(), request.session.testsfailed
    gc.freeze()  # what is here before need not be looked at again each time
    async with gateway(tmp_path_factory.mktemp("edge"), CONFIG, server=lines) as running:
        await Door(running).is_well()  # what is there once is not what is measured
        before = anonymous_mb()
        yield running
        grown = anonymous_mb() - before
    gc.unfreeze()
    assert grown < _GROWTH_MB
    if request.session.testsfailed == failed:  # else its traceback keeps what it was about
        assert alive() <= objects


@pytest.fixture(params=["direct", "asgi"])
def protocol(request: pytest.FixtureRequest) -> str:
    """For tests that open a gateway of their own."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(loop_scope="module")
async def door(_gateway: Gateway) -> AsyncIterator[Door]:
    """The gateway's door. After the test it opens for a good request, and nothing of the test is left behind it."""
    door = Door(_gateway)
    yield door
    door.leave()
    await door.is_well()
