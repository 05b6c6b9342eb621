"""Fairlead beside nginx, in one run: `make bench`, or `make bench QUICK=1` in under two minutes.

Gateway or nginx is pinned to the first core, provider and load to the second. CPU is user and system time of the
process under test and its children, divided by requests or events: the figure that survives a noisy machine. The rows
take turns. What is measured goes into bench/RESULTS.md, with the gates.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# Rows of the stage table that are gates of their own.
LEDGER_INTEND, LEDGER_RECORD = "ledger: intend, into the journal", "ledger: settle and record, into the journal"
LEDGER_MOVE = "ledger: a call's rows moved to the database, by its thread"
SCRATCH = HERE / ".scratch"
ROOT = HERE.parent
KEY = "bench-key-of-thirty-two-characters-or-more"
UNDER_TEST, AROUND = {0}, {1}  # cores
EVENTS = 52  # of a stream: 50 with words, usage, [DONE]
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"

QUESTION = "What is the parental leave policy, and how do I apply for it? Please answer with a short list of steps. "
BODY: dict[str, Any] = {
    "model": "bench/mock",
    "messages": [
        {"role": "system", "content": "You answer questions about the company handbook. " * 4},
        {"role": "user", "content": QUESTION * 3},
    ],
    "temperature": 0.7,
    "max_tokens": 256,
    "top_p": 1,
    "user": "user-1234",
}


@dataclass
class Figures:
    """What was measured, by row."""

    cpu: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)  # (who, upstream, connections) → µs
    rates: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)
    events: dict[str, list[float]] = field(default_factory=dict)  # µs an event
    first: dict[str, tuple[float, float]] = field(default_factory=dict)  # ms to the first token: p50, p99
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: tuple[float, float, float] = (0, 0, 0)  # MB at start, after a tenth, after all
    requests: int = 0
    burst: dict[str, tuple[float, float]] = field(default_factory=dict)  # ms: p99, longest
    start: float = 0  # seconds
    stages: list[tuple[str, float]] = field(default_factory=list)
    others: float = 0  # share of the machine that processes took which are no part of this
    wrong: int = 0  # answers that were not right: an error, a status, a stream without its end


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    began, busy_before = time.monotonic(), busy()
    os.sched_setaffinity(0, AROUND)
    build()
    figures = Figures()
    with ExitStack() as stack:
        bench = Bench(stack)
        bench.requests(figures, *((1, 3) if quick else (5, 5)))
        bench.event_costs(figures, *((3, 2) if quick else (5, 5)))
        bench.first_tokens(figures, *((0.4, 7) if quick else (3, 9)))
        bench.thousand_streams(figures, 4 if quick else 30)
        bench.bursts(figures)
        bench.memory(figures, 200_000)
        figures.start = bench.cold_start(3 if quick else 7)
    figures.stages = stages()
    took = time.monotonic() - began
    ours = sum(os.times()[:4])
    figures.others = max(busy() - busy_before - ours, 0) / took / (os.cpu_count() or 1)
    (HERE / "RESULTS.md").write_text(report(figures, quick, took), encoding="utf-8")
    for gate in gates(figures):
        print(f"{gate.name:<52} {gate.measured:<56} wanted {gate.wanted:<20} {'holds' if gate.holds else 'MISSED'}")
    print(f"\nin {took:.0f} s; the whole of it: bench/RESULTS.md")


# ---- what is built and started


def build() -> None:
    SCRATCH.mkdir(exist_ok=True)
    for name in ("mock", "sload"):
        source, target = HERE / "rulers" / f"{name}.c", SCRATCH / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["cc", "-O2", "-w", "-o", str(target), str(source)], check=True)
    headers = f"Authorization: Bearer {KEY}\nUser-Agent: OpenAI/Python 3.52.0\nAccept: application/json\n"
    (SCRATCH / "headers.txt").write_text(headers)
    (SCRATCH / "body.json").write_text(json.dumps(BODY))
    stream = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    (SCRATCH / "stream.json").write_text(json.dumps(stream))
    (SCRATCH / "slow.json").write_text(json.dumps({**stream, "model": "slow/mock"}))
    (SCRATCH / "many.json").write_text(json.dumps({**stream, "model": "many/mock"}))
    (SCRATCH / "tls.json").write_text(json.dumps({**BODY, "model": "tls/mock"}))
    messages = [{"role": "user", "content": QUESTION * 3}]
    translated = {"model": "slow/mock", "max_tokens": 256, "stream": True, "messages": messages}
    (SCRATCH / "messages.json").write_text(json.dumps(translated))


def port() -> int:
    """A free one, below those the kernel hands out."""
    for candidate in range(21000 + os.getpid() % 5000, 32000):
        if candidate not in _given:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", candidate)) != 0:
                    _given.add(candidate)
                    return candidate
    raise OSError("no free port")


_given: set[int] = set()


def pinned(cores: set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)


@contextmanager
def running(command: list[str], cores: set[int], *ports: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, preexec_fn=pinned(cores), **options)
    try:
        for each in ports:
            wait_for(each, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(number: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", number)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise SystemExit(f"{process.args} did not start")


class Bench:
    """Everything that runs, and the measurements."""

    def __init__(self, stack: ExitStack) -> None:
        fast, slow, many_fast, many = port(), port(), port(), port()
        stack.enter_context(
            running([str(SCRATCH / "mock"), str(fast), str(slow), "50", "50", "20"], AROUND, fast, slow)
        )
        stack.enter_context(
            running([str(SCRATCH / "mock"), str(many_fast), str(many), "20", "50", "100"], AROUND, many_fast, many)
        )
        self.fast, self.slow = fast, slow
        tls = port()
        self._certificate()
        stack.enter_context(_nginx("tls", AROUND, tls, f"listen {tls} ssl backlog=4096; {_CERTIFICATE}", fast=fast))
        self.nginx_port, self.nginx_slow, self.nginx_many, self.nginx_tls = port(), port(), port(), port()
        self.nginx = stack.enter_context(
            _nginx_in_front(
                {self.nginx_port: fast, self.nginx_slow: slow, self.nginx_many: many}, {self.nginx_tls: tls}
            )
        )
        self.port, self.logging_port = port(), port()
        for name, number, access in (("plain", self.port, False), ("logging", self.logging_port, True)):
            shutil.rmtree(SCRATCH / f"state-{name}", ignore_errors=True)
            text = _config(name, number, access, fast=fast, slow=slow, many=many, tls=tls)
            (SCRATCH / f"fairlead-{name}.toml").write_text(text)
        self.fairlead = stack.enter_context(_fairlead("plain", self.port))
        self.logging = stack.enter_context(_fairlead("logging", self.logging_port))

    def _certificate(self) -> None:
        import trustme

        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(SCRATCH / "ca.pem"))
        own = authority.issue_cert("127.0.0.1", "localhost")
        own.private_key_pem.write_to_path(str(SCRATCH / "key.pem"))
        own.cert_chain_pems[0].write_to_path(str(SCRATCH / "cert.pem"))

    # ---- measurements

    def requests(self, figures: Figures, seconds: int, repeats: int) -> None:
        """CPU a request, at three numbers of connections, to a plain and to a TLS upstream."""
        rows = {
            ("nginx", "plain"): (self.nginx, self.nginx_port, "body"),
            ("fairlead", "plain"): (self.fairlead, self.port, "body"),
            ("nginx", "TLS"): (self.nginx, self.nginx_tls, "body"),
            ("fairlead", "TLS"): (self.fairlead, self.port, "tls"),
            ("fairlead, access log on", "plain"): (self.logging, self.logging_port, "body"),
        }
        for _, number, body in rows.values():
            wrk(number, 64, 1, body)
        turns = {1: repeats - 1, 64: repeats, 1000: repeats - 1}  # the gate is at 64
        for turn in range(repeats):
            for connections in turns:
                for (who, upstream), (process, number, body) in rows.items():
                    if (process is self.logging and connections != 64) or turn >= turns[connections]:
                        continue
                    cpu = used(process)
                    # A thousand connections take their time to be opened: they get twice as long.
                    told = wrk(number, connections, seconds * (2 if connections == 1000 else 1), body)
                    key = who, upstream, connections
                    figures.cpu.setdefault(key, []).append((used(process) - cpu) / max(told["requests"], 1) * 1e6)
                    figures.rates.setdefault(key, []).append(told["rps"])
                    figures.wrong += wrong(told)

    def event_costs(self, figures: Figures, seconds: float, repeats: int) -> None:
        """CPU an event of the provider, at 100 paced streams of 50 events a second."""
        rows = {
            "nginx": (self.nginx, self.nginx_slow, "/v1/chat/completions", "slow", "[DONE]"),
            "relayed": (self.fairlead, self.port, "/v1/chat/completions", "slow", "[DONE]"),
            "translated": (self.fairlead, self.port, "/v1/messages", "messages", "message_stop"),
        }
        for process in (self.nginx, self.fairlead):
            settle(process)  # records of the rows before are still being written, and idle connections closed
        for _ in range(repeats):
            for name, (process, number, path, body, mark) in rows.items():
                cpu = used(process)
                told = sload(number, path, 100, seconds, body, mark)
                micros = (used(process) - cpu) / max(told["streams"] * EVENTS, 1) * 1e6
                figures.events.setdefault(name, []).append(micros)
                figures.wrong += wrong(told)

    def first_tokens(self, figures: Figures, seconds: float, repeats: int) -> None:
        """Time to the first token at one connection, from a provider that answers at once."""
        rows = {"direct": self.fast, "nginx": self.nginx_port, "fairlead": self.port}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        for _ in range(repeats):
            for name, number in rows.items():
                told = sload(number, "/v1/chat/completions", 1, seconds, "stream", "[DONE]")
                found[name].append((told["ttft_p50"], told["ttft_p99"]))
                figures.wrong += wrong(told)
        for name, values in found.items():
            figures.first[name] = (
                statistics.median(p50 for p50, _ in values),
                statistics.median(p99 for _, p99 in values),
            )

    def thousand_streams(self, figures: Figures, seconds: float) -> None:
        for name, number in (("1000 nginx", self.nginx_many), ("1000 fairlead", self.port)):
            told = sload(number, "/v1/chat/completions", 1000, seconds, "many", "[DONE]")
            figures.streams[name] = told
            figures.wrong += wrong(told)

    def bursts(self, figures: Figures) -> None:
        """A thousand new connections at once, one request each."""
        for name, number in (("nginx", self.nginx_port), ("fairlead", self.port)):
            took = sorted(asyncio.run(burst(number, 1000)))
            figures.burst[name] = took[int(len(took) * 0.99)] * 1e3, took[-1] * 1e3

    def memory(self, figures: Figures, requests: int) -> None:
        """Resident memory of a fresh process, after a tenth of the requests, and after all."""
        for process in (self.fairlead, self.logging):
            process.terminate()
            process.wait(15)
        with _fairlead("plain", self.port) as process:
            sizes = [resident(process)]
            done = 0
            for goal in (requests // 10, requests):
                while done < goal:
                    told = wrk(self.port, 64, 2, "body")
                    done += told["requests"]
                    figures.wrong += wrong(told)
                sizes.append(resident(process))
        figures.memory = (sizes[0], sizes[1], sizes[2])
        figures.requests = done

    def cold_start(self, repeats: int) -> float:
        """Seconds from exec to the first 200 of /readyz, its database being there."""
        found = []
        for _ in range(repeats):
            began = time.perf_counter()
            with _fairlead("plain", self.port):
                while not ready(self.port):
                    time.sleep(0.002)
                found.append(time.perf_counter() - began)
        return statistics.median(found)


_CERTIFICATE = f"ssl_certificate {SCRATCH / 'cert.pem'}; ssl_certificate_key {SCRATCH / 'key.pem'};"
_PROXY = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'


def _fairlead(name: str, number: int) -> Any:
    """The gateway with `fairlead-NAME.toml`, and without the providers of whoever runs this."""
    log = open(SCRATCH / f"fairlead-{name}.log", "wb")  # noqa: SIM115  # lives as long as the process
    command = [sys.executable, "-m", "fairlead", "serve", "--config", str(SCRATCH / f"fairlead-{name}.toml")]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    environment["PYTHONPATH"] = str(ROOT / "src")
    return running(command, UNDER_TEST, number, stdout=log, stderr=log, env=environment)


def _config(name: str, number: int, access: bool, **ports: int) -> str:
    """One provider for each port; authentication and records are on."""
    rows = [
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{at}/v1"\nprotocols = ["openai-chat"]\nsigning = "none"\n'
        'models_path = ""\n'
        for name, at in {"bench": ports["fast"], "slow": ports["slow"], "many": ports["many"]}.items()
    ]
    tls = (
        f'[providers.tls]\nbase_url = "https://127.0.0.1:{ports["tls"]}/v1"\nprotocols = ["openai-chat"]\n'
        f'signing = "none"\nmodels_path = ""\nca_file = "{SCRATCH / "ca.pem"}"\n'
    )
    server = (
        f'[server]\nport = {number}\nstate_dir = "{SCRATCH / f"state-{name}"}"\ndrain_notice_seconds = 0\n'
        f"[logging]\naccess = {str(access).lower()}\n"
    )
    keys = f'[[keys]]\nname = "bench"\nsecret = "{KEY}"\n'
    return "\n".join([server, *rows, tls, keys])


def _nginx_in_front(plain: dict[int, int], secure: dict[int, int]) -> Any:
    upstreams, servers = [], []
    for scheme, ports in (("http", plain), ("https", secure)):
        for own, target in ports.items():
            upstreams.append(
                f"upstream u{own} {{ server 127.0.0.1:{target}; keepalive 2000; keepalive_requests 9999999; }}"
            )
            servers.append(
                f"server {{ listen {own} backlog=4096; location / {{ proxy_pass {scheme}://u{own}; {_PROXY} "
                "proxy_ssl_session_reuse on; } }"
            )
    return _started_nginx("front", UNDER_TEST, "\n".join([*upstreams, *servers]), *plain, *secure)


def _nginx(name: str, cores: set[int], own: int, listen: str, *, fast: int) -> Any:
    upstream = f"upstream fast {{ server 127.0.0.1:{fast}; keepalive 2000; keepalive_requests 9999999; }}"
    server = f"server {{ {listen} location / {{ proxy_pass http://fast; {_PROXY} }} }}"
    return _started_nginx(name, cores, f"{upstream}\n{server}", own)


def _started_nginx(name: str, cores: set[int], http: str, *ports: int) -> Any:
    folder = SCRATCH / f"nginx-{name}"
    folder.mkdir(exist_ok=True)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn; worker_rlimit_nofile 20000;\n"
        "daemon off; master_process off;\nevents { worker_connections 16384; }\n"
        f"http {{ access_log off; keepalive_requests 9999999; client_max_body_size 64m; {temporary}\n{http}\n}}\n"
    )
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    return running(command, cores, *ports, stderr=subprocess.DEVNULL)


# ---- rulers


def wrk(number: int, connections: int, seconds: int, body: str) -> dict[str, Any]:
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s",
        str(HERE / "rulers" / "post.lua"), f"http://127.0.0.1:{number}/v1/chat/completions", "--",
        str(SCRATCH / "headers.txt"), str(SCRATCH / f"{body}.json"),
    ]  # fmt: skip
    return _told(command)


def sload(number: int, path: str, streams: int, seconds: float, body: str, mark: str) -> dict[str, Any]:
    files = [str(SCRATCH / "headers.txt"), str(SCRATCH / f"{body}.json")]
    return _told([str(SCRATCH / "sload"), str(number), path, str(streams), str(seconds), *files, mark])


def _told(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=pinned(AROUND), check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    told: dict[str, Any] = json.loads(lines[-1])
    if wrong(told):
        print(f"{wrong(told)} wrong answers: {' '.join(command[:4])} {told} {done.stderr[:300]}", file=sys.stderr)
    return told


def wrong(told: dict[str, Any]) -> int:
    """Answers that were not right, of what wrk or sload told."""
    of_sload = ("errors", "non200", "incomplete", "stuck")
    of_wrk = ("err_connect", "err_read", "err_write", "err_status", "err_timeout")
    return sum(told.get(name, 0) for name in (*of_sload, *of_wrk))


def used(process: "subprocess.Popen[bytes]") -> float:
    """CPU seconds so far, user and system, of all threads and child processes."""
    # The sum of utime and stime in /proc/PID/stat, but in ns instead of ticks of 10 ms: clock_getcpuclockid(3).
    return sum(time.clock_gettime((~each << 3) | 2) for each in family(process.pid))


def family(pid: int) -> list[int]:
    """A process and all it started."""
    children = [
        int(child) for told in Path(f"/proc/{pid}/task").glob("*/children") for child in told.read_text().split()
    ]
    return [pid, *(each for child in children for each in family(child))]


def busy() -> float:
    """CPU seconds of the whole machine so far; of a virtual one, also those its host gave to others."""
    user, nice, system, _, _, irq, softirq, stolen, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def settle(process: "subprocess.Popen[bytes]", seconds: float = 8.0) -> None:
    """Wait until `process` has nothing left to do, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        cpu = used(process)
        time.sleep(0.5)
        if used(process) - cpu < 0.01:
            return


