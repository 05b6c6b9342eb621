"""Bedrock's Converse: every recorded answer is read, and what clients ask for is told or named as left out."""

import json
from base64 import b64decode, b64encode
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fairlead import errors
from fairlead.chat import (
    Citation,
    Event,
    Finish,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartStart,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Start,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    fold,
)
from fairlead.errors import InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import Encoded, aws_eventstream, is_inbound, is_outbound, is_wire
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.aws_eventstream import EventCutter
from fairlead.protocols.bedrock_converse import BedrockConverse
from protocols_recordings import Recording, recordings

FORMAT = BedrockConverse()
NAME = FORMAT.name
CLAUDE, NOVA, LLAMA = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-lite-v1:0", "meta.llama3-8b"
USER = Message("user", (Text("hi"),))
CALL, RESULT = ToolUse("t1", "get", '{"a":1}'), ToolResult("t1", (Text("2"),))
EPHEMERAL = Raw(b'{"type":"ephemeral"}')


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def event(kind: str, payload: Any, message_type: str = "event") -> bytes:
    names = {"event": ":event-type", "exception": ":exception-type"}
    headers = [(names[message_type], kind), (":content-type", "application/json"), (":message-type", message_type)]
    return aws_eventstream.event(headers, msgspec.json.encode(payload))


def heard(events: list[bytes]) -> list[Event]:
    decode = FORMAT.event_decoder()
    told = [each for raw in [*events, b""] for each in decode(raw)]
    assert decode.held == 0
    return told


def stream(recording: Recording, size: int = 1 << 20) -> list[bytes]:
    whole = b64decode(recording.whole["response"]["eventstream_b64"])
    cutter = EventCutter(1 << 24)
    found = [raw for at in range(0, len(whole), size) for raw in cutter.feed(whole[at : at + size])]
    assert cutter.finish() == b""
    return found


