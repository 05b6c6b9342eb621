"""What is asked of each pair of formats, and what has to come of it.

A case says what the client's SDK must read. `Pair.ask` looks after the rest: that all of what was asked reached the
provider as its vendor documents it, and that the provider's answer is the same whoever reads it.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct, structs

from fairlead.conformance import Answer, Ask, Document, Image, Mismatch, Model, Refused, Result, Results, ToolSpec, User
from fairlead.conformance.pair import Pair

# A red square of 8 × 8, and a page that says "fairlead".
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP4z8CAFTEMLQkAKP8/wc53yE8AAAAASUVORK5CYII="
)
_CONTENT = b"BT /F1 24 Tf 20 40 Td (fairlead) Tj ET"
PDF = (
    b"%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj\n"
    b"4 0 obj<</Length %d>>stream\n%b\nendstream endobj\n"
    b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\ntrailer<</Root 1 0 R>>\n%%%%EOF\n"
) % (len(_CONTENT), _CONTENT)


def _tool(name: str, description: str) -> ToolSpec:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Its name."}},
        "required": ["city"],
    }
    return ToolSpec(name, description, schema)


WEATHER = _tool("weather", "Tells the weather in a city. Ask it whenever weather is asked for.")
TIME = _tool("time", "Tells the time in a city. Ask it whenever the time is asked for.")
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
    "additionalProperties": False,
}


class Case(Struct, frozen=True):
    """`run` raises Mismatch, Refused or CannotSay where it does not hold. `real`: any provider can be asked it."""

    title: str
    run: Callable[[Pair], Awaitable[None]]
    real: bool = True


async def plain(pair: Pair) -> None:
    ask = _hello(pair, system="Answer in few words.", temperature=0.5)
    answer = await pair.ask(ask)
    pair.same("the text", answer.text, "hello there")
    _finished(answer, "stop")


async def stream(pair: Pair) -> None:
    answer = await pair.ask(_hello(pair, model="long", system="Answer in few words.", max_tokens=100, stream=True))
    if pair.simulated and answer.pieces < 10:
        raise Mismatch(f"the text came in {answer.pieces} pieces")
    pair.there("the text", answer.text)


async def tools(pair: Pair) -> None:
    for stream in (False, True):
        answer = await pair.ask(_weather(pair, (WEATHER,), stream=stream))
        _called(pair, answer, WEATHER)


async def parallel_tools(pair: Pair) -> None:
    for stream in (False, True):
        answer = await pair.ask(_weather(pair, (WEATHER, TIME), stream=stream))
        _called(pair, answer, WEATHER, TIME)


async def tool_results(pair: Pair) -> None:
    for stream in (False, True):
        first = _weather(pair, (WEATHER, TIME), stream=stream)
        answer = await pair.ask(first)
        results = tuple(
            Result(call.id or "", call.name, f"{call.name} {number}: fine") for number, call in enumerate(answer.calls)
        )
        again = structs.replace(first, turns=(*first.turns, Model(answer), Results(results)))
        answer = await pair.ask(again)
        pair.same("the text", answer.text, "The tools say: " + "; ".join(result.text for result in results))
        _finished(answer, "stop")


async def image(pair: Pair) -> None:
    picture = User((Image("image/png", PNG), "Which colour is this?"))
    answer = await pair.ask(Ask(pair.model("echo"), (picture,)))
    pair.there("the text", answer.text)


async def address(pair: Pair) -> None:
    """Who wants bytes has them, who takes addresses has the address."""
    for stream in (False, True):
        picture = User((Image("image/png", PNG, pair.picture), "Which colour is this?"))
        answer = await pair.ask(Ask(pair.model("echo"), (picture,), stream=stream))
        pair.there("the text", answer.text)


async def document(pair: Pair) -> None:
    page = User((Document("application/pdf", PDF, "page.pdf"), "Which word stands here?"))
    answer = await pair.ask(Ask(pair.model("echo"), (page,)))
    pair.there("the text", answer.text)


async def thinking(pair: Pair) -> None:
    for stream in (False, True):
        first = Ask(pair.model("thinking"), (User(("How much is 17 times 23?",)),), thinking=True, stream=stream)
        answer = await pair.ask(first)
        pair.there("the text", answer.text)
        pair.thought(answer)
        # What reaches the provider of it is compared with what it had said.
        await pair.ask(structs.replace(first, turns=(*first.turns, Model(answer), User(("And doubled?",)))))


async def structured(pair: Pair) -> None:
    for stream in (False, True):
        asked = User(("Give the capital of France, and the country.",))
        answer = await pair.ask(Ask(pair.model("json"), (asked,), schema=PLACE, stream=stream))
        try:
            told = msgspec.json.decode(answer.text, type=dict[str, str])
        except msgspec.DecodeError:
            raise Mismatch(f"the text is not by the schema: {answer.text[:80]!r}") from None
        if told.keys() != {"city", "country"}:
            raise Mismatch(f"the text is not by the schema: {answer.text[:80]!r}")


async def stop(pair: Pair) -> None:
    for stream in (False, True):
        counting = User(("Count from 1 to 9 in digits: 1 2 3 4 5",))
        answer = await pair.ask(Ask(pair.model("echo"), (counting,), stop=("4",), stream=stream))
        if "4" in answer.text:
            raise Mismatch(f"the text goes on behind its end: {answer.text[:80]!r}")
        pair.same("the text", answer.text, "Count from 1 to 9 in digits: 1 2 3 ")
        _finished(answer, "stop", "stop_sequence")


async def length(pair: Pair) -> None:
    for stream in (False, True):
        long = User(("Tell a long story.",))
        answer = await pair.ask(Ask(pair.model("long"), (long,), max_tokens=20, stream=stream))
        _finished(answer, "length")


async def refusal(pair: Pair) -> None:
    for stream in (False, True):
        first = _hello(pair, model="refuse", stream=stream)
        answer = await pair.ask(first)
        _finished(answer, "refusal")
        if answer.refusal:  # it is one on the next turn, too
            await pair.ask(structs.replace(first, turns=(*first.turns, Model(answer), User(("Please.",)))))


async def error(pair: Pair) -> None:
    """Each status is the client's as it was the provider's."""
    for stream in (False, True):
        if not pair.simulated:
            await pair.fails(Ask(pair.model("no-such-model", named=True), (User(("hello",)),), stream=stream))
            continue
        for status in (400, 429, 503):
            told = await pair.fails(_hello(pair, model=f"echo+status={status}", stream=stream))
            if told.status != status:
                raise Mismatch(f"the SDK raised {told} with status {told.status}, not {status}")


async def mid_stream_error(pair: Pair) -> None:
    told = await pair.fails(_hello(pair, model="long+error=30", stream=True))
    if told.status is not None or not told.text:
        raise Mismatch(f"the SDK raised {told} before the stream began")


async def cancel(pair: Pair) -> None:
    """A client that goes away takes the provider's work with it."""
    text = await pair.hang_up(_hello(pair, model="long+stall=30", stream=True))
    pair.there("the first piece", text)


