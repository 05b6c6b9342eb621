"""Cohere's chat, version 2, by the SDK `cohere`. https://docs.cohere.com/reference/chat"""

from typing import Any

import cohere
from cohere.core.api_error import ApiError

from fairlead.conformance import (
    Answer,
    Call,
    Finish,
    Mismatch,
    Received,
    Refused,
    Result,
    Thought,
    Told,
    ToolSpec,
    Used,
)
from fairlead.conformance.formats.shared import arguments, body, bytes_or_address, finish, named, take, turn

_FINISH: dict[str, Finish] = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop_sequence", "MAX_TOKENS": "length", "TOOL_CALL": "tools",
}  # fmt: skip


class Judge:
    """What a provider of chat is sent, and answers."""

    def __init__(self, url: str) -> None:
        self.sdk = cohere.AsyncClientV2(
            "none", base_url=url.removesuffix("/v2"), max_retries=0, timeout=30, log_warning_experimental_features=False
        )

    async def aclose(self) -> None:
        await self.sdk._client_wrapper.httpx_client.httpx_client.aclose()

    async def again(self, received: Received) -> Answer:
        said = body(received)
        text = ""
        try:
            if not said.pop("stream", False):
                return _read(await self.sdk.chat(**said))
            gathered = _Gathered()
            async for event in self.sdk.chat_stream(**said):
                gathered.add(event)
                text = gathered.answer.text
        except ApiError as error:
            raise Refused(error, error.status_code, text) from None
        return gathered.whole()

    def told(self, received: Received) -> Told:
        if not received.target.endswith("/v2/chat"):
            raise Mismatch(f"the provider was asked at {received.target}")
        sent = body(received)
        told = Told(sent["model"], [], stream=sent.get("stream", False))
        for message in sent["messages"]:
            _hear(told, message)
        for tool in sent.get("tools", ()):
            take(tool, "type function", "a tool")
            function = tool["function"]
            take(function, "name description parameters", "a tool")
            told.tools.append(ToolSpec(function["name"], function.get("description", ""), function["parameters"]))
        told.max_tokens, told.temperature = sent.get("max_tokens"), sent.get("temperature")
        told.stop = tuple(sent.get("stop_sequences", ()))
        shape = sent.get("response_format", {})
        if shape.get("type") == "json_object":
            told.schema = shape.get("schema", shape.get("json_schema"))
        told.thinking = sent.get("thinking", {}).get("type") == "enabled"
        return told


def _hear(told: Told, message: dict[str, Any]) -> None:
    """Add a message to what was told. Raises Mismatch."""
    match message:
        case {"role": "system", "content": content}:
            told.system += _text(content)
        case {"role": "user", "content": content}:
            said = turn(told.turns, "user")
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                match part:
                    case {"type": "text", "text": str(text)}:
                        said.texts.append(text)
                    case {"type": "image_url", "image_url": {"url": str(url)}}:
                        said.media.append(("image", bytes_or_address(url)))
                    case _:
                        raise Mismatch(f"this is no part of a message: {str(part)[:80]}")
        case {"role": "assistant"}:
            take(message, "role content tool_calls tool_plan citations", "a message")
            said = turn(told.turns, "model")
            if message.get("tool_plan"):
                said.thoughts.append(Thought(message["tool_plan"], None))
            content = message.get("content") or []
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                if part["type"] == "thinking":
                    said.thoughts.append(Thought(part["thinking"], None))
                else:
                    said.texts.append(part["text"])
            for call in message.get("tool_calls", ()):
                take(call, "id type function", "a call")
                function = call["function"]
                said.calls.append(Call(call["id"], function["name"], arguments(function["arguments"])))
        case {"role": "tool", "tool_call_id": str(id), "content": content}:
            turn(told.turns, "user").results.append(Result(id, named(told.turns, id), _text(content)))
        case _:
            raise Mismatch(f"this is no message: {str(message)[:80]}")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _read(response: Any) -> Answer:
    """What an object of the SDK's says."""
    message = response.message
    content = message.content or ()
    return Answer(
        text="".join(part.text for part in content if part.type == "text"),
        thinking="".join(part.thinking for part in content if part.type == "thinking") + (message.tool_plan or ""),
        calls=tuple(
            Call(call.id, call.function.name, arguments(call.function.arguments)) for call in message.tool_calls or ()
        ),
        finish=finish(response.finish_reason, _FINISH),
        used=_used(response.usage),
    )


def _used(usage: Any) -> Used:
    """The tokens of an answer."""
    if usage is None or usage.tokens is None:
        return Used()
    return Used(int(usage.tokens.input_tokens), int(usage.tokens.output_tokens), int(usage.cached_tokens or 0))


class _Gathered:
    """The events of a stream, as they add up."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._calls: dict[int, tuple[str, str, str]] = {}

    def add(self, event: Any) -> None:
        match event.type:
            case "content-start" | "content-delta":
                content = event.delta.message.content
                self.answer.text += getattr(content, "text", None) or ""
                self.answer.thinking += getattr(content, "thinking", None) or ""
            case "tool-plan-delta":
                self.answer.thinking += event.delta.message.tool_plan
            case "tool-call-start":
                call = event.delta.message.tool_calls
                self._calls[event.index] = (call.id, call.function.name, call.function.arguments or "")
            case "tool-call-delta":
                id, name, told = self._calls[event.index]
                more = event.delta.message.tool_calls.function.arguments
                self._calls[event.index] = (id, name, told + more)
            case "message-end":
                self.answer.finish = finish(event.delta.finish_reason, _FINISH)
                self.answer.used = _used(event.delta.usage)
                if event.delta.error:
                    raise Refused(RuntimeError(event.delta.error), None, self.answer.text)

    def whole(self) -> Answer:
        self.answer.calls = tuple(Call(id, name, arguments(told)) for id, name, told in self._calls.values())
        if self.answer.finish is None:
            raise Mismatch("the stream ended without an event that says so")
        return self.answer
