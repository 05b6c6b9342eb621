"""Between the client's protocol and the endpoint's: bytes that pass through, or words that are told again.

`between(inbound, outbound)` gives a `Passthrough` or a `Translated`. Both spell a request for the endpoint, turn a
whole answer into the client's, and open a `Stream` that does so event by event.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from msgspec import Struct, structs

from fairlead import media, places
from fairlead.call import Call
from fairlead.chat import Event, Finish, Media, Opaque, PartDelta, PartStart, Reasoning, Request, Start, Text, ToolUse
from fairlead.errors import FairleadError, InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import (
    CONTENT,
    DONE,
    USAGE_ONLY,
    Asked,
    Envelope,
    EventDecoder,
    EventEncoder,
    Inbound,
    Outbound,
    Served,
    Summary,
    Wire,
    is_inbound,
    is_outbound,
    is_wire,
    may_want_bytes,
)
from fairlead.resources import Endpoint

# Fields of a request that are ours, or OpenRouter's: read by the gateway, sent on only to a row that knows them.
OWN_FIELDS = frozenset({"provider", "models", "route", "transforms", "session_id", "trace"})
_NONE: frozenset[str] = frozenset()
_NOWHERE: Mapping[tuple[str, str], Media] = {}
_MOST_PARTS = 10_000  # of a streamed answer: some formats tell all of it again at its end


class Stream(Protocol):
    """One streamed answer on its way to the client. `summary` grows as events are seen."""

    passes: bool  # bytes pass through untouched
    committed: bool  # an event with content was seen
    done: bool  # the end mark of the provider's format was seen
    failed: UpstreamError | None  # an event told an error: nothing follows
    held: int  # bytes, roughly, of what was fed and is not told yet
    summary: Summary

    @property
    def ordinary(self) -> Callable[[bytes], bool]:
        """Tells whether a chunk, where nothing is kept from before, is one event that passes as it is and of which
        there is nothing to note."""
        ...

    def feed(self, events: list[bytes]) -> bytes:
        """What the client gets for these events, up to one that tells an error: that is `failed` then."""
        ...

    def end(self) -> bytes:
        """What is owed when the upstream's body has ended. Raises UpstreamBroken if it ended too early."""
        ...

    def ended_by(self, error: FairleadError) -> bytes:
        """What ends it for the client, where that goes on from what was told; b"" where it is the same anywhere."""
        ...


class Translation(Protocol):
    """How one attempt's bytes become the client's, both ways."""

    passes: bool  # bytes pass through untouched

    @property
    def wire(self) -> Asked:
        """What is spoken with the endpoint."""
        ...

    def prepare(self, call: Call) -> None:
        """What of `request` takes long and may be done in a thread."""
        ...

    def addresses(self, call: Call, endpoint: Endpoint) -> Mapping[tuple[str, str], Media]:
        """What has to be in `call.fetched` before `request`: `media.wanted`."""
        ...

    def request(self, call: Call, endpoint: Endpoint) -> tuple[bytes, tuple[str, ...]]:
        """The body, and the names of what the client asked for and it does not say. Raises InvalidRequest."""
        ...

    def answer(
        self, call: Call, endpoint: Endpoint, body: bytes, headers: Mapping[bytes, bytes]
    ) -> tuple[bytes, Summary]:
        """The whole answer for the client. Raises UpstreamError if `body` tells one or is none."""
        ...

    def stream(self, call: Call, endpoint: Endpoint) -> Stream: ...


def between(inbound: Served, outbound: Asked, *, needs_words: bool = False) -> Translation:
    """How `inbound` (the client's) and `outbound` (the endpoint's) meet. Raises InvalidRequest if they cannot."""
    if inbound.name == outbound.name and not needs_words and is_wire(outbound):
        return Passthrough(inbound, outbound)
    if is_inbound(inbound) and is_outbound(outbound):
        return Translated(inbound, outbound)
    raise InvalidRequest(f"This model's provider does not serve {inbound.name}.", param="model", code="not_supported")


class _Wishes(Struct):
    """Of OpenRouter's `provider`, what we grant."""

    require_parameters: bool = False


_wishes = msgspec.json.Decoder(_Wishes)


def requires_parameters(call: Call) -> bool:
    """Whether an endpoint that cannot be told all of the request shall not be asked: `provider.require_parameters`.

    https://openrouter.ai/docs/features/provider-routing
    """
    told = call.envelope.fields.get("provider") if call.envelope is not None else None
    try:
        return told is not None and _wishes.decode(told).require_parameters
    except (msgspec.DecodeError, RecursionError):  # it means nothing to us
        return False


