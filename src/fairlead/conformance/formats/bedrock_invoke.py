"""Amazon Bedrock's InvokeModel with a model of Anthropic's: by `botocore`, and by the SDK `anthropic` what is in it.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
"""

from contextlib import closing
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from botocore.exceptions import ClientError
from pydantic import TypeAdapter

from fairlead.conformance import Answer, Mismatch, Received, Refused, Told
from fairlead.conformance.formats import anthropic_messages
from fairlead.conformance.formats.bedrock_converse import Bedrock, address, status_of
from fairlead.conformance.formats.shared import body

_VERSION = "bedrock-2023-05-31"
_event: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


class Judge(Bedrock):
    """What a provider of InvokeModel is sent, and answers."""

    def ask(self, received: Received) -> Answer:
        model, operation = address(received)
        said = {"modelId": model, "body": received.body, "contentType": "application/json"}
        message: Any = None
        buffers: dict[int, bytes] = {}
        try:
            if operation == "invoke":
                told = self.sdk.invoke_model(**said)["body"].read()
                return anthropic_messages.read(Message.model_validate_json(told, strict=True), ())
            with closing(self.sdk.invoke_model_with_response_stream(**said)["body"]) as stream:
                for event in stream:
                    read = _event.validate_json(event["chunk"]["bytes"])
                    message = accumulate_event(event=read, current_snapshot=message, json_bufs=buffers)
        except ClientError as error:
            text = "".join(block.text for block in message.content if block.type == "text") if message else ""
            raise Refused(error, status_of(error), text) from None
        if message is None or message.stop_reason is None:
            raise Mismatch("the stream ended without an event that says so")
        return anthropic_messages.read(message, ())

    def told(self, received: Received) -> Told:
        model, operation = address(received)
        if operation not in ("invoke", "invoke-with-response-stream"):
            raise Mismatch(f"the provider was asked at {received.target}")
        sent = body(received)
        if sent.pop("anthropic_version", None) != _VERSION:
            raise Mismatch(f"anthropic_version is not {_VERSION}")
        if {"model", "stream"} & sent.keys():
            raise Mismatch("model and stream stand in the address, not in the body")
        told = anthropic_messages.told({"model": model, **sent})
        told.stream = operation == "invoke-with-response-stream"
        return told
