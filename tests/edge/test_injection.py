"""What a client makes up never becomes a header of an answer, a second answer, or a line of a log.

RFC 9112 §11.1, response splitting. `attack.answers` reads so strictly that a header of somebody else's is a failure.
"""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from edge.attack import CHAT, CONFIG, GOOD, LAST, LAST_WORDS, Door, head, said, whole
from gateway import process, raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVER = "header_seconds = 2\nbody_seconds = 2\nidle_seconds = 2\n"

MARK = "injected"
# What ends a line for somebody: HTTP, terminals, Python's splitlines, JavaScript, and whoever decodes once more.
ENDS = {
    "CR LF": "\r\n", "LF": "\n", "CR": "\r", "CR CR LF": "\r\r\n", "vertical tab": "\x0b", "form feed": "\x0c",
    "file separator": "\x1c", "NEL": "\x85", "line separator": "\u2028", "paragraph separator": "\u2029", "NUL": "\x00",
    "escape": "\x1b[2K\x1b[1G", "CSI": "\x9b2K", "backspace": "\x08" * 80, "bidi": "\u202e",
    "fullwidth": "\uff0d\uff0a", "folds to CR LF": "\u560d\u560a",
}  # fmt: skip
HEADER = f"set-cookie: {MARK}=1"
SPLIT = f"{HEADER}\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\nx-{MARK}: y\r\n\r\n"


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_name_of_a_model_becomes_no_header(door: Door, end: str) -> None:
    for path in (CHAT, "/api" + CHAT, "/v1/messages", "/v1/completions"):
        for model in (
            f"sim/echo{end}{HEADER}",
            f"{end}{SPLIT}",
            f"nobody/{end}{end}{SPLIT}",
            f"lab/echo+{end}{HEADER}",
        ):
            for stream in (False, True):
                body = said("hello", model, stream=stream, max_tokens=50, prompt="hello")
                (answer,) = await door.ask(whole(body, "connection: close", to=path))
                assert answer.status in {400, 404}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_path_or_a_query_becomes_no_header(door: Door, end: str) -> None:
    made_up = percent(end + SPLIT)
    for to in (
        f"/{made_up}", f"/v1/models/{made_up}", f"/v1/models/x?{made_up}", f"/v1/usage?{made_up}={made_up}",
        f"/v1/usage?from={made_up}", f"/v1/usage?group_by={made_up}", f"/v1/usage?page={made_up}",
        f"/v1/generation?id={made_up}", f"{CHAT}{made_up}", f"{CHAT}?x={made_up}", f"//{made_up}", f"/livez?{made_up}",
        f"/v1/models?after={made_up}", f"/{percent(percent(end))}{HEADER.replace(' ', '')}",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            found = await door.ask(head("connection: close", to=to, method=method))
            assert len(found) == 1
            assert found[0].status < 500


IDS = {
    "of ours": ("gen-0123456789abcdef", True), "a UUID": ("7f9c24e8-3b12-4fef-91e0-c9d5f1a2b3c4", True),
    "empty": ("", False), "blanks": ("a b", False), "a tab": ("a\tb", False), "a colon": ("a: b", False),
    "a comma": ("a, b", False), "percent": ("a%0d%0aset-cookie:x", False), "backslashes": ("a\\r\\nb:x", False),
    "a quote": ('a"b', False), "markup": ("<script>", False), "byte 0x85": ("a\x85set-cookie:x", False),
    "byte 0xa0": ("a\xa0b", False), "line separator": ("a\xe2\x80\xa8b", False), "long": ("a" * 129, False),
    "very long": ("a" * 30_000, False), "braces": ("${jndi:ldap://x}", False), "a format": ("%s%n{0}", False),
    "a key": ("fl-" + "a" * 43, None),
}  # fmt: skip


@pytest.mark.parametrize(("told", "echoed"), IDS.values(), ids=IDS)
async def test_a_request_id_is_given_back_only_if_it_is_one(door: Door, told: str, echoed: bool | None) -> None:
    for sent in (
        whole(GOOD, f"x-request-id: {told}", "connection: close"),
        whole(b"{}", f"X-Request-Id: {told}", "connection: close"),
        whole(GOOD, f"x-request-id: {told}", "connection: close", key=None),
        whole(GOOD, f"x-request-id: {told}", "connection: close", to="/v1/messages"),
        head(f"x-request-id: {told}", "connection: close", method="GET", to="/v1/usage"),
        head(f"x-request-id: {told}", "connection: close", method="GET", to="/nothing"),
    ):
        (answer,) = await door.ask(sent)
        given = answer.headers["x-request-id"]
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}", given)
        if echoed is not None:
            assert (given == told) == echoed
        assert answer.headers.get("x-generation-id", "gen-").startswith("gen-")


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\xe2\x80\xa8"], ids=repr)
async def test_a_header_that_breaks_its_line_gives_no_header_back(door: Door, end: str) -> None:
    """RFC 9110 §5.5. What is an end of a line there is two headers of the request, and none of the answer."""
    for name in (
        "x-request-id",
        "origin",
        "content-type",
        "accept",
        "traceparent",
        "anthropic-version",
        "x-forwarded-for",
    ):
        made_up = whole(GOOD, f"{name}: a{end}{HEADER}") + LAST
        found = await door.ask(made_up)
        assert found[0].status in {200, 400, 415}
        assert len(found) == 1 or found[-1].said == LAST_WORDS


