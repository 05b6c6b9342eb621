"""What the simulator's wire formats have in common: each is a vendor's side of one, spelt by its documentation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar, get_type_hints

import msgspec
from msgspec import Struct

from fairlead.chat import Event, Request, Response, Usage
from fairlead.errors import InvalidRequest
from fairlead.providers.simulator.framing import SERVER_SENT, Framing
from fairlead.providers.simulator.models import Wire

Headers = tuple[tuple[bytes, bytes], ...]
Fields = dict[str, Any]
T = TypeVar("T")
encode = msgspec.json.Encoder().encode


class Place(Struct, frozen=True):
    """What was asked for by the address: a vendor may say there which model, and whether its answer is streamed."""

    model: str | None = None
    stream: bool | None = None
    counts: bool = False  # not an answer is wanted, but how many tokens the prompt is
    array: bool = False  # Gemini: a stream that is a JSON array


HERE = Place()


class Dialect(ABC):
    """One format, from the provider's side."""

    name: Wire
    framing: Framing = SERVER_SENT
    media_type = b"application/json"
    broken_event: bytes  # what `malformed` sends
    usage_fields = frozenset({"usage"})
    usage_within: tuple[str, ...] = ("message",)  # objects that may have them as well
    reads_itself = True  # requests are not read by the gateway's own codec, which checks all types
    text_marks: tuple[bytes, ...] = ()  # one of them stands in events with text

    @abstractmethod
    def decode(self, body: bytes, place: Place = HERE) -> Request:
        """Raises InvalidRequest, where the vendor would refuse."""

    @abstractmethod
    def encode(self, response: Response, request: Request) -> bytes: ...

    @abstractmethod
    def encoder(self, request: Request, response: Response) -> Callable[[Event], bytes]:
        """For a stream; `response` is what it will tell, but for a text without an end."""

    @abstractmethod
    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        """The vendor's error body for `status`."""

    @abstractmethod
    def error_event(self) -> bytes:
        """What the vendor says inside a stream that began well and fails."""

    @abstractmethod
    def is_end(self, event: bytes) -> bool:
        """Whether `event` is the format's end mark."""

    @abstractmethod
    def models(self, names: Iterable[str]) -> bytes: ...

    def refusal(self, status: int) -> int:
        """The status that this vendor says where others say `status`."""
        return status

    def headers(self, response: Response, request: Request) -> Headers:
        """Of an answer."""
        return ((b"x-request-id", b"req_" + response.id[-24:].encode()),)

    def error_headers(self, status: int) -> Headers:
        return ()

    def framed(self, request: Request) -> Framing:
        """How the stream that answers `request` is framed."""
        return self.framing

    def counted(self, usage: Usage) -> bytes:
        """How many tokens a prompt is."""
        return encode({"input_tokens": usage.input_tokens})

    def without_usage(self, told: bytes) -> bytes:
        """A body or the data of an event, without the usage in it; b"" if nothing is left to say."""
        try:
            fields = msgspec.json.decode(told)
        except msgspec.DecodeError:
            return told
        if not isinstance(fields, dict):
            return told
        bare = {name: value for name, value in fields.items() if name not in self.usage_fields}
        for name in self.usage_within:
            inner = fields.get(name)
            if isinstance(inner, dict):
                bare[name] = {key: value for key, value in inner.items() if key not in self.usage_fields}
        return told if bare == fields else encode(bare)

    def has_text(self, data: bytes) -> bool:
        """Whether the data of an event bring text, which is not empty."""
        empty = tuple(mark + b'"' for mark in self.text_marks if mark.endswith(b'"'))
        return any(mark in data for mark in self.text_marks) and not any(mark in data for mark in empty)


# ---- reading requests


def fields_of(body: bytes) -> Fields:
    """The JSON object in `body`. Raises InvalidRequest."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body of the request is not JSON.") from None
    if not isinstance(told, dict):
        raise InvalidRequest("The body of the request must be an object.")
    return told


def take(fields: Fields, name: str, kind: type[T], place: str = "") -> T | None:
    """The field `name`, which must be a `kind`; None if it is absent or null. Raises InvalidRequest."""
    value = fields.get(name)
    if value is None:
        return None
    path = f"{place}.{name}" if place else name
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # type: ignore[return-value]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequest(f"{path}: expected {_KINDS[kind]}, got {_KINDS.get(type(value), 'null')}", param=path)
    return value


_KINDS: dict[type, str] = {
    str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object",
}  # fmt: skip


def objects(fields: Fields, name: str, place: str = "") -> list[Fields]:
    """The objects in the array `name`, [] if it is absent. Raises InvalidRequest."""
    path = f"{place}.{name}" if place else name
    told = take(fields, name, list, place) or []
    for index, item in enumerate(told):
        if not isinstance(item, dict):
            raise InvalidRequest(f"{path}[{index}]: expected an object", param=f"{path}[{index}]")
    return told


def only(fields: Fields, known: frozenset[str], place: str = "") -> None:
    """Raises InvalidRequest for a field that is not `known`."""
    for name in fields:
        if name not in known:
            path = f"{place}.{name}" if place else name
            raise InvalidRequest(f"{path}: Extra inputs are not permitted", param=path)


def needed(value: T | None, name: str) -> T:
    """`value`, which must be there. Raises InvalidRequest."""
    if value is None:
        raise InvalidRequest(f"{name}: Field required", param=name)
    return value


def check_texts(value: object) -> None:
    """Raises InvalidRequest where something within `value` (a request) that must be a text is none."""
    if isinstance(value, Struct):
        for name, hint in _hints(type(value)).items():
            told = getattr(value, name)
            if not isinstance(told, str) and (hint is str or (hint == str | None and told is not None)):
                raise InvalidRequest(f"A {type(value).__name__.lower()} has a {name} that is no string.")
            if hint == tuple[str, ...] and not all(isinstance(one, str) for one in told):
                raise InvalidRequest(f"{name}: expected strings", param=name)
            if isinstance(told, Struct | tuple):
                check_texts(told)
    elif isinstance(value, tuple):
        for one in value:
            check_texts(one)


@cache
def _hints(kind: type) -> Fields:
    return get_type_hints(kind)
