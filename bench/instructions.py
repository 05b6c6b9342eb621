"""What a call takes in instructions of the processor: figures that are the same on a busy machine.

`python bench/instructions.py [--keep FOLDER] [--only WORDS]` runs itself under valgrind's callgrind, which dumps its
counts at each `getppid`. The kernel's part is not among them. `--keep`: where the dumps shall stay, for
`callgrind_annotate`. `--only`: of whole calls, those whose name has these words, and nothing else.
"""

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import uvloop

import backlog
import calls
import formats
import stages
from fairlead.storage.engine import open_database
from fairlead.storage.records import Records
from fairlead.usage.books import Books, Reader

TURNS, ROUNDS, ROWS = 10, 500, 2000
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"%x\r\n%b\r\n" % (len(stages.EVENT), stages.EVENT)


class Counter:
    """Has what happens `within` counted; `names` tells the process above what each count was, and of how many."""

    def __init__(self, names: Path) -> None:
        self._names = names

    @contextmanager
    def within(self, name: str, times: int) -> Iterator[None]:
        os.getppid()
        yield
        os.getppid()
        with self._names.open("a") as names:
            names.write(f"{times} {name}\n")

    def of(self, name: str, work: Callable[[], Any]) -> float:
        for _ in range(ROUNDS // 5):  # what is learned and remembered is
            work()
        with self.within(name, ROUNDS):
            for _ in range(ROUNDS):
                work()
        return 0


def translated(folder: Path) -> dict[str, AbstractAsyncContextManager[Callable[[], Awaitable[None]]]]:
    """Calls of 4 KiB between the formats that have a gate, each behind the same call passed through."""
    return {
        f"{said}, {client} to {provider}": calls.calling(
            folder / f"{said} {client} {provider}", formats.asked(said, client), formats.answered(provider),
            path=formats.PATHS[client], protocol=provider,
        )
        for said, client in product(formats.CONVERSATIONS, formats.GREAT)
        for provider in (client, *(other for other in formats.GREAT if other != client))
    }  # fmt: skip


async def count(folder: Path, only: str) -> None:
    """All of it, one after the other."""
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)  # as `fairlead serve` has it
    counter = Counter(folder / "names")
    asked = stages.BODY.replace(b'{"model"', b'{"stream":true,"model"')
    whole = partial(calls.calling, body=stages.BODY, answer=stages.ANSWER)
    ways = {
        "a call": whole(folder / "known"),
        "a call, its head not known": whole(folder / "new", known=False),
        "a call, with its line in the access log": whole(folder / "logged", access_log=StringIO()),
        "an event": calls.calling(folder / "stream", body=asked, answer=STREAM + 2 * EVENT, more=EVENT),
        **translated(folder),
    }
    for name, way in ways.items():
        if only not in name:
            continue
        async with way as turn:
            for _ in range(calls.WARM):
                await turn()
            with counter.within(name, TURNS * calls.CLIENTS):
                for _ in range(TURNS):
                    await turn()
    if only:
        return
    for size in (300, 1024, 16 << 10):
        calls.tls(size, lambda work, size=size: counter.of(f"TLS: {size} bytes out and in, {work.__name__}", work))  # type: ignore[misc]
    database = open_database("sqlite:///records.db", folder)
    books = Books(folder / "journal", segment_bytes=64 << 20)
    begin = books.own.journal.tail
    with counter.within("ledger: made, intended, settled and recorded", ROWS):
        backlog.write(books, 2 * ROWS)
    sink, reader = Records(database.path), Reader(books.own, begin)
    with counter.within("ledger: from the journal into the database", ROWS):
        while (batch := reader.read()) is not None:
            sink.write(batch)
    sink.close()
    books.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keep", type=Path)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--counted", type=Path, help=argparse.SUPPRESS)
    told = arguments.parse_args()
    if told.counted is not None:
        uvloop.run(count(told.counted, told.only))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run(
            ["valgrind", "--quiet", "--tool=callgrind", "--dump-before=getppid", "--compress-strings=no",
             f"--callgrind-out-file={folder}/dump",
             sys.executable, __file__, "--counted", str(folder), "--only", told.only],
            env={**os.environ, "PYTHONHASHSEED": "0"}, check=True,
        )  # fmt: skip
        for number, line in enumerate((folder / "names").read_text().splitlines()):
            times, _, name = line.partition(" ")
            dump = folder / f"dump.{2 * number + 2}"  # those between are of what was not to be counted
            found = re.search(rb"^(?:totals|summary): (\d+)", dump.read_bytes(), re.MULTILINE)
            assert found is not None
            print(f"{int(found[1]) / int(times):10,.0f}  {name}")
            if told.keep is not None:
                told.keep.mkdir(exist_ok=True)
                shutil.copy(dump, told.keep / re.sub(r"\W+", "-", name))


if __name__ == "__main__":
    main()
