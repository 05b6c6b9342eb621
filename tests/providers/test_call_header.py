"""A provider that wants to know hears which call, which attempt and which send a request is."""

import json
from pathlib import Path

import msgspec
import pytest

from fairlead.providers import provider_of, rows
from fairlead.providers.signing import with_call
from fairlead.providers.simulator.server import SimulatorServer
from gateway import gateway, raw, request, split
from misbehaving import Misbehaving, ok, reset

LAB = """
[providers.lab]
base_url = "{url}/v1"
protocols = ["openai-chat"]
signing = "none"
models_path = ""
{more}
[models.m]
endpoints = {endpoints}
"""
TOLD = 'call_header = "x-fairlead-call"'
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
ANSWER = ok(
    b'{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
    b"content-type: application/json",
)


def config(url: str, *endpoints: str, more: str = TOLD) -> str:
    return LAB.format(url=url, more=more, endpoints=json.dumps(endpoints or ["lab/echo"]))


def calls_in(requests: list[bytes]) -> list[str]:
    """What each request says which call it is."""
    lines = [line for told in requests for line in told.split(b"\r\n") if line.startswith(b"x-fairlead-call: ")]
    return [line.partition(b": ")[2].decode() for line in lines]


def test_the_line_is_added_to_the_head_once_for_each_send() -> None:
    head = b"POST / HTTP/1.1\r\nhost: lab\r\n"
    assert with_call(head, "x-call", "gen-7", 2) == (head + b"x-call: gen-7/2/1\r\n", head + b"x-call: gen-7/2/2\r\n")


def test_of_the_rows_we_know_only_the_simulator_is_told() -> None:
    told = {name: header for name, row in rows().items() if (header := provider_of(name, row).call_header) is not None}
    assert told == {"sim": "x-fairlead-call"}


async def test_each_attempt_of_a_call_has_its_number_and_each_send_of_it(tmp_path: Path) -> None:
    tally = tmp_path / "tally.jsonl"
    server = SimulatorServer(tally_file=tally)
    await server.listen()
    try:
        text = config(server.base_url, "lab/echo+status=500", "lab/echo+cut", "lab/echo")
        async with gateway(tmp_path, text) as running:
            status, _, _ = split(await raw(running.port, request("/v1/chat/completions", BODY)))
            [call] = await running.rows("calls")
    finally:
        await server.aclose()
    assert status == 200
    entries = [msgspec.json.decode(line) for line in tally.read_bytes().splitlines()]
    assert [(entry["call"], entry["attempt"], entry["send"], entry["model"], entry["served"]) for entry in entries] == [
        (call["id"], 1, 1, "echo+status=500", "none"),
        (call["id"], 2, 1, "echo+cut", "none"),  # on the connection of the first: it might have been stale
        (call["id"], 2, 2, "echo+cut", "none"),
        (call["id"], 3, 1, "echo", "whole"),
    ]


async def test_a_request_that_is_sent_again_says_so(tmp_path: Path) -> None:
    async with Misbehaving(ANSWER, reset, ANSWER) as server, gateway(tmp_path, config(server.url)) as running:
        for _ in range(2):
            status, _, _ = split(await raw(running.port, request("/v1/chat/completions", BODY)))
            assert status == 200
        first, second = [call["id"] for call in await running.rows("calls")]
    assert calls_in(server.requests) == [f"{first}/1/1", f"{second}/1/1", f"{second}/1/2"]


@pytest.mark.parametrize("more", ["", 'headers = { x-team = "search" }'])
async def test_others_are_not_told(tmp_path: Path, more: str) -> None:
    async with Misbehaving(ANSWER) as server, gateway(tmp_path, config(server.url, more=more)) as running:
        await raw(running.port, request("/v1/chat/completions", BODY, headers="x-fairlead-call: gen-mine/1/1\r\n"))
    assert len(server.requests) == 1
    assert calls_in(server.requests) == []
