"""What is fixed at start has bounds, and starts without being told anything."""

from typing import Any

import msgspec
import pytest

from fairlead.settings import MIB, Database, Logging, Server, Settings


def test_nothing_need_be_told() -> None:
    settings = Settings()
    assert (settings.server.host, settings.server.port, settings.server.state_dir) == ("127.0.0.1", 8080, "./.fairlead")
    assert settings.server.max_body_bytes == 32 * MIB
    assert settings.server.max_connections is None
    assert settings.database.url == "sqlite:///fairlead.db"
    assert settings.logging == Logging("info", "auto", True)


@pytest.mark.parametrize("port", [0, 1, 65535])
def test_a_port_is_one(port: int) -> None:
    assert msgspec.convert({"port": port}, Server).port == port


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Server, {"port": -1}),
        (Server, {"port": 65536}),
        (Server, {"port": "8080"}),
        (Server, {"host": ""}),
        (Server, {"state_dir": ""}),
        (Server, {"max_body_bytes": 0}),
        (Server, {"max_connections": 0}),
        (Server, {"header_seconds": 0}),
        (Server, {"idle_seconds": -1}),
        (Server, {"body_seconds": float("nan")}),
        (Server, {"heartbeat_seconds": float("inf")}),
        (Server, {"drain_seconds": -1}),
        (Server, {"workers": 2}),
        (Database, {"url": 5}),
        (Logging, {"level": "loud"}),
        (Logging, {"format": "xml"}),
        (Logging, {"access": 1}),
    ],
)
def test_what_cannot_be_is_refused(kind: type[msgspec.Struct], told: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(told, kind)


def test_draining_may_take_no_time() -> None:
    assert msgspec.convert({"drain_seconds": 0, "drain_notice_seconds": 0}, Server).drain_seconds == 0
