"""Every recorded request, asked of a provider of each format through the gateway.

It is told there, or refused with a sentence that says what cannot be told; nothing that a provider gets is malformed
by its own description: OpenAI's, botocore's model of Converse, the pydantic models of the vendors' SDKs.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from protocols_recordings import Recording, by_provider
from replays.playing import CLIENTS, PROVIDERS, Asker, Played, Provider, format_of, played, playing
from replays.readers import failed
from replays.requests import faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = by_provider(("chat", "chat_stream", "responses", "responses_stream", "error"))
# Who answers: of each format one recording that is whole and one that streams, of Bedrock one for each family.
FAMILIES = ("anthropic.claude", "amazon.nova", "meta.llama", "cohere.command", "mistral.mistral", "amazon.titan")
ANSWERS = by_provider(
    ("chat", "chat_stream", "chat_v1", "chat_v1_stream", "responses", "responses_stream", "invoke", "invoke_stream",
     "native_chat", "native_chat_stream", "native_generate", "native_generate_stream")
)  # fmt: skip
TRANSLATED = tuple(name for name in PROVIDERS if name != "openai-completions")


class Stage(NamedTuple):
    asker: Asker
    provider: Provider
    models: dict[tuple[str, bool], str]  # of a format, whole or streaming: who answers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    every = played([recording for parameter in ANSWERS for recording in parameter.values[0] or ()])
    chosen: dict[tuple[str, bool], Played] = {}
    for play in every:
        if play.recording.status == 200 and not failed(play.answer):
            chosen.setdefault((play.format, play.streams), play)
    plays = list(chosen.values())
    models = {
        key: f"{'us.anthropic.claude-sonnet-4-5-' if key[0].startswith('bedrock') else ''}r{number}"
        for number, key in enumerate(chosen)
    }
    async with playing(tmp_path_factory.mktemp("requests"), plays) as (asker, provider):
        yield Stage(asker, provider, models)


def requests(recordings: list[Recording]) -> Iterator[tuple[Recording, str, dict[str, Any], bool]]:
    """Those of formats that clients speak: format, body, whether a stream is asked for."""
    for recording in recordings:
        format = format_of(recording)
        if format in CLIENTS and recording.request is not None:
            path = recording.whole["request"]["path"]
            body = json.loads(recording.request)
            yield recording, format, body, "streamGenerateContent" in path or bool(body.get("stream"))


async def told(stage: Stage, outbound: str, client: str, body: dict[str, Any], *, streams: bool) -> list[str]:
    """What is wrong with how `body` is told to a provider, or refused."""
    model = stage.models.get((outbound, streams)) or stage.models[outbound, not streams]
    streams = streams and (outbound, True) in stage.models
    stage.provider.asked = None
    status, answer = await stage.asker.ask(client, f"at-{outbound}/{model}", body, streams=streams)
    if status == 200:
        asked = stage.provider.asked
        return faults(outbound, *asked) if asked is not None else ["answered by nobody"]
    message = json.loads(answer.body)["error"]["message"]
    refused = status == 400 and len(message) > 20
    return [] if refused else [f"{status} {message[:300]}"]


@pytest.mark.parametrize("outbound", TRANSLATED)
@pytest.mark.parametrize("recordings", ASKED)
async def test_a_recorded_request_is_told_in_every_format(
    stage: Stage, recordings: list[Recording], outbound: str
) -> None:
    found = [
        f"{recording}: {fault}"
        for recording, client, body, streams in requests(recordings)
        if client != outbound
        for fault in await told(stage, outbound, client, body, streams=streams)
        # What its own provider refused may be wrong here too.
        if recording.status < 400 or fault[:1] in "45"
    ]
    assert found == []
