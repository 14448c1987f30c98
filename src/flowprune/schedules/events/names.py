"""The index of events that are told by plain options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowprune.core.arguments import call
from flowprune.core.index import Index
from flowprune.schedules.events.event import Event

EVENTS: Final[Index[Callable[..., Event]]] = Index(
    "EVENTS",
    {
        "early_bird": "flowprune.schedules.events.mask_settles:early_bird",
        "early_crop": "flowprune.schedules.events.weights_settle:early_crop",
        "stable_structure": "flowprune.schedules.events.layers_settle:stable_structure",
        "after": "flowprune.schedules.events.counted:after",
    },
)
"""``EVENTS[name](**options)``. Events made of others (``any_of``, ``all_of``, ``at_latest``) are functions only."""


def build_event(name: str, **options: Any) -> Event:
    """An event by name, the same call for every name.

    Raises:
        UnknownNameError: the name is in no index.
        ValueError: an option that the event does not have, a missing one, or one out of range.

    Example:
        >>> build_event("early_bird", window=3).options()
        {'threshold': 0.1, 'window': 3}
    """
    return call(f"build_event({name!r})", EVENTS[name], options)
