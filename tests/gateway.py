"""A whole gateway for tests: the house and its server on a free port, in this process or in one of its own."""

import asyncio
import os
import random
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fairlead.app import House
from fairlead.cli.serve import edge
from fairlead.config.file import load
from fairlead.http.server import EdgeServer

KEY = "test-key-of-thirty-two-characters-or-more"
KEYS = f'[[keys]]\nname = "test"\nsecret = "{KEY}"\nscopes = ["inference", "admin:*"]\n'
SIMULATOR = "[providers.sim]\n"


PROTOCOL = "direct"  # `server.protocol` of the gateways that are started


@pytest.fixture(params=["direct", "asgi"], autouse=True)
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """For suites that have to pass with calls straight from the connection, and through ASGI: import it."""
    monkeypatch.setattr(sys.modules[__name__], "PROTOCOL", request.param)
    return str(request.param)


class Gateway:
    """Where it is, and what it wrote down."""

    def __init__(self, house: House, server: EdgeServer, config: Path) -> None:
        self.house, self.server, self.config = house, server, config
        self.port = server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.upstreams: dict[str, str] = {}  # addresses of simulated providers, by name

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """What the ledger wrote to `table`, in its order."""
        await self.house.records.flush()
        return rows(self.house.database.path, table)


def rows(database: Path, table: str, *, order: str = "started_us") -> list[dict[str, Any]]:
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]


def free_port() -> int:
    """A port below the ephemeral ones that nobody has."""
    while True:
        port = random.SystemRandom().randint(20000, 32000)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def _way(server: str) -> str:
    return server if re.search(r"(?m)^protocol = ", server) else f'{server}\nprotocol = "{PROTOCOL}"'


@asynccontextmanager
async def gateway(
    folder: Path, config: str = SIMULATOR, *, server: str = "", environ: dict[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """A gateway in this process and loop. `server`: lines of its [server] section."""
    file = folder / "fairlead.toml"
    file.write_text(
        f'[server]\nport = {free_port()}\nstate_dir = "{folder / "state"}"\ndrain_notice_seconds = 0\n{_way(server)}\n'
        f"[logging]\naccess = false\n{config}\n{KEYS}"
    )
    house = House(partial(load, file, environ or {}), config_file=file)
    await house.open()
    listening = edge(house)
    try:
        await listening.listen()
        serving = asyncio.create_task(listening.serve())
        yield Gateway(house, listening, file)
        listening.drain()
        listening.drain()
        await serving
    finally:
        await house.aclose()


@contextmanager
def process(folder: Path, config: str = SIMULATOR, *, server: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway in a process of its own, ready; and its address."""
    port = free_port()
    file = folder / "fairlead.toml"
    file.write_text(
        f'[server]\nport = {port}\nstate_dir = "{folder / "state"}"\n{_way(server or "drain_notice_seconds = 0")}\n'
        f"{config}\n{KEYS}"
    )
    command = [sys.executable, "-m", "fairlead", "serve", "--config", str(file)]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment()
    )
    try:
        assert started.stdout is not None
        while "listens on" not in (line := started.stdout.readline()):
            assert line, started.communicate()[1]
        yield started, f"http://127.0.0.1:{port}"
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def environment() -> dict[str, str]:
    """For processes of the product: without credentials of whoever runs the tests."""
    source = str(Path(__file__).parent.parent / "src")
    kept = {
        name: value for name, value in os.environ.items() if not re.search(r"_API_KEY$|^HF_TOKEN$|^FAIRLEAD_", name)
    }
    return {**kept, "PYTHONPATH": source}


async def raw(port: int, data: bytes, *, until: Callable[[bytes], bool] | None = None) -> bytes:
    """What is answered to these bytes, up to the end of the connection, or until enough has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        got = b""
        async with asyncio.timeout(10):
            while chunk := await reader.read(65536):
                got += chunk
                if until is not None and until(got):
                    break
        return got
    finally:
        writer.close()


def request(
    path: str, body: bytes = b"", *, method: str = "POST", key: str | None = KEY, headers: str = "", close: bool = True
) -> bytes:
    """A request, spelt."""
    lines = [f"{method} {path} HTTP/1.1", "host: test"]
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    if body or method == "POST":
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    if close:
        lines.append("connection: close")
    return "\r\n".join(lines).encode() + b"\r\n" + headers.encode() + b"\r\n" + body


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer, chunks joined."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(unchunked(body))
    return int(first.split(" ")[1]), headers, body


def unchunked(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        yield rest[:length]
        body = rest[length + 2 :]
