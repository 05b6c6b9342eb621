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
from fairlead.errors import UpstreamBroken, UpstreamError

_WHOLE = Guess(Counted(4.0), Counted(4.0))
_STREAMED = Guess(Counted(4.0), Counted(200.0))
_SPREAD = 0.1  # of lengths, in relation to the mean: with less there is no line to be drawn
_WEIGHT = 0.05  # of a new attempt against what was learned before
_MOST = 1000  # tokens of a byte: an image of a few bytes of address is many tokens, a billion is nonsense
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


class Learned(Struct):
    """Of one model, streamed or not; nothing yet, or two lines."""

    guess: Guess
    request: _Line | None = None
    answer: _Line | None = None

    def add(self, request_bytes: int, input_tokens: int, content_bytes: int, output_tokens: int) -> None:
        if self.request is None or self.answer is None:
            self.request, self.answer = _Line(request_bytes, input_tokens), _Line(content_bytes, output_tokens)
        else:
            self.request.add(request_bytes, input_tokens)
            self.answer.add(content_bytes, output_tokens)
        self.guess = Guess(self.request.counted(), self.answer.counted(), int(self.answer.tokens + 0.5))


class Estimates:
    """What was learned. One thread learns; any may ask."""

    def __init__(self) -> None:
        self._learned: dict[Key, Learned] = {}

    def of(self, key: Key) -> Learned:
        """What is learned of `key`, and will be."""
        known = self._learned.get(key)
        if known is None:
            while len(self._learned) >= _REMEMBERED:
                del self._learned[next(iter(self._learned))]
            known = self._learned[key] = Learned(_STREAMED if key[2] else _WHOLE)
        return known

    def learn(self, key: Key, *, request_bytes: int, input_tokens: int, content_bytes: int, output_tokens: int) -> None:
        """From an attempt that went well and told its usage. What is told of nothing, or absurd, is not learned."""
        told = request_bytes, input_tokens, content_bytes, output_tokens
        if min(told) > 0 and input_tokens <= request_bytes * _MOST and output_tokens <= content_bytes * _MOST:
            self.of(key).add(*told)


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
    if attempt.content_bytes and not _told_no(attempt):
        return Usage(sent(attempt), guess.answer.tokens(attempt.content_bytes, ahead=0.5)), True
    if _unknown(attempt):
        envelope = attempt.call.envelope
        stream = envelope is not None and envelope.stream
        return Usage(sent(attempt), 0 if stream else guess.output_tokens), True
    return Usage(), False


def sent(attempt: Attempt) -> int:
    """Input tokens of its request: an estimate."""
    return attempt.guess.request.tokens(len(attempt.call.body))


def _told_no(attempt: Attempt) -> bool:
    """Whether the provider's whole answer was an error."""
    error = attempt.error
    return attempt.first_content_us is None and isinstance(error, UpstreamError) and error.upstream_status is not None


def _unknown(attempt: Attempt) -> bool:
    """Whether it was sent, perhaps worked on and perhaps billed, and not answered."""
    if not attempt.sends:
        return False
    if attempt.outcome in ("cancelled", "interrupted"):
        return attempt.status is None or attempt.status < 300
    error = attempt.error
    if isinstance(error, UpstreamBroken) and error.upstream_status is None and attempt.status is not None:
        return attempt.status < 300  # it answered, and the answer was of no use to us
    return isinstance(error, UpstreamError) and error.outcome_unknown


def interrupted(intent: Mapping[str, Any], *, content_bytes: int) -> Usage:
    """What an attempt used whose process died: up to where its answer came, or all of it if it was to come whole."""
    request = Counted(intent["request_bytes_per_token"], intent["request_around"])
    sent = request.tokens(intent["request_bytes"])
    if not intent["stream"]:
        return Usage(sent, intent["output_tokens"])
    answer = Counted(intent["content_bytes_per_token"], intent["content_around"])
    return Usage(sent, answer.tokens(content_bytes, ahead=0.5))
