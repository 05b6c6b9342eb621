"""Media by an address, and by an address that holds the data."""

import pytest

from fairlead.chat import Media
from fairlead.protocols.codecs.addresses import addressed


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://a.example/b.png", Media("image", url="https://a.example/b.png")),
        ("data:image/png;base64,AAAA", Media("image", "image/png", data="AAAA")),
        ("DATA:Image/PNG;BASE64,AAAA", Media("image", "image/png", data="AAAA")),
        ("data:image/png;name=a.png;base64,AAAA", Media("image", "image/png", data="AAAA")),
        ("data:image/svg+xml,%3Csvg%3E", Media("image", "image/svg+xml", data="PHN2Zz4=")),
        ("data:,hello", Media("image", None, data="aGVsbG8=")),
        ("data:text/plain;charset=utf-8,gr%C3%BCn", Media("image", "text/plain", data="Z3LDvG4=")),
        ("data:;base64,AAAA", Media("image", None, data="AAAA")),
        ("data:image/png;base64", Media("image", "image/png", data="")),
    ],
)
def test_an_address_or_what_it_holds(url: str, found: Media) -> None:
    """https://www.rfc-editor.org/rfc/rfc2397"""
    assert addressed("image", url) == found
