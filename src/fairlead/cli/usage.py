"""`fairlead usage`: what was used, as a table and a chart. Works on the database, with or without a gateway."""

import csv
import io
import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.cli.database import configured
from fairlead.cli.options import Config, Json
from fairlead.errors import InvalidRequest, Unavailable
from fairlead.http.usage import moment, spelt

Row = dict[str, Any]

_SECONDS = 120.0  # for one sum: nobody else waits for it
_ROWS = 200  # of a table; JSON and CSV have them all
_LONG_NAME = 24  # of a group; a longer one may be folded
_YEAR = timedelta(366)
_CHART_ROWS = 5
_BLOCKS, _ASCII = " ▁▂▃▄▅▆▇█", " #"
_UNITS_US = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 7 * 86_400_000_000}

# Columns of the table, and the order in which a narrow terminal does without them.
_COLUMNS = {
    "calls": "calls", "attempts": "attempts", "failed": "failed", "input_tokens": "input", "cached_tokens": "cached",
    "output_tokens": "output", "reasoning_tokens": "reasoning", "estimated": "estimated",
    "unpriced": "unpriced", "cost": "cost",
}  # fmt: skip
_EXPENDABLE = ("reasoning_tokens", "estimated", "unpriced", "attempts", "cached_tokens", "failed", "calls")


