"""Ollama's own chat. https://docs.ollama.com/api/chat

Providers speak it, clients do not. The codecs stand in `codecs`: `ollama_request`, `ollama_answer`. The base URL
ends in `/api`.
"""

from collections.abc import Mapping

from fairlead.chat import Media, Request, Response
from fairlead.errors import UpstreamError
from fairlead.protocols import NO_HEADERS, Cutter, Encoded, EventDecoder, ndjson
from fairlead.protocols.codecs import ollama_answer, ollama_request, wording


class OllamaChat:
    """The format of `/api/chat`: an `Outbound`."""

    name = ollama_request.CHAT
    media_types = ("application/json", "application/x-ndjson")

    def path(self, model: str, stream: bool) -> str:
        return "/chat"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return ndjson.LineCutter(max_event_bytes)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return ollama_request.encode(request)

    def wants_bytes(self, media: Media, model: str) -> bool:
        """Images, and documents, which are told if they are text."""
        return media.kind in ("image", "document") and wording.is_of_the_web(media)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return ollama_answer.decode(body)

    def event_decoder(self) -> EventDecoder:
        return ollama_answer.Decoder()

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return ollama_answer.decode_error(status, body)
