"""Amazon Bedrock's Converse, by `botocore`, which holds each request against the service's own model.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

import asyncio
from abc import ABC, abstractmethod
from contextlib import closing
from typing import Any
from urllib.parse import unquote

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

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
from fairlead.conformance.formats.shared import arguments, body, decoded, finish, named, take, turn

_FINISH: dict[str, Finish] = {
    "end_turn": "stop", "stop_sequence": "stop_sequence", "max_tokens": "length", "tool_use": "tools",
    "guardrail_intervened": "refusal", "content_filtered": "refusal",
}  # fmt: skip


class Bedrock(ABC):
    """botocore's client of the service."""

    def __init__(self, url: str) -> None:
        self.sdk = Session().create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="none",
            aws_secret_access_key="none",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
        )

    async def aclose(self) -> None:
        self.sdk.close()

    async def again(self, received: Received) -> Answer:
        return await asyncio.to_thread(self.ask, received)

    @abstractmethod
    def ask(self, received: Received) -> Answer:
        """What `again` does, in a thread."""


def address(received: Received) -> tuple[str, str]:
    """The model, and what it is asked for."""
    model, _, operation = received.target.partition("/model/")[2].rpartition("/")
    return unquote(model), operation


def status_of(error: ClientError) -> int | None:
    """The HTTP status of an answer; None for what a stream told."""
    status: int | None = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


class Judge(Bedrock):
    """What a provider of Converse is sent, and answers."""

    def ask(self, received: Received) -> Answer:
        model, operation = address(received)
        shape = self.sdk.meta.service_model.operation_model("Converse").input_shape
        said = _with_bytes(body(received), shape)
        text = ""
        try:
            if operation == "converse":
                return read(self.sdk.converse(modelId=model, **said))
            gathered = Gathered()
            with closing(self.sdk.converse_stream(modelId=model, **said)["stream"]) as stream:
                for event in stream:
                    gathered.add(event)
                    text = gathered.answer.text
        except ClientError as error:
            raise Refused(error, status_of(error), text) from None
        return gathered.whole()

    def told(self, received: Received) -> Told:
        model, operation = address(received)
        if operation not in ("converse", "converse-stream"):
            raise Mismatch(f"the provider was asked at {received.target}")
        sent = body(received)
        told = heard(model, sent, sent.get("additionalModelRequestFields", {}))
        told.stream = operation == "converse-stream"
        return told


def heard(model: str, sent: dict[str, Any], more: dict[str, Any]) -> Told:
    """What a body says; in `more` stands what not all models take. Raises Mismatch."""
    told = Told(model, [])
    told.system = "".join(block["text"] for block in sent.get("system", ()) if "text" in block)
    for message in sent["messages"]:
        said = turn(told.turns, "user" if message["role"] == "user" else "model")
        for block in message["content"]:
            _hear(told, said, block)
    for tool in sent.get("toolConfig", {}).get("tools", ()):
        spec = tool["toolSpec"]
        told.tools.append(ToolSpec(spec["name"], spec.get("description", ""), spec["inputSchema"]["json"]))
    config = sent.get("inferenceConfig", {})
    told.max_tokens, told.temperature = config.get("maxTokens"), config.get("temperature")
    told.stop = tuple(config.get("stopSequences", ()))
    shape = sent.get("outputConfig", {}).get("textFormat")
    if shape is not None:
        told.schema = arguments(shape["structure"]["jsonSchema"]["schema"])
    told.thinking = any(
        more.get(name, {}).get("type") in ("enabled", "adaptive")
        for name in ("thinking", "reasoningConfig", "reasoning_config")
    )
    return told


def _with_bytes(value: Any, shape: Any) -> Any:
    """What is base64 in JSON is bytes in Python, wherever the service's model says so."""
    if shape is None or getattr(shape, "is_document_type", False):
        return value
    match shape.type_name:
        case "blob":
            return decoded(value)
        case "structure" if isinstance(value, dict):
            return {name: _with_bytes(each, shape.members.get(name)) for name, each in value.items()}
        case "list" if isinstance(value, list):
            return [_with_bytes(each, shape.member) for each in value]
        case "map" if isinstance(value, dict):
            return {name: _with_bytes(each, shape.value) for name, each in value.items()}
    return value


def _hear(told: Told, said: Any, block: dict[str, Any]) -> None:
    """Add a block to what was told. Raises Mismatch."""
    match block:
        case {"text": str(text)}:
            said.texts.append(text)
        case {"image": {"source": {"bytes": str(data)}}}:
            said.media.append(("image", decoded(data)))
        case {"document": {"name": str(), "source": {"bytes": str(data)}}}:
            said.media.append(("document", decoded(data)))
        case {"reasoningContent": {"reasoningText": {"text": str(text)} as thought}}:
            said.thoughts.append(Thought(text, thought.get("signature")))
        case {"toolUse": {"toolUseId": str(id), "name": str(name), "input": dict(given)}}:
            said.calls.append(Call(id, name, given))
        case {"toolResult": {"toolUseId": str(id), "content": list(content)}}:
            take(block["toolResult"], "toolUseId content status", "a result")
            text = "".join(piece["text"] for piece in content)
            said.results.append(Result(id, named(told.turns, id), text))
        case {"cachePoint": {"type": "default"}}:
            pass
        case _:
            raise Mismatch(f"this is no block: {str(block)[:80]}")


def read(response: dict[str, Any]) -> Answer:
    """What an answer says."""
    answer = Answer(finish=finish(response["stopReason"], _FINISH), used=_used(response["usage"]))
    for block in response["output"]["message"]["content"]:
        match block:
            case {"text": str(text)}:
                answer.text += text
            case {"reasoningContent": {"reasoningText": thought}}:
                answer.thinking += thought["text"]
                answer.signature = thought.get("signature")
            case {"toolUse": {"toolUseId": str(id), "name": str(name), "input": given}}:
                answer.calls += (Call(id, name, given),)
    return answer


def _used(usage: dict[str, int]) -> Used:
    """The tokens of an answer: those of the cache are counted beside the others."""
    cached = usage.get("cacheReadInputTokens", 0)
    given = usage["inputTokens"] + cached + usage.get("cacheWriteInputTokens", 0)
    return Used(given, usage["outputTokens"], cached)


class Gathered:
    """The events of a stream, as they add up."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._calls: dict[int, tuple[str, str, str]] = {}

    def add(self, event: dict[str, Any]) -> None:
        match event:
            case {"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": call}}}:
                self._calls[index] = (call["toolUseId"], call["name"], "")
            case {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}:
                self.answer.text += delta.get("text", "")
                thought = delta.get("reasoningContent", {})
                self.answer.thinking += thought.get("text", "")
                self.answer.signature = thought.get("signature", self.answer.signature)
                if "toolUse" in delta:
                    id, name, told = self._calls[index]
                    self._calls[index] = (id, name, told + delta["toolUse"]["input"])
            case {"messageStop": {"stopReason": reason}}:
                self.answer.finish = finish(reason, _FINISH)
            case {"metadata": {"usage": usage}}:
                self.answer.used = _used(usage)

    def whole(self) -> Answer:
        self.answer.calls = tuple(Call(id, name, arguments(told or "{}")) for id, name, told in self._calls.values())
        if self.answer.finish is None:
            raise Mismatch("the stream ended without an event that says so")
        return self.answer
