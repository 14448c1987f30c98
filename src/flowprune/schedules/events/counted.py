"""Events that count looks: after so many of them, or at the latest then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from flowprune.core.errors import invalid
from flowprune.schedules.events.event import Event
from flowprune.schedules.events.looks import Look, Reading
from flowprune.schedules.schedule import require_rounds


def after(looks: int) -> Event:
    """Fires at look number ``looks``, whatever the network does.

    With one look an epoch, ``after(looks=10)`` cuts when ten epochs are over.

    Raises:
        ValueError: fewer than one look.

    Example:
        >>> after(looks=1).see(Look(1)).readings
        (Reading(value=1, threshold=1, fired=True),)
    """
    return After(require_rounds("after(looks=)", looks))


def at_latest(event: Event, looks: int) -> Event:
    """Fires when another event does, and at look number ``looks`` if it has not by then.

    An early indicator may never settle; this says how long it is waited for. Readings are those of the event.

    Raises:
        ValueError: fewer than one look, or no event that has seen nothing yet.

    Example:
        >>> from flowprune.schedules import early_bird
        >>> def look(t): return Look(t, bits=bytes([0b11000000]), units=8, layers=("w",), kept=(2,))
        >>> at_latest(early_bird(window=5), looks=2).see(look(1)).see(look(2)).fired
        True
    """
    require_fresh("at_latest(event=)", event)
    return AtLatest(event, require_rounds("at_latest(looks=)", looks))


def require_fresh(where: str, event: object) -> Event:
    """The event, if it has seen nothing yet, or an error.

    Example:
        >>> require_fresh("Pruner(when=)", after(looks=1)).looks
        0
    """
    if not isinstance(event, Event):
        raise invalid(where, "an event, such as fp.schedules.early_bird()", event)
    if event.looks:
        got = f"{event.name} after {event.looks} looks"
        raise invalid(where, "an event that has seen nothing yet", got, "Make a new one; state() and restored() go on.")
    return event


@dataclass(frozen=True)
class After(Event):
    """See :func:`after`."""

    count: int

    @property
    def name(self) -> str:
        """Its name in ``EVENTS``."""
        return "after"

    @property
    def needs(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def options(self) -> dict[str, Any]:
        """How many looks."""
        return {"looks": self.count}

    def _seen(self, look: Look) -> tuple[Reading, Self]:
        return Reading(look.count, self.count, look.count == self.count), self

    def _memory(self) -> object:
        return None

    def _remembering(self, memory: Any) -> Self:
        del memory
        return self


@dataclass(frozen=True)
class AtLatest(Event):
    """See :func:`at_latest`."""

    event: Event
    latest: int

    @property
    def name(self) -> str:
        """What it is called."""
        return "at_latest"

    @property
    def needs(self) -> frozenset[str]:
        """What the event needs."""
        return self.event.needs

    def options(self) -> dict[str, Any]:
        """The event's, and how many looks."""
        return {"event": self.event.name, "options": self.event.options(), "looks": self.latest}

    def bound(self, *, sparsity: float, granularity: str) -> Self:
        """With the event bound."""
        return replace(self, event=self.event.bound(sparsity=sparsity, granularity=granularity))

    def _seen(self, look: Look) -> tuple[Reading, Self]:
        event = self.event.see(look)
        reading = event.readings[-1]
        return reading._replace(fired=reading.fired or look.count == self.latest), replace(self, event=event)

    def _memory(self) -> object:
        return self.event.state()

    def _remembering(self, memory: Any) -> Self:
        return replace(self, event=self.event.restored(memory))
