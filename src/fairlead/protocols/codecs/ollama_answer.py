"""Answers of Ollama's own API, whole and streamed: its JSON as our words.

https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/api/streaming. A stream
is a JSON object on each line; the last one is `done` and has the counts. An error may stand in any line.
https://docs.ollama.com/api/errors
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Event,
    Finish,
    FinishReason,
    Opaque,
    Part,
    Reasoning,
    Response,
    Start,
    Text,
    ToolUse,
    Usage,
)
from fairlead.errors import UpstreamBroken, UpstreamError, from_status, masked
from fairlead.protocols import counting
from fairlead.protocols.codecs.ollama_request import CHAT, GENERATE
from fairlead.protocols.codecs.telling import Telling
from fairlead.protocols.codecs.wording import new_call_id
from fairlead.protocols.envelope import NULL, any_value, given

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_usage = counting.COUNTING[CHAT].usage  # `/generate` counts alike
_encode = msgspec.json.encode


class _Function(Struct):
    name: str | None = None
    arguments: Raw = NULL


class _Call(Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(Struct):
    """A whole answer, or a line of one: of a chat with a message, of a generation with its fields at the top."""

    model: str | None = None
    created_at: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    context: Raw = NULL
    done: bool | None = None
    done_reason: str | None = None
    error: Raw = NULL


_line = msgspec.json.Decoder(_Line)
_text = msgspec.json.Decoder(str)


def _understood(body: bytes, what: str) -> _Line:
    """Raises UpstreamBroken where `body` is none, another UpstreamError where it tells one."""
    try:
        line = _line.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"{what} is not one of Ollama's ({error})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UpstreamBroken(f"{what} is not JSON") from None
    if given(line.error) is not None:
        raise _within(any_value(body))
    return line


def _said(line: _Line) -> _Message:
    return line.message or _Message(line.response, line.thinking, line.tool_calls)


def _tool_use(call: _Call) -> ToolUse:
    function = call.function or _Function()
    if not function.name:
        raise UpstreamBroken("it called a tool without a name")
    return ToolUse(call.id or new_call_id(), function.name, _arguments(function.arguments))


def _arguments(raw: Raw) -> str:
    """JSON text; servers that imitate it may tell text where an object belongs."""
    told = bytes(given(raw) or b"{}")
    if told.startswith(b'"'):
        try:
            return _text.decode(told).strip() or "{}"
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamBroken("the arguments of a call are not UTF-8") from None
    return told.decode(errors="replace")


def _reason(line: _Line, *, calls: bool) -> FinishReason:
    if line.done_reason == "length":
        return "length"
    return "tool_use" if calls else _REASONS.get(line.done_reason or "", "stop")


def _seconds(time: str | None) -> int:
    """Epoch seconds of an RFC 3339 time, 0 if it is none."""
    try:
        return max(int(datetime.fromisoformat(time or "").timestamp()), 0)
    except (ValueError, OverflowError):
        return 0


def _context(line: _Line) -> Opaque | None:
    """What `/generate` wants back with the next prompt."""
    if bytes(line.context)[:1] != b"[":
        return None
    return Opaque(GENERATE, Raw(b'{"context":%b}' % bytes(line.context)))


# ---- errors


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What an answer of `status` with `body` means; never raises."""
    return from_status(status, _words(any_value(body)))


def _within(told: Any) -> UpstreamError:
    """What an error in an answer of status 200 means; a server that asks another one tells that one's status."""
    fields = told if isinstance(told, dict) else {}
    for name in ("status_code", "StatusCode", "status"):
        status = fields.get(name)
        if isinstance(status, int) and 400 <= status < 600 and status not in (500, 502):
            return from_status(status, _words(told))
    words = masked(_words(told))
    return UpstreamBroken(f"it ended its answer with an error{': ' if words else ''}{words}")


def _words(told: Any) -> str:
    error = told.get("error") if isinstance(told, dict) else told
    if isinstance(error, dict):
        error = error.get("message") or error.get("error")
    return error if isinstance(error, str) else ""


# ---- whole answers


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    answer = _understood(body, "its answer")
    if answer.message is None and answer.response is None:
        raise UpstreamBroken("its answer has no message")
    said = _said(answer)
    return Response(
        id="",
        model=answer.model or "",
        parts=tuple(_parts(said, _context(answer))),
        finish_reason=_reason(answer, calls=bool(said.tool_calls)) if answer.done is not False else None,
        usage=_usage(Raw(body)),
        created=_seconds(answer.created_at),
        raw_reason=answer.done_reason or None,
    )


def _parts(said: _Message, context: Opaque | None) -> Iterator[Part]:
    if said.thinking:
        yield Reasoning(said.thinking)
    if said.content:
        yield Text(said.content, extra=context)
    for call in said.tool_calls or ():
        yield _tool_use(call)


# ---- streams


class Decoder:
    """Lines → events."""

    held = 0  # each line is told at once

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._parts = Telling()
        self._started = self._finished = self._called = False

    def __call__(self, event: bytes) -> list[Event]:
        """The events that one line tells; b"" is the end of the stream."""
        if not event:
            if not self._finished:
                raise UpstreamBroken("its answer was cut off", outcome_unknown=True)
            return []
        if self._finished or not event.strip():
            return []
        return list(self._told(_understood(event, "an event"), event))

    def _told(self, line: _Line, event: bytes) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield Start("", line.model or "", _seconds(line.created_at))
        said = _said(line)
        yield from self._parts.more(Reasoning, said.thinking or "")
        yield from self._parts.more(Text, said.content or "")
        if line.done:
            yield from self._parts.beside(extra=_context(line))
        for call in said.tool_calls or ():
            self._called = True
            yield from self._parts.call(_tool_use(call))
        if line.done:
            self._finished = True
            self.usage = _usage(Raw(event)) or self.usage
            yield from self._parts.close()
            yield Finish(_reason(line, calls=self._called), self.usage, raw_reason=line.done_reason or None)
