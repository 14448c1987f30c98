"""The finest granularity: every weight is a unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from flowprune.signals import Signals


@dataclass(frozen=True)
class Weights:
    """Prune single weights of tensors with two or more axes; biases and norms are never pruned.

    The denominator of a sparsity is the number of these weights. Signals built by hand, without a model, have
    every tensor of ``params`` pruned.

    Attributes:
        skip: Patterns (``fnmatch``) of parameter names that are not offered at all, so not counted either.

    Example:
        >>> Weights(skip=("fc.*",)).name
        'weights'
    """

    skip: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The word used in specs and reports."""
        return "weights"

    @property
    def removes(self) -> bool:
        """They are held at zero."""
        return False

    def layout(self, signals: Signals) -> None:
        """None: weight by weight."""
        del signals

    def names(self, signals: Signals) -> tuple[str, ...]:
        """The parameters whose weights are units, in the model's order."""
        offered: Iterable[str] = (n for n in signals.params if signals.prunable is None or n in signals.prunable)
        return tuple(n for n in offered if not any(fnmatchcase(n, pattern) for pattern in self.skip))
