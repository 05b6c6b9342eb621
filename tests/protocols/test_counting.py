"""The table of how each protocol counts: against every recording, against arbitrary JSON, and row by row."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import asdict

from fairlead.chat import Usage, fold
from fairlead.errors import InvalidRequest, UpstreamError
from fairlead.protocols import DONE, StreamReader
from fairlead.protocols.anthropic_completions import AnthropicCompletions
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.counting import COUNTING, TABLE, USAGE, Row
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from protocols_outbound import raw_events
from protocols_recordings import SHARED, Recording, require_shared

WIRES: dict[str, Any] = {
    "openai-chat": OpenAIChat(),
    "openai-completions": OpenAICompletions(),
    "anthropic-messages": AnthropicMessages(),
    "anthropic-completions": AnthropicCompletions(),
}
PATHS = {
    "/chat/completions": "openai-chat",
    "/completions": "openai-completions",
    "/messages": "anthropic-messages",
    "/complete": "anthropic-completions",
}
ANSWERS = {"chat", "chat_stream", "completions", "completions_stream"}
MOST = 2**53 - 1


def check(usage: Usage) -> None:
    """What holds of usage whatever it was read from."""
    for name, count in asdict(usage).items():
        assert type(count) is int, name
        assert 0 <= count <= MOST, name
    assert usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    assert usage.input_audio_tokens + usage.input_image_tokens <= usage.input_tokens
    assert usage.output_audio_tokens + usage.output_image_tokens <= usage.output_tokens


# ---- every recording


def vendors() -> list[Any]:
    """Who was recorded answering; those that speak other protocols only are left out by what they were asked."""
    index = SHARED / "recordings" / "index.json"
    if not index.is_file():
        return [pytest.param("", id="absent")]
    found = {
        entry["id"].split("/")[0] for entry in json.loads(index.read_text()) if entry["id"].split("/")[1] in ANSWERS
    }
    return [pytest.param(name, id=name) for name in sorted(found - {"bedrock", "cohere", "vertex"})]


def recorded(vendor: str) -> Iterator[tuple[str, Recording]]:
    """The vendor's answers in protocols that we speak, each with its protocol."""
    for entry in json.loads((require_shared() / "recordings" / "index.json").read_text()):
        maker, operation, _ = entry["id"].split("/")
        if maker == vendor and operation in ANSWERS:
            recording = Recording(entry["id"])
            path = str(recording.whole["request"]["path"])
            protocol = next((name for end, name in PATHS.items() if path.endswith(end)), None)
            if protocol is not None:
                yield protocol, recording


@pytest.mark.parametrize("vendor", vendors())
def test_the_usage_of_every_recording_is_what_it_tells(vendor: str) -> None:
    require_shared()
    read: Counter[str] = Counter()
    told = 0
    for protocol, recording in recorded(vendor):
        events = "sse" in recording.whole["response"]
        naive = anthropic_by_hand if protocol.startswith("anthropic") else openai_by_hand
        expected = naive(chunks(recording) if events else [recording.whole["response"]["body"]])
        for usage in readings(WIRES[protocol], recording, events):
            assert usage == expected, recording
            if usage is not None:
                check(usage)
        told += expected is not None
        read["streams" if events else "whole answers"] += 1
    print(f"{vendor}: {dict(read)}, of which {told} tell usage")
    assert read.total() > 0
    assert told > 0 or vendor == "anthropic-openai-compat"  # its one stream tells none


def readings(wire: Any, recording: Recording, events: bool) -> Iterator[Usage | None]:
    """Its usage as it is read along, and as it is read when it is translated."""
    if not events:
        yield wire.summary(recording.response).usage
        yield wire.decode_response(recording.response).usage
        return
    raw = raw_events(wire, recording.response)
    yield read_along(wire.stream_reader(), raw)
    decode = wire.event_decoder()
    try:
        heard = [event for each in [*raw, b""] for event in decode(each)]
    except UpstreamError:
        yield decode.usage
        return
    yield fold(heard).usage
    assert decode.usage == fold(heard).usage