async def usage(pair: Pair) -> None:
    for stream in (False, True):
        told = User(("Fairlead leads a line. " * 20 + "How much is 17 times 23?",))
        # The simulator thinks unasked, and reads from its cache unmarked.
        used = (await pair.ask(Ask(pair.model("thinking+cached=50"), (told,), stream=stream))).used
        if not used.input or not used.output:
            raise Mismatch(f"no usage was told: {used}")
        if pair.simulated:
            pair.details(used)


CASES: dict[str, Case] = {
    "plain": Case("plain", plain),
    "stream": Case("stream", stream),
    "tools": Case("tools", tools),
    "parallel": Case("parallel tools", parallel_tools),
    "results": Case("tool results", tool_results),
    "image": Case("image", image),
    "address": Case("image by its address", address, real=False),
    "document": Case("document", document),
    "thinking": Case("thinking, and its signature on the next turn", thinking),
    "schema": Case("structured output", structured),
    "stop": Case("stop sequence", stop),
    "length": Case("length", length),
    "refusal": Case("refusal, as such where both formats have a word for it", refusal, real=False),
    "error": Case("error", error),
    "broken": Case("error in the middle of a stream", mid_stream_error, real=False),
    "cancel": Case("cancel", cancel),
    "usage": Case("usage with cached and reasoning tokens", usage),
}


def _hello(pair: Pair, *, model: str = "echo", **more: Any) -> Ask:
    return Ask(pair.model(model), (User(("hello there",)),), **more)


def _weather(pair: Pair, tools: tuple[ToolSpec, ...], *, stream: bool) -> Ask:
    asked = "How is the weather in Paris, and what time is it there?" if len(tools) > 1 else "How is Paris's weather?"
    return Ask(pair.model("tools"), (User((asked,)),), tools=tools, stream=stream)


def _called(pair: Pair, answer: Answer, *tools: ToolSpec) -> None:
    """Raises Mismatch unless each of the tools was called (a real model may take them one by one)."""
    names = [call.name for call in answer.calls]
    wanted = [tool.name for tool in tools]
    if names != wanted and (pair.simulated or not set(names) <= set(wanted) or not names):
        raise Mismatch(f"called were {names}, not {wanted}")
    ids = [call.id for call in answer.calls if call.id is not None]
    if len(set(ids)) < len(ids):
        raise Mismatch(f"calls share an id: {ids}")
    for call in answer.calls:
        if not isinstance(call.arguments, dict) or not isinstance(call.arguments.get("city"), str):
            raise Mismatch(f"the arguments of {call.name} are not by its schema: {call.arguments}")
    _finished(answer, "tools")


def _finished(answer: Answer, *reasons: str) -> None:
    if answer.finish not in reasons:
        raise Mismatch(f"the answer ended by {answer.finish}, not by {' or '.join(reasons)}")


__all__ = ["CASES", "Case", "Refused"]
