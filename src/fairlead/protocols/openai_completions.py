"""OpenAI's older completions. A prompt is what a user says; a conversation becomes one prompt.

https://platform.openai.com/docs/api-reference/completions. The codecs stand in `codecs`: `completions_request` (from
clients), `completions_asking` (to providers), `completions_answer`, `prompts`.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from fairlead.chat import Request, Response
from fairlead.errors import FairleadError, InvalidRequest, UpstreamError
from fairlead.protocols import (
    NO_HEADERS,
    Cutter,
    Encoded,
    Envelope,
    EventDecoder,
    EventEncoder,
    Summary,
    envelope,
    openai_chat,
    sse,
)
from fairlead.protocols.codecs import completions_answer, completions_asking, completions_request

_KNOWN = frozenset(
    "model prompt stream stream_options max_tokens temperature top_p n stop seed user frequency_penalty"
    " presence_penalty logit_bias logprobs echo suffix best_of"
    " provider models route transforms session_id trace".split()
)


class OpenAICompletions:
    """The format of `/completions`: a `ChatProtocol`."""

    name = completions_request.NAME
    media_types = ("application/json", "text/event-stream")
    takes_prompts = True

    def __init__(self) -> None:
        self._chat = openai_chat.OpenAIChat()

    def path(self, model: str, stream: bool) -> str:
        return "/completions"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    def peek(self, body: bytes) -> Envelope:
        fields = envelope.split(body, _KNOWN)
        _check_prompt(fields.get("prompt"))
        return Envelope(
            fields=fields,
            model=envelope.read(fields, "model", str),
            stream=envelope.read(fields, "stream", bool) or False,
            max_tokens=envelope.read(fields, "max_tokens", int),
            messages=0,
            include_usage=openai_chat.asks_for_usage(fields),
        )

    def characters(self, taken: Envelope) -> int:
        return envelope.characters(taken.fields["prompt"])

    def patch(
        self, taken: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        return openai_chat.patched(taken, model, drop, ask_usage)

    def summary(self, body: bytes) -> Summary:
        return openai_chat.summary(body)

    def stream_reader(self) -> openai_chat.StreamReader:
        return openai_chat.StreamReader()

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return self._chat.decode_error(status, body)

    def encode_error(self, error: FairleadError) -> bytes:
        return self._chat.encode_error(error)

    def encode_error_event(self, error: FairleadError) -> bytes:
        return self._chat.encode_error_event(error)

    def dress(self, body: bytes) -> bytes:
        return body

    # ---- translation

    def decode_request(self, body: bytes, *, taken: Envelope | None = None) -> Request:
        fields = envelope.split(body, _KNOWN) if taken is None else taken.fields
        _check_prompt(fields.get("prompt"))
        return completions_request.decode(fields, body)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return completions_asking.encode(request, default_max_tokens)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return completions_answer.decode(body)

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return completions_answer.encode(response)

    def event_decoder(self) -> EventDecoder:
        return completions_answer.Decoder()

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return completions_answer.Encoder(include_usage=include_usage)


_prompt = msgspec.json.Decoder(str | list[str | int | list[int]])


def _check_prompt(raw: Raw | None) -> None:
    """A string, strings, tokens, or arrays of tokens."""
    if raw is None or bytes(raw) == b"null":
        raise InvalidRequest("'prompt' is missing: it must be a string or an array.", param="prompt")
    try:
        _prompt.decode(raw)
    except msgspec.ValidationError as error:
        raise envelope.invalid(error, "prompt") from None