def read_along(reader: StreamReader, events: Iterable[bytes]) -> Usage | None:
    try:
        for event in events:
            if reader.see(event) & DONE:
                break
    except UpstreamError:
        pass
    return reader.summary.usage


def chunks(recording: Recording) -> list[Any]:
    """What the stream holds, up to its end or an error. (In some recordings another answer follows.)"""
    found = []
    for line in recording.response.decode().splitlines():
        text = line.removeprefix("data:").strip()
        if line.startswith("data:") and text not in ("", "[DONE]"):
            chunk = json.loads(text)
            if chunk.get("error"):
                break
            found.append(chunk)
            if chunk.get("type") == "message_stop":
                break
    return found


def openai_by_hand(answers: list[Any]) -> Usage | None:
    """What a reader with pencil and paper makes of it: the last usage, whatever the names of its figures are."""
    told: dict[str, Any] = {}
    for answer in answers:
        places = [answer, *(answer.get("choices") or []), answer.get("x_groq") or {}]
        told = next((place["usage"] for place in places if place.get("usage")), told)
    if not told:
        return None
    inputs = told["prompt_tokens"]
    outputs = told.get("total_tokens", inputs + told["completion_tokens"]) - inputs
    cached = largest(told, "cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")
    prompt, completion = told.get("prompt_tokens_details") or {}, told.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        cached_tokens=cached,
        cache_write_tokens=min(largest(told, "cache_write_tokens"), inputs - cached),
        reasoning_tokens=min(largest(told, "reasoning_tokens"), outputs) or outputs - told["completion_tokens"],
        input_audio_tokens=largest(prompt, "audio_tokens"),
        output_audio_tokens=largest(completion, "audio_tokens"),
        input_image_tokens=largest(prompt, "image_tokens"),
        output_image_tokens=largest(completion, "image_tokens"),
    )


def largest(told: Any, *names: str) -> int:
    """The largest of these figures, wherever they stand."""
    if not isinstance(told, dict):
        return 0
    return max([0, *((value or 0) if name in names else largest(value, *names) for name, value in told.items())])


def anthropic_by_hand(answers: list[Any]) -> Usage | None:
    told: dict[str, Any] = {}
    for answer in answers:
        for place in (answer.get("message") or {}, answer):
            told |= {name: value for name, value in (place.get("usage") or {}).items() if value is not None}
    if not told:
        return None
    rounds = told.get("iterations") or []
    # https://platform.claude.com/docs/en/build-with-claude/compaction: "sum across all entries". Where a model fell
    # back on another, only the other's count.
    billed = rounds if any(each["type"] in ("compaction", "advisor_message") for each in rounds) else [told]
    sums: Counter[str] = Counter()
    for each in billed:
        lasting = each.get("cache_creation") or told.get("cache_creation") or {}
        sums["in"] += each["input_tokens"]
        sums["out"] += each["output_tokens"]
        sums["read"] += each.get("cache_read_input_tokens") or 0
        sums["written"] += each.get("cache_creation_input_tokens") or 0
        sums["hour"] += lasting.get("ephemeral_1h_input_tokens") or 0
    return Usage(
        input_tokens=sums["in"] + sums["read"] + sums["written"],
        output_tokens=sums["out"],
        cached_tokens=sums["read"],
        cache_write_tokens=sums["written"],
        cache_write_1h_tokens=sums["hour"],
        reasoning_tokens=largest(told, "thinking_tokens"),
    )


# ---- anything


names = st.sampled_from(
    sorted(
        {part for rows in TABLE.values() for row in rows for part in row.place.partition("[")[0].split(".")}
        | {"type", "model"}
    )
)
numbers = st.one_of(
    st.integers(0, 100),
    st.integers(),
    st.integers(2**52, 2**54),
    st.integers(-(10**400), 10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 3.5, 1e15, 9007199254740993.0, 1e308, 2**53 - 1, 2**53, 2**64]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    numbers.map(str),
    st.text(max_size=20),
    st.sampled_from(["NaN", "1e3", "٣", "²", "-1", " 1", "1_0", "0x1", "compaction", "advisor_message"]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=5), inner, max_size=8)
)
usages = st.dictionaries(names, anything, max_size=12) | anything
protocols = st.sampled_from(sorted(COUNTING))


