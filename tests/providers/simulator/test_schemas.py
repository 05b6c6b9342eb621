"""Values made for a schema are valid against it, by another's judgement."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from fairlead.providers.simulator import patterns, schemas

VALID = {
    "anything": {},
    "true": True,
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "one of several types": {"type": ["null", "integer"]},
    "enum": {"enum": ["celsius", "fahrenheit"]},
    "enum of a type": {"type": "integer", "enum": ["a", 3]},
    "const": {"const": {"a": [1]}},
    "minimum": {"type": "integer", "minimum": 7},
    "maximum": {"type": "integer", "maximum": -3},
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    "exclusive numbers": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    "exclusive maximum": {"type": "number", "exclusiveMaximum": -20},
    "between": {"type": "number", "minimum": 0.25, "maximum": 0.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 10},
    "negative multiple": {"type": "integer", "multipleOf": 7, "maximum": -10},
    "decimal multiple": {"type": "number", "multipleOf": 0.01, "minimum": 0.3},
    "length": {"type": "string", "minLength": 12, "maxLength": 14},
    "short": {"type": "string", "maxLength": 2},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}(-(x|y))?$"},
    "pattern and length": {"type": "string", "pattern": "^[a-f0-9]+$", "minLength": 8, "maxLength": 8},
    "pattern anywhere": {"type": "string", "pattern": "b", "minLength": 5},
    "negated class": {"type": "string", "pattern": r"^[^a-z\s]\S.\w\W\D$"},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    "empty array": {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
    "unique": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    "unique numbers": {"type": "array", "items": {"type": "number"}, "minItems": 4, "uniqueItems": True},
    "unique objects": {
        "type": "array", "minItems": 2, "uniqueItems": True,
        "items": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    "contains": {"type": "array", "contains": {"const": 4}, "minItems": 2},
    "object": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]},
    "closed object": {"type": "object", "properties": {"a": {}}, "additionalProperties": False, "required": ["a"]},
    "required without a property": {"type": "object", "required": ["a"], "additionalProperties": {"type": "integer"}},
    "forbidden property": {"type": "object", "properties": {"a": False, "b": {}}},
    "few properties": {"properties": {"a": {}, "b": {}, "c": {}}, "required": ["b"], "maxProperties": 2},
    "many properties": {"type": "object", "minProperties": 3, "additionalProperties": {"type": "boolean"}},
    "pattern properties": {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "minProperties": 2},
    "nested": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "array", "items": {"type": "object"}}}}},
    },
    "any of": {"anyOf": [{"type": "string", "minLength": 3}, {"type": "integer"}]},
    "one of overlapping": {"oneOf": [{"type": "number"}, {"type": "integer"}, {"type": "number", "minimum": 5}]},
    "one of tagged": {
        "oneOf": [
            {"properties": {"kind": {"const": kind}, "size": {"type": "integer"}}, "required": ["kind"]}
            for kind in ("circle", "square")
        ]
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]},
            {"properties": {"a": {"maximum": 4}, "b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "all of with alternatives": {
        "allOf": [{"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"anyOf": [{"required": ["c"]}]}],
        "type": "object",
    },
    "all of enums": {"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
    "all of number and integer": {"allOf": [{"type": "number"}, {"type": "integer"}]},
    "not": {"type": "string", "not": {"const": "value"}},
    "if then": {
        "type": "object",
        "properties": {"country": {"enum": ["DE", "US"]}, "zip": {"type": "string"}},
        "required": ["country", "zip"],
        "if": {"properties": {"country": {"const": "DE"}}},
        "then": {"properties": {"zip": {"pattern": r"^\d{5}$"}}},
        "else": {"properties": {"zip": {"pattern": r"^[A-Z]{2}$"}}},
    },
    "reference": {
        "$ref": "#/$defs/a~1b",
        "$defs": {
            "a/b": {"type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}},
            "n": {"type": "integer", "minimum": 9},
        },
    },
    "recursive": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["value", "children", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "whole schema again": {"type": "object", "properties": {"again": {"$ref": "#"}}},
}  # fmt: skip


@pytest.mark.parametrize("schema", VALID.values(), ids=VALID)
def test_a_value_is_valid_against_its_schema(schema: Any):
    Draft202012Validator(schema).validate(schemas.example(schema))


@pytest.mark.parametrize(
    "name", ["date", "email", "ipv4", "ipv6", "regex", "uuid", "idn-email", "duration", "date-time"]
)
def test_a_string_has_its_format(name: str):
    schema = {"type": "string", "format": name}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(schemas.example(schema))


def test_the_same_schema_gives_the_same_value():
    assert schemas.example(VALID["recursive"]) == schemas.example(VALID["recursive"])


@pytest.mark.parametrize(
    "schema",
    [{"minimum": "x"}, {"$ref": "#/nowhere"}, {"$ref": "#"}, {"enum": []}, {"type": 5}, {"properties": 3}, 7, None, [],
     {"allOf": 3}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"pattern": "("}],
)  # fmt: skip
def test_what_is_no_schema_still_gives_something(schema: Any):
    schemas.example(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "required": ["left", "right"]},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "string", "minLength": 10**12},
        {"type": "array", "minItems": 10**12},
        {"type": "object", "minProperties": 10**12},
        {"type": "string", "pattern": "(a{1000}){1000000000}"},
        {"properties": {"a": {"properties": {"b": {"properties": {"c": {"pattern": "^a(?!a)a$"}}}}}}},
    ],
    ids="tree loop long many wide pattern nested".split(),
)  # fmt: skip
def test_a_schema_that_asks_too_much_gets_a_try_in_bounded_time(schema: Any):
    schemas.example(schema)


@pytest.mark.parametrize("pattern", ["(", r"\p{L}+", "(?=a)b", r"(a)\1x{2"])
def test_a_pattern_that_cannot_be_read_gives_none_or_a_match(pattern: str):
    found = patterns.word(pattern)
    assert found is None or patterns.re.search(pattern, found)
