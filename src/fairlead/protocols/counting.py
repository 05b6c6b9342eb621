"""How each protocol counts tokens, as one table, and the reading of usage by it.

`chat.Usage` has totals that include their details. Providers differ in where a figure stands and in what is inside
what; a row says so, and names the public page that says so. Whatever stands in the place of usage, reading it never
raises, and every figure is at least 0 and at most 2**53 - 1:

- What is no number (null, text, a list, true, NaN), is negative or too large was not told. Digits in quotes are a
  number. Fractions are dropped.
- If several places tell one figure, the first that is not 0 counts, in the order of the table.
- A detail never exceeds its total: cached tokens are cut to the input; written ones to what is left of it (OpenRouter
  tells a cache of Gemini's that was made for this request as both); reasoning to the output; audio to its total, and
  images to what is left of that.
"""

from collections.abc import Callable, Iterable
from operator import add
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct, defstruct
from msgspec.structs import astuple

from fairlead.chat import Usage
from fairlead.protocols.envelope import given

Stands = Literal[
    "total",  # it is a total
    "within",  # a detail of its total
    "beside",  # to be added to its total
    "by_total",  # within its total, unless `total_tokens` says that it is beside
    "rest",  # what `total_tokens` has beyond its parts, where no such detail is told; beside its total
    "rounds",  # rounds of a model that the totals leave out, each told as the whole is; to be added
    "uncounted",  # not kept: within a total already, or no tokens
]


class Row(Struct, frozen=True):
    """Where one figure stands in the object that is usage, and how it relates to its total."""

    figure: str  # a field of `chat.Usage`, or a word for what is not one
    place: str  # dots between levels; of a list, the items of this type: `iterations[compaction]`
    stands: Stands
    source: str
    vendor: str = ""  # the first known to spell it so, where that is not who made the protocol


_CHAT = "https://platform.openai.com/docs/api-reference/chat/object"
_OPENAI_CACHE = "https://platform.openai.com/docs/guides/prompt-caching"
_OPENROUTER = "https://openrouter.ai/docs/use-cases/usage-accounting"
_XAI = "https://docs.x.ai/docs/key-information/consumption-and-rate-limits"
_GEMINI = "https://ai.google.dev/gemini-api/docs/thinking"
_GEMINI_USAGE = "https://ai.google.dev/api/generate-content"
_GEMINI_CACHE = "https://ai.google.dev/gemini-api/docs/caching"
_DEEPSEEK = "https://api-docs.deepseek.com/guides/kv_cache"
_KIMI = "https://platform.moonshot.ai/docs/api/chat"
_MISTRAL = "https://docs.mistral.ai/studio-api/conversations/advanced/prompt-caching"
_PERPLEXITY = "https://docs.perplexity.ai/api-reference/chat-completions-post"
_LITELLM = "https://docs.litellm.ai/docs/completion/prompt_caching"
_GROQ = "https://console.groq.com/docs/api-reference"
_PREDICTED = "https://platform.openai.com/docs/guides/predicted-outputs"
_MESSAGES = "https://docs.anthropic.com/en/api/messages"
_STREAMING = "https://docs.anthropic.com/en/api/messages-streaming"
_ANTHROPIC_CACHE = "https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching"
_THINKING = "https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"
_COMPACTION = "https://platform.claude.com/docs/en/build-with-claude/compaction"
_ADVISOR = "https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool"
_SEARCH = "https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/web-search-tool"
_CONVERSE = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"
_INVOKE_STREAM = (
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html"
)
_LLAMA = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html"
_TITAN = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html"
_NOVA = "https://docs.aws.amazon.com/nova/latest/userguide/prompt-caching.html"
_COHERE = "https://docs.cohere.com/reference/chat"
_COHERE_V1 = "https://docs.cohere.com/reference/chat-v1"
_COHERE_STREAM = "https://docs.cohere.com/reference/chat-stream"
_COHERE_PRICES = "https://docs.cohere.com/docs/how-does-cohere-pricing-work"
_OLLAMA = "https://docs.ollama.com/api/usage"

