"""Gemini's addresses: the model and what is wanted of it stand in the path, the key perhaps in the query.

    POST /v1beta/models/{model}:generateContent
    POST /v1beta/models/{model}:streamGenerateContent?alt=sse      without it, the chunks are one JSON array
    POST /v1beta/models/{model}:countTokens

All of it below /v1 and /v1alpha, too: Google's SDKs ask for one or the other. A tuned model is asked for as such:
`/v1beta/tunedModels/mine:generateContent` means the model "tunedModels/mine".
https://ai.google.dev/api/generate-content. What stands in the query is read here and nowhere else: no log has it.
"""

import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from fairlead.errors import MethodNotAllowed, NotFound
from fairlead.http.asgi import App, Header, Receive, Scope, Send
from fairlead.http.client import AsgiClient, Client
from fairlead.http.inference import Inference
from fairlead.protocols.gemini import ArrayOfChunks
from fairlead.protocols.sse import EventCutter

VERSIONS = ("/v1beta", "/v1alpha", "/v1")
KINDS = ("models", "tunedModels")  # what stands below them
OWN = ("/v1beta/", "/v1alpha/")  # below these nobody else asks
# → whether its answer is a stream
METHODS = {"generateContent": False, "streamGenerateContent": True, "countTokens": False}
_PATH = re.compile(f"/v1(?:beta|alpha)?/(?:models/(.+)|(tunedModels/.+)):({'|'.join(METHODS)})", re.DOTALL)
_MOST_FIELDS = 20  # of a query
_KEY = b"x-goog-api-key"
_SENT = frozenset({_KEY, b"x-goog-api-client"})  # by Google's clients, and nobody else's


class Address(NamedTuple):
    """What a path asks for."""

    model: str
    method: str  # "generateContent"


def address(path: str) -> Address | None:
    """Of `/v1beta/models/{model}:{method}`; None if no call is made there. Names may have slashes and colons."""
    found = _PATH.fullmatch(path)
    return Address(found[1] or found[2], found[3]) if found is not None else None


def is_googles(path: str, headers: Iterable[Header]) -> bool:
    """Whether a client of Google's format asks for `path`. Its SDKs ask below /v1, too."""
    return f"{path}/".startswith(OWN) or any(name in _SENT for name, _ in headers)


async def no_such_method(request: Request) -> Response:
    """`POST …/models/{id}`, where no method that we know follows. Raises MethodNotAllowed, NotFound."""
    _, colon, method = request.path_params["id"].rpartition(":")
    if not colon:
        raise MethodNotAllowed("GET, HEAD")
    raise NotFound(f"Models have no method {method[:80]!r} here, but {', '.join(METHODS)}.")


class GeminiCalls:
    """Takes the calls of models."""

    def __init__(self, inference: Callable[[str], Inference]) -> None:
        """`inference` makes the application of an operation, which is called as the method is."""
        self._methods = {method: inference(method) for method in METHODS}
        self.protocol = self._methods["generateContent"].protocol

    def find(self, path: str) -> App | None:
        """The application that takes the call to `path`; None if nothing does."""
        found = address(path)
        if found is None:
            return None

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(found, scope, receive, send)

        return serve

    async def _serve(self, asked: Address, scope: Scope, receive: Receive, send: Send) -> None:
        told = query(scope["query_string"])
        client = AsgiClient(scope, receive, send)
        client.headers = with_key(client.headers, told)
        streams = METHODS[asked.method]
        as_array = streams and told.get("alt") != "sse"
        try:
            await self._methods[asked.method].serve(_Array(client) if as_array else client, (asked.model, streams))
        finally:
            client.close()


def query(raw: bytes) -> dict[str, str]:
    """The fields of a query; the first of each name. What cannot be read is not there."""
    try:
        found = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    return dict(reversed(found))


def with_key(headers: list[Header], told: dict[str, str]) -> list[Header]:
    """`headers`, with the key of the query where they have none."""
    key = told.get("key")
    if not key or any(name in (_KEY, b"authorization", b"x-api-key") for name, _ in headers):
        return headers
    return [*headers, (_KEY, key.encode())]


class _Array:
    """`client`, which gets the events of a stream as elements of one JSON array, and signs of life as the white space
    that JSON allows between them. What comes is cut between events."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.arrival, self.headers, self.fields = client.arrival, client.headers, client.fields
        self.whole, self.piece, self.answer = client.whole, client.piece, client.answer
        self._array: ArrayOfChunks | None = None  # what is told is a stream

    def begin(self, status: int, headers: list[Header], length: int | None = None) -> None:
        if (b"content-type", b"text/event-stream; charset=utf-8") in headers:
            self._array = ArrayOfChunks()
            headers = [
                (b"content-type", b"application/json"),
                *[told for told in headers if told[0] != b"content-type"],
            ]
        self._client.begin(status, headers, length)

    def write(self, data: bytes, framed: bytes = b"") -> Coroutine[Any, Any, None] | None:
        return self._client.write(self._told(data))

    def end(self, data: bytes = b"") -> Coroutine[Any, Any, None] | None:
        return self._client.end(self._told(data) + (self._array.finish() if self._array is not None else b""))

    def _told(self, data: bytes) -> bytes:
        if self._array is None or not data:
            return data
        return self._array.feed(EventCutter(len(data)).feed(data)) or b"\n"
