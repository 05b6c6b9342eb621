"""A head that comes again is not read again, and nobody can tell the difference."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.http.connection import Edge
from fairlead.http.exchange import Head
from fairlead.http.known import KnownHead
from gateway import KEY, Gateway, gateway
from misbehaving import Misbehaving, ok

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %b\r\nX-Request-Id: %b\r\n"
    b"Content-%b: %%b\r\nContent-Type: application/json\r\n\r\n"
)


def body(content: str, **more: object) -> bytes:
    return json.dumps({"model": "sim/echo", "messages": [{"role": "user", "content": content}], **more}).encode()


def asked(content: str, *, id: bytes = b"one", key: str = KEY, length: bytes = b"", name: bytes = b"Length") -> bytes:
    told = body(content)
    return HEAD % (key.encode(), id, name) % (length or b"%d" % len(told)) + told


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, server="body_seconds = 1\nmax_body_bytes = 200_000") as running:
        yield running


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lengths of requests whose heads were not read again."""
    lengths = []

    def watched(self: Edge, known: KnownHead, digits: bytes, data: bytes) -> None:
        lengths.append(digits)
        read(self, known, digits, data)

    read = Edge._read_again
    monkeypatch.setattr(Edge, "_read_again", watched)
    return lengths


class Client:
    """One connection."""

    def __init__(self, running: Gateway) -> None:
        self._port = running.port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def hear(self) -> tuple[int, bytes]:
        """One answer: its status and body; 0 at the end of the connection."""
        async with asyncio.timeout(10):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return 0, b""
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            return int(head.split(b" ")[1]), await self.reader.readexactly(length)


