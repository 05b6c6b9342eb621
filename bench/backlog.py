"""An hour's backlog: ten million records in the journal, and how long the database takes to catch up.

    python bench/backlog.py [--records 10000000]

Writes them as the ledger does (an intent, and a settlement with its call: two records a call), then brings them into a
SQLite database as a running gateway would after it was away, while another process reads from that database all the
time and a third now and then writes. Prints what it measured, as Markdown.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path

from fairlead.app import WIRES
from fairlead.call import Attempt, Call, new_id
from fairlead.chat import Usage
from fairlead.resources import Endpoint, Principal, Provider, Route
from fairlead.storage.deadletters import DeadLetters
from fairlead.storage.engine import Database, open_database
from fairlead.storage.keys import KeyStore
from fairlead.storage.records import Records
from fairlead.usage.books import Books
from fairlead.usage.couriers import Courier, Couriers
from fairlead.usage.estimates import Estimates
from fairlead.usage.ledger import Ledger

START_US = 1_795_252_906_000_000


def write(books: Books, records: int) -> float:
    """Write `records` records; the seconds it took."""
    ledger = Ledger(books.own.journal, Estimates())
    chat = WIRES["openai-chat"]
    body = b'{"model":"lab/mock","messages":[{"role":"user","content":"' + b"How do I apply? " * 60 + b'"}]}'
    envelope = chat.peek(body)
    endpoint = Endpoint(Provider("lab", {}), "mock")
    principal = Principal("key_0123456789abcdef", "bench", frozenset({"inference"}))
    route = Route("lab/mock", (endpoint,))
    began = time.perf_counter()
    for number in range(records // 2):
        us = START_US + number * 720  # an hour, at five million calls
        call = Call(
            new_id(us), chat, "chat", {}, us, 0.0, body=body, principal=principal, envelope=envelope, attempts=[]
        )
        call.route = route
        attempt = Attempt(call, 1, endpoint, "openai-chat", us)
        ledger.intend(attempt)
        call.attempts.append(attempt)
        attempt.outcome, attempt.status, attempt.finish_reason, attempt.usage = "ok", 200, "stop", Usage(240, 31)
        attempt.upstream_id, attempt.upstream_model = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "mock"
        attempt.first_content_us, attempt.ended_us, attempt.content_bytes = us + 400_000, us + 900_000, 812
        call.winner, call.status, call.outcome = attempt, 200, "ok"
        call.first_content_us, call.ended_us = us + 400_000, us + 900_000
        ledger.record(call, attempt)
    return time.perf_counter() - began


def look_up(path: Path, over: Event, waits: "multiprocessing.Queue[tuple[str, int, float]]") -> None:
    """Ask for a key all the time, each time as a new gateway would."""
    longest, asked = 0.0, 0
    with closing(sqlite3.connect(path)) as connection:
        while not over.is_set():
            began = time.perf_counter()
            connection.execute("SELECT * FROM keys WHERE hash = ?", (b"none",)).fetchall()
            longest, asked = max(longest, time.perf_counter() - began), asked + 1
            time.sleep(0.001)
    waits.put(("a reader", asked, longest))


def change(path: Path, over: Event, waits: "multiprocessing.Queue[tuple[str, int, float]]") -> None:
    """Make a key now and then."""
    longest, made = 0.0, 0
    keys = KeyStore(Database(path))
    while not over.wait(0.1):
        began = time.perf_counter()
        keys.create("bench")
        longest, made = max(longest, time.perf_counter() - began), made + 1
    waits.put(("another writer (making a key)", made, longest))


async def replay(books: Books, database: Database) -> tuple[float, float]:
    """Bring it all into the database; seconds, and seconds of CPU."""
    courier = Courier(Records(database.path), books, DeadLetters(database))
    couriers = Couriers(books, [courier])
    tending = asyncio.create_task(couriers.run())
    began, cpu = time.perf_counter(), time.process_time()
    couriers.start()
    await courier.flush()
    took = time.perf_counter() - began, time.process_time() - cpu
    tending.cancel()
    await couriers.aclose()
    return took


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--records", type=int, default=10_000_000)
    records = arguments.parse_args().records
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR", "/tmp"), prefix="fairlead-backlog-"))
    try:
        database = open_database("sqlite:///fairlead.db", folder)
        books = Books(folder / "journal", max_bytes=1 << 40)
        books.own.journal.start()
        wrote = write(books, records)
        held, before = books.own.journal.held, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        over, waits = multiprocessing.Event(), multiprocessing.Queue()
        others = [multiprocessing.Process(target=work, args=(database.path, over, waits)) for work in (look_up, change)]
        for other in others:
            other.start()
        seconds, cpu = asyncio.run(replay(books, database))
        over.set()
        told = sorted(waits.get() for _ in others)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = database.read("SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM attempts)")[0]
        books.close()
        calls = records // 2
        print(f"| {records:,} records, {calls:,} calls | |\n|---|---|")
        print(f"| written, one after the other | {wrote:.0f} s, {wrote / calls * 1e6:.1f} µs a call |")
        print(f"| the journal then holds | {held / 1e9:.2f} GB |")
        print(f"| brought into the database | {seconds:.0f} s ({3600 / seconds:.0f} times as fast as in an hour) |")
        print(f"| CPU of that | {cpu / calls * 1e6:.1f} µs a call |")
        print(f"| memory at most | {before >> 10} MB after writing, {after >> 10} MB after all |")
        print(f"| rows there | {rows[0]:,} calls, {rows[1]:,} attempts |")
        for who, count, longest in told:
            print(f"| meanwhile {who}, {count:,} times, waited at most | {longest * 1e3:.1f} ms |")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