class Passthrough:
    """Same protocol: the bytes pass, but for the model's name and our own fields."""

    passes = True

    def __init__(self, inbound: Served, outbound: Wire) -> None:
        self.inbound, self.wire = inbound, outbound

    def prepare(self, call: Call) -> None:
        """There is nothing that takes long."""

    def addresses(self, call: Call, endpoint: Endpoint) -> Mapping[tuple[str, str], Media]:
        return _NOWHERE

    def request(self, call: Call, endpoint: Endpoint) -> tuple[bytes, tuple[str, ...]]:
        assert call.envelope is not None
        assert call.snapshot is not None
        body = self.wire.patch(
            call.envelope,
            endpoint.model,
            drop=_NONE if endpoint.provider.openrouter_fields else OWN_FIELDS,
            ask_usage="no_stream_options" not in endpoint.provider.quirks,
            default_max_tokens=_default_max_tokens(call),
        )
        return body, ()

    def answer(
        self, call: Call, endpoint: Endpoint, body: bytes, headers: Mapping[bytes, bytes]
    ) -> tuple[bytes, Summary]:
        if not body.isascii():
            _check_utf8(body)
        return self.inbound.dress(body), self.wire.summary(body)

    def stream(self, call: Call, endpoint: Endpoint) -> Stream:
        assert call.envelope is not None
        return PassthroughStream(self.wire, hide_usage=not call.envelope.include_usage)


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError:
        raise UpstreamBroken("its answer is not UTF-8") from None


class PassthroughStream:
    """Events pass as they came; those that are only usage stay here if only we asked for it."""

    __slots__ = ("_hide", "_reader", "_see", "committed", "done", "failed", "ordinary", "summary")

    passes = True
    held = 0  # nothing waits here

    def __init__(self, wire: Wire, *, hide_usage: bool) -> None:
        self._reader = wire.stream_reader()
        self._see, self.ordinary = self._reader.see, self._reader.ordinary
        self._hide = hide_usage
        self.summary = self._reader.summary
        self.committed = False
        self.done = False
        self.failed: UpstreamError | None = None

    def feed(self, events: list[bytes]) -> bytes:
        kept: list[bytes] = []
        event = b""
        try:
            for event in events:
                flags = self._see(event)
                if not flags and len(events) == 1:
                    return event  # nearly all that are ever fed
                if flags:
                    self._note(flags)
                    if flags & USAGE_ONLY and self._hide:
                        continue
                kept.append(event)
                if flags & DONE:
                    break  # nothing that follows belongs to this answer
        except UpstreamError as error:
            self.failed = _with(event, error)
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def _note(self, flags: int) -> None:
        if flags & CONTENT:
            self.committed = True
        if flags & DONE:
            self.done = True

    def ended_by(self, error: FairleadError) -> bytes:
        return b""

    def end(self) -> bytes:
        if self.done or self.summary.finish_reason is not None:
            return b""
        raise UpstreamBroken("its answer was cut off")


class Translated:
    """Different protocols: the answer is decoded into our words and told again."""

    passes = False

    def __init__(self, inbound: Inbound, outbound: Outbound) -> None:
        self.inbound, self.wire = inbound, outbound
        self._wants_bytes = outbound if may_want_bytes(outbound) else None

    def prepare(self, call: Call) -> None:
        self._words(call)

    def addresses(self, call: Call, endpoint: Endpoint) -> Mapping[tuple[str, str], Media]:
        if self._wants_bytes is None:
            return _NOWHERE
        return media.wanted(self._words(call), self._wants_bytes, endpoint.model)

    def request(self, call: Call, endpoint: Endpoint) -> tuple[bytes, tuple[str, ...]]:
        assert call.snapshot is not None
        words = self._words(call)
        if call.fetched and self._wants_bytes is not None:
            words = media.with_bytes(words, self._wants_bytes, endpoint.model, call.fetched)
        extra = self._without_ours(words.extra, endpoint) if words.extra else words.extra
        asked = structs.replace(words, model=endpoint.model, extra=extra, max_tokens=_max_tokens(call, words))
        try:
            told = self.wire.encode_request(asked, default_max_tokens=_default_max_tokens(call))
        except InvalidRequest as error:
            raise places.named(call, error, words) from None
        return told.body, told.dropped

    def _without_ours(self, extra: dict[str, Opaque], endpoint: Endpoint) -> dict[str, Opaque]:
        """The fields of the gateway's are no wish of the model; a provider that knows them gets them in any format."""
        ours = OWN_FIELDS & extra.keys()
        if not ours:
            return extra
        kept = {name: opaque for name, opaque in extra.items() if name not in ours}
        if endpoint.provider.openrouter_fields:
            kept |= {name: Opaque(self.wire.name, extra[name].raw) for name in ours}
        return kept

    def _words(self, call: Call) -> Request:
        if call.request is None:  # the second endpoint of a call needs the same words
            assert call.envelope is not None
            words = self.inbound.decode_request(call.body, taken=call.envelope)
            if words.stream != call.envelope.stream:  # which may stand in the address
                words = structs.replace(words, stream=call.envelope.stream)
            call.request = checked(words, call.envelope)
        return call.request

    def answer(
        self, call: Call, endpoint: Endpoint, body: bytes, headers: Mapping[bytes, bytes]
    ) -> tuple[bytes, Summary]:
        response = self.wire.decode_response(body, headers)
        spelt = response.raw_reason or response.finish_reason
        summary = Summary(response.id or None, response.model or None, response.usage, spelt)
        if not (response.id and response.model):
            response = structs.replace(response, id=response.id or call.id, model=response.model or endpoint.model)
        return self.inbound.encode_response(response, self._words(call)), summary

    def stream(self, call: Call, endpoint: Endpoint) -> Stream:
        encode = self.inbound.event_encoder(include_usage=wants_usage(call), request=self._words(call))
        return TranslatedStream(self.wire.event_decoder(), encode, id=call.id, model=endpoint.model)