@settings(max_examples=500)
@given(protocols, usages, st.booleans())
def test_whatever_stands_in_its_place_reading_never_raises(protocol: str, told: Any, spaced: bool) -> None:
    raw = Raw(json.dumps(told, separators=(", ", ": ") if spaced else (",", ":")).encode())
    usage = COUNTING[protocol].usage(raw)
    if usage is not None:
        check(usage)


@given(protocols, st.binary(max_size=40) | st.sampled_from([b"", b"{", b'{"prompt_tokens":NaN}', b'{"a":"\xff"}']))
def test_what_is_no_json_is_no_usage(protocol: str, raw: bytes) -> None:
    usage = COUNTING[protocol].usage(Raw(raw))
    assert usage is None or type(usage) is Usage


@settings(max_examples=200)
@given(st.sampled_from(sorted(WIRES)), usages, usages)
def test_an_answer_stays_readable_whatever_it_says_of_usage(protocol: str, told: Any, later: Any) -> None:
    wire = WIRES[protocol]
    summary = wire.summary(whole(protocol, told))
    assert summary.usage == read(protocol, told)
    reader = wire.stream_reader()
    seen = read_along(reader, stream(protocol, told, later))
    for usage in (summary.usage, seen):
        if usage is not None:
            check(usage)
    assert wire.decode_response(whole(protocol, told)).usage == summary.usage
    decode = wire.event_decoder()
    assert fold([event for each in stream(protocol, told, later) for event in decode(each)]).usage == seen


def whole(protocol: str, told: Any) -> bytes:
    if protocol == "anthropic-messages":
        answer: dict[str, Any] = {"id": "m", "model": "n", "content": [], "stop_reason": "end_turn", "usage": told}
    elif protocol == "anthropic-completions":
        answer = {"id": "m", "model": "n", "completion": "x", "stop_reason": "stop_sequence", "usage": told}
    else:
        choice = {"index": 0, "message": {"content": "x"}, "text": "x", "finish_reason": "stop"}
        answer = {"id": "c", "model": "n", "choices": [choice], "usage": told}
    return json.dumps(answer).encode()


def stream(protocol: str, told: Any, later: Any) -> list[bytes]:
    """A stream that tells usage twice."""
    if protocol == "anthropic-messages":
        return [
            event({"type": "message_start", "message": {"id": "m", "model": "n", "usage": told}}),
            event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": later}),
            event({"type": "message_stop"}),
        ]
    if protocol == "anthropic-completions":
        return [
            event({"type": "completion", "completion": "x", "stop_reason": None, "usage": told}),
            event({"type": "completion", "completion": "", "stop_reason": "stop_sequence", "usage": later}),
        ]
    choice = {"index": 0, "delta": {"content": "x"}, "text": "x"}
    return [
        event({"id": "c", "choices": [choice], "usage": told}),
        event({"id": "c", "choices": [{**choice, "finish_reason": "stop"}]}),
        event({"id": "c", "choices": [], "usage": later}),
        b"data: [DONE]\n\n",
    ]


def event(content: dict[str, Any]) -> bytes:
    named = f"event: {content['type']}\n" if "type" in content else ""
    return f"{named}data: {json.dumps(content)}\n\n".encode()


