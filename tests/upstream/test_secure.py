"""TLS on upstream connections, against a server that decides byte by byte what leaves it."""

import asyncio
import ssl
from contextlib import suppress

import pytest
import trustme

from fairlead.errors import ConnectFailed, UpstreamBroken
from misbehaving import Misbehaving, asked, asking, ok

BODY = bytes(range(256)) * 300  # several records


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


class Tls:
    """The server's side of TLS, on memory: what it says is bytes, for the script to send as it likes."""

    def __init__(self, authority, *, newest=ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def handshake(self, reader, send):
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await send(self.outgoing.read())
                self.incoming.write(await reader.read(65536) or pytest.fail("it hung up"))
            else:
                await send(self.outgoing.read())
                return

    async def request(self, reader):
        """One request's bytes, head and body."""
        told = b""
        while True:
            try:
                told += self.tls.read(65536)
            except ssl.SSLWantReadError:
                data = await reader.read(65536)
                if not data:
                    raise asyncio.IncompleteReadError(told, None) from None
                self.incoming.write(data)
            head, end, body = told.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            if end and len(body) >= int(length or 0):
                return told

    def spelt(self, *data):
        """As many records as there are in `data`, or more."""
        for each in data:
            self.tls.write(each)
        return self.outgoing.read()

    def goodbye(self):
        with suppress(ssl.SSLWantReadError):  # for the other's
            self.tls.unwrap()
        return self.outgoing.read()


def serving(tls, say, *, size=0, times=1):
    """A script: shake hands and answer `times` requests with `say(tls)`, in pieces of `size` bytes (0: whole)."""

    async def script(reader, writer):
        async def send(data):
            for at in range(0, len(data), size or len(data) or 1):
                writer.write(data[at : at + (size or len(data))])
                await writer.drain()
                await asyncio.sleep(0)

        try:
            await tls.handshake(reader, send)
            for _ in range(times):
                await tls.request(reader)
                await send(say(tls))
        except ssl.SSLError:  # the client said no
            pass

    return script


def to(script, close=True):
    return Misbehaving(script, read_request=False, close=close)


def url(server):
    return server.url.replace("http", "https")


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [0, 1, 7, 1000])
async def test_however_the_bytes_come(pool, authority, ca_file, newest, size):
    body = BODY if size != 1 else BODY[:700]
    answer = ok(body)
    script = serving(Tls(authority, newest=newest), lambda tls: tls.spelt(answer[:9], answer[9:]), size=size, times=3)
    async with to(script) as server:
        for _ in range(3):
            response, told = await asked(pool, asking(url(server), ca_file=ca_file))
            assert (response.status, told) == (200, body)
        assert server.connections == 1


async def test_the_rest_of_a_record_may_be_less_than_its_text(pool, authority, ca_file):
    script = serving(Tls(authority), lambda tls: tls.spelt(ok(b"z" * 16_000)), size=10_000, times=3)
    async with to(script) as server:
        for _ in range(3):
            assert (await asked(pool, asking(url(server), ca_file=ca_file)))[1] == b"z" * 16_000


async def test_answers_come_whole_with_what_tls_says_between(pool, authority, ca_file):
    """Tickets for other sessions come behind the handshake, records without data anywhere."""
    script = serving(Tls(authority), lambda tls: tls.spelt(*[bytes([each]) for each in ok(b"x" * 100)]), times=2)
    async with to(script) as server:
        for _ in range(2):
            assert (await asked(pool, asking(url(server), ca_file=ca_file)))[1] == b"x" * 100


async def test_a_request_of_many_records_arrives(pool, authority, ca_file):
    seen = []

    class Watching(Tls):
        async def request(self, reader):
            seen.append(await super().request(reader))

    async with to(serving(Watching(authority), lambda tls: tls.spelt(ok()))) as server:
        await asked(pool, asking(url(server), b"y" * 3_000_000, ca_file=ca_file))
    assert seen[0].endswith(b"\r\n\r\n" + b"y" * 3_000_000)


