"""A changed file is taken whole or refused whole; calls under way end in the world they began in."""

import logging
from collections.abc import Callable
from pathlib import Path

from fairlead.catalog import Catalog
from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.sync import snapshot
from fairlead.settings import Settings

log = logging.getLogger("fairlead.config")

_LOOK_MS = 1000  # at the file itself, whatever was heard of its folder


class Reloader:
    """Reads the configuration again when its file changes, or when told to."""

    def __init__(self, file: Path | None, read: Callable[[], Wishes], catalog: Catalog, settings: Settings) -> None:
        """`read` gives the wishes as they are now, or raises InvalidConfigs. `settings`: as this process started."""
        self.file, self.read, self.catalog, self.settings = file, read, catalog, settings
        self._seen = self._state()

    def reload(self) -> bool:
        """Read again and swap. Whether it was taken; what is wrong is logged, and the old world stays."""
        self._seen = self._state()
        try:
            wishes = self.read()
        except InvalidConfigs as refused:
            for problem in refused.problems:
                log.error("configuration refused: %s", problem)
            return False
        self.catalog.swap(snapshot(wishes))
        log.info("configuration taken: %d models, %d credentials", len(wishes.models), len(wishes.credentials))
        for section in self.settings.__struct_fields__:
            if getattr(wishes.settings, section) != getattr(self.settings, section):
                log.warning("a change of [%s] takes effect at the next start", section)
        return True

    async def run(self) -> None:
        """Watch the file until cancelled.

        Editors replace a file, and Kubernetes the folder that a link leads to: what is watched is the folder where the
        file's name is, and the one where its content is; what counts is whether the file itself is another.
        """
        if self.file is None:
            return
        from watchfiles import awatch  # 30 ms that a start without a file need not pay

        folders = {self.file.absolute().parent, self.file.resolve().parent}
        async for _ in awatch(
            *folders, recursive=False, debounce=200, step=100, rust_timeout=_LOOK_MS, yield_on_timeout=True
        ):
            if self._state() not in (None, self._seen):
                self.reload()

    def _state(self) -> tuple[int, ...] | None:
        """What changes when the file's content does; None while there is no file."""
        try:
            stat = self.file.stat() if self.file is not None else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat is not None else None
