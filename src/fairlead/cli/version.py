"""`fairlead version`: which Fairlead this is."""

import platform

from fairlead import __version__
from fairlead.cli.options import Json
from fairlead.cli.output import encoded


def command(json: Json = False) -> None:
    """Print which Fairlead this is."""
    told = {"version": __version__, "python": platform.python_version()}
    print(encoded(told) if json else f"fairlead {__version__}")
