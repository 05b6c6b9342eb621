"""`fairlead conformance`: what gets through between formats, as the vendors' own SDKs see it."""

import asyncio
import io
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
import uvloop
from msgspec import structs
from rich.console import Console
from rich.table import Table

from fairlead.cli.check import tell_problems
from fairlead.cli.options import Config, Json
from fairlead.cli.output import encoded
from fairlead.cli.serve import edge
from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.file import load
from fairlead.conformance import Mismatch, Received
from fairlead.conformance.formats import FORMATS, INBOUND, format_of, missing
from fairlead.providers import PROTOCOLS
from fairlead.settings import Database, Journal, Server
from fairlead.telemetry import logs
from fairlead.telemetry.logs import printable

if TYPE_CHECKING:  # 250 ms, which help and completion need not pay
    from fairlead.conformance.matrix import Cell, Provider
    from fairlead.providers.simulator.server import SimulatorServer

_ROW = """
[providers.{name}]
base_url = "{url}"
protocols = ["{format}"]
signing = "none"
headers = {{ anthropic-version = "2023-06-01" }}
"""
_MEDIA = """
[media]
allowed_hosts = ["{host}"]
ports = [{port}]
"""


def command(
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Ask this provider of the configuration. Without it: simulated ones."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model to ask of that provider.")] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="FROM/TO", help="Only these formats: of clients, of providers, or both."),
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables to this file.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show what gets through from any format to any.

    The vendors' own SDKs ask a gateway that is started for it, and judge what
    its simulated providers were sent. With --provider they make small real
    requests, which cost a little. Exits with 1 where something gets lost.
    """
    if (provider is None) != (model is None):
        raise typer.BadParameter("--provider and --model go together.")
    clients, formats = _chosen(only)
    wanted = missing({*clients, *(formats if provider is None else ())})
    if wanted:
        typer.echo(f"The vendors' SDKs are missing: pip install {' '.join(wanted)}", err=True)
        typer.echo("All of them are the extra 'conformance' of this package.", err=True)
        raise typer.Exit(2)
    from fairlead.conformance.cases import CASES
    from fairlead.conformance.table import page

    unknown = sorted(set(case or ()) - set(CASES))
    if unknown:
        raise typer.BadParameter(f"There is no case {unknown[0]!r}: {', '.join(CASES)}.")
    logs.configure("critical", "text", sys.stderr)  # what goes wrong on purpose is no news
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nor is what an SDK leaves open where it raises
    try:
        with tempfile.TemporaryDirectory(prefix="fairlead-conformance-") as folder:
            cells = uvloop.run(asked(Path(folder), clients, formats, case or list(CASES), provider, model, config))
    except InvalidConfigs as problems:
        tell_problems(problems)
        raise typer.Exit(2) from None
    if write is not None:
        write.write_text(page(cells), encoding="utf-8")
    if json:
        print(encoded({"cells": cells}))
    else:
        _show(cells)
    if any(cell.colour == "red" for cell in cells):
        raise typer.Exit(1)


def _chosen(only: str | None) -> tuple[list[str], list[str]]:
    """The formats of clients and of providers that "FROM/TO" means; each side may be missing."""
    inbound, _, outbound = (only or "").partition("/")
    for name, known in ((inbound, INBOUND), (outbound, FORMATS)):
        if name and name not in known:
            raise typer.BadParameter(f"There is no format {name!r} on this side: {', '.join(known)}.")
    spoken = [name for name in FORMATS if format_of(name) in PROTOCOLS]
    return [inbound] if inbound else [name for name in INBOUND if name in PROTOCOLS], [outbound] if outbound else spoken


# ---- the gateway, and who is behind it


async def asked(
    folder: Path,
    clients: list[str],
    formats: list[str],
    cases: list[str],
    provider: str | None = None,
    model: str | None = None,
    config: Path | None = None,
) -> "list[Cell]":
    """The cells of these formats: of simulated providers, or of the `provider` of the configuration."""
    from fairlead.conformance.matrix import Provider, matrix

    async with AsyncExitStack() as open:
        picture = await open.enter_async_context(_pictured())
        if provider is not None:
            read = partial(load, config, dict(os.environ))
            rows = {row.name: row for row in read().providers}
            if provider not in rows:
                raise typer.BadParameter(f"There is no provider {provider!r}: {', '.join(rows)}.")
            providers = [Provider(provider, tuple(rows[provider].base_urls), model=model or "")]
        else:
            providers = [await open.enter_async_context(_simulated(name)) for name in formats]
            read = partial(load, _configured(folder, providers, picture), {})
        url, key = await open.enter_async_context(_gateway(folder, read))
        told = matrix(url, key, providers, clients=clients, cases=cases, picture=picture)
        return [cell async for cell in told]


@asynccontextmanager
async def _simulated(format: str) -> "AsyncIterator[Provider]":
    from fairlead.conformance.matrix import Provider
    from fairlead.providers.simulator.server import SimulatorServer

    server = SimulatorServer(protocols=[format_of(format)], pace=0)
    await server.listen()
    try:
        yield Provider(format, (format,), server.base_url + FORMATS[format].base, _Watched(server))
    finally:
        await server.aclose()


class _Watched:
    """A simulated provider, as `conformance` looks at it."""

    def __init__(self, server: "SimulatorServer") -> None:
        self._server = server

    def last(self) -> Received:
        request, self._server.tally.last = self._server.tally.last, None
        if request is None:
            raise Mismatch("nothing reached the provider")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
        return Received(request.target, headers, request.body)

    async def left(self, seconds: float) -> bool:
        if self._server.telling:
            await asyncio.wait(self._server.telling, timeout=seconds)
        return not self._server.telling


@asynccontextmanager
async def _pictured() -> AsyncIterator[str]:
    """The address of a picture, on a free port."""
    from fairlead.conformance.cases import PNG

    async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % len(PNG) + PNG)
        writer.close()

    server = await asyncio.start_server(show, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/square.png"


def _configured(folder: Path, providers: "Iterable[Provider]", picture: str) -> Path:
    """A file with a row for each simulated provider, which lets the gateway fetch `picture` from this machine."""
    at = urlsplit(picture)
    rows = [_ROW.format(name=told.name, format=format_of(told.name), url=told.url) for told in providers]
    file = folder / "fairlead.toml"
    file.write_text("".join([*rows, _MEDIA.format(host=at.hostname, port=at.port)]))
    return file


@asynccontextmanager
async def _gateway(folder: Path, read: Callable[[], Wishes]) -> AsyncIterator[tuple[str, str]]:
    """A gateway on a free port, whose state is in `folder`: its address, and a key."""
    from fairlead.app import House

    house = House(partial(_private, folder, read))
    await house.open()
    try:
        server = edge(house)
        await server.listen()
        serving = asyncio.create_task(server.serve())
        secret, _ = house.keys.create("conformance")
        yield f"http://127.0.0.1:{server.port}", secret
        server.drain()
        server.drain()  # whoever is still here need not be waited for
        await serving
    finally:
        await house.aclose()


def _private(folder: Path, read: Callable[[], Wishes]) -> Wishes:
    """What was wished of models and providers; the rest is this command's own."""
    wishes = read()
    settings = structs.replace(
        wishes.settings,
        server=Server(host="127.0.0.1", port=0, state_dir=str(folder / "state"), drain_notice_seconds=0),
        database=Database(),
        journal=Journal(),
        sinks={},
    )
    return structs.replace(wishes, settings=settings)


# ---- telling


def _show(cells: "list[Cell]") -> None:
    from fairlead.conformance.cases import CASES
    from fairlead.conformance.table import row

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 1000)
    cases = [name for name in CASES if any(cell.case == name for cell in cells)]
    for inbound in dict.fromkeys(cell.inbound for cell in cells):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for title in (f"{inbound} to", *cases):
            table.add_column(title, no_wrap=True)
        for outbound in dict.fromkeys(cell.outbound for cell in cells):
            here = [cell for cell in cells if (cell.inbound, cell.outbound) == (inbound, outbound)]
            table.add_row(outbound, *row(here, cases))
        console.print(table)
        console.print()
    for cell in cells:
        if cell.colour == "red":
            console.print(f"{cell.inbound} to {cell.outbound}, {cell.case}: {printable(cell.why)}")
    counts = {colour: sum(cell.colour == colour for cell in cells) for colour in ("green", "grey", "red")}
    console.print(", ".join(f"{count} {colour}" for colour, count in counts.items()))