_OPENAI_ROWS = (
    Row("input_tokens", "prompt_tokens", "total", _CHAT),
    Row("output_tokens", "completion_tokens", "total", _CHAT),
    Row("total_tokens", "total_tokens", "total", _CHAT),
    Row("cached_tokens", "prompt_tokens_details.cached_tokens", "by_total", _OPENAI_CACHE),
    Row("cached_tokens", "prompt_cache_hit_tokens", "by_total", _DEEPSEEK, "DeepSeek"),
    Row("cached_tokens", "cached_tokens", "by_total", _KIMI, "Moonshot"),
    Row("cached_tokens", "num_cached_tokens", "by_total", _MISTRAL, "Mistral"),
    Row("cached_tokens", "cache_read_input_tokens", "by_total", _LITELLM, "LiteLLM"),
    Row("cache_miss", "prompt_cache_miss_tokens", "uncounted", _DEEPSEEK, "DeepSeek"),
    Row("cache_write_tokens", "prompt_tokens_details.cache_write_tokens", "by_total", _OPENROUTER, "OpenRouter"),
    Row("cache_write_tokens", "cache_creation_input_tokens", "by_total", _LITELLM, "LiteLLM"),
    # xAI counts reasoning beside the completion; so does Gemini, which tells it only as the rest of the total.
    Row("reasoning_tokens", "completion_tokens_details.reasoning_tokens", "by_total", _XAI),
    Row("reasoning_tokens", "reasoning_tokens", "by_total", _PERPLEXITY, "Perplexity"),
    Row("reasoning_tokens", "total_tokens", "rest", _GEMINI, "Gemini"),
    Row("input_audio_tokens", "prompt_tokens_details.audio_tokens", "within", _CHAT),
    Row("output_audio_tokens", "completion_tokens_details.audio_tokens", "within", _CHAT),
    Row("input_image_tokens", "prompt_tokens_details.image_tokens", "within", _XAI, "xAI"),
    Row("output_image_tokens", "completion_tokens_details.image_tokens", "within", _OPENROUTER, "OpenRouter"),
    Row("predicted", "completion_tokens_details.accepted_prediction_tokens", "uncounted", _PREDICTED),
    Row("predicted", "completion_tokens_details.rejected_prediction_tokens", "uncounted", _PREDICTED),
    Row("input_video", "prompt_tokens_details.video_tokens", "uncounted", _OPENROUTER, "OpenRouter"),
    Row("searches", "server_tool_use_details.web_search_requests", "uncounted", _OPENROUTER, "OpenRouter"),
    Row("searches", "num_sources_used", "uncounted", _XAI, "xAI"),
)

_ANTHROPIC_ROWS = (
    Row("input_tokens", "input_tokens", "total", _MESSAGES),
    Row("output_tokens", "output_tokens", "total", _MESSAGES),
    Row("cached_tokens", "cache_read_input_tokens", "beside", _ANTHROPIC_CACHE),
    Row("cache_write_tokens", "cache_creation_input_tokens", "beside", _ANTHROPIC_CACHE),
    # By lifetime; both are within what was written, and tell it where the sum is missing.
    Row("cache_write_5m_tokens", "cache_creation.ephemeral_5m_input_tokens", "within", _ANTHROPIC_CACHE),
    Row("cache_write_1h_tokens", "cache_creation.ephemeral_1h_input_tokens", "within", _ANTHROPIC_CACHE),
    Row("reasoning_tokens", "output_tokens_details.thinking_tokens", "within", _THINKING),
    # Rounds of the model. What it said is within the totals; compaction and the advisor (another model, which the
    # gateway has no other record of) are not.
    Row("compaction", "iterations[compaction]", "rounds", _COMPACTION),
    Row("advisor", "iterations[advisor_message]", "rounds", _ADVISOR),
    Row("said", "iterations[message]", "uncounted", _COMPACTION),
    Row("searches", "server_tool_use.web_search_requests", "uncounted", _SEARCH),
)

