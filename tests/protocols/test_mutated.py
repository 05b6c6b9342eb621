"""Decoders of every format are fed what nobody should send: mutated bodies, 1,000 for each, the same ones in every run.

    make fuzz                                                   100,000 for each
    MUTATED_SEED=7 pytest tests/protocols/test_mutated.py       other bodies
    MUTATED_BODIES=1000000 pytest …                             more of them

Each body is one of the seeds in mutation_seeds.py (or a recording, where they lie) that is wrong in a place or two. A
decoder may take it, or refuse it by the errors that `fairlead.protocols` allows; what it takes can be told again. It
may do nothing else, neither hang, nor take longer or more memory than the size of the body warrants. What fails is
shrunk before it is told; it belongs into `REGRESSIONS` then.
"""

import gzip
import os
import re
import resource
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fairlead
from fairlead import app
from fairlead.chat import Event, fold
from fairlead.errors import FairleadError, InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import Cutter, aws_eventstream, is_counting, is_inbound, is_outbound, sse
from fairlead.protocols.ndjson import LineCutter
from fairlead.upstream.connection import Gunzip
from mutation import SEED, Mutator, StreamMutator, places
from mutation_seeds import (
    CHAT_ANSWERS,
    CHAT_REQUESTS,
    CHAT_STREAMS,
    COHERE_V1_STREAMS,
    CONVERSE_STREAMS,
    ERRORS,
    INVOKE_STREAMS,
    MESSAGES_ANSWERS,
    MESSAGES_REQUESTS,
    MESSAGES_STREAMS,
    OLLAMA_STREAMS,
    OWN,
    chunk,
    framed,
    json,
    seeds,
)
from protocols_outbound import check
from work import work

BODIES = int(os.environ.get("MUTATED_BODIES", "1000"))
PATIENCE_SECONDS, PATIENCE_BODIES = 60.0, 1000  # CPU, for so many of them, which take a quarter of a second
SHARE = 4  # one in so many bodies is told in another format as well
MOST_RESIDENT = 200 << 20
MOST_WORK = 1_000_000  # see work.py; …
WORK_A_BYTE = 200  # … and for each byte of a body
PRODUCT = str(Path(fairlead.__file__).parent)
FORMATS: dict[str, Any] = {**app.WIRES, **app.DIALECTS}
ASKED = [format for format in FORMATS.values() if is_outbound(format)]
# OpenRouter's dialects tell what OpenAI's formats do, and change it.
TELLING = [
    format
    for name, format in FORMATS.items()
    if is_inbound(format) and name not in ("openai-chat", "openai-completions")
]
# What these tell of a stream is passed on in their order, whatever their server makes of it.
UNORDERED = ("anthropic-messages", "bedrock-invoke")
# The model and the kind of answer stand in the address.
ADDRESSED: dict[str, dict[str, Any]] = {"gemini": {"model": "other"}}

# ---- what was too much once: a format, the decoder of it, and the body; of a stream all events

