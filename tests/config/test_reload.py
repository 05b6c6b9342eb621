"""Reloading while calls are under way."""

import asyncio
from pathlib import Path

import msgspec

from gateway import SIMULATOR, gateway, raw, request, split


def body(model: str, *, stream: bool = False) -> bytes:
    return msgspec.json.encode(
        {
            "model": model,
            "stream": stream,
            "messages": [{"role": "user", "content": "one two three four five six seven"}],
        }
    )


async def test_a_stream_ends_in_the_world_it_began_in_though_its_provider_is_gone(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        told = running.config.read_text()
        begun = asyncio.Event()

        def seen(got: bytes) -> bool:
            if b'"content":' in got:
                begun.set()
            return False

        asking = asyncio.create_task(
            raw(running.port, request("/v1/chat/completions", body("sim/slow", stream=True)), until=seen)
        )
        await begun.wait()
        running.config.write_text(told.replace(SIMULATOR, ""))
        assert running.house.reloader.reload()
        assert not asking.done()
        assert split(await raw(running.port, request("/v1/chat/completions", body("sim/echo"))))[0] == 404
        status, _, events = split(await asking)
        assert status == 200
        assert events.rstrip().endswith(b"data: [DONE]")
        assert b'"error"' not in events


async def test_keys_of_the_file_come_and_go_with_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        told = running.config.read_text()
        fresh = "another-key-of-thirty-two-characters"
        running.config.write_text(told + f'[[keys]]\nname = "fresh"\nsecret = "{fresh}"\n')
        assert running.house.reloader.reload()
        asked = request("/v1/chat/completions", body("sim/echo"), key=fresh)
        assert split(await raw(running.port, asked))[0] == 200
        running.config.write_text(told)
        assert running.house.reloader.reload()
        assert split(await raw(running.port, asked))[0] == 401
