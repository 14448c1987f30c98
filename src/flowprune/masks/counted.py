"""Shares of what is kept, by whatever it is counted."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Counted(ABC):
    """Something of which so many are kept of so many.

    Example:
        >>> class Three(Counted):
        ...     kept, total = 1, 4
        >>> Three().density, Three().sparsity
        (0.25, 0.75)
    """

    @property
    @abstractmethod
    def total(self) -> int:
        """How many there are: the denominator."""

    @property
    @abstractmethod
    def kept(self) -> int:
        """How many are kept."""

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Fraction removed."""
        return (self.total - self.kept) / self.total
