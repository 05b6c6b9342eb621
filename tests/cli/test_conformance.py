"""`fairlead conformance`: what it asks of simulated providers and of real ones, and how it tells."""

import json
from pathlib import Path

import msgspec
import pytest

from commands import asked
from fairlead.cli import main
from fairlead.conformance.formats import FORMATS
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
    monkeypatch.setitem(FORMATS, "gemini", msgspec.structs.replace(FORMATS["gemini"], sdk="nobody.has.this"))
    assert conformance("--only", "openai-chat/gemini") == 2
    assert capsys.readouterr().err == "The vendors' SDKs are missing: pip install google-genai\n"


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
