"""The matrix as a page, and on a terminal."""

from collections.abc import Iterable

from fairlead.conformance.cases import CASES
from fairlead.conformance.limits import numbered
from fairlead.conformance.matrix import Cell

_SIGNS = {"green": "✓", "grey": "–", "red": "✗"}
HEAD = """# Conformance

What clients speak, what providers speak, and what gets through between them: a table for each format of clients, a row
for each format of providers. `make conformance` writes this page, and `fairlead conformance` shows it.

The vendors' own SDKs judge: one as the client, one that reads what the provider was sent and what it answered. Behind
the gateway stands the simulator. Anthropic's SDK has no words for its older completions any more: it sends and reads
them by the types that it once had. A body of InvokeModel is its model's: botocore carries it, and what the models have
no SDK for is read as their pages have it; each family is a row. An image by its address stands on this machine, behind
the guard: providers that want bytes get what is there, the others the address. A cell is

- ✓ where all that was asked reached the provider, and all that it answered the client, whole and in a stream;
- – where a format cannot say it: the number leads to the vendor's page. The client learns of it by the header
  `x-fairlead-dropped` or by a 400, unless it is nothing that was asked for;
- ✗ where neither is so.

What the numbered pages say was read in November 2026, in stored copies of them; of Cohere's, reasons and counts in the
types of its SDK. A page that lists what a format takes, or tells, says by its silence what it does not.

| case | |
|---|---|
""" + "".join(f"| {name} | {case.title} |\n" for name, case in CASES.items())


def page(cells: Iterable[Cell]) -> str:
    """The matrix in Markdown: the same cells give the same page."""
    found = list(cells)
    sections = [section([cell for cell in found if cell.inbound == name]) for name in _order(c.inbound for c in found)]
    return "\n".join([HEAD, *sections, notes()])


def section(cells: list[Cell]) -> str:
    """The table of one format of clients."""
    cases = [name for name in CASES if any(cell.case == name for cell in cells)]
    lines = [f"## From {cells[0].inbound}", "", f"| to | {' | '.join(cases)} |", f"|---|{'---|' * len(cases)}"]
    for outbound in _order(cell.outbound for cell in cells):
        signs = row((cell for cell in cells if cell.outbound == outbound), cases, numbers=True)
        lines.append(f"| {outbound} | {' | '.join(signs)} |")
    red = [f"- {cell.outbound}, {cell.case}: {cell.why}" for cell in cells if cell.colour == "red"]
    return "\n".join([*lines, *(["", *red] if red else []), ""])


def notes() -> str:
    """What cannot be, and who says so."""
    told = {number: f"{number}. {limit.why} <{limit.link}>" for limit, number in numbered().items()}
    return "\n".join(["## What cannot be", "", *(told[number] for number in sorted(told)), ""])


def row(cells: Iterable[Cell], cases: Iterable[str], *, numbers: bool = False) -> list[str]:
    """Signs of the cells of a pair, in the order of `cases`; `numbers`: with those of their limits."""
    by_case = {cell.case: cell for cell in cells}
    return [_sign(by_case[case], numbers=numbers) if case in by_case else "" for case in cases]


def _sign(cell: Cell, *, numbers: bool) -> str:
    sign = _SIGNS[cell.colour]
    return f"{sign} {cell.number}" if numbers and cell.number else sign


def _order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
