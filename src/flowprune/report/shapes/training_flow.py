"""The change of ‖θ‖² over the optimizer's own steps: what each prediction makes of it, beside what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flowprune.report.shapes.curves import Series, series
from flowprune.report.shapes.runs import Config, by_config, grouped
from flowprune.report.values import Row, finite, kind, number, numbers, text, whole

PREDICTIONS = ("flow", "decay", "step_size", "effective", "momentum")
"""From gradient flow alone to the exact step, each with one thing more."""


@dataclass(frozen=True)
class Error:
    """|predicted − measured| / |measured| of one prediction: quartiles over all moments, and the median by epoch."""

    prediction: str
    n: int
    low: float
    median: float
    high: float
    same_sign: float
    by_epoch: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class TrainingFlow:
    """Predictions and measurement by epoch of one configuration, errors over all runs.

    Attributes:
        config: Whose ``measured`` and ``predicted`` are shown: the dense runs where there are any.
        rises: The share of all moments at which the squared norm grew: what always saying "grows" gets right.
        steps: Over how many steps of the optimizer each change was followed; each number that occurs.
    """

    config: Config
    measured: Series
    predicted: dict[str, Series]
    errors: tuple[Error, ...]
    rises: float
    runs: int
    steps: tuple[int, ...]
    notes: tuple[str, ...]


def training_flow(rows: Sequence[Row]) -> TrainingFlow | None:
    """The records of ``kind="training_flow"``, or None where there are none to draw.

    Example:
        >>> row = {"kind": "training_flow", "run": "a", "measure": "dense", "epoch": 0, "flow": 1.0, "momentum": 2.0}
        >>> found = training_flow([{**row, "measured": 2.0, "steps": 20}])
        >>> [(error.prediction, error.median) for error in found.errors]
        [('flow', 0.5), ('momentum', 0.0)]
    """
    kept, notes = finite(kind(rows, "training_flow"), "measured", "epoch")
    groups = by_config(kept)
    if not groups:
        return None
    first = next(iter(groups))
    measured = series(groups[first], "measured")
    predicted = {key: found for key in PREDICTIONS if (found := series(groups[first], key)) is not None}
    if measured is None or not predicted:
        return None
    still = sum(number(row, "measured") == 0 for row in kept)
    if still:
        what = "1 change of exactly 0 has" if still == 1 else f"{still} changes of exactly 0 have"
        notes = (*notes, f"{what} no relative error: left out of the errors.")
    errors = tuple(error for key in PREDICTIONS if (error := _error(key, kept)) is not None)
    return TrainingFlow(
        config=first,
        measured=measured,
        predicted=predicted,
        errors=errors,
        rises=sum((number(row, "measured") or 0.0) > 0 for row in kept) / len(kept),
        runs=len({text(row, "run") for row in kept}),
        steps=tuple(sorted({int(value) for value in numbers(kept, "steps")})),
        notes=notes,
    )


def _error(key: str, rows: Iterable[Row]) -> Error | None:
    usable = [row for row in rows if number(row, key) is not None and number(row, "measured")]
    if not usable:
        return None
    low, median, high = np.quantile(_relative(key, usable), (0.25, 0.5, 0.75)).tolist()
    same = [((number(row, key) or 0.0) > 0) == ((number(row, "measured") or 0.0) > 0) for row in usable]
    at = grouped(usable, lambda row: whole(row, "epoch"))
    by_epoch = tuple((epoch, float(np.median(_relative(key, own)))) for epoch, own in sorted(at.items()))
    return Error(key, len(usable), low, median, high, sum(same) / len(same), by_epoch)


def _relative(key: str, rows: Iterable[Row]) -> list[float]:
    pairs = [(number(row, key) or 0.0, number(row, "measured") or 1.0) for row in rows]
    return [abs(predicted - measured) / abs(measured) for predicted, measured in pairs]
