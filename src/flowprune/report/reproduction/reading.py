"""Values by seed out of stored rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flowprune.measures.index import MEASURES
from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.reproduction.case import BySeed
from flowprune.report.shapes.runs import TEMPERATURE, Config, config, setting_words
from flowprune.report.values import Row, kind, number, text
from flowprune.report.wording import cut_in, ordered, plain

Setting = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Method:
    """A measure, scored at a temperature of its own or (None) at that of training."""

    measure: str
    temperature: float | None = None

    @property
    def name(self) -> str:
        """In words.

        Example:
            >>> INCREASE.name
            'grad-norm increase (T = 200)'
        """
        return plain(self.measure) + ("" if self.temperature is None else f" (T = {self.temperature:g})")


def method(row: Row) -> Method:
    """What cut the run of a row, and at which temperature: by its setting, by what it tells, or as published.

    Example:
        >>> method({"measure": "gradient_norm_increase"}) == INCREASE, method({"measure": "magnitude"})
        (True, Method(measure='magnitude', temperature=None))
        >>> method({"measure": "gradient_norm_increase", "setting": '{"prune.temperature": 1.0}'}) == INCREASE_1
        True
        >>> method({"measure": "gradient_norm_increase", "scored_at": 5.0}).temperature
        5.0
    """
    measure = text(row, "measure")
    told = dict(config(row).setting).get(TEMPERATURE, "")
    published = MEASURES[measure].temperature if measure in MEASURES else None
    if told.replace(".", "", 1).isdigit():
        return Method(measure, float(told))
    if published is None or told:  # "of training"
        return Method(measure)
    scored = number(row, "scored_at")
    return Method(measure, published if scored is None else scored)


MAGNITUDE, LOSS, BIASED = Method("magnitude"), Method("loss_preservation"), Method("biased_loss")
INCREASE, INCREASE_1 = Method("gradient_norm_increase", 200.0), Method("gradient_norm_increase", 1.0)
PRESERVATION = Method("gradient_norm_preservation", 1.0)


@dataclass(frozen=True, eq=False)
class Cell:
    """Pruned runs that are held against each other, and that differ in the measure and the seed alone.

    Attributes:
        comparison: Data set, model, sparsity and kind of units.
        rounds: How many cuts; None where runs of all numbers of rounds are taken together.
        setting: The other fields in which runs read together differ.
        rows: Of its runs, of all measures.
    """

    comparison: Comparison
    rounds: int | None
    setting: Setting
    rows: tuple[Row, ...]

    @property
    def where(self) -> str:
        """In words."""
        cuts = [] if self.rounds is None else [cut_in(self.rounds)]
        return ", ".join(part for part in (self.comparison.title, *cuts, setting_words(self.setting)) if part)

    @property
    def methods(self) -> list[Method]:
        """Those of its runs, in the order of the theory, the hottest first."""
        found = set(map(method, self.rows))
        order = ordered(each.measure for each in found)
        return sorted(found, key=lambda each: (order.index(each.measure), -(each.temperature or 0.0)))

    def of(self, asked: Method, name: str) -> dict[str, list[Row]]:
        """The rows of a kind of the runs of a method, by seed."""
        found: dict[str, list[Row]] = {}
        for row in kind(self.rows, name):
            if method(row) == asked:
                found.setdefault(text(row, "seed"), []).append(row)
        return found

    def value(self, asked: Method, name: str, reduce: Callable[[Sequence[Row]], float | None]) -> dict[str, float]:
        """One number for each seed."""
        found = {seed: reduce(rows) for seed, rows in self.of(asked, name).items()}
        return {seed: value for seed, value in found.items() if value is not None}


def cells(rows: Sequence[Row], *, by_rounds: bool = True) -> list[Cell]:
    """Every comparison at every number of rounds, or with its rounds together."""
    found: list[Cell] = []
    for comparison in comparisons(rows):
        groups: dict[tuple[int, Setting], list[Row]] = {}
        for row in comparison.rows:
            each = config(row)
            if not each.dense:
                groups.setdefault((each.rounds if by_rounds else 0, _others(each)), []).append(row)
        found += [
            Cell(comparison, rounds if by_rounds else None, setting, tuple(own))
            for (rounds, setting), own in sorted(groups.items(), key=lambda item: item[0])
        ]
    return found


def _others(each: Config) -> Setting:
    return tuple(field for field in each.setting if field[0] != TEMPERATURE)


def dense(rows: Sequence[Row], name: str) -> dict[str, dict[str, list[Row]]]:
    """The rows of a kind of dense runs, by model, data set and setting in words, then by seed."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in sorted(kind(rows, name), key=lambda row: (text(row, "dataset"), text(row, "model"))):
        each = config(row)
        if each.dense:
            where = ", ".join(part for part in (f"{text(row, 'model')} on {text(row, 'dataset')}", each.words) if part)
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


def scaled(values: BySeed, by: float) -> dict[str, float]:
    """Each value times a number.

    Example:
        >>> scaled({"0": 0.5}, 100.0)
        {'0': 50.0}
    """
    return {seed: by * value for seed, value in values.items()}
