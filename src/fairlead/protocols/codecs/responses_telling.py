"""Answers of the Responses API as we tell them to clients: our words → their JSON, whole and as events.

https://platform.openai.com/docs/api-reference/responses-streaming. An answer repeats what was asked, as far as that is
known. It is not stored, and says so.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, structs

from fairlead.chat import (
    Citation,
    Event,
    Finish,
    FinishReason,
    Media,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    Start,
    Text,
    Tool,
    ToolUse,
    Usage,
)
from fairlead.errors import FairleadError
from fairlead.protocols import sse
from fairlead.protocols.codecs import responses_asking, responses_errors
from fairlead.protocols.codecs import responses_carried as carried
from fairlead.protocols.codecs import responses_items as items
from fairlead.protocols.codecs.responses_carried import NAME
from fairlead.protocols.codecs.responses_items import CUSTOM

_encode = msgspec.json.encode
_TEXT_DELTA = (  # nearly all events there are
    b'{"type":"response.output_text.delta","sequence_number":%d,"item_id":%b,"output_index":%d,"content_index":%d,'
    b'"delta":%b,"logprobs":[]}'
)
_PIECE_BYTES = 60  # beside a piece of text that waits for the end
_PREFIX = {
    "message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc",
    "image_generation_call": "ig",
}  # fmt: skip
# What is repeated of a request where only this format knows it, and else.
_REPEATED: dict[str, Any] = {
    "max_tool_calls": None, "metadata": {}, "prompt_cache_key": None, "safety_identifier": None, "top_logprobs": 0,
    "truncation": "disabled",
}  # fmt: skip
_REPEATABLE = (*_REPEATED, "prompt", "prompt_cache_options", "prompt_cache_retention")
_NOTHING_ASKED = Request("", ())


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _asked(request: Request) -> dict[str, Any]:
    """What an answer repeats of its request."""
    own = {name: opaque.raw for name, opaque in request.extra.items() if opaque.protocol == NAME}
    own_told = {name: own[name] for name in _REPEATABLE if name in own} if own else own
    user = {} if request.user is None else {"user": request.user}
    return {
        **_REPEATED,
        **own_told,
        **user,
        "background": False,
        "instructions": responses_asking.instructions(request),
        "max_output_tokens": request.max_tokens,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(responses_asking.reasoning(request, own) or {})},
        "service_tier": request.service_tier if request.service_tier in responses_asking.TIERS else None,
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}, **(responses_asking.text_wish(request, own) or {})},
        "tool_choice": own.get("tool_choice") or responses_asking.choice(request) or "auto",
        "tools": [tool for tool in map(_declared, request.tools) if tool is not None],
        "top_p": request.top_p,
    }


def _declared(tool: Tool | Opaque) -> Any:
    if isinstance(tool, Opaque):
        return responses_asking.declared(tool)
    kept = items.kept(tool.extra)
    if "custom" in kept:
        return responses_asking.declared(tool)
    return {
        **kept,
        "type": "function", "name": tool.name, "description": tool.description, "parameters": tool.schema,
        "strict": tool.strict,
    }  # fmt: skip


def _why(reason: FinishReason | None, *, refused: bool) -> str | None:
    """Why an answer is incomplete, None if it is whole. `refused`: it says so itself."""
    match reason:
        case "length":
            return "max_output_tokens"
        case "content_filter":
            return "content_filter"
        case "refusal" if not refused:
            return "content_filter"
    return None


class _Ids:
    """Of items: they begin with their kind, and end with their number."""

    def __init__(self, answer: str) -> None:
        self._stem = answer.removeprefix("resp_")[:64] or os.urandom(16).hex()

    def of(self, kind: str, number: int) -> str:
        return f"{_PREFIX[kind]}_{self._stem}_{number}"


# ---- whole answers


def encode(response: Response, request: Request | None = None) -> bytes:
    """The whole answer; it repeats what `request` asked."""
    request = request or _NOTHING_ASKED
    customs = responses_asking.custom_tools(request)
    if all(_is_plain(part, customs) for part in response.parts):
        return _encode(_plain(response, request))
    teller = Encoder(request)
    for event in _events(response):
        teller(event)
    return _encode(teller.answer)


def _is_plain(part: Part, customs: frozenset[str]) -> bool:
    """Whether it is one of nearly all: a text or a call with nothing beside it. Of these no events need be told."""
    if isinstance(part, Text):
        return part.extra is None and not part.citations and not part.refusal
    return isinstance(part, ToolUse) and part.extra is None and part.name not in customs


def _plain(response: Response, request: Request) -> dict[str, Any]:
    """The answer of plain parts, as an `Encoder` would leave it."""
    ids = _Ids(response.id)
    ending, status = _ending(response.finish_reason, refused=False)
    output: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] | None = None  # of the message that stands last
    for part in response.parts:
        if isinstance(part, ToolUse):
            id = ids.of("function_call", len(output))
            arguments = part.arguments or "{}"
            output.append({
                "id": id, "type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments,
                "status": "completed",
            })  # fmt: skip
            contents = None
        elif isinstance(part, Text) and part.text:
            if contents is None:
                contents = []
                output.append(items.message(ids.of("message", len(output)), contents, None, "completed"))
            contents.append({"type": "output_text", "text": part.text, "annotations": [], "logprobs": []})
    if contents is not None:
        output[-1]["status"] = status
    answer = {**_opening(response.id, response.model, response.created, request), **ending, "output": output}
    if response.usage is not None:
        answer["usage"] = usage_of(response.usage)
    return answer


def _opening(id: str, model: str, created: int, request: Request) -> dict[str, Any]:
    """An answer that begins."""
    return {
        "id": id or f"resp_{os.urandom(16).hex()}",
        "object": "response",
        "created_at": created or int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        **_asked(request),
    }


def _ending(reason: FinishReason | None, *, refused: bool) -> tuple[dict[str, Any], str]:
    """What changes of an answer that is whole, and its status."""
    why = _why(reason, refused=refused)
    status = "completed" if why is None else "incomplete"
    details = None if why is None else {"reason": why}
    at = int(time.time()) if why is None else None
    return {"status": status, "incomplete_details": details, "completed_at": at}, status


def _events(response: Response) -> Iterator[Event]:
    yield Start(response.id, response.model, response.created)
    for index, part in enumerate(response.parts):
        yield PartStart(index, part)
        yield PartEnd(index)
    yield Finish(response.finish_reason, response.usage, response.stop_sequence, response.raw_reason)


# ---- streams


class _Item:
    """An item that is being told."""

    __slots__ = ("contents", "id", "kind", "number", "part", "phase", "size", "spelt_id")

    def __init__(self, kind: str, number: int, id: str) -> None:
        self.kind, self.number, self.id = kind, number, id
        self.phase: str | None = None  # of a message
        self.contents: list[Any] = []  # of a message: those that are whole
        self.part: Part | None = None  # what else it is, in the end
        self.size = 0  # bytes, roughly, that wait here until it is whole
        self.spelt_id = _encode(id)


class _Telling:
    """A part that is being told, and what of it was."""

    __slots__ = ("cited", "extras", "item", "length", "part", "pieces", "refusal")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.item: _Item | None = None
        self.pieces: list[str] = []
        self.length = 0  # of the pieces, in characters
        self.cited: list[Citation] = []
        self.extras: list[Opaque] = []  # what was added beside a text
        self.refusal = False

    def text(self) -> str:
        return "".join(self.pieces)


class Encoder:
    """Events of ours → events of theirs. Each item is told once more when it is whole, and all of them at the end, so
    that everything is held until then.

    Neighbouring texts share a message, as a thought shares an item with what is encrypted of it: an item waits for the
    part that follows.
    """

    def __init__(self, request: Request | None = None) -> None:
        self.held = 0
        self.answer: dict[str, Any] = {}  # as it stands
        self._asked = request or _NOTHING_ASKED
        self._customs = responses_asking.custom_tools(self._asked)
        self._ids = _Ids("")
        self._number = 0  # of the next event
        self._output: list[Any] = []  # items that are whole; None for one that is not
        self._parts: dict[int, _Telling] = {}
        self._waiting: _Item | None = None
        self._refused = False

    def __call__(self, event: Event) -> bytes:
        match event:
            case PartDelta(index=index):
                telling = self._parts.get(index)
                return b"" if telling is None else self._delta(telling, event)
            case PartStart(index=index, part=part):
                return self._start_part(index, part)
            case PartEnd(index=index):
                telling = self._parts.pop(index, None)
                return b"" if telling is None else self._end_part(telling)
            case Start():
                return self._start(event)
            case Finish():
                return self._finish(event)

    def failed(self, error: FairleadError) -> bytes:
        """The events that end the stream with `error`."""
        told = responses_errors.event(error, self._number)
        self._number += 1
        output = [item for item in self._output if item is not None]
        failure = {"status": "failed", "error": responses_errors.failure(error), "output": output}
        return told + self._event("response.failed", {"response": {**self.answer, **failure}})

    # ---- events

    def _event(self, type: str, fields: dict[str, Any]) -> bytes:
        data = _encode({"type": type, "sequence_number": self._number, **fields})
        self._number += 1
        return sse.event(data, type.encode())

    def _of(self, item: _Item, type: str, **fields: Any) -> bytes:
        return self._event(type, {"item_id": item.id, "output_index": item.number, **fields})

    def _start(self, start: Start) -> bytes:
        self._ids = _Ids(start.id)
        self.answer = _opening(start.id, start.model, start.created, self._asked)
        shown = {"response": Raw(_encode(self.answer))}
        return self._event("response.created", shown) + self._event("response.in_progress", shown)

    # ---- items

    def _begin(self, kind: str, id: str | None = None) -> _Item:
        number = len(self._output)
        self._output.append(None)
        return _Item(kind, number, id or self._ids.of(kind, number))

    def _added(self, item: _Item, told: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", {"output_index": item.number, "item": told})

    def _done(self, item: _Item, told: Any) -> bytes:
        told = Raw(_encode(told))
        self._output[item.number] = told
        self.held += len(told) - item.size
        return self._event("response.output_item.done", {"output_index": item.number, "item": told})

    def _wait(self, item: _Item, telling: _Telling) -> bytes:
        """`item` waits for what follows `telling`; what waited is whole."""
        item.size += telling.length
        self.held += telling.length
        told = self._close()
        self._waiting = item
        return told

    def _close(self, status: str = "completed") -> bytes:
        """The end of the item that waits."""
        item, self._waiting = self._waiting, None
        if item is None:
            return b""
        if item.kind == "message":
            return self._done(item, items.message(item.id, item.contents, item.phase, status))
        assert isinstance(item.part, Reasoning)
        return self._done(item, items.reasoning(item.id, item.part, seal=carried.sealed(item.part)))

    def _carry(self, seal: str) -> bytes:
        """A thought without words that carries what another format keeps."""
        told = self._close()
        item = self._begin("reasoning")
        shown = items.reasoning(item.id, Reasoning(), seal=seal)
        return told + self._added(item, shown) + self._done(item, shown)

    # ---- parts

    def _start_part(self, index: int, part: Part) -> bytes:
        match part:
            case Text():
                return self._start_text(index, part)
            case Reasoning():
                return self._start_thought(index, part)
            case ToolUse():
                return self._start_call(index, part)
            case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
                item = self._begin("message", "")
                return self._close() + self._added(item, raw) + self._done(item, raw)  # type: ignore[arg-type]
            case Media(kind="image", data=str(data)):
                return self._image(data)
        return b""

    def _delta(self, telling: _Telling, delta: PartDelta) -> bytes:
        match telling.part:
            case Text():
                return self._more_text(telling, delta)
            case Reasoning():
                return self._more_thought(telling, delta)
        if delta.extra is not None:
            telling.extras.append(delta.extra)
        self._keep(telling, delta.text)
        return self._arguments(telling, delta.text)

    def _keep(self, telling: _Telling, text: str) -> None:
        if text:
            telling.pieces.append(text)
            telling.length += len(text)
            self.held += len(text) + _PIECE_BYTES

    def _end_part(self, telling: _Telling, status: str = "completed") -> bytes:
        self.held -= telling.length + _PIECE_BYTES * len(telling.pieces)
        match telling.part:
            case Text():
                return self._end_text(telling)
            case Reasoning():
                return self._end_thought(telling)
        return self._end_call(telling, status)

    # ---- texts

    def _start_text(self, index: int, part: Text) -> bytes:
        self._parts[index] = _Telling(structs.replace(part, text="", citations=()))
        return self._delta(self._parts[index], PartDelta(index, part.text, citations=part.citations))

    def _begin_text(self, telling: _Telling, extra: Opaque | None) -> bytes:
        """A text begins when there is something to tell of it: what stands beside it may come as late as that."""
        part = telling.part
        assert isinstance(part, Text)
        beside = carried.foreign([part.extra, extra])
        told = b"" if beside is None else self._carry(carried.beside(beside))
        own = [each for each in (part.extra, extra) if each is not None and each.protocol == NAME]
        part = telling.part = structs.replace(part, extra=items.gathered(own))
        item, phase = self._waiting, items.phase_of(part)
        if item is not None and item.kind == "message" and item.phase == phase:
            self._waiting = None
        else:
            told += self._close()
            item = self._begin("message")
            item.phase = phase
            told += self._added(item, items.message(item.id, [], phase, "in_progress"))
        telling.item = item
        empty = items.encoded_text(structs.replace(part, text="", extra=_without_logprobs(part.extra)))
        telling.refusal = part.refusal
        self._refused = self._refused or part.refusal
        return told + self._of(item, "response.content_part.added", content_index=len(item.contents), part=empty)

    def _more_text(self, telling: _Telling, delta: PartDelta) -> bytes:
        told, extra = b"", delta.extra
        if telling.item is None and (delta.text or delta.citations or extra is not None):
            told, extra = self._begin_text(telling, extra), None
        item = telling.item
        if item is None:
            return b""
        if delta.text:
            self._keep(telling, delta.text)
            told += self._text_event(item, delta.text, refusal=telling.refusal)
        if extra is not None:
            telling.extras.append(extra)
        for citation in delta.citations:
            number = len(telling.cited)
            shown = items.annotation(citation, telling.length)
            if shown is not None:
                kept = Raw(_encode(shown))
                telling.cited.append(Citation(raw=Opaque(NAME, kept)))
                self.held += len(kept)
                told += self._of(
                    item,
                    "response.output_text.annotation.added",
                    content_index=len(item.contents),
                    annotation_index=number,
                    annotation=kept,
                )
        return told

    def _text_event(self, item: _Item, text: str, *, refusal: bool) -> bytes:
        if refusal:
            return self._of(item, "response.refusal.delta", content_index=len(item.contents), delta=text)
        data = _TEXT_DELTA % (self._number, item.spelt_id, item.number, len(item.contents), _encode(text))
        self._number += 1
        return sse.event(data, b"response.output_text.delta")

    def _end_text(self, telling: _Telling) -> bytes:
        item, part = telling.item, telling.part
        if item is None:
            return b""
        assert isinstance(part, Text)
        beside = items.gathered([part.extra, *(each for each in telling.extras if each.protocol == NAME)])
        content = items.encoded_text(
            structs.replace(part, text=telling.text(), citations=tuple(telling.cited), extra=beside)
        )
        where = {"content_index": len(item.contents)}
        if content["type"] == "refusal":
            told = self._of(item, "response.refusal.done", **where, refusal=content["refusal"])
        else:
            fields = {"text": content["text"], "logprobs": content["logprobs"]}
            told = self._of(item, "response.output_text.done", **where, **fields)
        told += self._of(item, "response.content_part.done", **where, part=content)
        item.contents.append(content)
        return told + self._wait(item, telling) + self._behind(telling)

    def _behind(self, telling: _Telling) -> bytes:
        """What another format told to keep beside a part that had begun."""
        beside = carried.foreign(telling.extras)
        return b"" if beside is None else self._carry(carried.beside(beside, follows=True))

    # ---- thoughts

    def _start_thought(self, index: int, part: Reasoning) -> bytes:
        item = self._waiting
        if part.encrypted is not None:
            joins = item is not None and isinstance(item.part, Reasoning) and responses_asking.is_of(item.part, part)
            if joins and item is not None:
                assert isinstance(item.part, Reasoning)
                item.part = structs.replace(item.part, encrypted=part.encrypted)
                return self._close()
        telling = self._parts[index] = _Telling(part)
        if part.text:
            first = PartDelta(index, part.text)
            telling.part = structs.replace(part, text="")
            return self._close() + self._more_thought(telling, first)
        return self._close()

    def _more_thought(self, telling: _Telling, delta: PartDelta) -> bytes:
        part = telling.part
        assert isinstance(part, Reasoning)
        if delta.signature is not None:
            part = telling.part = structs.replace(part, signature=delta.signature)
        if not delta.text:
            return b""
        told = b"" if telling.item is not None else self._begin_thought(telling)
        item = telling.item
        assert item is not None
        raw = items.is_raw(part)
        if not telling.pieces:
            told += self._piece(item, "added", raw, "")
        self._keep(telling, delta.text)
        name = "response.reasoning_text.delta" if raw else "response.reasoning_summary_text.delta"
        return told + self._of(item, name, **{_place(raw): 0}, delta=delta.text)

    def _begin_thought(self, telling: _Telling) -> bytes:
        assert isinstance(telling.part, Reasoning)
        telling.item = self._begin("reasoning", items.id_of(telling.part))
        return self._added(telling.item, {"id": telling.item.id, "type": "reasoning", "summary": []})

    def _piece(self, item: _Item, what: str, raw: bool, text: str) -> bytes:
        if raw:
            part = {"type": "reasoning_text", "text": text}
            return self._of(item, f"response.content_part.{what}", content_index=0, part=part)
        part = {"type": "summary_text", "text": text}
        return self._of(item, f"response.reasoning_summary_part.{what}", summary_index=0, part=part)

    def _end_thought(self, telling: _Telling) -> bytes:
        part = telling.part
        assert isinstance(part, Reasoning)
        told = b""
        if telling.item is None:
            if carried.sealed(part) is None:
                return b""  # it says nothing, and proves nothing
            told = self._close() + self._begin_thought(telling)
        item = telling.item
        assert item is not None
        raw, text = items.is_raw(part), telling.text()
        if telling.pieces:
            name = "response.reasoning_text.done" if raw else "response.reasoning_summary_text.done"
            told += self._of(item, name, **{_place(raw): 0}, text=text)
            told += self._piece(item, "done", raw, text)
        item.part = structs.replace(part, text=text)
        told += self._wait(item, telling)
        return told if part.protocol == NAME and part.encrypted is None else told + self._close()

    # ---- calls

    def _start_call(self, index: int, part: ToolUse) -> bytes:
        beside = carried.foreign([part.extra])
        told = self._close() if beside is None else self._carry(carried.beside(beside))
        if part.name in self._customs:  # another format's model knows it as a function of one text
            part = structs.replace(part, extra=items.extra(custom_tool_call=True))
        item = self._begin(CUSTOM if items.is_custom(part) else "function_call")
        telling = self._parts[index] = _Telling(structs.replace(part, arguments=""))
        telling.item = item
        shown = items.encoded_call(structs.replace(part, arguments=""), part.id)
        told += self._added(item, {"id": item.id, **shown, "status": "in_progress"})
        self._keep(telling, part.arguments)
        return told + self._arguments(telling, part.arguments)

    def _arguments(self, telling: _Telling, text: str) -> bytes:
        item = telling.item
        if item is None or not text or item.kind == CUSTOM:  # a custom tool's input is known at the end
            return b""
        return self._of(item, "response.function_call_arguments.delta", delta=text)

    def _end_call(self, telling: _Telling, status: str) -> bytes:
        item, part = telling.item, telling.part
        assert item is not None
        assert isinstance(part, ToolUse)
        shown = items.encoded_call(structs.replace(part, arguments=telling.text() or "{}"), part.id)
        if item.kind == CUSTOM:
            told = self._of(item, "response.custom_tool_call_input.delta", delta=shown["input"])
            told += self._of(item, "response.custom_tool_call_input.done", input=shown["input"])
        else:
            told = b"" if telling.pieces else self._arguments(telling, "{}")
            fields = {"name": part.name, "arguments": shown["arguments"]}
            told += self._of(item, "response.function_call_arguments.done", **fields)
        return told + self._done(item, {"id": item.id, **shown, "status": status}) + self._behind(telling)

    def _image(self, data: str) -> bytes:
        told = self._close()
        item = self._begin("image_generation_call")
        shown = {"id": item.id, "type": "image_generation_call", "status": "in_progress", "result": None}
        told += self._added(item, shown) + self._of(item, "response.image_generation_call.in_progress")
        told += self._of(item, "response.image_generation_call.completed")
        return told + self._done(item, {**shown, "status": "completed", "result": data})

    # ---- the end

    def _finish(self, finish: Finish) -> bytes:
        ending, status = _ending(finish.reason, refused=self._refused)
        told = [self._end_part(telling, status) for telling in self._parts.values()]
        self._parts.clear()
        told.append(self._close(status))
        self.answer |= {**ending, "output": [item for item in self._output if item is not None]}
        if finish.usage is not None:
            self.answer["usage"] = usage_of(finish.usage)
        told.append(self._event(f"response.{status}", {"response": self.answer}))
        self.held = 0
        return b"".join(told)


def _place(raw: bool) -> str:
    return "content_index" if raw else "summary_index"


def _without_logprobs(extra: Opaque | None) -> Opaque | None:
    told = {name: value for name, value in items.beside(extra).items() if name != "logprobs"}
    return items.extra(**told)


def error_events(error: FairleadError) -> bytes:
    """The events that end a stream of which nothing is known."""
    teller = Encoder()
    teller(Start("", ""))
    teller.answer["id"] = ""
    return teller.failed(error)
