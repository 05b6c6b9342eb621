"""A changed file is taken whole or refused whole."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fairlead.catalog import Catalog, Snapshot
from fairlead.config import Wishes
from fairlead.config.file import load
from fairlead.config.sync import snapshot
from fairlead.config.watch import Reloader


def model(name: str) -> str:
    return f'[providers.sim]\n[models.{name}]\nendpoints = ["sim/echo"]\n'


class Told(Catalog):
    """A catalogue that tells when it is swapped."""

    def __init__(self, world: Snapshot) -> None:
        self.swapped = asyncio.Event()
        super().__init__(world)
        self.swapped.clear()

    def swap(self, snapshot: Snapshot) -> None:
        super().swap(snapshot)
        self.swapped.set()


class Watched:
    """A file and its reloader, which counts how often it reads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        wishes = load(file, {})
        self.catalog = Told(snapshot(wishes))
        self.reads = asyncio.Semaphore(0)
        self.reloader = Reloader(file, self._read, self.catalog, wishes.settings)

    def _read(self) -> Wishes:
        self.reads.release()
        return load(self.file, {})

    def write(self, text: str) -> None:
        self.file.unlink()
        self.file.write_text(text)

    def names(self) -> list[str]:
        return [listed.name for listed in self.catalog.current.names()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.reloader.run())
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "fairlead.toml"
    file.write_text(model("a"))
    return file


async def changed(watched: Watched, change: Callable[[], object]) -> list[str]:
    """The names that can be asked for after `change`, which the running reloader notices."""
    async with watched.running():
        change()
        await watched.catalog.swapped.wait()
    return watched.names()


async def test_a_file_that_is_written_again_is_taken(file: Path) -> None:
    assert await changed(Watched(file), lambda: file.write_text(model("written"))) == ["written"]


async def test_a_file_that_is_replaced_is_taken(file: Path) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(model("b"))
    assert await changed(Watched(file), lambda: fresh.replace(file)) == ["b"]


async def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes changes a mounted ConfigMap: file → ..data/file, and ..data → another folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fairlead.toml").write_text(model(name))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "fairlead.toml").symlink_to("data/fairlead.toml")
    (tmp_path / "fresh").symlink_to("two")
    watched = Watched(tmp_path / "fairlead.toml")
    assert watched.names() == ["one"]
    assert await changed(watched, lambda: (tmp_path / "fresh").replace(tmp_path / "data")) == ["two"]


async def test_a_refused_file_leaves_the_world_as_it_was_and_the_next_is_taken(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(file)
    async with watched.running():
        watched.write("[sever]\n[server]\nprot = 1\n")
        await watched.reads.acquire()
        assert watched.names() == ["a"]
        watched.write(model("mended"))
        await watched.catalog.swapped.wait()
    assert watched.names() == ["mended"]
    refused = [record.message for record in caplog.records if "refused" in record.message]
    assert refused == [
        f"configuration refused: {file}:1: sever: unknown section 'sever'; did you mean 'server'?",
        f"configuration refused: {file}:3: server.prot: unknown option 'prot'; did you mean 'port'?",
    ]


def test_a_reload_says_whether_it_was_taken(file: Path) -> None:
    watched = Watched(file)
    assert watched.reloader.reload()
    file.write_text("no toml")
    assert not watched.reloader.reload()
    file.unlink()
    assert not watched.reloader.reload()
    assert watched.names() == ["a"]


def test_what_is_fixed_at_start_is_said_to_wait_for_the_next(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    watched = Watched(file)
    file.write_text(model("b") + "[server]\nport = 9\n[logging]\naccess = false\n")
    assert watched.reloader.reload()
    assert watched.names() == ["b"]
    assert [record.message for record in caplog.records] == [
        "a change of [server] takes effect at the next start",
        "a change of [logging] takes effect at the next start",
    ]


async def test_without_a_file_there_is_nothing_to_watch() -> None:
    wishes = load(None, {}, find=False)
    await Reloader(None, lambda: wishes, Catalog(snapshot(wishes)), wishes.settings).run()
