"""A confidence interval of a mean over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from flowprune.core.errors import invalid


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Attributes:
        mean: Of the values; None where there are none.
        low: Lower end; None for n < 2.
        high: Upper end.
        n: How many values.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int


def student_interval(values: Iterable[float], *, confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of independent values.

    Formula: mean ± t((1 + confidence) / 2; n - 1) s / √n, with t the quantile of Student's distribution of n - 1
    degrees of freedom and s the sample standard deviation (ddof = 1).

    Units: those of the values.
    Assumes: independent values of a distribution near the normal one. Equal values give an interval of no width.

    Raises:
        ValueError: a value that is not finite, or a confidence outside (0, 1).

    Source: Student (1908), The Probable Error of a Mean.

    Example:
        >>> mean, low, high, n = student_interval([0.0, 2.0], confidence=0.5)   # t(3/4; 1) = tan(π/4) = 1, s = √2
        >>> mean, round(abs(low), 12), round(high, 12), n
        (1.0, 0.0, 2.0, 2)
        >>> student_interval([3.0])
        Interval(mean=3.0, low=None, high=None, n=1)
    """
    if isinstance(confidence, bool) or not 0.0 < confidence < 1.0:
        raise invalid("student_interval(confidence=)", "in (0, 1)", confidence)
    xs = [float(value) for value in values]
    if not all(math.isfinite(x) for x in xs):
        raise invalid("student_interval(values=)", "finite", xs, "Leave the others out, and say how many they were.")
    if len(xs) < 2:
        return Interval(xs[0] if xs else None, None, None, len(xs))
    mean, deviation = statistics.fmean(xs), statistics.stdev(xs)
    half = _quantile((1.0 + confidence) / 2.0, len(xs) - 1) * deviation / math.sqrt(len(xs))
    return Interval(mean, mean - half, mean + half, len(xs))


def _quantile(probability: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))
