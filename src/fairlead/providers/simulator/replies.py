"""From the bytes of a request to the bytes of its reply, faults and pauses included; no I/O."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal

from msgspec import Struct, structs

from fairlead.chat import Event, Finish, Request, Usage
from fairlead.errors import InvalidRequest
from fairlead.providers.simulator import faults
from fairlead.providers.simulator.dialects import Dialect, Place, check_texts
from fairlead.providers.simulator.faults import NONE, Faults
from fairlead.providers.simulator.framing import Framing
from fairlead.providers.simulator.models import MODELS, Answer, mishap, named, perform
from fairlead.providers.simulator.paths import Paths, credentials, is_list
from fairlead.providers.simulator.tokens import Meter

FAULT_HEADER = b"x-simulator-fault"
Ending = Literal["whole", "silent", "cut", "reset"]
_HTML = b"text/html; charset=utf-8"
_MAX_JOINED_BYTES = 64 << 10
_MAX_REMEMBERED = 512  # replies
_REMEMBERED_BYTES = 16 << 10  # the largest request that is remembered; its reply is of its own size
_REMEMBERED_TOKENS = 256  # the longest answer that is remembered
_PAGE = (
    b"<html>\r\n<head><title>%d</title></head>\r\n<body>\r\n<center><h1>%d</h1></center>\r\n"
    b"<hr><center>a proxy on the way</center>\r\n</body>\r\n</html>\r\n"
)
_MESSAGES = {
    401: "Incorrect API key provided.", 402: "Your credit balance is too low.", 429: "Rate limit reached for requests.",
    500: "The server had an error while processing your request.", 503: "The engine is currently overloaded.",
    529: "Overloaded",
}  # fmt: skip


class Chunk(Struct, frozen=True, gc=False):
    """Bytes of a body, and what of the answer they tell."""

    pause: float  # seconds before it
    data: bytes
    tokens: int | None = None  # of output; None: it is no part of an answer, or of one that will not be whole
    last: bool = False  # the answer is whole with it


class About(Struct, frozen=True):
    """What was asked, and how much of a prompt it was."""

    protocol: str
    model: str
    stream: bool
    input_tokens: int = 0


class Reply(Struct):
    """What goes back: a head, unless the connection ends before it, and the body's chunks, each after its pause."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    chunks: Iterable[Chunk]
    length: int | None = None  # for content-length; None: the body is chunked, or ends with the connection
    wait: float = 0.0  # seconds before the head
    ending: Ending = "whole"
    headless: bool = False  # the ending comes before the head
    closes: bool = False  # the connection ends with the body
    drip: float | None = None  # seconds between bytes that come one by one
    wire: bytes | None = None  # head and body in one, where a server can say them at once
    about: About | None = None  # None: nothing that could be understood


