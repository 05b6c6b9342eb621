"""Bodies and streams that are wrong in a place or two: ever new ones, and the same in every run.

MUTATED_SEED=7 pytest tests/protocols/test_mutated.py       other ones
"""

import os
import re
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

SEED = os.environ.get("MUTATED_SEED", "1")

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
HOSTILE = [
    b"null", b"true", b"false", b"0", b"-1", b"1", b"2.5", b"1e999", b"-1e999", b"1e-999", b"9007199254740993",
    b"9223372036854775808", b"18446744073709551616", b"9" * 400, b"0." + b"3" * 400, b"-0", b"NaN", b"Infinity", b"01",
    b'""', b'" "', b'"0"', b'"500"', b'"a\\u0000b"', b'"\x00"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83c\\udf26"',
    b'"\xff"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc0\xaf"', b'"\\x"', b'"\\"', b'"\n"', b'"\xe2\x80\xa8"',
    b'"' + b"a" * 3000 + b'"', b'"' + b"\\u0061" * 300 + b'"', b"[]", b"{}", b"[[]]", b"[{}]", b"[null]", b"[1]",
    b'[""]', b'{"":null}', b'{"type":null}', b'{"type":"text"}', b'{"type":"tool_use"}', b'{"a":1,"a":2}',
    b'{"error":1e999}', b'{"\\ud800":1}', b'{"\xff":1}', b"[" * 600 + b"]" * 600, b'{"a":' * 600 + b"1" + b"}" * 600,
    b"[" * 600, b'{"type":"image"}', b'{"type":"thinking","thinking":""}', b'"error"', b'"text"', b'"tool_use"',
    b'"assistant"', b'"tool"', b'"[DONE]"', b"{", b"]", b"nul", b"", b"\xef\xbb\xbf{}", b'{"index":-1}', b"1 2",
    b'{"index":9223372036854775807}', b'"data:,x"', b'"data:"', b'"http://"', b"1.0", b"1e2", b'"1e2"', b'"-1"',
    b'{"type":5}', b'"reasoning"', b'"message"', b'"refusal"', b'"fairlead:"',
]  # fmt: skip
TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\x00", b"\xff", b"\r", b"\n", b"\n\n", b"\r\r", b" ", b"data:",
    b"data: {}\n\n", b"event: error\n", b"event:", b"\xef\xbb\xbf", b"e9", b"-", b"\\u", b"\\ud800", b"\xc3", b"[DONE]",
    b'"error":{},', b'"error":', b'"usage":null', b'"finish_reason"', b"\t", b"\x1f\x8b",
]  # fmt: skip
DEPTHS = [1, 1, 1, 2, 3, 50, 600]


class Seed(NamedTuple):
    body: bytes
    places: list[tuple[int, int, int]]  # of each value: where its member begins, where it does, where it ends


def places(body: bytes) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    unfinished: list[tuple[int, int]] = []
    begin = None  # of the member
    start = max(body.find(b"{"), 0)  # of an event: behind its field's name
    tokens = list(_TOKEN.finditer(body, start))
    for number, token in enumerate(tokens, 1):
        told, at = token[0], token.start()
        if told in b"{[":
            unfinished.append((at if begin is None else begin, at))
            begin = None
        elif told in b"]}":
            if unfinished:
                found.append((*unfinished.pop(), token.end()))
        elif told in b":,":
            continue
        elif number < len(tokens) and tokens[number][0] == b":":
            begin = at
        else:
            found.append((at if begin is None else begin, at, token.end()))
            begin = None
    return found


