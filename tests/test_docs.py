"""What the documents say is so: codes of errors, files that are named, links that lead somewhere."""

import re
from pathlib import Path

import pytest

from fairlead import errors

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])


def codes() -> set[str]:
    """Of every error that a client may be told."""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FairleadError)
    ]
    return {kind.code for kind in kinds if kind is not errors.InvalidConfig}


def test_every_code_is_in_the_table_of_errors() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert {code for code in codes() if f"`{code}`" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_a_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_room_that_contributors_are_sent_to_is_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ") and "`" in line]
    named = [name for row in rows for name in re.findall(r"`([\w./]+(?:\.py|\.toml|\.md|/))`", row)]
    places = (ROOT, ROOT / "src", ROOT / "src" / "fairlead")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
