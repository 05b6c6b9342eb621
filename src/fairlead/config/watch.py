"""A changed file is taken whole or refused whole; calls under way end in the world they began in."""

import logging
from collections.abc import Callable
from pathlib import Path

from fairlead.catalog import Catalog
from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.sync import snapshot
from fairlead.settings import Settings

log = logging.getLogger("fairlead.config")


class Reloader:
    """Reads the configuration again when its file changes, or when told to."""

    def __init__(self, file: Path | None, read: Callable[[], Wishes], catalog: Catalog, settings: Settings) -> None:
        """`read` gives the wishes as they are now, or raises InvalidConfigs. `settings`: as this process started."""
        self.file, self.read, self.catalog, self.settings = file, read, catalog, settings

    def reload(self) -> bool:
        """Read again and swap. Whether it was taken; what is wrong is logged, and the old world stays."""
        try:
            wishes = self.read()
        except InvalidConfigs as refused:
            for problem in refused.problems:
                log.error("configuration refused: %s", problem)
            return False
        self.catalog.swap(snapshot(wishes))
        log.info("configuration taken: %d models, %d credentials", len(wishes.models), len(wishes.credentials))
        if wishes.settings != self.settings:
            log.warning("changes of [server], [database] and [logging] act at the next start")
        return True

    async def run(self) -> None:
        """Watch the file until cancelled. Editors replace files, so that its folder is what is watched."""
        if self.file is None:
            return
        from watchfiles import awatch  # 30 ms that a start without a file need not pay

        target = self.file.resolve()
        async for changes in awatch(target.parent, recursive=False, debounce=100, step=20, rust_timeout=1000):
            if any(Path(path) == target for _, path in changes) and target.exists():
                self.reload()
