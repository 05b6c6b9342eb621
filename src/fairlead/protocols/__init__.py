"""The interface of wire formats: bytes in, our words out, and back again. No I/O, no vendor.

Each format is one file beside this one. Which roles it has is told by which methods it has (decision 0013):

    Served    a client may speak it               Inbound  = Served, and its words: requests in, answers out
    Asked     a provider may speak it             Outbound = Asked, and its words: requests out, answers in
    Wire      both: bytes pass through            ChatProtocol = Wire, Inbound and Outbound

Malformed requests are `errors.InvalidRequest` with `param`, malformed answers `errors.UpstreamBroken`; nothing else
leaves a decoder, whatever the bytes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, TypeGuard

from msgspec import Raw, Struct

from fairlead.chat import Event, Media, Request, Response, Usage
from fairlead.errors import FairleadError, UpstreamError

# Of an answer whose headers do not matter: names are in lower case.
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})

# What `StreamReader.see` finds in an event; flags.
CONTENT = 1  # text, reasoning, a tool call or a finish: an endpoint is committed to
USAGE_ONLY = 2  # nothing but usage, sent because `include_usage` was asked for
DONE = 4  # the format's own end mark


# By the names of formats that clients speak.
_CONVERSATIONS = ("messages", "input", "contents", "prompt")
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_tokens_to_sample")


class Envelope(Struct):
    """The top level of a request, taken apart but not understood: bytes stay bytes."""

    fields: dict[str, Raw]  # every top-level key, as it will be sent on
    model: str | None
    stream: bool
    max_tokens: int | None
    messages: int  # how many; 0 where the format has none
    include_usage: bool  # usage in the stream was asked for
    continues: str | None = None  # an answer that a provider keeps, and this goes on from
    carries: bool = False  # what other formats keep stands in the messages, and shall not reach the provider

    @property
    def conversation(self) -> str:
        """The name of the field that holds it."""
        return next((name for name in _CONVERSATIONS if name in self.fields), _CONVERSATIONS[0])

    @property
    def limit(self) -> str:
        """The name of the field that bounds the answer's tokens."""
        if "generationConfig" in self.fields:
            return "generationConfig.maxOutputTokens"
        return next((name for name in _LIMITS if name in self.fields), "max_tokens")


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

    @property
    def held(self) -> int:
        """Bytes of an event that is not whole."""
        ...

    @property
    def room(self) -> int:
        """How long a chunk may be of which `feed` would only say that it is one event, if it is: 0 while some of an
        event is kept."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """The whole events that `chunk` completes. Raises UpstreamBroken for one that is too large or malformed."""
        ...

    def finish(self) -> bytes:
        """What came after the last whole event, as an event; b"" if nothing did."""
        ...


class StreamReader(Protocol):
    """Reads along one stream of its own format, without translating. `summary` grows as events are seen."""

    summary: Summary

    def ordinary(self, event: bytes) -> bool:
        """Whether these bytes are one whole event that `see` would find nothing in. False: that has to be looked at."""
        ...

    def see(self, event: bytes) -> int:
        """What `event` (one whole SSE event, raw) is: flags. Raises UpstreamError if it tells an error."""
        ...


class Format(Protocol):
    """What both sides of a format share."""

    name: str  # "openai-chat"
    media_types: tuple[str, str]  # of a whole answer and of a stream


class Served(Format, Protocol):
    """A format that clients may speak."""

    def peek(self, body: bytes) -> Envelope:
        """Split and check the skeleton. Raises InvalidRequest with `param` as a path (`messages[3].content`)."""
        ...

    def characters(self, envelope: Envelope) -> int:
        """How many characters of text the request's messages hold: for `policy.max_characters` only."""
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


class Asked(Format, Protocol):
    """A format that providers may speak."""

    def path(self, model: str, stream: bool) -> str:
        """Relative to the provider's base URL: "/chat/completions"."""
        ...

    def cutter(self, max_event_bytes: int) -> Cutter:
        """For one stream. An event larger than `max_event_bytes` is UpstreamBroken."""
        ...

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        """What the provider's error means; never raises."""
        ...


class Wire(Served, Asked, Protocol):
    """A format that both may speak, so that bytes may pass through."""

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


