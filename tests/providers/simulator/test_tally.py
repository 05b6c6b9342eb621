"""What the simulator says that it served is what was written, call by call."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fairlead
from fairlead.chat import Message, Request, Text, Tool
from fairlead.providers.simulator.faults import Faults
from fairlead.providers.simulator.models import MODELS, perform
from fairlead.providers.simulator.server import SimulatorServer
from fairlead.providers.simulator.tokens import Meter
from serving import serving_process

WORDS = "one two six ten all big end"  # each a token
INPUT, OUTPUT = 4 + 7, 7  # tokens
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "anthropic-messages": "/v1/messages",
    "openai-completions": "/v1/completions",
}
BOTH = ["openai-chat", "anthropic-messages"]


def asking(
    model: str,
    call: str | None = "gen-1/1/1",
    *,
    protocol: str = "openai-chat",
    stream: bool = False,
    words: str = WORDS,
    close: bool = True,
) -> bytes:
    """A request, spelt."""
    told: dict[str, Any] = {"model": model, "max_tokens": 5000, "stream": stream}
    told |= {"prompt": words} if "completions" in protocol else {"messages": [{"role": "user", "content": words}]}
    body = msgspec.json.encode(told)
    lines = [f"POST {PATHS[protocol]} HTTP/1.1", "host: sim", f"content-length: {len(body)}"]
    if call is not None:
        lines.append(f"X-Fairlead-Call: {call}")
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Tallied:
    """A simulator that tallies, and its file."""

    def __init__(self, server: SimulatorServer, file: Path) -> None:
        self.server, self.file = server, file

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.server.base_url.removeprefix("http://").partition(":")
        return await asyncio.open_connection(host, int(port))

    async def ask(self, request: bytes, *, until: bytes | None = None) -> bytes:
        """What comes back, up to the end or up to `until`; then hang up."""
        reader, writer = await self.open()
        got = b""
        try:
            writer.write(request)
            async with asyncio.timeout(10):
                while not (until is not None and until in got) and (data := await reader.read(65536)):
                    got += data
        except ConnectionResetError:
            pass
        finally:
            writer.transport.abort()
        return got

    async def entries(self, count: int = 1) -> list[dict[str, Any]]:
        """What the file holds once it has so many lines."""
        async with asyncio.timeout(20):
            while len(told := lines(self.file)) < count:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
        assert len(told) == count
        return told

    async def entry(self) -> dict[str, Any]:
        [entry] = await self.entries()
        return entry


def lines(file: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]


@asynccontextmanager
async def tallying(folder: Path, *, pace: float = 0.0) -> AsyncIterator[Tallied]:
    file = folder / "tally.jsonl"
    server = SimulatorServer(pace=pace, tally_file=file)
    await server.listen()
    try:
        yield Tallied(server, file)
    finally:
        await server.aclose()


def served(entry: dict[str, Any]) -> tuple[str, int, int]:
    return entry["served"], entry["input_tokens"], entry["output_tokens"]


def size_of(answer: bytes) -> int:
    """Bytes of a body, without the framing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return len(body)
    size = 0
    while body:
        length, _, rest = body.partition(b"\r\n")
        size += int(length, 16)
        body = rest[int(length, 16) + 2 :]
    return size


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["echo", "slow", "echo+drip=0", "echo+every=0.001", "echo+close"])
@pytest.mark.parametrize("protocol", PATHS)
async def test_a_whole_answer_counts_with_its_whole_usage(tmp_path: Path, protocol: str, model: str, stream: bool):
    async with tallying(tmp_path) as simulator:
        answer = await simulator.ask(asking(model, "gen-7/2/1", protocol=protocol, stream=stream))
        entry = await simulator.entry()
    facts = {name: entry[name] for name in ("call", "attempt", "send", "model", "protocol", "stream", "status")}
    assert facts == {
        "call": "gen-7", "attempt": 2, "send": 1, "model": model, "protocol": protocol, "stream": stream, "status": 200
    }  # fmt: skip
    assert entry["bytes"] == size_of(answer)
    assert 0 < entry["began_us"] <= entry["ended_us"]
    assert served(entry)[:2] == ("whole", INPUT)
    assert served(entry)[2] == (OUTPUT if model != "slow" else 25)


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_usage_of_a_stream_is_the_one_it_tells(tmp_path: Path, protocol: str):
    async with tallying(tmp_path) as simulator:
        whole = await simulator.ask(asking("thinking", protocol=protocol))
        await simulator.ask(asking("thinking", protocol=protocol, stream=True))
        await simulator.ask(asking("thinking+repeat=3", protocol=protocol, stream=True))
        entries = await simulator.entries(3)
    usage = msgspec.json.decode(whole.partition(b"\r\n\r\n")[2])["usage"]
    told = [
        usage[name] for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens") if name in usage
    ]
    assert [served(entry) for entry in entries] == [("whole", *told)] * 3


