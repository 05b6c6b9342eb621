"""What a model says instead of an answer stays that between the formats that have a word for it."""

from typing import Any

import msgspec
import pytest

from fairlead.chat import Response, Text, fold, tell
from fairlead.protocols import ChatProtocol
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_responses import OpenAIResponses
from fairlead.protocols.sse import EventCutter

CHAT, RESPONSES, ANTHROPIC, GEMINI = OpenAIChat(), OpenAIResponses(), AnthropicMessages(), Gemini()
NO = "I will not."
REFUSED = Response("r", "m", (Text(NO, refusal=True),), "refusal")
BOTH = pytest.mark.parametrize("wire", [CHAT, RESPONSES], ids=["chat", "responses"])


def streamed(wire: ChatProtocol, response: Response) -> bytes:
    encode = wire.event_encoder(include_usage=True)
    return b"".join(map(encode, tell(response)))


def heard(wire: ChatProtocol, stream: bytes) -> Response:
    decode = wire.event_decoder()
    return fold(event for raw in [*EventCutter(1 << 20).feed(stream), b""] for event in decode(raw))


def asked(client: ChatProtocol, endpoint: ChatProtocol, body: dict[str, Any]) -> Any:
    request = client.decode_request(msgspec.json.encode({"model": "m", **body}))
    return msgspec.json.decode(endpoint.encode_request(request, default_max_tokens=9).body)


@BOTH
def test_a_refusal_is_told_as_one_whole_and_streamed(wire: ChatProtocol) -> None:
    for again in (wire.decode_response(wire.encode_response(REFUSED)), heard(wire, streamed(wire, REFUSED))):
        assert again.parts == REFUSED.parts
        assert again.finish_reason == "refusal"


def test_chats_have_a_field_for_it_and_need_no_other_reason() -> None:
    whole = msgspec.json.decode(CHAT.encode_response(REFUSED))["choices"][0]
    assert whole["message"] == {"role": "assistant", "content": None, "refusal": NO}
    assert whole["finish_reason"] == "stop"
    assert b'"delta":{"refusal":"I will not."}' in streamed(CHAT, REFUSED)


def test_what_is_said_before_a_refusal_is_the_content() -> None:
    mixed = Response("r", "m", (Text("Well."), Text(NO, refusal=True)), "refusal")
    message = msgspec.json.decode(CHAT.encode_response(mixed))["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == ("Well.", NO)
    for wire in (CHAT, RESPONSES):
        assert heard(wire, streamed(wire, mixed)).parts == mixed.parts


def test_formats_without_a_word_for_it_tell_the_text_and_why_it_ended() -> None:
    told = msgspec.json.decode(ANTHROPIC.encode_response(REFUSED))
    assert (told["content"][0]["text"], told["stop_reason"]) == (NO, "refusal")
    (candidate,) = msgspec.json.decode(GEMINI.encode_response(REFUSED))["candidates"]
    assert (candidate["content"]["parts"][0]["text"], candidate["finishReason"]) == (NO, "PROHIBITED_CONTENT")


def test_an_end_without_such_words_is_no_text_that_refuses() -> None:
    cut = Response("r", "m", (Text("I was"),), "refusal")
    choice = msgspec.json.decode(CHAT.encode_response(cut))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == ("I was", None)
    assert choice["finish_reason"] == "content_filter"


IN_CHATS = [
    {"role": "assistant", "content": None, "refusal": NO},
    {"role": "assistant", "refusal": NO},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": NO}]},
]
IN_RESPONSES = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": NO}]}
HELLO = {"role": "user", "content": "hello"}


@pytest.mark.parametrize("turn", IN_CHATS)
def test_a_turn_that_was_a_refusal_is_one_on_the_next(turn: dict[str, Any]) -> None:
    body = {"messages": [HELLO, turn, HELLO]}
    assert asked(CHAT, RESPONSES, body)["input"][1] == IN_RESPONSES
    assert asked(CHAT, CHAT, body)["messages"][1] == IN_CHATS[0]
    said = asked(CHAT, ANTHROPIC, body)["messages"][1]
    assert said == {"role": "assistant", "content": [{"type": "text", "text": NO}]}


def test_so_is_one_of_responses() -> None:
    body = {"input": [HELLO, IN_RESPONSES, HELLO]}
    assert asked(RESPONSES, CHAT, body)["messages"][1] == IN_CHATS[0]
    assert asked(RESPONSES, RESPONSES, body)["input"][1] == IN_RESPONSES
    assert asked(RESPONSES, GEMINI, body)["contents"][1] == {"role": "model", "parts": [{"text": NO}]}
