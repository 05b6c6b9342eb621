"""The command line: one file per command, imported only when it is asked for."""

import sys
from importlib import import_module

# name → where it is. A module has a `command`, or an `app` of several.
COMMANDS = {
    "serve": "fairlead.cli.serve",
    "demo": "fairlead.cli.demo",
    "check": "fairlead.cli.check",
    "keys": "fairlead.cli.keys",
    "usage": "fairlead.cli.usage",
    "deadletters": "fairlead.cli.deadletters",
    "doctor": "fairlead.cli.doctor",
    "simulate": "fairlead.cli.simulate",
    "version": "fairlead.cli.version",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command that `arguments` (the process's own by default) name. Leaves by SystemExit."""
    import typer  # 40 ms that `python -c 'import fairlead.cli'` need not pay

    arguments = sys.argv[1:] if arguments is None else arguments
    cli = typer.Typer(
        name="fairlead",
        help="An OpenAI-compatible gateway you run yourself, in front of every model provider.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    cli.callback()(lambda: None)  # a single command is still named
    wanted = arguments[:1] if arguments and arguments[0] in COMMANDS else list(COMMANDS)
    for name in wanted:
        module = import_module(COMMANDS[name])
        if hasattr(module, "app"):
            cli.add_typer(module.app, name=name)
        else:
            cli.command(name)(module.command)
    cli(arguments, prog_name="fairlead")
