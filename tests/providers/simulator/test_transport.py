"""The simulator where the upstream client is: the same bytes as over HTTP, the same time-outs as elsewhere."""

import asyncio
from typing import Any

import msgspec
import pytest

from fairlead.errors import ConnectFailed, UpstreamBroken, UpstreamTimeout
from fairlead.providers.simulator import SimulatorTransport
from fairlead.upstream import Origin, Timeouts, Transport, UpstreamRequest, UpstreamResponse
from serving import serving

HELLO = [{"role": "user", "content": "one two three four"}]


def request(
    model: str = "echo", *, stream: bool = True, path: str = "/v1/chat/completions", timeouts: Any = None, **more: Any
) -> UpstreamRequest:
    body = msgspec.json.encode({"model": model, "stream": stream, "messages": HELLO, **more})
    head = f"POST {path} HTTP/1.1\r\nhost: sim\r\nX-Api-Key: none\r\n".encode()
    return UpstreamRequest(Origin.of("simulator://local/v1"), head, body, timeouts or Timeouts())


async def read(response: UpstreamResponse) -> bytes:
    body = b""
    while chunk := await response.read():
        body += chunk
    return body


async def answered(asked: UpstreamRequest) -> bytes:
    transport: Transport = SimulatorTransport(pace=0)
    return await read(await transport.send(asked))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model",
    "echo fast slow thinking json long echo+repeat echo+no_usage echo+error=2 echo+malformed=3 echo+html=200 echo+drip"
    " echo+status=429 echo+close echo+huge=9999 echo+bytes=99999+event=4096 ecko+nonsense".split(),
)
async def test_the_transport_gives_the_bytes_that_the_server_sends(model: str, stream: bool):
    asked = request(model, stream=stream)
    async with serving(any_model=False) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(asked.head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(asked.body) + asked.body)
        raw = await reader.read()
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" in head:
        pieces, body = body, b""
        while pieces:
            size, _, rest = pieces.partition(b"\r\n")
            body, pieces = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    response = await SimulatorTransport(pace=0).send(asked)
    assert head.startswith(b"HTTP/1.1 %d " % response.status)
    for name, value in response.headers.items():
        assert b"\r\n%b: %b" % (name, value) in head
    assert await read(response) == body


async def test_headers_and_sends_are_told():
    response = await SimulatorTransport().send(request())
    assert response.headers[b"content-type"].startswith(b"text/event-stream")
    assert response.headers[b"x-request-id"].startswith(b"req_")
    assert (response.status, response.sends) == (200, 1)
    response.close(ended=True)
    response.close()


async def test_the_path_says_the_protocol():
    assert b'"type":"message"' in await answered(request(stream=False, path="/messages", max_tokens=9))
    models = UpstreamRequest(Origin.of("simulator://local"), b"GET /v1/models HTTP/1.1\r\n", b"", Timeouts())
    assert b'"id":"echo"' in await answered(models)


async def test_an_unknown_model_is_not_found():
    response = await SimulatorTransport().send(request("ecko"))
    assert response.status == 404
    assert b"model_not_found" in await response.read()


@pytest.mark.parametrize("model", ["echo+cut=2", "echo+reset=2", "echo+wrong_length"])
async def test_an_answer_that_breaks_off_is_broken(model: str):
    response = await SimulatorTransport().send(request(model))
    assert await response.read()
    with pytest.raises(UpstreamBroken) as broken:
        await read(response)
    assert broken.value.outcome_unknown


@pytest.mark.parametrize("model", ["echo+cut", "echo+reset"])
async def test_an_answer_that_never_begins_is_broken(model: str):
    with pytest.raises(UpstreamBroken):
        await SimulatorTransport().send(request(model))


@pytest.mark.parametrize("model", ["echo+stall", "echo+delay=60"])
async def test_a_first_byte_that_does_not_come_is_a_time_out(model: str):
    with pytest.raises(UpstreamTimeout) as late:
        await SimulatorTransport().send(request(model, timeouts=Timeouts(first_byte=0.01)))
    assert (late.value.phase, late.value.seconds) == ("first_byte", 0.01)


@pytest.mark.parametrize("model", ["echo+stall=2", "echo+every=60", "echo+drip=60"])
async def test_silence_is_a_time_out(model: str):
    response = await SimulatorTransport().send(request(model, timeouts=Timeouts(silence=0.01)))
    with pytest.raises(UpstreamTimeout) as late:
        await read(response)
    assert late.value.phase == "silence"


async def test_taking_too_long_in_all_is_a_time_out():
    response = await SimulatorTransport().send(request("slow", timeouts=Timeouts(total=0.02)))
    with pytest.raises(UpstreamTimeout) as late:
        await read(response)
    assert late.value.phase == "total"


async def test_the_opening_event_of_slow_does_not_wait_for_its_first_token():
    response = await SimulatorTransport().send(request("slow", timeouts=Timeouts(silence=0.01)))
    assert b'"role":"assistant"' in await response.read()
    with pytest.raises(UpstreamTimeout):
        await response.read()


async def test_undelayed_events_come_in_chunks_of_bounded_size():
    response = await SimulatorTransport().send(request("echo+bytes=1000000+event=4096"))
    sizes = []
    while chunk := await response.read():
        sizes.append(len(chunk))
    assert max(sizes) < 80_000
    assert len(sizes) > 10


async def test_a_closed_answer_says_no_more():
    response = await SimulatorTransport().send(request("echo+stall=1"))
    assert await response.read()
    response.close()
    assert await response.read() == b""


async def test_a_cancelled_read_ends_at_once():
    response = await SimulatorTransport().send(request("echo+stall=0"))
    reading = asyncio.create_task(response.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    response.close()


async def test_a_closed_transport_takes_no_more():
    transport = SimulatorTransport()
    await transport.aclose()
    with pytest.raises(ConnectFailed):
        await transport.send(request())


async def test_a_remembered_answer_is_the_same_again():
    transport = SimulatorTransport(pace=0)
    told = [await read(await transport.send(request(model))) for model in ("echo", "echo", "thinking", "echo")]
    assert told[0] == told[1] == told[3] != told[2]
