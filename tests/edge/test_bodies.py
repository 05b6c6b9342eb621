"""Bodies that are no JSON, or are it in a way that two parsers read in two ways, or that are too much of it.

RFC 8259, https://www.rfc-editor.org/rfc/rfc8259. Each goes to a provider as it is, in two protocols, and translated.
"""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from edge.attack import CHAT, GOOD, LAST, LAST_WORDS, Door, chunk, head, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMIT = 8 << 20
SERVER = f"max_body_bytes = {LIMIT}\n"

WAYS = [(CHAT, "sim/echo"), ("/v1/messages", "sim/echo"), ("/v1/messages", "lab/echo")]
MIB = 1 << 20
DEEP = 100_000

REFUSED = {400}
TAKEN = {200}
EITHER = {200, 400}


class Body(NamedTuple):
    name: str
    section: str
    spelt: Callable[[bytes], bytes]  # with the model's name in it
    allowed: set[int] = REFUSED


def made(*more: bytes, **replaced: bytes | None) -> Callable[[bytes], bytes]:
    """A good body with these fields (b'"x":1') behind the others, and others replaced or left out."""

    def spelt(model: bytes) -> bytes:
        fields: dict[str, bytes | None] = {
            "model": b'"%b"' % model,
            "max_tokens": b"50",
            "messages": message(b'"hello"'),
            **replaced,
        }
        return b"{%b}" % b",".join(
            [b'"%b":%b' % (name.encode(), value) for name, value in fields.items() if value is not None] + list(more)
        )

    return spelt


def message(content: bytes) -> bytes:
    return b'[{"role":"user","content":%b}]' % content


def just(body: bytes) -> Callable[[bytes], bytes]:
    return lambda _: body