async def test_bodies_of_any_length_follow_a_known_head(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        for content in ("a", "b" * 1000, "", "ü", "d" * 100_000, "e"):
            await client.say(asked(content))
            status, told = await client.hear()
            assert (status, content in json.loads(told)["choices"][0]["message"]["content"]) == (200, True)
    assert len(known) == 5


@pytest.mark.parametrize("size", [1, 2, 50, 200, 70_000])
async def test_a_body_may_come_in_pieces(running: Gateway, known: list[bytes], size: int) -> None:
    async with Client(running) as client:
        for content in ("a", "b" * (200 if size < 70_000 else 150_000)):
            told = asked(content)
            begin = told.index(b"\r\n\r\n") + 4
            await client.say(told[:begin], *[told[at : at + size] for at in range(begin, len(told), size)])
            assert (await client.hear())[0] == 200
    assert len(known) == 1


async def test_a_line_end_may_stand_before_a_known_head_in_one_large_read(running: Gateway, known: list[bytes]) -> None:
    """https://www.rfc-editor.org/rfc/rfc9112#section-2.2"""
    async with Client(running) as client:
        await client.say(asked("first"))
        await client.hear()
        (connection,) = running.server._state.connections
        for behind in (b"", asked("second")):
            connection.data_received(b"\r\n" + asked("x" * 100_000) + behind)
            assert (await client.hear())[0] == 200
            if behind:
                assert "second" in (await client.hear())[1].decode()
    assert len(known) == 2


async def test_requests_behind_it_are_read_as_ever(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        await client.say(asked("first"))
        await client.hear()
        await client.say(asked("second") + asked("third") + asked("fourth", id=b"other") + asked("fifth")[:-3])
        for content in ("second", "third", "fourth"):
            assert content in (await client.hear())[1].decode()
        await client.say(asked("fifth")[-3:])
        assert "fifth" in (await client.hear())[1].decode()
    assert len(known) == 1


@pytest.mark.parametrize(
    "length",
    [b"5, 5", b"+5", b"0x5", b" 5 ", b"5\t", b"-1", b"", b"5;", b"1" * 16, "٥".encode(), b"5\r\nContent-Length: 6"],
)
async def test_a_length_that_is_none_is_not_taken_for_one(running: Gateway, known: list[bytes], length: bytes) -> None:
    """https://www.rfc-editor.org/rfc/rfc9110#section-8.6"""
    answers = []
    for warm in (True, False):
        async with Client(running) as client:
            if warm:
                await client.say(asked("first"))
                await client.hear()
            await client.say(HEAD % (KEY.encode(), b"one", b"Length") % length + b"[1,2]")
            answers.append((await client.hear())[0])
    assert answers[0] == answers[1]
    assert known == []


async def test_another_head_is_another_head(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        for told in (asked("a"), asked("a", id=b"two"), asked("a", name=b"length"), asked("a", key="x" * 40)):
            await client.say(told)
            assert (await client.hear())[0] == (401 if b"xxxx" in told else 200)
    assert known == []


async def test_heads_that_never_come_again_are_no_longer_remembered(
    running: Gateway, known: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = []
    learn = Edge._learn

    def watched(self: Edge, told: Head) -> None:
        learned.append(told.path)
        learn(self, told)

    monkeypatch.setattr(Edge, "_learn", watched)
    async with Client(running) as client:
        for number in range(6):
            await client.say(asked("a", id=b"%d" % number))
            assert (await client.hear())[0] == 200
    assert (len(learned), known) == (2, [])


async def test_what_is_too_large_is_refused(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        await client.say(asked("first"))
        await client.hear()
        await client.say(asked("x" * 300_000))
        assert (await client.hear())[0] == 413
        assert await client.hear() == (0, b"")
    assert len(known) == 1


async def test_a_body_that_does_not_come_is_waited_for_as_ever(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        await client.say(asked("first"))
        await client.hear()
        await client.say(asked("second")[:-1])
        assert (await client.hear())[0] == 408
    assert len(known) == 1


async def test_a_client_that_leaves_in_the_body_leaves_nothing(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        await client.say(asked("first"))
        await client.hear()
        await client.say(asked("x" * 150_000)[:-1])
    async with asyncio.timeout(20):
        while running.server._state.connections or running.server._state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert running.server.unread_bytes == 0
    assert len(known) == 1


async def test_a_revoked_key_is_noticed_behind_a_known_head(running: Gateway, known: list[bytes]) -> None:
    async with Client(running) as client:
        await client.say(asked("first"))
        assert (await client.hear())[0] == 200
        running.house.catalog.current.file_keys.clear()  # type: ignore[attr-defined]
        await client.say(asked("second"))
        assert (await client.hear())[0] == 401
    assert len(known) == 1


async def test_headers_in_several_lines_mean_the_same_behind_a_known_head(tmp_path: Path, known: list[bytes]) -> None:
    more = b"anthropic-beta: a\r\nanthropic-beta: b\r\ntraceparent: 1\r\ntraceparent: 2\r\nx-api-key: 1\r\nHost:"
    told = body("hi", max_tokens=9).replace(b"sim/echo", b"up/m")
    asked = HEAD % (KEY.encode(), b"one", b"Length") % (b"%d" % len(told)) + told
    asked = asked.replace(b"/chat/completions", b"/messages").replace(b"Host:", more, 1)
    up = '[providers.up]\nbase_url = "{}/v1"\nprotocols = ["anthropic-messages"]\nsigning = "none"\nmodels_path = ""\n'
    said = b'{"id":"m","type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}'
    async with Misbehaving(ok(said)) as upstream, gateway(tmp_path, up.format(upstream.url)) as running:
        async with Client(running) as client:
            for _ in range(3):
                await client.say(asked)
                assert (await client.hear())[0] == 200
        assert len(upstream.requests) == 3
        assert len({sent.partition(b"\r\n\r\n")[0] for sent in upstream.requests}) == 1
        assert b"\r\nanthropic-beta: a, b\r\n" in upstream.requests[2]
        assert b"traceparent" not in upstream.requests[2]
        async with Client(running) as client:
            for _ in range(3):
                await client.say(asked.replace(b"x-api-key: 1", b"x-api-key: 1\r\nx-api-key: 1"))
                assert (await client.hear())[0] == 400
    assert len(known) == 4


@pytest.mark.parametrize("seed", range(12))
async def test_nobody_can_tell_the_difference(
    running: Gateway, known: list[bytes], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The same bytes, cut in the same places, with heads that may be known and with none."""
    chance = random.Random(seed)
    requests = []
    for _ in range(chance.randint(3, 8)):
        told = asked("x" * chance.choice([0, 1, 30, 3000, 70_000]), id=chance.choice([b"one", b"one", b"two"]))
        if chance.random() < 0.1:
            told = told.replace(b'"messages"', b'"massages"')
        if chance.random() < 0.1:
            told = told.replace(b"Content-Type: application/json", b"Content-Type:application/json ")
        requests.append(told)
    groups = [requests[:1]]
    for told in requests[1:]:
        if chance.random() < 0.3:
            groups[-1].append(told)
        else:
            groups.append([told])
    cuts = [sorted(chance.sample(range(len(b"".join(group))), chance.randint(0, 4))) for group in groups]
    answers = []
    for learns in (2, 0):
        monkeypatch.setattr("fairlead.http.connection._LEARNS", learns)
        heard = []
        async with Client(running) as client:
            for group, at in zip(groups, cuts, strict=True):
                whole = b"".join(group)
                await client.say(*[whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)])
                for _ in group:
                    status, told = await client.hear()
                    heard.append((status, json.loads(told).get("choices") if told else None))
        answers.append(heard)
        assert learns or not known
        if learns:
            known.clear()
    assert answers[0] == answers[1]
