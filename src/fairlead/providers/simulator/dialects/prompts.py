"""Models that go on with a text: what the prompt says, by the marks around each turn, and what each family answers.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from fairlead.chat import Event, Finish, Message, PartDelta, Request, Response, Start, Text, Usage
from fairlead.errors import InvalidRequest
from fairlead.providers.simulator.dialects import Fields, Place, take

# What the user said, as each family marks it; the last one counts.
_TURNS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<\|(?:start_header_id|header_start)\|>user<\|(?:end_header_id|header_end)\|>\s*(.*?)<\|(?:eot_id|eot)\|>",
        r"\[INST\]\s*(?:<<SYS>>.*?<</SYS>>\s*)?(.*?)\s*\[/INST\]",
        r"(?:^|\n\n)Human: ?(.*?)(?=\n\nAssistant:|\n\nHuman:|$)",
        r"(?:^|\n)User: ?(.*?)\n(?=Bot:|Chatbot:|User:)",
    )
)
_LONG, _SHORT = {"length": "LENGTH", "refusal": "CONTENT_FILTERED"}, {"length": "length"}


def turns(prompt: str) -> tuple[Message, ...]:
    """A prompt as what stands before the user's last words, and those words."""
    for pattern in _TURNS:
        found = list(pattern.finditer(prompt))
        if found:
            before, words = prompt[: found[-1].start(1)], found[-1][1]
            return (*((Message("system", (Text(before),)),) if before else ()), Message("user", (Text(words),)))
    return (Message("user", (Text(prompt),)),)


class Family(ABC):
    """One family: the names of its settings, and how it answers, whole and in pieces."""

    prompt = "prompt"
    limit = "max_tokens"
    stop = "stop_sequences"
    within: str | None = None  # where the settings stand, if not beside the prompt
    needs_limit = False

    def read(self, fields: Fields, place: Place) -> Request:
        """Raises InvalidRequest."""
        prompt = take(fields, self.prompt, str)
        if prompt is None:
            told = f"Malformed input request: #: required key [{self.prompt}] not found, please reformat your input"
            raise InvalidRequest(told, param=self.prompt)
        settings = (take(fields, self.within, dict) or {}) if self.within else fields
        limit = take(settings, self.limit, int)
        if limit is None and self.needs_limit:
            raise InvalidRequest(f"{self.limit}: Field required", param=self.limit)
        return Request(
            model=place.model or "",
            messages=turns(prompt),
            max_tokens=limit,
            stop=tuple(take(settings, self.stop, list) or ()),
            stream=bool(place.stream),
        )

    @abstractmethod
    def whole(self, text: str, response: Response, usage: Usage) -> Fields:
        """An answer."""

    @abstractmethod
    def piece(self, text: str, number: int, usage: Usage) -> Fields:
        """One of a stream; `number`: how many pieces were told before."""

    @abstractmethod
    def last(self, response: Response, usage: Usage) -> Fields:
        """The last of a stream, which says why it ends."""


class Claude(Family):
    """https://docs.anthropic.com/en/api/complete"""

    limit = "max_tokens_to_sample"
    needs_limit = True

    def read(self, fields: Fields, place: Place) -> Request:
        request = super().read(fields, place)
        if "\n\nHuman:" not in fields["prompt"] and not fields["prompt"].startswith("Human:"):
            raise InvalidRequest('prompt must start with "\n\nHuman:" turn', param="prompt")
        return request

    def whole(self, text: str, response: Response, usage: Usage) -> Fields:
        reason = "max_tokens" if response.finish_reason == "length" else "stop_sequence"
        stop = response.stop_sequence or (None if reason == "max_tokens" else "\n\nHuman:")
        return {"type": "completion", "completion": text, "stop_reason": reason, "stop": stop}

    def piece(self, text: str, number: int, usage: Usage) -> Fields:
        return {"type": "completion", "completion": text, "stop_reason": None, "stop": None}

    def last(self, response: Response, usage: Usage) -> Fields:
        return self.whole("", response, usage)