counts = st.integers(0, 10**6)
rounds = st.fixed_dictionaries(
    {"type": st.sampled_from(["compaction", "message"])},
    optional={"input_tokens": counts, "output_tokens": counts, "cache_read_input_tokens": counts},
)
CLEAN = {
    "openai-chat": st.fixed_dictionaries(
        {"prompt_tokens": counts, "completion_tokens": counts},
        optional={
            "total_tokens": counts,
            "cached_tokens": counts,
            "prompt_tokens_details": st.dictionaries(names, counts, max_size=4),
            "completion_tokens_details": st.dictionaries(names, counts, max_size=4),
        },
    ),
    "anthropic-messages": st.fixed_dictionaries(
        {"input_tokens": counts, "output_tokens": counts},
        optional={
            "cache_read_input_tokens": counts,
            "cache_creation_input_tokens": counts,
            "cache_creation": st.dictionaries(names, counts, max_size=4),
            "iterations": st.lists(rounds, max_size=3),
        },
    ),
}


@given(st.data(), st.sampled_from(sorted(CLEAN)))
def test_a_number_reads_the_same_however_it_is_spelt(data: st.DataObject, protocol: str) -> None:
    told = data.draw(CLEAN[protocol])
    usage = COUNTING[protocol].usage(Raw(json.dumps(told).encode()))
    for spelt in (str, float, lambda number: number + 0.25):
        assert COUNTING[protocol].usage(Raw(json.dumps(respelt(told, spelt)).encode())) == usage


def respelt(value: Any, spelt: Any) -> Any:
    if isinstance(value, dict):
        return {name: each if name == "type" else respelt(each, spelt) for name, each in value.items()}
    return [respelt(each, spelt) for each in value] if isinstance(value, list) else spelt(value)


@pytest.mark.parametrize("bad", ["1e400", "9" * 5000, "-1", str(2**53), '"x"', "true", "[1]", '{"a":1}'])
def test_one_figure_that_cannot_be_read_does_not_hide_the_others(bad: str) -> None:
    raw = (
        '{"prompt_tokens":7,"completion_tokens":5,"cached_tokens":%s,"prompt_tokens_details":{"x":%s,"audio_tokens":2}}'
    )
    usage = COUNTING["openai-chat"].usage(Raw((raw % (bad, bad)).encode()))
    assert usage == Usage(7, 5, input_audio_tokens=2)


def test_sums_stay_countable() -> None:
    most = {"input_tokens": MOST, "output_tokens": MOST, "cache_read_input_tokens": MOST}
    told = {**most, "cache_creation_input_tokens": MOST, "iterations": [{**most, "type": "compaction"}] * 3}
    usage = COUNTING["anthropic-messages"].usage(Raw(json.dumps(told).encode()))
    assert usage == Usage(MOST, MOST, cached_tokens=MOST)


# ---- the rows


ROWS = [pytest.param(name, row, id=f"{name}-{row.place}-{row.figure}") for name, rows in TABLE.items() for row in rows]
OPEN = {
    "openai-chat": {"prompt_tokens": 100, "completion_tokens": 50},
    "openai-responses": {"input_tokens": 100, "output_tokens": 50},
    "openai-completions": {"prompt_tokens": 100, "completion_tokens": 50},
    "anthropic-messages": {"input_tokens": 100, "output_tokens": 50},
    "gemini": {"promptTokenCount": 100, "candidatesTokenCount": 50},
    "bedrock-converse": {"inputTokens": 100, "outputTokens": 50},
    "bedrock-invoke": {"inputTokenCount": 100, "outputTokenCount": 50},
    "cohere-chat": {"tokens": {"input_tokens": 100, "output_tokens": 50}},
    "cohere-chat-v1": {"tokens": {"input_tokens": 100, "output_tokens": 50}},
    "ollama-chat": {"prompt_eval_count": 100, "eval_count": 50},
    "ollama-generate": {"prompt_eval_count": 100, "eval_count": 50},
}


