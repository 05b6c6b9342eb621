"""`fairlead models`: which models a gateway offers; without a gateway, what the configuration would offer."""

import io
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.cli.check import tell_problems
from fairlead.cli.client import Gateway, GatewayError, NoGateway
from fairlead.cli.options import Config, Json, Secret, Url
from fairlead.cli.output import encoded
from fairlead.config import InvalidConfigs
from fairlead.config.file import load
from fairlead.config.sync import snapshot
from fairlead.telemetry.logs import printable

_PATTERN = frozenset("*?[")


class Offered(Struct, frozen=True):
    """A model, and whose it is: a provider, or "fairlead" for a name of the configuration."""

    id: str
    owner: str


class _Row(Struct):
    id: str
    owned_by: str = ""


class _List(Struct):
    data: list[_Row]


def command(
    search: Annotated[
        str | None,
        typer.Argument(help="Only names with this in them; * and ? stand for any letters, any one."),
    ] = None,
    url: Url = None,
    key: Secret = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List the models that can be asked for.

    It asks a running gateway. Where none was named and none runs, it lists what
    the configuration would offer. A name with a star stands for all like it.
    """
    gateway = Gateway(url, key)
    source = gateway.url
    try:
        offered = _listed(gateway)
    except NoGateway as error:
        if gateway.named:
            _leave(error)
        typer.echo(f"No gateway answers at {gateway.url}: this is what the configuration would offer.", err=True)
        source, offered = "configuration", _configured(config)
    except GatewayError as error:
        _leave(error)
    found = [model for model in offered if search is None or matches(model.id, search)]
    if json:
        print(encoded({"source": source, "models": found}))
    elif found:
        _show(found)
    else:
        print(
            "There are no models." if search is None else f"No model of {len(offered)} is called {printable(search)!r}."
        )


def matches(name: str, search: str) -> bool:
    """Whether `search` is in `name` or, with * or ? in it, describes it; capitals do not matter.

    A name that is itself a pattern, as claims are ("gpt-*"), also stands for what it describes.
    """
    name, search = name.lower(), search.lower()
    if _PATTERN & set(search) and fnmatchcase(name, search):
        return True
    return search in name or (not _PATTERN.isdisjoint(name) and fnmatchcase(search, name))


def _listed(gateway: Gateway) -> list[Offered]:
    told = gateway.get("/v1/models")
    try:
        rows = msgspec.convert(told, _List).data
    except msgspec.ValidationError:
        raise NoGateway("no_gateway", f"{gateway.url} gives no list of models.", "Is the address right?") from None
    return [Offered(row.id, row.owned_by) for row in rows]


def _configured(config: Path | None) -> list[Offered]:
    try:
        wishes = load(config, os.environ)
    except InvalidConfigs as problems:
        tell_problems(problems)
        raise typer.Exit(2) from None
    return [Offered(listed.name, listed.owner) for listed in snapshot(wishes).names()]


def _leave(error: GatewayError) -> NoReturn:
    typer.echo(error, err=True)
    raise typer.Exit(1)


def _show(models: Sequence[Offered]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name may have letters that the terminal has not
    rows = [(Text(printable(model.id)), Text(printable(model.owner))) for model in models]
    # In a file or a pipe a name stays in its line, however long it is.
    width = None if sys.stdout.isatty() else max(id.cell_len + owner.cell_len for id, owner in rows) + 20
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model", overflow="fold")
    table.add_column("owner", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
