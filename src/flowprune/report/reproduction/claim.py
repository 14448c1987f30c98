"""What a claim is: what the paper says, and how rows tell whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flowprune.report.reproduction.case import Case
from flowprune.report.values import Row

Cases = list[Case]
FromRows = Callable[[Sequence[Row]], Cases]


@dataclass(frozen=True)
class Claim:
    """Something the paper says.

    Attributes:
        name: Short.
        says: What the paper says.
        statistic: What is computed, positive where that holds.
        unit: Of the statistic.
        cases: The statistic in every setting that the rows hold.
    """

    name: str
    says: str
    statistic: str
    unit: str
    cases: FromRows


def found(cases: Iterable[Case | None]) -> Cases:
    """Those that are there.

    Example:
        >>> found([None])
        []
    """
    return [each for each in cases if each is not None]


def together(*parts: FromRows) -> FromRows:
    """The cases of several statistics of one claim, one after another."""
    return lambda rows: [each for part in parts for each in part(rows)]
