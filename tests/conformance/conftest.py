"""A gateway in front of two providers, one of each protocol, and of models that fail over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import Gateway, both_ways, gateway  # noqa: F401
from serving import serving

ROWS = """
[providers.oa]
base_url = "{openai}/v1"
protocols = ["openai-chat", "openai-completions"]
signing = "none"

[providers.an]
base_url = "{anthropic}/v1"
protocols = ["anthropic-messages"]
signing = "none"

[models.both]
endpoints = ["oa/echo+status=503", "an/echo"]
"""


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Gateway]:
    """Providers `oa` (OpenAI's protocols) and `an` (Anthropic's), over HTTP."""
    async with serving("openai-chat", "openai-completions") as openai, serving("anthropic-messages") as anthropic:
        async with gateway(tmp_path, ROWS.format(openai=openai, anthropic=anthropic)) as started:
            started.upstreams = {"oa": openai, "an": anthropic}
            yield started
