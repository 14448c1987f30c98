"""Rank correlation, without a statistics package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs.

    Example:
        >>> ranks([10.0, 30.0, 30.0]).tolist()
        [1.0, 2.5, 2.5]
    """
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where it is undefined (fewer than 3 pairs, or one side constant).

    Example:
        >>> spearman([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
        1.0
        >>> spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
        True
    """
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(round(np.corrcoef(ranks(a), ranks(b))[0, 1], 12))
