"""Ollama's chat, by the SDK `ollama`. https://docs.ollama.com/api/chat"""

from abc import ABC, abstractmethod
from typing import Any

import ollama

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
from fairlead.conformance.formats.shared import body, decoded, finish, take, turn

_FINISH: dict[str, Finish] = {"stop": "stop", "length": "length"}


class Ollama(ABC):
    """The SDK, and how both ways of asking it read requests and answers."""

    def __init__(self, url: str) -> None:
        self.sdk = ollama.AsyncClient(host=url.removesuffix("/api"), timeout=30)

    async def aclose(self) -> None:
        await self.sdk._client.aclose()

    async def again(self, received: Received) -> Answer:
        said = body(received)
        answer, text = Answer(), ""
        try:
            if not said.get("stream"):
                self.read(answer, await self.ask(said))
                return answer
            async for chunk in await self.ask(said):
                self.read(answer, chunk)
                text = answer.text
        except ollama.ResponseError as error:
            raise Refused(error, error.status_code if error.status_code > 0 else None, text) from None
        if answer.finish is None:
            raise Mismatch("the stream ended without a line that says so")
        return answer

    @abstractmethod
    async def ask(self, said: dict[str, Any]) -> Any:
        """An object of the SDK's, or a stream of them; `said` are its arguments."""

    @abstractmethod
    def read(self, answer: Answer, told: Any) -> None:
        """Add what an object of the SDK's says: an answer, or a line of one."""


class Judge(Ollama):
    """What a provider of the chat is sent, and answers."""

    async def ask(self, said: dict[str, Any]) -> Any:
        return await self.sdk.chat(**said)

    def read(self, answer: Answer, told: Any) -> None:
        """Calls have no ids, nor a reason."""
        message = told.message
        answer.text += message.content or ""
        answer.thinking += message.thinking or ""
        answer.calls += tuple(
            Call(None, call.function.name, dict(call.function.arguments)) for call in message.tool_calls or ()
        )
        ended(answer, told)

    def told(self, received: Received) -> Told:
        sent = body(received)
        take(sent, "model messages tools think format options stream keep_alive logprobs top_logprobs", "the request")
        told = settings(sent)
        for message in sent["messages"]:
            _hear(told, message)
        for tool in sent.get("tools", ()):
            function = tool["function"]
            told.tools.append(ToolSpec(function["name"], function.get("description", ""), function["parameters"]))
        return told


def ended(answer: Answer, told: Any) -> None:
    """The last line of an answer, if this is it."""
    if told.done:
        found = finish(told.done_reason, _FINISH)
        answer.finish = "tools" if answer.calls and found == "stop" else found
        answer.used = Used(told.prompt_eval_count, told.eval_count)


def settings(sent: dict[str, Any]) -> Told:
    """All but what is said."""
    options = sent.get("options", {})
    return Told(
        sent["model"],
        [],
        max_tokens=options.get("num_predict"),
        temperature=options.get("temperature"),
        stop=tuple(options.get("stop", ())),
        schema=sent.get("format") if isinstance(sent.get("format"), dict) else None,
        thinking=bool(sent.get("think")),
        stream=sent["stream"],
    )


def _hear(told: Told, message: dict[str, Any]) -> None:
    """Add a message to what was told. Raises Mismatch."""
    take(message, "role content images thinking tool_calls tool_name tool_call_id", "a message")
    match message["role"]:
        case "system":
            told.system += message["content"]
        case "user":
            said = turn(told.turns, "user")
            said.texts.append(message["content"])
            said.media += [("image", decoded(image)) for image in message.get("images", ())]
        case "assistant":
            said = turn(told.turns, "model")
            said.texts.append(message.get("content") or "")
            if message.get("thinking"):
                said.thoughts.append(Thought(message["thinking"], None))
            for call in message.get("tool_calls", ()):
                said.calls.append(Call(None, call["function"]["name"], call["function"]["arguments"]))
        case "tool":
            name = message.get("tool_name", "")
            if not any(call.name == name for each in told.turns for call in each.calls):
                raise Mismatch(f"a result is for the tool {name!r}, which nobody called")
            turn(told.turns, "user").results.append(Result("", name, message["content"]))
        case role:
            raise Mismatch(f"there is no role {role}")
