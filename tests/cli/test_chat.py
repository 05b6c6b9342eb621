"""`fairlead chat`: one answer on a pipe, conversations in a terminal, and what goes wrong in either."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from commands import asked, terminal
from fairlead.cli.output import encoded, plain
from gateway import KEY, Gateway, free_port, gateway
from misbehaving import Misbehaving
from serving import serving


def told(running: Gateway) -> dict[str, str]:
    """The environment of somebody who uses it."""
    return {"FAIRLEAD_URL": running.url, "FAIRLEAD_API_KEY": KEY}


def streamed(*deltas: str, end: bytes = b"data: [DONE]\n\n") -> bytes:
    """A stream as a gateway sends it, and a head for it."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": None}]} for delta in deltas]
    body = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + end
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


# ---- one answer


async def test_a_question_is_answered_and_nothing_else_is_printed(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "chat", "sim/echo", "hello there", **told(running))
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")
    (attempt,) = await running.rows("attempts")
    assert (attempt["outcome"], attempt["estimated"]) == ("ok", 0)


async def test_a_question_comes_from_standard_input_where_none_is_given(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "chat", "sim/echo", given="what is\nthis?\n", **told(running))
    assert (done.returncode, done.stdout) == (0, "what is\nthis?\n")
    done = await asked(tmp_path, "chat", "sim/echo", "told", given="unread", **told(running))
    assert done.stdout == "told\n"


@pytest.mark.parametrize("given", ["", "  \n"])
async def test_nothing_is_no_question(running: Gateway, tmp_path: Path, given: str) -> None:
    done = await asked(tmp_path, "chat", "sim/echo", given=given, **told(running))
    assert done.returncode == 2
    assert "there is nothing to ask" in done.stderr
    assert await running.rows("attempts") == []


async def test_bytes_that_are_no_text_are_asked_about_as_well_as_can_be(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "chat", "sim/echo", given=b"caf\xc3\xa9 \xff", **told(running))
    assert (done.returncode, done.stdout) == (0, "café \ufffd\n")
    done = await asked(tmp_path, "chat", "sim/echo", os.fsdecode(b"caf\xc3\xa9 \xff"), **told(running))
    assert (done.returncode, done.stdout) == (0, "café \ufffd\n")


async def test_what_the_model_is_told_first_and_how_long_it_may_speak_go_along(tmp_path: Path) -> None:
    async with serving("openai-chat") as url:
        lab = f'[providers.lab]\nbase_url = "{url}"\nprotocols = ["openai-chat"]\n'
        async with gateway(tmp_path, lab) as started:
            options = ("--system", "Be brief.", "--max-tokens", "2")
            done = await asked(tmp_path, "chat", "lab/echo", "one two three", *options, **told(started))
            assert (done.returncode, done.stdout) == (0, "one two \n")
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
            writer.write(b"GET /__tally HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            tally = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            writer.close()
    sent = json.loads(tally["last"]["body"])
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two three"},
    ]  # fmt: skip
    assert sent["max_tokens"] == 2


async def test_json_is_the_whole_answer(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "chat", "sim/echo", "hello", "--json", **told(running))
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["object"]) == (0, "chat.completion")
    assert answer["choices"][0]["message"]["content"] == "hello"
    assert answer["usage"]["completion_tokens"] == 2


# ---- what goes wrong


