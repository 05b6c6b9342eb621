"""Simulated providers for tests: in this process, or in one of their own."""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import fairlead
from fairlead.providers.simulator.server import SimulatorServer

_PORTS = range(20_000, 32_768)  # below those the kernel gives to clients
_TRIES = 10


@asynccontextmanager
async def serving(
    *protocols: str, credential: str | None = None, any_model: bool = True, pace: float = 0.0
) -> AsyncIterator[str]:
    """The base URL ("http://127.0.0.1:12345") of a simulator in this process that speaks `protocols`, or all.

    Its paths are there with and without /v1. By default pauses take no time. `GET /__tally` tells what it was asked.
    """
    server = SimulatorServer(protocols=protocols or None, credential=credential, any_model=any_model, pace=pace)
    await _listen(server)
    try:
        yield server.base_url
    finally:
        await server.aclose()


async def _listen(server: SimulatorServer) -> None:
    for _ in range(_TRIES):
        try:
            return await server.listen("127.0.0.1", random.SystemRandom().choice(_PORTS))
        except OSError:
            continue
    raise OSError("no free port was found")


@asynccontextmanager
async def serving_process(*protocols: str, pace: float = 0.0, options: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """The same by `fairlead simulate` in a process of its own, ended by SIGTERM; `options` as on the command line."""
    chosen = [argument for protocol in protocols for argument in ("--protocol", protocol)]
    process, line = await _started([*chosen, "--pace", str(pace), *options])
    try:
        yield line.rpartition(" ")[2].strip()
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() == 0


async def _started(arguments: list[str]) -> tuple[asyncio.subprocess.Process, str]:
    """The process, and the line that says where it listens."""
    environ = {**os.environ, "PYTHONPATH": str(Path(fairlead.__file__).parent.parent)}
    for _ in range(_TRIES):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from fairlead.cli import main; main()", "simulate"),
            *("--port", str(random.SystemRandom().choice(_PORTS)), *arguments),
            stdout=asyncio.subprocess.PIPE,
            env=environ,
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if line:
            return process, line
        await process.wait()
    raise OSError("the simulator did not start")