def resident(process: "subprocess.Popen[bytes]") -> float:
    """MB of memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def ready(number: int) -> bool:
    try:
        with closing(socket.create_connection(("127.0.0.1", number), timeout=1)) as asking:
            asking.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return asking.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


async def burst(number: int, count: int) -> list[float]:
    """Seconds each of `count` new connections took, from SYN to the whole answer."""
    body = (SCRATCH / "body.json").read_bytes()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    asked = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    async def one() -> float:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(asked)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        return time.perf_counter() - began

    return list(await asyncio.gather(*(one() for _ in range(count))))


def stages() -> list[tuple[str, float]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "stages.py")], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, preexec_fn=pinned(UNDER_TEST),
    )  # fmt: skip
    return [(name, micros) for name, micros in json.loads(done.stdout)]


# ---- the report


@dataclass
class Gate:
    name: str
    measured: str
    wanted: str
    holds: bool


def gates(figures: Figures) -> list[Gate]:
    """What was asked for, and what was found."""
    request = ratio(figures)
    event = medians(figures.events)
    relayed, translated = event["relayed"] / event["nginx"], event["translated"] / event["relayed"]
    added = [own - direct for own, direct in zip(figures.first["fairlead"], figures.first["direct"], strict=True)]
    many = figures.streams["1000 fairlead"]
    _, early, late = figures.memory
    p99, longest = figures.burst["fairlead"]
    stage = dict(figures.stages)
    written, moved = stage[LEDGER_INTEND] + stage[LEDGER_RECORD], stage[LEDGER_MOVE]
    return [
        Gate("CPU a request, 64 connections", f"{request:.1f} × nginx", "≤ 6", request <= 6),
        Gate("CPU a relayed event", f"{relayed:.1f} × nginx", "≤ 2.5", relayed <= 2.5),
        Gate("CPU a translated event", f"{translated:.1f} × relayed", "≤ 3", translated <= 3),
        Gate(
            "added time to the first token, 1 connection",
            f"p50 {added[0]:.2f}, p99 {added[1]:.2f} ms",
            "p99 < 2 ms",
            added[1] < 2,
        ),
        Gate(
            "1,000 paced streams without error or stall",
            f"{many['streams']} streams, {wrong(many)} failed, longest gap p99 {many['maxgap_p99']:.0f} ms",
            "none, no gap of 1 s",
            not wrong(many) and many["maxgap_p99"] < 1000,
        ),
        Gate("the ledger on a call's path", f"{written:.1f} µs", "≤ 4 µs", written <= 4),
        Gate("the ledger's rows into the database", f"{moved:.1f} µs a call", "≤ 8 µs", moved <= 8),
        Gate("memory", f"{late:.0f} MB", "< 100 MB", late < 100),
        Gate(
            f"memory flat from {figures.requests // 10:,} to {figures.requests:,} requests",
            f"{late - early:+.1f} MB",
            "≤ 5 MB",
            late - early <= 5,
        ),
        Gate("1,000 new connections at once", f"p99 {p99:.0f}, longest {longest:.0f} ms", "< 1 s", longest < 1000),
        Gate("cold start", f"{figures.start:.2f} s", "< 1 s", figures.start < 1),
        Gate("wrong answers in the whole run", str(figures.wrong), "none", not figures.wrong),
    ]


def medians(rows: dict[Any, list[float]]) -> dict[Any, float]:
    return {key: statistics.median(values) for key, values in rows.items()}


def ratio(figures: Figures, who: str = "fairlead", upstream: str = "plain", connections: int = 64) -> float:
    """CPU a request as a multiple of nginx's."""
    cpu = medians(figures.cpu)
    return float(cpu[who, upstream, connections] / cpu["nginx", upstream, connections])


