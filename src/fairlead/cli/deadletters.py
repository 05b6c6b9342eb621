"""`fairlead deadletters`: the records that a sink refused, to be looked at, tried again or dropped."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fairlead.cli.database import configured
from fairlead.cli.options import Config, Json
from fairlead.cli.output import encoded
from fairlead.config.file import load

if TYPE_CHECKING:  # 130 ms, which help and completion need not pay
    from fairlead.storage.deadletters import DeadLetter, DeadLetters

app = typer.Typer(help="List, retry and drop the records that a sink refused.", no_args_is_help=True)

_SHOWN = 200  # of a list for people; JSON has them all

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Which, as fairlead deadletters list names them.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All there are, instead of some.")]
Sink = Annotated[str | None, typer.Option(help="With --all: only those of this sink.")]


@app.command("list")
def list_letters(
    sink: Annotated[str | None, typer.Option(help="Only those of this sink.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show the dead letters, the oldest first; with --json, their whole records."""
    with _letters(config) as letters:
        found = letters.list(sink, limit=None if json else _SHOWN)
        count = letters.count(sink)
    if json:
        print(encoded(found))
        return
    for letter in found:
        print(_shown(letter))
    if count > len(found):
        print(f"\nThese are the oldest {len(found)} of {count}; --json tells all.")
    if not found:
        print(_none(sink))


@app.command()
def retry(ids: Ids = None, all: All = False, sink: Sink = None, config: Config = None, json: Json = False) -> None:
    """Have dead letters tried again, by a running gateway or by the next one that starts."""
    _check(ids, all, sink)
    with _letters(config) as letters:
        _check_known(letters, ids)
        marked = letters.retry(ids or None, sink=sink)
        sinks = {id.partition(":")[0] for id in ids} if ids else {sink} if sink is not None else {*letters.sinks()}
    if json:
        print(encoded({"marked": marked}))
    elif marked:
        print(f"Marked: {_counted(marked)}. A running gateway tries them within seconds, or else the next start does.")
    else:
        print(_none(sink))
    for name in sorted(sinks - _configured(config)) if marked else ():
        typer.echo(
            f"No sink {name!r} is configured: what it refused waits until there is one, or is dropped.", err=True
        )


@app.command()
def drop(
    ids: Ids = None,
    all: All = False,
    sink: Sink = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether that is meant.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Delete dead letters, and the records in them for good."""
    _check(ids, all, sink)
    with _letters(config) as letters:
        _check_known(letters, ids)
        count = len(set(ids)) if ids else letters.count(sink)
        if count and not yes:
            _confirm(count)
        dropped = letters.drop(ids or None, sink=sink) if count else 0
    if json:
        print(encoded({"dropped": dropped}))
    else:
        print(f"Dropped: {_counted(dropped)}" if dropped else _none(sink))


# ---- what is asked


def _check(ids: Sequence[str] | None, all: bool, sink: str | None) -> None:
    if bool(ids) == all:
        raise typer.BadParameter("give ids, or --all")
    if sink is not None and not all:
        raise typer.BadParameter("--sink goes with --all")


def _check_known(letters: "DeadLetters", ids: Sequence[str] | None) -> None:
    """Leave if one of `ids` is unknown: nothing was changed then."""
    unknown = letters.unknown(ids or ())
    for id in unknown:
        typer.echo(f"There is no dead letter {id!r}: see fairlead deadletters list", err=True)
    if unknown:
        raise typer.Exit(1)


def _confirm(count: int) -> None:
    if not sys.stdin.isatty():
        typer.echo(f"{_counted(count)} would be lost for good: say --yes if that is meant", err=True)
        raise typer.Exit(1)
    if not typer.confirm(f"{_counted(count)} will be lost for good. Drop?"):
        raise typer.Exit(1)


def _configured(config: Path | None) -> set[str]:
    """The sinks that a gateway with this configuration has."""
    from fairlead.storage.records import Records

    return {Records.name, *load(config, os.environ).settings.sinks}


# ---- for people


def _shown(letter: "DeadLetter") -> str:
    told = msgspec.json.decode(letter.record)
    attempt = told["attempt"]["attempt"] if told["attempt"] is not None else "–"
    facts = [
        f"sink {letter.sink}", f"call {letter.call_id}", f"attempt {attempt}",
        f"tried {letter.tries} time{'s' if letter.tries != 1 else ''}", f"since {_moment(letter.failed_us)} UTC",
        *(["retry wanted"] if letter.wanted else []),
    ]  # fmt: skip
    return f"{letter.id}\n    {', '.join(facts)}\n    {_plain(letter.reason)}"


def _none(sink: str | None) -> str:
    return "There are no dead letters." if sink is None else f"There are no dead letters of the sink {sink!r}."


def _counted(count: int) -> str:
    return f"{count} dead letter{'s' if count != 1 else ''}"


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str) -> str:
    """In one line, without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


@contextmanager
def _letters(config: Path | None) -> "Iterator[DeadLetters]":
    from fairlead.storage.deadletters import DeadLetters

    with configured(config) as database:
        yield DeadLetters(database)
