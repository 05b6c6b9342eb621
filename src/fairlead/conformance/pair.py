"""A client's format and a provider's, and what holds of everything that is said between them."""

from typing import Protocol

from msgspec import structs

from fairlead.conformance import (
    Answer,
    Ask,
    Asking,
    Document,
    Image,
    Mismatch,
    Model,
    Reading,
    Received,
    Refused,
    Results,
    Thought,
    Told,
    Turn,
    Used,
    User,
)
from fairlead.conformance.formats.shared import same_calls, turn

_SECONDS = 5.0  # a provider that is not let go of by then is not let go of


class Upstream(Protocol):
    """A simulated provider that remembers what it was sent."""

    def last(self) -> Received:
        """The request that came last. Raises Mismatch if none came since it was asked before."""
        ...

    async def left(self, seconds: float) -> bool:
        """Whether all that it was saying has ended within so many seconds, because the gateway went away."""
        ...


class Pair:
    """What a client of one format says to a provider of another, through the gateway."""

    def __init__(
        self,
        client: Asking,
        provider: str,
        *,
        models: str = "{}",
        judge: Reading | None = None,
        upstream: Upstream | None = None,
        picture: str = "",
        by_address: bool = False,
    ) -> None:
        """`models`: how the provider calls a simulated model; for a real provider the model that is asked.
        `picture`: the address of a picture; `by_address`: the provider is told addresses, not what stands there.

        With `judge` and `upstream` it is a simulated one, and what it is sent is looked at.
        """
        self._client, self._provider, self._models = client, provider, models
        self._judge, self._upstream = judge, upstream
        self.picture, self._by_address = picture, by_address
        self.simulated = judge is not None
        self._said: dict[int, Answer] = {}  # how the provider's own SDK reads an answer, by ours
        self._prompted = False  # what was said last reached the provider as one prompt

    def model(self, name: str, *, named: bool = False) -> str:
        """As the gateway's clients ask for it. A real provider is asked for one model only, but for a `named` one."""
        return f"{self._provider}/{name if named else self._models.format(name)}"

    # ---- asking

    async def ask(self, ask: Ask) -> Answer:
        """What the client's SDK reads. Raises Mismatch where the provider was told or told something else."""
        ask = self._sayable(ask)
        answer = await self._client.ask(ask)
        if self._judge is None or self._upstream is None:
            return answer
        received = self._upstream.last()
        self._reached(ask, self._judge.told(received), answer.dropped)
        direct = await self._judge.again(received)
        self._said[id(answer)] = direct
        if not self._client.thinks:
            direct = structs.replace(direct, thinking="")
        _agree(answer, direct, usage=not ask.tools)
        return answer

    async def fails(self, ask: Ask) -> Refused:
        """The error that the client's SDK raises, where the provider's own raises one too."""
        try:
            await self._client.ask(ask)
        except Refused as error:
            if self._judge is not None and self._upstream is not None:
                await self._fails_too(self._judge, self._upstream.last(), error)
            return error
        raise Mismatch("the SDK raised no error")

    async def _fails_too(self, judge: Reading, received: Received, error: Refused) -> None:
        try:
            await judge.again(received)
        except Refused as direct:
            if direct.text != error.text:
                raise Mismatch(f"before the error came {error.text!r}, of the provider {direct.text!r}") from None
            return
        raise Mismatch("the provider's own SDK raised no error")

    async def hang_up(self, ask: Ask) -> str:
        """The first piece of a text; then the client goes. Raises Mismatch where the gateway goes on without it."""
        text = await self._client.hang_up(ask)
        if self._upstream is not None and not await self._upstream.left(_SECONDS):
            raise Mismatch("the provider was not told that the client is gone")
        return text

    def _sayable(self, ask: Ask) -> Ask:
        """`ask` without what is beside the point and the client has no words for."""
        return ask if self._client.converses else structs.replace(ask, system=None)

    # ---- what cases find

    def same(self, what: str, got: str, wanted: str) -> None:
        """`got` is `wanted`. Of a real provider any text will do, and of a simulated one that is prompted, because it
        then goes on with marks of the prompt's own."""
        if self.simulated and not self._prompted and got != wanted:
            raise Mismatch(f"{what} is {got!r}, not {wanted!r}")
        self.there(what, got)

    def there(self, what: str, got: str) -> None:
        if not got:
            raise Mismatch(f"{what} is missing")

    def thought(self, answer: Answer) -> None:
        """A simulated provider told a thought, in words if these were asked for, or sealed; how it was read was looked
        at before."""
        if self.simulated:
            direct = self._said[id(answer)]
            sealed = "" if self._client.reads_thoughts else direct.signature or ""
            self.there("the thought", direct.thinking or sealed)

    def details(self, used: Used) -> None:
        """Cached and reasoning tokens are told."""
        for what, tokens in (("cached", used.cached), ("reasoning", used.reasoning)):
            if not tokens:
                raise Mismatch(f"no {what} tokens are told")

    # ---- what reached the provider

    def _reached(self, ask: Ask, told: Told, dropped: tuple[str, ...]) -> None:
        """Raises Mismatch where `told` is not `ask`."""
        self._prompted = told.prompt
        # A prompt needs marks of its own, so that a model does not speak for the user.
        stop = told.stop if not told.prompt else tuple(mark for mark in told.stop if mark in ask.stop)
        wanted = [
            ("the temperature", told.temperature, ask.temperature),
            ("the stop sequences", stop, ask.stop),
            ("the schema", told.schema, ask.schema),
            ("thinking", told.thinking, ask.thinking),
            ("streaming", told.stream, ask.stream),
        ]
        for what, got, want in wanted:
            if got != want:
                raise Mismatch(f"{what} reached the provider as {got!r}, not {want!r}{_dropped(dropped)}")
        if told.max_tokens != ask.max_tokens and not (ask.thinking and (told.max_tokens or 0) > ask.max_tokens):
            raise Mismatch(f"max_tokens reached the provider as {told.max_tokens}{_dropped(dropped)}")
        if told.tools != list(ask.tools):
            raise Mismatch(f"the tools reached the provider as {told.tools}{_dropped(dropped)}")
        turns = self._turns(ask)
        if told.prompt:
            _all_in(told.turns[0].texts[0], [ask.system or "", *(text for turn in turns for text in _words_of(turn))])
            return
        if told.system != (ask.system or ""):
            raise Mismatch(f"the instructions reached the provider as {told.system!r}{_dropped(dropped)}")
        if len(turns) != len(told.turns):
            raise Mismatch(f"{len(told.turns)} turns reached the provider, not {len(turns)}{_dropped(dropped)}")
        for got_turn, wanted_turn in zip(told.turns, turns, strict=True):
            _same_turn(got_turn, wanted_turn, dropped)

    def _turns(self, ask: Ask) -> list[Turn]:
        """The turns as they have to reach the provider."""
        turns: list[Turn] = []
        for said in ask.turns:
            match said:
                case User(parts=parts):
                    user = turn(turns, "user")
                    user.texts += [part for part in parts if isinstance(part, str)]
                    user.media += [("image", self._shown(part)) for part in parts if isinstance(part, Image)]
                    user.media += [("document", part.data) for part in parts if isinstance(part, Document)]
                case Model(answer=answer):
                    direct = self._said[id(answer)]
                    model = turn(turns, "model")
                    model.texts.append(direct.text)
                    if direct.refusal and answer.refusal:
                        model.refusals.append(direct.refusal)
                    model.calls += direct.calls
                    if direct.thinking or direct.signature:
                        model.thoughts.append(Thought(direct.thinking, direct.signature))
                case Results(results=results):
                    turn(turns, "user").results += results
        return turns

    def _shown(self, image: Image) -> bytes | str:
        return image.url if image.url and self._by_address else image.data


