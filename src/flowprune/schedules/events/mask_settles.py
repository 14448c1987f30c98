"""Early-Bird: it is time once the mask that would be drawn no longer changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from flowprune.core.errors import invalid
from flowprune.schedules.events.event import Event, require_threshold
from flowprune.schedules.events.looks import Look, Reading
from flowprune.schedules.schedule import require_rounds


def early_bird(threshold: float = 0.1, window: int = 5) -> Event:
    """Fires once the mask differs from each of the last ``window`` masks on fewer than ``threshold`` of the units.

    Formula: max over s in t-1 .. t-window of |m_t xor m_s| / n < threshold, with m_t the mask at the final sparsity at
    look t and n its units. Until there are ``window`` earlier masks there is no value, so the first look at which it
    can fire is number ``window`` + 1.

    Units: normalised Hamming distance, a fraction of the units.

    Raises:
        ValueError: a threshold outside (0, 1], or a window below 1.

    Source: You et al. 2020, Drawing Early-Bird Tickets, arXiv 1909.11957.

    Example:
        >>> def look(t, bits): return Look(t, bits=bytes([bits]), units=8, layers=("w",), kept=(bits.bit_count(),))
        >>> event = early_bird(0.3, window=1).see(look(1, 0b11110000)).see(look(2, 0b11101000))
        >>> event.readings[-1]                                     # they differ on 2 of 8 units
        Reading(value=0.25, threshold=0.3, fired=True)
    """
    asked = require_threshold("early_bird(threshold=)", threshold)
    return EarlyBird(asked, require_rounds("early_bird(window=)", window))


def bit_distance(a: bytes, b: bytes, units: int) -> float:
    """The fraction of the units on which two packed masks differ.

    Example:
        >>> bit_distance(bytes([0b11000000]), bytes([0b01000000]), 2)
        0.5
    """
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count() / units


@dataclass(frozen=True)
class EarlyBird(Event):
    """See :func:`early_bird`; it remembers the last ``window`` masks."""

    threshold: float
    window: int
    units: int = 0
    masks: tuple[bytes, ...] = ()

    @property
    def name(self) -> str:
        """Its name in ``EVENTS``."""
        return "early_bird"

    @property
    def needs(self) -> frozenset[str]:
        """The mask."""
        return frozenset({"mask"})

    def options(self) -> dict[str, Any]:
        """Threshold and window."""
        return {"threshold": self.threshold, "window": self.window}

    def _seen(self, look: Look) -> tuple[Reading, Self]:
        if self.masks and look.units != self.units:
            raise invalid("early_bird.see(look=)", f"of the {self.units} units of the looks before", look.units)
        mask = look.bits or b""
        value = self._distance(mask)
        masks = (*self.masks, mask)[-self.window :]
        fired = value is not None and value < self.threshold
        return Reading(value, self.threshold, fired), replace(self, masks=masks, units=look.units)

    def _distance(self, mask: bytes) -> float | None:
        """The largest to an earlier mask; None while there are too few."""
        if len(self.masks) < self.window:
            return None
        return max(bit_distance(mask, earlier, self.units) for earlier in self.masks)

    def _memory(self) -> object:
        return {"units": self.units, "masks": [mask.hex() for mask in self.masks]}

    def _remembering(self, memory: Any) -> Self:
        told: Sequence[str] = memory["masks"]
        return replace(self, units=int(memory["units"]), masks=tuple(bytes.fromhex(mask) for mask in told))
