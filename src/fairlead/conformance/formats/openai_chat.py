"""OpenAI's chat completions, by the SDK `openai`. https://platform.openai.com/docs/api-reference/chat/create"""

from typing import Any

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

from fairlead.conformance import (
    Answer,
    Ask,
    Call,
    Document,
    Finish,
    Image,
    Mismatch,
    Model,
    Received,
    Result,
    Results,
    Said,
    Thought,
    Told,
    ToolSpec,
    Used,
    User,
)
from fairlead.conformance.formats.openai_sdk import OpenAI, OpenAIClient, OpenAIJudge, failed
from fairlead.conformance.formats.shared import (
    arguments,
    body,
    bytes_or_address,
    data_url,
    dropped,
    finish,
    named,
    of_data_url,
    take,
    turn,
    words,
)

_FINISH: dict[str, Finish] = {
    "stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "refusal",
}  # fmt: skip


class _Chat(OpenAI):
    """The SDK, and how it is asked."""

    async def create(self, said: dict[str, Any]) -> Answer:
        text = ""
        try:
            raw = await self.sdk.chat.completions.with_raw_response.create(**said)
            if not said.get("stream"):
                return read(raw.parse(), dropped(raw.headers))
            state: Any = ChatCompletionStreamState(
                input_tools=said.get("tools", openai.omit), response_format=said.get("response_format", openai.omit)
            )
            pieces = 0
            async with raw.parse() as stream:
                async for chunk in stream:
                    delta = chunk.choices[0].delta if chunk.choices else None
                    piece = ((delta.content or "") + (delta.refusal or "")) if delta is not None else ""
                    text, pieces = text + piece, pieces + bool(piece)
                    state.handle_chunk(chunk)
            answer = read(state.current_completion_snapshot, dropped(raw.headers))
        except openai.APIError as error:
            raise failed(error, text) from None
        if answer.text != text:
            raise Mismatch(f"the pieces of the stream are {text!r}, the whole is {answer.text!r}")
        answer.pieces = pieces
        return answer


class Client(_Chat, OpenAIClient):
    """A client of the gateway."""

    converses = thinks = True
    reads_thoughts = False

    async def ask(self, ask: Ask) -> Answer:
        return await self.create(_said(ask))

    async def hang_up(self, ask: Ask) -> str:
        async with await self.sdk.chat.completions.create(**_said(ask)) as stream:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    return str(chunk.choices[0].delta.content)
        return ""


def _said(ask: Ask) -> dict[str, Any]:
    """The arguments of `chat.completions.create`."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": ask.system}] if ask.system is not None else []
    for said_turn in ask.turns:
        match said_turn:
            case User(parts=parts):
                messages.append({"role": "user", "content": words(parts) or [_part(part) for part in parts]})
            case Model(answer=answer):
                messages.append(answer.said)
            case Results(results=results):
                messages += [{"role": "tool", "tool_call_id": one.id, "content": one.text} for one in results]
    said: dict[str, Any] = {"model": ask.model, "messages": messages, "max_completion_tokens": ask.max_tokens}
    if ask.tools:
        said["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in ask.tools
        ]
    if ask.schema is not None:
        said["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ask.schema}}
    if ask.temperature is not None:
        said["temperature"] = ask.temperature
    if ask.stop:
        said["stop"] = list(ask.stop)
    if ask.thinking:
        said["reasoning_effort"] = "low"
    if ask.stream:
        said |= {"stream": True, "stream_options": {"include_usage": True}}
    return said


def _part(said: Said) -> dict[str, Any]:
    match said:
        case Image():
            return {"type": "image_url", "image_url": {"url": said.url or data_url(said)}}
        case Document():
            return {"type": "file", "file": {"filename": said.name, "file_data": data_url(said)}}
    return {"type": "text", "text": said}


def read(completion: Any, dropped: tuple[str, ...]) -> Answer:
    """What an object of the SDK's says. Thoughts stand in fields that other vendors have added."""
    (choice,) = completion.choices
    message = choice.message
    beside = message.model_extra or {}
    said = message.model_dump(exclude_none=True, exclude={"parsed"}, mode="json")
    for call in said.get("tool_calls", ()):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return Answer(
        text=(message.content or "") + (message.refusal or ""),
        refusal=message.refusal or "",
        thinking=beside.get("reasoning_content") or beside.get("reasoning") or "",
        signature=_signature(beside),
        calls=tuple(
            Call(call.id, call.function.name, arguments(call.function.arguments)) for call in message.tool_calls or ()
        ),
        finish=finish(choice.finish_reason, _FINISH, refused=bool(message.refusal)),
        used=used(completion.usage),
        said=said,
        dropped=dropped,
    )


