"""What happens to a call, in reading order: identify → authorize → resolve → attempt, attempt … → relay → settle.

Each step is one call into the module that owns it; their order is the policy. `handle` gives a `Reply` as soon as an
endpoint is committed to, which is at its first event with content; until then any failure that says `failover`
moves on to the next endpoint. `settle` is no coroutine and runs however a call ends.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from fairlead import answers, media, policy, routing
from fairlead.auth import Auth
from fairlead.buffers import Buffers
from fairlead.call import Attempt, Call, ReadBody, Reply, Write, outcome
from fairlead.catalog import Catalog, Snapshot
from fairlead.errors import FairleadError, InternalError, InvalidRequest, Unavailable, UpstreamBroken, UpstreamError
from fairlead.pins import NOT_FOUND, Pins, not_found
from fairlead.protocols import Asked, Served, Summary, keeps_answers, sse, takes_prompts
from fairlead.providers import quirks
from fairlead.providers.signing import request_head, trace_context, with_call
from fairlead.relay import Relay, ended
from fairlead.resources import Credential, Endpoint
from fairlead.routing import retry
from fairlead.translation import Stream, Translation, between, requires_parameters
from fairlead.upstream import Origin, Transport, UpstreamRequest, UpstreamResponse
from fairlead.upstream.fetching import Fetcher
from fairlead.usage.ledger import Ledger

log = logging.getLogger("fairlead.pipeline")

_MAX_HELD_BYTES = 1 << 20  # of events before the first content
_MOST_SHOWN_BYTES = 2000  # of an answer that cannot be read
_SMALL_BYTES = 64 << 10  # of an answer, as of requests that nobody has read: it is written at once, and not counted
_LARGE_BYTES = 256 << 10  # of a request that is translated, in a thread
_VERY_LARGE_BYTES = 4 << 20  # of a request that is only looked at, in a thread
_REMEMBERED = 10_000  # ways to endpoints
_MOST_NAMES, _LONGEST_NAME = 40, 60  # that are told of what was dropped


class _Leg(Struct, frozen=True):
    """The way to an endpoint from a client's protocol. It is found by identity, and keeps what it was found by."""

    endpoint: Endpoint
    wire: Asked
    stream_type: bytes  # what its streams are, as a content type begins
    translation: Translation
    origin: Origin
    transport: Transport
    credential: Credential | None
    secrets: tuple[str, ...]  # what is sent there and shall not come back
    keeps: bool  # its provider keeps answers, and the client is told their ids


