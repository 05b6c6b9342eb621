"""Plain ASGI around what is not a call: a request id, an access log line, errors as JSON."""

import time
from collections.abc import Callable, Iterable

from starlette.exceptions import HTTPException

from fairlead.call import new_id
from fairlead.errors import FairleadError, InternalError, MethodNotAllowed, NotFound
from fairlead.http.asgi import App, Header, Message, Receive, Scope, Send
from fairlead.http.fields import settle
from fairlead.http.identity import request_id
from fairlead.http.inference import error_headers

Seen = Callable[[Scope, str, int, float], None]  # scope, request id, status, seconds it took
# How errors are told to whoever asks for a path, with these headers.
Spelling = Callable[[str, Iterable[Header]], Callable[[FairleadError], bytes]]


class Rim:
    """Wraps `app`. What it raises becomes the error that clients of that path understand."""

    def __init__(self, app: App, spelling: Spelling, seen: Seen) -> None:
        self.app, self.spelling, self.seen = app, spelling, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        id, began, status = request_id(headers.get(b"x-request-id")) or new_id(), time.monotonic(), 0
        scope["app"] = self  # so that Starlette's router raises where it would answer in words of its own

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", id.encode())]}
            await send(message)

        async def refuse(error: FairleadError) -> None:
            body = self.spelling(scope["path"], scope["headers"])(error)
            told = [*error_headers(error), (b"content-length", b"%d" % len(body))]
            await send_on({"type": "http.response.start", "status": error.status, "headers": told})
            await send_on({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

        try:
            settle(headers, scope["headers"])
            await self.app(scope, receive, send_on)
        except FairleadError as error:
            await refuse(error)
        except HTTPException as error:
            await refuse(_ours(error, scope["path"]))
        except Exception:
            if not status:
                await refuse(InternalError())
            raise
        finally:
            self.seen(scope, id, status, time.monotonic() - began)


def _ours(error: HTTPException, path: str) -> FairleadError:
    if error.status_code == 405:
        return MethodNotAllowed((error.headers or {}).get("Allow", "GET"))
    return NotFound(f"There is nothing at {path[:200]!r}. The API begins at /v1.")
