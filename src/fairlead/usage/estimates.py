"""Usage that a provider did not tell: an estimate, for the record only, and marked as one.

How many bytes a token takes is learned, model by model, from the attempts whose usage was told; until then a token is
taken for 4 bytes of request or whole answer, and for 200 bytes of a stream (an event that carries one token is about
that long), which is right within a factor of two.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from fairlead.call import Attempt, Counted, Guess
from fairlead.chat import Usage

_WHOLE = Guess(Counted(4.0), Counted(4.0))
_STREAMED = Guess(Counted(4.0), Counted(200.0))
_SPREAD = 0.1  # of lengths, in relation to the mean: with less there is no line to be drawn
_WEIGHT = 0.05  # of a new attempt against what was learned before
_REMEMBERED = 5_000  # models

Key = tuple[str, str, bool]  # provider, model, streamed


class _Line(Struct):
    """Bytes against tokens: so many whatever the text, and so many for each token of it. The newest count most."""

    bytes: float
    tokens: float
    variance: float = 0.0  # of tokens
    covariance: float = 0.0

    def add(self, bytes: int, tokens: int) -> None:
        more, longer = tokens - self.tokens, bytes - self.bytes
        self.tokens += more * _WEIGHT
        self.bytes += longer * _WEIGHT
        self.variance = (1 - _WEIGHT) * (self.variance + _WEIGHT * more * more)
        self.covariance = (1 - _WEIGHT) * (self.covariance + _WEIGHT * more * longer)

    def counted(self) -> Counted:
        slope = self.bytes / self.tokens
        if self.variance > (_SPREAD * self.tokens) ** 2:
            slope = min(max(self.covariance / self.variance, slope / 4), slope)
        return Counted(slope, int(self.bytes - slope * self.tokens))


class _Learned(Struct):
    """Of one model, streamed or not."""

    request: _Line
    answer: _Line
    guess: Guess = Guess()

    def guessed(self) -> Guess:
        return Guess(self.request.counted(), self.answer.counted(), int(self.answer.tokens + 0.5))


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
            known.request.add(request_bytes, input_tokens)
            known.answer.add(content_bytes, output_tokens)
        else:
            while len(self._learned) >= _REMEMBERED:
                del self._learned[next(iter(self._learned))]
            known = _Learned(_Line(request_bytes, input_tokens), _Line(content_bytes, output_tokens))
            self._learned[key] = known
        known.guess = known.guessed()


def usage(attempt: Attempt) -> tuple[Usage, bool]:
    """What the attempt used, and whether that is an estimate.

    One that came to no answer used nothing, unless it was sent and nobody knows what became of it.
    """
    told, guess = attempt.usage, attempt.guess
    if told is not None:
        if attempt.outcome == "ok" or attempt.finish_reason is not None or not attempt.content_bytes:
            return told, False
        # What was told when the stream began: the request is counted, the answer is not.
        came = guess.answer.tokens(attempt.content_bytes, ahead=0.5)
        return structs.replace(told, output_tokens=max(told.output_tokens, came)), True
    if attempt.content_bytes:
        return Usage(sent(attempt), guess.answer.tokens(attempt.content_bytes, ahead=0.5)), True
    if _unknown(attempt):
        envelope = attempt.call.envelope
        stream = envelope is not None and envelope.stream
        return Usage(sent(attempt), 0 if stream else guess.output_tokens), True
    return Usage(), False


def sent(attempt: Attempt) -> int:
    """Input tokens of its request: an estimate."""
    return attempt.guess.request.tokens(len(attempt.call.body))


def _unknown(attempt: Attempt) -> bool:
    """Whether it was sent, perhaps worked on and perhaps billed, and not answered."""
    if not attempt.sends:
        return False
    if attempt.outcome in ("cancelled", "interrupted"):
        return attempt.status is None or attempt.status < 300
    return getattr(attempt.error, "outcome_unknown", False)


def interrupted(intent: Mapping[str, Any], *, content_bytes: int) -> Usage:
    """What an attempt used whose process died: up to where its answer came, or all of it if it was to come whole."""
    if not intent["stream"]:
        return Usage(intent["input_tokens"], intent["output_tokens"])
    counted = Counted(intent["bytes_per_token"], intent["around_bytes"])
    return Usage(intent["input_tokens"], counted.tokens(content_bytes, ahead=0.5))
