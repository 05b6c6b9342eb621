"""Cohere's chat, versions 2 and 1.

https://docs.cohere.com/reference/chat https://docs.cohere.com/v1/reference/chat
https://docs.cohere.com/v2/docs/streaming
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

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
from fairlead.protocols import sse
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
from fairlead.providers.simulator.framing import Lines, ServerSentEvents
from fairlead.providers.simulator.models import Wire

_V1: Wire = "cohere-chat-v1"
_REASONS = {"length": "MAX_TOKENS", "stop_sequence": "STOP_SEQUENCE", "tool_use": "TOOL_CALL"}
_REASONS_V1 = {"length": "MAX_TOKENS", "stop_sequence": "STOP_SEQUENCE", "refusal": "ERROR_TOXIC"}


class Cohere(Dialect):
    """What the two versions share."""

    usage_fields = frozenset({"usage", "meta"})

    def headers(self, response: Response, request: Request) -> Headers:
        if response.usage is None:
            return ()
        tokens = response.usage.input_tokens + response.usage.output_tokens
        return ((b"num_chars", b"%d" % (4 * tokens)), (b"num_tokens", b"%d" % tokens))

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        return encode({"id": _id("0" * 24), "message": message})

    def models(self, names: Iterable[str]) -> bytes:
        rows = [{"name": name, "endpoints": ["chat"], "finetuned": False, "context_length": 256_000} for name in names]
        return encode({"models": rows, "next_page_token": ""})


def _id(id: str, step: int = 1) -> str:
    """An id of Cohere's shape out of one of the simulator's, read forwards or backwards."""
    return str(UUID(int=int(id[-24:][::step], 16), version=4))


def _needs(fields: Fields, name: str) -> str:
    told = take(fields, name, str)
    if not told:
        raise InvalidRequest(f"invalid request: {name} is required", param=name)
    return told


def _shape(fields: Fields) -> ResponseFormat | None:
    told = take(fields, "response_format", dict) or {}
    if told.get("type") != "json_object":
        return None
    schema = told.get("json_schema", told.get("schema"))
    if schema is None:
        return ResponseFormat("json_object")
    if fields.get("tools"):
        raise InvalidRequest("invalid request: cannot specify both response_format and tools.", param="tools")
    return ResponseFormat("json_schema", schema=Raw(encode(schema)))


# ---- version 2


class ChatV2(Cohere):
    """`POST /v2/chat`."""

    name = "cohere-chat"
    framing = ServerSentEvents(b"text/event-stream")
    usage_within = ("delta",)
    text_marks = (b'"content":{"text":', b'"content":{"thinking":')
    broken_event = b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{\n\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = fields_of(body)
        thinking = take(fields, "thinking", dict)
        choice = take(fields, "tool_choice", str)
        if choice not in (None, "REQUIRED", "NONE"):
            raise InvalidRequest(f"invalid request: tool_choice must be REQUIRED or NONE, not {choice}")
        return Request(
            model=_needs(fields, "model"),
            messages=tuple(_messages(fields)),
            tools=tuple(_tool(tool, index) for index, tool in enumerate(objects(fields, "tools"))),
            tool_choice=None if choice is None else ToolChoice("required" if choice == "REQUIRED" else "none"),
            max_tokens=take(fields, "max_tokens", int),
            temperature=take(fields, "temperature", float),
            stop=tuple(take(fields, "stop_sequences", list) or ()),
            stream=bool(take(fields, "stream", bool)),
            response_format=_shape(fields),
            thinking=None if thinking is None else Thinking(enabled=thinking.get("type") != "disabled"),
        )

    def encode(self, response: Response, request: Request) -> bytes:
        message: Fields = {"role": "assistant"}
        content = [_content(part) for part in response.parts if isinstance(part, Text | Reasoning)]
        calls = [_call(part) for part in response.parts if isinstance(part, ToolUse)]
        if content:
            message["content"] = content
        if calls:
            message |= {"tool_plan": _PLAN, "tool_calls": calls}
        reason = _REASONS.get(response.finish_reason or "", "COMPLETE")
        told = {"id": _id(response.id), "message": message, "finish_reason": reason}
        return encode({**told, "usage": _usage(response.usage)})

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        encoder = _EncoderV2(response)
        return lambda event: b"".join(sse.event(encode(told), told["type"].encode()) for told in encoder(event))

    def error_event(self) -> bytes:
        delta = {"error": "internal server error", "finish_reason": "ERROR"}
        return sse.event(encode({"type": "message-end", "delta": delta}), b"message-end")

    def is_end(self, event: bytes) -> bool:
        return event.startswith(b"event: message-end\n")


_PLAN = "I will ask the tools."


def _messages(fields: Fields) -> Iterator[Message]:
    messages = objects(fields, "messages")
    if not messages:
        raise InvalidRequest("invalid request: messages must not be empty", param="messages")
    asked: set[str] = set()
    for index, told in enumerate(messages):
        place = f"messages[{index}]"
        role = told.get("role")
        match role:
            case "user" | "system" | "developer":
                yield Message(role, tuple(_pieces(told.get("content"), f"{place}.content")))
            case "assistant":
                parts = tuple(_spoken(told, place))
                asked |= {part.id for part in parts if isinstance(part, ToolUse)}
                if not parts:
                    raise InvalidRequest(f"invalid request: {place} must have content or tool_calls")
                yield Message("assistant", parts)
            case "tool":
                id = told.get("tool_call_id")
                if id not in asked:
                    raise InvalidRequest(f"invalid request: tool call id {id} not found in previous tool calls")
                yield Message("tool", (ToolResult(id, tuple(_pieces(told.get("content"), f"{place}.content"))),))
            case _:
                raise InvalidRequest(f"invalid request: {place}.role: invalid role {role!r}", param=f"{place}.role")


def _spoken(told: Fields, place: str) -> Iterator[Part]:
    if told.get("content"):
        yield from _pieces(told["content"], f"{place}.content")
    for call in objects(told, "tool_calls", place):
        function = take(call, "function", dict, place) or {}
        yield ToolUse(str(call.get("id")), str(function.get("name")), str(function.get("arguments") or "{}"))


def _pieces(told: Any, place: str) -> Iterator[Part]:
    if isinstance(told, str):
        told = [{"type": "text", "text": told}]
    if not isinstance(told, list) or not told:
        raise InvalidRequest(f"invalid request: {place} must be a string or a list of contents", param=place)
    for index, piece in enumerate(told):
        match piece:
            case {"type": "text", "text": str(text)}:
                yield Text(text)
            case {"type": "thinking", "thinking": str(text)}:
                yield Reasoning(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                head, _, data = url.partition(",")
                mime = head.removeprefix("data:").partition(";")[0]
                yield Media("image", mime, data=data) if head.startswith("data:") else Media("image", url=url)
            case {"type": "document", "document": {"data": data}}:
                yield Text(data if isinstance(data, str) else encode(data).decode())
            case _:
                raise InvalidRequest(f"invalid request: {place}[{index}] is no content", param=place)


def _tool(tool: Fields, index: int) -> Tool:
    function = take(tool, "function", dict, f"tools[{index}]") or {}
    if tool.get("type") != "function" or not function.get("name"):
        raise InvalidRequest(f"invalid request: tools[{index}] must be a function with a name", param=f"tools[{index}]")
    schema = function.get("parameters")
    return Tool(function["name"], function.get("description"), None if schema is None else Raw(encode(schema)))


def _content(part: Text | Reasoning) -> Fields:
    kind = "thinking" if isinstance(part, Reasoning) else "text"
    return {"type": kind, kind: part.text}


def _call(part: ToolUse) -> Fields:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


def _usage(usage: Usage | None) -> Fields:
    usage = usage or Usage()
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return {"billed_units": tokens, "tokens": tokens, "cached_tokens": usage.cached_tokens}


class _EncoderV2:
    """Events → those of a chat. Calls are numbered by themselves, and so is content."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._part: Part = Text("")
        self._contents = self._calls = -1

    def __call__(self, event: Event) -> Iterator[Fields]:
        match event:
            case Start(id=id):
                message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
                yield {"id": _id(id), "type": "message-start", "delta": {"message": message}}
            case PartStart(part=part):
                self._part = part
                yield from self._begun(part)
            case PartDelta(text=text) if text:
                yield self._more(text)
            case PartEnd():
                calls = isinstance(self._part, ToolUse)
                index = self._calls if calls else self._contents
                yield {"type": "tool-call-end" if calls else "content-end", "index": index}
            case Finish(reason=reason, usage=usage):
                told = _REASONS.get(reason or "", "COMPLETE")
                yield {"type": "message-end", "delta": {"finish_reason": told, "usage": _usage(usage)}}

    def _begun(self, part: Part) -> Iterator[Fields]:
        if isinstance(part, ToolUse):
            self._calls += 1
            if self._calls == 0:
                yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": _PLAN}}}
            yield {"type": "tool-call-start", "index": self._calls, "delta": {"message": {"tool_calls": _call(part)}}}
        elif isinstance(part, Text | Reasoning):
            self._contents += 1
            delta = {"message": {"content": _content(part)}}
            yield {"type": "content-start", "index": self._contents, "delta": delta}

    def _more(self, text: str) -> Fields:
        if isinstance(self._part, ToolUse):
            message: Fields = {"tool_calls": {"function": {"arguments": text}}}
            return {"type": "tool-call-delta", "index": self._calls, "delta": {"message": message}}
        message = {"content": {"thinking" if isinstance(self._part, Reasoning) else "text": text}}
        return {"type": "content-delta", "index": self._contents, "delta": {"message": message}}


