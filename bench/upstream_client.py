"""What the upstream client costs: CPU µs per small request (64 at once) and per streamed chunk, plain and TLS.

    python bench/upstream_client.py [--seconds 2] [--loop uvloop|asyncio]

The server is a uvloop protocol in another process that knows just enough HTTP; only this process's time is counted.
"""

import argparse
import asyncio
import multiprocessing
import ssl
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import trustme
import uvloop

from fairlead.upstream import Origin, Timeouts, UpstreamRequest
from fairlead.upstream.pool import Pool

BODY = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[]}' + b" " * 400
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: abc\r\ncontent-length: %d\r\n\r\n" % len(
    BODY
)
EVENT = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Server(asyncio.Protocol):
    """Answers /stream with 500 events 1 ms apart, everything else with one small body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /stream"):
            self.transport.write(STREAM)
            self.left = 500
            self.tick()
        else:
            self.transport.write(ANSWER + BODY)

    def tick(self) -> None:
        self.left -= 1
        self.transport.write(CHUNK if self.left else CHUNK + b"0\r\n\r\n")
        if self.left:
            asyncio.get_running_loop().call_later(0.001, self.tick)


def serve(pipe: Pipe, certificate: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        plain = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
        secure = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096, ssl=context)
        pipe.send([server.sockets[0].getsockname()[1] for server in (plain, secure)])
        await asyncio.Event().wait()

    uvloop.run(main())


def request(origin: Origin, path: str) -> UpstreamRequest:
    head = f"POST {path} HTTP/1.1\r\nhost: {origin.host_header}\r\naccept-encoding: identity\r\n".encode()
    return UpstreamRequest(origin, head + b"content-type: application/json\r\n", b'{"model":"m"}' * 40, Timeouts())


async def requests(pool: Pool, origin: Origin, seconds: float, workers: int) -> tuple[float, float]:
    """CPU µs per request, and requests per second."""
    small, count = request(origin, "/"), 0

    async def work(until: float) -> None:
        nonlocal count
        while time.monotonic() < until:
            response = await pool.send(small)
            while await response.read():
                pass
            response.close()
            count += 1

    async def run(seconds: float) -> None:
        nonlocal count
        count = 0
        await asyncio.gather(*(work(time.monotonic() + seconds) for _ in range(workers)))

    await run(seconds / 4)
    cpu, wall = time.process_time(), time.monotonic()
    await run(seconds)
    return (time.process_time() - cpu) / count * 1e6, count / (time.monotonic() - wall)


async def chunks(pool: Pool, origin: Origin, streams: int) -> float:
    """CPU µs per chunk, as each comes in a packet of its own."""
    stream, count = request(origin, "/stream"), 0

    async def work() -> None:
        nonlocal count
        response = await pool.send(stream)
        while await response.read():
            count += 1

    cpu = time.process_time()
    await asyncio.gather(*(work() for _ in range(streams)))
    return (time.process_time() - cpu) / count * 1e6


class Ruler(asyncio.Protocol):
    """The least a client can do on this loop: take bytes, set a future. What the loop itself costs."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None
        self.ended = False  # the last chunk came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.ended = data.endswith(b"\r\n0\r\n\r\n")
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


async def bare(
    origin: Origin, context: ssl.SSLContext | None, seconds: float, workers: int, streams: int
) -> tuple[float, float]:
    """The same without any HTTP: CPU µs per exchange, and per packet."""
    loop, count = asyncio.get_running_loop(), 0
    name = origin.host if context else None

    async def dial() -> Ruler:
        return (await loop.create_connection(Ruler, origin.host, origin.port, ssl=context, server_hostname=name))[1]

    async def exchange(until: float) -> None:
        nonlocal count
        ruler, spelt = await dial(), request(origin, "/")
        raw = spelt.head + b"content-length: %d\r\n\r\n" % len(spelt.body) + spelt.body
        while time.monotonic() < until:
            ruler.waiter = loop.create_future()
            ruler.transport.write(raw)
            await ruler.waiter
            count += 1
        ruler.transport.abort()

    async def listen() -> None:
        nonlocal count
        ruler, spelt = await dial(), request(origin, "/stream")
        ruler.transport.write(spelt.head + b"content-length: 0\r\n\r\n")
        while not ruler.ended:
            ruler.waiter = loop.create_future()
            await ruler.waiter
            count += 1
        ruler.transport.abort()

    async def measured(work: Callable[[], object]) -> float:
        nonlocal count
        count, cpu = 0, time.process_time()
        await asyncio.gather(*work())  # type: ignore[misc]
        return (time.process_time() - cpu) / count * 1e6

    until = time.monotonic() + seconds
    return (
        await measured(lambda: [exchange(until) for _ in range(workers)]),
        await measured(lambda: [listen() for _ in range(streams)]),
    )


async def measure(plain: int, secure: int, ca_file: str, seconds: float) -> None:
    origins = {
        "plain": Origin("http", "127.0.0.1", plain),
        "TLS": Origin("https", "127.0.0.1", secure, ca_file),
    }
    print(f"{type(asyncio.get_running_loop()).__module__}, CPU µs of the client")
    print(
        f"{'':6} {'1 at once':>10} {'64 at once':>11} {'(bare loop)':>12} {'requests/s':>11} {'chunk':>7} {'(bare)':>7}"
    )
    for name, origin in origins.items():
        pool = Pool()
        one, _ = await requests(pool, origin, seconds / 2, 1)
        many, rate = await requests(pool, origin, seconds, 64)
        chunk = await chunks(pool, origin, 50)
        await pool.aclose()
        context = ssl.create_default_context(cafile=ca_file) if name == "TLS" else None
        floor, packet = await bare(origin, context, seconds, 64, 50)
        print(f"{name:6} {one:10.1f} {many:11.1f} {floor:12.1f} {rate:11.0f} {chunk:7.2f} {packet:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(Path(folder) / "ca.pem"))
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, str(certificate)), daemon=True)
        server.start()
        try:
            run = uvloop.run if options.loop == "uvloop" else asyncio.run
            run(measure(*here.recv(), str(Path(folder) / "ca.pem"), options.seconds))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
