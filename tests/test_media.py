"""Media that a client names by address reach providers as bytes where they want bytes, and are fetched once."""

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fairlead.chat import Media
from fairlead.protocols import may_want_bytes
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.bedrock_converse import BedrockConverse
from fairlead.protocols.bedrock_invoke import BedrockInvoke
from fairlead.protocols.cohere_chat import CohereChat
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.ollama_chat import OllamaChat
from fairlead.protocols.ollama_generate import OllamaGenerate
from fairlead.protocols.openai_chat import OpenAIChat
from gateway import KEY, Gateway, both_ways, gateway, raw, request, split  # noqa: F401
from misbehaving import Misbehaving, nothing, ok

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2000  # large enough to be spelt in a thread
DATA = base64.b64encode(PNG).decode()
IMAGE = ok(PNG, b"content-type: image/png")
LOCAL = 'allowed_hosts = ["127.0.0.1"]\nports = [PORT]\n'  # of [media]
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"

# What each provider answers to a good request.
ANSWERS: dict[str, Any] = {
    "ollama-chat": {
        "model": "m", "message": {"role": "assistant", "content": "seen"}, "done": True, "done_reason": "stop",
    },
    "ollama-generate": {"model": "m", "response": "seen", "done": True, "done_reason": "stop"},
    "bedrock-converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "seen"}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    },
    "bedrock-invoke": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "seen"}], "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "seen"}]}, "finishReason": "STOP"}]},
    "openai-chat": {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "seen"}, "finish_reason": "stop"}],
    },
}  # fmt: skip
WANTING = [name for name in ANSWERS if name != "openai-chat"]
MODELS = {"bedrock-invoke": CLAUDE}


class World:
    """A gateway, a host of images, and providers that keep what they were asked."""

    def __init__(self, folder: Path, *protocols: str, image: Any = IMAGE, media: str = LOCAL, answers: Any = None):
        self.folder, self.protocols, self.media = folder, protocols, media
        self.images = Misbehaving(*(image if isinstance(image, tuple) else (image,)))
        told = answers or [ok(json.dumps(ANSWERS[protocol]).encode()) for protocol in protocols]
        self.providers = [Misbehaving(answer) for answer in told]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "World":
        for server in (self.images, *self.providers):
            await self._stack.enter_async_context(server)
        rows = "".join(
            f'[providers.p{number}]\nprotocols = ["{protocol}"]\nbase_url = "{server.url}/v1"\n'
            'signing = "none"\nmodels_path = ""\n'
            for number, (protocol, server) in enumerate(zip(self.protocols, self.providers, strict=True))
        )
        endpoints = [f"p{number}/{MODELS.get(protocol, 'm')}" for number, protocol in enumerate(self.protocols)]
        media = self.media.replace("PORT", str(self.images.port))
        config = f"{rows}[models.m]\nendpoints = {json.dumps(endpoints)}\n[media]\n{media}\n"
        self.gateway: Gateway = await self._stack.enter_async_context(gateway(self.folder, config))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()
        assert self.gateway.house.pipeline.buffers.held == 0

    async def ask(self, content: Any, path: str = CHAT, **fields: Any) -> tuple[int, Any]:
        """Status and answer to one message of the user's."""
        return await self.say([{"role": "user", "content": content}], path, **fields)

    async def say(self, messages: Sequence[Any], path: str = CHAT, **fields: Any) -> tuple[int, Any]:
        said = {"model": "m", "max_tokens": 50, "messages": messages, **fields}
        status, _, body = split(await raw(self.gateway.port, request(path, json.dumps(said).encode())))
        return status, json.loads(body)

    def sent(self, number: int = 0) -> Any:
        """What the provider was told, once."""
        (asked,) = self.providers[number].requests
        return json.loads(asked.partition(b"\r\n\r\n")[2])

    def image(self, **facts: Any) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": f"{self.images.url}/a.png", **facts}}


def shown(protocol: str, body: Any) -> Any:
    """The image that a provider was shown, and how its type was told."""
    match protocol:
        case "ollama-chat":
            return body["messages"][0]["images"][0], None
        case "ollama-generate":
            return body["images"][0], None
        case "bedrock-converse":
            image = body["messages"][0]["content"][1]["image"]
            return image["source"]["bytes"], image["format"]
        case "bedrock-invoke":
            source = body["messages"][0]["content"][1]["source"]
            return source["data"], source["media_type"]
    inline = body["contents"][0]["parts"][1]["inlineData"]
    return inline["data"], inline["mimeType"]


