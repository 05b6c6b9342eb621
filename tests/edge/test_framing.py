"""Where a request ends: what two servers could read in two ways is refused, and what hides in it is never served.

RFC 9112, https://www.rfc-editor.org/rfc/rfc9112. Each attack is followed by a good request on its connection. What is
allowed is written as the statuses of all answers on it: after a refusal there is no other.
"""

import random
from typing import NamedTuple

import pytest

from edge.attack import GOOD, LAST, SMUGGLED, SMUGGLED_WORDS, Door, answers, chunk, head, said, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = {(400,)}
TAKEN = {(200, 200)}
CHUNKED = "transfer-encoding: chunked"
N = len(GOOD)
CHUNKS = chunk(GOOD) + b"0\r\n\r\n"
HIDING = said(SMUGGLED.decode("latin-1"))  # a good body that has a request in it


class Attack(NamedTuple):
    name: str
    section: str
    sent: bytes
    allowed: set[tuple[int, ...]] = REFUSED


def lengths(*lines: str, body: bytes = GOOD) -> bytes:
    return head(*lines) + body


def chunks(sent: bytes, *lines: str) -> bytes:
    return head(CHUNKED, *lines) + sent


def hidden(*lines: str) -> bytes:
    """By chunks the body ends at once; by its length it has a request in it."""
    return head(f"content-length: {5 + len(SMUGGLED)}", *lines) + b"0\r\n\r\n" + SMUGGLED


def either(*lines: str) -> bytes:
    """The same with the length last."""
    return head(*lines, f"content-length: {5 + len(SMUGGLED)}") + b"0\r\n\r\n" + SMUGGLED


