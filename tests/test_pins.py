"""Answers that a provider keeps: a request that goes on from one goes to the provider that has it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import InvalidRequest
from fairlead.pins import Owner, Pins
from fairlead.resources import Endpoint, Principal, Provider
from fairlead.storage import kept
from gateway import KEY, Gateway, gateway, raw, request, split
from misbehaving import Misbehaving, ok

PROVIDER = """
[providers.{name}]
base_url = "{url}"
protocols = ["{protocol}"]
signing = "none"
models_path = ""
"""


def answer(id: str) -> bytes:
    content = [{"type": "output_text", "text": "Yes.", "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    facts = {"object": "response", "created_at": 1, "model": "there", "status": "completed"}
    return ok(json.dumps({"id": id, **facts, "output": [message], "usage": usage}).encode())


UNKNOWN = b'{"error":{"message":"not found","param":"previous_response_id","code":"previous_response_not_found"}}'
NOT_FOUND = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(UNKNOWN), UNKNOWN)


def configured(*servers: tuple[str, Misbehaving], **models: list[str]) -> str:
    rows = [PROVIDER.format(name=f"p{at}", url=server.url, protocol=told) for at, (told, server) in enumerate(servers)]
    return "".join(rows) + "".join(
        f"[models.{name}]\nendpoints = {json.dumps([f'{provider}/there' for provider in providers])}\n"
        for name, providers in models.items()
    )


def nowhere(id: str) -> None:
    """Nothing was written down."""


async def ask(running: Gateway, model: str, previous: str | None = None, *, key: str = KEY) -> tuple[int, Any]:
    said = {"model": model, "input": "And then?", **({"previous_response_id": previous} if previous else {})}
    status, _, told = split(await raw(running.port, request("/v1/responses", json.dumps(said).encode(), key=key)))
    return status, json.loads(told)


async def test_a_request_goes_on_where_the_answer_is(tmp_path: Path) -> None:
    async with Misbehaving(answer("resp_a")) as first, Misbehaving(answer("resp_b")) as second:
        config = configured(
            ("openai-responses", first), ("openai-responses", second), both=["p0", "p1"], later=["p1"], early=["p0"]
        )
        async with gateway(tmp_path, config) as running:
            assert (await ask(running, "later"))[1]["id"] == "resp_b"
            assert (await ask(running, "both"))[1]["id"] == "resp_a"
            assert (await ask(running, "both", "resp_b"))[1]["id"] == "resp_b"
            assert (await ask(running, "both", "resp_a"))[1]["id"] == "resp_a"
            status, told = await ask(running, "early", "resp_b")
            assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
        assert b'"previous_response_id":"resp_b"' in second.requests[-1].replace(b" ", b"")
        assert (len(first.requests), len(second.requests)) == (2, 2)


async def test_of_an_answer_that_is_not_known_the_providers_are_asked_in_turn(tmp_path: Path) -> None:
    async with Misbehaving(NOT_FOUND) as first, Misbehaving(answer("resp_b")) as second:
        config = configured(("openai-responses", first), ("openai-responses", second), both=["p0", "p1"], one=["p0"])
        async with gateway(tmp_path, config) as running:
            assert await ask(running, "both", "resp_of_long_ago") == (
                200,
                json.loads(answer("resp_b").partition(b"\r\n\r\n")[2]),
            )
            status, told = await ask(running, "one", "resp_of_long_ago")
    assert (status, told["error"]["code"]) == (400, "previous_response_not_found")


async def test_an_answer_belongs_to_who_got_it(tmp_path: Path) -> None:
    other = "another-key-of-thirty-two-characters"
    async with Misbehaving(answer("resp_a")) as server:
        config = configured(("openai-responses", server), m=["p0"])
        config += f'[[keys]]\nname = "other"\nsecret = "{other}"\n'
        async with gateway(tmp_path, config) as running:
            await ask(running, "m")
            mine = running.house.pipeline.pins
            assert (await ask(running, "m", "resp_a", key=other))[0] == 200  # of the same team
            assert await mine.provider_of("resp_a", Principal("k", "k", frozenset())) == "p0"


async def test_what_was_written_down_is_known_after_a_restart(tmp_path: Path) -> None:
    async with Misbehaving(answer("resp_a")) as first, Misbehaving(answer("resp_b")) as second:
        config = configured(("openai-responses", first), ("openai-responses", second), both=["p0", "p1"], later=["p1"])
        async with gateway(tmp_path, config) as running:
            assert (await ask(running, "later"))[0] == 200
        async with gateway(tmp_path, config) as running:
            assert (await ask(running, "both", "resp_b"))[1]["id"] == "resp_b"
            assert first.requests == []
            plan = running.house.database.read(f"EXPLAIN QUERY PLAN {kept.FIND}", ("resp_b",))
            assert "USING INDEX attempts_kept" in str(plan)
        with closing(sqlite3.connect(tmp_path / "state" / "fairlead.db")) as database:
            database.execute("UPDATE attempts SET team_id = 'others'")
            database.commit()
        async with gateway(tmp_path, config) as running:
            status, told = await ask(running, "both", "resp_b")
        assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
        assert first.requests == []


async def test_where_nobody_can_look_it_up_nobody_gets_it(tmp_path: Path) -> None:
    async with Misbehaving(answer("resp_a")) as server:
        async with gateway(tmp_path, configured(("openai-responses", server), m=["p0"])) as running:
            running.house.database.read("DROP TABLE attempts")
            status, told = await ask(running, "m", "resp_of_long_ago")
        assert (status, told["error"]["code"]) == (503, "service_unavailable")
        assert server.requests == []


async def test_where_no_provider_keeps_answers_it_is_refused(tmp_path: Path) -> None:
    async with Misbehaving(b"") as server:
        async with gateway(tmp_path, configured(("openai-chat", server), m=["p0"])) as running:
            status, told = await ask(running, "m", "resp_a")
        assert (status, told["error"]["code"]) == (400, "unsupported_parameter")
        assert told["error"]["param"] == "previous_response_id"
        assert server.requests == []


async def test_a_provider_that_keeps_none_is_passed_over(tmp_path: Path) -> None:
    async with Misbehaving(b"") as chats, Misbehaving(answer("resp_b")) as keeps:
        config = configured(("openai-chat", chats), ("openai-responses", keeps), m=["p0", "p1"])
        async with gateway(tmp_path, config) as running:
            assert (await ask(running, "m", "resp_b"))[0] == 200
        assert chats.requests == []


async def test_others_hear_that_there_is_no_such_answer() -> None:
    pins, endpoint = Pins(nowhere), Endpoint(Provider("p", {}), "m")
    pins.keep("resp_a", endpoint, Principal("k", "k", frozenset(), team_id="ours"))
    assert await pins.provider_of("resp_a", Principal("other", "other", frozenset(), team_id="ours")) == "p"
    with pytest.raises(InvalidRequest) as caught:
        await pins.provider_of("resp_a", Principal("k", "k", frozenset(), team_id="theirs"))
    assert caught.value.code == "previous_response_not_found"


async def test_what_is_remembered_is_bounded() -> None:
    pins, endpoint, mine = Pins(nowhere, 2), Endpoint(Provider("p", {}), "m"), Principal("k", "k", frozenset())
    for id in ("a", "b", "c", "", None, "x" * 201):
        pins.keep(id, endpoint, mine)
    assert [await pins.provider_of(id, mine) for id in ("a", "b", "c", "x" * 201)] == [None, "p", "p", None]


async def test_what_was_looked_up_is_remembered() -> None:
    asked = []

    def find(id: str) -> tuple[str, Owner]:
        asked.append(id)
        return "p", ("default", "default", "default")

    pins, mine = Pins(find), Principal("k", "k", frozenset())
    assert [await pins.provider_of("a", mine) for _ in range(3)] == ["p", "p", "p"]
    assert asked == ["a"]
