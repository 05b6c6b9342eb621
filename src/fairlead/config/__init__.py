"""What is wished: one file and the environment, checked whole.

`file.load` gives `Wishes` or raises `InvalidConfigs` with every problem there is, each with its line and what would be
right.
"""

from collections.abc import Sequence

from msgspec import Struct

from fairlead.errors import InvalidConfig
from fairlead.resources import Credential, Defaults, Model, Policy, Principal, Provider
from fairlead.settings import Settings
from fairlead.upstream import Timeouts


class Wishes(Struct, frozen=True):
    """A configuration without problems."""

    settings: Settings = Settings()
    providers: tuple[Provider, ...] = ()
    credentials: dict[str, Credential] = {}
    models: tuple[Model, ...] = ()
    file_keys: dict[bytes, Principal] = {}  # by the SHA-256 of the key
    policy: Policy = Policy()
    defaults: Defaults = Defaults()
    timeouts: Timeouts = Timeouts()


class InvalidConfigs(Exception):
    """All the problems of a configuration."""

    def __init__(self, problems: Sequence[InvalidConfig]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
