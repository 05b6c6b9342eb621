"""Values that are valid against a JSON schema: what the simulated models fill tools and answers with.

Knows references within the schema, types, enum and const, the bounds of numbers, strings, arrays and objects,
patterns and formats, and all/any/one of, not and if/then/else. Of what cannot be made (a schema that contradicts
itself, a pattern beyond us) it gives its best try.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, cast

from fairlead.providers.simulator import patterns

_TRIES = 12
_MOST_VALUES = 5_000  # made for one schema; beyond them a schema asks too much, or refers to itself without an end
_MOST_CHECKS = 50_000
_MOST_CHARACTERS = 100_000
_MOST_ITEMS = 1_000
_ALL_PROPERTIES_TO = 4  # how deep optional properties and items are still filled in
_DEEPEST = 40
_FORMATS = {
    "date-time": "2026-01-{day:02}T09:30:00Z", "date": "2026-01-{day:02}", "time": "09:30:{day:02}Z",
    "duration": "P{day}D",
    "email": "user{n}@example.com", "idn-email": "user{n}@example.com", "hostname": "host{n}.example.com",
    "idn-hostname": "host{n}.example.com", "ipv4": "192.0.2.{day}", "ipv6": "2001:db8::{day}",
    "uri": "https://example.com/{n}", "url": "https://example.com/{n}", "iri": "https://example.com/{n}",
    "uri-reference": "/{n}", "iri-reference": "/{n}", "uri-template": "/{n}", "json-pointer": "/{n}",
    "relative-json-pointer": "{n}", "regex": "^{n}$", "uuid": "00000000-0000-4000-8000-0000000000{day:02}",
    "byte": "AAA{day:02}AAA", "binary": "{n}",
}  # fmt: skip

Schema = dict[str, Any]


def example(schema: Any) -> Any:
    """A value that is valid against `schema` (a JSON schema, decoded); the same schema gives the same value."""
    try:
        return _Maker(schema).fitting(schema, "value", 0, 0)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return {}  # it is no schema


class _Maker:
    """Makes values for the schemas within `root`, which its references point into."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._made_so_far = self._checked_so_far = 0

    def fitting(self, schema: Any, name: str, depth: int, salt: int) -> Any:
        """A value for `schema`: the first of a few tries that is valid. Another `salt` gives another value."""
        first = None
        for attempt in range(_TRIES):
            value = self._made(schema, name, depth, salt + attempt)
            if self.fits(value, schema):
                return value
            first = value if attempt == 0 else first
            if depth > _ALL_PROPERTIES_TO or self._made_so_far > _MOST_VALUES:
                break
        return first

    # ---- making

    def _made(self, schema: Any, name: str, depth: int, salt: int) -> Any:
        if not isinstance(schema, dict):
            return name
        self._made_so_far += 1
        if depth > _DEEPEST or self._made_so_far > _MOST_VALUES:
            return None
        schema = self._flat(schema, depth, salt)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][salt % len(schema["enum"])]
        match self._type(schema, salt):
            case "object":
                return self._object(schema, depth, salt)
            case "array":
                return self._array(schema, name, depth, salt)
            case "integer":
                return _number(schema, salt, whole=True)
            case "number":
                return _number(schema, salt, whole=False)
            case "boolean":
                return salt % 2 == 0
            case "null":
                return None
        return _string(schema, name, salt)

    def _flat(self, schema: Schema, depth: int, salt: int) -> Schema:
        """`schema` with what it refers to and one of its alternatives merged into it.

        `allOf` is merged last: it is where `_merged` keeps the second of two alternatives.
        """
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(rest, self._referred(schema["$ref"]))
            elif "anyOf" in schema or "oneOf" in schema:
                key = "anyOf" if "anyOf" in schema else "oneOf"
                choices = schema[key] if depth <= _ALL_PROPERTIES_TO else sorted(schema[key], key=_size)
                rest = {name: value for name, value in schema.items() if name != key}
                schema = _merged(rest, choices[salt % len(choices)])
            elif "if" in schema:
                rest = {key: value for key, value in schema.items() if key not in ("if", "then", "else")}
                if salt % 2 == 0:
                    schema = _merged(_merged(rest, schema["if"]), schema.get("then"))
                else:
                    schema = _merged(rest, schema.get("else"))
            elif "allOf" in schema:
                parts, schema = schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    schema = _merged(schema, part)
            else:
                break
        return schema

    def _referred(self, reference: str) -> Any:
        """What "#/…" points to; anything for a reference to elsewhere."""
        found = self._root
        if not reference.startswith("#"):
            return {}
        for step in filter(None, reference[1:].split("/")):
            key = step.replace("~1", "/").replace("~0", "~").replace("%25", "%")
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    def _type(self, schema: Schema, salt: int) -> str:
        told = schema.get("type")
        if isinstance(told, list):
            named = [kind for kind in told if kind != "null"] or ["null"]
            return cast(str, named[salt % len(named)])
        if told is not None:
            return cast(str, told)
        for kind, words in _TOLD_BY.items():
            if words.intersection(schema):
                return kind
        return "string"

    def _object(self, schema: Schema, depth: int, salt: int) -> Schema:
        properties: Schema = schema.get("properties", {})
        names = list(dict.fromkeys([*schema.get("required", ()), *(properties if depth < _ALL_PROPERTIES_TO else ())]))
        names = [name for name in names if properties.get(name) is not False]
        made = {name: self.fitting(self._of(schema, name), name, depth + 1, salt) for name in names}
        for name in names[::-1]:
            if len(made) > schema.get("maxProperties", math.inf) and name not in schema.get("required", ()):
                del made[name]
        for number in range(min(schema.get("minProperties", 0), _MOST_ITEMS)):
            if len(made) >= schema["minProperties"]:
                break
            name = self._new_name(schema, number)
            made[name] = self.fitting(self._of(schema, name), name, depth + 1, salt)
        return made

    def _new_name(self, schema: Schema, number: int) -> str:
        for pattern in schema.get("patternProperties", {}):
            shortest = len(patterns.word(pattern) or "") + number
            name = patterns.word(pattern, shortest, number)
            if name is not None:
                return name
        unused = list(schema.get("properties", {}))
        return unused[number] if number < len(unused) else f"key{number + 1}"

    def _of(self, schema: Schema, name: str) -> Any:
        """The schema of property `name`."""
        found = schema.get("properties", {}).get(name)
        wanted: Any = {} if found is None or found is True else found
        matching = [inner for pattern, inner in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
        for inner in matching:
            wanted = _merged(wanted, inner)
        if found is None and not matching and isinstance(schema.get("additionalProperties"), dict):
            return schema["additionalProperties"]
        return wanted

    def _array(self, schema: Schema, name: str, depth: int, salt: int) -> list[Any]:
        first: list[Any] = schema.get("prefixItems", [])
        items = schema.get("items", {})
        if isinstance(items, list):  # as prefixItems were spelt before 2020
            first, items = items, schema.get("additionalItems", {})
        least, most = min(schema.get("minItems", 0), _MOST_ITEMS), schema.get("maxItems", math.inf)
        natural = len(first) + (1 if items is not False and not first else 0)
        size = int(min(max(least, natural if depth <= _ALL_PROPERTIES_TO else 0), most))
        contained = schema.get("contains")
        wanted = [*first, *[items] * max(size - len(first), 0)][:size]
        made: list[Any] = []
        for place, inner in enumerate(wanted):
            inner = _merged(inner, contained) if contained is not None and place >= len(first) else inner
            step = place if schema.get("uniqueItems") or salt else 0
            value = self.fitting(inner, name, depth + 1, salt + step)
            for more in range(1, _TRIES * 4 if schema.get("uniqueItems") else 1):
                if value not in made:
                    break
                value = self.fitting(inner, name, depth + 1, salt + step + more)
            made.append(value)
        return made

    # ---- checking, so far as it decides what is made

    def fits(self, value: Any, schema: Any, depth: int = 0) -> bool:
        """Whether `value` is valid against `schema`; what is not known here counts as valid."""
        self._checked_so_far += 1
        if not isinstance(schema, dict) or depth > _DEEPEST or self._checked_so_far > _MOST_CHECKS:
            return schema is not False
        return all(self._checks(value, schema, depth + 1))

    def _checks(self, value: Any, schema: Schema, depth: int) -> Iterator[bool]:
        if "$ref" in schema:
            yield self.fits(value, self._referred(schema["$ref"]), depth)
        if "type" in schema:
            told = schema["type"]
            yield any(_is(value, kind) for kind in (told if isinstance(told, list) else [told]))
        if "const" in schema:
            yield _equal(value, schema["const"])
        if "enum" in schema:
            yield any(_equal(value, one) for one in schema["enum"])
        yield from (self.fits(value, part, depth) for part in schema.get("allOf", ()))
        if "anyOf" in schema:
            yield any(self.fits(value, part, depth) for part in schema["anyOf"])
        if "oneOf" in schema:
            yield sum(self.fits(value, part, depth) for part in schema["oneOf"]) == 1
        if "not" in schema:
            yield not self.fits(value, schema["not"], depth)
        if "if" in schema:
            yield self.fits(value, schema.get("then" if self.fits(value, schema["if"], depth) else "else"), depth)
        if isinstance(value, str):
            yield _fits_string(value, schema)
        elif isinstance(value, dict):
            yield from self._fits_object(value, schema, depth)
        elif isinstance(value, list):
            yield from self._fits_array(value, schema, depth)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield _fits_number(value, schema)

    def _fits_object(self, value: Schema, schema: Schema, depth: int) -> Iterator[bool]:
        properties = schema.get("properties", {})
        yield all(name in value for name in schema.get("required", ()))
        yield schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", math.inf)
        for name, needed in schema.get("dependentRequired", {}).items():
            yield name not in value or all(other in value for other in needed)
        for name, inner in value.items():
            if name in properties:
                yield self.fits(inner, properties[name], depth)
            matching = [of for pattern, of in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
            yield from (self.fits(inner, of, depth) for of in matching)
            if name not in properties and not matching:
                yield self.fits(inner, schema.get("additionalProperties", True), depth)
            yield self.fits(name, schema.get("propertyNames", True), depth)

    def _fits_array(self, value: list[Any], schema: Schema, depth: int) -> Iterator[bool]:
        yield schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
        first, items = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(items, list):
            first, items = items, schema.get("additionalItems", True)
        for place, inner in enumerate(value):
            yield self.fits(inner, first[place] if place < len(first) else items, depth)
        if schema.get("uniqueItems"):
            yield all(not _equal(one, other) for place, one in enumerate(value) for other in value[:place])
        if "contains" in schema:
            count = sum(self.fits(inner, schema["contains"], depth) for inner in value)
            yield schema.get("minContains", 1) <= count <= schema.get("maxContains", math.inf)


_TOLD_BY: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "patternProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
_TIGHTER: dict[str, Any] = {
    "minimum": max, "exclusiveMinimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "exclusiveMaximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
}  # fmt: skip


def _merged(schema: Any, other: Any) -> Any:
    """A schema for what is valid against both."""
    if not isinstance(other, dict):
        return schema if other is not False else False
    if not isinstance(schema, dict):
        return other if schema is not False else False
    both = dict(schema)
    for key, value in other.items():
        held = both.get(key)
        if held is None:
            both[key] = value
        elif key in ("properties", "patternProperties"):
            both[key] = {**held, **{name: _merged(held.get(name), inner) for name, inner in value.items()}}
        elif key == "required":
            both[key] = [*held, *(name for name in value if name not in held)]
        elif key == "allOf":
            both[key] = [*held, *value]
        elif key in ("anyOf", "oneOf", "if", "$ref", "not", "pattern", "contains") and held != value:
            both["allOf"] = [*both.get("allOf", ()), {key: value, **_branches(key, other)}]
        elif key in ("then", "else") and "if" in schema and "if" in other:
            continue  # went with its `if`
        elif key == "enum":
            both[key] = [one for one in held if any(_equal(one, another) for another in value)] or value
        elif key == "type":
            both[key] = _common(held, value)
        elif key == "multipleOf" and isinstance(held, int) and isinstance(value, int):
            both[key] = math.lcm(held, value)
        elif key in _TIGHTER and not isinstance(held, bool):
            both[key] = _TIGHTER[key](held, value)
        elif key in ("items", "additionalProperties", "propertyNames"):
            both[key] = _merged(held, value)
        else:
            both[key] = value
    return both


def _branches(key: str, schema: Schema) -> Schema:
    return {name: schema[name] for name in ("then", "else") if key == "if" and name in schema}


def _common(held: Any, value: Any) -> Any:
    """The types in both of two `type`s."""
    ones, others = ([kind] if isinstance(kind, str) else kind for kind in (held, value))
    if {"number", "integer"} <= {*ones, *others}:
        ones, others = [*ones, "integer"], [*others, "integer"]
    return [kind for kind in ones if kind in others] or value


def _size(schema: Any) -> int:
    """How much a schema asks for; alternatives that do not go deeper come first."""
    if not isinstance(schema, dict):
        return 0
    return 1000 if "$ref" in schema else len(schema.get("required", ())) + len(schema)


def _is(value: Any, kind: Any) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# ---- numbers


def _bounds(schema: Schema) -> tuple[float, float, bool, bool]:
    """Least and most, and whether each is itself excluded; the draft-4 spelling (`exclusiveMinimum: true`) as well."""
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    over, under = above is True, below is True
    if above is not None and not isinstance(above, bool) and above >= low:
        low, over = above, True
    if below is not None and not isinstance(below, bool) and below <= high:
        high, under = below, True
    return low, high, over, under


def _number(schema: Schema, salt: int, *, whole: bool) -> float:
    low, high, over, under = _bounds(schema)
    step = schema.get("multipleOf") or (1 if whole else None)
    if whole and step is not None and step != int(step):
        step = 1
    if step is not None:
        return _multiple(low, high, over, step, salt)
    if low == -math.inf:
        return 1.5 + salt if high > 1.5 + salt else high - 0.5 - salt
    if not over and salt == 0:
        return low if low == high else _between(low, high, 0.5) if under or low == 0 else low
    return _between(low, high, (salt + 1) / (salt + 2))


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low) if high < math.inf else low + 1 + share


def _multiple(low: float, high: float, over: bool, step: float, salt: int) -> float:
    """A multiple of `step` within the bounds, small where it may be."""
    begin = (
        math.ceil(low / step) if low > -math.inf else min(1, math.floor(high / step) - salt) if high < math.inf else 1
    )
    if over and begin * step <= low:
        begin += 1
    if low <= 0 and begin <= 0 < high and step <= high:
        begin = 1 if low > -math.inf else begin
    value = (begin + salt) * step
    return value if value <= high else begin * step


def _fits_number(value: float, schema: Schema) -> bool:
    low, high, over, under = _bounds(schema)
    if not low <= value <= high or (over and value == low) or (under and value == high):
        return False
    step = schema.get("multipleOf")
    return not step or float(value / step).is_integer()


# ---- strings


def _string(schema: Schema, name: str, salt: int) -> str:
    least, most = min(schema.get("minLength", 0), _MOST_CHARACTERS), schema.get("maxLength")
    if "pattern" in schema:
        found = patterns.word(schema["pattern"], least, salt)
        if found is not None:
            return found
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]].format(n=salt + 1, day=salt % 28 + 1)
    word = name + (str(salt) if salt else "")
    word = word.ljust(least, "x") if word else "x" * least
    return word if most is None or len(word) <= most else (str(salt or "") + word)[:most]


def _fits_string(value: str, schema: Schema) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        return False
    try:
        return "pattern" not in schema or re.search(schema["pattern"], value) is not None
    except re.error:  # an expression of another dialect
        return True
