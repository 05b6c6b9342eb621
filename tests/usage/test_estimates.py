"""Usage that a provider did not tell."""

from fairlead.call import Attempt, Call
from fairlead.chat import Usage
from fairlead.protocols import Envelope
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.resources import Endpoint, Provider
from fairlead.usage import estimates


def attempt(*, stream: bool, body: bytes = b"x" * 399, content_bytes: int = 0, usage: Usage | None = None) -> Attempt:
    call = Call("gen-1", OpenAIChat(), "chat", {}, started_us=1, started=0.0, body=body, attempts=[])
    call.envelope = Envelope({}, "m", stream, None, 1, False)
    endpoint = Endpoint(Provider("lab", {}), "m")
    return Attempt(call, 1, endpoint, "openai-chat", 1, usage=usage, content_bytes=content_bytes)


def test_what_was_told_is_taken_even_if_it_is_nothing() -> None:
    told = Usage(0, 0)
    assert estimates.usage(attempt(stream=True, usage=told, content_bytes=10_000)) == (told, False)


def test_an_attempt_without_an_answer_used_nothing_and_that_is_no_estimate() -> None:
    assert estimates.usage(attempt(stream=False)) == (Usage(), False)


def test_a_whole_answer_counts_four_bytes_a_token() -> None:
    assert estimates.usage(attempt(stream=False, content_bytes=399)) == (Usage(100, 100), True)


def test_a_streamed_answer_counts_an_event_of_two_hundred_bytes_a_token() -> None:
    assert estimates.usage(attempt(stream=True, content_bytes=1_999)) == (Usage(100, 10), True)
