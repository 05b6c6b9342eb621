"""The top level of a request: taken apart into raw fields, checked as far as we read it, and put together again.

What was checked is what is sent: the body is always re-encoded from these fields, so that of equal keys only the last
goes on. Whatever is unknown passes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from fairlead import tally
from fairlead.errors import InvalidRequest

T = TypeVar("T")
NULL = Raw(b"null")
_top_level = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.Encoder().encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}  # of the few kinds that `read` is asked for

# msgspec's names of JSON's kinds, in the words of a refusal.
_KINDS = {
    "str": "a string", "bool": "true or false", "int": "an integer", "float": "a number", "object": "an object",
    "array": "an array", "null": "null",
}  # fmt: skip


def split(body: bytes, known: frozenset[str]) -> dict[str, Raw]:
    """The top-level fields of `body`, undecoded. `known`: names of fields that mean something, in lower case.

    Raises InvalidRequest naming the byte (not JSON, not UTF-8), or the field (a known name, spelt with other capitals:
    some providers would read it all the same).
    """
    if not body.isascii():
        _check_utf8(body)
    try:
        fields = _top_level.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError:
        raise InvalidRequest("The body must be a JSON object.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(_not_json(body, error)) from None
    if not known.issuperset(fields):
        _check_capitals(fields, known)
    return fields


def join(fields: Mapping[str, Raw]) -> bytes:
    """The JSON object of `fields`."""
    return _encode(fields)


def read(fields: Mapping[str, Raw], name: str, kind: type[T], *, param: str | None = None) -> T | None:
    """The value of field `name`, None if it is absent or null. Raises InvalidRequest if it is no `kind`.

    `fields` come from `split`, so that they are JSON.
    """
    raw = fields.get(name)
    if raw is None or given(raw) is None:
        return None
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        found: T = _decoded(raw, decoder)
        return found
    except msgspec.ValidationError as error:
        raise invalid(error, param or name) from None
    except RecursionError:
        raise _too_deep(param or name) from None


def typed(raw: bytes | Raw, decoder: "msgspec.json.Decoder[T]", place: str) -> T:
    """What `decoder` makes of `raw`, which stands at `place` of a request. Raises InvalidRequest naming the field."""
    try:
        return _decoded(raw, decoder)
    except msgspec.ValidationError as error:
        raise invalid(error, place) from None
    except RecursionError:
        raise InvalidRequest(f"'{place}' is nested too deeply.", param=place or None) from None
    except UnicodeDecodeError:  # of an answer: a request was checked as a whole
        raise InvalidRequest(f"'{place}' is not UTF-8.", param=place or None) from None


def _decoded(raw: bytes | Raw, decoder: "msgspec.json.Decoder[T]") -> T:
    """What `decoder` makes of `raw`. JSON Schema counts 230.0 as an integer, which msgspec does not."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        found = _FLOAT_FOR_INTEGER.fullmatch(str(error))
        respelt = found and _respelt(raw, (found[1] or "").split(".")[1:])
        if not respelt:
            raise
    return _decoded(respelt, decoder)


_FLOAT_FOR_INTEGER = re.compile(r"Expected `int(?: \| null)?`, got `float`(?: - at `\$([.\w]*)`)?")
_LARGE_BYTES = tally.least(tally.MOST)
_EXACT = 2**53  # a float beyond it may have been another number
_float = msgspec.json.Decoder(float)


def _respelt(raw: bytes | Raw, path: list[str]) -> bytes | None:
    """`raw` with the number at `path`, a float, as an integer; None if it is none."""
    if not path:
        value = _float.decode(raw)
        return b"%d" % value if value.is_integer() and abs(value) <= _EXACT else None
    fields = _top_level.decode(raw)
    inner = _respelt(fields[path[0]], path[1:])
    return None if inner is None else join({**fields, path[0]: Raw(inner)})


def left_over(
    fields: Mapping[str, Raw], understood: frozenset[str], partly: Mapping[str, frozenset[str]]
) -> Iterable[tuple[str, Raw]]:
    """Those of `fields` that were not understood, or not all of: `partly` names the fields that are, of an object."""
    if understood.issuperset(fields) and partly.keys().isdisjoint(fields):
        return ()
    return [
        (name, raw)
        for name, raw in fields.items()
        if name not in understood or (name in partly and not partly[name].issuperset(_names(raw)))
    ]


