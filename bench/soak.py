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
from contextlib import ExitStack
from typing import Any

import accounts
from crowds import REQUESTS, STREAMS, Crowd
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
from rulers.processes import anonymous, descriptors, resident, settle, threads, used
from soak_report import MILLION, Found, Sample, gates, page

FOLDER = SCRATCH / "soak"
FIRST = 100_000  # requests and streams, until which memory may grow
PATIENCE_SECONDS = 120  # for connections to be closed, and records to be moved


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
        found.health = fetched(number, "/health")
        quick, rough = fetched(providers["bench"], "/stats"), fetched(providers["rough"], "/__tally")
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


def fetched(number: int, path: str) -> dict[str, Any]:
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


if __name__ == "__main__":
    main()
