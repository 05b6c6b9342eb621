"""Media that stand at an address, for formats that want them as bytes: fetched once for a call, before it is told."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs

from fairlead import places
from fairlead.buffers import Buffers
from fairlead.call import Call
from fairlead.chat import Media, Message, Part, Request, Text, ToolResult
from fairlead.errors import InvalidRequest
from fairlead.protocols import WantsBytes
from fairlead.upstream.fetching import Fetched, Fetcher, shown

_LARGE_BYTES = 256 << 10  # spelt as base64 in a thread


def wanted(words: Request, wire: WantsBytes, model: str) -> dict[tuple[str, str], Media]:
    """The addresses that `wire` wants as bytes, as kind and URL, and what stands there first."""
    found: dict[tuple[str, str], Media] = {}
    for message in words.messages:
        for part in message.parts:
            if isinstance(part, Text):  # nearly all that are ever said
                continue
            for each in _media((part,)):
                if each.url is not None and wire.wants_bytes(each, model):
                    found.setdefault((each.kind, each.url), each)
    return found


def _media(parts: Sequence[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, Media):
            yield part
        elif isinstance(part, ToolResult):
            yield from _media(part.content)


async def fetch(
    call: Call, addresses: Mapping[tuple[str, str], Media], fetcher: Fetcher | None, buffers: Buffers
) -> None:
    """Have what stands at `addresses` in `call.fetched`. Raises InvalidRequest that names the first that cannot be
    had, Unavailable if the gateway is at its bounds. `fetcher` is None where nothing is fetched."""
    if fetcher is None:
        (kind, url), first = next(iter(addresses.items()))
        raise InvalidRequest(
            f"This model's provider needs the bytes of what stands at {shown(url)}, and this gateway fetches no"
            " addresses: send it as base64.",
            param=_place(call, first),
            code=f"invalid_{kind}_url",
        )
    if len(addresses) > fetcher.max_addresses:
        told = f"The request names {len(addresses)} addresses; at most {fetcher.max_addresses} are fetched for one."
        raise InvalidRequest(told, param=_place(call, list(addresses.values())[fetcher.max_addresses]))
    call.fetched = got = call.fetched or {}
    missing = [address for address in addresses if address not in got]
    if missing:
        await _get(call, got, missing, fetcher, buffers)
    for address, wanting in addresses.items():
        error = got[address]
        if isinstance(error, InvalidRequest):
            raise InvalidRequest(error.message, param=_place(call, wanting), code=error.code)


async def _get(
    call: Call,
    got: dict[tuple[str, str], Media | InvalidRequest],
    missing: Sequence[tuple[str, str]],
    fetcher: Fetcher,
    buffers: Buffers,
) -> None:
    allowance = fetcher.allowance()
    try:
        found = await asyncio.gather(
            *[fetcher.fetch(url, kind, allowance) for kind, url in missing], return_exceptions=True
        )
        for (kind, url), answer in zip(missing, found, strict=True):
            if isinstance(answer, Fetched):
                large = len(answer.data) > _LARGE_BYTES
                data = await asyncio.to_thread(_base64, answer.data) if large else _base64(answer.data)
                buffers.hold(len(data))
                call.held += len(data)
                got[kind, url] = Media(kind, answer.media_type, data=data)  # type: ignore[arg-type]
            elif isinstance(answer, InvalidRequest):
                got[kind, url] = InvalidRequest(answer.message, code=answer.code)  # without what led to it
            else:
                raise answer
    finally:
        allowance.close()


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _place(call: Call, wanting: Media) -> str:
    assert call.request is not None
    return places.of(call, wanting, call.request)


def with_bytes(
    words: Request, wire: WantsBytes, model: str, got: dict[tuple[str, str], Media | InvalidRequest]
) -> Request:
    """`words`, with what was fetched in the place of its address where `wire` wants that."""

    def told(part: Part) -> Part:
        if isinstance(part, ToolResult):
            return structs.replace(part, content=tuple(map(told, part.content)))
        if not isinstance(part, Media) or part.url is None or not wire.wants_bytes(part, model):
            return part
        found = got.get((part.kind, part.url))
        return structs.replace(part, url=None, mime=found.mime, data=found.data) if isinstance(found, Media) else part

    def said(message: Message) -> Message:
        return structs.replace(message, parts=tuple(map(told, message.parts)))

    return structs.replace(words, messages=tuple(map(said, words.messages)))
