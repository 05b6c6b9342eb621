"""What a soak found, what was wanted of it, and bench/SOAK.md."""

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from accounts import Accounts
from gates import Gate
from report import conditions

MILLION = 1_000_000
_ALLOWED_MB = 5.0
_POOL = min(32, (os.cpu_count() or 1) + 4)  # threads that asyncio starts as they are needed, and keeps


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
            f"≤ {_ALLOWED_MB:.0f} MB more",
            grown <= _ALLOWED_MB,
        ),
        Gate("descriptors", f"{_kinds(after)}; idle before: {_kinds(idle)}", "as many as before", after == idle),
        Gate("threads", f"{after_threads}; idle before: {idle_threads}", f"≤ {_POOL} more, the loop's own",
             after_threads <= idle_threads + _POOL),
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