def asked(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = FORMAT.encode_request(request, default_max_tokens=4096)
    assert type(encoded) is Encoded
    return json.loads(encoded.body), encoded.dropped


def content(*parts: Part, role: Any = "user", model: str = CLAUDE) -> Any:
    """The blocks that `parts` are told as."""
    body, _ = asked(Request(model, (Message(role, parts),)))
    return body["messages"][0]["content"]


# ---- every recording


def usage_of(told: dict[str, Any] | None) -> Usage | None:
    if told is None:
        return None
    read, written = told.get("cacheReadInputTokens", 0), told.get("cacheWriteInputTokens", 0)
    return Usage(told["inputTokens"] + read + written, told["outputTokens"], read, written)


REASONS = {
    "end_turn": "stop", "tool_use": "tool_use", "max_tokens": "length", "guardrail_intervened": "content_filter",
}  # fmt: skip


def meaning(response: Response) -> list[Any]:
    told: list[Any] = []
    for part in response.parts:
        match part:
            case Text(text=text):
                told.append(("text", text))
            case Reasoning(text=text, signature=signature, encrypted=encrypted):
                assert part.protocol == "anthropic-messages"
                data = b64encode(encrypted.encode()).decode() if encrypted is not None else None
                told.append(("thought", text, signature, data))
            case ToolUse(id=id, name=name, arguments=arguments):
                told.append(("call", id, name, json.loads(arguments)))
            case Opaque(raw=block):
                told.append(("opaque", json.loads(bytes(block))))
            case _:
                told.append(("other", part))
    return told


@pytest.mark.parametrize("recording", recordings("bedrock", ("chat",)))
def test_a_recorded_answer_is_read(recording: Recording) -> None:
    body = recording.whole["response"]["body"]
    found = FORMAT.decode_response(recording.response)
    expected: list[Any] = []
    for block in body["output"]["message"]["content"]:
        if "text" in block:
            expected.append(("text", block["text"]))
        elif "toolUse" in block:
            use = block["toolUse"]
            expected.append(("call", use["toolUseId"], use["name"], use["input"]))
        else:
            thought = block["reasoningContent"]
            words = thought.get("reasoningText", {})
            expected.append(("thought", words.get("text", ""), words.get("signature"), thought.get("redactedContent")))
    assert meaning(found) == [each for each in expected if each != ("text", "")]
    assert found.usage == usage_of(body.get("usage"))
    assert (found.finish_reason, found.raw_reason) == (REASONS[body["stopReason"]], body["stopReason"])


@pytest.mark.parametrize("recording", recordings("bedrock", ("chat_stream",)))
def test_a_recorded_stream_is_read(recording: Recording) -> None:
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage = None, None
    for each in stream(recording):
        message = aws_eventstream.message(each)
        payload = json.loads(message.payload)
        block = blocks.setdefault(payload.get("contentBlockIndex", -1), {"text": "", "thought": "", "input": ""})
        delta = payload.get("delta", {})
        block["text"] += delta.get("text", "")
        block["thought"] += delta.get("reasoningContent", {}).get("text", "")
        block["signature"] = delta.get("reasoningContent", {}).get("signature") or block.get("signature")
        if "toolUse" in delta:
            block["input"] += delta["toolUse"]["input"]
        block.update(payload.get("start", {}))
        if "toolResult" in delta:
            block["toolResult"] = {**block["toolResult"], "content": delta["toolResult"]}
        stop, usage = payload.get("stopReason", stop), payload.get("usage", usage)
    del blocks[-1]
    expected: list[Any] = []
    for block in blocks.values():
        if block["text"]:
            expected.append(("text", block["text"]))
        elif block["thought"]:
            expected.append(("thought", block["thought"], block["signature"], None))
        elif "toolResult" in block:
            expected.append(("opaque", {"toolResult": block["toolResult"]}))
        elif "toolUse" in block:
            use, told = block["toolUse"], json.loads(block["input"] or "{}")
            if use.get("type") == "server_tool_use":
                expected.append(("opaque", {"toolUse": {**use, "input": told}}))
            else:
                expected.append(("call", use["toolUseId"], use["name"], told))
    found = fold(heard(stream(recording)))
    assert meaning(found) == expected
    assert found.usage == usage_of(usage)
    assert (found.finish_reason, found.raw_reason) == (REASONS[str(stop)], stop)


@pytest.mark.parametrize("recording", recordings("bedrock", ("chat_stream",)))
def test_a_recorded_stream_may_be_split_anywhere(recording: Recording) -> None:
    assert stream(recording, 7) == stream(recording)
    assert stream(recording, 1001) == stream(recording)


@pytest.mark.parametrize("recording", recordings("bedrock", ("error",)))
def test_a_recorded_error_is_understood(recording: Recording) -> None:
    kind = recording.whole["response"]["headers"].get("x-amzn-errortype", "")
    found = FORMAT.decode_error(recording.status, recording.response, {b"x-amzn-errortype": kind.encode()})
    assert found.message == recording.whole["response"]["body"]["message"]
    assert found.upstream_status == recording.status
    assert isinstance(found, errors.CredentialRejected if recording.status == 403 else errors.UpstreamRefused)
    assert found.upstream_code == ("ExpiredTokenException" if kind else None)


MIMES = {
    "png": "image/png", "jpeg": "image/jpeg", "pdf": "application/pdf", "txt": "text/plain", "mp4": "video/mp4",
}  # fmt: skip


def part_of(block: dict[str, Any]) -> Part:
    """What a recorded block says in our words, as a client of another format would have said it."""
    match block:
        case {"text": text}:
            return Text(text)
        case {"toolUse": use}:
            return ToolUse(use["toolUseId"], use["name"], json.dumps(use["input"]))
        case {"toolResult": result}:
            inner = tuple(map(part_of, result["content"]))
            return ToolResult(result["toolUseId"], inner, is_error=result.get("status") == "error")
        case {"reasoningContent": {"reasoningText": thought}}:
            return Reasoning(thought["text"], thought.get("signature"), protocol=NAME)
        case {"reasoningContent": {"redactedContent": data}}:
            return Reasoning(encrypted=data, protocol=NAME)
        case {"image": media} | {"document": media} | {"video": media}:
            (kind,) = block
            mime = MIMES[media["format"].removeprefix("video/")]
            return Media(kind, mime, data=media["source"]["bytes"], name=media.get("name"))  # type: ignore[arg-type]
    return Opaque(NAME, raw(block))


def parts_with_marks(blocks: list[Any]) -> tuple[Part, ...]:
    found: list[Part] = []
    for block in blocks:
        if "cachePoint" in block:
            found[-1] = msgspec.structs.replace(found[-1], cache=EPHEMERAL)
        else:
            found.append(part_of(block))
    return tuple(found)


def request_of(body: dict[str, Any], model: str) -> Request:
    """A recorded request in our words."""
    tools: list[Tool | Opaque] = []
    config = body.get("toolConfig", {})
    for tool in config.get("tools", []):
        spec = tool.get("toolSpec")
        if "cachePoint" in tool:
            tools[-1] = msgspec.structs.replace(tools[-1], cache=EPHEMERAL)
        elif spec is None:
            tools.append(Opaque(NAME, raw(tool)))
        else:
            schema = raw(spec["inputSchema"]["json"])
            tools.append(Tool(spec["name"], spec.get("description"), schema, spec.get("strict")))
    match config.get("toolChoice"):
        case {"tool": {"name": name}}:
            choice = ToolChoice("named", name)
        case {"any": _}:
            choice = ToolChoice("required")
        case told:
            choice = None if told is None else ToolChoice("auto")
    inference, more = body.get("inferenceConfig", {}), dict(body.get("additionalModelRequestFields", {}))
    thinking = more.pop("thinking", None)
    effort = more.pop("output_config", {}).get("effort")
    wish = None
    if thinking is not None:
        adaptive = thinking["type"] == "adaptive"
        wish = Thinking(effort=effort, budget_tokens=thinking.get("budget_tokens"), adaptive=adaptive)
    shape = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    system = parts_with_marks(body.get("system", []))
    turns = [Message(turn["role"], parts_with_marks(turn["content"])) for turn in body["messages"]]
    return Request(
        model,
        (*([Message("system", system)] if system else []), *turns),
        tools=tuple(tools),
        tool_choice=choice,
        max_tokens=inference.get("maxTokens"),
        temperature=inference.get("temperature"),
        top_p=inference.get("topP"),
        stop=tuple(inference.get("stopSequences", ())),
        top_k=more.pop("top_k", None) or more.pop("inferenceConfig", {}).get("topK"),
        response_format=None
        if shape is None
        else ResponseFormat(
            "json_schema", shape.get("name"), Raw(shape["schema"].encode()), description=shape.get("description")
        ),
        thinking=wish,
        service_tier=body.get("serviceTier", {}).get("type"),
        extra={name: Opaque("openai-chat", raw(body[name])) for name in ("guardrailConfig",) if name in body},
    )


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """A request without what says nothing."""
    told = {name: value for name, value in body.items() if value not in ([], {})}
    told.pop("additionalModelResponseFieldPaths", None)
    for turn in told["messages"]:
        for block in turn["content"]:
            if block.get("toolResult", {}).get("status") == "success":
                del block["toolResult"]["status"]
            if "video" in block:
                block["video"]["format"] = block["video"]["format"].removeprefix("video/")
    turns: list[Any] = []
    for turn in told["messages"]:  # turns alternate
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += turn["content"]
        else:
            turns.append(turn)
    told["messages"] = turns
    inference = {name: value for name, value in told.pop("inferenceConfig", {}).items() if value != []}
    return {**told, **({"inferenceConfig": inference} if inference else {})}


def has_request(recording: Recording) -> bool:
    return bool(recording.whole["request"].get("body"))


@pytest.mark.parametrize("recording", recordings("bedrock", ("chat", "chat_stream"), has_request))
def test_a_recorded_request_is_told_as_it_was(recording: Recording) -> None:
    body, path = recording.whole["request"]["body"], recording.whole["request"]["path"]
    model = unquote(path.split("/")[2])
    found, dropped = asked(request_of(body, model))
    assert plain(found) == plain(body)
    assert dropped == ()
    assert FORMAT.path(model, path.endswith("-stream")) == path


# ---- answers, by the documentation


def whole(blocks: list[Any], **more: Any) -> bytes:
    message = {"role": "assistant", "content": blocks}
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    return msgspec.json.encode({"output": {"message": message}, "stopReason": "end_turn", "usage": usage, **more})


def parts_of(*blocks: Any) -> tuple[Part, ...]:
    return FORMAT.decode_response(whole(list(blocks))).parts


def delta(index: int, **fields: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": fields, "p": "abcd"})


def start(index: int, **fields: Any) -> bytes:
    return event("contentBlockStart", {"contentBlockIndex": index, "start": fields})


def stop(index: int) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": index})


OPENED = event("messageStart", {"role": "assistant", "p": "ab"})
ENDED = [
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 1}}),
]
CITATION = {
    "title": "Doc", "source": "https://a.example/b", "sourceContent": [{"text": "so "}, {"text": "it is"}],
    "location": {"documentChar": {"documentIndex": 0, "start": 5, "end": 9}},
}  # fmt: skip
SAME: list[tuple[list[Any], list[bytes]]] = [
    ([{"text": "Hello"}], [delta(0, text="Hel"), delta(0, text="lo"), stop(0)]),
    ([{"text": ""}, {"text": "x"}], [delta(0, text=""), stop(0), delta(1, text="x"), stop(1)]),
    (
        [{"toolUse": {"toolUseId": "t", "name": "get", "input": {"a": [1]}}}],
        [
            start(2, toolUse={"toolUseId": "t", "name": "get"}), delta(2, toolUse={"input": '{"a":'}),
            delta(2, toolUse={"input": "[1]}"}), stop(2),
        ],
    ),
    (
        [{"toolUse": {"toolUseId": "t", "name": "get", "input": {}}}],
        [start(0, toolUse={"toolUseId": "t", "name": "get"}), delta(0, toolUse={"input": ""}), stop(0)],
    ),
    (
        [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}, {"text": "x"}],
        [
            delta(0, reasoningContent={"text": "h"}), delta(0, reasoningContent={"text": "m"}),
            delta(0, reasoningContent={"signature": "c2ln"}), stop(0), delta(1, text="x"), stop(1),
        ],
    ),
    (
        [{"reasoningContent": {"redactedContent": "YWJj"}}],
        [
            delta(0, reasoningContent={"redactedContent": "YWI="}),
            delta(0, reasoningContent={"redactedContent": "Yw=="}), stop(0),
        ],
    ),
    (
        [{"citationsContent": {"content": [{"text": "It "}, {"text": "is."}], "citations": [CITATION]}}],
        [delta(0, text="It "), delta(0, text="is."), delta(0, citation=CITATION), stop(0)],
    ),
    (
        [{"image": {"format": "png", "source": {"bytes": "aGk="}}}],
        [start(0, image={"format": "png"}), delta(0, image={"source": {"bytes": "aGk="}}), stop(0)],
    ),
    (
        [
            {"toolUse": {"toolUseId": "s", "name": "code", "type": "server_tool_use", "input": {"x": 1}}},
            {"toolResult": {"toolUseId": "s", "status": "success", "content": [{"json": {"out": "1"}}, {"text": "y"}]}},
        ],
        [
            start(0, toolUse={"toolUseId": "s", "name": "code", "type": "server_tool_use"}),
            delta(0, toolUse={"input": '{"x"'}), delta(0, toolUse={"input": ":1}"}), stop(0),
            start(1, toolResult={"toolUseId": "s", "status": "success"}),
            delta(1, toolResult=[{"json": {"out": "1"}}]), delta(1, toolResult=[{"text": "y"}]), stop(1),
        ],
    ),
    ([{"novelty": {"a": "bc", "n": 1}}], [start(0, novelty={"n": 1}), delta(0, novelty={"a": "b"}),
                                          delta(0, novelty={"a": "c"}), stop(0)]),
]  # fmt: skip


