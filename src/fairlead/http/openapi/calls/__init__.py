"""Operations that call a model: a file for each format that clients speak.

Each has `calls`, which gives its operations by their paths.
"""

import inspect
import re
from typing import Any

from msgspec import Struct

from fairlead import errors
from fairlead.chat import Response, Text, Usage, tell
from fairlead.http.openapi.pieces import KEYS, Schema, answered, operation, parameters, ref
from fairlead.http.openapi.refusals import ANTHROPIC, Dialect, all_answers, of_provider
from fairlead.protocols import ChatProtocol, Wire

CREATED = 1_795_219_200
ASKED = [{"role": "user", "content": "Say hello."}]
SAID = Response("chatcmpl-D0xUy3", "gpt-4o-mini-2024-07-18", (Text("Hello!"),), "stop", Usage(10, 2), created=CREATED)
STREAMS = (
    "The answer is one JSON object, or with `stream` a stream of server-sent events, of which the schema describes one."
)

_BROKEN = of_provider(errors.UpstreamBroken("its answer was cut off"))
_TIMES = re.compile(rb'"(created|created_at|completed_at)":\d+')


def streamed(wire: ChatProtocol, response: Response) -> bytes:
    encode = wire.event_encoder(include_usage=True)
    return b"".join(map(encode, tell(response)))


def failing(wire: Wire, told: bytes) -> bytes:
    """`told`, and how the stream would end with an error instead."""
    return timeless(told + wire.encode_error_event(_BROKEN))


def timeless(told: bytes) -> bytes:
    """`told` at a time that is always the same."""
    return _TIMES.sub(rb'"\1":%d' % CREATED, told)


class Call(Struct, frozen=True):
    """An operation that calls a model, in one dialect."""

    id: str
    dialect: Dialect
    summary: str
    request: type[Struct]
    asked: dict[str, Any]  # examples, by what they are of
    content: Schema  # of an answer that tells no error
    tells: str = STREAMS  # what else there is to say
    headers: tuple[str, ...] = ("X-Fairlead-Upstream-Request-Id", "X-Fairlead-Dropped", "Cache-Control.of-streams")
    parameters: tuple[str, ...] = ()
    keys: tuple[Schema, ...] = KEYS


COUNTS = "What is told is how many tokens the request has; nothing is asked of the model."
COUNTED = ("X-Fairlead-Estimated",)  # the headers of such an answer


def described(call: Call, tag: str) -> Schema:
    headers = ["X-Request-Id", "X-Generation-Id", *call.headers]
    if call.dialect is ANTHROPIC:
        headers.append("Request-Id")
    asked = {name: {"value": value} for name, value in call.asked.items()}
    what = inspect.cleandoc(call.request.__doc__ or "").replace("\n", " ")
    well = answered("What the model answers." if call.tells is not COUNTS else "The tokens.", call.content, headers)
    return operation(
        call.id,
        tag,
        call.summary,
        f"{what}\n\n{call.tells}",
        all_answers("call", call.dialect, {200: well}),
        security=call.keys,
        parameters=parameters("X-Request-Id", *call.parameters),
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": ref(call.request), "examples": asked}},
        },
    )