class CountsServed(Served, Protocol):
    """A format in which clients may ask how many tokens a request has, at an address of its own."""

    def peek_count(self, body: bytes) -> Envelope:
        """What shall be counted, as `peek` has it."""
        ...

    def decode_count(self, body: bytes) -> Request:
        """What shall be counted; its model is "" where the address tells it. Raises InvalidRequest."""
        ...

    def encode_count(self, tokens: int) -> bytes: ...

    def patch_count(self, body: bytes, model: str, *, drop: frozenset[str]) -> bytes:
        """What the client sent, for a provider of the same format: `model` replaced, `drop` left out."""
        ...


class CountsAsked(Asked, Protocol):
    """A format in which providers may be asked how many tokens a request has."""

    def count_path(self, model: str) -> str:
        """Relative to the provider's base URL: "/messages/count_tokens"."""
        ...

    def encode_count_request(self, request: Request) -> bytes:
        """Raises InvalidRequest for a message that the format cannot say."""
        ...

    def decode_counted(self, body: bytes) -> int:
        """The tokens that the provider counted. Raises UpstreamBroken."""
        ...


class EventDecoder(Protocol):
    """Takes whole raw events, and b"" once at the end of the stream (which brings what is still owed: Finish)."""

    usage: Usage | None  # what was told so far, which counts if no Finish comes
    held: int  # bytes, roughly, that are kept for events still to come

    def __call__(self, event: bytes) -> list[Event]:
        """Raises UpstreamError if an event tells an error, or if the stream ends before it finished."""
        ...


class EventEncoder(Protocol):
    """Gives the bytes for an event, b"" where the format says nothing. Finish gives the end mark as well.

    Where events are numbered, `failed(error)` gives those that end the stream with an error.
    """

    held: int  # bytes, roughly, of events that wait to be told

    def __call__(self, event: Event) -> bytes: ...


class Inbound(Served, Protocol):
    """What clients speak, where it can be translated. An event encoder is made for one stream: it remembers parts."""

    def decode_request(self, body: bytes, *, taken: Envelope | None = None) -> Request:
        """`taken`: what `peek` made of `body`, which is not done again then.

        Raises InvalidRequest with `param` as a path, and nothing else.
        """
        ...

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        """`request` is what is answered: some formats tell parts of it again."""
        ...

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder: ...


class Outbound(Asked, Protocol):
    """What providers speak, where it can be translated. An event decoder is made for one stream: it remembers parts."""

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        """`default_max_tokens` stands in where the format requires a number and the request has none.

        Raises InvalidRequest for a message that the format cannot say (a sound, a film): it is more than a wish.
        """
        ...

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        """An id or a model that the format does not tell is "".

        Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one.
        """
        ...

    def event_decoder(self) -> EventDecoder: ...


class WantsBytes(Outbound, Protocol):
    """A format of providers that fetch nothing, or not everything: they want some media as bytes."""

    def wants_bytes(self, media: Media, model: str) -> bool:
        """Whether what stands at the address `media.url` must be told to `model` as data instead, if it can be had."""
        ...


class ChatProtocol(Wire, Inbound, Outbound, Protocol):
    """A format that either side may speak, passed through or translated."""


def is_inbound(format: Format) -> TypeGuard[Inbound]:
    """Whether what a client says in it can be translated."""
    return hasattr(format, "event_encoder")


def is_outbound(format: Format) -> TypeGuard[Outbound]:
    """Whether what is said in our words can be told to a provider in it."""
    return hasattr(format, "event_decoder")


def counts_for_clients(format: Format) -> TypeGuard[CountsServed]:
    """Whether clients may have the tokens of a request counted in it."""
    return hasattr(format, "encode_count")


def is_counting(format: Format) -> TypeGuard[CountsAsked]:
    """Whether a provider that speaks it can be asked to count."""
    return hasattr(format, "decode_counted")


def keeps_answers(format: Format) -> bool:
    """Whether providers that speak it keep answers which later requests go on from: `Envelope.continues`."""
    return getattr(format, "keeps_answers", False)


def takes_prompts(format: Format) -> bool:
    """Whether what it tells is one text to go on with, in which a conversation loses its turns, tools and media."""
    return getattr(format, "takes_prompts", False)


def may_want_bytes(format: Format) -> TypeGuard[WantsBytes]:
    """Whether there are media that must be told as bytes in it, though the client gave their address."""
    return hasattr(format, "wants_bytes")


def is_wire(format: Format) -> TypeGuard[Wire]:
    """Whether bytes of it may pass through."""
    return hasattr(format, "patch")