@pytest.mark.parametrize(("blocks", "events"), SAME)
def test_a_streamed_answer_says_what_a_whole_one_does(blocks: list[Any], events: list[bytes]) -> None:
    expected = FORMAT.decode_response(whole(blocks))
    found = fold(heard([OPENED, *events, *ENDED]))
    assert meaning(found) == meaning(expected)
    assert msgspec.structs.replace(found, parts=()) == msgspec.structs.replace(expected, parts=())
    assert found.usage == Usage(3, 2)


def test_the_parts_of_an_answer() -> None:
    assert parts_of({"text": "Hello", "type": "text"}) == (Text("Hello"),)
    (cited,) = parts_of({"citationsContent": {"content": [{"text": "It is."}], "citations": [CITATION]}})
    assert isinstance(cited, Text)
    (citation,) = cited.citations
    assert (citation.url, citation.title, citation.quote) == ("https://a.example/b", "Doc", "so it is")
    assert (citation.start, citation.end) == (None, None)  # those are of the source
    assert citation.raw is not None
    assert json.loads(bytes(citation.raw.raw)) == CITATION
    web = {"location": {"web": {"url": "https://w.example", "domain": "w"}}}
    (found,) = parts_of({"citationsContent": {"content": [], "citations": [web]}})
    assert isinstance(found, Text)
    assert found.citations[0].url == "https://w.example"
    assert parts_of({"reasoningContent": {"reasoningText": {"text": "hm"}}}) == (
        Reasoning("hm", protocol="anthropic-messages"),
    )
    assert parts_of({"image": {"format": "jpeg", "source": {"bytes": "aGk="}}}) == (
        Media("image", "image/jpeg", data="aGk="),
    )


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("end_turn", "stop"), ("tool_use", "tool_use"), ("max_tokens", "length"), ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "content_filter"), ("content_filtered", "content_filter"),
        ("model_context_window_exceeded", "length"), ("malformed_tool_use", "stop"),
        ("malformed_model_output", "stop"), ("news", "stop"),
    ],
)  # fmt: skip
def test_reasons(told: str, reason: str) -> None:
    found = FORMAT.decode_response(whole([{"text": "x"}], stopReason=told))
    assert (found.finish_reason, found.raw_reason) == (reason, told)
    streamed = heard([delta(0, text="x"), event("messageStop", {"stopReason": told})])
    assert isinstance(streamed[0], Start)
    assert streamed[-1] == Finish(found.finish_reason, raw_reason=told)


