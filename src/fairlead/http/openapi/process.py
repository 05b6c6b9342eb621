"""Operations that are open to all: how the gateway fares, and its documentation."""

from collections.abc import Mapping
from typing import Any

from fairlead import __version__
from fairlead.http.docs import FILES
from fairlead.http.openapi.pieces import (
    KEYS,
    STRING,
    Schema,
    answered,
    in_json,
    one_of,
    operation,
    parameter,
    parameters,
    ref,
)
from fairlead.http.openapi.refusals import OPENAI, all_answers
from fairlead.http.openapi.shapes import process as shapes
from fairlead.http.openapi.shapes.errors import AnthropicError, OpenAIError

_KEPT = ("X-Request-Id", "Cache-Control")  # the headers of what says whether it may be kept
_UNAVAILABLE = ("X-Request-Id", "Cache-Control.if-it-is-no-error", "X-Should-Retry.if-it-is-an-error", "Retry-After")


def _open(
    id: str, tag: str, summary: str, description: str, well: Mapping[int, Schema], *more: int, without: int = 0,
    **facts: Any,
) -> Schema:  # fmt: skip
    answers = all_answers("open", OPENAI, well, *more, without=without)
    return {"get": operation(id, tag, summary, description, answers, **{"security": [], **facts})}


def process() -> dict[str, Schema]:
    errors = (OpenAIError, AnthropicError)
    details = {
        "status": "ok",
        "version": __version__,
        "uptime_seconds": 86400.5,
        "components": {"database": {"status": "ok", "detail": ""}},
    }
    hello = in_json(ref(shapes.Hello), hello={"name": "fairlead", "version": __version__})
    ready = in_json(ref(shapes.Readiness), ready={"status": "ok"})
    unready = in_json(one_of(shapes.Readiness, *errors), going_away={"status": "draining"})
    health = in_json(ref(shapes.HealthReport), without_a_key={"status": "ok"}, with_a_key=details)
    down = in_json(one_of(shapes.HealthReport, *errors), without_a_key={"status": "down"})
    return {
        "/": _open(
            "hello",
            "Process",
            "Who is here",
            "Some clients ask for this before their first call.",
            {200: answered("Fairlead.", hello)},
        ),
        "/livez": _open(
            "getLiveness",
            "Process",
            "Whether it lives",
            "The loop turns. Answered over plain HTTP, too.",
            {200: answered("It does.", in_json(ref(shapes.Liveness), alive={"status": "ok"}), _KEPT)},
            without=403,
        ),
        "/readyz": _open(
            "getReadiness",
            "Process",
            "Whether it can serve",
            "No while it starts, and as soon as it is told to stop. Answered over plain HTTP, too.",
            {200: answered("It can.", ready, _KEPT), 503: answered("It cannot.", unready, _UNAVAILABLE)},
            without=403,
        ),
        "/health": _open(
            "getHealth",
            "Process",
            "How its parts fare",
            "Found by probes in the background. Details need a key, of any scope.",
            {200: answered("It serves.", health, _KEPT), 503: answered("It does not.", down, _UNAVAILABLE)},
            security=[{}, *KEYS],
        ),
    }


def documentation() -> dict[str, Schema]:
    headers = (*_KEPT, "ETag")
    known = {304: answered("You have it: `If-None-Match` names it.", {}, headers)}
    itself = {"type": "object", "required": ["openapi", "info", "paths"]}
    example = {"openapi": "3.1.0", "info": {"title": "Fairlead", "version": __version__}, "paths": {}}
    page = {"text/html": {"schema": STRING, "examples": {"the page": {"value": "<!doctype html>…"}}}}
    kinds = dict.fromkeys(kind.partition(";")[0] for kind in FILES.values())
    file = {kind: {"schema": STRING, "examples": {"a file": {"value": "…"}}} for kind in kinds}
    return {
        "/openapi.json": _open(
            "getOpenAPI",
            "Documentation",
            "This document",
            "It is the same for everybody, and changes with the version only.",
            {200: answered("The document.", in_json(itself, this=example), headers), **known},
            parameters=parameters("If-None-Match"),
        ),
        "/docs": _open(
            "getDocumentation",
            "Documentation",
            "This document, to be read",
            "A page that needs nothing from elsewhere.",
            {200: answered("The page.", page, (*headers, "Content-Security-Policy")), **known},
            parameters=parameters("If-None-Match"),
        ),
        "/docs/{version}/{file}": _open(
            "getDocumentationFile",
            "Documentation",
            "What the page is made of",
            "A file that never changes: another version is at another path.",
            {200: answered("The file.", file, headers), **known},
            404,
            parameters=[
                *parameters("If-None-Match"),
                parameter("path", "version", "As the page says.", STRING, required=True),
                parameter("path", "file", "Its name.", {"enum": list(FILES)}, required=True),
            ],
        ),
    }
