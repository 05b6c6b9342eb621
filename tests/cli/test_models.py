"""`fairlead models`: what a gateway offers, and what the configuration would."""

import asyncio
import json
from pathlib import Path

import pytest
import trustme

from commands import asked, fairlead
from fairlead.cli.models import matches
from gateway import KEY, Gateway, free_port, gateway
from misbehaving import Misbehaving, nothing, ok, reset

NAMED = '[providers.sim]\n[models.fast]\nendpoints = ["sim/fast"]\n'


@pytest.fixture
def closed() -> str:
    """An address that nobody listens at."""
    return f"http://127.0.0.1:{free_port()}"


async def test_the_models_of_a_gateway_are_listed_with_their_owners(running: Gateway, tmp_path: Path) -> None:
    running.house.catalog.listings["sim"] = ["echo", "slow"]
    done = await asked(tmp_path, "models", "--url", running.url, FAIRLEAD_API_KEY=KEY)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["model", "owner"]
    assert ["sim/echo", "sim"] in [row.split() for row in rows]
    assert len(rows) == 2


async def test_json_has_them_all_and_says_where_they_are_from(running: Gateway, tmp_path: Path) -> None:
    running.house.catalog.listings["sim"] = ["echo", "slow"]
    done = await asked(tmp_path, "models", "--json", "ECHO", FAIRLEAD_URL=running.url + "/v1/", FAIRLEAD_API_KEY=KEY)
    assert json.loads(done.stdout) == {"source": running.url, "models": [{"id": "sim/echo", "owner": "sim"}]}


@pytest.mark.parametrize(
    ("name", "search", "found"),
    [
        ("openai/gpt-4o-mini", "gpt-4o", True),
        ("openai/GPT-4o", "gpt", True),
        ("openai/gpt-4o", "GPT", True),
        ("openai/gpt-4o", "claude", False),
        ("groq/llama-3.3-70b", "groq/*70b", True),
        ("groq/llama-3.3-70b", "llama*", False),
        ("gpt-*", "gpt-5", True),  # a claim stands for what it describes
        ("o[0-9]*", "o3-mini", True),
        ("o[0-9]*", "opus", False),
        ("gpt-*", "gpt-*", True),
    ],
)
def test_a_name_is_found_by_a_piece_of_it_or_by_a_pattern(name: str, search: str, found: bool) -> None:
    assert matches(name, search) == found


async def test_a_search_without_a_find_says_so(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "models", "nobody", "--url", running.url, "--key", KEY)
    assert (done.returncode, done.stdout.endswith("is called 'nobody'.\n")) == (0, True)


async def test_a_wrong_key_is_refused_and_never_told(running: Gateway, tmp_path: Path) -> None:
    wrong = "fl-this-one-is-secret-but-wrong"
    done = await asked(tmp_path, "models", "--url", running.url, "--key", wrong)
    assert done.returncode == 1
    assert done.stderr.startswith("401 invalid_api_key: ")
    assert "FAIRLEAD_API_KEY" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert wrong not in done.stdout + done.stderr


def test_a_key_that_no_header_may_hold_is_not_told_either(tmp_path: Path, closed: str) -> None:
    done = fairlead(tmp_path, "models", "--url", closed, FAIRLEAD_API_KEY="fl-secret\nx-evil: 1")
    assert done.returncode == 2
    assert "characters that no key has" in done.stderr
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://a", "http://", "http://user:pass@host", "http://a/?b", "http://a:x", "http://a b"]
)
def test_what_is_no_address_is_refused_and_not_asked(tmp_path: Path, url: str) -> None:
    done = fairlead(tmp_path, "models", "--url", url)
    assert done.returncode == 2
    assert "must be like http://127.0.0.1:8080" in " ".join(done.stderr.split())
    assert "pass" not in done.stderr


