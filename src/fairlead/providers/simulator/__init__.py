"""The simulator: models without a network, whose answers depend on nothing but the request.

It stands where a provider would, in two ways: `SimulatorTransport` plugs in where the upstream client is (base URLs
of scheme "simulator"), and `fairlead simulate` serves the same answers over HTTP, byte for byte.

Models, with or without "sim/" before the name:

    echo      the last words of the user; media and results of tools are named in brackets
    fast      a sentence, at once
    slow      the same, after 500 ms to the first token, at 40 tokens a second
    flaky     a third of all requests fail: 429, 500, 529, or a connection that dies in the middle
    tools     calls every tool it is given (one, where parallel calls are off) with arguments valid against their
              schemas; sums up in words once it sees results
    thinking  thinks aloud, signs it, then speaks
    json      an object, by `response_format` where there is one
    long      4,000 tokens
    refuse    declines, in whatever way the format has for it; where it has none, in words

On Bedrock, where an id says whose format it is, the model is its last word: "us.anthropic.claude-echo".

Formats, each known by the end of its address, whatever base path stands before it:

    openai-chat          /chat/completions
    openai-completions   /completions
    openai-responses     /responses, /responses/input_tokens
    anthropic-messages   /messages, /messages/count_tokens
    anthropic-completions   /complete
    gemini               /models/{model}:generateContent, :streamGenerateContent, :countTokens
    bedrock-converse     /model/{id}/converse, /converse-stream, /count-tokens
    bedrock-invoke       /model/{id}/invoke, /invoke-with-response-stream
    cohere-chat          /v2/chat
    cohere-chat-v1       /v1/chat
    ollama-chat          /api/chat
    ollama-generate      /api/generate

Requests are refused where the vendor would: for fields it does not know (OpenAI's responses, Gemini), for results of
tools that nobody asked for, for signatures of thoughts that are not the simulator's own ("sim-..."), and the like.
Nothing is kept between requests: an earlier response of OpenAI's is never found.

All obey `max_tokens` and stop sequences; a tool call that `max_tokens` would cut is left out whole. An HTTP server
answers any other name like `echo`, so that it can stand for any provider; the transport answers 404.

Tokens: one for each started 4 bytes of UTF-8, counted text by text.

    input     4 for each message, and its parts: texts, thoughts, names and arguments of calls, results;
              100 for an image, a sound, or a document that is not plain text;
              for each tool its name, its description and its schema as it is spelt
    output    texts, thoughts (these are the reasoning tokens), names and arguments of calls
    cached    what stands up to the first cache mark was read from the cache, what stands from there to the last
              mark was written to it, for an hour if the last mark says so; order: tools, then messages.
              Where a format has no marks: OpenAI's instructions beside a `prompt_cache_key` were cached, and so was
              what a `cachedContent` of Gemini stands for (4 tokens, and its name's)

Faults make an answer go wrong, as `name` or `name=value`: several joined by "+" behind the model's name
(`sim/echo+cut=3+delay=0.2`), or by "," in the header `x-simulator-fault`. `faults.Faults` lists them.

A server tells what it was asked at /__tally and /__requests (`server.py`).
`fairlead simulate --tally FILE` writes down what was served to each call that says its name; `tally.py` has the lines.
"""

from fairlead.providers.simulator.transport import SimulatorTransport

__all__ = ["SimulatorTransport"]
