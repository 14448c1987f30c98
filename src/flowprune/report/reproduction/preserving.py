"""What the loss-modelling paper claims, each with a statistic that is positive where it holds.

Source: Laurent et al. 2020, arXiv 2006.12279.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from flowprune.report.comparisons import comparisons
from flowprune.report.reproduction.case import BySeed, Case, alike, below, case, difference
from flowprune.report.reproduction.claim import Cases, Claim, FromRows, found
from flowprune.report.shapes.preservation import CHANGE, FINAL, Point, Preservation, preservation
from flowprune.report.values import Row
from flowprune.report.wording import cut_in, plain, signed

VALID = "valid_accuracy_best"
FIRST, SECOND = ("lm",), ("obd", "qm")
MARGIN = 0.1
"""Of what magnitude pruning costs: losses that differ by less are taken for alike."""
POINT = 1.0
"""Of accuracy, in points: the same."""
STRONG = 0.5
"""A correlation from here on is called strong (Cohen 1988)."""


def networks(rows: Sequence[Row]) -> Iterator[tuple[str, Preservation]]:
    """Each network in words, with the ways in which it was pruned."""
    for comparison in comparisons([row for row in rows if row.get("kind") in ("pruned", "result")]):
        records = preservation(comparison.rows)
        if records is not None:
            yield f"{comparison.model} on {comparison.dataset}", records


def chosen(points: Sequence[Point], name: str, *, best: Callable[..., float] = min) -> dict[str, Point]:
    """For each seed, the point that does best in the mean over the other seeds.

    So the choice of a penalty, or of stages, never sees what it is judged by.

    Example:
        >>> from flowprune.report.shapes.runs import Config
        >>> a = Point(Config(1, "lm"), 0.0, {"loss_change": {"0": 1.0, "1": 5.0}})
        >>> b = Point(Config(1, "lm"), 0.1, {"loss_change": {"0": 2.0, "1": 2.0}})
        >>> {seed: point.penalty for seed, point in chosen([a, b], "loss_change").items()}
        {'0': 0.1, '1': 0.0}
    """
    seeds = dict.fromkeys(seed for point in points for seed in point.of(name))
    choice: dict[str, Point] = {}
    for seed in seeds:
        others = [(point, [v for s, v in point.of(name).items() if s != seed]) for point in points]
        known = [(point, statistics.fmean(values)) for point, values in others if values and seed in point.of(name)]
        if known:
            wanted = best(value for _, value in known)
            choice[seed] = next(point for point, value in known if value == wanted)
    return choice


def values(choice: dict[str, Point], name: str, by: float = 1.0) -> dict[str, float]:
    """A number of the point chosen for each seed, from that seed."""
    return {seed: by * point.of(name)[seed] for seed, point in choice.items() if seed in point.of(name)}


def _of(records: Preservation, measures: Sequence[str]) -> list[Point]:
    return [point for point in records.points if point.config.measure in measures]


def _measures(records: Preservation) -> list[str]:
    return list(dict.fromkeys(point.config.measure for point in records.points))


def stages(name: str, by: float) -> FromRows:
    """In the most stages of a fixed pace against one, no penalty; positive where more make ``by`` times it larger."""

    def compute(rows: Sequence[Row]) -> Cases:
        return found(
            _staged(where, [p for p in _of(records, (measure,)) if not (p.penalty or p.tolerance)], name, by)
            for where, records in networks(rows)
            for measure in _measures(records)
        )

    return compute


def _staged(where: str, points: Sequence[Point], name: str, by: float) -> Case | None:
    if not points:
        return None
    few, many = (end(points, key=lambda point: point.config.rounds) for end in (min, max))
    if few.config.rounds == many.config.rounds:
        return None
    gain = difference(scaled(many.of(name), by), scaled(few.of(name), by))
    return case(f"{where}, {plain(many.config.measure)}, {cut_in(many.config.rounds)} − {few.config.rounds}", gain)


def penalties(rows: Sequence[Row]) -> Cases:
    """ΔL without a penalty less that with the penalty which does best in the other seeds, stages alike."""
    cases: list[Case | None] = []
    for where, records in networks(rows):
        for config in records.configs:
            own = [point for point in records.points if point.config == config]
            without = [point for point in own if point.penalty == 0.0]
            choice = chosen([point for point in own if point.penalty > 0.0], CHANGE)
            gain = difference(without[0].of(CHANGE), values(choice, CHANGE)) if without else {}
            picked = sorted({point.penalty for point in choice.values()})
            note = f"λ = {' or '.join(f'{each:g}' for each in picked)}"
            cases.append(case(f"{where}, {config}", gain, note))
    return found(cases)


def orders(rows: Sequence[Row]) -> Cases:
    """How alike the best of the first and the best of the second order are in ΔL."""
    cases: list[Case | None] = []
    for where, records in networks(rows):
        plainest = _of(records, ("magnitude",))
        cost = plainest[0].spread(CHANGE) if plainest else None
        first, second = (values(chosen(_of(records, each), CHANGE), CHANGE) for each in (FIRST, SECOND))
        if cost is not None and cost.mean > 0:
            gap = difference(first, second)
            cases.append(alike(where, gap, MARGIN * cost.mean, _gap(gap, MARGIN * cost.mean, 3)))
    return found(cases)


def orders_after(rows: Sequence[Row]) -> Cases:
    """How alike they are in accuracy after the second training, each as validation chooses it in the other seeds."""
    cases: list[Case | None] = []
    for where, records in networks(rows):
        first, second = (values(chosen(_of(records, each), VALID, best=max), FINAL, 100.0) for each in (FIRST, SECOND))
        gap = difference(first, second)
        cases.append(alike(where, gap, POINT, _gap(gap, POINT, 2)))
    return found(cases)


def _gap(gap: BySeed, margin: float, digits: int) -> str:
    if not gap:
        return ""
    return f"first − second order: {signed(statistics.fmean(gap.values()), digits)}; margin {margin:.{digits}f}"


def correlated(rows: Sequence[Row]) -> Cases:
    """How far the correlation of ΔL with the error after the second training stays below a strong one."""
    cases: list[Case | None] = []
    for where, records in networks(rows):
        for group, points in _groups(records):
            own = Preservation(tuple(points), None).correlations()
            note = f"ρ = {signed(statistics.fmean(own.values()), 2).removeprefix('+')} in the mean" if own else ""
            cases.append(below(f"{where}, {group}", own, STRONG, note))
    return found(cases)


def _groups(records: Preservation) -> Iterator[tuple[str, list[Point]]]:
    """All points; and the half that costs least, where differences are those between good ways to prune."""
    yield "all ways", list(records.points)
    told = [(point, cost.mean) for point in records.points if (cost := point.spread(CHANGE)) is not None]
    middle = statistics.median(cost for _, cost in told)
    yield "the half that costs least", [point for point, cost in told if cost <= middle]


def beaten(rows: Sequence[Row]) -> Cases:
    """Accuracy of the way that validation chooses in the other seeds, less that of the way that costs least here."""
    cases: list[Case | None] = []
    for where, records in networks(rows):
        kept = {seed: _least(records.points, seed) for seed in records.seeds}
        choice = values(chosen(records.points, VALID, best=max), FINAL, 100.0)
        cases.append(case(where, difference(choice, values(kept, FINAL, 100.0))))
    return found(cases)


def _least(points: Sequence[Point], seed: str) -> Point:
    return min((point for point in points if seed in point.of(CHANGE)), key=lambda point: point.of(CHANGE)[seed])


def scaled(found: BySeed, by: float) -> dict[str, float]:
    """Each value times a number.

    Example:
        >>> scaled({"0": 0.5}, 100.0)
        {'0': 50.0}
    """
    return {seed: by * value for seed, value in found.items()}


LOCAL = (
    Claim(
        "stages keep more of the loss",
        "The abstract, first claim: it is important that the steps of pruning are local. Here: signals are taken anew"
        " before each of many stages.",
        "ΔL on the training set with λ = 0, in one stage − in the most",
        "nats",
        stages(CHANGE, -1.0),
    ),
    Claim(
        "a step penalty keeps more of the loss",
        "The same claim. Here: λ > 0, for each seed the one that does best in the others.",
        "ΔL on the training set, with λ = 0 − with λ > 0",
        "nats",
        penalties,
    ),
    Claim(
        "stages end at a higher accuracy",
        "The same claim, after the second training.",
        "test accuracy after the last epoch with λ = 0, in the most stages − in one",
        "points",
        stages(FINAL, 100.0),
    ),
)
ALIKE = (
    Claim(
        "both orders keep as much of the loss",
        "The abstract, second claim: models of first and second order reach similar levels. Here: LM against the better"
        " of OBD and QM, each with the stages and the λ that do best in the other seeds; similar is within a tenth of"
        " what magnitude pruning costs.",
        "the margin − the size of the mean difference in ΔL on the training set",
        "nats",
        orders,
    ),
    Claim(
        "both orders end at as high an accuracy",
        "The same claim, after the second training: each as validation chooses it in the other seeds; similar is within"
        " one point.",
        "the margin − the size of the mean difference in test accuracy after the last epoch",
        "points",
        orders_after,
    ),
)
NOT_ENOUGH = (
    Claim(
        "loss kept does not tell what is found after training",
        "The abstract, third claim: to preserve the loss better does not necessarily end at a better network. Here: ΔL"
        " and the error after the second training do not correlate strongly.",
        "0.5 − Spearman's correlation of ΔL on the training set with the final test error, in each seed",
        "",
        correlated,
    ),
    Claim(
        "the way that keeps most of the loss is beaten",
        "The same claim: another way to prune, chosen by validation in the other seeds, ends higher.",
        "test accuracy after the last epoch, of that way − of the way with the least ΔL in the seed",
        "points",
        beaten,
    ),
)
PRESERVING = (*LOCAL, *ALIKE, *NOT_ENOUGH)
"""The claims of the paper's abstract, in its order."""
