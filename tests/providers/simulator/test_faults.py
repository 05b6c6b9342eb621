"""Every fault as it looks on the wire, and the grammar that asks for it."""

import asyncio
from typing import Any

import msgspec
import pytest

from fairlead.errors import InvalidRequest
from fairlead.providers.simulator import faults
from fairlead.providers.simulator.dialects.anthropic import MESSAGES
from fairlead.providers.simulator.dialects.openai import CHAT
from fairlead.providers.simulator.faults import BEFORE, NONE, Faults
from fairlead.providers.simulator.models import mishap
from serving import serving

HELLO = "one two three four five six"
PATHS = {"openai-chat": "/v1/chat/completions", "anthropic-messages": "/messages", "openai-completions": "/completions"}


class Seen:
    """What came back on a socket: `head` and `body` (still framed), and whether the connection was `reset`."""

    def __init__(self, raw: bytes, reset: bool) -> None:
        self.raw, self.reset = raw, reset
        head, _, self.framed = raw.partition(b"\r\n\r\n")
        self.head = head.decode().lower()
        self.status = int(raw[9:12] or 0)
        self.body = _unchunked(self.framed) if "transfer-encoding: chunked" in self.head else self.framed

    @property
    def events(self) -> list[bytes]:
        return self.body.split(b"\n\n")[:-1]


def _unchunked(framed: bytes) -> bytes:
    body = b""
    while framed:
        size, _, rest = framed.partition(b"\r\n")
        body += rest[: int(size, 16)]
        framed = rest[int(size, 16) + 2 :]
    return body


