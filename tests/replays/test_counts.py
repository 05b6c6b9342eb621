"""Every recorded count of tokens, asked of the provider that told it by clients of each format that can ask."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from protocols_recordings import by_provider
from replays.playing import COUNTS, Asker, Played, played, playing

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDED = by_provider(("count_tokens",))
HELLO: dict[str, dict[str, Any]] = {
    "openai-responses": {"input": "hi"},
    "anthropic-messages": {"messages": [{"role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
NAMES = {"openai-responses": "input_tokens", "anthropic-messages": "input_tokens", "gemini": "totalTokens"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Asker, list[Played]]]:
    plays = played([recording for parameter in RECORDED for recording in parameter.values[0] or ()])
    async with playing(tmp_path_factory.mktemp("counts"), plays) as (asker, _):
        yield asker, plays


@pytest.mark.parametrize("client", list(COUNTS))
@pytest.mark.parametrize("recordings", RECORDED)
async def test_a_count_reaches_clients_of_every_format(
    stage: tuple[Asker, list[Played]], recordings: list[Any], client: str
) -> None:
    asker, plays = stage
    for play in plays:
        if play.recording in recordings:
            recorded = play.recording.whole["request"]["body"]
            body = recorded if client == play.format else HELLO[client]
            status, answer = await asker.ask(client, f"at-{play.format}/{play.model}", body, counts=True)
            told = json.loads(play.answer.body)
            expected = next(told[name] for name in ("input_tokens", "inputTokens", "totalTokens") if name in told)
            assert (status, json.loads(answer.body).get(NAMES[client])) == (200, expected), play.recording
