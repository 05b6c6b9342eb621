"""Clients that go away, wait long, or never read; gateways that reload and shut down with calls open."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from gateway import KEY, both_ways, gateway, process, raw, request, rows, split  # noqa: F401
from serving import serving

PROVIDER = '[providers.up]\nbase_url = "{url}/v1"\nprotocols = ["{protocol}"]\nsigning = "none"\n'


def chat(model: str, *, stream: bool = True, content: str = "hi") -> bytes:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": content}]}
    return request("/v1/chat/completions", json.dumps(body).encode(), close=False)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until `condition` holds, looking at it every few milliseconds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # what is looked at is in another process
            await asyncio.sleep(0.005)


async def tally(url: str) -> Any:
    def ask() -> Any:
        with urlopen(f"{url}/__tally") as answer:
            return json.load(answer)

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("protocol", ["openai-chat", "anthropic-messages"])
@pytest.mark.parametrize("how", ["close", "half-close"])
async def test_a_client_that_hangs_up_closes_the_upstream_and_leaves_a_record(
    tmp_path: Path, protocol: str, how: str
) -> None:
    async with serving() as url, gateway(tmp_path, PROVIDER.format(url=url, protocol=protocol)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(chat("up/long+stall=60"))
        await reader.readuntil(b"content")
        if how == "close":
            writer.transport.abort()
        else:
            writer.write_eof()

        async def closed() -> bool:
            return bool((await tally(url))["closed_early"])

        await until(closed)  # long before the upstream would say more

        async def recorded() -> bool:
            return bool(await running.rows("calls"))

        await until(recorded)
        (call,), (attempt,) = await running.rows("calls"), await running.rows("attempts")
        assert (call["outcome"], attempt["outcome"]) == ("cancelled", "cancelled")
        assert attempt["output_tokens"] > 0
        assert running.house.pipeline.buffers.held == 0
        writer.close()


async def test_a_client_that_hangs_up_before_an_answer_closes_the_upstream(tmp_path: Path) -> None:
    async with serving() as url, gateway(tmp_path, PROVIDER.format(url=url, protocol="openai-chat")) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(chat("up/echo+stall", stream=False))

        async def asked() -> bool:
            return "echo+stall" in json.dumps((await tally(url))["last"])

        await until(asked)
        writer.close()

        async def closed() -> bool:
            return bool((await tally(url))["closed_early"])

        await until(closed)


async def test_a_stream_that_waits_long_gets_signs_of_life_and_then_its_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="heartbeat_seconds = 0.1") as running:
        status, headers, body = split(
            await raw(running.port, chat("sim/slow").replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        )
        assert status == 200
        assert headers["x-request-id"].startswith("gen-")
        assert body.startswith(b": ")
        assert body.count(b": ") > 2
        assert body.rstrip().endswith(b"data: [DONE]")


async def test_a_failure_after_signs_of_life_is_an_event(tmp_path: Path) -> None:
    async with serving() as url:
        config = PROVIDER.format(url=url, protocol="openai-chat") + "[timeouts]\nfirst_byte_seconds = 0.5\n"
        async with gateway(tmp_path, config, server="heartbeat_seconds = 0.1") as running:
            answer = await raw(
                running.port, chat("up/echo+stall"), until=lambda got: b'"error"' in got and got.endswith(b"0\r\n\r\n")
            )
            status, _, body = split(answer)
            assert status == 200
            error = json.loads(body.rpartition(b"data: ")[2])["error"]
            assert (error["code"], error["retryable"]) == ("upstream_timeout", False)


async def test_another_endpoint_may_still_answer_after_signs_of_life(tmp_path: Path) -> None:
    async with serving() as url:
        config = (
            PROVIDER.format(url=url, protocol="openai-chat")
            + '[timeouts]\nfirst_byte_seconds = 0.4\n[models.m]\nendpoints = ["up/echo+stall", "up/echo"]\n'
        )
        async with gateway(tmp_path, config, server="heartbeat_seconds = 0.1") as running:
            _, _, body = split(await raw(running.port, chat("m"), until=lambda got: b"[DONE]" in got))
            assert body.startswith(b": ")
            assert b"hi" in body


async def test_a_stream_runs_unharmed_through_twenty_reloads(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:

        async def reload() -> None:
            for number in range(20):
                text = running.config.read_text() + f'\n[models.m{number}]\nendpoints = ["sim/echo"]\n'
                running.config.write_text(text)
                assert running.house.reloader.reload()
                await asyncio.sleep(0)

        asking = asyncio.create_task(raw(running.port, chat("sim/slow"), until=lambda got: b"[DONE]" in got))
        await asyncio.sleep(0.05)
        await reload()
        _, _, body = split(await asking)
        assert b"error" not in body
        assert body.count(b'"content"') > 3
        assert "m19" in running.house.catalog.current.models


async def test_a_changed_file_is_noticed_and_a_wrong_one_refused_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(tmp_path) as running:
        right = running.config.read_text()

        async def offered(name: str) -> bool:
            return name in running.house.catalog.current.models

        async def touched(text: str, name: str) -> bool:
            running.config.write_text(text)  # again and again: the watch may not have begun yet
            await asyncio.sleep(0.1)
            return await offered(name)

        first = right + '\n[models.one]\nendpoints = ["sim/echo"]\n'
        await until(lambda: touched(first, "one"))
        running.config.write_text(
            first + '\n[models.two]\nendpoints = ["sim/echo"]\n[models.bad]\nendpoints = ["nobody/x"]\n'
        )
        assert not running.house.reloader.reload()
        assert not await offered("two")
        assert await offered("one")


async def test_sigterm_drains_open_calls_are_finished_and_the_exit_is_0(tmp_path: Path) -> None:
    with process(tmp_path, server="drain_notice_seconds = 0\ndrain_seconds = 10") as (started, url):
        port = int(url.rpartition(":")[2])
        asking = asyncio.create_task(raw(port, chat("sim/slow"), until=lambda got: b"[DONE]" in got))
        await until(lambda: _ready(port, 200))
        await asyncio.sleep(0.2)
        started.send_signal(signal.SIGTERM)
        _, _, body = split(await asking)
        assert body.rstrip().endswith(b"data: [DONE]")
        assert await asyncio.to_thread(started.wait, 10) == 0
    (call,) = rows(tmp_path / "state" / "fairlead.db", "calls")
    assert call["outcome"] == "ok"


async def test_a_call_that_does_not_end_in_time_gets_a_last_event_and_a_record(tmp_path: Path) -> None:
    async with serving() as url:
        config = PROVIDER.format(url=url, protocol="openai-chat")
        with process(tmp_path, config, server="drain_notice_seconds = 0\ndrain_seconds = 0.3") as (started, address):
            port = int(address.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(chat("up/long+stall=30"))
            head = await reader.readuntil(b"content")
            started.send_signal(signal.SIGTERM)
            body = await reader.read()
            assert b'"shutting_down"' in body
            assert b'"retryable":false' in body
            assert b" 200 " in head
            assert await asyncio.to_thread(started.wait, 10) == 0
            writer.close()
    (call,) = rows(tmp_path / "state" / "fairlead.db", "calls")
    (attempt,) = rows(tmp_path / "state" / "fairlead.db", "attempts")
    assert (call["outcome"], attempt["outcome"]) == ("interrupted", "interrupted")


async def test_while_draining_it_is_not_ready_but_still_accepts(tmp_path: Path) -> None:
    with process(tmp_path, server="drain_notice_seconds = 30") as (started, url):
        port = int(url.rpartition(":")[2])
        started.send_signal(signal.SIGTERM)
        await until(lambda: _ready(port, 503))
        status, _, _ = split(await raw(port, chat("sim/echo", stream=False), until=lambda got: b"choices" in got))
        assert status == 200
        started.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(started.wait, 10) == 0


async def _ready(port: int, status: int) -> bool:
    return split(await raw(port, request("/readyz", method="GET", key=None)))[0] == status


async def test_the_first_start_prints_a_key_once_and_it_opens_the_gateway(tmp_path: Path) -> None:
    async def shown(*, first: bool) -> tuple[str, int]:
        with process(tmp_path) as (started, url):
            known = rows(tmp_path / "state" / "fairlead.db", "keys", order="created_us")
            assert len(known) == 1
            key = await asyncio.to_thread(_shown, started) if first else ""
            asked = request("/v1/models", method="GET", key=key)
            status, _, _ = split(await raw(int(url.rpartition(":")[2]), asked))
            return key, status

    secret, status = await shown(first=True)
    assert (len(secret), status) == (46, 200)
    _, status = await shown(first=False)
    assert status == 401


def _shown(started: subprocess.Popen[str]) -> str:
    """The key that a first start prints."""
    assert started.stdout is not None
    while not (line := started.stdout.readline()).strip().startswith("fl-"):
        assert line
    return line.strip()


async def test_a_key_revoked_by_another_process_is_refused_within_a_second(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        from fairlead.storage.engine import Database
        from fairlead.storage.keys import KeyStore

        other = Database(running.house.database.path)
        secret, key = KeyStore(other).create("theirs")

        async def status() -> int:
            asked = request("/v1/models", method="GET", key=secret)
            return split(await raw(running.port, asked))[0]

        assert await status() == 200
        KeyStore(other).revoke(key.id)

        async def refused() -> bool:
            return await status() == 401

        await until(refused, 2)
        other.close()


async def test_without_its_database_known_keys_go_on_and_unknown_ones_get_503(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        secret, _ = running.house.keys.create("known")

        async def status(key: str) -> int:
            return split(await raw(running.port, request("/v1/models", method="GET", key=key)))[0]

        assert await status(secret) == 200
        running.house.auth._store._database.close()  # type: ignore[attr-defined]
        assert await status(secret) == 200
        assert await status(KEY) == 200
        assert await status("fl-" + "b" * 43) == 503
