"""Which endpoint next: the order in which a route's endpoints are attempted.

One attempt each, in the order of the route; strategies, retries and health find their place here.
"""

from collections.abc import Sequence

from fairlead.resources import Endpoint, Route


def plan(route: Route) -> Sequence[Endpoint]:
    """The endpoints of `route`, first choice first."""
    return route.endpoints
