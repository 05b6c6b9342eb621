"""`fairlead serve`: the gateway, until it is told to stop. This room owns the signals."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
import uvloop

from fairlead import __version__
from fairlead.cli.check import tell_problems
from fairlead.cli.options import Config
from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.file import load, located
from fairlead.errors import InvalidConfig
from fairlead.resources import ALL_SCOPES
from fairlead.telemetry import logs

if TYPE_CHECKING:  # 250 ms, which help and completion need not pay
    from fairlead.app import House
    from fairlead.http.server import EdgeServer

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # https://man7.org/linux/man-pages/man3/mallopt.3.html
_KEPT_BYTES = 8 << 20


def command(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Listen on this address, whatever server.host says.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen on this port, whatever server.port says.")] = None,
) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C.

    The first start creates the database and prints an admin key, once.
    """
    environ = dict(os.environ)
    if host is not None:
        environ["FAIRLEAD_SERVER_HOST"] = host
    if port is not None:
        environ["FAIRLEAD_SERVER_PORT"] = str(port)
    read = partial(load, config, environ)
    try:
        logging = read().settings.logging
    except InvalidConfigs as problems:
        tell_problems(problems)
        raise typer.Exit(2) from None
    logs.configure(logging.level, logging.format, sys.stderr)
    _keep_freed_memory()
    try:
        uvloop.run(serve(read, located(config, environ), access_log=sys.stdout if logging.access else None))
    except (OSError, InvalidConfig) as error:
        print(f"fairlead cannot start: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


async def serve(read: Callable[[], Wishes], config_file: Path | None, *, access_log: TextIO | None) -> None:
    """Open the house, listen, and drain when told to."""
    from fairlead.app import House
    from fairlead.http.server import raise_descriptor_limit

    raise_descriptor_limit()
    house = House(read, config_file=config_file, access_log=access_log)
    await house.open()
    try:
        secret = house.keys.first_key()
        server = edge(house)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, server.drain)
        loop.add_signal_handler(signal.SIGHUP, house.reloader.reload)
        await server.listen()
        _greet(house, server.port, secret)
        gc.collect()
        gc.freeze()  # what is here now stays: no collection need walk it again
        gc.set_threshold(10_000, 50, 50)  # a call makes little that only a collection could free
        await server.serve()
    finally:
        await house.aclose()


def edge(house: "House") -> "EdgeServer":
    """The server in front of `house`."""
    from fairlead.call import INTERRUPTED
    from fairlead.http.server import EdgeServer
    from fairlead.http.tls import Certificate

    settings = house.settings
    return EdgeServer(
        house.asgi,
        calls=house.calls if settings.protocol == "direct" else None,
        writes=house.writes,
        host=settings.host,
        port=settings.port,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        idle_seconds=settings.idle_seconds,
        drain_notice_seconds=settings.drain_notice_seconds,
        drain_seconds=settings.drain_seconds,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
        max_unread_bytes=settings.max_unread_bytes,
        allowed_origins=settings.allowed_origins,
        trusted_proxies=settings.trusted_proxies,
        certificate=Certificate(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None,
        require_tls=settings.require_tls,
        spelling=house.asgi.spelling,
        on_drain=house.drain,
        interrupted=INTERRUPTED,
    )


def _keep_freed_memory() -> None:
    """Ask glibc not to give every large buffer back: a read of TLS would map and unmap 256 KiB each time."""
    with contextlib.suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL(None)
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(parameter, _KEPT_BYTES)


def _greet(house: "House", port: int, secret: str | None) -> None:
    """Say where the gateway is, and the first key, which nobody will be told again."""
    address = f"{'https' if house.settings.tls_certificate else 'http'}://{house.settings.host}:{port}"
    world = house.catalog.current
    offered = ", ".join(sorted(provider.name for provider in world.providers.values() if world.serves(provider)))
    offered = offered or "none (set OPENAI_API_KEY, ANTHROPIC_API_KEY, …)"
    print(f"fairlead {__version__} listens on {address}; providers: {offered}", flush=True)
    if secret is not None:
        print(f"\nThe first key, shown only now (scopes: {', '.join(ALL_SCOPES)}):\n\n    {secret}\n", flush=True)
