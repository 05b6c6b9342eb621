"""Which resource is asked for: paths that are spelt to slip by somebody's rules, and everything else of the first line.

RFC 9112 §3 and §2.3, RFC 9110 §4.2 and §7.2, RFC 3986 §3.3 and §6.2. No spelling reaches a resource that it does not
name, none gets by the key, and nobody is told what it looks like inside.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import fairlead
from edge.attack import CHAT, GOOD, LAST, LAST_WORDS, SMUGGLED, Answer, Door, head, whole
from gateway import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVER = "header_seconds = 2\nbody_seconds = 2\nidle_seconds = 2\n"

NOTHING = {400, 404}
LONG = "a" * 60_000
# What only somebody who looks inside can know.
INSIDE = re.compile(
    rb"(?i)traceback|\.py\b|starlette|uvicorn|httptools|llhttp|asyncio|site-packages|/tmp/|/home/|sqlite|"
    + re.escape(os.fsencode(Path(fairlead.__file__).parents[2]))
    + rb"|simulator:|errno|\bself\b|NoneType|exception|scope\["
)


class Target(NamedTuple):
    section: str  # of RFC 3986, unless it says another
    spelt: str
    allowed: set[int]  # for whoever has a key
    method: str = "GET"

    def __str__(self) -> str:
        return repr(self.spelt[:60])[1:-1]


# Spellings that do not name `CHAT`, or not as it is named.
NEAR_CHAT = [
    Target("§6.2.2.3", "/v1/../v1/chat/completions", NOTHING),
    Target("§6.2.2.3", "/v1/x/../chat/completions", NOTHING),
    Target("§6.2.2.3", "/v1/./chat/completions", NOTHING),
    Target("§6.2.2.3", "/v1/chat/completions/.", NOTHING),
    Target("§6.2.2.3", "/v1/chat/completions/..", NOTHING),
    Target("§6.2.2.3", "/livez/../v1/chat/completions", NOTHING),
    Target("§6.2.2.3", "/livez/..;/v1/chat/completions", NOTHING),
    Target("§6.2.2.3", "/../../../../v1/chat/completions", NOTHING),
    Target("§6.2.2.2", "/v1/%2e%2e/v1/chat/completions", NOTHING),
    Target("§6.2.2.2", "/v1/%2e/chat/completions", NOTHING),
    Target("§6.2.2.2", "/v1/.%2e/v1/chat/completions", NOTHING),
    Target("§2.1", "/v1/%252e%252e/v1/chat/completions", NOTHING),
    Target("§6.2.2.2", "/v1/%63hat/completions", NOTHING),
    Target("§6.2.2.2", "/%76%31/chat/completions", NOTHING),
    Target("§2.2", "/v1/chat%2fcompletions", NOTHING),
    Target("§2.2", "/v1%2fchat%2Fcompletions", NOTHING),
    Target("§2.2", "%2fv1/chat/completions", NOTHING),
    Target("§2.2", "/%2fv1/chat/completions", NOTHING),
    Target("§2.2", "/v1/chat/completions%3fx=y", NOTHING),
    Target("§2.2", "/v1/chat/completions%23x", NOTHING),
    Target("§2.2", "/v1/chat/completions%3b", NOTHING),
    Target("§3.3", "//v1/chat/completions", NOTHING),
    Target("§3.3", "///v1/chat/completions", NOTHING),
    Target("§3.3", "/v1//chat/completions", NOTHING),
    Target("§3.3", "/v1/chat//completions", NOTHING),
    Target("§3.3", "/v1/chat/completions/", NOTHING),
    Target("§3.3", "/v1/chat/completions//", NOTHING),
    Target("§3.3", "//test/v1/chat/completions", NOTHING),
    Target("§6.2.2.1", "/V1/chat/completions", NOTHING),
    Target("§6.2.2.1", "/v1/Chat/Completions", NOTHING),
    Target("§6.2.2.1", "/v1/chat/completion\xb0", NOTHING),
    Target("§3.3", "/v1/chat/completions;x=y", NOTHING),
    Target("§3.3", "/v1/chat;x=y/completions", NOTHING),
    Target("§3.3", "/v1;/chat/completions", NOTHING),
    Target("§2.1", "/v1/chat/completions%", NOTHING),
    Target("§2.1", "/v1/chat/completions%0", NOTHING),
    Target("§2.1", "/v1/chat/completions%zz", NOTHING),
    Target("§2.1", "/v1/chat/completions%00", NOTHING),
    Target("§2.1", "/v1/chat/completions%20", NOTHING),
    Target("§2.1", "/v1/chat/completions%09", NOTHING),
    Target("§2.1", "/v1/chat/completions%0a", NOTHING),
    Target("§2.1", "/v1/chat/completions%0d%0ax:y", NOTHING),
    Target("§2.1", "/v1/chat/completions%c2%85", NOTHING),
    Target("§2.1", "/v1/chat/completions%e2%80%a8", NOTHING),
    Target("§2.1", "/v1/chat/completions%ff", NOTHING),
    Target("§2.1", "/v1/ch%c3%a4t/completions", NOTHING),
    Target("§2.1", "/v1%c0%afchat%c0%afcompletions", NOTHING),
    Target("§2.1", "/v1%u002fchat/completions", NOTHING),
    Target("§2", "\\v1\\chat\\completions", NOTHING),
    Target("§2", "/v1\\chat\\completions", NOTHING),
    Target("§2", "/v1/..\\v1/chat/completions", NOTHING),
    Target("§2", "/v1/chat/completions\\", NOTHING),
    Target("§2", "/v1/chat%5ccompletions", NOTHING),
    Target("§2", "/v1/chat/completions\x00", NOTHING),
    Target("§2", "/v1/chat/completions\t", NOTHING),
    Target("§2", "/v1/chat/completions\x0b", NOTHING),
    Target("§2", "/v1/chat/completions\x7f", NOTHING),
    Target("§2", "/v1/chat/completions\xa0", NOTHING),
    Target("§2", "/v1/ch\xc3\xa4t/completions", NOTHING),
    Target("§2", "/v1/chat/\xff\xfe", NOTHING),
    Target("§2", '/v1/chat/completions"<>^`{|}', NOTHING),
    Target("9112 §3.2.1", "v1/chat/completions", NOTHING),
    Target("9112 §3.2.1", "?/v1/chat/completions", NOTHING),
    Target("9112 §3.2.1", "@test/v1/chat/completions", NOTHING),
    Target("9112 §3.2.1", ".//v1/chat/completions", NOTHING),
    # HAProxy's CVE-2023-45539: rules that look at the end of a target saw the fragment, the server behind it did not.
    Target("9112 §3.2", "/v1/chat/completions#x", NOTHING),
    Target("9112 §3.2", "/v1/chat/completions#/livez", NOTHING),
    Target("9112 §3.2", "/v1/chat/completions?x#y", NOTHING),
    Target("9112 §3.2", "#/v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http://test//v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http://test/%2e%2e/v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http://test", {400, 404, 405}),
    Target("9112 §3.2.2", "http:///v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http:/v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http:v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http://[/v1/chat/completions", NOTHING),
    Target("9112 §3.2.2", "http://test:99999/v1/chat/completions", {200, *NOTHING}),
    Target("9110 §7.4", "https://test/v1/chat/completions", {400, 421}),  # for it did not come over TLS
    Target("9110 §7.4", "ftp://test/v1/chat/completions", {400, 421}),
    Target("9110 §7.4", "file:///v1/chat/completions", {400, 404, 421}),
    Target("9110 §4.2.4", "http://user:password@test/v1/chat/completions", {200, 400}),
    Target("9112 §3.2.3", "test:80", NOTHING),
    Target("9112 §3.2.4", "*", NOTHING),
    Target("9112 §3", f"/{LONG}", {404, 414}),
    Target("9112 §3", "/" + "../" * 20_000 + "v1/chat/completions", {404, 414}),
    Target("9112 §3", "/" + "%2e%2e%2f" * 6000 + "v1/chat/completions", {404, 414}),
    Target("9112 §3", f"/{LONG}{LONG}", {414, 431}),
    Target("9112 §3", f"{CHAT}?{LONG}{LONG}", {414, 431}),
]
# Other spellings of the very same.
CHAT_ITSELF = [
    Target("§3.4", f"{CHAT}?", {200}),
    Target("§3.4", f"{CHAT}?x=y&key={KEY}", {200}),
    Target("§3.4", f"{CHAT}?x=/../../livez", {200}),
    Target("§3.4", f"{CHAT}??/livez", {200}),
    Target("§3.4", f"{CHAT}?x=%00%0d%0a", {200}),
    Target("§3.4", f"{CHAT}?{LONG}", {200, 414}),
    Target("9112 §3.2.2", f"http://test{CHAT}", {200}),
    Target("9112 §3.2.2", f"http://another:99{CHAT}?x", {200, 421}),
    Target("9112 §3.2.2", f"HTTP://TEST{CHAT}", {200}),
    Target("9112 §3.2.2", f"http://[::1]{CHAT}", {200, 421}),
]
# Everything else: what anybody may see, and what only keys may.
OPEN = {"/", "/livez", "/readyz", "/health"}
OTHERS = [
    Target("§6.2.2.3", "/v1/../livez", NOTHING),
    Target("§6.2.2.2", "/v1/%2e%2e/livez", NOTHING),
    Target("§6.2.2.3", "/livez/../v1/models", NOTHING),
    Target("§6.2.2.3", "/livez/..;/v1/models", NOTHING),
    Target("§2.2", "/livez%2f..%2fv1/models", NOTHING),
    Target("§2.2", "/livez/..%2fv1%2fmodels", NOTHING),
    Target("§2.2", "/v1%2fmodels", NOTHING),
    Target("§2.2", "/v1%2Fusage", NOTHING),
    Target("§2.2", "/v1%2fgeneration?id=x", NOTHING),
    Target("§2.2", "/api%2fv1/models", NOTHING),
    Target("§6.2.2.3", "/v1/models/../usage", NOTHING),
    Target("§2.2", "/v1/models/..%2fusage", NOTHING),
    Target("§6.2.2.3", "/v1/models/../../livez", NOTHING),
    Target("§6.2.2.3", "/v1/models/../../../../etc/passwd", NOTHING),
    Target("§2.2", "/v1/models/..%2f..%2f..%2fetc%2fpasswd", NOTHING),
    Target("§2.1", "/v1/models/%00", NOTHING),
    Target("§2.1", "/v1/models/x%0d%0aset-cookie:%20a", NOTHING),
    Target("§2.1", "/v1/models/%ff%fe", NOTHING),
    Target("§3.3", "/v1/models/", NOTHING),
    Target("§3.3", "/v1/models//", NOTHING),
    Target("§3.3", "//v1/models", NOTHING),
    Target("§3.3", "/v1/models;x=y", NOTHING),
    Target("§3.3", "/v1/models.json", NOTHING),
    Target("§3.3", "/v1/models~", NOTHING),
    Target("§6.2.2.1", "/V1/MODELS", NOTHING),
    Target("§3.3", "/v1/models/" + LONG, {404, 414}),
    Target("§3.4", "/v1/models?x=%00", {200, 400}),
    Target("§3.4", "/v1/models?" + "x=y&" * 15_000, {200, 400, 414}),
    Target("§3.4", "/v1/models?/livez", {200}),
    Target("§3.4", "/v1/usage?from=%00", {400}),
    Target("§3.4", "/v1/usage?from=2026-01-01&from=2026-01-02", {400}),
    Target("§3.4", "/v1/usage?group_by=model%00", {400}),
    Target("§3.4", "/v1/usage?group_by=model;drop%20table%20calls", {400}),
    Target("§3.4", "/v1/usage?key=%27%20or%201=1--", {200, 400}),
    Target("§3.4", "/v1/usage?page=../../x", {400}),
    Target("§3.4", "/v1/usage?page=" + "W1tb" * 10_000, {400}),
    Target("§3.4", "/v1/usage?limit=%d9%a5", {400}),
    Target("§3.4", "/v1/usage?limit=" + "9" * 5000, {400}),
    Target("§3.4", "/v1/usage?from=" + "9" * 5000, {400}),
    Target("§3.4", "/v1/usage?" + "x&" * 20_000, {400, 414}),
    Target("§3.4", "/v1/generation?id=%0a", NOTHING),
    Target("§3.4", "/v1/generation?id=gen-%00", NOTHING),
    Target("§3.4", "/v1/generation?id=gen-" + "0" * 32, NOTHING),
    Target("§3.4", "/v1/generation?id=" + "%27" * 1000, NOTHING),
    Target("9112 §3.2", "/livez#/v1/models", NOTHING),
    Target("9112 §3.2", "/v1/models#/livez", NOTHING),
    Target("§3.3", "//livez", NOTHING),
    Target("§3.3", "/livez/", NOTHING),
    Target("§6.2.2.1", "/LIVEZ", NOTHING),
    Target("§3.3", "/livez;x", NOTHING),
    Target("§2.1", "/livez%00", NOTHING),
    Target("§3.3", "/health/components", NOTHING),
    Target("§3.3", "/admin", NOTHING),
    Target("§3.3", "/metrics", NOTHING),
    Target("§3.3", "/.env", NOTHING),
    Target("§3.3", "/.git/config", NOTHING),
    Target("§3.3", "/fairlead.toml", NOTHING),
    Target("§3.3", "/.fairlead/fairlead.db", NOTHING),
    Target("§3.3", "/static/..%5c..%5cfairlead.toml", NOTHING),
    Target("§3.3", "//elsewhere.example/%2f..", NOTHING),
    Target("§3.3", "/\\elsewhere.example", NOTHING),
    Target("§3.3", "/api/v1/../../v1/models", NOTHING),
    Target("9112 §3.2.4", "*", {200, 204, *NOTHING, 405}, "OPTIONS"),
    Target("9112 §3.2.3", "provider:443", {400, 405, 501}, "CONNECT"),
    Target("9112 §3.2.3", "/v1/models", {400, 405, 501}, "CONNECT"),
    Target("9112 §3.2.3", f"http://test{CHAT}", {400, 405, 501}, "CONNECT"),
]  # fmt: skip
assert {target.spelt for target in OTHERS}.isdisjoint(OPEN)


async def answered(door: Door, target: Target, sent: bytes) -> Answer:
    """The answer to `sent`; on its connection only a good request may be answered besides, and that well."""
    first, *others = await door.ask(sent + LAST, method=target.method)
    assert [(answer.status, answer.said) for answer in others] in ([], [(200, LAST_WORDS)])
    assert first.status not in (301, 302, 303, 307, 308)
    assert not INSIDE.search(first.body), first.body
    return first


@pytest.mark.parametrize("target", NEAR_CHAT + CHAT_ITSELF, ids=str)
async def test_calls_are_taken_at_their_own_address_only(door: Door, target: Target) -> None:
    _, spelt, allowed, _ = target
    answer = await answered(door, target, whole(GOOD, to=spelt))
    assert answer.status in allowed
    assert (answer.status == 200) == (answer.said == "hello")
    keyless = await answered(door, target, whole(GOOD, to=spelt, key=None))
    assert keyless.status in (allowed - {200}) | {401}
    assert b"sim/" not in keyless.body


@pytest.mark.parametrize("target", OTHERS, ids=str)
async def test_what_needs_a_key_needs_it_however_it_is_spelt(door: Door, target: Target) -> None:
    _, spelt, allowed, method = target
    answer = await answered(door, target, head(to=spelt, method=method))
    assert answer.status in allowed
    keyless = await answered(door, target, head(to=spelt, method=method, key=None))
    assert keyless.status in (allowed - {200}) | {401}
    assert b"sim/" not in keyless.body
    assert b"smuggled" not in keyless.body


@pytest.mark.parametrize("spelt", ["/%6civez", "/%76%31/%6dodels", "/v1/mode%6cs", "/v%31/usage"])
async def test_a_needless_percent_is_the_letter_it_stands_for_or_nothing(door: Door, spelt: str) -> None:
    """RFC 3986 §6.2.2.2."""
    target = Target("§6.2.2.2", spelt, {200, 404})
    assert (await answered(door, target, head(method="GET", to=spelt))).status in {200, 404}
    keyless = (await answered(door, target, head(method="GET", to=spelt, key=None))).status
    assert keyless in ({200, 404} if "ivez" in spelt else {401, 404})


# ---- the rest of the first line


class Line(NamedTuple):
    name: str
    section: str
    sent: bytes
    allowed: set[tuple[int, ...]]


REFUSED = {(400,), (505,)}
BOTH = {(200, 200)}


def asking(**options: str | None) -> bytes:
    return head(**{"method": "GET", "to": "/v1/usage", **options})  # type: ignore[arg-type]


def hosts(*lines: str) -> bytes:
    return head(*lines, method="GET", to="/v1/usage", host=None)


LINES = [
    # RFC 9112 §2.3: HTTP-name is "HTTP", as it is written here.
    *(
        Line(f"version {version!r}", "9112 §2.3", asking(version=version), REFUSED)
        for version in (
            "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/9.9", "HTTP/1.10", "HTTP/01.1",
            "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/", "HTTP", "http/1.1", "Http/1.1", "HTTPS/1.1", "RTSP/1.0", "ICE/1.0",
            "RTSP/1.1", "HTTP/1.1x", "HTTP/-1.1", "HTTP/1,1", "HTTP/1.1 HTTP/1.1", "HTTP /1.1", "HTTP/ 1.1",
            "HTTP/1. 1", "HTTP/1.1\x00", "HTTP/1.1\x0b", "HTTP/\xd9\xa1.\xd9\xa1",
        )
    ),
    Line("HTTP/0.9", "1945 §4.1", b"GET /v1/usage\r\n\r\n", REFUSED),
    Line("HTTP/0.9 of livez", "1945 §4.1", b"GET /livez\r\n\r\n", REFUSED),
    Line("no target", "9112 §3", b"GET\r\nhost: test\r\n\r\n", REFUSED),
    Line("no target but a version", "9112 §3", b"GET HTTP/1.1\r\nhost: test\r\n\r\n", REFUSED),
    Line("nothing but blanks", "9112 §3", b"   \r\n\r\n", REFUSED),
    Line("a tab between", "9112 §3", b"GET\t/livez\tHTTP/1.1\r\nhost: test\r\n\r\n", REFUSED | BOTH),
    Line("a vertical tab between", "9112 §3", b"GET\x0b/livez\x0bHTTP/1.1\r\nhost: test\r\n\r\n", REFUSED | BOTH),
    Line("two blanks between", "9112 §3", b"GET  /livez  HTTP/1.1\r\nhost: test\r\n\r\n", REFUSED | BOTH),
    Line("a blank at the end", "9112 §3", b"GET /livez HTTP/1.1 \r\nhost: test\r\n\r\n", REFUSED | BOTH),
    Line("a blank at the beginning", "9112 §3", b" GET /livez HTTP/1.1\r\nhost: test\r\n\r\n", REFUSED),
    Line("a CR in it", "9112 §2.2", b"GET /livez\r HTTP/1.1\r\nhost: test\r\n\r\n", REFUSED),
    Line("an LF in it", "9112 §2.2", b"GET /livez\n HTTP/1.1\r\nhost: test\r\n\r\n", REFUSED),
    Line("another line in it", "9112 §3", b"GET /livez HTTP/1.1 GET /v1/usage HTTP/1.1\r\nhost: test\r\n\r\n", REFUSED),
    Line("HTTP/2's preface", "9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5),
         REFUSED | {()}),
    Line("TLS", "8446 §4.1.2", bytes.fromhex("16030100a5010000a10303") + bytes(160), REFUSED | {()}),
    Line("an answer", "9112 §2.1", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", REFUSED),
    Line("nulls", "9112 §2.2", bytes(100) + b"\r\n\r\n", REFUSED),
    Line("HTTP/1.0 without a host", "9112 §3.2", hosts().replace(b"HTTP/1.1", b"HTTP/1.0"), {(200,)}),
    # Methods.
    *(
        Line(f"method {method!r}", "9110 §9.1", asking(method=method), {(400,), (405,), (405, 200), (501,), (501, 200)})
        for method in (
            "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "PURGE", "M-SEARCH", "QUERY", "SOURCE",
            "DESCRIBE", "FLUSH", "UNKNOWN", "get", "Get", "GET\x00", "GET\t", "G ET", "GET,", "<GET>", "\xc7ET",
            "G" * 5000,
        )
    ),
    # Hosts.
    *(
        Line(f"host {host!r}", "9112 §3.2", asking(host=host), {(400,)})
        for host in (
            "a b", "a\tb", "a/b", "user@a", "a:x", "a:80:80", "[::1", "http://a", "a#b", "a\\b", "a<b", "\xe4", "a%zz",
        )
    ),
    *(
        Line(f"host {host!r}", "9112 §3.2", asking(host=host), BOTH)
        for host in ("a", "A.B", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b", "x--1.example.", "a%20b")
    ),
    Line("an empty host", "9112 §3.2", asking(host=""), BOTH | {(400,)}),
    Line("no host", "9112 §3.2", hosts(), {(400,)}),
    Line("no host but an address", "9112 §3.2", head(method="GET", to="http://test/v1/usage", host=None), {(400,)}),
    Line("two hosts", "9112 §3.2", hosts("host: a", "host: b"), {(400,)}),
    Line("a host twice", "9112 §3.2", hosts("host: a", "host: a"), {(400,)}),
    Line("two hosts in other letters", "9112 §3.2", hosts("Host: a", "x: y", "HOST: b"), {(400,)}),
    Line("a host and an empty one", "9112 §3.2", hosts("host: a", "host:"), {(400,)}),
    Line("two hosts to HTTP/1.0", "9112 §3.2", hosts("host: a", "host: b").replace(b"HTTP/1.1", b"HTTP/1.0"), {(400,)}),
    Line("hosts in a line", "9112 §5.2", hosts("host: a\r\n b"), {(400,)}),
    Line("a host with a blank before its colon", "9112 §5.1", hosts("host : a"), {(400,)}),
    # To be a tunnel.
    Line("CONNECT and a request in its body", "9110 §9.3.6",
         whole(SMUGGLED, method="CONNECT", to="provider:443"), {(400,), (405,), (501,)}),
    Line("CONNECT and one behind it", "9110 §9.3.6",
         head(method="CONNECT", to="provider:443") + SMUGGLED, {(400,), (405,), (501,)}),
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name[:60])
async def test_a_first_line_or_host_that_is_none_is_refused(door: Door, line: Line) -> None:
    for apart in (False, True) if len(line.sent) < 4000 else (False,):
        found = await door.ask(line.sent + LAST, apart=apart)
        assert tuple(answer.status for answer in found) in line.allowed, line.section
        for answer in found:
            assert not INSIDE.search(answer.body)
    assert not await door.smuggled()
