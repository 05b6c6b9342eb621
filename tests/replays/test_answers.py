"""Every recorded chat, played by a provider over a socket and asked for through the gateway.

By a client of the same format, which gets what was recorded; by clients of the others, which get an answer that is
valid by their format's published schema and says the same. What is expected is read from the recordings by
`readers`, which knows nothing of the gateway. What the gateway wrote down of each attempt is looked at, too.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from protocols_recordings import Recording, by_provider
from replays import failures
from replays.playing import CLIENTS, Asker, Played, played, playing
from replays.readers import Answer, Told, events, failed, read, why
from replays.schemas import faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATIONS = (
    "chat", "chat_stream", "chat_v1", "chat_v1_stream", "responses", "responses_stream", "invoke", "invoke_stream",
    "native_chat", "native_chat_stream", "native_generate", "native_generate_stream", "completions",
    "completions_stream", "error",
)  # fmt: skip
RECORDED = by_provider(OPERATIONS)
HELLO: dict[str, dict[str, Any]] = {
    "openai-chat": {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}},
    "openai-responses": {"input": "hi"},
    "openai-completions": {"prompt": "hi", "stream_options": {"include_usage": True}},
    "anthropic-messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
# How clients are told what their format has no word for.
ENDS = {
    "openai-chat": {"refusal": "content_filter", "pause": "stop", "stop_sequence": "stop"},
    "openai-responses": {"refusal": "content_filter", "pause": "stop", "stop_sequence": "stop"},
    "anthropic-messages": {"content_filter": "refusal"},
    "gemini": {"refusal": "content_filter", "pause": "stop", "stop_sequence": "stop"},
}
# Formats whose answers say that the model refuses. What another tells as its end, those do, too.
REFUSES = frozenset({"openai-chat", "openai-responses"})
# Put together by hand: what was streamed and what is whole at its end are of different answers.
INCONSISTENT = frozenset({"openai/responses_stream/fx-openai-shell-container.1"})


class Stage(NamedTuple):
    """The gateway, and all that its providers play."""

    asker: Asker
    plays: dict[str, Played]

    async def attempts(self) -> dict[str, list[dict[str, Any]]]:
        """What was written down since it was last asked, by the provider's model."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in await self.asker.running.rows("attempts"):
            found.setdefault(row["model"], []).append(row)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    plays = played([recording for parameter in RECORDED for recording in parameter.values[0] or ()])
    async with playing(tmp_path_factory.mktemp("replays"), plays) as (asker, _):
        yield Stage(asker, {play.recording.id: play for play in plays})


def asking(client: str, *, streams: bool) -> dict[str, Any]:
    body = dict(HELLO[client])
    if not streams:
        body.pop("stream_options", None)
    return body


def differences(client: str, play: Played, told: Told, expected: Told) -> list[str]:
    """What `told`, which a client got, does not say as the recording does."""
    found = []
    for name in ("text", "thought", "calls"):
        got, wanted = getattr(told, name), getattr(expected, name)
        if got != wanted and play.recording.id not in INCONSISTENT:
            found.append(f"{name}: {str(got)[:200]!r} for {str(wanted)[:200]!r}")
    reason = why(play.format, expected) or "stop"
    if reason != "refusal" or not {client, play.format} <= REFUSES:
        reason = ENDS[client].get(reason, reason)
    if expected.calls and reason == "stop" and client in ("openai-responses", "gemini"):
        reason = "tool_use"  # which is known there by its calls
    if why(client, told) != reason:
        found.append(f"ended by {why(client, told)} ({told.reason}) for {reason} ({expected.reason})")
    count = expected.count
    if count is not None:
        if client == "gemini":  # it has no word for what was written to a cache
            count = count._replace(written=0)
        if told.count != count:
            found.append(f"{told.count} for {count}")
    for name in ("id", "model"):
        if getattr(expected, name) and getattr(told, name) != getattr(expected, name):
            found.append(f"{name}: {getattr(told, name)!r} for {getattr(expected, name)!r}")
    return found