_CONVERSE_ROWS = (
    Row("input_tokens", "inputTokens", "total", _CONVERSE),
    Row("output_tokens", "outputTokens", "total", _CONVERSE),
    Row("cached_tokens", "cacheReadInputTokens", "beside", _CONVERSE),
    Row("cached_tokens", "cacheReadInputTokenCount", "beside", _NOVA),
    Row("cache_write_tokens", "cacheWriteInputTokens", "beside", _CONVERSE),
    Row("cache_write_tokens", "cacheWriteInputTokenCount", "beside", _NOVA),
    # What is kept for an hour is an item of a list, by lifetime: `cacheDetails`, read by `bedrock_usage`.
)

# The metrics of a stream's last frame, and what models tell themselves.
_INVOKE_ROWS = (
    Row("input_tokens", "inputTokenCount", "total", _INVOKE_STREAM),
    Row("input_tokens", "inputTextTokenCount", "total", _TITAN),
    Row("input_tokens", "prompt_token_count", "total", _LLAMA),
    Row("output_tokens", "outputTokenCount", "total", _INVOKE_STREAM),
    Row("output_tokens", "totalOutputTextTokenCount", "total", _TITAN),
    Row("output_tokens", "generation_token_count", "total", _LLAMA),
    Row("cached_tokens", "cacheReadInputTokenCount", "beside", _INVOKE_STREAM),
    Row("cache_write_tokens", "cacheWriteInputTokenCount", "beside", _INVOKE_STREAM),
)

# `tokens` are what the model read and wrote, with what Cohere puts around a prompt; only those hold the cached ones.
# What is billed is less (the client's own words), and stands in where the tokens are not told.
_COHERE_ROWS = (
    Row("input_tokens", "tokens.input_tokens", "total", _COHERE),
    Row("output_tokens", "tokens.output_tokens", "total", _COHERE),
    Row("cached_tokens", "cached_tokens", "within", _COHERE),
    Row("input_tokens", "billed_units.input_tokens", "total", _COHERE_PRICES),
    Row("output_tokens", "billed_units.output_tokens", "total", _COHERE_PRICES),
    Row("searches", "billed_units.search_units", "uncounted", _COHERE_PRICES),
)

# The whole answer, or the last line of a stream. Servers of 2024 tell nothing of a prompt that is cached whole.
_OLLAMA_ROWS = (
    Row("input_tokens", "prompt_eval_count", "total", _OLLAMA),
    Row("output_tokens", "eval_count", "total", _OLLAMA),
    Row("cached_tokens", "prompt_eval_cached_count", "within", _OLLAMA),
)

# The total is the sum of prompt, prompts of tools, candidates and thoughts. Tokens by kind (sound, images) are items of
# lists: `promptTokensDetails` and the like, read by `gemini_usage`.
_GEMINI_ROWS = (
    Row("input_tokens", "promptTokenCount", "total", _GEMINI_USAGE),
    Row("input_tokens", "toolUsePromptTokenCount", "beside", _GEMINI_USAGE),
    Row("output_tokens", "candidatesTokenCount", "total", _GEMINI_USAGE),
    Row("reasoning_tokens", "thoughtsTokenCount", "beside", _GEMINI),
    Row("cached_tokens", "cachedContentTokenCount", "within", _GEMINI_CACHE),
    Row("total", "totalTokenCount", "uncounted", _GEMINI_USAGE),
)

_RESPONSES = "https://platform.openai.com/docs/api-reference/responses/object"

_RESPONSES_ROWS = (
    Row("input_tokens", "input_tokens", "total", _RESPONSES),
    Row("output_tokens", "output_tokens", "total", _RESPONSES),
    Row("total_tokens", "total_tokens", "total", _RESPONSES),
    Row("cached_tokens", "input_tokens_details.cached_tokens", "by_total", _RESPONSES),
    Row("cache_write_tokens", "input_tokens_details.cache_write_tokens", "by_total", _RESPONSES),
    Row("reasoning_tokens", "output_tokens_details.reasoning_tokens", "by_total", _RESPONSES),
    Row("searches", "num_sources_used", "uncounted", _XAI, "xAI"),
    Row("searches", "num_server_side_tools_used", "uncounted", _XAI, "xAI"),
)

