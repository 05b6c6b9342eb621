"""Items of the Responses API, which conversations and answers are made of: their JSON, and the parts they are.

https://platform.openai.com/docs/api-reference/responses/object, `output`, and …/responses/create, `input`. An item
that only this format knows is Opaque, whole.

    message             Text for each of its contents, with the message's `phase` beside it
    reasoning           Reasoning: what is told of it, and apart from that what is encrypted; its id is the signature
    function_call       ToolUse
    custom_tool_call    ToolUse, whose arguments are {"input": …}
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import Citation, Opaque, Part, Reasoning, Text, ToolUse
from fairlead.protocols.codecs.responses_carried import NAME
from fairlead.protocols.envelope import NULL, any_value

CUSTOM = "custom_tool_call"
SEALED = "reasoning.encrypted_content"  # of what an answer may be asked to include
_RAW_THOUGHT = "reasoning_text:"  # how the signature of a thought begins that was told itself, not as a summary
BETWEEN = "\n\n"  # pieces of a thought
CUSTOM_OPENS, CUSTOM_ENDS = '{"input":"', '"}'  # the arguments that a custom tool's input is
_encode = msgspec.json.encode


class Kind(Struct):
    """What an item or a content calls itself."""

    type: str | None = None
    role: str | None = None
    id: str | None = None


class Content(Struct):
    """One content of a message, as far as we read it."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    annotations: list[Raw] | None = None
    logprobs: Raw = NULL
    prompt_cache_breakpoint: Raw = NULL


class _Told(Struct):
    text: str | None = None


class Thought(Struct):
    """An item of type reasoning."""

    id: str | None = None
    summary: list[_Told] | None = None
    content: list[_Told] | None = None
    encrypted_content: str | None = None


class Call(Struct):
    """An item of type function_call or custom_tool_call."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Raw = NULL
    input: Raw = NULL
    namespace: Raw = NULL
    caller: Raw = NULL


class _Annotation(Struct):
    type: str | None = None
    url: str | None = None
    title: str | None = None
    filename: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Beside(Struct):
    """What stands beside a text or a call, of this format."""

    phase: Raw = NULL
    logprobs: Raw = NULL
    prompt_cache_breakpoint: Raw = NULL
    custom_tool_call: Raw = NULL
    namespace: Raw = NULL
    caller: Raw = NULL


kind = msgspec.json.Decoder(Kind)
content = msgspec.json.Decoder(Content)
thought = msgspec.json.Decoder(Thought)
call = msgspec.json.Decoder(Call)
_annotation = msgspec.json.Decoder(_Annotation)
_BESIDE = msgspec.structs.fields(_Beside)


# ---- beside


def extra(**fields: Any) -> Opaque | None:
    """What this format keeps beside a part: those of `fields` that are given."""
    told = {name: value for name, value in fields.items() if value is not None and bytes_of(value) != b"null"}
    return Opaque(NAME, Raw(_encode(told))) if told else None


def bytes_of(value: Any) -> bytes:
    return bytes(value) if isinstance(value, Raw) else b""


def first(raw: Raw) -> bytes:
    """The first byte of JSON, which tells what it is."""
    return bytes(memoryview(raw)[:1])


def gathered(told: Iterable[Opaque | None]) -> Opaque | None:
    """What stands beside a part altogether: of several, one array, as `chat.fold` makes it."""
    found = [each for each in told if each is not None]
    return Opaque(NAME, Raw(_encode([each.raw for each in found]))) if len(found) > 1 else found[0] if found else None


def beside(held: Opaque | None) -> dict[str, Any]:
    """The fields of this format that stand beside a part; {} where there are none."""
    if held is None or held.protocol != NAME:
        return {}
    value = any_value(held.raw)
    found: dict[str, Any] = {}
    for each in value if isinstance(value, list) else (value,):
        if isinstance(each, dict):
            found.update(each)
    return {field.name: found[field.name] for field in _BESIDE if found.get(field.name) is not None}


def kept(held: Opaque | None) -> dict[str, Any]:
    """All the fields of this format that stand beside a tool."""
    if held is None or held.protocol != NAME:
        return {}
    value = any_value(held.raw)
    return value if isinstance(value, dict) else {}


# ---- texts


def texts(contents: Iterable[Raw], phase: str | None) -> Iterator[Text | Opaque]:
    """The texts of an answer's message; a content that we do not understand is Opaque."""
    for raw in contents:
        try:
            found = content.decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            yield Opaque(NAME, owned(raw))
            continue
        text = text_of(found, phase)
        if text is None:
            yield Opaque(NAME, owned(raw))
        elif text.text or text.citations or found.type == "refusal":
            yield text


