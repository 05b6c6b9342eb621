"""Who comes to the soak: each kind of client and of answer, how many there are of it, and what is right."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from machines import AROUND, HEADERS, QUESTION, Process, compiled, pinned

Outcome = Literal["ok", "failed"]
_HELLO = 'Hello! How can I assist you today?|"total_tokens":29'
_WORDS = 'brown fox|"total_tokens":119|data: [DONE]'


@dataclass(frozen=True)
class Kind:
    """Requests that are asked and answered alike; `crowd.c` says how `leaves` and `marks` are spelt."""

    name: str
    weight: int
    model: str
    marks: str = "-"
    status: int = 200
    outcome: Outcome = "ok"  # in the ledger, of those that stay to the end
    leaves: str = "-"
    messages: bool = False  # asked through /v1/messages

    def body(self, stream: bool) -> bytes:
        """What is asked: a kilobyte, with a place for the request's number."""
        if self.name == "no JSON":
            return b'{"model": "bench/mock", "messages": [@@@@@@@@@@'
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"@@@@@@@@@@ {QUESTION * 6}"}],
            "max_tokens": 1000,
            "stream": stream,
        }
        if stream and not self.messages:
            asked["stream_options"] = {"include_usage": True}
        return json.dumps(asked).encode()


# `bench` answers at once, `paced` takes 20 ms to its first event and 5 between, `rough` does what its model says.
REQUESTS = (
    Kind("plain", 780, "bench/mock", _HELLO),
    Kind("echo", 60, "rough/echo", "@"),
    Kind("translated", 20, "bench/mock", 'Hello! How can I assist you today?|"type":"message"', messages=True),
    Kind("the second endpoint", 10, "second", _HELLO),
    Kind("slow", 15, "rough/echo+delay=0.2", "@"),
    Kind("byte by byte", 3, "rough/echo+drip=0.0005", "@"),
    Kind("no JSON", 5, "", "invalid_request", 400, "failed"),
    Kind("no such model", 5, "nobody/knows", "model_not_found", 404, "failed"),
    Kind("500", 15, "rough/echo+status=500", "upstream_broken", 502, "failed"),
    Kind("429", 15, "rough/echo+status=429", "rate_limit_exceeded", 429, "failed"),
    Kind("529", 5, "rough/echo+status=529", "provider_overloaded", 503, "failed"),
    Kind("a page of HTML", 5, "rough/echo+html", "upstream_broken", 502, "failed"),
    Kind("nothing", 3, "rough/echo+empty", "upstream_broken", 502, "failed"),
    Kind("cut", 10, "rough/echo+cut=1", "upstream_broken", 502, "failed"),
    Kind("reset", 5, "rough/echo+reset=1", "upstream_broken", 502, "failed"),
    Kind("reset at once", 5, "rough/echo+reset", "upstream_broken", 502, "failed"),
    Kind("leaves before the body", 8, "bench/mock", _HELLO, leaves="head:3"),
    Kind("leaves within the body", 8, "bench/mock", _HELLO, leaves="half:3"),
    Kind("leaves at once", 8, "bench/mock", _HELLO, leaves="all:0"),
    Kind("leaves while it waits", 12, "rough/echo+delay=0.2", "@", leaves="all:50"),
    Kind("leaves a silent provider", 3, "rough/echo+stall", "@", leaves="all:30"),
)
STREAMS = (
    Kind("paced", 420, "paced/mock", _WORDS),
    Kind("at once", 100, "bench/mock", _WORDS),
    Kind("echo", 100, "rough/echo+event=64", "@|data: [DONE]"),
    Kind("translated", 60, "paced/mock", "brown fox|message_stop", messages=True),
    Kind("the second endpoint", 20, "second", _WORDS),
    Kind("slow", 40, "rough/echo+event=128+every=0.05", "@|data: [DONE]"),
    Kind("cut", 40, "rough/echo+event=16+cut=4", "@|upstream_broken|!data: [DONE]", outcome="failed"),
    Kind("reset", 30, "rough/echo+event=16+reset=4", "@|upstream_broken|!data: [DONE]", outcome="failed"),
    Kind("an error event", 30, "rough/echo+event=16+error=4", "@|error|!data: [DONE]", outcome="failed"),
    Kind("an event that is no JSON", 20, "rough/echo+event=16+malformed=4", "@", outcome="failed"),
    Kind("500", 30, "rough/echo+status=500", "upstream_broken", 502, "failed"),
    Kind("429", 20, "rough/echo+status=429", "rate_limit_exceeded", 429, "failed"),
    Kind("leaves after the first event", 60, "paced/mock", leaves="event:0"),
    Kind("leaves a slow one", 10, "rough/echo+event=64+every=0.1", leaves="event:0"),
    Kind("leaves a silent one", 10, "rough/echo+event=16+stall=3", leaves="event:0"),
    Kind("leaves before the first event", 10, "paced/mock", _WORDS, leaves="all:10"),
    Kind("leaves at once", 10, "paced/mock", _WORDS, leaves="all:0"),
    Kind("leaves before the body", 5, "paced/mock", _WORDS, leaves="head:3"),
    Kind("leaves within the body", 5, "paced/mock", _WORDS, leaves="half:3"),
)


class Crowd:
    """One crowd, at work. `told` is its last word."""

    def __init__(
        self, folder: Path, name: str, kinds: Sequence[Kind], *, port: int, clients: int, count: int, seed: int
    ) -> None:
        self.name, self.kinds, self.count = name, kinds, count
        self.ids, self.errors = folder / f"{name}.ids", folder / f"{name}.wrong"
        self.told: dict[str, Any] = {"done": 0, "wrong": 0}
        lines = []
        for number, kind in enumerate(kinds):
            body = folder / f"{name}-{number}.json"
            body.write_bytes(kind.body(stream=name.endswith("streams")))
            path = "/v1/messages" if kind.messages else "/v1/chat/completions"
            lines.append(f"{kind.name}\t{kind.weight}\t{path}\t{kind.status}\t{kind.leaves}\t{kind.marks}\t{body}")
        plan, headers = folder / f"{name}.plan", folder / f"{name}.headers"
        plan.write_text("\n".join(lines))
        headers.write_text(HEADERS)
        arguments = [port, clients, count, seed, headers, plan, self.ids]
        with open(self.errors, "w") as errors:
            self.process: Process = subprocess.Popen(
                [str(compiled("crowd")), *map(str, arguments)], stdout=subprocess.PIPE, stderr=errors,
                preexec_fn=pinned(AROUND),
            )  # fmt: skip

    def listen(self) -> None:
        """Hear what it has to say, until it is done."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told = json.loads(line)
        self.process.wait()
