"""How networks fare after they were cut: how fast they train, and where they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowprune.report.reproduction.case import Case, case, difference
from flowprune.report.reproduction.claim import Cases, FromRows, found
from flowprune.report.reproduction.reading import Cell, Method, cells, mean, only, scaled
from flowprune.report.values import Row, whole

Value = Callable[[Cell, Method], dict[str, float]]


def paired(rows: Sequence[Row], pair: tuple[Method, Method], value: Value) -> list[tuple[Cell, Case]]:
    """The first less the second, seed by seed, in every cell that has both."""
    a, b = pair
    both = [(each, case(each.where, difference(value(each, a), value(each, b)))) for each in cells(rows)]
    return [(cell, each) for cell, each in both if each is not None]


def compared(a: Method, b: Method, value: Value, words: str = "") -> FromRows:
    """A - b, seed by seed, in every cell; ``words`` say which of several statistics it is."""

    def compute(rows: Sequence[Row]) -> Cases:
        return found(_case(each, (a, b), value, words) for each in cells(rows))

    return compute


def _case(cell: Cell, pair: tuple[Method, Method], value: Value, words: str) -> Case | None:
    where = ", ".join(part for part in (cell.where, words) if part)
    return case(where, difference(value(cell, pair[0]), value(cell, pair[1])))


def once(cases: FromRows) -> FromRows:
    """The same of runs that were cut in one round."""
    return lambda rows: cases([row for row in rows if whole(row, "rounds") == 1])


def final(cell: Cell, method: Method) -> dict[str, float]:
    """Final test accuracy, in points."""
    return scaled(cell.value(method, "result", only("test_accuracy_final")), 100.0)


def speed(key: str, by: float = 100.0) -> Value:
    """The mean of a value of epochs over those after the last cut; accuracies in points."""

    def compute(cell: Cell, method: Method) -> dict[str, float]:
        last = {seed: max(whole(row, "epoch") for row in rows) for seed, rows in cell.of(method, "cut").items()}
        after = {
            seed: [row for row in rows if whole(row, "epoch") > last.get(seed, 0)]
            for seed, rows in cell.of(method, "epoch").items()
        }
        return scaled({s: value for s, rows in after.items() if (value := mean(rows, key)) is not None}, by)

    return compute
