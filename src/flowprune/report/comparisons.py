"""A comparison: runs that may be compared, because they share data set, model and sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.core.errors import invalid
from flowprune.core.granularities import units_in_words
from flowprune.report.values import Row, number, text

DENSE = "dense"


@dataclass(frozen=True, eq=False)
class Comparison:
    """The rows of the pruned runs at one sparsity of one kind of units, and of the dense runs they are held against."""

    dataset: str
    model: str
    sparsity: float
    granularity: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """``"vgg13 on cifar10, 75 % of channels removed"``."""
        units = f"of {units_in_words(self.granularity)} " if self.granularity else ""
        pruned = f", {100 * self.sparsity:g} % {units}removed" if self.sparsity else ", dense"
        return f"{self.model} on {self.dataset}{pruned}"


def comparisons(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """Sort rows into comparisons; the dense runs of a data set and model join each sparsity of theirs.

    Example:
        >>> base = {"dataset": "digits", "model": "small"}
        >>> rows = [{**base, "measure": "dense", "sparsity": 0}, {**base, "measure": "magnitude", "sparsity": 0.75}]
        >>> [(s.sparsity, len(s.rows)) for s in comparisons(rows)]
        [(0.75, 2)]
    """
    dense: dict[tuple[str, str], list[Row]] = {}
    pruned: dict[tuple[str, str, float, str], list[Row]] = {}
    for row in rows:
        where = (text(row, "dataset", "unnamed data"), text(row, "model", "unnamed model"))
        if text(row, "measure", DENSE) == DENSE:
            dense.setdefault(where, []).append(row)
        else:
            kind = (round(number(row, "sparsity") or 0.0, 9), text(row, "granularity"))
            pruned.setdefault((*where, *kind), []).append(row)
    found = [Comparison(d, m, s, g, (*dense.get((d, m), ()), *own)) for (d, m, s, g), own in sorted(pruned.items())]
    alone = [where for where in sorted(dense) if not any(key[:2] == where for key in pruned)]
    return tuple(found + [Comparison(d, m, 0.0, "", tuple(dense[d, m])) for d, m in alone])


def only(where: str, rows: Sequence[Row]) -> Comparison:
    """The one comparison in ``rows``.

    Raises:
        ValueError: where there is none, or more than one.

    Example:
        >>> only("draw(rows=)", [{"dataset": "digits", "model": "small", "measure": "dense"}]).title
        'small on digits, dense'
    """
    found = comparisons(rows)
    if len(found) != 1:
        todo = "Filter the rows by dataset, model and sparsity; report.write draws one set of figures for each."
        raise invalid(where, "rows of one data set, model and sparsity", [s.title for s in found], todo)
    return found[0]