class Pipeline:
    """The corridor. Everything it needs is handed in; nothing it does touches a database or waits for a disk."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        auth: Auth,
        ledger: Ledger,
        wires: Mapping[str, Asked],
        transports: Mapping[str, Transport],
        buffers: Buffers,
        max_response_bytes: int,
        max_event_bytes: int,
        pins: Pins,
        fetcher: Fetcher | None = None,
    ) -> None:
        """`wires`: protocols by name, spoken with providers. `transports`: by the scheme of a base URL.
        `fetcher`: for media that stand at an address; None: nothing is fetched."""
        self.catalog, self.auth, self.ledger = catalog, auth, ledger
        self.wires, self.transports, self.buffers = wires, transports, buffers
        self.max_response_bytes, self.max_event_bytes = max_response_bytes, max_event_bytes
        self.pins, self.fetcher = pins, fetcher
        self._legs: dict[tuple[Served, int, bool], _Leg] = {}
        self._world: Snapshot | None = None  # that they are of

    async def handle(self, call: Call, read_body: ReadBody) -> Reply:
        """The reply to `call`. Raises FairleadError, or whatever ended it; the call is settled then."""
        call.snapshot = self.catalog.current  # one world from start to end
        arrival, file_keys = call.arrival, call.snapshot.file_keys
        try:
            call.principal = self.auth.known(arrival.key_hash, file_keys) or await self.auth.identify(
                call.headers, file_keys, arrival.address, arrival.key_hash
            )
            body = read_body()
            call.body = body = body if isinstance(body, bytes) else await body
            size = len(body)
            self.buffers.hold(size)
            call.held = size
            if size >= self.buffers.large_bytes:
                await asyncio.to_thread(self.buffers.admit, body)
            if size > _VERY_LARGE_BYTES:
                call.envelope = await asyncio.to_thread(call.protocol.peek, body)
            else:
                call.envelope = call.protocol.peek(body)
            if call.target is not None:
                call.envelope.model, call.envelope.stream = call.target
            policy.authorize(call.principal, call.snapshot.policy, call.protocol, call.envelope)
            call.route = call.snapshot.resolve(call.envelope.model, call.principal)
            return await self.dispatch(call)
        except BaseException as error:
            self.settle(call, error)
            raise

    async def dispatch(self, call: Call) -> Reply:
        """The first endpoint that comes to content answers."""
        assert call.route is not None
        legs = self._serving(call, routing.plan(call.route))
        assert call.envelope is not None
        if call.envelope.continues is not None:
            legs = await self._keeping(call, legs, call.envelope.continues)
        failures: list[UpstreamError] = []
        unsaid: list[InvalidRequest] = []  # of endpoints that were not asked: their protocols cannot say it
        for leg in legs:
            try:
                return await self.attempt(call, leg)
            except UpstreamError as error:
                failures.append(error)
                if not (retry.moves_on(error) or error.upstream_code == NOT_FOUND):
                    raise
            except InvalidRequest as error:
                unsaid.append(error.with_traceback(None))  # which knows this list
        if not failures:
            raise _unsaid(unsaid)
        verdict = retry.verdict(failures)
        if verdict.upstream_code == NOT_FOUND and call.envelope.continues is not None:
            raise not_found(call.envelope.continues)
        raise verdict

    def _serving(self, call: Call, endpoints: Sequence[Endpoint]) -> list["_Leg"]:
        """The ways to `endpoints` from the client's protocol. Raises InvalidRequest if there is none to one of them."""
        if call.snapshot is not self._world:
            self._legs.clear()
            self._world = call.snapshot
        known = self._legs
        legs = []
        for endpoint in endpoints:
            leg = known.get((call.protocol, id(endpoint), call.needs_words))
            legs.append(leg or self._leg(call, endpoint))
        return legs

    async def _keeping(self, call: Call, legs: "list[_Leg]", id: str) -> "list[_Leg]":
        """Those of `legs` that may have the answer `id`. Raises InvalidRequest if it is known that none has."""
        keeping = [leg for leg in legs if leg.keeps]
        if not keeping:
            return legs  # which say that they cannot go on from an answer
        assert call.principal is not None
        provider = await self.pins.provider_of(id, call.principal)
        found = [leg for leg in keeping if provider in (None, leg.endpoint.provider.name)]
        if not found:
            raise not_found(id)
        return found

    def _leg(self, call: Call, endpoint: Endpoint) -> "_Leg":
        """How to get to `endpoint` from the client's protocol."""
        wire = self._outbound(call, endpoint)
        provider = endpoint.provider
        origin = Origin.of(provider.base_urls[wire.name], provider.ca_file)
        translation = between(call.protocol, wire, needs_words=call.needs_words)
        assert call.snapshot is not None
        credential = call.snapshot.credentials.get(provider.name)
        leg = _Leg(
            endpoint, wire, wire.media_types[1].encode(), translation, origin, self.transports[origin.scheme],
            credential, tuple(answers.secrets(provider, credential)), translation.passes and keeps_answers(wire),
        )  # fmt: skip
        if len(self._legs) >= _REMEMBERED:
            self._legs.clear()
        self._legs[call.protocol, id(endpoint), call.needs_words] = leg
        return leg

    def _outbound(self, call: Call, endpoint: Endpoint) -> Asked:
        """What to speak with `endpoint`: the client's protocol if it can, else one that can be translated."""
        spoken = endpoint.provider.base_urls
        if call.protocol.name in spoken:
            return self.wires[call.protocol.name]
        # In the provider's own order; but what is told as one prompt loses its turns, so that a chat comes before it.
        return min((self.wires[name] for name in spoken), key=takes_prompts)

    async def attempt(self, call: Call, leg: "_Leg") -> Reply:
        """One try at one endpoint, up to its first content. Raises UpstreamError, settled, if it does not get there,
        and InvalidRequest, with nothing sent or written down, if what is asked cannot be said there."""
        endpoint, wire, translation = leg.endpoint, leg.wire, leg.translation
        large = False
        if not translation.passes:
            large = len(call.body) > _LARGE_BYTES  # others shall not wait for it
            if call.request is None:
                await asyncio.to_thread(translation.prepare, call) if large else translation.prepare(call)
                self.buffers.hold_words(call)
            if addresses := translation.addresses(call, endpoint):
                await media.fetch(call, addresses, self.fetcher, self.buffers)
        attempt = Attempt(call, len(call.attempts) + 1, endpoint, wire.name, call.now_us())
        told = await asyncio.to_thread(translation.request, call, endpoint) if large else None
        request = self._request(call, attempt, leg, told)
        response: UpstreamResponse | None = None
        number = self.ledger.intend(attempt)
        call.attempts.append(attempt)
        try:
            if self.ledger.waits:
                await self.ledger.durable(number)
            response = await leg.transport.send(request)
            attempt.status, attempt.sends = response.status, request.sends
            attempt.upstream_request_id = _request_id(response.headers, leg.secrets)
            if not 200 <= response.status < 300:
                raise await answers.refusal(wire, response, self.buffers)
            if call.envelope.stream:  # type: ignore[union-attr]
                return await self._open(call, attempt, leg, response)
            return await self._whole(call, attempt, leg, response)
        except BaseException as error:
            if response is not None:
                response.close()
            if isinstance(error, UpstreamError):
                error.provider, error.request_id = endpoint.provider.name, attempt.upstream_request_id
                if not translation.passes and error.param not in call.envelope.fields:  # type: ignore[union-attr]
                    error.param = None  # it is a place of what the provider was told
                answers.conceal(error, leg.secrets)
                log.info("attempt %s/%d at %s failed: %s", call.id, attempt.number, endpoint.name, error.message)
                _show(error, attempt, leg.secrets)
            if attempt.outcome is None:
                attempt.sends = request.sends
                self._close(attempt, error)
                self.ledger.settle(attempt)
            raise

    def _request(
        self, call: Call, attempt: Attempt, leg: "_Leg", told: tuple[bytes, tuple[str, ...]] | None
    ) -> UpstreamRequest:
        """The attempt's request, signed, and spelt if it was not `told` already."""
        snapshot, endpoint, wire, translation = call.snapshot, leg.endpoint, leg.wire, leg.translation
        assert snapshot is not None
        assert call.envelope is not None
        provider = endpoint.provider
        body, dropped = told or translation.request(call, endpoint)
        if provider.quirks:
            body, more = quirks.applied(provider, body, translated=not translation.passes)
            if more:
                dropped = tuple(sorted({*dropped, *more}))
        if dropped:
            attempt.dropped = dropped
            if requires_parameters(call):
                raise _Dropping(dropped)
        head = request_head(
            provider,
            wire.name,
            wire.path(endpoint.model, call.envelope.stream),
            leg.credential,
            call.headers if translation.passes else None,
        )
        trace = call.headers.get(b"traceparent")
        if trace is not None:
            head += trace_context(trace, call.headers.get(b"tracestate"))
        resent_head = None
        if provider.call_header is not None:
            head, resent_head = with_call(head, provider.call_header, call.id, attempt.number)
        return UpstreamRequest(leg.origin, head, body, snapshot.timeouts, resent_head)

    # ---- whole answers

    async def _whole(self, call: Call, attempt: Attempt, leg: "_Leg", response: UpstreamResponse) -> Reply:
        body = response.whole()
        if body is None:
            body = await answers.read(response, self.max_response_bytes, self.buffers)
        elif len(body) > self.max_response_bytes:
            raise answers.too_large(self.max_response_bytes)
        if not body:
            raise UpstreamBroken("its answer was empty")
        attempt.content_bytes = len(body)
        told = call, attempt.endpoint, body, response.headers
        try:
            if len(body) >= self.buffers.large_bytes:
                await asyncio.to_thread(self.buffers.bound, (body,), passes=leg.translation.passes)
                answer, summary = await asyncio.to_thread(leg.translation.answer, *told)
            else:
                answer, summary = leg.translation.answer(*told)
        except UpstreamBroken as error:
            error.raw = body
            raise
        _note(attempt, summary)
        counted = self.ledger.waits or len(answer) > _SMALL_BYTES
        if counted:
            self.buffers.hold(len(answer))
        self._commit(call, attempt, leg)
        response.close()
        number = self.settle(call, ended_us=attempt.first_content_us)  # before the last byte goes to the client
        headers = [(b"content-type", b"application/json"), *_downstream(attempt)]
        if not counted:
            return Reply(200, headers, answer)
        if self.ledger.waits:
            try:
                await self._secured(number)
            except BaseException:
                self.buffers.release(len(answer))
                raise

        def close(error: BaseException | None) -> None:
            self.buffers.release(len(answer))

        return Reply(200, headers, body=answer, closing=close)

    # ---- streams

    async def _open(self, call: Call, attempt: Attempt, leg: "_Leg", response: UpstreamResponse) -> Reply:
        """Read up to the first content, then hand over to the relay."""
        translation = leg.translation
        kind = response.headers.get(b"content-type", leg.stream_type)
        first = b""
        if not kind.lower().startswith(leg.stream_type):
            first = await response.read()
            if leg.stream_type != sse.MEDIA_TYPE or not sse.begins(first):  # some servers say JSON, and send events
                raise await self._not_a_stream(attempt, translation, response, kind, first)
        stream = translation.stream(call, attempt.endpoint)
        cutter = leg.wire.cutter(self.max_event_bytes)
        held, came = bytearray(), 0
        while not stream.committed:
            chunk, first = first or await response.read(), b""
            if not chunk:
                held += ended(stream, cutter)
                break
            came += len(chunk)
            events = cutter.feed(chunk)
            if attempt.held and attempt.held + len(chunk) >= self.buffers.large_bytes:
                await asyncio.to_thread(self.buffers.bound, events, passes=translation.passes)
            held += stream.feed(events)
            if stream.committed:
                break
            if stream.failed is not None:
                raise stream.failed
            if len(held) > _MAX_HELD_BYTES:
                raise UpstreamBroken(f"it sent {len(held)} bytes without any content")
            attempt.held = self.buffers.recount(attempt.held, len(held) + cutter.held + stream.held)
        _note(attempt, stream.summary)
        self._commit(call, attempt, leg)
        attempt.content_bytes = came
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        finish = partial(self._finish, call, attempt, leg, response, stream)

        async def pour(write: Write) -> bytes:
            relay = Relay(attempt, stream, cutter, self.ledger.journal, self.buffers, write)
            return await self._relay(call, attempt, response, stream, relay, bytes(held), finish)

        def close(error: BaseException | None) -> None:
            finish(None if stream.done else error or asyncio.CancelledError())

        return Reply(200, headers + _downstream(attempt), relaying=pour, closing=close)

    async def _not_a_stream(
        self, attempt: Attempt, translation: Translation, response: UpstreamResponse, kind: bytes, first: bytes
    ) -> UpstreamError:
        body = first + await answers.read(response, answers.MAX_ERROR_BYTES, self.buffers, cut=True)
        try:
            translation.answer(attempt.call, attempt.endpoint, body, response.headers)
            raw = b""  # it can be read: that is for nobody else
        except UpstreamBroken:
            raw = body
        except UpstreamError as error:
            return error
        broken = UpstreamBroken(f"it answered {kind[:60].decode('latin-1')!r} where a stream was asked for")
        broken.raw = raw
        return broken

    async def _relay(
        self,
        call: Call,
        attempt: Attempt,
        response: UpstreamResponse,
        stream: Stream,
        relay: Relay,
        held: bytes,
        finish: Callable[[BaseException | None], FairleadError],
    ) -> bytes:
        """Relay what follows on `held`, the first of it; gives the client's last bytes, once the record is made."""
        try:
            if not stream.done:
                self.ledger.begin(attempt, stream.summary.usage)
                await relay.begin(held)
                await relay.run(response)
                held = relay.rest
            finish(None)
            if self.ledger.waits:
                await self._secured(self.ledger.written)
            return held
        except FairleadError as error:
            told = finish(error)
            return stream.ended_by(told) or call.protocol.encode_error_event(told)
        except BaseException as error:
            finish(error)
            raise

    async def _secured(self, number: int) -> None:
        """Wait for the disk. If it takes nothing, the client has its answer all the same: it is paid for."""
        try:
            await self.ledger.durable(number)
        except Unavailable as error:
            log.error("a settlement is not on the disk: %s", error)

    def _finish(
        self,
        call: Call,
        attempt: Attempt,
        leg: "_Leg",
        response: UpstreamResponse,
        stream: Stream,
        error: BaseException | None,
    ) -> FairleadError:
        """A stream is over: note what it said, let go of the upstream, settle. Gives what the client may hear."""
        if isinstance(error, UpstreamError):
            error.provider = attempt.endpoint.provider.name
            answers.conceal(error, leg.secrets)
            _show(error, attempt, leg.secrets)
        if attempt.outcome is None:
            _note(attempt, stream.summary)
            response.close(ended=stream.done)
            self.settle(call, error)
        return error if isinstance(error, FairleadError) else InternalError()

    # ---- records

    def _commit(self, call: Call, attempt: Attempt, leg: "_Leg") -> None:
        """This attempt answers the call: from here on no other may."""
        if leg.keeps:
            assert call.principal is not None
            self.pins.keep(attempt.upstream_id, leg.endpoint, call.principal)
        call.winner = attempt
        call.status = 200
        attempt.first_content_us = call.first_content_us = call.now_us()

    def settle(self, call: Call, error: BaseException | None = None, *, ended_us: int | None = None) -> int:
        """The call has ended, with `error` or well, just now or at `ended_us`: one record, once. Gives its number in
        the journal."""
        if call.ended_us is not None:
            return 0
        unsettled = call.winner
        if unsettled is not None:
            if unsettled.outcome is None:
                self._close(unsettled, error, ended_us)
                call.ended_us = unsettled.ended_us
            else:
                unsettled = None
        if call.ended_us is None:
            call.ended_us = call.now_us()
        call.outcome = outcome(error)
        if isinstance(error, FairleadError):
            call.error = error
            call.status = call.status or error.status
        elif error is not None and not isinstance(error, asyncio.CancelledError | ConnectionError | GeneratorExit):
            call.error = InternalError()
            call.status = call.status or 500
        self.buffers.release(call.held)
        if call.principal is not None:  # strangers leave no rows
            return self.ledger.record(call, unsettled)
        return 0

    def _close(self, attempt: Attempt, error: BaseException | None, ended_us: int | None = None) -> None:
        if attempt.held:
            attempt.held = self.buffers.recount(attempt.held, 0)
        attempt.outcome = outcome(error)
        attempt.error = error if isinstance(error, FairleadError) else None
        attempt.ended_us = attempt.call.now_us() if ended_us is None else ended_us


