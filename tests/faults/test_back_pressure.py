"""A client that never reads, and a gibibyte of events behind it: the gateway holds next to nothing."""

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path

import pytest

from gateway import both_ways, process, request  # noqa: F401
from serving import serving_process

PROVIDER = '[providers.up]\nbase_url = "{url}/v1"\nprotocols = ["openai-chat"]\nsigning = "none"\n'
GIBIBYTE = 1 << 30


def resident(pid: int) -> float:
    """MB of memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def asking(path: str, model: str) -> bytes:
    body = {"model": model, "stream": True, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    return request(path, json.dumps(body).encode(), close=False)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["relayed", "translated"])
async def test_a_gibibyte_of_events_for_a_client_that_never_reads_costs_less_than_2_mb(
    tmp_path: Path, path: str
) -> None:
    async with serving_process("openai-chat") as url:
        with process(tmp_path, PROVIDER.format(url=url)) as (started, address):
            port = int(address.rpartition(":")[2])
            for _ in range(3):  # what is there once, for any stream, is not what is measured
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
                writer.write(asking(path, f"up/echo+bytes={1 << 23}+event=65536"))
                end = b"[DONE]" if "chat" in path else b"message_stop"
                async with asyncio.timeout(20):
                    got = b""
                    while end not in got:
                        got = got[-100:] + await reader.read(1 << 20)
                writer.close()
            before = resident(started.pid)
            with closing(socket.socket()) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", port))
                client.sendall(asking(path, f"up/echo+bytes={GIBIBYTE}+event=65536"))
                most = before
                for _ in range(30):
                    await asyncio.sleep(0.05)
                    most = max(most, resident(started.pid))
            assert most - before < 2
