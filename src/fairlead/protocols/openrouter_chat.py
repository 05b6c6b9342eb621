"""The dialect of `/api/v1`: OpenAI's formats, where OpenRouter's clients expect something else.

Its SDK wants `error.code` as a number with `metadata` beside it, and some top-level fields that not every provider
sends. https://openrouter.ai/docs/api/reference/errors-and-debugging
"""

import time
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.errors import FairleadError, UpstreamError
from fairlead.protocols import sse
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions

_encode = msgspec.json.encode
_top_level = msgspec.json.Decoder(dict[str, Raw])
_NULL = Raw(b"null")


class _Dialect:
    """How errors and answers are spelt here."""

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode({"error": _told(error)})

    def encode_error_event(self, error: FairleadError) -> bytes:
        chunk = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": "",
            "error": _told(error),
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "error"}],
        }
        return sse.event(_encode(chunk))

    def dress(self, body: bytes) -> bytes:
        """With `system_fingerprint`, which must be there, if only as null."""
        if b'"system_fingerprint"' in body:
            return body
        fields = _top_level.decode(body)
        fields["system_fingerprint"] = _NULL
        return _encode(fields)


class OpenRouterChat(_Dialect, OpenAIChat):
    """`/api/v1/chat/completions`."""


class OpenRouterCompletions(_Dialect, OpenAICompletions):
    """`/api/v1/completions`."""


def _told(error: FairleadError) -> dict[str, Any]:
    metadata: dict[str, Any] = {"error_type": error.code, "retryable": error.retryable}
    if error.param is not None:
        metadata["param"] = error.param
    if isinstance(error, UpstreamError) and error.provider is not None:
        metadata["provider_name"] = error.provider
    return {"code": error.status, "message": str(error), "metadata": metadata}
