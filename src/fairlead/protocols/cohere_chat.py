"""Cohere's chat, version 2. https://docs.cohere.com/reference/chat

Providers speak it, clients do not. The codecs stand in `codecs`: `cohere_request`, `cohere_answer`,
`cohere_errors`. The base URL ends in `/v2`.
"""

from collections.abc import Mapping

from fairlead.chat import Request, Response
from fairlead.errors import UpstreamError
from fairlead.protocols import NO_HEADERS, Cutter, Encoded, EventDecoder, sse
from fairlead.protocols.codecs import cohere_answer, cohere_errors, cohere_request


class CohereChat:
    """The format of `/v2/chat`: an `Outbound`."""

    name = cohere_request.NAME
    media_types = ("application/json", "text/event-stream")

    def path(self, model: str, stream: bool) -> str:
        return "/chat"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return cohere_request.encode(request)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return cohere_answer.decode(body)

    def event_decoder(self) -> EventDecoder:
        return cohere_answer.Decoder()

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return cohere_errors.decode(status, body)
