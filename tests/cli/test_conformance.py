"""`fairlead conformance`: what it asks of simulated providers and of real ones, and how it tells."""

import json
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from commands import asked
from fairlead.cli import main
from fairlead.conformance.formats import FORMATS, PACKAGES
from serving import serving

LAB = '[providers.lab]\nbase_url = "{url}/v1"\nprotocols = ["openai-chat"]\nsigning = "none"\n'


def conformance(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["conformance", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "morse"], "no format 'morse' on this side"),
        (["--only", "ollama-chat/gemini"], "no format 'ollama-chat' on this side"),
        (["--only", "gemini/morse"], "no format 'morse' on this side"),
        (["--case", "dancing"], "no case 'dancing'"),
        (["--provider", "lab"], "--provider and --model go together"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance(*arguments) == 2
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_an_sdk_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fairlead.conformance.formats.find_spec", lambda sdk: None)
    assert conformance("--only", "openai-chat/bedrock-invoke") == 2
    told, beside = capsys.readouterr().err.splitlines()
    assert told == "The vendors' SDKs are missing: pip install anthropic botocore openai"
    assert beside == "All of them are the extra 'conformance' of this package."
    assert conformance() == 2
    named = capsys.readouterr().err.splitlines()[0].partition("pip install ")[2].split()
    assert named == sorted(PACKAGES.values())


def test_the_extra_has_all_sdks_and_each_format_says_which_it_needs() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["conformance"] == sorted(PACKAGES.values())
    for row in FORMATS.values():
        source = find_spec(row.module)
        assert source is not None
        assert source.origin is not None
        text = Path(source.origin).read_text(encoding="utf-8")
        found = {sdk for sdk in PACKAGES if re.search(rf"^(?:from|import) {sdk.split('.')[0]}\b", text, re.MULTILINE)}
        assert found <= set(row.sdks)


async def test_cells_are_shown_and_written(tmp_path: Path) -> None:
    done = await asked(
        tmp_path, "conformance", "--only", "openai-chat/openai-completions", "--case", "plain", "--case", "tools",
        "--write", "page.md",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ("openai-chat to plain tools openai-completions ✓ – 1 green, 1 grey, 0 red".split())
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## From openai-chat\n\n| to | plain | tools |\n|---|---|---|\n| openai-completions | ✓ | – " in page


async def test_a_real_provider_is_asked_for_one_model(tmp_path: Path) -> None:
    async with serving("openai-chat") as url:
        (tmp_path / "fairlead.toml").write_text(LAB.format(url=url))
        command = ("conformance", "--provider", "lab", "--model", "echo", "--json")
        done = await asked(tmp_path, *command, "--only", "anthropic-messages", "--case", "plain", "--case", "tools")
        nobody = await asked(tmp_path, "conformance", "--provider", "nobody", "--model", "echo")
    assert (done.returncode, done.stderr) == (1, "")  # what echoes calls no tools
    cells = json.loads(done.stdout)["cells"]
    assert [(cell["inbound"], cell["outbound"], cell["case"], cell["colour"]) for cell in cells] == [
        ("anthropic-messages", "lab", "plain", "green"),
        ("anthropic-messages", "lab", "tools", "red"),
    ]
    assert cells[1]["why"] == "called were [], not ['weather']"
    assert nobody.returncode == 2
    assert "no provider 'nobody'" in nobody.stderr
    assert not (tmp_path / ".fairlead").exists()
