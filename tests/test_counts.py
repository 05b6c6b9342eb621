"""Tokens that are only counted: a provider is asked in whatever format it can be, or the number is an estimate."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.app import WIRES
from fairlead.chat import Media, Message, Reasoning, Request, Text, Tool, ToolResult, ToolUse
from fairlead.counts import estimate
from fairlead.errors import UpstreamBroken
from fairlead.protocols import counts_for_clients, is_counting
from fairlead.resources import Endpoint, Principal, Provider
from gateway import gateway, raw, request, split
from misbehaving import Misbehaving, ok

ANTHROPIC, RESPONSES, GEMINI = "/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1beta/models/m:countTokens"
MESSAGES = [{"role": "user", "content": "Hello, you there"}]
CONTENTS = [{"role": "user", "parts": [{"text": "Hello, you there"}]}]
ASKED: dict[str, dict[str, Any]] = {
    ANTHROPIC: {"model": "m", "messages": MESSAGES},
    RESPONSES: {"model": "m", "input": "Hello, you there"},
    GEMINI: {"contents": CONTENTS},
}
FIELD = {ANTHROPIC: "input_tokens", RESPONSES: "input_tokens", GEMINI: "totalTokens"}
PROVIDER = """
[providers.{name}]
base_url = "{url}"
protocols = ["{protocol}"]
signing = "none"
models_path = ""
"""
# What providers are asked at, and how they tell 17 tokens.
COUNTING = {
    "anthropic-messages": (b"/messages/count_tokens", b'{"input_tokens":17,"new":[]}'),
    "openai-responses": (b"/responses/input_tokens", b'{"object":"response.input_tokens","input_tokens":17}'),
    "gemini": (b"/models/there:countTokens", b'{"totalTokens":17,"promptTokensDetails":[]}'),
    "bedrock-converse": (b"/model/there/count-tokens", b'{"inputTokens":17}'),
}


def error(status: int) -> bytes:
    body = b'{"error":{"message":"it says no","type":"x"}}'
    return b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def count(
    folder: Path, path: str, *servers: tuple[str, Misbehaving], **fields: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body, for a model that is at these servers, by the protocol each speaks."""
    rows = [
        PROVIDER.format(name=f"p{number}", url=server.url, protocol=protocol)
        for number, (protocol, server) in enumerate(servers)
    ]
    endpoints = json.dumps([f"p{number}/there" for number in range(len(servers))])
    async with gateway(folder, "".join(rows) + f"[models.m]\nendpoints = {endpoints}\n") as running:
        body = json.dumps({**ASKED[path], **fields}).encode()
        status, headers, told = split(await raw(running.port, request(path, body)))
        assert await running.rows("attempts") == []  # it costs nothing
        return status, headers, json.loads(told)


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("protocol", COUNTING)
async def test_a_provider_that_counts_is_asked_from_any_format(tmp_path: Path, path: str, protocol: str) -> None:
    address, answer = COUNTING[protocol]
    async with Misbehaving(ok(answer)) as server:
        status, headers, told = await count(tmp_path, path, (protocol, server))
        [sent] = server.requests
    assert (status, told[FIELD[path]]) == (200, 17)
    assert "x-fairlead-estimated" not in headers
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"POST " + address + b" HTTP/1.1\r\n")
    assert b"Hello, you there" in body
    for unfit in (b"max_tokens", b'"stream"', b"generationConfig", b"inferenceConfig"):
        assert unfit not in body


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(("protocol", "answer"), [("openai-chat", None), ("anthropic-messages", error(404))])
async def test_where_nobody_counts_the_number_is_an_estimate_and_says_so(
    tmp_path: Path, path: str, protocol: str, answer: bytes | None
) -> None:
    async with Misbehaving(answer or b"") as server:
        status, headers, told = await count(tmp_path, path, (protocol, server))
        assert len(server.requests) == (answer is not None)
    assert (status, told[FIELD[path]], headers["x-fairlead-estimated"]) == (200, 8, "input_tokens")


async def test_a_provider_that_fails_is_followed_by_the_next(tmp_path: Path) -> None:
    async with Misbehaving(error(529)) as busy, Misbehaving(ok(b'{"totalTokens":3}')) as well:
        status, _, told = await count(tmp_path, RESPONSES, ("anthropic-messages", busy), ("gemini", well))
    assert (status, told["input_tokens"]) == (200, 3)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (error(400), 400, "it says no"),
        (error(529), 503, "p0"),
        (ok(b'{"input_tokens":"many"}'), 502, "p0"),
        (ok(b"x" * 100_000), 502, "larger than"),
        (ok(b""), 502, "no count"),
    ],
)
async def test_what_a_provider_says_instead_is_told(tmp_path: Path, answer: bytes, status: int, said: str) -> None:
    async with Misbehaving(answer) as server:
        found, _, told = await count(tmp_path, RESPONSES, ("anthropic-messages", server))
    assert (found, said in told["error"]["message"]) == (status, True), told


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (ANTHROPIC, {"messages": []}, 400),
        (ANTHROPIC, {"model": "none-such"}, 404),
        (RESPONSES, {"input": 5}, 400),
        (RESPONSES, {"previous_response_id": "resp_1"}, 400),
        (GEMINI, {"contents": "x"}, 400),
    ],
)
async def test_a_request_that_is_none_is_refused(
    tmp_path: Path, path: str, fields: dict[str, Any], status: int
) -> None:
    async with Misbehaving(b"") as server:
        found, _, told = await count(tmp_path, path, ("openai-chat", server), **fields)
        assert (found, server.requests) == (status, []), told


