"""OpenAI's Responses API, as OpenAI and those compatible with it speak it.

https://platform.openai.com/docs/api-reference/responses. The codecs stand in `codecs`: `responses_items` (what
conversations are made of), `responses_request` (from clients), `responses_asking` (to providers), `responses_answer`
and `responses_stream` (from providers), `responses_telling` (to clients), `responses_errors`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Request, Response
from fairlead.errors import FairleadError, InvalidRequest, UpstreamBroken, UpstreamError
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
    openai_errors,
    responses_answer,
    responses_asking,
    responses_carried,
    responses_request,
    responses_stream,
    responses_telling,
    token_counts,
)
from fairlead.protocols.codecs import responses_items as items
from fairlead.protocols.counting import latest

_KNOWN = frozenset(
    "model input stream stream_options instructions max_output_tokens temperature top_p top_logprobs tools tool_choice"
    " parallel_tool_calls max_tool_calls text reasoning truncation metadata store previous_response_id conversation"
    " include service_tier user safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options"
    " background prompt context_management moderation"
    " provider models route transforms session_id trace".split()
)
_COUNTED = frozenset(
    "model input instructions conversation previous_response_id parallel_tool_calls reasoning text tools tool_choice"
    " truncation".split()
)
_ELSEWHERE = ("prompt", "previous_response_id", "conversation")  # where the conversation may be instead
_encode = msgspec.json.encode
_items = msgspec.json.Decoder(list[dict[str, Raw]])


class OpenAIResponses:
    """The format of `/responses`: a `ChatProtocol`."""

    name = responses_carried.NAME
    keeps_answers = True
    media_types = ("application/json", "text/event-stream")

    def path(self, model: str, stream: bool) -> str:
        return "/responses"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    # ---- the same format: look, do not translate

    def peek(self, body: bytes) -> Envelope:
        fields = envelope.split(body, _KNOWN)
        return Envelope(
            fields=fields,
            messages=_count(fields),
            model=envelope.read(fields, "model", str),
            stream=envelope.read(fields, "stream", bool) or False,
            max_tokens=envelope.read(fields, "max_output_tokens", int),
            include_usage=True,
            continues=envelope.read(fields, "previous_response_id", str),
        )

    def characters(self, taken: Envelope) -> int:
        told = (taken.fields[name] for name in ("instructions", "input") if name in taken.fields)
        try:
            return sum(_counted(msgspec.json.decode(raw)) for raw in told)
        except RecursionError:
            raise InvalidRequest("'input' is nested too deeply.", param="input") from None
        except msgspec.ValidationError as error:  # a number that nothing can hold
            raise envelope.invalid(error, "input") from None

    def patch(
        self, taken: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        fields = taken.fields.copy()
        for name in drop.intersection(fields):
            del fields[name]
        fields["model"] = Raw(_encode(model))
        if "input" in fields:
            fields["input"] = responses_carried.without(fields["input"])
        return envelope.join(fields)

    def summary(self, body: bytes) -> Summary:
        answer = responses_answer.understood(body)
        if answer.output is None:
            raise UpstreamBroken("its answer has no output")
        return Summary(answer.id, answer.model, responses_answer.usage_of(answer.usage), responses_answer.spelt(answer))

    def stream_reader(self) -> "StreamReader":
        return StreamReader()

    def dress(self, body: bytes) -> bytes:
        return body

    # ---- translation

    def decode_request(self, body: bytes, *, taken: Envelope | None = None) -> Request:
        return responses_request.decode(envelope.split(body, _KNOWN) if taken is None else taken.fields, body)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return responses_asking.encode(request)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return responses_answer.decode(body)

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return responses_telling.encode(response, request)

    def event_decoder(self) -> EventDecoder:
        return responses_stream.Decoder()

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return responses_telling.Encoder(request)

    # ---- tokens that are only counted: https://platform.openai.com/docs/api-reference/responses/input-tokens

    def count_path(self, model: str) -> str:
        return "/responses/input_tokens"

    def peek_count(self, body: bytes) -> Envelope:
        return self.peek(body)

    def decode_count(self, body: bytes) -> Request:
        return self.decode_request(body)

    def encode_count(self, tokens: int) -> bytes:
        return _encode({"object": "response.input_tokens", "input_tokens": tokens})

    def patch_count(self, body: bytes, model: str, *, drop: frozenset[str]) -> bytes:
        return token_counts.patched(body, model, drop)

    def encode_count_request(self, request: Request) -> bytes:
        return _encode(token_counts.only(self.encode_request(request, default_max_tokens=1).body, _COUNTED))

    def decode_counted(self, body: bytes) -> int:
        return token_counts.counted(body, "input_tokens")

    # ---- errors

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return openai_errors.decode(status, body)

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode({"error": openai_errors.encode(error)})

    def encode_error_event(self, error: FairleadError) -> bytes:
        return responses_telling.error_events(error)


def _count(fields: dict[str, Raw]) -> int:
    """How many items the input has; a text is one. Raises InvalidRequest if it is neither, or missing."""
    raw = fields.get("input", Raw(b"null"))
    match items.first(raw):
        case b'"':
            return 1
        case b"[":
            found: list[dict[str, Raw]] = envelope.typed(raw, _items, "input")
            return len(found)
        case b"n":
            if any(bytes(fields.get(name, b"null")) != b"null" for name in _ELSEWHERE):
                return 0
            raise InvalidRequest("'input' is missing: it must be a string or an array.", param="input")
    raise InvalidRequest("'input' must be a string or an array.", param="input")


_NOT_TEXT = frozenset(
    "type role id call_id status data image_url file_data file_url file_id encrypted_content result format".split()
)


def _counted(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_counted, value))
    if isinstance(value, dict):
        return sum(_counted(item) for key, item in value.items() if key not in _NOT_TEXT) + _sealed(value)
    return 0


def _sealed(item: dict[str, Any]) -> int:
    """What an item carries for other formats may be text that reaches them."""
    told = item.get("encrypted_content")
    return len(told) if isinstance(told, str) and responses_carried.is_carried(told) else 0


# ---- reading along


class _Item(Struct):
    type: str | None = None


_item = msgspec.json.Decoder(_Item)
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_OPENS = frozenset({"response.created", "response.queued", "response.in_progress"})


class StreamReader:
    """Reads along. An ordinary delta is known by its first line, and never decoded."""

    __slots__ = ("_committed", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self._committed = False

    def ordinary(self, event: bytes) -> bool:
        if not self._committed or not event.startswith(b"event: response."):
            return False
        line = event.find(b"\n")
        return event.endswith(b".delta", 0, line) and sse.ends_with_line(event, line + 1)

    def see(self, event: bytes) -> int:
        """Flags of `event`; an ordinary delta after the first has none. Raises UpstreamError if it tells an error."""
        if self._committed and event.startswith(b"event: response.") and event.endswith(b"}\n\n"):
            line = event[: event.find(b"\n")]
            if line.endswith(b".delta"):
                return 0
        payload = sse.data(event)
        if not payload or payload.strip() == b"[DONE]":
            return 0
        found = responses_stream.understood_event(payload)
        return 0 if found is None else self._look(found)

    def _look(self, event: responses_stream.StreamEvent) -> int:
        if event.type in _OPENS or event.type in _ENDS:
            return self._note(event)
        if event.type.endswith(".delta"):
            return self._commit(bool(event.delta))
        if event.type in ("response.output_item.added", "response.output_item.done"):
            # A message or a thought begins empty; anything else is content by its mere beginning.
            begins = event.type == "response.output_item.added"
            return self._commit(not (begins and _kind(event.item) in ("message", "reasoning")))
        return 0

    def _note(self, event: responses_stream.StreamEvent) -> int:
        answer = responses_answer.understood(event.response)
        self.summary.id = answer.id or self.summary.id
        self.summary.model = answer.model or self.summary.model
        self.summary.usage = latest(self.summary.usage, responses_answer.usage_of(answer.usage))
        if event.type in _OPENS:
            return 0
        self.summary.finish_reason = responses_answer.spelt(answer) or event.type.removeprefix("response.")
        return DONE | self._commit(True)

    def _commit(self, content: bool) -> int:
        if not content:
            return 0
        self._committed = True
        return CONTENT


def _kind(raw: Raw) -> str | None:
    try:
        return _item.decode(raw).type
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
