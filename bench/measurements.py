"""What is measured, and what came of it. The rows take turns, so that a busy moment meets them all."""

import asyncio
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from machines import Contender, Fairlead, Providers, Way, answers, start_nginx, start_providers
from peers import Peer, PeerFailed
from rulers import EVENTS, burst, served, sload, wrk, wrong
from rulers.processes import resident, settle, used

Row = tuple[str, str, int]  # who, upstream, connections
LOGGING, NGINX_LOGGING = "fairlead, access log on", "nginx, access log on"


@dataclass
class Figures:
    """What was measured, by row."""

    cpu: dict[Row, list[float]] = field(default_factory=dict)  # µs a request
    rates: dict[Row, list[float]] = field(default_factory=dict)  # requests a second
    events: dict[str, list[float]] = field(default_factory=dict)  # µs an event
    first: dict[str, tuple[float, float]] = field(default_factory=dict)  # ms to the first token: p50, p99
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: tuple[float, float, float] = (0, 0, 0)  # MB at start, after a tenth, after all
    requests: int = 0
    resident: dict[str, tuple[float, float]] = field(default_factory=dict)  # MB at start, and after the rows above
    burst: dict[str, tuple[float, float]] = field(default_factory=dict)  # ms: p99, longest
    starts: dict[str, float] = field(default_factory=dict)  # seconds
    stages: list[tuple[str, float]] = field(default_factory=list)
    others: float = 0  # share of the machine that processes took which are no part of this
    wrong: int = 0  # answers of nginx and ours that were not right: an error, a status, a stream without its end
    peers_wrong: dict[str, int] = field(default_factory=dict)
    peers_missing: dict[str, str] = field(default_factory=dict)  # why


@dataclass
class Pair:
    """nginx and Fairlead, each once with its access log and once without."""

    nginx: Contender
    nginx_logging: Contender
    fairlead: Contender
    logging: Contender
    plain: Fairlead  # what `fairlead` is a process of
    nginx_started: float  # in so many seconds

    @classmethod
    def started(cls, stack: ExitStack, providers: Providers, place: str = "") -> "Pair":
        """`place`: a word for their folders, where several run at once."""
        began = time.perf_counter()
        nginx = start_nginx(stack, providers, place=place)
        took = time.perf_counter() - began
        nginx_logging = start_nginx(stack, providers, access=True, place=place)
        plain, logging = (
            Fairlead.configured(name + place, providers, access=name == "logging") for name in ("plain", "logging")
        )
        return cls(
            nginx,
            nginx_logging,
            Contender("fairlead", stack.enter_context(plain.serving()), plain.ways),
            Contender(LOGGING, stack.enter_context(logging.serving()), logging.ways),
            plain,
            took,
        )


