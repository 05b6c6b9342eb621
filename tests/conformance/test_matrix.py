"""What gets through from any format to any, as the vendors' own SDKs see it: no cell is red, and the page is true."""

from pathlib import Path

import pytest

from fairlead.cli.conformance import asked
from fairlead.conformance.cases import CASES
from fairlead.conformance.formats import FORMATS, INBOUND
from fairlead.conformance.table import HEAD, notes, section

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def both_ways() -> None:
    """Once is enough: how calls come from the connection is no matter of formats."""


@pytest.mark.slow
@pytest.mark.parametrize("inbound", INBOUND)
async def test_what_can_be_said_gets_through(inbound: str, tmp_path: Path) -> None:
    cells = await asked(tmp_path, [inbound], list(FORMATS), list(CASES))
    assert [cell for cell in cells if cell.colour == "red"] == []
    assert len(cells) == len(FORMATS) * len(CASES)
    assert section(cells) in PAGE


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.startswith(HEAD)
    assert PAGE.endswith(notes())
    assert PAGE.count("\n## From ") == len(INBOUND)
