"""What differences between runs of the same seed say of the paper, in words."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.reproduction.case import Case, Verdict
from flowprune.report.reproduction.reading import Cell
from flowprune.report.shapes.runs import setting_words
from flowprune.report.wording import cut_in, joined, signed

Pairs = Sequence[tuple[Cell, Case]]
WORDS: dict[Verdict, str] = {
    "holds": "as the founding paper reports",
    "does not hold": "against what the founding paper reports",
    "undecided": "undecided",
    "not testable": "not testable",
}
HOW = "Differences are between runs of one seed; intervals: Student's t over seeds, 95 %."


def told(found: Pairs) -> str:
    """Each difference in points with its interval, cell by cell, and what it says of the paper.

    Example:
        >>> from flowprune.core.interval import student_interval
        >>> from flowprune.report.comparisons import Comparison
        >>> cell = Cell(Comparison("cifar10", "vgg13", 0.75, "channels", ()), 5, (), ())
        >>> told([(cell, Case("", student_interval([1.0, 2.0, 3.0])))])
        '+2.0 points in 5 rounds (−0.5 to 4.5: undecided)'
    """
    return joined([f"{signed(case.interval.mean or 0.0)} points {_where(cell)} ({_end(case)})" for cell, case in found])


def _where(cell: Cell) -> str:
    rounds = "" if cell.rounds is None else f"in {cut_in(cell.rounds)}"
    return ", ".join(part for part in (rounds, setting_words(cell.setting)) if part)


def _end(case: Case) -> str:
    low, high = case.interval.low, case.interval.high
    if low is None or high is None:
        return "one seed, so no interval"
    return f"{_signed(low)} to {_signed(high)}: {WORDS[case.verdict]}"


def _signed(value: float) -> str:
    return signed(value).removeprefix("+")