@pytest.mark.parametrize("fault", ["cut", "reset", "drip=0+cut", "every=0.001+cut"])
@pytest.mark.parametrize(("protocol", "before"), [("openai-chat", 1), ("anthropic-messages", 2)])
async def test_a_stream_that_breaks_off_counts_with_the_tokens_told(
    tmp_path: Path, protocol: str, before: int, fault: str
):
    async with tallying(tmp_path) as simulator:
        await simulator.ask(asking(f"echo+{fault}={before + 3}", protocol=protocol, stream=True))
        assert served(await simulator.entry()) == ("part", INPUT, 3)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("error=4", ("part", INPUT, 3)),
        ("error=0", ("none", 0, 0)),
        ("malformed=1", ("whole", INPUT, OUTPUT)),
        ("no_done", ("part", INPUT, OUTPUT)),
        ("no_usage", ("whole", INPUT, OUTPUT)),
        ("cut=1000", ("whole", INPUT, OUTPUT)),
        ("cut=0", ("none", 0, 0)),
        ("cut", ("none", 0, 0)),
        ("wrong_length", ("whole", INPUT, OUTPUT)),
        ("empty", ("none", 0, 0)),
        ("status=429", ("none", 0, 0)),
        ("html", ("none", 0, 0)),
    ],
)
async def test_a_faulty_stream_counts_with_what_it_told_of_the_answer(
    tmp_path: Path, fault: str, expected: tuple[str, int, int]
):
    async with tallying(tmp_path) as simulator:
        await simulator.ask(asking(f"echo+{fault}", stream=True))
        assert served(await simulator.entry()) == expected


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("fault", ["cut=1", "cut=0", "reset=1", "malformed", "error", "wrong_length", "empty"])
async def test_an_answer_in_one_piece_is_served_whole_or_not_at_all(tmp_path: Path, fault: str, protocol: str):
    async with tallying(tmp_path) as simulator:
        answer = await simulator.ask(asking(f"echo+{fault}", protocol=protocol))
        entry = await simulator.entry()
    assert served(entry) == ("none", 0, 0)
    assert entry["status"] == 200
    if fault != "reset=1":  # then the client may have lost what came before
        assert entry["bytes"] == size_of(answer)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_status_says_which_and_costs_nothing(tmp_path: Path, protocol: str, stream: bool):
    async with tallying(tmp_path) as simulator:
        for status in (429, 500, 503):
            await simulator.ask(asking(f"echo+status={status}", protocol=protocol, stream=stream))
        entries = await simulator.entries(3)
    assert [(entry["status"], *served(entry)) for entry in entries] == [(s, "none", 0, 0) for s in (429, 500, 503)]
    assert all(entry["bytes"] > 0 for entry in entries)


async def test_a_connection_that_ends_before_the_head_has_no_status(tmp_path: Path):
    async with tallying(tmp_path) as simulator:
        await simulator.ask(asking("echo+reset"))
        entry = await simulator.entry()
    assert (entry["status"], *served(entry), entry["bytes"]) == (None, "none", 0, 0, 0)


async def test_what_cannot_be_read_has_no_model(tmp_path: Path):
    async with tallying(tmp_path) as simulator:
        await simulator.ask(asking("", "odd"))
        entry = await simulator.entry()
    assert (entry["call"], entry["attempt"], entry["send"]) == ("odd", 0, 0)
    assert (entry["status"], entry["model"], entry["protocol"]) == (400, None, None)


@pytest.mark.parametrize(("protocol", "before"), [("openai-chat", 1), ("anthropic-messages", 2)])
async def test_a_client_that_hangs_up_in_the_middle_is_served_what_was_written(
    tmp_path: Path, protocol: str, before: int
):
    async with tallying(tmp_path, pace=1.0) as simulator:
        request = asking(f"echo+stall={before + 4}", protocol=protocol, stream=True)
        await simulator.ask(request, until=b"ten")
        assert served(await simulator.entry()) == ("part", INPUT, 4)


async def test_a_client_that_hangs_up_while_it_waits_is_served_nothing(tmp_path: Path):
    async with tallying(tmp_path, pace=1.0) as simulator:
        for stream in (False, True):
            _, writer = await simulator.open()
            writer.write(asking("echo+delay=30", stream=stream))
            while simulator.server.tally.requests < stream + 1:  # noqa: ASYNC110 - neither does a count
                await asyncio.sleep(0)
            writer.transport.abort()
        entries = await simulator.entries(2)
    assert [(entry["status"], *served(entry)) for entry in entries] == [(None, "none", 0, 0)] * 2


