"""The k-th largest of very many numbers: a bracket from a sample, one pass, a selection among the few within.

One pass over blocks that fit the cache counts what lies above the bracket and collects what lies in it; no copy
of the scores is made. Where the sample misled (or the numbers are few) one copy is partitioned in place by
``numpy.partition``, a SIMD quickselect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BLOCK = 1 << 17
SAMPLE = 1 << 17
SMALL = 1 << 20


@dataclass(frozen=True)
class Threshold:
    """The k-th largest value, and how many of the values that equal it are among the k largest.

    Attributes:
        value: In the widest type of the arrays.
        taken: How many of the ``ties`` are among the k largest.
        ties: How many values equal ``value``.
        finite: Whether every value is finite; if not, the rest means nothing.
    """

    value: Any
    taken: int
    ties: int
    finite: bool = True


def kth_largest(arrays: Sequence[Array], k: int) -> Threshold:
    """The threshold of the k largest over all arrays together, 1 <= k <= n.

    Example:
        >>> kth_largest([np.array([1.0, 3.0, 3.0]), np.array([2.0, 3.0])], 2)
        Threshold(value=np.float64(3.0), taken=2, ties=3, finite=True)
    """
    n = sum(array.size for array in arrays)
    if n > SMALL:
        found = _within(arrays, k, *_bracket(arrays, k, n))
        if found is not None:
            return found
    return _partitioned(arrays, k, n)


def blocks(array: Array) -> Iterator[Array]:
    """Consecutive pieces that fit the cache."""
    for start in range(0, array.size, BLOCK):
        yield array[start : start + BLOCK]


def _bracket(arrays: Sequence[Array], k: int, n: int) -> tuple[Any, Any]:
    """Two values that hold the k-th largest between them, very probably: order statistics of a strided sample."""
    stride = max(n // SAMPLE, 1)
    sample = np.concatenate([array[::stride] for array in arrays])
    sample.sort()
    rank = (1.0 - k / n) * sample.size
    slack = 4.0 * np.sqrt(sample.size * (k / n) * (1.0 - k / n)) + len(arrays) + 8
    low, high = int(max(rank - slack, 0)), int(min(rank + slack, sample.size - 1))
    return sample[low], sample[high]


def _within(arrays: Sequence[Array], k: int, low: Any, high: Any) -> Threshold | None:
    """The threshold if it lies in [low, high]; None if it does not."""
    above = reaching = 0
    room = sum(array.size for array in arrays) // 8
    inside: list[Array] = []
    for block in (block for array in arrays for block in blocks(array)):
        if not _finite(block):
            return Threshold(low, 0, 0, finite=False)
        reach, beyond = block >= low, block > high
        count, over = int(np.count_nonzero(reach)), int(np.count_nonzero(beyond))
        reaching, above = reaching + count, above + over
        if low < high and count > over:
            inside.append(block[np.flatnonzero(reach ^ beyond)])  # few: indices beat a boolean mask
            room -= count - over
        if room < 0:
            return None
    if not above < k <= reaching:
        return None
    if low == high:
        return Threshold(low, k - above, reaching - above)
    return _partitioned(inside, k - above, reaching - above)


def _partitioned(arrays: Sequence[Array], k: int, n: int) -> Threshold:
    """The threshold by one copy of the values, partitioned in place."""
    values = np.concatenate(arrays)
    if not _finite(values):
        return Threshold(values[0], 0, 0, finite=False)
    values.partition(n - k)
    lower, upper, value = values[: n - k], values[n - k :], values[n - k]
    taken = k - int(np.count_nonzero(upper > value))
    below = int(np.count_nonzero(lower == value)) if lower.size and lower.max() == value else 0
    return Threshold(value, taken, taken + below)


def _finite(values: Array) -> bool:
    """Whether all are finite: a sum shows it in one cheap pass; where it overflows, look at each."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())
