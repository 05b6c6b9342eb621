"""Whole answers of Bedrock's Converse: their JSON → our words. What blocks of streams share with them, too.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from base64 import b64decode
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from fairlead.chat import (
    Citation,
    FinishReason,
    Media,
    Opaque,
    Part,
    Reasoning,
    Response,
    Text,
    ToolUse,
)
from fairlead.errors import UpstreamBroken
from fairlead.protocols.codecs import bedrock_errors, bedrock_media, bedrock_usage
from fairlead.protocols.codecs.bedrock_models import NAME
from fairlead.protocols.envelope import NULL, any_value, given

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_MessageStopEvent.html
_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop", "tool_use": "tool_use", "max_tokens": "length", "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter", "content_filtered": "content_filter", "refusal": "refusal",
    "model_context_window_exceeded": "length", "pause_turn": "pause",
    # What the model said could not be read as an answer, or as a call; what could be read is there.
    "malformed_model_output": "stop", "malformed_tool_use": "stop",
}  # fmt: skip
SERVER_TOOL = "server_tool_use"  # a tool that the provider runs itself, so that the client must not
ANTHROPIC = "anthropic-messages"
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class _Call(Struct):
    toolUseId: str | None = None
    name: str | None = None
    type: str | None = None
    input: Raw = NULL


class _ThoughtText(Struct):
    text: str | None = None
    signature: str | None = None


class _Thought(Struct):
    """A whole thought, or what a delta adds to one."""

    reasoningText: _ThoughtText | None = None
    redactedContent: str | None = None
    text: str | None = None
    signature: str | None = None


class _Piece(Struct):
    text: str | None = None


class _Cited(Struct):
    content: list[_Piece] | None = None
    citations: list[Raw] | None = None


class _Bytes(Struct):
    bytes: str | None = None


class _Image(Struct):
    format: str | None = None
    source: _Bytes | None = None


class Block(Struct):
    """A content block of any kind, or what a delta adds to one, as far as we read it."""

    text: str | None = None
    toolUse: _Call | None = None
    reasoningContent: _Thought | None = None
    citationsContent: _Cited | None = None
    image: _Image | None = None
    citation: Raw = NULL


class _Message(Struct):
    content: list[Raw] | None = None


class _Output(Struct):
    message: _Message | None = None


class _Answer(Struct):
    output: _Output | None = None
    stopReason: str | None = None
    usage: Raw = NULL
    additionalModelResponseFields: Raw = NULL


class _Location(Struct):
    url: str | None = None


class _Where(Struct):
    web: _Location | None = None


class _Citation(Struct):
    title: str | None = None
    source: str | None = None
    sourceContent: list[_Piece] | None = None
    location: _Where | None = None


_answer = msgspec.json.Decoder(_Answer)
_block = msgspec.json.Decoder(Block)
_citation = msgspec.json.Decoder(_Citation)


def decode(body: bytes) -> Response:
    """Raises UpstreamBroken where `body` is no answer, another UpstreamError where it tells one."""
    try:
        answer = _answer.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamBroken(f"its answer is not one of a conversation ({error})") from None
    except UNREADABLE:
        raise UpstreamBroken("its answer is not JSON") from None
    if answer.output is None or answer.output.message is None:
        fields = any_value(body)
        if isinstance(fields, dict) and ("message" in fields or "__type" in fields):
            raise bedrock_errors.from_answer(fields)
        raise UpstreamBroken("its answer has no message")
    return Response(
        id="",  # the format has none, nor does it name the model
        model="",
        parts=tuple(part for raw in answer.output.message.content or () for part in parts_of(raw)),
        finish_reason=reason_of(answer.stopReason),
        usage=bedrock_usage.converse(answer.usage),
        stop_sequence=stop_sequence_of(answer.additionalModelResponseFields),
        raw_reason=answer.stopReason,
    )


def reason_of(told: str | None) -> FinishReason | None:
    return _REASONS.get(told, "stop") if told else None


def stop_sequence_of(raw: Raw) -> str | None:
    """Where a request asked for it (`additionalModelResponseFieldPaths`): at the top, or within `delta`."""
    told = any_value(raw)
    if isinstance(told, dict) and isinstance(told.get("delta"), dict):
        told = {**told["delta"], **told}
    sequence = told.get("stop_sequence") if isinstance(told, dict) else None
    return sequence if isinstance(sequence, str) else None


def parts_of(raw: Raw) -> Iterator[Part]:
    """The part that a block is; none for an empty text."""
    try:
        block = _block.decode(raw)
    except UNREADABLE:
        yield _opaque(raw)
        return
    if block.text is not None:
        if block.text:
            yield Text(block.text)
    elif block.citationsContent is not None:
        text = "".join(piece.text or "" for piece in block.citationsContent.content or ())
        citations = tuple(citation_of(citation) for citation in block.citationsContent.citations or ())
        yield Text(text, citations=citations)
    elif block.toolUse is not None and block.toolUse.type != SERVER_TOOL:
        yield call_of(block.toolUse, arguments_of(block.toolUse.input))
    elif block.reasoningContent is not None:
        yield _thought(block.reasoningContent)
    elif block.image is not None and block.image.source is not None and block.image.source.bytes is not None:
        yield _picture(block.image)
    else:
        yield _opaque(raw)


def _picture(image: _Image) -> Media:
    assert image.source is not None
    return Media("image", bedrock_media.mime("image", image.format), data=image.source.bytes)


def _opaque(raw: Raw) -> Opaque:
    """Kept as it stood, if it is JSON to the bottom: decoders skip what they do not read without looking at it."""
    if not bytes(raw).startswith(b"{"):
        raise UpstreamBroken("a block of its answer is not an object")
    if any_value(raw) is None:
        raise UpstreamBroken("a block of its answer is not JSON that we can read")
    return Opaque(NAME, raw)


def call_of(call: _Call, arguments: str) -> ToolUse:
    if not call.name or not call.toolUseId:
        raise UpstreamBroken("it called a tool without a name or an id")
    return ToolUse(call.toolUseId, call.name, arguments)


def arguments_of(raw: Raw) -> str:
    return bytes(given(raw) or b"{}").decode(errors="replace")


def _thought(thought: _Thought) -> Reasoning:
    """Only Claude proves what it thought, and its proofs hold wherever it is asked: they are Anthropic's.

    https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#thinking-encryption
    """
    if thought.redactedContent is not None:
        return redacted_of(thought.redactedContent)
    whole = thought.reasoningText or _ThoughtText(thought.text, thought.signature)
    return Reasoning(whole.text or "", whole.signature, protocol=ANTHROPIC)


def redacted_of(data: str) -> Reasoning:
    """Bedrock tells the bytes of Anthropic's cipher, which is a text, as base64 once more."""
    try:
        return Reasoning(encrypted=b64decode(data, validate=True).decode("ascii"), protocol=ANTHROPIC)
    except ValueError:  # another's
        return Reasoning(encrypted=data, protocol=NAME)


def citation_of(raw: Raw) -> Citation:
    """Where the words stand in the source is told, not where in the text; `raw` has it.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html
    """
    try:
        told = _citation.decode(raw)
    except UNREADABLE:
        told = _Citation()
    quote = "".join(piece.text or "" for piece in told.sourceContent or ())
    web = told.location.web if told.location is not None else None
    source = told.source if told.source is not None and told.source.startswith(("http://", "https://")) else None
    address = web.url if web is not None and web.url else source
    if any_value(raw) is None:
        raise UpstreamBroken("a citation of its answer is not JSON that we can read")
    return Citation(address, told.title, quote or None, raw=Opaque(NAME, raw))
