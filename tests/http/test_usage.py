"""`/v1/usage` and `/v1/generation` of a whole gateway: what was asked of the simulator is read back."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fairlead.errors import InvalidRequest, Unavailable
from fairlead.http.usage import moment, spelt
from gateway import KEY, SIMULATOR, Gateway, gateway, raw, request, split
from protocols_recordings import require_shared

ALICE, BOB, READER, OTHER = ("a" * 40, "b" * 40, "r" * 40, "o" * 40)
CONFIG = SIMULATOR + "".join(
    f'[[keys]]\nname = "{name}"\nsecret = "{secret}"\nscopes = [{scope}]\n'
    for name, secret, scope in [
        ("alice", ALICE, '"inference"'),
        ("bob", BOB, '"inference"'),
        ("reader", READER, '"usage:read"'),
    ]
)
SUMS = {
    "calls", "attempts", "failed", "estimated", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "input_image_tokens",
    "output_image_tokens", "cost_nano_usd", "unpriced",
}  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, CONFIG) as started:
        yield started


async def call(
    gateway: Gateway, key: str, model: str = "sim/echo", *, path: str = "/v1/chat/completions", **more: Any
) -> tuple[str, dict[str, Any]]:
    """A call's id, and its answer if that is one piece of JSON."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}], **more}
    status, headers, told = split(await raw(gateway.port, request(path, json.dumps(body).encode(), key=key)))
    assert status == 200, told
    return headers["x-request-id"], {} if more.get("stream") else json.loads(told)


async def get(gateway: Gateway, path: str, key: str | None = KEY, **parameters: Any) -> tuple[int, Any]:
    if parameters:
        path += "?" + urlencode({name.rstrip("_"): value for name, value in parameters.items()}, doseq=True)
    status, headers, told = split(await raw(gateway.port, request(path, method="GET", key=key)))
    if status == 200:
        assert headers["cache-control"] == "no-store"
    return status, json.loads(told)


async def usage(gateway: Gateway, key: str = KEY, *, root: str = "/v1", **parameters: Any) -> dict[str, Any]:
    """The answer, of all that is over now."""
    await gateway.house.usage._flush()
    status, told = await get(gateway, root + "/usage", key, **parameters)
    assert status == 200, told
    assert isinstance(told, dict)
    return told


# ---- sums


@pytest.mark.parametrize("root", ["/v1", "/api/v1"])
async def test_what_was_used_is_told_as_the_answers_told_it(house: Gateway, root: str) -> None:
    answers = [(await call(house, ALICE))[1] for _ in range(3)]
    told = await usage(house, ALICE, root=root)
    assert list(told) == ["object", "from", "to", "group_by", "data", "has_more", "next_page"]
    assert (told["object"], told["group_by"], told["has_more"], told["next_page"]) == ("list", [], False, None)
    [row] = told["data"]
    assert set(row) == SUMS
    assert (row["calls"], row["attempts"], row["failed"]) == (3, 3, 0)
    for ours, theirs in {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}.items():
        assert row[ours] == sum(answer["usage"][theirs] for answer in answers) > 0
    assert (row["cost_nano_usd"], row["unpriced"]) == (None, 3)