class Bench:
    """Everything that runs, and the measurements."""

    def __init__(self, stack: ExitStack, figures: Figures) -> None:
        self.figures = figures
        self.providers = start_providers(stack)
        self.pair = pair = Pair.started(stack, self.providers)
        self.nginx, self.nginx_logging, self.fairlead, self.logging = (
            pair.nginx, pair.nginx_logging, pair.fairlead, pair.logging,
        )  # fmt: skip
        self.plain, figures.starts["nginx"] = pair.plain, pair.nginx_started
        self.peers: list[Contender] = []
        self._at_start = {each.name: resident(each.process) for each in (self.nginx, self.fairlead)}

    def invite(self, stack: ExitStack, peer: Peer) -> None:
        """Measure somebody else's gateway, too; if it cannot be had, say why."""
        try:
            self.figures.starts[peer.name] = statistics.median(peer.cold_starts(self.providers, 3))
            contender = stack.enter_context(peer.serving(self.providers))
        except PeerFailed as error:
            self.figures.peers_missing[peer.name] = str(error)
            return
        self.peers.append(contender)
        self.figures.peers_wrong[peer.name] = 0
        self._at_start[peer.name] = resident(contender.process)
        with self._forgiving(contender):
            wrk(contender.ways["plain"], 64, 15, timeout=60)  # what compiles while it runs has to come to it
            sload(contender.ways["slow"], 100, 3)
            settle(contender.process, 30)

    # ---- measurements

    def requests(self, seconds: int, repeats: int) -> None:
        """CPU a request, at three numbers of connections, to a plain and to a TLS upstream."""
        rows = [
            *((each, upstream) for upstream in ("plain", "TLS") for each in (self.nginx, self.fairlead)),
            *((each, upstream) for upstream in ("plain", "TLS") for each in (self.nginx_logging, self.logging)),
            *((peer, "plain") for peer in self.peers),
        ]
        for contender, upstream in rows:
            if not contender.of_others:
                wrk(contender.ways[upstream], 64, 1)
        gated = self.nginx, self.nginx_logging, self.logging  # at 64 connections
        for turn in range(repeats):
            for connections in (1, 64, 1000):
                for contender, upstream in rows:
                    if contender in (self.nginx_logging, self.logging) and connections != 64:
                        continue
                    turns = repeats if connections == 64 and contender in gated else max(2, repeats // 6)
                    if turn >= min(turns, contender.turns):
                        continue
                    # A thousand connections take their time to be opened: they get twice as long.
                    longer = 2 if connections == 1000 else 1
                    with self._forgiving(contender):
                        self._request(contender, upstream, connections, seconds * longer * contender.patience)

    def again(self, seconds: float, turns: int) -> None:
        """More turns of the rows that have gates, at another time and of other processes: a shared machine is slow for
        minutes, and one process may lie better in its memory than another for as long as it lives."""
        with ExitStack() as stack:
            pair = Pair.started(stack, self.providers, "-again")
            gated = pair.nginx, pair.nginx_logging, pair.logging
            rows = [(contender, upstream) for upstream in ("plain", "TLS") for contender in gated]
            for contender, upstream in rows:
                wrk(contender.ways[upstream], 64, 1)
            for _ in range(turns):
                for contender, upstream in rows:
                    self._request(contender, upstream, 64, 1)
            self.event_costs(seconds, turns // 2, pair)

    def _request(self, contender: Contender, upstream: str, connections: int, seconds: int) -> None:
        cpu, asked = used(contender.process), served(self.providers.fast)
        told = wrk(contender.ways[upstream], connections, seconds, timeout=60 if contender.of_others else 10)
        took, requests = used(contender.process) - cpu, told["requests"]
        if contender.name not in (self.nginx.name, self.nginx_logging.name):
            # What is left to do is this turn's work, and shall not disturb the next: ours still writes records, a slow
            # one is busy with what wrk did not wait for.
            settle(contender.process, 30)
            took = used(contender.process) - cpu
        if contender.of_others:
            requests = served(self.providers.fast) - asked
        key = contender.name, upstream, connections
        self.figures.cpu.setdefault(key, []).append(took / max(requests, 1) * 1e6)
        self.figures.rates.setdefault(key, []).append(told["rps"])
        self._count(contender, told)

    def event_costs(self, seconds: float, repeats: int, others: Pair | None = None) -> None:
        """CPU an event of the provider, at 100 paced streams of 50 events a second. `others` are asked in the place of
        ours, and of the peers."""
        pair = others or self.pair
        rows = {
            "nginx": (pair.nginx, "slow"),
            "relayed": (pair.fairlead, "slow"),
            "translated": (pair.fairlead, "translated"),
            **{peer.name: (peer, "slow") for peer in self.peers if others is None},
        }
        for each in (pair.nginx, pair.fairlead):
            settle(each.process)  # records of the rows before are still being written, and idle connections closed
        for turn in range(repeats):
            for name, (contender, way) in rows.items():
                if turn >= contender.turns:
                    continue
                with self._forgiving(contender):
                    cpu = used(contender.process)
                    told = sload(contender.ways[way], 100, seconds)
                    micros = (used(contender.process) - cpu) / max(told["streams"] * EVENTS, 1) * 1e6
                    self.figures.events.setdefault(name, []).append(micros)
                    self._count(contender, told)
                    if contender.of_others:
                        settle(contender.process, 30)

    def first_tokens(self, seconds: float, repeats: int) -> None:
        """Time to the first token at one connection, from a provider that answers at once."""
        direct = Contender("direct", self.nginx.process, {"stream": Way(self.providers.fast, "stream")})
        found: dict[str, list[tuple[float, float]]] = {}
        for turn in range(repeats):
            for contender in (direct, self.nginx, self.fairlead, *self.peers):
                if turn >= contender.turns:
                    continue
                with self._forgiving(contender):
                    told = sload(contender.ways["stream"], 1, seconds)
                    found.setdefault(contender.name, []).append((told["ttft_p50"], told["ttft_p99"]))
                    self._count(contender, told)
        for name, values in found.items():
            self.figures.first[name] = (
                statistics.median(p50 for p50, _ in values),
                statistics.median(p99 for _, p99 in values),
            )

    def weigh(self) -> None:
        """Resident memory of everybody, after all the rows so far."""
        for contender in (self.nginx, self.fairlead, *self.peers):
            self.figures.resident[contender.name] = self._at_start[contender.name], resident(contender.process)

    def thousand_streams(self, seconds: float) -> None:
        for contender in (self.nginx, self.fairlead):
            told = sload(contender.ways["many"], 1000, seconds)
            self.figures.streams[contender.name] = told
            self._count(contender, told)

    def bursts(self) -> None:
        """A thousand new connections at once, one request each."""
        for contender in (self.nginx, self.fairlead):
            took = sorted(asyncio.run(burst(contender.ways["plain"], 1000)))
            self.figures.burst[contender.name] = took[int(len(took) * 0.99)] * 1e3, took[-1] * 1e3

    def memory(self, requests: int) -> None:
        """Resident memory of a fresh process, after a tenth of the requests, and after all."""
        for each in (self.fairlead, self.logging):
            each.process.terminate()
            each.process.wait(15)
        with self.plain.serving() as process:
            sizes = [resident(process)]
            done = 0
            for goal in (requests // 10, requests):
                while done < goal:
                    told = wrk(self.plain.ways["plain"], 64, 2)
                    done += told["requests"]
                    self._count(self.fairlead, told)
                sizes.append(resident(process))
        self.figures.memory = (sizes[0], sizes[1], sizes[2])
        self.figures.requests = done

    def cold_start(self, repeats: int) -> None:
        """Seconds from exec to the first 200 of /readyz, its database being there."""
        found = []
        for _ in range(repeats):
            began = time.perf_counter()
            with self.plain.serving():
                while not answers(self.plain.port, "/readyz"):
                    time.sleep(0.002)
                found.append(time.perf_counter() - began)
        self.figures.starts["fairlead"] = statistics.median(found)

    # ---- what goes wrong

    def _count(self, contender: Contender, told: dict[str, Any]) -> None:
        if contender.of_others:
            self.figures.peers_wrong[contender.name] += wrong(told)
        else:
            self.figures.wrong += wrong(told)

    @contextmanager
    def _forgiving(self, contender: Contender) -> Iterator[None]:
        """What happens to somebody else's gateway ends its own rows, and nothing more."""
        try:
            yield
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            if not contender.of_others:
                raise
            code = contender.process.poll()
            why = str(error) if code is None else f"it ended with {code}"
            self.figures.peers_missing[contender.name] = f"it failed while it was measured: {why}"
            self.peers.remove(contender)
            contender.turns = 0
            with suppress(OSError):
                contender.process.kill()
