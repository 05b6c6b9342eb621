"""AWS Bedrock's InvokeModel: each family of models in its own format, which its id tells.

Anthropic's messages, chat completions and Cohere's version 1 are those of their vendors' own dialects, without what
stands in the address.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec
from msgspec import structs

from fairlead.chat import Event, Finish, Part, PartDelta, PartStart, Reasoning, Request, Response, Usage
from fairlead.errors import InvalidRequest
from fairlead.providers.simulator.dialects import HERE, Dialect, Fields, Headers, Place, bedrock, encode, fields_of
from fairlead.providers.simulator.dialects.anthropic import MESSAGES
from fairlead.providers.simulator.dialects.bedrock import CONVERSE, Bedrock, usage_of
from fairlead.providers.simulator.dialects.cohere import EventsV1, answer_v1, read_v1
from fairlead.providers.simulator.dialects.openai import CHAT
from fairlead.providers.simulator.dialects.prompts import (
    CLAUDE,
    COMMAND,
    LLAMA,
    MISTRAL,
    TITAN,
    Family,
    Pieces,
    text_of,
)
from fairlead.providers.simulator.framing import chunk
from fairlead.providers.simulator.models import Wire

_METRICS = "amazon-bedrock-invocationMetrics"
_REGIONS = re.compile(r"^(?:sim/)?(?:(?:us-gov|us|eu|apac|ap|jp|au|ca|sa|me|af|global)\.)?")


class Spoken(Protocol):
    """What a family takes and gives."""

    def read(self, fields: Fields, place: Place) -> Request: ...

    def whole(self, response: Response, request: Request) -> Fields: ...

    def pieces(self, request: Request, response: Response) -> Callable[[Event], Iterable[Fields]]: ...


class Invoke(Bedrock):
    """`POST /model/{id}/invoke`, `/invoke-with-response-stream`, and of `/count-tokens` what asks in these formats."""

    name: Wire = "bedrock-invoke"
    usage_fields = frozenset(
        {
            "usage", "meta", _METRICS, "inputTextTokenCount", "totalOutputTextTokenCount", "prompt_token_count",
            "generation_token_count",
        }
    )  # fmt: skip
    usage_within = ("message", "metadata", "response")
    text_marks = (
        b'"text_delta"',
        b'"delta":{"text"',
        b'"delta":{"content"',
        b'"text":"',
        b'"generation":"',
        b'"completion":"',
        b'"outputText":"',
    )
    broken_event = chunk(b'{"type":"content_block_delta","index":0,"delta":{')

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = fields_of(body)
        return structs.replace(_family(place.model or "").read(fields, place), stream=bool(place.stream))

    def encode(self, response: Response, request: Request) -> bytes:
        return encode(_family(request.model).whole(response, request))

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        pieces = _family(request.model).pieces(request, response)

        def told(event: Event) -> bytes:
            all_of = list(pieces(event))
            if isinstance(event, Finish) and all_of:
                all_of[-1] = {**all_of[-1], _METRICS: _metrics(event.usage or Usage())}
            return b"".join(chunk(encode(fields)) for fields in all_of)

        return told

    def headers(self, response: Response, request: Request) -> Headers:
        named = super().headers(response, request)
        if request.stream:
            return ((b"x-amzn-bedrock-content-type", b"application/json"), *named)
        if response.usage is None:
            return named
        counted = usage_of(response.usage)
        names = {
            b"input": "inputTokens", b"output": "outputTokens", b"cache-read-input": "cacheReadInputTokens",
            b"cache-write-input": "cacheWriteInputTokens",
        }  # fmt: skip
        tokens = [(b"x-amzn-bedrock-%b-token-count" % name, b"%d" % counted[field]) for name, field in names.items()]
        return (*tokens, (b"x-amzn-bedrock-invocation-latency", b"100"), *named)

    def without_usage(self, told: bytes) -> bytes:
        """Titan counts within its results."""
        return re.sub(rb'"tokenCount":\d+,', b"", super().without_usage(told))

    def is_end(self, event: bytes) -> bool:
        return _METRICS.encode() in self.framing.data(event)


class Counting(Bedrock):
    """`POST /model/{id}/count-tokens`, whichever of the two formats its input is in."""

    name: Wire = "bedrock-converse"
    broken_event = b""

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        match fields_of(body).get("input"):
            case {"converse": dict(inner)}:
                return bedrock.read(inner, place)
            case {"invokeModel": {"body": str(inner)}}:
                try:
                    return INVOKE.decode(b64decode(inner, validate=True), place)
                except ValueError:
                    raise InvalidRequest("The body at input.invokeModel is not base64.") from None
        raise InvalidRequest("The value at input must have exactly one of the members converse, invokeModel.")

    def encode(self, response: Response, request: Request) -> bytes:
        return CONVERSE.encode(response, request)

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        return CONVERSE.encoder(request, response)

    def is_end(self, event: bytes) -> bool:
        return False


def _metrics(usage: Usage) -> Fields:
    told = usage_of(usage)
    return {
        "inputTokenCount": told["inputTokens"],
        "outputTokenCount": told["outputTokens"],
        "invocationLatency": 100,
        "firstByteLatency": 10,
        "cacheReadInputTokenCount": told["cacheReadInputTokens"],
        "cacheWriteInputTokenCount": told["cacheWriteInputTokens"],
    }


# ---- families


class _Delegated:
    """A format that its vendor speaks elsewhere, as server-sent events, without the fields in `elsewhere`."""

    def __init__(self, dialect: Dialect, version: str | None, elsewhere: frozenset[str]) -> None:
        """`version`: what `anthropic_version` must be."""
        self._dialect, self._version, self._elsewhere = dialect, version, elsewhere

    def read(self, fields: Fields, place: Place) -> Request:
        for name in sorted(self._elsewhere & fields.keys()):
            raise InvalidRequest(
                f"Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input"
            )
        if self._version is not None and fields.pop("anthropic_version", None) != self._version:
            raise InvalidRequest(f"anthropic_version: Input should be '{self._version}'", param="anthropic_version")
        return self._dialect.decode(encode({**fields, "model": place.model}), HERE)

    def whole(self, response: Response, request: Request) -> Fields:
        parts = tuple(map(self._own, response.parts))
        told: Fields = msgspec.json.decode(self._dialect.encode(structs.replace(response, parts=parts), request))
        return told

    def _own(self, part: Part) -> Part:
        """A thought as one of this format's."""
        return structs.replace(part, protocol=self._dialect.name) if isinstance(part, Reasoning) else part

    def pieces(self, request: Request, response: Response) -> Callable[[Event], Iterable[Fields]]:
        framing = self._dialect.framing
        encoder = self._dialect.encoder(structs.replace(request, include_usage=True), response)

        def told(event: Event) -> Iterator[Fields]:
            if isinstance(event, PartStart):
                event = structs.replace(event, part=self._own(event.part))
            for one in framing.cut(encoder(event)):
                if one != b"data: [DONE]\n\n":
                    yield msgspec.json.decode(framing.data(one))

        return told


