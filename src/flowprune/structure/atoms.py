"""Atoms: the smallest things that can be cut, and which of them must be cut together."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]


class Atoms:
    """Integers with an equivalence relation that grows.

    Relations are only noted while a graph is walked; :meth:`labels` solves them all at once. The cost is a few
    array passes over the relations, whatever the number of layers.

    Example:
        >>> atoms = Atoms()
        >>> a, b = atoms.new(3), atoms.new(3)
        >>> atoms.unify(a, b[::-1])
        >>> atoms.labels()
        array([0, 1, 2, 2, 1, 0])
    """

    def __init__(self) -> None:
        self.count = 0
        self._left: list[Ints] = []
        self._right: list[Ints] = []
        self._solved: tuple[tuple[int, int], Ints] | None = None

    def new(self, size: int) -> Ints:
        """``size`` fresh atoms, each alone."""
        self.count += size
        return np.arange(self.count - size, self.count, dtype=np.int64)

    def unify(self, left: Ints, right: Ints) -> None:
        """From here on ``left[i]`` and ``right[i]`` are one, for each i."""
        if left.shape != right.shape:
            raise ValueError(f"atoms of shapes {left.shape} and {right.shape} cannot be paired")
        if left is not right:
            self._left.append(left.reshape(-1))
            self._right.append(right.reshape(-1))

    def labels(self) -> Ints:
        """For each atom, the smallest atom it is one with; not to be written to."""
        state = (self.count, len(self._left))
        if self._solved is None or self._solved[0] != state:
            self._solved = (state, self._solve())
        return self._solved[1]

    def _solve(self) -> Ints:
        """Hook every root to the smallest neighbouring root and shorten the paths, until nothing moves.

        The number of rounds grows with the logarithm of the longest chain.
        """
        labels = np.arange(self.count, dtype=np.int64)
        if not self._left:
            return labels
        left, right = np.concatenate(self._left), np.concatenate(self._right)
        while True:
            a, b = labels[left], labels[right]
            apart = a != b
            if not apart.any():
                return labels
            np.minimum.at(labels, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
            left, right = left[apart], right[apart]
            while True:
                shorter = labels[labels]
                if np.array_equal(shorter, labels):
                    break
                labels = shorter
