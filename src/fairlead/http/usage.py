"""What was used: `GET /v1/usage`, sums by group; `GET /v1/generation?id=…`, one call in OpenRouter's shape.

A key sees its own calls; with the scope `usage:read` or `admin:*` it sees everybody's.
"""

import asyncio
import base64
import binascii
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from fairlead.auth import Auth
from fairlead.catalog import Catalog
from fairlead.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from fairlead.http.identity import identified
from fairlead.resources import Principal

log = logging.getLogger("fairlead.usage")
T = TypeVar("T")
_Row = Mapping[str, Any]

_DEFAULT_US = 30 * 86_400_000_000
_AT_ONCE = 2  # questions to the database, each of sums and of generations
_TURN_SECONDS = 10.0  # how long a question may wait for those before it
_FLUSH_SECONDS = 1.0
_LARGEST_LIMIT = 1000
_PARAMETERS = ("from", "to", "group_by", "key", "model", "provider", "limit", "page")
_OWN = "own"


class Store(Protocol):
    """Where usage is. The calls block, and raise Unavailable when the database is away."""

    def summary(
        self,
        from_us: int,
        to_us: int,
        group_by: Sequence[str] = (),
        *,
        key_id: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        limit: int | None = None,
        after: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]: ...

    def generation(self, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None: ...


class _Place(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A question, and the group its last answer ended with: what a page's token says."""

    from_us: int
    to_us: int
    group_by: tuple[str, ...] = ()
    key: str | None = None
    model: str | None = None
    provider: str | None = None
    after: tuple[str, ...] | None = None


class Usage:
    """The two endpoints."""

    def __init__(self, store: Store, catalog: Catalog, auth: Auth, *, flush: Callable[[], Awaitable[object]]) -> None:
        """`flush` waits until all calls that are over now are in the database, or has waited long enough."""
        self.store, self.catalog, self.auth = store, catalog, auth
        self._flush = flush
        self._flushing: asyncio.Task[None] | None = None
        self._sums = _Turns(_AT_ONCE)
        self._look_ups = _Turns(_AT_ONCE)  # which are quick, and shall not wait for sums

    # ---- sums

    async def summary(self, request: Request) -> Response:
        principal = await self._identified(request)
        asked = _single(request, _PARAMETERS)
        limit = _limit(asked.get("limit"))
        place = _place(request, asked)
        key_id = _key_id(principal, place.key)
        try:
            rows = await self._sums.take(
                lambda: self.store.summary(
                    place.from_us,
                    place.to_us,
                    place.group_by,
                    key_id=key_id,
                    model=place.model,
                    provider=place.provider,
                    limit=limit + 1,
                    after=place.after,
                )
            )
        except ValueError:  # of the group it says to go on after
            raise _bad_page() from None
        more = len(rows) > limit
        rows = rows[:limit]
        following = None
        if more:
            after = tuple(rows[-1][name] for name in place.group_by)
            following = _token(msgspec.structs.replace(place, after=after))
        return _json(
            {
                "object": "list",
                "from": spelt(place.from_us),
                "to": spelt(place.to_us),
                "group_by": place.group_by,
                "data": rows,
                "has_more": more,
                "next_page": following,
            }
        )

    # ---- one generation

    async def generation(self, request: Request) -> Response:
        principal = await self._identified(request)
        id = _single(request, ("id",)).get("id")
        if not id:
            raise InvalidRequest("'id' is missing: it is the x-request-id of a call, 'gen-…'.", param="id")
        found = None
        if _ID.fullmatch(id):
            found = await self._look_ups.take(lambda: self.store.generation(id))
            if found is None:
                await self._settled()
                found = await self._look_ups.take(lambda: self.store.generation(id))
        if found is None or (found[0]["key_id"] != principal.key_id and not _reads_all(principal)):
            raise NotFound("There is no such generation, or this key may not see it.")
        return _json({"data": _generation(*found)})

    async def _settled(self) -> None:
        """Calls that were over when this was asked are in the database, or a second has gone by.

        There is one flush at a time, whoever waits for it: a database that is away shall not collect them.
        """
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                before = self._flushing
                if before is not None:  # it may have begun before that call was over
                    await asyncio.wait({before})
                if self._flushing is before:
                    self._flushing = asyncio.create_task(self._flushed())
                assert self._flushing is not None
                await asyncio.wait({self._flushing})
        except TimeoutError:
            pass

    async def _flushed(self) -> None:
        try:
            await self._flush()
        except Exception as error:
            log.warning("the ledger cannot be flushed: %s", error)

    async def _identified(self, request: Request) -> Principal:
        principal = await identified(self.auth, self.catalog, request)
        if not principal.may("inference") and not _reads_all(principal):
            raise Forbidden("This key may not ask for usage: it lacks the scope 'inference' or 'usage:read'.")
        return principal


class _Turns:
    """At most `count` threads at work. One that nobody waits for any more counts until it ends."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def take(self, work: Callable[[], T]) -> T:
        """What `work` gives, in a thread. Raises Unavailable if its turn does not come."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable("Others are asking for usage. Try again shortly.", retry_after=5) from None
        working = asyncio.create_task(asyncio.to_thread(work))
        working.add_done_callback(self._done)
        return await asyncio.shield(working)

    def _done(self, working: "asyncio.Task[Any]") -> None:
        self._free.release()
        if not working.cancelled():
            working.exception()  # it was told to whoever still waits


def _reads_all(principal: Principal) -> bool:
    return principal.may("usage:read") or principal.may("admin:*")


def _key_id(principal: Principal, wanted: str | None) -> str | None:
    """The key to sum up, None for all. Raises Forbidden."""
    if wanted == _OWN:
        return principal.key_id
    if _reads_all(principal):
        return wanted
    if wanted not in (None, principal.key_id):
        raise Forbidden("This key may ask for its own usage only: it lacks the scope 'usage:read'.", param="key")
    return principal.key_id


# ---- what is asked


def _single(request: Request, known: Sequence[str]) -> dict[str, str]:
    """The parameters, each of which may come once; `group_by` may be repeated. Raises InvalidRequest."""
    asked: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise InvalidRequest(
                f"There is no parameter {name[:100]!r}; known are {', '.join(known)}.", param=name[:100]
            )
        if name in asked and name != "group_by":
            raise InvalidRequest(f"'{name}' is given more than once.", param=name)
        asked[name] = f"{asked[name]},{value}" if name in asked else value
    return asked


def _place(request: Request, asked: Mapping[str, str]) -> _Place:
    """What is asked, by the page's token if there is one; what is said beside it must be the same."""
    told: dict[str, Any] = {name: asked[name] for name in ("key", "model", "provider") if name in asked}
    for name in ("from", "to"):
        if name in asked:
            told[f"{name}_us"] = moment(asked[name], param=name)
    if "group_by" in asked:
        told["group_by"] = tuple(dict.fromkeys(name.strip() for name in asked["group_by"].split(",") if name.strip()))
    if "page" in asked:
        place = _from_token(asked["page"])
        for name, value in told.items():
            if getattr(place, name) != value:
                told_as = name.removesuffix("_us")
                raise InvalidRequest(
                    f"This page belongs to a question with another '{told_as}'. Ask without 'page' first.", param="page"
                )
        return place
    now_us = time.time_ns() // 1_000_000 * 1000
    told.setdefault("to_us", now_us)
    told.setdefault("from_us", max(told["to_us"] - _DEFAULT_US, _EARLIEST_US))
    if told["to_us"] < told["from_us"]:
        raise InvalidRequest("'to' is before 'from': give a later one, or none for now.", param="to")
    return _Place(**told)


def _limit(told: str | None) -> int:
    if told is None:
        return 100
    if not re.fullmatch(r"[0-9]{1,4}", told) or not 1 <= int(told) <= _LARGEST_LIMIT:
        raise InvalidRequest(f"'limit' must be a number from 1 to {_LARGEST_LIMIT}.", param="limit")
    return int(told)


_ID = re.compile(r"gen-[0-9a-f]{32}")
_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d))?", re.ASCII)
_LOST_PLUS = re.compile(r"(?<=[0-9]) (?=[0-9]{2}:[0-9]{2}$)")  # a plus in a query means a space
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_EARLIEST_US, _LATEST_US = -62_135_596_800_000_000, _LAST_SECOND * 1_000_000 + 999_999  # the years a datetime knows


