"""Table: what pruning a trained network costs of the loss, what was predicted, and the accuracy after."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.needs import Needs
from flowprune.report.shapes.preservation import (
    CHANGE,
    FINAL,
    STAGES,
    TRIALS,
    WITHIN,
    Point,
    Preservation,
    preservation,
)
from flowprune.report.spread import Spread, distinct
from flowprune.report.tables.accuracy import removed
from flowprune.report.tables.grid import MISSING, Cell, Grid, Table, accuracy_cell, seeds
from flowprune.report.values import Row
from flowprune.report.wording import figures

TITLE = "Loss before, and accuracy after, training again"
NAMES = ("model", "data", "removed", "measure", "λ")
LOSSES = {
    CHANGE: "ΔL, training set",
    "valid_loss_change": "ΔL, validation",
    "test_loss_change": "ΔL, test",
    "predicted_loss_change": "predicted, first order",
    "predicted_loss_change_second": "predicted, second order",
    "measured_loss_change": "measured there",
}
ADAPTIVE = {
    STAGES: "stages",
    WITHIN: "of them within the tolerance",
    TRIALS: "sizes tried",
    "stage_predicted": "predicted, by their own model",
}
"""Columns that are there where stages are adaptive."""
ACCURACIES = {
    "test_accuracy_after": "accuracy pruned, %",
    FINAL: "accuracy after, %",
    "test_accuracy_selected": "at the epoch chosen, %",
}
KINDS = ("pruned", "result")


def table(rows: Sequence[Row]) -> Grid | None:
    """The table, or None where no network was pruned once it was trained.

    Example:
        >>> run = {"run": "r", "measure": "lm", "rounds": 14, "seed": 0, "sparsity": 0.9, "model": "mlp"}
        >>> found = table([{**run, "kind": "pruned", "train_loss_before": 0.1, "train_loss_after": 0.5},
        ...                {**run, "kind": "result", "test_accuracy_final": 0.8}])
        >>> found.columns[3:], [str(cell) for cell in found.lines[0]][3:]
        (('measure', 'λ', 'ΔL, training set', 'accuracy after, %'), \
['LM (14 rounds)', '0', '0.400 (n = 1)', '**80.00** (n = 1)'])
    """
    read = [(each, preservation(each.rows)) for each in comparisons([r for r in rows if r.get("kind") in KINDS])]
    found = [(comparison, records) for comparison, records in read if records is not None]
    if not found:
        return None
    lines = [line for comparison, records in found for line in _lines(comparison, records)]
    told = [i for i in range(len(lines[0])) if i < len(NAMES) or any(line[i].main != MISSING for line in lines)]
    columns = (*NAMES, *ADAPTIVE.values(), *LOSSES.values(), *ACCURACIES.values())
    ends = [point.spread(FINAL) for _, records in found for point in records.points]
    return Grid(
        title=TITLE,
        columns=tuple(columns[i] for i in told),
        names=len(NAMES),
        lines=tuple(tuple(line[i] for i in told) for line in lines),
        note=NOTE.format(seeds=seeds(ends)),
        warnings=tuple(dict.fromkeys(note for _, records in found for note in records.notes)),
    )


NOTE = (
    "Means ± one sample standard deviation over seeds, {seeds}. ΔL: loss right after pruning − right before, on whole"
    " splits without augmentation. Predicted: the signed sum over stages, from the signals before each, of the change"
    " on the scoring samples; measured there: the sum of what came of it. Accuracy: of the test split, right after"
    " pruning, after the last epoch of the second training, and at the epoch of it that validation chose. **Bold**: the"
    " highest mean; †: within the spread of it."
)


def _lines(comparison: Comparison, records: Preservation) -> list[tuple[Cell, ...]]:
    share = removed(comparison.sparsity, comparison.granularity)
    names = (Cell(comparison.model), Cell(comparison.dataset), Cell(share))
    most = max(len(point.of(FINAL)) for point in records.points)
    fixed = all(point.tolerance is None for point in records.points)
    best = {name: _best(records.points, name) for name in ACCURACIES}
    return [
        (
            *names,
            Cell(point.config.name, point.config.cuts),
            Cell(f"{point.penalty:g}"),
            *(Cell(MISSING) if fixed else _loss(point.spread(name), most) for name in ADAPTIVE),
            *(_loss(point.spread(name), most) for name in LOSSES),
            *(_accuracy(point.spread(name), best[name], most) for name in ACCURACIES),
        )
        for point in records.points
    ]


def _best(found: Sequence[Point], name: str) -> Spread | None:
    values = [value for point in found if (value := point.spread(name)) is not None]
    return max(values, key=lambda value: value.mean, default=None)


def _loss(value: Spread | None, most: int) -> Cell:
    if value is None:
        return Cell(MISSING)
    deviation = "" if value.std is None else f" ± {figures(value.std, 2)}"
    return Cell(figures(value.mean) + deviation, f"n = {value.n}" if value.n == 1 or value.n != most else "")


def _accuracy(value: Spread | None, best: Spread | None, most: int) -> Cell:
    first = value is not None and best is not None and value.mean == best.mean
    near = value is not None and best is not None and not first and distinct(best, value) is False
    return accuracy_cell(value, most=most, bold=first, near=near)


NEEDS = Needs("pruned", "prune.measure", "--study laurent2020-mlp-small", runs="pruned")
TABLE = Table(TITLE, NEEDS, table, within=True)
