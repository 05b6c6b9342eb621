"""Who sends no key that we know is told how to send one, in the words of the format that was asked for."""

from pathlib import Path

import pytest

from gateway import both_ways, gateway, raw, request, split

__all__ = ["both_ways"]

BEARER, ANTHROPIC, GOOGLE = "'Authorization: Bearer fl-…'", "'x-api-key: fl-…'", "'x-goog-api-key: fl-…'"


@pytest.mark.parametrize(
    ("method", "path", "headers", "told"),
    [
        ("POST", "/v1/chat/completions", "", BEARER),
        ("POST", "/v1/responses", "", BEARER),
        ("POST", "/api/v1/chat/completions", "", BEARER),
        ("GET", "/v1/models", "", BEARER),
        ("POST", "/v1/messages", "", ANTHROPIC),
        ("POST", "/v1/messages/count_tokens", "x-api-key: wrong\r\n", ANTHROPIC),
        ("POST", "/v1/complete", "authorization: Bearer wrong\r\n", ANTHROPIC),
        ("GET", "/v1/models", "anthropic-version: 2023-06-01\r\n", ANTHROPIC),
        ("POST", "/v1beta/models/sim/echo:generateContent", "", GOOGLE),
        ("POST", "/v1/models/sim/echo:countTokens", "x-goog-api-key: wrong\r\n", GOOGLE),
        ("GET", "/v1beta/models", "", GOOGLE),
        ("GET", "/v1/models", "x-goog-api-key: wrong\r\n", GOOGLE),
    ],
)
async def test_a_wrong_key_is_told_which_header_to_use(
    tmp_path: Path, method: str, path: str, headers: str, told: str
) -> None:
    async with gateway(tmp_path) as house:
        body = b"{}" if method == "POST" else b""
        status, _, answer = split(await raw(house.port, request(path, body, method=method, key=None, headers=headers)))
        assert status == 401
        words = answer.decode()
        assert told in words
        assert [each for each in (BEARER, ANTHROPIC, GOOGLE) if each in words] == [told]