class Titan(Family):
    prompt = "inputText"
    within = "textGenerationConfig"
    limit = "maxTokenCount"
    stop = "stopSequences"

    def whole(self, text: str, response: Response, usage: Usage) -> Fields:
        reason = _LONG.get(response.finish_reason or "", "FINISH")
        result = {"tokenCount": usage.output_tokens, "outputText": text, "completionReason": reason}
        return {"inputTextTokenCount": usage.input_tokens, "results": [result]}

    def piece(self, text: str, number: int, usage: Usage) -> Fields:
        told = {"totalOutputTextTokenCount": None, "completionReason": None}
        counted = None if number else usage.input_tokens
        return {"outputText": text, "index": 0, **told, "inputTextTokenCount": counted}

    def last(self, response: Response, usage: Usage) -> Fields:
        reason = _LONG.get(response.finish_reason or "", "FINISH")
        told = {"totalOutputTextTokenCount": usage.output_tokens, "completionReason": reason}
        return {"outputText": "", "index": 0, **told, "inputTextTokenCount": None}


class Llama(Family):
    limit = "max_gen_len"
    stop = "no such setting"

    def whole(self, text: str, response: Response, usage: Usage) -> Fields:
        reason = _SHORT.get(response.finish_reason or "", "stop")
        counted = {"prompt_token_count": usage.input_tokens, "generation_token_count": usage.output_tokens}
        return {"generation": text, **counted, "stop_reason": reason}

    def piece(self, text: str, number: int, usage: Usage) -> Fields:
        counted = {"prompt_token_count": None if number else usage.input_tokens, "generation_token_count": number + 1}
        return {"generation": text, **counted, "stop_reason": None}

    def last(self, response: Response, usage: Usage) -> Fields:
        return {**self.whole("", response, usage), "prompt_token_count": None}


class Command(Family):
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command.html"""

    def whole(self, text: str, response: Response, usage: Usage) -> Fields:
        generation = {"finish_reason": self._reason(response), "id": response.id, "text": text}
        return {"generations": [generation], "id": response.id, "prompt": ""}

    def piece(self, text: str, number: int, usage: Usage) -> Fields:
        return {"is_finished": False, "text": text}

    def last(self, response: Response, usage: Usage) -> Fields:
        return {"finish_reason": self._reason(response), "is_finished": True}

    def _reason(self, response: Response) -> str:
        return {"length": "MAX_TOKENS", "refusal": "ERROR_TOXIC"}.get(response.finish_reason or "", "COMPLETE")


class Mistral(Family):
    stop = "stop"

    def whole(self, text: str, response: Response, usage: Usage) -> Fields:
        return {"outputs": [{"text": text, "stop_reason": _SHORT.get(response.finish_reason or "", "stop")}]}

    def piece(self, text: str, number: int, usage: Usage) -> Fields:
        return {"outputs": [{"text": text, "stop_reason": None}]}

    def last(self, response: Response, usage: Usage) -> Fields:
        return self.whole("", response, usage)


class Pieces:
    """Events → the pieces of a text; what is no text is not told."""

    def __init__(self, family: Family, response: Response) -> None:
        self._family, self._response = family, response
        self._usage = response.usage or Usage()
        self._texts = {index for index, part in enumerate(response.parts) if isinstance(part, Text)}
        self._told = 0

    def __call__(self, event: Event) -> Iterator[Fields]:
        match event:
            case Start():
                self._told = 0
            case PartDelta(index=index, text=text) if text and index in self._texts:
                yield self._family.piece(text, self._told, self._usage)
                self._told += 1
            case Finish(usage=usage):
                yield self._family.last(self._response, usage or self._usage)


def text_of(response: Response) -> str:
    return "".join(part.text for part in response.parts if isinstance(part, Text))


CLAUDE, TITAN, LLAMA, COMMAND, MISTRAL = Claude(), Titan(), Llama(), Command(), Mistral()