def text_of(found: Content, phase: str | None) -> Text | None:
    """The text that a content is, None if it is none."""
    match found.type:
        case "output_text" | "input_text" | "text" if found.text is not None:
            mark = found.prompt_cache_breakpoint
            beside_it = extra(phase=phase, prompt_cache_breakpoint=mark)
            cache = Raw(b'{"type":"ephemeral"}') if first(mark) == b"{" else None
            citations = tuple(map(citation, found.annotations or ()))
            return Text(found.text, cache, citations, gathered([beside_it, logprobs(found.logprobs)]))
        case "refusal" if found.refusal is not None:
            return Text(found.refusal, extra=extra(phase=phase), refusal=True)
    return None


def logprobs(raw: Raw) -> Opaque | None:
    return extra(logprobs=raw) if first(raw) == b"[" and bytes(raw) != b"[]" else None


def citation(raw: Raw) -> Citation:
    raw = owned(raw)
    try:
        found = _annotation.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Citation(raw=Opaque(NAME, raw))
    start, end = found.start_index, found.end_index
    if start is None or end is None or not 0 <= start <= end:
        start = end = None
    return Citation(found.url, found.title or found.filename, None, start, end, Opaque(NAME, raw))


def owned(raw: Raw) -> Raw:
    """`raw` for itself: it outlives the answer it stood in."""
    return Raw(bytes(raw))


def annotation(told: Citation, length: int) -> Any:
    """What tells `told` of a text of `length` characters; None if there is nothing to tell.

    Without an address it is a document that the client gave, told as a file is: by its name.
    """
    if told.raw is not None and told.raw.protocol == NAME:
        return told.raw.raw
    placed = told.start is not None and told.end is not None
    if told.url is None:
        if told.title is None and told.quote is None:
            return None
        index = told.end if placed else length
        return {"type": "file_citation", "file_id": "", "filename": told.title or "document", "index": index}
    return {
        "type": "url_citation",
        "start_index": told.start if placed else 0,
        "end_index": told.end if placed else length,
        "url": told.url,
        "title": told.title or "",
    }


def encoded_text(text: Text) -> dict[str, Any]:
    """The content of an answer's message."""
    if text.refusal:
        return {"type": "refusal", "refusal": text.text}
    told = (annotation(each, len(text.text)) for each in text.citations)
    annotations = [each for each in told if each is not None]
    probable = beside(text.extra).get("logprobs")
    return {
        "type": "output_text",
        "text": text.text,
        "annotations": annotations,
        "logprobs": probable if isinstance(probable, list) else [],
    }


def phase_of(text: Text) -> str | None:
    phase = beside(text.extra).get("phase")
    return phase if phase in ("commentary", "final_answer") else None


def message(id: str, contents: list[Any], phase: str | None, status: str) -> dict[str, Any]:
    told = {"id": id, "type": "message", "role": "assistant", "status": status, "content": contents}
    return told if phase is None else {**told, "phase": phase}


# ---- thoughts


def thoughts(found: Thought) -> Iterator[Reasoning]:
    """What an item of type reasoning tells: its text if it has one, then what is encrypted."""
    pieces = [piece.text for piece in found.content or () if piece.text]
    raw = bool(pieces)
    pieces = pieces or [piece.text for piece in found.summary or () if piece.text]
    if pieces:
        yield Reasoning(BETWEEN.join(pieces), **whose(found.id, raw=raw))
    if found.encrypted_content:
        yield Reasoning(encrypted=found.encrypted_content, signature=found.id, protocol=NAME)


def whose(id: str | None, *, raw: bool) -> dict[str, Any]:
    """Whose a thought is that has this id. `raw`: it was told itself, not as a summary."""
    return {"signature": f"{_RAW_THOUGHT if raw else ''}{id or ''}" or None, "protocol": NAME}


def is_raw(part: Reasoning) -> bool:
    """Whether its text is the thought itself, not a summary of it."""
    if part.protocol is None:
        return True
    return part.protocol == NAME and (part.signature or "").startswith(_RAW_THOUGHT)


def id_of(part: Reasoning) -> str | None:
    """The id of the item that it was."""
    if part.protocol != NAME or not part.signature:
        return None
    return part.signature.removeprefix(_RAW_THOUGHT) or None


def reasoning(id: str | None, part: Reasoning, *, seal: str | None) -> dict[str, Any]:
    """The item; without an id in a request where none is known."""
    told: dict[str, Any] = {"type": "reasoning", "summary": []} if id is None else {
        "id": id, "type": "reasoning", "summary": [],
    }  # fmt: skip
    if part.text and is_raw(part):
        told["content"] = [{"type": "reasoning_text", "text": part.text}]
    elif part.text:
        told["summary"] = [{"type": "summary_text", "text": part.text}]
    if seal is not None:
        told["encrypted_content"] = seal
    return told