@pytest.mark.parametrize(("protocol", "row"), ROWS)
def test_each_row_is_read_as_it_says(protocol: str, row: Row) -> None:
    usage = read(protocol, merged(OPEN[protocol], placed(row, 7)))
    before = Usage(100, 50)
    match row.stands:
        case "total" if next(each for each in TABLE[protocol] if each.figure == row.figure) is not row:
            assert usage == before  # an earlier place tells it
            assert read(protocol, placed(row, 7)) == changed(Usage(), row, 7)
        case "uncounted":
            assert usage == before
        case "total" if row.figure == "total_tokens":
            assert usage == before  # less than its parts: they are right
        case "total" | "within":
            assert usage == changed(before, row, 7)
        case "beside" if row.figure == "input_tokens":
            assert usage == Usage(107, 50)
        case "beside" if row.figure == "reasoning_tokens":
            assert usage == Usage(100, 57, reasoning_tokens=7)
        case "beside":
            assert usage == changed(Usage(107, 50), row, 7)
        case "by_total":
            assert usage == changed(before, row, 7)
            whole = Usage(100, 57) if row.figure == "reasoning_tokens" else Usage(107, 50)
            assert read(protocol, {**OPEN[protocol], **placed(row, 7), "total_tokens": 157}) == changed(whole, row, 7)
        case "rest":
            assert read(protocol, {**OPEN[protocol], **placed(row, 157)}) == Usage(100, 57, reasoning_tokens=7)
        case "rounds":
            assert usage == Usage(107, 57)


def read(protocol: str, told: Any) -> Usage | None:
    return COUNTING[protocol].usage(Raw(json.dumps(told).encode()))


