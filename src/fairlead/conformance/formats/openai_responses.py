"""OpenAI's responses, by the SDK `openai`. https://platform.openai.com/docs/api-reference/responses/create"""

from typing import Any

import openai

from fairlead.conformance import (
    Answer,
    Ask,
    Call,
    CannotSay,
    Document,
    Finish,
    Image,
    Mismatch,
    Model,
    Received,
    Refused,
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
    named,
    of_data_url,
    turn,
)

_INCOMPLETE: dict[str, Finish] = {"max_output_tokens": "length", "content_filter": "refusal"}


class _Responses(OpenAI):
    """The SDK, and how it is asked."""

    async def create(self, said: dict[str, Any]) -> Answer:
        text, pieces, whole = "", 0, None
        try:
            raw = await self.sdk.responses.with_raw_response.create(**said)
            if not said.get("stream"):
                return read(raw.parse(), dropped(raw.headers))
            stream: Any = raw.parse()
            async with stream:
                async for event in stream:
                    if event.type in ("response.output_text.delta", "response.refusal.delta"):
                        text, pieces = text + event.delta, pieces + 1
                    elif event.type in ("error", "response.failed"):
                        raise Refused(RuntimeError(event.model_dump_json(exclude_none=True)), None, text)
                    elif event.type in ("response.completed", "response.incomplete"):
                        whole = event.response
        except openai.APIError as error:
            raise failed(error, text) from None
        if whole is None:
            raise Mismatch("the stream ended without an event that says so")
        answer = read(whole, dropped(raw.headers))
        if answer.text != text:
            raise Mismatch(f"the pieces of the stream are {text!r}, the whole is {answer.text!r}")
        answer.pieces = pieces
        return answer


class Client(_Responses, OpenAIClient):
    """A client of the gateway. It keeps the conversation itself: nothing is stored."""

    converses = thinks = reads_thoughts = True

    async def ask(self, ask: Ask) -> Answer:
        return await self.create(_said(ask))

    async def hang_up(self, ask: Ask) -> str:
        stream: Any = await self.sdk.responses.create(**_said(ask))
        async with stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    return str(event.delta)
        return ""