CHAT, MESSAGES, COMPLETIONS = "openai-chat", "anthropic-messages", "openai-completions"
COMPLETE, CONVERSE, RESPONSES = "anthropic-completions", "bedrock-converse", "openai-responses"
REGRESSIONS: list[tuple[str, str, bytes | list[bytes]]] = [
    (CHAT, "peek", b'{"messages":[{"role":"","":1e999}]}'),  # only where `policy.max_characters` is set
    (MESSAGES, "peek", b'{"messages":[{"role":"","":1e999}]}'),
    (CHAT, "summary", b'{"error":1e999}'),
    (CHAT, "summary", b'{"error":"\xff"}'),
    (CHAT, "summary", b'{"object":"error","":1e999}'),
    (CHAT, "summary", b'{"object":"error","":"\xff"}'),
    (COMPLETIONS, "summary", b'{"error":1e999}'),
    (COMPLETIONS, "summary", b'{"error":"\xff"}'),
    (MESSAGES, "summary", b'{"error":1e999}'),
    (MESSAGES, "summary", b'{"error":"\xff"}'),
    (CHAT, "decode_response", b'{"error":1e999}'),
    (CHAT, "decode_response", b'{"error":"\xff"}'),
    (CHAT, "decode_response", b'{"object":"error","":1e999}'),
    (CHAT, "decode_response", b'{"object":"error","":"\xff"}'),
    (CHAT, "decode_response", b'{"choices":[{"message":{"reasoning_details":[{"type":"\xff"}]}}]}'),
    (MESSAGES, "decode_response", b'{"error":1e999}'),
    (MESSAGES, "decode_response", b'{"error":"\xff"}'),
    (MESSAGES, "decode_response", b'{"content":[{"type":"\xff"}]}'),
    (MESSAGES, "decode_response", b'{"content":[{"type":"tool_use","id":"","name":"","input":"\xff"}]}'),
    (CHAT, "decode_error", b'"\xff"'),
    (COMPLETIONS, "decode_error", b'"\xff"'),
    (COMPLETE, "decode_response", b'{"error":1e999}'),
    (COMPLETE, "event_decoder", [b'data:{"error":"\xff"}']),
    (MESSAGES, "decode_error", b'"\xff"'),
    (RESPONSES, "decode_response", b'{"output":[],"tools":[{"type":{}}]}'),
    (RESPONSES, "event_decoder", [b'data:{"type":"response.created","response":{"tools":[{"type":{}}]}}']),
    (
        CONVERSE,
        "event_decoder",
        [b'contentBlockStart\n{"start":{"toolUse":{"toolUseId":1,"toolUseId":"t","name":"g"}}}', b"messageStop\n{}"],
    ),
    (CHAT, "stream_reader", [b'data:{"error":1e999}']),
    (CHAT, "stream_reader", [b'data:{"error":"\xff"}']),
    (CHAT, "stream_reader", [b'event:error\ndata:{"":1e999}']),
    (CHAT, "stream_reader", [b'event:error\ndata:{"":"\xff"}']),
    (COMPLETIONS, "stream_reader", [b'data:{"error":1e999}']),
    (MESSAGES, "stream_reader", [b'data:{"type":"","error":1e999}']),
    (MESSAGES, "stream_reader", [b'data:{"type":"","error":"\xff"}']),
    (MESSAGES, "stream_reader", [b'data:{"type":"content_block_start","content_block":{"type":"\xff"}}']),
    (CHAT, "event_decoder", [b'data:{"error":1e999}']),
    (CHAT, "event_decoder", [b'data:{"error":"\xff"}']),
    (CHAT, "event_decoder", [b'event:error\ndata:{"":1e999}']),
    (CHAT, "event_decoder", [b'event:error\ndata:{"":"\xff"}']),
    (CHAT, "event_decoder", [b'data:{"choices":[{"delta":{"reasoning_details":[{"type":"\xff"}]}}]}']),
    (MESSAGES, "event_decoder", [b'data:{"type":"","error":1e999}']),
    (MESSAGES, "event_decoder", [b'data:{"type":"","error":"\xff"}']),
    (MESSAGES, "event_decoder", [b'data:{"type":"content_block_start","content_block":{"type":"\xff"}}']),
    (
        MESSAGES,
        "event_decoder",
        [
            b'data:{"type":"content_block_start","content_block":{}}',
            b'data:{"type":"content_block_delta","":"\xff"}',
        ],
    ),
    (
        MESSAGES,
        "event_decoder",
        [
            b'data:{"type":"content_block_start","content_block":{}}',
            b'data:{"type":"content_block_delta","delta":{"a":1}}',
            b'data:{"type":"content_block_delta","delta":{"a":""}}',
        ],
    ),
]

STATUSES = [200, 301, 400, 401, 402, 403, 404, 408, 413, 422, 424, 429, 500, 502, 503, 504, 529, 599, 999]
HEADERS = [
    b"",
    b"5",
    b"-1",
    b"\xff",
    b"1e999",
    b"9" * 400,
    b"ValidationException:http://x/",
    b":",
    b"ThrottlingException",
]

