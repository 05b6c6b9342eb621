"""Pictures that a model drew, in chat completions: `images` beside a message, as OpenRouter and its likes tell them.

https://openrouter.ai/docs/features/multimodal/image-generation
"""

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Media, Opaque, Part
from fairlead.protocols.envelope import NULL

NAME = "openai-chat"


class _Address(Struct):
    url: str = ""


class _Image(Struct):
    image_url: _Address | None = None


_raws = msgspec.json.Decoder(list[Raw])
_read_image = msgspec.json.Decoder(_Image)
_DATA = re.compile(r"data:([\w.+/-]+);base64,", re.ASCII)


def decode(told: Raw) -> list[Part]:
    """What stands in `images`; nothing where it is no list. One of a shape that we do not know is Opaque."""
    if told is NULL or bytes(told)[:1] != b"[":
        return []
    try:
        return list(map(_image, _raws.decode(told)))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []


def _image(raw: Raw) -> Part:
    try:
        address = (_read_image.decode(raw).image_url or _Address()).url
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        address = ""
    if not address:
        return Opaque(NAME, Raw(bytes(raw)))
    found = _DATA.match(address)
    return Media("image", found[1], data=address[found.end() :]) if found else Media("image", url=address)


def encode(part: Media) -> dict[str, Any]:
    """One of `images`."""
    address = part.url or f"data:{part.mime or 'image/png'};base64,{part.data or ''}"
    return {"type": "image_url", "image_url": {"url": address}}


def is_shown(part: Part) -> bool:
    """Whether `part` can be told among `images`."""
    return isinstance(part, Media) and part.kind == "image" and (part.data or part.url) is not None
