"""The named shapes of a sparsity schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from flowprune.core.errors import invalid
from flowprune.schedules.schedule import Schedule, require_sparsity


def _harmonic(k: int, n: int, p: float) -> float:
    return k * p / (k * p + n * (1 - p))


def _exponential(k: int, n: int, p: float) -> float:
    return -math.expm1(k / n * math.log1p(-p))  # 1 - (1-p)^(k/n), also right for tiny p


def _linear(k: int, n: int, p: float) -> float:
    return p * k / n


def _cubic(k: int, n: int, p: float) -> float:
    return p * (1 - (1 - k / n) ** 3)


@dataclass(frozen=True)
class _Listed:
    """A shape read from a list: it compares equal and pickles, as a closure would not."""

    values: tuple[float, ...]

    def __call__(self, k: int, n: int, p: float) -> float:
        return self.values[k - 1]


def rounds(n: int, sparsity: float | None = None) -> Schedule:
    """The harmonic schedule of the gradient-flow paper: early rounds cut most.

    Formula: remaining after round k of n is n(1-p) / (kp + n(1-p)), so 1/remaining grows linearly in k.

    Source: Lubana & Dick 2021, arXiv 2009.11839, from their code, without its rounding in every round.

    Example:
        >>> [round(1 - target, 3) for target in rounds(5, sparsity=0.75).targets()]
        [0.625, 0.455, 0.357, 0.294, 0.25]
    """
    return Schedule("rounds", n, sparsity, _harmonic)


def exponential(rounds: int, sparsity: float | None = None) -> Schedule:
    """The same fraction of what is left is removed in every round.

    Formula: 1 - (1-p)^(k/n).

    Source: Tanaka et al. 2020, arXiv 2006.05467 (SynFlow); de Jorge et al. 2021, arXiv 2006.09081 (FORCE).

    Example:
        >>> exponential(2, sparsity=0.75).targets()
        (0.5, 0.75)
    """
    return Schedule("exponential", rounds, sparsity, _exponential)


def linear(rounds: int, sparsity: float | None = None) -> Schedule:
    """The same number of units is removed in every round: pk/n.

    Example:
        >>> linear(2, sparsity=0.5).targets()
        (0.25, 0.5)
    """
    return Schedule("linear", rounds, sparsity, _linear)


def cubic(rounds: int, sparsity: float | None = None) -> Schedule:
    """Fast at first and slow at the end.

    Formula: p (1 - (1 - k/n)^3).

    Source: Zhu & Gupta 2017, arXiv 1710.01878.

    Example:
        >>> cubic(2, sparsity=0.5).targets()
        (0.4375, 0.5)
    """
    return Schedule("cubic", rounds, sparsity, _cubic)


def one_shot(sparsity: float | None = None) -> Schedule:
    """Everything at once.

    Example:
        >>> one_shot().targets(0.9)
        (0.9,)
    """
    return Schedule("one_shot", 1, sparsity, _linear)


def manual(cumulative: Sequence[float]) -> Schedule:
    """The cumulative fractions themselves, one per round.

    Raises:
        ValueError: empty, decreasing, or a fraction outside [0, 1).

    Example:
        >>> manual((0.1, 0.5, 0.8)).targets()
        (0.1, 0.5, 0.8)
    """
    values = tuple(require_sparsity("manual(cumulative=)", value) for value in cumulative)
    if not values or any(later < earlier for earlier, later in pairwise(values)):
        raise invalid("manual(cumulative=)", "cumulative fractions that do not decrease, at least one", values)
    return Schedule("manual", len(values), values[-1], _Listed(values))