class _Mistral(_Delegated):
    """Chat completions that say `stop_reason`."""

    def whole(self, response: Response, request: Request) -> Fields:
        return self._respelt(super().whole(response, request))

    def pieces(self, request: Request, response: Response) -> Callable[[Event], Iterable[Fields]]:
        pieces = super().pieces(request, response)
        return lambda event: map(self._respelt, pieces(event))

    def _respelt(self, fields: Fields) -> Fields:
        for choice in fields["choices"]:
            choice["stop_reason"] = choice.pop("finish_reason")
        return fields


class _Nova:
    """Converse, but for the names of some settings, and of events. Thoughts are never shown, nor signed.

    https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html
    https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema-response.html
    """

    def read(self, fields: Fields, place: Place) -> Request:
        if fields.get("schemaVersion", "messages-v1") != "messages-v1":
            raise InvalidRequest("Malformed input request: #/schemaVersion: messages-v1 is not a valid enum value")
        settings = dict(fields.get("inferenceConfig") or {})
        if "max_new_tokens" in settings:
            settings["maxTokens"] = settings.pop("max_new_tokens")
        return bedrock.read({**fields, "inferenceConfig": settings}, place)

    def whole(self, response: Response, request: Request) -> Fields:
        parts = tuple(_REDACTED if isinstance(part, Reasoning) else part for part in response.parts)
        told = bedrock.answer(structs.replace(response, parts=parts), request)
        return {**told, "usage": self._usage(told["usage"])}

    def pieces(self, request: Request, response: Response) -> Callable[[Event], Iterable[Fields]]:
        events = bedrock.Events(request)
        thoughts: set[int] = set()

        def shown(event: Event) -> Iterator[Event]:
            match event:
                case PartDelta(index=index) if index in thoughts:
                    return
                case PartStart(index=index, part=Reasoning()):
                    thoughts.add(index)
                    yield event
                    yield PartDelta(index, _REDACTED.text)
                case _:
                    yield event

        def told(event: Event) -> Iterator[Fields]:
            for name, fields in (one for each in shown(event) for one in events(each)):
                if name == "metadata":
                    fields = {"usage": self._usage(fields["usage"]), "metrics": {}, "trace": {}}
                yield {name: fields}

        return told

    def _usage(self, usage: Fields) -> Fields:
        return {
            "inputTokens": usage["inputTokens"],
            "outputTokens": usage["outputTokens"],
            "totalTokens": usage["totalTokens"],
            "cacheReadInputTokenCount": usage["cacheReadInputTokens"],
            "cacheWriteInputTokenCount": usage["cacheWriteInputTokens"],
        }


