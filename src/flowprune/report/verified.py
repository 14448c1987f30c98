"""How many cuts passed which check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from flowprune.report.values import Row, kind, numbers

MEANING = {
    "same function": "the smaller network computes what the masked one computes",
    "live optimizer": "the optimizer holds exactly the parameters that are left",
    "exact sparsity": "as many units are gone as were asked for, to the unit",
    "zeros stay": "what is masked is still zero after the next step",
}


@dataclass(frozen=True)
class Check:
    """One check: in how many of the cuts it is on record as passed."""

    name: str
    meaning: str
    passed: int
    cuts: int


def checks(rows: Sequence[Row]) -> tuple[Check, ...]:
    """Each check named by any cut, most frequent first.

    Example:
        >>> checks([{"kind": "cut", "checks": ["exact sparsity"]}, {"kind": "cut", "checks": []}])[0].passed
        1
    """
    found = kind(rows, "cut")
    counts: dict[str, int] = {}
    for row in found:
        for name in _names(row):
            counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Check(name, MEANING.get(name.replace("_", " "), ""), count, len(found)) for name, count in ranked)


def seconds(rows: Sequence[Row]) -> float | None:
    """Median seconds of one cut with its checks, without gathering signals."""
    times = sorted(numbers(kind(rows, "cut"), "cut_seconds"))
    return times[len(times) // 2] if times else None


def _names(row: Row) -> list[str]:
    value = row.get("checks")
    return [str(name) for name in cast("list[object]", value)] if isinstance(value, list) else []
