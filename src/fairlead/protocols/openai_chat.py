"""OpenAI's chat completions, as OpenAI and everybody compatible with it speak them.

https://platform.openai.com/docs/api-reference/chat. The codecs stand in `codecs`: `openai_request`
(from clients), `openai_asking` (to providers), `openai_answer`, `openai_stream`, `openai_usage`, `openai_errors`.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Request, Response
from fairlead.errors import FairleadError, InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import (
    CONTENT,
    DONE,
    NO_HEADERS,
    USAGE_ONLY,
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
    openai_answer,
    openai_asking,
    openai_calls,
    openai_errors,
    openai_request,
    openai_stream,
    openai_thoughts,
    openai_usage,
)
from fairlead.protocols.counting import COUNTING, latest
from fairlead.protocols.envelope import NULL, given

_KNOWN = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p top_k n stop seed user"
    " frequency_penalty presence_penalty logit_bias logprobs top_logprobs response_format service_tier tools"
    " tool_choice parallel_tool_calls functions function_call reasoning_effort reasoning modalities audio"
    " prediction metadata store web_search_options verbosity prompt_cache_key safety_identifier"
    " provider models route transforms session_id trace".split()
)
_COUNTED = COUNTING["openai-chat"]
_WITH_USAGE = b'{"include_usage":true}'
_TRUE = Raw(b"true")
_encode = msgspec.json.encode


class _Skeleton(Struct):
    """What is read of a request whose bytes pass."""

    messages: list[envelope.Said]
    max_completion_tokens: int | None = None
    model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None


_skeleton = msgspec.json.Decoder(_Skeleton)


def _field_by_field(fields: dict[str, Raw]) -> _Skeleton:
    """The same, more patiently. Raises InvalidRequest naming the field that is not what it should be."""
    told = _Skeleton(envelope.messages(fields), envelope.read(fields, "max_completion_tokens", int))
    told.model, told.stream = envelope.read(fields, "model", str), envelope.read(fields, "stream", bool)
    if told.max_completion_tokens is None:  # else nobody looks at the other
        told.max_tokens = envelope.read(fields, "max_tokens", int)
    return told


class OpenAIChat:
    """The format of `/chat/completions`: a `ChatProtocol`."""

    name = openai_request.NAME
    media_types = ("application/json", "text/event-stream")

    def path(self, model: str, stream: bool) -> str:
        return "/chat/completions"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    # ---- the same format: look, do not translate

    def peek(self, body: bytes) -> Envelope:
        fields = envelope.split(body, _KNOWN)
        try:
            told = _skeleton.decode(body)
        except (msgspec.ValidationError, RecursionError):  # some field is not what it should be, or seems so
            told = _field_by_field(fields)
        else:
            envelope.check(told.messages)
        taken = Envelope(
            fields=fields,
            model=told.model,
            stream=told.stream or False,
            max_tokens=told.max_tokens if told.max_completion_tokens is None else told.max_completion_tokens,
            messages=len(told.messages),
            include_usage=asks_for_usage(fields),
        )
        for message in told.messages:  # most have none
            if message.tool_calls is not NULL and openai_calls.carries(message.tool_calls):
                taken.carries = True
            if message.reasoning_details is not NULL and openai_thoughts.carries(message.reasoning_details):
                taken.carries = True
        return taken

    def characters(self, taken: Envelope) -> int:
        return envelope.characters(taken.fields["messages"])

    def patch(
        self, taken: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        return patched(taken, model, drop, ask_usage)

    def summary(self, body: bytes) -> Summary:
        return summary(body)

    def stream_reader(self) -> "StreamReader":
        return StreamReader()

    def dress(self, body: bytes) -> bytes:
        return body

    # ---- translation

    def decode_request(self, body: bytes, *, taken: Envelope | None = None) -> Request:
        if taken is not None:
            return openai_request.decode(taken.fields, body)
        fields = envelope.split(body, _KNOWN)
        envelope.messages(fields)
        return openai_request.decode(fields, body)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return openai_asking.encode(request)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return openai_answer.decode(body)

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return openai_answer.encode(response)

    def event_decoder(self) -> EventDecoder:
        return openai_stream.Decoder()

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return openai_stream.Encoder(include_usage=include_usage)

    # ---- errors

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return openai_errors.decode(status, body)

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode({"error": openai_errors.encode(error)})

    def encode_error_event(self, error: FairleadError) -> bytes:
        # No [DONE] after it: the official SDKs raise on the event, others see a stream that was cut short.
        return sse.event(_encode({"error": {**openai_errors.encode(error), "retryable": error.retryable}}))


def asks_for_usage(fields: dict[str, Raw]) -> bool:
    """Whether `stream_options.include_usage` is true. Raises InvalidRequest if it is spelt with other capitals, too:
    a server that reads those would not tell usage."""
    told = fields.get("stream_options")
    if told is None or bytes(told) == _WITH_USAGE:
        return told is not None
    options = envelope.read(fields, "stream_options", dict[str, Raw])
    if options is None:
        return False
    for name in options.keys() - {"include_usage"}:
        if name.casefold() == "include_usage":
            shown = f"stream_options.{name}"
            raise InvalidRequest(f"'{shown}' is not a field; did you mean 'include_usage'?", param=shown)
    return envelope.read(options, "include_usage", bool, param="stream_options.include_usage") or False


def patched(taken: Envelope, model: str, drop: frozenset[str], ask_usage: bool) -> bytes:
    """The body with another `model`, without `drop`, asking for usage if it streams."""
    fields = taken.fields.copy()
    for name in drop.intersection(fields):
        del fields[name]
    fields["model"] = Raw(_encode(model))
    if taken.carries:
        fields["messages"] = openai_calls.without(fields["messages"])
    if ask_usage and taken.stream:
        fields["stream_options"] = _with_usage(fields)
    return envelope.join(fields)


def _with_usage(fields: dict[str, Raw]) -> Raw:
    """`stream_options`, asking for usage. Its other keys stay, and none is told twice: some servers read the first."""
    told = fields.get("stream_options")
    if told is None or bytes(told) == _WITH_USAGE:
        return Raw(_WITH_USAGE)
    options = envelope.read(fields, "stream_options", dict[str, Raw]) or {}
    return Raw(_encode({**options, "include_usage": _TRUE}))


# ---- reading along


class _Choice(Struct):
    """Of a chunk or a whole answer, chat or not: what tells content from mere opening."""

    index: Raw = NULL
    delta: dict[str, Raw] | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: Raw = NULL


class _Chunk(Struct):
    id: str | None = None
    object: Raw = NULL
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Raw = NULL
    x_groq: dict[str, Raw] | None = None
    error: Raw = NULL


class _Answer(Struct):
    """A whole answer of one choice, which tells its usage as most do: that is read in the same go."""

    choices: tuple[_Choice]
    usage: _COUNTED.shape  # type: ignore[name-defined]  # made of a table
    id: str | None = None
    object: Raw = NULL
    model: str | None = None
    x_groq: dict[str, Raw] | None = None  # nothing in it counts here, but whether it is one
    error: Raw = NULL


_chunk = msgspec.json.Decoder(_Chunk)
_answer = msgspec.json.Decoder(_Answer)
_TEXT = b'"content":"'
_QUOTE, _CR, _LF = b'"\r\n'
_LEARNS = 3  # deltas in a row that were not as the one before
_NOTHING = frozenset({b"null", b'""', b"[]", b"{}"})


class StreamReader:
    """Reads along. An ordinary delta is known by what is not in its bytes, and never decoded; nor is one searched that
    is as the last one was but for its text."""

    __slots__ = ("_after", "_before", "_learns", "_several", "_skims", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self._before = self._after = b""  # the text of the last ordinary delta; nothing if that is not known
        self._learns = _LEARNS
        self._skims = False  # content was seen: from here on only what is not an ordinary delta matters
        self._several = False  # a chunk had several choices, so that null in one says nothing of the others

    def ordinary(self, event: bytes) -> bool:
        """See `protocols.StreamReader.ordinary`: it is as the last one was but for its text."""
        before, after = self._before, self._after
        if not before or not event.startswith(before) or not event.endswith(after):
            return False
        text = event[len(before) : -len(after)]
        if _QUOTE in text or _LF in text or _CR in text:
            return False
        self._learns = _LEARNS
        return True

    def see(self, event: bytes) -> int:
        """Flags of `event`; an ordinary delta after the first has none. Raises UpstreamError if it tells an error.

        No text can look like one of the fields: its quotes are escaped.
        """
        if self.ordinary(event):
            return 0
        if (
            self._skims
            and event.startswith(b"data: {")
            and event.endswith(b"}\n\n")
            # These stand near the end, where searching backwards finds them at once; it is the faster way, too.
            and (event.rfind(b'"finish_reason":null') >= 0 or event.rfind(b'"finish_reason"') < 0)
            # A choice, a vendor's corner and the chunk may each have one.
            and (event.rfind(b'"usage":{') < 0 if event.rfind(b'"usage":null') >= 0 else event.rfind(b'"usage"') < 0)
            and event.rfind(b'"error"') < 0
        ):
            if self._learns:
                self._learn(event)
            return 0
        return self._look(event)

    def _learn(self, event: bytes) -> None:
        """Remember what stands around the text of an ordinary delta, unless it is another each time."""
        self._learns -= 1
        begin = event.find(_TEXT) + len(_TEXT)
        end = event.find(b'"', begin)
        if not self._learns:
            self._before = b""
        elif len(_TEXT) <= begin <= end:
            self._before, self._after = event[:begin], event[end:]

    def _look(self, event: bytes) -> int:
        payload = sse.data(event).strip()
        if not payload:
            return 0
        if payload == b"[DONE]":
            return DONE
        chunk = understood(payload, "an event")
        if event.startswith(b"event:") and sse.name(event) == b"error":
            raise openai_errors.from_stream(payload)
        note(self.summary, chunk)
        if not chunk.choices:
            return USAGE_ONLY if chunk.choices == [] and given(chunk.usage) is not None else 0
        self._several = self._several or len(chunk.choices) > 1
        if not any(_has_content(choice) for choice in chunk.choices):
            return 0
        self._skims = not self._several
        return CONTENT


def _has_content(choice: _Choice) -> bool:
    if choice.finish_reason or choice.text:
        return True
    delta = choice.delta
    return delta is not None and any(name != "role" and bytes(raw) not in _NOTHING for name, raw in delta.items())


def understood(payload: bytes, what: str) -> _Chunk:
    """What we read of a chunk or answer. Raises UpstreamBroken if it is none, another UpstreamError if it tells one."""
    try:
        chunk = _chunk.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken(f"{what} is not one of a completion") from None
    if chunk.error is not NULL and given(chunk.error) is not None:
        raise openai_errors.from_stream(chunk.error)
    if openai_errors.is_error(chunk.object):
        raise openai_errors.from_stream(payload)
    return chunk


_FIRST = frozenset({b"null", b"0"})


def note(summary: Summary, chunk: _Chunk) -> None:
    """Write down what `chunk` says of its answer: the first id, and why it ended, its first choice before all."""
    if chunk.id and summary.id is None:
        summary.id = chunk.id
    if chunk.model:
        summary.model = chunk.model
    usage = None if chunk.usage is NULL else openai_usage.decode(chunk.usage)
    for choice in chunk.choices or ():
        if choice.finish_reason and (summary.finish_reason is None or bytes(choice.index) in _FIRST):
            summary.finish_reason = choice.finish_reason
        if usage is None and choice.usage is not NULL:
            usage = openai_usage.decode(choice.usage)
    if usage is None and chunk.x_groq is not None:
        usage = openai_usage.decode(chunk.x_groq.get("usage", NULL))
    if usage is not None:
        summary.usage = latest(summary.usage, usage)


def summary(body: bytes) -> Summary:
    """Of a whole answer."""
    try:
        answer = _answer.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _summary(body)
    usage = _COUNTED.words(answer.usage)
    if usage is None or answer.error is not NULL or openai_errors.is_error(answer.object):
        return _summary(body)
    return Summary(answer.id or None, answer.model or None, usage, answer.choices[0].finish_reason or None)


def _summary(body: bytes) -> Summary:
    """The same, more patiently."""
    answer = understood(body, "its answer")
    if answer.choices is None:
        raise UpstreamBroken("its answer has no choices")
    told = Summary()
    note(told, answer)
    return told
