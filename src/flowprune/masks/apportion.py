"""A whole number of removals shared out among pools in proportion to their sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowprune.core.errors import invalid


def apportion(
    removed: int, sizes: Sequence[int], *, least: Sequence[int] | None = None, most: Sequence[int] | None = None
) -> list[int]:
    """How many of ``removed`` units go from each pool, so that all have the same sparsity up to rounding.

    Formula: the j-th unit of a pool of n goes at sparsity (j - 1/2) / n; the first ``removed`` units of all pools go,
    in that order, equal ones in the order of the pools. With s the sparsity reached, a pool loses round(s n).

    So one unit more to remove is one unit more of one pool and the same of all others: shares never shrink as
    ``removed`` grows.

    Args:
        removed: Of all pools together.
        sizes: Units of each pool; any whole numbers that the shares are to be proportional to, where ``most`` is given.
        least: Units that go from each whatever the order; none by default.
        most: Units that may go from each; all by default.

    Raises:
        ValueError: ``removed`` is below the sum of ``least`` or above that of ``most``.

    Source: the method of Webster and Sainte-Laguë for seats in a parliament.

    Example:
        >>> apportion(3, [2, 4]), apportion(4, [2, 4], most=[1, 4])
        ([1, 2], [1, 3])
    """
    n = np.asarray(sizes, np.int64)
    low = np.zeros_like(n) if least is None else np.asarray(least, np.int64)
    high = n if most is None else np.asarray(most, np.int64)
    if not int(low.sum()) <= removed <= int(high.sum()):
        raise invalid("apportion(removed=)", f"between {int(low.sum())} and {int(high.sum())}", removed)
    # Nothing but ``least`` has gone below, all of ``most`` has above.
    below, above = -1.0, 1.0 + float(np.max(high / np.maximum(n, 1), initial=1.0))
    while (middle := (below + above) / 2) not in (below, above):
        if int(_gone(middle, n, low, high).sum()) < removed:
            below = middle
        else:
            above = middle
    share = _gone(below, n, low, high)
    tied = np.flatnonzero(_gone(above, n, low, high) > share)
    share[tied[: removed - int(share.sum())]] += 1
    return [int(count) for count in share]


def _gone(sparsity: float, n: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Units of each pool that have gone once this sparsity is reached."""
    return np.clip(np.floor(sparsity * n + 0.5).astype(np.int64), low, high)