async def test_groups_come_in_the_order_they_were_asked_for(house: Gateway) -> None:
    await call(house, ALICE)
    await call(house, ALICE, "sim/fast")
    await call(house, BOB, "sim/fast")
    today = spelt(time.time_ns() // 1000)[:10]
    told = await usage(house, group_by="model,key")
    assert [(row["model"], row["key"], row["calls"]) for row in told["data"]] == [
        ("echo", "file:alice", 1),
        ("fast", "file:alice", 1),
        ("fast", "file:bob", 1),
    ]
    repeated = await usage(house, group_by=["day", "provider"])
    assert repeated["group_by"] == ["day", "provider"]
    [row] = repeated["data"]
    assert list(row)[:2] == ["day", "provider"]
    assert (row["provider"], row["calls"]) == ("sim", 3)
    assert row["day"] >= today


async def test_a_key_sees_its_own_and_one_that_may_sees_all(house: Gateway) -> None:
    await call(house, ALICE)
    await call(house, ALICE)
    await call(house, BOB)
    await call(house, KEY)

    async def calls(key: str, **parameters: Any) -> int:
        return int((await usage(house, key, **parameters))["data"][0]["calls"])

    assert await calls(ALICE) == await calls(ALICE, key_="own") == await calls(ALICE, key_="file:alice") == 2
    assert await calls(BOB) == 1
    assert await calls(READER) == await calls(KEY) == 4
    assert await calls(READER, key_="file:alice") == await calls(KEY, key_="file:alice") == 2
    assert await calls(KEY, key_="own") == 1
    assert await calls(READER, key_="own") == await calls(READER, key_="file:nobody") == 0


async def test_another_keys_usage_is_forbidden_and_so_is_any_without_a_scope(house: Gateway) -> None:
    for wanted in ("file:bob", "file:nobody", ""):
        status, told = await get(house, "/v1/usage", ALICE, key_=wanted)
        assert (status, told["error"]["code"], told["error"]["param"]) == (403, "insufficient_scope", "key")
    secret, _ = house.house.keys.create("useless", [])
    for path in ("/v1/usage", "/v1/generation?id=gen-1"):
        status, told = await get(house, path, secret)
        assert (status, told["error"]["code"]) == (403, "insufficient_scope")
        assert (await get(house, path, None))[0] == (await get(house, path, "fl-unknown"))[0] == 401
    status, told = await get(house, "/api/v1/usage", secret)
    assert (status, told["error"]["metadata"]["error_type"]) == (403, "permission_denied")


async def test_what_is_chosen_is_what_the_provider_was_asked_for(house: Gateway) -> None:
    await call(house, ALICE)
    await call(house, ALICE, "sim/fast")
    assert (await usage(house, model="fast"))["data"][0]["calls"] == 1
    assert (await usage(house, model="sim/fast"))["data"][0]["calls"] == 0
    assert (await usage(house, provider="sim"))["data"][0]["calls"] == 2
    assert (await usage(house, provider="sim", model="echo", key_="file:bob"))["data"][0]["calls"] == 0


async def test_a_span_is_told_as_it_was_understood(house: Gateway) -> None:
    await call(house, ALICE)
    default = await usage(house)
    begin, end = moment(default["from"], param="from"), moment(default["to"], param="to")
    assert end - begin == 30 * 86_400_000_000
    assert abs(end / 1e6 - time.time()) < 60
    for from_, to in [("2001-02-03", "2001-02-04T01:00:00+01:00"), ("981158400", "981244800.000")]:
        told = await usage(house, from_=from_, to=to)
        assert (told["from"], told["to"]) == ("2001-02-03T00:00:00Z", "2001-02-04T00:00:00Z")
        assert told["data"][0]["calls"] == 0
    unescaped = await get(house, "/v1/usage?from=2001-02-03T00:00:00+01:00")
    assert unescaped[1]["from"] == "2001-02-02T23:00:00Z"
    assert (await usage(house, from_="0001-01-01", to="9999-12-31"))["data"][0]["calls"] == 1


async def test_pages_are_the_rows_of_one_answer_though_calls_go_on(house: Gateway) -> None:
    models = ["echo", "fast", "json", "long", "tools"]
    for model in models:
        await call(house, ALICE, f"sim/{model}", max_tokens=5)
    whole = await usage(house, group_by="model,provider")
    assert [row["model"] for row in whole["data"]] == models
    for limit in (1, 2, 5):
        found, answer = [], await usage(house, group_by="model,provider", limit=limit)
        span = answer["from"], answer["to"]
        while True:
            found += answer["data"]
            assert len(answer["data"]) <= limit
            assert (answer["from"], answer["to"]) == span
            assert answer["has_more"] is (answer["next_page"] is not None)
            if not answer["has_more"]:
                break
            await call(house, BOB, "sim/slow", max_tokens=1)  # after `to`
            answer = await usage(house, limit=limit, page=answer["next_page"])
        assert [row["model"] for row in found if row["model"] != "slow"] == models


async def test_a_page_goes_with_its_own_question_only(house: Gateway) -> None:
    await call(house, ALICE)
    await call(house, ALICE, "sim/fast")
    first = await usage(house, group_by="model", limit=1, provider="sim")
    page = first["next_page"]
    again = await usage(house, group_by="model", limit=1, provider="sim", from_=first["from"], page=page)
    assert [row["model"] for row in again["data"]] == ["fast"]
    for other in ({"group_by": "day"}, {"provider": "x"}, {"model": "m"}, {"key_": "own"}, {"to": "2026-01-01"}):
        status, told = await get(house, "/v1/usage", page=page, **other)
        assert (status, told["error"]["param"]) == (400, "page")
    assert (await usage(house, ALICE, page=page))["data"][0]["calls"] == 1


def token(*fields: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


async def test_a_page_that_somebody_wrote_opens_nothing(house: Gateway) -> None:
    await call(house, BOB)
    everything = (0, 2**52, ["model"], "file:bob", None, None, [""])
    status, told = await get(house, "/v1/usage", ALICE, page=token(*everything))
    assert (status, told["error"]["code"]) == (403, "insufficient_scope")
    bad = [
        "x", "====", "é", "", "[]", token(), token(0, 1), token(0, 1, ["model"], None, None, None, None),
        token(5, 1, ["model"], None, None, None, ["a"]), token(0, 2**62, ["model"], None, None, None, ["a"]),
        token(-(2**62), 1, ["model"], None, None, None, ["a"]), token(0, 1, ["model"], None, None, None, ["a", "b"]),
        token(0, 1, ["day"], None, None, None, ["someday"]), token(0, 1, ["model"], None, None, None, [1]),
        token(0, 1, ["model"], None, None, None, ["\ud800"]), token(0.5, 1), "W" * 5000, token(*[[]] * 9),
    ]  # fmt: skip
    for page in bad:
        status, told = await get(house, "/v1/usage", page=page)
        assert (status, told["error"]["param"]) == (400, "page"), page
    status, told = await get(house, "/v1/usage", page=token(0, 1, ["colour"], None, None, None, ["a"]))
    assert (status, told["error"]["param"]) == (400, "group_by")


@pytest.mark.parametrize(
    ("query", "param", "right"),
    [
        ("since=1", "since", "from, to, group_by"),
        ("group_by=colour", "group_by", "model, provider, key, day"),
        ("from=yesterday", "from", "2026-11-21"),
        ("to=2026-13-01", "to", "2026-11-21"),
        ("from=2026-11-21T25:00:00Z", "from", "2026-11-21"),
        ("from=1795219200000", "from", "epoch seconds"),
        ("from=0001-01-01T00:00:00%2B01:00", "from", "2026-11-21"),
        ("from=", "from", "2026-11-21"),
        ("from=2026-11-21&to=2026-11-20", "to", "later"),
        ("from=2999-01-01", "to", "later"),
        ("from=2026-11-21&from=2026-11-22", "from", "more than once"),
        ("limit=0", "limit", "1 to 1000"),
        ("limit=1001", "limit", "1 to 1000"),
        ("limit=%D9%A1", "limit", "1 to 1000"),
        ("limit=1e2", "limit", "1 to 1000"),
    ],
)
async def test_what_cannot_be_asked_is_told_with_what_can(house: Gateway, query: str, param: str, right: str) -> None:
    status, told = await get(house, f"/v1/usage?{query}")
    assert (status, told["error"]["code"], told["error"]["param"]) == (400, "invalid_request", param)
    assert right in told["error"]["message"]


@pytest.mark.parametrize(
    ("told", "us"),
    [
        ("1970-01-01", 0),
        ("2026-11-21", 1_795_219_200_000_000),
        ("2026-11-21t01:00:00.123456789+01:00", 1_795_219_200_123_000),
        ("2026-11-21 00:00:00z", 1_795_219_200_000_000),
        ("1969-12-31T23:59:59.9Z", -100_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_000),
        ("1795219200", 1_795_219_200_000_000),
        ("1795219200.1239", 1_795_219_200_123_000),
    ],
)
def test_times_are_understood_to_the_millisecond(told: str, us: int) -> None:
    assert moment(told, param="from") == us
    assert moment(spelt(us), param="from") == us


@pytest.mark.parametrize("told", ["2026-W47-6", "20261121T000000Z", "2026-11-21T00:00", "-1", "1e9", "२०२६-११-२१", "٣"])
def test_no_other_spelling_of_a_time_is_guessed_at(told: str) -> None:
    with pytest.raises(InvalidRequest):
        moment(told, param="from")


async def test_other_methods_and_paths_below_are_none(house: Gateway) -> None:
    assert split(await raw(house.port, request("/v1/usage")))[0] == 405
    assert (await get(house, "/v1/usage/"))[0] == (await get(house, "/v1/generation/x"))[0] == 404


async def test_a_fault_of_the_database_is_503(house: Gateway) -> None:
    house.house.database.read("ALTER TABLE attempts RENAME TO away")
    house.house.database.read("ALTER TABLE calls RENAME TO gone")
    for path in ("/v1/usage", f"/v1/generation?id=gen-{'0' * 32}"):
        status, told = await get(house, path)
        assert (status, told["error"]["code"]) == (503, "service_unavailable")
        assert "gone" not in str(told)


async def test_sums_take_turns_and_a_hang_up_does_not_let_another_in_early(house: Gateway) -> None:
    import threading

    usages = house.house.usage
    real = usages.store
    entered, leave, running, most = threading.Semaphore(0), threading.Event(), 0, 0

    class Slow:
        def summary(self, *asked: Any, **more: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            entered.release()
            assert leave.wait(10)
            running -= 1
            return real.summary(*asked, **more)

        generation = real.generation

    usages.store = Slow()
    first = [asyncio.create_task(get(house, "/v1/usage")) for _ in range(2)]
    for _ in range(2):
        assert await asyncio.to_thread(entered.acquire, timeout=10)
    for task in first:  # they hang up; their threads go on
        task.cancel()
    more = [asyncio.create_task(get(house, "/v1/usage")) for _ in range(4)]
    id, _ = await call(house, KEY)
    assert (await get(house, "/v1/generation", id=id))[0] == 200  # does not wait for sums
    assert running == 2
    leave.set()
    assert [status for status, _ in await asyncio.gather(*more)] == [200] * 4
    assert most == 2


# ---- generations


def faults(value: Any) -> list[str]:
    place = require_shared() / "openrouter-openapi" / "openapi.json"
    contents = {"components": json.loads(place.read_text(encoding="utf-8"))["components"]}
    registry = Registry().with_resource("urn:openrouter", Resource(contents=contents, specification=DRAFT202012))
    schema = {"$ref": "urn:openrouter#/components/schemas/GenerationResponse"}
    return [error.message for error in jsonschema.Draft202012Validator(schema, registry=registry).iter_errors(value)]


async def generation(gateway: Gateway, id: str, key: str = KEY, *, root: str = "/v1") -> dict[str, Any]:
    status, told = await get(gateway, root + "/generation", key, id=id)
    assert status == 200, told
    assert list(told) == ["data"]
    found: dict[str, Any] = told["data"]
    return found


@pytest.mark.parametrize("root", ["/v1", "/api/v1"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_generation_is_told_as_it_was(house: Gateway, root: str, stream: bool) -> None:
    id, answer = await call(house, ALICE, path=root + "/chat/completions", stream=stream)
    told = await generation(house, id, ALICE, root=root)
    assert (told["id"], told["request_id"], told["model"], told["provider_name"]) == (id, id, "sim/echo", "sim")
    assert (told["streamed"], told["cancelled"], told["api_type"]) == (stream, False, "completions")
    assert (told["finish_reason"], told["native_finish_reason"]) == ("stop", "stop")
    if not stream:
        assert told["upstream_id"] == answer["id"]
        assert told["tokens_prompt"] == told["native_tokens_prompt"] == answer["usage"]["prompt_tokens"]
        assert told["tokens_completion"] == told["native_tokens_completion"] == answer["usage"]["completion_tokens"]
    assert told["native_tokens_cached"] == told["native_tokens_reasoning"] == 0
    assert (told["total_cost"], told["usage"], told["upstream_inference_cost"]) == (0, 0, None)
    assert 0 <= told["latency"] < 10_000
    assert 0 <= told["generation_time"] < 10_000
    assert abs(moment(told["created_at"].replace("+00:00", "Z"), param="created_at") / 1e6 - time.time()) < 60
    [response] = told["provider_responses"]
    assert (response["status"], response["endpoint_id"], response["id"]) == (200, "sim/echo", told["upstream_id"])


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {"model": "sim/thinking"}),
        ("/api/v1/chat/completions", {"model": "sim/tools", "stream": True}),
        ("/v1/messages", {"model": "sim/echo", "max_tokens": 5}),
        ("/api/v1/messages", {"model": "sim/thinking", "max_tokens": 50, "stream": True}),
    ],
)
async def test_a_generation_is_what_openrouter_describes(house: Gateway, path: str, more: dict[str, Any]) -> None:
    id, _ = await call(house, ALICE, path=path, **more)
    told = await generation(house, id, ALICE)
    assert faults({"data": told}) == []
    assert told["finish_reason"] in ("stop", "length", "tool_calls")


async def test_a_call_that_came_to_nothing_is_told_too(house: Gateway) -> None:
    body = b'{"model": "sim/no-such-model", "messages": []}'
    status, headers, _ = split(await raw(house.port, request("/v1/chat/completions", body, key=ALICE)))
    assert status >= 400
    told = await generation(house, headers["x-request-id"], ALICE)
    assert faults({"data": told}) == []
    assert told["latency"] is None
    assert (told["finish_reason"], told["cancelled"]) == ("error", False)


async def test_a_call_that_the_client_hung_up_on_is_cancelled(house: Gateway) -> None:
    body = json.dumps(
        {"model": "sim/slow", "stream": True, "messages": [{"role": "user", "content": "many words " * 50}]}
    ).encode()
    got = await raw(
        house.port, request("/v1/chat/completions", body, key=ALICE, close=False), until=lambda got: b"delta" in got
    )
    found = re.search(rb"x-request-id: (\S+)", got)
    assert found is not None
    async with asyncio.timeout(10):
        while not await house.rows("calls"):  # noqa: ASYNC110  # the server notices when it does
            await asyncio.sleep(0.005)
    told = await generation(house, found[1].decode(), ALICE)
    assert faults({"data": told}) == []
    assert (told["cancelled"], told["streamed"], told["finish_reason"]) == (True, True, None)


async def test_a_call_that_has_just_ended_is_found(house: Gateway) -> None:
    for _ in range(30):
        id, _ = await call(house, ALICE)
        assert (await generation(house, id, ALICE))["id"] == id
    calls = [call(house, ALICE, stream=True) for _ in range(30)]
    ids = [id for id, _ in await asyncio.gather(*calls)]
    assert [told["id"] for told in await asyncio.gather(*[generation(house, id, ALICE) for id in ids])] == ids


async def test_somebody_elses_generation_is_as_unknown_as_one_that_never_was(house: Gateway) -> None:
    id, _ = await call(house, ALICE)
    never = f"gen-{'0' * 32}"
    for reader in (READER, KEY, ALICE):
        assert (await generation(house, id, reader))["id"] == id
    answers = [await get(house, "/v1/generation", BOB, id=wanted) for wanted in (id, never, "nonsense", "\x00", "é")]
    assert {status for status, _ in answers} == {404}
    assert len({told["error"]["message"] for _, told in answers}) == 1
    status, told = await get(house, f"/api/v1/generation?id={quote(never)}", BOB)
    assert (status, told["error"]["metadata"]["error_type"]) == (404, "not_found")


async def test_an_id_is_wanted_once_and_nothing_else(house: Gateway) -> None:
    for query, param in {"": "id", "?id=": "id", "?id=a&id=b": "id", "?id=a&x=1": "x"}.items():
        status, told = await get(house, f"/v1/generation{query}")
        assert (status, told["error"]["param"]) == (400, param)


async def test_a_database_that_does_not_keep_up_holds_an_answer_up_for_a_second(house: Gateway) -> None:
    flushes = 0

    async def flush() -> None:
        nonlocal flushes
        flushes += 1
        await asyncio.Event().wait()

    usages = house.house.usage
    usages._flush = flush
    asked = [get(house, "/v1/generation", id=f"gen-{number:032x}") for number in range(40)]
    async with asyncio.timeout(20):  # one after another were 40 s
        answers = await asyncio.gather(*asked)
    assert [status for status, _ in answers] == [404] * 40
    assert flushes == 1  # one waits for all

    async def fail() -> None:
        raise Unavailable("no")

    usages._flush, usages._flushing = fail, None
    assert (await get(house, "/v1/generation", id=f"gen-{7:032x}"))[0] == 404
