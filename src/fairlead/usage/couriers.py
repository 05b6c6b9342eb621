"""From the journals to the sinks: a thread for each sink, which waits longer and longer while its sink is away."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

from fairlead.usage.books import Books, Reader, Source
from fairlead.usage.segments import NOWHERE, Position
from fairlead.usage.sinks import Batch, Letters, Sink

log = logging.getLogger("fairlead.usage")

_EVERY_SECONDS = 0.5  # how long a record waits for others to share its batch
_LONGEST_PAUSE = 5.0
_ADOPT_EVERY = 5  # looks of `tend`
_PATIENCE = 1.0  # seconds, at the end, with a sink that is away


class Courier:
    """Brings one sink what stands in the journals."""

    def __init__(
        self, sink: Sink, books: Books, letters: Letters, *, seen: Callable[[Batch], None] = lambda batch: None
    ) -> None:
        """`seen` is told of each batch that was taken."""
        self.sink, self.books, self.letters, self.seen = sink, books, letters, seen
        self.trouble = ""  # why the sink does not take what there is
        self.delivered = 0  # records
        self.secured: dict[str, Position] = {}  # by journal: what is safe to forget
        self._readers: dict[str, Reader] = {}
        self._held: dict[str, Batch] = {}  # read, and not taken yet
        self._reached: dict[str, Position] = {}
        self._moved = threading.Condition()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"sink {self.sink.name}", daemon=True)
        self._thread.start()

    async def flush(self, seconds: float | None = None) -> bool:
        """Wait until the sink has all that is written down now, for at most `seconds`; whether it has."""
        return await asyncio.to_thread(self._arrived, self.books.own.journal.tail, seconds)

    async def aclose(self, *, seconds: float) -> None:
        """Bring what there is, for at most `seconds`, and stop. What is left stays in the journal."""
        if self._thread is None:
            return
        until = time.monotonic() + seconds
        if not await self.flush(min(seconds, _PATIENCE) if self.trouble else seconds):
            log.warning("the sink %s does not have everything: the rest waits in the journal", self.sink.name)
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, max(until - time.monotonic(), _PATIENCE))
        if not self._thread.is_alive():  # else it still holds the sink, and ends with the process
            self.sink.close()
        self._thread = None

    def forget(self, source: Source) -> None:
        """`source` is finished and gone."""
        for known in (self.secured, self._readers, self._held, self._reached):
            known.pop(source.id, None)
        try:
            self.sink.forget(source.id)
        except Exception as error:  # it only keeps a position that nobody needs
            log.warning("the sink %s did not forget a journal: %s", self.sink.name, error)

    def _arrived(self, wanted: Position, seconds: float | None) -> bool:
        own = self.books.own.id
        self._wake.set()
        with self._moved:
            return self._moved.wait_for(lambda: self._reached.get(own, NOWHERE) >= wanted, seconds)

    def _run(self) -> None:
        pause = _EVERY_SECONDS
        while not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                for source in self.books.sources:
                    self._deliver(source)
                self._try_again()
            except Exception as error:
                if not self.trouble:
                    log.error("the sink %s is away, its records wait in the journal: %s", self.sink.name, error)
                self.trouble = str(error) or type(error).__name__
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                if self.trouble:
                    log.info("the sink %s is back", self.sink.name)
                self.trouble, pause = "", _EVERY_SECONDS

    def _deliver(self, source: Source) -> None:
        """Bring all of `source` that there is."""
        reader = self._readers.get(source.id)
        if reader is None:
            reader = self._readers[source.id] = Reader(source, source.resumed(self.sink.position(source.id)))
        while (batch := self._held.pop(source.id, None) or reader.read()) is not None:
            self._held[source.id] = batch
            self._take(batch)
            self.sink.move(batch)
            del self._held[source.id]
            self.delivered += len(batch)
            self._note(source, batch.end)
            if self._closing:
                return
        self._note(source, reader.position)
        secured = self.secured.get(source.id, NOWHERE)
        passed = reader.position.segment > secured.segment
        if (passed or (source.finished and reader.position > secured)) and self.sink.secure():
            self.secured[source.id] = reader.position

    def _take(self, batch: Batch) -> None:
        refused = self.sink.write(batch)
        if refused:
            self.letters.bury(self.sink.name, refused)
        self.seen(batch)

    def _note(self, source: Source, reached: Position) -> None:
        with self._moved:
            self._reached[source.id] = reached
            self._moved.notify_all()

    def _try_again(self) -> None:
        """Dead letters that somebody wants to be tried again."""
        for letter in self.letters.wanted(self.sink.name):
            refused = self.sink.write(letter.batch)
            if refused:
                self.letters.failed(letter.id, refused[0].reason)
            else:
                self.letters.delivered(letter.id)


class Couriers:
    """All of them, and what they have in common: a segment goes when the last of them is past it."""

    def __init__(self, books: Books, couriers: Sequence[Courier]) -> None:
        self.books, self.couriers = books, tuple(couriers)
        self._looks = 0

    def start(self) -> None:
        for courier in self.couriers:
            courier.start()

    async def run(self) -> None:
        """Until cancelled: drop what is no longer needed, take over what others left."""
        while True:
            await asyncio.to_thread(self.tend)
            await asyncio.sleep(1)

    def tend(self) -> None:
        self._looks += 1
        if self._looks % _ADOPT_EVERY == 1:
            self.books.adopt()
        for source in self.books.sources:
            before = min(courier.secured.get(source.id, NOWHERE) for courier in self.couriers)
            if before > NOWHERE and self.books.drop(source, before):
                for courier in self.couriers:
                    courier.forget(source)

    @property
    def troubled(self) -> list[Courier]:
        """Those whose sinks do not take what there is."""
        return [courier for courier in self.couriers if courier.trouble]

    async def flush(self) -> None:
        """Wait until all sinks have all that is written down now."""
        await asyncio.gather(*(courier.flush() for courier in self.couriers))

    async def aclose(self, *, seconds: float = 10.0) -> None:
        await asyncio.gather(*(courier.aclose(seconds=seconds) for courier in self.couriers))
