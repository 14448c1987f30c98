"""What is said of the loss that pruning costs and of the accuracy after the second training."""

from __future__ import annotations

from flowprune.core.interval import Interval
from flowprune.report.shapes.preservation import CHANGE, FINAL, Point, Preservation
from flowprune.report.wording import accuracy, figures, signed


def say(records: Preservation) -> str:
    """The correlations, and which point costs least and which ends highest."""
    return f"{correlations(records)} {_extremes(records)}"


def correlations(records: Preservation, name: str = FINAL) -> str:
    """How far ΔL tells the error at the end, within a seed and of the means.

    Example:
        >>> from flowprune.report.shapes.runs import Config
        >>> points = [Point(Config(1, "lm"), lam, {CHANGE: {"0": lam}, FINAL: {"0": 1 - lam}}) for lam in (0.1, 0.2)]
        >>> correlations(Preservation(tuple(points), None))
        'Of 2 ways to prune no rank correlation can be told.'
    """
    count = len(records.points)
    within, between = records.within(name), records.between(name)
    if between.mean is None or within.mean is None:
        return f"Of {count} way{'' if count == 1 else 's'} to prune no rank correlation can be told."
    ends = " at the epoch that validation chose" if name != FINAL else ""
    return (
        f"Over {count} ways to prune, the rank correlation of ΔL before the second training with the test error after"
        f" it{ends} is {interval(within)} within a seed (Fisher) and {interval(between)} of the means (bootstrap over"
        " seeds)."
    )


def interval(found: Interval) -> str:
    """A correlation with its interval, or the number of seeds where there is none.

    Example:
        >>> interval(Interval(0.5, 0.25, 0.625, 5)), interval(Interval(-0.5, None, None, 1))
        ('0.50 (0.25 to 0.62)', '−0.50 (n = 1)')
    """
    mean, low, high, n = found
    if mean is None:
        return "not known"
    if low is None or high is None:
        return f"{_two(mean)} (n = {n})"
    return f"{_two(mean)} ({_two(low)} to {_two(high)})"


def _two(value: float) -> str:
    return signed(value, 2).removeprefix("+")


def way(point: Point) -> str:
    """A way to prune in words.

    Example:
        >>> from flowprune.report.shapes.runs import Config
        >>> way(Point(Config(14, "qm"), 0.01, {})), way(Point(Config(1, "magnitude"), 0.0, {}))
        ('QM (14 rounds), λ = 0.01', 'magnitude (1 round)')
    """
    return f"{point.config}, λ = {point.penalty:g}" if point.penalty else str(point.config)


def _extremes(records: Preservation) -> str:
    told = [
        (each, cost, end) for each in records.points if (cost := each.spread(CHANGE)) and (end := each.spread(FINAL))
    ]
    kept, low, end = min(told, key=lambda each: each[1].mean)
    best, _, high = max(told, key=lambda each: each[2].mean)
    name = way(kept)
    words = (
        f"{name[0].upper()}{name[1:]} costs least, ΔL = {figures(low.mean)}, and ends at {accuracy(end, count=True)}"
    )
    if best is kept:
        return f"{words}, the highest mean."
    return f"{words}; {way(best)} ends highest in the mean, at {accuracy(high, count=True)}."


def caption(records: Preservation) -> str:
    """What is drawn."""
    counts = sorted({end.n for point in records.points if (end := point.spread(FINAL))})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    bars = "bars: ± one sample standard deviation" if counts[-1] > 1 else "no bars"
    sizes = ""
    if len(records.penalties) > 1:
        several = ", ".join(f"{penalty:g}" for penalty in records.penalties)
        sizes = f" The larger a mark, the larger the step penalty λ ({several})."
    return (
        f"Means over seeds ({seeds}); {bars}. ΔL: loss on the whole training set, without augmentation, right after"
        " pruning − right before. Left: against test accuracy after the last epoch of the second training. The others:"
        " the sum over stages of what signals predicted of the loss on the scoring samples, with δ = −θ of what goes:"
        f" gᵀδ, and gᵀδ + ½ Σ d δ²; against the sum of what was measured there.{sizes}"
    )