# ---- the logs


@pytest.mark.parametrize("format", ["json", "text"])
async def test_nothing_of_a_request_is_a_line_of_a_log(tmp_path: Path, protocol: str, format: str) -> None:
    logging = f'[logging]\nformat = "{format}"\nlevel = "debug"\n'
    server = f'drain_notice_seconds = 0\nprotocol = "{protocol}"\nmax_wrong_keys = 1_000_000'
    requests = []
    for number, end in enumerate(ENDS.values()):
        line = f'{end}{MARK}{end}{{"{MARK}": {number}}}{end}'
        for model in (f"sim/echo{line}", line, f"{line}/x", f"sim/echo+status=500+{line}"):
            requests.append(whole(said("hello", model), "connection: close"))
        requests.append(whole(said(line, user=line), f"x-request-id: a%0a{MARK}", "connection: close"))
        requests.append(head("connection: close", method="GET", to="/" + percent(line)))
        requests.append(head("connection: close", method="GET", to="/v1/models/" + percent(line)))
        requests.append(head("connection: close", method="GET", to="/v1/usage?" + percent(line)))
        latin = end.encode().decode("latin-1")
        requests.append(
            head(f"x-request-id: {latin}{MARK}", f"x-api-key: {latin}{MARK}", "connection: close", key=None)
        )
        requests.append(head(f"traceparent: 00-{latin}{MARK}", f"user-agent: {latin}{MARK}", "connection: close"))
        requests.append(head("connection: close", method="GET", to=f"/{latin}{MARK}"))
        requests.append(head("connection: close", method=f"{latin}{MARK}"))
    with process(tmp_path, f"{logging}{CONFIG}", server=server) as (started, url):
        port = int(url.rpartition(":")[2])
        for sent in requests:
            answered = await raw(port, sent)
            assert answered.startswith(b"HTTP/1.1 ")
        out, err = ended(started)
    told = [*out.split("\n"), *err.split("\n")]
    assert len(told) > len(requests) / 2
    for line in told:
        assert line.isprintable(), ascii(
            line
        )  # so that it is a line for whoever else cuts it, and no terminal obeys it
        assert not line.startswith((MARK, f'{{"{MARK}"'))
        if format == "json" and line.startswith("{"):
            assert MARK not in json.loads(line)


def ended(started: "subprocess.Popen[str]") -> tuple[str, str]:
    """All that it told, once it has ended well."""
    started.send_signal(signal.SIGTERM)
    out, err = started.communicate(timeout=20)
    assert started.returncode == 0
    return out, err
