"""The database of a configuration, for commands that work on it whether a gateway runs or not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fairlead.cli.check import tell_problems
from fairlead.config import InvalidConfigs
from fairlead.config.file import load
from fairlead.errors import InvalidConfig

if TYPE_CHECKING:  # 130 ms, which help and completion need not pay
    from fairlead.storage.engine import Database


@contextmanager
def configured(config: Path | None) -> "Iterator[Database]":
    """The database, open. Leaves by typer.Exit, having said why, where there is none to be had."""
    from fairlead.storage.engine import open_database

    try:
        settings = load(config, os.environ).settings
    except InvalidConfigs as problems:
        tell_problems(problems)
        raise typer.Exit(2) from None
    try:
        database = open_database(settings.database.url, Path(settings.server.state_dir))
    except InvalidConfig as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    try:
        yield database
    finally:
        database.close()
