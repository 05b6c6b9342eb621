"""Our own words for a conversation: what every chat format is translated into and out of.

A wire format that meets another one passes through these words; a concept becomes one of them when three formats
have it. What only one format knows travels as `Opaque`, back to that format and to no other.

    Request  = settings + tools + [Message]        Message  = role + [Part]
    Part     = Text | Reasoning | ToolUse | ToolResult | Media | Opaque
    Event    = Start | PartStart | PartDelta | PartEnd | Finish
    Response = what you get by folding its Events;  fold(tell(response)) == response
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_use", "content_filter", "refusal", "pause", "stop_sequence"]


class Opaque(Struct, frozen=True, gc=False, tag="opaque"):
    """Something only one format knows. It goes back to `protocol` as it came, and to no other."""

    protocol: str  # the format's name, "anthropic-messages"
    raw: Raw  # the JSON value as it stood there


class Citation(Struct, frozen=True, gc=False):
    """Where something that a text says stands. `raw` is all of it, for the format that told it."""

    url: str | None = None
    title: str | None = None
    quote: str | None = None  # the source's words
    start: int | None = None  # of the text it belongs to: characters from its beginning
    end: int | None = None  # exclusive
    raw: Opaque | None = None


class Text(Struct, frozen=True, gc=False, tag="text"):
    """Words, said by either side."""

    text: str
    cache: Raw | None = None  # a cache mark: {"type": "ephemeral", "ttl": "5m"}
    citations: tuple[Citation, ...] = ()
    extra: Opaque | None = None  # what its format keeps beside the text, besides citations (a thought's signature)
    refusal: bool = False  # the model says that it will not answer: formats without a word for it say it as text


class Reasoning(Struct, frozen=True, gc=False, tag="reasoning"):
    """What a model thought before it spoke; with its signature it can be shown to the same provider again."""

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None  # thought that we may carry but not read (redacted thinking)
    protocol: str | None = None  # whose signature or cipher it is; None: plain text


class ToolUse(Struct, frozen=True, gc=False, tag="tool_use"):
    """A model asks for a tool. `arguments` is JSON text, "{}" where there are none."""

    id: str
    name: str
    arguments: str = "{}"
    cache: Raw | None = None
    extra: Opaque | None = None  # what its format keeps beside it (a thought's signature)


class ToolResult(Struct, frozen=True, gc=False, tag="tool_result"):
    """What the tool gave. `content` holds Text, Media and Opaque parts."""

    id: str  # of the ToolUse it answers
    content: "tuple[Part, ...]" = ()
    is_error: bool = False
    cache: Raw | None = None


class Media(Struct, frozen=True, gc=False, tag="media"):
    """An image, a document, a sound or a film: exactly one of `data`, `url`, `file_id` and `text` is there."""

    kind: Literal["image", "document", "audio", "video"]
    mime: str | None = None  # "image/png"; None where the format does not say
    data: str | None = None  # base64
    url: str | None = None  # http(s) address
    file_id: str | None = None  # of a file the provider already has
    text: str | None = None  # a document given as plain text
    name: str | None = None  # file name or title
    detail: str | None = None  # "low" | "high" | "auto", images only
    cache: Raw | None = None
    extra: Opaque | None = None  # what its format keeps beside it: how it shall be read, an object of its fields


Part = Text | Reasoning | ToolUse | ToolResult | Media | Opaque


class Message(Struct, frozen=True, gc=False):
    """One turn. Results of tools stand in a message of role "tool"; several of them may share one."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(Struct, frozen=True, gc=False):
    """A function the model may call; `schema` is the JSON schema of its arguments."""

    name: str
    description: str | None = None
    schema: Raw | None = None
    strict: bool | None = None
    cache: Raw | None = None
    extra: Opaque | None = None  # what its format keeps beside it: how it may be called, an object of its fields


class ToolChoice(Struct, frozen=True, gc=False):
    """Whether tools are used: freely, never, at least one, or the named one."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


class ResponseFormat(Struct, frozen=True):
    """The shape asked of the answer: any JSON object, or JSON by `schema`."""

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    schema: Raw | None = None
    strict: bool | None = None
    description: str | None = None


class Thinking(Struct, frozen=True):
    """How much the model shall think before it speaks: an effort in words, a budget in tokens, or both."""

    enabled: bool = True
    effort: str | None = None  # "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max"
    budget_tokens: int | None = None
    adaptive: bool = False  # the model decides
    # Of thoughts, to be read: "none" | "auto" | "concise" | "detailed", or "default", which is Anthropic's: unless the
    # model's own way is another. None: the client does not say.
    summary: str | None = None


class Request(Struct, frozen=True, gc=False):
    """A whole request. Instructions stand in `messages` with role "system" or "developer", in their place."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool | Opaque, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False  # the client asked for usage in its stream
    response_format: ResponseFormat | None = None
    thinking: Thinking | None = None
    user: str | None = None
    service_tier: str | None = None
    extra: dict[str, Opaque] = field(default_factory=dict)  # top-level fields only one format knows, by name


