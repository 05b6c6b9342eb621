"""Whether a request that a provider got is well formed, by its vendor's published description."""

import json
import re
from functools import cache
from typing import Any

import anthropic.types as anthropic_sdk
import botocore.session
import cohere
from botocore.validate import ParamValidator
from google.genai import types as gemini_sdk
from ollama import _types as ollama_sdk
from pydantic import TypeAdapter, ValidationError

from protocols_recordings import openai_spec
from replays.schemas import shape

_OPENAI = {"openai-chat": "CreateChatCompletionRequest", "openai-responses": "CreateResponse"}
_MODELS: dict[str, dict[str, TypeAdapter[Any]]] = {
    "anthropic-messages": {"": TypeAdapter(anthropic_sdk.MessageCreateParams)},
    "gemini": {
        "contents": TypeAdapter(list[gemini_sdk.Content]),
        "systemInstruction": TypeAdapter(gemini_sdk.Content),
        "generationConfig": TypeAdapter(gemini_sdk.GenerationConfig),
        "tools": TypeAdapter(list[gemini_sdk.Tool]),
        "toolConfig": TypeAdapter(gemini_sdk.ToolConfig),
    },
    "cohere-chat": {"messages": TypeAdapter(list[cohere.ChatMessageV2]), "tools": TypeAdapter(list[cohere.ToolV2])},
    "ollama-chat": {"": TypeAdapter(ollama_sdk.ChatRequest)},
    "ollama-generate": {"": TypeAdapter(ollama_sdk.GenerateRequest)},
}
# Of messages the description has two forms, and wants one of them: some are both.
_BOTH = re.compile(r"\$\.input\[\d+\]: \{")
# Films as OpenRouter takes them, sound as Responses take it in OpenAI's SDK.
_BEYOND = re.compile(r"'video_url' is not|'input_audio' is not|'text' is a required")
_known: dict[tuple[str, str], list[str]] = {}


def faults(format: str, path: str, headers: dict[str, str], body: bytes) -> list[str]:
    """What is wrong with it; [] where it is well formed."""
    try:
        told = json.loads(body)
    except ValueError as error:
        return [f"no JSON: {error} {body[:200]!r}"]
    if not headers.get("content-type", "").startswith("application/json"):
        return [f"content-type {headers.get('content-type')}"]
    key = format, repr(shape(told))
    if key not in _known:
        _known[key] = list(_looked_at(format, path, told))
    return _known[key]


def _looked_at(format: str, path: str, told: Any) -> list[str]:
    if format in _OPENAI:
        found: list[str] = openai_spec().errors(_OPENAI[format], told)
        return [fault for fault in found if not _BOTH.match(fault) and not _BEYOND.search(fault)][:2]
    if format == "bedrock-converse":
        report = _converse().validate({"modelId": "m", **told}, _shape())
        return [report.generate_report()] if report.has_errors() else []
    if format == "bedrock-invoke":
        told = {"model": "m", **told}
        assert told.pop("anthropic_version") == "bedrock-2023-05-31"
        format = "anthropic-messages"
    found = []
    for name, model in _MODELS.get(format, {}).items():
        value = told if not name else told.get(name)
        if format.startswith("ollama") and isinstance(value, dict):
            value = {name: each for name, each in value.items() if name != "images"}  # the SDK's are files
        if value is not None:
            try:
                model.validate_json(json.dumps(value), strict=format == "gemini")
            except ValidationError as error:
                found.append(f"{name}: {re.sub(r'For further.*', '', str(error))[:600]}")
    return found


@cache
def _shape() -> Any:
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    return service.operation_model("Converse").input_shape


@cache
def _converse() -> Any:
    return ParamValidator()
