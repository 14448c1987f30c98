"""The number whose value is nearest to what is asked, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from flowprune.core.errors import invalid


@dataclass(frozen=True)
class Nearest:
    """What a bisection found.

    Attributes:
        at: The number.
        value: Its value.
        below: The greatest value found that is at most what is asked; None where there is none.
        above: The least value found that is above it; None where there is none.
        proof: The numbers whose values prove it: that found, and the two between which values pass what is asked.
    """

    at: int
    value: float
    below: float | None
    above: float | None
    proof: tuple[int, ...]


def nearest(value: Callable[[int], float], first: int, last: int, asked: float, *, tolerance: float = 0.0) -> Nearest:
    """Which k from ``first`` to ``last`` has the value nearest to ``asked``, where values do not rise with k.

    Of two that are equally near, the one that is not above; of those of one value, the smallest k. So the answer is
    that of a search through all k, in 2 log2(last - first) looks.

    Args:
        value: Of k; asked once for each k.
        first: The least k.
        last: The greatest k.
        asked: A value.
        tolerance: Where values are measured: the search ends once those of both ends are as near to each other.

    Raises:
        ValueError: ``last`` is below ``first``.

    Example:
        >>> found = nearest(lambda k: 100 - k * k, 0, 10, 60)
        >>> found.at, found.value, found.below, found.above
        (6, 64, 51, 64)
    """
    if last < first:
        raise invalid("nearest(last=)", f">= first ({first})", last)
    tried: dict[int, float] = {}

    @cache
    def look(k: int) -> float:
        tried[k] = value(k)
        return tried[k]

    reached = _first(look, first, last, asked, tolerance)
    if tolerance == 0.0 and reached > first:
        _first(look, first, reached - 1, look(reached - 1), 0.0)  # the smallest k of the value above
    at = min(tried, key=lambda k: (abs(tried[k] - asked), tried[k] > asked, k))
    below = max((found for found in tried.values() if found <= asked), default=None)
    above = min((found for found in tried.values() if found > asked), default=None)
    proof = {at, reached, max(reached - 1, first)}
    return Nearest(at, tried[at], below, above, tuple(sorted(proof)))


def _first(look: Callable[[int], float], low: int, high: int, limit: float, tolerance: float) -> int:
    """The smallest k whose value is at most the limit; ``high`` where none is known to be."""
    if look(low) <= limit:
        return low
    look(high)
    while high - low > 1 and (tolerance == 0.0 or look(low) - look(high) > tolerance):
        middle = (low + high) // 2
        low, high = (low, middle) if look(middle) <= limit else (middle, high)
    return high
