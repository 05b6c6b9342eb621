"""What each stage of a call costs, alone and in one process: CPU µs, printed as JSON."""

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import uvloop

import calls
import formats
from fairlead import policy
from fairlead.app import WIRES
from fairlead.auth import Auth
from fairlead.call import Attempt, Call, new_id
from fairlead.catalog import Snapshot
from fairlead.chat import Usage
from fairlead.protocols.codecs.openai_stream import Decoder
from fairlead.protocols.sse import EventCutter
from fairlead.providers.signing import request_head
from fairlead.resources import Credential, Endpoint, Provider
from fairlead.storage.engine import open_database
from fairlead.storage.keys import KeyStore
from fairlead.storage.records import Records
from fairlead.telemetry.logs import AccessLog, AccessRecord
from fairlead.translation import between
from fairlead.usage.books import Books, Reader
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger
from gates import CALL, WHOLE

ROUNDS = 20_000
BODY = msgspec.json.encode(
    {
        "model": "lab/mock",
        "messages": [{"role": "user", "content": "What is the parental leave policy? " * 25}],
        "temperature": 0.7,
        "max_tokens": 256,
    }
)
EVENT = (
    b'data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,'
    b'"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":" brown fox"},"logprobs":null,'
    b'"finish_reason":null}]}\n\n'
)


