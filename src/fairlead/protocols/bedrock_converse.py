"""AWS Bedrock's Converse: one format for all its models. What providers speak, not clients.

The codecs stand in `codecs`: `bedrock_request`, `bedrock_answer`, `bedrock_stream`, `bedrock_errors`. Its streams are
`aws_eventstream`. Requests are signed elsewhere.
https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from fairlead.chat import Media, Request, Response
from fairlead.errors import UpstreamError
from fairlead.protocols import NO_HEADERS, Cutter, Encoded, EventDecoder
from fairlead.protocols.aws_eventstream import MEDIA_TYPE, EventCutter
from fairlead.protocols.codecs import (
    bedrock_answer,
    bedrock_errors,
    bedrock_request,
    bedrock_stream,
    token_counts,
    wording,
)
from fairlead.protocols.codecs.bedrock_models import NAME

_COUNTED = frozenset("messages system toolConfig additionalModelRequestFields".split())
_encode = msgspec.json.encode


class BedrockConverse:
    """The format of `/model/{id}/converse`: an `Outbound`."""

    name = NAME
    media_types = ("application/json", MEDIA_TYPE)

    def path(self, model: str, stream: bool) -> str:
        """Model ids hold colons, those of profiles slashes: they are percent-encoded, whole."""
        return f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return EventCutter(max_event_bytes)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        """Bedrock requires no number of tokens, so that `default_max_tokens` is not needed."""
        return bedrock_request.encode(request)

    def wants_bytes(self, media: Media, model: str) -> bool:
        """All but what stands in S3."""
        return wording.is_of_the_web(media)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return bedrock_answer.decode(body)

    def event_decoder(self) -> EventDecoder:
        return bedrock_stream.Decoder()

    # ---- tokens that are only counted: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html

    def count_path(self, model: str) -> str:
        return f"/model/{quote(model, safe='')}/count-tokens"

    def encode_count_request(self, request: Request) -> bytes:
        return _encode({"input": {"converse": token_counts.only(bedrock_request.encode(request).body, _COUNTED)}})

    def decode_counted(self, body: bytes) -> int:
        return token_counts.counted(body, "inputTokens")

    # ---- errors

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return bedrock_errors.decode(status, body, headers)