def test_which_stop_sequence_it_was() -> None:
    fields = {"stop_sequence": "END"}
    told = whole([], stopReason="stop_sequence", additionalModelResponseFields=fields)
    assert FORMAT.decode_response(told).stop_sequence == "END"
    ending = {"stopReason": "stop_sequence", "additionalModelResponseFields": {"delta": fields}}
    found = heard([event("messageStop", ending)])[-1]
    assert isinstance(found, Finish)
    assert found.stop_sequence == "END"


def test_usage_of_the_cache_is_beside_the_input() -> None:
    told = {
        "inputTokens": 3, "outputTokens": 2, "totalTokens": 105, "cacheReadInputTokens": 40,
        "cacheWriteInputTokens": 60,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 20}, {"ttl": "1h", "inputTokens": 40}, 7, {"ttl": "1h"}],
    }  # fmt: skip
    expected = Usage(103, 2, cached_tokens=40, cache_write_tokens=60, cache_write_1h_tokens=40)
    assert FORMAT.decode_response(whole([], usage=told)).usage == expected
    assert FORMAT.decode_response(whole([], usage={"inputTokens": "x"})).usage is None
    decode = FORMAT.event_decoder()
    decode(event("metadata", {"usage": told}))
    assert decode.usage == expected  # which counts if the stream breaks off now


def test_metadata_before_the_stop_is_waited_with() -> None:
    found = heard([delta(0, text="x"), ENDED[1], ENDED[0]])
    assert [type(each).__name__ for each in found] == ["Start", "PartStart", "PartDelta", "PartEnd", "Finish"]
    assert isinstance(found[-1], Finish)
    assert found[-1].usage == Usage(3, 2)


def test_unknown_events_are_passed_over() -> None:
    found = heard([OPENED, event("news", {"a": 1}), event("news", [1]), delta(0, text="x"), *ENDED, delta(0, text="y")])
    assert fold(found).parts == (Text("x"),)


def test_a_stream_without_its_stop_was_cut_off() -> None:
    with pytest.raises(UpstreamBroken, match="cut off") as caught:
        heard([OPENED, delta(0, text="x"), stop(0)])
    assert caught.value.outcome_unknown
    with pytest.raises(UpstreamBroken, match="cut off"):
        heard([])


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttlingException", errors.RateLimited),
        ("validationException", errors.UpstreamRefused),
        ("internalServerException", errors.UpstreamBroken),
        ("modelStreamErrorException", errors.UpstreamBroken),
        ("modelTimeoutException", errors.UpstreamTimeout),
        ("serviceUnavailableException", errors.Overloaded),
        ("newsException", errors.UpstreamBroken),
    ],
)
def test_an_exception_within_a_stream(kind: str, error: type[UpstreamError]) -> None:
    with pytest.raises(error) as caught:
        heard([OPENED, delta(0, text="x"), event(kind, {"message": "no"}, "exception")])
    assert caught.value.upstream_code == kind


def test_an_error_within_a_stream() -> None:
    headers = [(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "no")]
    with pytest.raises(UpstreamBroken) as caught:
        heard([aws_eventstream.event(headers, b"")])
    assert caught.value.upstream_code == "InternalFailure"


