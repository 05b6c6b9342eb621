"""Every recorded chat of OpenAI and Anthropic, served by a stand-in provider through the whole gateway.

Each is asked for twice: by a client of the provider's own protocol, whose answer must be the provider's but for what
the gateway owns, and by a client of the other one, whose answer must say the same.
"""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fairlead.chat import Reasoning, Response, Text, ToolUse, fold
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import EventCutter, data
from gateway import gateway, raw, request, split
from protocols_recordings import Recording, openai_spec, recordings, require_shared

PROTOCOLS = {"openai": OpenAIChat(), "anthropic": AnthropicMessages()}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
ROW = (
    '[providers.{name}]\nbase_url = "{url}/r/{id}/v1"\nprotocols = ["{protocol}"]\nsigning = "none"\nmodels_path = ""\n'
)


def of(operations: tuple[str, ...]) -> list[Any]:
    return [*recordings("openai", operations), *recordings("anthropic", operations)]


WHOLE, STREAMED, ERRORS = of(("chat",)), of(("chat_stream",)), of(("error",))


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """The address of a server that answers with recordings."""
    shared = require_shared()
    found = importlib.util.spec_from_file_location("replay_upstream", shared / "tools" / "replay_upstream.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with ExitStack() as stack:
        yield stack.enter_context(module.serving(str(shared / "recordings"))).url


def vendor(recording: Recording) -> str:
    return recording.id.partition("/")[0]


def asking(recording: Recording, client: str) -> bytes:
    """The recorded request where it fits the client, else one of our own."""
    streamed = "chat_stream" in recording.id
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
    if client == vendor(recording) and recording.request is not None:
        body = json.loads(recording.request)
    body.update(model="rec/m", stream=streamed)
    if not streamed:
        body.pop("stream_options", None)
    return json.dumps(body).encode()


async def answer(
    folder: Path, provider: str, recording: Recording, client: str
) -> tuple[int, bytes, list[dict[str, Any]]]:
    """What a gateway answers whose one provider answers with `recording`; and the attempts it wrote down."""
    row = ROW.format(name="rec", url=provider, id=recording.id, protocol=PROTOCOLS[vendor(recording)].name)
    async with gateway(folder, row) as running:
        status, _, body = split(await raw(running.port, request(PATHS[client], asking(recording, client))))
        return status, body, await running.rows("attempts")


def events(text: bytes) -> list[bytes]:
    cutter = EventCutter(1 << 25)
    found = cutter.feed(text)
    rest = cutter.finish()
    return [*found, rest + b"\n\n"] if rest else found


def told(client: str, body: bytes, streamed: bool) -> Response:
    protocol = PROTOCOLS[client]
    if not streamed:
        return protocol.decode_response(body)
    decode = protocol.event_decoder()
    return fold([event for each in [*events(body), b""] for event in decode(each)])


def meaning(response: Response) -> tuple[Any, ...]:
    """What any format can say of an answer."""
    text = "".join(part.text for part in response.parts if isinstance(part, Text))
    thought = "".join(part.text for part in response.parts if isinstance(part, Reasoning))
    calls = [(part.name, json.loads(part.arguments)) for part in response.parts if isinstance(part, ToolUse)]
    usage = response.usage
    tokens = (usage.input_tokens, usage.output_tokens, usage.cached_tokens) if usage is not None else (0, 0, 0)
    return text, thought, calls, tokens


@pytest.mark.parametrize("recording", WHOLE)
async def test_a_whole_answer_passes_byte_for_byte(tmp_path: Path, provider: str, recording: Recording) -> None:
    status, body, rows = await answer(tmp_path, provider, recording, vendor(recording))
    assert status == 200, body
    assert json.loads(body) == json.loads(recording.response)
    (attempt,) = rows
    usage = told(vendor(recording), body, False).usage
    assert usage is None or (attempt["input_tokens"], attempt["output_tokens"]) == (
        usage.input_tokens,
        usage.output_tokens,
    )


@pytest.mark.parametrize("recording", WHOLE)
async def test_a_whole_answer_says_the_same_in_the_other_protocol(
    tmp_path: Path, provider: str, recording: Recording
) -> None:
    mine, other = vendor(recording), next(name for name in PROTOCOLS if name != vendor(recording))
    status, body, _ = await answer(tmp_path, provider, recording, other)
    assert status == 200, body
    assert meaning(told(other, body, False)) == meaning(told(mine, recording.response, False))
    if other == "openai":
        assert openai_spec().errors("CreateChatCompletionResponse", json.loads(body)) == []


@pytest.mark.parametrize("recording", STREAMED)
async def test_a_streamed_answer_passes_event_for_event(tmp_path: Path, provider: str, recording: Recording) -> None:
    status, body, _ = await answer(tmp_path, provider, recording, vendor(recording))
    assert status == 200, body
    sent = [data(event) for event in events(recording.response) if data(event)]
    got = [data(event) for event in events(body) if data(event)]
    ends = next((index for index, each in enumerate(sent) if each == b"[DONE]" or b'"message_stop"' in each), len(sent))
    hidden = [each for each in sent[: ends + 1] if each not in got]
    assert [each for each in sent[: ends + 1] if each not in hidden] == got
    assert all(b'"choices":[]' in each.replace(b" ", b"") for each in hidden)


@pytest.mark.parametrize("recording", STREAMED)
async def test_a_streamed_answer_says_the_same_in_the_other_protocol(
    tmp_path: Path, provider: str, recording: Recording
) -> None:
    mine, other = vendor(recording), next(name for name in PROTOCOLS if name != vendor(recording))
    status, body, _ = await answer(tmp_path, provider, recording, other)
    assert status == 200, body
    text, thought, calls, _ = meaning(told(other, body, True))
    assert (text, thought, calls) == meaning(told(mine, recording.response, True))[:3]
    if other == "openai":
        for event in events(body):
            if data(event) not in (b"", b"[DONE]"):
                assert openai_spec().errors("CreateChatCompletionStreamResponse", json.loads(data(event))) == []


@pytest.mark.parametrize("recording", ERRORS)
@pytest.mark.parametrize("client", list(PATHS))
async def test_an_error_is_told_in_our_words_in_either_protocol(
    tmp_path: Path, provider: str, recording: Recording, client: str
) -> None:
    status, body, rows = await answer(tmp_path, provider, recording, client)
    error = json.loads(body)["error"]
    assert status in (400, 404, 413, 429, 502, 503, 504)
    assert error["message"]
    assert status != recording.status or status in (400, 404, 413, 429)
    (attempt,) = rows
    assert attempt["status"] == recording.status
