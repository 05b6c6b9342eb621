"""Failures of providers, by number: what the client sees, whether the next endpoint is tried, what is written down."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import both_ways, gateway, raw, request, split  # noqa: F401
from serving import serving

ROWS = """
[timeouts]
first_byte_seconds = 0.3
silence_seconds = 0.3

[providers.up]
base_url = "{url}/v1"
protocols = ["openai-chat"]
signing = "none"

[providers.claude]
base_url = "{url}/v1"
protocols = ["anthropic-messages"]
signing = "none"

[providers.down]
base_url = "http://127.0.0.1:9/v1"
protocols = ["openai-chat"]
signing = "none"
"""


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with serving() as url:
        yield url


async def ask(
    folder: Path, upstream: str, *endpoints: str, stream: bool = False, path: str = "/v1/chat/completions"
) -> tuple[int, dict[str, str], bytes, list[dict[str, Any]], list[dict[str, Any]]]:
    """Status, headers and body for a model with these endpoints; the rows of its call and its attempts."""
    model = f"[models.m]\nendpoints = {json.dumps(endpoints)}\n"
    body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    async with gateway(folder, ROWS.format(url=upstream) + model) as running:
        answer = split(await raw(running.port, request(path, body)))
        return *answer, await running.rows("calls"), await running.rows("attempts")


MOVES_ON = [
    "up/echo+status=401", "up/echo+status=402", "up/echo+status=403", "up/echo+status=404", "up/echo+status=408",
    "up/echo+status=429", "up/echo+status=500", "up/echo+status=502", "up/echo+status=503", "up/echo+status=529",
    "up/echo+html", "up/echo+html=200", "up/echo+empty", "up/echo+cut", "up/echo+reset", "up/echo+stall",
    "up/echo+cut=0", "down/echo", "claude/echo+status=529", "claude/echo+stall", "claude/echo+html=200",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", MOVES_ON)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_of_one_provider_moves_to_the_next(
    tmp_path: Path, upstream: str, endpoint: str, stream: bool
) -> None:
    status, _, body, calls, attempts = await ask(tmp_path, upstream, endpoint, "up/echo", stream=stream)
    assert status == 200
    assert b"hi" in body
    assert [attempt["outcome"] for attempt in attempts] == ["failed", "ok"]
    assert (calls[0]["status"], calls[0]["outcome"], calls[0]["attempts"]) == (200, "ok", 2)


@pytest.mark.parametrize(
    ("endpoint", "moves"), [("up/echo+error=0", True), ("claude/echo+error=1", True), ("up/echo+malformed=0", True)]
)
async def test_an_error_in_a_200_stream_before_content_moves_on(
    tmp_path: Path, upstream: str, endpoint: str, moves: bool
) -> None:
    status, _, body, _, attempts = await ask(tmp_path, upstream, endpoint, "up/echo", stream=True)
    assert status == 200
    assert b"error" not in body
    assert len(attempts) == 1 + moves


@pytest.mark.parametrize("endpoint", ["up/echo+status=400", "up/echo+status=413", "up/echo+status=422"])
async def test_a_request_that_is_wrong_is_wrong_everywhere(tmp_path: Path, upstream: str, endpoint: str) -> None:
    status, _, _, _, attempts = await ask(tmp_path, upstream, endpoint, "up/echo")
    assert status in (400, 413)
    assert len(attempts) == 1


TOLD = [
    ("up/echo+status=400", 400, "invalid_request", False),
    ("up/echo+status=422", 400, "invalid_request", False),
    ("up/echo+status=401", 502, "provider_credential_rejected", False),
    ("up/echo+status=403", 502, "provider_credential_rejected", False),
    ("up/echo+status=402", 502, "provider_out_of_credit", False),
    ("up/echo+status=404", 404, "model_not_found", False),
    ("up/echo+status=408", 504, "upstream_timeout", False),
    ("up/echo+status=413", 413, "request_too_large", False),
    ("up/echo+status=429+retry_after=7", 429, "rate_limit_exceeded", True),
    ("up/echo+status=500", 502, "upstream_broken", False),
    ("up/echo+status=502", 502, "upstream_broken", False),
    ("up/echo+status=503", 503, "provider_overloaded", True),
    ("claude/echo+status=529", 503, "provider_overloaded", True),
    ("claude/echo+status=429+retry_after=7", 429, "rate_limit_exceeded", True),
    ("up/echo+html=200", 502, "upstream_broken", False),
    ("up/echo+cut", 502, "upstream_broken", False),
    ("up/echo+reset", 502, "upstream_broken", False),
    ("up/echo+stall", 504, "upstream_timeout", False),
    ("up/echo+stall=0", 504, "upstream_timeout", False),
    ("down/echo", 502, "provider_unreachable", True),
]


@pytest.mark.parametrize(("endpoint", "status", "code", "retryable"), TOLD)
async def test_a_failure_is_told_by_status_code_and_whether_to_try_again(
    tmp_path: Path, upstream: str, endpoint: str, status: int, code: str, retryable: bool
) -> None:
    got, headers, body, calls, attempts = await ask(tmp_path, upstream, endpoint)
    error = json.loads(body)["error"]
    assert (got, error["code"]) == (status, code)
    assert headers["x-should-retry"] == str(retryable).lower()
    assert (calls[0]["error_code"], calls[0]["outcome"]) == (code, "failed")
    assert attempts[0]["error_code"] == code
    if "retry_after" in endpoint:
        assert headers["retry-after"] == "7"


async def test_the_failure_worth_another_try_is_the_one_that_is_told(tmp_path: Path, upstream: str) -> None:
    status, headers, *_ = await ask(tmp_path, upstream, "up/echo+status=429", "up/echo+status=500")
    assert (status, headers["x-should-retry"]) == (429, "true")


@pytest.mark.parametrize("endpoint", ["up/long+cut=30", "up/long+error=30", "claude/long+cut=30", "up/long+stall=30"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_after_content_an_error_ends_the_stream_and_says_whether_to_try_again(
    tmp_path: Path, upstream: str, endpoint: str, path: str
) -> None:
    status, _, body, calls, attempts = await ask(tmp_path, upstream, endpoint, "up/echo", stream=True, path=path)
    assert status == 200
    last = body.rstrip().rpartition(b"data: ")[2]
    assert "retryable" in json.loads(last)["error"]
    assert b"[DONE]" not in body
    assert (len(attempts), attempts[0]["outcome"], calls[0]["outcome"]) == (1, "failed", "failed")
    assert attempts[0]["output_tokens"] > 0  # what was used until then, estimated where it was not told


@pytest.mark.parametrize("endpoint", ["up/echo+no_done", "up/echo+drip", "up/echo+close", "up/echo+no_usage"])
async def test_an_unusual_stream_arrives_whole(tmp_path: Path, upstream: str, endpoint: str) -> None:
    status, _, body, calls, attempts = await ask(tmp_path, upstream, endpoint, stream=True)
    assert status == 200
    assert b"hi" in body
    assert calls[0]["outcome"] == "ok"
    assert bool(attempts[0]["estimated"]) == ("no_usage" in endpoint)


async def test_a_large_event_arrives_whole(tmp_path: Path, upstream: str) -> None:
    status, _, body, calls, _ = await ask(tmp_path, upstream, "up/echo+huge=3000000", stream=True)
    assert (status, calls[0]["outcome"]) == (200, "ok")
    assert len(body) > 3_000_000


async def test_a_redirect_is_not_followed(tmp_path: Path, upstream: str) -> None:
    status, *_ = await ask(tmp_path, upstream, "up/echo+status=302")
    assert status == 502


async def test_the_providers_headers_and_our_secrets_stay_here(tmp_path: Path, upstream: str) -> None:
    _, headers, *_ = await ask(tmp_path, upstream, "up/echo")
    assert set(headers) <= {
        "x-content-type-options", "x-frame-options", "referrer-policy", "permissions-policy", "content-security-policy",
        "content-type", "content-length", "connection", "date", "x-request-id", "x-generation-id",
        "x-fairlead-upstream-request-id",
    }  # fmt: skip
