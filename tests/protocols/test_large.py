"""Large requests: what translates them has to do in proportion to their size, and what passes is not looked into."""

import base64
import sys
import tracemalloc

import pytest

from fairlead.app import WIRES
from fairlead.chat import Media, Message, Request, Text
from fairlead.protocols import is_inbound, is_outbound, is_wire, takes_prompts
from work import grows_with_its_size

INBOUND = [name for name, wire in WIRES.items() if is_inbound(wire) and is_outbound(wire)]
OUTBOUND = [name for name, wire in WIRES.items() if is_outbound(wire)]
PAIRS = [("openai-chat", name) for name in OUTBOUND] + [(name, "openai-chat") for name in INBOUND[1:]]
CHATS = [name for name in INBOUND if not takes_prompts(WIRES[name])]


def spelt(protocol: str, *parts: Text | Media, turns: int = 1) -> bytes:
    wire = WIRES[protocol]
    assert is_outbound(wire)
    messages = [Message("user" if turn % 2 == 0 else "assistant", parts) for turn in range(turns)]
    return wire.encode_request(Request("a-model", tuple(messages)), default_max_tokens=10).body


def translated(inbound: str, outbound: str, body: bytes) -> bytes:
    client, provider = WIRES[inbound], WIRES[outbound]
    assert is_inbound(client)
    assert is_outbound(provider)
    model = "anthropic.claude-x" if outbound == "bedrock-invoke" else "a-model"
    words = client.decode_request(body)
    told = Request(model, words.messages, max_tokens=words.max_tokens)
    return provider.encode_request(told, default_max_tokens=10).body


@pytest.mark.parametrize(("inbound", "outbound"), [pair for pair in PAIRS if pair[0] in CHATS])
def test_a_conversation_of_many_turns_is_translated_in_proportion(inbound: str, outbound: str) -> None:
    bodies = {turns: spelt(inbound, Text("Why is the sky blue? "), turns=turns) for turns in (1, 51, 204)}
    assert grows_with_its_size(lambda turns: translated(inbound, outbound, bodies[turns]), 51)


@pytest.mark.parametrize(("inbound", "outbound"), PAIRS)
def test_a_prompt_of_a_hundred_thousand_tokens_is_translated_in_proportion(inbound: str, outbound: str) -> None:
    bodies = {size: spelt(inbound, Text("Why? Für 天\n" * size)) for size in (1, 8_000, 32_000)}
    assert len(bodies[32_000]) > 400_000
    assert grows_with_its_size(lambda size: translated(inbound, outbound, bodies[size]), 8_000)


@pytest.mark.parametrize("protocol", CHATS)
def test_an_image_of_a_megabyte_passes_without_being_decoded(protocol: str) -> None:
    wire = WIRES[protocol]
    assert is_wire(wire)

    def passed(body: bytes) -> None:
        taken = wire.peek(body)
        sent = wire.patch(taken, "another", drop=frozenset(), ask_usage=True, default_max_tokens=10)
        assert len(sent) > 0.9 * len(body)

    def lines(body: bytes) -> int:
        counted = 0

        def trace(frame: object, event: str, told: object) -> object:
            nonlocal counted
            counted += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            passed(body)
        finally:
            sys.settrace(before)
        return counted

    small, large = (
        spelt(protocol, Text("What is this?"), Media("image", "image/png", data=base64.b64encode(bytes(size)).decode()))
        for size in (300, 786_432)
    )
    assert len(large) > 1 << 20
    passed(small)
    assert lines(large) <= lines(small) + 10
    tracemalloc.start()
    passed(large)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.5 * len(large)  # a copy of its fields, and the body that is sent: neither image nor text
