"""Fairlead beside nginx and other gateways, in one run: `make bench`; beside nginx alone: `make bench QUICK=1`.

Who is measured is pinned to the first core, provider and load to the second. CPU is user and system time of the
process under test and its children, divided by requests or events: the figure that survives a noisy machine. The rows
take turns. What is measured goes into bench/RESULTS.md, with the gates; other gateways into bench/chart.svg, too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack

import chart
from gates import gates
from machines import AROUND, HERE, ROOT, UNDER_TEST, alone, build, pinned
from measurements import Bench, Figures
from peers import LiteLLM, Portkey
from report import beside_others, kept_section, results
from rulers.processes import busy

RESULTS = HERE / "RESULTS.md"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="seven minutes, and nothing is installed")
    quick = arguments.parse_args().quick
    began, busy_before = time.monotonic(), busy()
    os.sched_setaffinity(0, AROUND)
    figures = Figures()
    peers = [] if quick else [Portkey(), LiteLLM()]
    with ExitStack() as stack:
        stack.enter_context(alone())
        build()
        bench = Bench(stack, figures)
        for peer in peers:
            bench.invite(stack, peer)
        bench.requests(*((1, 8) if quick else (5, 12)))
        bench.event_costs(*((2, 4) if quick else (5, 8)))
        bench.first_tokens(*((0.4, 7) if quick else (3, 9)))
        bench.weigh()
        bench.again(2, 8)
        bench.thousand_streams(4 if quick else 30)
        bench.bursts()
        bench.again(2, 8)
        bench.memory(200_000)
        bench.cold_start(3 if quick else 7)
    figures.stages = stages()
    took = time.monotonic() - began
    figures.others = max(busy() - busy_before - sum(os.times()[:4]), 0) / took / (os.cpu_count() or 1)
    beside = kept_section(RESULTS) if quick else beside_others(figures, peers, bench.providers)
    RESULTS.write_text(results(figures, quick, took, beside), encoding="utf-8")
    if not quick:
        (HERE / "chart.svg").write_text(chart.drawn(figures, peers), encoding="utf-8")
    for name, why in figures.peers_missing.items():
        print(f"{name} is not measured: {why}")
    for gate in gates(figures):
        print(f"{gate.name:<52} {gate.measured:<56} wanted {gate.wanted:<20} {'holds' if gate.holds else 'MISSED'}")
    print(f"\nin {took:.0f} s; the whole of it: bench/RESULTS.md")


def stages() -> list[tuple[str, float]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "stages.py")], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, preexec_fn=pinned(UNDER_TEST),
    )  # fmt: skip
    return [(name, micros) for name, micros in json.loads(done.stdout)]


if __name__ == "__main__":
    main()
