"""`fairlead demo`: a gateway with the simulator behind it, a fresh key, and one answer as it arrives.

It shows what an application would see: the answer comes over real HTTP, through the gateway's own door.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
import uvloop

from fairlead.cli.serve import edge
from fairlead.config.file import load
from fairlead.errors import InvalidConfig, UpstreamError
from fairlead.protocols.sse import EventCutter, data
from fairlead.telemetry import logs
from fairlead.upstream import Origin, Timeouts, UpstreamRequest
from fairlead.upstream.pool import Pool

if TYPE_CHECKING:  # 250 ms, which help and completion need not pay
    from fairlead.app import House

_STATE = ".demo"
_MODEL = "sim/slow"
_PROMPT = "Fairlead is up: an application changes one base URL, and every model answers there."


def command(
    port: Annotated[int, typer.Option(help="Listen on this port of 127.0.0.1; 0 takes a free one.")] = 8080,
    once: Annotated[bool, typer.Option("--once", help="Leave after the first answer.")] = False,
) -> None:
    """Try Fairlead: a gateway with simulated models, no account needed.

    It prints a key, streams an answer, and stays until Ctrl-C.
    """
    logs.configure("warning", "text", sys.stderr)
    try:
        uvloop.run(demo(port, once=once, state=Path(_STATE)))
    except InvalidConfig as error:
        raise SystemExit(f"The demo cannot start: {error}") from None


async def demo(port: int, *, once: bool, state: Path) -> None:
    """Serve, show one streamed answer, and stay until Ctrl-C unless `once`."""
    from fairlead.app import House

    environ = {
        **os.environ,
        "FAIRLEAD_SERVER_HOST": "127.0.0.1",
        "FAIRLEAD_SERVER_PORT": str(port),
        "FAIRLEAD_SERVER_STATE_DIR": str(state),
        "FAIRLEAD_SERVER_DRAIN_NOTICE_SECONDS": "0",
        "FAIRLEAD_SERVER_DRAIN_SECONDS": "1",
    }
    house = House(partial(load, None, environ, find=False, simulator=True))
    await house.open()
    try:
        server = edge(house)
        try:
            await server.listen()
        except OSError as error:
            raise SystemExit(
                f"Port {port} cannot be had ({error.strerror}). Take another: make demo PORT=8081"
            ) from None
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, server.drain)
        serving = asyncio.create_task(server.serve())
        key = _fresh_key(house)
        url = f"http://127.0.0.1:{server.port}"
        await _show(url, key)
        if once:
            server.drain()
        else:
            _snippets(url, key)
        await serving
    finally:
        await house.aclose()


def _fresh_key(house: "House") -> str:
    """A key named "demo"; those of earlier runs are revoked."""
    keys = house.keys
    for key in keys.list():
        if key.name == "demo" and key.revoked_us is None:
            keys.revoke(key.id)
    secret, _ = keys.create("demo")
    return secret


async def _show(url: str, key: str) -> None:
    """Ask for a chat completion and print its words as they come."""
    print(f"\n  Fairlead listens on {url}\n  Your key for this demo: {_bold(key)}\n")
    print(f"  {_dim('you      ')}  {_PROMPT}\n  {_dim(f'{_MODEL:9}')}  ", end="", flush=True)
    pool = Pool()
    try:
        async for word in _words(pool, url, key):
            print(word, end="", flush=True)
    except UpstreamError as error:
        raise SystemExit(f"\n  The demo's own call failed: {error}") from None
    finally:
        await pool.aclose()
    print("\n")


async def _words(pool: Pool, url: str, key: str) -> AsyncIterator[str]:
    """The text of one streamed answer, delta by delta."""
    body = {"model": _MODEL, "stream": True, "messages": [{"role": "user", "content": _PROMPT}]}
    origin = Origin.of(url)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"host: {origin.host_header}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    )
    response = await pool.send(UpstreamRequest(origin, head.encode(), msgspec.json.encode(body), Timeouts(total=30)))
    cutter = EventCutter(1 << 20)
    try:
        while chunk := await response.read():
            for event in cutter.feed(chunk):
                told = data(event)
                if response.status != 200 or told.startswith(b'{"error"'):
                    raise SystemExit(f"\n  The demo's own call failed: {told.decode()}")
                if told and told != b"[DONE]":
                    yield _delta(told)
    finally:
        response.close()


def _delta(told: bytes) -> str:
    choices = msgspec.json.decode(told)["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


def _snippets(url: str, key: str) -> None:
    print(
        f"""{_bold("curl")}
  curl {url}/v1/chat/completions -H 'authorization: Bearer {key}' \\
    -H 'content-type: application/json' \\
    -d '{{"model": "sim/echo", "messages": [{{"role": "user", "content": "hello"}}]}}'

{_bold("Python, openai")}
  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  print(client.chat.completions.create(
      model="sim/echo", messages=[{{"role": "user", "content": "hello"}}]).choices[0].message.content)

{_bold("Node, openai")}
  import OpenAI from "openai";
  const client = new OpenAI({{ baseURL: "{url}/v1", apiKey: "{key}" }});
  const answer = await client.chat.completions.create({{
    model: "sim/echo", messages: [{{ role: "user", content: "hello" }}] }});
  console.log(answer.choices[0].message.content);

{_bold("Python, anthropic")}
  from anthropic import Anthropic
  client = Anthropic(base_url="{url}", api_key="{key}")
  print(client.messages.create(model="sim/echo", max_tokens=100,
      messages=[{{"role": "user", "content": "hello"}}]).content[0].text)

Models here: sim/echo sim/fast sim/slow sim/flaky sim/tools sim/thinking sim/json sim/long
With OPENAI_API_KEY, ANTHROPIC_API_KEY, … in the environment, gpt-… and claude-… answer as well.
Ctrl-C stops it.
""",
        flush=True,
    )


def _bold(text: str) -> str:
    return typer.style(text, bold=True) if sys.stdout.isatty() else text


def _dim(text: str) -> str:
    return typer.style(text, dim=True) if sys.stdout.isatty() else text
