"""Anthropic's messages, and its older text completions.

https://docs.anthropic.com/en/api/messages https://docs.anthropic.com/en/api/complete
"""

from collections.abc import Callable, Iterable

from fairlead.chat import Event, Request, Response, Usage
from fairlead.errors import InvalidRequest
from fairlead.protocols import sse
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.providers.simulator.dialects import HERE, Dialect, Fields, Place, encode, fields_of, take
from fairlead.providers.simulator.dialects.prompts import CLAUDE, Pieces, text_of
from fairlead.providers.simulator.models import Wire

_ANTHROPIC_ERRORS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


class AnthropicDialect(Dialect):
    """What the two formats share."""

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        kind = _ANTHROPIC_ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sim"})

    def error_event(self) -> bytes:
        return sse.event(self.error(529, "Overloaded"), b"error")

    def models(self, names: Iterable[str]) -> bytes:
        facts = {"type": "model", "created_at": "2026-01-01T00:00:00Z"}
        rows = [{"id": name, "display_name": f"Simulator {name}", **facts} for name in names]
        return encode({"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]})


class Messages(AnthropicDialect):
    """Anthropic's messages."""

    reads_itself = False
    name: Wire = "anthropic-messages"
    text_marks = (b"content_block_delta",)
    broken_event = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{\n\n'
    _wire = AnthropicMessages()

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        envelope = self._wire.peek(body)
        if not envelope.model:
            raise InvalidRequest("model: Field required", param="model")
        if envelope.max_tokens is None and not place.counts:
            raise InvalidRequest("max_tokens: Field required", param="max_tokens")
        return self._wire.decode_request(body)

    def encode(self, response: Response, request: Request) -> bytes:
        return self._wire.encode_response(response)

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        return self._wire.event_encoder(include_usage=True)

    def is_end(self, event: bytes) -> bool:
        return event.startswith(b"event: message_stop\n")


class Complete(AnthropicDialect):
    """Anthropic's older text completions."""

    name: Wire = "anthropic-completions"
    text_marks = (b'"completion":"',)
    broken_event = b'event: completion\ndata: {"type":"completion","completion":\n\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = fields_of(body)
        model = take(fields, "model", str)
        if not model:
            raise InvalidRequest("model: Field required", param="model")
        return CLAUDE.read(fields, Place(model, bool(take(fields, "stream", bool))))

    def encode(self, response: Response, request: Request) -> bytes:
        told = CLAUDE.whole(text_of(response), response, response.usage or Usage())
        return encode({**_facts(response), **told})

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        pieces = Pieces(CLAUDE, response)

        def told(event: Event) -> bytes:
            facts = _facts(response)
            return b"".join(sse.event(encode({**facts, **piece}), b"completion") for piece in pieces(event))

        return told

    def is_end(self, event: bytes) -> bool:
        return b'"stop_reason":"' in event


def _facts(response: Response) -> Fields:
    return {"id": response.id, "model": response.model, "log_id": response.id}


MESSAGES, COMPLETE = Messages(), Complete()