# ---- feeding


class Feed(NamedTuple):
    """A decoder, as the tests feed it: raises nothing but `allowed`."""

    name: str
    decode: Callable[[Any], object]
    allowed: type[FairleadError]
    share: int = 1  # of so many bodies it is fed one


def of_requests(wire: Any) -> list[Feed]:
    address = ADDRESSED.get(wire.name, {})

    def peek(body: bytes) -> None:
        envelope = wire.peek(body, **address)
        sent = wire.patch(envelope, "other", drop=frozenset({"provider"}), ask_usage=True, default_max_tokens=7)
        again = wire.peek(sent, **address)  # what was checked is what is sent
        assert again.model == "other"
        fewer = wire.name == "openai-responses"  # items that carry what another format keeps
        assert again.messages == envelope.messages or (fewer and again.messages < envelope.messages)
        assert address or again.stream == envelope.stream
        wire.characters(envelope)

    def decode_request(body: bytes) -> None:
        wire.decode_request(body, **address)

    def told_in(other: Any) -> Callable[[bytes], None]:
        return lambda body: with_refusal(
            partial(other.encode_request, wire.decode_request(body, **address), default_max_tokens=7)
        )

    def decode_count(body: bytes) -> None:
        wire.decode_count(body)
        wire.patch_count(body, "other", drop=frozenset({"provider"}))

    def counted_in(other: Any) -> Callable[[bytes], None]:
        return lambda body: with_refusal(partial(other.encode_count_request, wire.decode_count(body)))

    counting = [other for other in ASKED if is_counting(other)]
    feeds = [
        Feed("peek", peek, InvalidRequest), Feed("decode_request", decode_request, InvalidRequest),
        Feed("decode_count", decode_count, InvalidRequest),
        *(Feed("decode_request", told_in(other), InvalidRequest, SHARE * len(ASKED)) for other in ASKED),
        *(Feed("decode_count", counted_in(other), InvalidRequest, SHARE * len(counting)) for other in counting),
    ]  # fmt: skip
    return own(wire, feeds)


def of_answers(wire: Any) -> list[Feed]:
    def summary(body: bytes) -> None:
        told = wire.summary(body)
        assert wire.summary(wire.dress(body)) == told

    def decode_response(body: bytes) -> None:
        msgspec.json.encode(wire.decode_response(body, headers_for(body)))  # whatever was kept as it stood is JSON

    def told_in(other: Any) -> Callable[[bytes], object]:
        return lambda body: other.encode_response(wire.decode_response(body))

    feeds = [
        Feed("summary", summary, UpstreamError), Feed("decode_response", decode_response, UpstreamError),
        Feed("dress", getattr(wire, "dress", str), UpstreamError),
        Feed("decode_counted", getattr(wire, "decode_counted", str), UpstreamError),
        *(Feed("decode_response", told_in(other), UpstreamError, SHARE * len(TELLING)) for other in TELLING),
    ]  # fmt: skip
    return own(wire, feeds)


def of_errors(wire: Any) -> list[Feed]:
    def decode_error(body: bytes) -> None:
        told = wire.decode_error(STATUSES[len(body) % len(STATUSES)], body, headers_for(body))
        assert isinstance(told, UpstreamError)
        told.hide("secret")
        if is_inbound(wire):
            msgspec.json.decode(wire.encode_error(told))

    return own(wire, [Feed("decode_error", decode_error, UpstreamError)])


