"""Amazon Bedrock's InvokeModel, by `botocore`, whichever family of models it is that reads the body.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
"""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Protocol

from botocore.exceptions import ClientError

from fairlead.conformance import Answer, Mismatch, Received, Refused, Told
from fairlead.conformance.formats.bedrock_converse import Bedrock, address, status_of
from fairlead.conformance.formats.shared import body


class Gathering(Protocol):
    """The chunks of a stream, as they add up."""

    @property
    def answer(self) -> Answer: ...

    def add(self, told: bytes) -> None: ...

    def whole(self) -> Answer:
        """Raises Mismatch where the stream ended without saying so."""
        ...


class Invoke(Bedrock):
    """What a provider of InvokeModel is sent, and answers."""

    def ask(self, received: Received) -> Answer:
        model, operation = address(received)
        said = {"modelId": model, "body": received.body, "contentType": "application/json"}
        gathered = self.gathering()
        try:
            if operation == "invoke":
                response = self.sdk.invoke_model(**said)
                return self.read(response["body"].read(), response["ResponseMetadata"]["HTTPHeaders"])
            with closing(self.sdk.invoke_model_with_response_stream(**said)["body"]) as stream:
                for event in stream:
                    gathered.add(event["chunk"]["bytes"])
        except ClientError as error:
            raise Refused(error, status_of(error), gathered.answer.text) from None
        return gathered.whole()

    def told(self, received: Received) -> Told:
        model, operation = address(received)
        if operation not in ("invoke", "invoke-with-response-stream"):
            raise Mismatch(f"the provider was asked at {received.target}")
        told = self.heard(model, body(received))
        told.stream = operation == "invoke-with-response-stream"
        return told

    @abstractmethod
    def heard(self, model: str, sent: dict[str, Any]) -> Told:
        """What a body says, but whether it streams. Raises Mismatch."""

    @abstractmethod
    def read(self, told: bytes, headers: Mapping[str, str]) -> Answer:
        """What a whole answer says."""

    @abstractmethod
    def gathering(self) -> Gathering:
        """For one stream."""
