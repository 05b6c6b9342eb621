"""AWS Bedrock's InvokeModel: each family of models in its own format. What providers speak, not clients.

A request is told by its model's id, an answer is known by its shape. Streams are `aws_eventstream`, whose chunks wrap
JSON as base64. Requests are signed elsewhere.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct, field, structs

from fairlead.chat import Event, Finish, Media, Request, Response, ToolResult, Usage
from fairlead.errors import InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import NO_HEADERS, Cutter, Encoded, EventDecoder, aws_eventstream, sse
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.aws_eventstream import MEDIA_TYPE, EventCutter
from fairlead.protocols.codecs import (
    bedrock_answer,
    bedrock_errors,
    bedrock_request,
    bedrock_stream,
    bedrock_texts,
    prompts,
)
from fairlead.protocols.codecs.bedrock_models import bare
from fairlead.protocols.codecs.bedrock_usage import INVOKE
from fairlead.protocols.codecs.wording import is_of_the_web, refused
from fairlead.protocols.cohere_chat_v1 import CohereChatV1
from fairlead.protocols.envelope import NULL, any_value
from fairlead.protocols.openai_chat import OpenAIChat

NAME = "bedrock-invoke"
_ANTHROPIC, _OPENAI, _COHERE = AnthropicMessages(), OpenAIChat(), CohereChatV1()
_METRICS = "amazon-bedrock-invocationMetrics"
_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, Raw])


class BedrockInvoke:
    """The format of `/model/{id}/invoke`: an `Outbound`."""

    name = NAME
    media_types = ("application/json", MEDIA_TYPE)

    def path(self, model: str, stream: bool) -> str:
        """Model ids hold colons, those of profiles slashes: they are percent-encoded, whole."""
        return f"/model/{quote(model, safe='')}/{'invoke-with-response-stream' if stream else 'invoke'}"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return EventCutter(max_event_bytes)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        """Raises InvalidRequest with `param` "model" where the id does not say whose format it is."""
        encode = _family(request.model)
        if encode is not None:
            return encode(request, default_max_tokens)
        told = (
            f"The format of the model {request.model[:200]!r} is not known, if it chats at all; "
            "the protocol 'bedrock-converse' is the same for all models."
        )
        raise InvalidRequest(told, param="model")

    def wants_bytes(self, media: Media, model: str) -> bool:
        """All, of models that see any: there is nobody on Bedrock who fetches."""
        return is_of_the_web(media) and _family(model) in (_messages, _nova, _chat)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        response = self._decoded(body)
        return response if response.usage is not None else structs.replace(response, usage=header_usage(headers))

    def _decoded(self, body: bytes) -> Response:
        try:
            shape = _fields.decode(body)
        except msgspec.ValidationError:
            raise UpstreamBroken("its answer is not an object") from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise UpstreamBroken("its answer is not JSON") from None
        if "output" in shape:
            return bedrock_answer.decode(body)
        if "content" in shape or bytes(shape.get("type", b"")) == b'"error"':
            return _ANTHROPIC.decode_response(body)
        if "choices" in shape and not _has_texts(shape["choices"]):
            return _OPENAI.decode_response(_respelt(body))
        if not _COMMAND_R.isdisjoint(shape):
            return _COHERE.decode_response(body)
        return bedrock_texts.decode(body)

    def event_decoder(self) -> EventDecoder:
        return Decoder()

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return bedrock_errors.decode(status, body, headers)


_COMMAND_R = frozenset({"response_id", "generation_id", "chat_history", "tool_calls"})


def header_usage(headers: Mapping[bytes, bytes]) -> Usage | None:
    """What the headers of a whole answer say, which for some models is said nowhere else."""
    names = {
        "inputTokenCount": "input", "outputTokenCount": "output", "cacheReadInputTokenCount": "cache-read-input",
        "cacheWriteInputTokenCount": "cache-write-input",
    }  # fmt: skip
    found = {name: headers.get(b"x-amzn-bedrock-%b-token-count" % part.encode()) for name, part in names.items()}
    return INVOKE.usage(Raw(_encode({name: value and value.decode("latin-1") for name, value in found.items()})))


# ---- requests


def _messages(request: Request, default_max_tokens: int) -> Encoded:
    """Anthropic's messages, without what stands in the path, and with the version in the body.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
    """
    _check_media(request)
    dropped = {"service_tier"} if request.service_tier not in (None, "auto") else set()
    request = structs.replace(request, stream=False, service_tier=None)
    fields, unsaid = _delegated(_ANTHROPIC.encode_request(request, default_max_tokens=default_max_tokens))
    fields["anthropic_version"] = Raw(b'"bedrock-2023-05-31"')
    return Encoded(_encode(fields), tuple(sorted(dropped | unsaid)))


def _chat(request: Request, default_max_tokens: int) -> Encoded:
    """OpenAI's chat completions, which most open models take.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-chat-completion.html
    """
    request = structs.replace(request, stream=False)
    fields, unsaid = _delegated(_OPENAI.encode_request(request, default_max_tokens=default_max_tokens))
    return Encoded(_encode(fields), tuple(sorted(unsaid)))


def _delegated(encoded: Encoded) -> tuple[dict[str, Raw], set[str]]:
    """The fields of a body without what stands in the path, and what it could not say."""
    fields = _fields.decode(encoded.body)
    for name in ("model", "stream", "stream_options"):
        fields.pop(name, None)
    return fields, set(encoded.dropped)


def _check_media(request: Request) -> None:
    """Files and addresses are Anthropic's own: on Bedrock, content stands in the request.

    https://docs.anthropic.com/en/docs/build-with-claude/vision
    """
    for message in request.messages:
        for part in message.parts:
            for piece in (part, *(part.content if isinstance(part, ToolResult) else ())):
                if isinstance(piece, Media) and piece.data is None and piece.text is None:
                    raise refused(piece, "files as data")


def _nova(request: Request, default_max_tokens: int) -> Encoded:
    """Almost Converse; what is one model's own stands among the settings.

    https://docs.aws.amazon.com/nova/latest/nova2-userguide/using-invoke-api.html
    """
    return bedrock_request.encode_nova(request)


def _prompted(family: prompts.Prompted) -> Callable[[Request, int], Encoded]:
    def encode(request: Request, default_max_tokens: int) -> Encoded:
        body, dropped = prompts.spelt(request, family, NAME, default_max_tokens)
        return Encoded(_encode(body), tuple(sorted(dropped)))

    return encode


def _command_r(request: Request, default_max_tokens: int) -> Encoded:
    """Cohere's chat as it was before version 2.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command-r-plus.html
    """
    request = structs.replace(request, stream=False)
    fields, unsaid = _delegated(_COHERE.encode_request(request, default_max_tokens=default_max_tokens))
    return Encoded(_encode(fields), tuple(sorted(unsaid)))


_MISTRAL_TEXT = _prompted(prompts.MISTRAL)
# The first prefix that fits counts. https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
_FAMILIES: dict[str, Callable[[Request, int], Encoded]] = {
    "anthropic.claude-v": _prompted(prompts.CLAUDE),
    "anthropic.claude-instant": _prompted(prompts.CLAUDE),
    "anthropic.": _messages,
    "amazon.nova": _nova,
    "amazon.titan-text": _prompted(prompts.TITAN),
    "amazon.titan-tg": _prompted(prompts.TITAN),
    "meta.llama2": _prompted(prompts.LLAMA2),
    "meta.llama4": _prompted(prompts.LLAMA4),
    "meta.llama": _prompted(prompts.LLAMA3),
    "cohere.command-r": _command_r,
    "cohere.command": _prompted(prompts.COMMAND),
    "mistral.mistral-7b": _MISTRAL_TEXT,
    "mistral.mixtral": _MISTRAL_TEXT,
    "mistral.mistral-large-2402": _MISTRAL_TEXT,
    "mistral.mistral-small-2402": _MISTRAL_TEXT,
    **dict.fromkeys(
        "mistral. openai. qwen. deepseek.v ai21.jamba minimax. moonshot zai. google.gemma nvidia. writer.".split(),
        _chat,
    ),
}


def _family(model: str) -> Callable[[Request, int], Encoded] | None:
    """What spells requests for `model`; None if nobody knows."""
    id = bare(model)
    return next((encode for prefix, encode in _FAMILIES.items() if id.startswith(prefix)), None)


# ---- answers


class _Choice(Struct):
    text: str | None = None


_choices = msgspec.json.Decoder(list[_Choice])


def _has_texts(choices: Raw) -> bool:
    """Whether choices are texts (DeepSeek R1's are), not messages."""
    try:
        return any(choice.text is not None for choice in _choices.decode(choices))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False


def _respelt(payload: bytes) -> bytes:
    """A chat completion whose reason is called as OpenAI's is: Mistral says `stop_reason`."""
    if b'"stop_reason"' not in payload:
        return payload
    told = any_value(payload)
    choices = told.get("choices") if isinstance(told, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("finish_reason") is None:
            choice["finish_reason"] = choice.get("stop_reason")
    try:
        return payload if told is None else _encode(told)
    except OverflowError:  # an integer that only Python holds
        return payload


class _Frame(Struct):
    """The payload of a chunk."""

    bytes: str | None = None


class _Metered(Struct):
    """A chunk's JSON, as far as Bedrock itself adds to it."""

    metrics: Raw = field(default=NULL, name=_METRICS)


_frame = msgspec.json.Decoder(_Frame)
_metered = msgspec.json.Decoder(_Metered)


class Decoder:
    """Messages of an event stream → our events. The first chunk tells which of the formats it is.

    Usage of the last chunk's metrics counts where the format itself tells none.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.held = 0
        self._inner: _Inner | None = None
        self._metrics: Usage | None = None

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one raw message tells; b"" is the end of the stream."""
        if not event:
            if self._inner is None:
                raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
            return self._tell(self._inner, b"")
        message = aws_eventstream.message(event)
        if message.text(":message-type") in ("exception", "error"):
            raise bedrock_errors.from_stream(message)
        payload = _unwrapped(message.payload) if message.text(":event-type") == "chunk" else b""
        if not payload:
            return []
        if self._inner is None:
            self._inner = _inner(payload)
        if _METRICS.encode() in payload:
            self._note(payload)
        return self._tell(self._inner, payload)

    def _tell(self, inner: "_Inner", payload: bytes) -> list[Event]:
        events = inner(payload)
        self.usage, self.held = inner.usage or self._metrics, inner.held
        return [
            structs.replace(event, usage=self.usage) if isinstance(event, Finish) and event.usage is None else event
            for event in events
        ]

    def _note(self, payload: bytes) -> None:
        try:
            metrics = _metered.decode(payload).metrics
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return
        self._metrics = INVOKE.usage(metrics) or self._metrics


class _Inner(Protocol):
    """What decodes the JSON of chunks; b"" is the end of the stream."""

    usage: Usage | None
    held: int

    def __call__(self, payload: bytes) -> list[Event]: ...


class _Lines:
    """A format whose streams are lines elsewhere."""

    def __init__(self, decoder: EventDecoder, *, framed: bool = True) -> None:
        """`framed`: they are server-sent events elsewhere, not lines."""
        self._decoder = decoder
        self._framed = framed
        self.usage: Usage | None = None
        self.held = 0

    def __call__(self, payload: bytes) -> list[Event]:
        line = _respelt(payload).replace(b"\r", b" ").replace(b"\n", b" ")  # between JSON's signs, or it is none
        events = self._decoder(sse.event(line) if self._framed and payload else line)
        self.usage, self.held = self._decoder.usage, self._decoder.held
        return events


class _Nova:
    """Converse's events, each an object whose one member is named as the event."""

    def __init__(self) -> None:
        self._decoder = bedrock_stream.Decoder()
        self.usage: Usage | None = None
        self.held = 0

    def __call__(self, payload: bytes) -> list[Event]:
        events = self._told(payload) if payload else self._decoder(b"")
        self.usage, self.held = self._decoder.usage, self._decoder.held
        return events

    def _told(self, payload: bytes) -> list[Event]:
        try:
            members = _fields.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise UpstreamBroken("an event is not one of a conversation") from None
        return [event for name, raw in members.items() for event in self._decoder.tell(name, raw)]


_CONVERSE = frozenset("messageStart contentBlockStart contentBlockDelta contentBlockStop messageStop metadata".split())


def _inner(payload: bytes) -> _Inner:
    """The decoder for a stream that begins with `payload`."""
    try:
        shape = _fields.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken("a chunk of its answer is not a JSON object") from None
    if not _CONVERSE.isdisjoint(shape):
        return _Nova()
    if "event_type" in shape:
        return _Lines(_COHERE.event_decoder(), framed=False)
    if "choices" in shape and not _has_texts(shape["choices"]):
        return _Lines(_OPENAI.event_decoder())
    if "type" in shape and "completion" not in shape:
        return _Lines(_ANTHROPIC.event_decoder())
    return bedrock_texts.Decoder()


def _unwrapped(payload: bytes) -> bytes:
    try:
        told = _frame.decode(payload).bytes
        return b64decode(told or "", validate=True)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        raise UpstreamBroken("a chunk of its answer is not base64 of JSON") from None
