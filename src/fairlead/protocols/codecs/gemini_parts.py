"""Parts of Gemini's contents: their JSON, and our words for it.

A thought's signature may stand beside any part, and comes back with it on the next turn: parts are not joined over it.
https://ai.google.dev/gemini-api/docs/thought-signatures. What another format keeps of an answer (its signatures, its
own blocks) is carried to clients of this one as such a signature, and known again by its first bytes.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Media, Opaque, Part, Reasoning, Text, ToolResult, ToolUse
from fairlead.errors import Unsayable
from fairlead.protocols.codecs.wording import no_object
from fairlead.protocols.envelope import NULL, any_value, given

NAME = "gemini"

# What a call that the model never made, or that another model made, has in place of a signature; some models refuse a
# call without any. https://ai.google.dev/gemini-api/docs/thought-signatures#faqs
UNSIGNED = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="  # "skip_thought_signature_validator"
IN_RESPONSE = Opaque(NAME, Raw(b'{"inFunctionResponse":true}'))  # of Media that stood within a function's response

_MARK = b"fairlead:"  # nine bytes, so that base64 of it does not depend on what follows
_MARKED = base64.b64encode(_MARK).decode()
_OURS = re.compile(rb'("thought_?[sS]ignature"\s*:\s*)"' + _MARKED.encode() + rb'[^"]*"')
_SIGNATURE = "thoughtSignature"
_encode = msgspec.json.encode


class Blob(Struct, rename="camel"):
    """`inlineData` or `fileData`."""

    mime_type: str | None = None
    data: str | None = None
    file_uri: str | None = None
    display_name: str | None = None


class PartialArg(Struct, rename="camel"):
    """One of `partialArgs`: a value, or the next piece of a text, at a JSON path."""

    json_path: str = "$"
    string_value: str | None = None
    number_value: Raw = NULL
    bool_value: bool | None = None
    will_continue: bool | None = None


class FunctionCall(Struct, rename="camel"):
    name: str | None = None
    id: str | None = None
    args: Raw = NULL
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class FunctionResponse(Struct, rename="camel"):
    name: str | None = None
    id: str | None = None
    response: Raw = NULL
    parts: list[Raw] | None = None


class WirePart(Struct, rename="camel"):
    """A part of any kind, as far as we read it."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: Blob | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None


class PlainPart(WirePart, rename="camel", forbid_unknown_fields=True):
    """A part with nothing beside what we read."""


# What a part is; everything else beside it says more of it.
DATA = frozenset(
    "text thought inlineData fileData functionCall functionResponse executableCode codeExecutionResult toolCall"
    " toolResponse".split()
)
_OWN = DATA - {"text", "thought", "inlineData", "fileData", "functionCall", "functionResponse"}
_NOTHING = frozenset({b"null", b'""'})
_UNSIGNED = frozenset({None, "", UNSIGNED})
_fields = msgspec.json.Decoder(dict[str, Raw])
_carried = msgspec.json.Decoder(Reasoning | Opaque)


def beside(fields: dict[str, Raw]) -> Opaque | None:
    """What stands beside the data of a part that has `fields`."""
    rest = {name: raw for name, raw in fields.items() if name not in DATA and bytes(raw) not in _NOTHING}
    return Opaque(NAME, Raw(_encode(rest))) if rest else None


def is_own(fields: dict[str, Raw]) -> bool:
    """Whether only this format knows what the part is."""
    return not _OWN.isdisjoint(fields) or DATA.isdisjoint(fields)


def fields_of(raw: Raw) -> dict[str, Raw]:
    """`raw` was decoded as a part before."""
    return _fields.decode(raw)


# ---- what is carried for other formats


def sealed(what: Reasoning | Opaque) -> str:
    """A signature that brings `what` back."""
    return base64.b64encode(_MARK + _encode(what)).decode()


