"""However a call ends, reference counts free all that it was: a search for cycles comes seldom in a process that lives
long, and what waits for it is memory that only grows."""

import asyncio
import gc
import json
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway, both_ways, gateway, request  # noqa: F401
from serving import serving_process

PROVIDER = '[providers.up]\nbase_url = "{url}"\nprotocols = ["openai-chat"]\nsigning = "none"\nmodels_path = ""\n'
SECOND = '[models.second]\nendpoints = ["up/echo+status=500", "up/echo"]\n'

ENDINGS = {
    "well": ("up/echo", False, ""),
    "well, streamed": ("up/echo", True, ""),
    "at the second endpoint": ("second", True, ""),
    "refused": ("up/echo+status=500", False, ""),
    "refused, streamed": ("up/echo+status=429", True, ""),
    "cut off": ("up/echo+cut=1", False, ""),
    "cut off, streamed": ("up/echo+event=16+cut=4", True, ""),
    "reset": ("up/echo+reset", False, ""),
    "reset, streamed": ("up/echo+event=16+reset=4", True, ""),
    "an error event": ("up/echo+event=16+error=4", True, ""),
    "an event that is no JSON": ("up/echo+event=16+malformed=4", True, ""),
    "nobody's model": ("nobody/knows", False, ""),
    "left while it waits": ("up/echo+stall", False, "all"),
    "left in the middle": ("up/echo+event=16+stall=3", True, "event"),
    "left in the body": ("up/echo", False, "half"),
}


@pytest.fixture(autouse=True)
def no_search() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@contextmanager
def searched() -> Iterator[Counter[str]]:
    """What a search for cycles finds of what is done meanwhile, of what is ours."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(name for name in map(ours, gc.garbage) if name)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_call_leaves_nothing_that_has_to_be_searched_for(tmp_path: Path, path: str) -> None:
    found = {}
    async with (
        serving_process("openai-chat", pace=1.0) as url,
        gateway(tmp_path, PROVIDER.format(url=url) + SECOND) as running,
    ):
        for ending, (model, stream, leaves) in ENDINGS.items():
            message = {"role": "user", "content": "hi " * 30}
            body = json.dumps({"model": model, "stream": stream, "max_tokens": 99, "messages": [message]}).encode()
            for _ in range(2):  # whatever is made once
                await ask(running, path, body, leaves)
            with searched() as found[ending]:
                for _ in range(3):
                    await ask(running, path, body, leaves)
    assert {ending: names for ending, names in found.items() if names} == {}


async def ask(running: Gateway, path: str, body: bytes, leaves: str) -> None:
    """Once, and until the gateway has forgotten it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    told = request(path, body)
    writer.write(told[: -len(body) // 2] if leaves == "half" else told)
    async with asyncio.timeout(10):
        if leaves == "all":
            while not running.house.transports["http"].open_connections:  # type: ignore[attr-defined]  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        while not leaves and await reader.read(65536):
            pass
        if leaves == "event":
            await reader.readuntil(b"data:")
        writer.transport.abort()
        state = running.server._state
        while state.connections or state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for _ in range(5):  # transports tell of their end a turn later
            await asyncio.sleep(0)


def ours(thing: Any) -> str | None:
    """The name of something that is ours, or holds what is."""
    if isinstance(thing, types.FrameType):
        return thing.f_code.co_qualname if "/fairlead/" in thing.f_code.co_filename else None
    kind = type(thing)
    return kind.__qualname__ if kind.__module__.partition(".")[0] in ("fairlead", "httptools", "starlette") else None
