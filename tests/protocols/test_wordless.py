"""A message of which nothing is left is refused, or told all the same: none disappears between the formats."""

import contextlib
from typing import Any

import msgspec
import pytest

from fairlead.app import WIRES
from fairlead.chat import Message, Opaque, Request, Text
from fairlead.errors import InvalidRequest
from fairlead.protocols import ChatProtocol
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_responses import OpenAIResponses

CHAT, RESPONSES, GEMINI = OpenAIChat(), OpenAIResponses(), Gemini()
HELLO = {"role": "user", "content": "hello"}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


def understood(wire: ChatProtocol, **body: Any) -> Request:
    return wire.decode_request(msgspec.json.encode({"model": "m", **body}))


@pytest.mark.parametrize("role", ["system", "developer", "user", "tool"])
@pytest.mark.parametrize("content", [{"content": None}, {}], ids=["null", "missing"])
def test_chats_take_no_message_without_a_content(role: str, content: dict[str, Any]) -> None:
    messages = [HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    with pytest.raises(InvalidRequest, match="is missing: it must be a string or an array") as refused:
        understood(CHAT, messages=[*messages, {"role": role, "tool_call_id": "c", **content}, HELLO])
    assert refused.value.param == "messages[2].content"


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"role": "user", "content": None}, "content"),
        ({"type": "message", "role": "system"}, "content"),
        ({"type": "function_call_output", "call_id": "c", "output": None}, "output"),
        ({"type": "function_call_output", "call_id": "c"}, "output"),
    ],
)
def test_nor_do_responses(item: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match="is missing") as refused:
        understood(RESPONSES, input=[HELLO, CALLED, item])
    assert refused.value.param == f"input[2].{field}"


@pytest.mark.parametrize("content", [{"role": "user"}, {"role": "user", "parts": []}, {"parts": None}])
def test_nor_does_gemini(content: dict[str, Any]) -> None:
    hello = {"role": "user", "parts": [{"text": "hello"}]}
    with pytest.raises(InvalidRequest, match=r"'contents\[1\].parts' is empty") as refused:
        understood(GEMINI, contents=[hello, content])
    assert refused.value.param == "contents[1].parts"


def test_a_content_of_no_words_is_one() -> None:
    request = understood(CHAT, messages=[{"role": "user", "content": ""}, {"role": "assistant"}, HELLO])
    told = msgspec.json.decode(RESPONSES.encode_request(request, default_max_tokens=9).body)
    assert told["input"][0] == {"type": "message", "role": "user", "content": ""}


SILENT = {
    "nothing": (),
    "an empty text": (Text(""),),
    "what only another format knows": (Opaque("nobody", msgspec.Raw(b'{"type":"x"}')),),
}


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("parts", SILENT.values(), ids=SILENT)
def test_a_provider_is_never_asked_nothing(name: str, parts: tuple[Any, ...]) -> None:
    model = "anthropic.claude-3-haiku-20240307-v1:0" if name.startswith("bedrock") else "m"
    request = Request(model, (Message("user", parts),))
    told: Any = None
    with contextlib.suppress(InvalidRequest):
        told = msgspec.json.decode(WIRES[name].encode_request(request, default_max_tokens=9).body)
    if told is None:
        return  # it is refused
    said = [told.get(field) for field in ("messages", "input", "contents", "prompt", "message", "inputText")]
    assert any(each not in (None, []) for each in said)
