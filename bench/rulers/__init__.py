"""What measures: wrk and sload ask, `burst` connects; each tells how it went."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from machines import AROUND, KEY, SCRATCH, Way, pinned

EVENTS = 52  # of a stream: 50 with words, usage, [DONE]
HERE = Path(__file__).parent


def wrk(way: Way, connections: int, seconds: float, *, timeout: int = 10) -> dict[str, Any]:
    """Ask for whole answers, one after the other on each connection."""
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", f"{timeout}s", "-s",
        str(HERE / "post.lua"), f"http://127.0.0.1:{way.port}{way.path}", "--", *_files(way),
    ]  # fmt: skip
    return _told(command)


def sload(way: Way, streams: int, seconds: float) -> dict[str, Any]:
    """Ask for streams, as many at a time; none begins after `seconds`."""
    return _told([str(SCRATCH / "sload"), str(way.port), way.path, str(streams), str(seconds), *_files(way), way.mark])


def _files(way: Way) -> list[str]:
    return [str(SCRATCH / f"{way.headers}.txt"), str(SCRATCH / f"{way.body}.json")]


def _told(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=pinned(AROUND), check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    told: dict[str, Any] = json.loads(lines[-1])
    if wrong(told):
        print(f"{wrong(told)} wrong answers: {' '.join(command[:4])} {told} {done.stderr[:300]}", file=sys.stderr)
    return told


def wrong(told: dict[str, Any]) -> int:
    """Answers that were not right, of what wrk or sload told."""
    of_sload = ("errors", "non200", "incomplete", "stuck")
    of_wrk = ("err_connect", "err_read", "err_write", "err_status", "err_timeout")
    return sum(told.get(name, 0) for name in (*of_sload, *of_wrk))


def served(port: int) -> int:
    """How many requests the provider at `port` has had; asking is none."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as asking:
        asking.sendall(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n")
        told = json.loads(asking.recv(4096).partition(b"\r\n\r\n")[2])
    _stats[port] = _stats.get(port, 0) + 1
    return int(told["requests"]) - _stats[port]


_stats: dict[int, int] = {}  # how often that was asked, which a provider counts as well


async def burst(way: Way, count: int) -> list[float]:
    """Seconds each of `count` new connections took, from SYN to the whole answer."""
    body = (SCRATCH / f"{way.body}.json").read_bytes()
    head = f"POST {way.path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    asked = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    async def one() -> float:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(asked)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        return time.perf_counter() - began

    return list(await asyncio.gather(*(one() for _ in range(count))))
