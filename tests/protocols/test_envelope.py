"""The top level of a request: what is refused, what is named, what passes."""

from typing import Any

import pytest
from msgspec import Raw

from fairlead.errors import InvalidRequest
from fairlead.protocols import envelope

KNOWN = frozenset({"model", "messages", "stream"})


def refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        envelope.messages(envelope.split(body, KNOWN))
    return caught.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The body is empty"),
        (b" \n", "The body is empty"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"model"', "must be a JSON object"),
        (b'{"model":', "ends too early (byte 9)"),
        (b'{"model":nope}', "(byte 10)"),
        (b"{'model':1}", "(byte 1)"),
        (b'{"model":"a"} x', "trailing characters"),
        (b'\xef\xbb\xbf{"model":1}', "(byte 0)"),
        (b'{"model":"\xff"}', "not UTF-8: byte 10 is 0xff"),
        (b'{"x":{"deep":["\xc3("]}}', "not UTF-8: byte 15 is 0xc3"),
        (b'{"x":"\\q"}', "(byte 7)"),
        (b'{"model":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b'{"x":' + b'{"y":' * 5000 + b"1" + b"}" * 5000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_json_object_in_utf_8_is_refused_naming_the_byte(body: bytes, words: str) -> None:
    assert words in refused(body).message


@pytest.mark.parametrize("name", ["Model", "MESSAGES", "sTream"])
def test_a_field_that_differs_from_a_known_one_only_by_case_is_refused(name: str) -> None:
    error = refused(b'{"%b":1}' % name.encode())
    assert error.param == name
    assert f"did you mean '{name.lower()}'?" in error.message


def test_of_equal_keys_only_the_last_goes_on() -> None:
    fields = envelope.split(b'{"model":"a","x":1,"mod\\u0065l":"b"}', KNOWN)
    assert envelope.join(fields) == b'{"model":"b","x":1}'


def test_unknown_fields_pass_with_their_spelling_and_order() -> None:
    body = '{"z":1.0e+2,"a":{"ü": [1, 2]},"model":"m","Z":"\\u00fc"}'.encode()
    assert envelope.join(envelope.split(body, KNOWN)) == body


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ("null", "messages", "is missing"),
        ("[]", "messages", "is empty"),
        ("{}", "messages", "must be an array, not an object"),
        ("[5]", "messages[0]", "must be an object, not an integer"),
        ("[{}]", "messages[0].role", "is missing"),
        ('[{"role":null}]', "messages[0].role", "must be a string, not null"),
        ('[{"role":"user"},{"role":7}]', "messages[1].role", "must be a string, not an integer"),
        ('[{"role":"user"},{"role":"user","content":7}]', "messages[1].content", "must be a string, an array or null"),
        ('[{"role":"user","content":{}}]', "messages[0].content", "must be a string, an array or null"),
        ('[{"role":"user","content":true}]', "messages[0].content", "must be a string, an array or null"),
    ],
)
def test_messages_of_the_wrong_shape_are_refused_naming_the_place(messages: str, param: str, words: str) -> None:
    error = refused(b'{"messages":%b}' % messages.encode())
    assert error.param == param
    assert error.message.startswith(f"'{param}' {words}")


def test_a_request_without_messages_is_refused() -> None:
    assert refused(b"{}").param == "messages"


@pytest.mark.parametrize("content", ['"x"', "[]", '[{"type":"new"}]', "null"])
def test_a_content_may_be_a_string_an_array_or_null(content: str) -> None:
    body = b'{"messages":[{"role":"someone new","content":%b,"more":1},{"role":"user"}]}' % content.encode()
    assert len(envelope.messages(envelope.split(body, KNOWN))) == 2


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (str, "1", "must be a string, not an integer"),
        (bool, "1", "must be true or false, not an integer"),
        (bool, '"true"', "must be true or false, not a string"),
        (int, "1.5", "must be an integer, not a number"),
        (int, "true", "must be an integer"),
        (int, '"5"', "must be an integer, not a string"),
        (int, "9" * 400 + "0" * 5000, "is not valid"),
        (dict[str, Raw], "[]", "must be an object, not an array"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_saying_what_would_be_right(kind: Any, value: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        envelope.read({"x": Raw(value.encode())}, "x", kind, param="outer.x")
    assert caught.value.param == "outer.x"
    assert f"'outer.x' {words}" in caught.value.message


def test_a_field_that_is_absent_or_null_reads_as_none() -> None:
    assert envelope.read({"x": Raw(b"null")}, "x", int) is None
    assert envelope.read({}, "x", int) is None
    assert envelope.read({"x": Raw(b"5")}, "x", int) == 5


def test_null_is_nothing_given() -> None:
    assert envelope.given(envelope.NULL) is None
    assert envelope.given(Raw(b"0")) is not None


def test_characters_are_those_of_text_and_not_of_media() -> None:
    raw = (
        '[{"role":"user","content":[{"type":"text","text":"äbc"},{"type":"image_url","image_url":{"url":"data:xyz"}}]}]'
    )
    assert envelope.characters(Raw(raw.encode())) == 3


def test_characters_of_what_is_nested_too_deeply_are_not_counted() -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        envelope.characters(Raw(b"[" * 900 + b"]" * 900))
