"""The paths that take calls: a request becomes a `Call`, and the pipeline's `Reply` becomes a response.

Plain ASGI, and nothing but what a call needs. What the client is told of an error is spelt by the client's protocol;
once the status is out it is an error event. Nothing is awaited after the call is settled but the last write.
"""

import asyncio
import math
import time
from collections.abc import Callable

from fairlead.call import Call, Reply, new_id
from fairlead.errors import (
    FairleadError,
    InternalError,
    MethodNotAllowed,
    ShuttingDown,
    TooLarge,
    UnsupportedMediaType,
)
from fairlead.http.asgi import Header, Message, Receive, Scope, Send
from fairlead.http.heartbeat import Heartbeats
from fairlead.pipeline import INTERRUPTED, Pipeline
from fairlead.protocols import Wire

_PIECE_BYTES = 256 << 10  # of a whole answer, so that a client that does not read holds no more
CANCELS = "fairlead.cancels"  # scope extension: this server cancels our task when the client goes away


class ClientGone(ConnectionAbortedError):
    """The client went away before its request was whole."""


class Inference:
    """One path that takes calls, as an ASGI application."""

    def __init__(
        self,
        operation: str,
        protocol: Wire,
        pipeline: Pipeline,
        *,
        max_body_bytes: int,
        heartbeats: Heartbeats,
        finished: Callable[[Call], None],
    ) -> None:
        """`operation`: "chat", "completions", "messages". `finished` is told of each call when its last byte is out."""
        self.operation, self.protocol, self.pipeline = operation, protocol, pipeline
        self.max_body_bytes = max_body_bytes
        self.heartbeats, self.finished = heartbeats, finished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_us = time.time_ns() // 1000
        call = Call(
            id=new_id(started_us),
            protocol=self.protocol,
            operation=self.operation,
            headers=dict(scope["headers"]),
            started_us=started_us,
            started=time.monotonic(),
            client=scope["client"][0] if scope.get("client") else "",
            method=scope["method"],
            path=scope["path"],
            attempts=[],
        )
        watch = CANCELS not in scope.get("extensions", ())
        heart = self.heartbeats.listen(call, send)
        watcher: asyncio.Task[None] | None = None

        async def read_body() -> bytes:
            nonlocal watcher
            body = await self._body(call, receive)
            if watch:
                watcher = _cancelling_on_disconnect(receive)
            return body

        reply: Reply | None = None
        try:
            try:
                if scope["method"] != "POST":
                    raise MethodNotAllowed("POST")
                reply = await self.pipeline.handle(call, read_body)
            finally:
                await heart.stop()
            await _tell(call, reply, send)
        except FairleadError as error:
            await _refuse(call, error, send)
        except asyncio.CancelledError as cancelled:
            if reply is not None:
                reply.close(cancelled)
            if cancelled.args != (INTERRUPTED,) or not _can_still_tell(call):
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # this runs in a task
            await _refuse(call, ShuttingDown(sent=bool(call.attempts)), send)
        except ClientGone:
            pass
        except Exception:
            if _can_still_tell(call):
                await _refuse(call, InternalError(), send)
            raise
        finally:
            if reply is not None:
                reply.close()
            if watcher is not None:
                watcher.cancel()
            self.finished(call)
            call.forget()

    async def _body(self, call: Call, receive: Receive) -> bytes:
        """The request's body. Raises UnsupportedMediaType, TooLarge (before it is read), Unavailable, ClientGone."""
        headers, limit = call.headers, self.max_body_bytes
        kind = headers.get(b"content-type", b"application/json")
        if kind != b"application/json":
            _check_json(kind)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Send the body as it is: content-encoding is not supported.")
        length = headers.get(b"content-length")
        if length is not None and len(length) > 5 and int(length) > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return await self._rest(body, receive) if message.get("more_body", False) else body

    async def _rest(self, first: bytes, receive: Receive) -> bytes:
        """A body that comes in pieces; what has come is counted against what the gateway may hold."""
        buffers, limit = self.pipeline.buffers, self.max_body_bytes
        chunks, held, more = [first], 0, True
        try:
            buffers.hold(len(first))
            held = len(first)
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk, more = message.get("body", b""), message.get("more_body", False)
                if held + len(chunk) > limit:
                    raise _too_large(limit)
                buffers.hold(len(chunk))
                held += len(chunk)
                chunks.append(chunk)
        finally:
            buffers.release(held)
        return b"".join(chunks)


async def _tell(call: Call, reply: Reply, send: Send) -> None:
    """Send `reply`; its status and headers are out already if the client had to wait long."""
    if reply.events is None:
        body = reply.body or b""
        headers = [*reply.headers, (b"content-length", b"%d" % len(body)), *identity(call)]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        call.told = True
        for begin in range(0, len(body) - _PIECE_BYTES, _PIECE_BYTES):
            await send({"type": "http.response.body", "body": body[begin : begin + _PIECE_BYTES], "more_body": True})
        rest = body[-(len(body) % _PIECE_BYTES or _PIECE_BYTES) :] if len(body) > _PIECE_BYTES else body
        await send({"type": "http.response.body", "body": rest})
        return
    events = reply.events
    try:
        if not call.told:
            headers = [*reply.headers, *identity(call)]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            call.told = True
        message: Message = {"type": "http.response.body", "body": b"", "more_body": True}
        async for message["body"] in events:
            await send(message)
        await send({"type": "http.response.body", "body": b""})
    except BaseException as error:
        reply.close(error)  # settles with what really happened; closing the events alone would look like a hang-up
        raise
    finally:
        await events.aclose()


async def _refuse(call: Call, error: FairleadError, send: Send) -> None:
    """Tell `error`: as a response, or as the event that ends the stream when the status is out."""
    protocol = call.protocol
    if call.told:
        await send({"type": "http.response.body", "body": protocol.encode_error_event(error)})
        return
    body = protocol.encode_error(error)
    headers = [*error_headers(error, len(body)), *identity(call)]
    call.status = error.status
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    call.told = True
    await send({"type": "http.response.body", "body": body})


def _can_still_tell(call: Call) -> bool:
    """Whether an error can still be told: nothing is out, or it is a stream."""
    return not call.told or (call.envelope is not None and call.envelope.stream)


def error_headers(error: FairleadError, size: int) -> list[Header]:
    """The headers of an error's response: both official SDKs obey `x-should-retry`, so it is always there."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % size),
        (b"x-should-retry", b"true" if error.retryable else b"false"),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return headers


def identity(call: Call) -> list[Header]:
    """The call's id, under the names that clients look for: it is also what `/v1/generation` is asked for."""
    value = call.id.encode()
    headers = [(b"x-request-id", value), (b"x-generation-id", value)]
    return [*headers, (b"request-id", value)] if call.operation == "messages" else headers


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


def _cancelling_on_disconnect(receive: Receive) -> asyncio.Task[None]:
    """For servers that only tell of a hang-up: a task that cancels this one when the client goes away."""
    serving = asyncio.current_task()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if serving is not None:
            serving.cancel()

    return asyncio.create_task(watch())