def report(figures: Figures, quick: bool, took: float) -> str:
    cpu, rates, events = medians(figures.cpu), medians(figures.rates), medians(figures.events)
    at_start, early, late = figures.memory

    def told(*key: Any) -> str:
        return f"{cpu[key]:.1f} ({rates[key]:,.0f})"

    lines = [
        "# Results",
        "",
        f"Written by `make bench{' QUICK=1' if quick else ''}` on {time.strftime('%Y-%m-%d')}, at commit {_commit()}: "
        f"{_processor()}, {os.cpu_count()} cores, CPython {platform.python_version()}, "
        f"{_nginx_version()}, in {took:.0f} s. Authentication and records are on; access logs are off "
        "in both unless a row says otherwise. "
        f"Others took {figures.others:.0%} of the machine meanwhile. [How it is measured](README.md).",
        "",
        "| gate | measured | wanted | |",
        "|---|---|---|---|",
        *(
            f"| {gate.name} | {gate.measured} | {gate.wanted} | {'holds' if gate.holds else '**missed**'} |"
            for gate in gates(figures)
        ),
        *missed(gates(figures)),
        "",
        "## A request",
        "",
        "CPU µs, medians; in brackets requests a second. Ratios are of this run.",
        "",
        "| upstream | connections | nginx | Fairlead | ratio |",
        "|---|---|---|---|---|",
        *(
            f"| {upstream} | {connections:,} | {told('nginx', upstream, connections)} "
            f"| {told('fairlead', upstream, connections)} | {ratio(figures, 'fairlead', upstream, connections):.1f} |"
            for upstream in ("plain", "TLS")
            for connections in (1, 64, 1000)
        ),
        f"| plain, access log on | 64 | {told('nginx', 'plain', 64)} | {told('fairlead, access log on', 'plain', 64)} "
        f"| {ratio(figures, 'fairlead, access log on'):.1f} |",
        "",
        "## An event",
        "",
        "CPU µs an event of the provider at 100 streams of 50 events a second, medians. Each stream's start is within.",
        "",
        "| nginx | Fairlead, relayed | Fairlead, translated |",
        "|---|---|---|",
        f"| {events['nginx']:.1f} | {events['relayed']:.1f} | {events['translated']:.1f} |",
        "",
        "## Time to the first token",
        "",
        "Milliseconds at one connection, from a provider that answers at once; medians of the turns.",
        "",
        "| | direct | nginx | Fairlead |",
        "|---|---|---|---|",
        "| p50 | " + " | ".join(f"{figures.first[name][0]:.2f}" for name in ("direct", "nginx", "fairlead")) + " |",
        "| p99 | " + " | ".join(f"{figures.first[name][1]:.2f}" for name in ("direct", "nginx", "fairlead")) + " |",
        "",
        "## A thousand streams, a thousand connections",
        "",
        "1,000 streams of 10 events a second; then 1,000 new connections at once, one request each (ms: p99, longest).",
        "",
        "| | streams | failed | time to first token p99, ms | longest gap p99, ms | new connections, ms |",
        "|---|---|---|---|---|---|",
        *(_thousand(name, figures) for name in ("nginx", "fairlead")),
        "",
        "## Memory",
        "",
        f"{at_start:.0f} MB at start, {early:.0f} MB after {figures.requests // 10:,} requests, "
        f"{late:.0f} MB after {figures.requests:,}.",
        "",
        "## Where the µs go",
        "",
        "Each stage alone, in one process, µs ([stages.py](stages.py)); what is left of a request is reading, parsing "
        "and writing on its two sockets, and the loop.",
        "",
        "| stage | µs |",
        "|---|---|",
        *(f"| {name} | {micros:.2f} |" for name, micros in figures.stages),
        "",
    ]
    return "\n".join(lines)