UNTIL_THE_END = b"HTTP/1.1 200 OK\r\n\r\nall that there is"


async def test_a_body_without_a_length_ends_with_tls_own_word(pool, authority, ca_file):
    script = serving(Tls(authority), lambda tls: tls.spelt(UNTIL_THE_END) + tls.goodbye())
    async with to(script) as server:
        _, told = await asked(pool, asking(url(server), ca_file=ca_file))
        assert told == b"all that there is"
        await server.until(lambda server: server.open == 0)
    assert pool.open_connections == 0


async def test_without_that_word_it_was_cut_off(pool, authority, ca_file):
    """https://www.rfc-editor.org/rfc/rfc9112#section-9.8: somebody on the way can close a connection, too."""
    async with to(serving(Tls(authority), lambda tls: tls.spelt(UNTIL_THE_END))) as server:
        with pytest.raises(UpstreamBroken) as caught:
            await asked(pool, asking(url(server), ca_file=ca_file))
        assert "cut off" in caught.value.message
    assert pool.open_connections == 0


async def test_a_body_with_its_length_needs_no_goodbye(pool, authority, ca_file):
    async with to(serving(Tls(authority), lambda tls: tls.spelt(ok(BODY)))) as server:
        assert (await asked(pool, asking(url(server), ca_file=ca_file)))[1] == BODY


@pytest.mark.parametrize("at", [0, 3, 40])
async def test_bytes_that_were_changed_on_the_way_end_the_connection(pool, authority, ca_file, at):
    def say(tls):
        data = bytearray(tls.spelt(ok(BODY)))
        data[at] ^= 0xFF
        return bytes(data)

    async with to(serving(Tls(authority), say), close=False) as server:
        with pytest.raises(UpstreamBroken):
            await asked(pool, asking(url(server), ca_file=ca_file))
    assert pool.open_connections == 0


async def test_what_nobody_asked_for_ends_an_idle_connection(pool, authority, ca_file):
    script = serving(Tls(authority), lambda tls: tls.spelt(ok(), b"more"))
    async with to(script, close=False) as server:
        await asked(pool, asking(url(server), ca_file=ca_file))
        await server.until(lambda server: server.open == 0)
    assert pool.open_connections == 0


@pytest.mark.parametrize("how", ["abort", "garbage", "plain"])
async def test_a_handshake_that_fails_is_a_connection_that_failed(pool, authority, ca_file, how):
    async def script(reader, writer):
        await reader.read(10)
        if how == "abort":
            writer.transport.abort()
        else:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if how == "plain" else bytes(500))
            await writer.drain()

    async with to(script) as server:
        with pytest.raises(ConnectFailed):
            await pool.send(asking(url(server), ca_file=ca_file))
    assert pool.open_connections == 0


async def test_whoever_is_not_believed_is_told_why(pool, authority, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    found = []

    async def script(reader, writer):
        tls = Tls(authority)

        async def send(data):
            writer.write(data)

        try:
            await tls.handshake(reader, send)
            tls.incoming.write(await reader.read(65536))
            tls.tls.read(1)
        except ssl.SSLError as error:
            found.append(error.reason)

    async with to(script) as server:
        with pytest.raises(ConnectFailed) as caught:
            await pool.send(asking(url(server), ca_file=str(other)))
        assert "certificate is not valid" in caught.value.message
        await server.until(lambda server: server.open == 0)
    assert "ALERT" in found[0]


async def test_a_connection_given_up_in_its_handshake_is_closed(pool, authority, ca_file):
    async def script(reader, writer):
        while await reader.read(65536):
            pass

    async with to(script) as server:
        sending = asyncio.ensure_future(pool.send(asking(url(server), ca_file=ca_file)))
        await server.until(lambda server: server.open == 1)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        await server.until(lambda server: server.open == 0)
    assert pool.open_connections == 0
