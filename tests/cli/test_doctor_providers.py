"""`fairlead doctor` abroad: whether providers answer and take their credentials, and what they say of the time."""

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from examined import findings, ran
from fairlead.cli.doctor import clock, providers
from fairlead.resources import Provider, Signing
from fairlead.upstream import Timeouts
from gateway import free_port
from misbehaving import Misbehaving, nothing, ok, reset
from serving import serving

SECRET = "sk-provider-secret-0123456789"
LIST = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()


def configured(folder: Path, **urls: str) -> None:
    """One provider for each of `urls`, with its credential; what comes behind a blank are more lines."""
    text = "[server]\nport = 0\n"
    for name, told in urls.items():
        url, _, more = told.partition(" ")
        text += (
            f'[providers.{name}]\nbase_url = "{url}"\nprotocols = ["openai-chat"]\ncredential = "{SECRET}"\n{more}\n'
        )
    (folder / "fairlead.toml").write_text(text)


async def examined(folder: Path, *arguments: str, exits: int = 0, **environ: str) -> dict[str, Any]:
    return await asyncio.to_thread(findings, folder, *arguments, exits=exits, **environ)


def status(number: int, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 %d X\r\n%bcontent-length: 2\r\n\r\n{}" % (number, lines)


async def test_a_provider_that_takes_its_credential_and_lists_models_is_well(tmp_path: Path) -> None:
    async with serving("openai-chat", credential=SECRET) as url:
        configured(tmp_path, lab=url)
        found = (await examined(tmp_path))["provider lab"]
    assert (found["state"], found["found"]) == ("ok", "answers, and lists 9 models")
    assert found["facts"] == {"status": 200, "models": 9}


async def test_one_that_refuses_it_is_a_problem_and_the_credential_is_told_nowhere(tmp_path: Path) -> None:
    async with serving("openai-chat", credential="another") as url:
        configured(tmp_path, lab=url)
        found = (await examined(tmp_path, exits=1))["provider lab"]
        assert (found["state"], found["found"]) == ("problem", "refused the credential (status 401)")
        assert found["to_do"] == "put a valid one in providers.lab.credential"
        for arguments in ((), ("--json",)):
            done = await asyncio.to_thread(ran, tmp_path, *arguments)
            assert SECRET not in done.stdout + done.stderr


async def test_where_the_credential_is_in_the_environment_the_variable_is_named(tmp_path: Path) -> None:
    async with Misbehaving(status(403)) as server:
        (tmp_path / "fairlead.toml").write_text(f'[providers.groq]\nbase_url = "{server.url}"\n')
        found = (await examined(tmp_path, exits=1, GROQ_API_KEY=SECRET))["provider groq"]
    assert found["to_do"] == "put a valid one in GROQ_API_KEY, or give it the right to list models"
    assert f"authorization: Bearer {SECRET}".encode() in server.requests[0]


async def test_one_that_quotes_the_credential_does_not_get_it_told(tmp_path: Path) -> None:
    body = json.dumps({"error": {"message": f"wrong key {SECRET}"}}).encode()
    answer = b"HTTP/1.1 401 %b\r\nx-key: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        SECRET.encode(), SECRET.encode(), len(body), body,
    )  # fmt: skip
    async with Misbehaving(answer) as server:
        configured(tmp_path, lab=server.url)
        done = await asyncio.to_thread(ran, tmp_path, "--json")
    assert SECRET not in done.stdout + done.stderr


async def test_one_that_is_not_there_or_not_found_or_no_http_cannot_be_reached(tmp_path: Path) -> None:
    async with Misbehaving(reset) as broken, Misbehaving(b"SSH-2.0-x\r\n\r\n", close=True) as strange:
        configured(
            tmp_path, gone=f"http://127.0.0.1:{free_port()}", unknown="http://no-such-host.invalid",
            broken=broken.url, strange=strange.url,
        )  # fmt: skip
        found = await examined(tmp_path, exits=1)
    assert "cannot be reached: the connection was refused" in found["provider gone"]["found"]
    assert "no-such-host.invalid cannot be reached: its name was not found" in found["provider unknown"]["found"]
    for name in ("gone", "unknown", "broken", "strange"):
        assert found[f"provider {name}"]["state"] == "problem"
        assert found[f"provider {name}"]["to_do"]


async def test_all_are_asked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Timeouts(connect=60, first_byte=60, silence=60, total=60)
    monkeypatch.setattr(providers, "SECONDS", 60.0)
    monkeypatch.setattr(providers, "_PATIENCE", patient)
    everyone = asyncio.Barrier(6)

    async def with_the_others(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await everyone.wait()
        writer.write(ok(LIST))

    async with Misbehaving(with_the_others) as server:
        configured(tmp_path, **{f"lab{number}": f"{server.url}/{number}" for number in range(6)})
        async with asyncio.timeout(20):
            met = await asyncio.to_thread(_met, tmp_path)
    assert {found.state for found in met.values()} == {"ok"}


async def test_one_that_is_silent_is_waited_for_so_long_and_keeps_no_other_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "SECONDS", 0.5)
    async with Misbehaving(nothing) as silent:
        configured(tmp_path, one=silent.url, here="simulator://local/v1")
        met = await asyncio.to_thread(_met, tmp_path)
    assert met["here"].state == "ok"
    assert "no answer within 0.5 s" in met["one"].found


