"""The pool of upstream connections: what sends a request and gives its answer.

Each origin has its own connections, at most `max_connections_per_origin`. The one used last is used next, so that the
others may expire. Whoever finds none waits in line; waiting counts as connecting.
"""

import asyncio
import errno
import ssl
from collections import deque

from msgspec import structs

from fairlead.errors import ConnectFailed, FairleadError, ShuttingDown, Unavailable, UpstreamBroken, UpstreamTimeout
from fairlead.upstream import Origin, UpstreamRequest, UpstreamResponse
from fairlead.upstream.connection import Connection, Response
from fairlead.upstream.dns import Address, Resolver, race
from fairlead.upstream.tls import Contexts
from fairlead.writes import Writes

_SWEEP_SECONDS = 1.0


class Pool:
    """An `upstream.Transport` over HTTP/1.1. It opens nothing before its first request."""

    def __init__(
        self,
        *,
        max_connections_per_origin: int = 1000,
        idle_seconds: float = 4.0,
        max_age_seconds: float = 300.0,
        resolver: Resolver | None = None,
        writes: Writes | None = None,
    ) -> None:
        """`idle_seconds` holds for upstreams that announce nothing (`Keep-Alive: timeout`): many close at five.
        No connection is used beyond `max_age_seconds`, so that changed addresses are noticed.
        `writes`: those of the server whose calls these are."""
        self.limit = max_connections_per_origin
        self.idle_seconds, self.max_age_seconds = idle_seconds, max_age_seconds
        self.resolver = resolver or Resolver()
        self.contexts = Contexts()
        self.writes = writes or Writes()
        self._origins: dict[Origin, Connections] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send `request`; gives the answer when its head is here.

        Raises ConnectFailed, UpstreamTimeout, UpstreamBroken; Unavailable when this process can open no more
        connections, ShuttingDown after `aclose`.
        """
        connections = self._origins.get(request.origin) or self._open(request.origin)
        loop = connections.loop
        started = now = loop.time()
        connection = connections.take(now)
        if connection is None:
            connection = await connections.connect(request.timeouts.connect)
            now = loop.time()
        request.sends = 1
        response = connection.start(request, now, started)
        try:
            await response.head()
        except UpstreamBroken:
            if not response.stale:
                raise
            response = await self._resend(request, connections, started)
        except BaseException:
            response.close()
            raise
        return response

    async def _resend(self, request: UpstreamRequest, connections: "Connections", started: float) -> Response:
        """The same once more, because the reused connection had been given up by the other side."""
        connection = await connections.connect(request.timeouts.connect, again=True)
        request.sends = 2
        if request.resent_head is not None:
            request = structs.replace(request, head=request.resent_head)
        response = connection.start(request, connections.loop.time(), started)
        response.sends = 2
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    def _open(self, origin: Origin) -> "Connections":
        if self._closed:
            raise ShuttingDown(sent=False)
        self._loop = asyncio.get_running_loop()
        connections = self._origins[origin] = Connections(origin, self, self._loop)
        return connections

    @property
    def open_connections(self) -> int:
        """How many there are, those being opened included."""
        return sum(connections.count for connections in self._origins.values())

    @property
    def idle_connections(self) -> int:
        """How many of them have nothing to do."""
        return sum(len(connections.idle) for connections in self._origins.values())

    def sweep_soon(self) -> None:
        """There are idle connections: look after them."""
        if self._sweep is None and self._loop is not None and not self._closed:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._expire)

    def _expire(self) -> None:
        self._sweep = None
        for origin, connections in list(self._origins.items()):
            connections.expire()
            if not connections.count and not connections.waiting:
                del self._origins[origin]
        if self.idle_connections:
            self.sweep_soon()

    async def aclose(self) -> None:
        """Close every connection; what still waits or reads gets ShuttingDown."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self.resolver.close()
        for connections in self._origins.values():
            connections.close()
        self._origins.clear()
        await asyncio.sleep(0)  # transports tell of their end a turn later