class _CommandR:
    """Cohere's chat of version 1."""

    def read(self, fields: Fields, place: Place) -> Request:
        return read_v1(fields, place)

    def whole(self, response: Response, request: Request) -> Fields:
        told = answer_v1(response, request)
        return {name: value for name, value in told.items() if name != "meta"}

    def pieces(self, request: Request, response: Response) -> Callable[[Event], Iterable[Fields]]:
        return EventsV1(request, response)


class _Prompted:
    """A model that goes on with a text."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def read(self, fields: Fields, place: Place) -> Request:
        return self._family.read(fields, place)

    def whole(self, response: Response, request: Request) -> Fields:
        return self._family.whole(text_of(response), response, response.usage or Usage())

    def pieces(self, request: Request, response: Response) -> Callable[[Event], Iterable[Fields]]:
        return Pieces(self._family, response)


_REDACTED = Reasoning("[REDACTED]")
_CHAT = _Delegated(CHAT, None, frozenset({"stream_options"}))
# The first prefix that fits counts. https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
_FAMILIES: dict[str, Spoken] = {
    "anthropic.claude-v": _Prompted(CLAUDE),
    "anthropic.claude-instant": _Prompted(CLAUDE),
    "anthropic.": _Delegated(MESSAGES, "bedrock-2023-05-31", frozenset({"model", "stream"})),
    "amazon.nova": _Nova(),
    "amazon.titan-t": _Prompted(TITAN),
    "meta.": _Prompted(LLAMA),
    "cohere.command-r": _CommandR(),
    "cohere.": _Prompted(COMMAND),
    "mistral.mistral-7b": _Prompted(MISTRAL),
    "mistral.mixtral": _Prompted(MISTRAL),
    "mistral.mistral-large-2402": _Prompted(MISTRAL),
    "mistral.mistral-small-2402": _Prompted(MISTRAL),
    "mistral.": _Mistral(CHAT, None, frozenset({"stream_options"})),
    **dict.fromkeys("openai. qwen. deepseek. ai21. minimax. moonshot zai. google. nvidia. writer.".split(), _CHAT),
}


def _family(model: str) -> Spoken:
    """Whose format the id tells. Raises InvalidRequest."""
    id = _REGIONS.sub("", model)
    for prefix, family in _FAMILIES.items():
        if id.startswith(prefix):
            return family
    raise InvalidRequest("The provided model identifier is invalid.", param="model")


INVOKE, COUNTING = Invoke(), Counting()
