"""The log: JSON or text, without secrets; and the access log, which never waits."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fairlead.telemetry import logs
from fairlead.telemetry.logs import AccessLog, AccessRecord


@pytest.fixture
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("fairlead")
    handlers, level, own = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = handlers, level, own
    logging._cache_clear() if hasattr(logging, "_cache_clear") else None


@pytest.mark.usefixtures("_restored")
def test_a_line_is_json_and_holds_no_secret() -> None:
    stream = io.StringIO()
    logs.configure("info", "auto", stream)
    logging.getLogger("fairlead.x").warning("key %s and %s\nBearer abcdef", "fl-" + "a" * 43, "sk-proj-abcdefghijkl")
    told = json.loads(stream.getvalue())
    assert told["event"] == "key *** and ***\\x0a***"
    assert (told["level"], told["logger"]) == ("warning", "fairlead.x")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.usefixtures("_restored")
def test_a_traceback_is_part_of_its_line() -> None:
    stream = io.StringIO()
    logs.configure("error", "json", stream)
    try:
        raise ValueError("Bearer secret-thing")
    except ValueError:
        logging.getLogger("fairlead.x").exception("failed")
    told = json.loads(stream.getvalue())
    assert "ValueError" in told["exception"]
    assert "secret-thing" not in stream.getvalue()


@pytest.mark.usefixtures("_restored")
def test_text_is_for_people() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    logging.getLogger("fairlead.x").info("hello")
    assert "hello" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


RECORD = AccessRecord(
    1, "gen-1", "POST", "/v1/chat/completions", 200, 1.5, endpoint="sim/echo", input_tokens=3, output_tokens=4
)


def test_access_lines_are_json_without_what_is_not_known() -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    log.start()
    log.write(RECORD)
    log.close()
    told = json.loads(stream.getvalue())
    assert told["endpoint"] == "sim/echo"
    assert "error" not in told


def test_access_lines_for_a_terminal_read_aloud() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, text=True)
    log.start()
    log.write(RECORD)
    log.write(AccessRecord(1, "gen-2", "GET", "/", 404, 0.1, outcome="failed", error="not_found"))
    log.close()
    assert stream.getvalue().splitlines() == [
        "POST /v1/chat/completions  200  1.5 ms  sim/echo  3→4 tokens",
        "GET /  404  0.1 ms  not_found  failed",
    ]


def test_lines_too_many_are_dropped_and_counted() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, capacity=2)
    for _ in range(5):
        log.write(RECORD)
    assert log.dropped == 3
    log.start()
    log.close()
    assert json.loads(stream.getvalue().splitlines()[-1]) == {"access_lines_dropped": 3}


def test_a_reader_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    log.start()
    stream.close()
    log.write(RECORD)
    log.close()
    assert log.dropped == 1
