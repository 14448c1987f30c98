"""The named shapes of a sparsity schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from flowprune.core.errors import invalid
from flowprune.schedules.schedule import Schedule, require_rounds, require_sparsity


def _harmonic(k: int, n: int, p: float) -> float:
    return k * p / (k * p + n * (1 - p))


def exponential_shape(k: int, n: int, p: float) -> float:
    """The shape of :func:`exponential`."""
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
    return Schedule("exponential", rounds, sparsity, exponential_shape)


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


def rounds_truncated(n: int, sparsity: float | None = None) -> Schedule:
    """The harmonic schedule as the published code runs it on residual networks: it cuts more than was asked for.

    What is left is truncated to whole percents in every round.

    Formula: left_k = floor(left_(k-1) (1 - p_k)) percent, with p_k = p / (kp + n(1-p)) and left_0 = 100.

    The sparsity of the schedule is the one that it ends at. For comparison with published numbers alone.

    Source: EkdeepSLubana/flowandprune (Lubana & Dick 2021, arXiv 2009.11839); see docs/deviations.md, Q2.

    Raises:
        ValueError: no sparsity, or one that this truncates to 1: nothing would be left.

    Example:
        >>> [rounds_truncated(n, sparsity=0.6).sparsity for n in (1, 5, 25)]
        [0.6, 0.62, 0.68]
    """
    where = "rounds_truncated(sparsity=)"
    p, n = require_sparsity(where, sparsity), require_rounds("rounds_truncated(n=)", n)
    left, gone = 100, list[float]()
    for k in range(1, n + 1):
        left = int(left * (1 - p / (k * p + n * (1 - p))))
        gone.append((100 - left) / 100)
    if left == 0:
        todo = 'Lower it, or use the schedule "rounds", which ends at the sparsity asked for.'
        raise invalid(where, f"such that truncation in {n} rounds leaves at least one percent", p, todo)
    return Schedule("rounds_truncated", n, gone[-1], _Listed(tuple(gone)))


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
