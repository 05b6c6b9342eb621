"""What was asked for, and whether it was found."""

from dataclasses import dataclass
from itertools import permutations
from typing import Any

from formats import CONVERSATIONS, GREAT
from measurements import LOGGING, NGINX_LOGGING, Figures
from rulers import wrong

# Rows of the stage table that are gates of their own.
LEDGER_INTEND, LEDGER_RECORD = "ledger: intend, into the journal", "ledger: settle and record, into the journal"
WHOLE = "a whole call, but for its sockets"
CALL = "   {} of 4 KiB, {} to {}"
LEDGER_MOVE = "ledger: a call's rows moved to the database, by its thread"

REQUEST = "CPU a request, 64 connections, access logs on"
TO_TLS = "CPU a request to TLS, 64 connections, access logs on"
EVENT = "CPU a relayed event"
ROWS = "the ledger's rows into the database"
# Why a gate may be missed, as far as we know.
REASONS = {
    REQUEST: "the table of stages tells what the gateway's own work takes; the rest is reading, parsing and writing "
    "HTTP twice, from Python, where nginx has nothing else to do and does it in C.",
    TO_TLS: "what OpenSSL reads and writes passes through buffers in memory on its way to a socket, where nginx lets "
    "OpenSSL have the socket; the rest is as without TLS.",
    EVENT: "beside what the kernel does for nginx, too, it takes 14,000 instructions of Python (instructions.py).",
    ROWS: "it is two rows of 37 values, each read from the journal's bytes, bound and stored (docs/decisions/0015).",
}


@dataclass
class Gate:
    name: str
    measured: str
    wanted: str
    holds: bool


def gates(figures: Figures) -> list[Gate]:
    """One for each thing that was asked for. CPU a request is that of the whole configuration, access log and all,
    beside an nginx that keeps one, too."""
    request, tls = (ratio(figures, LOGGING, upstream, than=NGINX_LOGGING) for upstream in ("plain", "TLS"))
    event = least(figures.events)
    relayed, translated = event["relayed"] / event["nginx"], event["translated"] / event["relayed"]
    added = [own - direct for own, direct in zip(figures.first["fairlead"], figures.first["direct"], strict=True)]
    many = figures.streams["fairlead"]
    _, early, late = figures.memory
    p99, longest = figures.burst["fairlead"]
    stage = dict(figures.stages)
    written, moved = stage[LEDGER_INTEND] + stage[LEDGER_RECORD], stage[LEDGER_MOVE]
    start = figures.starts["fairlead"]
    sockets = least(figures.cpu)["fairlead", "plain", 64] - stage[WHOLE]
    return [
        Gate(REQUEST, f"{request:.1f} × nginx", "≤ 5", request <= 5),
        Gate(TO_TLS, f"{tls:.1f} × nginx", "≤ 3", tls <= 3),
        Gate(EVENT, f"{relayed:.1f} × nginx", "≤ 2.5", relayed <= 2.5),
        Gate("CPU a translated event", f"{translated:.1f} × relayed", "≤ 3", translated <= 3),
        *[_translated(said, stage, sockets) for said in CONVERSATIONS],
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
        Gate(ROWS, f"{moved:.1f} µs a call", "≤ 8 µs", moved <= 8),
        Gate("memory", f"{late:.0f} MB", "< 100 MB", late < 100),
        Gate(
            f"memory flat from {figures.requests // 10:,} to {figures.requests:,} requests",
            f"{late - early:+.1f} MB",
            "≤ 5 MB",
            late - early <= 5,
        ),
        Gate("1,000 new connections at once", f"p99 {p99:.0f}, longest {longest:.0f} ms", "< 1 s", longest < 1000),
        Gate("cold start", f"{start:.2f} s", "< 1 s", start < 1),
        Gate("wrong answers in the whole run", str(figures.wrong), "none", not figures.wrong),
    ]


def _translated(said: str, stage: dict[str, float], sockets: float) -> Gate:
    """`sockets`: CPU µs that the sockets of a call cost, which the stages leave out."""
    ratio = max(
        (stage[CALL.format(said, a, b)] + sockets) / (stage[CALL.format(said, a, a)] + sockets)
        for a, b in permutations(GREAT)
    )
    return Gate(f"CPU a translated call of 4 KiB, {said}", f"{ratio:.2f} × passed through", "≤ 1.5", ratio <= 1.5)


def least(rows: dict[Any, list[float]]) -> dict[Any, float]:
    """The best turn of each row: whatever else the machine does only adds to what a turn takes."""
    return {key: min(values) for key, values in rows.items()}


def most(rows: dict[Any, list[float]]) -> dict[Any, float]:
    return {key: max(values) for key, values in rows.items()}


def ratio(
    figures: Figures, who: str = "fairlead", upstream: str = "plain", connections: int = 64, than: str = "nginx"
) -> float:
    """CPU a request as a multiple of that of `than`."""
    cpu = least(figures.cpu)
    return float(cpu[who, upstream, connections] / cpu[than, upstream, connections])
