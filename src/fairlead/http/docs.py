"""What is served, told to its users: `/openapi.json`, and `/docs`, a page that shows it.

Neither tells anything of this gateway but its version, and neither needs a key. All of it is read and made when it is
first asked for. The page is Swagger UI from files of our own; `make swagger-ui` renews them.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fairlead.errors import NotFound

_FOLDER = Path(__file__).parent / "static"

# The files of the page, and what they are.
FILES = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}

# Swagger UI's style sheet has its icons in it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PIECE_BYTES = 64 << 10  # so that a client that does not read holds no more
_AGAIN = "no-cache"  # may be kept, but is asked for again
_FOR_EVER = "public, max-age=31536000, immutable"
_TAG = re.compile(r'(?:W/)?("[^"]*")')


class _Thing(Struct, frozen=True):
    """Something that is served as it is."""

    body: bytes
    kind: str
    tag: str  # an ETag

    @classmethod
    def of(cls, body: bytes, kind: str) -> "_Thing":
        return cls(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class _Page(Struct, frozen=True):
    """The page and its files; `version` is in their addresses, and changes with any of them."""

    version: str
    html: _Thing
    files: dict[str, _Thing]


class Docs:
    """The document, the page, and the page's files."""

    def __init__(self) -> None:
        self._document: _Thing | None = None
        self._page: _Page | None = None

    async def document(self, request: Request) -> Response:
        if self._document is None:
            self._document = await asyncio.to_thread(_document)
        return _told(request, self._document, {"cache-control": _AGAIN})

    async def page(self, request: Request) -> Response:
        page = await self._whole()
        return _told(request, page.html, {"cache-control": _AGAIN, "content-security-policy": _POLICY})

    async def file(self, request: Request) -> Response:
        page = await self._whole()
        found = page.files.get(request.path_params["file"])
        if found is None or request.path_params["version"] != page.version:
            raise NotFound("There is no such file. The page that has them is at /docs.")
        return _told(request, found, {"cache-control": _FOR_EVER})

    async def _whole(self) -> _Page:
        if self._page is None:
            self._page = await asyncio.to_thread(_read)
        return self._page


def _document() -> _Thing:
    from fairlead.http.openapi.document import document  # the shapes of everything: whoever does not ask does not pay

    return _Thing.of(msgspec.json.encode(document()), "application/json")


def _read() -> _Page:
    files = {name: _Thing.of(_place(name).read_bytes(), kind) for name, kind in FILES.items()}
    version = hashlib.sha256("".join(thing.tag for thing in files.values()).encode()).hexdigest()[:12]
    html = (_FOLDER / "docs.html").read_text(encoding="utf-8").replace("{files}", f"docs/{version}")
    return _Page(version, _Thing.of(html.encode(), "text/html; charset=utf-8"), files)


def _place(name: str) -> Path:
    return _FOLDER / "swagger-ui" / name if name.startswith("swagger-ui") else _FOLDER / name


def _told(request: Request, thing: _Thing, headers: dict[str, str]) -> Response:
    """`thing`, unless the client has it."""
    headers = {"etag": thing.tag, **headers}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or thing.tag in _TAG.findall(known):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(len(thing.body))
    return StreamingResponse(_pieces(thing.body), headers=headers, media_type=thing.kind)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), _PIECE_BYTES):
        yield body[begin : begin + _PIECE_BYTES]