def opened(signature: str | None) -> Reasoning | Opaque | None:
    """What `signature` carries; None if it is Gemini's own. Clients may spell base64 with the other alphabet."""
    if signature is None or not signature.startswith(_MARKED):
        return None
    try:
        told = base64.b64decode(signature.replace("-", "+").replace("_", "/") + "==")
        found: Reasoning | Opaque = _carried.decode(told[len(_MARK) :])
        return found
    except (binascii.Error, msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        return Opaque("", NULL)  # nobody's


def carried_size(signature: Any) -> int:
    """How many bytes a signature carries for other formats, whom they may reach as text; 0 if it is Gemini's own."""
    carries = isinstance(signature, str) and signature.startswith(_MARKED)
    return len(signature) * 3 // 4 - len(_MARK) if carries else 0


def without_carried(contents: Raw) -> Raw:
    """`contents` as Gemini itself may read them: what was carried for other formats is no signature of its."""
    if _MARKED.encode() not in bytes(contents):
        return contents
    return Raw(_OURS.sub(rb'\g<1>"' + UNSIGNED.encode() + b'"', bytes(contents)))


# ---- their JSON → our words


def plain_part_of(part: PlainPart, new_id: Callable[[], str]) -> Text | ToolUse | None:
    """What a text or a call is that nobody signed; None if the part is anything else. `new_id`: for a call without."""
    if part.thought_signature not in _UNSIGNED or part.thought:
        return None
    if part.inline_data is not None or part.file_data is not None or part.function_response is not None:
        return None
    call = part.function_call
    if call is not None:
        return ToolUse(call.id or new_id(), call.name or "", arguments(call.args))
    return None if part.text is None else Text(part.text)


def part_of(part: WirePart, raw: Raw, id: str) -> Part:
    """The part that `raw` is, of a request; `id` names a call that has no name of its own. Responses of functions are
    not among them."""
    fields = fields_of(raw)
    if part.thought_signature == UNSIGNED:  # nobody's; where it is needed it is told again
        del fields[_SIGNATURE]
    extra, carried = beside(fields), opened(part.thought_signature)
    if isinstance(carried, Opaque):
        extra = carried
    if is_own(fields):  # some clients leave an empty text out
        return carried if carried is not None and DATA.isdisjoint(fields) else Opaque(NAME, raw)
    if part.function_call is not None:
        call = part.function_call
        return ToolUse(call.id or id, call.name or "", arguments(call.args), extra=extra)
    if part.inline_data is not None or part.file_data is not None:
        media = None if part.thought else media_of(part.inline_data or part.file_data or Blob(), extra)
        return media or Opaque(NAME, raw)
    if part.thought:
        return _thought(part.text or "", part.thought_signature if _SIGNATURE in fields else None, carried)
    if not part.text and extra is not None:
        return carried if isinstance(carried, Opaque) else Opaque(NAME, raw)
    return Text(part.text or "", extra=extra)


def _thought(text: str, signature: str | None, carried: Reasoning | Opaque | None) -> Reasoning:
    if isinstance(carried, Reasoning):
        return msgspec.structs.replace(carried, text=text)
    if carried is not None or not signature:
        return Reasoning(text)
    return Reasoning(text, signature, protocol=NAME)


def arguments(raw: Raw) -> str:
    return "{}" if raw == NULL else bytes(raw).decode(errors="replace")


def media_of(blob: Blob, extra: Opaque | None) -> Media | None:
    """None where nothing says what it is."""
    kind, name = kind_of(blob.mime_type, blob.file_uri), blob.display_name
    if blob.data is not None:
        return Media(kind, blob.mime_type, data=_standard(blob.data), name=name, extra=extra)
    if blob.file_uri is None:
        return None
    # A file that Google has, or any address that it shall fetch.
    if _is_file(blob.file_uri):
        return Media(kind, blob.mime_type, file_id=blob.file_uri, name=name, extra=extra)
    return Media(kind, blob.mime_type, url=blob.file_uri, name=name, extra=extra)


def _standard(data: str) -> str:
    """Base64 as other formats have it: Google's own SDK spells it with the alphabet for addresses."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)


def kind_of(mime: str | None, uri: str | None = None) -> Literal["image", "document", "audio", "video"]:
    family = (mime or _mime_by_name(uri) or "").partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"  # type: ignore[return-value]


def _is_file(uri: str) -> bool:
    """https://ai.google.dev/gemini-api/docs/files, and Cloud Storage's buckets."""
    return uri.startswith(("gs://", "files/")) or ("/v1" in uri and "/files/" in uri and "googleapis.com/" in uri)


def is_elsewhere(url: str | None) -> bool:
    """Whether this is an address of the web that is not Google's own: no file of its, no film of YouTube's."""
    address = url or ""
    return address.lower().startswith(("http://", "https://")) and not (_is_file(address) or _FILM.match(address))


def _is_uri(id: str) -> bool:
    """Whether a file's id may be one of Google's."""
    return "://" in id or id.startswith("files/")


_ENDINGS = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown",
    "html": "text/html", "csv": "text/csv", "json": "application/json", "wav": "audio/wav", "mp3": "audio/mpeg",
    "flac": "audio/flac", "ogg": "audio/ogg", "mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm",
    "mpg": "video/mpeg", "mpeg": "video/mpeg",
}  # fmt: skip
_USUAL = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}


# https://ai.google.dev/gemini-api/docs/video-understanding#youtube
_FILM = re.compile(r"https?://(?:(?:www\.|m\.)?youtube\.com/|youtu\.be/)", re.IGNORECASE)


def _mime_by_name(address: str | None) -> str | None:
    path = re.split(r"[?#]", address or "", maxsplit=1)[0]
    if _FILM.match(path):
        return "video/mp4"
    return _ENDINGS.get(path.rpartition(".")[2].lower())


# ---- our words → their JSON


def said(part: Part, *, carry: bool) -> Iterator[Any]:
    """The parts that tell `part`, of a model's or a user's turn; results of tools are not among them.

    `carry`: it is an answer, and what other formats keep comes along.
    """
    match part:
        case Text(text=text, extra=extra):
            own, after = _beside(extra, carry and bool(text))
            if text or own:
                yield {"text": text, **own}
            yield from after
        case Reasoning():
            yield from _said_thought(part, carry)
        case ToolUse():
            own, after = _beside(part.extra, carry)
            yield {"functionCall": {"id": part.id, "name": part.name, "args": args_of(part, strict=not carry)}, **own}
            yield from after
        case Media(file_id=str(id)) if carry and not _is_uri(id):
            return  # another's file
        case Media():
            own, _ = _beside(part.extra, carry)
            own.pop("inFunctionResponse", None)
            yield {**said_media(part), **own}
        case Opaque(protocol=protocol, raw=raw):
            if protocol == NAME:
                yield raw
            elif carry:
                yield {"text": "", _SIGNATURE: sealed(part)}


