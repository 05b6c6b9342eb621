"""Ollama's chat, and its completion of one prompt. Both are streamed unless that is declined.

https://docs.ollama.com/api/chat https://docs.ollama.com/api/generate https://docs.ollama.com/api/errors
"""

from abc import abstractmethod
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from fairlead.chat import (
    Event,
    Finish,
    Media,
    Message,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
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
from fairlead.providers.simulator.framing import Lines

_CREATED = "2026-01-01T00:00:00Z"
_TIMES = {"total_duration": 2_000_000, "load_duration": 1_000_000}  # nanoseconds


class Ollama(Dialect):
    """What the two formats share."""

    framing = Lines(b"application/x-ndjson")
    media_type = b"application/json; charset=utf-8"
    usage_fields = frozenset(
        "prompt_eval_count prompt_eval_cached_count prompt_eval_duration eval_count eval_duration".split()
    )

    def headers(self, response: Response, request: Request) -> Headers:
        return ()

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        return encode({"error": message})

    def error_event(self) -> bytes:
        return encode({"error": "an error was encountered while running the model: unexpected EOF"}) + b"\n"

    def is_end(self, event: bytes) -> bool:
        return b'"done":true' in event

    def models(self, names: Iterable[str]) -> bytes:
        details = {"format": "gguf", "family": "llama", "parameter_size": "8B", "quantization_level": "Q4_K_M"}
        rows = [
            {"name": name, "model": name, "modified_at": _CREATED, "size": 1, "digest": "0" * 64, "details": details}
            for name in names
        ]
        return encode({"models": rows})

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        encoder = _Encoder(response, self.said)
        return lambda event: b"".join(encode(told) + b"\n" for told in encoder(event))

    def encode(self, response: Response, request: Request) -> bytes:
        texts = [part.text for part in response.parts if isinstance(part, Text)]
        thoughts = [part.text for part in response.parts if isinstance(part, Reasoning)]
        calls = [part for part in response.parts if isinstance(part, ToolUse)]
        said = self.said("".join(texts), "".join(thoughts), calls)
        return encode({"model": response.model, "created_at": _CREATED, **said, **_end(response, response.usage)})

    @abstractmethod
    def said(self, text: str, thought: str, calls: list[ToolUse]) -> Fields:
        """The fields that tell what the model said."""


class Chat(Ollama):
    """`POST /api/chat`."""

    name = "ollama-chat"
    text_marks = (b'"done":false',)
    broken_event = b'{"model":"broken","message":{"role":"assistant","content":\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = fields_of(body)
        tools = tuple(_tool(tool, index) for index, tool in enumerate(objects(fields, "tools")))
        return _request(fields, tuple(_messages(fields)), tools)

    def said(self, text: str, thought: str, calls: list[ToolUse]) -> Fields:
        message: Fields = {"role": "assistant", "content": text}
        if thought:
            message["thinking"] = thought
        if calls:
            message["tool_calls"] = [_call(call, index) for index, call in enumerate(calls)]
        return {"message": message}


class Generate(Ollama):
    """`POST /api/generate`."""

    name = "ollama-generate"
    text_marks = (b'"done":false',)
    broken_event = b'{"model":"broken","response":\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = fields_of(body)
        system, prompt = take(fields, "system", str), take(fields, "prompt", str) or ""
        parts: list[Part] = [Text(prompt), *_images(fields, "")]
        messages = [Message("system", (Text(system),))] if system else []
        return _request(fields, (*messages, Message("user", tuple(parts))), ())

    def said(self, text: str, thought: str, calls: list[ToolUse]) -> Fields:
        return {"response": text, **({"thinking": thought} if thought else {})}


# ---- requests


def _request(fields: Fields, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> Request:
    model = take(fields, "model", str)
    if not model:
        raise InvalidRequest("model is required", param="model")
    options = take(fields, "options", dict) or {}
    limit, stops, stream = take(options, "num_predict", int), options.get("stop"), take(fields, "stream", bool)
    think = fields.get("think")
    if think is not None and not isinstance(think, bool) and think not in ("low", "medium", "high", "max"):
        raise InvalidRequest(f'invalid think value: {think!r} (must be "high", "medium", "low", true, or false)')
    return Request(
        model=model,
        messages=messages,
        tools=tools,
        max_tokens=None if limit is None or limit < 0 else limit,
        temperature=take(options, "temperature", float),
        stop=(stops,) if isinstance(stops, str) else tuple(stops or ()),
        stream=stream is None or stream,
        response_format=_format(fields.get("format")),
        thinking=None if think is None else Thinking(enabled=think is not False),
    )


def _messages(fields: Fields) -> Iterator[Message]:
    for index, told in enumerate(objects(fields, "messages")):
        place = f"messages[{index}]"
        role, text = told.get("role"), take(told, "content", str, place) or ""
        said: list[Part] = [Text(text)] if text else []
        match role:
            case "user" | "system":
                yield Message(role, (*said, *_images(told, place)))
            case "assistant":
                thought = take(told, "thinking", str, place)
                thoughts = [Reasoning(thought)] if thought else []
                yield Message("assistant", (*thoughts, *said, *_calls(told, place)))
            case "tool":
                name = told.get("tool_name") or told.get("tool_call_id") or told.get("name") or ""
                yield Message("tool", (ToolResult(str(name), tuple(said)),))
            case _:
                raise InvalidRequest(f"invalid role: {role!r}", param=f"{place}.role")


def _calls(told: Fields, place: str) -> Iterator[ToolUse]:
    for call in objects(told, "tool_calls", place):
        function = take(call, "function", dict, place) or {}
        arguments = function.get("arguments") or {}
        if not isinstance(arguments, dict):  # OpenAI has a text there
            told_so = "json: cannot unmarshal string into Go struct field .messages.tool_calls.function.arguments"
            raise InvalidRequest(told_so, param=place)
        yield ToolUse(str(call.get("id") or ""), str(function.get("name")), encode(arguments).decode())


def _images(told: Fields, place: str) -> Iterator[Media]:
    for data in take(told, "images", list, place) or ():
        try:
            b64decode(data, validate=True)
        except (TypeError, ValueError):
            raise InvalidRequest("illegal base64 data at input byte 0", param="images") from None
        yield Media("image", "image/png", data=data)


def _tool(tool: Fields, index: int) -> Tool:
    function = take(tool, "function", dict, f"tools[{index}]") or {}
    schema = function.get("parameters")
    schema = None if schema is None else Raw(encode(schema))
    return Tool(str(function.get("name")), function.get("description"), schema)


def _format(told: Any) -> ResponseFormat | None:
    if told is None or told == "":
        return None
    if told == "json":
        return ResponseFormat("json_object")
    if isinstance(told, dict):
        return ResponseFormat("json_schema", schema=Raw(encode(told)))
    raise InvalidRequest(f'invalid format: {told!r}; expected "json" or a JSON schema', param="format")


# ---- answers


def _call(call: ToolUse, index: int) -> Fields:
    function = {"index": index, "name": call.name, "arguments": msgspec.json.decode(call.arguments or "{}")}
    return {"id": call.id, "function": function}


def _end(response: Response, usage: Usage | None) -> Fields:
    told: Fields = {"done": True, "done_reason": "length" if response.finish_reason == "length" else "stop", **_TIMES}
    if usage is None:
        return told
    counted = {
        "prompt_eval_count": usage.input_tokens,
        "prompt_eval_cached_count": usage.cached_tokens,
        "prompt_eval_duration": 500_000,
    }
    return {**told, **counted, "eval_count": usage.output_tokens, "eval_duration": 500_000}


class _Encoder:
    """Events → lines. Calls come whole, each in a line."""

    def __init__(self, response: Response, said: Callable[[str, str, list[ToolUse]], Fields]) -> None:
        self._response, self._said = response, said
        self._part: Part = Text("")
        self._arguments: list[str] = []
        self._calls = 0

    def __call__(self, event: Event) -> Iterator[Fields]:
        match event:
            case PartStart(part=part):
                self._part, self._arguments = part, []
            case PartDelta(text=text) if text and isinstance(self._part, ToolUse):
                self._arguments.append(text)
            case PartDelta(text=text) if text:
                thinks = isinstance(self._part, Reasoning)
                yield self._line(self._said("" if thinks else text, text if thinks else "", []))
            case PartEnd() if isinstance(self._part, ToolUse):
                whole = msgspec.structs.replace(self._part, arguments="".join(self._arguments))
                said = self._said("", "", [whole])
                if "message" in said:
                    said["message"]["tool_calls"][0]["function"]["index"] = self._calls
                self._calls += 1
                yield self._line(said)
            case Finish(usage=usage):
                facts = {"model": self._response.model, "created_at": _CREATED}
                yield {**facts, **self._said("", "", []), **_end(self._response, usage)}

    def _line(self, said: Fields) -> Fields:
        return {"model": self._response.model, "created_at": _CREATED, **said, "done": False}


CHAT, GENERATE = Chat(), Generate()
