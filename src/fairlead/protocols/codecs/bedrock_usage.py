"""Usage as Bedrock tells it. How it counts is a table in `counting`; lifetimes of the cache stand in a list."""

from typing import Any

from msgspec import Raw, structs

from fairlead.chat import Usage
from fairlead.protocols import counting
from fairlead.protocols.envelope import any_value

_CONVERSE = counting.COUNTING["bedrock-converse"]
INVOKE = counting.COUNTING["bedrock-invoke"]


def converse(raw: Raw) -> Usage | None:
    """What the object `usage` of Converse, and of Nova, says; never raises.

    Of `cacheDetails`, items of the ttl "1h" are within what was written to the cache.
    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CacheDetail.html
    """
    usage = _CONVERSE.usage(raw)
    if usage is None or not usage.cache_write_tokens or b'"1h"' not in bytes(raw):
        return usage
    told = any_value(raw)
    details = told.get("cacheDetails") if isinstance(told, dict) else None
    hour = sum(_tokens(item) for item in details if isinstance(item, dict)) if isinstance(details, list) else 0
    return structs.replace(usage, cache_write_1h_tokens=min(hour, usage.cache_write_tokens))


def _tokens(item: dict[str, Any]) -> int:
    count = item.get("inputTokens") if item.get("ttl") == "1h" else None
    return count if isinstance(count, int) and count > 0 else 0
