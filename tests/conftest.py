"""What all tests share."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gateway import Gateway, gateway

# A slow or busy machine is no failure.
settings.register_profile("whatever the machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever the machine")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with the simulator."""
    async with gateway(tmp_path) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never speak with a real provider."""
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name == "HF_TOKEN":
            monkeypatch.delenv(name)
