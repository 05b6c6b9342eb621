"""How the gateway fares."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.health import Finding
from fairlead.http.openapi.shapes import Unset


class Hello(Struct, kw_only=True):
    """Who is here."""

    name: Literal["fairlead"]
    version: Annotated[str, Meta(examples=["0.1.0"])]


class Liveness(Struct, kw_only=True):
    """The loop turns."""

    status: Literal["ok"]


class Readiness(Struct, kw_only=True):
    """Whether it can serve, or why not."""

    status: Literal["ok", "starting", "draining"]


class HealthReport(Struct, kw_only=True):
    """How it fares. All but the status is told to keys only."""

    status: Literal["ok", "degraded", "down"]
    version: str | Unset = UNSET
    uptime_seconds: Annotated[float, Meta(ge=0)] | Unset = UNSET
    components: dict[str, Finding] | Unset = UNSET
