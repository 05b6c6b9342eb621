"""Operations that call a model: a file for each format that clients speak."""

import inspect
import re
from typing import Any

from msgspec import Struct

from fairlead import errors
from fairlead.chat import Response, Text, Usage, tell
from fairlead.http.openapi.pieces import KEYS, Schema, answered, operation, parameters, ref
from fairlead.http.openapi.refusals import ANTHROPIC, Dialect, all_answers, of_provider
from fairlead.http.openapi.streams import stream_of
from fairlead.protocols import ChatProtocol, Wire

CREATED = 1_795_219_200
ASKED = [{"role": "user", "content": "Say hello."}]
SAID = Response("chatcmpl-D0xUy3", "gpt-4o-mini-2024-07-18", (Text("Hello!"),), "stop", Usage(10, 2), created=CREATED)


_BROKEN = of_provider(errors.UpstreamBroken("its answer was cut off"))


def streamed(wire: ChatProtocol, response: Response) -> bytes:
    encode = wire.event_encoder(include_usage=True)
    return b"".join(map(encode, tell(response)))


def failing(wire: Wire, told: bytes) -> bytes:
    """`told`, and how the stream would end with an error instead; at a time that is always the same."""
    return told + re.sub(rb'"created":\d+', b'"created":%d' % CREATED, wire.encode_error_event(_BROKEN))


class Call(Struct, frozen=True):
    """An operation that calls a model, in one dialect."""

    id: str
    wire: Wire
    dialect: Dialect
    request: type[Struct]
    answer: type[Struct]
    event: str
    summary: str
    asked: dict[str, Any]
    told: Any  # a whole answer
    streamed: bytes
    parameters: tuple[str, ...] = ()


def called(call: Call, tag: str) -> Schema:
    headers = [
        "X-Request-Id", "X-Generation-Id", "X-Fairlead-Upstream-Request-Id", "X-Fairlead-Dropped",
        "Cache-Control.of-streams",
    ]  # fmt: skip
    if call.dialect is ANTHROPIC:
        headers.append("Request-Id")
    content = {
        "application/json": {"schema": ref(call.answer), "examples": {"an answer": {"value": call.told}}},
        **stream_of(call.event, call.streamed),
    }
    asked = {name: {"value": value} for name, value in call.asked.items()}
    description = (
        inspect.cleandoc(call.request.__doc__ or "").replace("\n", " ")
        + "\n\nThe answer is one JSON object, or with `stream` a stream of server-sent events, of which the schema"
        " describes one."
    )
    answers = all_answers("call", call.dialect, {200: answered("What the model answers.", content, headers)})
    return operation(
        call.id,
        tag,
        call.summary,
        description,
        answers,
        security=KEYS,
        parameters=parameters("X-Request-Id", *call.parameters),
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": ref(call.request), "examples": asked}},
        },
    )