async def test_a_client_that_does_not_read_is_served_what_was_given_to_the_transport(tmp_path: Path):
    async with tallying(tmp_path) as simulator:
        reader, writer = await simulator.open()
        writer.write(asking("echo+bytes=100000000+event=65536", stream=True))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        writer.transport.abort()
        entry = await simulator.entry()
    assert entry["served"] == "part"
    assert 0 < entry["output_tokens"] < 25_000_000
    assert entry["output_tokens"] * 4 < entry["bytes"] < entry["output_tokens"] * 4.2


async def test_equal_requests_count_each_for_itself(tmp_path: Path):
    async with tallying(tmp_path) as simulator:
        await asyncio.gather(
            *(simulator.ask(asking("echo", f"gen-{n}/1/1", stream=n % 2 == 0)) for n in range(100)),
            *(simulator.ask(asking("echo+every=0.001+cut=4", f"gen-{n}/1/2", stream=True)) for n in range(100, 150)),
        )
        entries = await simulator.entries(150)
    assert {entry["call"] for entry in entries} == {f"gen-{n}" for n in range(150)}
    assert sum(entry["input_tokens"] for entry in entries) == 150 * INPUT
    assert sum(entry["output_tokens"] for entry in entries) == 100 * OUTPUT + 50 * 3
    assert sorted({(entry["send"], entry["served"]) for entry in entries}) == [(1, "whole"), (2, "part")]


async def test_who_does_not_say_which_call_it_is_leaves_no_line(tmp_path: Path):
    async with tallying(tmp_path) as simulator:
        await simulator.ask(asking("echo", None))
        await simulator.ask(asking("slow", None, stream=True))
        assert simulator.server.tally.tallied == 0
    assert lines(tmp_path / "tally.jsonl") == []


async def test_the_count_is_told_and_what_it_counts_is_written_by_then(tmp_path: Path):
    async with tallying(tmp_path) as simulator:
        for number in range(3):
            await simulator.ask(asking("echo", f"gen-{number}/1/1"))
        answer = await simulator.ask(b"GET /__tally HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n")
        assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["tallied"] == 3
        assert len(lines(simulator.file)) == 3


async def test_a_server_that_closes_writes_down_what_it_was_saying(tmp_path: Path):
    async with tallying(tmp_path, pace=1.0) as simulator:
        reader, writer = await simulator.open()
        writer.write(asking("echo+stall=4", stream=True))
        await reader.readuntil(b"six")
    writer.transport.abort()
    assert served(lines(tmp_path / "tally.jsonl")[0]) == ("part", INPUT, 3)


async def test_a_file_that_is_there_is_continued(tmp_path: Path):
    for number in range(2):
        async with tallying(tmp_path) as simulator:
            await simulator.ask(asking("echo", f"gen-{number}/1/1"))
    assert [entry["call"] for entry in lines(tmp_path / "tally.jsonl")] == ["gen-0", "gen-1"]


async def test_a_killed_process_leaves_what_it_served_a_moment_before(tmp_path: Path):
    file = tmp_path / "tally.jsonl"
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            "from fairlead.cli import main; main()",
            "simulate",
            "--port",
            "0",
            "--tally",
            str(file),
        ),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(fairlead.__file__).parent.parent)},
    )
    try:
        assert process.stdout is not None
        told = (await process.stdout.readline()).decode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(told.rpartition(":")[2]))
        writer.write(asking("echo"))
        await reader.read()
        writer.close()
        async with asyncio.timeout(20):
            while not lines(file):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert served(lines(file)[0]) == ("whole", INPUT, OUTPUT)


async def test_a_file_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from fairlead.cli import main; main()", "simulate", "--tally", str(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(fairlead.__file__).parent.parent)},
    )
    _, told = await process.communicate()
    assert told.decode().strip() == f"{tmp_path} cannot be written (Is a directory)."
    assert process.returncode == 1


async def test_a_process_that_is_ended_writes_everything(tmp_path: Path):
    file = tmp_path / "tally.jsonl"
    async with serving_process(options=("--tally", str(file))) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(asking("echo", stream=True))
            await reader.read()
            writer.close()
    assert [served(entry) for entry in lines(file)] == [("whole", INPUT, OUTPUT)] * 5


TOOL = Tool(
    "weather", schema=msgspec.Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}')
)


@pytest.mark.parametrize("event", [None, 4, 7, 64])
@pytest.mark.parametrize("words", ["", "plain", "hellö wörld 🙂🙂🙂 and more", "日本語" * 11])
@pytest.mark.parametrize("model", MODELS)
def test_the_tokens_of_all_events_are_the_usage(model: str, words: str, event: int | None):
    request = Request(model, (Message("user", (Text(words),)),), tools=(TOOL,))
    answer = perform(request, faults=Faults(event=event))
    meter = Meter()
    assert answer.response.usage is not None
    assert sum(meter(event) for _, event in answer.events()) == answer.response.usage.output_tokens