def _beside(extra: Opaque | None, carry: bool) -> tuple[dict[str, Any], list[Any]]:
    """The fields beside a part, and whole parts (they have a text) that follow it."""
    if extra is None:
        return {}, []
    if extra.protocol != NAME:
        return ({_SIGNATURE: sealed(extra)} if carry else {}), []
    told = any_value(extra.raw)
    items = [item for item in (told if isinstance(told, list) else [told]) if isinstance(item, dict)]
    own: dict[str, Any] = {}
    for item in items:
        if "text" not in item:
            own |= item
    return own, [item for item in items if "text" in item]


def _said_thought(part: Reasoning, carry: bool) -> Iterator[Any]:
    thought: dict[str, Any] = {"text": part.text, "thought": True}
    if part.protocol in (None, NAME) or (carry and part.signature is None and part.encrypted is None):
        if part.signature and part.protocol == NAME:
            thought[_SIGNATURE] = part.signature
        if part.text or _SIGNATURE in thought:
            yield thought
    elif carry:
        yield {**thought, _SIGNATURE: sealed(msgspec.structs.replace(part, text=""))}


def args_of(call: ToolUse, *, strict: bool) -> Raw:
    """The arguments as JSON. If they are no object: Unsayable if `strict`, else {}."""
    told = call.arguments.strip()
    try:
        raw = told.encode() or b"{}"
        if isinstance(any_value(raw), dict):
            return Raw(raw)
    except UnicodeEncodeError:
        pass
    if strict:
        raise no_object(call)
    return Raw(b"{}")


def said_media(media: Media) -> dict[str, Any]:
    if media.text is not None:
        return {"text": f"{media.name}\n\n{media.text}" if media.name else media.text}
    address = media.file_id or media.url
    mime = media.mime or _mime_by_name(address or media.name) or _USUAL[media.kind]
    name = {"displayName": media.name} if media.name else {}
    if address is None:
        return {"inlineData": {"mimeType": mime, "data": media.data or "", **name}}
    if media.file_id is not None and not _is_uri(address):
        told = f"has {address[:60]!r}: this model's provider does not have the file, so give it as data or address."
        raise Unsayable(told, media)
    return {"fileData": {"mimeType": mime, "fileUri": address, **name}}


def said_result(result: ToolResult, name: str) -> tuple[dict[str, Any], list[Media]]:
    """The part that tells a result of the function `name`, and media that must stand after it.

    Not all models take media within a response, where they stay if they came so.
    https://ai.google.dev/gemini-api/docs/function-calling#multimodal
    """
    told: dict[str, Any]
    texts = [piece.text for piece in result.content if isinstance(piece, Text)]
    if len(texts) == len(result.content):
        told = {"id": result.id, "name": name, "response": _response(texts, result.is_error)}
        return {"functionResponse": told}, []
    media = [piece for piece in result.content if isinstance(piece, Media)]
    texts += [piece.text for piece in media if piece.text is not None]
    shown = [piece for piece in media if piece.text is None]
    told = {"id": result.id, "name": name, "response": _response(texts, result.is_error)}
    within = [said_media(piece) for piece in shown if piece.extra == IN_RESPONSE]
    if within:
        told["parts"] = within
    return {"functionResponse": told}, [piece for piece in shown if piece.extra != IN_RESPONSE]


def _response(texts: list[str], is_error: bool) -> Any:
    """An object: what the tool gave if it is one, else as its "output" or "error".

    https://ai.google.dev/api/caching#FunctionResponse
    """
    if not texts and not is_error:
        return {}
    text = "\n".join(texts)
    if text.lstrip().startswith("{"):
        found = any_value(text.encode(errors="replace"))
        if isinstance(found, dict) and (not is_error or "error" in found):
            return Raw(text.encode(errors="replace"))
    return {"error" if is_error else "output": text}


_single = msgspec.json.Decoder(dict[str, str])


def result_of(told: FunctionResponse, media: list[Media], id: str) -> ToolResult:
    """The inverse of `said_result`."""
    raw, fields = given(told.response), {}
    if raw is not None:
        try:
            fields = _fields.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            fields = {"": raw}
    is_error = given(fields.get("error", NULL)) is not None
    return ToolResult(id, (*_texts(raw, fields), *media), is_error)


def _texts(raw: Raw | None, fields: dict[str, Raw]) -> Iterator[Text]:
    if raw is None or not fields:
        return
    if len(fields) == 1 and not fields.keys().isdisjoint({"output", "error"}):
        (value,) = fields.values()
        text = any_value(value)
        if isinstance(text, str) and not text.lstrip().startswith("{"):
            yield Text(text)
            return
    yield Text(bytes(raw).decode(errors="replace"))
