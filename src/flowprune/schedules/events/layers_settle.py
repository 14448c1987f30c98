"""Prune-at-the-right-Time: it is time once the widths of the sub-network no longer change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from flowprune.core.errors import invalid
from flowprune.schedules.events.event import Event, require_threshold
from flowprune.schedules.events.looks import Look, Reading
from flowprune.schedules.schedule import require_rounds

RECALLED_THRESHOLD = 0.983
"""The default threshold. It is recalled from the paper, and was not verified against its text."""


def stable_structure(threshold: float = RECALLED_THRESHOLD, window: int = 5) -> Event:
    """Fires once the numbers of units that the layers of the would-be sub-network keep are stable enough.

    Formula: similarity psi(t, s) = 1 - (1/L) sum over the L layers of |n_l(t) - n_l(s)| / (n_l(t) + n_l(s)), where 0/0
    counts as 0, with n_l(t) the units of layer l that the mask at look t keeps. The indicator EPI_t is the mean of
    psi(t, s) over the last ``window`` looks s. It fires when EPI_t >= threshold and EPI_t is at least as large as each
    of the last ``window`` indicators that exist: the structure is stable, and its stability does not fall.

    While there are fewer than ``window`` earlier looks, EPI_t is the mean over those there are, and it cannot fire: the
    first look at which it can is number ``window`` + 1. (Without those early indicators the second condition would be
    empty: all earlier ones would lie below the threshold.)

    Assumes: this is the indicator as it is recalled; the paper's exact text was not at hand, so details (what is done
    before the window is full, the threshold of 0.983) may differ from it. What is computed is the formula above.

    Raises:
        ValueError: a threshold outside (0, 1], or a window below 1.

    Source: Shen et al. 2022, When to Prune? A Policy towards Early Structural Pruning, arXiv 2110.12007.

    Example:
        >>> def look(t, bits, kept): return Look(t, bits=bytes([bits]), units=8, layers=("a", "b"), kept=kept)
        >>> event = stable_structure(0.6, window=1).see(look(1, 0b11101000, (3, 1))).see(look(2, 0b10001110, (1, 3)))
        >>> event.readings[-1]                                     # 1 - (2/4 + 2/4) / 2
        Reading(value=0.5, threshold=0.6, fired=False)
    """
    asked = require_threshold("stable_structure(threshold=)", threshold)
    return StableStructure(asked, require_rounds("stable_structure(window=)", window))


def width_similarity(a: Sequence[int], b: Sequence[int]) -> float:
    """How alike two sub-networks are by the units that their layers keep: 1 where all are equal.

    Formula: 1 - (1/L) sum of |a_l - b_l| / (a_l + b_l), where 0/0 counts as 0.

    Example:
        >>> width_similarity((2, 0), (6, 0))
        0.75
    """
    apart = sum(abs(x - y) / (x + y) for x, y in zip(a, b, strict=True) if x + y)
    return 1.0 - apart / len(a)


@dataclass(frozen=True)
class StableStructure(Event):
    """See :func:`stable_structure`; it remembers the widths of the last ``window`` looks."""

    threshold: float
    window: int
    layers: tuple[str, ...] = ()
    widths: tuple[tuple[int, ...], ...] = ()

    @property
    def name(self) -> str:
        """Its name in ``EVENTS``."""
        return "stable_structure"

    @property
    def needs(self) -> frozenset[str]:
        """The mask."""
        return frozenset({"mask"})

    def options(self) -> dict[str, Any]:
        """Threshold and window."""
        return {"threshold": self.threshold, "window": self.window}

    def _seen(self, look: Look) -> tuple[Reading, Self]:
        if self.widths and look.layers != self.layers:
            raise invalid("stable_structure.see(look=)", f"of the layers {list(self.layers)}", list(look.layers))
        value = self._indicator(look.kept)
        fired = value is not None and len(self.widths) == self.window and value >= max(self.threshold, *self._earlier())
        widths = (*self.widths, look.kept)[-self.window :]
        return Reading(value, self.threshold, fired), replace(self, layers=look.layers, widths=widths)

    def _indicator(self, kept: tuple[int, ...]) -> float | None:
        """EPI over the looks there are; None at the first one."""
        if not self.widths:
            return None
        return sum(width_similarity(kept, earlier) for earlier in self.widths) / len(self.widths)

    def _earlier(self) -> list[float]:
        """The indicators of the last ``window`` looks, those that exist; 0, the least there can be, besides."""
        return [0.0, *(reading.value for reading in self.readings[-self.window :] if reading.value is not None)]

    def _memory(self) -> object:
        return {"layers": list(self.layers), "widths": [list(kept) for kept in self.widths]}

    def _remembering(self, memory: Any) -> Self:
        widths = tuple(tuple(int(n) for n in kept) for kept in memory["widths"])
        return replace(self, layers=tuple(memory["layers"]), widths=widths)
