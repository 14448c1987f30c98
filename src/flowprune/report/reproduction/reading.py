"""Values by seed out of stored rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.shapes.runs import Config, config
from flowprune.report.values import Row, kind, number, text
from flowprune.report.wording import cut_in

BySeed = dict[str, float]
T_FIELD = "prune.temperature"


@dataclass(frozen=True)
class Method:
    """A measure, at a temperature of its own or (None) at the published one."""

    measure: str
    temperature: float | None = None

    def is_of(self, each: Config) -> bool:
        """Whether runs of this configuration were cut by it."""
        own = dict(each.setting).get(T_FIELD)
        asked = None if self.temperature is None else str(self.temperature)
        return each.measure == self.measure and own == asked


MAGNITUDE, LOSS, BIASED = Method("magnitude"), Method("loss_preservation"), Method("biased_loss")
INCREASE, INCREASE_1 = Method("gradient_norm_increase"), Method("gradient_norm_increase", 1.0)
PRESERVATION = Method("gradient_norm_preservation")


@dataclass(frozen=True, eq=False)
class Cell:
    """The pruned runs of one comparison at one number of rounds.

    Attributes:
        comparison: Data set, model, sparsity and kind of units.
        rounds: How many cuts.
        rows: Of its runs, of all measures.
    """

    comparison: Comparison
    rounds: int
    rows: tuple[Row, ...]

    @property
    def where(self) -> str:
        """In words."""
        return f"{self.comparison.title}, {cut_in(self.rounds)}"

    def of(self, method: Method, name: str) -> dict[str, list[Row]]:
        """The rows of a kind of the runs of a method, by seed."""
        found: dict[str, list[Row]] = {}
        for row in kind(self.rows, name):
            if method.is_of(config(row)):
                found.setdefault(text(row, "seed"), []).append(row)
        return found

    def value(self, method: Method, name: str, reduce: Callable[[Sequence[Row]], float | None]) -> BySeed:
        """One number for each seed."""
        found = {seed: reduce(rows) for seed, rows in self.of(method, name).items()}
        return {seed: value for seed, value in found.items() if value is not None}


def cells(rows: Sequence[Row]) -> list[Cell]:
    """Every comparison at every number of rounds."""
    found: list[Cell] = []
    for comparison in comparisons(rows):
        by_rounds: dict[int, list[Row]] = {}
        for row in comparison.rows:
            each = config(row)
            if not each.dense:
                by_rounds.setdefault(each.rounds, []).append(row)
        found += [Cell(comparison, rounds, tuple(own)) for rounds, own in sorted(by_rounds.items())]
    return found


def dense(rows: Sequence[Row], name: str) -> dict[str, dict[str, list[Row]]]:
    """The rows of a kind of dense runs, by model and data set in words, then by seed."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in kind(rows, name):
        if config(row).dense:
            where = f"{text(row, 'model')} on {text(row, 'dataset')}"
            found.setdefault(where, {}).setdefault(text(row, "seed"), []).append(row)
    return found


def only(key: str) -> Callable[[Sequence[Row]], float | None]:
    """The number under a key of the first row."""
    return lambda rows: number(rows[0], key) if rows else None


def mean(rows: Iterable[Row], key: str) -> float | None:
    """The mean of a key over rows that have it."""
    values = [value for row in rows if (value := number(row, key)) is not None]
    return statistics.fmean(values) if values else None


def among(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def negative(values: Mapping[str, float]) -> BySeed:
    """The same with the other sign."""
    return {seed: -value for seed, value in values.items()}
