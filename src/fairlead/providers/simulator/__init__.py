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

All obey `max_tokens` and stop sequences; a tool call that `max_tokens` would cut is left out whole. An HTTP server
answers any other name like `echo`, so that it can stand for any provider; the transport answers 404.

Tokens: one for each started 4 bytes of UTF-8, counted text by text.

    input     4 for each message, and its parts: texts, thoughts, names and arguments of calls, results;
              100 for an image, a sound, or a document that is not plain text;
              for each tool its name, its description and its schema as it is spelt
    output    texts, thoughts (these are the reasoning tokens), names and arguments of calls
    cached    what stands up to the first cache mark was read from the cache, what stands from there to the last
              mark was written to it, for an hour if the last mark says so; order: tools, then messages

Faults make an answer go wrong, as `name` or `name=value`: several joined by "+" behind the model's name
(`sim/echo+cut=3+delay=0.2`), or by "," in the header `x-simulator-fault`. `faults.Faults` lists them.

`fairlead simulate --tally FILE` writes down what was served to each call that says its name; `tally.py` has the lines.
"""

from fairlead.providers.simulator.transport import SimulatorTransport

__all__ = ["SimulatorTransport"]
