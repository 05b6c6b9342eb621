"""JSON Schema from Gemini's own dialect of it, a part of OpenAPI's: types in capitals, `nullable`, an order of names.

https://ai.google.dev/api/caching#Schema. The other way is not needed: Gemini takes JSON Schema as it is, in
`parametersJsonSchema` and `responseJsonSchema`.
"""

from typing import Any

import msgspec
from msgspec import Raw

from fairlead.errors import InvalidRequest
from fairlead.protocols.envelope import given

_ONE = frozenset({"items", "additionalProperties", "not"})  # where a schema stands, …
_MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})  # … a list of them, …
_NAMED = frozenset({"properties", "$defs"})  # … or several by name
_COUNTS = frozenset("minItems maxItems minLength maxLength minProperties maxProperties".split())
_NAMES = {
    "any_of": "anyOf", "one_of": "oneOf", "all_of": "allOf", "prefix_items": "prefixItems", "min_items": "minItems",
    "max_items": "maxItems", "min_length": "minLength", "max_length": "maxLength", "min_properties": "minProperties",
    "max_properties": "maxProperties", "property_ordering": "propertyOrdering", "defs": "$defs", "ref": "$ref",
    "additional_properties": "additionalProperties",
}  # fmt: skip
_encode = msgspec.json.encode


def json_schema(raw: Raw, place: str) -> Raw | None:
    """What `raw`, a schema of Gemini's, says as JSON Schema; None if it is null.

    Raises InvalidRequest naming `place` if it is no object, or nested too deeply.
    """
    if given(raw) is None:
        return None
    try:
        told = msgspec.json.decode(raw, type=dict[str, Any])
        return Raw(_encode(_schema(told)))
    except RecursionError:
        raise InvalidRequest(f"'{place}' is nested too deeply.", param=place) from None
    except (msgspec.DecodeError, msgspec.EncodeError, ValueError):
        raise InvalidRequest(f"'{place}' must be a schema, which is an object.", param=place) from None


def _schema(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    kept = {name: value for name, value in told.items() if value is not None or name == "default"}
    named: dict[str, Any] = {_NAMES.get(str(name), str(name)): value for name, value in kept.items()}
    nullable, order = named.pop("nullable", None), named.pop("propertyOrdering", None)
    example = named.pop("example", None)
    schema = {name: _keyword(name, value) for name, value in named.items() if not _says_nothing(name, value)}
    if example is not None:
        schema["examples"] = [example]
    if isinstance(order, list) and isinstance(schema.get("properties"), dict):
        schema["properties"] = _ordered(schema["properties"], order)
    return _nullable(schema) if nullable is True else schema


def _says_nothing(name: str, value: Any) -> bool:
    return (name, value) in (("type", "TYPE_UNSPECIFIED"), ("format", "enum"))


def _keyword(name: str, value: Any) -> Any:
    if name == "type":
        return value.lower() if isinstance(value, str) else value
    if name in _ONE:
        return _schema(value)
    if name in _MANY and isinstance(value, list):
        return [_schema(item) for item in value]
    if name in _NAMED and isinstance(value, dict):
        return {key: _schema(item) for key, item in value.items()}
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)  # 64-bit numbers are texts in the JSON of protocol buffers
    return value


def _ordered(properties: dict[str, Any], order: list[Any]) -> dict[str, Any]:
    first = {name: properties[name] for name in order if isinstance(name, str) and name in properties}
    return {**first, **properties}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind, values, choices = schema.get("type"), schema.get("enum"), schema.get("anyOf")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    elif isinstance(choices, list):
        schema["anyOf"] = [*choices, {"type": "null"}]
    if isinstance(values, list) and None not in values:
        schema["enum"] = [*values, None]
    return schema
