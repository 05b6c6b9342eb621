"""Whether formats keep what they promise, seen from outside: the vendors' own SDKs ask, and read what is answered.

Nothing here knows our codecs. A format is one file in `formats/`; what is asked stands in `cases.py` in the words
below, which belong to no format; `matrix.py` asks each case of each pair of formats.

    Ask     what a client wants to say           Answer  what the client's SDK read
    Told    what reached the provider
"""

from typing import Any, Literal, Protocol

from msgspec import Struct

Finish = Literal["stop", "stop_sequence", "length", "tools", "refusal", "other"]


class Image(Struct, frozen=True):
    """A picture, as bytes, or by the address where they are to be had."""

    mime: str
    data: bytes
    url: str = ""


class Document(Struct, frozen=True):
    """A file, as bytes."""

    mime: str
    data: bytes
    name: str


Said = str | Image | Document


class User(Struct, frozen=True):
    """A turn of the user's."""

    parts: tuple[Said, ...]
    cached: bool = False  # up to here the prompt may be cached, where the format has marks for that


class Model(Struct, frozen=True):
    """A turn of the model's, brought back as the SDK that read it gave it (`answer.said`)."""

    answer: "Answer"


class Result(Struct, frozen=True):
    """What a tool gave."""

    id: str
    name: str
    text: str


class Results(Struct, frozen=True):
    """What the tools gave that the model had called."""

    results: tuple[Result, ...]


class ToolSpec(Struct, frozen=True):
    """A tool that the model may call."""

    name: str
    description: str
    schema: dict[str, Any]


class Ask(Struct, frozen=True):
    """What a client wants to say. `model` is the upstream's name for it, without the provider."""

    model: str
    turns: tuple[User | Model | Results, ...]
    system: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 4000
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    thinking: bool = False
    stream: bool = False


class Call(Struct, frozen=True):
    """A tool that the model called. `id` is None where the format has none."""

    id: str | None
    name: str
    arguments: Any


class Used(Struct, frozen=True):
    """Tokens, as all formats can be brought to: details are parts of their totals. None: the format does not tell."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None  # of input
    reasoning: int | None = None  # of output


class Answer(Struct):
    """What an SDK read."""

    text: str = ""
    thinking: str = ""
    signature: str | None = None  # whatever the format keeps to be brought back with the thought
    calls: tuple[Call, ...] = ()
    finish: Finish | None = None
    used: Used = Used()
    pieces: int = 0  # in how many pieces the text came
    said: Any = None  # the answer as the SDK wants it back in the next turn
    dropped: tuple[str, ...] = ()  # what `x-fairlead-dropped` names
    refusal: str | None = None  # what of the text is said instead of an answer; None: the format has no word for it


class Thought(Struct, frozen=True):
    """A thought that was brought back."""

    text: str
    signature: str | None


class Turn(Struct):
    """A turn of a conversation, as it reached the provider; turns of one side that follow each other are one."""

    side: Literal["user", "model"]
    texts: list[str] = []
    media: list[tuple[str, bytes | str]] = []  # kind, and bytes or an address
    thoughts: list[Thought] = []
    calls: list[Call] = []
    results: list[Result] = []
    refusals: list[str] = []  # those of the texts that the format tells as such


class Told(Struct):
    """What reached the provider."""

    model: str
    turns: list[Turn]
    system: str = ""
    tools: list[ToolSpec] = []
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    thinking: bool = False
    stream: bool = False
    prompt: bool = False  # the one turn is a prompt that holds all that was said


class Received(Struct, frozen=True):
    """A request as it reached the provider. `target` is its path and query."""

    target: str
    headers: dict[str, str]
    body: bytes


class CannotSay(Exception):
    """The client's format has no words for it: `what` is the case's."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the format has no words for {what}")
        self.what = what


class Refused(Exception):
    """The SDK raised an error of the service's. `status` is None in the middle of a stream."""

    def __init__(self, error: Exception, status: int | None, text: str = "") -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.kind, self.status, self.text = type(error).__name__, status, text


class Mismatch(Exception):
    """Something is not as it should be."""


class Asking(Protocol):
    """A vendor's SDK as a client."""

    converses: bool  # the format has turns and instructions, not only a prompt
    thinks: bool  # the format tells thoughts
    reads_thoughts: bool  # who asks for thoughts in this format asks to be told them, too

    async def ask(self, ask: Ask) -> Answer:
        """Raises Refused where the SDK raises an error of the service's, CannotSay before anything is sent."""
        ...

    async def hang_up(self, ask: Ask) -> str:
        """The first piece of a stream's text; then the connection is closed."""
        ...

    async def aclose(self) -> None: ...


class Reading(Protocol):
    """A vendor's SDK as the judge of what a provider was sent, and of what that provider answers."""

    def told(self, received: Received) -> Told:
        """What `received` says. Raises Mismatch where it is not as the vendor's documentation has it."""
        ...

    async def again(self, received: Received) -> Answer:
        """The same said to the provider by the SDK itself, and what it reads. Raises as `Asking.ask` does."""
        ...

    async def aclose(self) -> None: ...
