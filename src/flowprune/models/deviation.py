"""The standard deviations that weights and biases are drawn with, as arguments from outside."""

from __future__ import annotations

import math
from numbers import Real

from flowprune.core.errors import invalid


def require_deviation(where: str, sigma: object, *, above: bool = False) -> float:
    """The standard deviation, if it is a finite number that is not negative.

    Args:
        where: What begins the message: ``"chi(sigma_w=)"``.
        sigma: What came.
        above: Whether zero is refused too.

    Raises:
        ValueError: it is no number, negative, NaN or infinite, or zero where ``above``.

    Example:
        >>> require_deviation("chi(sigma_w=)", -1.0)
        Traceback (most recent call last):
        ValueError: chi(sigma_w=) must be a standard deviation >= 0; got -1.0.
    """
    value = float(sigma) if isinstance(sigma, Real) and not isinstance(sigma, bool) else math.nan
    if not (math.isfinite(value) and (value > 0 or (value == 0 and not above))):
        raise invalid(where, f"a standard deviation {'above 0' if above else '>= 0'}", sigma)
    return value
