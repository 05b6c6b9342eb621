"""The immutable index of everything the data plane needs to know, and the swap of one for the next.

A requested name resolves in this order: a configured model; `provider/model`; a provider's claims; an aggregator
(which takes any `author/slug`); the configured model `*`.
"""

import difflib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from fairlead.errors import CredentialMissing, InvalidRequest, ModelNotFound
from fairlead.resources import Credential, Defaults, Endpoint, Model, Policy, Principal, Provider, Route
from fairlead.upstream import Timeouts

LONGEST_NAME = 512  # characters; a longer one names no model
_REMEMBERED = 4096  # resolved names; clients choose them, so there is a bound
_LONGEST_COMPARED = 100  # characters of a name that nearest names are looked for
_MOST_COMPARED = 2000  # names it is compared with: by pairs of letters, 2 µs each
_MOST_MATCHED = 20  # of them, with `difflib`: 60 µs each


class Listed(Struct, frozen=True):
    """A line of the list of models."""

    name: str
    owner: str


class Snapshot:
    """One world, from a call's start to its end. Built whole, never changed."""

    def __init__(
        self,
        *,
        providers: Sequence[Provider] = (),
        credentials: Mapping[str, Credential] | None = None,
        models: Sequence[Model] = (),
        file_keys: Mapping[bytes, Principal] | None = None,
        policy: Policy = Policy(),  # noqa: B008  # frozen
        defaults: Defaults = Defaults(),  # noqa: B008  # frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
    ) -> None:
        """`providers` in the order in which their claims count. `file_keys`: SHA-256 of a key → whose it is."""
        self.providers = {provider.name: provider for provider in providers}
        self.credentials = dict(credentials or {})
        self.models = {model.name: model for model in models}
        self.file_keys = dict(file_keys or {})
        self.policy, self.defaults, self.timeouts = policy, defaults, timeouts
        self.listings: Mapping[str, Sequence[str]] = {}  # provider → the names its own list gives; the catalogue's
        self._routes: dict[str, Route] = {}

    def serves(self, provider: Provider) -> bool:
        """Whether `provider` can be asked: it has its credential, or needs none."""
        return provider.signing.kind == "none" or provider.name in self.credentials

    def resolve(self, model: str | None, principal: Principal | None = None) -> Route:
        """The route behind a requested name. Raises InvalidRequest (no name), ModelNotFound, CredentialMissing."""
        name = model or self.defaults.model
        if not name:
            raise InvalidRequest("'model' is missing: name the model to ask.", param="model")
        route = self._routes.get(name)
        if route is None:
            route = self._resolved(name)
            if len(self._routes) >= _REMEMBERED:
                self._routes.clear()  # whoever asks for ever new names does not keep the others out
            self._routes[name] = route
        return route

    def _resolved(self, name: str) -> Route:
        if len(name) > LONGEST_NAME:
            raise ModelNotFound(name)
        configured = self.models.get(name)
        if configured is not None:
            return self._of_model(name, configured)
        found = self._candidates(name)
        for endpoint in found:
            if self.serves(endpoint.provider):
                return Route(name, (endpoint,))
        catch_all = self.models.get("*")
        if catch_all is not None:
            return self._of_model(name, catch_all)
        # That an aggregator would have taken the name says nothing of whether there is such a model.
        owners = [endpoint.provider for endpoint in found if endpoint.model != name or not endpoint.provider.aggregator]
        if owners:
            raise self._missing(name, owners)
        raise ModelNotFound(name, self.nearest(name))

    def _of_model(self, name: str, model: Model) -> Route:
        serving = tuple(endpoint for endpoint in model.endpoints if self.serves(endpoint.provider))
        if not serving:
            raise self._missing(name, [endpoint.provider for endpoint in model.endpoints])
        return Route(name, serving)

    def _candidates(self, name: str) -> list[Endpoint]:
        """Where the name could be had, best first, with a credential or without."""
        found = []
        head, slash, rest = name.partition("/")
        if slash and rest and head in self.providers:
            found.append(Endpoint(self.providers[head], rest))
        found += [Endpoint(provider, name) for provider in self.providers.values() if _claims(provider, name)]
        if slash and rest:
            found += [Endpoint(provider, name) for provider in self.providers.values() if provider.aggregator]
        return found

    def _missing(self, name: str, providers: Iterable[Provider]) -> CredentialMissing:
        return CredentialMissing(
            name,
            {
                provider.name: provider.credential_env or f"[providers.{provider.name}] credential"
                for provider in providers
            },
        )

    def nearest(self, name: str) -> tuple[str, ...]:
        """The three names that are most like `name`."""
        name = name[:_LONGEST_COMPARED]
        pairs = _pairs(name)
        known = [listed.name for listed in self.names()[:_MOST_COMPARED]]
        similar = heapq.nlargest(_MOST_MATCHED, known, key=lambda other: _likeness(pairs, _pairs_of_known(other)))
        return tuple(difflib.get_close_matches(name, similar, n=3, cutoff=0.0))

    def names(self) -> list[Listed]:
        """What can be asked for: configured names, claims, and what providers list themselves."""
        listed = {name: Listed(name, "fairlead") for name in self.models if name != "*"}
        for provider in self.providers.values():
            if not self.serves(provider):
                continue
            own = (f"{provider.name}/{model}" for model in self.listings.get(provider.name, ()))
            for name in (*provider.claims, *own):
                listed.setdefault(name, Listed(name, provider.name))
        return list(listed.values())

    def find(self, name: str) -> Listed | None:
        """The line of `name`, if it can be asked for."""
        if name in self.models and name != "*":
            return Listed(name, "fairlead")
        if len(name) > LONGEST_NAME:
            return None
        for endpoint in self._candidates(name):
            provider = endpoint.provider
            listed = self.listings.get(provider.name)
            # An aggregator takes any name with a slash in it; its list says which there are, once it is here.
            if self.serves(provider) and not (provider.aggregator and listed and endpoint.model not in listed):
                return Listed(name, provider.name)
        return None


def _claims(provider: Provider, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in provider.claims)


def _pairs(name: str) -> frozenset[str]:
    """The pairs of letters next to each other: ("gp", "pt", …)."""
    return frozenset(map("".join, pairwise(name)))


_pairs_of_known = lru_cache(maxsize=2 * _MOST_COMPARED)(_pairs)


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """How much of two names is the same: Dice's coefficient, 0 to 1."""
    return 2 * len(one & other) / (len(one) + len(other) or 1)


class Catalog:
    """Holds the current snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.listings: dict[str, Sequence[str]] = {}  # grows as providers are asked for their models
        self.swap(snapshot)

    def swap(self, snapshot: Snapshot) -> None:
        """From now on calls begin in another world; those under way end in theirs."""
        snapshot.listings = self.listings
        self.current = snapshot
