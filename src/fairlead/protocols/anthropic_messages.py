"""Anthropic's messages. https://docs.anthropic.com/en/api/messages

The codecs stand in `codecs`: `anthropic_request` (from clients), `anthropic_asking` (to providers), `anthropic_answer`,
`anthropic_errors`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.chat import Reasoning, Request, Response, Text
from fairlead.errors import FairleadError, UpstreamError
from fairlead.protocols import (
    CONTENT,
    DONE,
    NO_HEADERS,
    Cutter,
    Encoded,
    Envelope,
    EventDecoder,
    EventEncoder,
    Summary,
    envelope,
    sse,
)
from fairlead.protocols.codecs import (
    anthropic_answer,
    anthropic_asking,
    anthropic_carried,
    anthropic_errors,
    anthropic_request,
    token_counts,
)
from fairlead.protocols.codecs.anthropic_answer import COUNTING
from fairlead.protocols.envelope import NULL

_KNOWN = frozenset(
    "model messages max_tokens stream system temperature top_p top_k tools tool_choice thinking metadata stop_sequences"
    " service_tier output_config container context_management mcp_servers"
    " provider models route transforms session_id trace".split()
)
_COUNTED = frozenset(
    "model messages system tools tool_choice thinking cache_control output_config context_management"
    " mcp_servers".split()
)
_encode = msgspec.json.encode


class AnthropicMessages:
    """The format of `/messages`: a `ChatProtocol`."""

    name = anthropic_request.NAME
    media_types = ("application/json", "text/event-stream")

    def path(self, model: str, stream: bool) -> str:
        return "/messages"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    # ---- the same format: look, do not translate

    def peek(self, body: bytes) -> Envelope:
        fields = envelope.split(body, _KNOWN)
        messages = envelope.messages(fields)
        taken = Envelope(
            fields=fields,
            messages=len(messages),
            model=envelope.read(fields, "model", str),
            stream=envelope.read(fields, "stream", bool) or False,
            max_tokens=envelope.read(fields, "max_tokens", int),
            include_usage=True,
        )
        for message in messages:
            if message.role == "assistant" and anthropic_carried.carries(message.content):
                taken.carries = True
        return taken

    def characters(self, taken: Envelope) -> int:
        return sum(envelope.characters(taken.fields[name]) for name in ("system", "messages") if name in taken.fields)

    def patch(
        self, taken: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        fields = taken.fields.copy()
        for name in drop.intersection(fields):
            del fields[name]
        fields["model"] = Raw(_encode(model))
        if taken.carries:
            fields["messages"] = anthropic_carried.without(fields["messages"])
        if taken.max_tokens is None:
            fields["max_tokens"] = Raw(b"%d" % default_max_tokens)
        return envelope.join(fields)

    def summary(self, body: bytes) -> Summary:
        message = anthropic_answer.understood(body)
        return Summary(message.id, message.model, COUNTING.usage(message.usage), message.stop_reason)

    def stream_reader(self) -> "StreamReader":
        return StreamReader()

    def dress(self, body: bytes) -> bytes:
        return body

    # ---- translation

    def decode_request(self, body: bytes, *, taken: Envelope | None = None) -> Request:
        return anthropic_request.decode(envelope.split(body, _KNOWN) if taken is None else taken.fields, body)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return anthropic_asking.encode(request, default_max_tokens)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return anthropic_answer.decode(body)

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return anthropic_answer.encode(response)

    def event_decoder(self) -> EventDecoder:
        return anthropic_answer.Decoder()

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return anthropic_answer.Encoder()

    # ---- tokens that are only counted: https://docs.claude.com/en/api/messages-count-tokens

    def count_path(self, model: str) -> str:
        return "/messages/count_tokens"

    def peek_count(self, body: bytes) -> Envelope:
        return self.peek(body)

    def decode_count(self, body: bytes) -> Request:
        return self.decode_request(body)

    def encode_count(self, tokens: int) -> bytes:
        return _encode({"input_tokens": tokens})

    def patch_count(self, body: bytes, model: str, *, drop: frozenset[str]) -> bytes:
        return token_counts.patched(body, model, drop)

    def encode_count_request(self, request: Request) -> bytes:
        return _encode(token_counts.only(self.encode_request(request, default_max_tokens=1).body, _COUNTED))

    def decode_counted(self, body: bytes) -> int:
        return token_counts.counted(body, "input_tokens")

    # ---- errors

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return anthropic_errors.decode(status, body)

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode(anthropic_errors.encode(error))

    def encode_error_event(self, error: FairleadError) -> bytes:
        return sse.event(self.encode_error(error), b"error")


_DELTA = b"event: content_block_delta\ndata: {"


class StreamReader:
    """Reads along. An ordinary delta is known by its first line, and never decoded."""

    __slots__ = ("_committed", "_usage", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self._usage: Any = None  # as it was told
        self._committed = False

    def ordinary(self, event: bytes) -> bool:
        return self._committed and event.startswith(_DELTA) and sse.ends_with_line(event, len(_DELTA))

    def see(self, event: bytes) -> int:
        if self._committed and event.startswith(b"event: content_block_delta\n") and event.endswith(b"}\n\n"):
            return 0
        payload = sse.data(event)
        return self._look(anthropic_answer.understood_event(payload)) if payload else 0

    def _look(self, event: anthropic_answer.StreamEvent) -> int:
        if event.usage is not NULL:
            self._note(event.usage)
        match event.type:
            case "message_start":
                message = event.message or anthropic_answer.Message()
                self.summary.id, self.summary.model = message.id, message.model
                self._note(message.usage)
                return 0
            case "content_block_start":
                return self._commit(_has_content(event.content_block))
            case "content_block_delta":
                delta = event.delta
                return self._commit(delta is None or (delta.text != "" and delta.thinking != ""))
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    self.summary.finish_reason = event.delta.stop_reason
                    return self._commit(True)
            case "message_stop":
                return DONE
        return 0

    def _note(self, usage: Raw) -> None:
        self._usage = COUNTING.told(usage, self._usage)
        self.summary.usage = COUNTING.words(self._usage)

    def _commit(self, content: bool) -> int:
        if not content:
            return 0
        self._committed = True
        return CONTENT


def _has_content(block: Raw) -> bool:
    """A text or a thought begins empty; anything else is content by its mere beginning."""
    match anthropic_answer.part(block):
        case Text(text=text) | Reasoning(text=text, encrypted=None):
            return bool(text)
    return True
