"""Whole calls without sockets: what reaches a connection of a client, up to what leaves it, in one process.

`python bench/calls.py` counts the bytecodes of one, by function; `stages.py` takes the time.
"""

import asyncio
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import trustme
import uvloop

from fairlead.app import House
from fairlead.cli.serve import edge
from fairlead.config.file import load
from fairlead.http.connection import Edge
from fairlead.upstream.connection import Connection
from fairlead.upstream.pool import Connections
from fairlead.upstream.secure import Secured

KEY = "bench-key-of-thirty-two-characters-or-more"
CLIENTS = 64
ROUNDS, WARM = 20, 5

CHAT = "/v1/chat/completions"
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer %b\r\nX-Number: %%d\r\n"
    b"User-Agent: OpenAI/Python 3.52.0\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    b"Content-Length: %%d\r\n\r\n" % KEY.encode()
)
ORIGIN = (b"Accept: application/json\r\n", b"Accept: application/json\r\nOrigin: https://app.example\r\n")
CONFIG = """
[server]
port = 0
state_dir = "{folder}/state"
{server}
[logging]
access = false
[providers.lab]
base_url = "http://127.0.0.1:9/v1"
protocols = ["{protocol}"]
signing = "none"
models_path = ""
[[keys]]
name = "bench"
secret = "{key}"
"""


class Wire:
    """Both sockets' transports: keeps the last that was written."""

    written = b""

    def write(self, data: bytes) -> None:
        self.written = data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = abort = close = pause_reading


@asynccontextmanager
async def calling(
    folder: Path, body: bytes, answer: bytes, *, server: str = "", known: bool = True, path: str = CHAT,
    protocol: str = "openai-chat", more: bytes = b"", access_log: TextIO | None = None,
) -> AsyncIterator[Callable[[], Awaitable[None]]]:  # fmt: skip
    """What makes 64 clients call at once, and has them answered.

    `server`: lines of that section. `known`: each client's head is as its last one was, but for the length.
    `path`: what clients ask for. `protocol`: what the provider speaks. `more`: what follows on the answers, which are
    streams then: it is what each gets of each turn."""
    folder.mkdir()  # noqa: ASYNC240  # nobody else waits
    file = folder / "fairlead.toml"
    file.write_text(CONFIG.format(folder=folder, server=server, key=KEY, protocol=protocol))
    house = House(partial(load, file, {}), config_file=file, access_log=access_log)
    house.books.own.journal.start()
    listening = edge(house)
    listening._tell_time()  # it does not listen
    loop, wire, upstream = asyncio.get_running_loop(), Wire(), []

    async def connect(self: Connections, seconds: float, *, again: bool = False) -> Connection:
        connection = Connection(loop, house.writes)
        connection.connection_made(wire)  # type: ignore[arg-type]
        connection.home = self
        self._at_work.add(connection)
        self.count += 1
        upstream.append(connection)
        return connection

    dialled, Connections.connect = Connections.connect, connect  # type: ignore[method-assign]
    clients = [Edge(listening, listening._config, listening._state, loop) for _ in range(CLIENTS)]
    for client in clients:
        client.connection_made(wire)  # type: ignore[arg-type]
    head = (HEAD.replace(*ORIGIN) if server else HEAD).replace(CHAT.encode(), path.replace("%", "%%").encode())
    number = 0

    async def turn() -> None:
        nonlocal number
        number += not known
        asked = head % (number, len(body)) + body
        for client in clients:
            client.data_received(asked)
        await asyncio.sleep(0)
        while len(upstream) < CLIENTS:
            assert not wire.written.startswith(b"HTTP/1.1 4"), wire.written
            await asyncio.sleep(0)
        for connection in upstream:
            connection.data_received(answer)
        await asyncio.sleep(0)
        while not all(client.current is None or (more and client.current.started) for client in clients):  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def pour() -> None:
        for connection in upstream:
            connection.data_received(more)

    try:
        await turn()
        assert wire.written.startswith(b"HTTP/1.1 200 OK")
        yield pour if more else turn
    finally:
        Connections.connect = dialled  # type: ignore[method-assign]
        await house.aclose()


async def whole(folder: Path, body: bytes, answer: bytes, *, turns: int = 15, **how: Any) -> float:
    """CPU µs of a call among 64 at once, in this thread: the best of so many turns. See `calling`."""
    best = float("inf")
    async with calling(folder, body, answer, **how) as turn:
        for _ in range(turns):
            began = time.thread_time()
            for _ in range(ROUNDS):
                await turn()
            best = min(best, (time.thread_time() - began) / ROUNDS / CLIENTS * 1e6)
    return best


async def bytecodes(folder: Path, body: bytes, answer: bytes, *, known: bool) -> Counter[str]:
    """How many bytecodes a call takes, by function: a figure that is the same on a busy machine."""
    found: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, told: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            found[frame.f_code.co_qualname] += 1
        return trace

    async with calling(folder, body, answer, known=known) as turn:
        for _ in range(WARM):  # what is learned and remembered is
            await turn()
        sys.settrace(trace)
        await turn()
        sys.settrace(None)
    return found


def tls(size: int, cost: Callable[[Callable[[], Any]], float]) -> float:
    """CPU µs of TLS towards a provider: a request and an answer of `size` bytes, without the provider's part."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    provider = theirs.wrap_bio(to_them, to_us, server_side=True)

    class Above(asyncio.Protocol):
        received = 0

        def data_received(self, data: bytes) -> None:
            self.received += len(data)

    wire, above = Wire(), Above()
    secured = Secured(wire, above, ours, "127.0.0.1")  # type: ignore[arg-type]
    shaking = secured.handshake()
    shaking.send(None)
    while True:
        to_them.write(wire.written)
        try:
            provider.do_handshake()
            break
        except ssl.SSLWantReadError:
            secured.data_received(to_us.read())
    secured.data_received(to_us.read())
    body = bytes(size)

    def provides() -> bytes:
        provider.write(body)
        return to_us.read()

    def exchanged() -> None:
        secured.write(body)
        secured.data_received(provides())

    both, of_provider = cost(exchanged), 0.0
    assert above.received
    of_provider = cost(provides)
    shaking.close()
    return both - of_provider


def main() -> None:
    from stages import ANSWER, BODY

    with tempfile.TemporaryDirectory() as folder:
        for name, known in (("a head that is known", True), ("a head that is not", False)):
            found = uvloop.run(bytecodes(Path(folder) / name, BODY, ANSWER, known=known))
            print(f"{name}: {found.total() / CLIENTS:,.0f} bytecodes a call; most of them in")
            for function, count in found.most_common(10):
                print(f"{count / CLIENTS:8.0f}  {function}")


if __name__ == "__main__":
    main()
