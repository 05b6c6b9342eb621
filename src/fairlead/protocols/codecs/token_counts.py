"""What endpoints take and tell that count the tokens of a request and give no answer."""

from collections.abc import Collection

import msgspec
from msgspec import Raw

from fairlead.errors import UpstreamBroken

_fields = msgspec.json.Decoder(dict[str, Raw])
_number = msgspec.json.Decoder(int)
_encode = msgspec.json.encode


def only(body: bytes, names: Collection[str]) -> dict[str, Raw]:
    """Of the fields of a request's body those that have to do with how long it is."""
    return {name: raw for name, raw in _fields.decode(body).items() if name in names}


def patched(body: bytes, model: str, drop: Collection[str]) -> bytes:
    """`body` with another model, and without the fields `drop`."""
    kept = {name: raw for name, raw in _fields.decode(body).items() if name not in drop}
    return _encode({**kept, "model": model})


def counted(body: bytes, name: str) -> int:
    """The number that a provider tells as `name`. Raises UpstreamBroken."""
    try:
        tokens = _number.decode(_fields.decode(body)[name])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, KeyError):
        tokens = -1
    if tokens < 0:
        raise UpstreamBroken("its answer is no count of tokens")
    return tokens
