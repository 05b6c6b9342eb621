"""The judges of the matrix see what got lost: each of these would be a red cell."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from msgspec import structs

from fairlead.conformance import (
    Answer,
    Ask,
    Call,
    CannotSay,
    Image,
    Mismatch,
    Model,
    Received,
    Refused,
    Told,
    ToolSpec,
    Turn,
    User,
)
from fairlead.conformance.cases import CASES, PLACE, WEATHER
from fairlead.conformance.formats.anthropic_completions import Judge as Complete
from fairlead.conformance.formats.anthropic_messages import Judge as Anthropic
from fairlead.conformance.formats.bedrock_converse import Judge as Converse
from fairlead.conformance.formats.bedrock_nova import Judge as Nova
from fairlead.conformance.formats.bedrock_texts import Judge as Texts
from fairlead.conformance.formats.openai_chat import Judge as OpenAI
from fairlead.conformance.limits import INBOUND, OUTBOUND, Limit, limit_of
from fairlead.conformance.matrix import untold
from fairlead.conformance.pair import Pair


@pytest.fixture(autouse=True)
def both_ways() -> None:
    """There is no gateway here."""


ASK = Ask(
    "p/m", (User(("hello",)),), system="Be brief.", tools=(WEATHER,), max_tokens=9, temperature=0.5, stop=("x",),
    schema=PLACE, thinking=True, stream=True,
)  # fmt: skip
TOLD = Told(
    "m", [Turn("user", ["hello"])], system="Be brief.", tools=[WEATHER], max_tokens=9, temperature=0.5, stop=("x",),
    schema=PLACE, thinking=True, stream=True,
)  # fmt: skip
ANSWER = Answer("hi", "hm", "SIG", (Call("1", "weather", {"city": "Paris"}),), "tools")


class Between:
    """All sides of a pair at once: what the client reads, what reached the provider, and what that answered."""

    converses = thinks = reads_thoughts = True

    def __init__(self, told: Told, answer: Answer, direct: Answer) -> None:
        self._told, self._answer, self._direct = told, answer, direct

    async def ask(self, ask: Ask) -> Answer:
        return self._answer

    async def hang_up(self, ask: Ask) -> str:
        return ""

    def told(self, received: Received) -> Told:
        return self._told

    async def again(self, received: Received) -> Answer:
        return self._direct

    def last(self) -> Received:
        return Received("/", {}, b"{}")

    async def left(self, seconds: float) -> bool:
        return False

    async def aclose(self) -> None:
        pass


def pair(told: Told = TOLD, answer: Answer = ANSWER, direct: Answer = ANSWER) -> Pair:
    between = Between(told, answer, direct)
    return Pair(between, "p", judge=between, upstream=between)


async def test_what_is_as_it_should_be_is_taken() -> None:
    assert await pair().ask(ASK) is ANSWER


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"system": ""}, "the instructions"),
        ({"temperature": None}, "the temperature"),
        ({"stop": ()}, "the stop sequences"),
        ({"schema": None}, "the schema"),
        ({"thinking": False}, "thinking"),
        ({"stream": False}, "streaming"),
        ({"max_tokens": None}, "max_tokens"),
        ({"tools": [ToolSpec("weather", "", {})]}, "the tools"),
        ({"turns": []}, "0 turns"),
        ({"turns": [Turn("model", ["hello"])]}, "a turn of the user"),
        ({"turns": [Turn("user", ["hullo"])]}, "'hello' reached the provider as 'hullo'"),
        ({"turns": [Turn("user", ["hello"], media=[("image", b"x")])]}, "media"),
        ({"turns": [Turn("user", ["hello"], calls=[Call("1", "f", {})])]}, "the calls"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_reached_the_provider_otherwise_is_seen(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(Mismatch, match=named):
        await pair(told=structs.replace(TOLD, **changed)).ask(ASK)


@pytest.mark.parametrize(
    ("by_address", "reached", "taken"),
    [(False, b"png", True), (False, "http://a/b.png", False), (True, "http://a/b.png", True), (True, b"png", False)],
)
async def test_an_image_by_its_address_reaches_the_provider_as_it_wants_it(
    by_address: bool, reached: bytes | str, taken: bool
) -> None:
    ask = Ask("p/m", (User((Image("image/png", b"png", "http://a/b.png"),)),), max_tokens=9)
    between = Between(Told("m", [Turn("user", media=[("image", reached)])], max_tokens=9), ANSWER, ANSWER)
    pair = Pair(between, "p", judge=between, upstream=between, by_address=by_address)
    with nullcontext() if taken else pytest.raises(Mismatch, match="media reached the provider as"):
        assert await pair.ask(ask) is ANSWER


async def test_of_a_prompt_all_that_was_said_is_looked_for() -> None:
    told = structs.replace(TOLD, prompt=True, system="", stop=("User:", "x"))
    held = structs.replace(told, turns=[Turn("user", ["Be brief. User: hello Assistant:"])])
    assert await pair(told=held).ask(ASK) is ANSWER
    for prompt in ("hello", "Be brief.", "hello Be brief."):
        with pytest.raises(Mismatch, match="is not in the prompt"):
            await pair(told=structs.replace(told, turns=[Turn("user", [prompt])])).ask(ASK)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"text": ""}, "the text"),
        ({"thinking": ""}, "the thought"),
        ({"calls": ()}, "the calls"),
        ({"finish": "stop"}, "the answer ended by stop"),
    ],
)
async def test_what_the_client_reads_otherwise_is_seen(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(Mismatch, match=named):
        await pair(answer=structs.replace(ANSWER, **changed)).ask(ASK)


async def test_a_refusal_is_looked_for_where_both_formats_have_one() -> None:
    refused, answered = structs.replace(ANSWER, refusal="No."), structs.replace(ANSWER, refusal="")
    with pytest.raises(Mismatch, match=r"the refusal is '', of the provider 'No.'"):
        await pair(answer=answered, direct=refused).ask(ASK)
    assert await pair(direct=refused).ask(ASK) is ANSWER  # its client has no word for it


async def test_a_refusal_that_is_a_text_on_the_next_turn_is_seen() -> None:
    refused = structs.replace(ANSWER, refusal="No.")
    between = Between(TOLD, refused, refused)
    both = Pair(between, "p", judge=between, upstream=between)
    answer = await both.ask(ASK)
    between._told = structs.replace(TOLD, turns=[*TOLD.turns, Turn("model", ["hi"], calls=list(ANSWER.calls))])
    with pytest.raises(Mismatch, match="the refusals"):
        await both.ask(structs.replace(ASK, turns=(*ASK.turns, Model(answer))))


async def test_a_provider_that_is_not_let_go_of_is_seen() -> None:
    with pytest.raises(Mismatch, match="not told that the client is gone"):
        await pair().hang_up(ASK)


async def test_an_error_that_does_not_come_is_seen() -> None:
    with pytest.raises(Mismatch, match="raised no error"):
        await pair().fails(ASK)


# ---- limits


DROPPED = Limit("", "", dropped="top_k")
REFUSED = Limit("", "", refused=True)
LACKING = Limit("", "", lacks="reasoning")


@pytest.mark.parametrize(
    ("limit", "failure", "dropped", "told"),
    [
        (DROPPED, Mismatch("x"), {"top_k"}, True),
        (DROPPED, Mismatch("x"), {"seed"}, False),
        (DROPPED, Refused(ValueError(), 400), {"top_k"}, False),
        (REFUSED, Refused(ValueError(), 400), set(), True),
        (REFUSED, Refused(ValueError(), 500), set(), False),
        (REFUSED, Mismatch("x"), set(), False),
        (LACKING, Mismatch("no reasoning"), set(), True),
        (LACKING, Mismatch("no text"), set(), False),
        (LACKING, KeyError("reasoning"), set(), False),
        (Limit("", ""), CannotSay("stop"), set(), True),
        (Limit("", ""), Mismatch("x"), set(), False),
    ],
)
def test_a_cell_is_grey_only_where_the_client_is_told(
    limit: Limit, failure: Exception, dropped: set[str], told: bool
) -> None:
    assert (untold(limit, failure, dropped) == "") == told


def test_every_limit_is_of_a_case_and_has_a_page_and_one_way_to_be_told() -> None:
    for (_, case), limit in {**INBOUND, **OUTBOUND}.items():
        assert case in CASES
        assert limit.link.startswith("https://")
    for limits, ways in ((OUTBOUND, {1}), (INBOUND, {0, 1})):
        for limit in limits.values():
            assert sum(map(bool, [limit.dropped, limit.refused, limit.lacks])) in ways
    assert limit_of("gemini", "openai-chat", "plain") is None


# ---- requests that their vendor would not understand


@asynccontextmanager
async def judging(make: Callable[[str], Any]) -> AsyncIterator[Any]:
    judge = make("http://127.0.0.1:9/v1")
    try:
        yield judge
    finally:
        await judge.aclose()


VERSIONED = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("make", "target", "body", "named"),
    [
        (Nova, "/model/amazon.nova-lite/invoke", b'{"messages":[],"owl":1}', "the request has owl"),
        (Nova, "/model/amazon.nova-lite/invoke", b'{"messages":[],"inferenceConfig":{"owl":1}}', "Config has owl"),
        (Texts, "/model/meta.llama3/invoke", b'{"prompt":"x","stop":["y"]}', "the request has stop"),
        (Texts, "/model/amazon.titan-text/invoke", b'{"inputText":"x","maxTokenCount":1}', "has maxTokenCount"),
        (Texts, "/model/mistral.mixtral/invoke", b'{"prompt":["x"]}', "the prompt is no text"),
        (Texts, "/model/meta.llama3/converse", b'{"prompt":"x"}', "was asked at"),
        (Complete, "/v1/complete", b'{"model":"m","prompt":"x","max_tokens_to_sample":1}', "no prompt for Claude"),
        (Complete, "/v1/complete", b'{"model":"m","prompt":"x","max_tokens":1}', "has max_tokens"),
    ],
)
async def test_a_request_that_is_not_its_familys_is_seen(
    make: Callable[[str], Any], target: str, body: bytes, named: str
) -> None:
    async with judging(make) as judge:
        with pytest.raises(Mismatch, match=named):
            judge.told(Received(target, VERSIONED, body))


@pytest.mark.parametrize(
    ("make", "body", "named"),
    [
        (OpenAI, b"[]", "no JSON object"),
        (OpenAI, b"{", "no JSON"),
        (OpenAI, b'{"model":"m","messages":[{"role":"owl","content":"x"}]}', "no message"),
        (OpenAI, b'{"model":"m","messages":[{"role":"user","content":[{"type":"owl"}]}]}', "no part"),
        (OpenAI, b'{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":"x"}]}', "nobody made"),
        (OpenAI, b'{"model":"m","messages":[],"stream":true}', "usage of the stream"),
        (OpenAI, b'{"model":"m","messages":[],"tools":[{"type":"function","owl":1}]}', "a tool has owl"),
        (Anthropic, b'{"model":"m","messages":[],"max_tokens":1}', "anthropic-version"),
        (Converse, b'{"messages":[]}', "was asked at"),
    ],
)
async def test_a_request_that_is_not_the_vendors_is_seen(make: Callable[[str], Any], body: bytes, named: str) -> None:
    async with judging(make) as judge:
        with pytest.raises(Mismatch, match=named):
            judge.told(Received("/v1/nowhere", {}, body))


async def test_botocore_holds_a_request_against_the_services_model() -> None:
    async with judging(Converse) as judge:
        with pytest.raises(Exception, match="Unknown parameter in input"):
            await judge.again(Received("/model/m/converse", {}, b'{"messages":[],"owl":1}'))
