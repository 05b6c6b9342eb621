"""Media that clients name by an address, which may hold the data itself: https://www.rfc-editor.org/rfc/rfc2397."""

from base64 import b64encode
from typing import Any
from urllib.parse import unquote_to_bytes

from fairlead.chat import Media


def is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def addressed(kind: Any, url: str, **facts: Any) -> Media:
    """What stands at `url`, or in it."""
    if not is_data(url):
        return Media(kind, url=url, **facts)
    head, _, data = url[5:].partition(",")
    mime, *parameters = head.split(";")
    if not parameters or parameters[-1].strip().lower() != "base64":
        data = b64encode(unquote_to_bytes(data)).decode()
    return Media(kind, mime.strip().lower() or None, data=data, **facts)
