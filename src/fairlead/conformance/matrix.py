"""Every case of every pair: green where it holds, grey where a format cannot say it, else red."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Literal

from msgspec import Struct

from fairlead.conformance import Answer, Ask, Asking, CannotSay, Mismatch, Reading, Refused
from fairlead.conformance.cases import CASES, Case
from fairlead.conformance.formats import FORMATS, client, judge
from fairlead.conformance.limits import Limit, limit_of, numbered
from fairlead.conformance.pair import Pair, Upstream

Colour = Literal["green", "grey", "red"]
_SECONDS = 30.0  # for one cell


class Cell(Struct, frozen=True):
    """What became of a case of a pair. `why` says so in a sentence, where it is not green."""

    inbound: str
    outbound: str
    case: str
    colour: Colour
    why: str = ""
    link: str = ""  # to the vendor's page that says that it cannot be
    number: int = 0  # of that limit, in tables


class Provider(Struct):
    """A provider that the gateway has. A simulated one speaks one format at `url` and remembers what it was sent."""

    name: str
    formats: tuple[str, ...]
    url: str = ""
    upstream: Upstream | None = None
    model: str = ""  # of a real one: the only one that is asked

    def spoken(self, inbound: str) -> str:
        """What the gateway speaks with it for a client of `inbound`: the same, else what can be translated."""
        others = [format for format in self.formats if format != "openai-completions"]
        return inbound if inbound in self.formats else (others or self.formats)[0]


class _Listening:
    """An SDK, and what the answers to it named as dropped."""

    def __init__(self, client: Asking) -> None:
        self._client, self.converses, self.thinks = client, client.converses, client.thinks
        self.reads_thoughts = client.reads_thoughts
        self.dropped: set[str] = set()

    async def ask(self, ask: Ask) -> Answer:
        answer = await self._client.ask(ask)
        self.dropped |= set(answer.dropped)
        return answer

    async def hang_up(self, ask: Ask) -> str:
        return await self._client.hang_up(ask)

    async def aclose(self) -> None:
        await self._client.aclose()


async def matrix(
    url: str,
    key: str,
    providers: Iterable[Provider],
    *,
    clients: Iterable[str],
    cases: Iterable[str],
    picture: str = "",
) -> AsyncIterator[Cell]:
    """The cells, as they are found, of the gateway at `url`. `picture` is the address of `cases.PNG`."""
    asked = [name for name in CASES if name in set(cases)]
    async with AsyncExitStack() as open:
        judges: list[tuple[Provider, Reading | None]] = []
        for provider in providers:
            reading = judge(provider.formats[0], provider.url) if provider.upstream is not None else None
            if reading is not None:
                open.push_async_callback(reading.aclose)
            judges.append((provider, reading))
        for inbound in clients:
            sdk = client(inbound, url, key)
            open.push_async_callback(sdk.aclose)
            for provider, reading in judges:
                for case in asked:
                    if reading is not None or CASES[case].real:
                        yield await _cell(inbound, sdk, provider, reading, case, picture)


async def _cell(
    inbound: str, sdk: Asking, provider: Provider, reading: Reading | None, name: str, picture: str
) -> Cell:
    listening = _Listening(sdk)
    spoken = provider.spoken(inbound)
    models = FORMATS[spoken].model if reading is not None else provider.model
    pair = Pair(
        listening,
        provider.name,
        models=models,
        judge=reading,
        upstream=provider.upstream,
        picture=picture,
        by_address=spoken == inbound or FORMATS[spoken].takes_addresses,
    )
    limit = limit_of(inbound, spoken, name)
    failure = await _tried(CASES[name], pair)

    def cell(colour: Colour, why: str = "", limit: Limit | None = None) -> Cell:
        told = (limit.link, numbered()[limit]) if limit is not None else ("", 0)
        return Cell(inbound, provider.name, name, colour, why, *told)

    if failure is None:
        stale = limit is not None and reading is not None
        return cell("red", "it holds, though it is said that it cannot be") if stale else cell("green")
    if limit is None:
        return cell("red", _sentence(failure))
    silence = untold(limit, failure, listening.dropped)
    return cell("red", silence) if silence else cell("grey", limit.why, limit)


async def _tried(case: Case, pair: Pair) -> Exception | None:
    """Why it does not hold, if it does not."""
    try:
        async with asyncio.timeout(_SECONDS):
            await case.run(pair)
    except Exception as error:  # whatever an SDK raises where it reads what it does not know
        return error
    return None


def untold(limit: Limit, failure: Exception, dropped: set[str]) -> str:
    """What is wrong with how the client is told of `limit`; "" if it is told."""
    if isinstance(failure, CannotSay):
        return ""
    if isinstance(failure, Refused):
        return "" if limit.refused and failure.status == 400 else f"refused, though it need not be: {failure}"
    if not isinstance(failure, Mismatch):
        return _sentence(failure)
    if limit.dropped:
        return "" if limit.dropped in dropped else f"x-fairlead-dropped does not name {limit.dropped}: {failure}"
    return "" if limit.lacks and limit.lacks in str(failure) else _sentence(failure)


def _sentence(error: Exception) -> str:
    known = isinstance(error, Mismatch | CannotSay)
    told = str(error) if known or isinstance(error, Refused) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())[:400]
