"""One case of a claim: a statistic that is positive where the claim holds, with its interval over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flowprune.core.interval import Interval, student_interval

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Case:
    """A statistic in one setting.

    Attributes:
        where: The setting, in words.
        interval: Mean over seeds and Student's 95 % interval.

    Example:
        >>> Case("vgg13", student_interval([0.1, 0.2, 0.15])).verdict
        'holds'
    """

    where: str
    interval: Interval

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval is above zero, below it, or neither; with one seed there is no verdict."""
        low, high = self.interval.low, self.interval.high
        if low is None or high is None or low <= 0 <= high:
            return "undecided"
        return "holds" if low > 0 else "does not hold"


def case(where: str, values: Mapping[str, float]) -> Case | None:
    """A case from values by seed; None where there is none."""
    return Case(where, student_interval(values.values())) if values else None


def difference(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    """A - b for every seed that both have.

    Example:
        >>> difference({"0": 2.0, "1": 3.0}, {"1": 1.0})
        {'1': 2.0}
    """
    return {seed: a[seed] - b[seed] for seed in a if seed in b}