TABLE: dict[str, tuple[Row, ...]] = {
    "openai-chat": _OPENAI_ROWS,
    "openai-completions": _OPENAI_ROWS,
    "openai-responses": _RESPONSES_ROWS,
    "anthropic-messages": _ANTHROPIC_ROWS,
    "anthropic-completions": (),  # they tell nothing: https://docs.claude.com/en/api/complete
    "gemini": _GEMINI_ROWS,
    "bedrock-converse": _CONVERSE_ROWS,
    "bedrock-invoke": _INVOKE_ROWS,
    "cohere-chat": _COHERE_ROWS,
    "cohere-chat-v1": _COHERE_ROWS,
    "ollama-chat": _OLLAMA_ROWS,
    "ollama-generate": _OLLAMA_ROWS,
}

# Where usage stands in an answer or an event; the first that tells something counts. The last of a stream is its usage.
USAGE: dict[str, tuple[Row, ...]] = {
    "openai-chat": (
        Row("usage", "usage", "total", _CHAT),
        Row("usage", "choices.usage", "total", _KIMI, "Moonshot"),
        Row("usage", "x_groq.usage", "total", _GROQ, "Groq"),
    ),
    "anthropic-messages": (
        Row("usage", "usage", "total", _MESSAGES),
        Row("usage", "message.usage", "total", _STREAMING),
    ),
    "anthropic-completions": (),
    "gemini": (Row("usage", "usageMetadata", "total", _GEMINI_USAGE),),
    "bedrock-converse": (Row("usage", "usage", "total", _CONVERSE),),
    "bedrock-invoke": (Row("usage", "amazon-bedrock-invocationMetrics", "total", _INVOKE_STREAM),),
    "cohere-chat": (
        Row("usage", "usage", "total", _COHERE),
        Row("usage", "delta.usage", "total", _COHERE_STREAM),
    ),
    "cohere-chat-v1": (
        Row("usage", "meta", "total", _COHERE_V1),
        Row("usage", "response.meta", "total", _COHERE_V1),
    ),
    "ollama-chat": (Row("usage", "", "total", _OLLAMA),),
    "ollama-generate": (Row("usage", "", "total", _OLLAMA),),
}
USAGE["openai-completions"] = USAGE["openai-chat"]
USAGE["openai-responses"] = (
    Row("usage", "usage", "total", _RESPONSES),
    Row("usage", "response.usage", "total", "https://platform.openai.com/docs/api-reference/responses-streaming"),
)

_MOST = 2**53 - 1  # the last count that every reader of JSON keeps exactly
_ROUNDS = "iterations"
_ADDED = frozenset(row.place[len(_ROUNDS) + 1 : -1] for row in _ANTHROPIC_ROWS if row.stands == "rounds")
_Count = Annotated[int, Meta(ge=0, le=_MOST)] | None
_Places = dict[str, Any]  # names that are read: None for a count, the names within for an object


