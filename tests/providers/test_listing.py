"""What providers say they serve."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fairlead.catalog import Catalog, Snapshot
from fairlead.config.file import load
from fairlead.config.sync import snapshot
from fairlead.providers.listing import Listings
from fairlead.providers.simulator import SimulatorTransport
from fairlead.resources import Credential, Provider, Signing
from fairlead.upstream import Transport
from fairlead.upstream.pool import Pool
from misbehaving import Answer, Misbehaving, ok, reset
from serving import serving


def provider(name: str, url: str, *, models_path: str | None = "/models", signing: str = "none") -> Provider:
    return Provider(name, {"openai-chat": f"{url}/v1"}, models_path=models_path, signing=Signing(signing))  # type: ignore[arg-type]


@asynccontextmanager
async def listings(folder: Path, *providers: Provider) -> AsyncIterator[tuple[Catalog, Listings]]:
    """A catalogue of `providers` and what keeps its lists, with a credential for "keyed"."""
    catalog = Catalog(Snapshot(providers=providers, credentials={"keyed": Credential("keyed", "secret")}))
    pool = Pool()
    transports: dict[str, Transport] = {"http": pool, "simulator": SimulatorTransport()}
    try:
        yield catalog, Listings(catalog, transports, folder / "state" / "models.json")
    finally:
        await pool.aclose()


async def listed(folder: Path, answer: Answer) -> list[str] | None:
    """The names, if a provider answers so."""
    async with Misbehaving(answer, close=True) as server:
        async with listings(folder, provider("p", server.url)) as (catalog, lists):
            await lists.refresh()
            names = catalog.listings.get("p")
            return list(names) if names is not None else None


async def test_a_list_is_read_over_http(tmp_path: Path) -> None:
    async with serving("openai-chat") as url, listings(tmp_path, provider("p", url)) as (catalog, lists):
        await lists.refresh()
        assert "p/echo" in [model.name for model in catalog.current.names()]


async def test_the_simulator_is_asked_where_it_is(tmp_path: Path) -> None:
    catalog = Catalog(snapshot(load(None, {}, find=False, simulator=True)))
    await Listings(catalog, {"simulator": SimulatorTransport()}, tmp_path / "models.json").refresh()
    assert "sim/echo" in [model.name for model in catalog.current.names()]


async def test_the_request_is_signed(tmp_path: Path) -> None:
    async with Misbehaving(ok(b'{"data":[{"id":"a"}]}')) as server:
        asked = provider("keyed", server.url, models_path="/models?limit=9", signing="bearer")
        async with listings(tmp_path, asked) as (catalog, lists):
            await lists.refresh()
            assert catalog.listings == {"keyed": ["a"]}
    [request] = server.requests
    assert request.startswith(b"GET /v1/models?limit=9 HTTP/1.1\r\n")
    assert b"authorization: Bearer secret\r\n" in request


async def test_those_without_a_credential_or_a_list_are_not_asked(tmp_path: Path) -> None:
    async with Misbehaving(ok()) as server:
        poor, silent = provider("poor", server.url, signing="bearer"), provider("silent", server.url, models_path=None)
        async with listings(tmp_path, poor, silent) as (catalog, lists):
            await lists.refresh()
            assert catalog.listings == {}
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"a","owned_by":"x"},{"id":"b"}],"has_more":false}', ["a", "b"]),
        (b'[{"id":"a"},{"id":"b"}]', ["a", "b"]),
        (b'{"data":[]}', []),
        (b'{"data":[{"id":""},{"id":"a"},{"id":"' + b"x" * 300 + b'"}]}', ["a"]),
    ],
)
async def test_lists_are_read_in_the_shapes_there_are(tmp_path: Path, body: bytes, names: list[str]) -> None:
    assert await listed(tmp_path, ok(body)) == names


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        ok(b"<html>"),
        ok(b'{"data":[{"id":"\xff"}]}'),
        ok(b'{"data":[{"id":5}]}'),
        ok(b"[" * 100_000),
        ok(b'{"data":[{"id":"' + b"x" * (9 << 20) + b'"}]}'),
        b"not http",
        reset,
    ],
    ids="401 302 html utf8 type nested large garbage reset".split(),
)
async def test_a_list_that_cannot_be_had_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    caplog.set_level(logging.INFO, logger="fairlead.listing")
    assert await listed(tmp_path, answer) is None
    [record] = [record for record in caplog.records if record.name == "fairlead.listing"]
    assert record.message.startswith("p gives ")


async def test_one_that_fails_keeps_its_last_list_and_does_not_hinder_others(tmp_path: Path) -> None:
    list_a, list_b = ok(b'{"data":[{"id":"a"}]}'), ok(b'{"data":[{"id":"b"}]}')
    async with Misbehaving(list_a, reset) as failing, Misbehaving(list_a, list_b) as other:
        one, two = provider("one", failing.url), provider("two", other.url)
        async with listings(tmp_path, one, two) as (catalog, lists):
            await lists.refresh()
            await lists.refresh()
            assert catalog.listings == {"one": ["a"], "two": ["b"]}


async def test_lists_outlive_a_restart(tmp_path: Path) -> None:
    async with Misbehaving(ok(b'[{"id":"a"}]')) as server, listings(tmp_path, provider("p", server.url)) as (_, lists):
        await lists.refresh()
    async with listings(tmp_path, provider("p", "http://127.0.0.1:1")) as (catalog, _):
        assert [model.name for model in catalog.current.names()] == ["p/a"]
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["models.json"]


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"p":"a"}', b'{"p":["\xff"]}'])
async def test_a_spoilt_file_is_no_obstacle(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "models.json").write_bytes(kept)
    async with listings(tmp_path) as (catalog, _):
        assert catalog.listings == {}


async def test_a_folder_that_cannot_be_written_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file, no folder")
    assert await listed(tmp_path, ok(b'[{"id":"a"}]')) == ["a"]
    assert "the lists of models cannot be kept" in caplog.text


async def test_lists_are_read_at_once_in_the_background(tmp_path: Path) -> None:
    async with Misbehaving(ok(msgspec.json.encode([{"id": "a"}]))) as server:
        async with listings(tmp_path, provider("p", server.url)) as (_, lists):
            running = asyncio.create_task(lists.run())
            await server.until(lambda server: len(server.requests) == 1)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[{"id":"a"},{"id":"b"}]}',
        b'[{"id":"a"},{"id":"b"}]',
        b'{"models":[{"name":"models/a","supportedGenerationMethods":[]},{"name":"models/b"}],"nextPageToken":"x"}',
        b'{"models":[{"name":"a","model":"a","size":1},{"name":"b"}]}',
    ],
)
async def test_lists_are_read_in_the_shapes_of_openai_together_google_and_ollama(tmp_path: Path, body: bytes) -> None:
    """https://ai.google.dev/api/models#method:-models.list, https://docs.ollama.com/api/tags"""
    assert await listed(tmp_path, ok(body)) == ["a", "b"]


@pytest.mark.parametrize("body", [b"{}", b'{"models":[{"id":"a"}]}', b'{"data":null}', b'{"error":"no"}'])
async def test_what_is_no_list_leaves_the_last_one(tmp_path: Path, body: bytes) -> None:
    assert await listed(tmp_path, ok(body)) is None
