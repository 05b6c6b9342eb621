"""Requests for Bedrock's Converse: our words, told as its JSON.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw, Struct, field, structs

from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from fairlead.errors import InvalidRequest
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import bedrock_media
from fairlead.protocols.codecs.bedrock_models import NAME, Manner, manner
from fairlead.protocols.codecs.wording import SMALLEST_BUDGET, arguments_of, display, own_fields, refused, within
from fairlead.protocols.envelope import any_value
from fairlead.protocols.unsaid import nothing_left, unsaid

_SAYS = frozenset(
    "temperature top_p top_k seed stop service_tier response_format thinking frequency_penalty presence_penalty"
    " cache_control is_error".split()
)
_JSON_ONLY = "Answer with one JSON object and nothing else."
_ANTHROPIC = "anthropic-messages"
# Fields at the top that only Bedrock has. Nobody speaks this format to us, so that any client may tell them.
_OWN_FIELDS = frozenset(
    "guardrailConfig performanceConfig requestMetadata additionalModelRequestFields additionalModelResponseFieldPaths"
    " promptVariables".split()
)
_TIERS = {"default": "default", "standard_only": "default", "flex": "flex", "priority": "priority",
          "reserved": "reserved"}  # fmt: skip
# https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
# https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
_ALL_IT_CAN = -1  # instead of a budget: a model that thinks like this takes no limits and no temperature
_NOVA_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
# What ids of calls may not have. Claude's own rule is narrower; Kimi's ids read `functions.get:0`.
_UNFIT_FOR_CLAUDE, _UNFIT = re.compile(r"[^a-zA-Z0-9_-]"), re.compile(r"[^a-zA-Z0-9_.:-]")
_encode = msgspec.json.encode


def encode(request: Request) -> Encoded:
    """The body that asks for `request`; the model and whether it is streamed stand in the path."""
    teller = Teller(request)
    ways = manner(request.model)
    system, messages = split_off_system(request.messages)
    more = _given_fields(request)
    thinking = _thinking(request, ways, more, teller)
    body: dict[str, Any] = {
        "messages": teller.turns(messages),
        "system": teller.system(system, json_only=_wants_json(request)) or None,
        "inferenceConfig": _inference(request, thinking, ways, teller),
        "toolConfig": teller.tool_config(request),
        "outputConfig": _output(request, teller),
        "serviceTier": _tier(request, teller),
    }
    _sampling(request, ways, more, teller, thinking)
    if more:
        body["additionalModelRequestFields"] = more
    if request.stop and ways.signs and "additionalModelResponseFieldPaths" not in request.extra:
        # Which sequence it was stands nowhere else; the second path is where streams have it.
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence", "/delta/stop_sequence"]
    own = own_fields(request.extra, NAME, _OWN_FIELDS)
    teller.dropped -= own.keys()
    return told({**own, **{name: value for name, value in body.items() if value is not None}}, teller)


def encode_nova(request: Request) -> Encoded:
    """The body that asks for `request` in Nova's own format, which is almost this one.

    https://docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html
    """
    teller = Teller(request, documents=False)
    ways = manner(request.model)
    system, messages = split_off_system(request.messages)
    more: dict[str, Any] = {}
    thinking = _thinking(request, ways, more, teller)
    _sampling(request, ways, more, teller, thinking)
    config = {**(_inference(request, thinking, ways, teller) or {}), **more.pop("inferenceConfig", {}), **more}
    if _output(request, teller) is not None:
        teller.dropped.add("response_format")
    if request.service_tier not in (None, "auto", "default"):
        teller.dropped.add("service_tier")
    body: dict[str, Any] = {
        "schemaVersion": "messages-v1",
        "messages": teller.turns(messages),
        "system": teller.system(system, json_only=_wants_json(request)) or None,
        "inferenceConfig": config or None,
        "toolConfig": teller.tool_config(request),
    }
    return told({name: value for name, value in body.items() if value is not None}, teller)


def told(body: dict[str, Any], teller: "Teller") -> Encoded:
    return Encoded(_encode(body), tuple(sorted(teller.dropped)))


def split_off_system(messages: Sequence[Message]) -> tuple[list[Message], Sequence[Message]]:
    """The instructions that lead, and everything after them. Of instructions alone, the last are said as the user's."""
    leading = 0
    while leading < len(messages) - 1 and messages[leading].role in ("system", "developer"):
        leading += 1
    return list(messages[:leading]), messages[leading:]