@pytest.mark.parametrize(
    ("model", "begins", "ends"),
    [
        ("sim/nobody", "404 model_not_found: ", "fairlead models tells which there are.\n"),
        ("gpt-5", "503 provider_not_configured: ", "or ask another model.\n"),
        ("sim/echo+status=429+retry_after=7", "429 rate_limit_exceeded: sim is limiting", "Try again in 7 s.\n"),
        ("sim/echo+status=401", "502 provider_credential_rejected: ", "where the gateway runs, tells more.\n"),
        ("sim/echo+html=500", "502 upstream_broken: ", "\n"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--json",)])
async def test_an_error_is_a_line_with_its_code_and_what_to_do(
    running: Gateway, tmp_path: Path, model: str, begins: str, ends: str, arguments: tuple[str, ...]
) -> None:
    done = await asked(tmp_path, "chat", model, "hello", *arguments, **told(running))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(begins), done.stderr
    assert done.stderr.endswith(ends), done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_an_answer_that_breaks_off_is_told_behind_what_came(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "chat", "sim/echo+cut=3", "hello you", **told(running))
    assert (done.returncode, done.stdout) == (1, "hello yo\n")
    assert done.stderr.startswith("upstream_broken: sim failed: its answer was cut off")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (streamed("half", end=b""), "broken_off: the answer broke off: its end did not come."),
        (streamed("half", end=b"data: {\n\n"), "no_gateway: {url} does not answer as a Fairlead does: no JSON."),
        (streamed("half", end=b'data: {"choices": 1}\n\n'), "unreadable: the answer is none of a chat: "),
        (streamed("half", end=b"data: [1]\n\n"), "unreadable: the answer is none of a chat: "),
    ],
)
async def test_a_stream_that_is_none_is_told(tmp_path: Path, answer: bytes, line: str) -> None:
    async with Misbehaving(answer, close=True) as server:
        done = await asked(tmp_path, "chat", "m", "hello", "--url", server.url)
    assert (done.returncode, done.stdout) == (1, "half\n")
    assert done.stderr.startswith(line.format(url=server.url)), done.stderr


async def test_without_a_gateway_it_says_how_to_have_one(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = await asked(tmp_path, "chat", "m", "hello", "--url", url, "--key", KEY)
    assert done.returncode == 1
    assert done.stderr.startswith(f"unreachable: no gateway answers at {url} (Connection refused). Start one with")


# ---- text is text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07\x9b2J\x7f\x00\b", "]0;title2J"),
        ("a\r\nb\tc\n", "a\nb\tc\n"),
        ("\u202ereversed\u2066", "reversed"),
        ("a\u2028b", "a\nb"),
        ("\ud800x", "x"),
        ("10\u00a0000 é 漢字 👨\u200d👩\u200d👧 می\u200cخواهم", "10\u00a0000 é 漢字 👨\u200d👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_what_a_terminal_would_obey_is_left_out(said: str, shown: str) -> None:
    assert plain(said) == shown


def test_json_has_nothing_that_a_terminal_would_obey_and_all_that_was_said() -> None:
    said = {"x": "\x1b\x7f\u009b\u202e\u00a0é漢\U000e0041"}
    assert encoded(said).isprintable()
    assert json.loads(encoded(said)) == said


async def test_an_answer_cannot_drive_the_terminal_wherever_it_is_cut(tmp_path: Path) -> None:
    async with Misbehaving(streamed("a\x1b", "[2J", "\x9b1", "m\r\n")) as server:
        done = await asked(tmp_path, "chat", "m", "hello", "--url", server.url)
    assert done.stdout == "a[2J1m\n"


async def test_letters_that_standard_output_has_not_do_not_end_the_answer(running: Gateway, tmp_path: Path) -> None:
    done = await asked(tmp_path, "chat", "sim/echo", "漢 a", PYTHONIOENCODING="ascii", **told(running))
    assert (done.returncode, done.stdout) == (0, "? a\n")


# ---- in a terminal


async def test_a_conversation_is_kept_and_can_be_forgotten(tmp_path: Path) -> None:
    async with Misbehaving(*[streamed(word) for word in ("first", "second", "third")]) as server:

        def talk() -> int:
            with terminal(tmp_path, "chat", "m", "--url", server.url, "--system", "Be brief.") as screen:
                screen.until("> ")
                screen.type("one\n")
                screen.until("first")
                screen.until("> ")
                screen.type("\n")
                screen.until("> ")
                screen.type("two\n")
                screen.until("second")
                screen.until("> ")
                screen.type("/reset\n")
                screen.until("forgotten")
                screen.until("> ")
                screen.type("three\n")
                screen.until("third")
                screen.until("> ")
                screen.type("\x04")
                return screen.ended()

        assert await asyncio.to_thread(talk) == 0
    asked_for = [json.loads(request.partition(b"\r\n\r\n")[2])["messages"] for request in server.requests]
    system, one, two, three = ({"role": "system", "content": "Be brief."}, *map(user, ("one", "two", "three")))
    assert asked_for == [
        [system, one],
        [system, one, {"role": "assistant", "content": "first"}, two],
        [system, three],
    ]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def test_ctrl_c_stops_the_answer_at_its_provider_too_and_the_conversation_goes_on(
    running: Gateway, tmp_path: Path
) -> None:
    def talk() -> int:
        with terminal(tmp_path, "chat", "sim/echo+stall=2", **told(running)) as screen:
            screen.until("> ")
            screen.interrupt()  # at the prompt it only begins a new line
            screen.until("> ")
            screen.type("hello you\n")
            screen.until("hello you\r\n")
            screen.until("hell")
            screen.type("\x03")
            screen.until("stopped")
            screen.until("> ")
            screen.type("/exit\n")
            return screen.ended()

    assert await asyncio.to_thread(talk) == 0
    (attempt,) = await running.rows("attempts")
    assert attempt["outcome"] == "cancelled"


async def test_an_answer_is_followed_by_what_it_took(running: Gateway, tmp_path: Path) -> None:
    def talk() -> str:
        with terminal(tmp_path, "chat", "sim/echo", "hello there", "--max-tokens", "2", **told(running)) as screen:
            assert screen.ended() == 0
            return screen.shown

    shown = await asyncio.to_thread(talk)
    assert shown.startswith("hello th\r\n\x1b[2m")
    assert "→ 2 tokens, " in shown
    assert "cut where it was to be no longer" in shown


async def test_an_error_does_not_end_a_conversation_unless_the_next_would_be_alike(
    running: Gateway, tmp_path: Path
) -> None:
    def talk() -> int:
        with terminal(tmp_path, "chat", "sim/echo+status=503", **told(running)) as screen:
            for _ in range(2):
                screen.until("> ")
                screen.type("x\n")
                screen.until("503 provider_overloaded")
            screen.until("> ")
            screen.type("/exit\n")
            return screen.ended()

    assert await asyncio.to_thread(talk) == 0

    def refused() -> int:
        with terminal(tmp_path, "chat", "sim/echo", FAIRLEAD_URL=running.url) as screen:
            screen.until("> ")
            screen.type("x\n")
            screen.until("401 invalid_api_key")
            return screen.ended()

    assert await asyncio.to_thread(refused) == 1


async def test_ctrl_c_ends_a_single_answer_with_its_signal(running: Gateway, tmp_path: Path) -> None:
    def talk() -> int:
        with terminal(tmp_path, "chat", "sim/echo+stall=2", "hello you", **told(running)) as screen:
            screen.until("hell")
            screen.process.send_signal(signal.SIGINT)
            left = screen.ended()
            assert "Traceback" not in screen.shown
            return left

    assert await asyncio.to_thread(talk) == 130


async def test_json_wants_a_question(tmp_path: Path) -> None:
    def talk() -> int:
        with terminal(tmp_path, "chat", "m", "--json") as screen:
            screen.until("wants a question")
            return screen.ended()

    assert await asyncio.to_thread(talk) == 2
