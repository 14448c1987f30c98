"""The rows that tell of the dense network alone: from dense runs, or from pruned ones before their first cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import Config, by_config
from flowprune.report.values import Row


@dataclass(frozen=True)
class Watched:
    """The rows of one configuration, and a note on each of the others, which are left out."""

    config: Config
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def watched(rows: Sequence[Row]) -> Watched | None:
    """The rows of the dense runs, of their first setting where there are several; None without rows.

    Pruned runs tell of the same networks as far as their first cut, so they serve only where no dense run does.

    Example:
        >>> rows = [{"measure": "fisher", "rounds": 1, "epoch": 0}, {"measure": "dense", "epoch": 0}]
        >>> watched(rows).config.measure, len(watched(rows).rows), watched(rows[:1]).config.measure
        ('dense', 1, 'fisher')
    """
    groups = by_config(rows)
    if not groups:
        return None
    first = next(iter(groups))  # dense comes first
    others = [each for each in groups if each.dense == first.dense and each != first]
    told = f"Shown: {first}; left out: {', '.join(map(str, others))}." if others else ""
    return Watched(first, tuple(groups[first]), (told,) if told else ())
