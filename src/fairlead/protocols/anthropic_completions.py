"""Anthropic's older completions, whose prompt is a conversation. https://docs.claude.com/en/api/complete

The codec stands in `codecs`: `anthropic_texts`, with `prompts` and, as of the messages, `anthropic_errors`.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from fairlead.chat import Request, Response
from fairlead.errors import FairleadError, InvalidRequest, UpstreamError
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
from fairlead.protocols.codecs import anthropic_errors, anthropic_texts

_KNOWN = frozenset(
    "model prompt max_tokens_to_sample stream temperature top_p top_k stop_sequences metadata"
    " provider models route transforms session_id trace".split()
)
_encode = msgspec.json.encode


class AnthropicCompletions:
    """The format of `/complete`: a `ChatProtocol`."""

    name = anthropic_texts.NAME
    media_types = ("application/json", "text/event-stream")
    takes_prompts = True

    def path(self, model: str, stream: bool) -> str:
        return "/complete"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    # ---- the same format: look, do not translate

    def peek(self, body: bytes) -> Envelope:
        fields = envelope.split(body, _KNOWN)
        if envelope.read(fields, "prompt", str) is None:
            raise InvalidRequest("'prompt' is missing: it must be a string.", param="prompt")
        return Envelope(
            fields=fields,
            model=envelope.read(fields, "model", str),
            stream=envelope.read(fields, "stream", bool) or False,
            max_tokens=envelope.read(fields, "max_tokens_to_sample", int),
            messages=0,
            include_usage=True,
        )

    def characters(self, taken: Envelope) -> int:
        return envelope.characters(taken.fields["prompt"])

    def patch(
        self, taken: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        fields = taken.fields.copy()
        for name in drop.intersection(fields):
            del fields[name]
        fields["model"] = Raw(_encode(model))
        if taken.max_tokens is None:
            fields["max_tokens_to_sample"] = Raw(b"%d" % default_max_tokens)
        return envelope.join(fields)

    def summary(self, body: bytes) -> Summary:
        told = anthropic_texts.answer(body)
        return Summary(told.id, told.model, None, told.stop_reason)

    def stream_reader(self) -> "StreamReader":
        return StreamReader()

    def dress(self, body: bytes) -> bytes:
        return body

    # ---- translation

    def decode_request(self, body: bytes, *, taken: Envelope | None = None) -> Request:
        return anthropic_texts.decode_request(envelope.split(body, _KNOWN) if taken is None else taken.fields, body)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return anthropic_texts.encode_request(request, default_max_tokens)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return anthropic_texts.decode(body)

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return anthropic_texts.encode(response)

    def event_decoder(self) -> EventDecoder:
        return anthropic_texts.Decoder()

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return anthropic_texts.Encoder()

    # ---- errors

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return anthropic_errors.decode(status, body)

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode(anthropic_errors.encode(error))

    def encode_error_event(self, error: FairleadError) -> bytes:
        return sse.event(self.encode_error(error), b"error")


class StreamReader:
    """Reads along. An ordinary event is known by its first line and by the reason that it does not tell."""

    __slots__ = ("_committed", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self._committed = False

    def ordinary(self, event: bytes) -> bool:
        return False  # each has to be looked at

    def see(self, event: bytes) -> int:
        if (
            self._committed
            and event.startswith(b"event: completion\n")
            and event.endswith(b"}\n\n")
            # No text can look like it: its quotes are escaped.
            and (event.rfind(b'"stop_reason":null') >= 0 or event.rfind(b'"stop_reason": null') >= 0)
        ):
            return 0
        payload = sse.data(event)
        return self._look(anthropic_texts.understood(payload, "an event")) if payload else 0

    def _look(self, told: anthropic_texts.Told) -> int:
        if told.type != "completion":
            return 0
        self.summary.id, self.summary.model = told.id or self.summary.id, told.model or self.summary.model
        if told.stop_reason:
            self.summary.finish_reason = told.stop_reason
            return CONTENT | DONE
        if not told.completion or self._committed:
            return 0
        self._committed = True
        return CONTENT
