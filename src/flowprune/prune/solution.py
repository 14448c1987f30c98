"""A budget that was solved: what was asked, what is achieved, by how much it misses."""

from __future__ import annotations

from dataclasses import dataclass

from flowprune.masks import Masks
from flowprune.prune.budget import Budget, told


@dataclass(frozen=True, eq=False)
class Solution:
    """Masks whose cost is nearest to a budget, and the numbers.

    All amounts are in the budget's unit: parameters, multiply-adds per example, bytes, milliseconds or units.

    Attributes:
        budget: What was asked.
        masks: Of the units scored.
        removed: How many units go, of all that there were.
        dense: The amount of the dense model.
        asked: The amount asked for.
        achieved: The amount left.
        below: The nearest amount that can be had at or below the asked one; None where there is none.
        above: The nearest above it; None where there is none.
        noise_ms: Where milliseconds are measured: those between the quartiles; None elsewhere.
        batch: Where milliseconds are measured: the examples of a pass; None elsewhere.

    Example:
        >>> import torch
        >>> masks = Masks({"w": torch.tensor([True, False])})
        >>> print(Solution(Budget(parameters=0.5), masks, 1, 1000, 500, 503, 480, 503))
        asked 50 % of parameters, achieved 50.3 % (miss +0.3 %)
        >>> print(Solution(Budget(parameters=500), masks, 1, 1000, 500, 503, 480, 503))
        asked 500 parameters, achieved 503 (miss +3)
    """

    budget: Budget
    masks: Masks
    removed: int
    dense: float
    asked: float
    achieved: float
    below: float | None
    above: float | None
    noise_ms: float | None = None
    batch: int | None = None

    @property
    def miss(self) -> float:
        """By how much the achieved amount is above the asked one; negative where less is left."""
        return self.achieved - self.asked

    def __str__(self) -> str:
        unit, fraction = self.budget.unit, self.budget.is_fraction
        whole = self.dense if fraction else 1.0
        achieved = told(self.achieved / whole, unit, fraction=fraction)
        miss = told(self.miss / whole, unit, fraction=fraction, sign=True)
        noise = "" if self.noise_ms is None else f", noise {self.noise_ms:.2g} ms"
        if unit == "latency_ms":
            asked = told(self.asked, unit)
            return f"asked {asked}, achieved {achieved} (miss {miss}{noise}) at batch {self.batch}"
        return f"asked {self.budget.words}, achieved {_bare(achieved)} (miss {_bare(miss)}{noise})"


def _bare(words: str) -> str:
    """Without the unit, which was said."""
    return words.partition(" of ")[0] if "%" in words else words.partition(" ")[0]
