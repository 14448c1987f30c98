"""What accuracy against cost shows."""

from __future__ import annotations

from flowprune.report.shapes.tradeoff import Axis, Tradeoff
from flowprune.report.spread import distinct
from flowprune.report.wording import accuracy, figures

TIMES = {
    "parameters": "hold {} times the parameters",
    "nonzeros": "hold {} times the parameters that are not zero",
    "latency_ms": "take {} times as long for a forward pass",
}


def say(records: Tradeoff) -> str:
    """How far costs came down, and which pruned configuration is the most accurate."""
    saved = [part for axis in records.axes if (part := _saved(axis))]
    words = f"Beside the pruned networks, the dense ones {' and '.join(saved)}. " if saved else ""
    return words + _best(records.axes[0])


def _saved(axis: Axis) -> str:
    costs = [point.cost.mean for point in axis.points if not point.config.dense]
    if not costs or not axis.dense or min(costs) <= 0:
        return ""
    low, high = figures(axis.dense / max(costs), 2), figures(axis.dense / min(costs), 2)
    return TIMES[axis.key].format(low if low == high else f"{low} to {high}")


def _best(axis: Axis) -> str:
    pruned = [point for point in axis.points if not point.config.dense]
    if not pruned:
        return "No pruned run to compare."
    best = max(pruned, key=lambda point: point.accuracy.mean)
    words = f"The most accurate of the pruned is {best.config} at {accuracy(best.accuracy, count=True)}"
    others = [distinct(best.accuracy, point.accuracy) for point in pruned if point is not best]
    if not others:
        return f"{words}."
    if None in others:
        return f"{words}; with one seed the spread is unknown."
    near = others.count(False)
    return f"{words}; {near or 'none'} of the {len(others)} others {'lies' if near < 2 else 'lie'} within the spread."


def caption(records: Tradeoff) -> str:
    """What is drawn."""
    single = all(point.accuracy.n == 1 for axis in records.axes for point in axis.points)
    bars = "one seed, so no bars" if single else "bars: ± one sample standard deviation over seeds"
    return (
        f"Means over runs of the final epoch's test accuracy; {bars}. Up and to the left is better. Dense: horizontal"
        " line, with its cost beside it. The dashed stair joins"
        " the pruned configurations that no other pruned one beats in both means (parameters are counted after physical"
        " removal; latency is the median of one forward pass)."
    )
