"""How far measures agree about the same network, before the first cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, recorded, text, whole
from flowprune.report.wording import ordered

Matrix = dict[tuple[str, str], Spread]
"""Mean and spread over seeds for each unordered pair, keyed in the order of ``measures``."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of scores and overlap of kept sets, for each pair of measures.

    ``chance`` is the overlap of two random sets: 1 − sparsity, where that is one number.
    """

    measures: tuple[str, ...]
    spearman: Matrix
    overlap: Matrix
    epochs: tuple[int, ...]
    chance: float | None
    notes: tuple[str, ...]


def agreement(rows: Sequence[Row]) -> Agreement | None:
    """The records of ``kind="agreement"``, or None.

    Runs of the same seed are the same network before its first cut, and so is (a, b) as (b, a): these are
    averaged within a seed first, so that ``n`` counts seeds.

    Example:
        >>> rows = [{"kind": "agreement", "a": "magnitude", "b": "obd", "seed": s, "epoch": 1, "spearman": r,
        ...          "overlap": 0.5} for s, r in ((0, 0.2), (0, 0.4), (1, 0.5))]
        >>> value = agreement(rows).spearman["magnitude", "obd"]
        >>> round(value.mean, 3), value.n
        (0.4, 2)
    """
    found = kind(rows, "agreement")
    first = min((whole(row, "round") for row in found), default=0)
    pairs = [row for row in found if whole(row, "round") == first and text(row, "a") != text(row, "b")]
    names = ordered(text(row, side) for row in pairs for side in ("a", "b"))
    matrices: list[Matrix] = []
    notes: list[str] = []
    for key in ("spearman", "overlap"):
        kept, lost = finite(pairs, key) if recorded(pairs, key) else ([], ())
        matrices.append(_matrix(kept, key, names))
        notes += lost
    if not matrices[0] and not matrices[1]:
        return None
    epochs = tuple(sorted({whole(row, "epoch") for row in pairs if number(row, "epoch") is not None}))
    sparsities = {value for row in pairs if (value := number(row, "sparsity"))}
    chance = 1 - sparsities.pop() if len(sparsities) == 1 else None
    return Agreement(names, matrices[0], matrices[1], epochs, chance, tuple(notes))


def _matrix(rows: Sequence[Row], key: str, names: Sequence[str]) -> Matrix:
    def pair(row: Row) -> tuple[str, str]:
        a, b = sorted((text(row, "a"), text(row, "b")), key=names.index)
        return a, b

    matrix: Matrix = {}
    for names_of, own in grouped(rows, pair).items():
        seeds = grouped(own, lambda row: text(row, "seed"))
        matrix[names_of] = spread(
            sum(number(r, key) or 0.0 for r in of_seed) / len(of_seed) for of_seed in seeds.values()
        )
    return matrix
