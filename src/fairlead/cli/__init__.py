"""The command line: one file per command, imported only when it is asked for.

The list of commands is here, so that help and a shell's completion need none of them.
"""

import sys
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

RUN, LOOK, MANAGE = "Run", "Look", "Manage"


class Listed(NamedTuple):
    """A line of `fairlead --help`: its group, where the command is, and the first sentence of its own help."""

    panel: str
    module: str  # has a `command`, or an `app` of several
    summary: str


COMMANDS = {
    "serve": Listed(RUN, "fairlead.cli.serve", "Serve the gateway until SIGTERM or Ctrl-C."),
    "demo": Listed(RUN, "fairlead.cli.demo", "Try Fairlead: a gateway with simulated models, no account needed."),
    "chat": Listed(RUN, "fairlead.cli.chat", "Talk to a model through a gateway."),
    "simulate": Listed(RUN, "fairlead.cli.simulate", "Serve simulated models over HTTP, as a provider would."),
    "models": Listed(LOOK, "fairlead.cli.models", "List the models that can be asked for."),
    "usage": Listed(LOOK, "fairlead.cli.usage", "Show what was used: calls, tokens and cost, by model or as you like."),
    "check": Listed(LOOK, "fairlead.cli.check", "Check the configuration: every problem with its line."),
    "doctor": Listed(LOOK, "fairlead.cli.doctor.command", "Find out what is wrong, and what to do about it."),
    "conformance": Listed(LOOK, "fairlead.cli.conformance", "Show what gets through from any format to any."),
    "version": Listed(LOOK, "fairlead.cli.version", "Print which Fairlead this is."),
    "keys": Listed(MANAGE, "fairlead.cli.keys", "Make, list and revoke the keys that open the gateway."),
    "deadletters": Listed(MANAGE, "fairlead.cli.deadletters", "List, retry and drop the records that a sink refused."),
}


class Commands(TyperGroup):
    """All commands. Until one is asked for, it is its line in the list."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.commands = {
            name: TyperCommand(name, help=listed.summary, rich_help_panel=listed.panel)
            for name, listed in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _loaded(name) if name in COMMANDS else command, rest


def _loaded(name: str) -> Any:
    """The command itself."""
    module = import_module(COMMANDS[name].module)
    alone = typer.Typer()
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name)
    else:
        alone.command(name)(module.command)
    return typer.main.get_group(alone).commands[name]


def main(arguments: list[str] | None = None) -> None:
    """Run the command that `arguments` (the process's own by default) name. Leaves by SystemExit."""
    cli = typer.Typer(
        name="fairlead",
        cls=Commands,
        help="An OpenAI-compatible gateway you run yourself, in front of every model provider.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    cli.callback()(lambda: None)  # options without a command are the gateway's own
    cli(sys.argv[1:] if arguments is None else arguments, prog_name="fairlead")
