"""Anthropic's older completions, by the SDK `anthropic`. https://platform.claude.com/docs/en/api/completions

The SDK has no words for them any more: it asks and reads, by the types that it once had.
"""

from typing import Any, Literal

import anthropic
from anthropic import AsyncStream, BaseModel

from fairlead.conformance import Answer, Ask, CannotSay, Finish, Mismatch, Received, Told, Turn, User
from fairlead.conformance.formats.anthropic_sdk import Anthropic, AnthropicJudge, check_version, failed
from fairlead.conformance.formats.shared import body, dropped, finish, take

_FINISH: dict[str, Finish] = {"stop_sequence": "stop_sequence", "max_tokens": "length", "refusal": "refusal"}
_FIELDS = "model prompt max_tokens_to_sample stop_sequences stream temperature top_k top_p metadata"
_TURN = "\n\nHuman:"  # where an answer ends by itself
_RAW = {"X-Stainless-Raw-Response": "raw"}  # how the SDK is asked for an answer's headers


class Completion(BaseModel):
    """An answer, or an event of one: then the last says why it ended."""

    id: str
    completion: str
    model: str
    stop_reason: str | None
    type: Literal["completion"]
    stop: str | None = None


class _Completions(Anthropic):
    """The SDK, and how it is asked."""

    async def create(self, said: dict[str, Any]) -> Answer:
        answer = Answer()
        try:
            raw = await self._ask(said)
            answer.dropped = dropped(raw.headers)
            told = await raw.parse()
            if not said.get("stream"):
                _read(answer, told)
                return answer
            async with told:
                async for event in told:
                    _read(answer, event)
        except anthropic.APIError as error:
            raise failed(error, answer.text) from None
        if answer.finish is None:
            raise Mismatch("the stream ended without an event that says so")
        return answer

    async def _ask(self, said: dict[str, Any]) -> Any:
        stream = bool(said.get("stream"))
        kind: Any = Completion
        return await self.sdk.post(
            "/v1/complete",
            cast_to=kind,
            body=said,
            options={"headers": _RAW},
            stream=stream,
            stream_cls=AsyncStream[Completion],
        )


class Client(_Completions):
    """A client of the gateway: its prompt is a conversation of words."""

    converses, thinks, reads_thoughts = True, False, False

    async def ask(self, ask: Ask) -> Answer:
        return await self.create(_said(ask))

    async def hang_up(self, ask: Ask) -> str:
        stream = await (await self._ask(_said(ask))).parse()
        async with stream:
            async for event in stream:
                if event.completion:
                    return str(event.completion)
        return ""


def _said(ask: Ask) -> dict[str, Any]:
    """The body of a request."""
    for what, told in (("tools", ask.tools), ("a schema", ask.schema), ("thinking", ask.thinking)):
        if told:
            raise CannotSay(what)
    prompt = ask.system or ""
    for turn in ask.turns:
        if not isinstance(turn, User):
            raise CannotSay("turns that have been")
        if not all(isinstance(part, str) for part in turn.parts):
            raise CannotSay("media")
        prompt += f"{_TURN} " + "".join(part for part in turn.parts if isinstance(part, str))
    said: dict[str, Any] = {
        "model": ask.model, "prompt": f"{prompt}\n\nAssistant:", "max_tokens_to_sample": ask.max_tokens,
    }  # fmt: skip
    if ask.temperature is not None:
        said["temperature"] = ask.temperature
    if ask.stop:
        said["stop_sequences"] = list(ask.stop)
    if ask.stream:
        said["stream"] = True
    return said


def _read(answer: Answer, told: Completion) -> None:
    """Add what an answer says, or an event of one."""
    answer.text += told.completion
    answer.pieces += bool(told.completion)
    ended = "stop" if told.stop == _TURN else finish(told.stop_reason, _FINISH)
    answer.finish = ended or answer.finish


class Judge(_Completions, AnthropicJudge):
    """What a provider of completions is sent, and answers."""

    def told(self, received: Received) -> Told:
        check_version(received)
        sent = body(received)
        take(sent, _FIELDS, "the request")
        prompt = sent["prompt"]
        if not isinstance(prompt, str) or _TURN not in prompt or "\n\nAssistant:" not in prompt:
            raise Mismatch(f"this is no prompt for Claude: {str(prompt)[:80]!r}")
        told = Told(sent["model"], [Turn("user", [prompt])], stream=sent.get("stream", False), prompt=True)
        told.max_tokens, told.temperature = sent["max_tokens_to_sample"], sent.get("temperature")
        told.stop = tuple(sent.get("stop_sequences") or ())
        return told
