"""Which format is spoken at an address: its end tells, whatever base path stands before it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from fairlead.providers.simulator.dialects import HERE, Dialect, Place
from fairlead.providers.simulator.dialects.anthropic import COMPLETE, MESSAGES
from fairlead.providers.simulator.dialects.bedrock import CONVERSE
from fairlead.providers.simulator.dialects.bedrock_invoke import COUNTING, INVOKE
from fairlead.providers.simulator.dialects.cohere import CHAT_V1, CHAT_V2
from fairlead.providers.simulator.dialects.gemini import GEMINI
from fairlead.providers.simulator.dialects.ollama import CHAT as OLLAMA_CHAT
from fairlead.providers.simulator.dialects.ollama import GENERATE
from fairlead.providers.simulator.dialects.openai import CHAT, COMPLETIONS
from fairlead.providers.simulator.dialects.responses import RESPONSES

_COUNTS = Place(counts=True)
_MAX_REMEMBERED = 512  # addresses


class Rule(Struct, frozen=True):
    """Addresses that end in `pattern`, whose groups are the names of a `Place`."""

    pattern: re.Pattern[str]
    dialect: Dialect
    place: Place = HERE


def _rule(pattern: str, dialect: Dialect, place: Place = HERE) -> Rule:
    return Rule(re.compile(rf"(?:/.*)?/{pattern}"), dialect, place)


_STREAM, _WHOLE = Place(stream=True), Place(stream=False)
_MODEL = r"model/(?P<model>[^/]+)"
_GEMINI = r"(?:models|tunedModels|endpoints)/(?P<model>[^:]+)"

# The first that fits counts.
RULES = (
    _rule("chat/completions", CHAT),
    _rule("completions", COMPLETIONS),
    _rule("responses/input_tokens", RESPONSES, _COUNTS),
    _rule("responses", RESPONSES),
    _rule("messages/count_tokens", MESSAGES, _COUNTS),
    _rule("messages", MESSAGES),
    _rule("complete", COMPLETE),
    _rule(rf"{_MODEL}/count-tokens", COUNTING, _COUNTS),
    _rule(rf"{_MODEL}/invoke", INVOKE, _WHOLE),
    _rule(rf"{_MODEL}/invoke-with-response-stream", INVOKE, _STREAM),
    _rule(rf"{_MODEL}/converse", CONVERSE, _WHOLE),
    _rule(rf"{_MODEL}/converse-stream", CONVERSE, _STREAM),
    _rule(rf"{_GEMINI}:generateContent", GEMINI, _WHOLE),
    _rule(rf"{_GEMINI}:streamGenerateContent", GEMINI, _STREAM),
    _rule(rf"{_GEMINI}:countTokens", GEMINI, _COUNTS),
    _rule("v2/chat", CHAT_V2),
    _rule("v1/chat", CHAT_V1),
    _rule("api/chat", OLLAMA_CHAT),
    _rule("(?:api/)?generate", GENERATE),
    *(Rule(re.compile("/chat"), dialect) for dialect in (CHAT_V2, CHAT_V1, OLLAMA_CHAT)),  # whichever is served
)


class Paths:
    """Finds what is spoken where."""

    def __init__(self, protocols: Iterable[str] | None = None) -> None:
        """`protocols`: by name; None: all."""
        served = None if protocols is None else frozenset(protocols)
        self._rules = [rule for rule in RULES if served is None or rule.dialect.name in served]
        self._found: dict[str, tuple[Dialect, Place] | None] = {}

    def find(self, target: str) -> tuple[Dialect, Place] | None:
        """The format of the address `target`, and what else it says."""
        if target not in self._found:
            if len(self._found) >= _MAX_REMEMBERED:
                self._found.clear()
            self._found[target] = self._match(target)
        return self._found[target]

    def _match(self, target: str) -> tuple[Dialect, Place] | None:
        path, _, query = target.partition("?")
        for rule in self._rules:
            found = rule.pattern.fullmatch(path)
            if found is not None:
                return rule.dialect, _place(rule.place, found.groupdict(), query)
        return None

    def spoken(self, target: str, headers: Mapping[bytes, bytes]) -> Dialect:
        """The format of lists of models, and of what is said of addresses that nobody knows."""
        found = self.find(target)
        if found is not None:
            return found[0]
        served = {rule.dialect for rule in self._rules}
        if len({dialect.name for dialect in served}) == 1:
            return self._rules[0].dialect
        path = target.partition("?")[0]
        told = (
            (b"anthropic-version" in headers, MESSAGES),
            (b"x-goog-api-key" in headers or ("/v1beta/" in path and "/openai/" not in path), GEMINI),
            (path.endswith("/api/tags"), OLLAMA_CHAT),
            (path.endswith("/foundation-models"), CONVERSE),
            ("endpoint=" in target, CHAT_V2),
        )
        return next((dialect for says, dialect in told if says and dialect in served), CHAT)


def _place(place: Place, groups: Mapping[str, str | None], query: str) -> Place:
    """`place`, with what the address says."""
    model = groups.get("model")
    if model is None:
        return place
    array = bool(place.stream) and parse_qs(query).get("alt") != ["sse"]
    return Place(unquote(model), place.stream, place.counts, array)


def is_list(target: str) -> bool:
    """Whether `target` is where a vendor lists its models."""
    return target.partition("?")[0].endswith(("/models", "/api/tags", "/foundation-models"))


def credentials(target: str, headers: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """What may be a credential: in a header, or Gemini's `key`; of a signed request the id of the access key."""
    told = headers.get(b"authorization", b"")
    yield told.removeprefix(b"Bearer ")
    yield from (headers[name] for name in (b"x-api-key", b"api-key", b"x-goog-api-key") if name in headers)
    signed = re.search(rb"Credential=([^/,]+)/", told)
    if signed is not None:
        yield signed[1]
    for value in parse_qs(target.partition("?")[2]).get("key", ()):
        yield value.encode()
