"""The parts of a streamed answer as events, where one text or one thought is open at a time."""

from collections.abc import Iterator

from msgspec import structs

from fairlead.chat import Citation, Event, Opaque, PartDelta, PartEnd, PartStart, Reasoning, Text, ToolUse

Kind = type[Text] | type[Reasoning]


class Telling:
    """A text or a thought stays open until another part begins, so that what belongs to it may follow it."""

    __slots__ = ("_key", "_next", "_open")

    def __init__(self) -> None:
        self._next = 0  # index of the next part
        self._open: int | None = None  # the open text or thought
        self._key: tuple[Kind, int | None] = (Text, None)  # its kind, and its number where the format has one

    @property
    def begun(self) -> bool:
        """Whether any part was told."""
        return self._next > 0

    def more(self, kind: Kind, text: str, number: int | None = None) -> Iterator[Event]:
        """`text` is added to the open part if that is of this kind and number, else another begins."""
        if not text:
            return
        if self._open is None or self._key != (kind, number):
            yield from self.close()
            self._open, self._key = self.take(), (kind, number)
            yield PartStart(self._open, Text("") if kind is Text else Reasoning())
        yield PartDelta(self._open, text)

    def open_text(self) -> tuple[int, int | None] | None:
        """Index and number of the open text, None if no text is open."""
        return (self._open, self._key[1]) if self._open is not None and self._key[0] is Text else None

    def beside(self, *, citations: tuple[Citation, ...] = (), extra: Opaque | None = None) -> Iterator[Event]:
        """What belongs to the open text; nothing if none is open."""
        found = self.open_text()
        if found is not None and (citations or extra is not None):
            yield PartDelta(found[0], citations=citations, extra=extra)

    def close(self) -> Iterator[Event]:
        if self._open is not None:
            yield PartEnd(self._open)
            self._open = None

    def take(self) -> int:
        """The index of a part that its caller tells."""
        self._next += 1
        return self._next - 1

    def call(self, call: ToolUse) -> Iterator[Event]:
        """A call that comes whole."""
        yield from self.close()
        index = self.take()
        yield PartStart(index, structs.replace(call, arguments=""))
        yield PartDelta(index, call.arguments)
        yield PartEnd(index)
