"""What providers say they serve: their own lists of models, read after start and every hour.

The lists only show up in `GET /v1/models`; whether a call finds its model does not depend on them. They are kept in the
state folder, so that a restart shows them at once. A provider that fails keeps its last list.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from fairlead.catalog import Catalog, Snapshot
from fairlead.errors import FairleadError
from fairlead.providers.signing import get_head
from fairlead.resources import Provider
from fairlead.upstream import Origin, Timeouts, Transport, UpstreamRequest

log = logging.getLogger("fairlead.listing")

_EVERY_SECONDS = 3600.0
_MAX_BYTES = 8 << 20
_MAX_MODELS = 5000
_LONGEST_NAME = 256
_PATIENCE = Timeouts(connect=10, first_byte=30, silence=30, total=60)


class _Model(Struct):
    id: str


class _Named(Struct):
    name: str  # "models/gemini-x"


class _List(Struct):
    data: list[_Model] | None = None
    models: list[_Named] | None = None  # Google, Ollama


_read = msgspec.json.Decoder(_List | list[_Model]).decode  # Together gives the bare array


class Listings:
    """Keeps `catalog.listings`: the names each provider lists, by provider."""

    def __init__(self, catalog: Catalog, transports: Mapping[str, Transport], file: Path) -> None:
        self._catalog, self._transports, self._file = catalog, transports, file
        catalog.listings.update(self._kept())

    async def run(self) -> None:
        """Read all lists, wait, read them again; until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(_EVERY_SECONDS)

    async def refresh(self) -> None:
        """Read the list of every provider that can be asked."""
        snapshot = self._catalog.current
        asked = [
            provider for provider in snapshot.providers.values() if provider.models_path and snapshot.serves(provider)
        ]
        found = await asyncio.gather(*(self._listed(snapshot, provider) for provider in asked))
        own = {provider.name: names for provider, names in zip(asked, found, strict=True) if names is not None}
        self._catalog.listings.update(own)
        await asyncio.to_thread(self._keep)

    async def _listed(self, snapshot: Snapshot, provider: Provider) -> list[str] | None:
        """The names, None if they cannot be had."""
        url = next(iter(provider.base_urls.values())) + (provider.models_path or "")
        origin = Origin.of(url, provider.ca_file)
        head = get_head(provider, url, snapshot.credentials.get(provider.name))
        try:
            body = await _body(self._transports[origin.scheme], UpstreamRequest(origin, head, b"", _PATIENCE))
            return names(body)
        except FairleadError as error:
            log.info("%s gives no list of models: %s", provider.name, error.message)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors, those of UTF-8 too
            log.info("%s gives a list of models that we cannot read: %s", provider.name, error)
        return None

    def _kept(self) -> dict[str, list[str]]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, list[str]])
        except (OSError, ValueError, RecursionError):  # a list that is lost comes again
            return {}

    def _keep(self) -> None:
        fresh = self._file.with_suffix(f".{os.getpid()}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(self._catalog.listings))
            fresh.replace(self._file)
        except OSError as error:
            log.warning("the lists of models cannot be kept: %s", error)


def names(body: bytes) -> list[str]:
    """What a list names. Raises ValueError, RecursionError."""
    told = _read(body)
    if not isinstance(told, _List):
        found = [model.id for model in told]
    elif told.data is not None:
        found = [model.id for model in told.data]
    elif told.models is not None:
        found = [model.name.removeprefix("models/") for model in told.models]
    else:
        raise ValueError("it has neither `data` nor `models`")
    return [name for name in found if 0 < len(name) <= _LONGEST_NAME][:_MAX_MODELS]


async def _body(transport: Transport, request: UpstreamRequest) -> bytes:
    """The body of a 200 answer. Raises UpstreamError, and ValueError for another status or too much of it."""
    response = await transport.send(request)
    try:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        body = bytearray()
        while chunk := await response.read():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        return bytes(body)
    finally:
        response.close()
