"""Gemini's addresses, over sockets: what passes through and what is translated, as events and as an array."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway import KEY, SIMULATOR, Gateway, both_ways, gateway, raw, request, split
from misbehaving import Misbehaving, ok

__all__ = ["both_ways"]

ASKED = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}).encode()
CHUNKS: list[dict[str, Any]] = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "hello "}]}, "index": 0}]},
    {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "there"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    },
]
FAILED = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
AS_EVENTS = b"content-type: text/event-stream"


def event(value: Any, end: str = "\r\n\r\n") -> bytes:
    return f"data: {json.dumps(value)}{end}".encode()


def text_of(chunks: list[dict[str, Any]]) -> str:
    parts = [part for chunk in chunks for one in chunk.get("candidates", []) for part in one["content"]["parts"]]
    return "".join(part.get("text", "") for part in parts)


def events_of(body: bytes) -> list[dict[str, Any]]:
    whole = body.replace(b"\r\n", b"\n").split(b"\n\n")
    return [json.loads(each.removeprefix(b"data: ")) for each in whole if each and not each.startswith(b":")]


def address(model: str, method: str, query: str = "") -> str:
    return f"/v1beta/models/{model}:{method}{query}"


async def ask(house: Gateway, path: str, body: bytes = ASKED, **options: Any) -> tuple[int, dict[str, str], bytes]:
    return split(await raw(house.port, request(path, body, **options)))


class Provider(Misbehaving):
    """Speaks Gemini's format, and lists no models."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.requests[-1].startswith(b"GET "):
            self.requests.pop()
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        else:
            await super()._answer(reader, writer)


@asynccontextmanager
async def passing(
    folder: Path, *answers: Any, server: str = "", more: str = ""
) -> AsyncIterator[tuple[Gateway, Provider]]:
    """A gateway before a provider that answers calls with `answers`."""
    async with Provider(*answers) as upstream:
        lab = f'[providers.lab]\nbase_url = "{upstream.url}/v1beta"\nprotocols = ["gemini"]\nsigning = "none"\n'
        async with gateway(folder, SIMULATOR + lab + more, server=server) as house:
            yield house, upstream


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as started:
        yield started


# ---- passed through


async def test_a_whole_answer_passes_as_it_is(tmp_path: Path) -> None:
    told = json.dumps({**CHUNKS[1], "aFieldOfTomorrow": 1}).encode()
    async with passing(tmp_path, ok(told, b"content-type: application/json")) as (house, upstream):
        status, headers, body = await ask(house, address("lab/gemini-x", "generateContent"))
        assert (status, headers["content-type"], body) == (200, "application/json", told)
        assert upstream.requests[0].startswith(b"POST /v1beta/models/gemini-x:generateContent HTTP/1.1\r\n")
        assert json.loads(upstream.requests[0].partition(b"\r\n\r\n")[2]) == json.loads(ASKED)
        (call,) = await house.rows("calls")
        assert (call["operation"], call["status"]) == ("generateContent", 200)