@pytest.mark.parametrize(
    ("status", "body", "kind", "error"),
    [
        (429, {"message": "slow"}, "ThrottlingException:http://internal/", errors.RateLimited),
        (400, {"__type": "com.amazon.coral.service#ThrottlingException"}, "", errors.RateLimited),
        (400, {"message": "many"}, "ServiceQuotaExceededException", errors.RateLimited),
        (429, {"message": "cold"}, "ModelNotReadyException", errors.Overloaded),
        (403, {"Message": "no"}, "AccessDeniedException", errors.CredentialRejected),
        (400, {"__type": "UnrecognizedClientException"}, "", errors.CredentialRejected),
        (404, {"message": "?"}, "ResourceNotFoundException", errors.UpstreamModelNotFound),
        (400, {"message": "The provided model identifier is invalid."}, "", errors.UpstreamModelNotFound),
        (408, {"message": "?"}, "ModelTimeoutException", errors.UpstreamTimeout),
        (424, {"message": "?"}, "ModelErrorException", errors.UpstreamBroken),
        (424, {"originalStatusCode": 429}, "ModelErrorException", errors.RateLimited),
        (503, {}, "ServiceUnavailableException", errors.Overloaded),
        (500, {}, "InternalServerException", errors.UpstreamBroken),
        (400, {"message": "Output blocked by content filtering policy"}, "", errors.ContentPolicyViolation),
        (400, {"message": "bad"}, "ValidationException", errors.UpstreamRefused),
        (413, {}, "", errors.UpstreamTooLarge),
        (502, "<html>", "", errors.UpstreamBroken),
    ],
)
def test_errors(status: int, body: Any, kind: str, error: type[UpstreamError]) -> None:
    assert type(FORMAT.decode_error(status, msgspec.json.encode(body), {b"x-amzn-errortype": kind.encode()})) is error


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"output":{}}', b'{"output":{"message":{"content":[1]}}}', b"\xff"]
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        FORMAT.decode_response(body)


# ---- requests


def test_which_roles_it_has() -> None:
    assert is_outbound(FORMAT)
    assert not is_inbound(FORMAT)
    assert not is_wire(FORMAT)
    assert FORMAT.media_types == ("application/json", "application/vnd.amazon.eventstream")


def test_the_path_holds_the_model() -> None:
    assert FORMAT.path(NOVA, False) == "/model/amazon.nova-lite-v1%3A0/converse"
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"
    told = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx/converse-stream"
    assert FORMAT.path(arn, True) == told


def test_a_plain_request() -> None:
    request = Request(
        NOVA, (Message("system", (Text("Be brief."),)), Message("developer", (Text("Be kind."),)), USER),
        max_tokens=10, temperature=0.5, top_p=0.9, stop=("END",), stream=True, include_usage=True,
    )  # fmt: skip
    assert asked(request) == (
        {
            "system": [{"text": "Be brief."}, {"text": "Be kind."}],
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "inferenceConfig": {"maxTokens": 10, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        },
        (),
    )


def test_instructions_alone_are_said_as_the_users() -> None:
    body, _ = asked(Request(NOVA, (Message("system", (Text("a"),)), Message("system", (Text("b"),)))))
    assert (body["system"], body["messages"]) == ([{"text": "a"}], [{"role": "user", "content": [{"text": "b"}]}])


def test_turns_alternate_and_results_come_first() -> None:
    messages = (
        USER, Message("assistant", (Text("wait"), CALL)), Message("user", (Text("and?"),)),
        Message("tool", (RESULT,)), Message("assistant", (Text(" "),)), Message("user", (Text("so?"),)),
        Message("assistant", (Text("It is  "),)),
    )  # fmt: skip
    body, dropped = asked(Request(CLAUDE, messages, tools=(Tool("get"),)))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user", "assistant"]
    result = {"toolResult": {"toolUseId": "t1", "content": [{"text": "2"}]}}
    assert body["messages"][2]["content"] == [result, {"text": "and?"}, {"text": "so?"}]
    assert body["messages"][3]["content"] == [{"text": "It is"}]
    assert dropped == ()


def test_calls_and_results() -> None:
    long = "x" * 80
    assert content(ToolUse("a.b", "get", ""), role="assistant") == [
        {"toolUse": {"toolUseId": "a_b", "name": "get", "input": {}}}
    ]
    (use,) = content(ToolUse(long, "get"), role="assistant")
    (result,) = content(
        ToolResult(long, (Text("no"), Media("image", "image/png", data="aGk="), Text(" ")), is_error=True)
    )
    assert use["toolUse"]["toolUseId"] == result["toolResult"]["toolUseId"]
    assert len(use["toolUse"]["toolUseId"]) == 64
    assert result["toolResult"]["status"] == "error"
    assert result["toolResult"]["content"] == [
        {"text": "no"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}},
    ]  # fmt: skip
    with pytest.raises(InvalidRequest) as caught:
        content(ToolUse("a", "get", "[1]"), role="assistant")
    assert caught.value.param == "messages"


def test_ids_that_not_all_models_take() -> None:
    call = ToolUse("functions.get:0", "get")
    for model, id in ((CLAUDE, "functions_get_0"), ("moonshot.kimi-k2-thinking", "functions.get:0")):
        (block,) = content(call, role="assistant", model=model)
        assert block["toolUse"]["toolUseId"] == id