async def seen(
    url: str, model: str, *, stream: bool = True, header: str = "", protocol: str = "openai-chat", end: bytes = b""
) -> Seen:
    """Ask once on a socket and read to its end, or until `end` came."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 1000, "stream": stream}
    asked |= (
        {"prompt": HELLO} if protocol == "openai-completions" else {"messages": [{"role": "user", "content": HELLO}]}
    )
    body = msgspec.json.encode(asked)
    head = f"POST {PATHS[protocol]} HTTP/1.1\r\nhost: sim\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
    if header:
        head += f"x-simulator-fault: {header}\r\n"
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    raw, reset = b"", False
    try:
        writer.write(head.encode() + b"\r\n" + body)
        while not (end and end in raw) and (data := await reader.read(65536)):
            raw += data
    except ConnectionResetError:
        reset = True
    finally:
        writer.close()
    return Seen(raw, reset)


# ---- the grammar


def test_a_models_name_is_taken_apart():
    assert faults.asked("echo") == faults.Asked("echo", NONE)
    assert faults.asked("sim/echo+cut=3+delay=0.5") == faults.Asked("echo", Faults(cut=3, delay=0.5))
    assert faults.asked("echo", "status=429, retry_after=7").faults == Faults(status=429, retry_after="7")
    assert faults.asked("echo+status=500", "status=429").faults == Faults(status=500)


def test_faults_without_a_value_have_their_own():
    assert faults.parse("cut+error+no_done+html") == Faults(cut=BEFORE, error=1, no_done=True, html=502)


@pytest.mark.parametrize(
    "text", ["nonsense", "status", "status=abc", "status=99", "delay=-1", "event=1", "delay=", "cut=-2"]
)
def test_a_fault_that_cannot_be_is_refused(text: str):
    with pytest.raises(InvalidRequest):
        faults.parse(text)


async def test_an_unknown_fault_is_told_to_the_client():
    async with serving() as url:
        told = await seen(url, "echo+nonsense=1")
    assert told.status == 400
    assert b"known are status, retry_after" in told.body


# ---- instead of an answer


async def test_status_tells_the_vendors_own_error():
    async with serving() as url:
        openai = await seen(url, "echo+status=429")
        anthropic = await seen(url, "echo+status=529+retry_after=7", protocol="anthropic-messages")
    assert openai.status == 429
    assert "retry-after: 1" in openai.head
    assert msgspec.json.decode(openai.body)["error"]["code"] == "rate_limit_exceeded"
    assert anthropic.status == 529
    assert "retry-after: 7" in anthropic.head
    assert msgspec.json.decode(anthropic.body)["error"]["type"] == "overloaded_error"


async def test_html_is_a_proxys_page():
    async with serving() as url:
        told = await seen(url, "echo+html")
        fine = await seen(url, "echo+html=200+retry_after=3")
    assert told.status == 502
    assert "content-type: text/html" in told.head
    assert told.body.startswith(b"<html>")
    assert (fine.status, "retry-after: 3" in fine.head) == (200, True)


async def test_empty_is_no_bytes():
    async with serving() as url:
        told, whole = await seen(url, "echo+empty"), await seen(url, "echo+empty", stream=False)
    assert (told.status, told.body) == (whole.status, whole.body) == (200, b"")
    assert "text/event-stream" in told.head


# ---- an answer that breaks off


async def test_cut_closes_after_so_many_events():
    async with serving() as url:
        told = await seen(url, "echo+cut=3")
    assert len(told.events) == 3
    assert not told.framed.endswith(b"0\r\n\r\n")
    assert not told.reset


async def test_cut_closes_in_the_middle_of_a_whole_body():
    async with serving() as url:
        told, head_only = await seen(url, "echo+cut=1", stream=False), await seen(url, "echo+cut=0", stream=False)
    length = int(told.head.partition("content-length: ")[2].split()[0])
    assert len(told.body) == length // 2
    assert (head_only.status, head_only.body) == (200, b"")


@pytest.mark.parametrize("stream", [False, True])
async def test_cut_without_a_number_closes_before_the_first_byte(stream: bool):
    async with serving() as url:
        told = await seen(url, "echo+cut", stream=stream)
    assert (told.raw, told.reset) == (b"", False)


async def test_reset_resets_the_connection():
    async with serving() as url:
        told = await seen(url, "echo+reset")
        assert (told.raw, told.reset) == (b"", True)
        assert (await seen(url, "echo+reset=2")).reset


@pytest.mark.parametrize(("model", "end"), [("echo+stall=2", b'"one "'), ("echo+stall=0", b"\r\n\r\n")])
async def test_stall_is_silent_until_the_client_goes(model: str, end: bytes):
    async with serving() as url:
        told = await seen(url, model, end=end)
        assert told.status == 200
        await closed_early(url)


async def closed_early(url: str) -> None:
    """Ask the tally until it has seen a client go."""
    told: Any = {"closed_early": 0}
    while told["closed_early"] == 0:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"GET /__tally HTTP/1.1\r\nconnection: close\r\n\r\n")
        told = msgspec.json.decode((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()


# ---- events that are wrong


@pytest.mark.parametrize("protocol", PATHS)
async def test_malformed_is_an_event_that_is_no_json(protocol: str):
    async with serving() as url:
        told = await seen(url, "echo+malformed=2", protocol=protocol)
        whole = await seen(url, "echo+malformed", protocol=protocol, stream=False)
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(told.events[2].rpartition(b"data: ")[2])
    assert len(told.events) > 5
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(whole.body)


async def test_error_is_the_vendors_event_and_the_end():
    async with serving() as url:
        openai = await seen(url, "echo+error=2")
        anthropic = await seen(url, "echo+error=2", protocol="anthropic-messages")
        whole = await seen(url, "echo+error", stream=False)
    assert openai.status == 200
    assert len(openai.events) == 3
    assert openai.events[-1].startswith(b'data: {"error":{"message":"The server had an error')
    assert anthropic.events[-1].startswith(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"')
    assert (whole.status, whole.body.startswith(b'{"error":')) == (200, True)


async def test_no_done_leaves_the_end_mark_out():
    async with serving() as url:
        openai = await seen(url, "echo+no_done")
        anthropic = await seen(url, "echo+no_done", protocol="anthropic-messages")
    assert b'"finish_reason":"stop"' in openai.events[-1]
    assert anthropic.events[-1].startswith(b"event: message_delta\n")


@pytest.mark.parametrize("protocol", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_usage_tells_no_usage(protocol: str, stream: bool):
    async with serving() as url:
        told = await seen(url, "echo+no_usage", protocol=protocol, stream=stream)
    assert told.status == 200
    assert b'"usage"' not in told.body


async def test_repeat_says_each_word_again():
    async with serving() as url:
        openai = await seen(url, "echo+repeat")
        anthropic = await seen(url, "echo+repeat=3", protocol="anthropic-messages")
    assert openai.body.count(b'{"content":"one "}') == 2
    assert anthropic.body.count(b'"text":"one "') == 3
    assert openai.body.count(b'"role"') == 1


# ---- how it comes


async def test_drip_sends_byte_by_byte_what_is_sent_otherwise():
    async with serving() as url:
        told, plain = await seen(url, "echo+drip"), await seen(url, "echo")
        whole = await seen(url, "echo+drip=0", stream=False)
    assert told.framed.startswith(b"1\r\nd\r\n1\r\na\r\n")
    assert [event.partition(b'"choices"')[2] for event in told.events] == [
        event.partition(b'"choices"')[2] for event in plain.events
    ]
    assert msgspec.json.decode(whole.body)["choices"]


async def test_huge_is_one_event():
    async with serving() as url:
        told = await seen(url, "echo+huge=100000")
    assert max(len(event) for event in told.events) > 100_000
    assert told.body.count(b'{"content":') == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_is_a_text_of_that_length(stream: bool):
    async with serving() as url:
        told = await seen(url, "echo+bytes=300001+event=65536", stream=stream)
    assert told.body.count(b"x") >= 300_001
    assert b'"completion_tokens":75001' in told.body or stream


async def test_bytes_waits_for_a_client_that_does_not_read():
    async with serving() as url:
        told = await seen(url, "echo+bytes=1000000000+event=65536", end=b"xxxx")
        await closed_early(url)
    assert len(told.raw) < 1_000_000


async def test_a_text_that_would_fill_the_memory_is_refused():
    async with serving() as url:
        told = await seen(url, "echo+bytes=999999999", stream=False)
    assert told.status == 400


async def test_wrong_length_promises_more_than_there_is():
    async with serving() as url:
        whole = await seen(url, "echo+wrong_length", stream=False)
        stream = await seen(url, "echo+wrong_length=1")
    assert int(whole.head.partition("content-length: ")[2].split()[0]) == len(whole.body) + 10
    assert int(stream.head.partition("content-length: ")[2].split()[0]) == len(stream.body) + 1


@pytest.mark.parametrize("stream", [False, True])
async def test_close_ends_the_body_with_the_connection(stream: bool):
    async with serving() as url:
        told = await seen(url, "echo+close", stream=stream)
    assert "connection: close" in told.head
    assert "content-length" not in told.head
    assert "chunked" not in told.head
    assert told.body.endswith(b"data: [DONE]\n\n" if stream else b"}")


async def test_delay_and_every_take_the_time_they_say():
    loop = asyncio.get_running_loop()
    async with serving(pace=0.01) as url:
        began = loop.time()
        told = await seen(url, "echo+delay=2+every=0.5")
    assert loop.time() - began >= 0.01 * (2 + 0.5 * len(told.events))


async def test_a_header_asks_for_faults_as_well():
    async with serving() as url:
        told = await seen(url, "gpt-5", header="cut=2, delay=0.1")
        again = await seen(url, "gpt-5")
    assert len(told.events) == 2
    assert again.events[-1] == b"data: [DONE]"


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
async def test_flaky_fails_on_the_wire_as_its_mishap_says(dialect: Any):
    path = PATHS[dialect.name]
    async with serving(dialect.name) as url:
        host, port = url.removeprefix("http://").split(":")
        kinds = set()
        for number in range(60):
            messages = [{"role": "user", "content": f"{HELLO} {number}"}]
            body = msgspec.json.encode({"model": "flaky", "max_tokens": 99, "stream": True, "messages": messages})
            wanted = mishap(dialect.decode(body))
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(
                f"POST {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
            )
            raw = await reader.read()
            writer.close()
            assert raw.startswith(b"HTTP/1.1 %d" % (wanted.status or 200))
            assert raw.endswith(b"0\r\n\r\n") is (wanted == NONE) or wanted.status is not None
            kinds.add((wanted.status, wanted.cut))
    assert len(kinds) >= 4


async def test_requests_in_one_go_are_answered_one_after_the_other():
    async with serving() as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        for model in ("slow", "echo"):
            messages = [{"role": "user", "content": HELLO}]
            body = msgspec.json.encode({"model": model, "stream": model == "slow", "messages": messages})
            last = b"connection: close\r\n" if model == "echo" else b"expect: 100-continue\r\n"
            writer.write(b"POST /chat/completions HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (last, len(body), body))
        raw = await reader.read()
        writer.close()
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert raw.index(b"[DONE]") < raw.index(b'"model":"echo"')


async def test_what_is_no_http_is_refused():
    async with serving() as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


@pytest.mark.parametrize(
    ("line", "status"), [("GET /v1/nowhere", 404), ("GET /v1/messages", 405), ("PUT /models", 404)]
)
async def test_unknown_paths_and_methods_are_refused(line: str, status: int):
    async with serving() as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(f"{line} HTTP/1.1\r\nconnection: close\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 %d " % status)
        writer.close()
