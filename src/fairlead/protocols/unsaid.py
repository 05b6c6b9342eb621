"""What a request asks for and a format cannot say, by name: `Encoded.dropped`.

A format tells which words it has; what it says of a word in some cases only, it looks after itself.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Media, Opaque, Part, Reasoning, Request, Role, Text, Tool, ToolResult, ToolUse
from fairlead.errors import InvalidRequest
from fairlead.protocols.envelope import any_value

# Settings of a request that not every format has. A penalty of 0 asks for nothing.
_SETTINGS = (
    "temperature", "top_p", "top_k", "seed", "user", "service_tier", "response_format", "thinking",
    "frequency_penalty", "presence_penalty", "stop",
)  # fmt: skip
_PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})
# Fields that name words which a provider of that format has. https://platform.openai.com/docs/guides/prompting and
# https://ai.google.dev/gemini-api/docs/caching
_HOLDS_WORDS = {"openai-responses": ("prompt",), "gemini": ("cachedContent",)}
_WHOLE_CONVERSATIONS = frozenset({"compaction", "compaction_summary", "context_compaction"})  # what was said before
_NOTHING = frozenset({b"null", b"false", b"[]", b"{}", b'""'})


class _Kind(Struct):
    type: str = ""


_kind = msgspec.json.Decoder(_Kind)


def unsaid(request: Request, protocol: str, says: frozenset[str]) -> set[str]:
    """The names of what `request` has and `protocol` cannot say.

    `says`: which it can, of `_SETTINGS`, "parallel_tool_calls" and "summary" (that thoughts shall not be told), and of
    what stands in messages: "name", "cache_control", "is_error", "detail", "reasoning" (thoughts without a signature).
    Its own Opaque is always said.

    Raises InvalidRequest where the conversation itself cannot be said: what another format's provider has of it or has
    sealed, and what a user says besides words.
    """
    found: set[str] = set()
    if request.extra:
        for name, opaque in request.extra.items():
            if opaque.protocol != protocol and name in _HOLDS_WORDS.get(opaque.protocol, ()):
                raise _refused(name, f"'{name}', which names words that another provider has")
        found = foreign(request.extra, protocol)
    lacks = _lacks.get(says)
    for name in _others(says) if lacks is None else lacks:
        value = getattr(request, name)
        if value is not None and value != () and (value or name not in _PENALTIES):
            found.add(name)
    wish = request.thinking
    if wish is not None and wish.summary == "none" and "summary" not in says:
        found.add("thinking.summary")
    if request.tools:
        _of_tools(request, protocol, says, found)
    for message in request.messages:
        if message.name is not None and "name" not in says:
            found.add("name")
        for part in message.parts:
            # Here, so that it costs no call: most parts are texts, and calls of tools, with nothing beside them.
            if type(part) is Text:
                if part.cache is None and part.extra is None and not part.citations:
                    continue
            elif type(part) is ToolUse:
                if part.cache is None and part.extra is None:
                    continue
            elif type(part) is Opaque and part.protocol != protocol:
                _refuse_words(part, message.role)
            if not is_plain(part):
                found.update(of_part(part, protocol, says))
    return found


_lacks: dict[frozenset[str], tuple[str, ...]] = {}  # of the few formats there are


def _others(says: frozenset[str]) -> tuple[str, ...]:
    found = _lacks[says] = tuple([name for name in _SETTINGS if name not in says])
    return found


def _refuse_words(part: Opaque, role: Role) -> None:
    """Raises InvalidRequest if `part`, another format's, is more than what a model's own tools did."""
    name = kind(part, "content")
    if role in ("system", "developer", "user") or name in _WHOLE_CONVERSATIONS:
        raise _refused("messages", f"{name[:60]!r}, which 'messages' has")


def _refused(param: str, what: str) -> InvalidRequest:
    told = f"This model's provider cannot be told {what}."
    return InvalidRequest(told, param=param, code="unsupported_parameter")


def nothing_left() -> InvalidRequest:
    """For a conversation of which a format can say nothing."""
    return InvalidRequest("'messages' says nothing that this model's provider can be told.", param="messages")


def is_plain(part: Part) -> bool:
    """Whether `part` is one that every format can say, as most are."""
    if type(part) is Text:
        return part.cache is None and part.extra is None and not part.citations
    if type(part) is ToolUse:
        return part.cache is None and part.extra is None
    if type(part) is not ToolResult or part.cache is not None or part.is_error:
        return False
    for piece in part.content:
        if type(piece) is Text and piece.cache is None and piece.extra is None and not piece.citations:
            continue
        if not is_plain(piece):
            return False
    return True


def foreign(extra: dict[str, Opaque], protocol: str) -> set[str]:
    """The names of fields only another format knows. What is null, false or empty asks for nothing."""
    return {name for name, opaque in extra.items() if opaque.protocol != protocol and bytes(opaque.raw) not in _NOTHING}


def _of_tools(request: Request, protocol: str, says: frozenset[str], found: set[str]) -> None:
    told = False
    for tool in request.tools:
        if type(tool) is Tool and tool.extra is None and tool.cache is None:
            told = True
            continue
        if isinstance(tool, Opaque):
            if tool.protocol != protocol:
                found.add(kind(tool, "tools"))
                continue
        else:
            found.update(_beside(tool.extra, protocol))
            if tool.cache is not None and "cache_control" not in says:
                found.add("cache_control")
        told = True
    choice = request.tool_choice
    if not told and choice is not None and choice.mode in ("required", "named"):
        found.add("tool_choice")
    if told and request.parallel_tool_calls is not None and "parallel_tool_calls" not in says:
        found.add("parallel_tool_calls")


def of_part(part: Part, protocol: str, says: frozenset[str]) -> Iterator[str]:
    """The names of what cannot be said of `part`."""
    match part:
        case Text(citations=citations, extra=extra):
            if any(citation.raw is None or citation.raw.protocol != protocol for citation in citations):
                yield "citations"
            yield from _beside(extra, protocol)
        case ToolUse(extra=extra):
            yield from _beside(extra, protocol)
        case Media(detail=detail, extra=extra):
            if detail not in (None, "auto") and "detail" not in says:
                yield "detail"
            yield from _beside(extra, protocol)
        case ToolResult(content=content, is_error=is_error):
            if is_error and "is_error" not in says:
                yield "is_error"
            for piece in content:
                yield from of_part(piece, protocol, says)
        case Reasoning(protocol=whose):
            plain = whose is None and bool(part.text)
            if (plain and "reasoning" not in says) or whose not in (None, protocol):
                yield "reasoning"
        case Opaque() if part.protocol != protocol:
            yield kind(part, "content")
    if "cache_control" not in says and getattr(part, "cache", None) is not None:
        yield "cache_control"


def _beside(extra: Opaque | None, protocol: str) -> Iterator[str]:
    """The names of the fields that another format keeps beside a part."""
    if extra is None or extra.protocol == protocol:
        return
    fields = any_value(extra.raw)
    yield from (fields if isinstance(fields, dict) and fields else ("extra",))


def kind(opaque: Opaque, otherwise: str) -> str:
    """What `opaque` calls itself: "web_search_20250305"; `otherwise` if it does not."""
    return _type(opaque.raw) or otherwise


def _type(raw: Raw) -> str:
    try:
        return _kind.decode(raw).type
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
