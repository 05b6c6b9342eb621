"""The server at the rim: what its connections share, and a way to stop that loses nothing.

A connection too many is 503. One ticker looks after the deadlines of all.
"""

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from fairlead.errors import FairleadError
from fairlead.http.asgi import App, Header
from fairlead.http.browsers import HSTS, POLICY, SECURITY, Origins
from fairlead.http.connection import Edge
from fairlead.http.exchange import Serve
from fairlead.http.guard import Guard
from fairlead.http.tls import Certificate
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.writes import Writes

log = logging.getLogger("fairlead.server")

_LAST_WORDS_SECONDS = 1.0  # for calls that are interrupted
_BACKLOG = 4096
_RESERVED_DESCRIPTORS = 64
_FEW_CONNECTIONS = 16  # that any address may have

# How errors are told to whoever asks for a path, with these headers; "" if the path is not known.
Spelling = Callable[[str, Sequence[Header]], Callable[[FairleadError], bytes]]


def raise_descriptor_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


class EdgeServer:
    """Listens, serves, and drains."""

    def __init__(
        self,
        app: App,
        *,
        calls: Mapping[str, Serve] | None = None,
        writes: Writes | None = None,
        host: str,
        port: int,
        header_seconds: float,
        body_seconds: float,
        idle_seconds: float,
        drain_notice_seconds: float,
        drain_seconds: float,
        max_connections: int | None,
        max_connections_per_address: int | None = None,
        max_unread_bytes: int = 64 << 20,
        allowed_origins: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        certificate: Certificate | None = None,
        require_tls: bool = False,
        spelling: Spelling | None = None,
        on_drain: Callable[[], None],
        interrupted: str,
    ) -> None:
        """`calls`: the paths that take calls, and what serves them without ASGI between; all else goes to `app`.

        `writes`: those of the connections that the answers come from.
        `spelling`: how what is refused here is told; as OpenAI does, unless it is given.
        `on_drain` is called as soon as draining begins; `interrupted` is the message of the cancellation that calls
        get which are still open at its end."""
        self.header_seconds, self.body_seconds, self.idle_seconds = header_seconds, body_seconds, idle_seconds
        self.drain_notice_seconds, self.drain_seconds = drain_notice_seconds, drain_seconds
        self.max_connections = max_connections or max(64, (raise_descriptor_limit() - _RESERVED_DESCRIPTORS) // 2)
        self.calls = {path.encode(): (path, serve) for path, serve in (calls or {}).items()}
        self.writes = writes or Writes()
        self.max_unread_bytes, self.unread_bytes = max_unread_bytes, 0
        self.head_bytes = 0  # of heads that are not whole; as many of them as of bodies that nobody has read
        self.spelling = spelling or _as_openai
        self.origins = Origins(allowed_origins)
        self.guard = Guard(
            per_address=max_connections_per_address or max(self.max_connections // 2, _FEW_CONNECTIONS),
            trusted=trusted_proxies,
        )
        self.certificate, self.require_tls = certificate, require_tls
        self.heads: list[bytes] = []  # what each answer begins with; see `head`
        self.draining = False
        self._host, self._port = host, port
        self._on_drain, self._interrupted = on_drain, interrupted
        self._config = Config(
            app, http=Edge, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._hurry = asyncio.Event()
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def listen(self) -> None:
        """Accept connections from now on. Raises OSError if the port cannot be had."""
        loop = asyncio.get_running_loop()
        self._tell_time()

        def protocol() -> Edge:
            return Edge(self, self._config, self._state, loop)

        secure: dict[str, Any] = {}
        if self.certificate is not None:
            secure = {"ssl": self.certificate.context, "ssl_handshake_timeout": self.header_seconds}
        self._server = await loop.create_server(protocol, self._host, self._port, backlog=_BACKLOG, **secure)

    async def serve(self) -> None:
        """Serve until drained."""
        ticker = asyncio.create_task(self._tick())
        try:
            await self._stopped.wait()
        finally:
            ticker.cancel()
            if self._server is not None:
                self._server.close()
            for connection in self._connections():
                connection.hang_up()
                connection.transport.abort()
            if self._state.tasks:  # they were cancelled, and settle
                await asyncio.wait(list(self._state.tasks), timeout=_LAST_WORDS_SECONDS)

    def drain(self) -> None:
        """Begin to stop; told a second time, stop without waiting."""
        if self._drainer is not None:
            self._hurry.set()
            return
        self._on_drain()
        self._drainer = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        log.info("draining: accepting for %g s more", self.drain_notice_seconds)
        await self._wait(self._hurry, self.drain_notice_seconds)
        assert self._server is not None
        self._server.close()
        self.draining = True
        for connection in self._connections():
            connection.shutdown()
        self.left()
        if not self._hurry.is_set():
            hurry = asyncio.ensure_future(self._hurry.wait())
            empty = asyncio.ensure_future(self._empty.wait())
            await asyncio.wait({hurry, empty}, timeout=self.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            empty.cancel()
        if not self._empty.is_set():
            current = [connection.current for connection in self._connections() if connection.current is not None]
            tasks = [exchange.task for exchange in current if exchange.task is not None]
            log.warning("interrupting %d open calls", len(tasks))
            for task in tasks:
                task.cancel(self._interrupted)
            await self._wait(self._empty, _LAST_WORDS_SECONDS)
        self._stopped.set()

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass

    def _connections(self) -> "list[Edge]":
        return list(self._state.connections)  # type: ignore[arg-type]  # all of them are ours

    def leaving(self, task: "asyncio.Task[None]") -> None:
        """The client of `task` is gone; it settles."""
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def left(self) -> None:
        """A connection is gone."""
        if self.draining and not self._state.connections:
            self._empty.set()

    async def _tick(self) -> None:
        pause = min(1.0, self.header_seconds / 4, self.body_seconds / 4, self.idle_seconds / 4)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause)
            self._tell_time()
            if self.certificate is not None:
                self.certificate.look()
            now = loop.time()
            for connection in self._connections():
                connection.look_at(now)

    def _tell_time(self) -> None:
        plain = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n" + SECURITY
        self.heads = [plain + POLICY, plain + HSTS + POLICY, plain, plain + HSTS]

    def head(self, *, secure: bool, own_policy: bool = False) -> bytes:
        """The lines that each answer begins with. `own_policy`: the page brings a content-security-policy."""
        return self.heads[2 * own_policy + secure]


def _as_openai(path: str, headers: Sequence[Header]) -> Callable[[FairleadError], bytes]:
    return OpenAIChat().encode_error