def _names(raw: Raw) -> Iterable[str]:
    return _top_level.decode(raw) if bytes(raw)[:1] == b"{" else ()


def given(raw: Raw) -> Raw | None:
    """`raw`, None if it is null. (A struct's field cannot be `Raw | None`: it is Raw, and NULL where it is absent.)"""
    return None if raw is NULL or (len(raw) == len(NULL) and raw == NULL) else raw  # to compare costs much


def invalid(error: msgspec.ValidationError, param: str) -> InvalidRequest:
    """The refusal that a failed decoding of field `param` ("" for the whole body) stands for.

    The path that msgspec names becomes part of `param`: `messages[3].content`.
    """
    told, _, path = str(error).replace("`", "").partition(" - at ")
    place = param + path.removeprefix("$").replace("[...]", "[*]")
    if told.startswith(_MISSING):
        place = f"{place}.{told.removeprefix(_MISSING)}".lstrip(".")
        return InvalidRequest(f"'{place}' is missing.", param=place)
    place = place.lstrip(".")
    if not told.startswith("Expected "):
        return InvalidRequest(f"'{place}' is not valid: {told[:1].lower()}{told[1:]}.", param=place)
    kinds, _, got = told.removeprefix("Expected ").partition(", got ")
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
    return InvalidRequest(f"'{place}' must be {wanted}, not {_KINDS.get(got, got)}.", param=place)


_MISSING = "Object missing required field "


class Said(Struct, gc=False):
    """A message, as far as the skeleton goes."""

    role: str
    content: Raw = NULL
    tool_calls: Raw = NULL
    reasoning_details: Raw = NULL


_messages = msgspec.json.Decoder(list[Said])
_CONTENT_STARTS = frozenset(b'"[n')  # of a string, an array, null


def messages(fields: Mapping[str, Raw]) -> list[Said]:
    """The messages that there are. Raises InvalidRequest unless they are a non-empty array of objects with a string
    `role` and a `content` that is a string, an array or null."""
    raw = fields.get("messages")
    if raw is None or raw == NULL:
        raise InvalidRequest("'messages' is missing: it must be a non-empty array.", param="messages")
    try:
        found = _messages.decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(error, "messages") from None
    except RecursionError:
        raise _too_deep("messages") from None
    check(found)
    return found


def check(found: list[Said]) -> None:
    """Raises InvalidRequest if there are no messages, or one has a `content` that is nothing of the above."""
    if not found:
        raise InvalidRequest("'messages' is empty: it must have at least one message.", param="messages")
    for index, message in enumerate(found):
        # A view of its first byte copies nothing of a content that may be megabytes.
        if memoryview(message.content)[0] not in _CONTENT_STARTS:
            place = f"messages[{index}].content"
            raise InvalidRequest(f"'{place}' must be a string, an array or null.", param=place)


def any_value(raw: bytes | Raw) -> Any:
    """What JSON says; None where it is none, or cannot be held. It may stand in a text, which nobody looked into."""
    if len(raw) >= _LARGE_BYTES and tally.exceeded(bytes(raw), tally.MOST) is not None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def characters(raw: Raw) -> int:
    """How many characters of text the JSON value `raw` holds: all strings but keys, and data and addresses of media."""
    try:
        return _counted(msgspec.json.decode(raw))
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:  # a number that nothing can hold
        raise invalid(error, "") from None


_NOT_TEXT = frozenset("type role id data url media_type file_data file_id tool_call_id tool_use_id".split())


def _counted(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_counted(item) for item in value)
    if isinstance(value, dict):
        return sum(_counted(item) for key, item in value.items() if key not in _NOT_TEXT)
    return 0


def _too_deep(param: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"{repr(param) if param else 'The body'} is nested too deeply.", param=param)


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8: byte {error.start} is {body[error.start]:#04x}.") from None


def _check_capitals(fields: Mapping[str, Raw], known: frozenset[str]) -> None:
    for field in fields:
        if field not in known and field.casefold() in known:
            right = field.casefold()
            shown = field[:80]
            raise InvalidRequest(f"'{shown}' is not a field; did you mean '{right}'?", param=shown)


def _not_json(body: bytes, error: msgspec.DecodeError) -> str:
    if not body.strip():
        return "The body is empty: it must be a JSON object."
    told = str(error).removeprefix("JSON is malformed: ")
    return f"The body is not JSON: {told if '(byte ' in told else f'it ends too early (byte {len(body)})'}."
