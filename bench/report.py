"""bench/RESULTS.md: what was measured, as tables, and under what conditions."""

import os
import platform
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from fairlead.cli.doctor.interpreter import slow_build
from gates import REASONS, Gate, gates, least, most, ratio
from machines import NGINX, ROOT, Providers
from measurements import LOGGING, NGINX_LOGGING, Figures
from peers import Peer
from rulers import wrong

BESIDE = "## Beside other gateways"


def results(figures: Figures, quick: bool, took: float, beside: str) -> str:
    """The whole page; `beside` is its last section."""
    command = f"`make bench{' QUICK=1' if quick else ''}`"
    lines = [
        "# Results",
        "",
        f"Written by {command} on {conditions()}, {_nginx_version()}, in {took:.0f} s. Authentication and records are "
        "on; access logs are off where a row does not say whose are on. "
        f"Others took {figures.others:.0%} of the machine meanwhile. [How it is measured](README.md).",
        "",
        *_gates(gates(figures)),
        *_requests(figures),
        *_events(figures),
        *_first_tokens(figures),
        *_thousands(figures),
        *_memory(figures),
        *_stages(figures),
        beside.rstrip(),
        "",
    ]
    return "\n".join(lines)


def kept_section(page: Path) -> str:
    """The section about other gateways that stands in `page`: a run that does not measure them leaves it."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    _, heading, section = text.partition(BESIDE)
    return heading + section


def conditions() -> str:
    """When, with what, on what."""
    return (
        f"{time.strftime('%Y-%m-%d')}, at commit {_commit()}: {_processor()}, {os.cpu_count()} cores, "
        f"CPython {platform.python_version()}{' built without optimizations' if slow_build() else ''}"
    )


def _gates(found: list[Gate]) -> list[str]:
    missed = [f"{gate.name}: {REASONS.get(gate.name, 'the reason is not known.')}" for gate in found if not gate.holds]
    return [
        "| gate | measured | wanted | |",
        "|---|---|---|---|",
        *(
            f"| {gate.name} | {gate.measured} | {gate.wanted} | {'holds' if gate.holds else '**missed**'} |"
            for gate in found
        ),
        *(["", *(f"Missed: {line}" for line in missed)] if missed else []),
        "",
    ]


def _requests(figures: Figures) -> list[str]:
    cpu, rates = least(figures.cpu), most(figures.rates)

    def row(shown: str, who: str, upstream: str, connections: int, than: str = "nginx") -> str:
        cells = [
            f"{cpu[key]:.1f} ({rates[key]:,.0f})" for key in ((name, upstream, connections) for name in (than, who))
        ]
        times = ratio(figures, who, upstream, connections, than)
        return f"| {shown} | {connections:,} | {' | '.join(cells)} | {times:.1f} |"

    return [
        "## A request",
        "",
        "CPU µs, the best turn of each row; in brackets requests a second. Ratios are of this run.",
        "",
        "| upstream | connections | nginx | Fairlead | ratio |",
        "|---|---|---|---|---|",
        *(
            row(upstream, "fairlead", upstream, connections)
            for upstream in ("plain", "TLS")
            for connections in (1, 64, 1000)
        ),
        *(row(f"{upstream}, Fairlead's log on", LOGGING, upstream, 64) for upstream in ("plain", "TLS")),
        *(row(f"{upstream}, both logs on", LOGGING, upstream, 64, NGINX_LOGGING) for upstream in ("plain", "TLS")),
        "",
    ]


def _events(figures: Figures) -> list[str]:
    events = least(figures.events)
    return [
        "## An event",
        "",
        "CPU µs an event of the provider at 100 streams of 50 events a second, the best turn, streams' starts within.",
        "",
        "| nginx | Fairlead, relayed | Fairlead, translated |",
        "|---|---|---|",
        f"| {events['nginx']:.1f} | {events['relayed']:.1f} | {events['translated']:.1f} |",
        "",
    ]


def _first_tokens(figures: Figures) -> list[str]:
    rows = [
        f"| {shown} | "
        + " | ".join(f"{figures.first[name][at]:.2f}" for name in ("direct", "nginx", "fairlead"))
        + " |"
        for at, shown in enumerate(("p50", "p99"))
    ]
    return [
        "## Time to the first token",
        "",
        "Milliseconds at one connection, from a provider that answers at once; medians of the turns.",
        "",
        "| | direct | nginx | Fairlead |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _thousands(figures: Figures) -> list[str]:
    rows = []
    for name in ("nginx", "fairlead"):
        told, (p99, longest) = figures.streams[name], figures.burst[name]
        rows.append(
            f"| {name} | {told['streams']} | {wrong(told)} | {told['ttft_p99']:.1f} | {told['maxgap_p99']:.1f} | "
            f"{p99:.0f}, {longest:.0f} |"
        )
    return [
        "## A thousand streams, a thousand connections",
        "",
        "1,000 streams of 10 events a second; then 1,000 new connections at once, one request each (ms: p99, longest).",
        "",
        "| | streams | failed | time to first token p99, ms | longest gap p99, ms | new connections, ms |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _memory(figures: Figures) -> list[str]:
    at_start, early, late = figures.memory
    return [
        "## Memory",
        "",
        f"{at_start:.0f} MB at start, {early:.0f} MB after {figures.requests // 10:,} requests, "
        f"{late:.0f} MB after {figures.requests:,}.",
        "",
    ]


def _stages(figures: Figures) -> list[str]:
    return [
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


# ---- beside other gateways


def beside_others(figures: Figures, peers: list[Peer], providers: Providers) -> str:
    """The section about other gateways, complete in itself: a quick run leaves it as it was."""
    there = [peer for peer in peers if peer.name in figures.resident]
    missing = [peer for peer in peers if peer.name in figures.peers_missing]
    names = ["nginx", "fairlead", *(peer.name for peer in there)]
    titles = [_nginx_version(), "Fairlead", *(f"{peer.title} {peer.version}" for peer in there)]
    cpu, rates, events = least(figures.cpu), most(figures.rates), least(figures.events)
    events["fairlead"] = events["relayed"]

    def row(shown: str, cell: Any) -> str:
        return f"| {shown} | " + " | ".join(_cell(cell, name) for name in names) + " |"

    lines = [
        BESIDE,
        "",
        f"Written by `make bench` on {conditions()}. One process each, on the same core, in the same run. nginx only "
        "passes on. Fairlead has keys, records and ledger on. LiteLLM looks at one master key and keeps no records, "
        "Portkey takes every key; their logs are off, as is Fairlead's but where it is told.",
        "",
        "![CPU a request and an event](chart.svg)",
        "",
        "| | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(names),
        *(row(f"CPU µs a request, {connections:,} connection{'s' if connections > 1 else ''}",
              lambda name, connections=connections: f"{cpu[name, 'plain', connections]:,.1f}")
          for connections in (1, 64, 1000)),
        f"| with its access log on, 64 connections | | {cpu[LOGGING, 'plain', 64]:,.1f} |" + " |" * len(there),
        row("requests a second, 64 connections", lambda name: f"{rates[name, 'plain', 64]:,.0f}"),
        row("CPU µs an event, 100 paced streams", lambda name: f"{events[name]:,.1f}"),
        row("time to the first token, ms: p50, p99", lambda name: "{:,.2f}, {:,.2f}".format(*figures.first[name])),
        row("memory at start, after all that, MB", lambda name: "{:,.0f}, {:,.0f}".format(*figures.resident[name])),
        row("start, s", lambda name: f"{figures.starts[name]:.2f}"),
        row("answers that were not right", lambda name: f"{figures.peers_wrong.get(name, figures.wrong):,}"),
        "",
        *(f"{peer.title} {peer.version} has no figures, or not all: {figures.peers_missing[peer.name]}.\n"
          for peer in missing),
        "nginx and Fairlead have had the rows over TLS as well before their memory was taken. The others are measured "
        "three times, LiteLLM each time four times as long; what compiles while it runs has 15 s to come to it. So "
        "they are started, each in an environment of its own ([peers.py](peers.py)):",
        "",
    ]  # fmt: skip
    for peer in there:
        lines += ["```", peer.configuration(providers), "```", ""]
    return "\n".join(lines)


def _cell(tell: Any, name: str) -> str:
    try:
        return str(tell(name))
    except KeyError:
        return "not measured"


# ---- conditions


def _commit() -> str:
    git = partial(subprocess.run, capture_output=True, text=True, cwd=ROOT)
    commit = git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() or "unknown"
    changed = git(["git", "status", "--porcelain", "--", "src", "bench/*.py", "bench/rulers"]).stdout.strip()
    return f"{commit} with changes on top" if changed else commit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _nginx_version() -> str:
    done = subprocess.run([NGINX, "-v"], capture_output=True, text=True)
    return done.stderr.strip().rpartition(" ")[2].replace("/", " ")