def moment(told: str, *, param: str) -> int:
    """Epoch microseconds, to the millisecond, of an RFC 3339 date or date-time, or of epoch seconds.

    Without an offset it is in UTC. Raises InvalidRequest naming `param`.
    """
    text = told.strip()
    if _SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        if int(whole) > _LAST_SECOND:
            raise InvalidRequest(
                f"'{param}' is too large for epoch seconds. Milliseconds are given as 1795219200.123.", param=param
            )
        return int(whole) * 1_000_000 + int((fraction + "000")[:3]) * 1000
    text = _LOST_PLUS.sub("+", text)
    try:
        if not _RFC_3339.fullmatch(text):
            raise ValueError
        found = datetime.fromisoformat(text.upper())
        found = found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"'{param}' is no time: {told[:100]!r}. Give a date (2026-11-21), a date-time (2026-11-21T09:30:00Z)"
            " or epoch seconds.",
            param=param,
        ) from None
    return (found - _EPOCH) // timedelta(milliseconds=1) * 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _token(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _from_token(told: str) -> _Place:
    """Nothing in it is trusted: whoever writes one asks no other question than the parameters can."""
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)), type=_Place)
    except (ValueError, binascii.Error, RecursionError):  # msgspec's errors are ValueErrors
        raise _bad_page() from None
    if place.after is None or not _EARLIEST_US <= place.from_us <= place.to_us <= _LATEST_US:
        raise _bad_page()
    return place


