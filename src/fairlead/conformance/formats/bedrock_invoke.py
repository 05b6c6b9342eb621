"""Amazon Bedrock's InvokeModel with a model of Anthropic's: by `botocore`, and by the SDK `anthropic` what is in it.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
"""

from collections.abc import Mapping
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from fairlead.conformance import Answer, Mismatch, Told
from fairlead.conformance.formats import anthropic_messages
from fairlead.conformance.formats.bedrock_invoking import Gathering, Invoke

_VERSION = "bedrock-2023-05-31"
_event: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


class Judge(Invoke):
    """What such a model is sent, and answers."""

    def heard(self, model: str, sent: dict[str, Any]) -> Told:
        if sent.pop("anthropic_version", None) != _VERSION:
            raise Mismatch(f"anthropic_version is not {_VERSION}")
        if {"model", "stream"} & sent.keys():
            raise Mismatch("model and stream stand in the address, not in the body")
        return anthropic_messages.told({"model": model, **sent})

    def read(self, told: bytes, headers: Mapping[str, str]) -> Answer:
        return anthropic_messages.read(Message.model_validate_json(told, strict=True), ())

    def gathering(self) -> Gathering:
        return _Gathered()


class _Gathered:
    """The events of a message, as the SDK adds them up."""

    def __init__(self) -> None:
        self._message: Any = None
        self._buffers: dict[int, bytes] = {}

    def add(self, told: bytes) -> None:
        event = _event.validate_json(told)
        self._message = accumulate_event(event=event, current_snapshot=self._message, json_bufs=self._buffers)

    @property
    def answer(self) -> Answer:
        return anthropic_messages.read(self._message, ()) if self._message is not None else Answer()

    def whole(self) -> Answer:
        if self._message is None or self._message.stop_reason is None:
            raise Mismatch("the stream ended without an event that says so")
        return self.answer