async def test_gemini_may_wrap_the_whole_request(tmp_path: Path) -> None:
    wrapped = {"model": "models/m", "contents": CONTENTS, "systemInstruction": {"parts": [{"text": "Be brief"}]}}
    async with Misbehaving(ok(b'{"input_tokens":5}')) as server:
        status, _, told = await count(
            tmp_path, GEMINI, ("anthropic-messages", server), contents=None, generateContentRequest=wrapped
        )
        assert (status, told["totalTokens"]) == (200, 5)
        assert b"Be brief" in server.requests[0]


def test_an_estimate_counts_all_that_is_said_and_no_bytes_of_images() -> None:
    call = ToolUse("1", "look", '{"a": "1234"}')
    result = ToolResult("1", (Text("x" * 40), Media("image", data="A" * 100_000)))
    messages = (
        Message("system", (Text("x" * 400),)),
        Message("user", (Media("document", text="y" * 80), Media("image", url="https://a.example/b.png"))),
        Message("assistant", (Reasoning("z" * 20), call)),
        Message("tool", (result,)),
    )
    tools = (Tool("look", "l" * 36),)
    assert estimate(Request("m", messages, tools=tools)) == 4 * 4 + 100 + 20 + 1000 + 5 + 4 + 10 + 1000 + 10


def test_formats_that_count_for_clients_are_counted_in_at_providers() -> None:
    assert {name for name, wire in WIRES.items() if is_counting(wire)} == set(COUNTING)
    for wire in WIRES.values():
        if counts_for_clients(wire):
            assert is_counting(wire)
            assert wire.decode_counted(wire.encode_count(12)) == 12
            for body in (b"", b"[]", b"{}", b'{"input_tokens":-1,"totalTokens":-1}', b"\xff", b"[" * 100_000):
                with pytest.raises(UpstreamBroken):
                    wire.decode_counted(body)


@pytest.mark.parametrize("path", [ANTHROPIC, RESPONSES])
async def test_the_same_format_passes_through(tmp_path: Path, path: str) -> None:
    protocol = {ANTHROPIC: "anthropic-messages", RESPONSES: "openai-responses"}[path]
    async with Misbehaving(ok(COUNTING[protocol][1])) as server:
        status, _, _ = await count(
            tmp_path, path, (protocol, server), new_field={"a": [1.50]}, provider={"sort": "price"}
        )
        body = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert status == 200
    assert body == {**ASKED[path], "model": "there", "new_field": {"a": [1.5]}}
    assert b'"new_field":{"a": [1.5]}' in server.requests[0]


async def test_geminis_wrapped_request_passes_with_the_providers_name_for_the_model(tmp_path: Path) -> None:
    wrapped = {"model": "models/m", "contents": CONTENTS, "newField": 1}
    async with Misbehaving(ok(b'{"totalTokens":5}')) as server:
        await count(tmp_path, GEMINI, ("gemini", server), contents=None, generateContentRequest=wrapped)
        body = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert body == {"contents": None, "generateContentRequest": {**wrapped, "model": "models/there"}}


async def test_an_image_at_an_address_is_fetched_for_a_provider_that_wants_bytes(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(60)
    async with (
        Misbehaving(ok(b'{"inputTokens":9}')) as server,
        Misbehaving(ok(png, b"content-type: image/png")) as images,
    ):
        config = PROVIDER.format(name="p", url=server.url, protocol="bedrock-converse")
        port = images.url.rpartition(":")[2]
        config += f'[models.m]\nendpoints = ["p/there"]\n[media]\nallowed_hosts = ["127.0.0.1"]\nports = [{port}]\n'
        async with gateway(tmp_path, config) as running:
            content = [{"type": "image", "source": {"type": "url", "url": f"{images.url}/a.png"}}]
            body = {"model": "m", "messages": [{"role": "user", "content": content}]}
            status, _, told = split(await raw(running.port, request(ANTHROPIC, json.dumps(body).encode())))
            assert (status, json.loads(told)) == (200, {"input_tokens": 9})
            assert running.house.pipeline.buffers.held == 0
        assert base64.b64encode(png) in server.requests[0]


async def test_what_only_the_provider_understands_is_counted_by_it(tmp_path: Path) -> None:
    """In the same format nothing has to be translated."""
    async with Misbehaving(ok(COUNTING["openai-responses"][1])) as server:
        status, _, told = await count(
            tmp_path, RESPONSES, ("openai-responses", server), input=None, previous_response_id="resp_1"
        )
        assert b'"previous_response_id":"resp_1"' in server.requests[0].replace(b": ", b":")
    assert (status, told["input_tokens"]) == (200, 17)


async def test_an_answer_that_another_provider_keeps_is_not_counted_on(tmp_path: Path) -> None:
    async with Misbehaving(ok(COUNTING["openai-responses"][1])) as server:
        config = PROVIDER.format(name="p", url=server.url, protocol="openai-responses")
        async with gateway(tmp_path, config + '[models.m]\nendpoints = ["p/there"]\n') as running:
            principal, other = Principal("k", "k", frozenset(), team_id="theirs"), Principal("k", "k", frozenset())
            pins = running.house.pipeline.pins
            pins.keep("resp_theirs", Endpoint(Provider("p", {}), "there"), principal)
            pins.keep("resp_mine", Endpoint(Provider("p", {}), "there"), other)
            for id, status in (("resp_theirs", 400), ("resp_mine", 200)):
                body = json.dumps({"model": "m", "previous_response_id": id}).encode()
                assert split(await raw(running.port, request(RESPONSES, body)))[0] == status
    assert len(server.requests) == 1
