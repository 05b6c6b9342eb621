"""OpenAI's responses."""

import msgspec
from msgspec import structs

from fairlead.http.openapi.calls import ASKED, COUNTED, COUNTS, SAID, Call, failing, streamed, timeless
from fairlead.http.openapi.pieces import in_json, ref
from fairlead.http.openapi.refusals import OPENAI
from fairlead.http.openapi.shapes import openai_responses as shapes
from fairlead.http.openapi.streams import stream_of
from fairlead.protocols.openai_responses import OpenAIResponses

_WIRE = OpenAIResponses()
_SAID = structs.replace(SAID, id="resp_D0xUy3")
_ASKED = {
    "an answer": {"model": "gpt-4o-mini", "input": "Say hello."},
    "a stream": {"model": "gpt-4o-mini", "stream": True, "instructions": "Be brief.", "input": ASKED},
    "tools": {
        "model": "claude-sonnet-4-5",
        "input": "What is the weather in Oslo?",
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            }
        ],
    },
}
_PARAMETERS = ("OpenAI-Beta",)


def calls(root: str) -> dict[str, Call]:
    create, count = "createResponse", "countResponseTokens"
    if root != "/v1":
        create, count = "openrouterCreateResponse", "openrouterCountResponseTokens"
    whole = msgspec.json.decode(timeless(_WIRE.encode_response(_SAID)))
    content = {
        **in_json(ref(shapes.ModelResponse), an_answer=whole),
        **stream_of("ResponseEvent", failing(_WIRE, streamed(_WIRE, _SAID))),
    }
    counted = in_json(ref(shapes.ResponseTokens), a_number=msgspec.json.decode(_WIRE.encode_count(10)))
    response = Call(create, OPENAI, "A response", shapes.ResponsesRequest, _ASKED, content, parameters=_PARAMETERS)
    tokens = Call(
        count, OPENAI, "The tokens of a response's input", shapes.ResponsesRequest,
        {"an input": {"model": "gpt-4o-mini", "input": "Say hello."}}, counted, COUNTS, COUNTED, _PARAMETERS,
    )  # fmt: skip
    return {f"{root}/responses": response, f"{root}/responses/input_tokens": tokens}
