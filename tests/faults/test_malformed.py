"""Answers that cannot be read: the client hears whose they are and what is wrong, the debug log alone has the bytes."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway import gateway, raw, request, split
from misbehaving import Misbehaving

PROVIDER = """
[providers.lab]
base_url = "{url}"
protocols = ["{protocol}"]
models_path = ""
credential = "a-secret-of-the-lab"
"""
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
SAID = {"model": "lab/m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
CHUNKS = b"".join(
    b"data: %b\n\n" % json.dumps({**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}).encode()
    for delta, why in (({"role": "assistant", "content": "Hel"}, None), ({"content": "lo"}, None), ({}, "stop"))
)


def answer(body: bytes, kind: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind.encode(), len(body), body)


async def ask(
    folder: Path, server: Misbehaving, path: str, protocol: str = "openai-chat", **fields: Any
) -> tuple[int, dict[str, str], bytes]:
    async with gateway(folder, PROVIDER.format(url=server.url, protocol=protocol)) as running:
        return split(await raw(running.port, request(path, json.dumps({**SAID, **fields}).encode())))


WHOLE = [
    (b'{"choices": "a-secret-of-the-lab peculiar', "application/json", False),
    (b"<html>peculiar a-secret-of-the-lab</html>", "text/html", False),
    (b'data: {"choices":[{"delta":{"content": peculiar a-secret-of-the-lab\n\n', "text/event-stream", True),
    (b'{"peculiar":"a-secret-of-the-lab"}', "application/json", True),
]
# What passes through is not read where nobody has to.
LATE = CHUNKS.partition(b"\n\n")[0] + b'\n\ndata: {"choices":7,"peculiar":"a-secret-of-the-lab"}\n\n'


@pytest.mark.parametrize(
    ("path", "body", "kind", "stream"),
    [*((path, *told) for path in (CHAT, MESSAGES) for told in WHOLE), (MESSAGES, LATE, "text/event-stream", True)],
)
async def test_a_malformed_answer_names_its_provider_and_its_bytes_stay_in_the_debug_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, body: bytes, kind: str, stream: bool
) -> None:
    caplog.set_level(logging.DEBUG, "fairlead")
    async with Misbehaving(answer(body, kind)) as server:
        status, _, told = await ask(tmp_path, server, path, stream=stream)
    assert status in ((200, 502) if stream else (502,))
    assert b"lab failed: " in told
    assert b"peculiar" not in told
    shown = [record for record in caplog.records if "peculiar" in record.getMessage()]
    assert shown
    assert {record.levelno for record in shown} == {logging.DEBUG}
    assert "a-secret-of-the-lab" not in caplog.text


async def test_of_a_large_answer_the_log_has_the_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fairlead")
    async with Misbehaving(answer(b"x" * 1_000_000, "application/json")) as server:
        assert (await ask(tmp_path, server, CHAT))[0] == 502
    assert "1000000 bytes" in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 3000


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("before", [b"", b"\n", b": hello\n\n"])
async def test_events_are_events_whatever_their_server_calls_them(
    tmp_path: Path, kind: str, path: str, before: bytes
) -> None:
    async with Misbehaving(answer(before + CHUNKS + b"data: [DONE]\n\n", kind)) as server:
        status, headers, told = await ask(tmp_path, server, path, stream=True)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert b"Hel" in told
    assert told.rstrip().endswith(b"[DONE]" if path == CHAT else b'{"type":"message_stop"}')