class _Turn(Struct):
    """What one side says until the other does."""

    role: str
    results: list[Any] = field(default_factory=list)  # of tools: they come first
    others: list[Any] = field(default_factory=list)


class Teller:
    """Tells messages and tools as Converse spells them, and notes what it cannot say in `dropped`."""

    def __init__(self, request: Request, *, documents: bool = True) -> None:
        """`documents`: whether documents can be said, which Nova's own format cannot."""
        self.dropped = unsaid(request, NAME, _SAYS)
        self.dropped.discard("reasoning")  # some of other formats is taken
        self._ways = manner(request.model)
        self._unfit = _UNFIT_FOR_CLAUDE if self._ways.signs else _UNFIT
        self._documents = documents
        self._names: dict[str, int] = {}  # of documents, and how often: no two may share one
        if request.parallel_tool_calls:  # it calls several unasked
            self.dropped.discard("parallel_tool_calls")
        if any(isinstance(part, Media) and bedrock_media.fields_beside(part) for part in _all_parts(request.messages)):
            self.dropped -= {"context", "citations"}
            self.dropped |= {"citations"} if any(map(_cites_others, _all_parts(request.messages))) else set()

    # ---- messages

    def system(self, messages: Iterable[Message], *, json_only: bool) -> list[Any]:
        blocks: list[Any] = []
        for message in messages:
            for part in message.parts:
                if isinstance(part, Text | Opaque):
                    blocks += self._blocks(part)
                else:
                    self.dropped.add(part.kind if isinstance(part, Media) else "system")
        return [*blocks, {"text": _JSON_ONLY}] if json_only else blocks

    def turns(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """Users and assistants take turns; a user's turn begins with the results of tools."""
        turns: list[_Turn] = []
        for message in messages:
            role = "assistant" if message.role == "assistant" else "user"
            if not turns or turns[-1].role != role:
                turns.append(_Turn(role))
            turn = turns[-1]
            for part in message.parts:
                if isinstance(part, Media) and role == "assistant":
                    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
                    self.dropped.add(part.kind)
                    continue
                first = isinstance(part, ToolResult) and role == "user"
                (turn.results if first else turn.others).extend(self._blocks(part))
        told = [{"role": turn.role, "content": turn.results + turn.others} for turn in _taken(turns)]
        if not told:
            raise nothing_left()
        _without_trailing_space(told)
        return told

    def _blocks(self, part: Part) -> list[Any]:
        """The content blocks that `part` is, none where there is nothing to say in this format."""
        match part:
            case Text():
                return self._marked(self._text(part), part.cache)
            case Reasoning():
                return self._thought(part)
            case ToolUse():
                use = {"toolUseId": _id(part.id, self._unfit), "name": part.name, "input": arguments_of(part)}
                return self._marked({"toolUse": use}, part.cache)
            case ToolResult():
                return self._result(part)
            case Media():
                return self._marked(self._media(part), part.cache)
            case Opaque(protocol=protocol, raw=raw):
                return [raw] if protocol == NAME else []
        return []

    def _text(self, part: Text) -> dict[str, Any] | None:
        if not part.text or part.text.isspace():  # Bedrock refuses blank texts
            return None
        own = [citation.raw.raw for citation in part.citations if citation.raw and citation.raw.protocol == NAME]
        if own:
            return {"citationsContent": {"content": [{"text": part.text}], "citations": own}}
        return {"text": part.text}

    def _thought(self, part: Reasoning) -> list[Any]:
        """A thought goes back with its signature. Anthropic's hold here and there.

        https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#thinking-encryption
        """
        ours = part.protocol == NAME or (self._ways.proofs and part.protocol == _ANTHROPIC)
        if ours and part.encrypted is not None:
            data = part.encrypted if part.protocol == NAME else bedrock_media.base64(part.encrypted)
            return [{"reasoningContent": {"redactedContent": data}}]
        if ours and part.signature:
            return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}]
        if part.text or part.encrypted is not None:
            self.dropped.add("reasoning")
        return []

    def _result(self, part: ToolResult) -> list[Any]:
        """Marks of the cache stand beside a result, never in it."""
        content = []
        cache = part.cache
        for piece in part.content:
            match piece:
                case Text(text=text):
                    content += [{"text": text}] if text.strip() else []
                case Media():
                    content += [self._media(piece)]
                case Opaque():
                    content += self._blocks(piece)
                case _:
                    self.dropped.add("tool_result")
            cache = cache or getattr(piece, "cache", None)
        status = {"status": "error"} if part.is_error else {}
        return self._marked(
            {"toolResult": {"toolUseId": _id(part.id, self._unfit), "content": content, **status}}, cache
        )

    def _media(self, part: Media) -> dict[str, Any]:
        if part.kind == "document" and not self._documents:
            raise refused(part, "no documents")
        return bedrock_media.block(part, self._names)

    def _marked(self, block: dict[str, Any] | None, cache: Raw | None, among: str = "messages") -> list[Any]:
        """`block`, and the cache point that `cache` asks for. A mark without a block before it marks nothing.

        https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CachePointBlock.html
        """
        if block is None:
            return []
        if cache is None:
            return [block]
        if among not in self._ways.caches:
            self.dropped.add("cache_control")
            return [block]
        wish = any_value(cache)
        ttl = wish.get("ttl") if isinstance(wish, dict) else None
        return [block, {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl in ("5m", "1h") else {})}}]

    # ---- tools

    def tool_config(self, request: Request) -> dict[str, Any] | None:
        """The tools and which to use. There is no word for none: then the tools are left out, unless the conversation
        has calls of them, which Bedrock takes only where tools are defined."""
        choice = request.tool_choice
        if choice is not None and choice.mode == "none" and not _called(request):
            return None
        tools = [entry for tool in request.tools for entry in self._tool(tool)]
        if not tools:
            schema = {"json": {"type": "object"}}
            tools = [{"toolSpec": {"name": name, "inputSchema": schema}} for name in _called(request)]
            return {"tools": tools} if tools else None
        if choice is None:
            return {"tools": tools}
        match choice.mode:
            case "none":
                self.dropped.add("tool_choice")
                return {"tools": tools}
            case "named":
                return {"tools": tools, "toolChoice": {"tool": {"name": choice.name or ""}}}
        return {"tools": tools, "toolChoice": {"any" if choice.mode == "required" else "auto": {}}}

    def _tool(self, tool: Tool | Opaque) -> list[Any]:
        if isinstance(tool, Opaque):
            return [tool.raw] if tool.protocol == NAME else []
        spec: dict[str, Any] = {"name": tool.name}
        if tool.description:
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": _schema(tool)}
        if tool.strict and self._ways.strict:
            spec["strict"] = True
        elif tool.strict:
            self.dropped.add("strict")
        return self._marked({"toolSpec": spec}, tool.cache, "tools")


