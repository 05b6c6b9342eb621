"""`fairlead doctor` at the gateway's own edge: whose the port is, and whether its certificate serves."""

import asyncio
import os
import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from examined import findings
from fairlead.cli.doctor import certificate, listening
from fairlead.settings import Server
from gateway import Gateway, free_port, gateway, process
from misbehaving import Misbehaving, nothing, ok

AUTHORITY = trustme.CA()


def port(folder: Path, *, exits: int = 0) -> Any:
    return findings(folder, "--offline", exits=exits)["port"]


def configured(folder: Path, port: int, more: str = "") -> None:
    (folder / "fairlead.toml").write_text(f"[server]\nport = {port}\n{more}")


# ---- the port


def test_a_port_that_nobody_has_is_free_and_stays_so(tmp_path: Path) -> None:
    number = free_port()
    configured(tmp_path, number)
    assert port(tmp_path)["found"] == f"127.0.0.1:{number} is free"
    configured(tmp_path, number, 'host = "::1"\n')
    assert port(tmp_path)["found"] == f"[::1]:{number} is free"
    configured(tmp_path, 0)
    assert port(tmp_path)["found"] == "any free one (server.port is 0)"


@pytest.mark.parametrize("server", ["drain_notice_seconds = 0", 'host = "0.0.0.0"'])
def test_a_gateway_that_runs_answers_there(tmp_path: Path, server: str) -> None:
    with process(tmp_path, server=server) as (_, url):
        found = port(tmp_path)
    assert found["state"] == "ok"
    assert found["found"].startswith("a Fairlead answers at ")
    assert found["found"].endswith(url.rpartition(":")[2])


async def test_one_over_tls_does_too_whoever_issued_its_certificate(tmp_path: Path) -> None:
    async with gateway(tmp_path, server=pair(tmp_path)):
        found = await asyncio.to_thread(findings, tmp_path, "--offline")
    assert found["port"]["found"].startswith("a Fairlead answers at ")


@pytest.mark.parametrize(
    "answer", [ok(b'{"status":"ok"}'), ok(b"fine"), b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
async def test_somebody_else_there_is_a_problem(tmp_path: Path, answer: bytes) -> None:
    async with Misbehaving(answer, close=True) as server:
        configured(tmp_path, server.port)
        found = await asyncio.to_thread(port, tmp_path, exits=1)
    assert found["state"] == "problem"
    assert "does not answer as a Fairlead does" in found["found"]
    assert f":{server.port}" in found["to_do"]


async def test_somebody_who_says_nothing_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_SECONDS", 0.2)
    async with Misbehaving(nothing) as server:
        (found,) = await asyncio.to_thread(lambda: list(listening.examine(Server(port=server.port))))
    assert found.state == "problem"


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "a" * 70])
def test_an_address_that_is_not_of_this_machine_is_a_problem(host: str) -> None:
    (found,) = listening.examine(Server(host=host, port=free_port()))
    assert found.state == "problem"
    assert "server.host" in found.to_do


@pytest.mark.skipif(os.geteuid() == 0, reason="not on this machine: a user who may not have every port")
def test_a_port_that_is_not_for_everybody_is_a_problem() -> None:
    (found,) = listening.examine(Server(port=1))
    assert "1024 or more" in found.to_do


def test_looking_is_not_in_the_way_of_a_gateway_that_starts() -> None:
    number = free_port()
    with closing(socket.socket()) as starting:
        starting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        starting.bind(("127.0.0.1", number))
        (found,) = listening.examine(Server(port=number))
        assert found.state == "ok"
        starting.listen()


# ---- the certificate


def pair(folder: Path, *, days: float = 90, begins_days: float = -1) -> str:
    """A certificate that ends after `days`, and its key; the options that name them."""
    now = datetime.now(UTC)
    issued = AUTHORITY.issue_cert(
        "gateway.test", not_before=now + timedelta(begins_days), not_after=now + timedelta(days)
    )
    for part in (issued.cert_chain_pems[0], issued.private_key_pem):
        part.write_to_path(str(folder / ("cert.pem" if part is issued.cert_chain_pems[0] else "key.pem")))
    return f'tls_certificate = "{folder / "cert.pem"}"\ntls_key = "{folder / "key.pem"}"\n'


def tls(folder: Path, options: str, *, exits: int = 0) -> Any:
    configured(folder, 0, options)
    return findings(folder, "--offline", exits=exits)["certificate"]


def test_a_certificate_that_serves_is_well_and_says_until_when(tmp_path: Path) -> None:
    found = tls(tmp_path, pair(tmp_path))
    assert found["state"] == "ok"
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 90 * 86_400))
    assert found["found"].startswith(f"belongs to its key, and is valid until {day}")
    assert abs(found["facts"]["valid_to"] - (time.time() + 90 * 86_400)) < 60


def test_one_that_ends_soon_is_a_warning_and_one_that_ended_a_problem(tmp_path: Path) -> None:
    found = tls(tmp_path, pair(tmp_path, days=13.5))
    assert (found["state"], "in 13 days" in found["found"] or "in 14 days" in found["found"]) == ("warning", True)
    assert tls(tmp_path, pair(tmp_path, days=15))["state"] == "ok"
    found = tls(tmp_path, pair(tmp_path, days=-0.5), exits=1)
    assert (found["state"], found["found"].startswith("expired on ")) == ("problem", True)
    found = tls(tmp_path, pair(tmp_path, begins_days=1), exits=1)
    assert (found["state"], found["found"]) == ("problem", "is not valid yet")


def test_a_key_of_another_certificate_is_a_problem(tmp_path: Path) -> None:
    options = pair(tmp_path)
    AUTHORITY.issue_cert("other.test").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    found = tls(tmp_path, options, exits=1)
    assert (found["state"], "KEY_VALUES_MISMATCH" in found["found"]) == ("problem", True)


def test_files_that_are_not_there_or_no_pem_are_a_problem(tmp_path: Path) -> None:
    options = pair(tmp_path)
    (tmp_path / "cert.pem").write_text("half of a")
    assert "no certificate and its key" in tls(tmp_path, options, exits=1)["found"]
    (tmp_path / "cert.pem").unlink()
    found = tls(tmp_path, options, exits=1)
    assert found["found"] == f"{tmp_path / 'cert.pem'}: No such file or directory"
    options = pair(tmp_path)
    (tmp_path / "key.pem").write_text("")
    assert tls(tmp_path, options, exits=1)["state"] == "problem"


def test_an_elliptic_one_and_one_with_its_chain_are_read_too(tmp_path: Path) -> None:
    child = AUTHORITY.create_child_ca(key_type=trustme.KeyType.ECDSA)
    issued = child.issue_cert("gateway.test", key_type=trustme.KeyType.ECDSA)
    (tmp_path / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    begin, end = certificate.validity(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert begin < time.time() < end


def test_without_tls_nothing_is_said_of_it(running: Gateway, tmp_path: Path) -> None:
    configured(tmp_path, 0)
    assert "certificate" not in findings(tmp_path, "--offline")
