"""What a format cannot say, with the page of its vendor's that says so. A cell is grey by one of these only."""

from msgspec import Struct


class Limit(Struct, frozen=True):
    """Why a case cannot be, and how the client learns of it: by a name in `x-fairlead-dropped`, by a 400, or, where it
    is nothing that was asked for, not at all."""

    why: str
    link: str
    dropped: str = ""
    refused: bool = False
    silent: bool = False


# (format, case) → limit, whichever side the format is on
LIMITS: dict[tuple[str, str], Limit] = {}
