"""Gemini's `generateContent`."""

import msgspec

from fairlead.chat import Response, Text, Usage
from fairlead.http.openapi.calls import COUNTED, COUNTS, Call, failing, streamed
from fairlead.http.openapi.pieces import KEYS_OF_GOOGLE, in_json, one_of, ref
from fairlead.http.openapi.refusals import GEMINI
from fairlead.http.openapi.shapes import errors
from fairlead.http.openapi.shapes import gemini as shapes
from fairlead.http.openapi.streams import stream_of
from fairlead.protocols import sse
from fairlead.protocols.gemini import ArrayOfChunks, Gemini

_WIRE = Gemini()
_SAID = Response("D0xUy3", "gemini-2.5-flash", (Text("Hello!"),), "stop", Usage(10, 2))
_CONTENTS = [{"role": "user", "parts": [{"text": "Say hello."}]}]
_ASKED = {
    "a text": {"contents": _CONTENTS},
    "tools": {
        "contents": [{"role": "user", "parts": [{"text": "What is the weather in Oslo?"}]}],
        "generationConfig": {"maxOutputTokens": 500},
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "weather",
                        "parameters": {
                            "type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"],
                        },
                    }
                ]
            }
        ],
    },
}  # fmt: skip


def calls(root: str) -> dict[str, Call]:
    told = streamed(_WIRE, _SAID)
    # Google's own answers end their lines like this, and so do ours; what an event says is not changed by it.
    events = failing(_WIRE, told).replace(b"\r\n", b"\n")
    array = {"type": "array", "items": one_of(shapes.GenerateContentResponse, errors.GeminiError)}
    whole = in_json(ref(shapes.GenerateContentResponse), an_answer=msgspec.json.decode(_WIRE.encode_response(_SAID)))
    chunks = {
        **stream_of("GenerateContentEvent", events),
        **in_json(array, an_array=_array(told), an_error_at_its_end=_array(failing(_WIRE, told))),
    }
    counted = in_json(ref(shapes.CountTokensResponse), a_number=msgspec.json.decode(_WIRE.encode_count(10)))
    generate = Call(
        "generateContent", GEMINI, "An answer", shapes.GenerateContentRequest, _ASKED, whole,
        "The answer is one JSON object.", parameters=("Model",), keys=KEYS_OF_GOOGLE,
    )  # fmt: skip
    stream = Call(
        "streamGenerateContent", GEMINI, "An answer, as a stream", shapes.GenerateContentRequest, _ASKED, chunks,
        "With `alt=sse` the answer is a stream of server-sent events, of which the schema describes one; without, the"
        " same chunks are the elements of one JSON array, which comes piece by piece.",
        parameters=("Model", "Alt"), keys=KEYS_OF_GOOGLE,
    )  # fmt: skip
    count = Call(
        "countTokens", GEMINI, "The tokens of a request", shapes.CountTokensRequest,
        {
            "contents": {"contents": _CONTENTS},
            "a request": {"generateContentRequest": {"model": "models/gemini-2.5-flash", "contents": _CONTENTS}},
        },
        counted, COUNTS, COUNTED, ("Model",), KEYS_OF_GOOGLE,
    )  # fmt: skip
    return {
        f"{root}/models/{{model}}:generateContent": generate,
        f"{root}/models/{{model}}:streamGenerateContent": stream,
        f"{root}/models/{{model}}:countTokens": count,
    }


def _array(told: bytes) -> object:
    array = ArrayOfChunks()
    return msgspec.json.decode(array.feed(sse.EventCutter(len(told)).feed(told)) + array.finish())
