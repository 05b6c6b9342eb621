"""The providers: whether each can be reached and takes its credential. All are asked at once, for their models.

Nothing of a credential is told: neither here nor by a provider, whose answers are read for their status and their list
only.
"""

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime

from msgspec import Struct

from fairlead.catalog import Snapshot
from fairlead.cli.doctor import Finding, counted
from fairlead.errors import FairleadError
from fairlead.providers.listing import names
from fairlead.providers.signing import get_head
from fairlead.resources import Provider
from fairlead.upstream import Origin, Timeouts, UpstreamRequest
from fairlead.upstream.dns import Address, Resolver
from fairlead.upstream.pool import Connections, Pool

SECONDS = 5.0  # for each
_PATIENCE = Timeouts(connect=SECONDS, first_byte=SECONDS, silence=SECONDS, total=SECONDS)
_MAX_BYTES = 8 << 20


class Met(Struct, frozen=True):
    """What came of asking one provider."""

    provider: str
    finding: Finding
    ahead_seconds: float | None = None  # our clock before its, if it has one of its own and told the time


class _Answer(Struct, frozen=True):
    status: int
    models: int | None  # None: no list
    date: str
    began: float
    ended: float


def meet(world: Snapshot, environ: Mapping[str, str]) -> list[Met]:
    """Ask every provider that calls may go to. Takes `SECONDS` at most, and no event loop may run."""
    asked = [provider for provider in world.providers.values() if world.serves(provider)]
    if not asked:
        to_do = "set OPENAI_API_KEY, ANTHROPIC_API_KEY, … or [providers.NAME]"
        return [Met("", Finding("providers", "warning", "none has a credential, so no model can be asked", to_do))]
    return asyncio.run(_meet_all(asked, world, environ))


async def _meet_all(asked: Sequence[Provider], world: Snapshot, environ: Mapping[str, str]) -> list[Met]:
    pool = Pool(resolver=Resolver(lookup=_lookup))
    try:
        return await asyncio.gather(*(_meet(provider, world, environ, pool) for provider in asked))
    finally:
        await pool.aclose()


async def _meet(provider: Provider, world: Snapshot, environ: Mapping[str, str], pool: Pool) -> Met:
    name = f"provider {provider.name}"
    url = next(iter(provider.base_urls.values())) + (provider.models_path or "")
    origin = Origin.of(url, provider.ca_file)
    if origin.scheme not in ("http", "https"):
        return Met(provider.name, Finding(name, "ok", f"{origin.scheme}: it needs no network"))
    try:
        async with asyncio.timeout(SECONDS):
            if provider.models_path is None:
                await _connect(origin, pool)
                return Met(provider.name, Finding(name, "ok", f"{origin.host} can be connected to; it lists no models"))
            head = get_head(provider, url, world.credentials.get(provider.name))
            answer = await _ask(UpstreamRequest(origin, head, b"", _PATIENCE), pool)
    except TimeoutError:
        return Met(provider.name, _unreachable(name, origin, f"no answer within {SECONDS:g} s"))
    except FairleadError as error:
        return Met(provider.name, _unreachable(name, origin, error.message))
    ahead = None if _is_here(origin.host) else ahead_of(answer.date, answer.began, answer.ended)
    return Met(provider.name, judged(provider, answer.status, answer.models, _place(provider, world, environ)), ahead)


async def _connect(origin: Origin, pool: Pool) -> None:
    connections = Connections(origin, pool, asyncio.get_running_loop())
    try:
        await connections.connect(SECONDS)
    finally:
        connections.close()


async def _ask(request: UpstreamRequest, pool: Pool) -> _Answer:
    began = time.time()
    response = await pool.send(request)
    try:
        ended = time.time()
        body = bytearray()
        while response.status == 200 and len(body) <= _MAX_BYTES and (chunk := await response.read()):
            body += chunk
        date = response.headers.get(b"date", b"").decode("latin-1")
        return _Answer(response.status, _count(bytes(body)), date, began, ended)
    finally:
        response.close()


async def _lookup(host: str) -> list[Address]:
    """What the system's resolver says, asked in a thread that nobody waits for: a resolver that is away would keep the
    loop's own from ending for half a minute."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def tell(addresses: list[Address], error: OSError | UnicodeError | None) -> None:
        if not found.done():
            found.set_exception(error) if error is not None else found.set_result(addresses)

    def look() -> None:
        addresses: list[Address] = []
        failed: OSError | UnicodeError | None = None
        try:
            told = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = [(family, str(address[0])) for family, _, _, _, address in told]
        except (OSError, UnicodeError) as error:
            failed = error
        with suppress(RuntimeError):  # the loop has gone
            loop.call_soon_threadsafe(tell, addresses, failed)

    threading.Thread(target=look, daemon=True).start()
    return await found


def _count(body: bytes) -> int | None:
    """How many models a list names; None if it is none."""
    try:
        return len(names(body))
    except (ValueError, RecursionError):
        return None


def _is_here(host: str) -> bool:
    """Whether `host` is this machine, whose clock is ours."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def ahead_of(date: str, began: float, ended: float) -> float | None:
    """How many seconds our clock is ahead of one that told `date` between `began` and `ended` (epoch, by ours)."""
    try:
        theirs = parsedate_to_datetime(date).timestamp() + 0.5  # it tells whole seconds
    except ValueError:
        return None
    return (began + ended) / 2 - theirs


def _place(provider: Provider, world: Snapshot, environ: Mapping[str, str]) -> str:
    """Where its credential is written."""
    credential, variable = world.credentials.get(provider.name), provider.credential_env
    if credential is not None and variable and environ.get(variable, "").strip() == credential.value:
        return variable
    return f"providers.{provider.name}.credential"


# ---- what it means


def judged(provider: Provider, status: int, models: int | None, place: str) -> Finding:
    """What a status means, and with 200 the number of models in the list. `place`: where the credential is written."""
    name, facts = f"provider {provider.name}", {"status": status, "models": models}
    if status == 200 and models is not None:
        return Finding(name, "ok", f"answers, and lists {counted(models, 'model')}", "", facts)
    if status in (401, 403):
        if provider.signing.kind == "none":
            return Finding(name, "problem", f"wants a credential (status {status})", f"set {place}", facts)
        to_do = f"put a valid one in {place}"
        if status == 403:
            to_do += ", or give it the right to list models"
        return Finding(name, "problem", f"refused the credential (status {status})", to_do, facts)
    if status == 402:
        return Finding(name, "warning", "takes the credential, but wants money (status 402)", "pay there", facts)
    if status == 429:
        to_do = "nothing, if calls are answered; else ask it for more"
        return Finding(name, "warning", "can be reached, but limits our rate (status 429)", to_do, facts)
    if status >= 500:
        to_do = "wait, and see what it says of itself; models with another endpoint go on there"
        return Finding(name, "warning", f"can be reached, but fails (status {status})", to_do, facts)
    what = "what it answers is no list" if status == 200 else f"status {status}"
    to_do = f'see providers.{provider.name}: base_url has to be right, and models_path is "" where there is no list'
    return Finding(name, "warning", f"does not list models ({what})", to_do, facts)


def _unreachable(name: str, origin: Origin, why: str) -> Finding:
    if "certificate" in why:
        to_do = "set ca_file if its certificate is of an authority of your own; else do not trust it, nor this clock"
    else:
        to_do = "see its base_url, and whether this machine may go there: name service, routes, firewall"
    shown = origin.host_header
    return Finding(name, "problem", f"{shown} cannot be reached: {why}", to_do, {"status": None, "models": None})