def _note(attempt: Attempt, summary: Summary) -> None:
    # What a provider calls something is kept short.
    attempt.upstream_id, attempt.upstream_model = summary.id and summary.id[:200], summary.model and summary.model[:200]
    attempt.finish_reason, attempt.usage = summary.finish_reason and summary.finish_reason[:200], summary.usage


def _request_id(headers: Mapping[bytes, bytes], secrets: Iterable[str]) -> str | None:
    value = headers.get(b"x-request-id") or headers.get(b"request-id") or headers.get(b"x-amzn-requestid")
    if not value:
        return None
    told = value.decode("latin-1")[:200]
    for secret in secrets:
        if secret in told:
            return None
    return told


def _show(error: UpstreamError, attempt: Attempt, secrets: Iterable[str]) -> None:
    """What a provider sent that cannot be read, for whoever looks for the reason; no client and no other log has it."""
    if isinstance(error, UpstreamBroken) and error.raw and log.isEnabledFor(logging.DEBUG):
        shown = error.raw[:_MOST_SHOWN_BYTES]
        for secret in secrets:
            shown = shown.replace(secret.encode("latin-1", "replace"), b"***")
        at = attempt.endpoint.name
        log.debug("of %s/%d at %s: %d bytes, %r", attempt.call.id, attempt.number, at, len(error.raw), shown)


