"""Where the network cuts a request in two means nothing: however the bytes come, the same is answered.

TCP is a stream, https://www.rfc-editor.org/rfc/rfc9293#section-3.8; requests behind each other on a connection are
answered in their order, RFC 9112 §9.3.2.
"""

import random

import pytest

from edge.attack import (
    CHAT,
    GOOD,
    LAST,
    LAST_WORDS,
    SMUGGLED_WORDS,
    Answer,
    Door,
    answers,
    chunk,
    head,
    said,
    whole,
)
from gateway import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVER = "header_seconds = 2\nbody_seconds = 2\nidle_seconds = 2\n"

CHUNKED = "transfer-encoding: chunked"


async def in_pieces(door: Door, pieces: list[bytes]) -> list[Answer]:
    """What is answered when the gateway reads `pieces` one by one."""
    wire = await door.connect()
    for piece in pieces:
        wire.say(piece)
        await wire.turns()
    return answers(await wire.rest())


@pytest.mark.parametrize(
    "second",
    [
        whole(said(LAST_WORDS), "x-some: header", "connection: close"),
        head(CHUNKED, "connection: close") + chunk(said(LAST_WORDS)) + b"0\r\nx: trailer\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
async def test_a_request_behind_another_may_be_cut_anywhere(door: Door, second: bytes) -> None:
    wrong = {}
    for cut in range(1, len(second)):
        found = await in_pieces(door, [whole(GOOD) + second[:cut], second[cut:]])
        if [(answer.status, answer.said) for answer in found] != [(200, "hello"), (200, LAST_WORDS)]:
            wrong[second[max(0, cut - 20) : cut], second[cut : cut + 20]] = [answer.status for answer in found]
    assert not wrong


async def test_a_body_is_never_read_as_headers_wherever_its_request_is_cut(door: Door) -> None:
    """RFC 9112 §2.2: the head ends at its empty line."""
    hidden = said(SMUGGLED_WORDS, "smuggled")
    body = f"authorization: Bearer {KEY}\r\ncontent-length: {len(hidden)}\r\n\r\n".encode() + hidden
    keyless = head(f"x-length: {len(body)}", "connection: close", key=None)
    wrong = {}
    for cut in range(1, len(keyless)):
        found = await in_pieces(door, [whole(GOOD) + keyless[:cut], keyless[cut:] + body])
        if SMUGGLED_WORDS in [answer.said for answer in found]:
            wrong[keyless[max(0, cut - 20) : cut]] = [answer.status for answer in found]
    assert not wrong
    assert not await door.smuggled()


async def test_two_headers_never_become_one_wherever_they_are_cut(door: Door) -> None:
    """RFC 9112 §5: a field line ends with CR LF."""
    head_ = f"POST {CHAT} HTTP/1.1\r\nhost: test\r\nx: authorization: Bearer {KEY}\r\n".encode()
    keyless = head_ + b"connection: close\r\ncontent-length: 0\r\n\r\n"
    wrong = {}
    for cut in range(1, len(keyless)):
        found = await in_pieces(door, [whole(GOOD) + keyless[:cut], keyless[cut:]])
        if [answer.status for answer in found] != [200, 401]:
            wrong[keyless[max(0, cut - 20) : cut]] = [answer.status for answer in found]
    assert not wrong


@pytest.mark.parametrize("seed", range(8))
async def test_however_the_bytes_come_the_same_is_answered(door: Door, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(10):
        sent, words = b"", []
        for number in range(chance.randint(1, 6)):
            words.append(f"this is number {number}")
            body = said(words[-1])
            shape = chance.randrange(4)
            if shape == 0:
                sent += whole(body)
            elif shape == 1:
                sent += b"\r\n" * chance.randint(0, 3) + whole(body, "x-empty:", "x: " + "y" * chance.randint(0, 300))
            elif shape == 2:
                sent += head(CHUNKED) + chunk(body, ";some=extension") + b"0\r\n\r\n"
            else:
                cut = chance.randint(1, len(body) - 1)
                sent += head(CHUNKED) + chunk(body[:cut]) + chunk(body[cut:]) + b"0\r\nx-trailer: z\r\n\r\n"
        sent += LAST
        cuts = sorted(chance.sample(range(1, len(sent)), chance.randint(1, 30)))
        pieces = [sent[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        found = await in_pieces(door, pieces)
        told = [(answer.status, answer.said) for answer in found]
        assert told == [(200, word) for word in (*words, LAST_WORDS)], pieces
