"""Every model in every format, whole and streamed, as the gateway's own codecs ask for it and read it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import validate
from msgspec import Raw, structs

from fairlead.chat import (
    Media,
    Message,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    fold,
)
from fairlead.errors import InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import Outbound
from fairlead.protocols.anthropic_completions import AnthropicCompletions
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.bedrock_converse import BedrockConverse
from fairlead.protocols.bedrock_invoke import BedrockInvoke
from fairlead.protocols.cohere_chat import CohereChat
from fairlead.protocols.cohere_chat_v1 import CohereChatV1
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.ollama_chat import OllamaChat
from fairlead.protocols.ollama_generate import OllamaGenerate
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openai_responses import OpenAIResponses
from fairlead.providers.simulator import SimulatorTransport
from fairlead.providers.simulator.replies import Simulator
from fairlead.upstream import Origin, Timeouts, UpstreamRequest

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TYPES = {**SCHEMA, "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}}
RAW = Raw(msgspec.json.encode(SCHEMA))
TOOLS = (Tool("one", "the first", RAW), Tool("two", "the second", RAW))
HELLO = (Message("user", (Text("hello, wörld 🙂"),)),)

# The base path, the format, and what stands before the model's name: families of invoked models.
FORMATS: dict[str, tuple[str, Outbound, str]] = {
    "openai-chat": ("/v1", OpenAIChat(), ""),
    "openai-responses": ("/v1", OpenAIResponses(), ""),
    "anthropic-messages": ("/v1", AnthropicMessages(), ""),
    "gemini": ("/v1beta", Gemini(), ""),
    "bedrock-converse": ("", BedrockConverse(), "anthropic.claude-"),
    "bedrock-converse of nova": ("", BedrockConverse(), "us.amazon.nova-"),
    "bedrock-invoke of claude": ("", BedrockInvoke(), "anthropic.claude-"),
    "bedrock-invoke of nova": ("", BedrockInvoke(), "amazon.nova-"),
    "bedrock-invoke of mistral": ("", BedrockInvoke(), "mistral.mistral-large-"),
    "bedrock-invoke of gpt": ("", BedrockInvoke(), "openai.gpt-oss-"),
    "bedrock-invoke of command-r": ("", BedrockInvoke(), "cohere.command-r-"),
    "cohere-chat": ("/v2", CohereChat(), ""),
    "cohere-chat-v1": ("/v1", CohereChatV1(), ""),
    "ollama-chat": ("/api", OllamaChat(), ""),
}
TEXTS: dict[str, tuple[str, Outbound, str]] = {
    "openai-completions": ("/v1", OpenAICompletions(), ""),
    "anthropic-completions": ("/v1", AnthropicCompletions(), ""),
    "ollama-generate": ("/api", OllamaGenerate(), ""),
    "bedrock-invoke of claude 2": ("", BedrockInvoke(), "anthropic.claude-v2-"),
    "bedrock-invoke of titan": ("", BedrockInvoke(), "amazon.titan-text-"),
    "bedrock-invoke of llama 2": ("", BedrockInvoke(), "meta.llama2-"),
    "bedrock-invoke of llama 3": ("", BedrockInvoke(), "meta.llama3-"),
    "bedrock-invoke of llama 4": ("", BedrockInvoke(), "meta.llama4-"),
    "bedrock-invoke of command": ("", BedrockInvoke(), "cohere.command-"),
    "bedrock-invoke of mixtral": ("", BedrockInvoke(), "mistral.mixtral-"),
}
THINKING = [name for name in FORMATS if "mistral" not in name and "v1" not in name and "command" not in name]
NO_SCHEMA = ("cohere-chat-v1", "bedrock-invoke of command-r")  # types are all they say of arguments
ALL = {**FORMATS, **TEXTS}
both_ways = pytest.mark.parametrize("stream", [False, True])


def asked(name: str, request: Request, header: str = "") -> tuple[str, dict[bytes, bytes], bytes]:
    """Target, headers and body of `request` in the format `name`."""
    base, format, family = ALL[name]
    request = structs.replace(request, model=family + request.model)
    body = format.encode_request(request, default_max_tokens=1000).body
    return base + format.path(request.model, request.stream), {b"x-simulator-fault": header.encode()}, body


def answered(name: str, request: Request, header: str = "") -> Response:
    """What the format `name` makes of the answer to `request`."""
    reply = Simulator(any_model=False).reply("POST", *asked(name, request, header))
    return read(name, request, reply.status, b"".join(chunk.data for chunk in reply.chunks))


def read(name: str, request: Request, status: int, body: bytes) -> Response:
    _, format, _ = ALL[name]
    if status != 200:
        raise format.decode_error(status, body)
    if not request.stream:
        return format.decode_response(body)
    cutter, decoder = format.cutter(1 << 20), format.event_decoder()
    events = [*cutter.feed(body), *filter(None, [cutter.finish()]), b""]
    return fold(told for event in events for told in decoder(event))


def text_of(response: Response) -> str:
    return "".join(part.text for part in response.parts if isinstance(part, Text))


def calls_of(response: Response) -> list[ToolUse]:
    return [part for part in response.parts if isinstance(part, ToolUse)]


@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_words_come_back(name: str, stream: bool):
    request = Request("echo", HELLO, stream=stream, include_usage=stream)
    told = answered(name, request)
    assert text_of(told) == "hello, wörld 🙂"
    assert told.finish_reason in ("stop", "stop_sequence")
    if name == "anthropic-completions":
        assert told.usage is None  # it has no place for it
    elif not (name.startswith("bedrock-invoke") and not stream):  # there it may stand in the headers alone
        assert told.usage is not None
        assert told.usage.output_tokens == 5


@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_a_sentence_and_a_long_text_come_whole(name: str, stream: bool):
    fast = answered(name, Request("fast", HELLO, stream=stream))
    assert text_of(fast).startswith('You said "hello, wörld 🙂" and this is the simulator')
    long = answered(name, Request("long", HELLO, stream=stream, max_tokens=5000))
    assert len(text_of(long)) == 16_000
    cut = answered(name, Request("long", HELLO, stream=stream, max_tokens=20))
    assert (len(text_of(cut)), cut.finish_reason) == (80, "length")


@both_ways
@pytest.mark.parametrize("name", FORMATS)
async def test_parallel_calls_come_and_their_results_are_summed_up(name: str, stream: bool):
    request = Request("tools", HELLO, tools=TOOLS, stream=stream)
    told = answered(name, request)
    calls = calls_of(told)
    assert [call.name for call in calls] == ["one", "two"]
    assert told.finish_reason == "tool_use"
    for call in calls:
        validate(msgspec.json.decode(call.arguments), TYPES if name in NO_SCHEMA else SCHEMA)
    results = tuple(ToolResult(call.id, (Text("sunny"),)) for call in calls)
    talk = (*HELLO, Message("assistant", told.parts), Message("tool", results))
    summed = answered(name, structs.replace(request, messages=talk))
    assert text_of(summed) == "The tools say: sunny; sunny"


@both_ways
@pytest.mark.parametrize("name", THINKING)
async def test_a_model_thinks_and_knows_its_thoughts_again(name: str, stream: bool):
    request = Request("thinking", HELLO, stream=stream, thinking=Thinking(effort="high"), max_tokens=20_000)
    told = answered(name, request)
    thought = told.parts[0]
    assert isinstance(thought, Reasoning)
    if name == "bedrock-invoke of nova":  # which never shows what it thought
        assert (thought.text, thought.signature) == ("[REDACTED]", None)
    else:
        assert thought.text.startswith("I was sent 3 words.") or thought.encrypted  # OpenAI shows what was asked for
    assert text_of(told) == "Having thought about it: hello, wörld 🙂"
    talk = (*HELLO, Message("assistant", told.parts), Message("user", (Text("again"),)))
    assert text_of(answered(name, structs.replace(request, model="echo", messages=talk))) == "again"


@both_ways
@pytest.mark.parametrize("name", [name for name in FORMATS if "invoke" not in name and "nova" not in name])
async def test_json_comes_by_its_schema(name: str, stream: bool):
    form = ResponseFormat("json_schema", "weather", RAW)
    told = answered(name, Request("json", HELLO, stream=stream, response_format=form))
    said = text_of(told) or calls_of(told)[0].arguments
    validate(msgspec.json.decode(said), SCHEMA)


@both_ways
@pytest.mark.parametrize(
    "name", [name for name in FORMATS if name not in ("cohere-chat", "ollama-chat") and "command" not in name]
)
async def test_a_refusal_is_known_for_one(name: str, stream: bool):
    told = answered(name, Request("refuse", HELLO, stream=stream))
    assert told.finish_reason in ("refusal", "content_filter")


# ---- what goes wrong


@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_a_status_is_told_in_the_vendors_words(name: str, stream: bool):
    for status in (400, 401, 403, 404, 429, 500, 503):
        with pytest.raises(UpstreamError) as told:
            answered(name, Request("echo", HELLO, stream=stream), f"status={status}")
        assert str(told.value)


@pytest.mark.parametrize("name", ALL)
async def test_an_error_inside_a_stream_is_known_for_one(name: str):
    with pytest.raises(UpstreamError) as told:
        answered(name, Request("echo", HELLO, stream=True), "error=2")
    assert not isinstance(told.value, UpstreamBroken) or "cut off" not in str(told.value)


@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_what_is_no_json_is_broken(name: str, stream: bool):
    with pytest.raises(UpstreamError):
        answered(name, Request("echo", HELLO, stream=stream), "malformed=2")


@pytest.mark.parametrize("name", ALL)
async def test_a_stream_that_is_cut_is_broken(name: str):
    with pytest.raises(UpstreamBroken):
        answered(name, Request("echo", HELLO, stream=True), "cut=3")


@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_usage_can_be_withheld(name: str, stream: bool):
    told = answered(name, Request("echo", HELLO, stream=stream, include_usage=stream), "no_usage")
    assert text_of(told) == "hello, wörld 🙂"
    assert told.usage is None or told.usage.output_tokens == 0


@pytest.mark.parametrize("name", ALL)
async def test_words_can_come_twice(name: str):
    told = answered(name, Request("echo", HELLO, stream=True), "repeat")
    assert text_of(told).startswith("hellhell")


@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_the_transport_gives_the_same(name: str, stream: bool):
    request = Request("echo", HELLO, stream=stream)
    target, _, body = asked(name, request)
    head = f"POST {target} HTTP/1.1\r\nhost: sim\r\n".encode()
    response = await SimulatorTransport(pace=0).send(
        UpstreamRequest(Origin.of("simulator://local"), head, body, Timeouts())
    )
    told = b""
    while chunk := await response.read():
        told += chunk
    assert read(name, request, response.status, told) == answered(name, request)
    assert response.headers[b"content-type"].partition(b";")[0].decode() == ALL[name][1].media_types[stream]


WRONG: tuple[Any, ...] = (None, 5, "x", True, [], [5], [None], {}, {"a": 5}, [{"type": 5}], [{}])


def replaced(value: Any, wrong: Any) -> Iterator[Any]:
    """`value` with each value within it replaced by `wrong`, one after the other."""
    yield wrong
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(inner):
        for other in replaced(one, wrong):
            copy = value.copy()
            copy[key] = other
            yield copy


@pytest.mark.parametrize("name", ALL)
def test_what_is_of_a_wrong_type_is_answered_or_refused(name: str):
    talk = (
        Message("system", (Text("be brief"),)),
        Message("user", (Text("a"), Media("image", "image/png", data="AAAA"))) if name in FORMATS else HELLO[0],
    )
    if name in FORMATS and "command" not in name and "v1" not in name:
        called = (
            Message("assistant", (ToolUse("call_1", "one"),)),
            Message("tool", (ToolResult("call_1", (Text("b"),)),)),
        )
        talk = (*talk, *called)
    request = Request("echo", talk, tools=TOOLS if name in FORMATS else (), stop=("x",), temperature=0.5, max_tokens=9)
    try:
        target, headers, body = asked(name, request)
    except InvalidRequest:  # it has no images
        target, headers, body = asked(name, structs.replace(request, messages=(talk[0], HELLO[0])))
    simulator = Simulator()
    for wrong in WRONG:
        for one in replaced(msgspec.json.decode(body), wrong):
            reply = simulator.reply("POST", target, headers, msgspec.json.encode(one))
            assert reply.status in (200, 400, 404), one
