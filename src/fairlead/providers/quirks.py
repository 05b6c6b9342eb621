"""Oddities of vendors, one small named function each, on the top-level fields of a request as raw bytes.

They concern requests we wrote ourselves: what a client wrote for the same format passes as it is. A row names its
quirks; `no_stream_options` also keeps `translation.py` from asking for usage.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw

from fairlead.resources import Provider

Fields = dict[str, Raw]
_top_level = msgspec.json.Decoder(Fields)
_encode = msgspec.json.encode


def max_completion_tokens(fields: Fields) -> None:
    """Newer models refuse `max_tokens`; those that complete a prompt know nothing else.

    https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_completion_tokens
    """
    if "max_tokens" in fields and "prompt" not in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")


def no_stream_options(fields: Fields) -> None:
    """The server refuses `stream_options`; usage comes by itself."""
    fields.pop("stream_options", None)


KNOWN: dict[str, Callable[[Fields], None]] = {
    "max_completion_tokens": max_completion_tokens,
    "no_stream_options": no_stream_options,
}


def applied(provider: Provider, body: bytes, *, translated: bool) -> bytes:
    """`body` as `provider` wants it. `translated`: we wrote it."""
    if not translated:
        return body
    fields = _top_level.decode(body)
    for name in provider.quirks:
        KNOWN[name](fields)
    return _encode(fields)