@pytest.mark.parametrize("end", ["\r\n\r\n", "\n\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "without its last empty line"])
async def test_a_stream_passes_as_events_and_becomes_an_array(tmp_path: Path, end: str, last: bool) -> None:
    told = event(CHUNKS[0], end) + event(CHUNKS[1], end if last else "")
    async with passing(tmp_path, ok(told, AS_EVENTS)) as (house, upstream):
        status, headers, body = await ask(house, address("lab/x", "streamGenerateContent", "?alt=sse"))
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (body == told) if last else body.startswith(told)
        status, headers, body = await ask(house, address("lab/x", "streamGenerateContent"))
        assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", CHUNKS)
        assert all(b"/models/x:streamGenerateContent?alt=sse HTTP" in sent for sent in upstream.requests)


@pytest.mark.parametrize("query", ["?alt=sse", "", "?alt=json"])
async def test_an_error_in_the_middle_of_a_stream_is_its_last_word(tmp_path: Path, query: str) -> None:
    async with passing(tmp_path, ok(event(CHUNKS[0]) + event(FAILED), AS_EVENTS)) as (house, _):
        status, _, body = await ask(house, address("lab/x", "streamGenerateContent", query))
        told = events_of(body) if query == "?alt=sse" else json.loads(body)
        assert (status, text_of(told)) == (200, "hello ")
        error = told[-1]["error"]
        assert (error["code"], error["status"]) == (503, "UNAVAILABLE")
        assert error["details"][0]["metadata"]["retryable"] == "true"


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_an_error_before_a_stream_begins_has_its_status(tmp_path: Path, query: str) -> None:
    told = json.dumps(FAILED).encode()
    refused = b"HTTP/1.1 503 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told)
    async with passing(tmp_path, refused, ok(event(FAILED), AS_EVENTS)) as (house, _):
        for _ in range(2):
            status, headers, body = await ask(house, address("lab/x", "streamGenerateContent", query))
            assert (status, headers["content-type"]) == (503, "application/json")
            assert json.loads(body)["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_a_client_that_hangs_up_ends_what_is_asked_of_the_provider(tmp_path: Path, query: str) -> None:
    async def one_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + AS_EVENTS + b"\r\nconnection: close\r\n\r\n" + event(CHUNKS[0]))
        while await reader.read(65536):
            pass
        gone.set()

    gone = asyncio.Event()
    async with passing(tmp_path, one_chunk) as (house, _):
        sent = request(address("lab/x", "streamGenerateContent", query), ASKED)
        got = await raw(house.port, sent, until=lambda got: b"hello" in got)
        assert b"200 OK" in got
        async with asyncio.timeout(5):
            await gone.wait()


# ---- translated


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_a_model_of_another_format_answers_in_geminis(house: Gateway, query: str) -> None:
    status, _, body = await ask(house, address("sim/echo", "generateContent"))
    whole = json.loads(body)
    assert (status, text_of([whole])) == (200, "hello there")
    assert whole["usageMetadata"]["totalTokenCount"] > 0
    status, _, body = await ask(house, address("sim/echo", "streamGenerateContent", query))
    told = events_of(body) if query else json.loads(body)
    assert (status, text_of(told)) == (200, "hello there")
    assert told[-1]["candidates"][0]["finishReason"] == "STOP"
    assert told[-1]["usageMetadata"] == whole["usageMetadata"]


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_a_translated_stream_that_fails_says_so(house: Gateway, query: str) -> None:
    status, _, body = await ask(house, address("sim/echo+error=2", "streamGenerateContent", query))
    told = events_of(body) if query else json.loads(body)
    assert status == 200
    assert "error" in told[-1]
    status, _, body = await ask(house, address("sim/echo+status=429+retry_after=7", "streamGenerateContent", query))
    error = json.loads(body)["error"]
    assert (status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["details"][-1]["retryDelay"] == "7.000s"


async def test_signs_of_life_are_comments_or_white_space(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="heartbeat_seconds = 0.05") as house:
        for model in ("sim/echo+delay=0.3", "sim/echo+delay=0.3+status=503"):
            _, _, body = await ask(house, address(model, "streamGenerateContent", "?alt=sse"))
            assert body.startswith(b": ")
            events = events_of(body)
            _, headers, body = await ask(house, address(model, "streamGenerateContent"))
            assert (headers["content-type"], body[:1]) == ("application/json", b"\n")
            assert text_of(json.loads(body)) == text_of(events)
            assert ("error" in json.loads(body)[-1]) == ("status" in model)


# ---- keys


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "countTokens"])
async def test_a_key_may_stand_in_a_header_or_in_the_query(house: Gateway, method: str) -> None:
    for headers, query in (
        (f"x-goog-api-key: {KEY}\r\n", ""),
        (f"authorization: Bearer {KEY}\r\n", ""),
        (f"x-api-key: {KEY}\r\n", ""),
        ("", f"?key={KEY}"),
        ("", f"?alt=json&key={quote(KEY)}&key=another"),
    ):
        status, _, _ = await ask(house, address("sim/echo", method, query), key=None, headers=headers)
        assert status == 200, (headers, query)


async def test_a_key_in_the_query_counts_below_v1beta_and_where_no_header_has_one(house: Gateway) -> None:
    for path in (address("sim/echo", "generateContent"), "/v1beta/models", "/v1beta/models/sim/echo"):
        method = "POST" if ":" in path else "GET"
        for query, headers, expected in (
            (f"?key={KEY}", "", 200),
            ("?key=wrong", "", 401),
            ("", "", 401),
            (f"?key={KEY}", "x-goog-api-key: wrong\r\n", 401),
            (f"?key={KEY}", "authorization: Bearer wrong\r\n", 401),
            ("?" + "&".join(f"a{number}=1" for number in range(30)) + f"&key={KEY}", "", 401),
        ):
            status, _, body = await ask(house, path + query, b"" if method == "GET" else ASKED, method=method, key=None,
                                        headers=headers)  # fmt: skip
            assert status == expected, (path, query)
            assert status == 200 or json.loads(body)["error"]["status"] == "UNAUTHENTICATED"
    assert (await ask(house, f"/v1/models?key={KEY}", b"", method="GET", key=None))[0] == 401


# ---- names


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("lab/meta/llama-3", "meta/llama-3"),
        ("lab%2Fmeta%2Fllama-3", "meta/llama-3"),
        ("lab/llama:free", "llama:free"),
        ("lab/llama%3Afree", "llama:free"),
        ("lab/a%20name%20%C3%A9", "a name é"),
    ],
)
async def test_a_name_may_have_slashes_colons_and_any_letter(tmp_path: Path, name: str, model: str) -> None:
    async with passing(tmp_path, ok(json.dumps(CHUNKS[1]).encode())) as (house, _):
        status, _, body = await ask(house, address(name, "generateContent"))
        assert status == 200, body
        (attempt,) = await house.rows("attempts")
        assert attempt["model"] == model


