"""What is served, as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.1.

What stands in requests and answers is in `shapes`. Answers and errors of the examples are spelt by the protocols
themselves, so that they are what clients are told. Nothing of a gateway's state or configuration is in here.
"""

import inspect
from typing import Any

import msgspec
from msgspec import Struct

from fairlead import __version__
from fairlead.http.openapi import shapes
from fairlead.http.openapi.calls import (
    anthropic_completions,
    anthropic_messages,
    described,
    gemini,
    openai_chat,
    openai_completions,
    openai_responses,
)
from fairlead.http.openapi.pieces import HEADERS, PARAMETERS, Schema
from fairlead.http.openapi.process import documentation, process
from fairlead.http.openapi.reading import reading, reading_as_gemini
from fairlead.http.openapi.refusals import DIALECTS, refusals
from fairlead.http.openapi.shapes import anthropic_completions as of_complete
from fairlead.http.openapi.shapes import anthropic_messages as of_anthropic
from fairlead.http.openapi.shapes import errors, models, usage
from fairlead.http.openapi.shapes import gemini as of_gemini
from fairlead.http.openapi.shapes import openai_chat as of_chat
from fairlead.http.openapi.shapes import openai_completions as of_completions
from fairlead.http.openapi.shapes import openai_responses as of_responses
from fairlead.http.openapi.shapes import process as of_process
from fairlead.http.openapi.streams import EVENTS

_SHAPES = (
    shapes, of_chat, of_responses, of_completions, of_anthropic, of_complete, of_gemini, errors, models, usage,
    of_process,
)  # fmt: skip
_OPENAI = (openai_chat, openai_responses, anthropic_messages, openai_completions, anthropic_completions)
_FORMATS = {"/v1": _OPENAI, "/api/v1": _OPENAI, "/v1beta": (gemini,)}
_TAG_OF = {"/v1": "Calls", "/api/v1": "OpenRouter", "/v1beta": "Gemini"}
_INTRODUCTION = """\
**Dialects.** `/v1` speaks OpenAI's, `/v1/messages` and `/v1/complete` Anthropic's, `/v1beta` Gemini's. All of `/v1` is
under `/api/v1`, too, in OpenRouter's dialect where that is another one. Elsewhere a request with the header
`anthropic-version` gets Anthropic's models and errors. Every model can be asked for in every dialect.

**Keys** are sent as `Authorization: Bearer fl-…`, as `x-api-key: fl-…` or as `x-goog-api-key: fl-…`; below `/v1beta`
also as `?key=fl-…`.

**Requests** are checked as far as the gateway reads them; everything else passes, known here or not. Where the
provider speaks another protocol than the client, both ways are translated.

**Errors** say with `X-Should-Retry` whether the same request is worth sending again, and with `Retry-After` when. In
a stream whose status is out already an error is its last event. What is refused before its address is read is told as
OpenAI tells it.

`HEAD` is answered wherever `GET` is, and a browser's `OPTIONS` if its page may ask (`server.allowed_origins`).
"""
_TAGS = {
    "Calls": "Asking a model.",
    "Models": "What can be asked for.",
    "Usage": "What was used.",
    "Gemini": "Calls and models as Gemini's clients expect them.",
    "OpenRouter": "The same under `/api/v1`, as OpenRouter's clients expect it.",
    "Process": "How the gateway fares. None of this depends on a provider.",
    "Documentation": "This.",
}


def document() -> Schema:
    """The whole document. It is always the same one: nothing in it changes while a process runs."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead",
            "version": __version__,
            "summary": "An OpenAI-compatible gateway you run yourself, in front of every model provider",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "This gateway"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "responses": {name: told for dialect in DIALECTS for name, told in refusals(dialect)},
            "headers": HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this gateway: `fl-…`."},
                "x-api-key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The same, as Anthropic's clients send it.",
                },
                "x-goog-api-key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-goog-api-key",
                    "description": "The same, as Google's clients send it.",
                },
                "key": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "key",
                    "description": "The same, below `/v1beta`, where no header has one. Other servers may log it.",
                },
            },
        },
    }


def _paths() -> dict[str, Schema]:
    return {
        **_calls("/v1"), **reading("/v1"),
        **_calls("/api/v1"), **reading("/api/v1"),
        **_calls("/v1beta"), **reading_as_gemini(),
        **process(), **documentation(),
    }  # fmt: skip


def _calls(root: str) -> dict[str, Schema]:
    """What calls models below `root`."""
    return {
        path: {"post": described(call, _TAG_OF[root])}
        for format in _FORMATS[root]
        for path, call in format.calls(root).items()
    }


def _schemas() -> dict[str, Schema]:
    public = [
        shape
        for module in _SHAPES
        for shape in vars(module).values()
        if isinstance(shape, type) and issubclass(shape, Struct) and shape.__module__ == module.__name__
    ]
    _, made = msgspec.json.schema_components(public, ref_template="#/components/schemas/{name}")
    return {**{name: _neat(schema) for name, schema in sorted(made.items())}, **EVENTS}


def _neat(schema: Any) -> Any:
    """Descriptions without the indentation of their source; words as strings, unions of bare types as such."""
    if isinstance(schema, list):
        return [_neat(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    neat = {name: _neat(value) for name, value in schema.items()}
    if isinstance(neat.get("description"), str):
        neat["description"] = inspect.cleandoc(neat["description"]).replace("\n", " ")
    if "type" not in neat and neat.get("enum") and all(isinstance(word, str) for word in neat["enum"]):
        neat["type"] = "string"
    either = neat.get("anyOf")
    if either and all(set(one) == {"type"} and isinstance(one["type"], str) for one in either):
        del neat["anyOf"]
        neat["type"] = [one["type"] for one in either]
    return neat