@pytest.mark.parametrize("protocol", WANTING)
async def test_an_image_reaches_a_provider_that_wants_bytes(tmp_path: Path, protocol: str) -> None:
    async with World(tmp_path, protocol) as world:
        status, told = await world.ask([{"type": "text", "text": "What is this?"}, world.image()])
        assert (status, told["choices"][0]["message"]["content"]) == (200, "seen")
        data, type = shown(protocol, world.sent())
        assert (data, type) == (DATA, {"bedrock-converse": "png"}.get(protocol, type and "image/png"))
        (asked,) = world.images.requests
        assert KEY.encode() not in asked


async def test_one_address_is_fetched_once_wherever_it_stands(tmp_path: Path) -> None:
    async with World(tmp_path, "bedrock-converse") as world:
        image = {"type": "image", "source": {"type": "url", "url": f"{world.images.url}/a.png"}}
        messages = [
            {"role": "user", "content": [image, {"type": "text", "text": "And?"}, image]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [image]}]},
        ]
        tools = [{"name": "look", "input_schema": {"type": "object"}}]
        status, _ = await world.say(messages, MESSAGES, tools=tools)
        assert status == 200
        assert json.dumps(world.sent()).count(DATA) == 3
        assert world.sent()["messages"][2]["content"][0]["toolResult"]["content"][0]["image"]["source"] == {
            "bytes": DATA
        }
        assert len(world.images.requests) == 1


async def test_a_document_reaches_a_provider_that_wants_bytes(tmp_path: Path) -> None:
    pdf = b"%PDF-1.7\n"
    async with World(tmp_path, "gemini", image=ok(pdf, b"content-type: application/pdf")) as world:
        document = {"type": "document", "source": {"type": "url", "url": f"{world.images.url}/a.pdf"}}
        status, _ = await world.ask([document], MESSAGES)
        assert status == 200
        (part,) = world.sent()["contents"][0]["parts"]
        assert part["inlineData"] == {"mimeType": "application/pdf", "data": base64.b64encode(pdf).decode()}


async def test_the_next_endpoint_has_the_same_bytes(tmp_path: Path) -> None:
    answers = [
        b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}",
        ok(json.dumps(ANSWERS["gemini"]).encode()),
    ]
    async with World(tmp_path, "ollama-chat", "gemini", answers=answers) as world:
        status, _ = await world.ask([{"type": "text", "text": "?"}, world.image()])
        assert status == 200
        assert shown("ollama-chat", world.sent(0))[0] == shown("gemini", world.sent(1))[0] == DATA
        assert len(world.images.requests) == 1


async def test_a_stream_shows_its_image_too(tmp_path: Path) -> None:
    line = json.dumps(ANSWERS["ollama-chat"]).encode() + b"\n"
    async with World(tmp_path, "ollama-chat", answers=[ok(line, b"content-type: application/x-ndjson")]) as world:
        said = {"model": "m", "stream": True, "messages": [{"role": "user", "content": [world.image()]}]}
        status, _, body = split(await raw(world.gateway.port, request(CHAT, json.dumps(said).encode())))
        assert (status, b"seen" in body) == (200, True)
        assert shown("ollama-chat", world.sent())[0] == DATA


async def test_what_passes_through_keeps_its_address(tmp_path: Path) -> None:
    async with World(tmp_path, "openai-chat") as world:
        status, _ = await world.ask([world.image()])
        assert (status, world.images.connections) == (200, 0)
        assert world.sent()["messages"][0]["content"] == [world.image()]


async def test_what_a_provider_takes_by_address_keeps_it(tmp_path: Path) -> None:
    async with World(tmp_path, "openai-chat") as world:
        image = {"type": "image", "source": {"type": "url", "url": f"{world.images.url}/a.png"}}
        status, _ = await world.ask([image], MESSAGES)
        assert (status, world.images.connections) == (200, 0)
        assert world.sent()["messages"][0]["content"] == [world.image()]


@pytest.mark.parametrize("protocol", WANTING)
async def test_where_nothing_is_fetched_the_client_hears_what_is_wanted(tmp_path: Path, protocol: str) -> None:
    async with World(tmp_path, protocol, media="fetch = false") as world:
        status, told = await world.ask([{"type": "text", "text": "?"}, world.image()])
        assert status == 400
        assert told["error"]["code"] == "invalid_image_url"
        assert told["error"]["param"] == "messages[0]"
        assert "needs the bytes" in told["error"]["message"]
        assert "fetches no addresses" in told["error"]["message"]
        assert world.images.connections == world.providers[0].connections == 0


