"""Amazon Bedrock's InvokeModel with models that go on with a text, by `botocore`; what is in it has no SDK, and is read
as their pages have it. https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from fairlead.conformance import Answer, Finish, Mismatch, Told, Turn, Used
from fairlead.conformance.formats.bedrock_invoking import Gathering, Invoke
from fairlead.conformance.formats.shared import finish, take

_METRICS = "amazon-bedrock-invocationMetrics"


class Family(Struct, frozen=True):
    """A family of models: how requests and answers are called. Names of nested fields have dots."""

    fields: str  # all that a request may have
    texts: str  # where an answer has them, and a chunk; the first of each place that is there
    reasons: dict[str, Finish]
    prompt: str = "prompt"
    within: str = ""  # where the settings stand, if not beside the prompt
    settings: str = ""  # all that may stand there
    max_tokens: str = "max_tokens"
    stop: str = "stop_sequences"
    several: str = ""  # answers are in a list of this name, and their reasons
    reason: str = "stop_reason"
    used: tuple[str, str, str] | None = None  # tokens of the prompt, of an answer, of a stream; None: Bedrock counts


# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-text-completion.html
CLAUDE = Family(
    "prompt max_tokens_to_sample temperature top_p top_k stop_sequences",
    "completion",
    {"stop_sequence": "stop_sequence", "max_tokens": "length"},
    max_tokens="max_tokens_to_sample",
)
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html
TITAN = Family(
    "inputText textGenerationConfig",
    "outputText",
    {
        "FINISH": "stop", "FINISHED": "stop", "LENGTH": "length", "STOP_CRITERIA_MET": "stop_sequence",
        "CONTENT_FILTERED": "refusal",
    },
    prompt="inputText",
    within="textGenerationConfig",
    settings="temperature topP maxTokenCount stopSequences",
    max_tokens="maxTokenCount",
    stop="stopSequences",
    several="results",
    reason="completionReason",
    used=("inputTextTokenCount", "tokenCount", "totalOutputTextTokenCount"),
)  # fmt: skip
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
LLAMA = Family(
    "prompt temperature top_p max_gen_len",
    "generation",
    {"stop": "stop", "length": "length"},
    max_tokens="max_gen_len",
    used=("prompt_token_count", "generation_token_count", "generation_token_count"),
)
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command.html
COMMAND = Family(
    "prompt temperature p k max_tokens stop_sequences return_likelihoods stream num_generations logit_bias truncate",
    "text",
    {"COMPLETE": "stop", "MAX_TOKENS": "length", "ERROR_TOXIC": "refusal"},
    several="generations",
    reason="finish_reason",
)
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html
MISTRAL = Family(
    "prompt max_tokens stop temperature top_p top_k",
    "text",
    {"stop": "stop", "length": "length"},
    stop="stop",
    several="outputs",
)
_FAMILIES = {
    "anthropic.": CLAUDE, "amazon.titan": TITAN, "meta.": LLAMA, "cohere.": COMMAND, "mistral.": MISTRAL,
}  # fmt: skip


def _family(model: str) -> Family:
    return next(family for prefix, family in _FAMILIES.items() if model.startswith(prefix))


class Judge(Invoke):
    """What such models are sent, and answer."""

    def heard(self, model: str, sent: dict[str, Any]) -> Told:
        self._of = family = _family(model)
        take(sent, family.fields, "the request")
        settings = sent.get(family.within, {}) if family.within else sent
        if family.within:
            take(settings, family.settings, family.within)
        if not isinstance(sent[family.prompt], str):
            raise Mismatch("the prompt is no text")
        told = Told(model, [Turn("user", [sent[family.prompt]])], prompt=True)
        told.max_tokens, told.temperature = settings.get(family.max_tokens), settings.get("temperature")
        told.stop = tuple(settings.get(family.stop, ()))
        return told

    def read(self, told: bytes, headers: Mapping[str, str]) -> Answer:
        fields = msgspec.json.decode(told)
        answer = Answer()
        _add(self._of, answer, fields)
        answer.used = _used(self._of, fields, headers)
        return answer

    def gathering(self) -> Gathering:
        return _Gathered(self._of)


def _add(family: Family, answer: Answer, fields: dict[str, Any]) -> None:
    """Add what an answer says, or a chunk of one."""
    (told,) = fields.get(family.several) or [fields]
    text = told.get(family.texts) or ""
    answer.text += text
    answer.pieces += bool(text)
    answer.finish = finish(told.get(family.reason), family.reasons) or answer.finish


def _used(family: Family, fields: dict[str, Any], headers: Mapping[str, str]) -> Used:
    """Tokens of a whole answer."""
    if family.used is None:
        names = ("input", "output", "cache-read-input", "cache-write-input")
        return _counted(*(int(headers.get(f"x-amzn-bedrock-{name}-token-count", 0)) for name in names))
    given, made, _ = family.used
    (told,) = fields.get(family.several) or [fields]
    return Used(fields[given], told[made])


def _counted(given: int, made: int, read: int, written: int) -> Used:
    """As Bedrock counts: tokens of the cache stand beside the others."""
    return Used(given + read + written, made, read)


class _Gathered:
    """The chunks of a stream, as they add up."""

    def __init__(self, family: Family) -> None:
        self.answer = Answer()
        self._family = family

    def add(self, told: bytes) -> None:
        fields = msgspec.json.decode(told)
        _add(self._family, self.answer, fields)
        used = self.answer.used
        if self._family.used is not None:
            given, _, made = self._family.used
            self.answer.used = Used(fields.get(given) or used.input, fields.get(made) or used.output)
        elif _METRICS in fields:
            names = ("inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
            self.answer.used = _counted(*(fields[_METRICS].get(name, 0) for name in names))

    def whole(self) -> Answer:
        if self.answer.finish is None:
            raise Mismatch("the stream ended without a chunk that says so")
        return self.answer