def _met(folder: Path) -> dict[str, Any]:
    from fairlead.config.file import load
    from fairlead.config.sync import snapshot

    return {each.provider: each.finding for each in providers.meet(snapshot(load(folder / "fairlead.toml", {})), {})}


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (ok(LIST), "ok", "answers, and lists 2 models"),
        (ok(json.dumps([{"id": "a"}]).encode()), "ok", "answers, and lists 1 model"),
        (ok(b"<html>"), "warning", "does not list models (what it answers is no list)"),
        (status(404), "warning", "does not list models (status 404)"),
        (status(301, b"location: http://elsewhere/"), "warning", "does not list models (status 301)"),
        (status(402), "warning", "wants money"),
        (status(429), "warning", "limits our rate"),
        (status(503), "warning", "can be reached, but fails (status 503)"),
        (status(403), "problem", "refused the credential (status 403)"),
    ],
)
async def test_what_a_provider_answers_means_something(tmp_path: Path, answer: bytes, state: str, words: str) -> None:
    async with Misbehaving(answer) as server:
        configured(tmp_path, lab=server.url)
        found = (await examined(tmp_path, exits=int(state == "problem")))["provider lab"]
    assert found["state"] == state
    assert words in found["found"]
    assert bool(found["to_do"]) == (state != "ok")


async def test_one_without_a_list_is_only_connected_to(tmp_path: Path) -> None:
    async with Misbehaving(nothing, read_request=False, close=True) as server:
        configured(tmp_path, lab=f'{server.url} models_path = ""')
        found = (await examined(tmp_path))["provider lab"]
    assert (found["state"], found["found"]) == ("ok", "127.0.0.1 can be connected to; it lists no models")
    assert server.connections == 1
    configured(tmp_path, lab=f'http://127.0.0.1:{free_port()} models_path = ""')
    assert (await examined(tmp_path, exits=1))["provider lab"]["state"] == "problem"


async def test_a_certificate_that_nobody_trusts_is_a_problem_until_ca_file_says_so(tmp_path: Path) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(LIST))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        configured(tmp_path, lab=url)
        found = (await examined(tmp_path, exits=1))["provider lab"]
        assert "its certificate is not valid" in found["found"]
        assert "ca_file" in found["to_do"]
        configured(tmp_path, lab=f'{url} ca_file = "ca.pem"')
        assert (await examined(tmp_path))["provider lab"]["state"] == "ok"


def test_without_a_credential_there_is_nobody_to_ask(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert found["providers"]["state"] == "warning"
    assert "OPENAI_API_KEY" in found["providers"]["to_do"]


def test_a_provider_that_wants_a_credential_and_has_none_set_is_told() -> None:
    lab = Provider("lab", {"openai-chat": "http://x"}, signing=Signing("none"))
    found = providers.judged(lab, 401, None, "providers.lab.credential")
    assert (found.state, found.to_do) == ("problem", "set providers.lab.credential")


async def test_offline_nobody_is_asked(tmp_path: Path) -> None:
    async with Misbehaving(ok(LIST)) as server:
        configured(tmp_path, lab=server.url)
        found = await examined(tmp_path, "--offline")
        assert server.connections == 0
    assert not [check for check in found if check.startswith(("provider", "clock"))]


# ---- the clock


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        ({}, "ok", "not compared"),
        ({"a": 0.4}, "ok", "agrees with a (+0 s)"),
        ({"a": 29.0}, "ok", "agrees with a (+29 s)"),
        ({"a": 31.0}, "warning", "31 seconds ahead of a"),
        ({"a": -31.0}, "warning", "31 seconds behind a"),
        ({"a": 301.0}, "problem", "301 seconds ahead of a"),
        ({"a": 4000.0, "b": 310.0}, "problem", "310 seconds ahead of b, the nearest of 2"),
        ({"wrong": -7200.0, "right": 1.0}, "ok", "agrees with right"),
    ],
)
def test_a_clock_that_is_far_from_every_other_is_told(ahead: Mapping[str, float], state: str, words: str) -> None:
    found = clock.judged(ahead)
    assert (found.state, words in found.found) == (state, True), found
    assert bool(found.to_do) == (state != "ok")


def test_the_time_a_provider_tells_is_compared_with_the_middle_of_the_question() -> None:
    now = 1_795_000_000.0
    assert providers.ahead_of(formatdate(now, usegmt=True), now, now + 1) == pytest.approx(0.0)
    assert providers.ahead_of(formatdate(now - 400, usegmt=True), now, now + 1) == pytest.approx(400.0)
    for date in ("", "yesterday", "Sat, 99 Nov 2026 00:00:00 GMT"):
        assert providers.ahead_of(date, now, now) is None


def another_address() -> str:
    """One of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # a datagram's connection sends nothing
        except OSError:
            pytest.skip("not on this machine: an address besides the loopback's")
        return str(probe.getsockname()[0])


async def test_a_provider_elsewhere_tells_the_time_and_one_on_this_machine_does_not(tmp_path: Path) -> None:
    def answer(ahead: float) -> bytes:
        return ok(LIST, b"date: " + formatdate(time.time() + ahead, usegmt=True).encode())

    host = another_address()
    async with Misbehaving(answer(0)) as here, Misbehaving(answer(3600), host=host) as there:
        configured(tmp_path, here=here.url)
        found = await examined(tmp_path)
        assert found["clock"]["found"] == "not compared: no provider on another machine told the time"
        configured(tmp_path, here=here.url, there=there.url)
        found = await examined(tmp_path, exits=1)
    assert found["clock"]["state"] == "problem"
    assert "seconds behind there" in found["clock"]["found"]
    assert found["clock"]["facts"]["ahead_seconds"] == pytest.approx(-3600, abs=60)