def command(
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="From when: a date, a date-time or epoch seconds; in UTC unless it says otherwise."
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Until when, that moment left out; spelt alike. Without it: now.")
    ] = None,
    last: Annotated[
        str | None, typer.Option(help="Instead of --from, how far back: 30d (the default), 24h, 90m, 2w.")
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(help="A row for each; may be repeated: model, provider, key, day; none for one row."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only this key: its id or its name.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model, as its provider calls it.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    config: Config = None,
    json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
) -> None:
    """Show what was used: calls, tokens and cost, by model or as you like.

    It reads the database, whether a gateway runs or not.
    """
    from fairlead.storage.engine import Database  # 130 ms, which help and completion need not pay
    from fairlead.storage.keys import KeyStore
    from fairlead.storage.usage import UsageStore

    if json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    span = _span(from_, to, last)
    groups = _groups(group_by)
    with configured(config) as database:
        names = {found.id: found.name for found in KeyStore(database).list()}
        store = UsageStore(Database(database.path), seconds=_SECONDS)
        ask = partial(store.summary, *span, key_id=_key_id(key, names), model=model, provider=provider)
        try:
            if json:
                print(_encoded(span, groups, ask(groups)))
            elif as_csv:
                _write_csv(groups, ask(groups))
            else:
                _show(span, groups, ask(groups, limit=_ROWS + 1), total=ask()[0], days=ask(["day"]), names=names)
        except Unavailable as error:
            typer.echo(error, err=True)
            raise typer.Exit(1) from None
        finally:
            store.close()


# ---- what is asked


def _span(from_: str | None, to: str | None, last: str | None) -> tuple[int, int]:
    """Epoch microseconds, from and to."""
    if from_ is not None and last is not None:
        raise typer.BadParameter("choose one of --from and --last")
    try:
        to_us = time.time_ns() // 1000 if to is None else moment(to, param="--to")
        from_us = max(to_us - _length_us(last or "30d"), 0) if from_ is None else moment(from_, param="--from")
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None
    if to_us < from_us:
        raise typer.BadParameter("--to is before --from")
    return from_us, to_us


def _length_us(told: str) -> int:
    found = re.fullmatch(r"([0-9]{1,5})([mhdw])", told)
    if found is None:
        raise typer.BadParameter(f"--last: {told!r} is no span of time; give 30d, 24h, 90m or 2w")
    return int(found[1]) * _UNITS_US[found[2]]


def _groups(told: Sequence[str] | None) -> list[str]:
    from fairlead.storage.usage import GROUPS

    names = [name.strip() for value in told or ["model"] for name in value.split(",")]
    groups = list(dict.fromkeys(name for name in names if name and name != "none"))
    for name in groups:
        if name not in GROUPS:
            raise typer.BadParameter(f"--group-by: unknown group {name!r}; known are {', '.join(GROUPS)}, none")
    return groups


def _key_id(wanted: str | None, names: Mapping[str, str]) -> str | None:
    """The id that `wanted` is, or is the name of; keys of the configuration file are "file:NAME"."""
    if wanted is None or wanted in names:
        return wanted
    found = [id for id, name in names.items() if name == wanted]
    if len(found) > 1:
        raise typer.BadParameter(f"--key: {len(found)} keys are called {wanted!r}: {', '.join(found)}")
    return found[0] if found else wanted


# ---- for programs


def _encoded(span: tuple[int, int], groups: Sequence[str], rows: Sequence[Row]) -> str:
    told = {"object": "list", "from": spelt(span[0]), "to": spelt(span[1]), "group_by": groups, "data": rows}
    return msgspec.json.encode(told).decode()


def _write_csv(groups: Sequence[str], rows: Sequence[Row]) -> None:
    from fairlead.storage.usage import SUMS

    writer = csv.DictWriter(sys.stdout, [*groups, *SUMS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


# ---- for people


def _show(
    span: tuple[int, int],
    groups: Sequence[str],
    rows: Sequence[Row],
    *,
    total: Row,
    days: Sequence[Row],
    names: Mapping[str, str],
) -> None:
    """`names` of keys, by id."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name may have letters that the terminal has not
    console = Console(highlight=False, markup=False, emoji=False)
    period = f"{_minute(span[0])} to {_minute(span[1])} UTC"
    if not total["attempts"]:
        console.print(f"Nothing was used, {period}.", soft_wrap=True)
        return
    console.print(f"Usage, {period}\n", soft_wrap=True)
    _chart(console, _by_day(span, {row["day"]: row["input_tokens"] + row["output_tokens"] for row in days}))
    _table(console, groups, rows[:_ROWS], total, names)
    if total["cost_nano_usd"] is not None and total["unpriced"]:
        console.print("\n+ and what had no price", soft_wrap=True)
    if len(rows) > _ROWS:
        console.print(f"\nThese are the first {_ROWS}; --json and --csv tell all.", soft_wrap=True)


def _table(console: Console, groups: Sequence[str], rows: Sequence[Row], total: Row, names: Mapping[str, str]) -> None:
    """The rows and their total, in as many columns as there is room for."""
    values = (
        [
            [_plain(names.get(row[group], row[group]) if group == "key" else row[group]) for group in groups]
            for row in rows
        ]
        if groups
        else []
    )
    if groups:
        values.append(["total", *[""] * (len(groups) - 1)])
        rows = [*rows, total]
    cells = {name: [_cost(row) if name == "cost" else f"{row[name]:,}" for row in rows] for name in _COLUMNS}
    widths = {name: max(len(_COLUMNS[name]), *map(len, told)) for name, told in cells.items()}
    needed = sum(min(max(len(value[index]) for value in values), _LONG_NAME) for index in range(len(groups)))
    chosen = list(_COLUMNS)
    for name in _EXPENDABLE:
        if needed + sum(widths[column] for column in chosen) + 2 * (len(groups) + len(chosen)) <= console.width:
            break
        chosen.remove(name)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in groups:
        table.add_column(name, overflow="fold")
    for name in chosen:
        table.add_column(_COLUMNS[name], justify="right", overflow="fold")  # no digit is left out
    for number in range(len(rows)):
        told = values[number] if groups else []
        style = "bold" if groups and number == len(rows) - 1 else ""
        table.add_row(*map(Text, told), *(cells[name][number] for name in chosen), style=style)
    console.print(table)


def _cost(row: Row) -> str:
    """In USD, to what is worth reading of it; with a plus where something had no price."""
    nano = row["cost_nano_usd"]
    if nano is None:
        return "unpriced"
    told = f"${nano / 1e9:,.2f}" if nano >= 10_000_000_000 else f"${nano / 1e9:.6f}"
    return f"{told}+" if row["unpriced"] else told


def _by_day(span: tuple[int, int], told: Mapping[str, int]) -> dict[date, int]:
    """One number for each day of the span, without the years at its ends in which nothing was used."""
    used = {date.fromisoformat(day): number for day, number in told.items()}
    first, final = _day(span[0]), _day(span[1] - 1)
    if min(used) - first > _YEAR:
        first = min(used)
    if final - max(used) > _YEAR:
        final = max(used)
    count = (max(final, max(used)) - first).days + 1
    return {day: used.get(day, 0) for day in (first + timedelta(number) for number in range(count))}


def _chart(console: Console, days: Mapping[date, int]) -> None:
    """Tokens by day, as columns of blocks; several days share one where there is no room for each."""
    if len(days) < 2 or not any(days.values()):
        return
    numbers = list(days.values())
    margin = len(f"{sum(numbers):,}") + 1
    room = max(console.width - margin, 10)
    together = -(-len(numbers) // room)
    sums = [sum(numbers[begin : begin + together]) for begin in range(0, len(numbers), together)]
    top, width = max(sums), max(min(room // len(sums), 4), 1)
    blocks = _BLOCKS if _can_write(console, _BLOCKS) else _ASCII
    for row in reversed(range(_CHART_ROWS)):
        label = f"{top:,}" if row == _CHART_ROWS - 1 else "0" if row == 0 else ""
        bars = "".join(_cell(number / top * _CHART_ROWS - row, width, blocks) for number in sums)
        console.print(Text(f"{label:>{margin - 1}} ") + Text(bars.rstrip(), "cyan"), no_wrap=True, crop=True)
    first, *_, final = map(str, days)
    gap = len(sums) * width - len(first) - len(final)
    axis = f"{first}{'':{gap}}{final}" if gap > 0 else f"{first} …"
    unit = "tokens a day" if together == 1 else f"tokens in {together} days"
    console.print(f"{'':{margin}}{axis}\n{'':{margin}}{unit}\n", no_wrap=True, crop=True)


def _cell(height: float, width: int, blocks: str) -> str:
    """One row of a column, of which `height` rows are filled from here up; columns stand apart if they can."""
    block = blocks[round(min(max(height, 0), 1) * (len(blocks) - 1))]
    return block * (width - 1) + " " if width > 1 else block


def _day(us: int) -> date:
    return date.fromisoformat(spelt(us)[:10])


def _minute(us: int) -> str:
    return spelt(us)[:16].replace("T", " ")


def _plain(told: str) -> str:
    """A name as a terminal may see it: what it was called by may be anything a client sent."""
    return "".join(character if character.isprintable() else "?" for character in told) or "(none)"


def _can_write(console: Console, text: str) -> bool:
    try:
        text.encode(console.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