async def test_the_address_names_the_model_whatever_the_body_says(house: Gateway) -> None:
    told = json.dumps({**json.loads(ASKED), "model": "nobody", "stream": True}).encode()
    status, _, body = await ask(house, address("sim/echo", "generateContent"), told)
    assert (status, text_of([json.loads(body)])) == (200, "hello there")


# ---- what is no call


async def test_what_is_not_there_is_told_in_geminis_words(house: Gateway) -> None:
    for path, method, expected, word in (
        (address("nobody", "generateContent"), "POST", 404, "NOT_FOUND"),
        (address("sim/echo", "generateContent"), "GET", 405, "INVALID_ARGUMENT"),
        (address("sim/echo", "generateContent"), "DELETE", 405, "INVALID_ARGUMENT"),
        (address("sim/echo", "embedContent"), "POST", 404, "NOT_FOUND"),
        (address("sim/echo", "batchEmbedContents"), "POST", 404, "NOT_FOUND"),
        (address("sim/echo", "GenerateContent"), "POST", 404, "NOT_FOUND"),
        (address("", "generateContent"), "POST", 404, "NOT_FOUND"),
        ("/v1/models/sim/echo:embedContent", "POST", 404, "NOT_FOUND"),
        ("/v1beta/tunedModels/mine:generateContent", "POST", 404, "NOT_FOUND"),
        ("/v1beta/tunedModels/mine:transferOwnership", "POST", 404, "NOT_FOUND"),
        ("/v1beta/files", "GET", 404, "NOT_FOUND"),
        ("/v1beta/cachedContents", "POST", 404, "NOT_FOUND"),
        ("/v1alpha/auth_tokens", "POST", 404, "NOT_FOUND"),
        ("/v1beta", "GET", 404, "NOT_FOUND"),
        ("/v1beta/models/sim/echo", "POST", 405, "INVALID_ARGUMENT"),
        ("/v1beta/models", "POST", 405, "INVALID_ARGUMENT"),
        ("/v1beta/models/nobody", "GET", 404, "NOT_FOUND"),
    ):
        status, headers, body = await ask(
            house, path, ASKED if method == "POST" else b"", method=method, key=None,
            headers=f"x-goog-api-key: {KEY}\r\n",
        )  # fmt: skip
        error = json.loads(body)["error"]
        assert (status, error["code"], error["status"]) == (expected, expected, word), (path, method)
        assert ("allow" in headers) == (status == 405)