def _bad_page() -> InvalidRequest:
    return InvalidRequest("'page' is none: give the 'next_page' of the answer before, as it came.", param="page")


# ---- what is told


def spelt(us: int) -> str:
    """In RFC 3339: "2026-11-21T00:00:00Z", with milliseconds where there are any."""
    told = _EPOCH + timedelta(milliseconds=us // 1000)
    return told.replace(tzinfo=None).isoformat(timespec="milliseconds" if told.microsecond else "seconds") + "Z"


# As OpenAI names it, from what OpenAI's and Anthropic's providers say.
_REASONS = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop",
    "length": "length", "max_tokens": "length", "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "content_filter", "refusal": "content_filter",
}  # fmt: skip
_API_TYPES = dict.fromkeys(("chat", "completions", "messages", "complete"), "completions")


def _generation(call: _Row, attempts: Sequence[_Row]) -> dict[str, Any]:
    """A call as OpenRouter tells it (its `GenerationResponse`); null is what nobody knows.

    The last attempt is the one that answered: after content no other is made. Money counts all of them.
    """
    answer: _Row = attempts[-1] if attempts else {}
    costs = [attempt["cost_nano_usd"] for attempt in attempts]
    priced = [cost for cost in costs if cost is not None]
    cost = sum(priced) / 1e9
    native = bool(answer) and not answer["estimated"]  # else the provider told nothing
    first_us = call["first_content_us"]
    return {
        "id": call["id"],
        "request_id": call["id"],
        "upstream_id": answer.get("upstream_id"),
        "created_at": datetime.fromtimestamp(call["started_us"] / 1e6, UTC).isoformat(),
        "model": call["model"] or "",  # may not be null
        "provider_name": call["provider"],
        "streamed": bool(call["stream"]),
        "cancelled": call["outcome"] == "cancelled",
        "latency": None if first_us is None else _ms(first_us - call["started_us"]),
        "generation_time": None if first_us is None else _ms(call["ended_us"] - first_us),
        "moderation_latency": None,
        "finish_reason": _finish_reason(call, answer),
        "native_finish_reason": answer.get("finish_reason"),
        "tokens_prompt": answer.get("input_tokens"),
        "tokens_completion": answer.get("output_tokens"),
        "native_tokens_prompt": answer["input_tokens"] if native else None,
        "native_tokens_completion": answer["output_tokens"] if native else None,
        "native_tokens_completion_images": answer["output_image_tokens"] if native else None,
        "native_tokens_reasoning": answer["reasoning_tokens"] if native else None,
        "native_tokens_cached": answer["cached_tokens"] if native else None,
        # These two may not be null, so that 0 is also what had no price; `upstream_inference_cost` is null then.
        "total_cost": cost,
        "usage": cost,
        "upstream_inference_cost": cost if attempts and len(priced) == len(costs) else None,
        "cache_discount": None,
        "is_byok": False,  # may not be null; the credential is the gateway's, whoever calls
        "api_type": _API_TYPES.get(call["operation"]),
        "provider_responses": [_provider_response(attempt) for attempt in attempts],
        "origin": "",  # may not be null
        "data_region": "global",  # may not be null, and the others are claims
        **dict.fromkeys(_UNKNOWN),
    }


_UNKNOWN = (
    "app_id", "external_user", "http_referer", "num_fetches", "num_input_audio_prompt", "num_media_completion",
    "num_media_prompt", "num_search_results", "preset_id", "response_cache_source_id", "router", "service_tier",
    "session_id", "user_agent", "web_search_engine", "workspace_id",
)  # fmt: skip


def _finish_reason(call: _Row, answer: _Row) -> str | None:
    told = answer.get("finish_reason")
    if told is not None:
        return _REASONS.get(told, "stop")
    return "error" if call["outcome"] in ("failed", "interrupted") else None


def _provider_response(attempt: _Row) -> dict[str, Any]:
    """One attempt. The names of providers are a closed list of OpenRouter's own, so ours stands in the endpoint's."""
    came_us = attempt["first_content_us"] or attempt["ended_us"]
    told = {
        "endpoint_id": f"{attempt['provider']}/{attempt['model']}",
        "model_permaslug": attempt["upstream_model"] or attempt["model"],
        "is_byok": False,
        "latency": _ms(came_us - attempt["started_us"]),
        "status": attempt["status"],
    }
    return told if attempt["upstream_id"] is None else {"id": attempt["upstream_id"], **told}


def _ms(us: int) -> float:
    return max(us, 0) / 1000  # clocks are set back now and then


def _json(value: object) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), headers=headers, media_type="application/json")
