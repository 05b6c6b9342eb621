"""Builds the house: wishes → storage → snapshot → pipeline → ASGI application. Imports everybody, imported by none
but the command line.

    house = House(read)       # read() gives the wishes as they are now
    await house.open()        # storage, catalogue, background work
    house.asgi                # the application
    house.calls               # of its paths those that take calls, for a server that needs no ASGI between
    await house.aclose()      # writes what is owed, closes what was opened
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from fairlead.auth import Auth
from fairlead.buffers import Buffers
from fairlead.call import Call
from fairlead.catalog import Catalog
from fairlead.config import Wishes
from fairlead.config.sync import snapshot
from fairlead.config.watch import Reloader
from fairlead.counts import Counts
from fairlead.http.asgi import Scope
from fairlead.http.health import Health, Word
from fairlead.http.heartbeat import Heartbeats
from fairlead.http.inference import Inference
from fairlead.http.models import Models
from fairlead.http.routes import COUNTING, Routes
from fairlead.http.usage import Usage
from fairlead.pins import Pins
from fairlead.pipeline import Pipeline
from fairlead.protocols import Asked, Served, Wire
from fairlead.protocols.anthropic_completions import AnthropicCompletions
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.bedrock_converse import BedrockConverse
from fairlead.protocols.bedrock_invoke import BedrockInvoke
from fairlead.protocols.cohere_chat import CohereChat
from fairlead.protocols.cohere_chat_v1 import CohereChatV1
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.ollama_chat import OllamaChat
from fairlead.protocols.ollama_generate import OllamaGenerate
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openai_responses import OpenAIResponses
from fairlead.protocols.openrouter_chat import OpenRouterChat, OpenRouterCompletions
from fairlead.providers.listing import Listings
from fairlead.providers.signing import trace_context
from fairlead.providers.simulator import SimulatorTransport
from fairlead.settings import Media
from fairlead.storage.deadletters import DeadLetters
from fairlead.storage.engine import Database, open_database
from fairlead.storage.kept import KeptAnswers
from fairlead.storage.keys import KeyStore
from fairlead.storage.records import Records
from fairlead.storage.usage import UsageStore
from fairlead.telemetry.logs import AccessLog, AccessRecord, hidden, wants_text
from fairlead.upstream import Transport
from fairlead.upstream.fetching import Fetcher
from fairlead.upstream.pool import Pool
from fairlead.usage.books import Books
from fairlead.usage.couriers import Courier, Couriers
from fairlead.usage.estimates import Estimates
from fairlead.usage.learning import from_batches, learn
from fairlead.usage.ledger import Ledger
from fairlead.usage.sinks.jsonl import JsonLines
from fairlead.writes import Writes

log = logging.getLogger("fairlead.app")

BOTH: tuple[Wire, ...] = (
    OpenAIChat(), OpenAIResponses(), OpenAICompletions(), AnthropicMessages(), AnthropicCompletions(), Gemini(),
)  # fmt: skip
_PROVIDERS: tuple[Asked, ...] = (
    BedrockConverse(), BedrockInvoke(), CohereChat(), CohereChatV1(), OllamaChat(), OllamaGenerate(),
)  # fmt: skip
# What is spoken with providers, and what with clients: OpenRouter's dialects are only a way to answer.
WIRES: dict[str, Asked] = {wire.name: wire for wire in (*BOTH, *_PROVIDERS)}
DIALECTS: dict[str, Served] = {
    **{wire.name: wire for wire in BOTH},
    "openrouter-chat": OpenRouterChat(),
    "openrouter-completions": OpenRouterCompletions(),
}


class House:
    """One gateway: everything it is made of, and what of it has to be opened and closed."""

    def __init__(
        self,
        read: Callable[[], Wishes],
        *,
        config_file: Path | None = None,
        access_log: TextIO | None = None,
    ) -> None:
        """`read` gives the wishes as they are now, or raises InvalidConfigs; `config_file` is watched for changes."""
        wishes = read()
        settings = wishes.settings
        self.settings = settings.server
        folder = Path(settings.server.state_dir)
        self.database = open_database(settings.database.url, folder)
        self.keys = KeyStore(self.database)
        self.catalog = Catalog(snapshot(wishes))
        self._looking_up = Database(self.database.path)  # of its own, so that no writer keeps a caller waiting
        self.auth = Auth(KeyStore(self._looking_up), free_wrong_keys=settings.server.max_wrong_keys)
        self._used = UsageStore(Database(self.database.path))
        self.letters = DeadLetters(self.database)
        wanted = settings.journal
        self.books = Books(
            folder / "journal", fsync=wanted.fsync, max_bytes=wanted.max_bytes, segment_bytes=wanted.segment_bytes
        )
        self.estimates = Estimates()
        self.ledger = Ledger(self.books.own.journal, self.estimates, on_full=wanted.on_full)
        records = Records(self.database.path)
        learn(self.estimates, records.latest())
        self.records = Courier(records, self.books, self.letters, seen=from_batches(self.estimates))
        sinks = [
            Courier(JsonLines(name, folder / sink.path, folder / "sinks" / name), self.books, self.letters)
            for name, sink in settings.sinks.items()
        ]
        self.couriers = Couriers(self.books, [self.records, *sinks])
        self.writes = Writes()
        self.transports: dict[str, Transport] = {"simulator": SimulatorTransport()}
        self.transports["http"] = self.transports["https"] = Pool(writes=self.writes)
        self.listings = Listings(self.catalog, self.transports, folder / "models.json")
        self.heartbeats = Heartbeats(self.settings.heartbeat_seconds)
        self.access: AccessLog | None = None
        if access_log is not None:
            self.access = AccessLog(access_log, text=wants_text(settings.logging.format, access_log))
        self.reloader = Reloader(config_file, read, self.catalog, settings)
        buffers = Buffers(self.settings.max_buffered_bytes, self.settings.max_objects)
        self.fetcher = _fetcher(settings.media, buffers)
        pins = Pins(KeptAnswers(self._looking_up).find)
        self.pipeline = Pipeline(
            catalog=self.catalog,
            auth=self.auth,
            ledger=self.ledger,
            wires=WIRES,
            transports=self.transports,
            buffers=buffers,
            max_response_bytes=self.settings.max_response_bytes,
            max_event_bytes=self.settings.max_event_bytes,
            pins=pins,
            fetcher=self.fetcher,
        )
        self.counts = Counts(
            catalog=self.catalog,
            auth=self.auth,
            wires=WIRES,
            transports=self.transports,
            buffers=buffers,
            pins=pins,
            fetcher=self.fetcher,
        )
        self.health = Health({"database": self._database, "ledger": self._ledger}, self.catalog, self.auth)
        self.usage = Usage(self._used, self.catalog, self.auth, flush=partial(self.records.flush, 1.0))
        self.asgi = Routes(
            DIALECTS,
            self._inference,
            models=Models(self.catalog, self.auth, since=int(time.time())),
            usage=self.usage,
            health=self.health,
            seen=self._seen,
        )
        self.calls = {path: inference.serve for path, inference in self.asgi.calls.items()}
        self._background: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start what runs in the background."""
        if self.access is not None:
            self.access.start()
        self.books.own.journal.start()
        self.couriers.start()
        for name, work in {
            "keys": self.auth.watch,
            "journal": self.couriers.run,
            "heartbeats": self.heartbeats.run,
            "health": self.health.run,
            "listings": self.listings.run,
            "reload": self.reloader.run,
        }.items():
            self._background.append(asyncio.create_task(_kept_up(name, work), name=name))
        self.health.ready = True

    def drain(self) -> None:
        """This process is going away: say so to whoever balances load."""
        self.health.ready, self.health.reason = False, "draining"

    async def aclose(self) -> None:
        """Stop the background work, write what is owed, let go of connections."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for transport in {id(transport): transport for transport in self.transports.values()}.values():
            await transport.aclose()
        if self.fetcher is not None:
            await self.fetcher.aclose()
        self.ledger.close()
        await self.couriers.aclose()
        self.books.close()
        if self.access is not None:
            self.access.close()
        self._used.close()
        self._looking_up.close()
        self.database.close()

    def _inference(self, operation: str, dialect: Served) -> Inference:
        return Inference(
            operation,
            dialect,
            self.counts if operation in COUNTING else self.pipeline,
            max_body_bytes=self.settings.max_body_bytes,
            heartbeats=self.heartbeats,
            finished=self._finished,
        )

    async def _database(self) -> tuple[Word, str]:
        await asyncio.to_thread(self.keys.generation)
        return "ok", ""

    async def _ledger(self) -> tuple[Word, str]:
        journal = self.ledger.journal
        troubles = [journal.trouble, *(f"{courier.sink.name}: {courier.trouble}" for courier in self.couriers.troubled)]
        told = "; ".join(filter(None, troubles)) or f"the journal holds {journal.held >> 20} MB"
        lost = self.ledger.dropped or self.ledger.owed
        return ("degraded" if any(troubles) or lost or journal.alert else "ok"), told

    # ---- the access log

    def _finished(self, call: Call) -> None:
        """A call's last byte is out."""
        if self.access is None:
            return
        winner = call.winner
        usage = winner.usage if winner is not None else None
        now = time.monotonic()
        first, arrival = call.first_content_us, call.arrival
        self.access.write(
            AccessRecord(  # most by position: of many names Python makes a dict first
                call.started_us,
                call.id,
                arrival.method,
                arrival.path,
                call.status,
                _milliseconds(now - call.started),
                arrival.address,
                call.outcome or "failed",
                key_id=call.principal.key_id if call.principal is not None else None,
                model=call.route.model if call.route is not None else None,
                endpoint=winner.endpoint.name if winner is not None else None,
                stream=call.envelope.stream if call.envelope is not None else False,
                attempts=len(call.attempts),
                input_tokens=usage.input_tokens if usage is not None else None,
                output_tokens=usage.output_tokens if usage is not None else None,
                first_content_ms=None if first is None else (first - call.started_us) / 1000,
                request_id=call.request_id if call.request_id != call.id else None,
                trace_id=_trace_id(call.headers.get(b"traceparent")),
                error=call.error.code if call.error is not None else None,
            )
        )

    def _seen(self, scope: Scope, id: str, status: int, seconds: float) -> None:
        """A request that was no call was answered."""
        if self.access is not None:
            self.access.write(
                AccessRecord(
                    ts=time.time_ns() // 1000 - int(seconds * 1e6),
                    id=hidden(id),
                    method=scope["method"],
                    path=hidden(scope["path"]),
                    status=status,
                    client=scope["client"][0] if scope.get("client") else "",
                    duration_ms=_milliseconds(seconds),
                )
            )


def _fetcher(wanted: Media, buffers: Buffers) -> Fetcher | None:
    """None: nothing is fetched."""
    if not wanted.fetch:
        return None
    return Fetcher(
        buffers=buffers,
        max_bytes=wanted.max_bytes,
        seconds=wanted.seconds,
        max_addresses=wanted.max_addresses,
        max_at_once=wanted.max_at_once,
        ports=wanted.ports,
        allowed_hosts=wanted.allowed_hosts,
    )


def _milliseconds(seconds: float) -> float:
    """To the microsecond. Rounding to decimals would spell the number out and read it again."""
    return round(seconds * 1e6) / 1000


def _trace_id(parent: bytes | None) -> str | None:
    """Of which trace a call is a part, by its `traceparent`."""
    return parent[3:35].decode() if parent is not None and trace_context(parent, None) else None


async def _kept_up(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it ends or is cancelled; what fails is logged and begun again."""
    while True:
        try:
            await work()
            return
        except Exception:
            log.exception("background work %r failed and begins again", name)
            await asyncio.sleep(1)
