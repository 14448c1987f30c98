"""What a run's spec says and its rows do not: at which temperature it was scored, what its first cut waited for."""

from __future__ import annotations

from collections.abc import Mapping

from flowprune.report.values import Row, number, text

PUBLISHED = {"gradient_norm_increase": 200.0, "gradient_norm_preservation": 1.0}
"""The temperatures that ``prune.temperature = "published"`` stands for; other measures keep the objective's."""


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
    own = number(spec, "objective.temperature")
    asked = text(spec, "prune.temperature")
    published = PUBLISHED.get(text(spec, "prune.measure"), own) if asked == "published" else own
    told = number(spec, "prune.temperature")
    found = {
        "scored_at": published if told is None else told,
        "when": spec.get("prune.when"),
        "residual": spec.get("prune.residual"),
    }
    return {name: value for name, value in found.items() if value is not None}
