"""The interface of wire formats: bytes in, our words out, and back again. No I/O, no vendor.

Each format is one file beside this one. `Wire` is what pass-through needs; `ChatProtocol` adds translation.
Malformed requests are `errors.InvalidRequest` with `param`, malformed answers `errors.UpstreamBroken`; nothing else
leaves a decoder, whatever the bytes.
"""

from typing import Protocol

from msgspec import Raw, Struct

from fairlead.chat import Event, Request, Response, Usage
from fairlead.errors import FairleadError, UpstreamError

# What `StreamReader.see` finds in an event; flags.
CONTENT = 1  # text, reasoning, a tool call or a finish: an endpoint is committed to
USAGE_ONLY = 2  # nothing but usage, sent because `include_usage` was asked for
DONE = 4  # the format's own end mark


class Envelope(Struct):
    """The top level of a request, taken apart but not understood: bytes stay bytes."""

    fields: dict[str, Raw]  # every top-level key, as it will be sent on
    model: str | None
    stream: bool
    max_tokens: int | None
    messages: int  # how many; 0 where the format has none
    include_usage: bool  # usage in the stream was asked for


class Summary(Struct):
    """What a whole answer says of itself, read without translating."""

    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None  # as the provider spelt it


class Encoded(Struct):
    """A request as a format spells it."""

    body: bytes
    # What the client asked for and this format cannot say, by the client's names where there are any ("top_k",
    # "logit_bias"), else by ours ("audio", "citations"); each once, sorted.
    dropped: tuple[str, ...] = ()


class Cutter(Protocol):
    """Cuts what a provider streams into events of its format, wherever its chunks begin and end: `sse.EventCutter`."""

    held: int  # bytes of an event that is not whole

    def feed(self, chunk: bytes) -> list[bytes]:
        """The whole events that `chunk` completes. Raises UpstreamBroken for one that is too large or malformed."""
        ...

    def finish(self) -> bytes:
        """What came after the last whole event; b"" if nothing did."""
        ...


class StreamReader(Protocol):
    """Reads along one stream of its own format, without translating. `summary` grows as events are seen."""

    summary: Summary

    def see(self, event: bytes) -> int:
        """What `event` (one whole SSE event, raw) is: flags. Raises UpstreamError if it tells an error."""
        ...


class Wire(Protocol):
    """What passing bytes through needs to know of a format."""

    name: str  # "openai-chat"
    media_types: tuple[str, str]  # of a whole answer and of a stream

    def path(self, model: str, stream: bool) -> str:
        """Relative to the provider's base URL: "/chat/completions"."""
        ...

    def peek(self, body: bytes) -> Envelope:
        """Split and check the skeleton. Raises InvalidRequest with `param` as a path (`messages[3].content`)."""
        ...

    def characters(self, envelope: Envelope) -> int:
        """How many characters of text the request's messages hold: for `policy.max_characters` only."""
        ...

    def patch(
        self, envelope: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        """The request for the same format: `model` replaced, `drop` left out, usage in the stream asked for.

        `default_max_tokens` stands in where the format requires a number and the request has none.
        """
        ...

    def summary(self, body: bytes) -> Summary:
        """Of a whole answer. Raises UpstreamBroken if it is not one, UpstreamError if it tells an error."""
        ...

    def stream_reader(self) -> StreamReader: ...

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        """What the provider's error means; never raises."""
        ...

    def encode_error(self, error: FairleadError) -> bytes:
        """The body that tells `error`."""
        ...

    def encode_error_event(self, error: FairleadError) -> bytes:
        """The events that end a stream with `error`; they say whether it is `retryable`."""
        ...

    def dress(self, body: bytes) -> bytes:
        """A whole answer of the same format, as this dialect of it wants it (usually as it is)."""
        ...


class EventDecoder(Protocol):
    """Takes whole raw events, and b"" once at the end of the stream (which brings what is still owed: Finish)."""

    usage: Usage | None  # what was told so far, which counts if no Finish comes
    held: int  # bytes, roughly, that are kept for events still to come

    def __call__(self, event: bytes) -> list[Event]:
        """Raises UpstreamError if an event tells an error, or if the stream ends before it finished."""
        ...


class EventEncoder(Protocol):
    """Gives the SSE bytes for an event, b"" where the format says nothing. Finish gives the end mark as well."""

    held: int  # bytes, roughly, of events that wait to be told

    def __call__(self, event: Event) -> bytes: ...


class ChatProtocol(Wire, Protocol):
    """A wire format that can be translated. The event codecs are made one per stream: they remember open parts."""

    def decode_request(self, body: bytes) -> Request: ...

    def encode_request(self, request: Request, *, default_max_tokens: int) -> bytes:
        """`default_max_tokens` stands in where the format requires a number and the request has none."""
        ...

    def decode_response(self, body: bytes) -> Response: ...

    def encode_response(self, response: Response) -> bytes: ...

    def event_decoder(self) -> EventDecoder: ...

    def event_encoder(self, *, include_usage: bool) -> EventEncoder: ...
