"""What several formats share: what they are in JSON, base64, headers."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from fairlead.conformance import Call, Document, Finish, Image, Mismatch, Received, Said, Turn


def body(received: Received) -> dict[str, Any]:
    """The JSON object that was sent. Raises Mismatch."""
    try:
        told = msgspec.json.decode(received.body)
    except msgspec.DecodeError as error:
        raise Mismatch(f"the provider was sent no JSON: {error}") from None
    if not isinstance(told, dict):
        raise Mismatch("the provider was sent no JSON object")
    return told


def take(told: dict[str, Any], known: str, what: str) -> None:
    """Raises Mismatch where `told` has fields besides `known` (names, with spaces between them)."""
    strange = told.keys() - set(known.split())
    if strange:
        raise Mismatch(f"{what} has {', '.join(sorted(strange))}, which its documentation has not")


def arguments(text: str) -> Any:
    """Arguments of a call, out of JSON text. Raises Mismatch."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise Mismatch(f"the arguments of a call are no JSON: {text[:80]!r}") from None


def spelt(arguments: Any) -> str:
    """Arguments as JSON text."""
    return msgspec.json.encode(arguments).decode()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    """Raises Mismatch."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Mismatch(f"this is no base64: {text[:40]!r}") from None


def data_url(said: Image | Document) -> str:
    return f"data:{said.mime};base64,{encoded(said.data)}"


def of_data_url(url: str) -> bytes:
    """The bytes in a data URL. Raises Mismatch."""
    head, mark, data = url.partition(";base64,")
    if not head.startswith("data:") or not mark:
        raise Mismatch(f"this is no data URL: {url[:40]!r}")
    return decoded(data)


def bytes_or_address(url: str) -> bytes | str:
    """What a format that takes both was given. Raises Mismatch."""
    return of_data_url(url) if url.startswith("data:") else url


def dropped(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What the gateway says that the provider could not be told."""
    return tuple(name.strip() for name in headers.get("x-fairlead-dropped", "").split(",") if name.strip())


def finish(reason: str | None, names: dict[str, Finish], *, refused: bool = False) -> Finish | None:
    """`reason` of a format, in words that belong to none."""
    if refused:
        return "refusal"
    return None if reason is None else names.get(reason, "other")


def turn(turns: list[Turn], side: Literal["user", "model"]) -> Turn:
    """The turn that is going on, if it is of `side`; else a new one."""
    if not turns or turns[-1].side != side:
        turns.append(Turn(side))
    return turns[-1]


def words(parts: tuple[Said, ...]) -> str | None:
    """The text of a turn that is nothing but text."""
    return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else None


def named(turns: list[Turn], id: str) -> str:
    """The name of the tool that was called with `id`. Raises Mismatch if none was."""
    for told in turns:
        for call in told.calls:
            if call.id == id:
                return call.name
    raise Mismatch(f"a result is for the call {id!r}, which nobody made")


def same_calls(first: tuple[Call, ...], second: tuple[Call, ...]) -> bool:
    """Whether the same tools were called with the same arguments; ids may be others."""
    return [(call.name, call.arguments) for call in first] == [(call.name, call.arguments) for call in second]


def unwrapped(given: dict[str, Any]) -> str:
    """What a tool gave, where a format wants an object around it."""
    if len(given) == 1 and isinstance(value := next(iter(given.values())), str):
        return value
    return spelt(given)


def invalid(error: Exception) -> Mismatch:
    """What an SDK says of an answer that is not as its own types have it."""
    return Mismatch(f"the SDK says that the answer is invalid: {error.__cause__ or error}")
