"""Usage that a provider did not tell: an estimate, for the record only, and marked as one.

A token is taken for 4 bytes of request or whole answer, and for 200 bytes of a stream (an event that carries one token
is about that long). Real figures differ by model and language; these are right within a factor of two.
"""

from fairlead.call import Attempt
from fairlead.chat import Usage

_BYTES_A_TOKEN = 4
_STREAM_BYTES_A_TOKEN = 200


def usage(attempt: Attempt) -> tuple[Usage, bool]:
    """What the attempt used, and whether that is an estimate. An attempt without an answer used nothing."""
    if attempt.usage is not None:
        return attempt.usage, False
    if not attempt.content_bytes:
        return Usage(), False
    call = attempt.call
    streamed = call.envelope is not None and call.envelope.stream
    size = _STREAM_BYTES_A_TOKEN if streamed else _BYTES_A_TOKEN
    return Usage(len(call.body) // _BYTES_A_TOKEN + 1, attempt.content_bytes // size + 1), True
