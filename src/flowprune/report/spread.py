"""Mean and sample standard deviation over runs, and when a difference exceeds them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from flowprune.core.errors import invalid


@dataclass(frozen=True)
class Spread:
    """Mean of ``n`` values and their sample standard deviation (ddof = 1); ``std`` is None for n = 1."""

    mean: float
    std: float | None
    n: int


def spread(values: Iterable[float]) -> Spread:
    """Summarise finite values.

    Formula: mean = Σx / n, std = sqrt(Σ(x − mean)² / (n − 1)).

    Raises:
        ValueError: where there is no value or one is not finite.

    Example:
        >>> spread([1.0, 2.0, 3.0])
        Spread(mean=2.0, std=1.0, n=3)
        >>> spread([5.0])
        Spread(mean=5.0, std=None, n=1)
    """
    xs = list(values)
    if not xs or not all(math.isfinite(x) for x in xs):
        raise invalid("spread(values=)", "finite numbers, at least one", xs, "Leave rows out by values.finite first.")
    return Spread(statistics.fmean(xs), statistics.stdev(xs) if len(xs) > 1 else None, len(xs))


def distinct(a: Spread, b: Spread) -> bool | None:
    """Whether two means differ by more than the spread over seeds; None where a spread is unknown (n = 1).

    Formula: |mean_a − mean_b| > sqrt(std_a² + std_b²), the standard deviation of the difference of two
    single runs. A cautious rule for few seeds, not a significance test.

    Example:
        >>> distinct(Spread(0.9, 0.03, 3), Spread(0.8, 0.04, 3)), distinct(Spread(0.9, 0.3, 3), Spread(0.8, 0.4, 3))
        (True, False)
        >>> distinct(Spread(0.9, None, 1), Spread(0.8, 0.04, 3)) is None
        True
    """
    if a.std is None or b.std is None:
        return None
    return abs(a.mean - b.mean) > math.hypot(a.std, b.std)
