"""Which path leads where. Calls go by one look-up in a dict; everything else goes to Starlette's router."""

from collections.abc import Callable, Iterable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from fairlead import __version__
from fairlead.errors import FairleadError
from fairlead.http import gemini
from fairlead.http.asgi import App, Header, Receive, Scope, Send
from fairlead.http.docs import Docs
from fairlead.http.gemini import GeminiCalls
from fairlead.http.health import Health
from fairlead.http.inference import Inference
from fairlead.http.middleware import Rim, Seen
from fairlead.http.models import Models
from fairlead.http.usage import Usage
from fairlead.protocols import Served

# Below these a name may have any characters.
_NAMES = tuple(
    f"{root}/{kind}/".encode()
    for root, kind in [("/api/v1", "models"), *((root, kind) for root in gemini.VERSIONS for kind in gemini.KINDS)]
)
OPENROUTER = "/api/v1"  # the same routes, errors and answers in OpenRouter's dialect

# operation → its path below /v1, and the formats spoken there: under /v1, and under /api/v1
OPERATIONS: dict[str, tuple[str, str, str]] = {
    "chat": ("/chat/completions", "openai-chat", "openrouter-chat"),
    "responses": ("/responses", "openai-responses", "openai-responses"),
    "completions": ("/completions", "openai-completions", "openrouter-completions"),
    "messages": ("/messages", "anthropic-messages", "anthropic-messages"),
    "complete": ("/complete", "anthropic-completions", "anthropic-completions"),
    "input_tokens": ("/responses/input_tokens", "openai-responses", "openai-responses"),
    "count_tokens": ("/messages/count_tokens", "anthropic-messages", "anthropic-messages"),
}
COUNTING = frozenset({"input_tokens", "count_tokens", "countTokens"})  # operations that are answered with a number


class Routes:
    """The whole gateway as one ASGI application."""

    def __init__(
        self,
        dialects: Mapping[str, Served],
        inference: Callable[[str, Served], Inference],
        *,
        models: Models,
        usage: Usage,
        health: Health,
        seen: Seen,
    ) -> None:
        """`dialects`: what clients speak, by name. `inference` makes the application of an operation and a dialect."""
        self.calls: dict[str, Inference] = {}
        for operation, (path, openai, openrouter) in OPERATIONS.items():
            self.calls["/v1" + path] = inference(operation, dialects[openai])
            self.calls[OPENROUTER + path] = inference(operation, dialects[openrouter])
        self.gemini = GeminiCalls(lambda operation: inference(operation, dialects["gemini"]))
        self._dialects = dialects
        self.rest = Rim(_router(models, usage, health), self.spelling, seen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await _decline(scope, receive, send)
        app: App | None = self.calls.get(scope["path"])
        if b"%" in scope["raw_path"] and not scope["raw_path"].startswith(_NAMES):
            app, scope["path"] = None, scope["raw_path"].decode("ascii")  # spelt to slip by somebody's rules: no path
        if app is None:
            app = self.gemini.find(scope["path"]) or self.rest
        return await app(scope, receive, send)

    def spelling(self, path: str, headers: Iterable[Header]) -> Callable[[FairleadError], bytes]:
        """How an error is told to whoever asks for `path`."""
        call = self.calls.get(path)
        if call is not None:
            return call.protocol.encode_error
        if gemini.is_googles(path, headers):
            return self.gemini.protocol.encode_error
        if any(name == b"anthropic-version" for name, _ in headers):
            return self._dialects["anthropic-messages"].encode_error
        return self._dialects["openrouter-chat" if path.startswith(OPENROUTER) else "openai-chat"].encode_error


async def _decline(scope: Scope, receive: Receive, send: Send) -> None:
    """Neither websockets nor lifespans are spoken here: `app.py` opens and closes what there is."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def _router(models: Models, usage: Usage, health: Health) -> App:
    docs = Docs()
    routes = [
        Route("/", _root, methods=["GET"]),
        Route("/livez", health.livez, methods=["GET"]),
        Route("/readyz", health.readyz, methods=["GET"]),
        Route("/health", health.health, methods=["GET"]),
        Route("/openapi.json", docs.document, methods=["GET"]),
        Route("/docs", docs.page, methods=["GET"]),
        Route("/docs/{version}/{file}", docs.file, methods=["GET"]),
    ]
    for root in ("/v1", OPENROUTER):
        routes += [
            Route(root + "/models", models.index, methods=["GET"]),
            Route(root + "/models/{id:path}", models.one, methods=["GET"]),
            Route(root + "/usage", usage.summary, methods=["GET"]),
            Route(root + "/generation", usage.generation, methods=["GET"]),
        ]
    routes += [
        Route("/v1beta/models", models.gemini_index, methods=["GET"]),
        Route("/v1beta/models/{id:path}", models.gemini_one, methods=["GET"]),
        *(
            Route(f"{root}/{kind}/{{id:path}}", gemini.no_such_method, methods=["POST"])
            for root in gemini.VERSIONS
            for kind in gemini.KINDS
        ),
    ]
    # A path with a slash too many is nothing, not a redirect: an SDK would repeat its POST there as a GET.
    return Router(routes, redirect_slashes=False)


async def _root(request: Request) -> Response:
    """Says who is here. Some clients ask with HEAD before their first call."""
    return Response(msgspec.json.encode({"name": "fairlead", "version": __version__}), media_type="application/json")