# ---- calls


def tool_use(found: Call, custom: bool) -> ToolUse | None:
    """The call that an item is; None if it has no name."""
    if not found.name:
        return None
    id = found.call_id or found.id or new_call_id()
    arguments = custom_arguments(as_text(found.input)) if custom else as_text(found.arguments).strip() or "{}"
    return ToolUse(id, found.name, arguments, extra=call_extra(found, custom))


def call_extra(found: Call, custom: bool) -> Opaque | None:
    return extra(custom_tool_call=True if custom else None, namespace=found.namespace, caller=found.caller)


def custom_arguments(text: str) -> str:
    return CUSTOM_OPENS + escaped(text) + CUSTOM_ENDS


def escaped(text: str) -> str:
    """As it stands within a JSON string."""
    return _encode(text).decode()[1:-1]


def as_text(raw: Raw) -> str:
    """A string's words; of anything else its JSON, as some servers send it. Null is nothing."""
    if first(raw) == b'"':
        value = any_value(raw)
        return value if isinstance(value, str) else ""
    return "" if bytes(raw) == b"null" else bytes(raw).decode(errors="replace")


def is_custom(part: ToolUse) -> bool:
    return bool(beside(part.extra).get(CUSTOM))


def custom_input(arguments: str) -> str:
    """What a custom tool gets: the text in `arguments`, or all of them where they are of another shape."""
    value = any_value(arguments.encode("utf-8", "replace"))
    given = value.get("input") if isinstance(value, dict) else None
    return given if isinstance(given, str) else arguments


def encoded_call(part: ToolUse, call_id: str) -> dict[str, Any]:
    """The item, without an id and a status of its own."""
    told: dict[str, Any]
    if part.extra is None:
        return {"type": "function_call", "call_id": call_id, "name": part.name, "arguments": part.arguments}
    own = beside(part.extra)
    more: dict[str, Any] = {name: own[name] for name in ("namespace", "caller") if name in own}
    if own.get(CUSTOM):
        told = {"type": CUSTOM, "call_id": call_id, "name": part.name, "input": custom_input(part.arguments)}
    else:
        told = {"type": "function_call", "call_id": call_id, "name": part.name, "arguments": part.arguments}
    return {**told, **more}


def new_call_id() -> str:
    return f"call_{os.urandom(12).hex()}"


# ---- any item of an answer


def parts(raw: Raw, *, customs: bool) -> Iterator[Part]:
    """The parts that an item of an answer is. `customs`: custom tools are the client's, so that it must answer."""
    try:
        found = kind.decode(raw)
        understood = _understood(found.type, raw, customs)
        if understood is not None:
            yield from understood
            return
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # fields of a known kind that are not what they should be
    yield Opaque(NAME, owned(raw))


class Said(Struct):
    """An item of type message."""

    content: list[Raw] | str | None = None
    phase: str | None = None


said = msgspec.json.Decoder(Said)


def contents(raw: Raw) -> list[Raw]:
    """What a message says; [] where that cannot be read."""
    try:
        found = said.decode(raw).content
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []
    if isinstance(found, str):
        return [Raw(_encode({"type": "output_text", "text": found}))]
    return found or []


def id_in(raw: Raw) -> str:
    """The id of an item, "" where it has none."""
    try:
        return kind.decode(raw).id or ""
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""


def _understood(type: str | None, raw: Raw, customs: bool) -> list[Part] | None:
    match type:
        case "message":
            found = said.decode(raw)
            if isinstance(found.content, str):
                return [Text(found.content, extra=extra(phase=found.phase))] if found.content else []
            return list(texts(found.content or (), found.phase))
        case "reasoning":
            return list(thoughts(thought.decode(raw)))
        case "function_call" | "custom_tool_call" if customs or type == "function_call":
            use = tool_use(call.decode(raw), type == CUSTOM)
            return None if use is None else [use]
    return None


def are_clients(tools: object) -> bool:
    """Whether custom tools are the client's, by the `tools` that an answer repeats. xAI tells what its own tools do as
    calls of custom tools, which nobody declared: https://docs.x.ai/docs/guides/tools/overview"""
    if not isinstance(tools, list) or not tools:
        return True
    kinds = {str(tool.get("type")) for tool in tools if isinstance(tool, Mapping)}
    return bool(kinds & {"custom", "namespace", "tool_search"}) or kinds <= {"function"}
