"""What every event is: an immutable state machine that is shown looks and says when it is time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from flowprune.core.errors import PruningError, invalid
from flowprune.schedules.events.looks import Look, Reading

NEEDS = ("mask", "movement")
"""What an event may read of a look; only that is computed."""


@dataclass(frozen=True, kw_only=True)
class Event(ABC):
    """When to make the first cut: shown one look after the other, it fires once.

    Nothing is changed by a look: :meth:`see` gives the event after it. What it has seen is plain data
    (:meth:`state`), and an event that is :meth:`restored` from it goes on as if nothing had happened.

    Attributes:
        readings: What it made of each look so far.

    Example:
        >>> from flowprune.schedules import after
        >>> waiting = after(looks=2).see(Look(1))
        >>> waiting.fired, waiting.see(Look(2)).fired
        (False, True)
    """

    readings: tuple[Reading, ...] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called, in states and errors."""

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """What the next look must hold, out of ``NEEDS``."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What it was made with, as JSON has it."""

    @abstractmethod
    def _seen(self, look: Look) -> tuple[Reading, Self]:
        """What it makes of a look, and itself with all that is to be remembered of it but the reading."""

    @abstractmethod
    def _memory(self) -> object:
        """What it remembers besides the readings, as JSON has it."""

    @abstractmethod
    def _remembering(self, memory: Any) -> Self:
        """Itself with that memory."""

    @property
    def looks(self) -> int:
        """How many looks it has seen."""
        return len(self.readings)

    @property
    def fired(self) -> bool:
        """Whether it is time."""
        return bool(self.readings) and self.readings[-1].fired

    def bound(self, *, sparsity: float, granularity: str) -> Self:
        """The event for a pruning that ends at this sparsity of these units; most do not depend on either.

        Raises:
            ValueError: it was made for another.
        """
        del sparsity, granularity
        return self

    def see(self, look: Look) -> Self:
        """The event after one more look; ``self`` is unchanged.

        Raises:
            PruningError: it has fired already.
            ValueError: it is not the next look, or it lacks what is needed.
        """
        if self.fired:
            raise PruningError(f"{self.name}.see() must not be called after it fired; it did at look {self.looks}.")
        if look.count != self.looks + 1:
            raise invalid(f"{self.name}.see(look=)", f"the next look, number {self.looks + 1}", look.count)
        held = {"mask": look.bits, "movement": look.movement}
        for need in sorted(self.needs):
            if held[need] is None:
                raise invalid(
                    f"{self.name}.see(look=)", f"a look with the {need}", look, f"It needs {set(self.needs)}."
                )
        reading, remembered = self._seen(look)
        return replace(remembered, readings=(*self.readings, reading))

    def state(self) -> dict[str, Any]:
        """All it was made with and has seen, as JSON has it; masks are hexadecimal.

        Example:
            >>> from flowprune.schedules import after
            >>> after(looks=2).see(Look(1)).state()["readings"]
            [[1, 2, False]]
        """
        readings = [list(reading) for reading in self.readings]
        return {"event": self.name, "options": self.options(), "readings": readings, "memory": self._memory()}

    def restored(self, state: Mapping[str, Any]) -> Self:
        """This event where the one of that state stood.

        Raises:
            ValueError: the state is of another event or of other options, or is damaged.
        """
        where = f"{self.name}.restored(state=)"
        if not isinstance(state, Mapping) or set(state) != {"event", "options", "readings", "memory"}:
            raise invalid(where, "what state() gave", state)
        own, other = (self.name, self.options()), (state["event"], state["options"])
        if own != other:
            raise invalid(where, f"of {own[0]} with {own[1]}", other, "Resume with the event the run began with.")
        try:
            readings = tuple(Reading(*reading) for reading in state["readings"])
            return replace(self._remembering(state["memory"]), readings=readings)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise invalid(where, "what state() gave", f"one that cannot be read ({error})") from error


def require_threshold(where: str, threshold: object) -> float:
    """The threshold of an indicator that lies between 0 and 1, or an error.

    Example:
        >>> require_threshold("early_bird(threshold=)", 0.1)
        0.1
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise invalid(where, "a number in (0, 1]", threshold)
    return float(threshold)
