"""The arguments of a call that come in pieces, each at a JSON path.

https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc
"""

import re
from io import StringIO
from itertools import pairwise
from typing import Any

import msgspec

from fairlead.errors import UpstreamBroken
from fairlead.protocols.codecs.gemini_parts import FunctionCall, PartialArg
from fairlead.protocols.envelope import any_value, given

# A name after a dot, a number or a quoted name within brackets. https://www.rfc-editor.org/rfc/rfc9535
_STEP = re.compile(r"""\.([^.\[\]'"]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DEEPEST = 200
_STEP_BYTES = 300


class _List(dict[int, Any]):
    """An array, by its indices: they may come in any order."""


class Arguments:
    """What the pieces tell so far."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self.held = 0  # bytes, roughly

    def add(self, call: FunctionCall, size: int) -> None:
        """Raises UpstreamBroken for a path that is none, or that goes through a value."""
        self.held += size
        told = any_value(call.args) if given(call.args) is not None else None
        if isinstance(told, dict):
            self._root |= told
        for piece in call.partial_args or ():
            self._put(piece)

    def _put(self, piece: PartialArg) -> None:
        steps = _steps(piece.json_path)
        self.held += _STEP_BYTES * len(steps)
        node: Any = self._root
        for step, following in pairwise(steps):
            node = _inner(node, step, _List if isinstance(following, int) else dict)
        last = steps[-1]
        _check(node, last)
        if piece.string_value is None:
            node[last] = _value(piece)
            return
        text = node.get(last)
        if not isinstance(text, StringIO):
            text = node[last] = StringIO()
        text.write(piece.string_value)

    def whole(self) -> str:
        """The JSON of an object."""
        try:
            return msgspec.json.encode(_plain(self._root)).decode()
        except (RecursionError, UnicodeEncodeError):
            raise UpstreamBroken("the arguments of a call cannot be read") from None


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1
    while path[:1] == "$" and at < len(path) and len(steps) < _DEEPEST:
        step = _STEP.match(path, at)
        if step is None:
            break
        at = step.end()
        name, index, single, double = step.groups()
        quoted = single if single is not None else double
        steps.append(int(index) if index is not None else name if quoted is None else _ESCAPED.sub(_letter, quoted))
    if not steps or at != len(path):
        raise UpstreamBroken("an argument of a call stands at a path that is none")
    return steps


def _letter(found: re.Match[str]) -> str:
    told = found[1]
    if len(told) > 1:
        letter = chr(int(told[1:], 16))
        return letter if letter.isprintable() else "\ufffd"
    return _LETTERS.get(told, told)


def _inner(node: Any, step: str | int, kind: type[Any]) -> Any:
    """What stands at `step`, an object or an array of `kind` if nothing does."""
    _check(node, step)
    found = node.get(step)
    if found is None:
        found = node[step] = kind()
    elif isinstance(found, list):
        found = node[step] = _List(enumerate(found))
    return found


def _check(node: Any, step: str | int) -> None:
    if not isinstance(node, dict) or isinstance(node, _List) != isinstance(step, int):
        raise UpstreamBroken("an argument of a call stands at a path that leads nowhere")


def _value(piece: PartialArg) -> Any:
    number = given(piece.number_value)
    if number is None:
        return piece.bool_value  # None is null: `nullValue`
    value = any_value(number)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _plain(node: Any) -> Any:
    if isinstance(node, StringIO):
        return node.getvalue()
    if isinstance(node, _List):
        return [_plain(node[index]) for index in sorted(node)]
    if isinstance(node, dict):
        return {name: _plain(value) for name, value in node.items()}
    return node
