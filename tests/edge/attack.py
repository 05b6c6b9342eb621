"""Raw requests for a real gateway, what it answers, byte by byte, and what must be as before when they are over.

    answers = await door.ask(head("content-length: 2", "content-length: 3") + b"hi")

An answer is read strictly: a header that the gateway does not have, or has twice, is a failure wherever it shows up.
"""

import asyncio
import ctypes
import gc
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fairlead.call import Attempt, Call
from fairlead.http.connection import Edge
from fairlead.http.exchange import Exchange
from gateway import KEY, SIMULATOR, Gateway, gateway

CHAT = "/v1/chat/completions"
CONFIG = f"""{SIMULATOR}
[providers.lab]  # what comes in another protocol is translated
base_url = "simulator://local/v1"
protocols = ["openai-chat"]
signing = "none"
[models.smuggled]
endpoints = ["sim/echo"]
"""
PATIENCE = 10.0  # seconds for what should not take one; more than any deadline under test

# ---- requests


def said(words: str, model: str = "sim/echo", **fields: Any) -> bytes:
    """The body of a call: the model answers with the same words."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": words}], **fields}).encode()


def head(
    *lines: str, method: str = "POST", to: str = CHAT, version: str = "HTTP/1.1", host: str | None = "test",
    key: str | None = KEY,
) -> bytes:  # fmt: skip
    """The head of a request; lines are latin-1, so that "\\xff" is the byte 0xff."""
    all_lines = [f"{method} {to} {version}"]
    if host is not None:
        all_lines.append(f"host: {host}")
    if key is not None:
        all_lines.append(f"authorization: Bearer {key}")
    return "".join(f"{line}\r\n" for line in (*all_lines, *lines)).encode("latin-1") + b"\r\n"


def whole(body: bytes, *lines: str, **options: Any) -> bytes:
    """A request with its body and the right length."""
    return head(f"content-length: {len(body)}", *lines, **options) + body


def chunk(data: bytes, extension: str = "") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension.encode(), data)


GOOD = said("hello")
LAST_WORDS, SMUGGLED_WORDS = "these are the last words", "these are smuggled goods"
LAST = whole(said(LAST_WORDS), "connection: close")  # follows an attack on its connection, and ends it
SMUGGLED = whole(said(SMUGGLED_WORDS, "smuggled"))  # hidden in an attack; nobody may ever answer it


# ---- answers

# All the names of headers that the gateway has.
_OURS = frozenset(
    "date content-type content-length transfer-encoding connection cache-control allow retry-after x-should-retry"
    " etag x-request-id x-generation-id request-id x-fairlead-upstream-request-id x-fairlead-dropped"
    " x-content-type-options"
    " x-frame-options referrer-policy permissions-policy content-security-policy strict-transport-security".split()
)
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z' -]*")
_FIELD = re.compile(rb"([a-z0-9-]+): ([\x20-\x7e]*)")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """In OpenAI's spelling, or Anthropic's."""
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found

    @property
    def said(self) -> str:
        """What the model said; "" if no model did."""
        try:
            words: str = json.loads(self.body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError):
            return ""
        return words


def answers(received: bytes, method: str = "POST") -> list[Answer]:
    """All that was answered on a connection, to `method` first; AssertionError if any byte of it is out of place."""
    found = []
    while received:
        start, end, received = received.partition(b"\r\n\r\n")
        assert end, f"no end of a head: {start[-200:]!r}"
        first, *lines = start.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        assert status, f"no status line: {first[:200]!r}"
        headers: dict[str, str] = {}
        for line in lines:
            field = _FIELD.fullmatch(line)
            assert field, f"no header: {line[:200]!r}"
            name = field[1].decode()
            assert name in _OURS, f"a header that is not ours: {line[:200]!r}"
            assert name not in headers, f"a header that came twice: {line[:200]!r}"
            headers[name] = field[2].decode()
        code, body = int(status[1]), b""
        if code == 100:
            continue
        if method != "HEAD" and code not in (204, 304):
            body, received = _body(headers, received)
        found.append(Answer(code, headers, body))
        method = "POST"
    return found


def _body(headers: dict[str, str], received: bytes) -> tuple[bytes, bytes]:
    """The body that begins there, and what follows on it."""
    if "content-length" in headers:
        length = int(headers["content-length"])
        assert len(received) >= length, "a body that is cut off"
        return received[:length], received[length:]
    if "transfer-encoding" not in headers:
        return received, b""
    body = b""
    while True:
        size, _, received = received.partition(b"\r\n")
        length = int(size, 16)
        assert received[length : length + 2] == b"\r\n", "a chunk that is cut off"
        body, received = body + received[:length], received[length + 2 :]
        if not length:
            return body, received


# ---- connections


class Wire(asyncio.Protocol):
    """One connection of a client, and every byte that came; asyncio's streams forget them when it is reset."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = bytearray()
        self.news = asyncio.Event()
        self.ended = False  # by the gateway
        self.said = 0  # bytes that left for it
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.news.set()

    def eof_received(self) -> None:
        self.connection_lost(None)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.news.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def say(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)
            self.said += len(data)

    async def taken(self) -> None:
        """Wait until almost all that was said has left, or the gateway answers or ends the connection."""
        self.news.clear()
        tasks = [asyncio.ensure_future(event.wait()) for event in (self.writable, self.news)]
        await asyncio.wait(tasks, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def spell(self, data: bytes) -> None:
        """Say it so that the gateway sees each byte by itself, or almost."""
        for at in range(len(data)):
            self.say(data[at : at + 1])
            await self.turns(2)

    async def turns(self, count: int = 4) -> None:
        """Let the loop turn, so that the gateway reads what was said."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[bytes], bool]) -> bytes:
        """All that has come, as soon as `condition` holds of it."""
        async with asyncio.timeout(PATIENCE):
            while not condition(bytes(self.received)):
                assert not self.ended, f"the connection ended: {bytes(self.received)[-400:]!r}"
                self.news.clear()
                await self.news.wait()
        return bytes(self.received)

    async def rest(self) -> bytes:
        """All that came up to the end of the connection, which the gateway has to make."""
        async with asyncio.timeout(PATIENCE):
            while not self.ended:
                self.news.clear()
                await self.news.wait()
        return bytes(self.received)

    def reset(self) -> None:
        self.transport.abort()


class Door:
    """A gateway as strangers see it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._wires: list[Wire] = []

    async def connect(self, *, source: str = "", receives: int = 0) -> Wire:
        """A new connection, from `source` if it is given; `receives`: bytes that the client's socket takes unread."""
        end = socket.socket()
        if source:
            end.bind((source, 0))
        if receives:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(end, ("127.0.0.1", self.gateway.port))
        _, wire = await loop.create_connection(Wire, sock=end)
        self._wires.append(wire)
        return wire

    async def ask(self, sent: bytes, *, apart: bool = False, method: str = "POST") -> list[Answer]:
        """What is answered to these bytes up to the end of the connection. `apart`: they come one by one."""
        wire = await self.connect()
        await wire.spell(sent) if apart else wire.say(sent)
        return answers(await wire.rest(), method)

    async def smuggled(self) -> list[dict[str, Any]]:
        """The calls on record that nobody should have made."""
        return [row for row in await self.gateway.rows("calls") if row["model"] == "smuggled"]

    def forget(self) -> None:
        """Connections that have ended are no longer of interest."""
        self._wires = [wire for wire in self._wires if not wire.ended]

    def leave(self) -> None:
        """All clients go away."""
        for wire in self._wires:
            wire.reset()
        self._wires.clear()

    def of(self, wire: Wire) -> Edge:
        """The gateway's end of a connection."""
        port = wire.transport.get_extra_info("sockname")[1]
        (found,) = [end for end in self.gateway.server._state.connections if end.client[1] == port]  # type: ignore[union-attr,index]
        assert isinstance(found, Edge)
        return found

    def left(self) -> dict[str, int]:
        """What is open or held in the gateway."""
        house, server = self.gateway.house, self.gateway.server
        there = {
            "connections": len(server._state.connections),
            "of addresses": len(server.guard._connections),
            "tasks": len(server._state.tasks),
            "calls": len(house.ledger._open),
            "waiting": len(house.heartbeats._waiting) + len(house.heartbeats._beating),
            "bytes held": house.pipeline.buffers.held,
            "bytes unread": server.unread_bytes,
            "bytes of heads": server.head_bytes,
        }
        return {name: count for name, count in there.items() if count}

    async def is_served(self) -> None:
        """A good request on a new connection is answered."""
        (answer,) = await self.ask(whole(GOOD, "connection: close"))
        assert (answer.status, answer.said) == (200, "hello"), f"others are not served: {answer}"

    async def is_well(self) -> None:
        """A good request on a new connection is answered, and nothing is left behind."""
        await self.is_served()
        await until(lambda: not self.left(), self.left)


@asynccontextmanager
async def opened(folder: Path, protocol: str, server: str = "") -> AsyncIterator[Door]:
    """The door of a gateway of its own, and nothing left behind it. `server`: lines of its [server] section."""
    async with gateway(folder, CONFIG, server=f'protocol = "{protocol}"\n{server}') as running:
        door = Door(running)
        yield door
        door.leave()
        await door.is_well()


async def until(condition: Callable[[], bool], told: Callable[[], object] = lambda: "it does not come about") -> None:
    """Wait until `condition` holds; if it does not come about, `told` says how things are."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  # nothing tells of what is asked here
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(told()) from None


# ---- memory

_KEPT = (Edge, Exchange, Call, Attempt)


def alive() -> int:
    """How many connections, requests and calls there are in memory, whoever holds them."""
    gc.collect()
    return sum(isinstance(found, _KEPT) for found in gc.get_objects())


def anonymous_mb(*, now: bool = False) -> float:
    """MB of this process's memory, without what it maps of files: the journal grows as calls do.

    `now`: as it is, with what only waits to be given back."""
    if not now:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024
