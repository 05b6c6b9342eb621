"""Anthropic's messages."""

import msgspec

from fairlead.chat import Response, Text, Usage
from fairlead.http.openapi.calls import ASKED, Call, failing, streamed
from fairlead.http.openapi.refusals import ANTHROPIC
from fairlead.http.openapi.shapes import anthropic_messages as shapes
from fairlead.protocols.anthropic_messages import AnthropicMessages

_SAID_BY_CLAUDE = Response("msg_01Xq", "claude-sonnet-4-5", (Text("Hello!"),), "stop", Usage(10, 4))
_MESSAGES_ASKED = {
    "an answer": {"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": ASKED},
    "a stream": {"model": "gpt-4o-mini", "max_tokens": 500, "stream": True, "system": "Be brief.", "messages": ASKED},
}


def call(root: str) -> Call:
    wire = AnthropicMessages()
    return Call(
        "createMessage" if root == "/v1" else "openrouterCreateMessage", wire, ANTHROPIC, shapes.MessagesRequest,
        shapes.Message, "MessageEvent", "A message", _MESSAGES_ASKED,
        msgspec.json.decode(wire.encode_response(_SAID_BY_CLAUDE)), failing(wire, streamed(wire, _SAID_BY_CLAUDE)),
        ("Anthropic-Version", "Anthropic-Beta"),
    )  # fmt: skip
