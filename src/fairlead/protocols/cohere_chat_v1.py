"""Cohere's chat, version 1, which Cohere keeps for clients that were there before version 2.

https://docs.cohere.com/v1/reference/chat. Providers speak it, clients do not. The codecs stand in `codecs`:
`cohere_v1_request`, `cohere_v1_answer`, `cohere_errors`. The base URL ends in `/v1`.
"""

from collections.abc import Mapping

from fairlead.chat import Request, Response
from fairlead.errors import UpstreamError
from fairlead.protocols import NO_HEADERS, Cutter, Encoded, EventDecoder, ndjson
from fairlead.protocols.codecs import cohere_errors, cohere_v1_answer, cohere_v1_request


class CohereChatV1:
    """The format of `/v1/chat`: an `Outbound`."""

    name = cohere_v1_request.NAME
    media_types = ("application/json", "application/stream+json")

    def path(self, model: str, stream: bool) -> str:
        return "/chat"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return ndjson.LineCutter(max_event_bytes)  # also of an event stream: each event has one line of data

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return cohere_v1_request.encode(request)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return cohere_v1_answer.decode(body)

    def event_decoder(self) -> EventDecoder:
        return cohere_v1_answer.Decoder()

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return cohere_errors.decode(status, body)
