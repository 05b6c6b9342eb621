"""Oddities of vendors, on the top level of a request as raw bytes."""

import pytest

from fairlead.providers import quirks, rows
from fairlead.resources import Provider


def bent(body: bytes, *names: str, translated: bool = True) -> tuple[bytes, tuple[str, ...]]:
    return quirks.applied(Provider("p", {}, quirks=names), body, translated=translated)


def applied(body: bytes, *names: str, translated: bool = True) -> bytes:
    return bent(body, *names, translated=translated)[0]


@pytest.mark.parametrize(
    ("quirk", "before", "after"),
    [
        ("max_completion_tokens", b'{"max_tokens":5,"n":1}', b'{"n":1,"max_completion_tokens":5}'),
        ("max_completion_tokens", b'{"n":1}', b'{"n":1}'),
        ("max_completion_tokens", b'{"prompt":"x","max_tokens":5}', b'{"prompt":"x","max_tokens":5}'),
        ("no_stream_options", b'{"stream":true,"stream_options":{"include_usage":true}}', b'{"stream":true}'),
        ("no_stream_options", b'{"stream":true}', b'{"stream":true}'),
        ("no_openai_fields", b'{"verbosity":"low","n":1,"metadata":{}}', b'{"n":1}'),
    ],
)
def test_a_quirk_bends_what_we_wrote_and_only_that(quirk: str, before: bytes, after: bytes) -> None:
    assert applied(before, quirk) == after
    assert applied(before, quirk, translated=False) == before


def test_what_is_below_the_top_level_stays_as_it_was_spelt() -> None:
    body = b'{"messages":[ {"content":1.50} ],"max_tokens":5}'
    assert b'[ {"content":1.50} ]' in applied(body, "max_completion_tokens")


def test_what_a_quirk_leaves_out_of_a_wish_is_named() -> None:
    body = b'{"prompt_cache_key":"k","max_tokens":5,"stream_options":{}}'
    assert bent(body, "no_openai_fields", "no_stream_options", "max_completion_tokens")[1] == ("prompt_cache_key",)
    assert bent(body, "no_openai_fields", translated=False)[1] == ()


def test_every_quirk_is_some_vendors() -> None:
    assert {quirk for row in rows().values() for quirk in row.quirks or ()} == set(quirks.KNOWN)
