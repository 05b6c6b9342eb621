"""A server on a real socket that answers with exactly the bytes it is given, well-formed or not.

    async with Misbehaving(b"HTTP/1.1 200 OK\\r\\n…") as server:
        … Origin.of(server.url) …

Each request takes the next answer, the last one answers all that follow. An answer is bytes, a list of pieces (sent
one after the other, so that the client sees them apart), or a coroutine function that does what it likes.
"""

import asyncio
import resource
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import trustme
import uvloop

from fairlead.upstream import Origin, Timeouts, Transport, UpstreamRequest, UpstreamResponse
from fairlead.upstream.pool import Pool

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Sequence[bytes] | Script


def byte_by_byte(raw: bytes) -> list[bytes]:
    """`raw` as pieces of one byte."""
    return [raw[at : at + 1] for at in range(len(raw))]


def ok(body: bytes = b"hello", *headers: bytes) -> bytes:
    """A well-formed answer."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (lines, len(body), body)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close at once, without a word."""
    writer.transport.abort()


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep silent until the other side has gone."""
    while await reader.read(65536):
        pass


class Misbehaving:
    """The server. `close`: hang up after each answer, as a server does whose body ends with the connection.
    `certificate`: speak TLS."""

    def __init__(
        self,
        *answers: Answer,
        close: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        read_request: bool = True,
        certificate: trustme.LeafCert | None = None,
    ):
        self.answers, self.close, self.host, self.read_request = list(answers), close, host, read_request
        self._wanted_port, self._certificate = port, certificate
        self.requests: list[bytes] = []  # as they came, head and body
        self.connections = 0  # accepted so far
        self.open = 0  # of them, not yet closed by the other side
        self.changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        context = None
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._certificate.configure_cert(context)
        self._server = await asyncio.start_server(self._accepted, self.host, self._wanted_port, ssl=context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{self.host}:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[Self], bool], seconds: float = 20.0) -> None:
        """Wait until `condition` holds of this server: `lambda server: server.open == 0`."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: condition(self))

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        await self._notify()
        try:
            while True:
                if self.read_request:
                    self.requests.append(await _request(reader))
                    await self._notify()
                await self._answer(reader, writer)
                if self.close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort() if writer.transport.is_closing() else writer.close()
            await self._notify()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if callable(answer):
            await answer(reader, writer)
            return
        for piece in [answer] if isinstance(answer, bytes) else answer:
            writer.write(piece)
            await writer.drain()
            for _ in range(3):  # turns of the loop, in which the other side reads it
                await asyncio.sleep(0)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


def asking(
    url: str,
    body: bytes = b"{}",
    *,
    start: bytes = b"POST /",
    timeouts: Timeouts | None = None,
    ca_file: str | None = None,
) -> UpstreamRequest:
    """A request to `url`, as the gateway spells them."""
    origin = Origin.of(url, ca_file)
    head = b"%b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n" % (start, origin.host_header.encode())
    return UpstreamRequest(origin, head, body, timeouts or Timeouts(connect=60, first_byte=60, silence=60, total=60))


async def asked(transport: Transport, request: UpstreamRequest) -> tuple[UpstreamResponse, bytes]:
    """The answer and its whole body."""
    response = await transport.send(request)
    return response, await whole(response)


async def whole(response: UpstreamResponse) -> bytes:
    """All of the body that was not yet read."""
    chunks = []
    while chunk := await response.read():
        chunks.append(chunk)
    return b"".join(chunks)


# ---- in a process of their own


def flood(pipe: Connection) -> None:
    """Serve a gibibyte, as fast as it is taken; tell how much was."""

    async def main() -> None:
        sent = 0

        async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
            with suppress(ConnectionError):
                for _ in range(16384):
                    writer.write(b"x" * 65536)
                    await writer.drain()
                    sent += 65536

        server = await asyncio.start_server(stream, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        while not await asyncio.to_thread(pipe.poll, 0.05):
            pass
        pipe.recv()
        pipe.send(sent)

    asyncio.run(main())


def never_reading(pipe: Connection, port: int) -> None:
    """Ask for the flood and read one chunk of it; tell how far the memory of this process grew, in bytes."""

    async def main() -> None:
        pool = Pool()
        origin = Origin("http", "127.0.0.1", port)
        response = await pool.send(UpstreamRequest(origin, b"GET / HTTP/1.1\r\nhost: x\r\n", b"", Timeouts()))
        await response.read()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(0.5)
        pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
        response.close()
        await pool.aclose()

    uvloop.run(main())
