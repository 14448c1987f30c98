"""What is asked of adaptive stages, each with a statistic that is positive where they do it."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.reproduction.case import BySeed, Case, case, difference
from flowprune.report.reproduction.claim import Cases, Claim, FromRows, found
from flowprune.report.reproduction.preserving import networks, scaled
from flowprune.report.shapes.preservation import CHANGE, FINAL, STAGES, WITHIN, Point
from flowprune.report.values import Row
from flowprune.report.wording import figures

PREDICTED, MEASURED = "stage_predicted", "measured_loss_change"


def predicted(rows: Sequence[Row]) -> Cases:
    """The tolerance less how far what was predicted of all stages is from what was measured, relative to that."""
    cases: list[Case | None] = []
    for where, records in networks(rows):
        for point in records.points:
            if point.tolerance is not None:
                cases.append(case(f"{where}, {point.config.name}", _left(point, point.tolerance), _told(point)))
    return found(cases)


def _left(point: Point, tolerance: float) -> BySeed:
    told, seen = point.of(PREDICTED), point.of(MEASURED)
    return {seed: tolerance - abs(told[seed] / seen[seed] - 1) for seed in told if seen.get(seed)}


def against_a_pace(name: str, by: float) -> FromRows:
    """Beside as many stages of a fixed pace or fewer, the most of them; positive where ``by`` times it is larger."""

    def compute(rows: Sequence[Row]) -> Cases:
        return found(
            _paced(where, point, records.points, name, by)
            for where, records in networks(rows)
            for point in records.points
            if point.tolerance is not None
        )

    return compute


def _paced(where: str, point: Point, points: Sequence[Point], name: str, by: float) -> Case | None:
    alike = [each for each in points if each.tolerance is None and _asked(each) == _asked(point)]
    count = point.spread(STAGES)
    fewer = [each for each in alike if count is not None and each.config.rounds <= count.mean]
    pace = max(fewer, key=lambda each: each.config.rounds, default=None)
    if pace is None:
        return None
    gain = difference(scaled(point.of(name), by), scaled(pace.of(name), by))
    return case(f"{where}, {point.config.name} − {pace.config.rounds} of a fixed pace", gain, _told(point))


def _asked(point: Point) -> object:
    """What a point has in common with those that differ from it in their stages alone."""
    setting = tuple(each for each in point.config.setting if not each[0].startswith("prune.schedule"))
    return point.config.measure, point.penalty, setting


def _told(point: Point) -> str:
    stages, within = point.spread(STAGES), point.spread(WITHIN)
    if stages is None or within is None:
        return ""
    return f"{figures(stages.mean)} stages, {figures(within.mean)} of them within it"


ADAPTING = (
    Claim(
        "adaptive stages tell what they cost",
        "Each stage is the largest that is found of which the prediction is within a tolerance of what is measured, as"
        " far as the pace allows. Here: all of them together.",
        "the tolerance − the size of the relative error of what was predicted of all stages together",
        "",
        predicted,
    ),
    Claim(
        "adaptive stages keep more of the loss",
        "Stages that are as large as the model allows, beside the most of a fixed pace that are no more than they.",
        "ΔL on the training set, at the fixed pace − adaptive",
        "nats",
        against_a_pace(CHANGE, -1.0),
    ),
    Claim(
        "adaptive stages end at a higher accuracy",
        "The same, after the second training.",
        "test accuracy after the last epoch, adaptive − at the fixed pace",
        "points",
        against_a_pace(FINAL, 100.0),
    ),
)
"""What is asked of them, in the order in which it is read."""
