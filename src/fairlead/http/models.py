"""What can be asked for: `GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's shape or in Anthropic's; below
`/v1beta` in Gemini's."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fairlead.auth import Auth
from fairlead.catalog import Catalog, Listed
from fairlead.errors import Forbidden, ModelNotFound
from fairlead.http.asgi import Header
from fairlead.http.gemini import is_googles, query, with_key
from fairlead.http.identity import identified


class Models:
    """The two endpoints. A caller that sends `anthropic-version` gets Anthropic's shape."""

    def __init__(self, catalog: Catalog, auth: Auth, *, since: int) -> None:
        """`since`: epoch seconds, given as the time of creation of models whose own is not known."""
        self.catalog, self.auth, self.since = catalog, auth, since

    async def index(self, request: Request) -> Response:
        await self._authorize(request)
        listed = self.catalog.current.names()
        if _wants_gemini(request):
            return _json({"models": [_gemini_row(model) for model in listed]})
        if _wants_anthropic(request):
            rows = [self._anthropic_row(model) for model in listed]
            ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
            return _json({"data": rows, "has_more": False, **ends})
        return _json({"object": "list", "data": [self._openai_row(model) for model in listed]})

    async def one(self, request: Request) -> Response:
        await self._authorize(request)
        model = self._found(request.path_params["id"])
        if _wants_gemini(request):
            return _json(_gemini_row(model))
        return _json(self._anthropic_row(model) if _wants_anthropic(request) else self._openai_row(model))

    async def gemini_index(self, request: Request) -> Response:
        """The key may stand in the query here."""
        await self._authorize(request, with_key(request.headers.raw, query(request.scope["query_string"])))
        return _json({"models": [_gemini_row(model) for model in self.catalog.current.names()]})

    async def gemini_one(self, request: Request) -> Response:
        await self._authorize(request, with_key(request.headers.raw, query(request.scope["query_string"])))
        return _json(_gemini_row(self._found(request.path_params["id"])))

    def _found(self, name: str) -> Listed:
        model = self.catalog.current.find(name)
        if model is None:
            raise ModelNotFound(name, self.catalog.current.nearest(name))
        return model

    async def _authorize(self, request: Request, headers: list[Header] | None = None) -> None:
        principal = await identified(self.auth, self.catalog, request, headers)
        if not principal.may("inference"):
            raise Forbidden("This key may not ask for models: it lacks the scope 'inference'.")

    def _openai_row(self, model: Listed) -> dict[str, Any]:
        return {"id": model.name, "object": "model", "created": self.since, "owned_by": model.owner}

    def _anthropic_row(self, model: Listed) -> dict[str, Any]:
        created = datetime.fromtimestamp(self.since, UTC).isoformat().replace("+00:00", "Z")
        return {"type": "model", "id": model.name, "display_name": model.name, "created_at": created}


def _gemini_row(model: Listed) -> dict[str, Any]:
    return {
        "name": f"models/{model.name}",
        "displayName": model.name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }


def _wants_gemini(request: Request) -> bool:
    """Google's SDKs ask below /v1, too."""
    return is_googles("", request.headers.raw)


def _wants_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
