"""The wire formats the simulator speaks as a vendor does: requests, answers, and the vendor's own errors."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Event, Finish, Message, PartDelta, Request, Response, Start, Text, Usage
from fairlead.errors import InvalidRequest
from fairlead.protocols import Envelope, sse
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.providers.simulator.models import CREATED, Wire

_encode = msgspec.json.Encoder().encode


class Dialect(Protocol):
    """One format, from the provider's side."""

    name: Wire
    broken_event: bytes  # what `malformed` sends

    def decode(self, body: bytes) -> Request:
        """Raises InvalidRequest, where the vendor would refuse."""
        ...

    def encode(self, response: Response) -> bytes: ...

    def encoder(self, request: Request) -> Callable[[Event], bytes]: ...

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        """The vendor's error body for `status`."""
        ...

    def error_event(self) -> bytes:
        """The vendor's error event inside a stream that began well."""
        ...

    def is_end(self, event: bytes) -> bool:
        """Whether `event` is the format's end mark."""
        ...

    def models(self, names: Iterable[str]) -> bytes: ...


# ---- OpenAI

_OPENAI_ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"), 402: ("insufficient_quota", "insufficient_quota"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"), 429: ("requests", "rate_limit_exceeded"),
}  # fmt: skip


class OpenAIDialect:
    """What the two formats of OpenAI share."""

    broken_event = b'data: {"id":"broken","choices":[{"index":0,"delta":{"content":\n\n'

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        kind, usual = _OPENAI_ERRORS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
        return _encode({"error": {"message": message, "type": kind, "param": param, "code": code or usual}})

    def error_event(self) -> bytes:
        return sse.event(self.error(500, "The server had an error while processing your request. Sorry about that!"))

    def is_end(self, event: bytes) -> bool:
        return event == b"data: [DONE]\n\n"

    def models(self, names: Iterable[str]) -> bytes:
        facts = {"object": "model", "created": CREATED, "owned_by": "fairlead"}
        return _encode({"object": "list", "data": [{"id": name, **facts} for name in names]})


class Chat(OpenAIDialect):
    """OpenAI's chat completions."""

    name: Wire = "openai-chat"
    _wire = OpenAIChat()

    def decode(self, body: bytes) -> Request:
        _checked(self._wire.peek(body))
        return self._wire.decode_request(body)

    def encode(self, response: Response) -> bytes:
        return self._wire.encode_response(response)

    def encoder(self, request: Request) -> Callable[[Event], bytes]:
        return self._wire.event_encoder(include_usage=request.include_usage)


class _Asked(Struct):
    """A request for a completion, as far as the simulator reads it."""

    prompt: str | list[str | int | list[int]]
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    best_of: int | None = None


_asked = msgspec.json.Decoder(_Asked)


class Completions(OpenAIDialect):
    """OpenAI's older completions; a prompt is what the user said, tokens are shown as their numbers."""

    name: Wire = "openai-completions"
    _wire = OpenAICompletions()

    def decode(self, body: bytes) -> Request:
        envelope = _checked(self._wire.peek(body))
        try:
            told = _asked.decode(body)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error)) from None
        if told.n not in (None, 1):
            raise InvalidRequest("The simulator gives one choice: 'n' must be 1.", param="n")
        return Request(
            model=envelope.model or "",
            messages=(Message("user", (Text(_prompt(told.prompt)),)),),
            max_tokens=told.max_tokens,
            stop=(told.stop,) if isinstance(told.stop, str) else tuple(told.stop or ()),
            stream=envelope.stream,
            include_usage=envelope.include_usage,
        )

    def encode(self, response: Response) -> bytes:
        text = "".join(part.text for part in response.parts if isinstance(part, Text))
        choice = _choice(text, response.finish_reason)
        facts = _facts(response.id, response.model, response.created)
        return _encode({**facts, "choices": [choice], "usage": _usage(response.usage)})

    def encoder(self, request: Request) -> Callable[[Event], bytes]:
        return _CompletionEncoder(include_usage=request.include_usage)


class _CompletionEncoder:
    """Events → chunks of a completion."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._facts: dict[str, Any] = {}

    def __call__(self, event: Event) -> bytes:
        match event:
            case Start(id=id, model=model, created=created):
                self._facts = _facts(id, model, created)
            case PartDelta(text=text) if text:
                return self._told([_choice(text, None)])
            case Finish(reason=reason, usage=usage):
                told = self._told([_choice("", reason)])
                if self._include_usage:
                    told += self._told([], usage)
                return told + b"data: [DONE]\n\n"
        return b""

    def _told(self, choices: list[dict[str, Any]], usage: Usage | None = None) -> bytes:
        more = {"usage": usage and _usage(usage)} if self._include_usage else {}
        return sse.event(_encode({**self._facts, "choices": choices, **more}))


def _checked(envelope: Envelope) -> Envelope:
    if not envelope.model:
        raise InvalidRequest("you must provide a model parameter", param="model")
    return envelope


def _prompt(prompt: str | list[str | int | list[int]]) -> str:
    if isinstance(prompt, str):
        return prompt
    return " ".join(_prompt(list(one)) if isinstance(one, list) else str(one) for one in prompt)


def _facts(id: str, model: str, created: int) -> dict[str, Any]:
    return {"id": id, "object": "text_completion", "created": created, "model": model}


def _choice(text: str, reason: str | None) -> dict[str, Any]:
    told = reason and ("length" if reason == "length" else "stop")
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": told}


def _usage(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}


# ---- Anthropic

_ANTHROPIC_ERRORS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


class Messages:
    """Anthropic's messages."""

    name: Wire = "anthropic-messages"
    broken_event = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{\n\n'
    _wire = AnthropicMessages()

    def decode(self, body: bytes) -> Request:
        envelope = self._wire.peek(body)
        if not envelope.model:
            raise InvalidRequest("model: Field required", param="model")
        if envelope.max_tokens is None:
            raise InvalidRequest("max_tokens: Field required", param="max_tokens")
        return self._wire.decode_request(body)

    def encode(self, response: Response) -> bytes:
        return self._wire.encode_response(response)

    def encoder(self, request: Request) -> Callable[[Event], bytes]:
        return self._wire.event_encoder(include_usage=True)

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        kind = _ANTHROPIC_ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return _encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sim"})

    def error_event(self) -> bytes:
        return sse.event(self.error(529, "Overloaded"), b"error")

    def is_end(self, event: bytes) -> bool:
        return event.startswith(b"event: message_stop\n")

    def models(self, names: Iterable[str]) -> bytes:
        facts = {"type": "model", "created_at": "2026-01-01T00:00:00Z"}
        rows = [{"id": name, "display_name": f"Simulator {name}", **facts} for name in names]
        return _encode({"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]})


CHAT, MESSAGES, COMPLETIONS = Chat(), Messages(), Completions()
BY_PATH: dict[str, Dialect] = {"/chat/completions": CHAT, "/messages": MESSAGES, "/completions": COMPLETIONS}


def without_usage(told: bytes) -> bytes:
    """A body or the data of an event, without the usage in it."""
    try:
        fields = msgspec.json.decode(told, type=dict[str, Raw])
    except msgspec.DecodeError:
        return told
    fields.pop("usage", None)
    if "message" in fields:
        fields["message"] = Raw(without_usage(bytes(fields["message"])))
    return _encode(fields)