class Connections:
    """The connections to one origin: idle, at work, being opened. `count` is all of them."""

    __slots__ = ("_at_work", "_pool", "count", "idle", "loop", "origin", "waiting")

    def __init__(self, origin: Origin, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self.origin, self.loop = origin, loop
        self.count = 0
        self.idle: list[Connection] = []  # the one released last is the last
        self.waiting: deque[asyncio.Future[Connection | None]] = deque()  # None: a free place
        self._at_work: set[Connection] = set()
        self._pool = pool

    # ---- to have one

    def take(self, now: float) -> Connection | None:
        """An idle connection, the warmest, if there is one."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            self._at_work.add(connection)
            if connection.expires > now and connection.alive:
                return connection
            connection.abort()
        return None

    async def connect(self, seconds: float, *, again: bool = False) -> Connection:
        """A connection, after waiting in line if there are as many as may be.

        `again`: an idle connection had gone stale, perhaps all have; take a new one, and go to the head of the line.
        Raises ConnectFailed, UpstreamTimeout, Unavailable.
        """
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await self._in_turn(again=again)
        except TimeoutError as error:
            if scope.expired():
                raise UpstreamTimeout("connect", seconds) from None
            raise ConnectFailed("the connection timed out") from error

    async def _in_turn(self, *, again: bool) -> Connection:
        first = again
        while True:
            if not again:
                connection = self.take(self.loop.time())
                if connection is not None:
                    return connection
            elif self.idle and self.count >= self._pool.limit:
                self.idle[0].abort()
            if self.count < self._pool.limit:
                self.count += 1
                return await self._dial()
            connection = await self._wait(first=first)
            if connection is None:
                return await self._dial()
            if connection.alive:
                return connection
            first = True  # what it was given died meanwhile: it does not lose its turn

    async def _wait(self, *, first: bool) -> Connection | None:
        turn: asyncio.Future[Connection | None] = self.loop.create_future()
        if first:
            self.waiting.appendleft(turn)
        else:
            self.waiting.append(turn)
        try:
            return await turn
        except BaseException:
            if turn in self.waiting:
                self.waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:  # our turn came, but we are gone
                connection = turn.result()
                if connection is None:
                    self._free_place()
                elif connection.alive:
                    self.release(connection)
            raise

    async def _dial(self) -> Connection:
        """Open a connection in the place that is ours already."""
        try:
            connection = await self._opened()
        except BaseException as error:
            self._free_place()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise _told(error) from error
            raise
        connection.home = self
        self._at_work.add(connection)
        return connection

    async def _opened(self) -> Connection:
        origin, pool = self.origin, self._pool
        context = await pool.contexts.get(origin.ca_file) if origin.scheme == "https" else None
        connection = await race(await pool.resolver.resolve(origin.host), self._reached, Connection.abort)
        try:
            if context is not None:
                await connection.secure(context, origin.host)
            if not connection.alive:
                raise ConnectFailed("it closed the connection at once")
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _reached(self, address: Address) -> Connection:
        connection = Connection(self.loop, self._pool.writes)
        try:
            await self.loop.create_connection(lambda: connection, address[1], self.origin.port)
        except BaseException:
            connection.abort()
            raise
        return connection

    # ---- to give it back

    def release(self, connection: Connection) -> None:
        """It has done its work: the first in line has it, or it becomes idle."""
        pool, now = self._pool, self.loop.time()
        keep = pool.idle_seconds if connection.keep_seconds is None else connection.keep_seconds
        too_old = connection.born + pool.max_age_seconds
        connection.expires = now + keep if now + keep < too_old else too_old
        if connection.expires <= now:
            connection.abort()
            return
        if self.waiting and self._next(connection):
            return
        self._at_work.discard(connection)
        self.idle.append(connection)
        pool.sweep_soon()

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        if connection in self._at_work:
            self._at_work.discard(connection)
        elif connection in self.idle:
            self.idle.remove(connection)
        self._free_place()

    def _free_place(self) -> None:
        if not self._next(None):
            self.count -= 1

    def _next(self, thing: Connection | None) -> bool:
        """Whether somebody waited for a connection or for a place to open one."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(thing)
                return True
        return False

    def expire(self) -> None:
        """Close what has been idle for too long."""
        now = self.loop.time()
        for connection in [connection for connection in self.idle if connection.expires <= now]:
            connection.abort()

    def close(self) -> None:
        """Close everything, at once."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_exception(ShuttingDown(sent=False))
        for connection in [*self.idle, *self._at_work]:
            connection.fail(ShuttingDown(sent=True))


def _told(error: OSError) -> FairleadError:
    """Our word for why no connection came about."""
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed("the connection was refused", refused=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFailed(f"its certificate is not valid: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return ConnectFailed(f"TLS failed: {error.reason}")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        return Unavailable("The gateway cannot open more connections.")
    return ConnectFailed(f"the connection failed: {error.strerror or type(error).__name__}")