def cost(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """CPU µs of one `work()`, in this thread: the best of five runs."""
    best = float("inf")
    for _ in range(5):
        time.sleep(0.01)  # what other threads prepare is prepared
        began = time.thread_time()
        for _ in range(rounds // 5):
            work()
        best = min(best, (time.thread_time() - began) / (rounds // 5) * 1e6)
    return best


async def measure(folder: Path) -> list[tuple[str, float]]:
    chat, anthropic = WIRES["openai-chat"], WIRES["anthropic-messages"]
    provider = Provider("lab", {"openai-chat": "http://127.0.0.1:1/v1"})
    endpoint = Endpoint(provider, "mock")
    credential = Credential("lab", "secret")
    snapshot = Snapshot(providers=[provider], credentials={"lab": credential})
    database = open_database("sqlite:///bench.db", folder)
    keys = KeyStore(database)
    auth = Auth(keys)
    secret, _ = keys.create("bench")
    headers = {b"authorization": b"Bearer " + secret.encode(), b"content-type": b"application/json"}
    principal = await auth.identify(headers, {})
    envelope = chat.peek(BODY)
    route = snapshot.resolve("lab/mock", principal)
    passing, translating = between(chat, chat), between(anthropic, chat)  # type: ignore[arg-type]

    def called() -> Call:
        call = Call(
            id=new_id(), protocol=chat, operation="chat", headers=headers, started_us=0, started=0.0, attempts=[]
        )
        call.snapshot, call.principal, call.envelope, call.route, call.body = snapshot, principal, envelope, route, BODY
        return call

    call = called()

    def identify() -> None:
        with suppress(StopIteration):
            auth.identify(headers, {}).send(None)

    books = Books(folder / "journal")
    journal = books.own.journal
    journal.start()
    ledger = Ledger(journal, Estimates())

    def attempted() -> Attempt:
        attempt = Attempt(call, 1, endpoint, "openai-chat", 1_795_252_906_662_111)
        attempt.outcome, attempt.ended_us, attempt.status, attempt.finish_reason = (
            "ok",
            1_795_252_906_762_111,
            200,
            "stop",
        )
        attempt.first_content_us, attempt.usage, attempt.upstream_model = 1_795_252_906_700_000, Usage(240, 31), "mock"
        attempt.upstream_id = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"
        return attempt

    attempt = attempted()
    call.attempts, call.winner, call.status, call.outcome = [attempt], attempt, 200, "ok"
    call.started_us, call.first_content_us, call.ended_us = (
        attempt.started_us, attempt.first_content_us, attempt.ended_us,
    )  # fmt: skip

    def intend() -> None:
        ledger.intend(attempt)

    def record() -> None:
        ledger.record(call, attempt)

    def moved(calls: int = 20_000) -> tuple[float, float]:
        """CPU µs a call: from the journal into the database, and of that the reading."""
        begin = journal.tail
        for _ in range(calls):
            call.id = new_id()
            ledger.intend(attempt)
            ledger.record(call, attempt)
        began = time.thread_time()
        reader = Reader(books.own, begin)
        while reader.read() is not None:
            pass
        read = (time.thread_time() - began) / calls * 1e6
        sink, reader = Records(database.path), Reader(books.own, begin)
        began = time.thread_time()
        while (batch := reader.read()) is not None:
            sink.write(batch)
        took = (time.thread_time() - began) / calls * 1e6
        sink.close()
        return took, read

    def head() -> None:
        request_head(provider, "openai-chat", "/chat/completions", credential, headers)

    cutter = EventCutter(1 << 20)
    relayed = passing.stream(call, endpoint)
    relayed.feed([EVENT])
    translated = translating.stream(call, endpoint)
    translated.feed([EVENT])
    decode = Decoder()
    log = AccessLog(StringIO())
    log.start()
    line = AccessRecord(0, call.id, "POST", "/v1/chat/completions", 200, 1.5, model="lab/mock", endpoint="lab/mock")

    def table() -> list[tuple[str, float]]:
        return [
            ("the machine: a thousand turns of a loop in Python", cost(_loop, ROUNDS // 20)),
            ("make a call, with its id", cost(called)),
            ("identify: hash the key, look it up", cost(identify)),
            ("peek: split 1 KB and check its skeleton", cost(lambda: chat.peek(BODY))),
            ("authorize", cost(lambda: policy.authorize(principal, snapshot.policy, chat, envelope))),
            ("resolve a known name", cost(lambda: snapshot.resolve("lab/mock", principal))),
            ("spell the request's body", cost(lambda: passing.request(call, endpoint))),
            ("spell and sign the request's head", cost(head)),
            ("read usage of a whole answer", cost(lambda: passing.answer(call, endpoint, _ANSWER, {}))),
            ("ledger: intend, into the journal", cost(intend)),
            ("ledger: settle and record, into the journal", cost(record)),
            ("ledger: count the bytes of an event", cost(lambda: journal.count(attempt.cell, attempt.content_bytes))),
            *zip(
                ("ledger: a call's rows moved to the database, by its thread", "   of that, reading them"),
                moved(),
                strict=True,
            ),
            ("TLS to the provider: 1 KB out, 1 KB in", calls.tls(1024, cost)),
            ("access log line, written", cost(lambda: log.write(line))),
            ("an event: cut", cost(lambda: cutter.feed(EVENT))),
            ("an event: look at it, relay", cost(lambda: relayed.feed([EVENT]))),
            ("an event: decode into words", cost(lambda: decode(EVENT))),
            ("an event: decode, and tell in the other protocol", cost(lambda: translated.feed([EVENT]))),
        ]  # fmt: skip

    # Three times, some way apart: a machine has slow moments that outlast one of them.
    found = [min(rows) for rows in zip(*(table() for _ in range(3)), strict=True)]
    log.close()
    books.close()
    passes = [await _calls(folder / str(number)) for number in range(3)]
    return found + [min(rows) for rows in zip(*passes, strict=True)]


async def _calls(folder: Path) -> list[tuple[str, float]]:
    """Whole ones."""
    folder.mkdir()  # noqa: ASYNC240  # nobody else waits
    whole = partial(calls.whole, body=BODY, answer=ANSWER, turns=5)
    return [
        (WHOLE, await whole(folder / "whole")),
        ("   with a head that the connection does not know", await whole(folder / "new", known=False)),
        ("   from a page: CORS, and a trusted proxy", await whole(folder / "page", server=_PAGE)),
        *[
            (CALL.format(said, client, provider), micros)
            for said, client, provider, micros in await formats.pairs(folder, formats.GREAT, formats.GREAT)
        ],
    ]


def _loop() -> None:
    """Tells how fast the machine was: other figures are to be read beside it."""
    seen: dict[int, tuple[int, int]] = {}
    for number in range(1000):
        seen[number & 255] = number, number + 1
        seen.get(number & 127)


_PAGE = 'allowed_origins = ["https://app.example"]\ntrusted_proxies = ["127.0.0.1"]'


_ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello! " * 20}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
    }
)

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER


def main() -> None:
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)  # as `fairlead serve` has it
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(measure(Path(folder)))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