# ---- version 1


class ChatV1(Cohere):
    """`POST /v1/chat`."""

    name = _V1
    framing = Lines(b"application/stream+json")
    usage_within = ("response",)
    text_marks = (b'"event_type":"text-generation"',)
    broken_event = b'{"is_finished":false,"event_type":"text-generation","text":\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        return read_v1(fields_of(body), place)

    def encode(self, response: Response, request: Request) -> bytes:
        return encode(answer_v1(response, request))

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        events = EventsV1(request, response)
        return lambda event: b"".join(encode(told) + b"\n" for told in events(event))

    def error_event(self) -> bytes:
        told = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR"}
        return encode({**told, "response": {"message": "internal server error", "finish_reason": "ERROR"}}) + b"\n"

    def is_end(self, event: bytes) -> bool:
        return b'"event_type":"stream-end"' in event


_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def read_v1(fields: Fields, place: Place) -> Request:
    """A request of version 1. Raises InvalidRequest."""
    given = objects(fields, "tool_results")
    message = take(fields, "message", str)
    if message is None or (not message and not given):
        raise InvalidRequest("invalid request: message must be at least 1 token long or tool results must be specified")
    return Request(
        model=place.model or take(fields, "model", str) or "command-r",
        messages=tuple(_history(fields, message, given)),
        tools=tuple(_tool_v1(tool, index) for index, tool in enumerate(objects(fields, "tools"))),
        max_tokens=take(fields, "max_tokens", int),
        temperature=take(fields, "temperature", float),
        stop=tuple(take(fields, "stop_sequences", list) or ()),
        stream=bool(take(fields, "stream", bool)) if place.stream is None else place.stream,
        response_format=_shape(fields),
        extra={"message": Opaque(_V1, Raw(encode(message)))},
    )


