"""How a spec keeps the steps of a cut small, and by which curvature it measures them, as keywords of pruning."""

from __future__ import annotations

from typing import Any

from flowprune.experiments.settings import PruneSpec


def locality(cut: PruneSpec) -> dict[str, Any]:
    """Keywords of ``Pruner`` and ``prune``; those that are not asked for are left out.

    Example:
        >>> locality(PruneSpec(measure="lm")), locality(PruneSpec(measure="lm", step_penalty=0.1))
        ({}, {'step_penalty': 0.1})
    """
    found: dict[str, Any] = {}
    if cut.step_penalty:
        found["step_penalty"] = cut.step_penalty
    if cut.curvature != "ggn":
        found["curvature"] = cut.curvature
    return found
