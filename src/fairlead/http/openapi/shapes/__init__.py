"""What stands in requests and answers, as structs that the OpenAPI document is made of. Nothing is decoded by them.

In requests a field is one of two kinds: what the gateway checks itself, and what `passed` says of it, which goes to
the provider as it is. Fields that are not named here go there, too. Answers have what their format promises; of bytes
that pass through, a provider may leave out or add what it likes.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

Unset = UnsetType  # the field may be absent
Maybe = UnsetType | None  # ... or null

PASSED = "x-passed-on"  # marks what the gateway does not look at


def passed(description: str, **schema: Any) -> Meta:
    return Meta(description=f"{description} Passed on.", extra_json_schema={PASSED: True, **schema})


Date = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]
Streams = Annotated[bool | Maybe, Meta(description="Whether the answer comes as a stream of server-sent events.")]
ModelName = Annotated[
    str | Maybe,
    Meta(
        description=(
            "A name of `GET /v1/models`, `provider/model`, or a name that a provider claims (`gpt-…`, `claude-…`)."
            " Without it `[defaults] model` is taken, if that is set."
        ),
        examples=["gpt-4o-mini"],
    ),
]
Temperature = Annotated[float | Maybe, passed("How much chance there is, 0 to 2.")]
TopP = Annotated[float | Maybe, passed("Of which share of the likeliest tokens one is drawn.")]
Stop = Annotated[str | list[str] | Maybe, passed("Where the answer ends.")]
Seed = Annotated[int | Maybe, passed("For answers that repeat themselves.")]
User = Annotated[str | Maybe, passed("Who it is for.")]
Penalty = Annotated[float | Maybe, passed("Against repetition, -2 to 2.")]


class StreamOptions(Struct, kw_only=True):
    """How a stream comes. Other fields are passed on; one that is `include_usage` in other capitals is refused."""

    include_usage: Annotated[
        bool | Maybe, Meta(description="Whether the last event before the end tells what was used.")
    ] = UNSET