async def compared(asker: Asker, play: Played, client: str) -> list[str]:
    """What is wrong with what a client gets that asks in another format than the provider answers."""
    body = asking(client, streams=play.streams)
    status, answer = await asker.ask(client, f"at-{play.format}/{play.model}", body, streams=play.streams)
    if play.recording.status >= 400 or failed(play.answer):
        return failures.differences(client, play, status, answer)
    if status != 200:
        return [f"{status} {answer.body[:300]!r}"]
    try:
        told = read(client, answer)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        return [f"cannot be read: {error!r} {answer.body[-300:]!r}"]
    return [*differences(client, play, told, read(play.format, play.answer)), *faults(client, answer)[:3]]


async def passed(asker: Asker, play: Played) -> list[str]:
    """What is wrong with what a client gets that asks as the recorded one did."""
    body = play.recording.whole["request"].get("body") or asking(play.format, streams=play.streams)
    if play.streams and play.format in ("openai-chat", "openai-completions"):
        body = {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}
    status, answer = await asker.ask(play.format, f"at-{play.format}/{play.model}", body, streams=play.streams)
    if play.recording.status >= 400 or (failed(play.answer) and status != 200):
        return failures.differences(play.format, play, status, answer)
    if status != 200:
        return [f"{status} {answer.body[:300]!r}"]
    sent, got = list(events(play.answer)), list(events(answer))
    if failed(play.answer):
        begun = len(got) - 1
        return [] if got[:begun] == sent[:begun] and begun >= 0 else [f"{got[:2]} … for {sent[:2]} …"]
    if play.streams:  # of files that hold several answers in a row, the first
        sent = sent[: len(got)]
        end = read(play.format, Answer("sse", answer.body, {})).reason
        if end != read(play.format, play.answer).reason:
            return [f"ended by {end}"]
    return [] if got == sent else [f"{str(got)[:300]} for {str(sent)[:300]}"]


def unrecorded(play: Played, rows: list[dict[str, Any]]) -> list[str]:
    """What the gateway did not write down of its attempts."""
    if play.recording.status >= 400:
        return [f"status {row['status']}" for row in rows if row["status"] != play.recording.status]
    if failed(play.answer):
        return [f"{row['outcome']}" for row in rows if row["outcome"] == "ok"]
    expected = read(play.format, play.answer)
    found = []
    for row in rows:
        if expected.count is not None:
            names = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
            got = tuple(row[name] for name in names)
            if got != expected.count or row["estimated"]:
                found.append(f"{got} for {expected.count}")
        if expected.id is not None and row["upstream_id"] != expected.id:
            found.append(f"id {row['upstream_id']!r} for {expected.id!r}")
        if expected.reason not in (None, "refusal") and row["finish_reason"] != expected.reason:
            found.append(f"ended by {row['finish_reason']} for {expected.reason}")
    return found


async def every(
    stage: Stage, recordings: list[Recording], look: Callable[[Played], Any], wanted: Callable[[Played], bool]
) -> list[str]:
    """What `look` finds wrong, of the recordings that are `wanted`; and what was not written down."""
    before = {name: len(rows) for name, rows in (await stage.attempts()).items()}
    plays = [stage.plays[each.id] for each in recordings if each.id in stage.plays]
    plays = [play for play in plays if wanted(play)]
    found = [f"{play.recording}: {fault}" for play in plays for fault in await look(play)]
    rows = await stage.attempts()
    for play in plays:
        mine = rows.get(play.model, [])[before.get(play.model, 0) :]
        found += [f"{play.recording} wrote {fault}" for fault in dict.fromkeys(unrecorded(play, mine))]
    return found


@pytest.mark.parametrize("recordings", RECORDED)
async def test_a_client_of_the_same_format_gets_what_was_recorded(stage: Stage, recordings: list[Recording]) -> None:
    found = await every(stage, recordings, lambda play: passed(stage.asker, play), lambda play: play.format in HELLO)
    assert found == []


@pytest.mark.parametrize("client", list(CLIENTS))
@pytest.mark.parametrize("recordings", RECORDED)
async def test_clients_of_other_formats_get_a_valid_answer_that_says_the_same(
    stage: Stage, recordings: list[Recording], client: str
) -> None:
    found = await every(
        stage,
        recordings,
        lambda play: compared(stage.asker, play, client),
        lambda play: play.format not in (client, "openai-completions"),
    )
    assert found == []