def _dropped(names: tuple[str, ...]) -> str:
    return f" (x-fairlead-dropped: {', '.join(names)})" if names else ""


def _words_of(turn: Turn) -> list[str]:
    return [*turn.texts, *(result.text for result in turn.results)]


def _all_in(prompt: str, said: list[str]) -> None:
    """Raises Mismatch unless all that was said stands in the prompt, in its order."""
    place = 0
    for text in said:
        found = prompt.find(text, place)
        if found < 0:
            raise Mismatch(f"{text!r} is not in the prompt, which is {prompt!r}")
        place = found + len(text)


def _same_turn(got: Turn, wanted: Turn, dropped: tuple[str, ...]) -> None:
    """Raises Mismatch where a turn is another."""
    told = _dropped(dropped)
    if got.side != wanted.side:
        raise Mismatch(f"a turn of the {wanted.side} reached the provider as one of the {got.side}{told}")
    if "".join(got.texts) != "".join(wanted.texts):
        raise Mismatch(f"{''.join(wanted.texts)!r} reached the provider as {''.join(got.texts)!r}{told}")
    if got.refusals != wanted.refusals:
        raise Mismatch(f"the refusals {wanted.refusals} reached the provider as {got.refusals}{told}")
    if got.media != wanted.media:
        kinds = [(kind, data if isinstance(data, str) else f"{len(data)} bytes") for kind, data in got.media]
        raise Mismatch(f"media reached the provider as {kinds}{told}")
    if not same_calls(tuple(got.calls), tuple(wanted.calls)):
        raise Mismatch(f"the calls {wanted.calls} reached the provider as {got.calls}{told}")
    results = [(result.name, result.text) for result in got.results]
    if results != [(result.name, result.text) for result in wanted.results]:
        raise Mismatch(f"the results reached the provider as {results}{told}")
    # A thought without a signature need not come back: nothing is lost that the provider would ask for.
    if got.thoughts != wanted.thoughts and (got.thoughts or any(thought.signature for thought in wanted.thoughts)):
        raise Mismatch(f"the thoughts {wanted.thoughts} reached the provider as {got.thoughts}{told}")


# ---- what it answered

_STOPS = {"stop", "stop_sequence"}  # most formats make no difference


def _agree(answer: Answer, direct: Answer, *, usage: bool) -> None:
    """Raises Mismatch where the client reads something else than the provider's own SDK.

    `usage`: also of what was used. The simulator counts schemas as they are spelt, which an SDK does in its own way.
    """
    for what, got, wanted in (
        ("the text", answer.text, direct.text),
        ("the thought", answer.thinking, direct.thinking),
    ):
        if got != wanted:
            raise Mismatch(f"{what} is {got!r}, of the provider {wanted!r}")
    if None not in (answer.refusal, direct.refusal) and answer.refusal != direct.refusal:
        raise Mismatch(f"the refusal is {answer.refusal!r}, of the provider {direct.refusal!r}")
    if not same_calls(answer.calls, direct.calls):
        raise Mismatch(f"the calls are {answer.calls}, of the provider {direct.calls}")
    if answer.finish != direct.finish and not {answer.finish, direct.finish} <= _STOPS:
        raise Mismatch(f"the answer ended by {answer.finish}, of the provider by {direct.finish}")
    for what in ("input", "output", "cached", "reasoning") if usage else ():
        tokens, told = getattr(answer.used, what), getattr(direct.used, what)
        if told is not None and tokens is not None and tokens != told:
            raise Mismatch(f"{what} tokens are {tokens}, of the provider {told}")
