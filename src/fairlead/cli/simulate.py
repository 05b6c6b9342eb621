"""`fairlead simulate`: the simulator over HTTP, to stand where a provider would in tests, demos and benchmarks."""

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from fairlead.providers.simulator.server import SimulatorServer


class Spoken(StrEnum):
    """The protocols a simulated provider can speak."""

    openai_chat = "openai-chat"
    openai_completions = "openai-completions"
    openai_responses = "openai-responses"
    anthropic_messages = "anthropic-messages"
    anthropic_completions = "anthropic-completions"
    gemini = "gemini"
    bedrock_converse = "bedrock-converse"
    bedrock_invoke = "bedrock-invoke"
    cohere_chat = "cohere-chat"
    cohere_chat_v1 = "cohere-chat-v1"
    ollama_chat = "ollama-chat"
    ollama_generate = "ollama-generate"


def command(
    protocol: Annotated[
        list[Spoken] | None, typer.Option(help="Speak only this protocol; may be repeated. Without it: all.")
    ] = None,
    port: Annotated[int, typer.Option(help="Listen on this port; 0 takes a free one.")] = 9001,
    host: Annotated[str, typer.Option(help="Listen on this address.")] = "127.0.0.1",
    credential: Annotated[
        str | None, typer.Option(help="Answer 401 to whoever does not send this secret. Without it: answer everybody.")
    ] = None,
    pace: Annotated[float, typer.Option(min=0, help="Make all pauses so many times as long; 0 leaves none.")] = 1.0,
    tally: Annotated[Path | None, typer.Option(help="Write what was served, call by call, to this file.")] = None,
) -> None:
    """Serve simulated models over HTTP, as a provider would.

    To test clients and gateways against, until SIGTERM or Ctrl-C; faults come on demand.
    """
    protocols = [spoken.value for spoken in protocol] if protocol else None
    try:
        server = SimulatorServer(protocols=protocols, credential=credential, pace=pace, tally_file=tally)
    except OSError as error:
        raise SystemExit(f"{tally} cannot be written ({error.strerror}).") from None
    uvloop.run(serve(server, host, port))


async def serve(server: SimulatorServer, host: str, port: int) -> None:
    """Listen, say where, and stay until a signal comes."""
    told = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    try:
        await server.listen(host, port)
    except OSError as error:
        raise SystemExit(f"{host}:{port} cannot be had ({error.strerror}). Take another: --port 9002") from None
    print(f"simulator listens on {server.base_url}", flush=True)
    await told.wait()
    await server.aclose()