def test_cache_marks_become_cache_points() -> None:
    point = {"cachePoint": {"type": "default"}}
    hour = Raw(b'{"type":"ephemeral","ttl":"1h"}')
    body, dropped = asked(
        Request(
            CLAUDE,
            (
                Message("system", (Text("a", EPHEMERAL),)),
                Message("user", (Text("b", hour), Media("image", "image/png", data="aGk=", cache=EPHEMERAL))),
                Message("assistant", (msgspec.structs.replace(CALL, cache=EPHEMERAL),)),
                Message("tool", (ToolResult("t1", (Text("2", EPHEMERAL),)),)),
            ),
            tools=(Tool("get", cache=EPHEMERAL),),
        )
    )
    assert body["system"] == [{"text": "a"}, point]
    assert body["messages"][0]["content"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert [turn["content"][-1] for turn in body["messages"]] == [point] * 3
    assert body["toolConfig"]["tools"][1] == point
    assert dropped == ()


@pytest.mark.parametrize(
    ("model", "system", "tools", "dropped"),
    [
        (CLAUDE, 2, 2, ()), (NOVA, 2, 1, ("cache_control",)), (LLAMA, 1, 1, ("cache_control",)),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", 2, 2, ()),
    ],
)  # fmt: skip
def test_where_caches_are_not_marks_are_left_out(model: str, system: int, tools: int, dropped: tuple[str, ...]) -> None:
    messages = (Message("system", (Text("a", EPHEMERAL),)), USER)
    body, left = asked(Request(model, messages, tools=(Tool("get", cache=EPHEMERAL),)))
    assert (len(body["system"]), len(body["toolConfig"]["tools"]), left) == (system, tools, dropped)


def test_only_some_models_hold_arguments_to_their_schema() -> None:
    tools = (Tool("get", strict=True),)
    for model in (NOVA, LLAMA, "eu.anthropic.claude-3-7-sonnet-20250219-v1:0"):
        body, dropped = asked(Request(model, (USER,), tools=tools))
        assert "strict" not in body["toolConfig"]["tools"][0]["toolSpec"]
        assert dropped == ("strict",)


def test_thoughts_go_back_where_they_are_known() -> None:
    signed = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    assert content(Reasoning("hm", "c2ln", protocol=NAME), role="assistant", model=NOVA) == [signed]
    # Anthropic's signatures hold on all platforms.
    assert content(Reasoning("hm", "c2ln", protocol="anthropic-messages"), role="assistant") == [signed]
    hidden = Reasoning(encrypted="EuQFCkgI", protocol="anthropic-messages")
    data = b64encode(b"EuQFCkgI").decode()
    assert content(hidden, role="assistant") == [{"reasoningContent": {"redactedContent": data}}]
    own = msgspec.structs.replace(hidden, protocol=NAME)
    assert content(own, role="assistant") == [{"reasoningContent": {"redactedContent": "EuQFCkgI"}}]
    for foreign in (Reasoning("hm"), Reasoning("hm", protocol=NAME), Reasoning("hm", "c2ln", protocol="gemini")):
        body, dropped = asked(Request(CLAUDE, (USER, Message("assistant", (foreign, Text("so"))))))
        assert body["messages"][1]["content"] == [{"text": "so"}]
        assert dropped == ("reasoning",)
    body, dropped = asked(Request(NOVA, (USER, Message("assistant", (hidden,)))))
    assert (len(body["messages"]), dropped) == (1, ("reasoning",))


@pytest.mark.parametrize("model", [CLAUDE, "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"])
def test_claudes_proofs_hold_on_all_platforms(model: str) -> None:
    """And are told to no other model; a profile of the user's own may be Claude."""
    cipher = b64encode(b"EuQFCkgI").decode()
    blocks: list[Any] = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": cipher}},
    ]
    parts = parts_of(*blocks)
    assert content(*parts, role="assistant", model=model) == blocks
    assert content(*parts, Text("so"), role="assistant", model=LLAMA) == [{"text": "so"}]
    history = (USER, Message("assistant", (*parts, Text("so"))), USER)
    told = AnthropicMessages().encode_request(Request("claude", history), default_max_tokens=9)
    assert json.loads(told.body)["messages"][1]["content"][:2] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "EuQFCkgI"},
    ]


def test_what_only_this_format_knows_goes_back() -> None:
    blocks = [{"toolUse": {"toolUseId": "s", "name": "code", "type": "server_tool_use", "input": {}}}]
    cited = [{"citationsContent": {"content": [{"text": "It is."}], "citations": [CITATION]}}]
    for told in (blocks, cited):
        assert content(*parts_of(*told), role="assistant") == told
    guarded = {"guardContent": {"text": {"text": "x", "qualifiers": ["query"]}}}
    assert content(Opaque(NAME, raw(guarded))) == [guarded]
    foreign = Opaque("anthropic-messages", raw({"type": "web_search_tool_result"}))
    other = Text("x", citations=(Citation("https://a.example"),))
    asks = Request(NOVA, (Message("user", (other,)), Message("assistant", (foreign,)), Message("user", (other,))))
    assert asked(asks)[1] == ("citations", "web_search_tool_result")


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (Media("image", "image/jpg", data="/9j/"), {"image": {"format": "jpeg", "source": {"bytes": "/9j/"}}}),
        (Media("image", data="R0lGODlh"), {"image": {"format": "gif", "source": {"bytes": "R0lGODlh"}}}),
        (
            Media("document", "application/pdf", data="JVBE", name="a_b/c  [1].pdf"),
            {"document": {"format": "pdf", "name": "a b c [1] pdf", "source": {"bytes": "JVBE"}}},
        ),
        (
            Media("document", "text/plain", text="hi"),
            {"document": {"format": "txt", "name": "Document", "source": {"bytes": "aGk="}}},
        ),
        (
            Media("document", "text/markdown; charset=utf-8", data="aGk="),
            {"document": {"format": "md", "name": "Document", "source": {"bytes": "aGk="}}},
        ),
        (
            Media("document", data="aGk=", name="sums.xlsx"),
            {"document": {"format": "xlsx", "name": "sums xlsx", "source": {"bytes": "aGk="}}},
        ),
        (
            Media("video", "video/mp4", url="s3://bucket/film.mp4"),
            {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/film.mp4"}}}},
        ),
        (Media("video", "video/3gpp", data="aGk="), {"video": {"format": "three_gp", "source": {"bytes": "aGk="}}}),
        (Media("audio", "audio/mpeg", data="aGk="), {"audio": {"format": "mp3", "source": {"bytes": "aGk="}}}),
    ],
)
def test_media(media: Media, block: Any) -> None:
    assert content(media) == [block]


