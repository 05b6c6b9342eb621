"""Anthropic's messages."""

import msgspec

from fairlead.chat import Response, Text, Usage
from fairlead.http.openapi.calls import ASKED, COUNTED, COUNTS, Call, failing, streamed
from fairlead.http.openapi.pieces import in_json, ref
from fairlead.http.openapi.refusals import ANTHROPIC
from fairlead.http.openapi.shapes import anthropic_messages as shapes
from fairlead.http.openapi.streams import stream_of
from fairlead.protocols.anthropic_messages import AnthropicMessages

_WIRE = AnthropicMessages()
_SAID = Response("msg_01Xq", "claude-sonnet-4-5", (Text("Hello!"),), "stop", Usage(10, 4))
_ASKED = {
    "an answer": {"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": ASKED},
    "a stream": {"model": "gpt-4o-mini", "max_tokens": 500, "stream": True, "system": "Be brief.", "messages": ASKED},
}
_PARAMETERS = ("Anthropic-Version", "Anthropic-Beta")


def calls(root: str) -> dict[str, Call]:
    create, count = "createMessage", "countMessageTokens"
    if root != "/v1":
        create, count = "openrouterCreateMessage", "openrouterCountMessageTokens"
    whole = msgspec.json.decode(_WIRE.encode_response(_SAID))
    content = {
        **in_json(ref(shapes.Message), an_answer=whole),
        **stream_of("MessageEvent", failing(_WIRE, streamed(_WIRE, _SAID))),
    }
    counted = in_json(ref(shapes.MessageTokens), a_number=msgspec.json.decode(_WIRE.encode_count(10)))
    message = Call(create, ANTHROPIC, "A message", shapes.MessagesRequest, _ASKED, content, parameters=_PARAMETERS)
    tokens = Call(
        count, ANTHROPIC, "The tokens of a message", shapes.MessagesRequest,
        {"a message": {"model": "claude-sonnet-4-5", "messages": ASKED}}, counted, COUNTS, COUNTED, _PARAMETERS,
    )  # fmt: skip
    return {f"{root}/messages": message, f"{root}/messages/count_tokens": tokens}
