"""`fairlead chat`: talk to a model through a gateway, as its answer comes.

What a model says is text and nothing else: it cannot colour, clear or otherwise drive the terminal.
"""

import io
import sys
import time
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct

from fairlead.cli.client import Gateway, GatewayError
from fairlead.cli.options import Secret, Url
from fairlead.cli.output import encoded, plain
from fairlead.telemetry.logs import printable

_PATH = "/v1/chat/completions"
_WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
_HOPELESS = (401, 403, 404)  # the next question would be answered alike


def command(
    model: Annotated[str, typer.Argument(help="Which model to ask; fairlead models lists them.")],
    prompt: Annotated[
        str | None,
        typer.Argument(help="What to ask. Without it: what comes on standard input, or a conversation in a terminal."),
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="Tell the model first how to behave.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer, in tokens.")] = None,
    url: Url = None,
    key: Secret = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON, once it is there.")] = False,
) -> None:
    """Talk to a model through a gateway.

    With a question it prints the answer as it comes, and leaves.

    In a terminal, without a question, it holds a conversation: Ctrl-C stops an
    answer, /reset forgets what was said, Ctrl-D or /exit leaves.
    """
    _be_lenient()
    conversation = Conversation(Gateway(url, key), model, system=system, max_tokens=max_tokens)
    try:
        if prompt is None and sys.stdin.isatty():
            if json:
                raise typer.BadParameter("--json wants a question")
            _converse(conversation)
        else:
            _answer_once(conversation, sys.stdin.read() if prompt is None else prompt, json=json)
    except GatewayError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


class Conversation:
    """What was said so far, and with whom. `told` is of the last answer."""

    def __init__(
        self, gateway: Gateway, model: str, *, system: str | None = None, max_tokens: int | None = None
    ) -> None:
        self.gateway, self.model = gateway, model
        self.told = Told()
        self._first = [] if system is None else [{"role": "system", "content": _whole(system)}]
        self._said: list[dict[str, str]] = []
        self._facts: dict[str, Any] = {"model": _whole(model)}
        if max_tokens is not None:
            self._facts["max_tokens"] = max_tokens

    def forget(self) -> None:
        self._said.clear()

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer to `question`, as it comes. Raises GatewayError.

        An answer that does not come to its end stays as far as it came; a question that had none is forgotten.
        """
        self.told = told = Told()
        self._said.append({"role": "user", "content": _whole(question)})
        said = []
        try:
            for event in self.gateway.stream(_PATH, {**self._body(), **_WITH_USAGE}):
                words = told.read(event)
                if words:
                    said.append(words)
                    yield words
        finally:
            if said:
                self._said.append({"role": "assistant", "content": "".join(said)})
            else:
                self._said.pop()
            told.seconds = time.monotonic() - told.began

    def whole(self, question: str) -> Any:
        """The answer to `question`, as the gateway spells it. Raises GatewayError."""
        self._said.append({"role": "user", "content": _whole(question)})
        return self.gateway.post(_PATH, self._body())

    def _body(self) -> dict[str, Any]:
        return {**self._facts, "messages": [*self._first, *self._said]}


class _Delta(Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class Told:
    """What there is to say of an answer besides its words."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first_seconds: float | None = None
        self.seconds = 0.0
        self.finish = ""
        self.usage: _Usage | None = None

    def read(self, event: Any) -> str:
        """The words in an event of a stream; the rest is noted. Raises GatewayError."""
        try:
            read = msgspec.convert(event, _Event)
        except msgspec.ValidationError as error:
            raise GatewayError("unreadable", f"the answer is none of a chat: {error}.") from None
        if read.usage is not None:
            self.usage = read.usage
        words = ""
        for choice in read.choices:
            self.finish = choice.finish_reason or self.finish
            words += (choice.delta.content or "") + (choice.delta.refusal or "")
        if words and self.first_seconds is None:
            self.first_seconds = time.monotonic() - self.began
        return words

    def line(self) -> str:
        """For people: "12 → 34 tokens, 1.2 s, the first after 0.3 s"."""
        facts = []
        if self.usage is not None:
            facts.append(f"{self.usage.prompt_tokens} → {self.usage.completion_tokens} tokens")
        facts.append(f"{self.seconds:.1f} s")
        if self.first_seconds is not None:
            facts.append(f"the first words after {self.first_seconds:.1f} s")
        if self.finish == "length":
            facts.append("cut where it was to be no longer")
        elif self.finish not in ("", "stop"):
            facts.append(f"ended by {printable(self.finish)}")
        return ", ".join(facts)


# ---- one answer


def _answer_once(conversation: Conversation, question: str, *, json: bool) -> None:
    if not question.strip():
        raise typer.BadParameter("there is nothing to ask")
    if json:
        print(encoded(conversation.whole(question)))
    else:
        _print_answer(conversation, question)


def _print_answer(conversation: Conversation, question: str) -> None:
    """Each word as it comes; a line's end behind the last, whatever happens."""
    end = "\n"
    try:
        with closing(conversation.ask(question)) as words:
            for word in words:
                shown = plain(word)
                print(shown, end="", flush=True)
                end = shown[-1:] or end
    finally:
        if end != "\n":
            print(flush=True)
    if sys.stdout.isatty():
        print(_dim(conversation.told.line()), flush=True)


# ---- a conversation


def _converse(conversation: Conversation) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401  # arrows and history at the prompt
    print(_dim(f"{plain(conversation.model)} at {conversation.gateway.url}. /reset forgets, Ctrl-D or /exit leaves."))
    while (question := _question()) is not None:
        if question == "/exit":
            return
        if question == "/reset":
            conversation.forget()
            print(_dim("What was said is forgotten."))
        elif question:
            _take_turn(conversation, question)


def _question() -> str | None:
    """What is asked next, "" for nothing; None at the end."""
    try:
        return input("> ").strip()
    except KeyboardInterrupt:
        print()
        return ""
    except EOFError:
        print()
        return None


def _take_turn(conversation: Conversation, question: str) -> None:
    try:
        _print_answer(conversation, question)
    except KeyboardInterrupt:
        print(_dim("stopped"))
    except GatewayError as error:
        if error.status in _HOPELESS:
            raise
        typer.echo(error, err=True)


# ---- text


def _be_lenient() -> None:
    """What a terminal cannot show, or sends that is no text, does not end the chat."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _whole(text: str) -> str:
    """`text` that can be sent: an argument may be any bytes."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _dim(text: str) -> str:
    return typer.style(text, dim=True) if sys.stdout.isatty() else text