def test_a_named_gateway_that_does_not_answer_is_an_error(tmp_path: Path, closed: str) -> None:
    (tmp_path / "fairlead.toml").write_text(NAMED)
    done = fairlead(tmp_path, "models", "--url", closed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"unreachable: no gateway answers at {closed} (Connection refused). Start one with")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_where_none_is_named_and_none_runs_the_configuration_is_told(
    tmp_path: Path,
    closed: str,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from fairlead.cli import client, main

    monkeypatch.setattr(client, "DEFAULT_URL", closed)  # the usual port may be somebody's
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    (tmp_path / "fairlead.toml").write_text(NAMED)
    with pytest.raises(SystemExit) as left:
        main(["models", *arguments])
    told = capfd.readouterr()
    assert left.value.code == 0
    assert told.err == f"No gateway answers at {closed}: this is what the configuration would offer.\n"
    if arguments:
        offered = json.loads(told.out)
        assert offered["source"] == "configuration"
        assert offered["models"][0] == {"id": "fast", "owner": "fairlead"}
        assert {"id": "gpt-*", "owner": "openai"} in offered["models"]
    else:
        assert ["gpt-*", "openai"] in [line.split() for line in told.out.splitlines()]


def test_a_configuration_with_problems_is_told_by_them(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from fairlead.cli import client, main

    monkeypatch.setattr(client, "DEFAULT_URL", closed)
    (tmp_path / "wrong.toml").write_text("[nonsense]\n")
    with pytest.raises(SystemExit) as left:
        main(["models", "--config", str(tmp_path / "wrong.toml")])
    assert left.value.code == 2
    assert "nonsense" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ok(b"<html>"), "no_gateway: {url} does not answer as a Fairlead does: no JSON."),
        (ok(b'{"models": []}'), "no_gateway: {url} gives no list of models."),
        (
            b"HTTP/1.1 502 Bad\r\ncontent-length: 2\r\n\r\nno",
            "no_gateway: {url} does not answer as a Fairlead does: status 502.",
        ),
        (reset, "broken_off: the answer broke off: the connection was closed."),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
            "broken_off: the answer broke off: the connection was closed.",
        ),
        (b"SSH-2.0-x\r\n\r\n", "no_gateway: {url} does not answer as a Fairlead does: no HTTP."),
    ],
)
async def test_a_server_that_is_no_fairlead_is_told_in_a_line(tmp_path: Path, answer: object, told: str) -> None:
    async with Misbehaving(answer, close=True) as server:  # type: ignore[arg-type]
        done = await asked(tmp_path, "models", "--url", server.url, "--key", KEY)
    assert done.returncode == 1
    assert done.stderr.startswith(told.format(url=server.url)), done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path) -> None:
    async with Misbehaving(ok(b"{}")) as elsewhere:
        there = b"HTTP/1.1 307 Go\r\nlocation: %b/v1/models\r\ncontent-length: 0\r\n\r\n" % elsewhere.url.encode()
        async with Misbehaving(there) as server:
            done = await asked(tmp_path, "models", "--url", server.url, "--key", KEY)
        assert elsewhere.connections == 0
    assert done.returncode == 1
    assert "it sends elsewhere (status 307)" in done.stderr
    assert f"authorization: Bearer {KEY}".encode() in server.requests[0]


async def test_names_cannot_drive_the_terminal(tmp_path: Path) -> None:
    rows = [{"id": "a\x1b[31mred\u009b", "owned_by": "b\x07\n"}]
    async with Misbehaving(ok(json.dumps({"data": rows}).encode())) as server:
        done = await asked(tmp_path, "models", "--url", server.url)
        assert "a\\x1b[31mred\\x9b  b\\x07\\x0a" in done.stdout
        done = await asked(tmp_path, "models", "--url", server.url, "--json")
    assert done.stdout.removesuffix("\n").isprintable()
    assert json.loads(done.stdout)["models"] == [{"id": "a\x1b[31mred\u009b", "owner": "b\x07\n"}]


async def test_an_error_cannot_drive_the_terminal_nor_tell_the_key(tmp_path: Path) -> None:
    error = {"error": {"code": "x\x1b]0;t\x07", "message": f"your key {KEY} \x1b[2J" + "x" * 2000}}
    body = json.dumps(error).encode()
    refusal = b"HTTP/1.1 403 No\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with Misbehaving(refusal) as server:
        done = await asked(tmp_path, "models", "--url", server.url, "--key", KEY)
    assert done.returncode == 1
    assert done.stderr.removesuffix("\n").isprintable()
    assert KEY not in done.stderr
    assert len(done.stderr) < 700


async def test_a_long_name_stays_in_its_line_where_no_terminal_is(tmp_path: Path) -> None:
    name = "author/" + "n" * 300
    async with Misbehaving(ok(json.dumps({"data": [{"id": name, "owned_by": "openrouter"}]}).encode())) as server:
        done = await asked(tmp_path, "models", "--url", server.url, COLUMNS="40")
    assert done.stdout.splitlines()[1].split() == [name, "openrouter"]


async def test_a_gateway_that_is_silent_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairlead.cli import client

    monkeypatch.setattr(client, "_SILENCE_SECONDS", 0.2)
    async with Misbehaving(nothing) as server:
        with pytest.raises(client.GatewayError, match="timeout: nothing came for"):
            await asyncio.to_thread(client.Gateway(server.url, None).get, "/v1/models")


async def test_over_tls_a_gateway_has_to_prove_its_name(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    options = f'tls_certificate = "{tmp_path / "cert.pem"}"\ntls_key = "{tmp_path / "key.pem"}"'
    async with gateway(tmp_path, server=options) as started:
        url = started.url.replace("http:", "https:")
        started.house.catalog.listings["sim"] = ["echo"]
        done = await asked(tmp_path, "models", "--url", url, "--key", KEY, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        assert (done.returncode, "sim/echo" in done.stdout) == (0, True), done.stderr
        done = await asked(tmp_path, "models", "--url", url, "--key", KEY)
        assert done.returncode == 1
        assert done.stderr.startswith(f"unreachable: no gateway answers at {url} (unable to get local issuer")
        url = url.replace("127.0.0.1", "localhost")
        done = await asked(tmp_path, "models", "--url", url, "--key", KEY, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        assert "Hostname mismatch" in done.stderr
