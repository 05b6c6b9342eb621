"""Options that several commands share: where the configuration is, which gateway to ask, JSON."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", show_default=False,
        help="The configuration file. Without it: $FAIRLEAD_CONFIG, else ./fairlead.toml, if there.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="FAIRLEAD_URL", metavar="URL", show_default=False,
        help="The gateway to ask. Without it: http://127.0.0.1:8080.",
    ),
]  # fmt: skip
Secret = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="FAIRLEAD_API_KEY", metavar="KEY", show_default=False,
        help="A key of that gateway. Better in the variable: others on this machine can read a command line.",
    ),
]  # fmt: skip
