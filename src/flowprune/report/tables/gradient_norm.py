"""Table: increasing the gradient norm, at the temperatures it was scored at, against preserving it, over rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.needs import Needs
from flowprune.report.reproduction.case import BySeed, case, difference
from flowprune.report.shapes.gradient_norm import INCREASE, MEASURES, PRESERVATION, Variant, variant
from flowprune.report.shapes.runs import by_config
from flowprune.report.spread import spread
from flowprune.report.tables.accuracy import removed
from flowprune.report.tables.grid import MISSING, Cell, Grid, Table, accuracy_cell, seeds
from flowprune.report.values import Row, kind, number, text
from flowprune.report.wording import signed

TITLE = "Increasing against preserving the gradient norm: final test accuracy, %"
Key = tuple[str, str, str, int]
Column = tuple[int, float, str]
"""Order of the measure, minus the temperature, and the name: columns in the order of the paper's question."""


def gradient_norm(rows: Sequence[Row]) -> Grid | None:
    """The table, or None where neither measure was run.

    Example:
        >>> base = {"kind": "result", "dataset": "digits", "model": "mlp", "rounds": 1, "sparsity": 0.75}
        >>> increase = {**base, "measure": INCREASE, "scored_at": 200.0, "test_accuracy_final": 0.5}
        >>> kept = {**base, "measure": PRESERVATION, "scored_at": 1.0, "test_accuracy_final": 0.6}
        >>> found = gradient_norm([increase, kept])
        >>> found.columns[4:], [str(cell) for cell in found.lines[0][4:]]
        (('increase, T = 200', 'preservation, T = 1', 'preservation − increase, T = 200'), \
['50.00 (n = 1)', '60.00 (n = 1)', '+10.0 (one seed)'])
    """
    found: dict[Key, dict[Column, BySeed]] = {}
    for comparison in comparisons([row for row in kind(rows, "result") if text(row, "measure") in MEASURES]):
        _add(found, comparison)
    if not found:
        return None
    columns = sorted({column for values in found.values() for column in values})
    values = [spread(own.values()) for line in found.values() for own in line.values()]
    most = max(value.n for value in values)
    raised = [column for column in columns if column[0] == 0]
    lines = tuple(_line(key, found[key], columns, raised, most) for key in sorted(found))
    gaps = [f"preservation − {name}" for _, _, name in raised]
    names = ("model", "data", "removed", "rounds", *(name for _, _, name in columns), *gaps)
    note = (
        f"Mean ± sample standard deviation of the test accuracy after the last epoch; {seeds(values)}. T divides the"
        " logits while scoring. Differences: points, between runs of one seed, with Student's 95 % interval. –: no run."
    )
    return Grid(TITLE, names, 4, lines, note)


def _add(found: dict[Key, dict[Column, BySeed]], comparison: Comparison) -> None:
    for config, own in by_config(comparison.rows).items():
        values = {text(row, "seed"): v for row in own if (v := number(row, "test_accuracy_final")) is not None}
        if values:
            key = (
                comparison.model,
                comparison.dataset,
                removed(comparison.sparsity, comparison.granularity),
                config.rounds,
            )
            found.setdefault(key, {})[_column(variant(config, own))] = values


def _column(each: Variant) -> Column:
    return MEASURES.index(each.config.measure), -(each.temperature or 0.0), each.name


def _line(
    key: Key, values: Mapping[Column, BySeed], columns: Sequence[Column], raised: Sequence[Column], most: int
) -> tuple[Cell, ...]:
    model, dataset, share, rounds = key
    kept = next((values[column] for column in columns if column[0] == 1 and column in values), None)
    spreads = {column: spread(own.values()) for column, own in values.items()}
    cells = [accuracy_cell(spreads.get(column), most=most) for column in columns]
    gaps = [_gap(kept, values.get(column)) for column in raised]
    return (Cell(model), Cell(dataset), Cell(share), Cell(str(rounds)), *cells, *gaps)


def _gap(kept: BySeed | None, raised: BySeed | None) -> Cell:
    found = case("", difference(kept or {}, raised or {}))
    if found is None:
        return Cell(MISSING)
    mean, low, high, _ = found.interval
    main = signed(100 * (mean or 0.0))
    if low is None or high is None:
        return Cell(main, "one seed")
    return Cell(main, " to ".join(signed(100 * end).removeprefix("+") for end in (low, high)))


NEEDS = Needs("result", "prune.measure", "--study lubana2021_small", measures=(INCREASE, PRESERVATION))
TABLE = Table(TITLE, NEEDS, gradient_norm)