def _history(fields: Fields, message: str, given: list[Fields]) -> Iterator[Message]:
    preamble = take(fields, "preamble", str)
    if preamble:
        yield Message("system", (Text(preamble),))
    for index, turn in enumerate(objects(fields, "chat_history")):
        yield _turn(turn, f"chat_history[{index}]")
    if message:
        yield Message("user", (Text(message),))
    if given:
        yield Message("tool", tuple(_given(given, "tool_results")))


def _turn(turn: Fields, place: str) -> Message:
    said = take(turn, "message", str, place)
    parts: list[Part] = [Text(said)] if said else []
    match str(turn.get("role")).upper():
        case "USER":
            return Message("user", tuple(parts))
        case "SYSTEM":
            return Message("system", tuple(parts))
        case "CHATBOT":
            calls = objects(turn, "tool_calls", place)
            uses = [ToolUse("", str(call.get("name")), encode(call.get("parameters") or {}).decode()) for call in calls]
            return Message("assistant", (*parts, *uses))
        case "TOOL":
            return Message("tool", tuple(_given(objects(turn, "tool_results", place), place)))
    raise InvalidRequest(f"invalid request: {place}.role: invalid role {turn.get('role')!r}", param=place)


def _given(results: list[Fields], place: str) -> Iterator[ToolResult]:
    for result in results:
        call, outputs = result.get("call") or {}, result.get("outputs")
        if not call.get("name") or not isinstance(outputs, list):
            raise InvalidRequest(f"invalid request: {place} must have a call and its outputs", param=place)
        texts = [next(iter(one.values())) if len(one) == 1 else one for one in outputs]
        told = [text if isinstance(text, str) else encode(text).decode() for text in texts]
        yield ToolResult(call["name"], tuple(map(Text, told)))


