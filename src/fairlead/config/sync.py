"""Wishes become a snapshot."""

from fairlead.catalog import Snapshot
from fairlead.config import Wishes


def snapshot(wishes: Wishes) -> Snapshot:
    """The world that `wishes` describe."""
    return Snapshot(
        providers=wishes.providers,
        credentials=wishes.credentials,
        models=wishes.models,
        file_keys=wishes.file_keys,
        policy=wishes.policy,
        defaults=wishes.defaults,
        timeouts=wishes.timeouts,
    )