@pytest.mark.parametrize(
    "media",
    [
        Media("image", url="https://a.example/b.png"), Media("document", file_id="f"),
        Media("image", "image/tiff", data="aGk="), Media("document", "application/zip", data="aGk="),
        Media("video", "video/ogg", data="aGk="), Media("image"),
    ],
)  # fmt: skip
def test_media_that_cannot_be_said_are_refused(media: Media) -> None:
    with pytest.raises(InvalidRequest) as caught:
        content(media)
    assert caught.value.param == "messages"


def test_only_users_show_pictures() -> None:
    drawn = Message("assistant", (Text("Here."), Media("image", "image/png", data="AA==")))
    body, dropped = asked(Request(CLAUDE, (USER, drawn)))
    assert (body["messages"][1]["content"], dropped) == ([{"text": "Here."}], ("image",))


def test_no_two_documents_share_a_name() -> None:
    one, other = (
        Media("document", "text/plain", data="aGk="),
        Media("document", "text/plain", text="x", name="Document 2"),
    )
    names = [block["document"]["name"] for block in content(one, other, one, one)]
    assert names == ["Document", "Document 2", "Document 3", "Document 4"]
    assert len(set(names)) == 4


def test_how_a_document_shall_be_read() -> None:
    beside = Opaque("anthropic-messages", raw({"citations": {"enabled": True}, "context": "law"}))
    document = Media("document", "application/pdf", data="JVBE", extra=beside)
    body, dropped = asked(Request(CLAUDE, (Message("user", (document,)),)))
    told = body["messages"][0]["content"][0]["document"]
    assert (told["citations"], told["context"], dropped) == ({"enabled": True}, "law", ())


def tooled(choice: ToolChoice | None, *messages: Message, **more: Any) -> tuple[Any, tuple[str, ...]]:
    tools = (Tool("get", "Gets.", raw({"type": "object"}), strict=True), Tool("put", "", raw({"properties": {}})))
    body, dropped = asked(Request(CLAUDE, (USER, *messages), tools=tools, tool_choice=choice, **more))
    return body.get("toolConfig"), dropped


def test_tools() -> None:
    config, dropped = tooled(None)
    assert config == {
        "tools": [
            {"toolSpec": {"name": "get", "description": "Gets.", "inputSchema": {"json": {"type": "object"}},
                          "strict": True}},
            {"toolSpec": {"name": "put", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
        ]
    }  # fmt: skip
    assert dropped == ()
    assert tooled(ToolChoice("auto"))[0]["toolChoice"] == {"auto": {}}
    assert tooled(ToolChoice("required"))[0]["toolChoice"] == {"any": {}}
    assert tooled(ToolChoice("named", "get"))[0]["toolChoice"] == {"tool": {"name": "get"}}
    assert tooled(None, parallel_tool_calls=False)[1] == ("parallel_tool_calls",)
    assert tooled(None, parallel_tool_calls=True)[1] == ()
    own, foreign = Opaque(NAME, raw({"systemTool": {"name": "x"}})), Opaque("other", raw({"type": "web_search"}))
    body, dropped = asked(Request(NOVA, (USER,), tools=(own, foreign)))
    assert (body["toolConfig"]["tools"], dropped) == ([{"systemTool": {"name": "x"}}], ("web_search",))


def test_no_tools_is_told_by_having_none() -> None:
    assert tooled(ToolChoice("none")) == (None, ())
    called = (Message("assistant", (CALL,)), Message("tool", (RESULT,)))
    config, dropped = tooled(ToolChoice("none"), *called)
    assert len(config["tools"]) == 2
    assert "toolChoice" not in config
    assert dropped == ("tool_choice",)
    body, _ = asked(Request(CLAUDE, (USER, *called)))  # calls are taken only where tools are defined
    assert body["toolConfig"] == {"tools": [{"toolSpec": {"name": "get", "inputSchema": {"json": {"type": "object"}}}}]}


def test_what_only_some_models_take() -> None:
    def more(model: str, **settings: Any) -> tuple[Any, tuple[str, ...]]:
        body, dropped = asked(Request(model, (USER,), **settings))
        return body.get("additionalModelRequestFields"), dropped

    assert more(CLAUDE, top_k=5) == ({"top_k": 5}, ())
    assert more("eu." + NOVA, top_k=5) == ({"inferenceConfig": {"topK": 5}}, ())
    assert more(LLAMA, top_k=5, seed=1) == (None, ("seed", "top_k"))
    command = "arn:aws:bedrock:us-east-1::foundation-model/cohere.command-r-v1:0"
    assert more(command, top_k=5, seed=0, frequency_penalty=0.1) == ({"k": 5, "seed": 0, "frequency_penalty": 0.1}, ())
    assert more(CLAUDE, user="me", frequency_penalty=0.0, presence_penalty=1.0) == (None, ("presence_penalty", "user"))


def thought(model: str, wish: Thinking, *messages: Message, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    body, dropped = asked(Request(model, (USER, *messages), thinking=wish, **more))
    return {**body.get("additionalModelRequestFields", {}), **body.get("inferenceConfig", {})}, dropped


def test_thinking() -> None:
    budget = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    assert thought(CLAUDE, Thinking(budget_tokens=2000)) == (budget, ())
    told, dropped = thought(CLAUDE, Thinking(effort="low"), max_tokens=2000, temperature=0.5, top_p=0.5, top_k=3)
    assert told == {"thinking": {"type": "enabled", "budget_tokens": 1024}, "maxTokens": 2000}
    assert thought(CLAUDE, Thinking(effort="high"), max_tokens=100) == ({"maxTokens": 100}, ("thinking",))
    assert dropped == ("temperature", "top_k", "top_p")
    assert thought(CLAUDE, Thinking(enabled=False))[0] == {"thinking": {"type": "disabled"}}
    adaptive = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    assert thought(CLAUDE, Thinking(effort="high", adaptive=True)) == (adaptive, ())
    forced = {"tools": (Tool("get"),), "tool_choice": ToolChoice("required")}
    assert thought(CLAUDE, Thinking(effort="low"), **forced) == ({}, ("thinking",))
    called = (Message("assistant", (CALL,)), Message("tool", (RESULT,)))
    assert thought(CLAUDE, Thinking(effort="low"), *called) == ({}, ("thinking",))
    nova = "us.amazon.nova-2-lite-v1:0"
    medium = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}, "maxTokens": 9}
    assert thought(nova, Thinking(budget_tokens=5000), max_tokens=9) == (medium, ())
    high = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}
    assert thought(nova, Thinking(effort="high"), temperature=0.5) == (high, ("temperature",))
    assert thought(nova, Thinking(effort="high"), max_tokens=9) == (medium, ())  # all it can takes no limit
    assert thought("openai.gpt-oss-120b-1:0", Thinking(effort="low")) == ({"reasoning_effort": "low"}, ())
    assert thought(NOVA, Thinking(effort="low")) == ({}, ("thinking",))