class Simulator:
    """Answers requests by their path. Equal requests get equal replies, so small ones are remembered."""

    def __init__(
        self, *, protocols: Iterable[str] | None = None, credential: str | None = None, any_model: bool = True
    ) -> None:
        """`protocols`: served, by name; None: all. `credential`: what clients must send. `any_model`: unknown models
        are answered like `echo`, not with 404."""
        self._paths = Paths(protocols)
        self._credential = None if credential is None else credential.encode()
        self._any_model = any_model
        self._remembered: dict[tuple[str, bytes, bytes], Reply] = {}

    def reply(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> Reply:
        """The reply to one request; `headers` have names in lower case."""
        found = self._paths.find(target)
        if not self._admits(target, headers):
            return _refusal(self._paths.spoken(target, headers), 401, _MESSAGES[401])
        if found is None:
            return self._elsewhere(method, target, headers)
        dialect, place = found
        if method != "POST":
            told = f"Not allowed to {method[:20]} on {target[:100]}."
            return _refusal(dialect, 405, told, code="method_not_allowed")
        asked = headers.get(FAULT_HEADER, b"")
        key = (target, asked, body)
        remembered = self._remembered.get(key)
        if remembered is not None:
            return remembered
        reply = self._answered(dialect, place, asked.decode("latin-1"), body)
        if isinstance(reply.chunks, tuple) and len(body) <= _REMEMBERED_BYTES:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = reply
        return reply

    def _elsewhere(self, method: str, target: str, headers: Mapping[bytes, bytes]) -> Reply:
        """What is said where nothing is asked of a model."""
        spoken = self._paths.spoken(target, headers)
        if method == "GET" and is_list(target):
            return _json(spoken, 200, spoken.models(MODELS))
        return _refusal(spoken, 404, f"Unknown request URL: {method} {target[:100]}", code="unknown_url")

    def _admits(self, target: str, headers: Mapping[bytes, bytes]) -> bool:
        if self._credential is None:
            return True
        return self._credential in credentials(target, headers)

    def _answered(self, dialect: Dialect, place: Place, header: str, body: bytes) -> Reply:
        try:
            request = dialect.decode(body, place)
            if dialect.reads_itself:
                check_texts(request)
            asked = faults.asked(request.model, header)
        except InvalidRequest as error:
            return _refusal(dialect, 400, error.message, code=error.code, param=error.param)
        except (TypeError, AttributeError, LookupError, ValueError):  # a shape that the dialect does not look for
            return _refusal(dialect, 400, "The request has a value of a wrong type.")
        reply = self._performed(dialect, place, request, named(asked.model), asked.faults)
        if reply.about is None:
            reply.about = About(dialect.name, request.model, request.stream)
        return reply

    def _performed(self, dialect: Dialect, place: Place, request: Request, model: str, wanted: Faults) -> Reply:
        if model not in MODELS and not self._any_model:
            message = f"The model {request.model[:200]!r} does not exist; there are {', '.join(MODELS)}."
            return _refusal(dialect, 404, message, code="model_not_found", param="model")
        if request.max_tokens is not None and request.max_tokens < 0:
            return _refusal(dialect, 400, "The number of tokens must be 0 or more.", param="max_tokens")
        if model == "flaky" and wanted == NONE:
            wanted = mishap(request)
        if (wanted.text_bytes or 0) > faults.MAX_WHOLE_BYTES and (not request.stream or wanted.wrong_length):
            return _refusal(dialect, 400, f"The simulator makes so long a text in a stream only: {wanted.text_bytes}.")
        refused = _instead(dialect, request, wanted)
        if refused is not None:
            return refused
        answer = perform(request, wire=dialect.name, model=model, faults=wanted)
        usage = answer.response.usage
        if place.counts:
            return _spoilt(_json(dialect, 200, dialect.counted(usage or Usage())), wanted)
        small = usage is not None and usage.output_tokens <= _REMEMBERED_TOKENS
        if request.stream:
            reply = _stream(dialect, request, answer, wanted, keep=small)
        else:
            reply = _whole(dialect, request, answer, wanted, keep=small)
        reply.about = About(dialect.name, request.model, request.stream, usage.input_tokens if usage is not None else 0)
        return reply


def joined(reply: Reply) -> Iterator[Chunk]:
    """The chunks of `reply` as they are sent: what needs no pause together, or byte by byte where it drips."""
    if reply.drip is not None:
        for chunk in reply.chunks:
            yield from _drops(chunk, reply.drip)
        return
    held: list[Chunk] = []
    size = 0
    for chunk in reply.chunks:
        if held and (chunk.pause or size >= _MAX_JOINED_BYTES):
            yield _together(held)
            held, size = [], 0
        held.append(chunk)
        size += len(chunk.data)
    if held:
        yield _together(held)


def _together(chunks: list[Chunk]) -> Chunk:
    """Chunks as one."""
    if len(chunks) == 1:
        return chunks[0]
    tokens = [chunk.tokens for chunk in chunks if chunk.tokens is not None]
    return Chunk(
        sum([chunk.pause for chunk in chunks]),
        b"".join([chunk.data for chunk in chunks]),
        sum(tokens) if tokens else None,
        any([chunk.last for chunk in chunks]),
    )


def _drops(chunk: Chunk, pause: float) -> Iterator[Chunk]:
    """A chunk byte by byte; its tokens come with the last."""
    end = len(chunk.data) - 1
    for place in range(end):
        yield Chunk(pause if place else max(chunk.pause, pause), chunk.data[place : place + 1])
    yield Chunk(pause if end else max(chunk.pause, pause), chunk.data[end:], chunk.tokens, chunk.last)


# ---- replies


def _json(dialect: Dialect, status: int, body: bytes, *more: tuple[bytes, bytes]) -> Reply:
    return Reply(status, ((b"content-type", dialect.media_type), *more), (Chunk(0.0, body),), len(body))


def _refusal(
    dialect: Dialect, status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Reply:
    headers, status = dialect.error_headers(status), dialect.refusal(status)
    return _json(dialect, status, dialect.error(status, message, code=code, param=param), *headers)


def _instead(dialect: Dialect, request: Request, wanted: Faults) -> Reply | None:
    """The reply of a fault that leaves nothing of the answer."""
    after = (b"retry-after", wanted.retry_after.encode()) if wanted.retry_after is not None else None
    if wanted.html is not None:
        page = _PAGE % (wanted.html, wanted.html)
        reply = Reply(
            wanted.html, ((b"content-type", _HTML), *((after,) if after else ())), (Chunk(0.0, page),), len(page)
        )
    elif wanted.status is not None:
        if after is None and wanted.status in (429, 503, 529):
            after = (b"retry-after", b"1")
        message = _MESSAGES.get(wanted.status, "The simulator was asked to fail.")
        more = (*dialect.error_headers(wanted.status), *((after,) if after else ()))
        reply = _json(dialect, wanted.status, dialect.error(wanted.status, message), *more)
    elif wanted.empty:
        kind = dialect.framed(request).media_type if request.stream else dialect.media_type
        reply = Reply(200, ((b"content-type", kind),), (), 0)
    else:
        return None
    return _spoilt(reply, wanted)


def _told(answer: Answer, encode: Callable[[Event], bytes]) -> Iterator[Chunk]:
    """The chunks of a stream; the tokens of an event that has no bytes come with the next."""
    meter, tokens = Meter(), 0
    for pause, event in answer.events():
        tokens += meter(event)
        data = encode(event)
        if data:
            yield Chunk(pause, data, tokens, isinstance(event, Finish))
            tokens = 0


def _whole(dialect: Dialect, request: Request, answer: Answer, wanted: Faults, *, keep: bool) -> Reply:
    whole = answer.whole()
    body = dialect.encode(whole, request)
    if wanted.no_usage:
        body = dialect.without_usage(body)
        whole = structs.replace(whole, usage=None)
    if wanted.error is not None:
        body = dialect.error(500, _MESSAGES[500])
    if wanted.malformed is not None:
        body = body[: len(body) // 2]
    reply = _json(dialect, 200, body, *dialect.headers(whole, request))
    reply.wait = answer.seconds()
    ended = _ending(wanted)
    if ended is not None:
        reply.ending, events = ended
        reply.headless = events == faults.BEFORE
        reply.chunks = (Chunk(0.0, body[: len(body) // 2]),) if events > 0 else ()
    elif wanted.error is None and wanted.malformed is None and wanted.wrong_length is None:
        usage = answer.response.usage or Usage()
        reply.chunks = (Chunk(0.0, body, usage.output_tokens, last=True),)
    if not keep:
        reply.chunks = iter(reply.chunks)
    return _spoilt(reply, wanted)


def _stream(dialect: Dialect, request: Request, answer: Answer, wanted: Faults, *, keep: bool) -> Reply:
    chunks = _told(answer, dialect.encoder(request, answer.response))
    framing = dialect.framed(request)
    named = dialect.headers(structs.replace(answer.response, usage=None), request)
    reply = Reply(200, ((b"content-type", framing.media_type), (b"cache-control", b"no-cache"), *named), ())
    if wanted is not NONE:
        chunks = _disturbed(dialect, framing, chunks, wanted)
        ended = _ending(wanted)
        if ended is not None:
            reply.ending, events = ended
            reply.headless = events == faults.BEFORE
            chunks = islice(chunks, max(events, 0))
    reply.chunks = tuple(chunks) if keep and wanted.text_bytes is None else chunks
    if wanted.wrong_length is not None:
        reply.chunks = tuple(reply.chunks)
        reply.length = sum(len(chunk.data) for chunk in reply.chunks)
    return _spoilt(reply, wanted)


# ---- faults


def _ending(wanted: Faults) -> tuple[Ending, int] | None:
    """How the answer breaks off, and after how many events."""
    if wanted.reset is not None:
        return "reset", wanted.reset
    if wanted.cut is not None:
        return "cut", wanted.cut
    return None if wanted.stall is None else ("silent", wanted.stall)


def _spoilt(reply: Reply, wanted: Faults) -> Reply:
    """`reply` with the faults that any reply can have."""
    if wanted is NONE:
        return reply
    reply.wait += wanted.delay
    reply.drip = wanted.drip
    if wanted.close:
        reply.length, reply.closes = None, True
    if wanted.wrong_length is not None and reply.length is not None:
        reply.length += wanted.wrong_length
        reply.closes = True
        if reply.ending == "whole":
            reply.ending = "cut"
    return reply


def _disturbed(dialect: Dialect, framing: Framing, chunks: Iterator[Chunk], wanted: Faults) -> Iterator[Chunk]:
    """The events of a stream one by one, with those faults that are among them."""
    for number, chunk in enumerate(_events(framing, chunks)):
        if number == wanted.malformed:
            yield Chunk(0.0, dialect.broken_event)
        if number == wanted.error:
            yield Chunk(0.0, dialect.error_event())
            return
        event = chunk.data
        if wanted.no_done and dialect.is_end(event):
            continue
        data = framing.data(event) if wanted.no_usage or wanted.repeat > 1 else b""
        if wanted.no_usage and data:
            stripped = dialect.without_usage(data)
            if not stripped:
                continue
            event = event if stripped == data else framing.again(event, stripped)
        pause = chunk.pause if wanted.every is None else wanted.every
        yield Chunk(pause, event, chunk.tokens, chunk.last)
        for _ in range(wanted.repeat - 1 if data and dialect.has_text(data) else 0):
            yield Chunk(pause, event, 0)


def _events(framing: Framing, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    for chunk in chunks:
        events = framing.cut(chunk.data)
        for place, event in enumerate(events, 1):
            first, last = place == 1, place == len(events)
            yield Chunk(chunk.pause if first else 0.0, event, chunk.tokens if first else 0, chunk.last and last)
