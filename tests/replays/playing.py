"""Recordings played back over a socket: a provider that answers what was recorded, and a client that asks for it.

Which recording is meant stands in the model's name: `…r17` is the seventeenth of those that are played.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from gateway import KEY, Gateway, gateway, unchunked
from protocols_recordings import Recording
from replays.readers import Answer, events

# Formats that clients may speak, with the path at which they ask.
CLIENTS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "gemini": "/v1beta/models/{model}",
}
COUNTS = {"openai-responses": "/input_tokens", "anthropic-messages": "/count_tokens", "gemini": ":countTokens"}
PROVIDERS = (
    *CLIENTS, "openai-completions", "bedrock-converse", "bedrock-invoke", "cohere-chat", "cohere-chat-v1",
    "ollama-chat", "ollama-generate",
)  # fmt: skip
_KINDS = {"json": "body", "sse": "sse", "ndjson": "ndjson", "aws": "eventstream_b64"}
# Endings of a path → the format that is spoken there.
_PATHS = {
    "/chat/completions": "openai-chat", "/responses": "openai-responses", "/v1/messages": "anthropic-messages",
    ":generateContent": "gemini", ":streamGenerateContent": "gemini", "/converse": "bedrock-converse",
    "/converse-stream": "bedrock-converse", "/invoke": "bedrock-invoke",
    "/invoke-with-response-stream": "bedrock-invoke", "/v2/chat": "cohere-chat", "/v1/chat": "cohere-chat-v1",
    "/input_tokens": "openai-responses", "/count_tokens": "anthropic-messages", ":countTokens": "gemini",
    "/count-tokens": "bedrock-converse", "/api/chat": "ollama-chat", "/api/generate": "ollama-generate",
    "/completions": "openai-completions",
}  # fmt: skip
_SIZES = (1 << 20, 1000, 337, 61)  # of the pieces in which streams are sent; and 7, of short ones
_SHORT = 4000


def format_of(recording: Recording) -> str | None:
    """What was spoken; None if it was no chat."""
    path = recording.whole["request"]["path"]
    if "embed" in path or "embed" in recording.id:
        return None
    return next((name for ending, name in _PATHS.items() if path.endswith(ending)), None)


class Played(NamedTuple):
    """A recording, and the name of the model that makes the provider play it."""

    recording: Recording
    format: str
    model: str

    @property
    def answer(self) -> Answer:
        response = self.recording.whole["response"]
        framing = next((name for name, key in _KINDS.items() if key in response), "json")
        body = base64.b64decode(response["eventstream_b64"]) if framing == "aws" else self.recording.response
        headers = {name.lower(): str(value) for name, value in response.get("headers", {}).items()}
        return Answer(framing, body, headers)  # type: ignore[arg-type]

    @property
    def streams(self) -> bool:
        return self.answer.framing != "json"


def played(recordings: Iterable[Recording], begin: int = 0) -> list[Played]:
    """The chats among them, numbered from `begin`."""
    found: list[Played] = []
    for recording in recordings:
        format = format_of(recording)
        if format is not None:
            found.append(Played(recording, format, _model(recording, format, begin + len(found))))
    return found


def _model(recording: Recording, format: str, number: int) -> str:
    """Bedrock's models are asked as their names say; elsewhere any name will do."""
    if not format.startswith("bedrock"):
        return f"r{number}"
    name = re.sub(r"[^a-z0-9.-]", "-", str(recording.whole.get("model") or "amazon.nova").lower())
    return f"{name}-r{number}"


