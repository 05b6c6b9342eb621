"""Who asks, and what their request is called."""

import re

from starlette.requests import Request

from fairlead.auth import Auth
from fairlead.call import Call
from fairlead.catalog import Catalog
from fairlead.http.asgi import Header
from fairlead.resources import Principal

_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_OF_ANTHROPIC = frozenset({"messages", "count_tokens", "complete"})  # whose clients look for `request-id`


async def identified(auth: Auth, catalog: Catalog, request: Request, headers: list[Header] | None = None) -> Principal:
    """Whose key a request carries, in `headers` if they are not its own. Raises InvalidKey, TooManyWrongKeys,
    Unavailable."""
    address = request.client.host if request.client is not None else ""
    return await auth.identify(dict(headers or request.headers.raw), catalog.current.file_keys, address)


def request_id(told: bytes | None) -> str:
    """The id that a client gave its request (`X-Request-Id`), if it is one; else "".

    It comes back in the answer and stands in the log, so that there is not much that it may be.
    """
    return told.decode("ascii") if told is not None and _ID.fullmatch(told) else ""


def identity(call: Call) -> list[Header]:
    """What the request is called, by the client if it likes, under the names that clients look for; and the call's id,
    which is what `/v1/generation` is asked for."""
    value = call.request_id.encode()
    headers = [(b"x-request-id", value), (b"x-generation-id", call.id.encode())]
    return [*headers, (b"request-id", value)] if call.operation in _OF_ANTHROPIC else headers
