"""What a shell completes, and what help tells: both without importing more than they need."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import fairlead
from fairlead import __version__
from fairlead.cli import COMMANDS, LOOK, MANAGE, RUN, _loaded
from fairlead.storage.usage import GROUPS
from gateway import environment

# Those of a command's own that take long to import, and that completing its options needs none of.
HEAVY = ("sqlalchemy", "alembic", "starlette", "uvicorn", "fairlead.app")
# What completing takes grows with what is imported: most for `usage`, 419 modules, Python's own among them.
MOST_MODULES = 500
NEEDED_BY_ALL = {"fairlead", "fairlead.cli"}
SEVERAL = ("keys", "deadletters")  # commands of their own


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the command in `bin`, and nothing else."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "fairlead"
    command.write_text(f"#!{sys.executable}\nfrom fairlead.cli import main\n\nmain()\n")
    command.chmod(0o755)
    return tmp_path


def bash(home: Path, command: str) -> str:
    """What is printed by `command` in a bash in which `fairlead` is a command."""
    environ = {**environment(), "HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-ec", f"{command}\n:"],  # `:`, so that bash stays, and is the shell that asks
        cwd=home, env=environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def offered(home: Path, *words: str) -> list[str]:
    """What bash offers for the last of `words`, by the script that we give it."""
    spelt = " ".join(f"'{word}'" for word in words)
    return bash(
        home,
        "fairlead --show-completion > script.sh; . ./script.sh\n"
        f"COMP_WORDS=({spelt}); COMP_CWORD={len(words) - 1}\n"
        '_fairlead_completion fairlead; printf "%s\\n" "${COMPREPLY[@]}"',
    ).split()


# ---- in bash, for real


def test_bash_completes_the_names_of_commands(home: Path) -> None:
    assert offered(home, "fairlead", "") == list(COMMANDS)
    assert offered(home, "fairlead", "d") == ["demo", "doctor", "deadletters"]
    assert offered(home, "fairlead", "keys", "") == ["create", "list", "revoke"]
    assert offered(home, "fairlead", "deadletters", "re") == ["retry"]


def test_bash_completes_options(home: Path) -> None:
    assert offered(home, "fairlead", "doctor", "--") == ["--config", "--offline", "--json", "--help"]
    assert offered(home, "fairlead", "chat", "sim/echo", "--m") == ["--max-tokens"]
    assert offered(home, "fairlead", "keys", "create", "ci", "--s") == ["--scope"]
    assert offered(home, "fairlead", "simulate", "--protocol", "anthropic-m") == ["anthropic-messages"]
    assert "--install-completion" in offered(home, "fairlead", "--")


def test_bash_knows_of_it_once_it_is_installed(home: Path) -> None:
    assert "bash completion installed" in bash(home, "fairlead --install-completion")
    told = bash(home, ". ~/.bashrc; complete -p fairlead")
    assert "-F _fairlead_completion fairlead" in told


def imported(words: str) -> set[str]:
    """The modules that a process has at its end which completes the last of `words`."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from fairlead.cli import main; main()"
    )
    environ = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_FAIRLEAD_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment(), **environ}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr
    return set(done.stderr.split())


def test_no_command_is_imported_to_complete_the_names_of_all() -> None:
    assert {name for name in imported("fairlead ") if name.partition(".")[0] == "fairlead"} == NEEDED_BY_ALL


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_needs_only_to_run_is_not_imported_before(name: str) -> None:
    found = imported(f"fairlead {name} {'' if name in SEVERAL else '--'}")
    assert found >= NEEDED_BY_ALL
    heavy = {*HEAVY} - ({"starlette"} if name == "usage" else set())  # it spells times as the endpoint does
    assert found & heavy == set()
    assert len(found) <= MOST_MODULES


# ---- in other shells


@pytest.mark.parametrize(
    ("kind", "environ", "told"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fairlead dea"}, '"deadletters":"List, retry and drop the records'),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fairlead doctor --off"}, '"--offline":"Ask no provider'),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "fairlead mod", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "models\tList the models that can be asked for.",
        ),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "fairlead models --js", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "--json\tPrint JSON, for programs.",
        ),
    ],
)
def test_zsh_and_fish_are_told_with_a_word_on_each(
    tmp_path: Path, kind: str, environ: dict[str, str], told: str
) -> None:
    done = fairlead(tmp_path, **environ, _FAIRLEAD_COMPLETE=f"complete_{kind}")
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout


@pytest.mark.parametrize(("kind", "mark"), [("zsh", "#compdef fairlead"), ("fish", "complete --command fairlead")])
def test_zsh_and_fish_have_a_script(tmp_path: Path, kind: str, mark: str) -> None:
    done = fairlead(tmp_path, _FAIRLEAD_COMPLETE=f"source_{kind}")
    assert (done.returncode, mark in done.stdout) == (0, True)
    if program := shutil.which(kind):
        (tmp_path / "script").write_text(done.stdout)
        assert subprocess.run([program, "-n", tmp_path / "script"], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("fish") is None, reason="not on this machine: fish")
def test_fish_completes_commands_and_options(home: Path) -> None:
    environ = {**environment(), "HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    script = "_FAIRLEAD_COMPLETE=source_fish fairlead | source"
    code = f"{script}; complete -C 'fairlead dea'; complete -C 'fairlead doctor --off'"
    done = subprocess.run(["fish", "-c", code], cwd=home, env=environ, capture_output=True, text=True, timeout=60)
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["deadletters", "--offline"]


# ---- help


def test_help_lists_the_commands_by_what_they_are_for(tmp_path: Path) -> None:
    text = fairlead(tmp_path, "--help", COLUMNS="120").stdout
    at = [text.index(f"─ {panel} ─") for panel in (RUN, LOOK, MANAGE)]
    assert at == sorted(at)
    lines = [line.split()[1] for line in text[at[0] :].splitlines() if line.startswith("│ ")]
    assert lines == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(name: str) -> None:
    assert (_loaded(name).help or "").partition("\n")[0] == COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_explained_and_nothing_of_it_is_taken_for_markup(name: str) -> None:
    command = _loaded(name)
    for each in (command, *getattr(command, "commands", {}).values()):
        assert each.help
        for told in (each.help, *(param.help for param in each.params)):
            assert told, each.name
            assert told.rstrip().endswith((".", "!")), told
            assert "[" not in told, told


def test_what_usage_can_be_grouped_by_is_told(tmp_path: Path) -> None:
    assert ", ".join(GROUPS) in " ".join(fairlead(tmp_path, "usage", "--help", COLUMNS="200").stdout.split())


def test_a_command_that_is_not_there_is_told_with_one_that_is(tmp_path: Path) -> None:
    done = fairlead(tmp_path, "modles")
    assert done.returncode == 2
    assert "Did you mean 'models'?" in done.stderr


def test_version_has_json(tmp_path: Path) -> None:
    assert json.loads(fairlead(tmp_path, "version", "--json").stdout) == {
        "version": __version__,
        "python": platform.python_version(),
    }