def checked(words: Request, taken: Envelope) -> Request:
    """`words`, of which each provider would say in its own words that it is wrong. Raises InvalidRequest."""
    if not words.messages:
        raise InvalidRequest(f"'{taken.conversation}' is empty: there is nothing to answer.", param=taken.conversation)
    if words.max_tokens is not None and words.max_tokens < 0:
        raise InvalidRequest(f"'{taken.limit}' must not be negative.", param=taken.limit)
    return words


def _with(raw: bytes, error: UpstreamError) -> UpstreamError:
    """`error`, which was found in `raw`."""
    if isinstance(error, UpstreamBroken):
        error.raw = raw
    return error


def _max_tokens(call: Call, words: Request) -> int | None:
    """What the client may have at most: as it said, or what the policy allows."""
    assert call.snapshot is not None
    return call.snapshot.policy.max_tokens if words.max_tokens is None else words.max_tokens


def _default_max_tokens(call: Call) -> int:
    """What stands in where a format requires a number: the default, or what the policy allows if that is less."""
    assert call.snapshot is not None
    usual, most = call.snapshot.defaults.max_tokens, call.snapshot.policy.max_tokens
    return usual if most is None else min(most, usual)


def wants_usage(call: Call) -> bool:
    """Whether the client asked for usage in its stream."""
    return call.envelope is not None and call.envelope.include_usage


class TranslatedStream:
    """Each event is decoded, looked at, and encoded for the client."""

    __slots__ = ("_decode", "_encode", "_id", "_model", "_parts", "committed", "done", "failed", "held", "summary")

    passes = False

    def __init__(self, decode: EventDecoder, encode: EventEncoder, *, id: str, model: str) -> None:
        """`id`, `model`: what the client is told where the provider's format has none."""
        self._decode, self._encode = decode, encode
        self._id, self._model = id, model
        self._parts = 0
        self.held = 0
        self.summary = Summary()
        self.committed = False
        self.done = False
        self.failed: UpstreamError | None = None

    def ordinary(self, chunk: bytes) -> bool:
        return False

    def feed(self, events: list[bytes]) -> bytes:
        told, raw = [], b""
        try:
            for raw in events:
                told += [self._told(event) for event in self._decode(raw)]
        except UpstreamError as error:
            self.failed = _with(raw, error)
        self.summary.usage = self._decode.usage  # a stream that is broken off has no Finish
        self.held = self._decode.held + self._encode.held
        return b"".join(told)

    def ended_by(self, error: FairleadError) -> bytes:
        failed: Callable[[FairleadError], bytes] | None = getattr(self._encode, "failed", None)
        return b"" if failed is None else failed(error)

    def end(self) -> bytes:
        return b"".join([self._told(event) for event in self._decode(b"")])

    def _told(self, event: Event) -> bytes:
        if not isinstance(event, PartDelta) or not self.committed:
            self._note(event)
            if isinstance(event, Start) and not (event.id and event.model):
                event = structs.replace(event, id=event.id or self._id, model=event.model or self._model)
        return self._encode(event)

    def _note(self, event: Event) -> None:
        match event:
            case Start(id=id, model=model):
                self.summary.id, self.summary.model = id or None, model or None
            case PartDelta(text=text, signature=signature):
                self.committed = self.committed or bool(text or signature)
            case PartStart(part=part):
                self._parts += 1
                if self._parts > _MOST_PARTS:
                    raise UpstreamBroken(f"its answer has more than {_MOST_PARTS} parts")
                # A text or a thought begins empty; anything else is content by its mere beginning.
                empty = isinstance(part, Text | Reasoning) and not part.text and not getattr(part, "encrypted", None)
                self.committed = self.committed or isinstance(part, ToolUse) or not empty
            case Finish(reason=reason, raw_reason=raw):
                self.committed = self.done = True
                self.summary.finish_reason = raw or reason
