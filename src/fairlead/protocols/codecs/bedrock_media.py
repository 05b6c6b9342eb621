"""Images, documents, sounds and films as Bedrock's blocks: a format's name, and base64 or an address in S3.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageBlock.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_VideoBlock.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_AudioBlock.html
"""

from base64 import b64encode
from re import sub
from typing import Any

from fairlead.chat import Media
from fairlead.protocols.codecs.bedrock_models import NAME
from fairlead.protocols.codecs.wording import refused
from fairlead.protocols.envelope import any_value

_OFFICE = "application/vnd.openxmlformats-officedocument"
_FORMATS: dict[str, dict[str, str]] = {
    "image": {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"},
    "document": {
        "application/pdf": "pdf", "text/csv": "csv", "application/csv": "csv", "application/msword": "doc",
        f"{_OFFICE}.wordprocessingml.document": "docx", "application/vnd.ms-excel": "xls",
        f"{_OFFICE}.spreadsheetml.sheet": "xlsx", "text/html": "html", "text/plain": "txt", "text/markdown": "md",
        "text/x-markdown": "md",
    },
    "video": {
        "video/x-matroska": "mkv", "video/matroska": "mkv", "video/quicktime": "mov", "video/mp4": "mp4",
        "video/webm": "webm", "video/x-flv": "flv", "video/flv": "flv", "video/mpeg": "mpeg", "video/mpg": "mpg",
        "video/x-ms-wmv": "wmv", "video/wmv": "wmv", "video/3gpp": "three_gp",
    },
    "audio": {
        "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/opus": "opus", "audio/wav": "wav", "audio/x-wav": "wav",
        "audio/wave": "wav", "audio/aac": "aac", "audio/x-aac": "x-aac", "audio/flac": "flac", "audio/x-flac": "flac",
        "audio/mp4": "mp4", "audio/m4a": "m4a", "audio/x-m4a": "m4a", "audio/ogg": "ogg", "audio/webm": "webm",
        "audio/x-matroska": "mka", "audio/pcm": "pcm", "audio/l16": "pcm",
    },
}  # fmt: skip
_MIMES = {kind: {format: mime for mime, format in reversed(formats.items())} for kind, formats in _FORMATS.items()}
# How base64 of a file begins whose type is not told.
_BEGINNINGS = {"iVBORw": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp", "JVBERi": "pdf"}
_USUAL = {"image": "png", "document": "pdf", "video": "mp4", "audio": "wav"}


def block(media: Media, names: dict[str, int]) -> dict[str, Any]:
    """The block that shows `media`. `names` are those that documents have already; it gets this one's."""
    facts: dict[str, Any] = {**fields_beside(media), "format": _format(media), "source": _source(media)}
    if media.kind == "document":
        facts["name"] = _name(media.name, names)
    return {media.kind: facts}


def fields_beside(media: Media) -> dict[str, Any]:
    """How a document shall be read: whether it may be cited, what it is about. Anthropic has the same words for it."""
    if media.extra is None or media.kind != "document" or media.extra.protocol not in (NAME, "anthropic-messages"):
        return {}
    told = any_value(media.extra.raw)
    return {name: told[name] for name in ("context", "citations") if name in told} if isinstance(told, dict) else {}


def mime(kind: str, format: str | None) -> str | None:
    """The type that a format's name stands for."""
    return _MIMES[kind].get(format or "")


def base64(text: str) -> str:
    return b64encode(text.encode(errors="replace")).decode()


def _source(media: Media) -> dict[str, Any]:
    if media.data is not None:
        return {"bytes": media.data}
    if media.text is not None:
        return {"bytes": base64(media.text)}
    if media.url is not None and media.url.startswith("s3://"):
        return {"s3Location": {"uri": media.url}}
    raise refused(media, "files as data or from S3")


_A = {"image": "an image", "document": "a document", "video": "a film", "audio": "a sound"}


def _format(media: Media) -> str:
    told = (media.mime or "").partition(";")[0].strip().lower()
    if told:
        found = _FORMATS[media.kind].get(told)
        if found is None and media.kind == "document" and (media.text is not None or told.startswith("text/")):
            found = "txt"
        if found is not None:
            return found
        known = ", ".join(_MIMES[media.kind])
        raise refused(media, f"{_A[media.kind]} as {known}")
    if media.text is not None:
        return "txt"
    by_name = (media.name or media.url or "").rpartition(".")[2].lower()
    if by_name in _MIMES[media.kind]:
        return by_name
    data = media.data or ""
    begun = next((format for begin, format in _BEGINNINGS.items() if data.startswith(begin)), "")
    return begun if begun in _MIMES[media.kind] else _USUAL[media.kind]


def _name(name: str | None, names: dict[str, int]) -> str:
    """A name as Bedrock allows it: letters, digits, single blanks, hyphens, brackets; no two documents share one."""
    clean = sub(r"\s+", " ", sub(r"[^a-zA-Z0-9\s\-()\[\]]", " ", (name or "")[:190])).strip() or "Document"
    told = clean
    while told in names:
        names[clean] += 1
        told = f"{clean} {names[clean]}"
    names[told] = 1
    return told
