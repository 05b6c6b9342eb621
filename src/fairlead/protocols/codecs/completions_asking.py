"""Requests for OpenAI's completions, as we send them to providers: a conversation as one prompt.

https://platform.openai.com/docs/api-reference/completions/create
"""

from typing import Any

import msgspec
from msgspec import Raw

from fairlead.chat import Request
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import prompts
from fairlead.protocols.codecs.completions_request import NAME
from fairlead.protocols.envelope import NULL, given, typed

_BESIDE = frozenset({"n", "logprobs"})  # of its own: other answers, and what is told beside one
_fields = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.encode


def encode(request: Request, default_max_tokens: int) -> Encoded:
    """The body that asks for `request`. What only another format knows is left out."""
    body, dropped = prompts.spelt(request, prompts.OPENAI, NAME, default_max_tokens)
    own = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    # Our words tell one answer, and nothing beside it.
    dropped |= {name for name in _BESIDE if given(own.get(name, NULL)) is not None}
    told: dict[str, Any] = {name: raw for name, raw in own.items() if name not in _BESIDE}
    told |= {"model": request.model, **body}
    options: dict[str, Raw] = typed(told.pop("stream_options", Raw(b"{}")), _fields, "stream_options")
    if request.stream:
        told |= {"stream": True, "stream_options": {**options, "include_usage": True}}
    return Encoded(_encode(told), tuple(sorted(dropped)))
