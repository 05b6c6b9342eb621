"""What estimates learn from: the attempts that were told, as they pass, and at a start the last ones there are."""

from collections.abc import Callable, Sequence

from fairlead.usage.estimates import Estimates
from fairlead.usage.records import ATTEMPT_COLUMNS, Row
from fairlead.usage.sinks import Batch

_SAMPLE = 20  # attempts of a batch
_AT = {name: ATTEMPT_COLUMNS.index(name) for name in ATTEMPT_COLUMNS}
_FACTS = ("provider", "model", "stream", "request_bytes", "input_tokens", "content_bytes", "output_tokens")
_PROVIDER, _MODEL, _STREAM, _REQUEST_BYTES, _INPUT, _CONTENT_BYTES, _OUTPUT = (_AT[name] for name in _FACTS)
_OUTCOME, _ESTIMATED = _AT["outcome"], _AT["estimated"]


def from_batches(estimates: Estimates) -> Callable[[Batch], None]:
    """A watcher of batches: learns from a few attempts of each."""

    def seen(batch: Batch) -> None:
        learn(estimates, batch.sample(_SAMPLE))

    return seen


def learn(estimates: Estimates, attempts: Sequence[Row]) -> None:
    """From `attempts`, in the order of their columns."""
    for row in attempts:
        if row[_OUTCOME] == "ok" and not row[_ESTIMATED]:
            estimates.learn(
                (row[_PROVIDER], row[_MODEL], bool(row[_STREAM])),
                request_bytes=row[_REQUEST_BYTES],
                input_tokens=row[_INPUT],
                content_bytes=row[_CONTENT_BYTES],
                output_tokens=row[_OUTPUT],
            )
