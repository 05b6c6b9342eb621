"""Google's Gemini: `generateContent`. https://ai.google.dev/api/generate-content

The model and whether it streams stand in the address, not in the body, so that who serves it says them:

    POST /v1beta/models/{model}:generateContent                  peek(body, model=model, stream=False)
    POST /v1beta/models/{model}:streamGenerateContent?alt=sse    peek(body, model=model, stream=True)
    POST /v1beta/models/{model}:streamGenerateContent            the same; the answer is a JSON array: `ArrayOfChunks`
    POST /v1beta/models/{model}:countTokens                      decode_count(body), encode_count(tokens)

The codecs stand in `codecs`: `gemini_request` (from clients), `gemini_asking` (to providers), `gemini_answer`,
`gemini_reply` (answers for clients), `gemini_errors`, and what they share.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Media, Request, Response
from fairlead.errors import FairleadError, InvalidRequest, UpstreamError
from fairlead.protocols import (
    CONTENT,
    NO_HEADERS,
    Cutter,
    Encoded,
    Envelope,
    EventDecoder,
    EventEncoder,
    Summary,
    envelope,
    sse,
)
from fairlead.protocols.codecs import (
    gemini_answer,
    gemini_asking,
    gemini_errors,
    gemini_parts,
    gemini_reply,
    gemini_request,
    gemini_spelling,
    token_counts,
)
from fairlead.protocols.codecs.gemini_usage import Told
from fairlead.protocols.envelope import NULL, given, typed

_KNOWN = frozenset(
    "contents tools labels model stream provider models route transforms session_id trace"
    # Those with capitals of their own are taken as they are, and no other spelling is refused.
    " systemInstruction toolConfig generationConfig safetySettings cachedContent serviceTier".split()
)
_OURS = frozenset({"model", "stream"})  # which stand in the address
_encode = msgspec.json.encode


class _Generation(Struct, rename="camel"):
    max_output_tokens: int | None = None


_generation = msgspec.json.Decoder(_Generation)
_items = msgspec.json.Decoder(list[dict[str, Raw]])
_fields = msgspec.json.Decoder(dict[str, Raw])


class Gemini:
    """The format of `/models/{model}:generateContent`: a `ChatProtocol`."""

    name = gemini_parts.NAME
    media_types = ("application/json", "text/event-stream")

    def path(self, model: str, stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{_address(model)}:{method}"

    def cutter(self, max_event_bytes: int) -> Cutter:
        return sse.EventCutter(max_event_bytes)

    # ---- the same format: look, do not translate

    def peek(self, body: bytes, *, model: str | None = None, stream: bool = False) -> Envelope:
        """`model` and `stream` are those of the address. Where it names none, the body's own field "model" counts."""
        fields = gemini_spelling.usual(envelope.split(body, _KNOWN), body)
        named = envelope.read(fields, "model", str)
        contents = fields.get("contents", NULL)
        if given(contents) is None:
            raise InvalidRequest("'contents' is missing: it must be a non-empty array.", param="contents")
        count = len(typed(contents, _items, "contents"))
        if not count:
            raise InvalidRequest("'contents' is empty: it must have at least one content.", param="contents")
        generation = fields.get("generationConfig", NULL)
        told = typed(generation, _generation, "generationConfig") if given(generation) is not None else _Generation()
        return Envelope(
            fields=fields,
            model=model or (_bare(named) if named else None),
            stream=stream or envelope.read(fields, "stream", bool) or False,
            max_tokens=told.max_output_tokens,
            messages=count,
            include_usage=True,
        )

    def characters(self, taken: Envelope) -> int:
        told = [taken.fields.get(name, NULL) for name in ("systemInstruction", "contents")]
        return sum(map(_characters, told))

    def patch(
        self, taken: Envelope, model: str, *, drop: frozenset[str], ask_usage: bool, default_max_tokens: int
    ) -> bytes:
        fields = {name: raw for name, raw in taken.fields.items() if name not in drop and name not in _OURS}
        fields["contents"] = gemini_parts.without_carried(fields["contents"])
        return envelope.join(fields)

    def summary(self, body: bytes) -> Summary:
        found, usage = Summary(), Told()
        for chunk in gemini_answer.whole(body):
            _note(found, chunk, usage)
        return found

    def stream_reader(self) -> "StreamReader":
        return StreamReader()

    def dress(self, body: bytes) -> bytes:
        return body

    # ---- translation

    def decode_request(
        self, body: bytes, *, model: str | None = None, stream: bool = False, taken: Envelope | None = None
    ) -> Request:
        if taken is None:
            taken = self.peek(body, model=model, stream=stream)
        return gemini_request.decode(taken.fields, model=taken.model or "", stream=taken.stream)

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return gemini_asking.encode(request)

    def wants_bytes(self, media: Media, model: str) -> bool:
        """All but what stands at Google's, and films: not all models fetch from elsewhere, and an address needs a type.

        https://ai.google.dev/gemini-api/docs/file-input-methods
        """
        return media.kind != "video" and gemini_parts.is_elsewhere(media.url)

    def decode_response(self, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> Response:
        return gemini_answer.decode(body)

    def encode_response(self, response: Response, request: Request | None = None) -> bytes:
        return gemini_reply.encode(response)

    def event_decoder(self) -> EventDecoder:
        return gemini_answer.Decoder()

    def event_encoder(self, *, include_usage: bool, request: Request | None = None) -> EventEncoder:
        return gemini_reply.Encoder()

    # ---- tokens that are only counted: https://ai.google.dev/api/tokens

    def count_path(self, model: str) -> str:
        return f"{_address(model)}:countTokens"

    def peek_count(self, body: bytes) -> Envelope:
        return self.peek(_unwrapped(body))

    def decode_count(self, body: bytes) -> Request:
        return self.decode_request(_unwrapped(body))

    def encode_count(self, tokens: int) -> bytes:
        return _encode({"totalTokens": tokens})

    def patch_count(self, body: bytes, model: str, *, drop: frozenset[str]) -> bytes:
        fields = {name: raw for name, raw in _fields.decode(body).items() if name not in drop and name not in _OURS}
        for name in ("generateContentRequest", "generate_content_request"):
            if given(fields.get(name, NULL)) is not None:
                own = _address(model).lstrip("/")  # "models/…": it must be that of the address
                fields[name] = Raw(token_counts.patched(bytes(fields[name]), own, drop))
        return envelope.join(fields)

    def encode_count_request(self, request: Request) -> bytes:
        fields = _fields.decode(self.encode_request(request, default_max_tokens=1).body)
        return _encode({"generateContentRequest": {"model": _address(request.model).lstrip("/"), **fields}})

    def decode_counted(self, body: bytes) -> int:
        return token_counts.counted(body, "totalTokens")

    # ---- errors

    def decode_error(self, status: int, body: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS) -> UpstreamError:
        return gemini_errors.decode(status, body)

    def encode_error(self, error: FairleadError) -> bytes:
        return _encode(gemini_errors.encode(error))

    def encode_error_event(self, error: FairleadError) -> bytes:
        return b"data: %b\r\n\r\n" % self.encode_error(error)


def _address(model: str) -> str:
    """A name may say what kind of model it is: "tunedModels/mine"."""
    told = quote(model, safe="/@-._~")
    return f"/{told}" if "/" in told else f"/models/{told}"


def _unwrapped(body: bytes) -> bytes:
    """What shall be counted: contents, or a whole request."""
    fields = envelope.split(body, _KNOWN)
    asked = fields.get("generateContentRequest", fields.get("generate_content_request", NULL))
    return bytes(asked) if given(asked) is not None else body


def _bare(model: str) -> str:
    return model.removeprefix("models/")


class StreamReader:
    """Reads along. Every chunk tells usage, and the last one nothing else that marks it."""

    __slots__ = ("_usage", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self._usage = Told()

    def ordinary(self, event: bytes) -> bool:
        return False  # each has to be looked at

    def see(self, event: bytes) -> int:
        payload = sse.data(event).strip()
        if not payload or payload == b"[DONE]":
            return 0
        chunk = gemini_answer.understood(payload, "an event")
        _note(self.summary, chunk, self._usage)
        candidate = gemini_answer.first(chunk)
        if candidate is None:
            return CONTENT if self.summary.finish_reason is not None else 0
        if candidate.finish_reason:
            return CONTENT
        parts = (candidate.content.parts if candidate.content is not None else None) or ()
        return CONTENT if any(gemini_answer.wire_part(raw).text != "" for raw in parts) else 0


def _note(summary: Summary, chunk: gemini_answer.Chunk, usage: Told) -> None:
    """Write down what `chunk` says of its answer."""
    summary.id = chunk.response_id or summary.id
    summary.model = chunk.model_version or summary.model
    usage.note(chunk.usage_metadata)
    summary.usage = usage.usage
    candidate = gemini_answer.first(chunk)
    told = candidate.finish_reason if candidate is not None else gemini_answer.block_reason(chunk)
    summary.finish_reason = told or summary.finish_reason


class ArrayOfChunks:
    """Turns the events of a stream into the elements of one JSON array, for clients that did not ask for events."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, events: list[bytes]) -> bytes:
        told = []
        for payload in filter(None, map(sse.data, events)):
            told.append((b",\r\n" if self._begun else b"[") + payload)
            self._begun = True
        return b"".join(told)

    def finish(self) -> bytes:
        """The end of the array."""
        return b"]" if self._begun else b"[]"


_NOT_TEXT = frozenset(
    "role id data thoughtSignature thought_signature mimeType mime_type fileUri file_uri language".split()
)


_SIGNATURES = ("thoughtSignature", "thought_signature")


def _characters(raw: Raw) -> int:
    found: Any = typed(raw, _anything, "contents")
    try:
        return _counted(found)
    except RecursionError:
        raise InvalidRequest("'contents' is nested too deeply.", param="contents") from None


_anything = msgspec.json.Decoder()


def _counted(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_counted(item) for item in value)
    if isinstance(value, dict):
        told = sum(_counted(item) for key, item in value.items() if key not in _NOT_TEXT)
        return told + sum(gemini_parts.carried_size(value.get(name)) for name in _SIGNATURES)
    return 0
