"""Which provider keeps an answer that a later request may go on from, and whose answer it is.

OpenAI's Responses keep answers: `previous_response_id` is known to the account that gave the answer and to no other.
What is remembered here is bounded, and this process's own; the rest is looked up in what was written down. Of an id
that is nowhere to be found (its answer was not given through this gateway) the providers are asked in turn.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from fairlead.errors import InvalidRequest
from fairlead.resources import Endpoint, Principal

NOT_FOUND = "previous_response_not_found"  # what a provider says that does not have the answer
_LONGEST_ID = 200

Owner = tuple[str, str, str]  # organisation, team, environment
Find = Callable[[str], tuple[str, Owner] | None]  # an id → the provider that has the answer, and whose it is


class Pins:
    """Ids of answers, the latest of them."""

    def __init__(self, find: Find, capacity: int = 50_000) -> None:
        """`find`: for an id that is not remembered; called in a thread, may raise FairleadError."""
        self._find, self._capacity = find, capacity
        self._known: OrderedDict[str, tuple[str, Owner]] = OrderedDict()

    def keep(self, id: str | None, endpoint: Endpoint, principal: Principal) -> None:
        """`endpoint` gave the answer `id` to `principal`."""
        if id and len(id) <= _LONGEST_ID:
            self._remember(id, (endpoint.provider.name, _owner(principal)))

    def _remember(self, id: str, known: tuple[str, Owner]) -> None:
        if len(self._known) >= self._capacity:
            self._known.popitem(last=False)
        self._known[id] = known

    async def provider_of(self, id: str, principal: Principal) -> str | None:
        """The name of the provider that has the answer `id`; None if that is not known.

        Raises InvalidRequest if it is somebody else's, in the words for an answer that nobody knows; Unavailable.
        """
        known = self._known.get(id)
        if known is None and 0 < len(id) <= _LONGEST_ID:
            known = await asyncio.to_thread(self._find, id)
            if known is not None:
                self._remember(id, known)
        if known is None:
            return None
        provider, owner = known
        if owner != _owner(principal):
            raise not_found(id)
        return provider


def not_found(id: str) -> InvalidRequest:
    """What a client hears of an answer that no provider of the model has."""
    return InvalidRequest(
        f"Previous response with id {id[:_LONGEST_ID]!r} not found.",
        param="previous_response_id",
        code=NOT_FOUND,
    )


def _owner(principal: Principal) -> Owner:
    return principal.organization_id, principal.team_id, principal.environment_id
