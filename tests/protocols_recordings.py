"""Recorded provider traffic and the official schemas, read from where they lie.

They are in `$FAIRLEAD_SHARED`, else in `../shared` beside the repository. Where they are absent, the tests that need
them are skipped and say so; with FAIRLEAD_REQUIRE_SHARED=1 they fail.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("FAIRLEAD_SHARED") or Path(__file__).parents[2] / "shared")
_ABSENT = "not on this machine: recordings (FAIRLEAD_SHARED)"


class Recording:
    """One exchange with a provider; its file is read when it is first looked into."""

    def __init__(self, id: str) -> None:
        self.id = id

    def __repr__(self) -> str:
        return self.id

    @cached_property
    def whole(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((SHARED / "recordings" / f"{self.id}.json").read_text(encoding="utf-8"))
        return found

    @property
    def status(self) -> int:
        return int(self.whole["response"]["status"])

    @property
    def request(self) -> bytes | None:
        """The request's JSON, None where none was kept."""
        body = self.whole["request"].get("body")
        return None if body is None else json.dumps(body, ensure_ascii=False).encode()

    @property
    def response(self) -> bytes:
        """The body of the answer: JSON, or the raw event stream."""
        response = self.whole["response"]
        for kind in ("sse", "text", "ndjson"):
            if kind in response:
                return str(response[kind]).encode()
        return json.dumps(response["body"], ensure_ascii=False).encode()


def recordings(
    provider: str, operations: Iterable[str], kept: "Callable[[Recording], bool] | None" = None
) -> list[Any]:
    """Parameters for a test, one per recording of `provider` that is `kept`; else of "error" those whose endpoint is
    chat."""
    wanted = {f"{provider}/{operation}" for operation in operations}
    found = [Recording(id) for id in _ids() if id.rpartition("/")[0] in wanted]
    kept = kept or (lambda recording: "/error/" not in recording.id or _is_chat(recording))
    found = list(filter(kept, found))
    if found:
        return [pytest.param(recording, id=recording.id) for recording in found]
    if SHARED.is_dir():
        raise LookupError(f"no recordings of {sorted(wanted)}")
    return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=_ABSENT))]


def by_provider(operations: Iterable[str]) -> list[Any]:
    """Parameters for a test, one for each provider: all its recordings of these operations, errors of any endpoint."""
    wanted = frozenset(operations)
    found: dict[str, list[Recording]] = {}
    for id in _ids():
        provider, operation, _ = id.split("/")
        if operation in wanted:
            found.setdefault(provider, []).append(Recording(id))
    if found:
        return [pytest.param(several, id=provider) for provider, several in found.items()]
    return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=_ABSENT))]


def whatever_was_asked(recording: Recording) -> bool:
    """For `recordings` of errors: of each endpoint."""
    return True


def require_shared() -> Path:
    """The folder of shared data. Skips the test that asks, or fails it, where there is none."""
    if not SHARED.is_dir():
        if _required():
            pytest.fail(_ABSENT)
        pytest.skip(_ABSENT)
    return SHARED


@cache
def openai_spec(*, as_served: bool = False) -> Any:
    """The official description's `Spec`: `.errors(schema, value)`, `.stream_errors(schema, sse_text)`."""
    place = require_shared() / "tools" / "openai_schema.py"
    found = importlib.util.spec_from_file_location("openai_schema", place)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Spec(str(SHARED / "openai-openapi" / "openapi.json"), as_served=as_served)


@cache
def _ids() -> tuple[str, ...]:
    index = SHARED / "recordings" / "index.json"
    if not index.is_file():
        if _required():
            raise LookupError(_ABSENT)
        return ()
    return tuple(entry["id"] for entry in json.loads(index.read_text(encoding="utf-8")))


def _is_chat(recording: Recording) -> bool:
    return str(recording.whole.get("endpoint", "")) in ("chat", "chat_stream")


def _required() -> bool:
    return os.environ.get("FAIRLEAD_REQUIRE_SHARED") == "1"