# Why a gate may be missed, as far as we know.
REASONS = {
    "CPU a relayed event": "an event wakes the task that relays it, so that it passes the event loop twice: once to be "
    "read, once to be written. Handing it on where it is read would save the second pass.",
    "CPU a request, 64 connections": "a call is a task behind ASGI; direct dispatch is the way to fewer passes.",
}


def missed(found: list[Gate]) -> list[str]:
    """Lines that say why a gate was missed."""
    lines = [f"{gate.name}: {REASONS.get(gate.name, 'the reason is not known.')}" for gate in found if not gate.holds]
    return ["", *(f"Missed: {line}" for line in lines)] if lines else []


def _thousand(name: str, figures: Figures) -> str:
    told = figures.streams[f"1000 {name}"]
    p99, longest = figures.burst[name]
    return (
        f"| {name} | {told['streams']} | {wrong(told)} | {told['ttft_p99']:.1f} | {told['maxgap_p99']:.1f} | "
        f"{p99:.0f}, {longest:.0f} |"
    )


def _commit() -> str:
    git = partial(subprocess.run, capture_output=True, text=True, cwd=ROOT)
    commit = git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() or "unknown"
    changed = git(["git", "status", "--porcelain", "--", "src", "bench/run.py", "bench/rulers"]).stdout.strip()
    return f"{commit} with changes on top" if changed else commit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _nginx_version() -> str:
    done = subprocess.run([NGINX, "-v"], capture_output=True, text=True)
    return done.stderr.strip().rpartition(" ")[2].replace("/", " ")


if __name__ == "__main__":
    main()
