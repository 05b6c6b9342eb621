"""Usage that a provider did not tell: an estimate, for the record only, and marked as one.

How many bytes a token takes is learned, model by model, from the attempts whose usage was told; until then a token is
taken for 4 bytes of request or whole answer, and for 200 bytes of a stream (an event that carries one token is about
that long), which is right within a factor of two.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from fairlead.call import Attempt, Guess
from fairlead.chat import Usage

_WHOLE = Guess(4.0, 4.0)
_STREAMED = Guess(4.0, 200.0)
_WEIGHT = 0.05  # of a new attempt against what was learned before
_REMEMBERED = 5_000  # models

Key = tuple[str, str, bool]  # provider, model, streamed


class _Learned(Struct):
    """Of one model, streamed or not: averages, the newest attempts counting most, and the guess they give."""

    request_bytes: float
    input_tokens: float
    content_bytes: float
    output_tokens: float
    guess: Guess

    def add(self, request_bytes: int, input_tokens: int, content_bytes: int, output_tokens: int) -> None:
        self.request_bytes += (request_bytes - self.request_bytes) * _WEIGHT
        self.input_tokens += (input_tokens - self.input_tokens) * _WEIGHT
        self.content_bytes += (content_bytes - self.content_bytes) * _WEIGHT
        self.output_tokens += (output_tokens - self.output_tokens) * _WEIGHT
        self.guess = _guess(self.request_bytes, self.input_tokens, self.content_bytes, self.output_tokens)


class Estimates:
    """What was learned. One thread learns; any may ask."""

    def __init__(self) -> None:
        self._learned: dict[Key, _Learned] = {}

    def guess(self, attempt: Attempt) -> Guess:
        """What `attempt` may come to use, should nobody ever tell."""
        envelope, endpoint = attempt.call.envelope, attempt.endpoint
        stream = envelope is not None and envelope.stream
        known = self._learned.get((endpoint.provider.name, endpoint.model, stream))
        if known is not None:
            return known.guess
        return _STREAMED if stream else _WHOLE

    def learn(self, key: Key, *, request_bytes: int, input_tokens: int, content_bytes: int, output_tokens: int) -> None:
        """From an attempt that went well and whose usage was told."""
        if min(request_bytes, input_tokens, content_bytes, output_tokens) <= 0:
            return
        known = self._learned.get(key)
        if known is not None:
            known.add(request_bytes, input_tokens, content_bytes, output_tokens)
            return
        while len(self._learned) >= _REMEMBERED:
            del self._learned[next(iter(self._learned))]
        told = (request_bytes, input_tokens, content_bytes, output_tokens)
        self._learned[key] = _Learned(*told, _guess(*told))


def _guess(request_bytes: float, input_tokens: float, content_bytes: float, output_tokens: float) -> Guess:
    return Guess(request_bytes / input_tokens, content_bytes / output_tokens, int(output_tokens + 0.5))


def usage(attempt: Attempt) -> tuple[Usage, bool]:
    """What the attempt used, and whether that is an estimate.

    One that came to no answer used nothing, unless it was sent and nobody knows what became of it.
    """
    if attempt.usage is not None:
        return attempt.usage, False
    guess = attempt.guess
    if attempt.content_bytes:
        return Usage(_input(attempt), int(attempt.content_bytes / guess.bytes_per_token) + 1), True
    if _unknown(attempt):
        envelope = attempt.call.envelope
        stream = envelope is not None and envelope.stream
        return Usage(_input(attempt), 0 if stream else guess.output_tokens), True
    return Usage(), False


def _input(attempt: Attempt) -> int:
    return int(len(attempt.call.body) / attempt.guess.request_bytes_per_token) + 1


def _unknown(attempt: Attempt) -> bool:
    """Whether it was sent, perhaps worked on and perhaps billed, and not answered."""
    if attempt.outcome in ("cancelled", "interrupted"):
        return attempt.status is None or attempt.status < 300
    return getattr(attempt.error, "outcome_unknown", False)


def interrupted(intent: Mapping[str, Any], *, content_bytes: int) -> Usage:
    """What an attempt used whose process died: up to where its answer came, or all of it if it was to come whole."""
    sent = int(intent["request_bytes"] / intent["request_bytes_per_token"]) + 1
    if intent["stream"]:
        return Usage(sent, int(content_bytes / intent["bytes_per_token"] + 0.5))
    return Usage(sent, intent["output_tokens"])