def of_streams(wire: Any) -> list[Feed]:
    """A stream is told as events; what a chunk ends in, and what its format's cutter makes of that, is done here."""

    def cut_anew(events: list[bytes]) -> list[bytes]:
        cutter = wire.cutter(1 << 20)
        chunks = map(framed, events) if wire.name.startswith("bedrock") else (event + b"\n\n" for event in events)
        return [event for chunk in [*chunks, b""] for event in (cutter.feed(chunk) if chunk else [cutter.finish()])]

    def stream_reader(events: list[bytes]) -> None:
        see = wire.stream_reader().see
        for event in cut_anew(events):
            see(event)

    def heard(events: list[bytes]) -> Iterator[Event]:
        decode = wire.event_decoder()
        for raw in [*cut_anew(events), b""]:
            yield from decode(raw)
            assert decode.held >= 0

    def event_decoder(events: list[bytes]) -> None:
        found = list(heard(events))
        if wire.name not in UNORDERED:
            check(found)
        fold(found)

    def told_in(other: Any) -> Callable[[list[bytes]], None]:
        def tell(events: list[bytes]) -> None:
            encode = other.event_encoder(include_usage=True)
            for event in heard(events):
                encode(event)

        return tell

    feeds = [
        Feed("stream_reader", stream_reader, UpstreamError), Feed("event_decoder", event_decoder, UpstreamError),
        *(Feed("event_decoder", told_in(other), UpstreamError, SHARE * len(TELLING)) for other in TELLING),
    ]  # fmt: skip
    return own(wire, feeds)


def headers_for(body: bytes) -> dict[bytes, bytes]:
    """Headers that are as wrong as `body` is."""
    value = HEADERS[len(body) % len(HEADERS)]
    return dict.fromkeys((b"x-amzn-errortype", b"x-amzn-bedrock-input-token-count", b"retry-after"), value)


def own(wire: Any, feeds: list[Feed]) -> list[Feed]:
    """Those of `feeds` that it has; of a dialect, those that are code of its own."""
    taken = {getattr(type(other), feed.name, None) for other in app.WIRES.values() for feed in feeds}
    inherited = set() if wire in app.WIRES.values() else taken
    return [feed for feed in feeds if getattr(type(wire), feed.name, None) not in {None, *inherited}]


def with_refusal(tell: Callable[[], bytes]) -> None:
    """What one format knows, another may have no words for."""
    with suppress(InvalidRequest):
        tell()


class Hangs(BaseException):
    """So that no decoder catches it."""


@contextmanager
def bounded() -> Iterator[Callable[[], object]]:
    """What stays resident of this process's memory, and the CPU it takes from each call of what is given."""

    def stop(*_: Any) -> None:
        raise Hangs

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield partial(signal.setitimer, signal.ITIMER_VIRTUAL, PATIENCE_SECONDS)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_RESIDENT


def fed(feeds: list[Feed], make: Callable[[], Any], count: int = BODIES) -> None:
    """Feed `count` bodies to each, and fail with the smallest ones that are too much."""
    defects: dict[tuple[str, str], tuple[Feed, Any]] = {}
    slow: list[tuple[float, int, Feed, Any]] = []
    clock, slowest, taken = time.perf_counter, 0.0, [0] * len(feeds)
    body: Any = None
    try:
        with bounded() as be_patient:
            for number in range(count):
                if number % PATIENCE_BODIES == 0:
                    be_patient()
                body = make()
                for turn, feed in enumerate(feeds, number):
                    if turn % feed.share:
                        continue
                    began = clock()
                    try:
                        feed.decode(body)
                        taken[turn - number] += 1
                    except feed.allowed:
                        pass
                    except Exception as error:
                        defects.setdefault((feed.name, place_of(error)), (feed, body))
                    took = clock() - began
                    if took > slowest:
                        slow = [*slow[-9:], (took, number, feed, body)]
                        slowest = took
    except Hangs:
        pytest.fail(f"MUTATED_SEED={SEED}: no end of {body!r}")
    for _, _, feed, body in slow:
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        assert work(partial(refused_or_taken, feed, body)) < MOST_WORK + size * WORK_A_BYTE, (
            f"MUTATED_SEED={SEED}: too much work: {body!r}"
        )
    if defects:
        lines = [f"MUTATED_SEED={SEED}: these are neither taken nor refused:"]
        for (name, place), (feed, body) in defects.items():
            lines.append(f"  {name} {place}\n    {shrunk(feed, place, body)!r}")
        pytest.fail("\n".join(lines))
    useless = [feed.name for feed, number in zip(feeds, taken, strict=True) if feed.share == 1 and not number]
    assert not useless, f"MUTATED_SEED={SEED}: not one body was taken"


