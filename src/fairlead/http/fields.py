"""Headers that come in more than one line: which may, and what they mean then.

A name to value dict keeps the last line, another server perhaps the first. RFC 9110 §5.3 lets only lists be sent in
several lines, https://www.rfc-editor.org/rfc/rfc9110#section-5.3.
"""

from collections.abc import Sequence

from fairlead.errors import InvalidRequest
from fairlead.http.asgi import Header

# Of what decides anything here. Host, Content-Length, Transfer-Encoding and Expect are the connection's.
_ONCE = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"content-type",
        b"content-encoding",
        b"anthropic-version",
        b"origin",
    }
)
_LISTS = frozenset({b"anthropic-beta", b"openai-beta", b"tracestate"})


def settle(found: dict[bytes, bytes], lines: Sequence[Header]) -> None:
    """Make `found`, which is `dict(lines)`, mean what all the lines together do.

    Raises InvalidRequest for two lines of what may come once, even if they are equal."""
    if len(found) == len(lines):
        return
    several: dict[bytes, list[bytes]] = {}
    for name, value in lines:
        several.setdefault(name, []).append(value)
    for name, values in several.items():
        if len(values) == 1:
            continue
        if name in _ONCE:
            raise InvalidRequest(f"The header '{name.decode()}' came {len(values)} times. Send it once.")
        if name in _LISTS:
            found[name] = b", ".join(values)
    if len(several.get(b"traceparent", ())) > 1:  # of two traces neither goes on, https://www.w3.org/TR/trace-context/
        del found[b"traceparent"]