def _called(request: Request) -> list[str]:
    """The names of the tools that were called, each once."""
    return list({part.name: None for part in _all_parts(request.messages) if isinstance(part, ToolUse)})


def _all_parts(messages: Iterable[Message]) -> Iterator[Part]:
    for message in messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.content


def _cites_others(part: Part) -> bool:
    """Whether a text has citations that another format told."""
    found = part.citations if isinstance(part, Text) else ()
    return any(citation.raw is None or citation.raw.protocol != NAME for citation in found)


def _taken(turns: Iterable["_Turn"]) -> Iterator["_Turn"]:
    """The turns that have something to say; two of one side that only such a one parted are joined."""
    last: _Turn | None = None
    for turn in turns:
        if not turn.results and not turn.others:
            continue
        if last is not None and last.role == turn.role:
            last.results += turn.results
            last.others += turn.others
            continue
        if last is not None:
            yield last
        last = turn
    if last is not None:
        yield last


def _without_trailing_space(turns: list[dict[str, Any]]) -> None:
    """An answer that the model shall go on with may not end in white space."""
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if isinstance(last, dict) and "text" in last:
            last["text"] = last["text"].rstrip()


def _id(id: str, unfit: "re.Pattern[str]") -> str:
    """The id without what is unfit, 64 characters at most; of a longer one, its beginning and a digest."""
    clean = unfit.sub("_", id) or "_"
    return clean if len(clean) <= 64 else f"{clean[:47]}_{sha256(id.encode(errors='replace')).hexdigest()[:16]}"


