"""The simulator in the gateway's own process speaks every format that it speaks over HTTP: by the same code."""

import json
from pathlib import Path

import pytest

from fairlead.providers import PROTOCOLS
from gateway import gateway, raw, request, split

BASES = {  # how an address ends, if not in /v1
    "gemini": "/v1beta", "bedrock-converse": "", "bedrock-invoke": "", "cohere-chat": "/v2", "ollama-chat": "/api",
    "ollama-generate": "/api",
}  # fmt: skip
ROW = '[providers.{name}]\nbase_url = "simulator://local{base}"\nprotocols = ["{name}"]\nsigning = "none"\n'


@pytest.mark.parametrize("stream", [False, True])
async def test_a_row_for_any_format_needs_no_server(tmp_path: Path, stream: bool) -> None:
    rows = "".join(ROW.format(name=name, base=BASES.get(name, "/v1")) for name in PROTOCOLS)
    async with gateway(tmp_path, rows) as house:
        for name in PROTOCOLS:
            model = f"{name}/anthropic.claude-echo" if name.startswith("bedrock") else f"{name}/echo"
            asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello there"}]}
            status, _, body = split(await raw(house.port, request("/v1/chat/completions", json.dumps(asked).encode())))
            assert status == 200, (name, body)
            assert "hello there" in _text(body, stream=stream), name


def _text(body: bytes, *, stream: bool) -> str:
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
