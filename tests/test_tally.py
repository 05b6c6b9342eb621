"""Of how much a JSON text is made."""

import pytest

from fairlead.tally import exceeded, least


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":"m","messages":[%b]}' % b",".join([b"{}"] * 10), "messages"),
        (b'{"model":"m","messages":[%b]}' % b",".join([b"[]"] * 10), "messages"),
        (b'{"contents":[{"parts":[%b]}],"x":1}' % b",".join([b'{"text":""}'] * 10), "contents"),
        (b'{"messages":[{},{},{},{},{}],"tools":[{},{},{},{}]}', "tools"),  # where it was too much
        (b'{"a \\"b\\" {":[%b]}' % b",".join([b"{}"] * 10), 'a \\"b\\" {'),
        (b'{"stop":[%b]}' % b",".join([b'"a"'] * 102), "stop"),
        (b'{"stop":[%b]}' % b",".join([b"0"] * 102), "stop"),
        (b"{%b}" % b",".join(b'"%d":0' % number for number in range(12)), ""),
        (b"[%b]" % b",".join([b"{}"] * 10), ""),
        (b'{"%b":[%b]}' % (b"n" * 1000, b",".join([b"{}"] * 10)), "n" * 80),
    ],
)
def test_too_much_is_found_and_its_field_is_named(body: bytes, field: str) -> None:
    assert exceeded(body, 10) == field


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[%b]}' % b",".join([b"{}"] * 8),
        b'{"messages":[{"content":"%b"}]}' % (b'{[,\\"\\\\' * 1000),
        b'{"stop":[%b]}' % b",".join([b"0"] * 100),
        b'{"messages":[{"content":"%b' % (b'\\"{,' * 1000),  # without an end
        b'{"messages":[{"content":"%b' % (b"{" * 1000 + b"\\"),
        b"",
    ],
)
def test_what_texts_say_does_not_count(body: bytes) -> None:
    assert exceeded(body, 10) is None


def test_so_few_bytes_that_nothing_can_be_exceeded_need_not_be_counted() -> None:
    assert least(10) == len(b"[[[[[[[[[[[") + len(b"]]]]]]]]]]") == 21
    assert exceeded(b"[" * 11 + b"]" * 10, 10) == ""
    assert exceeded(b"[" * 10 + b"]" * 10, 10) is None
