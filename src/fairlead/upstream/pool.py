"""Keep-alive connections to providers: one bounded pool an origin, the warmest connection first, fair to who waits."""

import asyncio
import ssl
from collections import deque

from fairlead.errors import ConnectFailed, UpstreamBroken, UpstreamTimeout
from fairlead.upstream import Origin, UpstreamRequest, tls
from fairlead.upstream.connection import Connection, Response, Stale
from fairlead.upstream.dns import Address, Resolver

_MAX_AGE_SECONDS = 300.0  # so that changes of DNS act
_STAGGER_SECONDS = 0.25  # https://www.rfc-editor.org/rfc/rfc8305#section-5
_SWEEP_SECONDS = 1.0


class Pool:
    """A `Transport` for http and https."""

    def __init__(self, *, max_connections_per_origin: int = 1000) -> None:
        self._max = max_connections_per_origin
        self._lanes: dict[Origin, _Lane] = {}
        self._resolver = Resolver()
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, request: UpstreamRequest) -> Response:
        """The answer, once its status and headers are here. Raises UpstreamError.

        A reused connection may turn out to be closed; the request is then sent once more on a new one.
        """
        lane = self._lanes.get(request.origin)
        if lane is None:
            lane = self._lanes[request.origin] = _Lane(request.origin, self._max, self._resolver)
        self._keep_sweeping()
        connection = await lane.acquire(request.timeouts.connect)
        try:
            return await connection.exchange(request)
        except Stale:
            pass
        connection = await lane.acquire(request.timeouts.connect, fresh=True)
        try:
            response = await connection.exchange(request)
        except Stale:
            raise UpstreamBroken("it closed the connection before it answered", outcome_unknown=True) from None
        response.sends = 2
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for lane in self._lanes.values():
            lane.close()

    @property
    def open(self) -> int:
        """Connections there are, busy and idle."""
        return sum(len(lane.connections) for lane in self._lanes.values())

    def _keep_sweeping(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        for origin, lane in list(self._lanes.items()):
            if not lane.sweep():
                del self._lanes[origin]
        if self._lanes:
            self._keep_sweeping()


class _Lane:
    """The connections to one origin. `_taken` counts those there are and those being made."""

    def __init__(self, origin: Origin, limit: int, resolver: Resolver) -> None:
        self._origin, self._limit, self._resolver = origin, limit, resolver
        self._loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._taken = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()  # None: a place for a connection of one's own

    async def acquire(self, seconds: float, *, fresh: bool = False) -> Connection:
        """A connection for one exchange, at most `seconds` from now. Raises UpstreamTimeout, ConnectFailed."""
        if not fresh:
            connection = self._warm()
            if connection is not None:
                return connection
        try:
            async with asyncio.timeout(seconds):
                if self._taken >= self._limit:
                    handed = await self._wait()
                    if handed is not None:
                        return handed
                else:
                    self._taken += 1
                return await self._connect()
        except TimeoutError:
            raise UpstreamTimeout("connect", seconds) from None

    def _warm(self) -> Connection | None:
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if _usable(connection, now):
                return connection
            connection.close()
        return None

    async def _wait(self) -> Connection | None:
        """First come, first served."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # handed over just before we were cancelled
                handed = waiter.result()
                if handed is not None:
                    self._released(handed)
                else:
                    self._give_up_place()
            else:
                self._waiting.remove(waiter)
            raise

    def _next_waiting(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _give_up_place(self) -> None:
        waiter = self._next_waiting()
        if waiter is not None:
            waiter.set_result(None)  # the place is theirs now
        else:
            self._taken -= 1

    async def _connect(self) -> Connection:
        """A new connection. The place for it has been taken."""
        try:
            addresses = await self._resolver.resolve(self._origin.host, self._origin.port)
            connection = await self._first_of(addresses)
        except BaseException:
            self._give_up_place()
            raise
        if connection.lost:
            self._give_up_place()
            raise ConnectFailed("the connection was closed at once")
        self.connections.add(connection)
        return connection

    async def _first_of(self, addresses: list[Address]) -> Connection:
        """The first connection that comes about; attempts begin a quarter of a second apart, or when one fails."""
        if len(addresses) == 1:
            return await self._connect_to(addresses[0])
        tasks: set[asyncio.Task[Connection]] = set()
        failure: ConnectFailed | None = None
        waiting = deque(addresses)
        try:
            while waiting or tasks:
                if waiting:
                    tasks.add(asyncio.create_task(self._connect_to(waiting.popleft())))
                pause = _STAGGER_SECONDS if waiting else None
                done, tasks = await asyncio.wait(tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    if not isinstance(error, ConnectFailed):
                        raise error
                    failure = failure or error
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(_dispose)
        raise failure or ConnectFailed("the name has no address")

    async def _connect_to(self, address: Address) -> Connection:
        origin = self._origin
        secure = origin.scheme == "https"
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self._released),
                address[1],
                origin.port,
                ssl=tls.context(origin.ca_file) if secure else None,
                server_hostname=origin.host if secure else None,
            )
        except ConnectionRefusedError:
            raise ConnectFailed("the connection was refused", refused=True) from None
        except ssl.SSLError as error:
            raise ConnectFailed(f"TLS failed: {error.reason or error}") from None
        except OSError as error:
            raise ConnectFailed(f"no connection: {error.strerror or error}") from None
        return connection

    def _released(self, connection: Connection) -> None:
        """`connection` is free again, or lost."""
        if connection.lost:
            if connection in self.connections:
                self.connections.discard(connection)
                if connection in self._idle:
                    self._idle.remove(connection)
                self._give_up_place()
            return
        if not _usable(connection, self._loop.time()):
            connection.close()
            return
        waiter = self._next_waiting()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle.append(connection)

    def sweep(self) -> bool:
        """Close what has been idle for too long; whether anything is left here."""
        now = self._loop.time()
        for connection in [connection for connection in self._idle if not _usable(connection, now)]:
            connection.close()
        return bool(self._taken or self._waiting)

    def close(self) -> None:
        for connection in list(self.connections):
            connection.close()


def _usable(connection: Connection, now: float) -> bool:
    return connection.idle and now < connection.expires and now - connection.born < _MAX_AGE_SECONDS


def _dispose(task: "asyncio.Task[Connection]") -> None:
    """A connection that came about after another one had won."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
