"""What could not be said to a provider: the answer names it, and a client may require that nothing is lost."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from fairlead.pipeline import listed
from gateway import both_ways, gateway, raw, request, split  # noqa: F401
from serving import serving

ROWS = """
[providers.open]
base_url = "{url}/v1"
protocols = ["openai-chat"]
signing = "none"

[providers.claude]
base_url = "{url}/v1"
protocols = ["anthropic-messages"]
signing = "none"

[providers.router]
base_url = "{url}/v1"
protocols = ["openai-chat"]
signing = "none"
openrouter_fields = true
"""
HEADER = "x-fairlead-dropped"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
REQUIRED = {"provider": {"require_parameters": True}}


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with serving() as url:
        yield url


async def ask(
    folder: Path, upstream: str, *endpoints: str, path: str = CHAT, **fields: Any
) -> tuple[int, dict[str, str], bytes, list[str]]:
    """Status, headers and body for a model with these endpoints, and which were asked."""
    model = f"[models.m]\nendpoints = {json.dumps(endpoints)}\n"
    said = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **fields}
    own = Path(mkdtemp(dir=folder))  # with books of its own
    async with gateway(own, ROWS.format(url=upstream) + model) as running:
        answer = split(await raw(running.port, request(path, json.dumps(said).encode())))
        return *answer, [row["provider"] for row in await running.rows("attempts")]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_names_what_its_provider_was_not_told(tmp_path: Path, upstream: str, stream: bool) -> None:
    wishes = {"top_k": 4, "logit_bias": {"1": 2}, "seed": 3, "stream": stream}
    status, headers, _, asked = await ask(tmp_path, upstream, "claude/echo", **wishes)
    assert (status, asked) == (200, ["claude"])
    assert headers[HEADER] == "logit_bias, seed"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_passes_through_or_was_all_said_names_nothing(tmp_path: Path, upstream: str, stream: bool) -> None:
    status, headers, _, _ = await ask(tmp_path, upstream, "open/echo", logit_bias={"1": 2}, stream=stream, **REQUIRED)
    assert status == 200
    assert HEADER not in headers
    status, headers, _, _ = await ask(tmp_path, upstream, "claude/echo", temperature=0.5, stream=stream, **REQUIRED)
    assert status == 200
    assert HEADER not in headers


@pytest.mark.parametrize("stream", [False, True])
async def test_an_endpoint_that_cannot_be_told_all_is_skipped_where_that_is_required(
    tmp_path: Path, upstream: str, stream: bool
) -> None:
    wishes = {"logit_bias": {"1": 2}, "stream": stream}
    status, headers, _, asked = await ask(tmp_path, upstream, "claude/echo", "open/echo", **wishes, **REQUIRED)
    assert (status, asked) == (200, ["open"])
    assert HEADER not in headers
    for harmless in ({}, {"provider": {"require_parameters": False}}, {"provider": {"order": ["x"]}}, {"provider": 7}):
        status, headers, _, asked = await ask(tmp_path, upstream, "claude/echo", "open/echo", **wishes, **harmless)
        assert (status, asked) == (200, ["claude"])
        assert headers[HEADER] == "logit_bias"


async def test_a_client_of_anthropic_may_require_it_too(tmp_path: Path, upstream: str) -> None:
    status, _, _, asked = await ask(tmp_path, upstream, "open/echo", "claude/echo", path=MESSAGES, top_k=4, **REQUIRED)
    assert (status, asked) == (200, ["claude"])


async def test_if_none_can_be_told_all_the_client_hears_what(tmp_path: Path, upstream: str) -> None:
    wishes = {"logit_bias": {"1": 2}, "seed": 1}
    status, headers, body, asked = await ask(tmp_path, upstream, "claude/echo", "claude/poem", **wishes, **REQUIRED)
    error = json.loads(body)["error"]
    assert (status, asked) == (400, [])
    assert "logit_bias, seed" in error["message"]
    assert error["param"] == "provider.require_parameters"
    assert headers["x-should-retry"] == "false"


async def test_a_failure_of_one_that_was_asked_is_told_before_it(tmp_path: Path, upstream: str) -> None:
    wishes = {"logit_bias": {"1": 2}, **REQUIRED}
    status, _, _, asked = await ask(tmp_path, upstream, "claude/echo", "open/echo+status=529", **wishes)
    assert (status, asked) == (503, ["open"])


async def test_the_gateways_own_fields_are_no_wishes(tmp_path: Path, upstream: str) -> None:
    own = {"models": ["a"], "route": "fallback", "transforms": [], "session_id": "s", "trace": {"a": 1}, **REQUIRED}
    status, headers, _, _ = await ask(tmp_path, upstream, "claude/echo", **own)
    assert status == 200
    assert HEADER not in headers
    status, headers, _, _ = await ask(tmp_path, upstream, "router/echo", path=MESSAGES, **own)
    assert status == 200
    assert HEADER not in headers


async def test_what_one_endpoint_cannot_be_told_at_all_another_may_be(tmp_path: Path, upstream: str) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, sound]}]
    status, _, _, asked = await ask(tmp_path, upstream, "claude/echo", "open/echo", messages=messages)
    assert (status, asked) == (200, ["open"])
    status, _, body, asked = await ask(tmp_path, upstream, "claude/echo", messages=messages)
    assert (status, asked) == (400, [])
    assert "audio" in json.loads(body)["error"]["message"]


async def test_a_clients_own_names_break_no_header(tmp_path: Path, upstream: str) -> None:
    wishes = {"a\r\nx-evil: 1": 1, "é": 1, "n" * 5000: 1, **{f"field_{number:03}": 1 for number in range(100)}}
    status, headers, _, _ = await ask(tmp_path, upstream, "claude/echo", **wishes)
    assert status == 200
    assert "x-evil" not in headers
    assert headers[HEADER].startswith("a??x-evil??1, field_000, field_001, ")
    assert headers[HEADER].endswith(" more")
    assert len(headers[HEADER]) < 3000


def test_a_list_of_names_is_short() -> None:
    assert listed(("top_k", "logit_bias")) == "top_k, logit_bias"
    assert listed([str(number) for number in range(42)]).endswith("39, and 2 more")
