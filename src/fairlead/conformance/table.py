"""The matrix as a page, and on a terminal."""

from collections.abc import Iterable

from fairlead.conformance.cases import CASES
from fairlead.conformance.matrix import Cell

_SIGNS = {"green": "✓", "grey": "–", "red": "✗"}
_HEAD = """# Conformance

What clients speak, what providers speak, and what gets through between them: a table for each format of clients, a row
for each format of providers. `make conformance` writes this page, and `fairlead conformance` shows it.

The vendors' own SDKs judge: one as the client, one that reads what the provider was sent and what it answered. Behind
the gateway stands the simulator. A cell is ✓ where all that was asked reached the provider, and all that it answered
the client; – where a format cannot say it, as the vendor's page tells, and the client learns of it; ✗ where neither is
so.

"""


def page(cells: Iterable[Cell]) -> str:
    """The matrix in Markdown: the same cells give the same page."""
    found = list(cells)
    notes: dict[tuple[str, str], int] = {}
    lines = [_HEAD + "| case | |\n|---|---|"]
    cases = [name for name in CASES if any(cell.case == name for cell in found)]
    lines += [f"| {name} | {CASES[name].title} |" for name in cases]
    for inbound in _order(cell.inbound for cell in found):
        lines.append(f"\n## From {inbound}\n\n| to | {' | '.join(cases)} |\n|---|{'---|' * len(cases)}")
        for outbound in _order(cell.outbound for cell in found):
            row = {cell.case: cell for cell in found if (cell.inbound, cell.outbound) == (inbound, outbound)}
            lines.append(f"| {outbound} | {' | '.join(_sign(row.get(case), notes) for case in cases)} |")
    if notes:
        lines.append("\n## What cannot be\n")
        lines += [f"{number}. {why}" + (f" [{link}]({link})" if link else "") for (why, link), number in notes.items()]
    return "\n".join(lines) + "\n"


def _sign(cell: Cell | None, notes: dict[tuple[str, str], int]) -> str:
    if cell is None:
        return ""
    if cell.colour == "green":
        return _SIGNS["green"]
    number = notes.setdefault((cell.why, cell.link), len(notes) + 1)
    return f"{_SIGNS[cell.colour]} {number}"


def row(cells: Iterable[Cell], cases: Iterable[str]) -> list[str]:
    """Signs of the cells of a pair, in the order of `cases`."""
    by_case = {cell.case: cell for cell in cells}
    return [_SIGNS[by_case[case].colour] if case in by_case else "" for case in cases]


def _order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
