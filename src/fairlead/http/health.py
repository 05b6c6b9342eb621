"""How the gateway fares: `/livez` (the loop turns), `/readyz` (it can serve), `/health` (its parts, in words).

None of them depends on a provider. What `/health` tells comes from probes that ran in the background, so that asking
costs nothing and cannot be used to wear the database down; its details need a key.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from fairlead import __version__
from fairlead.auth import Auth
from fairlead.catalog import Catalog
from fairlead.errors import InvalidKey, TooManyWrongKeys, Unavailable
from fairlead.http.identity import identified

Word = Literal["ok", "degraded", "down"]
Probe = Callable[[], Awaitable[tuple[Word, str]]]
_PROBE_SECONDS = 5.0


class Finding(Struct, frozen=True):
    """What a probe found."""

    status: Word
    detail: str = ""


class Health:
    """State and probes of this process. `ready` is set by whoever starts and drains it."""

    def __init__(
        self, probes: Mapping[str, Probe], catalog: Catalog, auth: Auth, *, every_seconds: float = 10.0
    ) -> None:
        self.probes, self.catalog, self.auth = probes, catalog, auth
        self.every_seconds = every_seconds
        self.ready = False
        self.reason = "starting"  # why not
        self.findings: dict[str, Finding] = {}
        self.started = time.monotonic()

    async def run(self) -> None:
        """Probe, wait, probe again; `app.py` starts and stops this."""
        while True:
            await self.probe()
            await asyncio.sleep(self.every_seconds)

    async def probe(self) -> None:
        for name, probe in self.probes.items():
            self.findings[name] = await _found(probe)

    async def livez(self, request: Request) -> Response:
        return _json(200, {"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        if self.ready:
            return _json(200, {"status": "ok"})
        return _json(503, {"status": self.reason}, {"retry-after": "1"})

    async def health(self, request: Request) -> Response:
        worst = self._worst()
        told: dict[str, object] = {"status": worst}
        if await self._knows(request):
            told["version"] = __version__
            told["uptime_seconds"] = round(time.monotonic() - self.started, 1)
            told["components"] = self.findings
        return _json(503 if worst == "down" else 200, told)

    def _worst(self) -> Word:
        if not self.ready:
            return "down"
        words = {finding.status for finding in self.findings.values()}
        return "degraded" if words - {"ok"} else "ok"

    async def _knows(self, request: Request) -> bool:
        try:
            await identified(self.auth, self.catalog, request)
        except (InvalidKey, TooManyWrongKeys, Unavailable):
            return False
        return True


async def _found(probe: Probe) -> Finding:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return Finding(*await probe())
    except TimeoutError:
        return Finding("down", f"no answer within {_PROBE_SECONDS:g} s")
    except Exception as error:
        return Finding("down", type(error).__name__)


def _json(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    headers = {"cache-control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
