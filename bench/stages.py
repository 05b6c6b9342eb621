"""What each stage of a call costs, alone and in one process: CPU µs, printed as JSON."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from fairlead import policy
from fairlead.app import WIRES
from fairlead.auth import Auth
from fairlead.call import Attempt, Call, new_id
from fairlead.catalog import Snapshot
from fairlead.protocols.openai_answer import Decoder
from fairlead.protocols.sse import EventCutter
from fairlead.providers.signing import request_head
from fairlead.resources import Credential, Endpoint, Provider
from fairlead.storage.engine import open_database
from fairlead.storage.keys import KeyStore
from fairlead.storage.records import Records
from fairlead.telemetry.logs import AccessLog, AccessRecord
from fairlead.translation import between
from fairlead.usage.ledger import Ledger

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
    """CPU µs of one `work()`: the best of five runs."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(rounds // 5):
            work()
        best = min(best, (time.process_time() - began) / (rounds // 5) * 1e6)
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

    ledger = Ledger(Records(database.path))
    ledger.start()

    def record() -> None:
        attempt = Attempt(call, 1, endpoint, "openai-chat", 0)
        ledger.intend(attempt)
        attempt.outcome, attempt.ended_us = "ok", 0
        ledger.settle(attempt)
        call.outcome, call.ended_us = "ok", 0
        ledger.record(call)

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
    found = [
        ("make a call, with its id", cost(called)),
        ("identify: hash the key, look it up", cost(identify)),
        ("peek: split 1 KB and check its skeleton", cost(lambda: chat.peek(BODY))),
        ("authorize", cost(lambda: policy.authorize(principal, snapshot.policy, chat, envelope))),
        ("resolve a known name", cost(lambda: snapshot.resolve("lab/mock", principal))),
        ("spell the request's body", cost(lambda: passing.request(call, endpoint))),
        ("spell and sign the request's head", cost(head)),
        ("read usage of a whole answer", cost(lambda: passing.answer(_ANSWER))),
        ("intend, settle, record, and the rows in the database", cost(record)),
        ("access log line, written", cost(lambda: log.write(line))),
        ("an event: cut", cost(lambda: cutter.feed(EVENT))),
        ("an event: look at it, relay", cost(lambda: relayed.feed([EVENT]))),
        ("an event: decode into words", cost(lambda: decode(EVENT))),
        ("an event: decode, and tell in the other protocol", cost(lambda: translated.feed([EVENT]))),
    ]  # fmt: skip
    log.close()
    await ledger.aclose()
    return found


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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder)))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