def _tool_v1(tool: Fields, index: int) -> Tool:
    name = tool.get("name")
    if not name or not tool.get("description"):
        raise InvalidRequest(f"invalid request: tools[{index}] must have a name and a description")
    told = take(tool, "parameter_definitions", dict, f"tools[{index}]") or {}
    properties = {field: _type_v1(str(one.get("type"))) for field, one in told.items()}
    required = [field for field, one in told.items() if one.get("required")]
    schema = {"type": "object", "properties": properties, "required": required}
    return Tool(name, tool["description"], Raw(encode(schema)))


def _type_v1(name: str) -> Fields:
    """A type as Python spells it, as a JSON schema."""
    lowered = name.lower()
    if lowered in _TYPES:
        return {"type": _TYPES[lowered]}
    if lowered.startswith("list"):
        inner = lowered[5:-1]
        return {"type": "array", "items": _type_v1(inner) if inner else {}}
    return {"type": lowered if lowered in _TYPES.values() else "object"}


def answer_v1(response: Response, request: Request) -> Fields:
    """A whole answer of version 1."""
    text = "".join(part.text for part in response.parts if isinstance(part, Text))
    asked = msgspec.json.decode(request.extra["message"].raw)
    calls = [_call_v1(part) for part in response.parts if isinstance(part, ToolUse)]
    history: list[Fields] = [{"role": "USER", "message": asked}, {"role": "CHATBOT", "message": text}]
    if calls:
        history[1]["tool_calls"] = calls
    return {
        "response_id": _id(response.id),
        "text": text or (_PLAN if calls else ""),
        "generation_id": _id(response.id, -1),
        "chat_history": history,
        "finish_reason": _REASONS_V1.get(response.finish_reason or "", "COMPLETE"),
        "meta": {"api_version": {"version": "1"}, **_usage(response.usage)},
        **({"tool_calls": calls} if calls else {}),
    }


def _call_v1(part: ToolUse) -> Fields:
    return {"name": part.name, "parameters": msgspec.json.decode(part.arguments or "{}")}


class EventsV1:
    """Our events → those of version 1. Thoughts are not told."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request, self._response = request, response
        self._part: Part = Text("")
        self._calls: list[ToolUse] = []
        self._arguments: list[str] = []

    def __call__(self, event: Event) -> Iterator[Fields]:
        match event:
            case Start(id=id):
                yield _event_v1("stream-start", generation_id=_id(id, -1))
            case PartStart(part=part):
                self._part = part
                if isinstance(part, ToolUse):
                    self._arguments = []
                    delta = {"index": len(self._calls), "name": part.name}
                    if not self._calls:
                        yield _event_v1("tool-calls-chunk", text=_PLAN)
                    yield _event_v1("tool-calls-chunk", tool_call_delta=delta)
            case PartDelta(text=text) if text and isinstance(self._part, Text):
                yield _event_v1("text-generation", text=text)
            case PartDelta(text=text) if text and isinstance(self._part, ToolUse):
                self._arguments.append(text)
                delta = {"index": len(self._calls), "parameters": text}
                yield _event_v1("tool-calls-chunk", tool_call_delta=delta)
            case PartEnd() if isinstance(self._part, ToolUse):
                self._calls.append(msgspec.structs.replace(self._part, arguments="".join(self._arguments)))
            case Finish(usage=usage):
                if self._calls:
                    yield _event_v1("tool-calls-generation", text=_PLAN, tool_calls=list(map(_call_v1, self._calls)))
                answer = answer_v1(msgspec.structs.replace(self._response, usage=usage), self._request)
                told = {"finish_reason": answer["finish_reason"], "response": answer}
                yield {"is_finished": True, "event_type": "stream-end", **told}


def _event_v1(kind: str, **fields: Any) -> Fields:
    return {"is_finished": False, "event_type": kind, **fields}


CHAT_V1, CHAT_V2 = ChatV1(), ChatV2()