class Provider:
    """Plays recordings, whatever it is asked; `asked` has the last request."""

    def __init__(self, plays: list[Played]) -> None:
        self.plays = plays
        self.asked: tuple[str, dict[str, str], bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=1 << 24)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, headers = _head(head)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = first.split(" ")[1]
                self.asked = (path, headers, body)
                number = re.search(r"r(\d+)(?:[:/%?]|$)", _model_of(path, body))
                assert number is not None, path
                await self._play(self.plays[int(number[1])], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _play(self, play: Played, writer: asyncio.StreamWriter) -> None:
        answer = play.answer
        status = play.recording.status
        fields = {name: value for name, value in answer.headers.items() if name not in _FRAMING}
        # OpenAI's completions of 2023 streamed as JSON, by their header.
        if "content-type" not in fields or (answer.framing == "sse" and "json" in fields["content-type"]):
            fields["content-type"] = _TYPES[answer.framing]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        if not play.streams:
            length = len(answer.body)
            writer.write(f"HTTP/1.1 {status} Played\r\n{head}content-length: {length}\r\n\r\n".encode() + answer.body)
            await writer.drain()
            return
        writer.write(f"HTTP/1.1 {status} Played\r\n{head}transfer-encoding: chunked\r\n\r\n".encode())
        size = _SIZES[len(answer.body) % len(_SIZES)] if len(answer.body) > _SHORT else 7
        for at in range(0, len(answer.body), size):
            if writer.is_closing():  # it was told enough
                return
            piece = answer.body[at : at + size]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if at % (size * 16) == 0:  # a turn of the loop, so that pieces are read apart
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


_FRAMING = frozenset({"content-length", "transfer-encoding", "content-encoding", "connection", "date"})
_TYPES = {
    "json": "application/json", "sse": "text/event-stream", "ndjson": "application/x-ndjson",
    "aws": "application/vnd.amazon.eventstream",
}  # fmt: skip


_MODEL = re.compile(r"/models?/([^/]+?)(?::(?:stream)?[gG]enerateContent|:countTokens|/converse|/invoke|/count-tokens)")


def _model_of(path: str, body: bytes) -> str:
    found = _MODEL.search(path)
    return found[1] if found is not None else str(json.loads(body)["model"])


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Asker:
    """A client with one connection to the gateway."""

    def __init__(self, running: Gateway) -> None:
        self.running = running
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, client: str, model: str, body: dict[str, Any], *, streams: bool = False, counts: bool = False
    ) -> tuple[int, Answer]:
        """Status and body of what is answered to `body`, spelt in the format `client`. `counts`: how long it is."""
        path = CLIENTS.get(client, "/v1/completions").format(model=model)
        if counts:
            path += COUNTS[client]
            body = body if client == "gemini" else {**body, "model": model}
        elif client == "gemini":
            path += ":streamGenerateContent?alt=sse" if streams else ":generateContent"
        else:
            body = {**body, "model": model}
            body.pop("stream", None)
            if streams:
                body["stream"] = True
        raw = json.dumps(body, ensure_ascii=False).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.running.port, limit=1 << 24)
        reader, writer = self._streams
        writer.write(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
        async with asyncio.timeout(20):
            return await self._read(reader)

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, Answer]:
        first, headers = _head(await reader.readuntil(b"\r\n\r\n"))
        if headers.get("transfer-encoding") == "chunked":
            told = b""
            while size := await reader.readline():
                length = int(size, 16)
                told += size + await reader.readexactly(length + 2)
                if not length:
                    break
            body = b"".join(unchunked(told))
        else:
            body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        sse = headers.get("content-type", "").startswith("text/event-stream")
        return int(first.split(" ")[1]), Answer("sse" if sse else "json", body, headers)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def playing(folder: Path, plays: list[Played]) -> AsyncIterator[tuple[Asker, Provider]]:
    """A gateway whose providers, one of each format (`at-gemini`), play recordings."""
    async with Provider(plays) as provider:
        rows = "".join(
            f'[providers.at-{name}]\nbase_url = "{provider.url}"\nprotocols = ["{name}"]\nsigning = "none"\n'
            'models_path = ""\n'
            for name in PROVIDERS
        )
        async with gateway(folder, f"[media]\nfetch = false\n{rows}") as running:
            asker = Asker(running)
            try:
                yield asker, provider
            finally:
                asker.close()


def json_of(answer: Answer) -> list[Any]:
    return list(events(answer))
