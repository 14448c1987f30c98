"""Arithmetic on signals: one small file per family, and an index.

Listing the measures loads no tensor library, so nothing but records is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowprune.measures.index import MEASURES
from flowprune.measures.measure import Measure

if TYPE_CHECKING:
    from flowprune.measures.scoring import Granularity, own_objective, require_granularity, require_measure, score
    from flowprune.measures.tracked import Tracked

__all__ = [
    "MEASURES",
    "Granularity",
    "Measure",
    "Tracked",
    "own_objective",
    "require_granularity",
    "require_measure",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in ("score", "Granularity", "own_objective", "require_granularity", "require_measure"):
        from flowprune.measures import scoring

        return getattr(scoring, name)
    if name == "Tracked":
        from flowprune.measures.tracked import Tracked

        return Tracked
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
