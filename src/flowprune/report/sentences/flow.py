"""What the norm and its derivatives show."""

from __future__ import annotations

from flowprune.report.shapes.flow import NEAR, Flow, Match, match
from flowprune.report.wording import figures, percent


def say(records: Flow) -> str:
    """How near the predicted derivatives came to the measured ones."""
    first, second = match(records.velocity), match(records.acceleration)
    parts = [_part(found, name) for found, name in ((first, "first (E3)"), (second, "second (E4)")) if found]
    if not parts:
        return "The norm was recorded, its derivatives were not."
    n = max(found.n for found in (first, second) if found)
    moments = f"{n} moments of {records.runs} run{'' if records.runs == 1 else 's'}"
    return f"Predicted and measured derivatives of ‖θ‖² at {moments}: the {'; the '.join(parts)}."


def _part(found: Match, name: str) -> str:
    signs = "throughout" if found.same_sign == 1 else f"in {percent(found.same_sign)}"
    return (
        f"{name} agree within {percent(NEAR, 0)} at {percent(found.near, 0)} of them (median error"
        f" {figures(100 * found.median_error, 2)} %, 95 % below {figures(100 * found.p95_error, 2)} %), the same sign"
        f" {signs}"
    )


def caption(records: Flow) -> str:
    """Equations, units and how the measured values came about."""
    return (
        "Predicted: E3, d‖θ‖²/dt = −2θᵀg, and E4, d²‖θ‖²/dt² = 2(‖g‖² + θᵀHg), from the gradient g and the Hessian H"
        " of the loss at that moment. Measured: central differences along a short plain gradient flow of the same"
        " loss from the same point; where a finite step crosses a kink of a ReLU network, it sees what H does not."
        " Time t counts learning rate × steps; ‖θ‖² has no unit. Lines: means over seeds; band: ± one sample standard"
        f" deviation; scatter: every run. {_scale(records)}"
    ).strip()


def _scale(records: Flow) -> str:
    return "" if not records.velocity else "Where sizes span decades the axis is a symmetric logarithm, linear near 0."
