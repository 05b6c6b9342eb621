"""AWS Bedrock's Converse, and what Nova makes of it where models are invoked.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.chat import (
    Event,
    Finish,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Start,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
)
from fairlead.errors import InvalidRequest
from fairlead.providers.simulator.dialects import (
    HERE,
    Dialect,
    Fields,
    Headers,
    Place,
    encode,
    fields_of,
    objects,
    take,
)
from fairlead.providers.simulator.framing import MESSAGES, message
from fairlead.providers.simulator.models import Wire

_NAME: Wire = "bedrock-converse"
_KINDS = {
    400: "ValidationException", 401: "UnrecognizedClientException", 403: "AccessDeniedException",
    404: "ResourceNotFoundException", 405: "UnknownOperationException", 408: "ModelTimeoutException",
    413: "RequestEntityTooLargeException", 424: "ModelErrorException", 429: "ThrottlingException",
    500: "InternalServerException", 503: "ServiceUnavailableException",
}  # fmt: skip
_REASONS = {
    "stop": "end_turn", "length": "max_tokens", "tool_use": "tool_use", "stop_sequence": "stop_sequence",
    "refusal": "content_filtered", "content_filter": "guardrail_intervened",
}  # fmt: skip
_UNIONS = frozenset(
    "text image document video audio toolUse toolResult guardContent cachePoint reasoningContent citationsContent"
    " searchResult".split()
)
_FORMATS = {
    "image": frozenset("png jpeg gif webp".split()),
    "document": frozenset("pdf csv doc docx xls xlsx html txt md".split()),
    "video": frozenset("mkv mov mp4 webm flv mpeg mpg wmv three_gp video/mp4".split()),  # the last was seen to pass
    "audio": frozenset("mp3 opus wav aac flac mp4 ogg mkv mka x-aac m4a mpeg mpga pcm webm".split()),
}
_REQUEST_ID = (b"x-amzn-requestid", b"00000000-0000-4000-8000-000000000000")


class Bedrock(Dialect):
    """What the formats of Bedrock share: how streams are framed, and how errors are told."""

    framing = MESSAGES
    usage_fields = frozenset({"usage"})
    usage_within: tuple[str, ...] = ("metadata",)

    def headers(self, response: Response, request: Request) -> Headers:
        return (_REQUEST_ID,)

    def counted(self, usage: Usage) -> bytes:
        return encode({"inputTokens": usage.input_tokens})

    def refusal(self, status: int) -> int:
        return 403 if status == 401 else status

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        return encode({"message": message})

    def error_headers(self, status: int) -> Headers:
        kind = _KINDS.get(status, "ValidationException" if status < 500 else "InternalServerException")
        told = f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/".encode()
        return ((b"x-amzn-errortype", told), _REQUEST_ID)

    def error_event(self) -> bytes:
        told = {"message": "The system encountered an unexpected error during processing. Try your request again."}
        return message("modelStreamErrorException", encode(told), kind="exception")

    def models(self, names: Iterable[str]) -> bytes:
        rows = [
            {
                "modelId": f"anthropic.claude-{name}", "modelName": f"Simulator {name}", "providerName": "Fairlead",
                "inputModalities": ["TEXT", "IMAGE"], "outputModalities": ["TEXT"], "responseStreamingSupported": True,
            }
            for name in names
        ]  # fmt: skip
        return encode({"modelSummaries": rows})


class Converse(Bedrock):
    """`POST /model/{id}/converse`, `/converse-stream`, and of `/count-tokens` what asks in this format."""

    name = _NAME
    text_marks = (b'"delta":{"text":', b'"delta":{"reasoningContent":{"text":')
    broken_event = message("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":')

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        return read(fields_of(body), place)

    def encode(self, response: Response, request: Request) -> bytes:
        return encode(answer(response, request))

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        events = Events(request)
        return lambda event: b"".join(
            message(name, encode({**fields, "p": "abcdefghijkl"})) for name, fields in events(event)
        )

    def is_end(self, event: bytes) -> bool:
        return b"metadata" in event[:64]


# ---- requests


def read(fields: Fields, place: Place) -> Request:
    """A request of Converse. Raises InvalidRequest."""
    settings = take(fields, "inferenceConfig", dict) or {}
    own = take(fields, "additionalModelRequestFields", dict) or {}
    tools, choice = _tools(fields)
    thinking = own.get("thinking") or own.get("reasoningConfig") or {}
    parallel = (own.get("tool_choice") or {}).get("disable_parallel_tool_use")
    asked = {"paths": take(fields, "additionalModelResponseFieldPaths", list) or []}
    return Request(
        model=place.model or "",
        messages=tuple(_messages(fields)),
        tools=tuple(tools),
        tool_choice=choice,
        parallel_tool_calls=None if parallel is None else not parallel,
        max_tokens=_limit(settings),
        temperature=take(settings, "temperature", float, "inferenceConfig"),
        stop=tuple(take(settings, "stopSequences", list, "inferenceConfig") or ()),
        stream=bool(place.stream),
        response_format=_format(fields),
        thinking=Thinking(enabled=thinking.get("type") != "disabled") if thinking else None,
        extra={"asked": Opaque(_NAME, Raw(encode(asked)))},
    )


def _limit(settings: Fields) -> int | None:
    limit = take(settings, "maxTokens", int, "inferenceConfig")
    if limit is not None and limit < 1:
        raise _invalid(
            f"Value '{limit}' at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value"
            " greater than or equal to 1"
        )
    return limit


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message)


def _messages(fields: Fields) -> Iterator[Message]:
    system = tuple(_content(objects(fields, "system"), "system"))
    if system:
        yield Message("system", system)
    messages = objects(fields, "messages")
    if not messages:
        raise _invalid("A conversation must start with a user message. Try again with a conversation that starts so.")
    asked: set[str] = set()
    for index, told in enumerate(messages):
        place = f"messages.{index}"
        role = told.get("role")
        if role not in ("user", "assistant"):
            raise _invalid(f"Value '{role}' at '{place}.role' failed to satisfy constraint: [user, assistant]")
        content = objects(told, "content", place)
        if not content:
            raise _invalid(f"The content field in the Message object at {place} is empty. Add a ContentBlock object.")
        parts = tuple(_content(content, f"{place}.content"))
        given = {part.id for part in parts if isinstance(part, ToolResult)}
        if asked - given:
            raise _invalid(f"Expected toolResult blocks at {place}.content for the following Ids: {_listed(asked)}")
        if given - asked:
            raise _invalid(f"The number of toolResult blocks at {place}.content exceeds the number of toolUse blocks.")
        asked = {part.id for part in parts if isinstance(part, ToolUse)}
        if (asked or given) and not fields.get("toolConfig"):
            raise _invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        yield Message(role, parts)


def _listed(ids: set[str]) -> str:
    return ", ".join(sorted(ids))


def _content(blocks: list[Fields], place: str) -> Iterator[Part]:
    """The parts of content blocks; a cache point is a mark on the part before it."""
    held: Part | None = None
    for index, block in enumerate(blocks):
        named = block.keys() & _UNIONS
        if len(named) != 1:
            raise _invalid(f"The value at {place}.{index} must have exactly one member of ContentBlock set.")
        if "cachePoint" in named:
            if held is None:
                raise _invalid(f"A cachePoint cannot be the first block at {place}.")
            held = _marked(held, block["cachePoint"])
            continue
        if held is not None:
            yield held
        held = _block(block, f"{place}.{index}")
    if held is not None:
        yield held


def _marked(part: Part, point: Fields) -> Part:
    mark = Raw(encode({"type": "ephemeral", "ttl": point.get("ttl", "5m")}))
    return part if isinstance(part, Reasoning | Opaque) else msgspec.structs.replace(part, cache=mark)


def _block(block: Fields, place: str) -> Part:
    match block:
        case {"text": str(text)}:
            if not text.strip():
                raise _invalid(f"The text field in the ContentBlock object at {place} is blank. Add text to it.")
            return Text(text)
        case {"toolUse": {"toolUseId": str(id), "name": str(name), "input": dict(given)}}:
            return ToolUse(id, name, encode(given).decode())
        case {"toolResult": {"toolUseId": str(id), "content": list(content)} as result}:
            parts = tuple(_result(piece, f"{place}.toolResult.content") for piece in content)
            return ToolResult(id, parts, is_error=result.get("status") == "error")
        case {"reasoningContent": {"reasoningText": {"text": str(text)} as told}}:
            signature = told.get("signature")
            if signature is not None and not str(signature).startswith("sim-"):
                raise _invalid(f"The model returned the following errors: {place}: Invalid `signature` in `thinking`")
            return Reasoning(text, signature=signature, protocol=_NAME)
        case {"reasoningContent": {"redactedContent": str(cipher)}}:
            return Reasoning(encrypted=cipher, protocol=_NAME)
        case {"guardContent": {"text": {"text": str(text)}}}:
            return Text(text)
        case {"citationsContent": {"content": list(content)}}:
            return Text("".join(str(piece.get("text", "")) for piece in content))
    for kind, formats in _FORMATS.items():
        if kind in block:
            return _medium(kind, block[kind], formats, f"{place}.{kind}")
    if "searchResult" in block:
        return Opaque(_NAME, Raw(encode(block)))
    raise _invalid(f"The format of the value at {place} is invalid. Provide a value that fits its type.")


def _result(piece: Any, place: str) -> Part:
    if isinstance(piece, dict) and "json" in piece:
        return Text(encode(piece["json"]).decode())
    return _block(piece if isinstance(piece, dict) else {}, place)


def _medium(kind: Any, told: Fields, formats: frozenset[str], place: str) -> Media:
    form, source = told.get("format"), told.get("source") or {}
    if form not in formats and (kind != "document" or form is not None):
        raise _invalid(f"Value '{form}' at '{place}.format' failed to satisfy constraint: {sorted(formats)}")
    if kind == "document" and not told.get("name"):
        raise _invalid(f"The document name at {place} is missing.")
    if isinstance(source.get("bytes"), str):
        try:
            b64decode(source["bytes"], validate=True)
        except (NotBase64, ValueError):
            raise _invalid(f"The bytes at {place}.source are not base64.") from None
        return Media(kind, f"{'application' if kind == 'document' else kind}/{form}", data=source["bytes"])
    if isinstance(source.get("text"), str):
        return Media(kind, text=source["text"])
    if isinstance(source.get("content"), list):
        return Media(kind, text="".join(str(piece.get("text", "")) for piece in source["content"]))
    return Media(kind, url=str((source.get("s3Location") or {}).get("uri")))


def _tools(fields: Fields) -> tuple[list[Tool | Opaque], ToolChoice | None]:
    config = take(fields, "toolConfig", dict)
    if config is None:
        return [], None
    tools: list[Tool | Opaque] = []
    for index, told in enumerate(objects(config, "tools", "toolConfig")):
        if "cachePoint" in told and tools and isinstance(tools[-1], Tool):
            mark = Raw(encode({"type": "ephemeral", "ttl": told["cachePoint"].get("ttl", "5m")}))
            tools[-1] = msgspec.structs.replace(tools[-1], cache=mark)
        elif "toolSpec" in told:
            tools.append(_tool(told["toolSpec"], f"toolConfig.tools.{index}.toolSpec"))
        else:
            tools.append(Opaque(_NAME, Raw(encode(told))))
    if not tools:
        raise _invalid("Value '[]' at 'toolConfig.tools' failed to satisfy constraint: Member must have length >= 1")
    match config.get("toolChoice"):
        case {"any": _}:
            return tools, ToolChoice("required")
        case {"tool": {"name": str(name)}}:
            return tools, ToolChoice("named", name)
        case None | {"auto": _}:
            return tools, None
    raise _invalid("The toolChoice at toolConfig must have exactly one of the members auto, any, tool.")


def _tool(spec: Fields, place: str) -> Tool:
    name, schema = take(spec, "name", str, place), (spec.get("inputSchema") or {}).get("json")
    if not name or not isinstance(schema, dict):
        raise _invalid(f"The name and the inputSchema at {place} are needed.")
    if schema.get("type") != "object":
        raise _invalid(f"The value at {place}.inputSchema.json.type must be one of the following: object.")
    if spec.get("description") == "":
        raise _invalid(f"Value at '{place}.description' failed to satisfy constraint: Member must have length >= 1")
    return Tool(name, take(spec, "description", str, place), Raw(encode(schema)), spec.get("strict"))


def _format(fields: Fields) -> ResponseFormat | None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html"""
    told = (take(fields, "outputConfig", dict) or {}).get("textFormat")
    if told is None:
        return None
    match told:
        case {"type": "json_schema", "structure": {"jsonSchema": {"schema": str(schema)} as named}}:
            try:
                msgspec.json.decode(schema)
            except msgspec.DecodeError:
                raise _invalid("The schema at outputConfig.textFormat is not JSON.") from None
            return ResponseFormat("json_schema", named.get("name"), Raw(schema.encode()))
    raise _invalid("The value at outputConfig.textFormat is invalid.")


