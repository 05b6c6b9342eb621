"""Oddities of vendors, one small named function each, on the top-level fields of a request as raw bytes.

They concern requests we wrote ourselves: what a client wrote for the same format passes as it is. A row names its
quirks, and a quirk names what of a client's wishes it leaves out; `no_stream_options` also keeps `translation.py` from
asking for usage.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw

from fairlead.resources import Provider

Fields = dict[str, Raw]
_top_level = msgspec.json.Decoder(Fields)
_encode = msgspec.json.encode


def max_completion_tokens(fields: Fields) -> tuple[str, ...]:
    """Newer models refuse `max_tokens`; those that complete a prompt know nothing else.

    https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_completion_tokens
    """
    if "max_tokens" in fields and "prompt" not in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    return ()


def no_openai_fields(fields: Fields) -> tuple[str, ...]:
    """The server refuses fields that are OpenAI's own, as clients of its Responses API send them unasked."""
    found = tuple(name for name in _OPENAIS if name in fields)
    for name in found:
        del fields[name]
    return found


def no_stream_options(fields: Fields) -> tuple[str, ...]:
    """The server refuses `stream_options`; usage comes by itself."""
    fields.pop("stream_options", None)
    return ()


_OPENAIS = (
    "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "verbosity",
)  # fmt: skip
KNOWN: dict[str, Callable[[Fields], tuple[str, ...]]] = {
    "max_completion_tokens": max_completion_tokens,
    "no_openai_fields": no_openai_fields,
    "no_stream_options": no_stream_options,
}


def applied(provider: Provider, body: bytes, *, translated: bool) -> tuple[bytes, tuple[str, ...]]:
    """`body` as `provider` wants it, and the names of what it does not say. `translated`: we wrote it."""
    if not translated:
        return body, ()
    fields = _top_level.decode(body)
    dropped = [dropped for name in provider.quirks for dropped in KNOWN[name](fields)]
    return _encode(fields), tuple(dropped)