def _signature(message: dict[str, Any]) -> str | None:
    """What other vendors keep beside a thought, as OpenRouter spells it."""
    details = message.get("reasoning_details") or ()
    return next((detail["signature"] for detail in details if detail.get("signature")), None)


def used(usage: Any) -> Used:
    """The tokens of a completion."""
    if usage is None:
        return Used()
    if usage.total_tokens != usage.prompt_tokens + usage.completion_tokens:
        raise Mismatch(f"total_tokens is not the sum of its parts: {usage}")
    cached, reasoning = usage.prompt_tokens_details, usage.completion_tokens_details
    return Used(
        usage.prompt_tokens,
        usage.completion_tokens,
        (cached and cached.cached_tokens) or 0,
        (reasoning and reasoning.reasoning_tokens) or 0,
    )


class Judge(_Chat, OpenAIJudge):
    """What a provider of chat completions is sent, and answers."""

    def told(self, received: Received) -> Told:
        sent = body(received)
        told = Told(sent["model"], [], stream=sent.get("stream", False))
        if told.stream and not sent.get("stream_options", {}).get("include_usage"):
            raise Mismatch("usage of the stream is not asked for")
        for message in sent["messages"]:
            _hear(told, message)
        for tool in sent.get("tools", ()):
            take(tool, "type function", "a tool")
            function = tool["function"]
            take(function, "name description parameters strict", "a tool")
            told.tools.append(ToolSpec(function["name"], function.get("description", ""), function["parameters"]))
        told.max_tokens = sent.get("max_completion_tokens", sent.get("max_tokens"))
        told.temperature = sent.get("temperature")
        stop = sent.get("stop") or ()
        told.stop = (stop,) if isinstance(stop, str) else tuple(stop)
        shape = sent.get("response_format", {})
        if shape.get("type") == "json_schema":
            told.schema = shape["json_schema"]["schema"]
        told.thinking = sent.get("reasoning_effort", "none") != "none"
        return told


def _hear(told: Told, message: dict[str, Any]) -> None:
    """Add a message to what was told. Raises Mismatch."""
    match message:
        case {"role": "system" | "developer", "content": content}:
            told.system += _text(content)
        case {"role": "user", "content": content}:
            said = turn(told.turns, "user")
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                match part:
                    case {"type": "text", "text": str(text)}:
                        said.texts.append(text)
                    case {"type": "image_url", "image_url": {"url": str(url)}}:
                        said.media.append(("image", bytes_or_address(url)))
                    case {"type": "file", "file": {"file_data": str(url)}}:
                        said.media.append(("document", of_data_url(url)))
                    case _:
                        raise Mismatch(f"this is no part of a message: {str(part)[:80]}")
        case {"role": "assistant"}:
            said = turn(told.turns, "model")
            if message.get("content"):
                said.texts.append(_text(message["content"]))
            if message.get("refusal"):
                said.texts.append(message["refusal"])
                said.refusals.append(message["refusal"])
            thought = message.get("reasoning_content") or "".join(
                detail.get("text", "") for detail in message.get("reasoning_details", ())
            )
            if thought:
                said.thoughts.append(Thought(thought, _signature(message)))
            for call in message.get("tool_calls") or ():
                take(call, "id type function", "a call")
                function = call["function"]
                said.calls.append(Call(call["id"], function["name"], arguments(function["arguments"])))
        case {"role": "tool", "tool_call_id": str(id), "content": content}:
            turn(told.turns, "user").results.append(Result(id, named(told.turns, id), _text(content)))
        case _:
            raise Mismatch(f"this is no message: {str(message)[:80]}")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