ATTACKS = [
    # Two ways to tell the length.
    Attack("length and chunks", "9112 §6.3", hidden(CHUNKED)),
    Attack("chunks and length", "9112 §6.3", either(CHUNKED)),
    Attack("no length and chunks", "9112 §6.3", head("content-length: 0", CHUNKED) + CHUNKS),
    Attack("length, chunks, length", "9112 §6.3", head("content-length: 5", CHUNKED, "content-length: 5") + CHUNKS),
    Attack("chunks to HTTP/1.0", "9112 §6.1", head(CHUNKED, version="HTTP/1.0") + CHUNKS + SMUGGLED),
    Attack("both to HTTP/1.0", "9112 §6.1", head("content-length: 5", CHUNKED, version="HTTP/1.0") + CHUNKS + SMUGGLED),
    # Lengths.
    Attack("two equal lengths", "9112 §6.3", lengths(f"content-length: {N}", f"content-length: {N}"), REFUSED | TAKEN),
    Attack("a short length and a long one", "9112 §6.3", lengths(f"content-length: {N}", f"content-length: {N + 99}")),
    Attack("a long length and a short one", "9112 §6.3", lengths(f"content-length: {N + 99}", f"content-length: {N}")),
    Attack("a length and none", "9112 §6.3", lengths(f"content-length: {N}", "content-length: 0") + SMUGGLED),
    Attack("a length and an empty one", "9112 §6.3", lengths(f"content-length: {N}", "content-length:")),
    Attack("a list of equal lengths", "9112 §6.3", lengths(f"content-length: {N}, {N}"), REFUSED | TAKEN),
    Attack("a list of lengths", "9112 §6.3", lengths(f"content-length: {N}, {N + 99}")),
    Attack("a length with a plus", "9110 §8.6", lengths(f"content-length: +{N}")),
    Attack("a negative length", "9110 §8.6", lengths(f"content-length: -{N}")),
    Attack("minus zero", "9110 §8.6", lengths("content-length: -0", body=SMUGGLED)),
    Attack("an empty length", "9110 §8.6", lengths("content-length:", body=SMUGGLED)),
    Attack("a length of blanks", "9110 §8.6", lengths("content-length: \t ", body=SMUGGLED)),
    Attack("a hexadecimal length", "9110 §8.6", lengths(f"content-length: 0x{N:x}")),
    Attack("hexadecimal digits", "9110 §8.6", lengths("content-length: 4f")),
    Attack("a length with a blank in it", "9110 §8.6", lengths(f"content-length: {N} {N}")),
    Attack("a length with a fraction", "9110 §8.6", lengths(f"content-length: {N}.0")),
    Attack("a length with an exponent", "9110 §8.6", lengths(f"content-length: {N}e0")),
    Attack("a length with a separator", "9110 §8.6", lengths("content-length: 1_0", body=GOOD)),
    Attack("a quoted length", "9110 §8.6", lengths(f'content-length: "{N}"')),
    Attack("a length and a parameter", "9110 §8.6", lengths(f"content-length: {N};x=y")),
    Attack("a length behind a vertical tab", "9110 §8.6", lengths(f"content-length:\x0b{N}")),
    Attack("a length before a form feed", "9110 §8.6", lengths(f"content-length: {N}\x0c")),
    Attack("a length before a no-break space", "9110 §8.6", lengths(f"content-length: {N}\xa0")),
    Attack("a length of other digits", "9110 §8.6", lengths("content-length: \xd9\xa5", body=b"hello")),
    Attack("a length beyond 64 bits", "9110 §8.6", lengths(f"content-length: {(1 << 64) + N}")),
    Attack("a length of many digits", "9110 §8.6", lengths(f"content-length: {'9' * 400}")),
    Attack("the largest length", "9110 §8.6", lengths(f"content-length: {(1 << 64) - 1}"), {(400,), (413,)}),
    Attack("the largest signed length", "9110 §8.6", lengths(f"content-length: {(1 << 63) - 1}"), {(400,), (413,)}),
    Attack("a length in blanks", "9110 §5.5", lengths(f"content-length: \t{N}\t "), TAKEN),
    Attack("a length with zeros before it", "9110 §8.6", lengths(f"content-length: 000{N}"), REFUSED | TAKEN),
    Attack("a name in other letters", "9110 §5.1", lengths(f"CoNTeNT-LeNGTH: {N}"), TAKEN),
    Attack("another header with an underscore", "9110 §5.1", head(f"content-length: {len(HIDING)}", "content_length: 5")
           + HIDING, TAKEN | REFUSED),
    Attack("another header of chunks", "9110 §5.1", head(f"content-length: {len(HIDING)}", "transfer_encoding: chunked")
           + HIDING, TAKEN | REFUSED),
    Attack("a body without a length", "9112 §6.3", head(), {(400, 200)}),
    # Transfer codings.
    *(
        attack
        for name, line, allowed in (
            ("a blank before its colon", "transfer-encoding : chunked", REFUSED),
            ("a tab before its colon", "transfer-encoding\t: chunked", REFUSED),
            ("a blank before its name", " transfer-encoding: chunked", REFUSED),
            ("a NUL in its name", "transfer\x00-encoding: chunked", REFUSED),
            ("another coding", "transfer-encoding: xchunked", REFUSED),
            ("identity", "transfer-encoding: identity", REFUSED),
            ("identity last", "transfer-encoding: chunked, identity", REFUSED),
            ("identity first", "transfer-encoding: identity, chunked", REFUSED),
            ("gzip first", "transfer-encoding: gzip, chunked", REFUSED),
            ("gzip last", "transfer-encoding: chunked, gzip", REFUSED),
            ("twice in a list", "transfer-encoding: chunked, chunked", REFUSED),
            ("twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked", REFUSED),
            ("and identity", "transfer-encoding: chunked\r\ntransfer-encoding: identity", REFUSED),
            ("behind identity", "transfer-encoding: identity\r\ntransfer-encoding: chunked", REFUSED),
            ("behind nothing", "transfer-encoding:\r\ntransfer-encoding: chunked", REFUSED),
            ("nothing", "transfer-encoding:", REFUSED),
            ("a comma before", "transfer-encoding: ,chunked", REFUSED),
            ("a comma behind", "transfer-encoding: chunked,", REFUSED),
            ("a parameter", "transfer-encoding: chunked;q=1", REFUSED),
            ("in quotes", 'transfer-encoding: "chunked"', REFUSED),
            ("a vertical tab", "transfer-encoding: \x0bchunked", REFUSED),
            ("a form feed", "transfer-encoding: chunked\x0c", REFUSED),
            ("a no-break space", "transfer-encoding: \xa0chunked", REFUSED),
            ("a NUL", "transfer-encoding: chunked\x00", REFUSED),
            ("a letter that folds to k", "transfer-encoding: chun\xe2\x84\xaaed", REFUSED),
            ("folded", "transfer-encoding:\r\n chunked", REFUSED),
            ("folded in two", "transfer-encoding: chu\r\n nked", REFUSED),
            ("behind a bare CR", "x: y\rtransfer-encoding: chunked", REFUSED),
            ("behind a bare LF", "x: y\ntransfer-encoding: chunked", REFUSED),
        )
        for attack in (
            Attack(f"coding: {name}", "9112 §6.1", head(line) + CHUNKS, allowed | {(501,)}),
            Attack(f"length and coding: {name}", "9112 §6.3", hidden(line), allowed | {(501,)}),
            Attack(f"coding and length: {name}", "9112 §6.3", either(line), allowed | {(501,)}),
        )
    ),
    Attack("coding: a tab before it", "9110 §5.5", head("transfer-encoding:\tchunked") + CHUNKS, TAKEN | REFUSED),
    Attack("coding: a tab behind it", "9110 §5.5", head("transfer-encoding: chunked\t") + CHUNKS, TAKEN | REFUSED),
    Attack("coding: in capitals", "9112 §7", head("Transfer-Encoding: CHUNKED") + CHUNKS, TAKEN),
    Attack("length and coding: in capitals", "9112 §6.3", hidden("Transfer-Encoding: CHUNKED")),
    # Sizes of chunks.
    *(
        Attack(f"chunk: {name}", "9112 §7.1", chunks(sent), allowed)
        for name, sent, allowed in (
            ("negative", b"-5\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("with a plus", b"+5\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("with 0x", b"0x5\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("behind a blank", b" 5\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("before a blank", b"5 \r\nhello\r\n0\r\n\r\n", REFUSED),
            ("before a tab", b"5\t\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("before a NUL", b"5\x00\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("with a separator", b"0_5\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("a list", b"5,5\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("no number", b"hello\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("missing", b"\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("only an extension", b";x=y\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("64 bits and more", b"10000000000000005\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("of many digits", b"f" * 400 + b"\r\nhello", REFUSED),
            ("too short", b"4\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("too long", b"6\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("no end of line behind it", b"5\r\nhello0\r\n\r\n", REFUSED),
            ("its data spills over", b"5\r\nhelloXX\r\n0\r\n\r\n", REFUSED),
            ("LF behind the size", b"5\nhello\r\n0\r\n\r\n", REFUSED),
            ("LF behind the data", b"5\r\nhello\n0\r\n\r\n", REFUSED),
            ("CR behind the size", b"5\rhello\r\n0\r\n\r\n", REFUSED),
            ("CR behind the data", b"5\r\nhello\r0\r\n\r\n", REFUSED),
            ("two CR behind the size", b"5\r\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("LF behind the last", b"5\r\nhello\r\n0\n\r\n", REFUSED),
            ("LF at the end", b"5\r\nhello\r\n0\r\n\n", REFUSED),
            ("LF LF at the end", b"5\r\nhello\r\n0\n\n", REFUSED),
            ("CR at the end", b"5\r\nhello\r\n0\r\n\r" + b"X", REFUSED),
            ("extension with a NUL", b"5;x=\x00\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("extension that ends with LF", b"5;x\nhello\r\n0\r\n\r\n", REFUSED),
            ("extension that ends with CR", b"5;x\rhello\r\n0\r\n\r\n", REFUSED),
            ("extension with LF in quotes", b'5;x="\n"\r\nhello\r\n0\r\n\r\n', REFUSED),
            ("extension with CR LF in quotes", b'5;x="\r\n"\r\nhello\r\n0\r\n\r\n', REFUSED),
            ("extension that hides a request", b"5;\n" + SMUGGLED + b"\r\nhello\r\n0\r\n\r\n", REFUSED),
            ("extension without a name", b"5;\r\nhello\r\n0\r\n\r\n", REFUSED),
        )
    ),
    Attack("chunk: zeros before its size", "9112 §7.1", chunks(b"000" + CHUNKS), TAKEN | REFUSED),
    Attack("chunk: very many zeros", "9112 §7.1", chunks(b"0" * 1000 + CHUNKS), TAKEN | REFUSED),
    Attack("chunk: capitals", "9112 §7.1", chunks(b"%X\r\n%b\r\n0\r\n\r\n" % (N, GOOD)), TAKEN),
    Attack("chunk: an extension", "9112 §7.1.1", chunks(chunk(GOOD, ';x=y;other="a b"') + b"0;x\r\n\r\n"), TAKEN),
    Attack("chunk: blanks in an extension", "9112 §7.1.1", chunks(chunk(GOOD, " ; x = y") + b"0\r\n\r\n"),
           TAKEN | REFUSED),
    Attack("chunk: a huge extension", "9112 §7.1.1", chunks(chunk(GOOD, ";" + "x" * (1 << 20)) + b"0\r\n\r\n")),
    Attack("chunk: many extensions", "9112 §7.1.1", chunks(b"1;xxxxxxxxxxxxxxxx\r\n \r\n" * 60_000 + CHUNKS)),
    Attack("chunk: a huge trailer", "9112 §7.1.2", chunks(chunk(GOOD) + b"0\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\n"),
           {(400,), (431,)}),
    Attack("chunk: many trailers", "9112 §7.1.2", chunks(chunk(GOOD) + b"0\r\n" + b"x: y\r\n" * 200_000 + b"\r\n"),
           {(400,), (431,)}),
    Attack("chunk: a request in a good one", "9112 §7.1", chunks(chunk(HIDING) + b"0\r\n\r\n"), TAKEN),
    # Lines.
    Attack("folded header", "9112 §5.2", lengths("x: a\r\n b", f"content-length: {N}")),
    Attack("folded with a tab", "9112 §5.2", lengths("x: a\r\n\tb", f"content-length: {N}")),
    Attack("folded length", "9112 §5.2", lengths(f"content-length:\r\n {N}")),
    Attack("folded number", "9112 §5.2", lengths("content-length: 1\r\n 0", body=SMUGGLED)),
    Attack("a header that goes on in a blank line", "9112 §5.2", lengths(f"content-length: {N}", "x: a\r\n ")),
    Attack("blank before the first header", "9112 §2.2", head().replace(b"\r\nhost", b"\r\n host")),
    Attack("tab before the first header", "9112 §2.2", head().replace(b"\r\nhost", b"\r\n\thost")),
    Attack("a blank line of blanks", "9112 §2.2", head().replace(b"\r\nhost", b"\r\n \r\nhost")),
    Attack("blank before the colon", "9112 §5.1", lengths("x : y", f"content-length: {N}")),
    Attack("blank before the length's colon", "9112 §5.1", lengths(f"content-length : {N}")),
    Attack("tab before the colon", "9112 §5.1", lengths("x\t: y", f"content-length: {N}")),
    Attack("no colon", "9112 §5", lengths("x", f"content-length: {N}")),
    Attack("no name", "9112 §5", lengths(": y", f"content-length: {N}")),
    Attack("blank in a name", "9110 §5.1", lengths("x y: z", f"content-length: {N}")),
    Attack("NUL in a name", "9110 §5.1", lengths("x\x00y: z", f"content-length: {N}")),
    Attack("CR in a name", "9110 §5.1", lengths("x\ry: z", f"content-length: {N}")),
    Attack("no token", "9110 §5.1", lengths("x(y): z", f"content-length: {N}")),
    Attack("byte 0xe4 in a name", "9110 §5.1", lengths("x\xe4: z", f"content-length: {N}")),
    Attack("NUL in a value", "9110 §5.5", lengths("x: a\x00b", f"content-length: {N}")),
    Attack("NUL as a value", "9110 §5.5", lengths("x: \x00", f"content-length: {N}")),
    Attack("bare CR in a value", "9112 §2.2", lengths("x: a\rb", f"content-length: {N}")),
    Attack("bare CR before a header", "9112 §2.2", lengths(f"x: a\rcontent-length: {N}")),
    Attack("CR CR LF", "9112 §2.2", lengths("x: a\r", f"content-length: {N}")),
    Attack("a control character in a value", "9110 §5.5", lengths("x: a\x01b", f"content-length: {N}")),
    Attack("DEL in a value", "9110 §5.5", lengths("x: a\x7fb", f"content-length: {N}")),
    Attack("byte 0xe4 in a value", "9110 §5.5", lengths("x: \xe4", f"content-length: {N}"), TAKEN | REFUSED),
    Attack("an empty value", "9110 §5.5", lengths("x:", f"content-length: {N}"), TAKEN),
    Attack("an empty value before the end", "9110 §5.5", lengths(f"content-length: {N}", "x:"), TAKEN),
    Attack("LF at all ends", "9112 §2.2", lengths(f"content-length: {N}").replace(b"\r\n", b"\n"), REFUSED | TAKEN),
    Attack("LF at one end", "9112 §2.2", lengths(f"x: y\ncontent-length: {N}"), REFUSED | TAKEN),
    Attack("LF before the end of the head", "9112 §2.2", head(f"content-length: {N}")[:-2] + b"\n" + GOOD,
           REFUSED | TAKEN),
    Attack("LF LF in the head", "9112 §2.2", head(f"content-length: {len(HIDING)}", "x: y\n\nz: w") + HIDING),
    Attack("CR at all ends", "9112 §2.2", lengths(f"content-length: {N}").replace(b"\r\n", b"\r")),
    Attack("CR CR in the head", "9112 §2.2", head(f"content-length: {len(HIDING)}", "x: y\r\rz: w") + HIDING),
    Attack("empty lines before it", "9112 §2.2", b"\r\n" * 20 + lengths(f"content-length: {N}"), TAKEN | REFUSED),
    Attack("a blank before it", "9112 §2.2", b" " + lengths(f"content-length: {N}")),
    Attack("a NUL before it", "9112 §2.2", b"\x00" + lengths(f"content-length: {N}")),
    # Two requests, and one.
    Attack("two good ones", "9112 §9.3.2", whole(GOOD), TAKEN),
    Attack("three good ones", "9112 §9.3.2", whole(GOOD) * 2, {(200, 200, 200)}),
    Attack("a request in a body", "9112 §6", whole(HIDING), TAKEN),
    Attack("an ambiguous one behind a good one", "9112 §9.3.2", whole(GOOD) + hidden(CHUNKED), {(200,), (200, 400)}),
    Attack("garbage behind a good one", "9112 §9.3.2", whole(GOOD) + b"garbage\r\n\r\n", {(200,), (200, 400)}),
    Attack("a request behind the last one", "9112 §9.6", whole(GOOD, "connection: close") + SMUGGLED, {(200,)}),
    Attack("behind the last of a list", "9112 §9.6", whole(GOOD, "connection: x, Close ,y") + SMUGGLED, {(200,)}),
    Attack("a request behind HTTP/1.0", "9112 §9.3", whole(GOOD, version="HTTP/1.0") + SMUGGLED, {(200,)}),
    Attack("kept alive by HTTP/1.0", "9112 §9.3", whole(GOOD, "connection: keep-alive", version="HTTP/1.0") + SMUGGLED,
           {(200,)}),
    Attack("more than its length", "9112 §9.6", whole(GOOD, "connection: close") + b"X" * 100_000, {(200,)}),
    Attack("connection names the length", "9110 §7.6.1", whole(HIDING, "connection: x, content-length"), TAKEN),
    Attack("connection names the host", "9110 §7.6.1", whole(HIDING, "connection: host, authorization"), TAKEN),
    # Other protocols, and an answer before the body.
    *(
        Attack(f"{name}: {protocol}", "9110 §7.8", whole(HIDING, f"{name}: {protocol}", f"connection: {name}"), TAKEN)
        for name in ("upgrade", "Upgrade", "UPGRADE", "uPgRaDe")
        for protocol in ("h2c", "websocket")
    ),
    Attack("upgrade with settings", "9110 §7.8",
           whole(HIDING, "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__", "connection: Upgrade, HTTP2-Settings"),
           TAKEN),
    Attack("upgrade with chunks", "9110 §7.8",
           chunks(chunk(HIDING) + b"0\r\n\r\n", "upgrade: websocket", "connection: upgrade"), TAKEN),
    Attack("upgrade behind a good one", "9110 §7.8",
           whole(GOOD) + whole(HIDING, "upgrade: h2c", "connection: upgrade"), {(200, 200, 200), (200, 400), (200,)}),
    Attack("expect 100-continue", "9110 §10.1.1", whole(HIDING, "expect: 100-continue"), TAKEN),
    Attack("expect something else", "9110 §10.1.1", whole(HIDING, "expect: 200-ok"), TAKEN | {(417,), (417, 200)}),
    Attack("expect two things", "9110 §10.1.1", whole(HIDING, "expect: 100-continue, x"), TAKEN | {(417,), (417, 200)}),
    Attack("expect, spelt otherwise", "9110 §10.1.1", whole(HIDING, "expect: y 100-continue"),
           TAKEN | REFUSED | {(417,), (417, 200)}),
    Attack("expect nothing", "9110 §10.1.1", whole(HIDING, "expect:"), TAKEN | REFUSED | {(417,), (417, 200)}),
    *(
        Attack(f"a body that nobody reads: {name}", "9112 §9.3", sent, {(status,), (status, 200)})
        for name, status, sent in (
            ("no key", 401, whole(SMUGGLED, key=None)),
            ("no key, chunks", 401, head(CHUNKED, key=None) + chunk(SMUGGLED) + b"0\r\n\r\n"),
            ("no key, expecting", 401, whole(SMUGGLED, "expect: 100-continue", key=None)),
            ("a wrong key", 401, whole(SMUGGLED, key="wrong")),
            ("another type", 415, whole(SMUGGLED, "content-type: text/plain")),
            ("compressed", 415, whole(SMUGGLED, "content-encoding: gzip")),
            ("another method", 405, whole(SMUGGLED, method="PUT")),
            ("OPTIONS", 405, whole(SMUGGLED, method="OPTIONS")),
            ("GET", 200, whole(SMUGGLED, method="GET", to="/livez")),
            ("GET of chunks", 200, head(CHUNKED, method="GET", to="/v1/usage") + chunk(SMUGGLED) + b"0\r\n\r\n"),
            ("DELETE", 405, whole(SMUGGLED, method="DELETE", to="/v1/models")),
            ("POST to what only tells", 405, whole(SMUGGLED, to="/readyz")),
            ("nothing there", 404, whole(SMUGGLED, to="/nothing")),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_what_hides_in_a_request_is_never_served(door: Door, attack: Attack) -> None:
    sent = attack.sent + LAST
    for apart in (False, True) if len(sent) < 10_000 else (False,):
        found = await door.ask(sent, apart=apart)
        how = f"RFC {attack.section}, {'byte by byte' if apart else 'at once'}"
        assert tuple(answer.status for answer in found) in attack.allowed, how
        assert found[-1].headers["connection"] == "close", how
        assert SMUGGLED_WORDS not in [answer.said for answer in found], how
    assert not await door.smuggled()


# ---- whatever else there is

_BYTES = b'\r\n\r\n\x00\t ::;,="%/\\.0123456789abcdefxXtTeE\x0b\x0c\x7f\x80\xff'
_PIECES = [
    b"\r\n", b"\r\n\r\n", b"\n\n", b": ", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n", b"0\r\n\r\n",
    b"connection: close\r\n", b"HTTP/1.1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"upgrade: h2c\r\n",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
async def test_a_request_with_wrong_bytes_is_answered_well_or_not_at_all(door: Door, seed: int) -> None:
    """`answers` reads strictly; beyond that nothing here is an error of the gateway's own."""
    print("seed", seed)
    chance = random.Random(seed)
    good = [
        whole(HIDING, "x: y"),
        chunks(chunk(HIDING[:9], ";x=y") + chunk(HIDING[9:]) + b"0\r\nx: y\r\n\r\n", "expect: 100-continue"),
        head(method="GET", to="/v1/models?x=%41#y") + whole(GOOD, to="/v1/messages"),
    ]
    for _ in range(60):
        sent = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(sent) // 2 if chance.random() < 0.7 else len(sent))
            piece = chance.choice(_PIECES) if chance.random() < 0.3 else bytes([chance.choice(_BYTES)])
            sent[at : at + chance.randint(0, 2)] = piece
        wire = await door.connect()
        wire.say(bytes(sent) + LAST)
        await wire.turns(40)
        if not wire.transport.is_closing():
            wire.transport.write_eof()
        received = await wire.rest()
        try:
            found = answers(received)
        except AssertionError as error:
            raise AssertionError(f"{bytes(sent)!r}: {error}: {received!r}") from None
        statuses = {answer.status for answer in found}
        assert statuses <= {200, 400, 401, 404, 405, 413, 415, 417, 431, 501, 505}, bytes(sent)
        assert SMUGGLED_WORDS not in [answer.said for answer in found], bytes(sent)
