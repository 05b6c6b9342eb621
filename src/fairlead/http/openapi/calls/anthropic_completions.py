"""Anthropic's completions of the older kind."""

import msgspec

from fairlead.chat import Response, Text
from fairlead.http.openapi.calls import Call, failing, streamed
from fairlead.http.openapi.pieces import in_json, ref
from fairlead.http.openapi.refusals import ANTHROPIC
from fairlead.http.openapi.shapes import anthropic_completions as shapes
from fairlead.http.openapi.streams import stream_of
from fairlead.protocols.anthropic_completions import AnthropicCompletions

_WIRE = AnthropicCompletions()
_SAID = Response("compl_01Xq", "claude-sonnet-4-5", (Text("Hello!"),), "stop")
_PROMPT = "\n\nHuman: Say hello.\n\nAssistant:"
_ASKED = {
    "an answer": {"model": "claude-sonnet-4-5", "max_tokens_to_sample": 500, "prompt": _PROMPT},
    "a stream": {"model": "gpt-4o-mini", "max_tokens_to_sample": 500, "stream": True, "prompt": _PROMPT},
}


def calls(root: str) -> dict[str, Call]:
    id = "complete" if root == "/v1" else "openrouterComplete"
    whole = msgspec.json.decode(_WIRE.encode_response(_SAID))
    content = {
        **in_json(ref(shapes.Complete), an_answer=whole),
        **stream_of("CompleteEvent", failing(_WIRE, streamed(_WIRE, _SAID))),
    }
    summary = "A completion of Anthropic's older kind"
    call = Call(
        id, ANTHROPIC, summary, shapes.CompleteRequest, _ASKED, content,
        parameters=("Anthropic-Version", "Anthropic-Beta"),
    )  # fmt: skip
    return {f"{root}/complete": call}
