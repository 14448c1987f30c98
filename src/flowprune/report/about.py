"""What a run's spec says and its rows do not: at which temperature it was scored, what its first cut waited for."""

from __future__ import annotations

from collections.abc import Mapping

from flowprune.measures.index import MEASURES
from flowprune.report.values import Row, number, text


def about(spec: Mapping[str, object]) -> Row:
    """The columns ``scored_at``, ``when`` and ``residual`` of a pruned run, from its flat spec; none of a dense one.

    Example:
        >>> about({"prune.measure": "gradient_norm_increase", "prune.temperature": "published"})
        {'scored_at': 200.0}
        >>> about({"prune.measure": "fisher", "objective.temperature": 5.0, "prune.residual": "masked"})
        {'scored_at': 5.0, 'residual': 'masked'}
    """
    if "prune.measure" not in spec:
        return {}
    told, own = number(spec, "prune.temperature"), number(spec, "objective.temperature")
    if told is None and text(spec, "prune.temperature") == "published":
        told = MEASURES[text(spec, "prune.measure")].temperature
    found = {
        "scored_at": own if told is None else told,
        "when": spec.get("prune.when"),
        "residual": spec.get("prune.residual"),
    }
    return {name: value for name, value in found.items() if value is not None}
