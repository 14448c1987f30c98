"""Stored rows of pruning at initialization by network, method, sparsity and seed, for docs/initialization.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowprune.report.spread import Spread
    from flowprune.report.values import Row

TITLES = {"vgg16": "VGG-16", "resnet32": "ResNet-32", "resnet18": "ResNet-18", "resnet20": "ResNet-20"}
FINAL = "test_accuracy_final"


def table(head: Sequence[str], lines: Iterable[Sequence[str]], words: int = 1) -> list[str]:
    """A Markdown table whose first columns hold words."""
    rules = ["---" if index < words else "---:" for index in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rules, *lines)]


def told(row: Row, path: str) -> str:
    """A field that tells runs apart, as text; empty where a row has none or what is usual."""
    from flowprune.report.values import setting

    value = dict(setting(row)).get(path, "")
    return "" if value in ("[]", "own_weights", "default") else value


def usual(row: Row) -> bool:
    """Whether nothing was done to the mask or the weights beside what the recipe does."""
    return not told(row, "prune.ablations") and not told(row, "prune.score_on")


def by_seed(rows: Iterable[Row]) -> dict[str, float]:
    """Final accuracies in points, by seed."""
    from flowprune.report.values import number, text

    return {text(row, "seed"): 100 * value for row in rows if (value := number(row, FINAL)) is not None}


def method_of(row: Row) -> str:
    """What a line is called."""
    from flowprune.report.values import text
    from flowprune.report.wording import plain

    stable = ", stable network" if told(row, "model.options.stable") else ""
    return plain(text(row, "measure")) + stable


Methods = dict[str, dict[float, dict[str, float]]]
"""Accuracies in points by method, sparsity and seed; dense networks at 0."""


def methods(rows: Sequence[Row]) -> Methods:
    """The accuracies of one network, dense first, random last."""
    from flowprune.report.shapes.runs import grouped
    from flowprune.report.values import number

    found: Methods = {}
    for (name, sparsity), own in grouped(rows, lambda row: (method_of(row), number(row, "sparsity") or 0.0)).items():
        if values := by_seed(own):
            found.setdefault(name, {})[sparsity] = values
    return {
        name: found[name] for name in sorted(found, key=lambda name: (0.0 not in found[name], name == "random", name))
    }


def networks(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by model, in the order of the titles."""
    from flowprune.report.shapes.runs import grouped
    from flowprune.report.values import text

    found = grouped(rows, lambda row: text(row, "model"))
    return {name: found[name] for name in sorted(found, key=lambda name: ([*TITLES, name].index(name), name))}


def spread_of(values: dict[str, float]) -> Spread:
    """Their spread, as a share of one."""
    from flowprune.report.spread import spread

    return spread(value / 100 for value in values.values())


def chance(rows: Sequence[Row]) -> float:
    """The accuracy of a blind guess, of the data that the rows are of."""
    from flowprune.report.reproduction.cutting import CLASSES
    from flowprune.report.values import text

    return 1 / CLASSES[text(rows[0], "dataset")]
