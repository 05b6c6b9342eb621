"""The paths that take calls: a request becomes a `Call`, and the pipeline's `Reply` becomes a response.

Nothing but what a call needs. What the client is told of an error is spelt by the client's protocol;
once the status is out it is an error event. Nothing is awaited after the call is settled but the last write.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from fairlead.buffers import Buffers
from fairlead.call import INTERRUPTED, Call, ReadBody, Reply, new_id
from fairlead.errors import (
    FairleadError,
    InternalError,
    MethodNotAllowed,
    ShuttingDown,
    TooLarge,
    UnsupportedMediaType,
)
from fairlead.http.asgi import Header, Receive, Scope, Send
from fairlead.http.client import AsgiClient, Client, ClientGone
from fairlead.http.fields import settle
from fairlead.http.heartbeat import Heartbeats
from fairlead.http.identity import identity, request_id
from fairlead.protocols import Served

_PIECE_BYTES = 256 << 10  # of a whole answer, so that a client that does not read holds no more


class Corridor(Protocol):
    """What answers calls: `Pipeline`, `Counts`."""

    buffers: Buffers

    async def handle(self, call: Call, read_body: ReadBody) -> Reply: ...


class Inference:
    """One path that takes calls."""

    def __init__(
        self,
        operation: str,
        protocol: Served,
        pipeline: Corridor,
        *,
        max_body_bytes: int,
        heartbeats: Heartbeats,
        finished: Callable[[Call], None],
    ) -> None:
        """`operation`: a name of `routes.OPERATIONS`. `finished` is told of each call when its last byte is out."""
        self.operation, self.protocol, self.pipeline = operation, protocol, pipeline
        self.max_body_bytes = max_body_bytes
        self.heartbeats, self.finished = heartbeats, finished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        client = AsgiClient(scope, receive, send)
        try:
            await self.serve(client)
        finally:
            client.close()

    async def serve(self, client: Client, target: tuple[str, bool] | None = None) -> None:
        """Take the call that `client` makes, and answer it. `target`: `call.Call`."""
        started_us = time.time_ns() // 1000
        headers, arrival = client.fields or dict(client.headers), client.arrival
        id = new_id(started_us)
        told = headers.get(b"x-request-id")
        call = Call(
            id=id,
            protocol=self.protocol,
            operation=self.operation,
            headers=headers,
            started_us=started_us,
            started=time.monotonic(),
            arrival=arrival,
            target=target,
            request_id=id if told is None else request_id(told) or id,
            attempts=[],
        )
        heartbeats = self.heartbeats
        heartbeats.listen(call, client)
        reply: Reply | None = None
        try:
            try:
                if len(headers) != len(client.headers):
                    settle(headers, client.headers)
                if arrival.method != "POST":
                    raise MethodNotAllowed("POST")
                reply = await self.pipeline.handle(call, partial(self._body, call, client))
            finally:
                if not heartbeats.stopped(call):
                    await heartbeats.stop(call)
            await _tell(call, reply, client)
        except FairleadError as error:
            await _refuse(call, error, client)
        except asyncio.CancelledError as cancelled:
            if reply is not None:
                reply.close(cancelled)
            if cancelled.args != (INTERRUPTED,) or not _can_still_tell(call):
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # this runs in a task
            await _refuse(call, ShuttingDown(sent=bool(call.attempts)), client)
        except ClientGone:
            pass
        except Exception:
            if _can_still_tell(call):
                await _refuse(call, InternalError(), client)
            raise
        finally:
            if reply is not None:
                reply.close()
            self.finished(call)
            call.forget()

    def _body(self, call: Call, client: Client) -> bytes | Awaitable[bytes]:
        """The request's body. Raises UnsupportedMediaType, TooLarge (before it is read), Unavailable, ClientGone."""
        headers, limit = call.headers, self.max_body_bytes
        kind = headers.get(b"content-type", b"application/json")
        if kind != b"application/json":
            _check_json(kind)
        if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
            raise UnsupportedMediaType("Send the body as it is: content-encoding is not supported.")
        body = client.whole()
        if body is None:
            if int(headers.get(b"content-length", b"0")) > limit:
                raise _too_large(limit)
            return self._rest(client)
        if len(body) > limit:
            raise _too_large(limit)
        return body

    async def _rest(self, client: Client) -> bytes:
        """A body that comes in pieces; what has come is counted against what the gateway may hold."""
        buffers, limit = self.pipeline.buffers, self.max_body_bytes
        chunks, held, more = [], 0, True
        try:
            while more:
                chunk, more = await client.piece()
                if held + len(chunk) > limit:
                    raise _too_large(limit)
                buffers.hold(len(chunk))
                held += len(chunk)
                chunks.append(chunk)
        finally:
            buffers.release(held)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _tell(call: Call, reply: Reply, client: Client) -> None:
    """Send `reply`; its status and headers are out already if the client had to wait long."""
    body = reply.body
    if body is not None:
        headers, size = [*reply.headers, *identity(call)], len(body)
        if size <= _PIECE_BYTES:
            waiting = client.answer(reply.status, headers, body)
            call.told = True
            if waiting is not None:
                await waiting
            return
        client.begin(reply.status, headers, size)
        call.told = True
        for begin in range(0, size - _PIECE_BYTES, _PIECE_BYTES):
            await _taken(client.write(body[begin : begin + _PIECE_BYTES]))
        await _taken(client.end(body[begin + _PIECE_BYTES :]))
        return
    try:
        if not call.told:
            client.begin(reply.status, [*reply.headers, *identity(call)])
            call.told = True
        last = await reply.relay(client.write)
    except BaseException as error:
        reply.close(error)  # settles with what really happened
        raise
    await _taken(client.end(last))


async def _taken(waiting: Awaitable[None] | None) -> None:
    if waiting is not None:
        await waiting


async def _refuse(call: Call, error: FairleadError, client: Client) -> None:
    """Tell `error`: as a response, or as the event that ends the stream when the status is out."""
    protocol = call.protocol
    if call.told:
        await _taken(client.end(protocol.encode_error_event(error)))
        return
    body = protocol.encode_error(error)
    call.status = error.status
    waiting = client.answer(error.status, [*error_headers(error), *identity(call)], body)
    call.told = True
    await _taken(waiting)


def _can_still_tell(call: Call) -> bool:
    """Whether an error can still be told: nothing is out, or it is a stream."""
    return not call.told or (call.envelope is not None and call.envelope.stream)


def error_headers(error: FairleadError) -> list[Header]:
    """The headers of an error's response: both official SDKs obey `x-should-retry`, so it is always there."""
    headers = [
        (b"content-type", b"application/json"),
        (b"x-should-retry", b"true" if error.retryable else b"false"),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return headers


def _check_json(kind: bytes) -> None:
    essence = kind.split(b";", 1)[0].strip().lower()
    if (
        essence
        and essence != b"application/json"
        and not (essence.startswith(b"application/") and essence.endswith(b"+json"))
    ):
        shown = essence[:80].decode("latin-1")
        raise UnsupportedMediaType(f"The body is {shown!r}; send JSON with 'content-type: application/json'.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request is larger than {limit} bytes (server.max_body_bytes).")