class Mutator:
    """Gives ever new bodies, each a seed that is wrong in a place or two."""

    def __init__(self, bodies: Sequence[bytes], random: Random) -> None:
        known = {body: Seed(body, places(body)) for body in bodies}
        self._seeds = [known[body] for body in bodies]
        self._draw = random.random
        kept = [seed.body[at:end] for seed in self._seeds for _, at, end in seed.places if end - at < 300]
        self._values = sorted(set(kept))
        self._keys = sorted({seed.body[a:b] for seed in self._seeds for a, b, _ in seed.places if b > a})

    def __call__(self) -> bytes:
        return self.mutated(self._one_of(self._seeds))

    def wrong(self, body: bytes) -> bytes:
        """`body`, wrong in a place or two."""
        return self.mutated(Seed(body, places(body)))

    def mutated(self, seed: Seed) -> bytes:
        chance = self._draw()
        if chance < 0.75 and seed.places:
            body = self._with_values(seed)
            return body if chance < 0.65 else self._with_bytes(body)
        return self._with_bytes(seed.body)

    def _one_of(self, choices: Sequence[Any]) -> Any:
        return choices[int(self._draw() * len(choices))]

    def _with_values(self, seed: Seed) -> bytes:
        """Another value, or member, in one to three places."""
        body, before = seed.body, len(seed.body)
        count = 1 if self._draw() < 0.7 else 3
        chosen = [self._one_of(seed.places) for _ in range(count)]
        for begin, at, end in sorted(chosen, reverse=True):
            if end <= before:
                body = body[:begin] + self._another(body[begin:at], body[at:end]) + body[end:]
                before = begin
        return body

    def _another(self, key: bytes, value: bytes) -> bytes:
        match int(self._draw() * 12):
            case 0 | 1 | 2 | 3:
                return key + self._one_of(HOSTILE)
            case 4 | 5:
                return key + self._one_of(self._values)
            case 6:
                return key + self._one_of(HOSTILE) + b"," + key + value
            case 7:
                return key + value + b"," + key + self._one_of(self._values)
            case 8:
                depth = self._one_of(DEPTHS)
                return key + b"[" * depth + value + b"]" * depth
            case 9:
                depth = self._one_of(DEPTHS)
                return key + (key or b'"a":').join([b"{"] * (depth + 1))[:-1] + value + b"}" * depth
            case 10:
                if not key:
                    return b",".join([value] * self._one_of((0, 2, 3, 20)))
                return self._one_of((b"", self._one_of(self._keys) + value, key.swapcase() + value, b'"":' + value))
            case _:
                return key + (value[1:-1] if value[:1] == b'"' else b'"' + value.replace(b'"', b"'") + b'"')

    def _with_bytes(self, body: bytes) -> bytes:
        for _ in range(1 if self._draw() < 0.6 else 4):
            at = int(self._draw() * (len(body) + 1))
            match int(self._draw() * 8):
                case 0:
                    body = body[:at] + bytes([int(self._draw() * 256)]) + body[at + 1 :]
                case 1:
                    flipped = bytes([body[at] ^ (1 << int(self._draw() * 8))]) if at < len(body) else b""
                    body = body[:at] + flipped + body[at + 1 :]
                case 2 | 3:
                    body = body[:at] + self._one_of(TOKENS) + body[at:]
                case 4:
                    body = body[:at] + body[at + 1 + int(self._draw() ** 4 * 200) :]
                case 5:
                    body = body[:at] + body[max(0, at - int(self._draw() ** 2 * 200)) :]
                case 6:
                    body = body[:at]
                case _:
                    other = self._one_of(self._seeds).body
                    body = body[:at] + other[int(self._draw() * (len(other) + 1)) :]
        return body


class StreamMutator:
    """Gives ever new streams: events of a seed, of which some are wrong, doubled, lost or out of place."""

    def __init__(self, streams: Sequence[Sequence[bytes]], random: Random) -> None:
        self._mutate = Mutator([event for stream in streams for event in stream], random)
        self._streams = [[Seed(event, places(event)) for event in stream] for stream in streams]
        self._all = [event for stream in self._streams for event in stream]
        self._draw = random.random

    def __call__(self) -> list[bytes]:
        stream = self._streams[int(self._draw() * len(self._streams))]
        events = [seed.body for seed in stream]
        for _ in range(1 if self._draw() < 0.6 else 3):
            at = int(self._draw() * len(stream))
            match int(self._draw() * 10):
                case 0:
                    events.insert(at, self._all[int(self._draw() * len(self._all))].body)
                case 1:
                    del events[at : at + 1]
                case 2:
                    other = int(self._draw() * len(stream))
                    events[at : at + 1], events[other : other + 1] = events[other : other + 1], events[at : at + 1]
                case _:
                    events[at : at + 1] = [self._mutate.mutated(stream[at])]
        return events
