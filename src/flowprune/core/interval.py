"""A confidence interval of a mean over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
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


def fisher_interval(values: Iterable[float], *, confidence: float = 0.95) -> Interval:
    """The interval of the mean of independent correlations, which never leaves [-1, 1].

    Formula: z = artanh(r); Student's interval of the mean of z, turned back by tanh. The mean is tanh of the mean z.

    Assumes: as :func:`student_interval`, of z. A correlation of 1 is taken for 1 - 1e-12.

    Raises:
        ValueError: a value outside [-1, 1], or a confidence outside (0, 1).

    Source: Fisher (1921), On the probable error of a coefficient of correlation deduced from a small sample.

    Example:
        >>> mean, low, high, n = fisher_interval([0.9, 0.6, 0.71])
        >>> round(mean, 2), round(low, 2), round(high, 2), n
        (0.77, 0.01, 0.97, 3)
        >>> fisher_interval([]).mean is None
        True
    """
    found = list(values)
    if not all(abs(r) <= 1.0 for r in found):
        raise invalid("fisher_interval(values=)", "in [-1, 1]", found)
    mean, low, high, n = student_interval((fisher_z(r) for r in found), confidence=confidence)
    back = [None if end is None else math.tanh(end) for end in (mean, low, high)]
    return Interval(back[0], back[1], back[2], n)


def bootstrap_interval(
    statistic: Callable[[Sequence[int]], float | None], n: int, *, confidence: float = 0.95, draws: int = 2000
) -> Interval:
    """The interval of a statistic of n independent things, such as seeds, by drawing them anew with repeats.

    Formula: the quantiles (1 ± confidence) / 2 of the statistic over ``draws`` draws of n of the n. The first of them
    is n of the n themselves. The draws are the same at every call.

    Assumes: n is not small; of five seeds the interval is too narrow.

    Args:
        statistic: Of the positions drawn; None where it is undefined, and such draws are left out.
        n: How many there are.
        confidence: Of the interval.
        draws: How many times.

    Raises:
        ValueError: a confidence outside (0, 1), or fewer than one draw.

    Source: Efron (1979), Bootstrap methods: another look at the jackknife.

    Example:
        >>> values = [1.0, 2.0, 3.0, 4.0]
        >>> mean, low, high, n = bootstrap_interval(lambda drawn: statistics.fmean(values[i] for i in drawn), 4)
        >>> mean, low, high, n
        (2.5, 1.5, 3.5, 4)
    """
    import numpy as np

    if isinstance(confidence, bool) or not 0.0 < confidence < 1.0:
        raise invalid("bootstrap_interval(confidence=)", "in (0, 1)", confidence)
    if draws < 1:
        raise invalid("bootstrap_interval(draws=)", ">= 1", draws)
    whole = statistic(range(n)) if n else None
    if whole is None or n < 2:
        return Interval(whole, None, None, n)
    positions = np.random.default_rng(0).integers(n, size=(draws - 1, n)).tolist()
    found = [whole, *(value for drawn in positions if (value := statistic(drawn)) is not None)]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return Interval(whole, low, high, n)


def fisher_z(correlation: float) -> float:
    """Artanh of a correlation, on which differences are of one size everywhere; ±1 is taken for ±(1 - 1e-12).

    Example:
        >>> round(fisher_z(0.5), 4), fisher_z(1.0) < 15
        (0.5493, True)
    """
    most = 1.0 - 1e-12
    return math.atanh(min(most, max(-most, correlation)))


def _quantile(probability: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))
