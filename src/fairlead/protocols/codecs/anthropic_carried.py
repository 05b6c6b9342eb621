"""What other formats keep for their next turn, carried by Anthropic's clients: they bring thoughts back as they came.

A thought of another format, its proof in `signature`; and, as a thought without words before it, what another format
keeps beside a text or a tool call (Gemini refuses a call without the signature of the thought that led to it).
https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#preserving-thinking-blocks
Anthropic itself would refuse such signatures, and never sees them.
"""

import re
from base64 import b64encode
from typing import Any, Literal

import msgspec
from msgspec import Raw

from fairlead.chat import Media, Opaque, Part, Reasoning, Text, ToolUse
from fairlead.protocols.codecs import carried
from fairlead.protocols.envelope import any_value

NAME = "anthropic-messages"
# No signature of Anthropic's has this in it, and hardly any text: sixteen alike are found at once, or not.
_MARK = "~" * 16
_FOUND = _MARK.encode()
_OURS = f"{_MARK}fairlead:"
_encode = msgspec.json.encode


def signature(thought: Reasoning, told: str | None) -> str:
    """What stands as the signature of a thought, of which its format told `told`."""
    if thought.protocol == NAME:
        return told or ""
    if thought.protocol is None or (thought.encrypted is None and not told):
        return ""
    return _OURS + carried.thought(thought.protocol, signature=told, encrypted=thought.encrypted)


def beside(extra: Opaque | None, *, follows: bool = False) -> dict[str, Any] | None:
    """The block that carries what another format keeps beside a text or a call; None if it keeps nothing. See
    `carried.beside`."""
    if extra is None or extra.protocol == NAME:
        return None
    return {"type": "thinking", "thinking": "", "signature": _OURS + carried.beside(extra, follows=follows)}


def upload(media: Media) -> dict[str, Any]:
    """The block that shows an image that a model made: a file that was put into a container, whose id is an address.

    Answers of this format have no images of their own.
    """
    address = media.url or media.file_id or ""
    if media.data is not None or media.text is not None:
        data = media.data or b64encode((media.text or "").encode(errors="replace")).decode()
        mime = _MIME.match(media.mime or "")
        address = f"data:{mime[0] if mime else _USUAL[media.kind]};by={_MARK}fairlead;base64,{data}"
        return {"type": "container_upload", "file_id": address}
    return {"type": "container_upload", "file_id": f"{address}#{_MARK}fairlead"}


_MIME = re.compile(r"[\w.+-]+/[\w.+-]+")
_USUAL = {"image": "image/png", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}
_KINDS: dict[str, Literal["image", "audio", "video"]] = {"image": "image", "audio": "audio", "video": "video"}


def uploaded(file_id: str) -> Media | None:
    """What `upload` told so; None where it is a file of Anthropic's."""
    if _MARK not in file_id:
        return None
    if not file_id.startswith("data:"):
        return Media("image", url=file_id.partition("#")[0])
    facts, _, data = file_id.removeprefix("data:").partition(",")
    mime = facts.partition(";")[0]
    return Media(_KINDS.get(mime.partition("/")[0], "document"), mime, data)


def extra_of(part: Part) -> Opaque | None:
    """What a format keeps beside `part`, of the parts that can have it carried."""
    return part.extra if isinstance(part, Text | ToolUse) else None


def opened(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """See `carried.opened`."""
    for part in parts:
        if type(part) is Reasoning:
            return carried.opened(parts, _seal)
    return parts


def _seal(thought: Reasoning) -> str | None:
    told = thought.signature
    return told.removeprefix(_OURS) if told is not None and told.startswith(_OURS) else None


def carries(content: Raw) -> bool:
    """Whether a client brought something back with an assistant's turn that is another format's, or looks so."""
    return _FOUND in bytes(content)


def without(messages: Raw) -> Raw:
    """`messages` as Anthropic itself may read them."""
    kept = []
    for message in msgspec.json.decode(messages, type=list[dict[str, Raw]]):
        content = message.get("content", Raw(b"null"))
        if _FOUND in bytes(content) and bytes(content).startswith(b"["):
            blocks = [block for block in msgspec.json.decode(content, type=list[Raw]) if not _is_carried(block)]
            message["content"] = Raw(_encode(blocks))
            if not blocks:
                continue
        kept.append(message)
    return Raw(_encode(kept))


def _is_carried(block: Raw) -> bool:
    if _FOUND not in bytes(block):
        return False
    fields = any_value(block)
    if not isinstance(fields, dict):
        return False
    if fields.get("type") == "container_upload":
        return _MARK in str(fields.get("file_id") or "")
    return str(fields.get("signature") or "").startswith(_OURS)