def merged(told: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both, to the second level."""
    inner = {name: {**told[name], **each} for name, each in more.items() if isinstance(told.get(name), dict)}
    return {**told, **more, **inner}


def placed(row: Row, count: int) -> dict[str, Any]:
    """Usage that tells this one figure."""
    name, _, kind = row.place.removesuffix("]").partition("[")
    if kind:
        return {name: [{"type": kind, "input_tokens": count, "output_tokens": count}]}
    outer, _, name = row.place.rpartition(".")
    return {outer: {name: count}} if outer else {name: count}


def changed(usage: Usage, row: Row, count: int) -> Usage:
    more = {row.figure: count}
    if row.figure.startswith("cache_write_") and row.figure != "cache_write_tokens":
        usage, more = Usage(107, 50, cache_write_tokens=7), {"cache_write_1h_tokens": 7 * ("1h" in row.figure)}
    return Usage(**{**asdict(usage), **more})


def test_each_row_names_where_it_is_written_down() -> None:
    rows = [row for table in (TABLE, USAGE) for rows in table.values() for row in rows]
    for row in rows:
        address = urlsplit(row.source)
        assert address.scheme == "https", row
        assert "." in address.netloc, row
        assert len(address.path) > 1, row
        assert not address.query, row
        assert row.source == row.source.strip().replace(" ", ""), row
    assert set(TABLE) == set(USAGE) == set(COUNTING) >= set(WIRES)
    figures = {row.figure for row in rows if row.stands != "uncounted"}
    assert set(Usage.__struct_fields__) <= figures
    for table in TABLE.values():
        assert len({(row.figure, row.place) for row in table}) == len(table)


@pytest.mark.parametrize(
    ("protocol", "row"),
    [(name, row) for name, rows in USAGE.items() for row in rows if name in WIRES],
    ids=lambda part: str(part)[:60],
)
def test_usage_is_found_in_each_of_its_places(protocol: str, row: Row) -> None:
    wire, told = WIRES[protocol], OPEN[protocol]
    outer = row.place.rpartition(".")[0]
    if protocol == "anthropic-messages":
        message = {"type": "message_start", "message": {"id": "m", "model": "n", "usage": told if outer else None}}
        events = [event(message), event({"type": "message_delta", "usage": None if outer else told})]
        assert read_along(wire.stream_reader(), events) == Usage(100, 50)
        assert outer or wire.summary(whole(protocol, told)).usage == Usage(100, 50)
        return
    chunk: dict[str, Any] = {
        "id": "c",
        "choices": [{"index": 0, "delta": {"content": "x"}, "text": "x"}],
        "usage": None,
    }
    place = {"": chunk, "choices": chunk["choices"][0], "x_groq": chunk.setdefault("x_groq", {})}[outer]
    place["usage"] = told
    assert wire.summary(json.dumps(chunk).encode()).usage == Usage(100, 50)
    compact = b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()
    ordinary = compact.replace(json.dumps(told, separators=(",", ":")).encode(), b"null")
    for spelt in (compact, event(chunk)):
        # Also after content was seen, when ordinary deltas are not looked into any more.
        assert read_along(wire.stream_reader(), [ordinary, ordinary, spelt, ordinary]) == Usage(100, 50)


# ---- streams that tell usage late, twice, or oddly


DELTA = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "x"}, "text": "x"}]}
FINISH = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
TOLD = OPEN["openai-chat"]
USED = Usage(100, 50)


@pytest.mark.parametrize("mark", [b"data: [DONE]\n\n", b""], ids=["marked", "unmarked"])
@pytest.mark.parametrize(
    "content",
    [
        [DELTA, FINISH, {"choices": [], "usage": TOLD}],
        [DELTA, FINISH, {"choices": []}, {"choices": [], "usage": TOLD}],
        [DELTA, FINISH, {"usage": TOLD}],
        [DELTA, FINISH, {"choices": None, "usage": TOLD}],
        [DELTA, {**FINISH, "usage": TOLD}],
        [{**DELTA, "usage": TOLD}, FINISH],
        [
            {**DELTA, "usage": {**TOLD, "completion_tokens": 1}},
            {**FINISH, "usage": None},
            {"choices": [], "usage": TOLD},
        ],
        [{**DELTA, "usage": {**TOLD, "completion_tokens": n}} for n in (1, 7)] + [{**FINISH, "usage": TOLD}],
        [DELTA, {**FINISH, "usage": TOLD}, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}],
        [DELTA, {**FINISH, "usage": TOLD}, {"choices": [], "usage": {}}],
        [{"choices": [], "usage": TOLD}, DELTA, FINISH],
        [DELTA, {"choices": [], "usage": None, "x_groq": {"usage": TOLD}}, FINISH],
    ],
)
@pytest.mark.parametrize("protocol", ["openai-chat", "openai-completions"])
def test_late_and_growing_usage_is_read(protocol: str, content: list[dict[str, Any]], mark: bytes) -> None:
    wire = WIRES[protocol]
    compact = [b"data: %b\n\n" % json.dumps(each, separators=(",", ":")).encode() for each in content]
    for events in ([*map(event, content), mark], [*compact, mark]):
        assert read_along(wire.stream_reader(), filter(None, events)) == USED
        decode = wire.event_decoder()
        assert fold([told for each in [*filter(None, events), b""] for told in decode(each)]).usage == USED


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ([{"input_tokens": 10, "output_tokens": 1}, {"output_tokens": 5}, {"output_tokens": 50}], Usage(10, 50)),
        ([{"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 10, "output_tokens": 50}], Usage(10, 50)),
        ([{"input_tokens": 10, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 50}], Usage(10, 50)),
        ([{"input_tokens": 10, "output_tokens": 50}, {"input_tokens": None}], Usage(10, 50)),
        (
            [{"input_tokens": 4, "cache_read_input_tokens": 9}, {"input_tokens": 10, "cache_read_input_tokens": 0}],
            Usage(10),
        ),
        (
            [{"input_tokens": 1, "cache_read_input_tokens": 9}, {"input_tokens": 0, "cache_read_input_tokens": 0}],
            Usage(10, cached_tokens=9),
        ),
        ([{"input_tokens": 10, "output_tokens": 50}, {"input_tokens": -1, "output_tokens": "x"}], Usage(10, 50)),
        ([{"input_tokens": 10}, {"output_tokens": 50}], Usage(10, 50)),
        ([None, {"output_tokens": 50}], Usage(0, 50)),
        ([None, None], None),
        ([{}, {}], None),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["at the stop reason", "at the end"])
def test_usage_of_a_message_grows(told: list[Any], usage: Usage | None, late: bool) -> None:
    first, *rest = told
    events = [
        event({"type": "message_start", "message": {"id": "m", "model": "n", "usage": first}}),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        *[event({"type": "message_delta", "delta": {}, "usage": each}) for each in (rest[:-1] if late else rest)],
        event({"type": "message_stop", **({"usage": rest[-1]} if late else {})}),
    ]
    decode = WIRES["anthropic-messages"].event_decoder()
    assert read_along(WIRES["anthropic-messages"].stream_reader(), events) == usage
    assert fold([said for each in [*events, b""] for said in decode(each)]).usage == usage


def test_images_are_told_where_the_format_has_them() -> None:
    usage = Usage(9, 8, input_image_tokens=4, output_image_tokens=3)
    answer = WIRES["openai-chat"].decode_response(whole("openai-chat", TOLD))
    told = json.loads(WIRES["openai-chat"].encode_response(type(answer)(**{**fields(answer), "usage": usage})))["usage"]
    assert told["prompt_tokens_details"]["image_tokens"] == 4
    assert told["completion_tokens_details"]["image_tokens"] == 3
    assert read("openai-chat", told) == usage


def fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


# ---- asking for it


@pytest.mark.parametrize("wire", [WIRES["openai-chat"], WIRES["openai-completions"]], ids=["chat", "completions"])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (None, {}),
        ("null", {}),
        ("{}", {}),
        ('{"include_usage":false}', {}),
        ('{"include_usage":null}', {}),
        ('{"include_usage": true}', {}),
        ('{"include_usage":true,"include_usage":false}', {}),
        ('{"include_usage":false,"include_usage":true}', {}),
        ('{"include_\\u0075sage":false}', {}),
        ('{"include_usage":false,"continuous_usage_stats":true,"x":[{"include_usage":false}]}',
         {"continuous_usage_stats": True, "x": [{"include_usage": False}]}),
    ],
)  # fmt: skip
def test_usage_is_asked_for_however_a_client_puts_it(wire: Any, options: str | None, kept: dict[str, Any]) -> None:
    text = '{"model":"m","stream":true,"prompt":"a","messages":[{"role":"user","content":"a"}]'
    if options is not None:
        text += f',"stream_options":{{"include_usage":false}},"stream_options":{options}'
    taken = wire.peek(text.encode() + b"}")
    sent = wire.patch(taken, "m", drop=frozenset(), ask_usage=True, default_max_tokens=1)
    assert sent.count(b'"stream_options"') == 1
    pairs = json.loads(sent, object_pairs_hook=lambda pairs: pairs)
    ((_, asked),) = [pair for pair in pairs if pair[0] == "stream_options"]
    assert [pair for pair in asked if pair[0] == "include_usage"] == [("include_usage", True)]
    assert json.loads(sent)["stream_options"] == {"include_usage": True, **kept}
    left = wire.patch(taken, "m", drop=frozenset(), ask_usage=False, default_max_tokens=1)
    assert b'"include_usage":true' not in left or '"include_usage":true' in text


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ('"stream_options":[]', "stream_options"),
        ('"stream_options":"x"', "stream_options"),
        ('"stream_options":{"include_usage":0}', "stream_options.include_usage"),
        ('"stream_options":{"include_usage":"false"}', "stream_options.include_usage"),
        ('"stream_options":{"include_usage":true,"Include_Usage":false}', "stream_options.Include_Usage"),
        ('"stream_options":{"\\u017fx":1,"include_u\\u017fage":false}', "stream_options.include_u\u017fage"),
        ('"Stream_Options":{"include_usage":false}', "Stream_Options"),
        ('"\\u017ftream_options":{"include_usage":false}', "\u017ftream_options"),
    ],
)
def test_what_a_provider_might_read_otherwise_is_refused(field: str, param: str) -> None:
    for wire in (WIRES["openai-chat"], WIRES["openai-completions"]):
        text = '{"model":"m","stream":true,"prompt":"a","messages":[{"role":"user","content":"a"}],' + field + "}"
        with pytest.raises(InvalidRequest) as refused:
            wire.peek(text.encode())
        assert refused.value.param == param
