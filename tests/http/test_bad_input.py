"""What a client gets for a request that is wrong: the status, the code, and the name of the field."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import KEY, SIMULATOR, Gateway, both_ways, gateway, raw, request, split  # noqa: F401

CHAT = "/v1/chat/completions"


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "sim/echo", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


async def refused(running: Gateway, data: bytes, path: str = CHAT, **options: Any) -> tuple[int, dict[str, Any]]:
    status, headers, told = split(await raw(running.port, request(path, data, **options)))
    assert headers["x-should-retry"] in ("true", "false")
    return status, json.loads(told)["error"]


@pytest.mark.parametrize(
    ("data", "param", "word"),
    [
        (b"", None, "empty"),
        (b'{"model": "sim/echo", ', None, "JSON"),
        (b"[]", None, "object"),
        (b'{"model": "\xff"}', None, "byte 11"),
        (b'{"model":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", None, "deep"),
        (b'{"Model": "sim/echo"}', "Model", "'model'"),
        (body(messages=[]), "messages", "empty"),
        (b'{"model": "sim/echo"}', "messages", "missing"),
        (body(messages=3), "messages", "array"),
        (body(messages=[3]), "messages[0]", "object"),
        (body(messages=[{"role": "user", "content": "a"}, {"content": "b"}]), "messages[1].role", "missing"),
        (body(messages=[{"role": "user", "content": 3}]), "messages[0].content", "string"),
        (body(messages=[{"role": 1, "content": "a"}]), "messages[0].role", "str"),
        (body(model=3), "model", "string"),
        (body(stream="yes"), "stream", "true or false"),
        (body(max_tokens="many"), "max_tokens", "integer"),
        (body(model=None), "model", "missing"),
    ],
)
async def test_a_malformed_request_names_the_byte_or_the_field(
    running: Gateway, data: bytes, param: str | None, word: str
) -> None:
    status, error = await refused(running, data)
    assert status == 400
    assert error["param"] == param
    assert word in error["message"]


async def test_of_equal_keys_only_the_last_counts_and_is_sent_on(running: Gateway) -> None:
    data = b'{"model": "nobody", "model": "sim/echo", "messages": [{"role": "user", "content": "hi"}]}'
    status, _, told = split(await raw(running.port, request(CHAT, data)))
    assert status == 200
    assert json.loads(told)["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize("key", [None, "", "wrong", "fl-" + "a" * 43, KEY[:-1], KEY + "x"])
async def test_missing_unknown_and_wrong_keys_get_the_same_words(running: Gateway, key: str | None) -> None:
    status, error = await refused(running, body(), key=key)
    assert status == 401
    assert error["code"] == "invalid_api_key"
    assert error["message"] == (await refused(running, body(), key="another"))[1]["message"]


async def test_a_revoked_key_gets_the_same_words(running: Gateway) -> None:
    secret, key = running.house.keys.create("short-lived")
    assert split(await raw(running.port, request(CHAT, body(), key=secret)))[0] == 200
    running.house.keys.revoke(key.id)
    await running.house.auth._forget()  # what the watch does within a second
    status, error = await refused(running, body(), key=secret)
    assert (status, error["code"]) == (401, "invalid_api_key")


async def test_a_key_may_come_as_x_api_key(running: Gateway) -> None:
    sent = request(CHAT, body(), key=None, headers=f"x-api-key: {KEY}\r\n")
    assert split(await raw(running.port, sent))[0] == 200


async def test_an_unknown_model_is_told_with_the_nearest_names(tmp_path: Path) -> None:
    config = f'{SIMULATOR}[models.fast-chat]\nendpoints = ["sim/fast"]\n[models.slow-chat]\nendpoints = ["sim/slow"]\n'
    async with gateway(tmp_path, config) as running:
        status, error = await refused(running, body(model="fast-chad"))
        assert (status, error["code"]) == (404, "model_not_found")
        assert "'fast-chat'" in error["message"]


async def test_a_provider_without_credential_is_named_but_not_its_secret(running: Gateway) -> None:
    status, error = await refused(running, body(model="gpt-4o"))
    assert (status, error["code"]) == (503, "provider_not_configured")
    assert "OPENAI_API_KEY" in error["message"]


@pytest.mark.parametrize(
    ("policy", "fields", "word"),
    [
        ("max_messages = 1", {"messages": [{"role": "user", "content": "a"}] * 3}, "3 messages; at most 1"),
        ("max_characters = 10", {"messages": [{"role": "user", "content": "a" * 11}]}, "11 characters; at most 10"),
        ("max_tokens = 100", {"max_tokens": 101}, "101 tokens; at most 100"),
    ],
)
async def test_a_policy_says_how_many(tmp_path: Path, policy: str, fields: dict[str, Any], word: str) -> None:
    async with gateway(tmp_path, f"{SIMULATOR}[policy]\n{policy}\n") as running:
        status, error = await refused(running, body(**fields))
        assert status == 400
        assert word in error["message"]
        assert split(await raw(running.port, request(CHAT, body())))[0] == 200


async def test_a_large_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="max_body_bytes = 2048") as running:
        head = request(CHAT, key=KEY).replace(b"content-length: 0", b"content-length: 1000000000")
        answer = await raw(running.port, head, until=lambda got: b"\r\n\r\n{" in got)
        assert b" 413 " in answer.split(b"\r\n")[0]


async def test_a_large_chunked_body_is_refused_while_it_comes(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="max_body_bytes = 2048") as running:
        head = request(CHAT, key=KEY).replace(b"content-length: 0", b"transfer-encoding: chunked")
        answer = await raw(running.port, head + b"1000\r\n" + b" " * 4096 + b"\r\n", until=lambda got: b"}}" in got)
        assert b" 413 " in answer.split(b"\r\n")[0]


async def test_only_json_is_read(running: Gateway) -> None:
    sent = request(CHAT, body()).replace(b"application/json", b"application/x-www-form-urlencoded")
    status, _, told = split(await raw(running.port, sent))
    assert status == 415
    assert b"application/json" in told
    sent = request(CHAT, body(), headers="content-encoding: gzip\r\n")
    assert split(await raw(running.port, sent))[0] == 415


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [(CHAT, "GET", 405), ("/v1/models", "POST", 405), ("/v1/nothing", "GET", 404), ("/v2", "POST", 404)],
)
async def test_wrong_paths_and_methods_are_told_as_json(running: Gateway, path: str, method: str, status: int) -> None:
    got, headers, told = split(await raw(running.port, request(path, method=method)))
    assert got == status
    assert json.loads(told)["error"]["code"] in ("not_found", "method_not_allowed")
    assert ("allow" in headers) == (status == 405)


async def test_under_api_v1_errors_are_openrouters(running: Gateway) -> None:
    status, error = await refused(running, body(model="nobody"), "/api/v1/chat/completions")
    assert (status, error["code"]) == (404, 404)
    assert error["metadata"]["error_type"] == "not_found"
    assert error["metadata"]["code"] == "model_not_found"
    _, _, told = split(await raw(running.port, request("/api/v1/nothing", method="GET")))
    assert json.loads(told)["error"]["code"] == 404


async def test_under_api_v1_answers_have_what_openrouters_sdk_requires(running: Gateway) -> None:
    status, _, told = split(await raw(running.port, request("/api/v1/chat/completions", body())))
    assert status == 200
    answer = json.loads(told)
    required = {"id", "choices", "created", "model", "object", "system_fingerprint"}
    assert required <= set(answer)


async def test_errors_of_messages_are_anthropics_under_both_roots(running: Gateway) -> None:
    for path in ("/v1/messages", "/api/v1/messages"):
        _, _, told = split(await raw(running.port, request(path, b"{}")))
        answer = json.loads(told)
        assert answer["type"] == "error"
        assert answer["error"]["type"] == "invalid_request_error"


async def test_a_key_without_the_scope_may_not_make_calls(running: Gateway) -> None:
    secret, _ = running.house.keys.create("admin only", ("admin:*",))
    status, error = await refused(running, body(), key=secret)
    assert (status, error["code"]) == (403, "insufficient_scope")


async def test_hello_health_and_readiness_need_no_key(running: Gateway) -> None:
    for path in ("/", "/livez", "/readyz", "/health"):
        status, _, told = split(await raw(running.port, request(path, method="GET", key=None)))
        assert status == 200
        assert "components" not in json.loads(told)
    status, _, told = split(await raw(running.port, request("/", method="HEAD", key=None)))
    assert (status, told) == (200, b"")


async def test_the_details_of_health_need_a_key(running: Gateway) -> None:
    await running.house.health.probe()
    _, _, told = split(await raw(running.port, request("/health", method="GET")))
    assert json.loads(told)["components"]["database"] == {"status": "ok", "detail": ""}
