"""A long day in a few minutes: `make soak`; a short one: `make soak QUICK=1`, or `SOAK_REQUESTS=50000`.

One `fairlead serve` with access log and ledger on, a million requests and a hundred thousand streams, faults of every
kind behind it, and clients that leave whenever they like. Every answer is checked. In the end memory has to be where
it was after the first 100,000, everything that was opened closed, and the ledger has to have one row for each call.
What came of it goes into bench/SOAK.md; of a shorter one, into bench/.scratch/SOAK.md.
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import accounts
from accounts import Accounts
from crowds import REQUESTS, STREAMS, Crowd
from gates import Gate
from machines import (
    AROUND,
    HERE,
    KEY,
    SCRATCH,
    UNDER_TEST,
    Process,
    alone,
    compiled,
    fairlead_environment,
    port,
    provider,
    running,
)
from report import conditions
from rulers.processes import anonymous, descriptors, resident, settle, threads, used

FOLDER = SCRATCH / "soak"
MILLION = 1_000_000
FIRST = 100_000  # requests, until which memory may grow
ALLOWED_MB = 5.0
POOL = min(32, (os.cpu_count() or 1) + 4)  # threads that asyncio starts as they are needed, and keeps
PATIENCE_SECONDS = 120  # for connections to be closed, and records to be moved


@dataclass
class Sample:
    """How the gateway was at a moment."""

    seconds: float
    requests: int
    streams: int
    resident: float  # MB
    anonymous: float  # MB of those that are no file's: the journal's segments are files
    descriptors: int
    threads: int


@dataclass
class Found:
    """What came of it."""

    requests: int
    streams: int
    first: int
    samples: list[Sample] = field(default_factory=list)
    idle: tuple[dict[str, int], int] = field(default_factory=lambda: ({}, 0))  # descriptors by kind, threads
    after: tuple[dict[str, int], int] = field(default_factory=lambda: ({}, 0))
    told: dict[str, dict[str, Any]] = field(default_factory=dict)  # the crowds' last words
    seconds: float = 0.0
    cpu: float = 0.0
    health: dict[str, Any] = field(default_factory=dict)
    still: bool = False  # it has nothing to do when nobody asks
    exit: int | None = None
    drained: float = 0.0
    complaints: Counter[str] = field(default_factory=Counter)  # what its log says of defects
    had: int = 0  # requests that the providers had
    open: int = 0  # streams and connections that the providers still have
    accounts: Accounts = field(default_factory=Accounts)
    lines: int = 0  # of its access log


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--requests", type=int, default=MILLION, help="and a tenth as many streams")
    requests = arguments.parse_args().requests
    os.sched_setaffinity(0, AROUND)
    with alone():
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        found = soaked(requests)
    judged = gates(found)
    into = HERE / "SOAK.md" if requests >= MILLION else SCRATCH / "SOAK.md"
    into.write_text(page(found, judged), encoding="utf-8")
    for gate in judged:
        print(f"{gate.name:<40} {gate.measured:<60} wanted {gate.wanted:<24} {'holds' if gate.holds else 'MISSED'}")
    print(f"\nin {found.seconds:.0f} s; the whole of it: {into.relative_to(HERE.parent)}")
    if all(gate.holds for gate in judged):
        shutil.rmtree(FOLDER)
    else:
        sys.exit("everything is kept in bench/.scratch/soak")


# ---- what runs


def soaked(requests: int) -> Found:
    found = Found(requests, requests // 10, min(FIRST, requests // 3))
    with ExitStack() as stack:
        number, providers = port(), start_providers(stack)
        write_configuration(number, providers)
        log, errors = (stack.enter_context(open(FOLDER / name, "wb")) for name in ("access.log", "errors.log"))
        command = [sys.executable, "-m", "fairlead", "serve", "--config", str(FOLDER / "fairlead.toml")]
        gateway = stack.enter_context(
            running(command, UNDER_TEST, number, stdout=log, stderr=errors, env=fairlead_environment())
        )
        early = crowds("warm-up ", 2_000, 200, number, seed=1)
        attend(gateway, early, None)
        found.idle = at_rest(gateway, None)
        began, cpu = time.monotonic(), used(gateway)
        late = crowds("", found.requests, found.streams, number, seed=3)
        attend(gateway, late, found)
        found.seconds, found.cpu = time.monotonic() - began, used(gateway) - cpu
        found.told = {crowd.name: crowd.told for crowd in [*early, *late]}
        found.after = at_rest(gateway, found.idle)
        found.still = settle(gateway, PATIENCE_SECONDS)
        found.health = told(number, "/health")
        quick, rough = told(providers["bench"], "/stats"), told(providers["rough"], "/__tally")
        found.had = quick["requests"] - 1 + rough["requests"]  # the first counts the asking, too
        found.open = quick["started"] - quick["finished"] - quick["aborted"] + rough["connections"]
        leave(gateway, found)
    found.accounts = accounts.compared(FOLDER / "state" / "fairlead.db", [*early, *late])
    read_logs(found)
    return found


def start_providers(stack: ExitStack) -> dict[str, int]:
    """`bench` answers at once, `paced` in its time, `rough` as badly as it is asked to: their ports."""
    ports = {name: port() for name in ("bench", "paced", "rough")}
    mock = [str(compiled("mock")), str(ports["bench"]), str(ports["paced"]), "20", "20", "20"]
    stack.enter_context(running(mock, AROUND, ports["bench"], ports["paced"]))
    simulate = [sys.executable, "-m", "fairlead", "simulate", "--port", str(ports["rough"])]
    with open(FOLDER / "simulator.log", "wb") as log:
        stack.enter_context(
            running(simulate, AROUND, ports["rough"], stdout=log, stderr=log, env=fairlead_environment())
        )
    return ports


def write_configuration(number: int, ports: dict[str, int]) -> None:
    server = f'[server]\nport = {number}\nstate_dir = "{FOLDER / "state"}"\ndrain_notice_seconds = 0\n'
    second = '[models.second]\nendpoints = ["rough/echo+status=500", "bench/mock"]\n'
    keys = f'[[keys]]\nname = "soak"\nsecret = "{KEY}"\nscopes = ["inference", "admin:*"]\n'
    providers = [provider(name, f"http://127.0.0.1:{number}/v1") for name, number in ports.items()]
    text = "\n".join([server, '[logging]\naccess = true\nlevel = "warning"\n', *providers, second, keys])
    (FOLDER / "fairlead.toml").write_text(text)


def crowds(prefix: str, requests: int, streams: int, number: int, *, seed: int) -> list[Crowd]:
    return [
        Crowd(FOLDER, f"{prefix}requests", REQUESTS, port=number, clients=64, count=requests, seed=seed),
        Crowd(FOLDER, f"{prefix}streams", STREAMS, port=number, clients=100, count=streams, seed=seed + 1),
    ]


def attend(gateway: Process, crowds: list[Crowd], found: Found | None) -> None:
    """Wait for the crowds to be done, and look at the gateway each second."""
    listening = [threading.Thread(target=crowd.listen) for crowd in crowds]
    for thread in listening:
        thread.start()
    began = time.monotonic()
    while any(thread.is_alive() for thread in listening):
        time.sleep(1)
        if gateway.poll() is not None:
            raise SystemExit(f"the gateway is gone: {gateway.returncode}; see bench/.scratch/soak/errors.log")
        if found is not None:
            requests, streams = (crowd.told["done"] for crowd in crowds)
            size, own = resident(gateway), anonymous(gateway)
            opened = sum(descriptors(gateway).values())
            found.samples.append(
                Sample(time.monotonic() - began, requests, streams, size, own, opened, threads(gateway))
            )
    failed = [crowd.name for crowd in crowds if crowd.process.returncode]
    if failed:
        raise SystemExit(f"the crowd of {' and '.join(failed)} failed; see bench/.scratch/soak/*.wrong")


def at_rest(gateway: Process, idle: tuple[dict[str, int], int] | None) -> tuple[dict[str, int], int]:
    """Descriptors and threads, once they are as at `idle`; without it, once they are the same for five seconds."""
    deadline, since = time.monotonic() + PATIENCE_SECONDS, time.monotonic()
    now = descriptors(gateway), threads(gateway)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        before, now = now, (descriptors(gateway), threads(gateway))
        if now != before:
            since = time.monotonic()
        if now[0] == idle[0] if idle is not None else time.monotonic() - since > 6:
            break
    return now


def told(number: int, path: str) -> dict[str, Any]:
    """What is there, as JSON."""
    request = urllib.request.Request(f"http://127.0.0.1:{number}{path}", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def leave(gateway: Process, found: Found) -> None:
    """End the gateway: it drains, so that a call or a task that was left over would keep it."""
    began = time.monotonic()
    gateway.terminate()
    found.exit = gateway.wait(PATIENCE_SECONDS)
    found.drained = time.monotonic() - began


def read_logs(found: Found) -> None:
    with open(FOLDER / "access.log", "rb") as lines:
        found.lines = sum(b'"path":"/v1/' in line for line in lines)
    text = (FOLDER / "errors.log").read_text(errors="replace")
    for word in ("Traceback", "never retrieved", "was never awaited", "was destroyed", "ResourceWarning", "internal"):
        if word in text:
            found.complaints[word] = text.count(word)


# ---- what is wanted


def gates(found: Found) -> list[Gate]:
    answers, books = found.told.values(), found.accounts
    wrong = sum(told["wrong"] + told["nameless"] for told in answers)
    left_early = sum(kind["left_early"] for told in answers for kind in told["kinds"].values())
    base, _, grown = growth(found)
    (idle, idle_threads), (after, after_threads) = found.idle, found.after
    return [
        Gate("wrong answers", f"{wrong:,} of {sum(told['right'] for told in answers):,}", "none", not wrong),
        Gate(
            f"memory after the first {base.requests + base.streams:,}",
            f"{base.resident:.1f} MB, then at most {grown:+.1f} MB",
            f"≤ {ALLOWED_MB:.0f} MB more",
            grown <= ALLOWED_MB,
        ),
        Gate("descriptors", f"{_kinds(after)}; idle before: {_kinds(idle)}", "as many as before", after == idle),
        Gate("threads", f"{after_threads}; idle before: {idle_threads}", f"≤ {POOL} more, the loop's own",
             after_threads <= idle_threads + POOL),
        Gate("open at the providers", f"{found.open} streams and connections", "none", not found.open),
        Gate("at rest", "no CPU in half a second" if found.still else "busy", "nothing to do", found.still),
        Gate("health", str(found.health.get("status")), "ok", found.health.get("status") == "ok"),
        Gate("drained", f"exit code {found.exit} after {found.drained:.1f} s", "0, at once",
             found.exit == 0 and found.drained < 10),
        Gate("what its log says of defects", ", ".join(found.complaints) or "nothing", "nothing", not found.complaints),
        Gate(
            "answered calls without a row", f"{len(books.lost):,} of {books.answered:,}", "none",
            not books.lost and not books.twice,
        ),
        Gate(
            "rows without an answer",
            f"{books.unheard:,}; {left_early:,} had left before it began",
            "no more than have left",
            books.unheard <= left_early,
        ),
        Gate(
            "requests the providers had",
            f"{found.had:,}; by the ledger {books.sends:,}",
            "no more than the ledger says",
            found.had <= books.sends,
        ),
        Gate("rows with another outcome", f"{sum(books.strange.values()):,}", "none", not books.strange),
        Gate("attempts with other usage than told", f"{books.wrong_usage:,}", "none", not books.wrong_usage),
        Gate("attempts without a call", f"{books.orphans:,}", "none", not books.orphans),
        Gate("dead letters", f"{books.letters:,}", "none", not books.letters),
    ]  # fmt: skip


def growth(found: Found) -> tuple[Sample, Sample, float]:
    """The sample after the first requests, the largest after it, and the MB between."""
    later = [sample for sample in found.samples if sample.requests + sample.streams >= found.first]
    base, most = later[0], max(later, key=lambda sample: sample.resident)
    return base, most, most.resident - base.resident


def _kinds(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


# ---- the page


def page(found: Found, judged: list[Gate]) -> str:
    command = "make soak" if found.requests == MILLION else f"make soak SOAK_REQUESTS={found.requests}"
    books, per = found.accounts, found.cpu / (found.requests + found.streams) * 1e6
    lines = [
        "# Soak",
        "",
        f"Written by `{command}` on {conditions()}: {found.requests:,} requests by 64 clients and {found.streams:,} "
        f"streams by 100, together, in {found.seconds:.0f} s ({per:.0f} µs of CPU each), against one `fairlead serve` "
        "with keys, ledger and access log on. Every answer was checked: its status, its words, and where the provider "
        "repeats what it was sent, that it is this request's answer and no other's.",
        "",
        "| | found | wanted | |",
        "|---|---|---|---|",
        *(f"| {gate.name} | {gate.measured} | {gate.wanted} | {'holds' if gate.holds else '**missed**'} |"
          for gate in judged),
        "",
        f"The ledger has {books.calls:,} calls and {books.attempts:,} attempts, the access log {found.lines:,} lines; "
        "both with the 2,200 calls that came before the idle numbers were taken.",
        "",
        "## Over time",
        "",
        "Resident memory, and that of it which is no file's: the journal's segments are files.",
        "",
        "| s | requests | streams | resident, MB | not a file's, MB | descriptors | threads |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {each.seconds:.0f} | {each.requests:,} | {each.streams:,} | {each.resident:.1f} | {each.anonymous:.1f} "
            f"| {each.descriptors} | {each.threads} |"
            for each in thinned(found)
        ),
        "",
    ]  # fmt: skip
    for name in ("requests", "streams"):
        told = found.told[name]
        lines += [
            f"## The {name}", "",
            "| | asked | answered as they should | wrong | left, of them before the answer began |",
            "|---|---|---|---|---|",
            *(f"| {kind} | {each['asked']:,} | {each['right']:,} | {each['wrong']:,} | {each['left']:,}, "
              f"{each['left_early']:,} |" for kind, each in told["kinds"].items()), "",
        ]  # fmt: skip
    if books.strange:
        lines += ["## Outcomes that are not what the client saw", "", "| | calls |", "|---|---|"]
        lines += [f"| {name} | {count:,} |" for name, count in books.strange.most_common()]
    return "\n".join(lines).rstrip() + "\n"


def thinned(found: Found) -> list[Sample]:
    """A dozen of the samples, the first after FIRST requests, the largest and the last among them."""
    base, most, _ = growth(found)
    every = max(len(found.samples) // 12, 1)
    chosen = [*found.samples[::every], base, most, found.samples[-1]]
    return sorted({id(each): each for each in chosen}.values(), key=lambda each: each.seconds)


if __name__ == "__main__":
    main()
