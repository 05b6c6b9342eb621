"""Answers that a provider keeps, looked up by the id that it gave them, in what was written down of attempts."""

import logging
import sqlite3

from sqlalchemy import bindparam, literal_column, select, text

from fairlead.errors import Unavailable
from fairlead.storage import tables
from fairlead.storage.engine import Database, compiled

log = logging.getLogger("fairlead.storage")

_attempts = tables.attempts.c
FIND, _ = compiled(
    select(_attempts.provider, _attempts.organization_id, _attempts.team_id, _attempts.environment_id)
    # To the letter as the index `attempts_kept` has it.
    .where(text(tables.KEPT), _attempts.upstream_id == bindparam("id"))
    .limit(literal_column("1"))
    .offset(literal_column("0"))
)


class KeptAnswers:
    """Reads what other processes, and this one before it was started anew, have written down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, id: str) -> tuple[str, tuple[str, str, str]] | None:
        """The provider of the answer `id`, and its owner: organisation, team and environment; None if it is not there.

        Blocks: the event loop asks from a thread. Raises Unavailable.
        """
        try:
            rows = self._database.read(FIND, (id,))
        except sqlite3.Error as error:
            log.warning("who has a kept answer cannot be looked up: %s", error)
            raise Unavailable("Whose answer this is cannot be looked up at the moment. Try again shortly.") from None
        if not rows:
            return None
        provider, organization, team, environment = rows[0]
        return provider, (organization, team, environment)
