"""Anthropic's messages, by the SDK `anthropic`. https://docs.anthropic.com/en/api/messages"""

from typing import Any

import anthropic

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
from fairlead.conformance.formats.anthropic_sdk import Anthropic, AnthropicJudge, check_version, failed
from fairlead.conformance.formats.shared import body, decoded, dropped, encoded, finish, named, turn

_FINISH: dict[str, Finish] = {
    "end_turn": "stop", "max_tokens": "length", "tool_use": "tools", "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}  # fmt: skip
# What the service takes of models that the SDK's types no longer have in mind.
_BESIDE = ("temperature", "top_p", "top_k")
_MARK = {"type": "ephemeral"}


class _Messages(Anthropic):
    """The SDK, and how it is asked."""

    async def create(self, said: dict[str, Any]) -> Answer:
        beside = {name: said.pop(name) for name in _BESIDE if name in said}
        stream = said.pop("stream", False)
        text, pieces = "", 0
        try:
            if not stream:
                raw = await self.sdk.messages.with_raw_response.create(**said, extra_body=beside)
                return read(await raw.parse(), dropped(raw.headers))
            async with self.sdk.messages.stream(**said, extra_body=beside) as events:
                async for piece in events.text_stream:
                    text, pieces = text + piece, pieces + 1
                answer = read(await events.get_final_message(), dropped(events.response.headers))
        except anthropic.APIError as error:
            raise failed(error, text) from None
        if answer.text != text:
            raise Mismatch(f"the pieces of the stream are {text!r}, the whole is {answer.text!r}")
        answer.pieces = pieces
        return answer


class Client(_Messages):
    """A client of the gateway."""

    converses = thinks = reads_thoughts = True

    async def ask(self, ask: Ask) -> Answer:
        return await self.create(_said(ask))

    async def hang_up(self, ask: Ask) -> str:
        said = _said(ask)
        said.pop("stream")
        async with self.sdk.messages.stream(**said) as stream:
            async for text in stream.text_stream:
                if text:
                    return str(text)
        return ""


def _said(ask: Ask) -> dict[str, Any]:
    """The arguments of `messages.create`."""
    messages: list[dict[str, Any]] = []
    for said_turn in ask.turns:
        match said_turn:
            case User(parts=parts, cached=cached):
                content = [_block(part) for part in parts]
                if cached:
                    content[-1]["cache_control"] = _MARK
                messages.append({"role": "user", "content": content})
            case Model(answer=answer):
                messages.append({"role": "assistant", "content": answer.said})
            case Results(results=results):
                blocks = [{"type": "tool_result", "tool_use_id": one.id, "content": one.text} for one in results]
                messages.append({"role": "user", "content": blocks})
    said: dict[str, Any] = {"model": ask.model, "messages": messages, "max_tokens": ask.max_tokens}
    if ask.system is not None:
        said["system"] = ask.system
    if ask.tools:
        said["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in ask.tools
        ]
    if ask.schema is not None:
        said["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
    if ask.temperature is not None:
        said["temperature"] = ask.temperature
    if ask.stop:
        said["stop_sequences"] = list(ask.stop)
    if ask.thinking:
        said["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    if ask.stream:
        said["stream"] = True
    return said


def _block(said: Said) -> dict[str, Any]:
    match said:
        case Image(url=url) if url:
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Image():
            source = {"type": "base64", "media_type": said.mime, "data": encoded(said.data)}
            return {"type": "image", "source": source}
        case Document():
            source = {"type": "base64", "media_type": said.mime, "data": encoded(said.data)}
            return {"type": "document", "source": source, "title": said.name}
    return {"type": "text", "text": said}


def read(message: Any, dropped: tuple[str, ...]) -> Answer:
    """What an object of the SDK's says."""
    blocks = message.content
    thoughts = [block for block in blocks if block.type == "thinking"]
    # What the helper for streams adds is no field of a request.
    said = [block.model_dump(exclude_none=True, exclude={"parsed_output"}, mode="json") for block in blocks]
    return Answer(
        text="".join(block.text for block in blocks if block.type == "text"),
        thinking="".join(block.thinking for block in thoughts),
        signature="".join(block.signature for block in thoughts) or None,
        calls=tuple(Call(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"),
        finish=finish(message.stop_reason, _FINISH),
        used=used(message.usage),
        said=said,
        dropped=dropped,
    )


def used(usage: Any) -> Used:
    """The tokens of a message: those of the cache are counted beside the others."""
    cached = usage.cache_read_input_tokens or 0
    details = usage.output_tokens_details
    return Used(
        usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
        usage.output_tokens,
        cached,
        (details and details.thinking_tokens) or None,
    )


class Judge(_Messages, AnthropicJudge):
    """What a provider of messages is sent, and answers."""

    def told(self, received: Received) -> Told:
        check_version(received)
        return told(body(received))


def told(sent: dict[str, Any]) -> Told:
    """What a request says. Raises Mismatch."""
    told = Told(sent["model"], [], max_tokens=sent["max_tokens"], stream=sent.get("stream", False))
    system = sent.get("system", "")
    told.system = system if isinstance(system, str) else "".join(block["text"] for block in system)
    for message in sent["messages"]:
        said = turn(told.turns, "user" if message["role"] == "user" else "model")
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            match block:
                case {"type": "text", "text": str(text)}:
                    said.texts.append(text)
                case {"type": "image" | "document" as kind, "source": {"type": "base64", "data": str(data)}}:
                    said.media.append((kind, decoded(data)))
                case {"type": "image", "source": {"type": "url", "url": str(url)}}:
                    said.media.append(("image", url))
                case {"type": "thinking", "thinking": str(text), "signature": str(signature)}:
                    said.thoughts.append(Thought(text, signature))
                case {"type": "tool_use", "id": str(id), "name": str(name), "input": dict(given)}:
                    said.calls.append(Call(id, name, given))
                case {"type": "tool_result", "tool_use_id": str(id), "content": given}:
                    text = given if isinstance(given, str) else "".join(piece["text"] for piece in given)
                    said.results.append(Result(id, named(told.turns, id), text))
                case _:
                    raise Mismatch(f"this is no block: {str(block)[:80]}")
    for tool in sent.get("tools", ()):
        told.tools.append(ToolSpec(tool["name"], tool.get("description", ""), tool["input_schema"]))
    told.temperature = sent.get("temperature")
    told.stop = tuple(sent.get("stop_sequences", ()))
    shape = sent.get("output_config", {}).get("format")
    if shape is not None:
        told.schema = shape["schema"]
    told.thinking = sent.get("thinking", {}).get("type") in ("enabled", "adaptive")
    return told
