"""`fairlead check`: what is wrong with a configuration, without starting anything."""

import os
import sys
from pathlib import Path

import typer

from fairlead.cli.options import Config, Json
from fairlead.cli.output import encoded
from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.file import load, located
from fairlead.config.sync import snapshot


def command(config: Config = None, json: Json = False) -> None:
    """Check the configuration: every problem with its line.

    It starts nothing and asks nobody. Exits with 2 if there is a problem.
    """
    try:
        wishes = load(config, os.environ)
    except InvalidConfigs as problems:
        if json:
            print(encoded({"ok": False, "problems": [_told(problem) for problem in problems.problems]}))
        else:
            tell_problems(problems)
        raise typer.Exit(2) from None
    print(encoded({"ok": True, **_offered(wishes)}) if json else _summary(wishes, located(config, os.environ)))


def tell_problems(problems: InvalidConfigs) -> None:
    """One problem a line, on standard error."""
    for problem in problems.problems:
        print(problem, file=sys.stderr)
    count = len(problems.problems)
    print(f"{count} problem{'s' if count > 1 else ''}; nothing was taken.", file=sys.stderr)


def _told(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "path", "message")}


def _offered(wishes: Wishes) -> dict[str, list[str]]:
    world = snapshot(wishes)
    return {
        "providers": [provider.name for provider in wishes.providers if world.serves(provider)],
        "models": [model.name for model in wishes.models],
        "keys": [principal.name for principal in wishes.file_keys.values()],
    }


def _summary(wishes: Wishes, file: Path | None) -> str:
    offered = _offered(wishes)
    lines = [f"{file or 'no file'}: no problems"]
    lines += [f"  {what}: {', '.join(names) if names else 'none'}" for what, names in offered.items()]
    if not offered["providers"]:
        lines.append("  No provider has a credential: set OPENAI_API_KEY, ANTHROPIC_API_KEY, … or [providers.NAME].")
    return "\n".join(lines)
