"""Media are fetched from public addresses, within bounds; what is private is never connected to."""

import asyncio
import gzip
import re
import socket
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from fairlead.buffers import Buffers
from fairlead.errors import InvalidRequest, Unavailable
from fairlead.upstream.fetching import Fetched, Fetcher
from fairlead.upstream.guard import Guard, is_allowable
from misbehaving import Misbehaving, nothing, ok, reset

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.7\n" + bytes(100)
TYPE = b"content-type: image/png"
LIMIT = 100_000
NAME = "images.example"


def redirect(to, status=302):
    return b"HTTP/1.1 %d Found\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, to.encode("latin-1"))


class Names:
    """A resolver of names that says what it is told, one answer after the other; the last one stays."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, host):
        self.asked.append(host)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if not answer:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in answer]


@asynccontextmanager
async def fetching(*servers, allowed=("127.0.0.1",), names=(("127.0.0.1",),), buffers=None, **facts):
    """A fetcher that may ask these servers, and holds nothing in the end."""
    buffers = buffers or Buffers(1 << 30)
    facts = {"max_bytes": LIMIT, "seconds": 10.0, "ports": {server.port for server in servers} | {80, 443}, **facts}
    lookup = names if callable(names) or names is None else Names(*names)
    fetcher = Fetcher(buffers=buffers, allowed_hosts=allowed, lookup=lookup, **facts)
    try:
        yield fetcher
        assert buffers.held == 0
        assert fetcher._pool.open_connections == 0
    finally:
        await fetcher.aclose()


async def refusal(fetcher, url, kind="image"):
    """What a client is told: an error that is its own."""
    with pytest.raises(InvalidRequest) as caught:
        await fetcher.fetch(url, kind)
    assert caught.value.code == f"invalid_{kind}_url"
    return str(caught.value)


def wish(told):
    """What would be right, by what was told."""
    return told.partition("could not be fetched: ")[2]


# ---- what is fetched


async def test_an_image_is_fetched_and_nothing_is_told_but_where_it_is():
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server) as fetcher:
        assert await fetcher.fetch(f"{server.url}/a%20b/ü.png?x=1&y=%2F#part") == Fetched("image/png", PNG)
    (asked,) = server.requests
    lines = asked.decode().split("\r\n")
    assert lines[0] == "GET /a%20b/%C3%BC.png?x=1&y=%2F HTTP/1.1"
    assert lines[1] == f"host: 127.0.0.1:{server.port}"
    assert {line.partition(":")[0] for line in lines[2:] if line} == {
        "user-agent", "accept", "accept-encoding", "connection",
    }  # fmt: skip
    assert "accept-encoding: identity" in lines


@pytest.mark.parametrize("url", ["http://{name}:{port}", "HTTP://{NAME}:{port}/?q", "http://{name}:{port}/a"])
async def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(url):
    names = Names(["127.0.0.1"])
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server, names=names) as fetcher:
        await fetcher.fetch(url.format(name=NAME, NAME=NAME.upper(), port=server.port))
        assert (names.asked, server.connections) == ([NAME], 1)


@pytest.mark.parametrize(
    ("kind", "told", "data", "type"),
    [
        ("image", "image/png", PNG, "image/png"),
        ("image", "image/jpeg", PNG, "image/png"),  # providers refuse an image under another's name
        ("image", "", PNG, "image/png"),
        ("image", "application/octet-stream", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("image", "image/gif", b"GIF89a", "image/gif"),
        ("image", "IMAGE/WEBP ; q=1", b"RIFF\x00\x00\n\x00WEBP", "image/webp"),
        ("image", "image/heic", b"\x00\x00\x00\x18ftypheic", "image/heic"),
        ("image", "image/png", b"<html>", None),
        ("image", "image/jpg", b"<html>", None),
        ("image", "text/html", b"<html>", None),
        ("image", "application/octet-stream", b"\x7fELF", None),
        ("image", "image/png", PDF, None),
        ("image", "image/png", b"", None),
        ("document", "application/pdf", PDF, "application/pdf"),
        ("document", "application/octet-stream", b"\n" + PDF, "application/pdf"),
        ("document", "text/plain; charset=utf-8", b"words", "text/plain"),
        ("document", "application/pdf", b"<html>", None),
        ("document", "application/pdf", PNG, None),
        ("document", "application/octet-stream", b"words", None),
        ("document", "", b"words", None),
        ("document", "nonsense", b"words", None),
        ("document", "audio/wav", b"RIFF", None),
        ("audio", "audio/wav", b"RIFF", "audio/wav"),
        ("audio", "text/plain", b"RIFF", None),
        ("video", "video/mp4", b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
    ],
)
async def test_the_type_is_what_was_told_and_what_it_begins_as(kind, told, data, type):
    async with Misbehaving(ok(data, b"content-type: " + told.encode())) as server, fetching(server) as fetcher:
        if type is None:
            assert wish(await refusal(fetcher, server.url, kind)).startswith("it must be a")
        else:
            assert await fetcher.fetch(server.url, kind) == Fetched(type, data)


# ---- who may be asked


ODD = [
    "", "nonsense", "/etc/passwd", "file:///etc/passwd", "ftp://images.example/a", "gopher://images.example",
    "data:image/png;base64,AAAA", "javascript:alert(1)", "http:images.example", "http:/images.example", "http://",
    "http:///images.example", "//images.example/a", "http://user@images.example/", "http://user:secret@images.example/",
    "http://@images.example/", "http://images.example@127.0.0.1/", "http://127.0.0.1\\@images.example/",
    "http://images.example\\.evil.example/", "http://images.example:22/", "http://images.example:8080/",
    "https://images.example:0/", "http://images.example:99999/", "http://images.example:-80/",
    "http://images.example:８０/", "http://images.example:port/", "http://images.example\r\nx: y/",
    "http://images.example/\r\nx: y", "http://images.example/a\tb", "http://images.example/a b", "http://a b.example/",
    " http://images.example/", "http://images.example/\x00", "http://images.example./", "http://localhost./",
    "http://127.0.0.1./", "http://.images.example/", "http://images..example/", "http://-images.example/",
    "http://images.example%2f@evil.example/", "http://%31%32%37.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://bücher.example/",
    "http://１２７.0.0.1/", "http://127。0。0。1/", "http://0x7f.1/", "http://0x7f000001/", "http://0x/",
    "http://2130706433/", "http://017700000001/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.1/", "http://0/",
    "http://127.0.0.01/", "http://127.0.0.256/", "http://127.0.0.0x1/", "http://1.2.3.4.5/", "http://[::1/",
    "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[127.0.0.1]/", "http://[]/",
    "http://::1/", "http://[v1.fe80::a]/", f"http://{'a' * 64}.example/", f"http://{'a.' * 127}example/",
    f"http://images.example/{'a' * 9000}", "http://[images.example]/",
]  # fmt: skip


@pytest.mark.parametrize("url", ODD)
async def test_an_address_in_disguise_is_refused_before_anybody_is_asked(url):
    names = Names(["127.0.0.1"])
    async with fetching(names=names, allowed=["0.0.0.0/0", "::/0"]) as fetcher:
        told = await refusal(fetcher, url)
        assert wish(told).startswith("it must stand at http:// or https://")
        assert names.asked == []
        assert "secret" not in told
        assert len(told) < 500


PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "169.254.0.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::2", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::",
    "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fe80::1%1", "fec0::1", "ff02::1", "4000::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("text", PUBLIC)
async def test_what_is_of_the_internet_at_large_may_be_asked(text):
    guard = Guard(lookup=Names([text]))
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    assert await guard.resolve(NAME) == await guard.resolve(text) == [(family, text)]
    guard.close()


@pytest.mark.parametrize("text", [*PRIVATE, "0x7f.1", "127.1", "nonsense"])
async def test_a_private_address_is_refused_in_the_words_for_one_that_is_not_there(text):
    names = Names([], [text])
    async with fetching(names=names, allowed=()) as fetcher:
        nowhere = wish(await refusal(fetcher, "http://nowhere.example/a.png"))
        assert nowhere == "it must be at a public address and come within 10 s."
        assert wish(await refusal(fetcher, "https://inside.example/a.png")) == nowhere
        if text in PRIVATE and "%" not in text:
            literal = f"[{text}]" if ":" in text else text
            assert wish(await refusal(fetcher, f"http://{literal}/a.png")) == nowhere


async def test_one_private_address_among_public_ones_is_enough():
    async with (
        Misbehaving(ok(PNG, TYPE)) as server,
        fetching(server, names=[["127.0.0.1", "127.0.0.2"]]) as fetcher,
    ):
        await refusal(fetcher, f"http://{NAME}:{server.port}/")
        assert server.connections == 0


@pytest.mark.parametrize("allowed", [[NAME], ["IMAGES.example"], ["127.0.0.0/8"], ["10.0.0.0/8", "127.0.0.1"]])
async def test_what_is_allowed_need_not_be_public(allowed):
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server, allowed=allowed) as fetcher:
        assert (await fetcher.fetch(f"http://{NAME}:{server.port}/")).data == PNG


async def test_a_name_that_is_allowed_opens_no_other_name():
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server, allowed=[NAME]) as fetcher:
        for host in ("127.0.0.1", "localhost", "other.example", f"x.{NAME}"):
            await refusal(fetcher, f"http://{host}:{server.port}/")
        assert server.connections == 0


async def test_an_address_of_ipv6_stands_in_brackets():
    async with Misbehaving(ok(PNG, TYPE), host="::1") as server, fetching(server, allowed=["::1"]) as fetcher:
        assert (await fetcher.fetch(f"http://[0:0::1]:{server.port}/")).data == PNG
        assert f"host: [::1]:{server.port}".encode() in server.requests[0]


async def test_the_systems_names_are_checked_like_any_other():
    async with Misbehaving(ok(PNG, TYPE)) as server:
        url = f"http://localhost:{server.port}/"
        async with fetching(server, allowed=["10.0.0.0/8"], names=None) as fetcher:
            await refusal(fetcher, url)
            assert server.connections == 0
        async with fetching(server, allowed=["localhost"], names=None) as fetcher:
            assert (await fetcher.fetch(url)).data == PNG


@pytest.mark.parametrize("text", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200"])
async def test_nothing_opens_what_tells_a_machine_its_credentials(text):
    async with fetching(allowed=["0.0.0.0/0", "::/0", NAME], names=[[text]]) as fetcher:
        await refusal(fetcher, f"http://{NAME}/")


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("images", True), ("images.example", True), ("10.0.0.0/8", True), ("10.0.0.1", True), ("fd00::/8", True),
        ("10.0.0.1/8", False), ("http://images.example", False), ("images.example:80", False), ("*.example", False),
        ("", False), ("images.example.", False), ("0x7f.1", False),
    ],
)  # fmt: skip
def test_a_host_that_is_allowed_is_a_name_an_address_or_a_network(host, may):
    assert is_allowable(host) is may


# ---- names that change what they mean


async def test_a_name_that_becomes_private_is_not_connected_to_again():
    now = [0.0]
    async with (
        Misbehaving(ok(PNG, TYPE)) as outside,
        Misbehaving(ok(PNG, TYPE), host="127.0.0.2", port=outside.port) as inside,
        fetching(outside, names=[["127.0.0.1"], ["127.0.0.2"]], clock=lambda: now[0]) as fetcher,
    ):
        url = f"http://{NAME}:{outside.port}/"
        await fetcher.fetch(url)
        now[0] += 3600
        await refusal(fetcher, url)
        assert (outside.connections, inside.connections) == (1, 0)


async def test_a_name_that_becomes_private_between_redirects_is_not_connected_to():
    now = [0.0]

    async def later(reader, writer):
        now[0] += 3600
        writer.write(redirect("/again"))

    async with (
        Misbehaving(later) as outside,
        Misbehaving(ok(PNG, TYPE), host="127.0.0.2", port=outside.port) as inside,
        fetching(outside, names=[["127.0.0.1"], ["127.0.0.2"]], clock=lambda: now[0]) as fetcher,
    ):
        await refusal(fetcher, f"http://{NAME}:{outside.port}/")
        assert (outside.connections, inside.connections) == (1, 0)


# ---- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_on_a_new_connection(status):
    async with Misbehaving(redirect("../b?c", status), ok(PNG, TYPE)) as server, fetching(server) as fetcher:
        assert (await fetcher.fetch(f"{server.url}/x/a")).data == PNG
        assert [request.split(b" ")[1] for request in server.requests] == [b"/x/a", b"/b?c"]
        assert server.connections == 2


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "localhost", "[::1]", "[::ffff:127.0.0.2]", "0.0.0.0", "169.254.169.254"]
)
async def test_a_redirect_to_what_is_private_is_refused(host):
    async with (
        Misbehaving(ok(PNG, TYPE), host="127.0.0.2") as inside,
        Misbehaving(redirect(f"http://{host}:{inside.port}/")) as server,
        fetching(server, inside, names=[["127.0.0.2"]]) as fetcher,
    ):
        assert wish(await refusal(fetcher, server.url)).startswith("it must be at a public address")
        assert inside.connections == 0


@pytest.mark.parametrize(
    "to",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:22/",
        "http://0x7f.1/",
        "http://u@127.0.0.1/",
        "//[",
        "",
    ],
)
async def test_a_redirect_to_what_is_no_address_is_refused(to):
    async with Misbehaving(redirect(to)) as server, fetching(server) as fetcher:
        await refusal(fetcher, server.url)


async def test_redirects_end():
    async with Misbehaving(redirect("/")) as server, fetching(server) as fetcher:
        assert "at most 3 times" in await refusal(fetcher, server.url)
        assert server.connections == 4


async def test_a_redirect_that_leads_nowhere_is_an_answer_like_any_other():
    async with Misbehaving(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n") as server, fetching(server) as fetcher:
        assert "status 302" in await refusal(fetcher, server.url)


# ---- answers that are none


@pytest.mark.parametrize("status", [201, 204, 206, 304, 401, 404, 500])
async def test_only_status_200_is_an_answer(status):
    answer = b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status
    async with Misbehaving(answer) as server, fetching(server) as fetcher:
        assert f"status {status}" in await refusal(fetcher, server.url)


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"GZIP"])
async def test_what_comes_compressed_is_refused(coding):
    answer = ok(gzip.compress(PNG), TYPE, b"content-encoding: " + coding)
    async with Misbehaving(answer) as server, fetching(server) as fetcher:
        assert "content-encoding" in await refusal(fetcher, server.url)


async def test_a_body_larger_than_its_bound_is_not_read():
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (LIMIT + 1)
    async with Misbehaving([answer, PNG]) as server, fetching(server) as fetcher:
        assert f"at most {LIMIT} bytes" in await refusal(fetcher, server.url)
        await server.until(lambda server: server.open == 0)


@pytest.mark.parametrize("framing", [b"transfer-encoding: chunked\r\n", b""])
async def test_a_body_without_end_is_cut_off_at_its_bound(framing):
    async def endless(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
                await writer.drain()

    async with Misbehaving(endless) as server, fetching(server) as fetcher:
        assert f"at most {LIMIT} bytes" in await refusal(fetcher, server.url)
        await server.until(lambda server: server.open == 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + PNG,  # and it closes
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 500\r\n\r\n" + PNG,
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n" + PNG,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 5\r\n\r\n12345",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        reset,
    ],
)
async def test_what_is_no_answer_is_told_like_what_is_not_there(answer):
    async with Misbehaving(answer, close=True) as server, fetching(server) as fetcher:
        told = wish(await refusal(fetcher, server.url))
        assert told in (
            "it must be at a public address and come within 10 s.",
            f"it must have at most {LIMIT} bytes, together with all others of the request.",
        )


async def test_a_port_that_is_closed_is_told_like_what_is_private():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        async with fetching(ports={port}) as fetcher:
            told = await refusal(fetcher, f"http://127.0.0.1:{port}/")
            assert wish(told) == wish(await refusal(fetcher, f"http://127.0.0.2:{port}/"))


async def test_what_is_silent_ends_with_its_time():
    async with Misbehaving(nothing) as server, fetching(server, seconds=0.05) as fetcher:
        assert wish(await refusal(fetcher, server.url)) == "it must be at a public address and come within 0.05 s."
        await server.until(lambda server: server.open == 0)


async def test_a_body_that_drips_ends_with_its_time():
    async def dripping(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with Misbehaving(dripping) as server, fetching(server, seconds=0.1) as fetcher:
        await refusal(fetcher, server.url)
        await server.until(lambda server: server.open == 0)


async def test_a_name_that_is_looked_up_for_ever_ends_with_its_time():
    async def never(host):
        await asyncio.Event().wait()

    async with fetching(seconds=0.05, names=never) as fetcher:
        await refusal(fetcher, f"http://{NAME}/")


# ---- bounds of all


async def test_all_addresses_of_a_request_share_one_allowance():
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server, max_bytes=2 * len(PNG)) as fetcher:
        allowance = fetcher.allowance()
        await fetcher.fetch(server.url, "image", allowance)
        await fetcher.fetch(server.url, "image", allowance)
        with pytest.raises(InvalidRequest, match="together with all others"):
            await fetcher.fetch(server.url, "image", allowance)
        assert fetcher._buffers.held == 2 * len(PNG)
        allowance.close()


async def test_what_does_not_fit_into_memory_is_the_gateways_trouble():
    buffers = Buffers(len(PNG) - 1)
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server, buffers=buffers) as fetcher:
        with pytest.raises(Unavailable):
            await fetcher.fetch(server.url)


async def test_only_so_many_are_fetched_at_once_and_who_waits_too_long_may_try_again():
    async with Misbehaving(nothing) as server, fetching(server, max_at_once=2) as fetcher:
        fetching_now = [asyncio.create_task(fetcher.fetch(server.url)) for _ in range(2)]
        await server.until(lambda server: len(server.requests) == 2)
        fetcher._seconds = 0.05  # of those that follow
        with pytest.raises(Unavailable):
            await fetcher.fetch(server.url)
        assert server.connections == 2
        for task in fetching_now:
            task.cancel()
        await asyncio.wait(fetching_now)


async def test_whoever_gives_up_closes_the_connection():
    async with Misbehaving(nothing) as server, fetching(server) as fetcher:
        task = asyncio.create_task(fetcher.fetch(server.url))
        await server.until(lambda server: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda server: server.open == 0)


async def test_hosts_are_forgotten():
    async with Misbehaving(ok(PNG, TYPE)) as server, fetching(server) as fetcher:
        await fetcher.fetch(server.url)
        assert fetcher._pool._sweep is not None  # it will soon, by itself
        fetcher._pool._expire()
        assert fetcher._pool._origins == {}


# ---- TLS


@pytest.mark.parametrize(("name", "good"), [(NAME, True), ("other.example", False)])
async def test_a_host_proves_its_name_whatever_its_address(tmp_path, name, good):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with (
        Misbehaving(ok(PNG, TYPE), certificate=authority.issue_cert(NAME)) as server,
        fetching(server, ca_file=str(tmp_path / "ca.pem")) as fetcher,
    ):
        url = f"https://{name}:{server.port}/"
        if good:
            assert (await fetcher.fetch(url)).data == PNG
        else:
            await refusal(fetcher, url)
            assert server.requests == []


async def test_the_log_tells_why_and_the_client_is_not_told(caplog):
    caplog.set_level("INFO", "fairlead.fetching")
    async with fetching() as fetcher:
        told = await refusal(fetcher, "http://10.0.0.1/secret.png?signature=sig")
    assert re.findall(r"not fetched from (\S+): (.*)", caplog.text) == [("10.0.0.1", "its address is not public")]
    assert "'http://10.0.0.1/secret.png'" in told
