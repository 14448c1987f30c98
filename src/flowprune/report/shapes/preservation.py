"""What pruning trained networks cost of the loss, before they are trained again, and where they end after that."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowprune.core.interval import Interval, bootstrap_interval, fisher_interval
from flowprune.report.ranks import spearman
from flowprune.report.shapes.runs import Config, by_config
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, numbers, text
from flowprune.report.wording import ordered

PENALTY = "prune.step_penalty"
BySeed = Mapping[str, float]
CHANGE, FINAL = "loss_change", "test_accuracy_final"
STAGES, WITHIN, TRIALS = "stages", "stages_within", "stage_trials"
"""Of adaptive stages: how many there were, how many within the tolerance, and how many sizes were tried."""
TOLERANCE = "stage_tolerance"
NEEDED = ("train_loss_before", "train_loss_after")


@dataclass(frozen=True)
class Point:
    """One way to prune: measure, stages and penalty, with each of its numbers by seed.

    Attributes:
        config: Measure and stages; the penalty is taken out of its setting.
        penalty: λ.
        values: By name: ``loss_change``, ΔL on the whole training set; ``valid_loss_change`` and ``test_loss_change``;
            the sums over stages of what was predicted and measured on the scoring samples; accuracies before and after
            pruning, and after the second training; and what is told of adaptive stages.
    """

    config: Config
    penalty: float
    values: Mapping[str, BySeed]

    def of(self, name: str) -> BySeed:
        """The numbers of this name by seed; none where none was stored."""
        return self.values.get(name, {})

    @property
    def tolerance(self) -> float | None:
        """Of adaptive stages; None for those of a fixed pace."""
        return next(iter(self.of(TOLERANCE).values()), None)

    def spread(self, name: str) -> Spread | None:
        """Mean and spread over seeds, or None where there is nothing."""
        found = self.of(name)
        return spread(found.values()) if found else None


@dataclass(frozen=True)
class Preservation:
    """All ways to prune one network, in the order of measure, stages and penalty.

    Attributes:
        points: With ΔL and accuracy for each.
        dense: Test accuracy of the networks before they were pruned.
        notes: What is left out.
    """

    points: tuple[Point, ...]
    dense: Spread | None
    notes: tuple[str, ...] = field(default=())

    @property
    def configs(self) -> tuple[Config, ...]:
        """Measures and stages, each once."""
        return tuple(dict.fromkeys(point.config for point in self.points))

    @property
    def penalties(self) -> tuple[float, ...]:
        """Each λ, ascending."""
        return tuple(sorted({point.penalty for point in self.points}))

    @property
    def seeds(self) -> tuple[str, ...]:
        """Those that any point has."""
        return tuple(dict.fromkeys(seed for point in self.points for seed in point.of(CHANGE)))

    def within(self, name: str = FINAL) -> Interval:
        """Spearman's correlation of ΔL and the error at the end over the points of a seed: the mean over seeds.

        Fisher's interval over seeds; positive where what costs more of the loss ends worse.
        """
        return fisher_interval(self.correlations(name).values())

    def correlations(self, name: str = FINAL) -> dict[str, float]:
        """The same by seed."""
        found = {seed: self._correlation((seed,), name) for seed in self.seeds}
        return {seed: value for seed, value in found.items() if value is not None}

    def between(self, name: str = FINAL) -> Interval:
        """Spearman's correlation of the means over seeds, over points; a bootstrap over seeds gives its interval."""
        seeds = self.seeds
        return bootstrap_interval(lambda drawn: self._correlation([seeds[i] for i in drawn], name), len(seeds))

    def _correlation(self, seeds: Sequence[str], name: str) -> float | None:
        pairs = [
            (statistics.fmean(cost), -statistics.fmean(end))
            for point in self.points
            if (cost := _drawn(point.of(CHANGE), seeds)) and (end := _drawn(point.of(name), seeds))
        ]
        return spearman([cost for cost, _ in pairs], [error for _, error in pairs])


def _drawn(values: BySeed, seeds: Sequence[str]) -> list[float]:
    return [values[seed] for seed in seeds if seed in values]


def preservation(rows: Sequence[Row]) -> Preservation | None:
    """The records of ``kind="pruned"`` with the results of their runs, or None where there are none.

    Example:
        >>> run = {"run": "r", "measure": "lm", "rounds": 14, "seed": 0}
        >>> losses = {"train_loss_before": 0.1, "train_loss_after": 0.5, "test_accuracy_before": 0.9}
        >>> found = preservation([{**run, "kind": "pruned", **losses},
        ...                       {**run, "kind": "result", "test_accuracy_final": 0.8}])
        >>> found.points[0].of("loss_change"), found.points[0].of("test_accuracy_final"), found.dense.mean
        ({'0': 0.4}, {'0': 0.8}, 0.9)
    """
    pruned, notes = finite(kind(rows, "pruned"), *NEEDED)
    ends = {text(row, "run"): row for row in kind(rows, "result") if number(row, FINAL) is not None}
    both = [row for row in pruned if text(row, "run") in ends]
    points = [_point(config, own, ends) for config, own in by_config(both).items()]
    if not points:
        return None
    order = ordered(point.config.measure for point in points)
    points.sort(key=lambda each: (order.index(each.config.measure), each.config, each.penalty))
    dense = {text(row, "seed"): number(row, "test_accuracy_before") for row in both}
    known = [value for value in dense.values() if value is not None]
    return Preservation(tuple(points), spread(known) if known else None, notes)


COPIED = (
    "predicted_loss_change",
    "predicted_loss_change_second",
    "measured_loss_change",
    "stage_predicted",
    STAGES,
    WITHIN,
    TRIALS,
    TOLERANCE,
    "test_accuracy_before",
    "test_accuracy_after",
)
ENDS = (FINAL, "test_accuracy_selected", "valid_accuracy_best")


def _point(config: Config, rows: Sequence[Row], ends: Mapping[str, Row]) -> Point:
    told = dict(config.setting).get(PENALTY, "0.0")
    plain = replace(config, setting=tuple(each for each in config.setting if each[0] != PENALTY))
    values = {
        CHANGE: _by_seed(rows, lambda row: _change(row, "train")),
        "valid_loss_change": _by_seed(rows, lambda row: _change(row, "valid")),
        "test_loss_change": _by_seed(rows, lambda row: _change(row, "test")),
        **{name: _by_seed(rows, _reading(name)) for name in COPIED},
        **{name: _by_seed([ends[text(row, "run")] for row in rows], _reading(name)) for name in ENDS},
    }
    return Point(plain, float(told), values)


def _reading(name: str) -> Callable[[Row], float | None]:
    return lambda row: number(row, name)


def _change(row: Row, split: str) -> float | None:
    found = numbers([row], f"{split}_loss_after") + numbers([row], f"{split}_loss_before")
    return found[0] - found[1] if len(found) > 1 else None


def _by_seed(rows: Sequence[Row], read: Callable[[Row], float | None]) -> BySeed:
    found = {text(row, "seed", "?"): read(row) for row in rows}
    return {seed: value for seed, value in found.items() if value is not None}
