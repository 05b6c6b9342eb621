"""Amazon Bedrock's InvokeModel with Nova, whose format is almost Converse's, by `botocore`.

https://docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.conformance import Answer, Told
from fairlead.conformance.formats import bedrock_converse
from fairlead.conformance.formats.bedrock_invoking import Gathering, Invoke
from fairlead.conformance.formats.shared import take

# Of the tokens that the cache holds, as this format calls them → as Converse does.
_NAMES = {"cacheReadInputTokenCount": "cacheReadInputTokens", "cacheWriteInputTokenCount": "cacheWriteInputTokens"}


class Judge(Invoke):
    """What Nova is sent, and answers."""

    def heard(self, model: str, sent: dict[str, Any]) -> Told:
        take(sent, "schemaVersion messages system inferenceConfig toolConfig", "the request")
        config = sent.get("inferenceConfig", {})
        take(config, "maxTokens temperature topP topK stopSequences reasoningConfig", "inferenceConfig")
        return bedrock_converse.heard(model, sent, config)

    def read(self, told: bytes, headers: Mapping[str, str]) -> Answer:
        return bedrock_converse.read(_respelt(told))

    def gathering(self) -> Gathering:
        return _Gathered()


class _Gathered(bedrock_converse.Gathered):
    """Events as Converse has them, in JSON."""

    def add(self, told: Any) -> None:
        super().add(_respelt(told))


def _respelt(told: bytes) -> dict[str, Any]:
    """An answer, or an event of one, with Converse's names for tokens."""
    fields: dict[str, Any] = msgspec.json.decode(told)
    for holder in (fields, fields.get("metadata", {})):
        if "usage" in holder:
            holder["usage"] = {_NAMES.get(name, name): count for name, count in holder["usage"].items()}
    return fields