def around(before: bytes, after: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda model: before + made()(model) + after


def arrays(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def objects(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def encoded(encoding: str) -> Callable[[bytes], bytes]:
    return lambda model: made()(model).decode().encode(encoding)


FIELDS = (
    "model messages max_tokens temperature stream stream_options stop tools tool_choice response_format system thinking"
    " metadata provider n user seed logit_bias unknown"
).split()
NUMBERS = {
    "1e400": EITHER, "-1e400": EITHER, "1e-400": EITHER, "1e999999999999": EITHER, "-0": EITHER, "1.0": EITHER,
    "9223372036854775808": EITHER, "18446744073709551616": EITHER, "-9223372036854775809": EITHER, "1" * 20_000: EITHER,
    "0." + "1" * 20_000: EITHER, "1" + "0" * 400: EITHER, "NaN": REFUSED, "Infinity": REFUSED, "-Infinity": REFUSED,
    "01": REFUSED, "+1": REFUSED, ".5": REFUSED, "1.": REFUSED, "0x10": REFUSED, "1e": REFUSED, "1_0": REFUSED,
    "\u0661": REFUSED, "--1": REFUSED, "1,2": REFUSED,
}  # fmt: skip
TWINS = "Model MODEL mOdel Messages meſſages Stream STREAM Max_Tokens max_to\u212aens Tools Temperature".split()

BODIES = [
    # §9: how deep and how large is ours to say, but to say it is all that happens.
    *(Body(f"deep arrays in {name}", "§9", made(**{name: arrays(DEEP)})) for name in FIELDS),
    *(Body(f"deep objects in {name}", "§9", made(**{name: objects(DEEP)})) for name in FIELDS[::3]),
    *(Body(f"arrays that never end in {name}", "§9", made(**{name: b"[" * DEEP})) for name in FIELDS[:3]),
    Body("deep content", "§9", made(messages=message(arrays(DEEP)))),
    Body("deep part", "§9", made(messages=message(b'[{"type":"text","text":"a","x":%b}]' % arrays(DEEP)))),
    Body("deep message", "§9", made(messages=b'[{"role":"user","content":"a","x":%b}]' % objects(DEEP))),
    Body("deep schema", "§9",
         made(tools=b'[{"type":"function","function":{"name":"a","parameters":%b}}]' % objects(DEEP))),
    Body("deep input schema", "§9", made(tools=b'[{"name":"a","input_schema":%b}]' % objects(DEEP))),
    Body("deep results of tools", "§9",
         made(messages=message(b'[{"type":"tool_result","tool_use_id":"x","content":' * DEEP + b"1" + b"}]" * DEEP))),
    *(Body(f"{depth} deep", "§9", made(unknown=arrays(depth)), {200 if depth < 500 else 400, 200})
      for depth in (100, 900, 990, 999)),
    *(Body(f"content {depth} deep", "§9",
           made(messages=message(b'[{"type":"text","text":"a","x":%b}]' % arrays(depth))), EITHER)
      for depth in (400, 900, 985, 990, 995, 1000)),
    *(Body(f"schema {depth} deep", "§9",
           made(tools=b'[{"type":"function","name":"a","input_schema":%b,"function":{"name":"a","parameters":%b}}]'
                % (objects(depth), objects(depth))), EITHER) for depth in (400, 900, 990, 1000)),
    Body("nothing but brackets", "§9", just(b"[" * MIB)),
    Body("nothing but braces", "§9", just(b'{"a":' * DEEP)),
    Body("a long string", "§9", made(messages=message(b'"%b"' % (b"x" * (4 * MIB)))), TAKEN),
    Body("a long string without its end", "§9", made(messages=message(b'"' + b"x" * (4 * MIB)))),
    Body("a long string of escapes", "§9", made(messages=message(b'"%b"' % (b"\\u00e4" * (MIB // 2)))), TAKEN),
    Body("a long name of a model", "§9", made(model=b'"%b"' % (b"x" * (4 * MIB))), {400, 404}),
    Body("a long name of a field", "§9", made(b'"%b":1' % (b"k" * (4 * MIB))), EITHER),
    Body("a long role", "§9", made(messages=b'[{"role":"%b","content":"a"}]' % (b"x" * (4 * MIB))), EITHER),
    Body("a long number", "§9", made(unknown=b"1" * (4 * MIB)), EITHER),
    Body("long white space", "§9", around(b" \t\r\n" * MIB), TAKEN),
    Body("many fields", "§9", made(*(b'"k%d":1' % number for number in range(20_000))), EITHER),
    Body("many fields of one name", "§9", made(*(b'"k":1' for _ in range(100_000))), EITHER),
    Body("many messages", "§9",
         made(messages=b"[" + b'{"role":"user","content":"a"},' * 5000 + message(b'"hello"')[1:]), EITHER),
    Body("many parts", "§9", made(messages=message(b"[" + b",".join([b'{"type":"text","text":"a"}'] * 5000) + b"]")),
         EITHER),
    Body("many empty messages", "§9", made(messages=b"[" + b"{}," * 200_000 + b"{}]")),
    Body("many empty arrays", "§9", made(unknown=b"[" + b"[]," * 500_000 + b"[]]"), EITHER),
    # §6
    *(
        Body(f"{name}: {number[:24]}", "§6", made(**{name: number.encode()}), allowed)
        for number, allowed in NUMBERS.items()
        for name in ("max_tokens", "unknown")
    ),
    Body("no tokens", "§6", made(max_tokens=b"0"), EITHER),
    Body("fewer than no tokens", "§6", made(max_tokens=b"-1"), EITHER),
    # §7 and §8.2
    Body("a high surrogate", "§8.2", made(messages=message(b'"\\ud800"'))),
    Body("a low surrogate", "§8.2", made(messages=message(b'"\\udc00x"'))),
    Body("surrogates in the wrong order", "§8.2", made(messages=message(b'"\\udc00\\ud800"'))),
    Body("two high surrogates", "§8.2", made(messages=message(b'"\\ud800\\ud800"'))),
    Body("a surrogate in the model's name", "§8.2", made(model=b'"\\ud800"'), {400, 404}),
    Body("a surrogate in a field's name", "§8.2", made(b'"\\ud800":1'), EITHER),
    Body("a surrogate in an unknown field", "§8.2", made(unknown=b'"\\udfff"'), EITHER),
    Body("a surrogate as bytes", "§8.1", made(messages=message(b'"\xed\xa0\x80"'))),
    Body("a pair of surrogates", "§7", made(messages=message(b'"\\ud83d\\ude00"')), TAKEN),
    Body("half an escape", "§7", made(messages=message(b'"\\u12"'))),
    Body("an escape that is none", "§7", made(messages=message(b'"\\x41"'))),
    Body("an escape at the end", "§7", made(messages=message(b'"a\\"'))),
    Body("NUL, escaped", "§7", made(messages=message(b'"a\\u0000b"')), TAKEN),
    Body("NUL, escaped, in the model's name", "§7", made(model=b'"sim/echo\\u0000"'), {400, 404}),
    Body("NUL, escaped, in a field's name", "§7", made(b'"model\\u0000":"other"'), EITHER),
    Body("NUL in a string", "§7", made(messages=message(b'"a\x00b"'))),
    Body("NUL in an unknown string", "§7", made(unknown=b'"a\x00b"')),
    Body("LF in a string", "§7", made(unknown=b'"a\nb"')),
    Body("DEL in a string", "§7", made(unknown=b'"a\x7fb"'), TAKEN),
    Body("NUL between fields", "§2", lambda model: made()(model)[:-1] + b"\x00}"),
    Body("NUL behind it", "§2", around(b"", b"\x00")),
    Body("NUL before it", "§2", around(b"\x00")),
    # §8.1
    Body("byte 0xff", "§8.1", made(unknown=b'"\xff"')),
    Body("byte 0xff in a content", "§8.1", made(messages=message(b'"\xff"'))),
    Body("byte 0xff in a field's name", "§8.1", made(b'"\xff":1')),
    Body("byte 0xff outside of strings", "§8.1", around(b"", b"\xff")),
    Body("an overlong slash", "§8.1", made(unknown=b'"\xc0\xaf"')),
    Body("an overlong quote", "§8.1", made(unknown=b'"\xc0\xa2"')),
    Body("a character that is cut off", "§8.1", made(unknown=b'"\xe2\x82"')),
    Body("a quote inside a character", "§8.1", made(unknown=b'"\xe2"')),
    Body("beyond Unicode", "§8.1", made(unknown=b'"\xf4\x90\x80\x80"')),
    Body("a byte order mark", "§8.1", around(b"\xef\xbb\xbf"), EITHER),
    Body("UTF-16", "§8.1", encoded("utf-16")),
    Body("UTF-16 without a mark", "§8.1", encoded("utf-16-le")),
    Body("UTF-32", "§8.1", encoded("utf-32")),
    Body("UTF-7", "§8.1", just(b'+AHsAIg-model":1}')),
    Body("EBCDIC", "§8.1", encoded("cp037")),
    # §4: names should be unique. Of equal ones the last counts, and is what the provider sees.
    *(Body(f"a twin {twin}", "§4", made(b'"%b":1' % twin.encode())) for twin in TWINS),
    Body("a twin before it", "§4", lambda model: b'{"Model":1,' + made()(model)[1:]),
    Body("a twin, escaped", "§4", made(b'"\\u004dodel":"other"')),
    Body("a name, escaped", "§4", lambda model: made()(model).replace(b'"model"', b'"\\u006dodel"'), TAKEN),
    Body("another model before it", "§4", lambda model: b'{"model":"nobody",' + made()(model)[1:], TAKEN),
    Body("another model behind it", "§4", made(b'"model":"nobody"'), {404}),
    Body("another model behind it, escaped", "§4", made(b'"m\\u006fdel":"nobody"'), {404}),
    Body("no model behind it", "§4", made(b'"model":null')),
    Body("other messages before it", "§4", lambda model: b'{"messages":3,' + made()(model)[1:], EITHER),
    Body("other messages behind it", "§4", made(b'"messages":3')),
    Body("a stream, and none", "§4", made(b'"stream":true', b'"stream":false'), TAKEN),
    Body("a role twice", "§4", made(messages=b'[{"role":"system","role":"user","content":"a","content":"b"}]'), EITHER),
    # §2: what stands alone.
    *(
        Body(f"only {body[:20]!r}", "§2", just(body))
        for body in (
            b"", b" ", b"\r\n", b"null", b"true", b"1", b'"x"', b"[]", b"[{}]", b"{}", b"{", b"}", b"[", b"]", b"{,}",
            b'{"model"', b'{"model":', b'{"model":}', b'{"model":"x"', b"{'model':'x'}", b"{model:1}", b"nul", b"<x/>",
            b"model=x", b"undefined", b"--x\r\n", b"\x00", b"\xff\xfe", b"\x1f\x8b\x08", b"PK\x03\x04", b"%PDF-1.7",
        )
    ),
    Body("garbage behind it", "§2", around(b"", b"x")),
    Body("another behind it", "§2", lambda model: made()(model) * 2),
    Body("another line behind it", "§2", lambda model: made()(model) + b"\n" + made()(model)),
    Body("garbage before it", "§2", around(b")]}'\n")),
    Body("a comma at the end", "§4", lambda model: made()(model)[:-1] + b",}"),
    Body("two commas", "§4", made(b"")),
    Body("a comment", "§2", around(b"/*x*/")),
    Body("a comment in it", "§2", made(b"// x\n")),
    Body("a vertical tab", "§2", around(b"\x0b")),
    Body("a no-break space", "§2", around(b"\xc2\xa0")),
    *(
        Body(f"{name}: {value.decode()[:30]}", "§3", made(**{name: value}))
        for name, values in {
            "model": (b"3", b"[]", b"{}", b"true", b"null", b'["sim/echo"]'),
            "messages": (b"3", b"{}", b'"x"', b"null", b"[]", b"[3]", b"[[]]", b"[null]", b'["x"]', b"[{}]", b"true",
                         b'[{"role":1,"content":"a"}]', message(b"3"), message(b"{}")),
            "max_tokens": (b'"5"', b"[]", b"{}", b"true", b"5.5"),
            "stream": (b'"true"', b"1", b"[]", b"{}", b'"false"'),
            "temperature": (b'"1"', b"[]", b"{}", b"true"),
        }.items()
        for value in values
    ),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
async def test_a_body_is_json_and_one_thing_only_or_refused(door: Door, body: Body) -> None:
    for path, model in WAYS:
        sent = body.spelt(model.encode())
        (answer,) = await door.ask(whole(sent, "content-type: application/json", "connection: close", to=path))
        assert answer.status in body.allowed, (body.section, path, model, answer.body[:400])
        told = json.loads(answer.body)  # in UTF-8, and without a lone surrogate
        if answer.status != 200:
            assert told["error"]["message"]
            assert len(answer.body) < 2000


async def test_a_body_that_ends_too_early_is_refused_wherever_it_does(door: Door) -> None:
    for begin in range(0, len(GOOD), 32):  # so many may wait behind each other
        part = b"".join(whole(GOOD[:end]) for end in range(begin, min(begin + 32, len(GOOD))))
        found = await door.ask(part + LAST)
        assert {answer.status for answer in found[:-1]} == {400}
        assert found[-1].said == LAST_WORDS
        assert len(found) == min(32, len(GOOD) - begin) + 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_body_with_wrong_bytes_is_answered_and_never_an_error_of_ours(door: Door, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    bad = b'\x00\x01\n\r"\\{}[]:,-+.eE0 9ntfu\x7f\x80\xc0\xe2\xed\xff/'
    good = made(b'"stream":false', b'"stop":["x"]', b'"tools":[]', b'"metadata":{"a":"b"}', b'"temperature":0.5')
    for _ in range(40):
        path, model = chance.choice(WAYS)
        body = bytearray(good(model.encode()))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(body))
            piece = bytes(chance.choice(bad) for _ in range(chance.randint(0, 3)))
            body[at : at + chance.randint(0, 3)] = piece
        (answer,) = await door.ask(whole(bytes(body), "connection: close", to=path))
        assert answer.status in {200, 400, 404, 503}, bytes(body)
        json.loads(answer.body)


# ---- what a body says that it is


PLAIN = "content-type: application/json"
BOMB = gzip.compress(bytes(100 * MIB), 6)


class Told(NamedTuple):
    name: str
    section: str  # of RFC 9110, unless it says another
    lines: tuple[str, ...]
    body: bytes
    allowed: set[int]


TOLD = [
    Told("gzip", "§8.4", (PLAIN, "content-encoding: gzip"), gzip.compress(GOOD), {415}),
    Told("a bomb", "§8.4", (PLAIN, "content-encoding: gzip"), BOMB, {415}),
    Told("a bomb in a bomb", "§8.4", (PLAIN, "content-encoding: gzip, gzip"), gzip.compress(BOMB), {415}),
    Told("a bomb that is not told of", "§8.4", (PLAIN,), BOMB, {400}),
    Told("deflate", "§8.4", (PLAIN, "content-encoding: deflate"), zlib.compress(GOOD), {415}),
    Told("br", "§8.4", (PLAIN, "content-encoding: br"), GOOD, {415}),
    Told("zstd", "§8.4", (PLAIN, "content-encoding: zstd"), GOOD, {415}),
    Told("x-gzip", "§8.4", (PLAIN, "content-encoding: x-gzip"), gzip.compress(GOOD), {415}),
    Told("GZIP", "§8.4", (PLAIN, "content-encoding: GZIP"), gzip.compress(GOOD), {415}),
    Told("identity and gzip", "§8.4", (PLAIN, "content-encoding: identity, gzip"), gzip.compress(GOOD), {415}),
    Told("gzip in two lines", "§5.3", (PLAIN, "content-encoding: gzip", "content-encoding: identity"),
         gzip.compress(GOOD), {400, 415}),
    Told("gzip in the second line", "§5.3", (PLAIN, "content-encoding: identity", "content-encoding: gzip"),
         gzip.compress(GOOD), {400, 415}),
    Told("identity", "§8.4", (PLAIN, "content-encoding: identity"), GOOD, {200}),
    Told("another coding", "§8.4", (PLAIN, "content-encoding: \xff"), GOOD, {415}),
    Told("aes128gcm", "§8.4", (PLAIN, "content-encoding: aes128gcm"), GOOD, {415}),
    *(
        Told(f"type {kind!r}", "§8.3", (f"content-type: {kind}",), GOOD, {415})
        for kind in (
            "text/plain", "text/json", "text/html", "application/xml", "application/x-www-form-urlencoded", "json",
            "multipart/form-data", "multipart/form-data; boundary=x", "application/jsonp", "*/*", "image/png",
            "application/json, text/plain", "text/plain; application/json", "text/plain;type=application/json",
            "application/", "/json", "+json", "application/json/x", "application/json\x80", "application/\xe4json",
            "application/octet-stream", "application/x-ndjson", "application/json-seq", "a" * 5000,
        )
    ),
    *(
        Told(f"type {kind!r}", "§8.3", (f"content-type: {kind}",), GOOD, {200})
        for kind in (
            "application/json", "APPLICATION/JSON", "application/json;charset=utf-8", "application/json ; x=y",
            'application/json; charset="utf-8"', "application/json;", "application/vnd.api+json",
        )
    ),
    # RFC 8259 §11: JSON has no charset, and "adding one really has no effect on compliant recipients".
    *(
        Told(f"charset {name}", "8259 §11", (f"content-type: application/json; charset={name}",), GOOD, {200, 415})
        for name in ("utf-16", "iso-8859-1", "utf-7", "nothing", "\xff")
    ),
    Told("UTF-16, and told so", "8259 §8.1", ("content-type: application/json; charset=utf-16",),
         GOOD.decode().encode("utf-16"), {400, 415}),
    Told("latin-1, and told so", "8259 §8.1", ("content-type: application/json; charset=iso-8859-1",),
         GOOD.replace(b"hello", b"h\xe4llo"), {400, 415}),
    Told("no type", "§8.3", (), GOOD, {200, 415}),
    Told("an empty type", "§8.3", ("content-type:",), GOOD, {200, 415}),
    Told("two types", "§5.3", (PLAIN, "content-type: text/plain"), GOOD, {400, 415}),
    Told("a form", "7578 §4", ("content-type: multipart/form-data; boundary=b",),
         b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsim/echo\r\n--b--\r\n', {415}),
    Told("a form of JSON", "7578 §4", (PLAIN,),
         b"--b\r\ncontent-type: application/json\r\n\r\n" + GOOD + b"\r\n--b--\r\n", {400}),
    Told("a form of many parts", "7578 §4", ("content-type: multipart/form-data; boundary=b",),
         b"--b\r\n\r\n\r\n" * 100_000 + b"--b--\r\n", {415}),
]  # fmt: skip


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.name[:60])
async def test_a_body_that_says_it_is_something_else_is_refused(door: Door, told: Told) -> None:
    for path, _ in WAYS[:2]:
        first, *others = await door.ask(whole(told.body, *told.lines, "connection: close", to=path))
        assert first.status in told.allowed, told.section
        assert not others


# ---- how much


@pytest.mark.parametrize("how", ["told", "in one chunk", "in many", "in one that never ends"])
async def test_a_body_that_is_too_large_is_refused_before_it_is_whole(door: Door, how: str) -> None:
    """RFC 9110 §15.5.14."""
    wire = await door.connect()
    if how == "told":
        wire.say(head(f"content-length: {LIMIT + 1}"))
    else:
        wire.say(head("transfer-encoding: chunked"))
        if how == "in one that never ends":
            wire.say(b"ffffffffffffff\r\n")
        elif how == "in one chunk":
            wire.say(b"%x\r\n" % (100 * MIB))
        piece = b" " * MIB
        for _ in range(100):
            wire.say(chunk(piece) if how == "in many" else piece)
            await wire.taken()
            if wire.received:
                break
        assert wire.said < LIMIT + 16 * MIB
    await wire.until(lambda got: got.endswith(b"}}"))
    assert wire.received.startswith(b"HTTP/1.1 413 ")


async def test_a_body_as_large_as_allowed_passes(door: Door) -> None:
    for framed in (
        whole(b" " * (LIMIT - len(GOOD)) + GOOD),
        head("transfer-encoding: chunked") + chunk(b" " * (LIMIT - len(GOOD)) + GOOD) + b"0\r\n\r\n",
    ):
        first, last = await door.ask(framed + LAST)
        assert (first.said, last.said) == ("hello", LAST_WORDS)


async def test_bodies_that_stay_away_hold_nothing(door: Door) -> None:
    """Many clients that say that much will come, and send nothing of it."""
    wires = [await door.connect() for _ in range(50)]
    for wire in wires:
        wire.say(head(f"content-length: {LIMIT}"))
    await until(lambda: door.left().get("waiting") == 50, door.left)
    assert "bytes held" not in door.left()
