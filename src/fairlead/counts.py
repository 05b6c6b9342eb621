"""How many tokens a request has, without an answer: identify → authorize → resolve → ask, or estimate.

A provider of the model that counts is asked, in whatever format it can be asked. Where none can, the number is an
estimate from the length of the texts, and says so. Counting costs nothing and leaves no record.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping

from msgspec import structs

from fairlead import answers, media, places, policy, routing
from fairlead.auth import Auth
from fairlead.buffers import Buffers
from fairlead.call import Call, Counted, ReadBody, Reply, outcome
from fairlead.catalog import Catalog
from fairlead.chat import Media, Message, Part, Reasoning, Request, Text, Tool, ToolResult, ToolUse
from fairlead.errors import FairleadError, InternalError, InvalidRequest, UpstreamError
from fairlead.pins import Pins
from fairlead.protocols import Asked, CountsAsked, counts_for_clients, is_counting, may_want_bytes
from fairlead.providers.signing import request_head
from fairlead.resources import Credential, Endpoint
from fairlead.routing import retry
from fairlead.translation import OWN_FIELDS, checked
from fairlead.upstream import Origin, Transport, UpstreamRequest
from fairlead.upstream.fetching import Fetcher

log = logging.getLogger("fairlead.counts")

_MAX_ANSWER_BYTES = 64 << 10
_UNSERVED = (404, 405, 501)  # what a server says that has no such endpoint
# Bytes of text a token has, and how many tokens anything else is taken for: right within a factor of two.
_PLAIN = Counted(4.0)
_MEDIA_TOKENS = 1000
_MESSAGE_TOKENS = 4
ESTIMATED = (b"x-fairlead-estimated", b"input_tokens")


class Counts:
    """Answers calls as `Pipeline` does, with a number."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        auth: Auth,
        wires: Mapping[str, Asked],
        transports: Mapping[str, Transport],
        buffers: Buffers,
        pins: Pins,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.catalog, self.auth, self.wires = catalog, auth, wires
        self.transports, self.buffers, self.pins, self.fetcher = transports, buffers, pins, fetcher

    async def handle(self, call: Call, read_body: ReadBody) -> Reply:
        """The reply to `call`. Raises FairleadError, or whatever ended it."""
        call.snapshot = self.catalog.current
        try:
            call.principal = await self.auth.identify(call.headers, call.snapshot.file_keys, call.arrival.address)
            body = read_body()
            call.body = body if isinstance(body, bytes) else await body
            self.buffers.hold(len(call.body))
            call.held = len(call.body)
            if len(call.body) >= self.buffers.large_bytes:
                await asyncio.to_thread(self.buffers.admit, call.body)
            reply = await self._counted(call)
        except BaseException as error:
            self._over(call, error)
            raise
        self._over(call, None)
        return reply

    async def _counted(self, call: Call) -> Reply:
        format, snapshot = call.protocol, call.snapshot
        assert counts_for_clients(format)
        assert snapshot is not None
        assert call.principal is not None
        call.envelope = await asyncio.to_thread(format.peek_count, call.body)
        if call.target is not None:
            call.envelope.model, _ = call.target
        policy.authorize(call.principal, snapshot.policy, format, call.envelope)
        call.route = snapshot.resolve(call.envelope.model, call.principal)
        headers = [(b"content-type", b"application/json")]
        tokens = await self._asked(call)
        if tokens is None:
            tokens = estimate(await self._words(call))
            headers.append(ESTIMATED)
        call.status = 200
        return Reply(200, headers, body=format.encode_count(tokens))

    async def _words(self, call: Call) -> Request:
        """Only what another format is told, or an estimate stands on, has to be understood."""
        if call.request is None:
            assert counts_for_clients(call.protocol)
            assert call.envelope is not None
            words = await asyncio.to_thread(call.protocol.decode_count, call.body)
            call.request = checked(words, call.envelope)
            self.buffers.hold_words(call)
        return call.request

    async def _asked(self, call: Call) -> int | None:
        """What the first provider counts that can; None if none can. Raises FairleadError."""
        assert call.route is not None
        assert call.snapshot is not None
        failures: list[UpstreamError] = []
        unsaid: InvalidRequest | None = None
        keeper = await self._keeper(call)
        for endpoint in routing.plan(call.route):
            if keeper not in (None, endpoint.provider.name):
                continue
            for wire in self._counting(call, endpoint):
                credential = call.snapshot.credentials.get(endpoint.provider.name)
                try:
                    return await self._ask(call, endpoint, wire, credential)
                except InvalidRequest as error:  # it cannot be said there
                    unsaid = error.with_traceback(None)
                except UpstreamError as error:
                    error.provider = endpoint.provider.name
                    answers.conceal(error, answers.secrets(endpoint.provider, credential))
                    log.info("counting %s at %s failed: %s", call.id, endpoint.name, error.message)
                    if error.upstream_status not in _UNSERVED:
                        failures.append(error)
                        if not retry.moves_on(error):
                            raise
        if failures:
            raise retry.verdict(failures)
        if unsaid is not None:
            raise unsaid
        return None

    async def _keeper(self, call: Call) -> str | None:
        """The one provider that has the answer from which `call` goes on, if that is known."""
        assert call.envelope is not None
        assert call.principal is not None
        if call.envelope.continues is None:
            return None
        return await self.pins.provider_of(call.envelope.continues, call.principal)

    def _counting(self, call: Call, endpoint: Endpoint) -> Iterator[CountsAsked]:
        """What `endpoint` can be asked in, the client's own format first."""
        spoken = endpoint.provider.base_urls
        for name in sorted(spoken, key=lambda name: name != call.protocol.name):
            wire = self.wires[name]
            if is_counting(wire):
                yield wire

    async def _ask(self, call: Call, endpoint: Endpoint, wire: CountsAsked, credential: Credential | None) -> int:
        snapshot, provider = call.snapshot, endpoint.provider
        assert snapshot is not None
        same = wire.name == call.protocol.name
        if same and counts_for_clients(call.protocol):
            body = call.protocol.patch_count(call.body, endpoint.model, drop=OWN_FIELDS)
        else:
            words = await self._words(call)
            if may_want_bytes(wire) and (addresses := media.wanted(words, wire, endpoint.model)):
                await media.fetch(call, addresses, self.fetcher, self.buffers)
                assert call.fetched is not None
                words = media.with_bytes(words, wire, endpoint.model, call.fetched)
            extra = {name: opaque for name, opaque in words.extra.items() if name not in OWN_FIELDS}
            asked = structs.replace(words, model=endpoint.model, extra=extra, stream=False)
            try:
                body = wire.encode_count_request(asked)
            except InvalidRequest as error:
                raise places.named(call, error, words) from None
        head = request_head(
            provider, wire.name, wire.count_path(endpoint.model), credential, call.headers if same else None
        )
        origin = Origin.of(provider.base_urls[wire.name], provider.ca_file)
        response = await self.transports[origin.scheme].send(UpstreamRequest(origin, head, body, snapshot.timeouts))
        try:
            if not 200 <= response.status < 300:
                raise await answers.refusal(wire, response, self.buffers)
            return wire.decode_counted(await answers.read(response, _MAX_ANSWER_BYTES, self.buffers))
        finally:
            response.close()

    def _over(self, call: Call, error: BaseException | None) -> None:
        self.buffers.release(call.held)
        call.ended_us = call.now_us()
        call.outcome = outcome(error)
        if isinstance(error, FairleadError):
            call.error, call.status = error, error.status
        elif call.outcome == "failed":
            call.error, call.status = InternalError(), 500


def estimate(request: Request) -> int:
    """Tokens that a request of this length has, more or less."""
    tokens = sum(_PLAIN.tokens(_size(tool)) for tool in request.tools if isinstance(tool, Tool))
    return tokens + sum(_of_message(message) for message in request.messages)


def _of_message(message: Message) -> int:
    return _MESSAGE_TOKENS + sum(map(_of_part, message.parts))


def _of_part(part: Part) -> int:
    match part:
        case Text(text=text) | Reasoning(text=text):
            return _PLAIN.tokens(len(text.encode()))
        case ToolUse(name=name, arguments=arguments):
            return _PLAIN.tokens(len(name) + len(arguments.encode()))
        case ToolResult(content=content):
            return sum(map(_of_part, content))
        case Media(text=str(text)):
            return _PLAIN.tokens(len(text.encode()))
        case Media():
            return _MEDIA_TOKENS
    return _PLAIN.tokens(len(part.raw))


def _size(tool: Tool) -> int:
    return len(tool.name) + len((tool.description or "").encode()) + len(tool.schema or b"")
