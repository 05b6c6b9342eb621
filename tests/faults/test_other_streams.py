"""A format that only providers speak, and whose streams are no server-sent events, through the whole gateway."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fairlead import app, errors
from fairlead.chat import Event, Finish, PartDelta, PartEnd, PartStart, Request, Response, Start, Text, Usage
from fairlead.config import file
from fairlead.protocols import NO_HEADERS, Asked, Cutter, Encoded, is_inbound, is_outbound, is_wire
from gateway import both_ways, gateway, raw, request, split  # noqa: F401
from misbehaving import Misbehaving

UP = '[providers.up]\nbase_url = "{url}/v1"\nprotocols = ["lines"]\nsigning = "none"\nmodels_path = ""\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n"


class LineCutter:
    """One event a line."""

    def __init__(self, bound: int) -> None:
        self.kept, self.bound = b"", bound

    @property
    def held(self) -> int:
        return len(self.kept)

    @property
    def room(self) -> int:
        return 0

    def feed(self, chunk: bytes) -> list[bytes]:
        *events, self.kept = (self.kept + chunk).split(b"\n")
        if self.held > self.bound:
            raise errors.UpstreamBroken("a line is too long")
        return events

    def finish(self) -> bytes:
        rest, self.kept = self.kept, b""
        return rest


class Decoder:
    """Each line is a word; the last is END, or OOPS."""

    held = 0
    usage: Usage | None = None

    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, event: bytes) -> list[Event]:
        if event == b"OOPS":
            raise errors.Overloaded("oops")
        if not event:
            raise errors.UpstreamBroken("its answer was cut off")
        self.lines += 1
        begin: list[Event] = [Start("id", "m"), PartStart(0, Text(""))] if self.lines == 1 else []
        if event == b"END":
            return [*begin, PartEnd(0), Finish("stop", Usage(3, self.lines - 1))]
        return [*begin, PartDelta(0, event.decode())]


class Lines:
    """An `Outbound`, and nothing else."""

    name = "lines"
    media_types = ("text/plain", "text/lines")

    def path(self, model: str, stream: bool) -> str:
        return f"/lines/{model}"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return LineCutter(max_event_bytes)

    def decode_error(
        self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS
    ) -> errors.UpstreamError:
        return errors.UpstreamBroken("no")

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return Encoded(b'"hi"', ("seed",) if request.seed is not None else ())

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        if body == b"OOPS":
            raise errors.Overloaded("oops")
        return Response("id", "m", (Text(body.decode()),), "stop", Usage(3, 1))

    def event_decoder(self) -> Decoder:
        return Decoder()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: Asked = Lines()
    assert (is_outbound(lines), is_inbound(lines), is_wire(lines)) == (True, False, False)
    monkeypatch.setitem(app.WIRES, "lines", lines)
    monkeypatch.setattr(file, "PROTOCOLS", (*file.PROTOCOLS, "lines"))


async def ask(folder: Path, path: str, stream: bool, *sent: bytes, server: str = "") -> tuple[int, dict[str, str], str]:
    body = {"model": "up/m", "stream": stream, "seed": 1, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        Misbehaving(list(sent), close=True) as upstream,
        gateway(folder, UP.format(url=upstream.url), server=server) as running,
    ):
        status, headers, told = split(await raw(running.port, request(path, json.dumps(body).encode())))
        return status, headers, told.decode()


def words(told: str) -> str:
    """What an OpenAI client hears."""
    events: list[Any] = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize("pieces", [[b"one\ntwo\nEND\n"], [b"o", b"ne\nt", b"wo", b"\nEN", b"D\n"], [b"one\ntwo\nEND"]])
@pytest.mark.parametrize("kind", [b"text/lines", b"Text/Lines; charset=utf-8"])
async def test_its_stream_is_told_as_events(tmp_path: Path, pieces: list[bytes], kind: bytes) -> None:
    status, headers, told = await ask(tmp_path, "/v1/chat/completions", True, HEAD % kind, *pieces)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["x-fairlead-dropped"] == "seed"
    assert words(told) == "onetwo"
    assert told.endswith("data: [DONE]\n\n")


async def test_its_whole_answer_is_told_to_a_client_of_anthropic(tmp_path: Path) -> None:
    status, _, told = await ask(tmp_path, "/v1/messages", False, HEAD % b"text/plain", b"hello")
    assert status == 200
    assert json.loads(told)["content"][0]["text"] == "hello"


async def test_a_stream_of_another_kind_is_not_read_as_its_own(tmp_path: Path) -> None:
    status, _, _ = await ask(tmp_path, "/v1/chat/completions", True, HEAD % b"text/event-stream", b"one\nEND\n")
    assert status == 502
    (tmp_path / "oops").mkdir()
    status, _, _ = await ask(tmp_path / "oops", "/v1/chat/completions", True, HEAD % b"text/plain", b"OOPS")
    assert status == 503


async def test_its_cutter_keeps_the_bound_of_events(tmp_path: Path) -> None:
    line = b"x" * 100_000
    status, _, _ = await ask(
        tmp_path, "/v1/chat/completions", True, HEAD % b"text/lines", line, server="max_event_bytes = 65536"
    )
    assert status == 502