def _schema(tool: Tool) -> Any:
    """Always of an object: Bedrock requires it to say so."""
    try:
        fields = msgspec.json.decode(tool.schema, type=dict[str, Raw]) if tool.schema is not None else {}
    except (msgspec.DecodeError, RecursionError):
        told = f"The parameters of the tool {tool.name[:60]!r} must be a JSON schema of an object."
        raise InvalidRequest(told, param="tools") from None
    return tool.schema if "type" in fields else {"type": "object", **({} if fields else {"properties": {}}), **fields}


# ---- settings


def _wants_json(request: Request) -> bool:
    return request.response_format is not None and request.response_format.kind == "json_object"


def _output(request: Request, teller: Teller) -> dict[str, Any] | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_JsonSchemaDefinition.html"""
    shape = request.response_format
    if shape is None or shape.kind != "json_schema":
        return None
    if shape.schema is None:
        teller.dropped.add("response_format")
        return None
    schema: dict[str, Any] = {"schema": bytes(shape.schema).decode(errors="replace")}  # JSON within a string
    schema.update({name: value for name, value in (("name", shape.name), ("description", shape.description)) if value})
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _tier(request: Request, teller: Teller) -> dict[str, Any] | None:
    tier = request.service_tier
    if tier in (None, "auto"):
        return None
    if tier not in _TIERS:
        teller.dropped.add("service_tier")
        return None
    return {"type": _TIERS[tier]}


def _inference(request: Request, thinking: int | None, ways: Manner, teller: Teller) -> dict[str, Any] | None:
    """`thinking` is the budget for it: see `_thinking`."""
    config: dict[str, Any] = {}
    if thinking == _ALL_IT_CAN:
        names = ("max_tokens", "temperature", "top_p")
        teller.dropped.update(name for name in names if getattr(request, name) is not None)
        request = structs.replace(request, max_tokens=None, temperature=None, top_p=None)
    if request.max_tokens is not None:
        config["maxTokens"] = request.max_tokens
    if thinking is None or not ways.signs:
        if request.temperature is not None:
            config["temperature"] = min(max(request.temperature, 0.0), 1.0)
            if config["temperature"] != request.temperature:  # beyond what Bedrock allows
                teller.dropped.add("temperature")
        if request.top_p is not None:
            config["topP"] = min(max(request.top_p, 0.0), 1.0)
            if config["topP"] != request.top_p:
                teller.dropped.add("top_p")
    else:  # a model that thinks takes neither
        teller.dropped.update(name for name in ("temperature", "top_p") if getattr(request, name) is not None)
    stop = [text for text in request.stop if text.strip() or (text and not ways.signs)]
    if len(stop) < len(request.stop):
        teller.dropped.add("stop")
    if stop:
        config["stopSequences"] = stop
    return config or None


def _given_fields(request: Request) -> dict[str, Any]:
    """`additionalModelRequestFields` as the client told them."""
    given = request.extra.get("additionalModelRequestFields")
    if given is None or bytes(given.raw) == b"null":
        return {}
    try:
        return msgspec.json.decode(given.raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        place = "additionalModelRequestFields"
        raise InvalidRequest(f"'{place}' must be an object.", param=place) from None


def _thinking(request: Request, ways: Manner, more: dict[str, Any], teller: Teller) -> int | None:
    """Tell in `more` whether and how much to think. The budget in tokens, None for none.

    It is 0 where the model decides, and _ALL_IT_CAN where it is told to spare nothing.
    """
    wish = request.thinking
    if wish is None:
        return None
    if not wish.enabled or wish.effort == "none":
        if ways.thinking == "thinking":
            more.setdefault("thinking", {"type": "disabled"})
        elif ways.thinking == "reasoningConfig":
            more.setdefault("reasoningConfig", {"type": "disabled"})
        elif ways.thinking == "reasoning_effort":
            teller.dropped.add("thinking")
        return None
    match ways.thinking:
        case "thinking":
            return _anthropic_thinking(request, more, teller)
        case "reasoningConfig":
            effort = _NOVA_EFFORTS.get(_effort(request))
            if effort is None:  # one that nobody knows
                teller.dropped.add("thinking")
                return None
            if effort == "high" and request.max_tokens is not None:
                effort = "medium"  # the highest takes no limit, and the client set one
            more.setdefault("reasoningConfig", {"type": "enabled", "maxReasoningEffort": effort})
            return _ALL_IT_CAN if effort == "high" else 0
        case "reasoning_effort":
            effort = _NOVA_EFFORTS.get(_effort(request))
            if effort is None:
                teller.dropped.add("thinking")
                return None
            more.setdefault("reasoning_effort", effort)
            return 0
    teller.dropped.add("thinking")
    return None


def _effort(request: Request) -> str:
    """An effort in words; a budget of tokens is rounded to the nearest one."""
    assert request.thinking is not None
    effort, budget = request.thinking.effort, request.thinking.budget_tokens
    if effort is not None or budget is None:
        return effort or "medium"
    return "low" if budget < 2048 else "medium" if budget < 12288 else "high"


def _anthropic_thinking(request: Request, more: dict[str, Any], teller: Teller) -> int | None:
    wish = request.thinking
    assert wish is not None
    teller.dropped.discard("thinking.summary")
    if wish.adaptive:
        more.setdefault("thinking", {"type": "adaptive", **display(wish)})
        if wish.effort is not None:
            more.setdefault("output_config", {"effort": wish.effort})
        return 0
    forced = request.tool_choice is not None and request.tool_choice.mode in ("required", "named") and request.tools
    if forced or _broke_off_thinking(request.messages):  # Anthropic refuses either
        teller.dropped.add("thinking")
        return None
    asked = wish.budget_tokens or _BUDGETS.get(wish.effort or "medium")
    budget = within(max(asked, SMALLEST_BUDGET), request.max_tokens) if asked is not None else None
    if budget is None:
        teller.dropped.add("thinking")
        return None
    more.setdefault("thinking", {"type": "enabled", "budget_tokens": budget, **display(wish)})
    return budget


def _broke_off_thinking(messages: Sequence[Message]) -> bool:
    """Results follow a turn that called tools without showing its thought: it must be gone on with as it began."""
    if len(messages) < 2 or not any(isinstance(part, ToolResult) for part in messages[-1].parts):
        return False
    caller = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return caller is not None and not any(_is_signed(part) for part in caller.parts)


def _is_signed(part: Part) -> bool:
    known = isinstance(part, Reasoning) and part.protocol in (NAME, _ANTHROPIC)
    return known and isinstance(part, Reasoning) and bool(part.signature or part.encrypted)


def _sampling(request: Request, ways: Manner, more: dict[str, Any], teller: Teller, thinking: int | None) -> None:
    """Tell in `more` what only some models take."""
    if request.top_k is not None:
        if not ways.top_k or (thinking is not None and ways.signs) or thinking == _ALL_IT_CAN:
            teller.dropped.add("top_k")
        else:
            *outer, name = ways.top_k
            place = more
            for step in outer:
                inner = place.setdefault(step, {})
                place = inner if isinstance(inner, dict) else {}
            place.setdefault(name, request.top_k)
    for name in ("frequency_penalty", "presence_penalty", "seed"):
        value = getattr(request, name)
        if value is None or (not value and name != "seed"):
            continue
        if name in ways.sampling:
            more.setdefault(name, value)
        else:
            teller.dropped.add(name)
