"""Accuracy against what is left to store and to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import Config, by_config
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, numbers, recorded, text


@dataclass(frozen=True)
class Point:
    """One configuration: a cost and the final test accuracy, each with its spread over runs."""

    config: Config
    cost: Spread
    accuracy: Spread


@dataclass(frozen=True)
class Axis:
    """One kind of cost. ``dense`` is the cost before pruning, where it was recorded."""

    key: str
    title: str
    points: tuple[Point, ...]
    dense: float | None

    def unbeaten(self) -> tuple[Point, ...]:
        """Pruned points such that no other pruned one is at least as good in both means and better in one."""
        pruned = [point for point in self.points if not point.config.dense]
        return tuple(p for p in pruned if not any(_beats(q, p) for q in pruned))


@dataclass(frozen=True)
class Tradeoff:
    """One :class:`Axis` for each cost that was recorded."""

    axes: tuple[Axis, ...]
    notes: tuple[str, ...]


TITLES = {
    "parameters": "parameters",
    "nonzeros": "non-zero parameters",
    "latency_ms": "latency, ms (one forward pass)",
}


def tradeoff(rows: Sequence[Row]) -> Tradeoff | None:
    """Costs and accuracies of ``kind="result"`` rows, or None where neither cost was recorded.

    Example:
        >>> row = {"kind": "result", "measure": "magnitude", "rounds": 1, "sparsity": 0.5,
        ...        "test_accuracy_final": 0.9, "parameters": 100, "parameters_dense": 400}
        >>> found = tradeoff([row]).axes[0]
        >>> found.key, found.points[0].cost.mean, found.dense
        ('parameters', 100.0, 400.0)
    """
    found = kind(rows, "result")
    axes: list[Axis] = []
    notes: list[str] = []
    for key in (_size(found), "latency_ms"):
        if recorded(found, key):
            axis, lost = _axis(found, key, TITLES[key])
            axes += [axis] if axis.points else []
            notes += [note for note in lost if note not in notes]
    return Tradeoff(tuple(axes), tuple(notes)) if axes else None


def _size(rows: Sequence[Row]) -> str:
    """What counts as size: parameters, or those that are not zero where masks left many zeros in place."""
    pruned = [row for row in rows if text(row, "measure", "dense") != "dense"]
    sizes = [(number(row, "nonzeros"), number(row, "parameters")) for row in pruned]
    return "nonzeros" if any(a is not None and b is not None and a < 0.9 * b for a, b in sizes) else "parameters"


def _axis(rows: Sequence[Row], key: str, title: str) -> tuple[Axis, tuple[str, ...]]:
    kept, notes = finite(rows, key, "test_accuracy_final")
    points: list[Point] = []
    for config, own in by_config(kept).items():
        points.append(Point(config, spread(numbers(own, key)), spread(numbers(own, "test_accuracy_final"))))
    before = numbers(kept, "parameters_dense" if key == "nonzeros" else f"{key}_dense")
    return Axis(key, title, tuple(points), spread(before).mean if before else None), notes


def _beats(a: Point, b: Point) -> bool:
    no_worse = a.cost.mean <= b.cost.mean and a.accuracy.mean >= b.accuracy.mean
    return no_worse and (a.cost.mean < b.cost.mean or a.accuracy.mean > b.accuracy.mean)
