"""The head of a request: what it says, and when it is spelt anew."""

import pytest

from fairlead import __version__
from fairlead.errors import InvalidRequest
from fairlead.providers import provider_of, rows, signing
from fairlead.providers.signing import get_head, request_head
from fairlead.resources import Credential, Provider, Signing

LAB = Provider("lab", {"openai-chat": "https://lab.example/v1"})
SECRET = Credential("lab", "secret")


def head(client: dict[bytes, bytes] | None = None, *, provider: Provider = LAB, path: str = "/x") -> bytes:
    return request_head(provider, "openai-chat", path, SECRET, client)


def test_a_head_is_whole_but_for_the_length_and_the_empty_line() -> None:
    assert (
        head(path="/chat/completions")
        == (
            "POST /v1/chat/completions HTTP/1.1\r\n"
            "host: lab.example\r\n"
            f"user-agent: fairlead/{__version__}\r\n"
            "accept: */*\r\n"
            "accept-encoding: identity\r\n"
            "content-type: application/json\r\n"
            "authorization: Bearer secret\r\n"
        ).encode()
    )


def test_the_same_head_is_spelt_once() -> None:
    assert head() is head()
    assert head({}) is head({b"cookie": b"other every time"})
    assert head({b"openai-beta": b"a"}) is head({b"openai-beta": b"a"})


@pytest.mark.parametrize(
    "other",
    [
        head({b"openai-beta": b"a"}),
        head(path="/y"),
        head(provider=Provider("lab", {"openai-chat": "https://lab.example/v2"})),
        request_head(LAB, "openai-chat", "/x", Credential("lab", "another"), None),
        request_head(LAB, "openai-chat", "/x", None, None),
    ],
)
def test_what_differs_is_spelt_anew(other: bytes) -> None:
    assert other != head()


def test_a_client_cannot_grow_memory_with_ever_new_values() -> None:
    before = len(signing._heads)
    for number in range(100):
        head({b"anthropic-beta": b"%d" % number + b"x" * 1000})
    assert len(signing._heads) == before
    for number in range(5000):
        head({b"anthropic-beta": b"%d" % number})
    assert len(signing._heads) <= 4096


def test_of_a_clients_headers_only_the_allowed_go_up() -> None:
    told = head({b"anthropic-beta": b"x", b"authorization": b"Bearer ours", b"cookie": b"c", b"x-forwarded-for": b"1"})
    assert told == head().replace(b"authorization", b"anthropic-beta: x\r\nauthorization")


@pytest.mark.parametrize("name", [b"anthropic-version", b"anthropic-beta", b"openai-beta"])
@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nb", b"a\x7f", b"\x1b[0m", b"a" * (8 * 1024 + 1)])
def test_a_value_that_would_break_out_of_its_line_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(InvalidRequest, match=name.decode()):
        head({name: value})


def test_a_value_may_be_long_have_tabs_and_any_bytes_beyond_ascii() -> None:
    assert b"openai-beta: a\tb\xff\r\n" in head({b"openai-beta": b"a\tb\xff"})
    assert b"openai-beta: " + b"a" * 8192 in head({b"openai-beta": b"a" * 8192})


def test_translated_requests_send_the_rows_headers() -> None:
    anthropic = provider_of("anthropic", rows()["anthropic"])
    told = request_head(anthropic, "anthropic-messages", "/messages", SECRET, None)
    assert b"anthropic-version: 2023-06-01\r\n" in told
    assert b"x-api-key: secret\r\n" in told
    newer = request_head(anthropic, "anthropic-messages", "/messages", SECRET, {b"anthropic-version": b"2999-01-01"})
    assert newer.count(b"anthropic-version") == 1
    assert b"anthropic-version: 2999-01-01\r\n" in newer


def test_no_row_and_no_client_overrules_the_credential() -> None:
    provider = Provider("p", LAB.base_urls, headers={"Authorization": "Bearer row"})
    assert b"authorization: Bearer secret\r\n" in head({b"authorization": b"Bearer client"}, provider=provider)


def test_a_provider_that_needs_no_credential_gets_none() -> None:
    told = head(provider=Provider("p", LAB.base_urls, signing=Signing("none")))
    assert b"secret" not in told
    assert b"authorization" not in told


def test_a_list_is_asked_for_without_a_body() -> None:
    told = get_head(LAB, "https://lab.example:8443", SECRET)
    assert told.startswith(b"GET / HTTP/1.1\r\nhost: lab.example:8443\r\n")
    assert b"content-type" not in told
