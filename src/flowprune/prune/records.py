"""What is known of a round of pruning after it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from flowprune.masks import Masks, Scores
from flowprune.signals import Signals

if TYPE_CHECKING:
    from flowprune.prune.stages import Stage


@dataclass(frozen=True, eq=False)
class Round:
    """The numbers of one round.

    Attributes:
        round: 1 for the first.
        rounds: How many there will be.
        target: Cumulative fraction of the original units to be gone after this round.
        units_total: Original units: the denominator.
        units_before: Units alive before this cut.
        units_after: Units alive after it.
        floor_hits: Layers that are down to their floor.
        checks: What was verified.
        gather_seconds: Spent on the signals.
        stage: What was predicted and measured, where stages were sized by that.
        cut_seconds: Spent on scores, selection, the cut and its checks.

    Example:
        >>> Round(1, 2, 0.5, 8, 8, 4, (), ("exact sparsity",)).achieved
        0.5
    """

    round: int
    rounds: int
    target: float
    units_total: int
    units_before: int
    units_after: int
    floor_hits: tuple[str, ...]
    checks: tuple[str, ...]
    gather_seconds: float = 0.0
    cut_seconds: float = 0.0
    stage: Stage | None = None

    @property
    def achieved(self) -> float:
        """Fraction of the original units gone after this cut."""
        return 1.0 - self.units_after / self.units_total


@dataclass(frozen=True, eq=False)
class Rounds:
    """What is left of all rounds: their numbers, and the tensors of the last.

    Attributes:
        cuts: In order.
        scores: Of the last.
        before: What was alive before it, as masks of the original model; None where all was.
        masks: What is alive after it; None before any.
    """

    cuts: tuple[Round, ...]
    scores: Scores
    before: Masks | None
    masks: Masks | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Cut(Round):
    """One round with its tensors.

    Attributes:
        signals: Taken just before the cut; with them the change of loss is predicted.
        scores: Of the units alive before it (of all weights, for weight granularity).
        masks: What this cut keeps, in the coordinates of ``scores``.
    """

    signals: Signals
    scores: Scores
    masks: Masks

    def numbers(self) -> Round:
        """The round without its tensors, which are as large as the model."""
        return Round(**{field.name: getattr(self, field.name) for field in fields(Round)})