async def test_other_clients_hear_of_what_is_not_there_in_their_own_words(house: Gateway) -> None:
    for path, method, expected in (
        ("/v1/models/nobody:free", "GET", 404),
        ("/v1/models/sim/echo:embedContent", "POST", 404),
        ("/v1/models/sim/echo", "POST", 405),
    ):
        status, _, body = await ask(house, path, ASKED if method == "POST" else b"", method=method)
        assert (status, json.loads(body)["error"]["type"]) == (expected, "invalid_request_error")


async def test_a_tuned_model_is_asked_for_as_such(tmp_path: Path) -> None:
    tuned = '[models."tunedModels/mine"]\nendpoints = ["lab/tunedModels/mine"]\n'
    async with passing(tmp_path, ok(json.dumps(CHUNKS[1]).encode()), more=tuned) as (house, upstream):
        status, _, body = await ask(house, "/v1beta/tunedModels/mine:generateContent")
        assert status == 200, body
        assert b"POST /v1beta/tunedModels/mine:generateContent " in upstream.requests[0]


async def test_what_is_wrong_with_a_request_is_told_in_geminis_words(house: Gateway) -> None:
    for body, field in (
        (b"{}", "contents"),
        (b'{"contents": []}', "contents"),
        (b'{"contents": 5}', "contents"),
        (b'{"contents": [{"role": "robot", "parts": []}]}', "contents[0].role"),
        (b'{"contents": [{}], "generationConfig": {"maxOutputTokens": "x"}}', "generationConfig.maxOutputTokens"),
    ):
        status, _, told = await ask(house, address("sim/echo", "generateContent"), body)
        error = json.loads(told)["error"]
        assert (status, error["status"]) == (400, "INVALID_ARGUMENT"), body
        assert error["details"][0]["metadata"]["param"] == field


async def test_models_are_told_in_geminis_shape(house: Gateway) -> None:
    status, _, body = await ask(house, "/v1beta/models", b"", method="GET")
    listed = {model["name"] for model in json.loads(body)["models"]}
    assert status == 200
    assert "models/sim/echo" in listed
    for name in ("sim/echo", "sim%2Fecho"):
        status, _, body = await ask(house, f"/v1beta/models/{name}", b"", method="GET")
        assert (status, json.loads(body)["name"]) == (200, "models/sim/echo")
        assert "countTokens" in json.loads(body)["supportedGenerationMethods"]
        status, headers, nothing = await ask(house, f"/v1beta/models/{name}", b"", method="HEAD")
        assert (status, headers["content-length"], nothing) == (200, str(len(body)), b"")
    assert (await ask(house, "/v1beta/models", b"", method="HEAD"))[0] == 200


async def test_tokens_are_counted(house: Gateway) -> None:
    status, headers, body = await ask(house, address("sim/echo", "countTokens"))
    assert status == 200
    assert json.loads(body)["totalTokens"] > 0
    whole = json.dumps({"generateContentRequest": {"model": "models/x", **json.loads(ASKED)}}).encode()
    assert json.loads((await ask(house, address("sim/echo", "countTokens"), whole))[2]) == json.loads(body)
    assert "x-fairlead-estimated" not in headers


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
async def test_any_version_that_the_sdks_ask_for_is_served(house: Gateway, version: str) -> None:
    status, _, body = await ask(house, f"/{version}/models/sim%2Fecho%3AgenerateContent")
    assert (status, "candidates" in json.loads(body)) == (200, True)
    status, _, body = await ask(house, f"/{version}/models/none-such:generateContent")
    assert (status, json.loads(body)["error"]["status"]) == (404, "NOT_FOUND")


async def test_googles_sdk_speaks_by_its_own_habits(house: Gateway) -> None:
    from google import genai

    client = genai.Client(api_key=KEY, http_options={"base_url": house.url})
    answer = await client.aio.models.generate_content(model="sim/echo", contents="hello")
    assert answer.text == "hello"
    stream = await client.aio.models.generate_content_stream(model="sim/echo", contents="hello")
    assert "".join([chunk.text or "" async for chunk in stream]) == "hello"
    counted = await client.aio.models.count_tokens(model="sim/echo", contents="hello")
    assert counted.total_tokens == 6
    assert "sim/echo" in [(model.name or "").removeprefix("models/") async for model in await client.aio.models.list()]
    await client.aio.aclose()
