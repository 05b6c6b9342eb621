"""What formats that only providers speak have in common when they spell our words."""

import base64
import binascii
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Raw

from fairlead.chat import Media, Message, Opaque, Part, Request, Text, Thinking, Tool, ToolResult, ToolUse
from fairlead.errors import InvalidRequest, Unsayable
from fairlead.protocols.envelope import any_value, given

_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')


def unmarked(text: str, marks: re.Pattern[str], *, opens: bool = False) -> str:
    """`text`, as it may stand in a prompt whose turns begin with `marks`: a space behind each makes it none. Nobody
    speaks for another by what stands in a text. `opens`: the prompt, or a line of it, begins with it."""
    begin = "\n\n" if opens else ""
    return marks.sub(r"\g<0> ", begin + text).removeprefix(begin)


def own_fields(extra: Mapping[str, Opaque], protocol: str, names: Collection[str]) -> dict[str, Raw]:
    """The fields that are `protocol`'s, and those of these `names`, which no other format has, whoever spelt them."""
    return {
        name: opaque.raw
        for name, opaque in extra.items()
        if (opaque.protocol == protocol or name in names) and given(opaque.raw) is not None
    }


def split_off_system(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """The instructions that lead, as one text, and everything after them. Of instructions alone, the last are said as
    the user's."""
    texts: list[str] = []
    for index, message in enumerate(messages):
        if message.role not in ("system", "developer") or index == len(messages) - 1:
            return "\n\n".join(texts), list(messages[index:])
        for part in message.parts:
            if isinstance(part, Media) and document_text(part) is None:
                raise refused(part, "text as instructions")
        texts += [text for text in (text_of(message.parts),) if text]
    return "", []


def results_first(messages: Iterable[Message]) -> Iterable[Message]:
    """The messages; results of tools that share one with words stand in a message of their own before it."""
    for message in messages:
        results = tuple([part for part in message.parts if isinstance(part, ToolResult)])
        if not results and message.parts and message.role != "tool":
            yield message
            continue
        others = tuple([part for part in message.parts if not isinstance(part, ToolResult)])
        if results:
            yield Message("tool", results)
        if others:
            yield Message("user" if message.role == "tool" else message.role, others, message.name)


def text_of(parts: Sequence[Part], between: str = "\n\n") -> str:
    """The words of `parts`, and those of their documents."""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return between.join(text for text in map(_text, parts) if text)


def _text(part: Part) -> str:
    if isinstance(part, Text):
        return part.text
    return document_text(part) or "" if isinstance(part, Media) else ""


def document_text(media: Media) -> str | None:
    """A document that is text, after its title; None if it is none."""
    if media.kind != "document":
        return None
    text = media.text
    mime = (media.mime or "").partition(";")[0]
    if text is None and media.data is not None and (mime.startswith("text/") or mime == "application/json"):
        try:
            text = base64.b64decode(media.data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    if text is None:
        return None
    return f"{media.name}\n\n{text}" if media.name else text


def refused(media: Media, taken: str) -> Unsayable:
    """For a message that is more than a wish. `taken`: what the format takes instead."""
    how = "as a file's id" if media.file_id is not None else "by its address" if media.url is not None else "as data"
    kind = {"image": "an image", "audio": "a sound", "video": "a film"}.get(media.kind, "a document")
    shown = f" ({media.mime[:60]})" if media.mime else ""
    return Unsayable(f"has {kind} {how}{shown}; this model's provider takes {taken}.", media)


def is_of_the_web(media: Media) -> bool:
    """Whether `media` stands at an address that anybody may fetch from, so that its bytes can be had."""
    return media.url is not None and media.url.lower().startswith(("http://", "https://"))


def data_address(media: Media) -> str:
    """`data:` with the content of an image."""
    return f"data:{media.mime or 'image/png'};base64,{media.data or ''}"


SMALLEST_BUDGET = 1024  # of thought, at Claude


def within(budget: int, max_tokens: int | None) -> int | None:
    """A budget of thought that leaves something to say where all of it must stay within `max_tokens`, as OpenAI, Google
    and Anthropic have it. None: there is no room for a thought."""
    if max_tokens is None or budget < max_tokens:
        return budget
    budget = max_tokens * 4 // 5
    return budget if budget >= SMALLEST_BUDGET else None


def display(wish: Thinking) -> dict[str, Any]:
    """Whether Claude shall tell its thoughts. Models that take budgets tell them unasked, and may not know the word.

    https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#controlling-thinking-display
    """
    if wish.summary == "none":
        return {"display": "omitted"}
    return {"display": "summarized"} if wish.adaptive and wish.summary not in (None, "default") else {}


def arguments_of(call: ToolUse) -> Raw:
    """The arguments as a JSON object. Raises Unsayable if they are none."""
    try:
        told = call.arguments.strip().encode() or b"{}"
        if isinstance(any_value(told), dict):
            return Raw(told)
    except UnicodeEncodeError:
        pass
    raise no_object(call)


def no_object(call: ToolUse) -> Unsayable:
    """For arguments that are none."""
    return Unsayable(f"has the call {call.id[:60]!r} of {call.name[:60]!r}: its arguments must be a JSON object.", call)


def schema_of(tool: Tool) -> Raw:
    """The schema of a tool's arguments, of no arguments if it has none. Raises InvalidRequest if it is no object."""
    if tool.schema is None:
        return _NO_PARAMETERS
    if bytes(tool.schema).lstrip()[:1] != b"{":
        told = f"The parameters of the tool {tool.name[:60]!r} must be a JSON schema of an object."
        raise InvalidRequest(told, param="tools")
    return tool.schema


def offered(request: Request) -> list[Tool]:
    """The functions that the model may call: of a named one, only that; of "none", all the same."""
    tools = [tool for tool in request.tools if isinstance(tool, Tool)]
    choice = request.tool_choice
    if choice is None or choice.mode != "named":
        return tools
    named = [tool for tool in tools if tool.name == choice.name]
    return named or tools


def calls_of(message: Message) -> dict[str, ToolUse]:
    """The calls of tools, by id. Ids may come again in later turns."""
    return {part.id: part for part in message.parts if isinstance(part, ToolUse)}


def function(tool: Tool) -> dict[str, Any]:
    """A function as OpenAI declares it, and others after it."""
    told: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        told["description"] = tool.description
    return {"type": "function", "function": {**told, "parameters": schema_of(tool)}}


def new_call_id() -> str:
    """For a format without ids."""
    return f"call_{os.urandom(12).hex()}"