def refused_or_taken(feed: Feed, body: Any) -> None:
    with suppress(Exception):  # which were told already
        feed.decode(body)


def place_of(error: Exception) -> str:
    """What it is, and where in our code it came from."""
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename.startswith(PRODUCT)]
    ours = f" {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{ours}"


def shrunk(feed: Feed, place: str, body: Any, seconds: float = 2.0) -> Any:
    """The smallest body found that fails in the same place: a list of events, then each of them."""
    end = time.monotonic() + seconds

    def fails(tried: Any) -> bool:
        try:
            feed.decode(tried)
        except feed.allowed:
            return False
        except Exception as error:
            return place_of(error) == place
        return False

    if not isinstance(body, list):
        return cut_down(simpler(body, fails, end), fails, end)
    body = cut_down(body, fails, end)
    for at in range(len(body)):

        def fails_with(event: bytes, at: int = at) -> bool:
            return fails([*body[:at], event, *body[at + 1 :]])

        body[at] = cut_down(simpler(body[at], fails_with, end), fails_with, end)
    return body


def simpler(body: bytes, fails: Callable[[bytes], bool], end: float) -> bytes:
    """Without members and items that do not matter, and with the least in the place of values that matter little."""
    again = True
    while again:
        again = False
        for begin, at, stop in sorted(places(body), key=lambda place: place[0] - place[2]):
            if time.monotonic() >= end:
                return body
            behind = stop + (body[stop : stop + 1] == b",")
            before = begin - (behind == stop and body[begin - 1 : begin] == b",")
            tried = [body[:before] + body[behind:], *(body[:at] + less + body[stop:] for less in (b"1", b'""'))]
            found = next((less for less in tried if len(less) < len(body) and fails(less)), None)
            if found is not None:
                body, again = found, True
                break
    return body


