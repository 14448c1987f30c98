"""What is left of early layers, beside what is left of the others."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from flowprune.report.reproduction.case import Case, case, difference
from flowprune.report.reproduction.claim import Cases, found
from flowprune.report.reproduction.reading import INCREASE, INCREASE_1, Cell, Method, cells, scaled
from flowprune.report.shapes.depth import early
from flowprune.report.values import Row, number, text, whole


def deficit(cell: Cell, method: Method) -> dict[str, float]:
    """The share kept of the layers after the first third less that of the first third, after the last cut, in points.

    Means over layers, each counting once.
    """

    def gap(rows: Sequence[Row]) -> float | None:
        turn = max(whole(row, "round") for row in rows)
        last = [row for row in rows if whole(row, "round") == turn]
        front = early(text(row, "layer") for row in last)
        first, rest = ([_share(row) for row in last if (text(row, "layer") in front) is side] for side in (True, False))
        return statistics.fmean(rest) - statistics.fmean(first) if first and rest else None

    return scaled(cell.value(method, "layer", gap), 100.0)


def _share(row: Row) -> float:
    return (number(row, "kept") or 0.0) / (number(row, "units") or 1.0)


def within(rows: Sequence[Row]) -> Cases:
    """The deficit of early layers under gradient-norm increase, at both temperatures."""
    return found(
        case(f"{cell.where}, {method.name}", deficit(cell, method))
        for cell in cells(rows)
        for method in (INCREASE, INCREASE_1)
    )


def against_others(rows: Sequence[Row]) -> Cases:
    """That deficit less the largest one of any other measure, at both temperatures."""
    return [
        replace(each, where=f"{each.where}, {name}") for name, pairs in beyond_others(rows).items() for _, each in pairs
    ]


def beyond_others(rows: Sequence[Row]) -> dict[str, list[tuple[Cell, Case]]]:
    """For each gradient-norm increase, by name, its deficit of early layers less the largest of any other measure."""
    both = {each.name: [(cell, _beside(cell, each)) for cell in cells(rows)] for each in (INCREASE, INCREASE_1)}
    kept = {name: [(cell, each) for cell, each in pairs if each is not None] for name, pairs in both.items()}
    return {name: pairs for name, pairs in kept.items() if pairs}


def _beside(cell: Cell, method: Method) -> Case | None:
    others = [deficit(cell, other) for other in cell.methods if other.measure != method.measure]
    own = deficit(cell, method)
    known = {seed: [of[seed] for of in others if seed in of] for seed in own}
    return case(cell.where, difference(own, {seed: max(values) for seed, values in known.items() if values}))
