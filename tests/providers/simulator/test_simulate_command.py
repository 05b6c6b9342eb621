"""`fairlead simulate` as a user runs it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import openai
import pytest

import fairlead
from fairlead.cli import simulate
from fairlead.providers.simulator.server import SimulatorServer
from serving import serving, serving_process

HELLO = [{"role": "user", "content": "hello"}]


async def test_it_serves_with_the_wanted_credential_and_ends_well():
    async with serving_process("openai-chat", options=("--credential", "secret")) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="secret", max_retries=0) as client:
            answer = await client.chat.completions.create(model="echo", messages=HELLO)  # type: ignore[arg-type]
            assert answer.choices[0].message.content == "hello"
        async with openai.AsyncOpenAI(base_url=url, api_key="other", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="echo", messages=HELLO)  # type: ignore[arg-type]


async def test_a_port_that_is_taken_is_told_in_a_sentence():
    async with serving() as url:
        with pytest.raises(SystemExit, match=r"cannot be had \(.*\)\. Take another: --port 9002"):
            await simulate.serve(SimulatorServer(), "127.0.0.1", int(url.rpartition(":")[2]))


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from fairlead.cli import main; main()", "simulate", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(fairlead.__file__).parent.parent), "COLUMNS": "200"},
    )


async def test_an_unknown_protocol_is_refused_with_the_known_ones():
    process = await started("--protocol", "gopher")
    _, told = await process.communicate()
    assert process.returncode == 2
    assert b"anthropic-messages" in told


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_well(name: signal.Signals):
    process = await started("--port", "0")
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"simulator listens on http://127.0.0.1:")
    process.send_signal(name)
    await process.communicate()
    assert process.returncode == 0