def _said(ask: Ask) -> dict[str, Any]:
    """The arguments of `responses.create`."""
    if ask.stop:
        raise CannotSay("stop")
    items: list[Any] = []
    for said_turn in ask.turns:
        match said_turn:
            case User(parts=parts):
                items.append({"role": "user", "content": [_part(part) for part in parts]})
            case Model(answer=answer):
                items += answer.said
            case Results(results=results):
                items += [{"type": "function_call_output", "call_id": one.id, "output": one.text} for one in results]
    said: dict[str, Any] = {"model": ask.model, "input": items, "max_output_tokens": ask.max_tokens, "store": False}
    if ask.system is not None:
        said["instructions"] = ask.system
    if ask.tools:
        said["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.schema,
                "strict": False,
            }
            for tool in ask.tools
        ]
    if ask.schema is not None:
        said["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": ask.schema}}
    if ask.temperature is not None:
        said["temperature"] = ask.temperature
    if ask.thinking:
        said |= {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    if ask.stream:
        said["stream"] = True
    return said


def _part(said: Said) -> dict[str, Any]:
    match said:
        case Image():
            return {"type": "input_image", "image_url": said.url or data_url(said), "detail": "auto"}
        case Document():
            return {"type": "input_file", "filename": said.name, "file_data": data_url(said)}
    return {"type": "input_text", "text": said}


def read(response: Any, dropped: tuple[str, ...]) -> Answer:
    """What an object of the SDK's says."""
    thoughts = [item for item in response.output if item.type == "reasoning"]
    calls = [item for item in response.output if item.type == "function_call"]
    said = [part for item in response.output if item.type == "message" for part in item.content]
    refused = [part.refusal for part in said if part.type == "refusal"]
    told = [piece.text for item in thoughts for piece in item.summary or item.content or ()]
    return Answer(
        text="".join(part.refusal if part.type == "refusal" else part.text for part in said),
        refusal="".join(refused),
        thinking="".join(told),
        signature="".join(item.encrypted_content or "" for item in thoughts) or None,
        calls=tuple(Call(item.call_id, item.name, arguments(item.arguments)) for item in calls),
        finish=_finish(response, calls=bool(calls), refused=bool(refused)),
        used=used(response.usage),
        said=response.output,
        dropped=dropped,
    )


def _finish(response: Any, *, calls: bool, refused: bool) -> Finish:
    if refused:
        return "refusal"
    if response.status == "incomplete":
        return _INCOMPLETE.get(response.incomplete_details.reason, "other")
    if response.status != "completed":
        return "other"
    return "tools" if calls else "stop"


def used(usage: Any) -> Used:
    """The tokens of a response."""
    if usage is None:
        return Used()
    if usage.total_tokens != usage.input_tokens + usage.output_tokens:
        raise Mismatch(f"total_tokens is not the sum of its parts: {usage}")
    return Used(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens_details.cached_tokens,
        usage.output_tokens_details.reasoning_tokens,
    )


class Judge(_Responses, OpenAIJudge):
    """What a provider of responses is sent, and answers."""

    def told(self, received: Received) -> Told:
        sent = body(received)
        told = Told(sent["model"], [], system=sent.get("instructions") or "", stream=sent.get("stream", False))
        items = sent["input"]
        for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
            _hear(told, item)
        for tool in sent.get("tools", ()):
            told.tools.append(ToolSpec(tool["name"], tool.get("description", ""), tool["parameters"]))
        told.max_tokens = sent.get("max_output_tokens")
        told.temperature = sent.get("temperature")
        shape = sent.get("text", {}).get("format", {})
        if shape.get("type") == "json_schema":
            told.schema = shape["schema"]
        told.thinking = (sent.get("reasoning") or {}).get("effort", "none") != "none"
        if told.thinking and "reasoning.encrypted_content" not in sent.get("include", ()):
            raise Mismatch("encrypted thoughts are not asked for, so that none could be brought back")
        return told


def _hear(told: Told, item: dict[str, Any]) -> None:
    """Add an item to what was told. Raises Mismatch."""
    match item:
        case {"role": "system" | "developer", "content": content}:
            told.system += content if isinstance(content, str) else "".join(part["text"] for part in content)
        case {"role": "user" | "assistant" as role, "content": content}:
            said = turn(told.turns, "user" if role == "user" else "model")
            for part in [{"type": "input_text", "text": content}] if isinstance(content, str) else content:
                match part:
                    case {"type": "input_text" | "output_text", "text": str(text)}:
                        said.texts.append(text)
                    case {"type": "refusal", "refusal": str(text)}:
                        said.texts.append(text)
                        said.refusals.append(text)
                    case {"type": "input_image", "image_url": str(url)}:
                        said.media.append(("image", bytes_or_address(url)))
                    case {"type": "input_file", "file_data": str(url)}:
                        said.media.append(("document", of_data_url(url)))
                    case _:
                        raise Mismatch(f"this is no part of a message: {str(part)[:80]}")
        case {"type": "reasoning"}:
            text = "".join(piece["text"] for piece in item.get("summary") or item.get("content") or ())
            turn(told.turns, "model").thoughts.append(Thought(text, item.get("encrypted_content")))
        case {"type": "function_call", "call_id": str(id), "name": str(name), "arguments": str(given)}:
            turn(told.turns, "model").calls.append(Call(id, name, arguments(given)))
        case {"type": "function_call_output", "call_id": str(id), "output": output}:
            text = output if isinstance(output, str) else "".join(piece["text"] for piece in output)
            turn(told.turns, "user").results.append(Result(id, named(told.turns, id), text))
        case _:
            raise Mismatch(f"this is no item: {str(item)[:80]}")
