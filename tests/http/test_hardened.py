"""What the front door adds: headers for browsers, CORS, TLS, proxies that are believed, caps for each address."""

import asyncio
import json
import os
import shutil
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme

from fairlead.http.guard import Guard
from fairlead.http.tls import Certificate
from gateway import KEY, Gateway, gateway, raw, split

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
BOTH = pytest.mark.parametrize("protocol", ["direct", "asgi"])
ORIGIN = "https://app.example"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(*lines: str, path: str = "/v1/chat/completions", method: str = "POST", body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", "connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def call(*lines: str, key: str = KEY, **more: Any) -> bytes:
    body = {"model": "sim/echo", "messages": [{"role": "user", "content": "hi"}], **more}
    return request(
        f"authorization: Bearer {key}", "content-type: application/json", *lines, body=json.dumps(body).encode()
    )


@BOTH
@pytest.mark.parametrize(
    "asked",
    [call(), call(stream=True), call(key="wrong"), request(path="/livez", method="GET"), request(path="/nothing"),
     b"GET / HTTP/1.1\r\n\r\n"],
    ids=["answer", "stream", "401", "livez", "404", "malformed"],
)  # fmt: skip
async def test_every_answer_has_the_headers_that_keep_pages_honest(tmp_path: Path, protocol: str, asked: bytes) -> None:
    async with gateway(tmp_path, server=f'protocol = "{protocol}"') as gw:
        _, headers, _ = split(await raw(gw.port, asked))
        assert {name: headers.get(name) for name in SECURITY} == SECURITY
        assert "strict-transport-security" not in headers  # not over TLS
        assert "access-control-allow-origin" not in headers


# ---- pages


@BOTH
async def test_a_page_that_may_ask_can_read_the_answer(tmp_path: Path, protocol: str) -> None:
    async with gateway(tmp_path, server=f'protocol = "{protocol}"\nallowed_origins = ["{ORIGIN}"]') as gw:
        for asked in (call(f"origin: {ORIGIN}"), request(f"origin: {ORIGIN}", path="/v1/models", method="GET")):
            _, headers, _ = split(await raw(gw.port, asked))
            assert headers["access-control-allow-origin"] == ORIGIN
            assert headers["vary"] == "origin"
            assert "x-generation-id" in headers["access-control-expose-headers"]
        status, headers, _ = split(await raw(gw.port, call("origin: https://evil.example")))
        assert (status, headers["vary"]) == (200, "origin")
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/nothing"])
async def test_a_browser_that_asks_beforehand_is_told_what_it_may_send(tmp_path: Path, path: str) -> None:
    asked = ["access-control-request-method: POST", "access-control-request-headers: authorization, content-type"]
    async with gateway(tmp_path, server=f'allowed_origins = ["{ORIGIN}"]') as gw:
        sent = request(f"origin: {ORIGIN}", *asked, path=path, method="OPTIONS")
        status, headers, body = split(await raw(gw.port, sent))
        assert (status, body) == (204, b"")
        assert headers["access-control-allow-origin"] == ORIGIN
        assert headers["access-control-allow-headers"] == "authorization, content-type"
        assert "POST" in headers["access-control-allow-methods"]
        sent = request("origin: https://evil.example", *asked, path=path, method="OPTIONS")
        _, headers, _ = split(await raw(gw.port, sent))
        assert "access-control-allow-origin" not in headers


async def test_names_of_headers_that_are_none_are_not_said_back(tmp_path: Path) -> None:
    async with gateway(tmp_path, server='allowed_origins = ["*"]') as gw:
        asked = ["access-control-request-method: POST", "access-control-request-headers: a<script>, b"]
        sent = request("origin: https://any.example", *asked, method="OPTIONS")
        status, headers, _ = split(await raw(gw.port, sent))
        assert (status, headers["access-control-allow-origin"]) == (204, "*")
        assert "access-control-allow-headers" not in headers


# ---- names of requests


@BOTH
async def test_a_request_keeps_the_name_its_client_gave_it(tmp_path: Path, protocol: str) -> None:
    async with gateway(tmp_path, server=f'protocol = "{protocol}"') as gw:
        for asked in (call("x-request-id: mine-1"), request("x-request-id: mine-1", path="/livez", method="GET")):
            _, headers, _ = split(await raw(gw.port, asked))
            assert headers["x-request-id"] == "mine-1"
        _, headers, _ = split(await raw(gw.port, call("x-request-id: not one, for it has blanks")))
        assert headers["x-request-id"] == headers["x-generation-id"]


async def test_a_trace_goes_on_to_the_provider(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        got: list[bytes] = []

        async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 500 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(provider, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        lab = (
            f'[providers.lab]\nbase_url = "http://127.0.0.1:{port}/v1"\nprotocols = ["openai-chat"]\nmodels_path = ""\n'
        )
        async with gateway(tmp_path, lab) as gw:
            for lines in (
                (f"traceparent: {TRACE}", "tracestate: a=1,b=2"),
                (f"traceparent: {TRACE[:-3]}-zz", "tracestate: a=1"),
                ("tracestate: a=1",),
            ):
                await raw(gw.port, call(*lines, model="lab/x"))
        server.close()
        heads = [data.lower() for data in got]
        assert f"\r\ntraceparent: {TRACE}\r\ntracestate: a=1,b=2\r\n".encode() in heads[0]
        assert not any(b"trace" in head for head in heads[1:])


# ---- proxies


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # what stands before it, anybody may have written
        (["198.51.100.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["unknown"], "10.9.9.9"),
        (["203.0.113.7, garbage, 10.0.0.2"], "10.0.0.2"),
        ([], "10.9.9.9"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_is(forwarded: list[str], client: str) -> None:
    guard = Guard(per_address=1, trusted=["10.0.0.0/8"])
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert guard.told(headers, "10.9.9.9") == (client, False)
    assert guard.trusts("10.9.9.9")
    assert guard.trusts("::ffff:10.9.9.9")
    assert not guard.trusts("11.0.0.1")
    assert not guard.trusts("no address")


@BOTH
async def test_plain_http_is_refused_where_tls_is_required(tmp_path: Path, protocol: str) -> None:
    server = f'protocol = "{protocol}"\nrequire_tls = true\ntrusted_proxies = ["127.0.0.1"]'
    async with gateway(tmp_path, server=server) as gw:
        status, headers, body = split(await raw(gw.port, call()))
        assert (status, json.loads(body)["error"]["code"]) == (403, "tls_required")
        assert "location" not in headers
        status, headers, _ = split(await raw(gw.port, call("x-forwarded-proto: https")))
        assert status == 200
        assert headers["strict-transport-security"].startswith("max-age=")
        assert split(await raw(gw.port, request(path="/livez", method="GET")))[0] == 200


async def test_nobody_else_is_believed(tmp_path: Path) -> None:
    server = 'require_tls = true\ntrusted_proxies = ["10.0.0.0/8"]'
    async with gateway(tmp_path, server=server) as gw:
        assert split(await raw(gw.port, call("x-forwarded-proto: https")))[0] == 403


# ---- TLS


def certificate(folder: Path, authority: trustme.CA, name: str = "gateway.test") -> str:
    issued = authority.issue_cert(name, "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(folder / "new.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.new"))
    os.replace(folder / "key.new", folder / "key.pem")
    os.replace(folder / "new.pem", folder / "cert.pem")
    return f'tls_certificate = "{folder / "cert.pem"}"\ntls_key = "{folder / "key.pem"}"'


async def over_tls(gw: Gateway, authority: trustme.CA, data: bytes, **options: Any) -> tuple[bytes, dict[str, Any]]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old versions of TLS are what is tested
        for name, value in options.items():
            setattr(context, name, value)
    reader, writer = await asyncio.open_connection("127.0.0.1", gw.port, ssl=context, server_hostname="127.0.0.1")
    try:
        writer.write(data)
        peer = writer.get_extra_info("peercert")
        version = writer.get_extra_info("ssl_object").version()
        return await reader.read(), {"serial": peer["serialNumber"], "version": version}
    finally:
        writer.close()


@BOTH
async def test_it_speaks_tls_from_files_and_follows_them(tmp_path: Path, protocol: str) -> None:
    authority = trustme.CA()
    server = certificate(tmp_path, authority) + f'\nprotocol = "{protocol}"\nrequire_tls = true'
    async with gateway(tmp_path, server=server) as gw:
        answered, first = await over_tls(gw, authority, call())
        status, headers, _ = split(answered)
        assert (status, "strict-transport-security" in headers) == (200, True)
        assert first["version"] == "TLSv1.3"
        answered, told = await over_tls(gw, authority, call(stream=True), maximum_version=ssl.TLSVersion.TLSv1_2)
        assert (split(answered)[0], told["version"]) == (200, "TLSv1.2")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await over_tls(
                gw, authority, call(), minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
            )
        assert b"200" not in await raw(gw.port, call())  # plain HTTP on a port of TLS

        certificate(tmp_path, authority)
        async with asyncio.timeout(10):
            while (await over_tls(gw, authority, call()))[1]["serial"] == first["serial"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def test_a_certificate_that_does_not_fit_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = trustme.CA()
    certificate(tmp_path, authority)
    held = Certificate(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    (tmp_path / "cert.pem").write_text("half of a")
    held.look()
    assert "no certificate and its key" in caplog.text
    caplog.clear()
    held.look()
    assert not caplog.text  # told once
    shutil.move(tmp_path / "cert.pem", tmp_path / "gone.pem")
    held.look()
    assert "No such file" in caplog.text
    with pytest.raises(OSError, match="no certificate and its key"):
        Certificate(str(tmp_path / "gone.pem"), str(tmp_path / "key.pem"))


# ---- caps


async def test_an_address_has_only_so_many_connections(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="max_connections_per_address = 2") as gw:
        held = [await asyncio.open_connection("127.0.0.1", gw.port) for _ in range(2)]
        status, headers, body = split(await raw(gw.port, call()))
        assert (status, headers["x-should-retry"]) == (503, "true")
        assert b"Your address" in body
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(20):
            while gw.server.guard._connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert split(await raw(gw.port, call()))[0] == 200


async def test_a_trusted_proxy_has_as_many_as_it_needs(tmp_path: Path) -> None:
    server = 'max_connections_per_address = 1\ntrusted_proxies = ["127.0.0.0/8"]'
    async with gateway(tmp_path, server=server) as gw:
        held = [await asyncio.open_connection("127.0.0.1", gw.port) for _ in range(3)]
        assert split(await raw(gw.port, call()))[0] == 200
        for _, writer in held:
            writer.close()


async def test_bodies_that_nobody_reads_are_bounded_in_all(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="max_unread_bytes = 100_000") as gw:
        big = call(key="fl-" + "x" * 40)  # its key is looked up meanwhile
        head, _, _ = big.partition(b"\r\n\r\n")
        head = head.replace(b"content-length: ", b"content-length: 9")
        answers = await asyncio.gather(*(raw(gw.port, head + b"\r\n\r\n" + b" " * 60_000) for _ in range(8)))
        statuses = {split(answer)[0] for answer in answers if answer}
        assert statuses <= {401, 503}
        assert gw.server.unread_bytes == 0
        assert split(await raw(gw.port, call()))[0] == 200


async def test_an_address_with_many_wrong_keys_has_to_wait(tmp_path: Path) -> None:
    async with gateway(tmp_path, server='max_wrong_keys = 3\ntrusted_proxies = ["127.0.0.1"]') as gw:
        wrong = [call("x-forwarded-for: 203.0.113.7", key=f"fl-wrong-{n}") for n in range(5)]
        answers = [split(await raw(gw.port, each)) for each in wrong]
        assert [status for status, _, _ in answers] == [401, 401, 401, 429, 429]
        assert json.loads(answers[-1][2])["error"]["code"] == "too_many_wrong_keys"
        assert int(answers[-1][1]["retry-after"]) >= 1
        listed = request("authorization: Bearer x", "x-forwarded-for: 203.0.113.7", path="/v1/models", method="GET")
        assert split(await raw(gw.port, listed))[0] == 429
        # A key that is known is taken, and others are not kept waiting.
        assert split(await raw(gw.port, call("x-forwarded-for: 203.0.113.7")))[0] == 200
        assert split(await raw(gw.port, call("x-forwarded-for: 203.0.113.8", key="fl-wrong")))[0] == 401


# ---- what leaves together


async def test_pipelined_answers_keep_their_order_whatever_they_are(tmp_path: Path) -> None:
    """Whole answers wait for the end of the loop's turn, streams and refusals do not."""
    async with gateway(tmp_path) as gw:
        kinds: list[dict[str, Any]] = [{}, {"stream": True}, {}, {}, {"model": "nothing"}, {"stream": True}, {}]
        sent = b"".join(call(**kind).replace(b"connection: close\r\n", b"") for kind in kinds)
        got = await raw(gw.port, sent + b"BROKEN\r\n\r\n")
        heads = [piece.partition(b"\r\n\r\n")[0] for piece in got.split(b"HTTP/1.1 ")[1:]]
        statuses = [head[:3] for head in heads]
        assert statuses[:7] == [b"200", b"200", b"200", b"200", b"404", b"200", b"200"]
        streamed = [b"event-stream" in head for head in heads[:7]]
        assert streamed == [False, True, False, False, False, True, False]


async def test_a_hundred_callers_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:

        async def ask(number: int) -> None:
            status, _, body = split(
                await raw(gw.port, call(messages=[{"role": "user", "content": f"it is {number}!"}]))
            )
            assert status == 200
            assert f"it is {number}!" in json.loads(body)["choices"][0]["message"]["content"]

        await asyncio.gather(*(ask(number) for number in range(100)))