# ---- answers


def answer(response: Response, request: Request) -> Fields:
    """A whole answer of Converse."""
    content = [_said(part) for part in response.parts]
    more = _more(request, response.stop_sequence)
    return {
        "metrics": {"latencyMs": 100},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": _REASONS.get(response.finish_reason or "", "end_turn"),
        "usage": usage_of(response.usage or Usage()),
        **({"additionalModelResponseFields": more} if more else {}),
    }


def _said(part: Part) -> Fields:
    match part:
        case ToolUse(id=id, name=name, arguments=arguments):
            return {"toolUse": {"input": msgspec.json.decode(arguments), "name": name, "toolUseId": id}}
        case Reasoning(text=text, signature=signature):
            signed = {"signature": signature} if signature is not None else {}
            return {"reasoningContent": {"reasoningText": {**signed, "text": text}}}
    return {"text": part.text if isinstance(part, Text) else ""}


def _more(request: Request, stop_sequence: str | None) -> Fields:
    """What of the model's own answer was asked for: the stop sequence is all there is."""
    asked = msgspec.json.decode(request.extra["asked"].raw) if "asked" in request.extra else {}
    paths = asked.get("paths") or []
    told: Fields = {"stop_sequence": stop_sequence} if "/stop_sequence" in paths else {}
    return {**told, "delta": {"stop_sequence": stop_sequence}} if "/delta/stop_sequence" in paths else told


