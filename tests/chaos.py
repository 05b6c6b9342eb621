"""A gateway that dies again and again, under load, and what its ledger says afterwards: `make chaos`.

A simulator in a process of its own keeps its own tally of what it served, call by call. Clients ask for answers, whole
and streamed, in both protocols, and some hang up. Meanwhile the gateway is killed, terminated and started again, its
journal's tail torn, its database locked and taken away, its disk filled. In the end every request of the tally must
have exactly one attempt in the ledger, with the usage that was served.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.usage import segments
from gateway import KEY, KEYS, environment, free_port, rows

CONFIG = """
[server]
port = {port}
state_dir = "{state}"
drain_notice_seconds = 0
drain_seconds = 1
[journal]
segment_bytes = 262144
[logging]
access = false
level = "warning"
[sinks.lines]
path = "usage.jsonl"
[providers.up]
base_url = "http://127.0.0.1:{upstream}/v1"
protocols = ["openai-chat"]
signing = "none"
models_path = ""
call_header = "x-fairlead-call"
[providers.gone]
base_url = "http://127.0.0.1:{nobody}/v1"
protocols = ["openai-chat"]
signing = "none"
models_path = ""
[models.second]
endpoints = ["gone/echo", "up/echo"]
"""
WORDS = (
    "a ship that lies at anchor in the roads waits for the tide and for the wind to turn before she can leave".split()
)


@dataclass
class Plan:
    """What is done to the gateway."""

    kills: int = 200
    rate: float = 300.0  # calls a second
    terminations: int = 20
    seconds_locked: float = 30.0
    seconds_away: float = 30.0
    seconds_full: float = 30.0
    life: tuple[float, float] = (0.3, 2.5)  # seconds between "ready" and the end
    seed: int = 0


@dataclass
class Report:
    """What came of it."""

    seed: int
    seconds: float = 0.0
    did: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)  # what clients saw
    tallied: int = 0
    attempts: int = 0
    calls: int = 0
    lost: list[str] = field(default_factory=list)  # requests without an attempt
    wrong: list[str] = field(default_factory=list)  # attempts that are not as they were served
    doubled: int = 0  # requests that came twice without the ledger saying so
    orphans: list[str] = field(default_factory=list)  # attempts without their call
    unserved: Counter[str] = field(default_factory=Counter)  # attempts without a request, by outcome
    interrupted: int = 0
    estimates: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # how many, estimated, true
    lines: int = 0
    repeated_lines: int = 0
    missing_lines: int = 0
    skipped: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        found = [f"{len(self.lost)} requests are lost, as {self.lost[:3]}"] if self.lost else []
        found += [f"{len(self.wrong)} attempts are wrong, as {self.wrong[:3]}"] if self.wrong else []
        found += [f"{self.doubled} requests are doubled"] if self.doubled else []
        found += [f"{len(self.orphans)} attempts have no call, as {self.orphans[:3]}"] if self.orphans else []
        found += [f"{self.missing_lines} records are missing in the file of lines"] if self.missing_lines else []
        strange = {
            name: count
            for name, count in self.unserved.items()
            if not name.startswith("interrupted") and "before anything was sent" not in name
        }
        found += [f"attempts without a request: {strange}"] if strange else []
        return found


class Chaos:
    """The whole of it, in `folder`."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.random = random.Random(plan.seed)
        self.report = Report(plan.seed)
        self.state = folder / "state"
        self.tally = folder / "tally.jsonl"
        self.upstream, self.port = free_port(), free_port()
        self.nobody = socket.socket()  # bound and not listening: who connects is refused, and nobody else gets the port
        self.nobody.bind(("127.0.0.1", free_port()))
        self.config = folder / "fairlead.toml"
        self.config.write_text(
            CONFIG.format(port=self.port, state=self.state, upstream=self.upstream, nobody=self.nobody.getsockname()[1])
            + KEYS
        )
        self.gateway: subprocess.Popen[str] | None = None
        self.up = asyncio.Event()
        self.over = False
        self.calls: set[asyncio.Task[None]] = set()  # under way

    async def run(self) -> Report:
        began = time.monotonic()
        with self._simulator(), self._room():
            load = asyncio.create_task(self._load())
            phases = asyncio.create_task(self._phases())
            ends = [signal.SIGKILL] * self.plan.kills + [signal.SIGTERM] * self.plan.terminations
            self.random.shuffle(ends)
            for how in ends:
                await self._start()
                await asyncio.sleep(self.random.uniform(*self.plan.life))
                await self._end(how)
                if how is signal.SIGKILL and self.random.random() < 0.5:
                    self._tear()
            await phases
            self.over = True
            await self._start()
            await load
            if self.calls:
                await asyncio.wait(self.calls)
            await self._end(signal.SIGTERM)
        self.nobody.close()
        self._compare()
        self.report.seconds = time.monotonic() - began
        return self.report

    # ---- processes

    @contextmanager
    def _simulator(self) -> Iterator[None]:
        command = [sys.executable, "-m", "fairlead", "simulate", "--port", str(self.upstream)]
        process = subprocess.Popen(
            [*command, "--tally", str(self.tally)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert process.stdout is not None
        try:
            assert "listens" in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()

    @contextmanager
    def _room(self) -> Iterator[None]:
        """A small file system for the state folder, so that it can be full."""
        self.state.mkdir()
        size = 1 << 30
        mounted = (
            os.geteuid() == 0
            and subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.state)], capture_output=True
            ).returncode
            == 0
        )
        if not mounted:
            self.report.skipped.append("the full disk: nothing could be mounted here")
            self.plan.seconds_full = 0
        try:
            yield
        finally:
            if mounted:
                for name in ("fairlead.db", "fairlead.db-wal", "fairlead.db-shm", "usage.jsonl"):
                    with suppress(FileNotFoundError):
                        shutil.copy(self.state / name, self.folder / name)
                subprocess.run(["umount", str(self.state)], check=True)
                for name in ("fairlead.db", "fairlead.db-wal", "fairlead.db-shm", "usage.jsonl"):
                    with suppress(FileNotFoundError):
                        shutil.move(self.folder / name, self.state / name)

    async def _start(self) -> None:
        """Start the gateway; where it cannot, try again, as whoever supervises it would."""
        while True:
            self.gateway = self._started()
            assert self.gateway.stdout is not None
            while line := await asyncio.to_thread(self.gateway.stdout.readline):
                if "listens on" in line:
                    self.report.did["starts"] += 1
                    self.up.set()
                    return
            self.gateway.stdout.close()
            self.gateway.wait()
            self.report.did["starts refused"] += 1
            await asyncio.sleep(0.5)

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fairlead", "serve", "--config", str(self.config)]
        with open(self.folder / "gateway.log", "a") as log:
            return subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder, env=environment()
            )

    async def _end(self, how: signal.Signals) -> None:
        assert self.gateway is not None
        self.gateway.send_signal(how)
        self.up.clear()
        code = await asyncio.to_thread(self.gateway.wait)
        assert self.gateway.stdout is not None
        self.gateway.stdout.close()
        self.report.did["kill -9" if how is signal.SIGKILL else "SIGTERM"] += 1
        if how is signal.SIGTERM and code != 0:
            self.report.wrong.append(f"SIGTERM ended with {code}")

    # ---- what is done to its files

    def _tear(self) -> None:
        """Damage the end of the journal as a death in the middle of a write would, or a disk."""
        folder = self.state / "journal" / "0"
        for number in reversed(segments.numbers(folder)):
            path = folder / segments.file_name(number)
            data = path.read_bytes()
            header = segments.read_header(data[: segments.BEGIN])
            frames = list(segments.frames(data[segments.BEGIN :], segments.BEGIN, header.seed))
            if not frames:
                continue
            last = frames[-1]
            kind = self.random.choice(["prefix", "garbage", "settlement"])
            with open(path, "r+b") as file:
                if kind == "settlement" and last.kind == segments.SETTLED:
                    file.seek(self.random.randrange(last.begin, last.end))
                    file.write(self.random.randbytes(self.random.randint(1, 8)))
                elif last.end + 600 < header.size:
                    torn = self.random.choice(frames)
                    told = data[torn.begin : torn.begin + self.random.randint(1, torn.end - torn.begin)]
                    file.seek(last.end)
                    file.write(told if kind == "prefix" else self.random.randbytes(self.random.randint(1, 500)))
            self.report.did[f"journal torn ({kind})"] += 1
            return

    async def _phases(self) -> None:
        """The database locked, and away; the disk full: one after the other, while the gateway lives and dies."""
        await self.up.wait()
        await asyncio.sleep(self.plan.life[1])
        if self.plan.seconds_locked:
            await asyncio.to_thread(self._lock)
        if self.plan.seconds_away:
            await self._take_away()
        if self.plan.seconds_full:
            await asyncio.to_thread(self._fill)

    def _lock(self) -> None:
        with closing(sqlite3.connect(self.state / "fairlead.db", timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(self.plan.seconds_locked)
            connection.execute("ROLLBACK")
        self.report.did["seconds with the database locked"] += int(self.plan.seconds_locked)

    async def _take_away(self) -> None:
        away = self.state / "away"
        away.mkdir()
        for file in self.state.glob("fairlead.db*"):
            if file.suffix != ".lock":
                file.rename(away / file.name)
        await asyncio.sleep(self.plan.seconds_away)
        for file in away.iterdir():
            file.rename(self.state / file.name)
        away.rmdir()
        self.report.did["seconds without the database"] += int(self.plan.seconds_away)

    def _fill(self) -> None:
        ballast = self.state / "ballast"
        until = time.monotonic() + self.plan.seconds_full
        with open(ballast, "wb", buffering=0) as file:
            while time.monotonic() < until:
                for piece in (1 << 20, 4 << 10):
                    with suppress(OSError):
                        while True:
                            file.write(bytes(piece))
                time.sleep(0.2)
        ballast.unlink()
        self.report.did["seconds with the disk full"] += int(self.plan.seconds_full)

    # ---- clients

    async def _load(self) -> None:
        """Calls at a steady rate, whatever becomes of them."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.over:
            due += self.random.expovariate(self.plan.rate)
            await asyncio.sleep(max(due - loop.time(), 0))
            if not self.up.is_set():
                await self.up.wait()
                due = loop.time()
            task = asyncio.create_task(self._call())
            self.calls.add(task)
            task.add_done_callback(self.calls.discard)

    async def _call(self) -> None:
        kind = self.random.choices(
            ["whole", "slow whole", "stream", "translated", "hang up", "failover"], [40, 10, 30, 5, 10, 5]
        )[0]
        words = " ".join(self.random.choices(WORDS, k=self.random.randint(3, 60)))
        path, model, stream = "/v1/chat/completions", "up/echo", False
        if kind == "slow whole":
            model = "up/echo+delay=0.3"
        elif kind in ("stream", "hang up", "translated"):
            model, stream = "up/echo+every=0.02", True
        elif kind == "failover":
            model = "second"
        body: dict[str, Any] = {"model": model, "stream": stream, "messages": [{"role": "user", "content": words}]}
        if kind == "translated":
            path, body["max_tokens"] = "/v1/messages", 1000
        patience = self.random.uniform(0.005, 0.5) if kind == "hang up" else 20.0
        self.report.answers[await self._ask(path, json.dumps(body).encode(), patience)] += 1

    async def _ask(self, path: str, body: bytes, patience: float) -> str:
        writer = None
        got = b""
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                head = f"POST {path} HTTP/1.1\r\nhost: chaos\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                while chunk := await reader.read(65536):
                    got += chunk
        except TimeoutError:
            return "hung up"
        except OSError:
            return "refused" if writer is None else "cut off"
        finally:
            if writer is not None:
                writer.transport.abort()
        ended = b"[DONE]" in got or b"message_stop" in got or b"content-length" in got
        return got[9:12].decode() + ("" if ended else " cut off") if got else "cut off"

    # ---- the truth

    def _compare(self) -> None:
        report = self.report
        served: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for line in self.tally.read_text().splitlines():
            told = json.loads(line)
            served.setdefault((told["call"], told["attempt"]), []).append(told)
        report.tallied = sum(map(len, served.values()))
        attempts = {(row["call_id"], row["attempt"]): row for row in rows(self.state / "fairlead.db", "attempts")}
        calls = {row["id"]: row for row in rows(self.state / "fairlead.db", "calls")}
        report.attempts, report.calls = len(attempts), len(calls)
        for key, told in served.items():
            row = attempts.get(key)
            if row is None:
                report.lost.append(f"{key[0]}/{key[1]} {told[-1]}")
                continue
            if len(told) > 1 and row["sends"] < 2 and row["outcome"] != "interrupted":
                report.doubled += 1
            self._weigh(row, told[-1])
        for key, row in attempts.items():
            if key[0] not in calls:
                report.orphans.append(f"{key[0]}/{key[1]} {row['outcome']}")
            if row["outcome"] == "interrupted":
                report.interrupted += 1
            if key not in served:
                sent = "" if row["sends"] else ", before anything was sent"
                report.unserved[f"{row['outcome']} {row['error_code'] or ''}".strip() + sent] += 1
        self._read_lines(set(attempts), set(calls))

    def _weigh(self, row: dict[str, Any], told: dict[str, Any]) -> None:
        """Whether an attempt says what was served."""
        counted = row["input_tokens"], row["output_tokens"]
        true = told["input_tokens"], told["output_tokens"]
        if row["outcome"] == "ok" and (counted != true or row["estimated"]):
            self.report.wrong.append(f"{row['call_id']}: {counted}, served {told}")
        if row["outcome"] == "interrupted" and not row["estimated"] and counted != true:
            self.report.wrong.append(f"{row['call_id']}: interrupted and not marked as estimated")
        if row["outcome"] in ("interrupted", "cancelled") and told["served"] != "none" and row["estimated"]:
            for name, mine, its in zip(("input", "output"), counted, true, strict=True):
                key = f"{row['outcome']}, {name} tokens"
                count, estimated, truth = self.report.estimates.get(key, (0, 0, 0))
                self.report.estimates[key] = count + 1, estimated + mine, truth + its

    def _read_lines(self, attempts: set[tuple[str, int]], calls: set[str]) -> None:
        seen: Counter[object] = Counter()
        for line in (self.state / "usage.jsonl").read_text().splitlines():
            told = json.loads(line)
            seen[(told["call_id"], told["attempt"]) if told["kind"] == "attempt" else told["id"]] += 1
        self.report.lines = sum(seen.values())
        self.report.repeated_lines = sum(count - 1 for count in seen.values())
        self.report.missing_lines = len((attempts | calls) - set(seen))  # type: ignore[operator]


def told(report: Report) -> str:
    """The report as Markdown."""
    lines = ["| what was done | times |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(report.did.items())]
    lines += ["", "| what clients saw | times |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(report.answers.items())]
    lines += ["", "| what the ledger says | |", "|---|---|"]
    figures = {
        "requests in the simulator's tally": report.tallied,
        "attempts in the ledger": report.attempts,
        "calls in the ledger": report.calls,
        "**requests lost**": len(report.lost),
        "**requests doubled**": report.doubled,
        "**attempts with other usage than was served**": len(report.wrong),
        "**attempts without their call**": len(report.orphans),
        "attempts interrupted, and marked": report.interrupted,
        **{f"attempts that never reached the simulator: {name}": count for name, count in report.unserved.items()},
        "lines in the file sink": report.lines,
        "of them repeated, with the same ids": report.repeated_lines,
        "**records missing there**": report.missing_lines,
    }
    lines += [f"| {name} | {count:,} |" for name, count in figures.items()]
    lines += ["", "| served and cut short: estimated | attempts | estimate | truth | error |", "|---|---|---|---|---|"]
    for name, (count, estimated, truth) in sorted(report.estimates.items()):
        lines.append(f"| {name} | {count:,} | {estimated:,} | {truth:,} | {estimated / max(truth, 1) - 1:+.1%} |")
    if report.skipped:
        lines += ["", "Left out: " + "; ".join(report.skipped)]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--rate", type=float, default=300)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments.add_argument("--quick", action="store_true", help="ten kills, short phases")
    arguments.add_argument("--into", type=Path, help="write the report to this file")
    wanted = arguments.parse_args()
    plan = Plan(kills=wanted.kills, rate=wanted.rate, seed=wanted.seed)
    if wanted.quick:
        plan = Plan(10, wanted.rate, 2, 3, 3, 3, (0.3, 1.5), wanted.seed)
    print(f"seed {plan.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(Chaos(Path(folder), plan).run())
        if report.problems():
            kept = Path(tempfile.mkdtemp(prefix="fairlead-chaos-"))
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            print(f"everything is kept in {kept}")
    text = told(report)
    print(text)
    for problem in report.problems():
        print(f"PROBLEM: {problem}")
    if wanted.into is not None:
        command = f"`make chaos SEED={plan.seed}`"
        wanted.into.write_text(_PAGE.format(command=command, seconds=report.seconds, rate=plan.rate, text=text))
    sys.exit(bool(report.problems()))


_PAGE = """# Chaos: what the ledger says after everything died

Written by {command}, which took {seconds:.0f} s: a gateway with {rate:.0f} calls a second, streamed and not, in both
protocols, some hanging up; a simulator behind it that keeps its own tally of what it served.

{text}
"""

if __name__ == "__main__":
    main()
