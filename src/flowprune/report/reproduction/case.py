"""One case of a claim: a statistic that is positive where the claim holds, with its interval over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flowprune.core.interval import Interval, fisher_interval, student_interval

Verdict = Literal["holds", "does not hold", "undecided", "not testable"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "undecided", "not testable")
BySeed = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A statistic in one setting.

    Attributes:
        where: The setting, in words.
        interval: Mean over seeds and 95 % interval.
        note: What a reader must know beside it; why, where it is not testable.
        testable: Whether the rows can tell at all.

    Example:
        >>> Case("vgg13", student_interval([0.1, 0.2, 0.15])).verdict
        'holds'
    """

    where: str
    interval: Interval
    note: str = ""
    testable: bool = True

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval is above zero, below it, or neither; with one seed there is no verdict.

        A statistic that is exactly 0 for every seed is not positive: the claim does not hold.
        """
        low, high = self.interval.low, self.interval.high
        if not self.testable:
            return "not testable"
        if low is None or high is None:
            return "undecided"
        if low > 0:
            return "holds"
        return "does not hold" if high < 0 or low == high == 0 else "undecided"


def case(where: str, values: BySeed, note: str = "", *, within: tuple[float, float] | None = None) -> Case | None:
    """A case from values by seed; None where there is none. The interval is cut at what is possible, ``within``."""
    if not values:
        return None
    mean, low, high, n = student_interval(values.values())
    if within is not None and low is not None and high is not None:
        low, high = max(low, within[0]), min(high, within[1])
    return Case(where, Interval(mean, low, high, n), note)


def untestable(where: str, why: str) -> Case:
    """A case that the rows cannot tell.

    Example:
        >>> untestable("vgg13", "no common temperature").verdict
        'not testable'
    """
    return Case(where, Interval(None, None, None, 0), why, testable=False)


def above(where: str, values: BySeed, least: float, note: str = "") -> Case | None:
    """Correlations by seed less what they must exceed, by Fisher's interval; None where there is none.

    Example:
        >>> found = above("vgg13", {"0": 0.97, "1": 0.6, "2": 0.9}, 0.5)
        >>> found.interval.high < 0.5, found.verdict
        (True, 'undecided')
    """
    return Case(where, _moved(fisher_interval(values.values()), -least), note) if values else None


def below(where: str, values: BySeed, most: float, note: str = "") -> Case | None:
    """What correlations by seed must stay below, less them; None where there is none."""
    return above(where, {seed: -value for seed, value in values.items()}, -most, note)


def _moved(found: Interval, by: float) -> Interval:
    mean, low, high, n = found
    moved = [None if end is None else end + by for end in (mean, low, high)]
    return Interval(moved[0], moved[1], moved[2], n)


def alike(where: str, values: BySeed, margin: float, note: str = "") -> Case | None:
    """Margin − |d|, of the mean difference d by seed; None where there is none.

    It holds where the whole interval of d is nearer to zero than the margin, and not where it is wholly further away.

    Example:
        >>> found = alike("mlp", {"0": 0.1, "1": 0.2, "2": 0.15}, 1.0)
        >>> round(found.interval.mean, 2), found.verdict
        (0.85, 'holds')
        >>> alike("mlp", {"0": 2.0, "1": -2.0}, 1.0).verdict, alike("mlp", {"0": 2.0, "1": 2.1}, 1.0).verdict
        ('undecided', 'does not hold')
    """
    if not values:
        return None
    mean, low, high, n = student_interval(values.values())
    least = abs(mean or 0.0)
    if low is None or high is None:
        return Case(where, Interval(margin - least, None, None, n), note)
    nearest = 0.0 if low < 0 < high else min(abs(low), abs(high))
    return Case(where, Interval(margin - least, margin - max(abs(low), abs(high)), margin - nearest, n), note)


def difference(a: BySeed, b: BySeed) -> dict[str, float]:
    """A - b for every seed that both have.

    Example:
        >>> difference({"0": 2.0, "1": 3.0}, {"1": 1.0})
        {'1': 2.0}
    """
    return {seed: a[seed] - b[seed] for seed in a if seed in b}
