"""May this principal ask for this: its scope, and the bounds that `[policy]` sets."""

from fairlead.errors import Forbidden, InvalidRequest
from fairlead.protocols import Envelope, Served
from fairlead.resources import Policy, Principal


def authorize(principal: Principal, policy: Policy, protocol: Served, envelope: Envelope) -> None:
    """Raises Forbidden if the key may not make calls, InvalidRequest (saying how many) if the request is too much."""
    if not principal.may("inference"):
        raise Forbidden("This key may not make calls: it lacks the scope 'inference'.")
    if policy.max_messages is not None and envelope.messages > policy.max_messages:
        raise _too_many("messages", envelope.messages, policy.max_messages, envelope.conversation)
    if policy.max_tokens is not None and envelope.max_tokens is not None and envelope.max_tokens > policy.max_tokens:
        raise _too_many("tokens", envelope.max_tokens, policy.max_tokens, envelope.limit)
    if policy.max_characters is not None:
        count = protocol.characters(envelope)
        if count > policy.max_characters:
            raise _too_many("characters", count, policy.max_characters, envelope.conversation)


def _too_many(what: str, count: int, bound: int, param: str) -> InvalidRequest:
    return InvalidRequest(f"The request has {count} {what}; at most {bound} are allowed here.", param=param)