class Counting:
    """How one protocol counts: its rows, made ready for reading, and what they say in our words."""

    def __init__(self, rows: tuple[Row, ...], words: Callable[[Any], Usage | None]) -> None:
        """`words` gets a `shape`: an object with the attributes that `rows` name, each None where it was not told."""
        self._places = _places(rows)
        self._input = next(row.place for row in rows if row.figure == "input_tokens") if rows else ""
        self._has_rounds = any(row.stands == "rounds" for row in rows)
        self.shape = _shape(self._places, rounds=self._has_rounds)
        self._decode = msgspec.json.Decoder(self.shape).decode
        self._words = words

    def usage(self, raw: Raw) -> Usage | None:
        """What `raw`, the JSON that stands in the place of usage, says in our words.

        None where it tells neither input nor output. Never raises.
        """
        if given(raw) is None:  # as most chunks of a stream
            return None
        try:
            return self._words(self._decode(raw))
        except (ValueError, RecursionError):
            return self._words(self.told(raw))

    def words(self, told: Any) -> Usage | None:
        """What `told` says in our words; None where it tells neither input nor output."""
        return None if told is None else self._words(told)

    def told(self, raw: Raw, before: Any = None) -> Any:
        """The counts of `raw`, by their names there; those told `before` it in the same stream are brought up to it.

        Counts are cumulative: later ones stand for earlier ones. A 0 does so only where input is told with it: some
        servers fill with 0 what they told before. Never raises.
        """
        try:
            told = self._decode(raw)
        except (ValueError, RecursionError):  # something in it is no count, or it is no object
            told = msgspec.convert(self._cleaned(_object(raw)), self.shape)
        if before is None:
            return told
        _bring_up(before, told, zeros=bool(getattr(told, self._input, None)))
        return before

    def _cleaned(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What of `fields` has the shape that is read."""
        told = _cleaned(fields, self._places)
        rounds = fields.get(_ROUNDS)
        if self._has_rounds and isinstance(rounds, list):
            kept = [each for each in rounds if isinstance(each, dict) and str(each.get("type")) in _ADDED]
            told[_ROUNDS] = [{**_cleaned(each, self._places), "type": each["type"]} for each in kept]
        return told


def _bring_up(before: Any, told: Any, *, zeros: bool) -> None:
    for name, value in zip(before.__struct_fields__, astuple(told), strict=True):
        held = getattr(before, name)
        if isinstance(held, Struct) and value is not None:
            _bring_up(held, value, zeros=zeros)
        elif value or held is None or (zeros and value is not None):
            setattr(before, name, value)


def latest(before: Usage | None, now: Usage | None) -> Usage | None:
    """What a stream says of usage that said `before`: counts are cumulative, and never all go back to nothing."""
    return before if now is None or (before is not None and not now.input_tokens + now.output_tokens) else now


# ---- what the rows say, in our words. Where several places tell one figure, the first in the table counts.


def _openai(told: Any) -> Usage | None:
    inputs, outputs = told.prompt_tokens, told.completion_tokens
    if inputs is None and outputs is None:
        return None
    inputs, outputs = inputs or 0, outputs or 0
    cached = told.prompt_cache_hit_tokens or told.cached_tokens or told.num_cached_tokens
    cached = cached or told.cache_read_input_tokens or 0
    written = told.cache_creation_input_tokens or 0
    reasoning = told.reasoning_tokens or 0
    input_audio = input_image = output_audio = output_image = 0
    details = told.prompt_tokens_details
    if details is not None:
        cached = details.cached_tokens or cached
        written = details.cache_write_tokens or written
        input_audio, input_image = details.audio_tokens or 0, details.image_tokens or 0
    details = told.completion_tokens_details
    if details is not None:
        reasoning = details.reasoning_tokens or reasoning
        output_audio, output_image = details.audio_tokens or 0, details.image_tokens or 0
    rest = (told.total_tokens or 0) - inputs - outputs
    if rest > 0 and (inputs or outputs):
        inputs, outputs, reasoning = _with_rest(rest, inputs, outputs, cached + written, reasoning)
    elif not (cached or written or reasoning or input_audio or output_audio or input_image or output_image):
        return Usage(inputs, outputs)
    return _settled(
        inputs, outputs, cached, written, 0, reasoning, input_audio, output_audio, input_image, output_image
    )


def _with_rest(rest: int, inputs: int, outputs: int, cache: int, reasoning: int) -> tuple[int, int, int]:
    """Input, output and reasoning where the total counts `rest` tokens beside the first two."""
    if rest == reasoning or (not reasoning and rest != cache):
        return inputs, outputs + rest, rest
    if rest == cache + reasoning:
        return inputs + cache, outputs + reasoning, reasoning
    return inputs + (cache if rest == cache else 0), outputs, reasoning


def _responses(told: Any) -> Usage | None:
    inputs, outputs = told.input_tokens, told.output_tokens
    if inputs is None and outputs is None:
        return None
    inputs, outputs = inputs or 0, outputs or 0
    cached = written = reasoning = 0
    details = told.input_tokens_details
    if details is not None:
        cached, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    details = told.output_tokens_details
    if details is not None:
        reasoning = details.reasoning_tokens or 0
    rest = (told.total_tokens or 0) - inputs - outputs
    if rest > 0 and (inputs or outputs) and rest in (reasoning, cached + written, cached + written + reasoning):
        inputs, outputs, reasoning = _with_rest(rest, inputs, outputs, cached + written, reasoning)
    return _settled(inputs, outputs, cached, written, 0, reasoning, 0, 0, 0, 0)


def _anthropic(told: Any) -> Usage | None:
    inputs, outputs = told.input_tokens, told.output_tokens
    if inputs is None and outputs is None:
        return None
    inputs, outputs, cached = inputs or 0, outputs or 0, told.cache_read_input_tokens or 0
    written, written_1h, reasoning = told.cache_creation_input_tokens or 0, 0, 0
    details = told.cache_creation
    if details is not None:
        written_1h = details.ephemeral_1h_input_tokens or 0
        written = written or written_1h + (details.ephemeral_5m_input_tokens or 0)
    details = told.output_tokens_details
    if details is not None:
        reasoning = details.thinking_tokens or 0
    own = _settled(inputs + cached + written, outputs, cached, written, written_1h, reasoning, 0, 0, 0, 0)
    # A round has no rounds of its own.
    return _with_rounds(own, told.iterations) if getattr(told, _ROUNDS, None) else own


def _gemini(told: Any) -> Usage | None:
    inputs, outputs, thoughts = told.promptTokenCount, told.candidatesTokenCount, told.thoughtsTokenCount
    if inputs is None and outputs is None and thoughts is None:
        return None
    inputs, thoughts = (inputs or 0) + (told.toolUsePromptTokenCount or 0), thoughts or 0
    cached = told.cachedContentTokenCount or 0
    return _settled(inputs, (outputs or 0) + thoughts, cached, 0, 0, thoughts, 0, 0, 0, 0)


def _converse(told: Any) -> Usage | None:
    inputs, outputs = told.inputTokens, told.outputTokens
    if inputs is None and outputs is None:
        return None
    cached = told.cacheReadInputTokens or told.cacheReadInputTokenCount or 0
    written = told.cacheWriteInputTokens or told.cacheWriteInputTokenCount or 0
    return _settled((inputs or 0) + cached + written, outputs or 0, cached, written, 0, 0, 0, 0, 0, 0)


def _invoke(told: Any) -> Usage | None:
    inputs = [told.inputTokenCount, told.inputTextTokenCount, told.prompt_token_count]
    outputs = [told.outputTokenCount, told.totalOutputTextTokenCount, told.generation_token_count]
    if all(count is None for count in inputs + outputs):
        return None
    cached, written = told.cacheReadInputTokenCount or 0, told.cacheWriteInputTokenCount or 0
    first_in, first_out = next(filter(None, inputs), 0), next(filter(None, outputs), 0)
    return _settled(first_in + cached + written, first_out, cached, written, 0, 0, 0, 0, 0, 0)


def _cohere(told: Any) -> Usage | None:
    tokens, billed = told.tokens, told.billed_units
    if tokens is None and billed is None:
        return None
    inputs = (tokens.input_tokens if tokens is not None else 0) or (billed.input_tokens if billed is not None else 0)
    outputs = (tokens.output_tokens if tokens is not None else 0) or (billed.output_tokens if billed is not None else 0)
    return _settled(inputs or 0, outputs or 0, told.cached_tokens or 0, 0, 0, 0, 0, 0, 0, 0)


def _ollama(told: Any) -> Usage | None:
    inputs, outputs = told.prompt_eval_count, told.eval_count
    if inputs is None and outputs is None:
        return None
    return _settled(inputs or 0, outputs or 0, told.prompt_eval_cached_count or 0, 0, 0, 0, 0, 0, 0, 0)


def _nothing(told: Any) -> None:
    return None


def _with_rounds(usage: Usage, rounds: Iterable[Any]) -> Usage:
    for each in rounds:
        spent = _anthropic(each) if each.type in _ADDED else None
        if spent is not None:
            usage = _settled(*map(add, astuple(usage), astuple(spent)))
    return usage


def _settled(
    inputs: int,
    outputs: int,
    cached: int,
    written: int,
    written_1h: int,
    reasoning: int,
    input_audio: int,
    output_audio: int,
    input_image: int,
    output_image: int,
) -> Usage:
    """Usage whose details do not exceed their totals. The parameters are the struct's fields, in their order."""
    if inputs > _MOST or outputs > _MOST:
        inputs, outputs = min(inputs, _MOST), min(outputs, _MOST)
    if cached + written > inputs:
        cached = min(cached, inputs)
        written = min(written, inputs - cached)
    if written_1h > written:
        written_1h = written
    if reasoning > outputs:
        reasoning = outputs
    if input_audio + input_image > inputs:
        input_audio = min(input_audio, inputs)
        input_image = min(input_image, inputs - input_audio)
    if output_audio + output_image > outputs:
        output_audio = min(output_audio, outputs)
        output_image = min(output_image, outputs - output_audio)
    # By position: names cost a tenth of the whole reading.
    return Usage(
        inputs, outputs, cached, written, written_1h, reasoning, input_audio, output_audio, input_image, output_image
    )


# ---- from rows to what is read


def _places(rows: tuple[Row, ...]) -> _Places:
    """The names that rows read, those of rounds apart."""
    places: _Places = {}
    for row in rows:
        if row.stands in ("total", "within", "beside", "by_total"):
            outer, _, name = row.place.rpartition(".")
            inside = places.setdefault(outer, {}) if outer else places
            inside[name] = None
    return places


def _shape(places: _Places, *, rounds: bool = False) -> Any:
    """A struct of these names. What it has no name for is skipped when it is decoded."""
    fields: list[Any] = [
        (name, _Count if inside is None else _shape(inside) | None, None) for name, inside in places.items()
    ]
    if rounds:
        spent = defstruct("Round", [*fields, ("type", str | None, None)], gc=False)
        fields.append((_ROUNDS, list[spent] | None, None))  # type: ignore[valid-type]
    return defstruct("Told", fields, gc=False)


# ---- whatever stands in the place of usage


def _object(raw: Raw, depth: int = 2) -> dict[str, Any]:
    """The JSON object `raw` without what cannot be read; {} if it is none."""
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        value = _piecemeal(raw, depth)
    return value if isinstance(value, dict) else {}


_fields = msgspec.json.Decoder(dict[str, Raw])


def _piecemeal(raw: Raw, depth: int) -> dict[str, Any]:
    try:
        return {name: _value(each, depth) for name, each in _fields.decode(raw).items()}
    except (ValueError, RecursionError):
        return {}


def _value(raw: Raw, depth: int) -> Any:
    if bytes(raw)[:1] == b"{":
        return _object(raw, depth - 1) if depth else None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


def _cleaned(fields: dict[str, Any], places: _Places) -> dict[str, Any]:
    """What of `fields` is a count that is read."""
    kept: dict[str, Any] = {}
    for name, inside in places.items():
        value = fields.get(name)
        if inside is None:
            if (count := _count(value)) is not None:
                kept[name] = count
        elif isinstance(value, dict):
            kept[name] = _cleaned(value, inside)
    return kept


def _count(value: Any) -> int | None:
    """The count that `value` is, None if it is none."""
    if isinstance(value, str) and len(value) <= 16 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        return None
    return int(value)


COUNTING = {
    "openai-chat": Counting(_OPENAI_ROWS, _openai),
    "openai-completions": Counting(_OPENAI_ROWS, _openai),
    "openai-responses": Counting(_RESPONSES_ROWS, _responses),
    "anthropic-messages": Counting(_ANTHROPIC_ROWS, _anthropic),
    "anthropic-completions": Counting((), _nothing),
    "gemini": Counting(_GEMINI_ROWS, _gemini),
    "bedrock-converse": Counting(_CONVERSE_ROWS, _converse),
    "bedrock-invoke": Counting(_INVOKE_ROWS, _invoke),
    "cohere-chat": Counting(_COHERE_ROWS, _cohere),
    "cohere-chat-v1": Counting(_COHERE_ROWS, _cohere),
    "ollama-chat": Counting(_OLLAMA_ROWS, _ollama),
    "ollama-generate": Counting(_OLLAMA_ROWS, _ollama),
}
