"""From fractions to whole units."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from flowprune.core.errors import invalid
from flowprune.schedules.schedule import require_sparsity


def counts(targets: Sequence[float], n: int) -> tuple[int, ...]:
    """How many of the ``n`` original units are gone after each round: round(target * n).

    Each count is rounded once, from its own target. Rounding what is left in every round compounds: the
    reference code asked for 90 % in 25 rounds and cut 98 %.

    Units: targets are cumulative fractions removed of the original units; the counts are cumulative too.

    Raises:
        ValueError: targets that decrease or leave [0, 1), or a negative ``n``.

    Example:
        >>> counts((0.25, 0.5, 0.75), 10)
        (2, 5, 8)
    """
    if n < 0:
        raise invalid("counts(n=)", ">= 0", n)
    values = [require_sparsity("counts(targets=)", target) for target in targets]
    if any(later < earlier for earlier, later in pairwise(values)):
        raise invalid("counts(targets=)", "cumulative, so never decreasing", tuple(targets))
    return tuple(round(value * n) for value in values)