@pytest.mark.parametrize("url", ["http://127.0.0.2/a.png", "http://localhost/a.png", "http://169.254.169.254/latest/"])
async def test_what_may_not_be_asked_is_a_fault_of_the_request(tmp_path: Path, url: str) -> None:
    async with World(tmp_path, "ollama-chat", media='allowed_hosts = ["10.0.0.0/8"]') as world:
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]},
        ]
        status, told = await world.say(messages)
        assert (status, told["error"]["code"], told["error"]["param"]) == (400, "invalid_image_url", "messages[1]")
        assert told["error"]["message"].endswith("it must be at a public address and come within 10 s.")
        assert await world.gateway.rows("attempts") == []
        assert world.providers[0].connections == 0


async def test_an_endpoint_that_needs_no_bytes_answers_where_there_are_none(tmp_path: Path) -> None:
    gone = b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n"
    async with World(tmp_path, "ollama-chat", "gemini", "openai-chat", image=gone) as world:
        status, _ = await world.ask([world.image()])
        assert (status, len(world.images.requests)) == (200, 1)
        assert [provider.connections for provider in world.providers] == [0, 0, 1]


async def test_all_addresses_of_a_request_are_bounded_together(tmp_path: Path) -> None:
    async with World(tmp_path, "ollama-chat") as world:
        images = [{"type": "image_url", "image_url": {"url": f"{world.images.url}/{number}"}} for number in range(21)]
        status, told = await world.ask(images)
        assert (status, world.images.connections) == (400, 0)
        assert "names 21 addresses; at most 20" in told["error"]["message"]


async def test_the_bytes_of_a_request_are_bounded_together(tmp_path: Path) -> None:
    async with World(tmp_path, "ollama-chat", media=f"{LOCAL}max_bytes = {3 * len(PNG) // 2}") as world:
        images = [{"type": "image_url", "image_url": {"url": f"{world.images.url}/{number}"}} for number in range(2)]
        status, told = await world.ask(images)
        assert status == 400
        assert "together with all others" in told["error"]["message"]


async def test_a_client_that_hangs_up_ends_the_fetching(tmp_path: Path) -> None:
    async with World(tmp_path, "ollama-chat", image=nothing) as world:
        said = {"model": "m", "messages": [{"role": "user", "content": [world.image()]}]}
        spelt = request(CHAT, json.dumps(said).encode())
        _, writer = await asyncio.open_connection("127.0.0.1", world.gateway.port)
        writer.write(spelt)
        await world.images.until(lambda server: bool(server.requests))
        writer.close()
        await world.images.until(lambda server: server.open == 0)
        (row,) = await world.gateway.rows("calls")
        assert (row["outcome"], world.providers[0].connections) == ("cancelled", 0)


@pytest.mark.parametrize(
    ("wire", "kind", "url", "wants"),
    [
        (Gemini(), "image", "https://images.example/a.png", True),
        (Gemini(), "image", "HTTPS://images.example/a.png", True),
        (Gemini(), "document", "http://images.example/a.pdf", True),
        (Gemini(), "video", "https://images.example/a.mp4", False),
        (Gemini(), "video", "https://www.youtube.com/watch?v=1", False),
        (Gemini(), "document", "https://youtu.be/1", False),
        (Gemini(), "document", "gs://bucket/a.pdf", False),
        (Gemini(), "image", "https://generativelanguage.googleapis.com/v1beta/files/abc", False),
        (BedrockConverse(), "image", "https://images.example/a.png", True),
        (BedrockConverse(), "video", "https://images.example/a.mp4", True),
        (BedrockConverse(), "image", "s3://bucket/a.png", False),
        (OllamaChat(), "image", "https://images.example/a.png", True),
        (OllamaChat(), "audio", "https://images.example/a.wav", False),
        (OllamaGenerate(), "document", "https://images.example/a.txt", True),
    ],
)
def test_which_addresses_a_format_wants_as_bytes(wire: Any, kind: Any, url: str, wants: bool) -> None:
    assert wire.wants_bytes(Media(kind, url=url), "m") is wants


@pytest.mark.parametrize(
    ("model", "wants"),
    [(CLAUDE, True), (f"eu.{CLAUDE}", True), ("amazon.nova-pro-v1:0", True), ("mistral.pixtral-large-2502-v1:0", True),
     ("meta.llama3-8b-instruct-v1:0", False), ("unknown.model", False)],
)  # fmt: skip
def test_which_models_of_bedrock_want_bytes(model: str, wants: bool) -> None:
    assert BedrockInvoke().wants_bytes(Media("image", url="https://images.example/a.png"), model) is wants


@pytest.mark.parametrize("wire", [OpenAIChat(), AnthropicMessages(), CohereChat()])
def test_formats_that_take_addresses_have_nothing_to_say(wire: Any) -> None:
    assert not may_want_bytes(wire)
