"""`fairlead version`: which Fairlead this is."""

from fairlead import __version__


def command() -> None:
    """Print the version."""
    print(f"fairlead {__version__}")
