"""OpenAI's responses, without what its server keeps: an earlier response is never found.

https://platform.openai.com/docs/api-reference/responses
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Callable, Iterator
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
from fairlead.protocols import sse
from fairlead.providers.simulator.dialects import HERE, Fields, Place, encode, fields_of, objects, take
from fairlead.providers.simulator.dialects.openai import OpenAIDialect
from fairlead.providers.simulator.models import Wire

_NAME: Wire = "openai-responses"
_KNOWN = frozenset(
    "background context_management conversation include input instructions max_output_tokens max_tool_calls metadata"
    " model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options"
    " prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options temperature text"
    " tool_choice tools top_logprobs top_p truncation user".split()
)
_CIPHER = "gAAAAA"  # what is behind it are the thoughts


class Responses(OpenAIDialect):
    """`POST /responses`, and `/responses/input_tokens`."""

    name = _NAME
    text_marks = (b'_text.delta","', b'refusal.delta","')
    usage_within = ("response",)
    broken_event = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":\n\n'

    def decode(self, body: bytes, place: Place = HERE) -> Request:
        fields = fields_of(body)
        _check(fields)
        tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(objects(fields, "tools"))]
        reasoning = take(fields, "reasoning", dict) or {}
        effort = take(reasoning, "effort", str, "reasoning")
        return Request(
            model=fields["model"],
            messages=tuple(_messages(fields)),
            tools=tuple(tools),
            tool_choice=_choice(fields.get("tool_choice")),
            parallel_tool_calls=take(fields, "parallel_tool_calls", bool),
            max_tokens=take(fields, "max_output_tokens", int),
            temperature=take(fields, "temperature", float),
            stream=bool(take(fields, "stream", bool)),
            include_usage=True,
            response_format=_format(take(fields, "text", dict) or {}),
            thinking=Thinking(enabled=effort != "none", effort=effort) if effort else None,
            extra={"asked": Opaque(_NAME, Raw(encode(fields)))},
        )

    def encode(self, response: Response, request: Request) -> bytes:
        asked = _asked(request)
        items = [_item(part, index, response, asked) for index, part in enumerate(response.parts)]
        return encode(_answer(response, asked, items))

    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        return _Encoder(response, _asked(request))

    def counted(self, usage: Usage) -> bytes:
        return encode({"input_tokens": usage.input_tokens, "object": "response.input_tokens"})

    def error_event(self) -> bytes:
        error = msgspec.json.decode(self.error(500, "The server had an error while processing your request."))["error"]
        told = {"type": "error", "sequence_number": 9, "error": {**error, "code": error["code"] or "server_error"}}
        failed = {"code": "server_error", "message": error["message"]}
        answer = {"id": "resp_sim", "object": "response", "status": "failed", "error": failed, "output": []}
        last = {"type": "response.failed", "sequence_number": 10, "response": answer}
        return sse.event(encode(told), b"error") + sse.event(encode(last), b"response.failed")

    def is_end(self, event: bytes) -> bool:
        return event.startswith((b"event: response.completed\n", b"event: response.incomplete\n"))


def _asked(request: Request) -> Fields:
    """The request as it was spelt."""
    asked: Fields = msgspec.json.decode(request.extra["asked"].raw)
    return asked


# ---- requests


def _check(fields: Fields) -> None:
    for name in fields:
        if name not in _KNOWN:
            raise InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if not take(fields, "model", str):
        raise InvalidRequest("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    if fields.get("conversation") is not None:
        raise InvalidRequest("Conversation not found.", param="conversation")
    previous = fields.get("previous_response_id")
    if previous is not None:
        told = f"Previous response with id '{previous}' not found."
        raise InvalidRequest(told, param="previous_response_id", code="previous_response_not_found")


def _messages(fields: Fields) -> Iterator[Message]:
    instructions = take(fields, "instructions", str)
    if instructions:
        # A key for the cache stands for a prompt that was there before: what it begins with is known.
        mark = Raw(b'{"type":"ephemeral"}') if fields.get("prompt_cache_key") else None
        yield Message("system", (Text(instructions, cache=mark),))
    told = fields.get("input")
    if isinstance(told, str):
        yield Message("user", (Text(told),))
        return
    items = objects(fields, "input")
    if not items:
        told_so = "Missing required parameter: 'input'."
        raise InvalidRequest(told_so, param="input", code="missing_required_parameter")
    calls = {item.get("call_id") for item in items if str(item.get("type")).endswith("_call")}
    for index, item in enumerate(items):
        place = f"input[{index}]"
        result = item.get("call_id")
        if item.get("type") == "function_call_output" and result not in calls:
            raise InvalidRequest(f"No tool call found for function call output with call_id {result}.", param="input")
        yield _message(item, place)


def _message(item: Fields, place: str) -> Message:
    kind = item.get("type", "message")
    match kind:
        case "message":
            role = item.get("role")
            if role not in ("user", "assistant", "system", "developer"):
                raise InvalidRequest(f"Invalid value: '{role}'.", param=f"{place}.role", code="invalid_value")
            return Message(role, tuple(_content(item.get("content"), f"{place}.content", role)))
        case "function_call":
            told = [take(item, name, str, place) for name in ("call_id", "name", "arguments")]
            if None in told:
                raise InvalidRequest(f"Missing required parameter in '{place}'.", param=place)
            return Message("assistant", (ToolUse(told[0] or "", told[1] or "", told[2] or ""),))
        case "function_call_output":
            content = tuple(_content(item.get("output"), f"{place}.output", "user"))
            return Message("tool", (ToolResult(str(item.get("call_id")), content),))
        case "reasoning":
            return Message("assistant", (_thought(item, place),))
    return Message("assistant", (Opaque(_NAME, Raw(encode(item))),))


def _thought(item: Fields, place: str) -> Reasoning:
    cipher = take(item, "encrypted_content", str, place)
    if cipher is not None and not cipher.startswith(_CIPHER + "sim-"):
        told = f"The encrypted content for item {item.get('id')} could not be verified."
        raise InvalidRequest(told, param=place, code="invalid_encrypted_content")
    text = "".join(str(part.get("text", "")) for part in objects(item, "summary", place))
    return Reasoning(text, encrypted=cipher, protocol=_NAME)


def _content(told: Any, place: str, role: str) -> Iterator[Part]:
    if isinstance(told, str):
        yield Text(told)
        return
    if not isinstance(told, list):
        raise InvalidRequest(f"Invalid type for '{place}'.", param=place, code="invalid_type")
    for index, part in enumerate(told):
        kind = part.get("type") if isinstance(part, dict) else None
        match kind:
            case "input_text" | "text" if role != "assistant":
                yield Text(str(part.get("text", "")))
            case "output_text" if role == "assistant":
                yield Text(str(part.get("text", "")))
            case "refusal" if role == "assistant":
                yield Text(str(part.get("refusal", "")), refusal=True)
            case "input_image":
                yield _medium("image", part.get("image_url"), part.get("file_id"), part.get("detail"))
            case "input_file":
                url = part.get("file_data") or part.get("file_url")
                yield _medium("document", url, part.get("file_id"), None)
            case "input_audio":
                sound = part.get("input_audio") or {}
                yield Media("audio", f"audio/{sound.get('format')}", data=str(sound.get("data", "")))
            case _:
                told_so = f"Invalid value: '{kind}'. Supported values are: 'input_text', 'input_image', 'output_text'…"
                raise InvalidRequest(told_so, param=f"{place}[{index}]", code="invalid_value")


def _medium(kind: Any, url: Any, file_id: Any, detail: Any) -> Media:
    if isinstance(url, str) and url.startswith("data:"):
        head, _, data = url.partition(",")
        return Media(kind, head[5:].partition(";")[0], data=data, detail=detail)
    return Media(kind, url=url) if isinstance(url, str) else Media(kind, file_id=str(file_id))


def _tool(tool: Fields, place: str) -> Tool | Opaque:
    if tool.get("type") != "function":
        return Opaque(_NAME, Raw(encode(tool)))
    name = take(tool, "name", str, place)
    if not name:
        told = f"Missing required parameter: '{place}.name'."
        raise InvalidRequest(told, param=f"{place}.name", code="missing_required_parameter")
    schema = take(tool, "parameters", dict, place)
    return Tool(name, take(tool, "description", str, place), None if schema is None else Raw(encode(schema)))


def _choice(told: Any) -> ToolChoice | None:
    match told:
        case "auto" | "none" | "required":
            return ToolChoice(told)
        case {"type": "function", "name": str(name)}:
            return ToolChoice("named", name)
        case {"type": "allowed_tools", "mode": "required"}:
            return ToolChoice("required")
        case None | {"type": str()}:
            return None
    raise InvalidRequest("Invalid value for 'tool_choice'.", param="tool_choice", code="invalid_value")


def _format(text: Fields) -> ResponseFormat | None:
    told = take(text, "format", dict, "text") or {}
    if told.get("type") == "json_object":
        return ResponseFormat("json_object")
    if told.get("type") != "json_schema":
        return None
    if not isinstance(told.get("schema"), dict) or not told.get("name"):
        raise InvalidRequest("Missing required parameter: 'text.format.schema'.", param="text.format.schema")
    return ResponseFormat("json_schema", told["name"], Raw(encode(told["schema"])))


# ---- answers


def _answer(response: Response, asked: Fields, output: list[Fields], *, begun: bool = False) -> Fields:
    """A response; `begun`: it has just begun."""
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(response.finish_reason or "")
    status = "in_progress" if begun else "incomplete" if reason else "completed"
    reasoning = asked.get("reasoning") or {}
    return {
        "id": response.id, "object": "response", "created_at": response.created, "status": status,
        "background": False, "completed_at": response.created if status == "completed" else None, "error": None,
        "incomplete_details": {"reason": reason} if reason and not begun else None,
        "instructions": asked.get("instructions"), "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"), "model": response.model, "output": output,
        "parallel_tool_calls": asked.get("parallel_tool_calls", True), "previous_response_id": None,
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": asked.get("safety_identifier"), "service_tier": "default",
        "store": asked.get("store", True), "temperature": asked.get("temperature", 1.0),
        "text": asked.get("text") or {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": asked.get("tool_choice", "auto"), "tools": asked.get("tools", []),
        "top_logprobs": asked.get("top_logprobs", 0), "top_p": asked.get("top_p", 1.0),
        "truncation": asked.get("truncation", "disabled"), "usage": None if begun else _usage(response.usage),
        "user": asked.get("user"), "metadata": asked.get("metadata") or {},
    }  # fmt: skip


def _usage(usage: Usage | None) -> Fields | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _item(part: Part, index: int, response: Response, asked: Fields, *, begun: bool = False) -> Fields:
    """The item of output that tells `part`; `begun`: it has just begun."""
    own = f"{response.id.removeprefix('resp_')}{index:02}"
    status = "in_progress" if begun else "completed"
    match part:
        case Reasoning(text=text, signature=signature):
            summary = [{"type": "summary_text", "text": text}] if _shows(asked) and text and not begun else []
            item: Fields = {"id": f"rs_{own}", "type": "reasoning", "summary": summary}
            if "reasoning.encrypted_content" in (asked.get("include") or ()):
                item["encrypted_content"] = f"{_CIPHER}{signature or 'sim-'}"
            return item
        case ToolUse(id=id, name=name, arguments=arguments):
            facts = {"type": "function_call", "status": status, "call_id": id, "name": name}
            return {"id": f"fc_{own}", **facts, "arguments": "" if begun else arguments}
    if response.finish_reason == "length" and index == len(response.parts) - 1 and not begun:
        status = "incomplete"
    content = [] if begun or not isinstance(part, Text) else [_said(part)]
    return {"id": f"msg_{own}", "type": "message", "status": status, "role": "assistant", "content": content}


def _shows(asked: Fields) -> bool:
    """Whether thoughts are summed up for the client."""
    return bool((asked.get("reasoning") or {}).get("summary"))


def _said(part: Text) -> Fields:
    if part.refusal:
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


class _Encoder:
    """Events → events of a response."""

    def __init__(self, response: Response, asked: Fields) -> None:
        self._response, self._asked = response, asked
        self._number = 0
        self._part: Part = Text("")
        self._texts: list[str] = []
        self._output: list[Fields] = []

    def __call__(self, event: Event) -> bytes:
        return b"".join(self._told(kind, fields) for kind, fields in self._events(event))

    def _told(self, kind: str, fields: Fields) -> bytes:
        told = {"type": f"response.{kind}", "sequence_number": self._number, **fields}
        self._number += 1
        return sse.event(encode(told), f"response.{kind}".encode())

    def _events(self, event: Event) -> Iterator[tuple[str, Fields]]:
        match event:
            case Start():
                begun = {"response": _answer(self._response, self._asked, [], begun=True)}
                yield "created", begun
                yield "in_progress", begun
            case PartStart(index=index, part=part):
                self._part, self._texts = part, []
                item = _item(part, index, self._response, self._asked, begun=True)
                yield "output_item.added", {"output_index": index, "item": item}
                yield from self._opened(index, item)
            case PartDelta(index=index, text=text) if text:
                self._texts.append(text)
                yield from self._more(index, text)
            case PartDelta(signature=signature) if signature:
                self._part = msgspec.structs.replace(self._part, signature=signature)
            case PartEnd(index=index):
                yield from self._closed(index)
            case Finish(usage=usage):
                whole = msgspec.structs.replace(self._response, usage=usage)
                answer = _answer(whole, self._asked, self._output)
                yield answer["status"], {"response": answer}

    def _place(self, index: int) -> Fields:
        item = _item(self._part, index, self._response, self._asked, begun=True)
        return {"item_id": item["id"], "output_index": index}

    def _opened(self, index: int, item: Fields) -> Iterator[tuple[str, Fields]]:
        place = {"item_id": item["id"], "output_index": index}
        if isinstance(self._part, Text):
            yield "content_part.added", {**place, "content_index": 0, "part": _said(self._part)}
        elif isinstance(self._part, Reasoning) and _shows(self._asked):
            part = {"type": "summary_text", "text": ""}
            yield "reasoning_summary_part.added", {**place, "summary_index": 0, "part": part}

    def _more(self, index: int, text: str) -> Iterator[tuple[str, Fields]]:
        place = self._place(index)
        match self._part:
            case ToolUse():
                yield "function_call_arguments.delta", {**place, "delta": text}
            case Reasoning() if _shows(self._asked):
                yield "reasoning_summary_text.delta", {**place, "summary_index": 0, "delta": text}
            case Text(refusal=True):
                yield "refusal.delta", {**place, "content_index": 0, "delta": text}
            case Text():
                yield "output_text.delta", {**place, "content_index": 0, "delta": text, "logprobs": []}

    def _closed(self, index: int) -> Iterator[tuple[str, Fields]]:
        place, text = self._place(index), "".join(self._texts)
        match self._part:
            case ToolUse() as call:
                yield "function_call_arguments.done", {**place, "name": call.name, "arguments": text}
                self._part = msgspec.structs.replace(call, arguments=text)
            case Reasoning() as thought:
                self._part = msgspec.structs.replace(thought, text=text)
                if _shows(self._asked):
                    part = {"type": "summary_text", "text": text}
                    yield "reasoning_summary_text.done", {**place, "summary_index": 0, "text": text}
                    yield "reasoning_summary_part.done", {**place, "summary_index": 0, "part": part}
            case Text() as words:
                self._part = msgspec.structs.replace(words, text=text)
                said = _said(self._part)
                kind = said["type"]
                told = {"refusal": text} if kind == "refusal" else {"text": text, "logprobs": []}
                yield f"{kind}.done", {**place, "content_index": 0, **told}
                yield "content_part.done", {**place, "content_index": 0, "part": said}
        item = _item(self._part, index, self._response, self._asked)
        self._output.append(item)
        yield "output_item.done", {"output_index": index, "item": item}


RESPONSES = Responses()