def cut_down(body: Any, fails: Callable[[Any], bool], end: float) -> Any:
    size = len(body)
    while size:
        at, before = 0, len(body)
        while at < len(body) and time.monotonic() < end:
            tried = body[:at] + body[at + size :]
            if fails(tried):
                body = tried
            else:
                at += size
        if size == 1 and len(body) == before:
            break
        size = max(size // 2, 1)
        if time.monotonic() >= end:
            break
    return body


def bodies_of(wire: Any, kind: str, other_share: int = 8) -> Mutator:
    """Mostly of its own format; one seed in `other_share` is another's."""
    random = Random(f"{SEED}/{kind}/{wire.name}")
    own_seeds = getattr(seeds(wire), kind)
    others = [body for name, other in OWN.items() if name != wire.name for body in getattr(other, kind)]
    return Mutator([*own_seeds, *random.sample(others, min(len(own_seeds) // other_share, len(others)))], random)


def formats(of: Callable[[Any], list[Feed]]) -> pytest.MarkDecorator:
    """Those that have code for it."""
    found = {name: format for name, format in FORMATS.items() if of(format)}
    return pytest.mark.parametrize("wire", found.values(), ids=found)


@pytest.mark.parametrize(("wire", "decoder", "body"), REGRESSIONS)
def test_what_was_too_much_once_is_taken_or_refused(wire: str, decoder: str, body: Any) -> None:
    feeds = [each for of in (of_requests, of_answers, of_errors, of_streams) for each in of(FORMATS[wire])]
    offer([each for each in feeds if each.name == decoder], body)


@formats(of_requests)
def test_a_mutated_request_is_taken_or_refused(wire: Any) -> None:
    fed(of_requests(wire), bodies_of(wire, "requests"))


@formats(of_answers)
def test_a_mutated_answer_is_taken_or_refused(wire: Any) -> None:
    fed(of_answers(wire), bodies_of(wire, "answers"))


@formats(of_errors)
def test_a_mutated_error_is_an_error(wire: Any) -> None:
    fed(of_errors(wire), Mutator(list(map(json, ERRORS)), Random(f"{SEED}/errors/{wire.name}")))


@formats(of_streams)
def test_a_mutated_stream_is_taken_or_refused(wire: Any) -> None:
    random = Random(f"{SEED}/streams/{wire.name}")
    other = CHAT_STREAMS[0] if wire.name.startswith("anthropic") else MESSAGES_STREAMS[0]
    fed(of_streams(wire), StreamMutator([*seeds(wire).streams, other], random))


# ---- any value in any place

NAMES = sorted(set(re.findall(r'"([a-z_]+)":', (json([CHAT_REQUESTS, MESSAGES_REQUESTS, CHAT_ANSWERS])).decode())))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=4),
    max_leaves=10,
)


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    members: Iterable[Any] = enumerate(value) if isinstance(value, list) else ()
    for name, inner in value.items() if isinstance(value, dict) else members:
        yield from ((name, *rest) for rest in paths(inner))


def put(value: Any, path: Sequence[Any], new: Any) -> Any:
    """`value` with `new` in the place of what is at `path`."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


def changed(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    places = [(value, path) for value in values for path in paths(value)]
    return st.builds(lambda place, new: put(*place, new), st.sampled_from(places), VALUES)


def offer(feeds: list[Feed], body: Any) -> None:
    for each in feeds:
        with suppress(each.allowed):
            each.decode(body)


@settings(max_examples=200, derandomize=True)
@given(changed(CHAT_REQUESTS))
def test_any_value_in_any_place_of_a_chat_request(body: Any) -> None:
    offer(of_requests(FORMATS["openai-chat"]), json(body))


@settings(max_examples=200, derandomize=True)
@given(changed(MESSAGES_REQUESTS))
def test_any_value_in_any_place_of_a_messages_request(body: Any) -> None:
    offer(of_requests(FORMATS["anthropic-messages"]), json(body))


@settings(max_examples=200, derandomize=True)
@given(changed([*CHAT_ANSWERS, *ERRORS]), changed(CHAT_ANSWERS[1]["choices"][0]["message"]))  # type: ignore[index]
def test_any_value_in_any_place_of_a_chat_answer(body: Any, delta: Any) -> None:
    offer(of_answers(FORMATS["openai-chat"]), json(body))
    offer(of_errors(FORMATS["openai-chat"]), json(body))
    offer(of_streams(FORMATS["openai-chat"]), [chunk(delta), sse.event(json(body)), *CHAT_STREAMS[0]])


EVENTS = [msgspec.json.decode(sse.data(event)) for stream in MESSAGES_STREAMS for event in stream]


@settings(max_examples=200, derandomize=True)
@given(changed([*MESSAGES_ANSWERS, *ERRORS]), st.lists(changed(EVENTS), max_size=3))
def test_any_value_in_any_place_of_a_messages_answer(body: Any, events: list[Any]) -> None:
    wire = FORMATS["anthropic-messages"]
    offer(of_answers(wire), json(body))
    offer(of_errors(wire), json(body))
    offer(of_streams(wire), [*MESSAGES_STREAMS[2][:3], *(sse.event(json(event)) for event in events)])


# ---- cutting and inflating


LINE_ENDS = [b"\n", b"\r\n", b"\r"]


CUTTERS: dict[str, tuple[Callable[[int], Cutter], Callable[[bytes], bytes]]] = {
    "SSE": (sse.EventCutter, sse.data),
    "NDJSON": (LineCutter, bytes),
    "AWS": (aws_eventstream.EventCutter, lambda event: aws_eventstream.message(event).payload),
}


def streams_for(kind: str) -> list[bytes]:
    """Short ones, and what only a cutter has to mind."""
    if kind == "AWS":
        events = [*CONVERSE_STREAMS[0], *INVOKE_STREAMS[1]]
        return [b"".join(map(framed, events[at : at + 2])) for at in range(len(events) - 1)]
    if kind == "NDJSON":
        return [b"\n".join(stream)[:200] for stream in (*OLLAMA_STREAMS, *COHERE_V1_STREAMS)] + [b"\n\r\n {}\r\n{}"]
    streams = [b"".join(stream) for own in OWN.values() for stream in own.streams[:5]]
    small = [stream[:200].replace(b"\n", end) for stream in streams for end in LINE_ENDS]
    return [*small, b": ping\n\ndata: a\ndata: b\n\r\n\r\rdata: c\r\n\rid: 1\n\n"]


@pytest.mark.parametrize("kind", CUTTERS)
def test_a_mutated_stream_is_cut_alike_wherever_its_chunks_end(kind: str) -> None:
    random = Random(f"{SEED}/cutter/{kind}")
    mutate = Mutator(streams_for(kind), random)
    make, read = CUTTERS[kind]

    def chunks() -> list[bytes]:
        stream = mutate()
        ends = sorted(int(random.random() * (len(stream) + 1)) for _ in range(int(random.random() * 6)))
        return [stream[begin:end] for begin, end in zip([0, *ends], [*ends, len(stream)], strict=True)]

    def cut(chunks: list[bytes]) -> None:
        assert told([b"".join(chunks)], make(1 << 20), read) == told(chunks, make(1 << 20), read)

    def cut_bounded(chunks: list[bytes]) -> None:
        cutter = make(150)
        events = [event for chunk in chunks for event in cutter.feed(chunk)]
        assert all(len(event) <= 150 for event in [*events, cutter.finish().removesuffix(b"\n\n")])

    fed([Feed("cut", cut, UpstreamBroken), Feed("cut, bounded", cut_bounded, UpstreamBroken)], chunks)


def told(chunks: list[bytes], cutter: Cutter, read: Callable[[bytes], bytes]) -> list[bytes]:
    """What each event holds that holds something, what was left, or how it broke."""
    found: list[bytes] = []
    try:
        for chunk in chunks:
            found += cutter.feed(chunk)
        found.append(cutter.finish())
        return [data for data in map(read, filter(None, found)) if data]
    except UpstreamBroken as error:
        return [str(error).encode()]


def test_a_mutated_message_of_an_aws_stream_is_taken_or_refused() -> None:
    events = [framed(event) for stream in (*CONVERSE_STREAMS, *INVOKE_STREAMS) for event in stream]
    mutate = Mutator([event[12:-4] for event in events], Random(f"{SEED}/messages"))

    def message(body: bytes) -> None:
        """`body` is headers and payload, whose lengths are right."""
        headers = (body.find(b"{") + len(body) + 1) % (len(body) + 1)
        lengths = struct.pack(">IIxxxx", len(body) + 16, headers)
        assert aws_eventstream.message(lengths + body + bytes(4)).payload == body[headers:]

    fed([Feed("message", message, UpstreamBroken)], mutate)


def test_a_mutated_gzip_body_is_inflated_or_refused() -> None:
    random = Random(f"{SEED}/gzip")
    words = json(CHAT_ANSWERS[0])
    whole = [gzip.compress(words), gzip.compress(words, 0), gzip.compress(b""), gzip.compress(bytes(50_000))]
    members = [whole[0] + whole[2] + whole[1], whole[2] * 20, whole[0] + b"\0\0", zlib.compress(words), words]
    mutate = Mutator([*whole, *members], random)

    def pieces() -> list[bytes]:
        body = mutate()
        ends = sorted(int(random.random() * (len(body) + 1)) for _ in range(int(random.random() * 4)))
        return [body[begin:end] for begin, end in zip([0, *ends], [*ends, len(body)], strict=True)]

    fed([Feed("Gunzip", inflate, UpstreamBroken)], pieces)


def inflate(pieces: list[bytes]) -> int:
    gunzip, size = Gunzip(), 0
    for piece in pieces:
        gunzip.feed(piece)
        while chunk := gunzip.next():
            assert len(chunk) <= 64 << 10
            size += len(chunk)
    gunzip.end()
    return size
