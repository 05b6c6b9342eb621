"""Requests for OpenAI's completions, as clients send them: the prompt is what a user says. What is asked of providers:
`completions_asking`.

https://platform.openai.com/docs/api-reference/completions/create
"""

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Message, Opaque, Request, Text
from fairlead.errors import InvalidRequest
from fairlead.protocols.envelope import left_over, typed

NAME = "openai-completions"


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Request(Struct):
    prompt: str | list[str | int | list[int]]
    model: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    n: int | None = None
    best_of: int | None = None


_UNDERSTOOD = frozenset(field.name for field in msgspec.structs.fields(_Request))
_PARTLY = {"stream_options": frozenset({"include_usage"})}
_request = msgspec.json.Decoder(_Request)


def decode(fields: dict[str, Raw], body: bytes) -> Request:
    """`fields` is the body's top level. Raises InvalidRequest for a prompt that is no single text: models of a chat
    answer one, and know no tokens of others. `max_tokens` is the client's own: 16, which is meant where it is left out,
    is no answer of a chat."""
    told = typed(body, _request, "")
    extra = {name: Opaque(NAME, raw) for name, raw in left_over(fields, _UNDERSTOOD, _PARTLY)}
    for name in ("n", "best_of"):  # one answer is what there is unasked
        if (getattr(told, name) or 1) > 1:
            extra[name] = Opaque(NAME, fields[name])
    return Request(
        model=told.model,
        messages=(Message("user", (Text(_text(told.prompt)),)),),
        max_tokens=told.max_tokens,
        temperature=told.temperature,
        top_p=told.top_p,
        frequency_penalty=told.frequency_penalty,
        presence_penalty=told.presence_penalty,
        seed=told.seed,
        stop=(told.stop,) if isinstance(told.stop, str) else tuple(told.stop or ()),
        stream=bool(told.stream),
        include_usage=told.stream_options is not None and bool(told.stream_options.include_usage),
        user=told.user,
        extra=extra,
    )


def _text(prompt: str | list[str | int | list[int]]) -> str:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    if isinstance(prompt, str):
        return prompt
    told = "'prompt' must be one text: this model's provider serves no completions, and its chat neither reads tokens"
    raise InvalidRequest(f"{told} nor answers several prompts.", param="prompt", code="not_supported")