def test_settings_that_bedrock_limits() -> None:
    body, dropped = asked(Request(NOVA, (USER,), temperature=1.7, service_tier="flex"))
    assert (body["inferenceConfig"], body["serviceTier"]) == ({"temperature": 1.0}, {"type": "flex"})
    assert dropped == ("temperature",)
    body, dropped = asked(Request(CLAUDE, (USER,), stop=("END", "\n"), service_tier="scale"))
    assert body["inferenceConfig"] == {"stopSequences": ["END"]}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence", "/delta/stop_sequence"]
    assert dropped == ("service_tier", "stop")


def test_the_shape_of_the_answer() -> None:
    shape = ResponseFormat("json_schema", "City", raw({"type": "object"}), strict=True, description="A city.")
    body, dropped = asked(Request(CLAUDE, (USER,), response_format=shape))
    structure = {"jsonSchema": {"schema": '{"type":"object"}', "name": "City", "description": "A city."}}
    assert body["outputConfig"] == {"textFormat": {"type": "json_schema", "structure": structure}}
    assert dropped == ()
    body, _ = asked(Request(CLAUDE, (USER,), response_format=ResponseFormat("json_object")))
    assert body["system"] == [{"text": "Answer with one JSON object and nothing else."}]


def test_fields_of_bedrocks_own_may_come_from_any_client() -> None:
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    extra = {
        "guardrailConfig": Opaque("openai-chat", raw(guardrail)),
        "performanceConfig": Opaque("openai-chat", raw({"latency": "optimized"})),
        "requestMetadata": Opaque("anthropic-messages", raw({"team": "a"})),
        "additionalModelRequestFields": Opaque("openai-chat", raw({"top_k": 7, "x": 1})),
        "logit_bias": Opaque("openai-chat", raw({"1": 2})),
    }
    body, dropped = asked(Request(CLAUDE, (USER,), extra=extra, top_k=5))
    assert (body["guardrailConfig"], body["requestMetadata"]) == (guardrail, {"team": "a"})
    assert body["performanceConfig"] == {"latency": "optimized"}
    assert body["additionalModelRequestFields"] == {"top_k": 7, "x": 1}
    assert dropped == ("logit_bias",)
    wrong = {"additionalModelRequestFields": Opaque("openai-chat", Raw(b"[1]"))}
    with pytest.raises(InvalidRequest) as caught:
        asked(Request(CLAUDE, (USER,), extra=wrong))
    assert caught.value.param == "additionalModelRequestFields"


def test_names_and_details_are_named() -> None:
    media = Media("image", "image/png", data="aGk=", detail="high")
    assert asked(Request(NOVA, (Message("user", (media,), name="me"),)))[1] == ("detail", "name")


def test_a_call_that_begins_without_an_id_is_told_as_any_other() -> None:
    begun = aws_eventstream.event(
        [(":event-type", "contentBlockStart"), (":message-type", "event")],
        b'{"start":{"toolUse":{"toolUseId":1,"toolUseId":"t","name":"get"}}}',
    )
    started, added, _ = [each for each in heard([begun, stop(0), *ENDED]) if not isinstance(each, Start | Finish)]
    assert started == PartStart(0, ToolUse("t", "get", ""))
    assert added == PartDelta(0, "{}")


# ---- anything


@given(st.lists(st.sampled_from(["text", "thought", "call", "stop"]), max_size=30), st.integers(0, 2))
def test_deltas_add_up_whatever_their_order(kinds: list[str], indices: int) -> None:
    random = Random(str(kinds))
    events, text = [], ""
    for kind in kinds:
        index = random.randint(0, indices)
        match kind:
            case "text":
                events.append(delta(index, text="ab"))
                text += "ab"
            case "thought":
                events.append(delta(index, reasoningContent={"text": "c"}))
            case "call":
                events.append(start(index, toolUse={"toolUseId": "t", "name": "n"}))
            case "stop":
                events.append(stop(index))
    found = heard([*events, *ENDED])
    assert "".join(part.text for part in fold(found).parts if isinstance(part, Text)) == text
    assert sum(isinstance(each, PartDelta) for each in found) <= len(events)
