"""The k-th largest of very many numbers: a bracket from a sample, one pass, a selection among the few within.

One pass over blocks that fit the cache counts what lies above the bracket and collects what lies in it; no copy
of the scores is made. Where the sample misled (or the numbers are few) one copy is partitioned in place by
``numpy.partition``, a SIMD quickselect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Counted = tuple[Array, Array | None]
"""Values, and which of them count; None where all do."""
BLOCK = 1 << 17
SAMPLE = 1 << 17
SMALL = 1 << 20
SPARSE = 4
"""Where one value in so many counts, a copy of those that do is faster than to look at all."""


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


def kth_largest(arrays: Sequence[Array], k: int, among: Sequence[Array | None] | None = None) -> Threshold:
    """The threshold of the k largest over all arrays together, 1 <= k <= n.

    ``among`` says, in one boolean array each, which values count at all; None for an array of which all do. They are
    looked at where they are; few are copied out first.

    Example:
        >>> kth_largest([np.array([1.0, 3.0, 3.0]), np.array([2.0, 3.0])], 2)
        Threshold(value=np.float64(3.0), taken=2, ties=3, finite=True)
    """
    counted = [*zip(arrays, [None] * len(arrays) if among is None else among, strict=True)]
    n = sum(array.size if count is None else int(np.count_nonzero(count)) for array, count in counted)
    if SPARSE * n < sum(array.size for array in arrays):
        counted = [(taken(*pair), None) for pair in counted]
    if n > SMALL:
        found = _within(counted, k, *_bracket(counted, k, n), room=n // 8)
        if found is not None:
            return found
    return _partitioned([taken(*pair) for pair in counted], k, n)


def taken(array: Array, among: Array | None) -> Array:
    """The values of an array that count; indices are twice as fast as a boolean mask.

    Example:
        >>> taken(np.array([3.0, 1.0]), np.array([False, True]))
        array([1.])
    """
    return array if among is None else array.take(np.flatnonzero(among))


def blocks(array: Array) -> Iterator[Array]:
    """Consecutive pieces that fit the cache."""
    for start in range(0, array.size, BLOCK):
        yield array[start : start + BLOCK]


def _bracket(counted: Sequence[Counted], k: int, n: int) -> tuple[Any, Any]:
    """Two values that hold the k-th largest between them, very probably: order statistics of a strided sample."""
    stride = max(n // SAMPLE, 1)
    sample = np.concatenate([taken(a[::stride], None if count is None else count[::stride]) for a, count in counted])
    sample.sort()
    rank = (1.0 - k / n) * sample.size
    slack = 4.0 * np.sqrt(sample.size * (k / n) * (1.0 - k / n)) + len(counted) + 8
    low, high = int(max(rank - slack, 0)), int(min(rank + slack, sample.size - 1))
    return sample[low], sample[high]


def _within(counted: Sequence[Counted], k: int, low: Any, high: Any, *, room: int) -> Threshold | None:
    """The threshold if it lies in [low, high]; None if it does not, or more than ``room`` values do."""
    above = reaching = 0
    inside: list[Array] = []
    for block, among in (pair for array, count in counted for pair in _paired(array, count)):
        if not _finite(block) and not _finite(taken(block, among)):
            return Threshold(low, 0, 0, finite=False)
        reach, beyond = block >= low, block > high
        if among is not None:
            reach, beyond = reach & among, beyond & among
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


def _paired(array: Array, among: Array | None) -> Iterator[Counted]:
    """Consecutive pieces of an array, each with what of it counts."""
    return zip(blocks(array), repeat(None) if among is None else blocks(among), strict=False)


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