def _downstream(attempt: Attempt) -> list[tuple[bytes, bytes]]:
    """The few headers of the upstream's answer that go on to the client, and what it was not told."""
    told = []
    if attempt.upstream_request_id is not None:
        told.append((b"x-fairlead-upstream-request-id", attempt.upstream_request_id.encode("latin-1")))
    if attempt.dropped:
        told.append((b"x-fairlead-dropped", listed(attempt.dropped).encode()))
    return told


_STRANGE = re.compile(r"[^A-Za-z0-9_.\-]")  # in a name: clients choose some of them


def listed(names: Sequence[str]) -> str:
    """Names for a header or a message, of which some are a client's own: "top_k, logit_bias"."""
    shown = ", ".join([_STRANGE.sub("?", name[:_LONGEST_NAME]) for name in names[:_MOST_NAMES]])
    return shown if len(names) <= _MOST_NAMES else f"{shown}, and {len(names) - _MOST_NAMES} more"


class _Dropping(InvalidRequest):
    """An endpoint's protocol cannot say `names`, and the client requires them."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"No provider of this model can be told all of the request, as 'provider.require_parameters' demands."
            f" What cannot be said: {listed(names)}.",
            param="provider.require_parameters",
            code="not_supported",
        )
        self.names = names


def _unsaid(errors: Sequence[InvalidRequest]) -> InvalidRequest:
    """What the client hears if no endpoint can be told what it asks: a fault of the request's own, or all names."""
    names = [name for error in errors if isinstance(error, _Dropping) for name in error.names]
    return next((error for error in errors if not isinstance(error, _Dropping)), _Dropping(sorted(set(names))))