class Usage(Struct, frozen=True, gc=False):
    """Tokens of one attempt. Totals include their details: cached and written within input, reasoning within output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # of input: read from the provider's cache
    cache_write_tokens: int = 0  # of input: written to the provider's cache
    cache_write_1h_tokens: int = 0  # of cache_write_tokens: kept for an hour
    reasoning_tokens: int = 0  # of output
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0


class Start(Struct, frozen=True, gc=False, tag="start"):
    """An answer begins; `usage` is what is known of it so far."""

    id: str
    model: str
    created: int = 0  # epoch seconds; 0: the format does not say
    usage: Usage | None = None


class PartStart(Struct, frozen=True, gc=False, tag="part_start"):
    """Part number `index` begins. `part` has what is known at once (a tool's id and name); its text comes in deltas.

    An Opaque part comes whole and has no deltas. A ToolUse starts with arguments "".
    """

    index: int
    part: Part


class PartDelta(Struct, frozen=True, gc=False, tag="part_delta"):
    """More of part `index`: text (of Text and Reasoning), JSON (of a ToolUse's arguments), a signature, citations, an
    addition."""

    index: int
    text: str = ""
    signature: str | None = None
    citations: tuple[Citation, ...] = ()
    extra: Opaque | None = None


class PartEnd(Struct, frozen=True, gc=False, tag="part_end"):
    """Part `index` is whole."""

    index: int


class Finish(Struct, frozen=True, gc=False, tag="finish"):
    """The answer is whole. It comes once, last, when usage is known (which may follow the reason on the wire)."""

    reason: FinishReason | None
    usage: Usage | None = None
    stop_sequence: str | None = None
    raw_reason: str | None = None  # as the provider spelt it


Event = Start | PartStart | PartDelta | PartEnd | Finish


class Response(Struct, frozen=True, gc=False):
    """A whole answer of one choice."""

    id: str
    model: str
    parts: tuple[Part, ...]
    finish_reason: FinishReason | None
    usage: Usage | None = None
    created: int = 0
    stop_sequence: str | None = None
    raw_reason: str | None = None


class _Growing:
    """A part that is told in deltas, and what they have added so far."""

    __slots__ = ("citations", "extras", "part", "signature", "texts")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.texts: list[str] = []
        self.citations: list[Citation] = []
        self.extras: list[Opaque] = []
        self.signature: str | None = None

    def add(self, delta: PartDelta) -> None:
        self.texts.append(delta.text)
        self.citations += delta.citations
        if delta.signature is not None:
            self.signature = delta.signature
        if delta.extra is not None:
            self.extras.append(delta.extra)

    def whole(self) -> Part:
        text = "".join(self.texts)
        match self.part:
            case Text() as part:
                return msgspec.structs.replace(
                    part,
                    text=part.text + text,
                    citations=(*part.citations, *self.citations),
                    extra=_gathered(part.extra, self.extras),
                )
            case Reasoning() as part:
                signature = part.signature if self.signature is None else self.signature
                return msgspec.structs.replace(part, text=part.text + text, signature=signature)
            case ToolUse() as part:
                arguments, extra = (part.arguments + text) or "{}", _gathered(part.extra, self.extras)
                return msgspec.structs.replace(part, arguments=arguments, extra=extra)
        return self.part


def fold(events: Iterable[Event]) -> Response:
    """The response that these events tell. Parts keep the order in which they started."""
    start = Start(id="", model="")
    finish = Finish(reason=None)
    parts: dict[int, _Growing] = {}
    for event in events:
        match event:
            case Start():
                start = event
            case PartStart(index=index, part=part):
                parts[index] = _Growing(part)
            case PartDelta(index=index):
                parts[index].add(event)
            case Finish():
                finish = event
            case PartEnd():
                pass
    return Response(
        id=start.id,
        model=start.model,
        parts=tuple(part.whole() for part in parts.values()),
        finish_reason=finish.reason,
        usage=finish.usage or start.usage,
        created=start.created,
        stop_sequence=finish.stop_sequence,
        raw_reason=finish.raw_reason,
    )


def tell(response: Response) -> list[Event]:
    """The response as events, each part in one delta: the inverse of `fold`."""
    events: list[Event] = [Start(id=response.id, model=response.model, created=response.created)]
    for index, part in enumerate(response.parts):
        match part:
            case Text(text=text, cache=cache, citations=citations, extra=extra, refusal=refusal):
                told = PartDelta(index, text, citations=citations, extra=extra)
                events += [PartStart(index, Text("", cache=cache, refusal=refusal)), told]
            case Reasoning(text=text, signature=signature):
                bare = msgspec.structs.replace(part, text="", signature=None)
                events += [PartStart(index, bare), PartDelta(index, text, signature=signature)]
            case ToolUse(arguments=arguments):
                events += [PartStart(index, msgspec.structs.replace(part, arguments="")), PartDelta(index, arguments)]
            case _:
                events.append(PartStart(index, part))
        events.append(PartEnd(index))
    events.append(
        Finish(
            reason=response.finish_reason,
            usage=response.usage,
            stop_sequence=response.stop_sequence,
            raw_reason=response.raw_reason,
        )
    )
    return events


def _gathered(first: Opaque | None, added: list[Opaque]) -> Opaque | None:
    """What stands beside a part in the end: of several additions of the last one's format, one JSON array."""
    told = [*([first] if first is not None else []), *added]
    own = [extra.raw for extra in told if extra.protocol == told[-1].protocol]
    if len(own) < 2:
        return told[-1] if told else None
    values = [msgspec.json.decode(raw) for raw in own]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return Opaque(told[-1].protocol, Raw(msgspec.json.encode(flat)))
