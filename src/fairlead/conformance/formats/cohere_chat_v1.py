"""Cohere's chat, version 1, by the SDK `cohere`. https://docs.cohere.com/v1/reference/chat"""

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
from fairlead.conformance.formats.shared import body, finish, take, turn, unwrapped

_FINISH: dict[str, Finish] = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop_sequence", "MAX_TOKENS": "length",
    "ERROR_TOXIC": "refusal",
}  # fmt: skip
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


class Judge:
    """What a provider of chat is sent, and answers."""

    def __init__(self, url: str) -> None:
        self.sdk = cohere.AsyncClient(
            "none", base_url=url.removesuffix("/v1"), max_retries=0, timeout=30, log_warning_experimental_features=False
        )

    async def aclose(self) -> None:
        await self.sdk._client_wrapper.httpx_client.httpx_client.aclose()

    async def again(self, received: Received) -> Answer:
        said = body(received)
        text = ""
        try:
            if not said.pop("stream", False):
                return _read(await self.sdk.chat(**said))
            whole: Any = None
            async for event in self.sdk.chat_stream(**said):
                if event.event_type == "text-generation":
                    text += event.text
                elif event.event_type == "stream-end":
                    whole = event
        except ApiError as error:
            raise Refused(error, error.status_code, text) from None
        if whole is None:
            raise Mismatch("the stream ended without an event that says so")
        if whole.finish_reason == "ERROR" and text != whole.response.text:
            raise Refused(RuntimeError("the stream ended by an error"), None, text)
        answer = _read(whole.response)
        answer.finish = finish(whole.finish_reason, _FINISH)
        if answer.calls and answer.finish == "stop":
            answer.finish = "tools"
        if text not in (answer.text, answer.thinking):
            raise Mismatch(f"the pieces of the stream are {text!r}, the whole is {answer.text!r}")
        return answer

    def told(self, received: Received) -> Told:
        if not received.target.endswith("/v1/chat"):
            raise Mismatch(f"the provider was asked at {received.target}")
        sent = body(received)
        told = Told(sent["model"], [], system=sent.get("preamble", ""), stream=sent.get("stream", False))
        for message in sent.get("chat_history", ()):
            _hear(told, message)
        results = sent.get("tool_results")
        _hear(told, {"role": "TOOL", "tool_results": results} if results else {"role": "USER", **sent})
        for tool in sent.get("tools", ()):
            take(tool, "name description parameter_definitions", "a tool")
            told.tools.append(ToolSpec(tool["name"], tool["description"], _schema(tool["parameter_definitions"])))
        told.max_tokens, told.temperature = sent.get("max_tokens"), sent.get("temperature")
        told.stop = tuple(sent.get("stop_sequences", ()))
        shape = sent.get("response_format", {})
        if shape.get("type") == "json_object":
            told.schema = shape.get("schema")
        return told


def _schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """The schema that says the same."""
    properties = {
        name: {"type": _TYPES.get(told["type"], told["type"]), "description": told.get("description", "")}
        for name, told in parameters.items()
    }
    required = [name for name, told in parameters.items() if told.get("required")]
    return {"type": "object", "properties": properties, "required": required}


def _hear(told: Told, message: dict[str, Any]) -> None:
    """Add a turn to what was told. Raises Mismatch."""
    match message:
        case {"role": "USER", "message": str(text)}:
            turn(told.turns, "user").texts.append(text)
        case {"role": "CHATBOT"}:
            take(message, "role message tool_calls", "a turn")
            said = turn(told.turns, "model")
            said.calls += [Call(None, call["name"], call["parameters"]) for call in message.get("tool_calls", ())]
            text = message.get("message", "")
            if said.calls and text:
                said.thoughts.append(Thought(text, None))
            else:
                said.texts.append(text)
        case {"role": "TOOL", "tool_results": list(results)}:
            made = [(call.name, call.arguments) for each in told.turns for call in each.calls]
            for result in results:
                call = result["call"]
                if (call["name"], call["parameters"]) not in made:
                    raise Mismatch(f"a result is for the call {call}, which nobody made")
                text = "".join(map(unwrapped, result["outputs"]))
                turn(told.turns, "user").results.append(Result("", call["name"], text))
        case _:
            raise Mismatch(f"this is no turn: {str(message)[:80]}")


def _read(response: Any) -> Answer:
    """What an object of the SDK's says. It has no reason of its own for calls."""
    calls = tuple(Call(None, call.name, call.parameters) for call in response.tool_calls or ())
    found = finish(response.finish_reason, _FINISH)
    meta = response.meta
    tokens = meta.tokens if meta is not None else None
    text = response.text or ""
    return Answer(
        text="" if calls else text,
        thinking=text if calls else "",  # what is said before calls of tools is their plan
        calls=calls,
        finish="tools" if calls and found == "stop" else found,
        used=Used(int(tokens.input_tokens), int(tokens.output_tokens), int(meta.cached_tokens or 0))
        if tokens is not None
        else Used(),
    )