def usage_of(usage: Usage) -> Fields:
    """What was read from a cache or written to it stands beside the input."""
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    told: Fields = {
        "cacheReadInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
        "inputTokens": plain,
        "outputTokens": usage.output_tokens,
        "serverToolUsage": {},
        "totalTokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cache_write_tokens:
        hour = usage.cache_write_1h_tokens
        details = [("1h", hour), ("5m", usage.cache_write_tokens - hour)]
        told["cacheDetails"] = [{"inputTokens": tokens, "ttl": ttl} for ttl, tokens in details if tokens]
    return told


class Events:
    """Our events → those of a converse stream, by name."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._part: Part = Text("")

    def __call__(self, event: Event) -> Iterator[tuple[str, Fields]]:
        match event:
            case Start():
                yield "messageStart", {"role": "assistant"}
            case PartStart(index=index, part=part):
                self._part = part
                if isinstance(part, ToolUse):
                    start = {"toolUse": {"name": part.name, "toolUseId": part.id}}
                    yield "contentBlockStart", {"contentBlockIndex": index, "start": start}
            case PartDelta(index=index, text=text, signature=signature):
                if text:
                    yield "contentBlockDelta", {"contentBlockIndex": index, "delta": self._delta(text)}
                if signature:
                    delta = {"reasoningContent": {"signature": signature}}
                    yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
            case PartEnd(index=index):
                yield "contentBlockStop", {"contentBlockIndex": index}
            case Finish(reason=reason, usage=usage, stop_sequence=stopped):
                more = _more(self._request, stopped)
                fields: Fields = {"additionalModelResponseFields": more} if more else {}
                yield "messageStop", {**fields, "stopReason": _REASONS.get(reason or "", "end_turn")}
                yield "metadata", {"metrics": {"latencyMs": 100}, "usage": usage_of(usage or Usage())}

    def _delta(self, text: str) -> Fields:
        match self._part:
            case ToolUse():
                return {"toolUse": {"input": text}}
            case Reasoning():
                return {"reasoningContent": {"text": text}}
        return {"text": text}


CONVERSE = Converse()
