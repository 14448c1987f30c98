"""Several events as one: when any of them, or all of them, have fired."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from flowprune.core.errors import invalid
from flowprune.schedules.events.counted import require_fresh
from flowprune.schedules.events.event import Event
from flowprune.schedules.events.looks import Look, Reading


def any_of(*events: Event) -> Event:
    """Fires as soon as one of the events does.

    Raises:
        ValueError: no event, or one that has seen a look already.

    Example:
        >>> from flowprune.schedules import after
        >>> any_of(after(looks=1), after(looks=3)).see(Look(1)).readings
        (Reading(value=1, threshold=1, fired=True),)
    """
    return Combined(_checked("any_of(*events)", events), 1)


def all_of(*events: Event) -> Event:
    """Fires as soon as each of the events has, be it at an earlier look: one that has fired is asked no more.

    Raises:
        ValueError: no event, or one that has seen a look already.

    Example:
        >>> from flowprune.schedules import after
        >>> both = all_of(after(looks=1), after(looks=2)).see(Look(1))
        >>> both.readings[-1], both.see(Look(2)).fired             # one of two has fired
        (Reading(value=1, threshold=2, fired=False), True)
    """
    return Combined(_checked("all_of(*events)", events), len(events))


def _checked(where: str, events: tuple[Event, ...]) -> tuple[Event, ...]:
    if not events:
        raise invalid(where, "at least one event", events)
    return tuple(require_fresh(where, event) for event in events)


@dataclass(frozen=True)
class Combined(Event):
    """Fires once ``wanted`` of the events have; readings say how many have, and how many must."""

    events: tuple[Event, ...]
    wanted: int

    @property
    def name(self) -> str:
        """What it is called."""
        return "combined"

    @property
    def needs(self) -> frozenset[str]:
        """What those that have not fired need."""
        return frozenset[str]().union(*(event.needs for event in self.events if not event.fired))

    def options(self) -> dict[str, Any]:
        """The events', and how many must fire."""
        events = [{"event": event.name, "options": event.options()} for event in self.events]
        return {"events": events, "wanted": self.wanted}

    def bound(self, *, sparsity: float, granularity: str) -> Self:
        """With each event bound."""
        bound = tuple(event.bound(sparsity=sparsity, granularity=granularity) for event in self.events)
        return replace(self, events=bound)

    def _seen(self, look: Look) -> tuple[Reading, Self]:
        events = tuple(event if event.fired else event.see(look) for event in self.events)
        fired = sum(event.fired for event in events)
        return Reading(fired, self.wanted, fired >= self.wanted), replace(self, events=events)

    def _memory(self) -> object:
        return [event.state() for event in self.events]

    def _remembering(self, memory: Any) -> Self:
        pairs = zip(self.events, memory, strict=True)
        return replace(self, events=tuple(event.restored(state) for event, state in pairs))
