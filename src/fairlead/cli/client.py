"""Asks a running gateway over HTTP, with nothing but the standard library.

A key goes to the address it was given for and nowhere else: no redirect is followed, no proxy is asked, and a server
that speaks TLS has to prove its name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

import msgspec
import typer

from fairlead import __version__
from fairlead.errors import UpstreamBroken
from fairlead.protocols.sse import EventCutter, data
from fairlead.telemetry.logs import printable

DEFAULT_URL = "http://127.0.0.1:8080"
_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 300.0  # a stream says something every 15 s (server.heartbeat_seconds); a whole answer may take long
_MAX_BYTES = 64 << 20
_MAX_ERROR_BYTES = 64 << 10
_LONGEST_TOLD = 500  # characters of what a server says went wrong
_KINDS = {"http": (HTTPConnection, 80), "https": (HTTPSConnection, 443)}

_LOOK = "fairlead doctor, where the gateway runs, tells more."
# What to do about a code of docs/errors.md.
_TO_DO = {
    "invalid_api_key": "Give one in FAIRLEAD_API_KEY or with --key; fairlead keys create NAME makes one.",
    "insufficient_scope": "Use a key with the scope 'inference'.",
    "tls_required": "Begin the address with https://.",
    "not_found": "Is the address that of a Fairlead?",
    "model_not_found": "fairlead models tells which there are.",
    "not_supported": "fairlead models tells which there are.",
    "provider_not_configured": "Set it where the gateway runs, or ask another model.",
    "provider_credential_rejected": _LOOK,
    "provider_out_of_credit": "Pay there, or ask another model.",
    "provider_unreachable": _LOOK,
    "upstream_timeout": "Try again, or ask another model.",
    "upstream_broken": "Try again, or ask another model.",
    "upstream_error": "Try again, or ask another model.",
    "internal_error": "Its log tells more.",
}


class GatewayError(Exception):
    """What went wrong, in one line: the code, what happened, what to do."""

    def __init__(self, code: str, told: str, to_do: str = "", *, status: int | None = None) -> None:
        first = f"{status} {code}" if status is not None else code
        super().__init__(" ".join(filter(None, (f"{first}: {told}", to_do))))
        self.code, self.status = code, status


class NoGateway(GatewayError):
    """Nobody answers at the address, or somebody who is no Fairlead."""


class Gateway:
    """One gateway. Each request has a connection of its own."""

    def __init__(self, url: str | None, key: str | None) -> None:
        """Raises typer.BadParameter for what is no address, or no key."""
        self.named = bool(url)
        self.url = (url or DEFAULT_URL).rstrip("/").removesuffix("/v1")  # with it, it is the SDKs' base_url
        self._kind, self._host, self._port, self._path = _address(self.url)
        self._headers = {
            "user-agent": f"fairlead/{__version__}", "accept-encoding": "identity", "connection": "close",
            **_proof((key or "").strip()),
        }  # fmt: skip
        self._key = (key or "").strip()

    def get(self, path: str) -> Any:
        """The JSON that is there. Raises GatewayError."""
        with self._answer("GET", path) as response:
            return self._decoded(_whole(response))

    def post(self, path: str, body: Any) -> Any:
        """The JSON that `body` is answered with. Raises GatewayError."""
        with self._answer("POST", path, msgspec.json.encode(body)) as response:
            return self._decoded(_whole(response))

    def stream(self, path: str, body: Any) -> Iterator[Any]:
        """The events that `body` is answered with, as they come. Raises GatewayError, also where they break off."""
        with self._answer("POST", path, msgspec.json.encode(body)) as response:
            cutter = EventCutter(_MAX_BYTES)
            while chunk := response.read1(_MAX_ERROR_BYTES):
                for event in cutter.feed(chunk):
                    told = data(event)
                    if told == b"[DONE]":
                        return
                    if told:  # else a heartbeat
                        yield self._event(told)
        raise _broken_off("its end did not come")

    @contextmanager
    def _answer(self, method: str, path: str, body: bytes | None = None) -> Iterator[HTTPResponse]:
        """The answer, if its status is 200."""
        connection = self._kind(self._host, self._port, timeout=_CONNECT_SECONDS)
        try:
            self._connect(connection)
            try:
                headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
                connection.request(method, self._path + path, body, headers)
                response = connection.getresponse()
                if response.status != 200:
                    raise self._refusal(response)
                yield response
            except TimeoutError:
                raise GatewayError(
                    "timeout", f"nothing came for {_SILENCE_SECONDS:.0f} seconds.", "Try again."
                ) from None
            except (OSError, IncompleteRead) as error:
                told = getattr(error, "strerror", None) or "the connection was closed"
                raise _broken_off(told) from None
            except HTTPException:
                raise self._stranger("no HTTP") from None
            except UpstreamBroken as error:  # the cutter's
                raise GatewayError("broken_off", f"the answer cannot be read: {error.message}.") from None
        finally:
            connection.close()

    def _connect(self, connection: HTTPConnection) -> None:
        try:
            connection.connect()
            connection.sock.settimeout(_SILENCE_SECONDS)
        except (OSError, UnicodeError, HTTPException) as error:  # OSError: TLS, too; UnicodeError: no name of a host
            reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
            raise NoGateway(
                "unreachable", f"no gateway answers at {self.url} ({printable(str(reason))[:_LONGEST_TOLD]}).",
                "Start one with fairlead serve, or name another with --url or FAIRLEAD_URL.",
            ) from None  # fmt: skip

    # ---- what is told

    def _event(self, told: bytes) -> Any:
        event = self._decoded(told)
        if isinstance(event, dict) and event.get("error"):
            raise self._error(event["error"], None, None)
        return event

    def _refusal(self, response: HTTPResponse) -> GatewayError:
        """The error that an answer other than 200 stands for."""
        if 300 <= response.status < 400:
            return self._stranger(f"it sends elsewhere (status {response.status})")
        told = self._decoded(response.read(_MAX_ERROR_BYTES), status=response.status)
        error = told.get("error") if isinstance(told, dict) else None
        if not isinstance(error, dict):
            return self._stranger(f"status {response.status}")
        return self._error(error, response.status, response.getheader("retry-after"))

    def _error(self, error: Any, status: int | None, retry_after: str | None) -> GatewayError:
        error = error if isinstance(error, dict) else {}
        code, told = str(error.get("code") or "failed"), str(error.get("message") or "It did not say why.")
        if self._key:
            code, told = code.replace(self._key, "***"), told.replace(self._key, "***")
        to_do = _TO_DO.get(code, "")
        if not to_do and status in (429, 503):
            wait = f" in {retry_after} s" if retry_after and retry_after.isdecimal() else ""
            to_do = f"Try again{wait}."
        return GatewayError(printable(code)[:100], printable(told)[:_LONGEST_TOLD], to_do, status=status)

    def _decoded(self, body: bytes, *, status: int | None = None) -> Any:
        try:
            return msgspec.json.decode(body)
        except (ValueError, RecursionError):
            raise self._stranger("no JSON" if status is None else f"status {status}") from None

    def _stranger(self, what: str) -> NoGateway:
        return NoGateway(
            "no_gateway", f"{self.url} does not answer as a Fairlead does: {what}.", "Is the address right?"
        )


def _address(url: str) -> tuple[type[HTTPConnection], str, int, str]:
    """How, with whom, at which port, and what stands before every path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        kind, usual = _KINDS[parts.scheme]
    except (ValueError, KeyError):
        host = None
    if not host or not _is_visible(url) or set("?#@") & set(url):
        raise typer.BadParameter("the gateway's address must be like http://127.0.0.1:8080 (--url, FAIRLEAD_URL)")
    return kind, host, port or usual, parts.path


def _proof(key: str) -> dict[str, str]:
    """The header that `key` goes in. What is wrong with a key is said without it."""
    if not _is_visible(key):
        raise typer.BadParameter("the key holds characters that no key has (--key, FAIRLEAD_API_KEY)")
    return {"authorization": f"Bearer {key}"} if key else {}


def _whole(response: HTTPResponse) -> bytes:
    body = response.read(_MAX_BYTES)
    if response.length and len(body) < _MAX_BYTES:  # `read` itself does not mind
        raise _broken_off("the connection was closed")
    return body


def _broken_off(why: str) -> GatewayError:
    return GatewayError("broken_off", f"the answer broke off: {why}.", "Try again.")


def _is_visible(text: str) -> bool:
    return all("!" <= c <= "~" for c in text)
