"""OpenAI's older completions, by the SDK `openai`. https://platform.openai.com/docs/api-reference/completions/create"""

from typing import Any

import openai

from fairlead.conformance import Answer, Ask, CannotSay, Finish, Mismatch, Received, Told, Turn, User
from fairlead.conformance.formats.openai_chat import used
from fairlead.conformance.formats.openai_sdk import OpenAI, OpenAIClient, OpenAIJudge, failed
from fairlead.conformance.formats.shared import body, dropped, finish, take

_FINISH: dict[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "refusal"}
_FIELDS = (
    "model prompt stream stream_options max_tokens temperature top_p n stop seed user frequency_penalty"
    " presence_penalty logit_bias logprobs echo suffix best_of"
)


class _Completions(OpenAI):
    """The SDK, and how it is asked."""

    # The SDK's own type of a chunk wants the reason in each, which only the last has: it cannot be held to it.
    strict = False

    async def create(self, said: dict[str, Any]) -> Answer:
        answer = Answer()
        try:
            raw = await self.sdk.completions.with_raw_response.create(**said)
            answer.dropped = dropped(raw.headers)
            if not said.get("stream"):
                _read(answer, raw.parse())
                return answer
            stream: Any = raw.parse()
            async with stream:
                async for chunk in stream:
                    _read(answer, chunk)
        except openai.APIError as error:
            raise failed(error, answer.text) from None
        return answer


class Client(_Completions, OpenAIClient):
    """A client of the gateway: it has a prompt, and no conversation."""

    converses = thinks = reads_thoughts = False

    async def ask(self, ask: Ask) -> Answer:
        return await self.create(_said(ask))

    async def hang_up(self, ask: Ask) -> str:
        stream: Any = await self.sdk.completions.create(**_said(ask))
        async with stream:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].text:
                    return str(chunk.choices[0].text)
        return ""


def _said(ask: Ask) -> dict[str, Any]:
    """The arguments of `completions.create`."""
    for what, told in (("tools", ask.tools), ("a schema", ask.schema), ("thinking", ask.thinking)):
        if told:
            raise CannotSay(what)
    match ask.turns:
        case [User(parts=parts)] if all(isinstance(part, str) for part in parts):
            prompt = "".join(part for part in parts if isinstance(part, str))
        case [User()]:
            raise CannotSay("media")
        case _:
            raise CannotSay("turns")
    said: dict[str, Any] = {"model": ask.model, "prompt": prompt, "max_tokens": ask.max_tokens}
    if ask.temperature is not None:
        said["temperature"] = ask.temperature
    if ask.stop:
        said["stop"] = list(ask.stop)
    if ask.stream:
        said |= {"stream": True, "stream_options": {"include_usage": True}}
    return said


def _read(answer: Answer, told: Any) -> None:
    """Add what an object of the SDK's says: a completion, or a chunk of one."""
    for choice in told.choices:
        answer.text += choice.text
        answer.pieces += bool(choice.text)
        answer.finish = finish(choice.finish_reason, _FINISH) or answer.finish
    if told.usage is not None:
        answer.used = used(told.usage)


class Judge(_Completions, OpenAIJudge):
    """What a provider of completions is sent, and answers."""

    def told(self, received: Received) -> Told:
        sent = body(received)
        take(sent, _FIELDS, "the request")
        told = Told(sent["model"], [Turn("user", [sent["prompt"]])], stream=sent.get("stream", False), prompt=True)
        if not isinstance(sent["prompt"], str):
            raise Mismatch("the prompt is no text")
        told.max_tokens, told.temperature = sent.get("max_tokens"), sent.get("temperature")
        stop = sent.get("stop") or ()
        told.stop = (stop,) if isinstance(stop, str) else tuple(stop)
        return told
