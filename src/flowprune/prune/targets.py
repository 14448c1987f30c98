"""What is gone after each round: the schedule's fractions, ending where the granularity allows."""

from __future__ import annotations

import math
from dataclasses import replace

from flowprune.core.errors import invalid
from flowprune.measures import Granularity
from flowprune.schedules import Schedule


def fixed_sparsity(granularity: Granularity) -> float | None:
    """The one sparsity of a granularity; None where any will do.

    Example:
        >>> from flowprune.masks import NM, Weights
        >>> fixed_sparsity(NM(1, 4)), fixed_sparsity(Weights())
        (0.75, None)
    """
    return getattr(granularity, "sparsity", None)


def targets_of(where: str, schedule: Schedule, granularity: Granularity) -> tuple[float, ...]:
    """The cumulative fraction removed after each round.

    Raises:
        ValueError: no sparsity is known, or not the one that the granularity has.

    Example:
        >>> from flowprune.masks import NM
        >>> from flowprune.schedules import linear
        >>> targets_of("Pruner(schedule=)", linear(2), NM(2, 4))
        (0.25, 0.5)
    """
    fixed = fixed_sparsity(granularity)
    asked = schedule.sparsity
    if fixed is None:
        return schedule.targets()
    if asked is not None and not math.isclose(asked, fixed, rel_tol=1e-9):
        raise invalid(where, f"of the sparsity {fixed} that {granularity.name} has", asked, "It may be left out.")
    return replace(schedule, sparsity=fixed).targets()
